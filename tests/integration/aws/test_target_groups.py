"""Target groups: asked once for all instances, asked again after a while, and never in the way of a backup."""

from collections.abc import Iterator
from typing import Any

import pytest

from hikae.aws.clients import Clients
from hikae.aws.target_groups import LONGEST, MAX_AGE, TargetGroups
from hikae.ports import Unreachable
from local.inprocess import PRIMARY, Installation
from local.twin import faults


class Clock:
    """Seconds that only a test lets pass."""

    def __init__(self) -> None:
        self.now = 0.0
        self.step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def scene(installation: Installation) -> dict[str, Any]:
    [instance] = installation.launch()
    elb, ec2 = (installation.twin.client(service, PRIMARY) for service in ("elbv2", "ec2"))
    described = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]

    def make(name: str, kind: str, vpc: str) -> str:
        made = elb.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=vpc, TargetType=kind)
        arn: str = made["TargetGroups"][0]["TargetGroupArn"]
        return arn

    other = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    clock = Clock()
    groups = TargetGroups(Clients(region=PRIMARY).glancing_elbv2, clock=clock)
    return {"elb": elb, "instance": described, "make": make, "clock": clock, "groups": groups, "other": other}


@pytest.fixture
def installation() -> Iterator[Installation]:
    with Installation() as installation:
        yield installation


def test_an_instance_is_found_by_its_id_and_by_an_address_in_its_vpc(scene: dict[str, Any]) -> None:
    instance, elb = scene["instance"], scene["elb"]
    by_id = scene["make"]("by-id", "instance", instance["VpcId"])
    by_address = scene["make"]("by-address", "ip", instance["VpcId"])
    elsewhere = scene["make"]("elsewhere", "ip", scene["other"])
    elb.register_targets(TargetGroupArn=by_id, Targets=[{"Id": instance["InstanceId"], "Port": 8080}])
    address = {"Id": instance["PrivateIpAddress"], "Port": 9090}
    elb.register_targets(TargetGroupArn=by_address, Targets=[address, {"Id": "10.1.2.3", "Port": 9090}])
    elb.register_targets(TargetGroupArn=elsewhere, Targets=[address])
    found = scene["groups"].of(instance)
    assert [(each["TargetGroupArn"], each["Id"], each["Port"]) for each in found] == [
        (by_address, instance["PrivateIpAddress"], 9090),
        (by_id, instance["InstanceId"], 8080),
    ]


def test_what_was_seen_holds_for_a_while_and_is_then_looked_at_again(scene: dict[str, Any]) -> None:
    instance = scene["instance"]
    with faults.recorded() as asked:
        assert scene["groups"].of(instance) == []
        group = scene["make"]("late", "instance", instance["VpcId"])
        scene["elb"].register_targets(TargetGroupArn=group, Targets=[{"Id": instance["InstanceId"]}])
        scene["clock"].now = MAX_AGE - 1
        assert scene["groups"].of(instance) == []
        scene["clock"].now = MAX_AGE
        assert len(scene["groups"].of(instance)) == 1
    assert [each.action for each in asked if each.action == "DescribeTargetGroups"] == ["DescribeTargetGroups"] * 2


def test_what_did_not_answer_is_left_alone_as_long(scene: dict[str, Any]) -> None:
    instance = scene["instance"]
    with faults.recorded() as asked, faults.refused("DescribeTargetGroups", "AccessDenied", status=403):
        for _ in range(3):
            with pytest.raises(Unreachable, match="AccessDenied"):
                scene["groups"].of(instance)
    assert len([each for each in asked if each.action == "DescribeTargetGroups"]) <= 1
    scene["clock"].now = MAX_AGE
    assert scene["groups"].of(instance) == []


def test_more_groups_than_there_is_time_for_are_no_answer_rather_than_half_of_one(scene: dict[str, Any]) -> None:
    instance = scene["instance"]
    for number in range(3):
        scene["make"](f"group-{number}", "instance", instance["VpcId"])
    scene["clock"].step = LONGEST / 2
    with pytest.raises(Unreachable, match="more target groups than can be asked"):
        scene["groups"].of(instance)
