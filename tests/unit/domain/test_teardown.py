"""What a recovery leaves: what may be removed, and what nobody has written down."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikae.domain.choice import member_of
from hikae.domain.model import Kind
from hikae.domain.runs import Member, Mode, Request, Run, Stage
from hikae.domain.teardown import Made, decide_teardown, list_recovered, may_have_more, name_unrecorded
from tests.unit.domain.builders import NOW, copy, point


def made(kind: str, **differences: Any) -> Made:
    tags = {"hikae:drill": "main/drill-1", "hikae:recovered-from": "rp-1", "hikae:recovered-resource": "i-1"}
    known: dict[str, Any] = {"id": f"{kind}-1", "state": "running", "tags": tags}
    return Made(kind=kind, **known | differences)


def test_a_drill_removes_all_that_it_made_instances_first():
    everything = [made("image"), made("volume"), made("instance"), made("endpoint")]
    decided = decide_teardown(everything, mode=Mode.DRILL, run="drill-1", installation="main")
    assert [each.kind for each in decided.remove] == ["instance", "volume", "image", "endpoint"]
    assert (decided.going, decided.kept) == ((), ())


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"hikae:drill": "main/drill-1"},
        {"hikae:drill": "main/drill-2", "hikae:recovered-from": "rp-1", "hikae:recovered-resource": "i-1"},
        {"hikae:drill": "other/drill-1", "hikae:recovered-from": "rp-1", "hikae:recovered-resource": "i-1"},
        {"hikae:recovery": "main/drill-1", "hikae:recovered-from": "rp-1", "hikae:recovered-resource": "i-1"},
    ],
)
def test_what_does_not_say_that_this_drill_made_it_stays(tags: dict[str, str]):
    decided = decide_teardown([made("instance", tags=tags)], mode=Mode.DRILL, run="drill-1", installation="main")
    assert decided.remove == ()
    assert decided.kept == ("instance-1: its tags do not say that main/drill-1 made it",)


def test_what_stands_for_a_resource_is_its_instance_or_a_volume_by_itself_that_is_not_gone():
    own = {"hikae:recovery": "main/restore-1", "hikae:recovered-from": "rp-1", "hikae:recovered-resource": "vol-1"}
    everything = [
        made("volume", id="vol-new", tags=own, state="available"),
        made("volume", id="vol-of-the-instance", attached_to="instance-1"),
        made("instance"),
        made("instance", id="instance-2", state="stopped"),
        made("instance", id="instance-3", state="terminated"),
        made("instance", id="instance-4", state="shutting-down"),
        made("image"),
    ]
    found = list_recovered(everything)
    assert [(each.id, each.resource, each.run) for each in found] == [
        ("instance-1", "i-1", "drill-1"),
        ("instance-2", "i-1", "drill-1"),
        ("vol-new", "vol-1", "restore-1"),
    ]


def test_what_is_on_its_way_out_is_waited_for():
    everything = [made("instance", state="shutting-down"), made("volume", attached_to="instance-1")]
    decided = decide_teardown(everything, mode=Mode.DRILL, run="drill-1", installation="main")
    assert (decided.remove, len(decided.going)) == ((), 2)
    gone = decide_teardown([made("instance", state="terminated")], mode=Mode.DRILL, run="drill-1", installation="main")
    assert (gone.remove, gone.going, gone.kept) == ((), (), ())


def test_a_security_group_goes_when_no_instance_of_the_drill_is_left():
    for state in ("running", "shutting-down"):
        everything = [made("security-group"), made("instance", state=state)]
        decided = decide_teardown(everything, mode=Mode.DRILL, run="drill-1", installation="main")
        assert [each.kind for each in decided.going if each.kind != "instance"] == ["security-group"]
    everything = [made("security-group"), made("instance", state="terminated")]
    decided = decide_teardown(everything, mode=Mode.DRILL, run="drill-1", installation="main")
    assert [each.kind for each in decided.remove] == ["security-group"]


def test_a_restore_keeps_all_but_its_images():
    tags = {"hikae:recovery": "main/restore-1", "hikae:recovered-from": "rp-1", "hikae:recovered-resource": "i-1"}
    everything = [made(kind, tags=tags) for kind in ("instance", "volume", "image")]
    decided = decide_teardown(everything, mode=Mode.RESTORE, run="restore-1", installation="main")
    assert [each.kind for each in decided.remove] == ["image"]
    assert (decided.going, decided.kept) == ((), ())


@given(st.dictionaries(st.sampled_from(["hikae:drill", "hikae:recovered-from", "Name"]), st.text(max_size=12)))
def test_nothing_without_the_exact_tag_is_ever_removed(tags: dict[str, str]):
    decided = decide_teardown([made("instance", tags=tags)], mode=Mode.DRILL, run="drill-1", installation="main")
    assert decided.remove == ()


def run_of(*members: Member, launch_ended: bool = False) -> Run:
    stage = Stage(began_at=NOW, ended_at=NOW if launch_ended else None)
    request = Request(mode=Mode.RESTORE, resources=("i-1", "vol-1"))
    return Run(name="restore-1", request=request, began_at=NOW, members=members, stages={"launch": stage})


INSTANCE = member_of(copy(point(NOW)), order="", batch=0)
VOLUME = replace(INSTANCE, resource="vol-1", kind=Kind.SNAPSHOT)


def test_what_ec2_shows_and_no_step_wrote_down_is_named():
    of_volume = {**made("volume").tags, "hikae:recovered-resource": "vol-1"}
    there = [
        made("instance", id="i-9"),
        made("volume", id="vol-8"),  # the instance's own
        made("volume", id="vol-9", tags=of_volume),
        made("image"),
    ]
    instance, volume = name_unrecorded(run_of(INSTANCE, VOLUME), there).members
    assert (instance.instance, instance.volume, volume.instance, volume.volume) == ("i-9", "", "", "vol-9")
    assert [len(each.notes) for each in (instance, volume)] == [1, 1]


def test_what_is_written_down_or_gone_is_not_named_again():
    known = replace(INSTANCE, instance="i-8")
    assert name_unrecorded(run_of(known), [made("instance", id="i-9")]).members == (known,)
    gone = [made("instance", id="i-9", state=state) for state in ("terminated", "shutting-down")]
    assert name_unrecorded(run_of(INSTANCE), gone).members == (INSTANCE,)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        pytest.param(run_of(INSTANCE), True, id="cut off in its launch"),
        pytest.param(run_of(INSTANCE, launch_ended=True), False, id="the launch has ended by itself"),
        pytest.param(run_of(replace(INSTANCE, instance="i-9")), False, id="all of it is known"),
        pytest.param(replace(run_of(INSTANCE), stages={}), False, id="nothing was begun"),
    ],
)
def test_ec2_may_show_more_only_where_a_step_that_makes_things_was_cut_off(run: Run, expected: bool):  # noqa: FBT001 - a table's column
    assert may_have_more(run) is expected
