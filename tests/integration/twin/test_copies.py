"""CopySnapshot: EBS User Guide, "Copy an Amazon EBS snapshot"; botocore shape CopySnapshotRequest."""

from datetime import timedelta

import pytest

PRIMARY, RECOVERY = "us-east-1", "us-west-2"


def copy(cloud, snapshot_id, **request):
    ec2 = cloud.client("ec2", RECOVERY)
    return ec2.copy_snapshot(SourceRegion=PRIMARY, SourceSnapshotId=snapshot_id, **request)["SnapshotId"]


def describe(cloud, snapshot_id):
    return cloud.client("ec2", RECOVERY).describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]


def make_key(cloud, region=RECOVERY):
    return cloud.client("kms", region).create_key()["KeyMetadata"]["Arn"]


@pytest.mark.contract("copy_snapshot", "content")
def test_a_copy_is_pending_first_and_completes_with_the_bytes_of_its_source(cloud, make_volume, settle):
    volume_id = make_volume(cloud)
    cloud.write(volume_id, b"data")
    snapshot_id = cloud.client("ec2", PRIMARY).create_snapshot(VolumeId=volume_id)["SnapshotId"]
    settle(cloud)
    copy_id = copy(cloud, snapshot_id)
    assert describe(cloud, copy_id)["State"] == "pending"
    settle(cloud)
    assert describe(cloud, copy_id)["State"] == "completed"
    assert cloud.digest_of(copy_id) == cloud.digest_of(volume_id)
    assert cloud.lineage_of(copy_id) == (f"{PRIMARY}/{volume_id}", f"{PRIMARY}/{snapshot_id}", f"{RECOVERY}/{copy_id}")


@pytest.mark.contract("copy_snapshot")
def test_only_a_completed_snapshot_can_be_copied(cloud, make_volume, refused):
    snapshot_id = cloud.client("ec2", PRIMARY).create_snapshot(VolumeId=make_volume(cloud))["SnapshotId"]
    with refused("IncorrectState"):
        copy(cloud, snapshot_id)


@pytest.mark.contract("copy_snapshot")
def test_a_copy_has_an_arbitrary_volume_id_and_no_tags_of_its_source(cloud, make_snapshot):
    snapshot_id = make_snapshot(cloud)
    cloud.client("ec2", PRIMARY).create_tags(Resources=[snapshot_id], Tags=[{"Key": "a", "Value": "b"}])
    found = describe(cloud, copy(cloud, snapshot_id))
    assert found["VolumeId"] == "vol-ffffffff"
    assert not found.get("Tags")


@pytest.mark.contract("copy_snapshot")
def test_an_encrypted_copy_without_a_key_has_the_default_key_of_the_destination(cloud, make_snapshot):
    found = describe(cloud, copy(cloud, make_snapshot(cloud), Encrypted=True))
    assert found["Encrypted"]
    assert found["KmsKeyId"].startswith(f"arn:aws:kms:{RECOVERY}:")


@pytest.mark.contract("copy_snapshot")
def test_the_copy_of_an_encrypted_snapshot_is_encrypted_anyway(cloud, make_snapshot):
    snapshot_id = make_snapshot(cloud, Encrypted=True)
    found = describe(cloud, copy(cloud, snapshot_id))
    assert found["Encrypted"]
    assert found["KmsKeyId"].startswith(f"arn:aws:kms:{RECOVERY}:")


@pytest.mark.contract("encryption_by_default")
def test_encryption_by_default_of_the_destination_encrypts_copies(cloud, make_snapshot):
    cloud.client("ec2", RECOVERY).enable_ebs_encryption_by_default()
    assert describe(cloud, copy(cloud, make_snapshot(cloud)))["Encrypted"]


@pytest.mark.contract("copy_snapshot")
@pytest.mark.parametrize("request_", [{"Encrypted": False}, {"KmsKeyId": "alias/some"}])
def test_a_copy_is_refused_when_its_encryption_makes_no_sense(cloud, make_snapshot, request_):
    with pytest.raises(cloud.client("ec2", RECOVERY).exceptions.ClientError):
        copy(cloud, make_snapshot(cloud), **request_)


@pytest.mark.contract("copy_snapshot")
@pytest.mark.parametrize("key", ["bogus", "of another Region", "disabled"])
def test_a_key_that_cannot_be_used_is_accepted_and_lets_the_copy_fail_later(cloud, make_snapshot, settle, key):
    key_id = "1234abcd-12ab-34cd-56ef-1234567890ab"
    if key == "of another Region":
        key_id = make_key(cloud, PRIMARY)
    elif key == "disabled":
        key_id = make_key(cloud)
        cloud.client("kms", RECOVERY).disable_key(KeyId=key_id.rpartition("/")[2])
    copy_id = copy(cloud, make_snapshot(cloud), Encrypted=True, KmsKeyId=key_id)
    assert describe(cloud, copy_id)["State"] == "pending"
    settle(cloud)
    found = describe(cloud, copy_id)
    assert (found["State"], found["StateMessage"]) == ("error", "Given key ID is not accessible")
    assert cloud.events[-1]["detail"]["result"] == "failed"


def test_a_key_may_be_named_by_id_alias_or_arn(twin, make_snapshot, settle):
    kms = twin.client("kms", RECOVERY)
    metadata = kms.create_key()["KeyMetadata"]
    kms.create_alias(AliasName="alias/recovery", TargetKeyId=metadata["KeyId"])
    snapshot_id = make_snapshot(twin)
    copies = [
        copy(twin, snapshot_id, Encrypted=True, KmsKeyId=key)
        for key in (metadata["KeyId"], metadata["Arn"], "alias/recovery")
    ]
    settle(twin)
    assert {describe(twin, each)["KmsKeyId"] for each in copies} == {metadata["Arn"]}
    assert {describe(twin, each)["State"] for each in copies} == {"completed"}


@pytest.mark.contract("copy_snapshot", "high_water")
def test_twenty_copies_at_once_into_a_region_and_no_more(cloud, make_snapshot, refused, settle):
    snapshot_id = make_snapshot(cloud)
    for _ in range(20):
        copy(cloud, snapshot_id)
    with refused("ResourceLimitExceeded"):
        copy(cloud, snapshot_id)
    settle(cloud)
    copy(cloud, snapshot_id)
    assert cloud.world.calls.high_water["pending copies", RECOVERY] == 20


def test_a_deleted_pending_copy_makes_room(twin, make_snapshot):
    snapshot_id = make_snapshot(twin)
    copies = [copy(twin, snapshot_id) for _ in range(20)]
    twin.client("ec2", RECOVERY).delete_snapshot(SnapshotId=copies[0])
    copy(twin, snapshot_id)


def test_a_time_based_copy_is_done_in_time_and_says_so(twin, make_volume):
    volume_id = make_volume(twin)
    twin.write(volume_id, b"much", changed_bytes=400 * 1024**3)
    snapshot_id = twin.client("ec2", PRIMARY).create_snapshot(VolumeId=volume_id)["SnapshotId"]
    twin.clock.advance(timedelta(hours=6))
    timed, other = copy(twin, snapshot_id, CompletionDurationMinutes=15), copy(twin, snapshot_id)
    twin.clock.advance(timedelta(minutes=16))
    assert (describe(twin, timed)["State"], describe(twin, timed)["TransferType"]) == ("completed", "time-based")
    assert (describe(twin, other)["State"], describe(twin, other)["TransferType"]) == ("pending", "standard")


def test_a_time_based_copy_that_cannot_be_done_in_time_says_so_and_completes_later(twin, make_volume):
    """EBS User Guide, "Time-based copies": 500 MiB/s are the most; the event is sent as soon as the time is over."""
    volume_id = make_volume(twin)
    twin.write(volume_id, b"much", changed_bytes=500 * 1024**3)
    snapshot_id = twin.client("ec2", PRIMARY).create_snapshot(VolumeId=volume_id)["SnapshotId"]
    twin.clock.advance(timedelta(hours=6))
    copy_id = copy(twin, snapshot_id, CompletionDurationMinutes=15)
    twin.clock.advance(timedelta(minutes=15))
    missed = twin.events[-1]
    assert missed["detail-type"] == "EBS Copy Snapshot Missed Completion Duration"
    assert missed["detail"]["snapshot_id"].endswith(copy_id)
    assert "result" not in missed["detail"]
    assert describe(twin, copy_id)["State"] == "pending"
    twin.clock.advance(timedelta(minutes=5))
    assert describe(twin, copy_id)["State"] == "completed"
    assert twin.events[-1]["detail"]["event"] == "copySnapshot"


@pytest.mark.contract("copy_snapshot")
@pytest.mark.parametrize("minutes", [7, 20, 2895])
def test_a_completion_duration_is_15_minutes_to_48_hours_in_steps_of_15(cloud, make_snapshot, refused, minutes):
    with refused("InvalidParameterValue"):
        copy(cloud, make_snapshot(cloud), CompletionDurationMinutes=minutes)


def is_incremental(twin):
    return twin.events[-1]["detail"]["incremental"]


def test_a_copy_is_incremental_while_the_latest_one_exists_and_the_key_stays(twin, make_volume, settle):
    ec2 = twin.client("ec2", PRIMARY)
    volume_id, key = make_volume(twin), make_key(twin)

    def copy_now(**request):
        snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
        settle(twin)
        copy_id = copy(twin, snapshot_id, **request)
        settle(twin)
        return copy_id

    copy_now(Encrypted=True, KmsKeyId=key)
    assert is_incremental(twin) == "false"
    latest = copy_now(Encrypted=True, KmsKeyId=key)
    assert is_incremental(twin) == "true"
    twin.client("ec2", RECOVERY).delete_snapshot(SnapshotId=latest)
    copy_now(Encrypted=True, KmsKeyId=key)
    assert is_incremental(twin) == "false"
    copy_now(Encrypted=True, KmsKeyId=make_key(twin))
    assert is_incremental(twin) == "false"


def test_a_snapshot_that_is_not_there_is_not_found(twin, refused):
    with refused("InvalidSnapshot.NotFound"):
        copy(twin, "snap-0123456789abcdef0")


def test_a_source_whose_key_cannot_be_used_lets_the_copy_fail_later(cloud, make_snapshot, settle):
    key = make_key(cloud, PRIMARY)
    snapshot_id = make_snapshot(cloud, Encrypted=True, KmsKeyId=key)
    cloud.client("kms", PRIMARY).disable_key(KeyId=key.rpartition("/")[2])
    copy_id = copy(cloud, snapshot_id, Encrypted=True, KmsKeyId=make_key(cloud))
    assert describe(cloud, copy_id)["State"] == "pending"
    settle(cloud)
    found = describe(cloud, copy_id)
    assert (found["State"], found["StateMessage"]) == ("error", "Given key ID is not accessible")


@pytest.mark.parametrize("encryption", ["a customer key", "the AWS-managed key"])
def test_a_source_whose_key_can_be_used_is_copied_under_the_key_of_the_destination(
    twin, make_snapshot, settle, encryption
):
    own = {"KmsKeyId": make_key(twin, PRIMARY)} if encryption == "a customer key" else {}
    key = make_key(twin)
    copy_id = copy(twin, make_snapshot(twin, Encrypted=True, **own), Encrypted=True, KmsKeyId=key)
    settle(twin)
    assert (describe(twin, copy_id)["State"], describe(twin, copy_id)["KmsKeyId"]) == ("completed", key)
