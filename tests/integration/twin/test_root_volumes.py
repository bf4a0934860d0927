"""CreateReplaceRootVolumeTask: EC2 User Guide, "Replace a root volume"; botocore's model."""

from datetime import timedelta

import pytest

REGION = "us-east-1"


def root_of(instance):
    device = instance["RootDeviceName"]
    return next(each["Ebs"]["VolumeId"] for each in instance["BlockDeviceMappings"] if each["DeviceName"] == device)


def root_now(ec2, instance_id):
    [reservation] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    return root_of(reservation["Instances"][0])


def replace(ec2, instance_id, **request):
    return ec2.create_replace_root_volume_task(InstanceId=instance_id, **request)["ReplaceRootVolumeTask"]


def state_of(ec2, task):
    wanted = [task["ReplaceRootVolumeTaskId"]]
    [found] = ec2.describe_replace_root_volume_tasks(ReplaceRootVolumeTaskIds=wanted)["ReplaceRootVolumeTasks"]
    return found["TaskState"]


@pytest.mark.contract("replace_root_volume")
@pytest.mark.parametrize("is_deleting", [True, False])
def test_the_root_goes_back_to_a_snapshot_of_it_and_the_original_is_kept_or_not(
    cloud, launch, settle, refused, is_deleting
):
    ec2, instance = cloud.client("ec2", REGION), launch(cloud)
    instance_id, original = instance["InstanceId"], root_of(instance)
    cloud.write(original, b"good")
    snapshot_id = ec2.create_snapshot(VolumeId=original)["SnapshotId"]
    settle(cloud)
    cloud.write(original, b"bad")
    task = replace(ec2, instance_id, SnapshotId=snapshot_id, DeleteReplacedRootVolume=is_deleting)
    assert (task["TaskState"], root_now(ec2, instance_id)) == ("pending", original)
    cloud.clock.advance(timedelta(seconds=10))
    assert state_of(ec2, task) == "in-progress"
    settle(cloud)
    assert state_of(ec2, task) == "succeeded"
    assert cloud.digest_of(root_now(ec2, instance_id)) == cloud.digest_of(snapshot_id)
    if is_deleting:
        with refused("InvalidVolume.NotFound"):
            ec2.describe_volumes(VolumeIds=[original])
    else:
        assert ec2.describe_volumes(VolumeIds=[original])["Volumes"][0]["State"] == "available"


def test_without_a_source_the_root_goes_back_to_its_launch_state(twin, launch, settle):
    ec2, instance = twin.client("ec2", REGION), launch(twin)
    launched = twin.digest_of(root_of(instance))
    twin.write(root_of(instance), b"changed")
    replace(ec2, instance["InstanceId"])
    settle(twin)
    assert twin.digest_of(root_now(ec2, instance["InstanceId"])) == launched


@pytest.mark.contract("replace_root_volume")
def test_a_snapshot_of_another_volume_is_refused(cloud, launch, make_snapshot, refused):
    ec2, instance_id = cloud.client("ec2", REGION), launch(cloud)["InstanceId"]
    with refused("InvalidParameterValue"):
        replace(ec2, instance_id, SnapshotId=make_snapshot(cloud))


def test_a_volume_of_another_zone_is_refused(twin, launch, make_volume, refused):
    ec2, instance = twin.client("ec2", REGION), launch(twin)
    zone = next(each for each in ("us-east-1a", "us-east-1b") if each != instance["Placement"]["AvailabilityZone"])
    volume_id = make_volume(twin, AvailabilityZone=zone)
    with refused("InvalidVolume.ZoneMismatch"):
        replace(ec2, instance["InstanceId"], VolumeId=volume_id)


def test_the_instance_must_run_and_has_one_task_at_a_time(twin, launch, refused, settle):
    ec2, instance_id = twin.client("ec2", REGION), launch(twin)["InstanceId"]
    replace(ec2, instance_id)
    with refused("IncorrectState"):
        replace(ec2, instance_id)
    settle(twin)
    ec2.stop_instances(InstanceIds=[instance_id])
    settle(twin)
    with refused("IncorrectInstanceState"):
        replace(ec2, instance_id)


def test_a_task_fails_when_the_instance_stops_meanwhile(twin, launch, settle):
    ec2, instance = twin.client("ec2", REGION), launch(twin)
    task = replace(ec2, instance["InstanceId"])
    ec2.stop_instances(InstanceIds=[instance["InstanceId"]])
    settle(twin)
    assert state_of(ec2, task) == "failed"
    assert root_now(ec2, instance["InstanceId"]) == root_of(instance)


def test_the_same_client_token_replaces_once(twin, launch):
    ec2, instance_id = twin.client("ec2", REGION), launch(twin)["InstanceId"]
    first, second = (replace(ec2, instance_id, ClientToken="once") for _ in range(2))
    assert first["ReplaceRootVolumeTaskId"] == second["ReplaceRootVolumeTaskId"]
    assert len(ec2.describe_replace_root_volume_tasks()["ReplaceRootVolumeTasks"]) == 1
