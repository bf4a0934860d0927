"""What the contract tests of the EC2 twin share.

`twin` is the twin. `cloud` is the twin and then stock moto, where the same test is expected to fail: the day a moto
release gets a row right, the test passes there, which strict xfail reports.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from local.twin.testing import Twin, credentials_of, shared_session


class StandingClock:
    """Stock moto knows no time: everything has happened already."""

    def advance(self, duration: timedelta) -> None:
        """Do nothing."""


class StockMoto:
    """moto as it comes, behind the part of Twin's surface that stock moto can have."""

    def __init__(self) -> None:
        self.clock = StandingClock()
        self.events: list[dict[str, Any]] = []

    def client(self, service: str, region: str, *, account_id: str | None = None) -> Any:
        given = credentials_of(account_id) if account_id else {}
        return shared_session().client(service, region_name=region, **given)


@pytest.fixture
def twin() -> Iterator[Twin]:
    with Twin() as twin:
        yield twin


STOCK = pytest.param(
    "stock moto", marks=pytest.mark.xfail(reason="stock moto 5.2.5 differs from EC2 here", strict=True)
)


@pytest.fixture(params=["twin", STOCK])
def cloud(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    if request.param == "twin":
        with Twin() as twin:
            yield twin
    else:
        with mock_aws():
            yield StockMoto()


@pytest.fixture
def enforce(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Let the policies of roles count from now on, in the way that each of the two has."""

    def enforce(cloud: Any) -> None:
        if isinstance(cloud, Twin):
            cloud.world.permissions.is_enforced = True
        else:
            monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)

    return enforce


@pytest.fixture
def settle() -> Callable[[Any], None]:
    """Let everything that is under way come to its end."""
    return lambda cloud: cloud.clock.advance(timedelta(minutes=15))


@pytest.fixture
def make_volume(settle: Callable[[Any], None]) -> Callable[..., str]:
    """A volume that is available."""

    def make(cloud: Any, *, region: str = "us-east-1", **request: Any) -> str:
        request = {"AvailabilityZone": f"{region}a", "Size": 10, **request}
        volume_id = cloud.client("ec2", region).create_volume(**request)["VolumeId"]
        settle(cloud)
        return volume_id

    return make


@pytest.fixture
def make_snapshot(make_volume: Callable[..., str], settle: Callable[[Any], None]) -> Callable[..., str]:
    """A completed snapshot of a new volume."""

    def make(cloud: Any, *, region: str = "us-east-1", **volume: Any) -> str:
        volume_id = make_volume(cloud, region=region, **volume)
        snapshot_id = cloud.client("ec2", region).create_snapshot(VolumeId=volume_id)["SnapshotId"]
        settle(cloud)
        return snapshot_id

    return make


@pytest.fixture
def launch(settle: Callable[[Any], None]) -> Callable[..., dict[str, Any]]:
    """A running instance with a root volume and `data_volumes` others."""

    def launch(cloud: Any, *, data_volumes: int = 2, region: str = "us-east-1", **request: Any) -> dict[str, Any]:
        ec2 = cloud.client("ec2", region)
        images = ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "root-device-type", "Values": ["ebs"]}])
        root = images["Images"][0]["RootDeviceName"] if images["Images"] else "/dev/sda1"
        data = [f"/dev/sd{chr(ord('f') + number)}" for number in range(data_volumes)]
        instance_id = ec2.run_instances(
            ImageId=images["Images"][0]["ImageId"] if images["Images"] else "ami-12345678",
            MinCount=1,
            MaxCount=1,
            InstanceType="t3.micro",
            BlockDeviceMappings=[{"DeviceName": name, "Ebs": {"VolumeSize": 10}} for name in [root, *data]],
            **request,
        )["Instances"][0]["InstanceId"]
        settle(cloud)
        return ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]

    return launch


@pytest.fixture
def refused() -> Callable[[str], Any]:
    """Expect EC2 to refuse the call with this error code."""

    @contextmanager
    def refused(code: str) -> Iterator[None]:
        with pytest.raises(ClientError) as caught:
            yield
        assert caught.value.response["Error"]["Code"] == code

    return refused
