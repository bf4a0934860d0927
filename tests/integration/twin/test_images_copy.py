"""CopyImage on the twin: EC2 API Reference, CopyImage; EC2 User Guide, "How Amazon EC2 AMI copy works"."""

from collections.abc import Callable
from typing import Any

import pytest

from local.twin.testing import Twin

PRIMARY, RECOVERY = "us-east-1", "us-west-2"


@pytest.fixture
def image(launch: Callable[..., dict[str, Any]], settle: Callable[[Any], None]) -> Callable[..., str]:
    """An available image, in the primary Region, of an instance with three volumes."""

    def image(cloud: Any, *, name: str = "orders", tags: dict[str, str] | None = None, **volumes: Any) -> str:
        instance = launch(cloud, **volumes)
        specifications = [{"ResourceType": "image", "Tags": tagged(tags)}] if tags else []
        image_id = cloud.client("ec2", PRIMARY).create_image(
            InstanceId=instance["InstanceId"], Name=name, TagSpecifications=specifications
        )["ImageId"]
        settle(cloud)
        return image_id

    return image


def tagged(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def copy(cloud: Any, image_id: str, **request: Any) -> str:
    request = {"Name": "orders", "SourceRegion": PRIMARY, "SourceImageId": image_id, **request}
    return cloud.client("ec2", RECOVERY).copy_image(**request)["ImageId"]


def describe(cloud: Any, image_id: str, region: str = RECOVERY) -> dict[str, Any]:
    return cloud.client("ec2", region).describe_images(ImageIds=[image_id])["Images"][0]


def snapshots_of(cloud: Any, image_id: str, region: str = RECOVERY) -> list[dict[str, Any]]:
    mappings = describe(cloud, image_id, region)["BlockDeviceMappings"]
    ids = [each["Ebs"]["SnapshotId"] for each in mappings if "Ebs" in each]
    found = cloud.client("ec2", region).describe_snapshots(SnapshotIds=ids)["Snapshots"]
    return sorted(found, key=lambda each: ids.index(each["SnapshotId"]))


def make_key(cloud: Any, region: str = RECOVERY) -> str:
    return cloud.client("kms", region).create_key()["KeyMetadata"]["Arn"]


@pytest.mark.contract("copy_image", "content")
def test_every_snapshot_is_copied_with_its_bytes_and_its_lineage(twin: Twin, image: Any, settle: Any) -> None:
    source = image(twin)
    copied = copy(twin, source)
    settle(twin)
    pairs = list(zip(snapshots_of(twin, source, PRIMARY), snapshots_of(twin, copied), strict=True))
    assert len(pairs) == 3
    for original, made in pairs:
        assert twin.digest_of(made["SnapshotId"]) == twin.digest_of(original["SnapshotId"])
        assert f"{PRIMARY}/{original['SnapshotId']}" in twin.lineage_of(made["SnapshotId"])


@pytest.mark.contract("copy_image")
def test_a_copy_is_pending_first_and_tells_when_it_is_available_in_its_own_region(
    twin: Twin, image: Any, settle: Any
) -> None:
    copied = copy(twin, image(twin))
    assert describe(twin, copied)["State"] == "pending"
    settle(twin)
    assert describe(twin, copied)["State"] == "available"
    event = next(each for each in twin.events if each["detail"].get("ImageId") == copied)
    assert (event["region"], event["detail"]["State"]) == (RECOVERY, "available")


@pytest.mark.contract("copy_image")
def test_a_copy_tells_its_source(cloud: Any, image: Any) -> None:
    source = image(cloud)
    made = describe(cloud, copy(cloud, source))
    assert (made["SourceImageId"], made["SourceImageRegion"]) == (source, PRIMARY)


def test_an_image_that_is_still_pending_cannot_be_copied(cloud: Any, launch: Any, refused: Any) -> None:
    instance_id = launch(cloud)["InstanceId"]
    source = cloud.client("ec2", PRIMARY).create_image(InstanceId=instance_id, Name="orders")["ImageId"]
    with refused("InvalidAMIID.Unavailable"):
        copy(cloud, source)


def test_a_deregistered_image_cannot_be_copied(twin: Twin, image: Any, refused: Any) -> None:
    source = image(twin)
    twin.client("ec2", PRIMARY).deregister_image(ImageId=source)
    with refused("InvalidAMIID.Unavailable"):
        copy(twin, source)


def test_an_image_that_never_was_cannot_be_copied(twin: Twin, refused: Any) -> None:
    with refused("InvalidAMIID.NotFound"):
        copy(twin, "ami-0123456789abcdef0")


def test_the_snapshots_of_an_image_of_somebody_else_cannot_be_read(twin: Twin, refused: Any) -> None:
    images = twin.client("ec2", PRIMARY).describe_images(Owners=["amazon"])["Images"]
    base = next(each["ImageId"] for each in images if each["RootDeviceType"] == "ebs")
    with refused("InvalidRequest"):
        copy(twin, base)


@pytest.mark.contract("copy_image")
def test_the_images_tags_are_copied_only_when_asked_for(cloud: Any, image: Any) -> None:
    source = image(cloud, tags={"plan": "production"})
    assert "Tags" not in describe(cloud, copy(cloud, source))
    asked = describe(cloud, copy(cloud, source, Name="with tags", CopyImageTags=True))
    assert asked["Tags"] == tagged({"plan": "production"})


@pytest.mark.contract("copy_image")
def test_image_and_snapshots_are_tagged_in_the_call(cloud: Any, image: Any) -> None:
    made = copy(
        cloud,
        image(cloud, tags={"plan": "production", "kind": "source"}),
        CopyImageTags=True,
        TagSpecifications=[
            {"ResourceType": "image", "Tags": tagged({"kind": "copy"})},
            {"ResourceType": "snapshot", "Tags": tagged({"kind": "snapshot"})},
        ],
    )
    assert {each["Key"]: each["Value"] for each in describe(cloud, made)["Tags"]} == {
        "plan": "production",
        "kind": "copy",
    }
    assert [each["Tags"] for each in snapshots_of(cloud, made)] == [tagged({"kind": "snapshot"})] * 3


@pytest.mark.contract("client_token", "copy_image")
def test_the_same_client_token_gives_the_same_image(cloud: Any, image: Any) -> None:
    source = image(cloud)
    first = copy(cloud, source, ClientToken="once")
    assert copy(cloud, source, ClientToken="once") == first


@pytest.mark.contract("client_token")
def test_a_client_token_fits_one_request_only(cloud: Any, image: Any, refused: Any) -> None:
    source = image(cloud)
    copy(cloud, source, ClientToken="once")
    with refused("IdempotentParameterMismatch"):
        copy(cloud, source, ClientToken="once", Name="other")


def test_a_name_is_unique_in_the_destination_and_free_to_be_the_sources(twin: Twin, image: Any, refused: Any) -> None:
    source = image(twin, name="orders")
    assert describe(twin, copy(twin, source, Name="orders"))["Name"] == "orders"
    with refused("InvalidAMIName.Duplicate"):
        copy(twin, source, Name="orders")


@pytest.mark.contract("copy_image")
def test_an_encrypted_copy_is_encrypted_with_the_key_of_the_destination(cloud: Any, image: Any, settle: Any) -> None:
    key = make_key(cloud)
    made = copy(cloud, image(cloud), Encrypted=True, KmsKeyId=key)
    settle(cloud)
    assert [(each["Encrypted"], each["KmsKeyId"]) for each in snapshots_of(cloud, made)] == [(True, key)] * 3
    mappings = describe(cloud, made)["BlockDeviceMappings"]
    assert all(each["Ebs"]["Encrypted"] for each in mappings)


def test_a_copy_without_encryption_of_an_unencrypted_image_stays_unencrypted(twin: Twin, image: Any) -> None:
    made = copy(twin, image(twin))
    assert not any(each["Encrypted"] for each in snapshots_of(twin, made))


@pytest.mark.contract("copy_image")
@pytest.mark.parametrize("key", ["11111111-2222-3333-4444-555555555555", "a key of the source's Region", "disabled"])
def test_a_key_that_cannot_be_used_lets_the_copy_fail_after_the_call(
    twin: Twin, image: Any, settle: Any, key: str
) -> None:
    if key.startswith("a key"):
        key = make_key(twin, PRIMARY)
    elif key == "disabled":
        key = make_key(twin)
        twin.client("kms", RECOVERY).disable_key(KeyId=key.rpartition("/")[2])
    made = copy(twin, image(twin), Encrypted=True, KmsKeyId=key)
    assert describe(twin, made)["State"] == "pending"
    settle(twin)
    assert describe(twin, made)["State"] == "failed"
    assert describe(twin, made)["StateReason"]["Message"]
    assert {each["State"] for each in snapshots_of(twin, made)} == {"error"}
    event = next(each["detail"] for each in twin.events if each["detail"].get("ImageId") == made)
    assert event["State"] == "failed"
    assert event["ErrorMessage"]


def test_a_key_without_encryption_is_refused(cloud: Any, image: Any, refused: Any) -> None:
    with refused("InvalidParameterDependency"):
        copy(cloud, image(cloud), KmsKeyId=make_key(cloud))


@pytest.mark.parametrize("minutes", [7, 20, 2895])
def test_a_completion_duration_comes_in_steps_of_fifteen_minutes(
    twin: Twin, image: Any, refused: Any, minutes: int
) -> None:
    with refused("InvalidParameterValue"):
        copy(twin, image(twin), SnapshotCopyCompletionDurationMinutes=minutes)


def test_the_copies_of_images_do_not_count_as_concurrent_snapshot_copies(
    twin: Twin, image: Any, make_snapshot: Any
) -> None:
    source = image(twin)
    for number in range(8):
        copy(twin, source, Name=f"copy {number}")
    snapshot_id = make_snapshot(twin)
    assert twin.client("ec2", RECOVERY).copy_snapshot(SourceRegion=PRIMARY, SourceSnapshotId=snapshot_id)["SnapshotId"]


@pytest.mark.contract("content")
def test_an_instance_launched_from_the_copy_has_the_bytes_of_the_source(twin: Twin, launch: Any, settle: Any) -> None:
    instance = launch(twin)
    volumes = {each["DeviceName"]: each["Ebs"]["VolumeId"] for each in instance["BlockDeviceMappings"]}
    for device, volume_id in volumes.items():
        twin.write(volume_id, device.encode())
    source = twin.client("ec2", PRIMARY).create_image(InstanceId=instance["InstanceId"], Name="orders")["ImageId"]
    settle(twin)
    copied = copy(twin, source)
    settle(twin)
    ec2 = twin.client("ec2", RECOVERY)
    started = ec2.run_instances(ImageId=copied, MinCount=1, MaxCount=1)["Instances"][0]
    restored = {each["DeviceName"]: each["Ebs"]["VolumeId"] for each in started["BlockDeviceMappings"]}
    assert {name: twin.digest_of(each) for name, each in restored.items()} == {
        name: twin.digest_of(each) for name, each in volumes.items()
    }
