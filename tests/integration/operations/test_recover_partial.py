"""A partial run goes on without what cannot be recovered now, and names it; the others do not wait for it."""

from collections.abc import Iterator

import pytest

from local.inprocess import RECOVERY, Installation
from local.twin import faults
from local.twin.quotas import STANDARD_VCPUS
from tests.integration.operations.test_recovery import (
    DRILL_REQUEST,
    RESTORE_REQUEST,
    described,
    leftovers,
    put_group,
    record_of,
)

PARTIAL = {"partial": True}
NOWHERE = "subnet-00000000000000000"


@pytest.fixture
def group() -> Iterator[Installation]:
    with Installation() as installation:
        instances = put_group(installation, plan="snapshots")
        settle(installation, nowhere=instances[:1])
        yield installation


def settle(installation: Installation, *, nowhere: list[str]) -> None:
    own = "".join(f"  {each}: {{subnet: {NOWHERE}}}\n" for each in nowhere)
    installation.set_recovery_settings(
        f"version: 1\ndefault_subnets: [{installation.restore_vpc['a']}]\n"
        f"default_security_groups: [{installation.restore_vpc['group']}]\n"
        f"instances:{f'{chr(10)}{own}' if own else ' {}'}\n"
    )


def resources_of(installation: Installation) -> list[str]:
    """In the order in which they start."""
    points = installation.recovery_site().catalogue().points
    tags = {point.tags.identity.resource: point.snapshots[0].tags for point in points}
    return sorted(tags, key=lambda resource: tags[resource]["BootOrder"])


def test_what_lacks_something_here_is_left_and_named_and_the_others_are_restored(group: Installation) -> None:
    assert group.recover("restore-1").play({"request": RESTORE_REQUEST}) == "FAILED"
    assert f"subnet {NOWHERE} is not there" in record_of(group, "restore-1")["failure"]
    assert group.twin.count("RunInstances", region=RECOVERY) == 0

    assert group.recover("restore-2").play({"request": RESTORE_REQUEST | PARTIAL}) == "SUCCEEDED"
    record = record_of(group, "restore-2")
    [last] = record["missing"]
    assert record["missing"][last] == f"subnet {NOWHERE} is not there"
    assert {member["resource"] for member in record["members"]} == set(resources_of(group)) - {last}
    for member in record["members"]:
        assert described(group, member["instance"])["State"]["Name"] == "running"


def test_where_everything_lacks_something_a_partial_run_fails_too(group: Installation) -> None:
    settle(group, nowhere=resources_of(group))
    assert group.recover("restore-1").play({"request": RESTORE_REQUEST | PARTIAL}) == "FAILED"
    record = record_of(group, "restore-1")
    assert record["failure"].startswith("preflight: nothing is left to recover: ")
    assert record["failure"].count(NOWHERE) == 3
    assert leftovers(group) == []


def test_a_quota_that_is_too_small_is_used_in_boot_order(group: Installation) -> None:
    group.twin.world.quotas.set(STANDARD_VCPUS, 5)  # two of three instances of two vCPUs each
    assert group.recover("drill-1").play({"request": DRILL_REQUEST | PARTIAL}) == "SUCCEEDED"
    record = record_of(group, "drill-1")
    *first, last = resources_of(group)
    assert [member["resource"] for member in record["members"]] == first
    assert "VcpuLimitExceeded" in record["missing"][last]
    assert not record["missing"][last].startswith(last)
    notes = [note for member in record["members"] for note in member["notes"]]
    assert len([note for note in notes if note.startswith(f"the quota '{STANDARD_VCPUS}' is 5 vCPUs")]) == 1
    assert leftovers(group) == []


def test_no_room_for_anything_is_no_success(group: Installation) -> None:
    with faults.no_capacity():
        assert group.recover("drill-1").play({"request": DRILL_REQUEST | PARTIAL}) == "FAILED"
    assert record_of(group, "drill-1")["failure"].startswith("launch: nothing is left to recover: ")
    assert leftovers(group) == []


def test_what_can_be_registered_by_nobody_is_left_and_a_step_that_comes_back_leaves_it(group: Installation) -> None:
    first, *others = resources_of(group)
    victim = next(
        point.snapshots[0].id
        for point in group.recovery_site().catalogue().points
        if point.tags.identity.resource == first
    )

    def call(event: dict) -> dict:
        group.run_step(event)
        return group.run_step(event)

    with faults.refused("RegisterImage", "InvalidBlockDeviceMapping", resource=victim):
        assert group.recover("drill-1", call=call).play({"request": DRILL_REQUEST | PARTIAL}) == "SUCCEEDED"
    record = record_of(group, "drill-1")
    assert "no image could be registered" in record["missing"][first]
    assert {member["resource"] for member in record["members"]} == set(others)
    assert leftovers(group) == []
