"""A subnet without free addresses is one rung less where there is another, and named where there is none."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from local.inprocess import RECOVERY, Installation
from tests.integration.operations.test_recovery import DRILL_REQUEST, RESTORE_REQUEST, leftovers, put_group, record_of


@pytest.fixture
def group() -> Iterator[Installation]:
    with Installation() as installation:
        put_group(installation, plan="snapshots", count=1)
        yield installation


def full_subnet(installation: Installation, network: dict[str, str], cidr: str) -> str:
    """The smallest that there is, in zone a, with something at each of the addresses that AWS leaves."""
    ec2 = installation.twin.client("ec2", RECOVERY)
    subnet: str = ec2.create_subnet(VpcId=network["vpc"], CidrBlock=cidr, AvailabilityZone=f"{RECOVERY}a")["Subnet"][
        "SubnetId"
    ]
    while ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"]:
        ec2.create_network_interface(SubnetId=subnet)
    return subnet


def restore_into(installation: Installation, *subnets: str) -> None:
    installation.set_recovery_settings(
        f"version: 1\ndefault_subnets: [{', '.join(subnets)}]\n"
        f"default_security_groups: [{installation.restore_vpc['group']}]\n"
    )


def test_a_restore_goes_into_the_other_subnet_and_says_why(group: Installation) -> None:
    full = full_subnet(group, group.restore_vpc, "172.31.48.0/28")
    restore_into(group, full, group.restore_vpc["b"])
    assert group.recover("restore-1").play({"request": RESTORE_REQUEST}) == "SUCCEEDED"
    [member] = record_of(group, "restore-1")["members"]
    assert (member["rung"]["number"], member["rung"]["zone"]) == (1, f"{RECOVERY}b")
    assert member["refused_rungs"][0] == f"subnet {full} has no free address"


def test_a_drill_goes_into_the_other_subnet_and_says_why(group: Installation) -> None:
    [block] = group.twin.client("ec2", RECOVERY).describe_vpcs(VpcIds=[group.drill_vpc["vpc"]])["Vpcs"]
    full = full_subnet(group, group.drill_vpc, f"{block['CidrBlock'].rsplit('.', 2)[0]}.48.0/28")
    group.recovery = replace(group.recovery, drill_subnets=(full, group.drill_vpc["b"]))
    assert group.recover("drill-1").play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    [member] = record_of(group, "drill-1")["members"]
    assert member["rung"]["zone"] == f"{RECOVERY}b"
    assert member["refused_rungs"][0] == f"subnet {full} has no free address"
    assert leftovers(group) == []


def test_where_every_subnet_is_full_each_is_named_and_nothing_is_launched(group: Installation) -> None:
    full = [full_subnet(group, group.restore_vpc, cidr) for cidr in ("172.31.48.0/28", "172.31.48.16/28")]
    restore_into(group, *full)
    assert group.recover("restore-1").play({"request": RESTORE_REQUEST}) == "FAILED"
    failure = record_of(group, "restore-1")["failure"]
    assert all(f"subnet {each} has no free address" in failure for each in full)
    assert group.twin.count("RunInstances", region=RECOVERY) == 0


def test_a_subnet_that_is_not_there_is_a_slip_in_the_settings_and_stops_it(group: Installation) -> None:
    gone = "subnet-00000000000000000"
    restore_into(group, gone, group.restore_vpc["b"])
    assert group.recover("restore-1").play({"request": RESTORE_REQUEST}) == "FAILED"
    assert f"subnet {gone} is not there" in record_of(group, "restore-1")["failure"]
