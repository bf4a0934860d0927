"""CreateImage on the twin: EC2 API Reference, CreateImage; botocore shapes CreateImageRequest and Image."""

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.twin.testing import Twin

REGION = "us-east-1"
DEVICES = [
    {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 20, "VolumeType": "io2", "Iops": 1000, "Encrypted": True}},
    {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 125, "VolumeType": "st1", "DeleteOnTermination": False}},
    {"DeviceName": "/dev/sdh", "VirtualName": "ephemeral0"},
]


@pytest.fixture
def ec2(twin: Twin) -> Any:
    return twin.client("ec2", REGION)


def run(twin: Twin, *, root: str = "ebs", devices: list[dict[str, Any]] | None = None) -> str:
    ec2 = twin.client("ec2", REGION)
    filters = [{"Name": "root-device-type", "Values": [root]}]
    image = ec2.describe_images(Owners=["amazon"], Filters=filters)["Images"][0]["ImageId"]
    mappings = DEVICES if devices is None else devices
    started = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, BlockDeviceMappings=mappings)
    twin.clock.advance(timedelta(minutes=2))
    return started["Instances"][0]["InstanceId"]


def describe(ec2: Any, image_id: str) -> dict[str, Any]:
    return ec2.describe_images(ImageIds=[image_id])["Images"][0]


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


def volumes_of(ec2: Any, instance_id: str) -> dict[str, str]:
    instance = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    return {each["DeviceName"]: each["Ebs"]["VolumeId"] for each in instance["BlockDeviceMappings"]}


@pytest.mark.contract("create_image")
def test_every_ebs_volume_gets_a_snapshot_and_all_of_them_start_at_one_instant(twin: Twin, ec2: Any) -> None:
    instance_id = run(twin)
    twin.write(volumes_of(ec2, instance_id)["/dev/sdf"], b"orders")
    image_id = ec2.create_image(InstanceId=instance_id, Name="orders", NoReboot=True)["ImageId"]
    mapped = {
        each["DeviceName"]: each["Ebs"] for each in describe(ec2, image_id)["BlockDeviceMappings"] if "Ebs" in each
    }
    assert set(mapped) == {"/dev/xvda", "/dev/sdf", "/dev/sdg"}
    snapshots = ec2.describe_snapshots(SnapshotIds=[ebs["SnapshotId"] for ebs in mapped.values()])["Snapshots"]
    assert len({each["StartTime"] for each in snapshots}) == 1
    assert {each["Description"] for each in snapshots} == {f"Created by CreateImage({instance_id}) for {image_id}"}
    for device, volume_id in volumes_of(ec2, instance_id).items():
        assert twin.digest_of(mapped[device]["SnapshotId"]) == twin.digest_of(volume_id)


def test_the_mapping_tells_the_volumes_as_they_are(twin: Twin, ec2: Any) -> None:
    image_id = ec2.create_image(InstanceId=run(twin), Name="orders")["ImageId"]
    image = describe(ec2, image_id)
    mapped = {each["DeviceName"]: each for each in image["BlockDeviceMappings"]}
    io2 = mapped["/dev/sdf"]["Ebs"]
    assert (io2["VolumeType"], io2["VolumeSize"], io2["Iops"], io2["Encrypted"]) == ("io2", 20, 1000, True)
    st1 = mapped["/dev/sdg"]["Ebs"]
    assert (st1["VolumeType"], st1["VolumeSize"], st1["Encrypted"]) == ("st1", 125, False)
    assert (st1["DeleteOnTermination"], io2["DeleteOnTermination"]) == (False, True)
    assert mapped["/dev/sdh"] == {"DeviceName": "/dev/sdh", "VirtualName": "ephemeral0"}
    assert (image["RootDeviceType"], image["RootDeviceName"]) == ("ebs", "/dev/xvda")


def test_an_image_is_pending_until_its_last_snapshot_is_completed_and_then_says_so(twin: Twin, ec2: Any) -> None:
    image_id = ec2.create_image(InstanceId=run(twin), Name="orders")["ImageId"]
    assert describe(ec2, image_id)["State"] == "pending"
    while describe(ec2, image_id)["State"] == "pending":
        twin.clock.advance(timedelta(seconds=5))
    states = {each["State"] for each in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]}
    assert (describe(ec2, image_id)["State"], states) == ("available", {"completed"})
    events = [each for each in twin.events if each["detail-type"] == "EC2 AMI State Change"]
    assert [each["detail"]["State"] for each in events] == ["available"]
    assert events[0]["resources"] == [f"arn:aws:ec2:{REGION}::image/{image_id}"]
    assert events[0]["detail"]["ImageId"] == image_id


@pytest.mark.contract("create_image")
def test_an_image_fails_with_its_first_failing_snapshot(twin: Twin, ec2: Any) -> None:
    image_id = ec2.create_image(InstanceId=run(twin), Name="orders")["ImageId"]
    snapshot_id = describe(ec2, image_id)["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    twin.backend(REGION).fail_snapshot(snapshot_id)
    twin.clock.advance(timedelta(hours=1))
    image = describe(ec2, image_id)
    assert image["State"] == "failed"
    assert snapshot_id in image["StateReason"]["Message"]
    event = twin.events[-1] if twin.events[-1]["detail-type"] == "EC2 AMI State Change" else None
    failed = [e["detail"] for e in twin.events if e["detail-type"] == "EC2 AMI State Change"]
    assert [each["State"] for each in failed] == ["failed"], event
    assert failed[0]["ErrorMessage"]


def test_image_and_snapshots_are_tagged_in_the_call(twin: Twin, ec2: Any) -> None:
    specifications = [
        {"ResourceType": "image", "Tags": [{"Key": "kind", "Value": "image"}]},
        {"ResourceType": "snapshot", "Tags": [{"Key": "kind", "Value": "snapshot"}]},
    ]
    image_id = ec2.create_image(InstanceId=run(twin), Name="orders", TagSpecifications=specifications)["ImageId"]
    assert describe(ec2, image_id)["Tags"] == [{"Key": "kind", "Value": "image"}]
    for snapshot in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]:
        assert snapshot["Tags"] == [{"Key": "kind", "Value": "snapshot"}]


def test_tags_for_another_type_are_refused(twin: Twin, ec2: Any) -> None:
    specifications = [{"ResourceType": "volume", "Tags": [{"Key": "a", "Value": "b"}]}]
    with pytest.raises(ClientError) as refusal:
        ec2.create_image(InstanceId=run(twin), Name="orders", TagSpecifications=specifications)
    assert code(refusal) == "InvalidParameterValue"
    assert ec2.describe_images(Owners=["self"])["Images"] == []


def test_a_name_in_use_is_refused_and_nothing_is_made(twin: Twin, ec2: Any) -> None:
    instance_id = run(twin)
    ec2.create_image(InstanceId=instance_id, Name="orders")
    before = len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"])
    with pytest.raises(ClientError) as refusal:
        ec2.create_image(InstanceId=instance_id, Name="orders")
    assert code(refusal) == "InvalidAMIName.Duplicate"
    assert len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == before


@pytest.mark.parametrize("name", ["a" * 129, "with:colon", "with,comma", "ümlaut"])
def test_a_name_that_is_too_long_or_badly_spelt_is_refused(twin: Twin, ec2: Any, name: str) -> None:
    with pytest.raises(ClientError) as refusal:
        ec2.create_image(InstanceId=run(twin), Name=name)
    assert code(refusal) == "InvalidAMIName.Malformed"


def test_a_name_may_have_every_character_that_is_documented(twin: Twin, ec2: Any) -> None:
    name = "a(b)[c] d.e/f-g'h@i_j"
    image_id = ec2.create_image(InstanceId=run(twin), Name=name)["ImageId"]
    assert describe(ec2, image_id)["Name"] == name


def test_only_running_and_stopped_instances_become_images(twin: Twin, ec2: Any) -> None:
    instance_id = run(twin)
    ec2.stop_instances(InstanceIds=[instance_id])
    with pytest.raises(ClientError) as stopping:
        ec2.create_image(InstanceId=instance_id, Name="while stopping")
    twin.clock.advance(timedelta(minutes=2))
    assert ec2.create_image(InstanceId=instance_id, Name="when stopped")["ImageId"]
    ec2.terminate_instances(InstanceIds=[instance_id])
    twin.clock.advance(timedelta(minutes=2))
    with pytest.raises(ClientError) as terminated:
        ec2.create_image(InstanceId=instance_id, Name="when terminated")
    assert (code(stopping), code(terminated)) == ("IncorrectState", "IncorrectState")


@pytest.mark.contract("instance_store_image")
def test_an_instance_store_backed_instance_is_refused(twin: Twin, ec2: Any) -> None:
    instance_id = run(twin, root="instance-store", devices=[])
    with pytest.raises(ClientError) as refusal:
        ec2.create_image(InstanceId=instance_id, Name="orders")
    assert code(refusal) == "InvalidParameterValue"


@pytest.mark.contract("create_image")
def test_a_running_instance_is_rebooted_unless_no_reboot_is_asked_for(twin: Twin, ec2: Any) -> None:
    instance_id = run(twin)
    launched = twin.backend(REGION).launch_of(instance_id)
    ec2.create_image(InstanceId=instance_id, Name="first", NoReboot=True)
    assert launched.rebooted_at == []
    twin.clock.advance(timedelta(minutes=15))  # one of its volumes is st1: one snapshot at a time
    ec2.create_image(InstanceId=instance_id, Name="second")
    assert launched.rebooted_at == [twin.clock.now()]


def test_a_reboot_brings_what_was_buffered_to_the_disk_and_no_reboot_leaves_it_out(twin: Twin, ec2: Any) -> None:
    instance_id = run(twin, devices=[])
    volume_id = volumes_of(ec2, instance_id)["/dev/xvda"]
    blank = twin.digest_of(volume_id)
    twin.write(volume_id, b"buffered", is_flushed=False)
    crash = ec2.create_image(InstanceId=instance_id, Name="crash consistent", NoReboot=True)["ImageId"]
    twin.clock.advance(timedelta(seconds=15))
    clean = ec2.create_image(InstanceId=instance_id, Name="clean")["ImageId"]
    taken = {image: describe(ec2, image)["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"] for image in (crash, clean)}
    assert twin.digest_of(taken[crash]) == blank
    assert twin.digest_of(taken[clean]) != blank
    snapshots = twin.backend(REGION).snapshots
    assert (snapshots[taken[crash]].is_frozen, snapshots[taken[clean]].is_frozen) == (False, True)


def test_a_mapping_may_leave_a_volume_out_and_change_what_termination_does(twin: Twin, ec2: Any) -> None:
    mappings = [
        {"DeviceName": "/dev/sdf", "NoDevice": ""},
        {"DeviceName": "/dev/sdg", "Ebs": {"DeleteOnTermination": True}},
    ]
    image_id = ec2.create_image(InstanceId=run(twin), Name="orders", BlockDeviceMappings=mappings)["ImageId"]
    mapped = {each["DeviceName"]: each for each in describe(ec2, image_id)["BlockDeviceMappings"]}
    assert "/dev/sdf" not in mapped
    assert mapped["/dev/sdg"]["Ebs"]["DeleteOnTermination"] is True


@pytest.mark.contract("create_image")
@pytest.mark.parametrize("change", [{"VolumeSize": 500}, {"Encrypted": True}, {"VolumeType": "gp2"}])
def test_a_mapping_may_not_change_size_encryption_or_type(twin: Twin, ec2: Any, change: dict[str, Any]) -> None:
    mappings = [{"DeviceName": "/dev/sdg", "Ebs": change}]
    with pytest.raises(ClientError) as refusal:
        ec2.create_image(InstanceId=run(twin), Name="orders", BlockDeviceMappings=mappings)
    assert code(refusal) == "InvalidBlockDeviceMapping"


def test_a_dry_run_makes_nothing(twin: Twin, ec2: Any) -> None:
    with pytest.raises(ClientError) as refusal:
        ec2.create_image(InstanceId=run(twin), Name="orders", DryRun=True)
    assert code(refusal) == "DryRunOperation"
    assert ec2.describe_images(Owners=["self"])["Images"] == []


@pytest.mark.contract("create_image")
def test_an_image_stands_on_one_snapshot_of_each_volume_and_is_pending_first(
    cloud: Any, launch: Any, settle: Any
) -> None:
    ec2 = cloud.client("ec2", REGION)
    instance = launch(cloud, data_volumes=2)
    tags = [{"ResourceType": "snapshot", "Tags": [{"Key": "a", "Value": "b"}]}]
    image_id = ec2.create_image(InstanceId=instance["InstanceId"], Name="orders", TagSpecifications=tags)["ImageId"]
    assert describe(ec2, image_id)["State"] == "pending"
    settle(cloud)
    found = describe(ec2, image_id)
    assert (found["State"], found["RootDeviceType"]) == ("available", "ebs")
    mapped = {each["DeviceName"]: each["Ebs"] for each in found["BlockDeviceMappings"]}
    snapshots = ec2.describe_snapshots(SnapshotIds=[each["SnapshotId"] for each in mapped.values()])["Snapshots"]
    attached = {each["DeviceName"]: each["Ebs"]["VolumeId"] for each in instance["BlockDeviceMappings"]}
    source = {each["SnapshotId"]: each["VolumeId"] for each in snapshots}
    assert {device: source[ebs["SnapshotId"]] for device, ebs in mapped.items()} == attached
    assert [each["Tags"] for each in snapshots] == [[{"Key": "a", "Value": "b"}]] * 3


@pytest.mark.contract("create_image")
def test_a_second_image_of_that_name_and_one_of_a_terminated_instance_are_refused(
    cloud: Any, launch: Any, settle: Any, refused: Any
) -> None:
    ec2, instance_id = cloud.client("ec2", REGION), launch(cloud)["InstanceId"]
    ec2.create_image(InstanceId=instance_id, Name="orders")
    settle(cloud)
    with refused("InvalidAMIName.Duplicate"):
        ec2.create_image(InstanceId=instance_id, Name="orders")
    ec2.terminate_instances(InstanceIds=[instance_id])
    settle(cloud)
    with refused("IncorrectState"):
        ec2.create_image(InstanceId=instance_id, Name="other")


@pytest.mark.contract("create_image")
def test_snapshots_go_nowhere_but_into_the_region(twin: Twin, ec2: Any, refused: Any) -> None:
    instance_id = run(twin)
    with refused("InvalidParameterValue"):
        ec2.create_image(InstanceId=instance_id, Name="local", SnapshotLocation="local")
