"""Retention proposes, every guard keeps, the cap limits."""

from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikae.domain.guards import Surroundings
from hikae.domain.model import Action, Kind, PointState, Region, ResourceId, SiteRole
from hikae.domain.naming import HOLD
from hikae.domain.plan import parse_plan
from hikae.domain.pruning import DeletionLimits, KeepPolicy, keep_policy_of, plan_pruning
from hikae.domain.replication import CopyPolicy, earliest_sets
from hikae.domain.retention import Policy
from tests.unit.domain.builders import (
    NOW,
    PRIMARY,
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


def prune(points, *, policy=KEEP_ONE, cap=200, percent=100, now=NOW, **surroundings):
    return plan_pruning(
        points=points,
        policy_of=lambda _plan, _rule: policy,
        surroundings=Surroundings(**{"inventoried_at": {PRIMARY: now}} | surroundings),
        limits=DeletionLimits(per_run=cap, lineage_percent=percent),
        now=now,
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


# --- what a plan says -------------------------------------------------------------------------------------------------

PLAN = parse_plan("""
version: 1
plan: production
timezone: Asia/Tokyo
retire_after: 90d
selection: {resources: [instance], tags: {Backup: production}}
rules:
  - name: nightly
    schedule: "0 1 * * *"
    protect: snapshots
    retention: {keep_last: 7}
  - name: hourly
    schedule: "0 * * * *"
    protect: snapshots
    retention: {keep_last: 24}
    copies:
      - {region: us-west-2, retention: {keep_last: 6}}
      - {region: eu-west-1, retention: {keep_last: 3}}
""")


def test_a_site_keeps_what_the_plan_says_of_it_and_knows_what_each_destination_keeps():
    known = {"timezone": ZoneInfo("Asia/Tokyo"), "retire_after": timedelta(days=90)}
    primary = keep_policy_of(PLAN, "hourly", site=SiteRole.PRIMARY, region=PRIMARY.region)
    assert primary == KeepPolicy(
        retention=Policy(keep_last=24),
        copies={
            RECOVERY.region: CopyPolicy(retention=Policy(keep_last=6), **known),
            Region("eu-west-1"): CopyPolicy(retention=Policy(keep_last=3), **known),
        },
        **known,
    )
    assert primary.note == ""
    noted = keep_policy_of(PLAN, "hourly", site=SiteRole.RECOVERY, region=Region("eu-west-1"), note="by the last plan")
    assert noted == KeepPolicy(retention=Policy(keep_last=3), copies={}, note="by the last plan", **known)


def test_a_plan_says_nothing_of_a_rule_that_it_does_not_have_or_does_not_copy_to_a_site():
    for site, rule, region in (
        (SiteRole.PRIMARY, "weekly", PRIMARY.region),
        (SiteRole.RECOVERY, "weekly", RECOVERY.region),
        (SiteRole.RECOVERY, "nightly", RECOVERY.region),
        (SiteRole.RECOVERY, "hourly", PRIMARY.region),
    ):
        assert keep_policy_of(PLAN, rule, site=site, region=region) is None


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


def test_each_rule_of_each_plan_is_judged_by_its_own_policy():
    policies = {
        ("production", "hourly"): replace(KEEP_ONE, copies=WITH_COPIES.copies),
        ("production", "nightly"): replace(KEEP_ONE, retention=Policy(keep_last=2)),
        ("web", "hourly"): replace(KEEP_ONE, retention=Policy(keep_last=3), retire_after=timedelta(days=30)),
    }
    points = {
        rule: [point(hours_ago(age), plan=rule[0], rule=rule[1]) for age in range(4)]
        for rule in [("web", "unknown"), *policies]
    }
    pruning = plan_pruning(
        points=[each for group in points.values() for each in group],
        policy_of=lambda plan, rule: policies.get((plan, rule)),
        surroundings=Surroundings(copies_at={RECOVERY.region: [copy(points["production", "hourly"][0])]}),
        limits=DeletionLimits(per_run=99, lineage_percent=100),
        now=NOW,
    )
    left = {
        rule: len([each for each in group if not deleted(pruning) & {*each.resource_ids}])
        for rule, group in points.items()
    }
    assert left == {
        ("production", "hourly"): 2,
        ("production", "nightly"): 2,
        ("web", "hourly"): 3,
        ("web", "unknown"): 4,
    }


def test_days_are_those_of_the_plans_zone():
    tokyo = KeepPolicy(retention=Policy(keep_daily=2), timezone=ZoneInfo("Asia/Tokyo"))
    # In Tokyo it is 19:00 and 09:00 of the same day, in UTC 10:00 and 00:00; 14:00 of the day before is 23:00 there.
    points = [point(NOW), point(hours_ago(11)), point(hours_ago(20))]
    assert deleted(prune(points, policy=tokyo)) == {*points[1].resource_ids}
    failed = point(hours_ago(11), state="error")
    assert deleted(prune([points[0], failed, points[2]], policy=tokyo)) == {*failed.resource_ids}


# --- what keeps a point whatever retention says -----------------------------------------------------------------------


def test_incomplete_points_use_up_no_count():
    old = point(hours_ago(LONG_AGO))
    newer = [
        point(NOW, state="pending"),
        point(hours_ago(1), state="error"),
        point(hours_ago(2), manifests=set()),
    ]
    assert_kept(prune([*newer, old]), old, "last snapshot")


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
    tags = tags_of(identity(slot=hours_ago(2)), members=2)
    single, later = point(hours_ago(3)), point(hours_ago(1))
    whole = put_together(*(snapshot(name, tags) for name in "ab")).points[0]
    pruning = prune([point(NOW), single, whole, later], cap=2)
    assert deleted(pruning) == {*single.resource_ids}
    for each in (whole, later):
        assert_kept(pruning, each, "above this run's cap of 2 deletions (no rule keeps it)")
    assert pruning.capped == 2


def test_a_set_larger_than_the_cap_stays_and_the_others_do_not_wait_for_it():
    tags = tags_of(identity(slot=hours_ago(2)), members=3)
    whole = put_together(*(snapshot(name, tags) for name in "abc")).points[0]
    single = point(hours_ago(1))
    pruning = prune([point(NOW), single, whole], cap=2)
    assert deleted(pruning) == {*single.resource_ids}
    assert_kept(pruning, whole, "needs 3 deletions, the cap of a run is 2 (no rule keeps it)")
    assert deleted(prune([point(NOW), single, whole], cap=3)) == {"snap-a", "snap-b", "snap-c"}


def test_what_remains_of_a_point_goes_before_the_set_that_took_its_place():
    """The other way round, one that lacks only its manifest would have nothing against it any more."""
    remains = point(hours_ago(1), slot=hours_ago(2), attempt=2, manifests=set())
    whole = point(hours_ago(2))
    other = point(hours_ago(1.5))
    points = [point(NOW), whole, other, remains]
    order = [{*remains.resource_ids}, {*whole.resource_ids}, {*other.resource_ids}]
    for number, expected in enumerate(order):
        assert deleted(prune(points, cap=1)) == expected, number
        points = [each for each in points if {*each.resource_ids} != expected]
    assert prune(points, cap=1).deletions == ()


def test_what_no_run_can_delete_is_named_apart_unless_nothing_is_to_be_deleted_at_all():
    tags = tags_of(identity(slot=hours_ago(2)), members=3)
    whole = put_together(*(snapshot(name, tags) for name in "abc")).points[0]
    points = [point(NOW), point(hours_ago(1)), whole]
    for cap in (1, 2):
        assert [each.point.id for each in prune(points, cap=cap).too_large] == [whole.id]
    for cap in (0, 3):
        assert prune(points, cap=cap).too_large == ()


def test_all_that_a_limit_keeps_is_withheld():
    held = [point(hours_ago(25 * age), resource=ResourceId("i-2")) for age in range(5)]
    points = [point(hours_ago(age)) for age in range(3)]
    pruning = prune([*held, *points], percent=75, cap=1)
    assert pruning.withheld.keys() == {each.id for each in (*held[1:], points[1])}
    assert all(verdict_on(pruning, name).action is Action.KEEP for name in pruning.withheld)


@pytest.mark.parametrize(("zone", "action"), [("Asia/Tokyo", Action.EXPIRE), ("UTC", Action.KEEP)])
def test_half_a_set_goes_where_it_would_not_be_the_newest_of_its_day_in_the_plans_zone(zone, action):
    tags = tags_of(identity(slot=hours_ago(18)), members=2)
    half = put_together(snapshot("half", tags, started_at=hours_ago(18))).points[0]
    policy = KeepPolicy(retention=Policy(keep_daily=2), timezone=ZoneInfo(zone))
    pruning = prune([point(NOW), half, point(hours_ago(70))], policy=policy)
    assert verdict_on(pruning, half.id).action is action


def test_a_cap_of_nothing_deletes_nothing():
    assert prune([point(NOW), point(hours_ago(1))], cap=0).deletions == ()


# --- the share of a lineage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("expired", "percent", "held_back"), [(3, 75, 0), (4, 75, 4), (1, 49, 1), (1, 50, 0)])
def test_a_lineage_that_would_lose_more_than_its_share_loses_nothing(expired, percent, held_back):
    points = [point(hours_ago(25 * age)) for age in range(expired + 1)]
    other = [point(hours_ago(25 * age), resource=ResourceId("i-2")) for age in range(2)]
    pruning = prune([*points, *other], percent=percent)
    assert pruning.held_back == held_back + (percent < 50)
    assert len(pruning.deletions) == (0 if held_back else expired) + (percent >= 50)


@pytest.mark.parametrize(("oldest", "held_back"), [(24, 0), (24.1, 6)])
def test_a_rule_that_makes_many_and_keeps_few_is_not_held_back_for_what_it_made_in_a_day(oldest, held_back):
    points = [point(hours_ago(age)) for age in (0, 1, 2, 3, 4, 5, oldest)]
    for listed in (points, points[::-1]):
        assert prune(listed, percent=75).held_back == held_back
        assert prune(listed, percent=0).held_back == held_back


def test_a_lineage_that_is_held_back_says_what_would_have_gone():
    points = [point(hours_ago(25 * age)) for age in range(5)]
    pruning = prune(points, percent=75)
    share = "4 of the 5 complete points of i-1 would go at once, more than 75 %"
    for each in points[1:]:
        assert_kept(pruning, each, f"{share} (no rule keeps it)")


def test_duplicates_and_remains_are_no_history_and_go_all_the_same():
    points = [point(hours_ago(age)) for age in (0, 1, 2, 3, 25)]
    again = point(hours_ago(1.5), slot=hours_ago(2), attempt=2)
    failed = point(hours_ago(3), attempt=7, state="error")
    pruning = prune([*points, again, failed], percent=75)
    assert deleted(pruning) == {*again.resource_ids, *failed.resource_ids}
    assert pruning.held_back == 4


# --- resources that are gone ------------------------------------------------------------------------------------------

DAYS = 24
RETIRING = replace(KEEP_ONE, retention=Policy(keep_last=-1), retire_after=timedelta(days=30))
GONE = {PRIMARY: frozenset({"i-2"})}


def test_the_points_of_a_resource_that_is_gone_go_once_the_newest_is_older_than_retire_after():
    points = [point(hours_ago(age * DAYS)) for age in (31, 32)]
    pruning = prune(points, policy=RETIRING, percent=1, present=GONE)
    assert deleted(pruning) == {name for each in points for name in each.resource_ids}
    assert verdict_on(pruning, points[0].id).reasons == (
        "i-1 is gone and its newest point is older than retire_after 30d",
    )


@pytest.mark.parametrize(
    ("policy", "newest", "present"),
    [
        pytest.param(replace(RETIRING, retire_after=None), 31, GONE, id="nothing was said about it"),
        pytest.param(RETIRING, 30, GONE, id="the newest is young enough"),
        pytest.param(RETIRING, 31, {PRIMARY: frozenset({"i-1"})}, id="the resource is there"),
        pytest.param(RETIRING, 31, {}, id="nobody knows whether it is there"),
        pytest.param(RETIRING, 31, {RECOVERY: frozenset()}, id="only another place was asked"),
        pytest.param(None, 31, GONE, id="nobody knows the plan"),
    ],
)
def test_they_stay_for_ever_otherwise(policy, newest, present):
    points = [point(hours_ago(newest * DAYS)), point(hours_ago(40 * DAYS))]
    assert prune(points, policy=policy, present=present).deletions == ()


def test_what_is_not_complete_is_not_given_up_but_judged_as_remains():
    lacking = point(hours_ago(32 * DAYS), manifests=())
    complete = point(hours_ago(31 * DAYS))
    pruning = prune([lacking, complete], policy=RETIRING, present=GONE)
    assert deleted(pruning) == {*complete.resource_ids}
    assert_kept(pruning, lacking, f"incomplete: {lacking.reason}")
    half = half_of_a_set(hours_ago(32 * DAYS))
    again = prune([half], policy=RETIRING, present=GONE)
    assert deleted(again) == {*half.resource_ids}
    assert verdict_on(again, half.id).reasons == (
        f"i-1 is gone and this ({half.reason}) is older than retire_after 30d",
    )


def half_of_a_set(at):
    return put_together(snapshot("b", tags_of(identity(slot=at), members=2), started_at=at)).points[0]


def test_what_a_run_that_was_cut_short_left_of_a_point_that_was_given_up_is_finished_by_the_next():
    half = half_of_a_set(hours_ago(31 * DAYS))
    assert deleted(prune([half], policy=RETIRING, present=GONE)) == {"snap-b"}


@pytest.mark.parametrize("remains", [{"state": "pending"}, {"manifests": set()}])
def test_what_may_still_become_whole_of_a_resource_that_is_gone_stays(remains):
    assert prune([point(hours_ago(31 * DAYS), **remains)], policy=RETIRING, present=GONE).deletions == ()


@pytest.mark.parametrize(
    ("policy", "present"),
    [
        pytest.param(replace(RETIRING, retire_after=None), GONE, id="nothing was said about it"),
        pytest.param(replace(RETIRING, retire_after=timedelta(days=31)), GONE, id="it is young"),
        pytest.param(RETIRING, {PRIMARY: frozenset({"i-1"})}, id="the resource is there"),
        pytest.param(RETIRING, {}, id="nobody knows whether it is there"),
    ],
)
def test_what_remains_of_a_resource_stays_otherwise(policy, present):
    assert prune([half_of_a_set(hours_ago(31 * DAYS))], policy=policy, present=present).deletions == ()


@pytest.mark.parametrize("newest", ["never", "soon"])
def test_the_plan_of_each_point_says_when_it_is_given_up(newest):
    other = {"never": "soon", "soon": "never"}[newest]
    points = [point(hours_ago(age * DAYS), plan=plan) for age, plan in ((31, newest), (32, other), (33, other))]
    policies = {("never", "hourly"): replace(RETIRING, retire_after=None), ("soon", "hourly"): RETIRING}
    pruning = plan_pruning(
        points=points,
        policy_of=lambda plan, rule: policies[plan, rule],
        surroundings=Surroundings(present=GONE, inventoried_at={PRIMARY: NOW}),
        limits=DeletionLimits(per_run=99, lineage_percent=100),
        now=NOW,
    )
    given_up = [each for each in points if each.tags.identity.plan == "soon"]
    assert deleted(pruning) == {name for each in given_up for name in each.resource_ids}
    if newest == "never":
        assert "is kept for ever" in verdict_on(pruning, points[0].id).reasons[-1]


def test_a_hold_keeps_even_a_point_that_was_given_up():
    held = point(hours_ago(31 * DAYS), carried={HOLD: ""})
    assert_kept(prune([held], policy=RETIRING, present=GONE), held, f"{held.snapshots[0].id} is on hold")


@pytest.mark.parametrize(
    ("inventoried_at", "last"),
    [
        ({PRIMARY: NOW}, "of 2026-11-22T10:00:00Z"),
        ({}, "not known"),
        ({RECOVERY: hours_ago(-DAYS * 3650)}, "not known"),
    ],
)
def test_a_clock_that_jumps_ahead_gives_nothing_up(inventoried_at, last):
    """Neither all that is left of what is gone, nor a source of it that is still to be copied."""
    later = hours_ago(-DAYS * 3650)
    policy = replace(RETIRING, retention=Policy(keep_last=1), copies=WITH_COPIES.copies)
    newest, older, oldest = (point(hours_ago(age), size_gib=8) for age in range(3))
    there = {"present": GONE, "copies_at": {RECOVERY.region: []}}
    pruning = prune([newest, older, oldest], policy=policy, now=later, inventoried_at=inventoried_at, **there)
    clock = (
        "i-1 is gone; its newest point, of volumes of 8 GiB, is kept although it is past retire_after: the clock says "
        f"2036-11-19T10:00:00Z, and the last inventory of {PRIMARY} is {last}"
    )
    assert_kept(pruning, newest, "last snapshot", clock)
    assert_kept(pruning, older, "its copy to us-west-2 is wanted and not complete")
    assert deleted(pruning) == {*oldest.resource_ids}, "what retention lets go, goes as ever"
    believed = prune([newest, older, oldest], policy=policy, now=later, inventoried_at={PRIMARY: later}, **there)
    assert deleted(believed) == {name for each in (newest, older, oldest) for name in each.resource_ids}


def test_the_newest_point_of_a_resource_that_is_gone_says_what_it_costs_and_for_how_long():
    newest, older = (point(hours_ago(age), size_gib=size) for age, size in ((1, 40), (2, 30)))
    costs = "i-1 is gone; its newest point, of volumes of 40 GiB, is kept"
    never = f"{costs} for ever, as its plan has no retire_after"
    assert_kept(prune([newest], policy=KEEP_ONE, present=GONE), newest, "last snapshot", never)
    some = f"{costs} until 2026-12-22T09:00:00Z, by its plan's retire_after"
    pruning = prune([newest, older], policy=RETIRING, present=GONE)
    assert_kept(pruning, newest, "last snapshot", some)
    assert_kept(pruning, older, "last snapshot")
    assert_kept(prune([newest], present={PRIMARY: frozenset({"i-1"})}), newest, "last snapshot")


def test_what_would_go_says_all_its_reasons_when_it_is_withheld():
    removed = replace(KEEP_ONE, note="by the last plan")
    old = point(hours_ago(1))
    pruning = prune([point(NOW), old], policy=removed, cap=0)
    assert verdict_on(pruning, old.id).reasons == (
        "needs 1 deletions, the cap of a run is 0 (no rule keeps it; by the last plan)",
    )


def test_a_copy_of_a_point_that_was_given_up_is_not_wanted_any_more():
    policy = replace(RETIRING, copies=WITH_COPIES.copies)
    old = point(hours_ago(31 * DAYS))
    for copies_at in ({RECOVERY.region: []}, {}):
        assert deleted(prune([old], policy=policy, present=GONE, copies_at=copies_at)) == {*old.resource_ids}
        there = {PRIMARY: frozenset({"i-1"})}
        assert_kept(prune([old], policy=policy, present=there, copies_at=copies_at), old, "last snapshot")
        expired = point(hours_ago(32 * DAYS))
        once = replace(policy, retention=Policy(keep_last=1))
        pruning = prune([old, expired], policy=once, present=there, copies_at=copies_at)
        assert "us-west-2" in verdict_on(pruning, expired.id).reasons[0]


def test_what_is_kept_by_a_plan_that_was_removed_says_so():
    note = "by the last plan that had it"
    newest, older = point(NOW), point(hours_ago(1))
    pruning = prune([newest, older], policy=replace(KEEP_ONE, note=note))
    assert_kept(pruning, newest, "last snapshot", note)
    assert verdict_on(pruning, older.id).reasons == ("no rule keeps it", note)


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
    pruning = prune([failed, whole])
    assert deleted(pruning) == {*failed.resource_ids}
    assert "took its place" in verdict_on(pruning, failed.id).reasons[0]


def test_a_failed_set_goes_at_once_since_its_volumes_may_have_no_other_while_it_is_there():
    failed = point(hours_ago(1), state="error")
    for others in ([], [point(hours_ago(2))], [point(NOW)]):
        pruning = prune([failed, *others])
        assert {*failed.resource_ids} <= deleted(pruning)
        assert verdict_on(pruning, failed.id).reasons == (
            f"failed: {failed.reason}; EC2 counts it among the snapshots that its volumes have under way",
        )


def test_a_failed_copy_stays_as_long_as_it_would_if_it_were_complete():
    failed = copy(point(hours_ago(1)), state="error")
    assert failed.state is PointState.FAILED
    assert_kept(prune([failed]), failed, f"failed: {failed.reason}")


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
    assert verdict_on(pruning, "snap-held").action is Action.KEEP
    assert verdict_on(pruning, "snap-held").reasons == ("snap-held is on hold",)
    assert verdict_on(pruning, "snap-pending").reasons == (f"pending: not a member of {complete.id}",)


def test_a_leftover_that_may_be_good_stays_while_its_point_is_not_complete_and_a_failed_one_does_not():
    source = tags_of(members=2)
    first = snapshot("first", copied(source, of="snap-a"))
    failed = snapshot("failed", copied(source, of="snap-a"), state="error")
    twice = snapshot("twice", copied(source, of="snap-a"), started_at=NOW + timedelta(hours=2))
    incomplete = put_together(first, failed, twice, place=RECOVERY).points[0]
    pruning = prune([incomplete])
    assert deleted(pruning) == {"snap-failed"}
    why = f"completed: may be needed until {incomplete.id} is complete"
    assert verdict_on(pruning, "snap-twice").reasons == (why,)


def test_of_copies_that_all_failed_the_newest_stays_since_it_carries_the_number_of_attempts():
    source = tags_of(members=1)
    failed = [snapshot(f"{n}", copied(source, of="snap-a", attempt=n), state="error") for n in (1, 3, 2)]
    hopeless = put_together(*failed, place=RECOVERY).points[0]
    assert hopeless.state is PointState.FAILED
    assert deleted(prune([hopeless])) == {"snap-1", "snap-2"}


@pytest.mark.parametrize("surroundings", [{"unknown": ("nobody knows",)}, {"now": hours_ago(24 * 365)}])
def test_a_leftover_stays_as_well_while_something_is_wrong_with_the_world(surroundings):
    source = tags_of(members=1)
    failed = snapshot("failed", copied(source, of="snap-a"), state="error")
    whole = put_together(snapshot("good", copied(source, of="snap-a", attempt=2)), failed, place=RECOVERY).points[0]
    assert deleted(prune([whole])) == {"snap-failed"}
    assert prune([whole], **surroundings).deletions == ()


@pytest.mark.parametrize(("younger", "goes"), [(24, False), (24.1, True)])
def test_a_source_that_is_incomplete_goes_when_a_complete_one_is_more_than_a_day_younger(younger, goes):
    keep_all = replace(KEEP_ONE, retention=Policy(keep_last=-1))
    old = hours_ago(100)
    half = put_together(snapshot("a", tags_of(identity(slot=old), members=2))).points[0]
    other = point(old + timedelta(hours=younger), rule="nightly")
    pruning = prune([half, other], policy=keep_all)
    assert deleted(pruning) == ({"snap-a"} if goes else set())
    if goes:
        why = (
            f"incomplete: 1 of 2 snapshots are there and completed; {other.id} is complete and more than a day younger"
        )
        assert verdict_on(pruning, half.id).reasons == (why,)


def test_a_copy_that_is_incomplete_stays_as_long_as_it_may_still_be_completed():
    keep_all = replace(KEEP_ONE, retention=Policy(keep_last=-1))
    tags = tags_of(identity(slot=hours_ago(100)), members=2)
    half = put_together(snapshot("b", copied(tags, of="snap-a")), place=RECOVERY).points[0]
    assert prune([half, copy(point(NOW))], policy=keep_all).deletions == ()
    assert deleted(prune([half, copy(point(NOW))])) == {"snap-b"}


def test_snapshots_of_an_image_that_has_vanished_are_judged_like_any_other_remains():
    tags = tags_of(identity(slot=hours_ago(100)), kind=Kind.IMAGE, members=1)
    orphan = put_together(snapshot("a", tags)).points[0]
    assert prune([orphan]).deletions == ()
    assert deleted(prune([orphan, point(NOW)])) == {"snap-a"}
    keep_all = replace(KEEP_ONE, retention=Policy(keep_last=-1))
    assert deleted(prune([orphan, point(NOW)], policy=keep_all)) == {"snap-a"}
    assert prune([orphan, point(NOW)], references={"snap-a": frozenset({"ami-9"})}).deletions == ()


def test_leftovers_go_with_their_point():
    source = tags_of(identity(slot=hours_ago(1)), members=1)
    first = snapshot("first", copied(source, of="snap-a"))
    failed = snapshot("failed", copied(source, of="snap-a"), state="error")
    old = put_together(first, failed, place=RECOVERY).points[0]
    (deletion,) = prune([copy(point(NOW)), old]).deletions
    assert {resource.id for resource in deletion.resources} == {"snap-first", "snap-failed"}
    assert deletion.calls == 2


def test_one_leftover_that_has_to_stay_keeps_no_other():
    source = tags_of(members=1)
    pending = snapshot("pending", copied(source, of="snap-a", attempt=2), state="pending")
    held = snapshot(
        "held", copied(source, of="snap-a", attempt=3), carried={HOLD: ""}, started_at=NOW + timedelta(hours=1)
    )
    twice = snapshot("twice", copied(source, of="snap-a", attempt=4), started_at=NOW + timedelta(hours=2))
    good = snapshot("good", copied(source, of="snap-a"), started_at=hours_ago(1))
    failed = snapshot("failed", copied(source, of="snap-a", attempt=5), state="error")
    # Good ones in the order of their times, then the pending, then the failed one.
    whole = put_together(good, pending, held, twice, failed, place=RECOVERY).points[0]
    assert [each.id for each in whole.leftovers] == ["snap-held", "snap-twice", "snap-pending", "snap-failed"]
    pruning = prune([whole])
    assert deleted(pruning) == {"snap-twice", "snap-failed"}
    assert verdict_on(pruning, "snap-twice").action is Action.EXPIRE


@pytest.mark.parametrize("state", ["failed", "error", "invalid"])
def test_a_failed_image_goes_even_while_another_is_under_way(state):
    source = tags_of(kind=Kind.IMAGE, members=1)
    pending = image("pending", copied(source, of="ami-s", attempt=2), state="pending")
    failed = image("failed", copied(source, of="ami-s"), state=state)
    under_way = put_together(pending, failed, place=RECOVERY).points[0]
    assert deleted(prune([under_way])) == {"ami-failed"}


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
