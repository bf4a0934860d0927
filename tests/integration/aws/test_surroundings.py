"""What the recovery Region offers, as far as it takes more than asking."""

from collections.abc import Iterator
from typing import Any

import pytest

from hikae.domain.ladder import find_lacking_vcpus
from hikae.domain.runs import Rung
from local.inprocess import RECOVERY, Installation
from local.twin.faults import recorded
from local.twin.quotas import STANDARD_VCPUS


@pytest.fixture
def installation() -> Iterator[Installation]:
    with Installation() as installation:
        yield installation


def test_elastic_ip_addresses_that_are_there_and_who_has_them(installation: Installation) -> None:
    ec2, vpc = installation.twin.client("ec2", RECOVERY), installation.restore_vpc
    free, taken, held = (ec2.allocate_address(Domain="vpc")["AllocationId"] for _ in range(3))
    interface = ec2.create_network_interface(SubnetId=vpc["a"])["NetworkInterface"]["NetworkInterfaceId"]
    ec2.associate_address(AllocationId=taken, NetworkInterfaceId=interface)
    launch(installation)
    [reservation] = ec2.describe_instances()["Reservations"]
    instance = reservation["Instances"][0]["InstanceId"]
    ec2.associate_address(AllocationId=held, InstanceId=instance)
    found = installation.recovery_site().surroundings.addresses({free, taken, held, "eipalloc-00000000000000000"})
    assert found == {free: "", taken: interface, held: instance}


def test_target_groups_that_are_there_and_their_vpcs(installation: Installation) -> None:
    elb, vpc = installation.twin.client("elbv2", RECOVERY), installation.restore_vpc["vpc"]
    there, function, other = (
        elb.create_target_group(Name=name, **request)["TargetGroups"][0]["TargetGroupArn"]
        for name, request in (
            ("there", {"Protocol": "HTTP", "Port": 80, "VpcId": vpc}),
            ("function", {"TargetType": "lambda"}),
            ("other", {"Protocol": "HTTP", "Port": 80, "VpcId": vpc}),
        )
    )
    surroundings = installation.recovery_site().surroundings
    gone = other.replace("other", "gone")
    assert surroundings.target_groups({there, function, gone}) == {there: vpc, function: ""}


def test_nothing_is_asked_about_nothing(installation: Installation) -> None:
    surroundings = installation.recovery_site().surroundings
    with recorded() as asked:
        assert surroundings.addresses(()) == surroundings.target_groups(()) == {}
    assert asked == []


def launch(installation: Installation, **request: Any) -> None:
    ec2 = installation.twin.client("ec2", RECOVERY)
    base = next(each for each in ec2.describe_images(Owners=["amazon"])["Images"] if each["RootDeviceType"] == "ebs")
    ec2.run_instances(ImageId=base["ImageId"], InstanceType="m5.large", MinCount=1, MaxCount=1, **request)
    installation.advance(minutes=5)


def test_only_on_demand_instances_count_towards_the_on_demand_quotas(installation: Installation) -> None:
    installation.twin.world.quotas.set(STANDARD_VCPUS, 4)
    launch(installation)
    launch(installation, InstanceMarketOptions={"MarketType": "spot"})
    launch(installation, Placement={"Tenancy": "host"})
    surroundings = installation.recovery_site().surroundings
    running = surroundings.running_types()
    assert running == {"m5.large": 1}
    rungs = {"i-1": [Rung(type="m5.large", subnet="", zone="")]}
    assert find_lacking_vcpus(rungs, vcpus={"m5.large": 2}, running=running, quotas={STANDARD_VCPUS: 4}) == []


def test_a_dedicated_instance_counts_as_any_other(installation: Installation) -> None:
    launch(installation, Placement={"Tenancy": "dedicated"})
    assert installation.recovery_site().surroundings.running_types() == {"m5.large": 1}
