"""Each guard keeps a point whatever retention says, and says why."""

from datetime import timedelta

import pytest

from hikae.domain.guards import (
    GUARDS,
    Circumstances,
    Lineage,
    Surroundings,
    keep_for_its_resources,
    keep_the_newest,
    keep_until_copied,
    keep_what_is_unclear,
    keep_while_recovered,
    keep_while_something_is_unknown,
    keep_while_the_clock_is_wrong,
    newest_of_lineages,
    object_to_deleting,
    object_to_touching,
)
from hikae.domain.model import Kind, RecycleBinRule, ResourceId
from hikae.domain.naming import HOLD
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


def circumstances(**differences) -> Circumstances:
    own = {
        name: differences.pop(name) for name in ("now", "latest", "newest", "wanted", "retired") if name in differences
    }
    known = {"now": NOW, "latest": None, "newest": {}, "wanted": {}, "retired": frozenset()}
    return Circumstances(**known | own, surroundings=Surroundings(**differences))


def image_point(*, carried=None, of_snapshot=None, **differences):
    tags = tags_of(kind=Kind.IMAGE, members=1)
    backing = snapshot("a", tags, **(of_snapshot or {}))
    whole = image("a", tags, snapshots=(backing.id,), carried=carried, **differences)
    return put_together(backing, whole).points[0]


def test_nothing_is_objected_where_nothing_keeps():
    assert object_to_deleting(point(NOW), circumstances()) == ()
    assert object_to_deleting(image_point(), circumstances()) == ()


def test_all_guards_are_asked():
    asked = {
        keep_while_the_clock_is_wrong,
        keep_while_something_is_unknown,
        keep_the_newest,
        keep_until_copied,
        keep_while_recovered,
        keep_what_is_unclear,
        keep_for_its_resources,
    }
    assert set(GUARDS) == asked


# --- what is unclear --------------------------------------------------------------------------------------------------


def test_a_point_of_which_something_cannot_be_accounted_for_is_kept_whole_with_its_leftovers():
    kept, other = point(NOW), point(hours_ago(1))
    around = circumstances(unclear={kept.tags.point: "snap-9"})
    reason = "snap-9 carries its id and cannot be accounted for"
    assert object_to_deleting(kept, around) == (reason,)
    assert object_to_touching(kept.snapshots[0], kept, around) == (reason,)
    assert object_to_deleting(other, around) == ()
    assert object_to_touching(other.snapshots[0], other, around) == ()


# --- the newest -------------------------------------------------------------------------------------------------------


def test_the_newest_complete_point_of_a_lineage_is_kept_unless_it_was_given_up():
    newest = point(NOW)
    lineage = Lineage(place=PRIMARY, resource=ResourceId("i-1"))
    reason = ("newest complete point of its resource",)
    assert object_to_deleting(newest, circumstances(newest={lineage: newest.id})) == reason
    assert object_to_deleting(point(hours_ago(1)), circumstances(newest={lineage: newest.id})) == ()
    given_up = circumstances(newest={lineage: newest.id}, retired=frozenset({newest.id}))
    assert object_to_deleting(newest, given_up) == ()


def test_the_newest_is_complete_no_duplicate_and_of_any_rule():
    first = point(hours_ago(2))
    newest = point(hours_ago(1), rule="nightly")
    again = point(NOW, slot=hours_ago(1), rule="nightly", attempt=2)
    pending = point(NOW, state="pending")
    other = point(hours_ago(3), resource=ResourceId("i-2"))
    found = newest_of_lineages([first, newest, again, pending, other])
    assert found == {
        Lineage(place=PRIMARY, resource=ResourceId("i-1")): newest,
        Lineage(place=PRIMARY, resource=ResourceId("i-2")): other,
    }


def test_of_two_points_of_one_moment_always_the_same_is_the_newest():
    one, other = point(NOW, rule="a"), point(NOW, rule="b")
    assert newest_of_lineages([one, other]) == newest_of_lineages([other, one])
    assert [*newest_of_lineages([one, other]).values()] == [max(one, other, key=lambda each: each.id)]


# --- what is needed elsewhere -----------------------------------------------------------------------------------------


def test_a_source_is_kept_for_every_copy_that_is_wanted():
    kept = point(NOW)
    wanted = {kept.id: ("wanted in us-west-2", "wanted in eu-west-1")}
    assert object_to_deleting(kept, circumstances(wanted=wanted)) == ("wanted in us-west-2", "wanted in eu-west-1")
    assert object_to_deleting(point(hours_ago(1)), circumstances(wanted=wanted)) == ()


def test_what_a_running_drill_recovers_from_is_kept():
    kept = point(NOW)
    drilled = circumstances(runs={kept.tags.point: "drill-7"})
    assert object_to_deleting(kept, drilled) == ("the run drill-7 recovers from it",)
    assert object_to_deleting(point(hours_ago(1)), drilled) == ()


def test_what_could_not_be_found_out_keeps_everything():
    unknown = circumstances(unknown=("nobody knows who refers to it",))
    assert object_to_deleting(point(NOW), unknown) == ("nobody knows who refers to it",)


@pytest.mark.parametrize(("ahead", "objections"), [(10, 0), (11, 1)])
def test_a_point_from_the_future_shows_that_the_clock_is_wrong(ahead, objections):
    wrong = circumstances(latest=NOW + timedelta(minutes=ahead))
    found = object_to_deleting(point(hours_ago(1)), wrong)
    assert len(found) == objections
    assert found in ((), ("the clock says 2026-11-22T10:00:00Z, and a point is of 2026-11-22T10:11:00Z",))


# --- what is wrong with one resource keeps all of it ------------------------------------------------------------------


def test_a_hold_on_one_member_keeps_the_whole_set():
    tags = tags_of(members=2)
    held = put_together(snapshot("a", tags), snapshot("b", tags, carried={HOLD: ""})).points[0]
    assert object_to_deleting(held, circumstances()) == ("snap-b is on hold",)


def test_a_hold_on_an_image_or_on_one_of_its_snapshots_keeps_it():
    assert object_to_deleting(image_point(carried={HOLD: "case 7"}), circumstances()) == ("ami-a is on hold",)
    held = image_point(of_snapshot={"carried": {HOLD: "case 7"}})
    assert object_to_deleting(held, circumstances()) == ("snap-a is on hold",)


def test_a_hold_on_a_leftover_keeps_its_point():
    source = tags_of(members=1)
    held = snapshot("held", copied(source, of="snap-a"), state="error", carried={HOLD: ""})
    kept = put_together(snapshot("good", copied(source, of="snap-a", attempt=2)), held, place=RECOVERY).points[0]
    assert object_to_deleting(kept, circumstances()) == ("snap-held is on hold",)


def test_a_lock_keeps_and_is_told():
    locked = circumstances(locks={"snap-a": "compliance until 2030-01-01T00:00:00Z"})
    reason = "snap-a is locked (compliance until 2030-01-01T00:00:00Z)"
    assert object_to_deleting(image_point(), locked) == (reason,)
    assert object_to_deleting(point(NOW), locked) == ()


def test_what_is_archived_is_kept():
    archived = point(NOW, tier="archive", name="a")
    assert object_to_deleting(archived, circumstances()) == ("snap-a is in the archive tier",)
    assert object_to_deleting(image_point(of_snapshot={"tier": "archive"}), circumstances()) == (
        "snap-a is in the archive tier",
    )


def test_an_image_that_somebody_disabled_is_kept():
    disabled = image_point(state="disabled")
    assert not disabled.is_complete
    assert object_to_deleting(disabled, circumstances()) == ("ami-a was disabled by somebody",)


def test_an_image_that_is_protected_from_deregistration_is_kept():
    protected = image_point(protection="enabled-with-cooldown")
    assert object_to_deleting(protected, circumstances()) == (
        "ami-a is protected from deregistration (enabled-with-cooldown)",
    )


def test_whoever_refers_to_one_member_keeps_the_whole_set_and_is_named():
    tags = tags_of(members=2)
    used = put_together(snapshot("a", tags), snapshot("b", tags)).points[0]
    references = {"snap-b": frozenset({"ami-9", "launch template lt-1 version 3"}), "snap-c": frozenset({"ami-1"})}
    assert object_to_deleting(used, circumstances(references=references)) == (
        "snap-b is referenced by ami-9",
        "snap-b is referenced by launch template lt-1 version 3",
    )


def test_an_image_does_not_keep_its_own_snapshots_and_another_does():
    used = image_point()
    own = circumstances(references={"snap-a": frozenset({"ami-a"})})
    assert object_to_deleting(used, own) == ()
    others = circumstances(references={"snap-a": frozenset({"ami-a", "ami-b"}), "ami-a": frozenset({"i-9"})})
    assert object_to_deleting(used, others) == ("ami-a is referenced by i-9", "snap-a is referenced by ami-b")


def test_a_leftover_of_the_same_point_keeps_nothing():
    source = tags_of(kind=Kind.IMAGE, members=1)
    backing = snapshot("a", copied(source, of="ami-s"))
    good = image("good", copied(source, of="ami-s", attempt=2), snapshots=(backing.id,))
    twice = image("twice", copied(source, of="ami-s", attempt=3), snapshots=(backing.id,))
    both = put_together(backing, good, twice, place=RECOVERY).points[0]
    references = {backing.id: frozenset({"ami-good", "ami-twice"})}
    assert object_to_deleting(both, circumstances(references=references)) == ()


# --- the Recycle Bin --------------------------------------------------------------------------------------------------


def bin_rule(**differences) -> RecycleBinRule:
    return RecycleBinRule(**{"id": "rule", "resource_type": "EBS_SNAPSHOT", "is_available": True} | differences)


WHOLE_REGION = bin_rule()
TAGGED = bin_rule(tags=frozenset({("hikae:plan", "production"), ("Team", None)}))


@pytest.mark.parametrize(
    ("rules", "is_covered"),
    [
        pytest.param(None, True, id="no rule is asked for"),
        pytest.param((), False, id="there is no rule"),
        pytest.param((WHOLE_REGION,), True, id="the whole Region"),
        pytest.param((bin_rule(is_available=False),), False, id="not in force yet"),
        pytest.param((bin_rule(resource_type="EC2_IMAGE"),), False, id="for images"),
        pytest.param((TAGGED,), True, id="its tag"),
        pytest.param((bin_rule(tags=frozenset({("hikae:plan", "web")})),), False, id="another value"),
        pytest.param((bin_rule(tags=frozenset({("hikae:plan", None)})),), True, id="any value"),
        pytest.param((bin_rule(tags=frozenset({("Team", None)})),), False, id="a tag that it lacks"),
        pytest.param((bin_rule(exclude_tags=frozenset({("hikae:plan", "production")})),), False, id="left out"),
        pytest.param((bin_rule(exclude_tags=frozenset({("Team", "web")})),), True, id="another is left out"),
        pytest.param((bin_rule(is_available=False), WHOLE_REGION), True, id="one of two"),
    ],
)
def test_only_what_the_recycle_bin_would_retain_goes_where_that_is_asked_for(rules, is_covered):
    one = point(NOW, name="a")
    objections = object_to_deleting(one, circumstances(bin_rules=rules))
    assert objections == (() if is_covered else ("no Recycle Bin rule covers snap-a",))


def test_an_image_needs_a_rule_for_itself_and_one_for_its_snapshots():
    of_images = bin_rule(resource_type="EC2_IMAGE")
    for rules, reasons in (
        ((of_images,), ("no Recycle Bin rule covers snap-a",)),
        ((WHOLE_REGION,), ("no Recycle Bin rule covers ami-a",)),
        ((WHOLE_REGION, of_images), ()),
    ):
        assert object_to_deleting(image_point(), circumstances(bin_rules=rules)) == reasons


# --- one resource of a point that stays -------------------------------------------------------------------------------


def test_one_resource_is_touched_only_where_nothing_keeps_it():
    held = snapshot("held", copied(tags_of(members=1), of="snap-a"), carried={HOLD: ""})
    free = snapshot("free", copied(tags_of(members=1), of="snap-a"))
    of = copy(point(NOW))
    assert object_to_touching(held, of, circumstances()) == ("snap-held is on hold",)
    assert object_to_touching(free, of, circumstances()) == ()
    assert object_to_touching(free, of, circumstances(unknown=("x",))) == ("x",)
    assert len(object_to_touching(free, of, circumstances(latest=NOW + timedelta(days=1)))) == 1


# --- what is gone -----------------------------------------------------------------------------------------------------


def test_only_what_is_known_to_be_gone_is_gone():
    lineage = Lineage(place=PRIMARY, resource=ResourceId("i-1"))
    assert Surroundings(present={PRIMARY: frozenset({"i-2"})}).is_gone(lineage)
    assert not Surroundings(present={PRIMARY: frozenset({"i-1"})}).is_gone(lineage)
    assert not Surroundings(present={RECOVERY: frozenset()}).is_gone(lineage)
    assert not Surroundings().is_gone(lineage)


@pytest.mark.parametrize(
    ("behind", "is_confirmed"),
    [
        (timedelta(0), True),
        (timedelta(days=1), True),
        (timedelta(days=1, seconds=1), False),
        (timedelta(minutes=-10), True),
        (timedelta(minutes=-10, seconds=-1), False),
    ],
)
def test_a_clock_is_confirmed_by_an_inventory_of_the_same_place_and_day(behind, is_confirmed):
    assert Surroundings(inventoried_at={PRIMARY: NOW - behind}).vouches_for(NOW, PRIMARY) is is_confirmed
    assert not Surroundings(inventoried_at={PRIMARY: NOW - behind}).vouches_for(NOW, RECOVERY)


def test_a_point_of_any_slot_belongs_to_the_lineage_of_its_resource():
    assert newest_of_lineages([point(NOW, slot=identity(slot=hours_ago(5)).slot)]).keys() == {
        Lineage(place=PRIMARY, resource=ResourceId("i-1"))
    }
