"""CreateVolume, AttachVolume, DetachVolume, DeleteVolume: EC2 API Reference, EBS User Guide "EBS volume types"."""

from datetime import timedelta

import pytest


@pytest.mark.contract("create_volume")
def test_a_volume_is_creating_when_its_call_returns_and_available_later(cloud):
    ec2 = cloud.client("ec2", "us-east-1")
    volume_id = ec2.create_volume(AvailabilityZone="us-east-1a", Size=10)["VolumeId"]
    assert ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["State"] == "creating"
    cloud.clock.advance(timedelta(minutes=1))
    assert ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["State"] == "available"


@pytest.mark.contract("create_volume")
def test_a_zone_of_another_region_is_refused(cloud, refused):
    with refused("InvalidZone.NotFound"):
        cloud.client("ec2", "us-east-1").create_volume(AvailabilityZone="us-west-2a", Size=10)


@pytest.mark.contract("create_volume")
@pytest.mark.parametrize(
    ("volume_type", "size"), [("gp3", 999_999), ("gp2", 16_385), ("st1", 124), ("sc1", 1), ("standard", 1025)]
)
def test_a_size_that_its_type_does_not_have_is_refused(cloud, refused, volume_type, size):
    with refused("InvalidParameterValue"):
        cloud.client("ec2", "us-east-1").create_volume(AvailabilityZone="us-east-1a", Size=size, VolumeType=volume_type)


@pytest.mark.contract("create_volume")
@pytest.mark.parametrize(("volume_type", "iops"), [("gp3", 2999), ("io1", 501), ("io2", 10_001), ("gp3", 5001)])
def test_iops_beyond_what_type_and_size_allow_are_refused(cloud, refused, volume_type, iops):
    with refused("InvalidParameterCombination"):
        cloud.client("ec2", "us-east-1").create_volume(
            AvailabilityZone="us-east-1a", Size=10, VolumeType=volume_type, Iops=iops
        )


def test_every_volume_type_can_be_made_within_its_limits(twin):
    ec2 = twin.client("ec2", "us-east-1")
    for volume_type, extra in {
        "standard": {"Size": 1},
        "gp2": {"Size": 1},
        "gp3": {"Size": 100, "Iops": 16_000, "Throughput": 1000},
        "io1": {"Size": 4, "Iops": 200},
        "io2": {"Size": 4, "Iops": 4000},
        "st1": {"Size": 125},
        "sc1": {"Size": 125},
    }.items():
        volume = ec2.create_volume(AvailabilityZone="us-east-1a", VolumeType=volume_type, **extra)
        assert volume["VolumeType"] == volume_type


def test_a_volume_can_only_be_made_of_a_completed_snapshot_and_not_smaller(twin, make_volume, refused, settle):
    ec2 = twin.client("ec2", "us-east-1")
    snapshot_id = ec2.create_snapshot(VolumeId=make_volume(twin))["SnapshotId"]
    with refused("IncorrectState"):
        ec2.create_volume(AvailabilityZone="us-east-1a", SnapshotId=snapshot_id)
    settle(twin)
    with refused("InvalidParameterValue"):
        ec2.create_volume(AvailabilityZone="us-east-1a", SnapshotId=snapshot_id, Size=9)
    assert ec2.create_volume(AvailabilityZone="us-east-1a", SnapshotId=snapshot_id)["Size"] == 10


@pytest.mark.contract("create_volume")
def test_a_volume_whose_key_is_not_there_ends_in_error(cloud, settle):
    ec2 = cloud.client("ec2", "us-east-1")
    volume_id = ec2.create_volume(
        AvailabilityZone="us-east-1a", Size=10, Encrypted=True, KmsKeyId="1234abcd-12ab-34cd-56ef-1234567890ab"
    )["VolumeId"]
    settle(cloud)
    assert ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["State"] == "error"
    assert cloud.events[-1]["detail"]["event"] == "createVolume"
    assert cloud.events[-1]["detail"]["result"] == "failed"


@pytest.mark.contract("encryption_by_default")
def test_encryption_by_default_encrypts_new_volumes(cloud, make_volume):
    ec2 = cloud.client("ec2", "us-east-1")
    ec2.enable_ebs_encryption_by_default()
    volume = ec2.describe_volumes(VolumeIds=[make_volume(cloud)])["Volumes"][0]
    assert volume["Encrypted"]
    assert volume["KmsKeyId"].startswith("arn:aws:kms:us-east-1:")


@pytest.mark.contract("encryption_by_default", "default_key")
def test_encryption_by_default_uses_the_default_key_that_was_set(cloud, make_volume):
    ec2 = cloud.client("ec2", "us-east-1")
    key_arn = cloud.client("kms", "us-east-1").create_key()["KeyMetadata"]["Arn"]
    ec2.enable_ebs_encryption_by_default()
    ec2.modify_ebs_default_kms_key_id(KmsKeyId=key_arn)
    assert ec2.get_ebs_default_kms_key_id()["KmsKeyId"] == key_arn
    assert ec2.describe_volumes(VolumeIds=[make_volume(cloud)])["Volumes"][0]["KmsKeyId"] == key_arn


def test_attaching_takes_its_time(twin, launch, make_volume):
    ec2 = twin.client("ec2", "us-east-1")
    instance = launch(twin)
    volume_id = make_volume(twin, AvailabilityZone=instance["Placement"]["AvailabilityZone"])
    ec2.attach_volume(VolumeId=volume_id, InstanceId=instance["InstanceId"], Device="/dev/sdz")
    volume = ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]
    assert (volume["State"], volume["Attachments"][0]["State"]) == ("in-use", "attaching")
    twin.clock.advance(timedelta(minutes=1))
    assert ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["Attachments"][0]["State"] == "attached"


@pytest.mark.contract("attach_detach")
def test_a_volume_of_another_zone_cannot_be_attached(cloud, launch, make_volume, refused):
    instance = launch(cloud)
    zone = "us-east-1b" if instance["Placement"]["AvailabilityZone"] != "us-east-1b" else "us-east-1a"
    with refused("InvalidVolume.ZoneMismatch"):
        cloud.client("ec2", "us-east-1").attach_volume(
            VolumeId=make_volume(cloud, AvailabilityZone=zone), InstanceId=instance["InstanceId"], Device="/dev/sdz"
        )


@pytest.mark.contract("attach_detach")
def test_a_volume_is_attached_once_and_a_device_used_once(cloud, launch, make_volume, refused):
    ec2 = cloud.client("ec2", "us-east-1")
    instance = launch(cloud)
    attached = next(each for each in instance["BlockDeviceMappings"] if each["DeviceName"] == "/dev/sdf")
    with refused("VolumeInUse"):
        ec2.attach_volume(VolumeId=attached["Ebs"]["VolumeId"], InstanceId=instance["InstanceId"], Device="/dev/sdz")
    volume_id = make_volume(cloud, AvailabilityZone=instance["Placement"]["AvailabilityZone"])
    with refused("InvalidParameterValue"):
        ec2.attach_volume(VolumeId=volume_id, InstanceId=instance["InstanceId"], Device="/dev/sdf")


@pytest.mark.contract("attach_detach", "eventbridge")
def test_a_volume_whose_key_cannot_be_used_any_more_is_not_attached(cloud, launch, make_volume, settle):
    """EBS User Guide, "Amazon EventBridge events for Amazon EBS": attachVolume, failed for an invalid KMS key."""
    ec2, kms, instance = cloud.client("ec2", "us-east-1"), cloud.client("kms", "us-east-1"), launch(cloud)
    key = kms.create_key()["KeyMetadata"]["Arn"]
    zone = instance["Placement"]["AvailabilityZone"]
    volume_id = make_volume(cloud, AvailabilityZone=zone, Encrypted=True, KmsKeyId=key)
    kms.disable_key(KeyId=key.rpartition("/")[2])
    ec2.attach_volume(VolumeId=volume_id, InstanceId=instance["InstanceId"], Device="/dev/sdz")
    settle(cloud)
    assert ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["State"] == "available"
    assert (cloud.events[-1]["detail"]["event"], cloud.events[-1]["detail"]["result"]) == ("attachVolume", "failed")


@pytest.mark.contract("attach_detach")
def test_nothing_is_attached_to_a_terminated_instance(cloud, launch, make_volume, refused, settle):
    ec2 = cloud.client("ec2", "us-east-1")
    instance = launch(cloud)
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    settle(cloud)
    volume_id = make_volume(cloud, AvailabilityZone=instance["Placement"]["AvailabilityZone"])
    with refused("IncorrectState"):
        ec2.attach_volume(VolumeId=volume_id, InstanceId=instance["InstanceId"], Device="/dev/sdz")


@pytest.mark.contract("attach_detach")
def test_detaching_needs_no_instance_and_takes_its_time(cloud, launch):
    ec2 = cloud.client("ec2", "us-east-1")
    mapping = next(each for each in launch(cloud)["BlockDeviceMappings"] if each["DeviceName"] == "/dev/sdf")
    volume_id = mapping["Ebs"]["VolumeId"]
    assert ec2.detach_volume(VolumeId=volume_id)["State"] == "detaching"
    assert ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["Attachments"][0]["State"] == "detaching"
    cloud.clock.advance(timedelta(minutes=1))
    assert ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["State"] == "available"


def test_the_root_volume_of_a_running_instance_stays(twin, launch, refused):
    instance = launch(twin)
    root = next(each for each in instance["BlockDeviceMappings"] if each["DeviceName"] == instance["RootDeviceName"])
    with refused("OperationNotPermitted"):
        twin.client("ec2", "us-east-1").detach_volume(VolumeId=root["Ebs"]["VolumeId"])


def test_a_deleted_volume_goes_after_a_while_and_its_tags_with_it(cloud, make_volume, refused):
    ec2 = cloud.client("ec2", "us-east-1")
    volume_id = make_volume(cloud, TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "a", "Value": "b"}]}])
    ec2.delete_volume(VolumeId=volume_id)
    assert ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["State"] == "deleting"
    cloud.clock.advance(timedelta(minutes=1))
    with refused("InvalidVolume.NotFound"):
        ec2.describe_volumes(VolumeIds=[volume_id])
    assert ec2.describe_tags()["Tags"] == []
    assert cloud.events[-1]["detail"]["event"] == "deleteVolume"


@pytest.mark.contract("client_token")
def test_the_same_client_token_makes_one_volume_and_fits_one_request(cloud, refused):
    ec2 = cloud.client("ec2", "us-east-1")
    request = {"AvailabilityZone": "us-east-1a", "Size": 10, "ClientToken": "once"}
    assert ec2.create_volume(**request)["VolumeId"] == ec2.create_volume(**request)["VolumeId"]
    with refused("IdempotentParameterMismatch"):
        ec2.create_volume(**{**request, "Size": 11})
    assert (
        ec2.create_volume(**{**request, "ClientToken": "twice"})["VolumeId"] != ec2.create_volume(**request)["VolumeId"]
    )


@pytest.mark.contract("archive_tier")
def test_an_archived_snapshot_makes_no_volume(cloud, make_snapshot, refused):
    ec2, snapshot_id = cloud.client("ec2", "us-east-1"), make_snapshot(cloud)
    ec2.modify_snapshot_tier(SnapshotId=snapshot_id, StorageTier="archive")
    cloud.clock.advance(timedelta(hours=1))
    with refused("IncorrectState"):
        ec2.create_volume(AvailabilityZone="us-east-1a", SnapshotId=snapshot_id)


@pytest.mark.contract("create_volume")
def test_a_gp3_volume_has_a_quarter_mib_of_throughput_for_each_of_its_iops(cloud, refused):
    request = {"AvailabilityZone": "us-east-1a", "Size": 100, "VolumeType": "gp3"}
    ec2 = cloud.client("ec2", "us-east-1")
    ec2.create_volume(**request, Iops=4000, Throughput=1000)
    with refused("InvalidParameterCombination"):
        ec2.create_volume(**request, Iops=3000, Throughput=751)
