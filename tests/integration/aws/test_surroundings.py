"""What the recovery Region offers, as far as it takes more than asking."""

from collections.abc import Iterator
from typing import Any

import pytest

from hikae.domain.ladder import find_lacking_vcpus
from hikae.domain.runs import Rung
from local.inprocess import RECOVERY, Installation
from local.twin.quotas import STANDARD_VCPUS


@pytest.fixture
def installation() -> Iterator[Installation]:
    with Installation() as installation:
        yield installation


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
