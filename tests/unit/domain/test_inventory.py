"""What an inventory says: what it leaves out is taken for gone, and what cannot be is refused and named."""

from datetime import timedelta
from typing import Any

import pytest

from hikae.domain.inventory import InventoryError, is_gone, list_present, read_inventory
from hikae.domain.model import BlockDevice, Instance, ResourceId, Volume
from tests.unit.domain.builders import NOW

ROW = {
    "plan": "production",
    "rule": "hourly",
    "resource": "i-1",
    "kind": "snapshot-set",
    "unprotectable": None,
    "destinations": ["us-west-2"],
    "rpo_seconds": 7200,
    "rto_seconds": None,
    "schedule": "0 * * * *",
    "timezone": "Asia/Tokyo",
    "start_window_seconds": 3600,
    "left_out": [],
}


@pytest.mark.parametrize(
    ("state", "is_there"),
    [("creating", True), ("available", True), ("in-use", True), ("error", True), ("deleting", False)],
)
def test_a_volume_is_there_until_it_is_deleted_whatever_is_wrong_with_it(state, is_there):
    assert ("vol-1" in list_present([], [Volume(id=ResourceId("vol-1"), state=state)])) is is_there


@pytest.mark.parametrize(
    ("state", "is_there"), [("pending", True), ("running", True), ("stopped", True), ("shutting-down", False)]
)
def test_an_instance_is_there_until_it_is_terminated_and_its_volumes_as_long_as_they_are_attached(state, is_there):
    device = BlockDevice(device="/dev/xvda", volume_id="vol-1")
    instance = Instance(
        id=ResourceId("i-1"), state=state, image_id="ami-1", root_device_type="ebs", block_devices=(device,)
    )
    assert list_present([instance], []) == {"vol-1"} | ({"i-1"} if is_there else set())


def document(**differences: Any) -> dict[str, Any]:
    return {"published_at": "2026-11-22T10:00:00Z", "broken_plans": ["x"], "resources": [ROW], "present": ["i-1"]} | (
        differences
    )


def test_what_was_published_is_read() -> None:
    inventory = read_inventory(document())
    [row] = inventory.rows
    assert inventory.published_at == NOW
    assert (inventory.broken_plans, inventory.present) == (("x",), frozenset({"i-1"}))
    assert (row.plan, row.rule, row.resource, row.rpo) == ("production", "hourly", "i-1", timedelta(hours=2))
    assert row.cadence is not None
    assert (row.cadence.timezone.key, row.cadence.start_window) == ("Asia/Tokyo", timedelta(hours=1))


@pytest.mark.parametrize(
    ("resource", "age", "differences", "expected"),
    [
        ("i-2", timedelta(hours=1), {}, True),
        ("i-2", timedelta(0), {}, True),
        ("i-1", timedelta(hours=1), {}, False),
        # A tick has run since this run began.
        ("i-2", timedelta(hours=1), {"published_at": "2026-11-22T10:15:10Z"}, True),
        # It was there after the inventory was published.
        ("i-2", -timedelta(seconds=1), {}, False),
        # Such an inventory says nothing.
        ("i-2", timedelta(days=2), {"published_at": "2026-11-21T09:59:59Z"}, False),
        ("i-2", timedelta(hours=1), {"published_at": "2026-11-22T10:15:11Z"}, False),
        ("i-2", timedelta(hours=1), {"published_at": "yesterday"}, False),
        ("i-2", timedelta(hours=1), {"present": None}, False),
    ],
)
def test_a_resource_is_gone_if_an_inventory_that_could_know_it_lacks_it(resource, age, differences, expected):
    inventory = document(**differences)
    assert is_gone(resource, inventory, newest=NOW - age, now=NOW + timedelta(seconds=10)) is expected


def test_where_there_is_no_inventory_nothing_is_gone() -> None:
    assert not is_gone("i-2", {}, newest=NOW - timedelta(hours=1), now=NOW)


def test_an_earlier_version_lacks_the_cadence_and_what_exists() -> None:
    earlier = {key: value for key, value in ROW.items() if key not in {"schedule", "timezone", "start_window_seconds"}}
    without = {key: value for key, value in document(resources=[earlier]).items() if key != "present"}
    inventory = read_inventory(without)
    assert inventory.rows[0].cadence is None
    assert inventory.present is None


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ({"published_at": "yesterday"}, "'yesterday' is not an RFC 3339 time"),
        ({"published_at": None}, "expected string"),
        ({"resources": None}, "not iterable"),
        ({"resources": ["i-1"]}, "string indices"),
        ({"resources": [{**ROW, "timezone": "Europe/Atlantis"}]}, "is not a time zone"),
        ({"resources": [{**ROW, "rpo_seconds": "2h"}]}, "unsupported type"),
        (
            {"resources": [{key: value for key, value in ROW.items() if key != "rpo_seconds"}]},
            "it has no 'rpo_seconds'",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(differences: dict[str, Any], said: str) -> None:
    with pytest.raises(InventoryError, match=said):
        read_inventory(document(**differences))
