"""What an objective means: how old the newest complete copy may be, and what is said where there is none."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hikae.domain.inventory import Cadence, Inventory, InventoryRow
from hikae.domain.model import RecoveryPoint, ResourceId
from hikae.domain.objectives import COPY_GRACE, Measurement, Standing, doubt, measure
from hikae.domain.replication import Group
from tests.unit.domain.builders import NOW, PRIMARY, RECOVERY, copy, hours_ago, point

HOURLY = Cadence(schedule="0 * * * *", timezone=ZoneInfo("UTC"), start_window=timedelta(hours=1))
NIGHTLY = Cadence(schedule="30 2 * * *", timezone=ZoneInfo("UTC"), start_window=timedelta(hours=1))
GROUP = Group(place=PRIMARY, plan="production", rule="hourly", resource=ResourceId("i-1"))


def row(**differences: Any) -> InventoryRow:
    known: dict[str, Any] = {
        "plan": "production",
        "rule": "hourly",
        "resource": ResourceId("i-1"),
        "destinations": frozenset({RECOVERY.region}),
        "rpo": timedelta(hours=2),
        "cadence": HOURLY,
    }
    return InventoryRow(**known | differences)


def inventory(*rows: InventoryRow, **differences: Any) -> Inventory:
    return Inventory(**{"published_at": NOW, "rows": rows} | differences)


def measured(
    *rows: InventoryRow,
    copies: Iterable[RecoveryPoint] = (),
    since: Mapping[Group, datetime] | None = None,
    now: datetime = NOW,
    **differences: Any,
) -> list[Measurement]:
    return measure(
        inventory(*rows, **differences), source=PRIMARY, here=RECOVERY, copies=copies, since=since or {}, now=now
    )


def test_achieved_rpo_is_the_age_of_the_newest_complete_copys_source() -> None:
    copies = [copy(point(hours_ago(age))) for age in (5, 1.5, 3)]
    [found] = measured(row(), copies=copies)
    assert found.achieved == timedelta(hours=1.5)
    assert found.newest == copies[1]
    assert found.standing is Standing.MET
    assert not found.is_failure


def test_a_report_of_another_time_counts_what_was_there_then() -> None:
    copies = [copy(point(hours_ago(age))) for age in (5, 1.5)]
    [found] = measured(row(), copies=copies, now=hours_ago(2))
    assert (found.achieved, found.newest) == (timedelta(hours=3), copies[0])


@pytest.mark.parametrize(
    ("age", "standing"),
    [
        (timedelta(hours=2), Standing.MET),
        (timedelta(hours=2, seconds=1), Standing.BREACHED),
    ],
)
def test_an_objective_is_breached_as_soon_as_it_is_exceeded(age: timedelta, standing: Standing) -> None:
    [found] = measured(row(), copies=[copy(point(NOW - age))])
    assert found.standing is standing
    assert found.is_failure == (standing is Standing.BREACHED)
    assert "its RPO is 2h" in found.reason


def test_what_exceeds_its_objective_by_less_than_a_second_does_not_look_equal_to_it() -> None:
    [found] = measured(row(), copies=[copy(point(NOW - timedelta(hours=2, microseconds=1)))])
    assert (found.standing, found.achieved_seconds) == (Standing.BREACHED, 7201)


@pytest.mark.parametrize("state", ["pending", "error"])
def test_a_copy_that_is_not_complete_does_not_count(state: str) -> None:
    [found] = measured(row(), copies=[copy(point(hours_ago(1)), state=state), copy(point(hours_ago(30)))])
    assert found.achieved == timedelta(hours=30)
    assert found.standing is Standing.BREACHED


def test_a_source_is_no_copy_even_where_both_sites_share_a_region() -> None:
    [found] = measured(row(), copies=[point(hours_ago(1))])
    assert found.newest is None


def test_copies_of_another_rule_plan_or_resource_are_not_its_own() -> None:
    others = [{"rule": "daily"}, {"plan": "other"}, {"resource": ResourceId("i-2")}]
    copies = [copy(point(hours_ago(1), **other)) for other in others]
    [found] = measured(row(), copies=copies)
    assert found.newest is None


def test_a_new_resource_has_as_long_as_its_rpo_for_its_first_copy() -> None:
    [first_seen] = measured(row())
    assert (first_seen.standing, first_seen.since) == (Standing.WAITING, NOW)
    [later] = measured(row(), since={GROUP: NOW}, now=NOW + timedelta(hours=2))
    assert later.standing is Standing.WAITING
    [too_late] = measured(row(), since={GROUP: NOW}, now=NOW + timedelta(hours=2, minutes=1))
    assert too_late.standing is Standing.NEVER
    assert too_late.is_failure
    assert too_late.reason == "it has no complete copy, 2h1m after it was first seen; its RPO is 2h"


def test_a_moment_to_come_gives_no_more_time() -> None:
    [found] = measured(row(), since={GROUP: NOW + timedelta(days=30)})
    assert found.since == NOW


def test_without_an_rpo_a_rule_is_held_to_its_own_schedule() -> None:
    since = {GROUP: hours_ago(48)}
    # 2:30 of today has had its window until 3:30, and until 9:30 to be copied.
    fresh = row(rpo=None, cadence=NIGHTLY)
    [met] = measured(fresh, since=since, copies=[copy(point(hours_ago(7.4)))])
    assert (met.standing, met.rpo) == (Standing.MET, None)
    [stale] = measured(fresh, since=since, copies=[copy(point(hours_ago(7.6)))])
    assert stale.standing is Standing.BREACHED
    assert "2026-11-22T02:30:00Z" in stale.reason
    [never] = measured(fresh, since=since)
    assert never.standing is Standing.NEVER
    [in_time] = measured(fresh, since=since, copies=[copy(point(hours_ago(31)))], now=hours_ago(0.51))
    assert in_time.standing is Standing.MET


def test_without_an_rpo_no_slot_counts_from_before_a_resource_was_protected() -> None:
    nightly = row(rpo=None, cadence=NIGHTLY)
    [found] = measured(nightly, since={GROUP: hours_ago(7)})
    assert found.standing is Standing.WAITING
    [found] = measured(nightly, since={GROUP: hours_ago(7)}, now=NOW + timedelta(days=1))
    assert found.standing is Standing.NEVER


@pytest.mark.parametrize("schedule", ["0 0 1 * *", "0 0 1 1 *", "0 0 29 2 *"])
def test_a_slot_that_is_long_ago_is_found(schedule: str) -> None:
    rare = row(rpo=None, cadence=Cadence(schedule=schedule, timezone=ZoneInfo("UTC"), start_window=timedelta(hours=1)))
    [found] = measured(rare, since={GROUP: NOW - timedelta(days=3000)})
    assert found.standing is Standing.NEVER


def test_an_inventory_that_does_not_say_when_points_are_due_gives_a_day() -> None:
    since = {GROUP: NOW}
    silent = row(rpo=None, cadence=None)
    [found] = measured(silent, since=since, now=NOW + timedelta(days=1) + COPY_GRACE - timedelta(seconds=1))
    assert found.standing is Standing.WAITING
    [found] = measured(silent, since=since, now=NOW + timedelta(days=1) + COPY_GRACE)
    assert found.standing is Standing.NEVER


def test_what_is_not_to_be_copied_here_is_not_measured_here() -> None:
    assert measured(row(destinations=frozenset({"eu-west-1"})), row(destinations=frozenset())) == []


def test_what_cannot_be_protected_or_is_gone_is_not_measured() -> None:
    assert measured(row(unprotectable="it has no EBS volume")) == []
    assert measured(row(), present=frozenset({"i-2"})) == []
    assert len(measured(row(), present=frozenset({"i-1"}))) == 1


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (timedelta(0), None),
        (timedelta(days=1), None),
        (timedelta(days=1, minutes=1), "1d1m ago: no tick has run since"),
        (timedelta(minutes=-15), None),
        (timedelta(minutes=-15, seconds=-1), "which is yet to come"),
    ],
)
def test_an_inventory_is_believed_for_a_day(age: timedelta, said: str | None) -> None:
    reason = doubt(inventory(published_at=NOW - age), now=NOW)
    if said is None:
        assert reason is None
    else:
        assert reason is not None
        assert said in reason
