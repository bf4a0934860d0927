"""DeregisterImage and RegisterImage on the twin: EC2 API Reference; botocore shape DeleteSnapshotReturnCode."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from local.twin.testing import Twin

REGION = "us-east-1"


@pytest.fixture
def image(launch: Callable[..., dict[str, Any]], settle: Callable[[Any], None]) -> Callable[..., str]:
    """An available image of an instance with two volumes."""

    def image(cloud: Any, *, name: str = "orders") -> str:
        instance_id = launch(cloud, data_volumes=1)["InstanceId"]
        image_id = cloud.client("ec2", REGION).create_image(InstanceId=instance_id, Name=name)["ImageId"]
        settle(cloud)
        return image_id

    return image


def snapshots_of(ec2: Any, image_id: str) -> list[str]:
    mappings = ec2.describe_images(ImageIds=[image_id])["Images"][0]["BlockDeviceMappings"]
    return [each["Ebs"]["SnapshotId"] for each in mappings]


def register(ec2: Any, snapshot_id: str, **request: Any) -> str:
    root = {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot_id}}
    request = {"Name": "registered", "RootDeviceName": "/dev/sda1", "BlockDeviceMappings": [root], **request}
    return ec2.register_image(**request)["ImageId"]


def own_snapshots(ec2: Any) -> set[str]:
    return {each["SnapshotId"] for each in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]}


def test_a_deregistered_image_is_gone_and_its_snapshots_stay(twin: Twin, image: Any) -> None:
    ec2 = twin.client("ec2", REGION)
    image_id = image(twin)
    kept = snapshots_of(ec2, image_id)
    answer = ec2.deregister_image(ImageId=image_id)
    assert (answer["Return"], answer.get("DeleteSnapshotResults", [])) == (True, [])
    assert ec2.describe_images(ImageIds=[image_id])["Images"] == []
    assert ec2.describe_images(Owners=["self"])["Images"] == []
    assert own_snapshots(ec2) == set(kept)
    assert twin.events[-1]["detail"]["State"] == "deregistered"


@pytest.mark.contract("deregister_image")
def test_a_deregistered_image_cannot_be_deregistered_again(twin: Twin, image: Any, refused: Any) -> None:
    ec2 = twin.client("ec2", REGION)
    image_id = image(twin)
    ec2.deregister_image(ImageId=image_id)
    with refused("InvalidAMIID.Unavailable"):
        ec2.deregister_image(ImageId=image_id)


def test_an_image_that_never_was_cannot_be_deregistered(twin: Twin, refused: Any) -> None:
    with refused("InvalidAMIID.NotFound"):
        twin.client("ec2", REGION).deregister_image(ImageId="ami-0123456789abcdef0")


def test_the_image_of_somebody_else_cannot_be_deregistered(twin: Twin, refused: Any) -> None:
    ec2 = twin.client("ec2", REGION)
    with refused("AuthFailure"):
        ec2.deregister_image(ImageId=ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"])


@pytest.mark.contract("deregister_image")
def test_the_snapshots_go_with_the_image_when_asked_for_and_each_has_its_result(cloud: Any, image: Any) -> None:
    ec2 = cloud.client("ec2", REGION)
    image_id = image(cloud)
    snapshot_ids = snapshots_of(ec2, image_id)
    answer = ec2.deregister_image(ImageId=image_id, DeleteAssociatedSnapshots=True)
    assert {each["SnapshotId"]: each["ReturnCode"] for each in answer["DeleteSnapshotResults"]} == dict.fromkeys(
        snapshot_ids, "success"
    )
    assert own_snapshots(ec2) == set()


@pytest.mark.contract("deregister_image")
def test_a_snapshot_that_another_image_needs_is_skipped(cloud: Any, image: Any) -> None:
    ec2 = cloud.client("ec2", REGION)
    image_id = image(cloud)
    shared, other = snapshots_of(ec2, image_id)
    register(ec2, shared)
    answer = ec2.deregister_image(ImageId=image_id, DeleteAssociatedSnapshots=True)
    assert {each["SnapshotId"]: each["ReturnCode"] for each in answer["DeleteSnapshotResults"]} == {
        shared: "skipped",
        other: "success",
    }
    assert own_snapshots(ec2) == {shared}


@pytest.mark.contract("delete_snapshot")
def test_a_snapshot_cannot_be_deleted_while_an_image_needs_it(twin: Twin, image: Any, refused: Any) -> None:
    ec2 = twin.client("ec2", REGION)
    image_id = image(twin)
    for snapshot_id in (held := snapshots_of(ec2, image_id)):
        with refused("InvalidSnapshot.InUse"):
            ec2.delete_snapshot(SnapshotId=snapshot_id)
    ec2.deregister_image(ImageId=image_id)
    for snapshot_id in held:
        ec2.delete_snapshot(SnapshotId=snapshot_id)
    assert own_snapshots(ec2) == set()


@pytest.mark.contract("create_image")
def test_the_name_of_a_deregistered_image_stays_taken_for_a_while(cloud: Any, launch: Any, refused: Any) -> None:
    ec2 = cloud.client("ec2", REGION)
    instance_id = launch(cloud)["InstanceId"]
    ec2.deregister_image(ImageId=ec2.create_image(InstanceId=instance_id, Name="orders")["ImageId"])
    with refused("InvalidAMIName.Duplicate"):
        ec2.create_image(InstanceId=instance_id, Name="orders")
    cloud.clock.advance(timedelta(minutes=5))
    assert ec2.create_image(InstanceId=instance_id, Name="orders")["ImageId"]


@pytest.mark.contract("register_image")
def test_a_registered_image_stands_on_the_snapshot_that_was_named(
    cloud: Any, make_snapshot: Any, settle: Any, refused: Any
) -> None:
    ec2 = cloud.client("ec2", REGION)
    snapshot_id = make_snapshot(cloud, Size=20)
    before = own_snapshots(ec2)
    image_id = register(ec2, snapshot_id)
    settle(cloud)
    assert snapshots_of(ec2, image_id) == [snapshot_id]
    assert own_snapshots(ec2) == before
    with refused("InvalidSnapshot.InUse"):
        ec2.delete_snapshot(SnapshotId=snapshot_id)


@pytest.mark.contract("register_image")
def test_a_registered_image_is_what_the_request_says(cloud: Any, make_snapshot: Any, settle: Any) -> None:
    ec2 = cloud.client("ec2", REGION)
    asked = {
        "Description": "by hand",
        "Architecture": "arm64",
        "VirtualizationType": "hvm",
        "RootDeviceName": "/dev/xvda",
        "EnaSupport": True,
        "SriovNetSupport": "simple",
        "BootMode": "uefi",
        "TpmSupport": "v2.0",
        "ImdsSupport": "v2.0",
    }
    root = {
        "DeviceName": "/dev/xvda",
        "Ebs": {
            "SnapshotId": make_snapshot(cloud),
            "VolumeSize": 30,
            "VolumeType": "gp3",
            "DeleteOnTermination": False,
        },
    }
    scratch = {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}
    tags = [{"Key": "a", "Value": "b"}]
    image_id = register(
        ec2,
        root["Ebs"]["SnapshotId"],
        BlockDeviceMappings=[root, scratch],
        TagSpecifications=[{"ResourceType": "image", "Tags": tags}],
        **asked,
    )
    settle(cloud)
    image = ec2.describe_images(ImageIds=[image_id])["Images"][0]
    assert {name: image.get(name) for name in asked} == asked
    mapped = {each["DeviceName"]: each for each in image["BlockDeviceMappings"]}
    assert root["Ebs"].items() <= mapped["/dev/xvda"]["Ebs"].items()
    assert mapped["/dev/sdb"] == scratch
    assert (image["State"], image["RootDeviceType"], image["Tags"]) == ("available", "ebs", tags)


def test_the_defaults_of_a_registered_image_are_the_old_ones(cloud: Any, make_snapshot: Any) -> None:
    ec2 = cloud.client("ec2", REGION)
    image = ec2.describe_images(ImageIds=[register(ec2, make_snapshot(cloud))])["Images"][0]
    assert (image["Architecture"], image["VirtualizationType"]) == ("i386", "paravirtual")


@pytest.mark.contract("register_image")
def test_a_root_device_without_a_snapshot_is_refused(cloud: Any, refused: Any) -> None:
    with refused("InvalidBlockDeviceMapping"):
        cloud.client("ec2", REGION).register_image(Name="rootless", RootDeviceName="/dev/sda1")


def test_a_registered_name_is_unique(cloud: Any, make_snapshot: Any, refused: Any) -> None:
    ec2 = cloud.client("ec2", REGION)
    snapshot_id = make_snapshot(cloud)
    register(ec2, snapshot_id)
    with refused("InvalidAMIName.Duplicate"):
        register(ec2, snapshot_id)


def test_a_snapshot_that_does_not_exist_is_refused(cloud: Any, refused: Any) -> None:
    with refused("InvalidSnapshot.NotFound"):
        register(cloud.client("ec2", REGION), "snap-0123456789abcdef0")


def test_a_snapshot_that_is_not_completed_is_refused(cloud: Any, make_volume: Any, refused: Any) -> None:
    ec2 = cloud.client("ec2", REGION)
    pending = ec2.create_snapshot(VolumeId=make_volume(cloud))["SnapshotId"]
    with refused("IncorrectState"):
        register(ec2, pending)


@pytest.mark.contract("register_image")
@pytest.mark.parametrize("ebs", [{"Encrypted": True}, {"Encrypted": False}, {"VolumeSize": 5}])
def test_a_mapping_that_does_not_fit_its_snapshot_is_refused(
    cloud: Any, make_snapshot: Any, refused: Any, ebs: dict[str, Any]
) -> None:
    snapshot_id = make_snapshot(cloud)
    root = {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot_id, **ebs}}
    with refused("InvalidBlockDeviceMapping"):
        register(cloud.client("ec2", REGION), snapshot_id, BlockDeviceMappings=[root])
