from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikae.domain.model import AccountId, Kind, PointState, ResourceId
from hikae.domain.naming import manifest_key
from hikae.domain.points import CONSISTENCY_DELAY, MAX_ATTEMPTS, Adopt, Create, GiveUp, next_attempt
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


def only(catalogue):
    assert catalogue.unclear == ()
    (one,) = catalogue.points
    return one


# --- sets -------------------------------------------------------------------------------------------------------------


def test_snapshots_of_one_point_attempt_and_instant_are_one_set():
    tags = tags_of(members=2)
    whole = only(put_together(snapshot("b", tags), snapshot("a", tags)))
    assert whole.state is PointState.COMPLETE
    assert whole.source_time == whole.time == NOW
    assert whole.resource_ids == ("snap-a", "snap-b")
    assert not whole.is_copy
    assert whole.reason == ""


@pytest.mark.parametrize(
    ("states", "state", "reason"),
    [
        (["completed", "pending"], PointState.PENDING, "1 of 2 are pending"),
        (["completed"], PointState.INCOMPLETE, "1 of 2 snapshots are there and completed"),
        (["completed"] * 3, PointState.INCOMPLETE, "3 of 2 snapshots are there and completed"),
        (["completed", "recoverable"], PointState.INCOMPLETE, "1 of 2 snapshots are there and completed"),
        (["pending", "error"], PointState.FAILED, "snap-1 is error: EC2 gave no reason"),
    ],
)
def test_a_set_is_as_far_as_its_members(states, state, reason):
    tags = tags_of(members=2)
    one = only(put_together(*(snapshot(str(number), tags, state=each) for number, each in enumerate(states))))
    assert (one.state, one.reason) == (state, reason)
    assert not one.is_complete


def test_a_failed_member_says_why():
    failed = snapshot("a", tags_of(members=1), state="error", state_message="Given key ID is not accessible")
    assert only(put_together(failed)).reason == "snap-a is error: Given key ID is not accessible"


def test_without_its_manifest_a_set_is_not_complete():
    tags = tags_of(members=1)
    one = only(put_together(snapshot("a", tags), manifests=set()))
    assert one.state is PointState.INCOMPLETE
    assert one.reason == f"manifest {manifest_key(tags)} is missing"
    assert only(put_together(snapshot("a", tags), manifests={manifest_key(tags)})).is_complete


def test_another_attempt_or_another_instant_is_another_set():
    tags = tags_of(members=1)
    catalogue = put_together(
        snapshot("a", tags),
        snapshot("b", tags_of(members=1, attempt=2)),
        snapshot("c", tags, started_at=NOW + timedelta(microseconds=1)),
    )
    assert len(catalogue.points) == 3
    assert len({each.id for each in catalogue.points}) == 3


def test_points_are_listed_newest_first():
    points = [point(hours_ago(age), resource=ResourceId(f"i-{age}")) for age in (2, 0, 1)]
    catalogue = put_together(*(each.snapshots[0] for each in points))
    assert [each.source_time for each in catalogue.points] == [hours_ago(0), hours_ago(1), hours_ago(2)]


# --- copies -----------------------------------------------------------------------------------------------------------


def test_a_copied_set_goes_by_the_time_of_its_source():
    source = tags_of(members=2)
    copies = [
        snapshot(name, copied(source, of=f"snap-{name}"), started_at=NOW + timedelta(hours=late))
        for late, name in enumerate("ab", start=3)
    ]
    whole = only(put_together(*copies, place=RECOVERY))
    assert whole.is_complete
    assert whole.is_copy
    assert whole.source_time == NOW
    assert whole.tags.identity.place == PRIMARY


def test_of_several_copies_of_one_member_the_completed_one_counts_and_the_others_are_left_over():
    source = tags_of(members=1)
    attempts = {
        "failed": snapshot("failed", copied(source, of="snap-a"), state="error"),
        "pending": snapshot("pending", copied(source, of="snap-a", attempt=2), state="pending"),
        "late": snapshot("late", copied(source, of="snap-a", attempt=3), started_at=NOW + timedelta(hours=2)),
        "early": snapshot("early", copied(source, of="snap-a", attempt=4), started_at=NOW + timedelta(hours=1)),
    }
    whole = only(put_together(*attempts.values(), place=RECOVERY))
    assert whole.is_complete
    assert whole.snapshots == (attempts["early"],)
    assert sorted(each.id for each in whole.leftovers) == ["snap-failed", "snap-late", "snap-pending"]


def test_a_copy_under_way_stands_for_one_that_failed():
    source = tags_of(members=1)
    failed = snapshot("failed", copied(source, of="snap-a"), state="error")
    pending = snapshot("pending", copied(source, of="snap-a", attempt=2), state="pending")
    one = only(put_together(failed, pending, place=RECOVERY))
    assert one.state is PointState.PENDING
    assert one.leftovers == (failed,)


def test_two_copies_of_one_member_do_not_make_two_members():
    source = tags_of(members=2)
    twice = [snapshot(name, copied(source, of="snap-a")) for name in ("x", "y")]
    one = only(put_together(*twice, place=RECOVERY))
    assert one.state is PointState.INCOMPLETE
    assert one.reason == "1 of 2 snapshots are there and completed"


def test_copies_of_different_source_sets_are_never_mixed():
    source = tags_of(members=2)
    later = NOW + timedelta(minutes=1)
    catalogue = put_together(
        snapshot("x", copied(source, of="snap-a")),
        snapshot("y", copied(source, of="snap-b", source_time=later)),
        place=RECOVERY,
    )
    assert [each.state for each in catalogue.points] == [PointState.INCOMPLETE] * 2


def test_a_source_and_its_copy_in_one_region_are_two_points():
    source = tags_of(members=1)
    catalogue = put_together(snapshot("a", source), snapshot("x", copied(source, of="snap-a")))
    assert sorted(each.is_copy for each in catalogue.points) == [False, True]


# --- images -----------------------------------------------------------------------------------------------------------


def test_an_image_and_its_snapshots_are_one_point():
    tags = tags_of(kind=Kind.IMAGE, members=2)
    backing = [snapshot(name, tags) for name in "ab"]
    whole = only(put_together(*backing, image("1", tags, snapshots=("snap-a", "snap-b"))))
    assert whole.is_complete
    assert whole.resource_ids == ("ami-1", "snap-a", "snap-b")


@pytest.mark.parametrize(
    ("image_state", "backed", "state", "reason"),
    [
        ("pending", [], PointState.PENDING, "ami-1 is pending"),
        ("failed", [], PointState.FAILED, "ami-1 is failed: EC2 gave no reason"),
        ("disabled", ["a", "b"], PointState.INCOMPLETE, "ami-1 is disabled"),
        ("available", ["a"], PointState.INCOMPLETE, "1 of 2 snapshots are there and completed"),
        ("available", [], PointState.INCOMPLETE, "0 of 2 snapshots are there and completed"),
    ],
)
def test_an_image_is_as_far_as_it_and_its_snapshots(image_state, backed, state, reason):
    tags = tags_of(kind=Kind.IMAGE, members=2)
    backing = [snapshot(name, tags) for name in backed]
    shown = tuple(each.id for each in backing)
    one = only(put_together(*backing, image("1", tags, state=image_state, snapshots=shown)))
    assert (one.state, one.reason) == (state, reason)


def test_a_failed_copy_of_an_image_is_left_over_beside_the_good_one():
    source = tags_of(kind=Kind.IMAGE, members=1)
    backing = snapshot("a", copied(source, of="ami-s", attempt=2))
    good = image("good", copied(source, of="ami-s", attempt=2), snapshots=(backing.id,))
    failed = image("bad", copied(source, of="ami-s"), state="failed", state_message="no such key")
    whole = only(put_together(backing, good, failed, place=RECOVERY))
    assert whole.is_complete
    assert whole.image == good
    assert whole.leftovers == (failed,)


# --- what cannot be accounted for -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("difference", "reason"),
    [
        ({"owner": AccountId("999999999999")}, "owned by 999999999999, not by 123456789012"),
        ({"carried": {"hikae:v": ""}}, "tag hikae:v is missing"),
        ({"carried": {"hikae:resource": "i-2"}}, "hikae:point is rp-"),
        ({"carried": {"hikae:members": "none"}}, "tag hikae:members is 'none', not a number from 1"),
    ],
)
def test_what_is_not_clearly_ours_is_reported_and_in_no_point(difference, reason):
    catalogue = put_together(snapshot("a", tags_of(members=1), **difference))
    assert catalogue.points == ()
    (unclear,) = catalogue.unclear
    assert unclear.id == "snap-a"
    assert unclear.reason.startswith(reason)
    assert unclear.point == tags_of().point


def test_another_installations_points_are_not_ours():
    catalogue = put_together(snapshot("a", tags_of(identity(installation="blue"), members=1)))
    assert catalogue.points == ()
    assert [each.reason for each in catalogue.unclear] == ["belongs to installation blue"]


def test_a_set_whose_members_do_not_agree_about_it_is_unclear():
    """Somebody has changed a tag: the set must not pass for complete, and must not be deleted either."""
    catalogue = put_together(snapshot("a", tags_of(members=2)), snapshot("b", tags_of(members=1)))
    assert catalogue.points == ()
    assert {each.id for each in catalogue.unclear} == {"snap-a", "snap-b"}
    assert {each.point for each in catalogue.unclear} == {tags_of().point}
    assert {each.reason for each in catalogue.unclear} == {
        f"the snapshots of {tags_of().point} do not agree about what makes it complete"
    }


def test_an_image_that_says_it_is_a_snapshot_set_is_unclear():
    """Somebody has made an image of a set and carried the tags over: that image is theirs."""
    tags = tags_of(members=1)
    catalogue = put_together(snapshot("a", tags), image("theirs", tags, snapshots=("snap-a",)))
    assert only(replace(catalogue, unclear=())).resource_ids == ("snap-a",)
    assert [(each.id, each.reason) for each in catalogue.unclear] == [
        ("ami-theirs", "its tags say that it is a snapshot-set")
    ]


def test_snapshots_of_an_image_that_is_gone_are_a_point_of_their_own_that_is_not_complete():
    tags = tags_of(kind=Kind.IMAGE, members=2)
    early, late = snapshot("b", tags, started_at=hours_ago(2)), snapshot("a", tags, started_at=hours_ago(1))
    orphan = only(put_together(early, late))
    assert (orphan.state, orphan.reason, orphan.image) == (PointState.INCOMPLETE, "its image is not there", None)
    assert (orphan.source_time, orphan.resource_ids) == (hours_ago(2), ("snap-a", "snap-b"))
    assert not orphan.lacks_manifest
    copies = only(put_together(snapshot("c", copied(tags, of="ami-1", source_time=hours_ago(9))), place=RECOVERY))
    assert (copies.state, copies.source_time, copies.is_copy) == (PointState.INCOMPLETE, hours_ago(9), True)


def test_snapshots_whose_image_is_gone_are_pending_as_long_as_one_of_them_is():
    tags = tags_of(kind=Kind.IMAGE, members=2)
    assert only(put_together(snapshot("a", tags, state="pending"), snapshot("b", tags))).state is PointState.PENDING


def test_snapshots_that_an_image_of_the_same_point_does_not_name_are_its_leftovers():
    tags = tags_of(kind=Kind.IMAGE, members=1)
    backing, other = snapshot("a", tags), snapshot("b", tags)
    whole = only(put_together(backing, other, image("1", tags, snapshots=(backing.id,))))
    assert whole.is_complete
    assert [each.id for each in whole.leftovers] == ["snap-b"]


def test_a_source_and_its_copy_in_one_region_are_no_leftovers_of_each_other():
    tags = tags_of(kind=Kind.IMAGE, members=1)
    backing, twin = snapshot("a", tags), snapshot("b", copied(tags, of="ami-1"))
    source = image("1", tags, snapshots=(backing.id,))
    pending = image("2", copied(tags, of="ami-1"), state="pending")
    points = put_together(backing, twin, source, pending).points
    assert {(each.is_copy, each.leftovers) for each in points} == {(False, ()), (True, ())}
    alone = put_together(backing, twin, source).points
    assert {(each.is_copy, each.reason) for each in alone} == {(False, ""), (True, "its image is not there")}


def test_snapshots_of_an_image_that_does_not_show_them_yet_are_not_called_orphans():
    tags = tags_of(kind=Kind.IMAGE, members=1)
    pending = put_together(snapshot("a", tags, state="pending"), image("1", tags, state="pending"))
    assert only(pending).state is PointState.PENDING


@given(st.permutations(range(6)))
def test_the_order_in_which_ec2_lists_does_not_matter(order):
    source, other = tags_of(members=2), tags_of(identity(resource=ResourceId("i-2")), members=1)
    held = [
        snapshot("a", copied(source, of="snap-1")),
        snapshot("b", copied(source, of="snap-2"), state="error"),
        snapshot("c", copied(source, of="snap-2", attempt=2)),
        snapshot("d", copied(other, of="snap-3")),
        snapshot("e", copied(other, of="snap-3")),
        snapshot("f", other),
    ]

    def shown(*members):
        return {
            (each.is_copy, each.id): (each.state, each.snapshots, sorted(left.id for left in each.leftovers))
            for each in put_together(*members).points
        }

    assert shown(*(held[each] for each in order)) == shown(*held)


def test_of_failed_copies_the_newest_attempt_stands_for_them_and_of_good_ones_the_earliest():
    source = tags_of(members=1)
    failed = [snapshot(f"{n}", copied(source, of="snap-a", attempt=n), state="error") for n in (2, 10, 1)]
    assert only(put_together(*failed, place=RECOVERY)).resource_ids == ("snap-10",)
    good = [
        snapshot(f"{n}", copied(source, of="snap-a", attempt=n), started_at=NOW + timedelta(minutes=n)) for n in (2, 1)
    ]
    assert only(put_together(*failed, *good, place=RECOVERY)).resource_ids == ("snap-1",)
    images = tags_of(kind=Kind.IMAGE, members=1)
    both = [image(f"{n}", copied(images, of="ami-s", attempt=n), state="failed") for n in (1, 2)]
    assert only(put_together(*both, place=RECOVERY)).resource_ids == ("ami-2",)


def test_a_point_that_lacks_only_its_manifest_says_so():
    tags = tags_of(members=2)
    members = snapshot("a", tags), snapshot("b", tags)
    assert only(put_together(*members, manifests=set())).lacks_manifest
    assert not only(put_together(members[0], manifests=set())).lacks_manifest
    assert not only(put_together(*members)).lacks_manifest


# --- what is to be done for a job -------------------------------------------------------------------------------------


def later(minutes: float):
    return NOW + timedelta(minutes=minutes)


def test_a_job_without_a_point_is_to_be_created():
    assert next_attempt([], now=NOW) == Create(attempt=1)


@pytest.mark.parametrize("state", ["completed", "pending"])
def test_a_point_that_is_there_or_on_its_way_is_adopted(state):
    there = point(NOW, state=state)
    assert next_attempt([there], now=later(600)) == Adopt(point=there)


def test_a_failed_point_is_made_again_in_the_next_attempt():
    assert next_attempt([point(NOW, state="error")], now=later(1)) == Create(attempt=2)
    two = [point(NOW, state="error"), point(NOW, state="error", attempt=2)]
    assert next_attempt(two, now=later(1)) == Create(attempt=3)


def test_a_complete_point_is_adopted_before_one_on_its_way_and_of_two_the_earlier():
    pending = point(NOW, state="pending")
    first, second = point(later(2), slot=NOW, attempt=2), point(later(3), slot=NOW, attempt=3)
    assert next_attempt([pending, second, first], now=later(5)) == Adopt(point=first)


def test_members_that_ec2_may_not_show_yet_are_waited_for():
    partly = only(put_together(snapshot("a", tags_of(members=2))))
    assert next_attempt([partly], now=NOW + CONSISTENCY_DELAY - timedelta(seconds=1)) == Adopt(point=partly)
    assert next_attempt([partly], now=NOW + CONSISTENCY_DELAY) == Create(attempt=2)


def test_after_five_failed_attempts_it_is_given_up_with_the_last_reason():
    failed = [point(NOW, state="error", attempt=each) for each in range(1, MAX_ATTEMPTS + 1)]
    assert next_attempt(failed[:-1], now=later(1)) == Create(attempt=MAX_ATTEMPTS)
    given_up = next_attempt(failed, now=later(1))
    assert isinstance(given_up, GiveUp)
    assert given_up.reason == f"5 attempts have failed, the last one: {failed[-1].reason}"


def test_a_copy_keeps_the_name_of_its_source():
    source = point(NOW)
    assert copy(source).id == source.id
    assert copy(source).tags.point == source.tags.point
    assert (source.is_copy, copy(source).is_copy) == (False, True)
