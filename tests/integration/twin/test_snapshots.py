"""CreateSnapshot, CreateSnapshots, DeleteSnapshot: EC2 API Reference, EBS User Guide "Amazon EBS snapshots"."""

from datetime import UTC, datetime, timedelta

import pytest

GIB = 1024**3


def describe(cloud, snapshot_id, region="us-east-1"):
    return cloud.client("ec2", region).describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]


@pytest.mark.contract("create_snapshot")
def test_a_snapshot_is_pending_first_then_makes_progress_and_completes(cloud, make_volume):
    ec2 = cloud.client("ec2", "us-east-1")
    snapshot = ec2.create_snapshot(VolumeId=make_volume(cloud))
    assert (snapshot["State"], snapshot["Progress"]) == ("pending", "0%")
    assert describe(cloud, snapshot["SnapshotId"])["State"] == "pending"
    cloud.clock.advance(timedelta(seconds=45))
    assert 0 < int(describe(cloud, snapshot["SnapshotId"])["Progress"].rstrip("%")) < 100
    cloud.clock.advance(timedelta(minutes=5))
    assert (found := describe(cloud, snapshot["SnapshotId"]))["State"] == "completed"
    assert found["Progress"] == "100%"
    assert found["CompletionTime"] > found["StartTime"]


@pytest.mark.contract("content", "frozen_content")
def test_a_snapshot_keeps_the_content_of_its_start_whatever_is_written_later(twin, make_volume, settle):
    volume_id = make_volume(twin)
    twin.write(volume_id, b"before")
    before = twin.digest_of(volume_id)
    snapshot_id = twin.client("ec2", "us-east-1").create_snapshot(VolumeId=volume_id)["SnapshotId"]
    twin.write(volume_id, b"while it is pending")
    settle(twin)
    assert twin.digest_of(snapshot_id) == before != twin.digest_of(volume_id)


@pytest.mark.contract("snapshot_size")
def test_a_snapshot_keeps_the_size_that_its_volume_had(cloud, make_volume, settle):
    ec2 = cloud.client("ec2", "us-east-1")
    volume_id = make_volume(cloud)
    snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    settle(cloud)
    ec2.modify_volume(VolumeId=volume_id, Size=50)
    assert describe(cloud, snapshot_id)["VolumeSize"] == 10


@pytest.mark.contract("content")
def test_a_volume_made_of_a_snapshot_has_its_content_and_its_lineage(twin, make_volume, settle):
    ec2 = twin.client("ec2", "us-east-1")
    volume_id = make_volume(twin)
    twin.write(volume_id, b"data")
    snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    settle(twin)
    restored_id = make_volume(twin, SnapshotId=snapshot_id)
    assert twin.digest_of(restored_id) == twin.digest_of(volume_id)
    assert twin.lineage_of(restored_id) == tuple(f"us-east-1/{each}" for each in (volume_id, snapshot_id, restored_id))


@pytest.mark.contract("frozen_content")
def test_what_was_written_but_not_flushed_is_missing_unless_the_file_system_was_frozen(twin, make_volume):
    ec2 = twin.client("ec2", "us-east-1")
    volume_id = make_volume(twin)
    twin.write(volume_id, b"in memory only", is_flushed=False)
    crashed = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    twin.freeze(volume_id)
    twin.clock.advance(timedelta(seconds=15))
    frozen = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    twin.write(volume_id, b"held back")
    assert twin.digest_of(frozen) == twin.digest_of(volume_id) != twin.digest_of(crashed)
    twin.thaw(volume_id)
    assert twin.digest_of(volume_id) != twin.digest_of(frozen)


def test_a_later_snapshot_takes_as_long_as_what_changed_since(twin, make_volume):
    ec2 = twin.client("ec2", "us-east-1")
    volume_id = make_volume(twin)
    twin.write(volume_id, b"much", changed_bytes=100 * GIB)
    first = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    twin.clock.advance(timedelta(minutes=10))
    assert describe(twin, first)["State"] == "pending"
    twin.clock.advance(timedelta(hours=1))
    twin.write(volume_id, b"little")
    second = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    twin.clock.advance(timedelta(minutes=3))
    assert describe(twin, second)["State"] == "completed"
    assert describe(twin, second)["FullSnapshotSizeInBytes"] > 100 * GIB


@pytest.mark.contract("create_snapshot")
def test_the_snapshot_of_an_encrypted_volume_is_encrypted_with_its_key(cloud, make_volume):
    key_arn = cloud.client("kms", "us-east-1").create_key()["KeyMetadata"]["Arn"]
    volume_id = make_volume(cloud, Encrypted=True, KmsKeyId=key_arn)
    snapshot_id = cloud.client("ec2", "us-east-1").create_snapshot(VolumeId=volume_id)["SnapshotId"]
    assert describe(cloud, snapshot_id)["KmsKeyId"] == key_arn


@pytest.mark.contract("create_snapshots")
def test_a_set_excludes_the_boot_volume_and_named_data_volumes(cloud, launch):
    instance = launch(cloud, data_volumes=2)
    volumes = {each["DeviceName"]: each["Ebs"]["VolumeId"] for each in instance["BlockDeviceMappings"]}
    snapshots = cloud.client("ec2", "us-east-1").create_snapshots(
        InstanceSpecification={
            "InstanceId": instance["InstanceId"],
            "ExcludeBootVolume": True,
            "ExcludeDataVolumeIds": [volumes["/dev/sdf"]],
        }
    )["Snapshots"]
    assert [each["VolumeId"] for each in snapshots] == [volumes["/dev/sdg"]]


@pytest.mark.contract("create_snapshots")
def test_a_set_tells_its_state_and_starts_at_one_instant(cloud, launch):
    instance = launch(cloud, data_volumes=2)
    snapshots = cloud.client("ec2", "us-east-1").create_snapshots(
        InstanceSpecification={"InstanceId": instance["InstanceId"]}
    )["Snapshots"]
    assert [each["State"] for each in snapshots] == ["pending"] * 3
    assert len({each["StartTime"] for each in snapshots}) == 1


@pytest.mark.contract("create_snapshots")
def test_a_set_carries_the_tags_of_each_volume_when_asked_to(cloud, launch):
    ec2 = cloud.client("ec2", "us-east-1")
    instance = launch(cloud, data_volumes=1)
    for mapping in instance["BlockDeviceMappings"]:
        volume_id = mapping["Ebs"]["VolumeId"]
        ec2.create_tags(Resources=[volume_id], Tags=[{"Key": "of", "Value": volume_id}])
    snapshots = ec2.create_snapshots(
        InstanceSpecification={"InstanceId": instance["InstanceId"]},
        CopyTagsFromSource="volume",
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": [{"Key": "set", "Value": "one"}]}],
    )["Snapshots"]
    for snapshot in snapshots:
        tags = {each["Key"]: each["Value"] for each in snapshot["Tags"]}
        assert tags == {"of": snapshot["VolumeId"], "set": "one"}


@pytest.mark.contract("create_snapshots")
def test_a_set_is_all_or_nothing(cloud, launch, refused):
    """botocore, InstanceSpecification$ExcludeDataVolumeIds: naming the root volume makes the request fail."""
    ec2 = cloud.client("ec2", "us-east-1")
    instance = launch(cloud, data_volumes=1)
    root = next(
        each["Ebs"]["VolumeId"]
        for each in instance["BlockDeviceMappings"]
        if each["DeviceName"] == instance["RootDeviceName"]
    )
    with refused("InvalidParameterValue"):
        ec2.create_snapshots(
            InstanceSpecification={"InstanceId": instance["InstanceId"], "ExcludeDataVolumeIds": [root]}
        )
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


@pytest.mark.contract("create_snapshots")
def test_when_one_snapshot_of_a_set_fails_all_of_them_are_in_error(twin, launch):
    """EBS User Guide, "Create snapshots": any failure puts all snapshots of the set into the error state."""
    instance = launch(twin, data_volumes=1)
    ec2 = twin.client("ec2", "us-east-1")
    snapshots = ec2.create_snapshots(InstanceSpecification={"InstanceId": instance["InstanceId"]})["Snapshots"]
    twin.backend("us-east-1").fail_snapshot(snapshots[1]["SnapshotId"])
    assert {each["State"] for each in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]} == {"error"}


def test_a_pending_snapshot_can_be_deleted_and_never_completes(twin, make_volume, settle):
    ec2 = twin.client("ec2", "us-east-1")
    snapshot_id = ec2.create_snapshot(VolumeId=make_volume(twin))["SnapshotId"]
    ec2.delete_snapshot(SnapshotId=snapshot_id)
    settle(twin)
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    assert not [each for each in twin.events if each["detail-type"] == "EBS Snapshot Notification"]


@pytest.mark.contract("delete_snapshot")
def test_a_snapshot_that_a_registered_image_needs_cannot_be_deleted(cloud, make_snapshot, refused, settle):
    ec2 = cloud.client("ec2", "us-east-1")
    snapshot_id = make_snapshot(cloud)
    image_id = ec2.register_image(
        Name="needs-it",
        RootDeviceName="/dev/xvda",
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot_id}}],
    )["ImageId"]
    settle(cloud)
    with refused("InvalidSnapshot.InUse"):
        ec2.delete_snapshot(SnapshotId=snapshot_id)
    ec2.deregister_image(ImageId=image_id)
    ec2.delete_snapshot(SnapshotId=snapshot_id)


@pytest.mark.contract("clock")
def test_history_is_seeded_not_waited_for(twin, make_volume):
    volume_id = make_volume(twin)
    started_at = datetime(2026, 1, 1, tzinfo=UTC)
    snapshot_id = twin.seed_snapshot(started_at=started_at, volume_id=volume_id, tags={"a": "b"})
    found = describe(twin, snapshot_id)
    assert (found["State"], found["VolumeId"], found["StartTime"]) == ("completed", volume_id, started_at)
    assert found["Tags"] == [{"Key": "a", "Value": "b"}]


@pytest.mark.parametrize("operation", ["create_snapshot", "describe_volumes"])
def test_an_unknown_volume_is_not_found(twin, refused, operation):
    unknown = "vol-0123456789abcdef0"
    with refused("InvalidVolume.NotFound"):
        call = getattr(twin.client("ec2", "us-east-1"), operation)
        call(**({"VolumeId": unknown} if operation == "create_snapshot" else {"VolumeIds": [unknown]}))
