"""Retention proposes, every guard keeps, the cap limits."""

from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikae.domain import retention
from hikae.domain.model import Action, Kind, PointState, ResourceId, Verdict
from hikae.domain.naming import HOLD
from hikae.domain.pruning import KeepPolicy, Surroundings, plan_pruning
from hikae.domain.replication import CopyPolicy, earliest_sets
from hikae.domain.retention import Policy
from tests.unit.domain.builders import (
    NOW,
    RECOVERY,
    copied,
    copy,
    hours_ago,
    identity,
    image,
    point,
    put_together,
    snapshot,
    tags_of,
)

UTC = ZoneInfo("UTC")
KEEP_ONE = KeepPolicy(retention=Policy(keep_last=1), timezone=UTC)
WITH_COPIES = replace(KEEP_ONE, copies={RECOVERY.region: CopyPolicy(retention=Policy(keep_last=2), timezone=UTC)})
LONG_AGO = 24 * 365


def prune(points, *, policy=KEEP_ONE, cap=200, **surroundings):
    return plan_pruning(
        points=points, policy_of=lambda _plan, _rule: policy, surroundings=Surroundings(**surroundings), cap=cap
    )


def deleted(pruning) -> set[str]:
    return {resource.id for deletion in pruning.deletions for resource in deletion.resources}


def verdict_on(pruning, name: str):
    (verdict,) = [each for each in pruning.verdicts if each.id == name]
    return verdict


def assert_kept(pruning, kept, *reasons: str) -> None:
    assert verdict_on(pruning, kept.id).action is Action.KEEP
    assert verdict_on(pruning, kept.id).reasons == reasons
    assert not deleted(pruning) & {*kept.resource_ids}


# --- retention proposes -----------------------------------------------------------------------------------------------


def test_what_retention_does_not_keep_is_deleted_with_all_its_members():
    tags = tags_of(identity(slot=hours_ago(1)), members=2)
    old = put_together(snapshot("a", tags), snapshot("b", tags)).points[0]
    pruning = prune([point(NOW), old])
    (deletion,) = pruning.deletions
    assert {resource.id for resource in deletion.resources} == {"snap-a", "snap-b"}
    assert deletion.calls == 2
    assert verdict_on(pruning, old.id).reasons == ("no rule keeps it",)
    assert verdict_on(pruning, point(NOW).id).reasons == ("last snapshot",)


def test_an_image_goes_as_one_and_its_snapshots_with_it():
    tags = tags_of(identity(slot=hours_ago(1)), kind=Kind.IMAGE, members=1)
    backing = snapshot("a", tags)
    old = put_together(backing, image("a", tags, snapshots=(backing.id,))).points[0]
    (deletion,) = prune([point(NOW), old], references={backing.id: frozenset({"ami-a"})}).deletions
    assert [resource.id for resource in deletion.resources] == ["ami-a"]
    assert deletion.calls == 1


def test_each_rule_of_each_resource_is_judged_on_its_own():
    points = [
        point(hours_ago(age), rule=rule, resource=ResourceId(resource))
        for age in (0, 1)
        for rule in ("hourly", "nightly")
        for resource in ("i-1", "i-2")
    ]
    assert len(prune(points).deletions) == 4


# --- what keeps a point whatever retention says -----------------------------------------------------------------------


def test_incomplete_points_use_up_no_count():
    old = point(hours_ago(LONG_AGO))
    newer = [
        point(NOW, state="pending"),
        point(hours_ago(1), state="error"),
        point(hours_ago(2), manifests=set()),
    ]
    assert_kept(prune([*newer, old]), old, "last snapshot")


def test_the_newest_of_a_resource_outlives_even_a_retention_that_expires_everything(monkeypatch):
    """Retention keeps the newest of every rule; the guard must not rely on it."""

    def expire_all(_policy, points, *, timezone):
        return [Verdict(id=each.id, action=Action.EXPIRE, reasons=("no rule keeps it",)) for each in points]

    monkeypatch.setattr(retention, "decide", expire_all)
    older_of_this_rule, newest, of_another = point(hours_ago(2)), point(NOW), point(hours_ago(1), rule="nightly")
    again = point(NOW + timedelta(minutes=5), slot=NOW, attempt=2)
    pruning = prune([older_of_this_rule, newest, of_another, again])
    assert_kept(pruning, newest, "newest complete point of its resource")
    assert deleted(pruning) == {*older_of_this_rule.resource_ids, *of_another.resource_ids, *again.resource_ids}


def test_a_source_whose_copy_is_wanted_and_not_complete_is_kept():
    newest, older = point(NOW), point(hours_ago(1))
    copies = [copy(newest), copy(older, state="pending")]
    pruning = prune([newest, older], policy=WITH_COPIES, copies_at={RECOVERY.region: copies})
    assert_kept(pruning, older, "its copy to us-west-2 is wanted and not complete")


@pytest.mark.parametrize("state", ["completed", "superseded"])
def test_a_source_goes_once_its_copy_is_complete_or_no_longer_wanted(state):
    sources = [point(hours_ago(age)) for age in range(3)]
    copies = [copy(each) for each in (sources if state == "completed" else sources[:2])]
    pruning = prune(sources, policy=WITH_COPIES, copies_at={RECOVERY.region: copies})
    assert deleted(pruning) == {*sources[1].resource_ids, *sources[2].resource_ids}


@pytest.mark.parametrize("copies_at", [{}, {RECOVERY.region: None}, {"eu-west-1": []}])
def test_a_recovery_region_that_cannot_be_asked_keeps_every_source(copies_at):
    sources = [point(hours_ago(age)) for age in range(3)]
    pruning = prune(sources, policy=WITH_COPIES, copies_at=copies_at)
    reason = "recovery Region us-west-2 is unreachable, so its copy counts as not complete"
    for each in sources[1:]:
        assert_kept(pruning, each, reason)
    assert pruning.deletions == ()


def test_a_recovery_region_that_cannot_be_asked_is_nothing_to_a_rule_without_copies():
    pruning = prune([point(NOW), point(hours_ago(1))], copies_at={RECOVERY.region: None})
    assert len(pruning.deletions) == 1


def test_a_hold_on_one_member_keeps_the_whole_set():
    tags = tags_of(identity(slot=hours_ago(1)), members=2)
    held = put_together(snapshot("a", tags), snapshot("b", tags, carried={HOLD: ""})).points[0]
    assert_kept(prune([point(NOW), held]), held, "snap-b is on hold")


def test_a_hold_on_an_image_or_on_one_of_its_snapshots_keeps_it():
    for number, held_part in enumerate(("image", "snapshot"), start=1):
        tags = tags_of(identity(slot=hours_ago(number)), kind=Kind.IMAGE, members=1)
        backing = snapshot("a", tags, carried={HOLD: "case 7"} if held_part == "snapshot" else {})
        whole = image("a", tags, snapshots=(backing.id,), carried={HOLD: "case 7"} if held_part == "image" else {})
        held = put_together(backing, whole).points[0]
        assert verdict_on(prune([point(NOW), held]), held.id).action is Action.KEEP


def test_one_member_that_something_refers_to_keeps_the_whole_set_and_says_what_does():
    tags = tags_of(identity(slot=hours_ago(1)), members=2)
    used = put_together(snapshot("a", tags), snapshot("b", tags)).points[0]
    pruning = prune([point(NOW), used], references={"snap-b": frozenset({"ami-9", "ami-8"})})
    assert_kept(pruning, used, "snap-b is referenced by ami-8", "snap-b is referenced by ami-9")


def test_an_image_that_an_instance_was_started_from_is_kept():
    tags = tags_of(identity(slot=hours_ago(1)), kind=Kind.IMAGE, members=1)
    backing = snapshot("a", tags)
    used = put_together(backing, image("a", tags, snapshots=(backing.id,))).points[0]
    references = {"ami-a": frozenset({"i-9"}), backing.id: frozenset({"ami-a", "ami-b"})}
    pruning = prune([point(NOW), used], references=references)
    assert_kept(pruning, used, "ami-a is referenced by i-9", f"{backing.id} is referenced by ami-b")


def test_every_guard_that_keeps_a_point_is_named():
    tags = tags_of(identity(slot=hours_ago(1)), members=1)
    kept = put_together(snapshot("a", tags, carried={HOLD: ""})).points[0]
    pruning = prune([point(NOW), kept], policy=WITH_COPIES, copies_at={}, references={"snap-a": frozenset({"ami-9"})})
    assert_kept(
        pruning,
        kept,
        "recovery Region us-west-2 is unreachable, so its copy counts as not complete",
        "snap-a is on hold",
        "snap-a is referenced by ami-9",
    )


def test_without_a_readable_plan_everything_is_kept():
    points = [point(hours_ago(age), state=state) for age, state in enumerate(["completed", "completed", "error"])]
    pruning = prune(points, policy=None)
    for each in points:
        assert_kept(pruning, each, "this site has no readable plan production with a rule hourly")


def test_what_is_pending_is_kept():
    old = point(hours_ago(LONG_AGO), state="pending")
    assert_kept(prune([point(NOW), old]), old, "pending: 1 of 1 are pending")


def test_what_lacks_only_its_manifest_is_kept_however_old():
    old = point(hours_ago(LONG_AGO), manifests=set())
    assert verdict_on(prune([point(NOW), old]), old.id).action is Action.KEEP


# --- the cap ----------------------------------------------------------------------------------------------------------


def test_the_cap_lets_the_oldest_go_first_and_names_itself_to_the_rest():
    points = [point(hours_ago(age)) for age in range(6)]
    pruning = prune(points, cap=2)
    assert deleted(pruning) == {*points[5].resource_ids, *points[4].resource_ids}
    assert pruning.capped == 3
    assert_kept(pruning, points[1], "above this run's cap of 2 deletions (no rule keeps it)")


def test_the_cap_never_splits_a_set():
    tags = tags_of(identity(slot=hours_ago(2)), members=3)
    whole = put_together(*(snapshot(name, tags) for name in "abc")).points[0]
    single = point(hours_ago(1))
    pruning = prune([point(NOW), single, whole], cap=2)
    assert deleted(pruning) == {*single.resource_ids}
    assert_kept(pruning, whole, "above this run's cap of 2 deletions (no rule keeps it)")


def test_a_cap_of_nothing_deletes_nothing():
    assert prune([point(NOW), point(hours_ago(1))], cap=0).deletions == ()


# --- duplicates, failures, remains, leftovers -------------------------------------------------------------------------


def test_of_two_complete_sets_of_one_point_the_earlier_stays():
    first = point(hours_ago(2), slot=hours_ago(2))
    again = point(hours_ago(1), slot=hours_ago(2), attempt=2)
    pruning = prune([first, again])
    assert verdict_on(pruning, again.id).reasons == (f"duplicate of {first.id}, which is earlier",)
    assert deleted(pruning) == {*again.resource_ids}
    assert_kept(pruning, first, "last snapshot")


def test_a_failed_set_goes_once_another_took_its_place():
    failed = point(hours_ago(2), slot=hours_ago(2), state="error")
    whole = point(hours_ago(1), slot=hours_ago(2), attempt=2)
    assert prune([failed]).deletions == ()
    pruning = prune([failed, whole])
    assert deleted(pruning) == {*failed.resource_ids}
    assert "took its place" in verdict_on(pruning, failed.id).reasons[0]


def test_a_failed_set_stays_as_long_as_it_would_if_it_were_complete():
    failed = point(hours_ago(1), state="error")
    assert_kept(prune([failed, point(hours_ago(2))]), failed, f"failed: {failed.reason}")
    pruning = prune([failed, point(NOW)])
    assert deleted(pruning) == {*failed.resource_ids}
    assert verdict_on(pruning, failed.id).reasons == (
        f"failed: {failed.reason}; no rule would keep it if it were complete",
    )


def test_a_half_deleted_set_is_finished_by_the_next_run():
    tags = tags_of(identity(slot=hours_ago(1)), members=3)
    whole = put_together(*(snapshot(name, tags) for name in "abc")).points[0]
    assert deleted(prune([point(NOW), whole])) == {"snap-a", "snap-b", "snap-c"}
    half = put_together(snapshot("c", tags)).points[0]
    assert half.state is PointState.INCOMPLETE
    assert deleted(prune([point(NOW), half])) == {"snap-c"}


def test_what_remains_of_a_set_is_guarded_like_a_whole_one():
    tags = tags_of(identity(slot=hours_ago(1)), members=3)
    half = put_together(snapshot("c", tags, carried={HOLD: ""})).points[0]
    assert_kept(prune([point(NOW), half]), half, "snap-c is on hold")


def test_copies_that_were_made_twice_go_once_their_point_is_complete():
    source = tags_of(members=1)
    tags = copied(source, of="snap-a")
    failed = snapshot("failed", tags, state="error")
    twice = snapshot("twice", copied(source, of="snap-a", attempt=2), started_at=NOW + timedelta(hours=2))
    pending = snapshot("pending", copied(source, of="snap-a", attempt=3), state="pending")
    held = snapshot("held", copied(source, of="snap-a", attempt=4), state="error", carried={HOLD: ""})
    complete = put_together(snapshot("first", tags), failed, twice, pending, held, place=RECOVERY).points[0]
    pruning = prune([complete])
    assert deleted(pruning) == {"snap-failed", "snap-twice"}
    assert verdict_on(pruning, "snap-failed").reasons == (f"error: another copy took its place in {complete.id}",)
    assert verdict_on(pruning, complete.id).action is Action.KEEP


def test_leftovers_stay_while_their_point_is_not_complete():
    source = tags_of(members=2)
    first = snapshot("first", copied(source, of="snap-a"))
    failed = snapshot("failed", copied(source, of="snap-a"), state="error")
    incomplete = put_together(first, failed, place=RECOVERY).points[0]
    assert prune([incomplete]).deletions == ()


def test_leftovers_go_with_their_point():
    source = tags_of(identity(slot=hours_ago(1)), members=1)
    first = snapshot("first", copied(source, of="snap-a"))
    failed = snapshot("failed", copied(source, of="snap-a"), state="error")
    old = put_together(first, failed, place=RECOVERY).points[0]
    (deletion,) = prune([copy(point(NOW)), old]).deletions
    assert {resource.id for resource in deletion.resources} == {"snap-first", "snap-failed"}
    assert deletion.calls == 2


def test_a_leftover_image_goes_once_another_took_its_place():
    source = tags_of(kind=Kind.IMAGE, members=1)
    backing = snapshot("a", copied(source, of="ami-s"))
    good = image("good", copied(source, of="ami-s", attempt=2), snapshots=(backing.id,))
    failed = image("failed", copied(source, of="ami-s"), state="failed")
    whole = put_together(backing, good, failed, place=RECOVERY).points[0]
    assert whole.is_complete
    assert deleted(prune([whole], references={backing.id: frozenset({"ami-good"})})) == {"ami-failed"}


# --- what holds for every history -------------------------------------------------------------------------------------

states = st.sampled_from(["completed", "completed", "completed", "pending", "error"])


@st.composite
def histories(draw):
    """Points of two resources under two rules: duplicates, failures, holds and missing manifests among them."""
    points = {}
    for _ in range(draw(st.integers(0, 20))):
        slot = hours_ago(draw(st.integers(0, 8)))
        made = point(
            slot + timedelta(minutes=draw(st.integers(0, 2))),
            slot=slot,
            attempt=draw(st.integers(1, 2)),
            state=draw(states),
            resource=ResourceId(draw(st.sampled_from(["i-1", "i-2"]))),
            rule=draw(st.sampled_from(["hourly", "nightly"])),
            carried={HOLD: ""} if draw(st.integers(0, 9)) == 0 else {},
            manifests=None if draw(st.integers(0, 9)) else set(),
        )
        points[made.id] = made
    return list(points.values())


policies = st.builds(
    KeepPolicy,
    retention=st.builds(Policy, keep_last=st.integers(1, 3), keep_hourly=st.integers(0, 3)),
    timezone=st.just(UTC),
    copies=st.sampled_from([{}, WITH_COPIES.copies]),
)
caps = st.sampled_from([0, 1, 3, 200])


@given(histories(), policies, caps, st.data())
def test_whatever_the_history_the_guards_hold(points, policy, cap, data):
    referenced = data.draw(st.sets(st.sampled_from([name for each in points for name in each.resource_ids] or ["x"])))
    copies = [copy(each) for each in points if each.is_complete and data.draw(st.booleans())]
    copies_at = {RECOVERY.region: data.draw(st.sampled_from([None, copies]))}
    references = {name: frozenset({"ami-9"}) for name in referenced}
    pruning = prune(points, policy=policy, cap=cap, references=references, copies_at=copies_at)
    gone = {deletion.point.id for deletion in pruning.deletions}
    assert sorted(verdict.id for verdict in pruning.verdicts) == sorted(each.id for each in points)
    assert all(verdict.reasons for verdict in pruning.verdicts)
    assert sum(deletion.calls for deletion in pruning.deletions) <= cap
    for each in points:
        if each.id in gone:
            assert each.state is not PointState.PENDING
            assert HOLD not in each.snapshots[0].tags
            assert not referenced & {*each.resource_ids}
            assert not policy.copies or copies_at[RECOVERY.region] is not None
    for resource in ("i-1", "i-2"):
        lineage = earliest_sets(each for each in points if each.tags.identity.resource == resource).values()
        assert not lineage or max(lineage, key=lambda each: (each.source_time, each.id)).id not in gone


@given(histories(), policies, st.randoms(use_true_random=False))
def test_the_order_in_which_points_are_listed_does_not_matter(points, policy, shuffle):
    shuffled = points.copy()
    shuffle.shuffle(shuffled)
    one, other = (prune(each, policy=policy, copies_at={RECOVERY.region: []}) for each in (points, shuffled))
    assert deleted(one) == deleted(other)
    assert {verdict.id: verdict for verdict in one.verdicts} == {verdict.id: verdict for verdict in other.verdicts}


@given(histories(), policies, caps)
def test_after_enough_runs_there_is_nothing_left_to_delete_and_the_cap_made_no_difference(points, policy, cap):
    def run(left, cap):
        pruning = prune(left, policy=policy, cap=cap, copies_at={RECOVERY.region: []})
        return [each for each in left if each.id not in {deletion.point.id for deletion in pruning.deletions}]

    at_once = run(points, 200)
    assert run(at_once, 200) == at_once
    left = points
    for _ in range(len(points) + 1):
        left = run(left, max(cap, 1))
    assert left == at_once
