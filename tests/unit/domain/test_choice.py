"""Which points a recovery uses, and in which order its resources start."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikae.domain.choice import choose_points, group_points, list_groups, list_missed, member_of, order_batches
from hikae.domain.runs import Mode, Request
from tests.unit.domain.builders import NOW, copy, hours_ago, point
from tests.unit.domain.recovery_builders import ASKED


def test_the_newest_complete_point_is_chosen():
    points = [copy(point(hours_ago(hours))) for hours in (3, 2, 1)]
    assert choose_points(points, ["i-1"], ASKED, rejected={}).points["i-1"] is points[2]


def test_the_points_of_each_resource_are_told_apart():
    of = {each: [copy(point(hours_ago(hours), resource=each)) for hours in (2, 1)] for each in ("i-1", "i-2")}
    assert group_points([each for points in zip(*of.values(), strict=True) for each in points]) == of


def test_a_point_that_is_not_complete_or_was_rejected_is_not():
    old, newer = copy(point(hours_ago(3))), copy(point(hours_ago(2)))
    newest = copy(point(hours_ago(1)), state="pending")
    chosen = choose_points([old, newer, newest], ["i-1"], ASKED, rejected={newer.id: "corrupt"})
    assert chosen.points["i-1"] is old


def test_no_point_younger_than_asked_for():
    points = [copy(point(hours_ago(hours))) for hours in (3, 2, 1)]
    chosen = choose_points(points, ["i-1"], replace(ASKED, before=hours_ago(2)), rejected={})
    assert chosen.points["i-1"] is points[1]


def test_the_very_point_that_was_asked_for():
    points = [copy(point(hours_ago(hours))) for hours in (3, 2, 1)]
    chosen = choose_points(points, ["i-1"], replace(ASKED, point=points[0].tags.point), rejected={})
    assert chosen.points["i-1"] is points[0]


@pytest.mark.parametrize(
    ("mode", "before", "missed"),
    [
        (Mode.RESTORE, None, {"i-1"}),
        (Mode.RESTORE, hours_ago(30), {"i-2"}),
        (Mode.RESTORE, hours_ago(54), {"i-2"}),
        (Mode.RESTORE, hours_ago(55), set()),
        (Mode.DRILL, None, set()),
    ],
)
def test_a_restore_is_for_what_was_there_within_the_day_before(mode, before, missed):
    points = [copy(point(hours_ago(hours), resource=each)) for each, hours in (("i-1", 24), ("i-2", 54), ("i-3", 90))]
    request = replace(ASKED, mode=mode, before=before)
    assert list_missed(points, request, began_at=NOW) == missed


@pytest.mark.parametrize(
    ("request_", "state", "rejected", "why"),
    [
        (ASKED, "completed", "its manifest cannot be read", "the newest, {id}: its manifest cannot be read"),
        (ASKED, "pending", "", "the newest, {id}: 1 of 1 are pending"),
        (replace(ASKED, before=hours_ago(5)), "completed", "", "none of its 1 points here is as old as"),
        (replace(ASKED, point="rp-0"), "completed", "", "none of its 1 points here is rp-0"),
    ],
)
def test_a_resource_without_a_usable_point_is_named_with_the_reason(
    request_: Request, state: str, rejected: str, why: str
):
    only = copy(point(hours_ago(1)), state=state)
    chosen = choose_points([only], ["i-1", "i-2"], request_, rejected={only.id: rejected} if rejected else {})
    assert why.format(id=only.tags.point) in chosen.missing["i-1"]
    assert chosen.missing["i-2"] == "there is no recovery point of it here"


def test_groups_are_what_the_newest_points_say():
    def tagged(resource: str, service: str, hours: float) -> Any:
        made = copy(point(hours_ago(hours), resource=resource))
        snapshot = replace(made.snapshots[0], tags={**made.snapshots[0].tags, "Service": service})
        return replace(made, snapshots=(snapshot,))

    points = [tagged("i-1", "old", 3), tagged("i-1", "shop", 1), tagged("i-2", "shop", 2), tagged("i-3", "", 1)]
    groups = list_groups(points, plan="production", group_by="Service")
    assert groups == {"shop": ["i-1", "i-2"], "": ["i-3"]}
    assert list_groups(points, plan="production", group_by="") == {"": ["i-1", "i-2", "i-3"]}
    assert list_groups(points, plan="other", group_by="Service") == {}


def test_batches_go_by_number_then_by_text_and_what_has_none_is_last():
    orders = {"a": "10", "b": "9", "c": "", "d": "late", "e": "9"}
    assert order_batches(orders) == {"b": 0, "e": 0, "a": 1, "d": 2, "c": 3}


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.text(max_size=3), min_size=1))
def test_batches_are_numbered_without_gaps_and_equal_values_start_together(orders: dict[str, str]):
    batches = order_batches(orders)
    assert set(batches.values()) == set(range(len(set(batches.values()))))
    for one, value in orders.items():
        assert all(batches[one] == batches[other] for other, equal in orders.items() if value == equal)


def test_a_copys_snapshots_are_known_by_the_volume_in_their_tag():
    made_of = copy(point(hours_ago(1)))
    tagged = replace(made_of.snapshots[0], tags={**made_of.snapshots[0].tags, "hikae:volume": "vol-source"})
    chosen = member_of(replace(made_of, snapshots=(tagged,)), order="2", batch=1)
    assert chosen.snapshots == {"vol-source": tagged.id}
    assert (chosen.order, chosen.batch, chosen.source_time) == ("2", 1, hours_ago(1))
