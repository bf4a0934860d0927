"""The members of a drill reach each other, and nothing else: what they share is a security group of the drill's own."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from local.inprocess import PRIMARY, RECOVERY, SNAPSHOT_PLAN, Installation
from local.twin import faults
from tests.integration.operations.test_recovery import (
    DRILL,
    DRILL_REQUEST,
    RESTORE_REQUEST,
    Dying,
    described,
    leftovers,
    put_group,
    record_of,
)

ITSELF = "hikae/main/run/drill-1"


@pytest.fixture
def two() -> Iterator[Installation]:
    with Installation() as installation:
        put_group(installation, plan="snapshots", count=2)
        yield installation


def groups(installation: Installation) -> dict[str, dict[str, Any]]:
    """The security groups of the drills' network that are not there for good, by name."""
    ec2 = installation.twin.client("ec2", RECOVERY)
    inside = [{"Name": "vpc-id", "Values": [installation.drill_vpc["vpc"]]}]
    found = ec2.describe_security_groups(Filters=inside)["SecurityGroups"]
    return {each["GroupName"]: each for each in found if each["GroupName"].startswith("hikae/")}


def test_they_share_a_group_that_lets_in_and_out_only_what_is_in_it(two: Installation) -> None:
    seen: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []

    def call(event: dict[str, Any]) -> dict[str, Any]:
        answer = two.run_step(event)
        if event["step"] == "probe" and not seen:
            run = two.recovery_site().load("drill-1")
            seen.append((groups(two)[ITSELF], [described(two, each.instance) for each in run.members]))
        return answer

    assert two.recover("drill-1", call=call).play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    [(group, instances)] = seen
    for rules in (group["IpPermissions"], group["IpPermissionsEgress"]):
        [rule] = rules
        assert rule["IpProtocol"] == "-1"
        assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [group["GroupId"]]
        assert rule.get("IpRanges", []) == rule.get("Ipv6Ranges", []) == []
    for instance in instances:
        held = {each["GroupId"] for each in instance["SecurityGroups"]}
        assert held == {two.drill_vpc["group"], group["GroupId"]}
    assert group["GroupId"] in record_of(two, "drill-1")["torn_down"]
    assert groups(two) == {}
    assert leftovers(two) == []


def test_drills_at_once_have_groups_of_their_own(two: Installation) -> None:
    first, second = two.recover("drill-1"), two.recover("drill-2")
    finished: list[str] = []

    def call(event: dict[str, Any]) -> dict[str, Any]:
        if event["step"] == "probe" and not finished:
            finished.append(second.play({"request": DRILL_REQUEST}))
            assert list(groups(two)) == [ITSELF]  # the second took only its own away
        return two.run_step(event)

    first.call = call
    assert first.play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    assert finished == ["SUCCEEDED"]
    own = [two.recovery_site().load(name).group for name in ("drill-1", "drill-2")]
    assert all(own)
    assert own[0] != own[1]
    assert leftovers(two) == []


def make_subnet(installation: Installation, region: str) -> tuple[str, str]:
    """A VPC with one subnet, of the same addresses in every Region."""
    ec2 = installation.twin.client("ec2", region)
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.20.30.0/24", AvailabilityZone=f"{region}a")["Subnet"]
    return vpc, subnet["SubnetId"]


def test_they_have_their_old_addresses_where_the_drills_subnets_have_them() -> None:
    """What finds its database by its address finds it in a drill, too."""
    with Installation() as installation:
        _, home = make_subnet(installation, PRIMARY)
        was = {}
        for address in ("10.20.30.40", "10.20.30.41"):
            tags = {"Backup": "production", "Service": "shop"}
            [instance] = installation.launch(tags=tags, SubnetId=home, PrivateIpAddress=address)
            was[instance] = address
        installation.apply("production", SNAPSHOT_PLAN + DRILL)
        installation.back_up()
        installation.copy_all()
        vpc, subnet = make_subnet(installation, RECOVERY)
        group = installation.twin.client("ec2", RECOVERY).create_security_group(
            GroupName="drills", Description="x", VpcId=vpc
        )["GroupId"]
        installation.recovery = replace(
            installation.recovery, drill_subnets=(subnet,), drill_security_groups=(group,), drill_vpc=vpc
        )
        now: dict[str, str] = {}

        def call(event: dict[str, Any]) -> dict[str, Any]:
            answer = installation.run_step(event)
            if event["step"] == "network":
                run = installation.recovery_site().load("drill-1")
                now.update({e.resource: described(installation, e.instance)["PrivateIpAddress"] for e in run.members})
            return answer

        assert installation.recover("drill-1", call=call).play({"request": DRILL_REQUEST}) == "SUCCEEDED"
        assert now == was
        assert leftovers(installation) == []


def test_one_instance_alone_and_a_restore_need_none(two: Installation) -> None:
    two.set_recovery_settings(
        f"version: 1\ndefault_subnets: [{two.restore_vpc['a']}]\n"
        f"default_security_groups: [{two.restore_vpc['group']}]\n"
    )
    assert two.recover("restore-1").play({"request": RESTORE_REQUEST}) == "SUCCEEDED"
    resource = record_of(two, "restore-1")["members"][0]["resource"]
    alone = {"mode": "drill", "plan": "production", "resources": [resource], "started_by": "test"}
    assert two.recover("drill-1").play({"request": alone}) == "SUCCEEDED"
    assert two.twin.count("CreateSecurityGroup", region=RECOVERY) == 2  # the networks' own


def test_a_group_that_is_refused_is_noted_and_the_drill_goes_on(two: Installation) -> None:
    with faults.refused("CreateSecurityGroup", "SecurityGroupLimitExceeded"):
        assert two.recover("drill-1").play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    notes = [note for member in record_of(two, "drill-1")["members"] for note in member["notes"]]
    [note] = [note for note in notes if "reach" in note]
    assert note.startswith("the members of this drill cannot reach each other: SecurityGroupLimitExceeded")


def test_a_group_is_made_once_wherever_its_step_is_killed(two: Installation) -> None:
    for number, phase in enumerate(faults.Phase):
        name = f"drill-{number}"
        dying = Dying(two, phase)

        def call(event: dict[str, Any], dying: Dying = dying) -> dict[str, Any]:
            return dying(event) if event["step"] == "prepare" else two.run_step(event)

        made = two.twin.count("CreateSecurityGroup", region=RECOVERY, error=None)
        assert two.recover(name, call=call).play({"request": DRILL_REQUEST}) == "SUCCEEDED"
        assert dying.deaths > 5
        assert two.twin.count("CreateSecurityGroup", region=RECOVERY, error=None) == made + 1
        assert two.recovery_site().load(name).group in record_of(two, name)["torn_down"]
    assert leftovers(two) == []


def test_a_group_that_something_still_holds_is_left_by_name_and_not_forgotten(two: Installation) -> None:
    ec2 = two.twin.client("ec2", RECOVERY)

    def call(event: dict[str, Any]) -> dict[str, Any]:
        answer = two.run_step(event)
        if event["step"] == "probe" and answer["status"] == "done":
            group = two.recovery_site().load("drill-1").group
            ec2.create_network_interface(SubnetId=two.drill_vpc["a"], Groups=[group])
        return answer

    assert two.recover("drill-1", call=call).play({"request": DRILL_REQUEST}) == "FAILED"
    record = record_of(two, "drill-1")
    group = two.recovery_site().load("drill-1").group
    assert any(each.startswith(f"{group}: DependencyViolation") for each in record["left_behind"])
    two.end_execution("drill-1")
    [outcome] = two.sweep().outcomes  # and it goes on to say so
    assert "DependencyViolation" in outcome.reason
