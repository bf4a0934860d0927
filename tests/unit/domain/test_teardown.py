"""What may be removed at the end."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikae.domain.runs import Mode
from hikae.domain.teardown import Made, decide_teardown


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
