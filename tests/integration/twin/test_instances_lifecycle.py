"""Instance states on the twin: EC2 User Guide, "Amazon EC2 instance state changes"; errors-overview."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from moto.ec2.exceptions import EC2ClientError

from local.twin.testing import Twin

REGION = "us-east-1"
SOON = timedelta(minutes=2)


def describe(cloud: Any, instance_id: str) -> dict[str, Any]:
    found = cloud.client("ec2", REGION).describe_instances(InstanceIds=[instance_id])
    return found["Reservations"][0]["Instances"][0]


def state(cloud: Any, instance_id: str) -> str:
    return describe(cloud, instance_id)["State"]["Name"]


def states_told(twin: Twin, instance_id: str) -> list[str]:
    return [each["detail"]["state"] for each in twin.events if each["detail"].get("instance-id") == instance_id]


def run(twin: Twin, *, count: int = 1, root: str = "ebs", **request: Any) -> list[str]:
    ec2 = twin.client("ec2", REGION)
    filters = [{"Name": "root-device-type", "Values": [root]}]
    image_id = ec2.describe_images(Owners=["amazon"], Filters=filters)["Images"][0]["ImageId"]
    started = ec2.run_instances(ImageId=image_id, MinCount=count, MaxCount=count, **request)
    return [each["InstanceId"] for each in started["Instances"]]


@pytest.mark.contract("lifecycle", "eventbridge")
def test_an_instance_goes_through_every_state_and_each_is_told(twin: Twin) -> None:
    ec2 = twin.client("ec2", REGION)
    (instance_id,) = run(twin)
    seen = [state(twin, instance_id)]
    for change in (None, ec2.stop_instances, ec2.start_instances, ec2.terminate_instances):
        if change is not None:
            change(InstanceIds=[instance_id])
            seen.append(state(twin, instance_id))
        twin.clock.advance(SOON)
        seen.append(state(twin, instance_id))
    expected = ["pending", "running", "stopping", "stopped", "pending", "running", "shutting-down", "terminated"]
    assert seen == states_told(twin, instance_id) == expected
    event = next(each for each in twin.events if each["detail"].get("instance-id") == instance_id)
    assert event["detail-type"] == "EC2 Instance State-change Notification"
    assert event["resources"] == [f"arn:aws:ec2:{REGION}:123456789012:instance/{instance_id}"]


def test_the_answer_tells_the_state_before_and_the_transitional_one(twin: Twin, launch: Callable[..., Any]) -> None:
    instance_id = launch(twin)["InstanceId"]
    changed = twin.client("ec2", REGION).stop_instances(InstanceIds=[instance_id])["StoppingInstances"][0]
    assert changed["PreviousState"] == {"Code": 16, "Name": "running"}
    assert changed["CurrentState"] == {"Code": 64, "Name": "stopping"}


@pytest.mark.contract("lifecycle")
def test_an_ending_or_terminated_instance_cannot_be_started_or_stopped(cloud: Any, launch: Any, refused: Any) -> None:
    instance_id = launch(cloud)["InstanceId"]
    ec2 = cloud.client("ec2", REGION)
    ec2.terminate_instances(InstanceIds=[instance_id])
    for _ in range(2):
        for call in (ec2.start_instances, ec2.stop_instances):
            with refused("IncorrectInstanceState"):
                call(InstanceIds=[instance_id])
        cloud.clock.advance(SOON)


def test_a_pending_instance_cannot_be_stopped_and_a_stopping_one_not_started(twin: Twin, refused: Any) -> None:
    ec2 = twin.client("ec2", REGION)
    (instance_id,) = run(twin)
    with refused("IncorrectInstanceState"):
        ec2.stop_instances(InstanceIds=[instance_id])
    twin.clock.advance(SOON)
    ec2.stop_instances(InstanceIds=[instance_id])
    with refused("IncorrectInstanceState"):
        ec2.start_instances(InstanceIds=[instance_id])


@pytest.mark.contract("lifecycle")
def test_a_stopped_instance_cannot_be_rebooted(cloud: Any, launch: Any, refused: Any) -> None:
    instance_id = launch(cloud)["InstanceId"]
    ec2 = cloud.client("ec2", REGION)
    ec2.stop_instances(InstanceIds=[instance_id])
    cloud.clock.advance(SOON)
    with refused("IncorrectState"):
        ec2.reboot_instances(InstanceIds=[instance_id])
    assert state(cloud, instance_id) == "stopped"


def test_a_reboot_leaves_the_instance_running_and_tells_nobody(twin: Twin, launch: Any) -> None:
    instance_id = launch(twin)["InstanceId"]
    told = states_told(twin, instance_id)
    twin.client("ec2", REGION).reboot_instances(InstanceIds=[instance_id])
    assert (state(twin, instance_id), states_told(twin, instance_id)) == ("running", told)
    assert twin.backend(REGION).launch_of(instance_id).rebooted_at == [twin.clock.now()]


@pytest.mark.contract("instance_store_image")
def test_an_instance_store_backed_instance_cannot_be_stopped(twin: Twin, refused: Any) -> None:
    (instance_id,) = run(twin, root="instance-store")
    twin.clock.advance(SOON)
    with refused("UnsupportedOperation"):
        twin.client("ec2", REGION).stop_instances(InstanceIds=[instance_id])


def test_either_all_instances_change_or_none(twin: Twin, refused: Any) -> None:
    ec2 = twin.client("ec2", REGION)
    first, second = run(twin, count=2)
    twin.clock.advance(SOON)
    ec2.terminate_instances(InstanceIds=[second])
    with refused("IncorrectInstanceState"):
        ec2.stop_instances(InstanceIds=[first, second])
    assert state(twin, first) == "running"


@pytest.mark.contract("terminate")
def test_termination_deletes_the_volumes_that_are_marked_and_frees_the_others(twin: Twin) -> None:
    mappings = [
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 10}},
        {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 20, "DeleteOnTermination": False}},
    ]
    ec2 = twin.client("ec2", REGION)
    (instance_id,) = run(twin, BlockDeviceMappings=mappings)
    twin.clock.advance(SOON)
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert len(ec2.describe_volumes()["Volumes"]) == 3
    twin.clock.advance(SOON)
    assert [(each["Size"], each["State"]) for each in ec2.describe_volumes()["Volumes"]] == [(20, "available")]
    assert describe(twin, instance_id)["BlockDeviceMappings"] == []


def test_the_network_interface_that_a_launch_made_goes_with_its_instance(cloud: Any, launch: Any, settle: Any) -> None:
    ec2, instance_id = cloud.client("ec2", REGION), launch(cloud)["InstanceId"]
    [interface] = describe(cloud, instance_id)["NetworkInterfaces"]
    assert interface["Attachment"]["DeleteOnTermination"] is True
    ec2.terminate_instances(InstanceIds=[instance_id])
    settle(cloud)
    left = {each["NetworkInterfaceId"] for each in ec2.describe_network_interfaces()["NetworkInterfaces"]}
    assert interface["NetworkInterfaceId"] not in left


def test_a_terminated_instance_disappears_with_its_tags_after_an_hour(twin: Twin, refused: Any) -> None:
    ec2 = twin.client("ec2", REGION)
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "b"}]}]
    (instance_id,) = run(twin, TagSpecifications=tags)
    ec2.terminate_instances(InstanceIds=[instance_id])
    twin.clock.advance(timedelta(hours=2))
    with refused("InvalidInstanceID.NotFound"):
        ec2.describe_instances(InstanceIds=[instance_id])
    assert ec2.describe_instances()["Reservations"] == []
    assert ec2.describe_tags()["Tags"] == []


def test_filters_select_instances_and_leave_the_others_of_a_reservation_out(twin: Twin) -> None:
    ec2 = twin.client("ec2", REGION)
    first, second = run(twin, count=2)
    (third,) = run(twin, root="instance-store")
    twin.clock.advance(SOON)
    ec2.create_tags(Resources=[first], Tags=[{"Key": "plan", "Value": "production [1]"}])
    ec2.create_tags(Resources=[third], Tags=[{"Key": "plan", "Value": "test"}])
    ec2.stop_instances(InstanceIds=[second])
    twin.clock.advance(SOON)
    volume_id = describe(twin, first)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    image_id = describe(twin, first)["ImageId"]

    def ids(name: str, *values: str) -> set[str]:
        pages = ec2.get_paginator("describe_instances").paginate(Filters=[{"Name": name, "Values": list(values)}])
        return {each["InstanceId"] for page in pages for found in page["Reservations"] for each in found["Instances"]}

    assert ids("tag:plan", "production [1]") == {first}
    assert ids("tag:plan", "prod*", "test") == {first, third}
    assert ids("tag-key", "absent", "plan") == {first, third}
    assert ids("instance-state-name", "running") == {first, third}
    assert ids("instance-state-code", "80") == {second}
    assert ids("image-id", image_id) == {first, second}
    assert ids("block-device-mapping.volume-id", volume_id) == {first}
    assert ids("block-device-mapping.delete-on-termination", "true") == {first, second}
    assert ids("root-device-type", "instance-store") == {third}
    assert ids("availability-zone", f"{REGION}?") == {first, second, third}


def test_an_unknown_instance_is_refused_and_an_unknown_filter_too(twin: Twin, refused: Any) -> None:
    ec2 = twin.client("ec2", REGION)
    with refused("InvalidInstanceID.NotFound"):
        ec2.describe_instances(InstanceIds=["i-0123456789abcdef0"])
    with refused("InvalidParameterValue"):
        ec2.describe_instances(Filters=[{"Name": "colour", "Values": ["blue"]}])


def test_instances_are_told_page_by_page(twin: Twin, refused: Any) -> None:
    ec2 = twin.client("ec2", REGION)
    made = [*run(twin, count=9), *run(twin, count=8)]
    pages = list(ec2.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5}))
    told = [each["InstanceId"] for page in pages for found in page["Reservations"] for each in found["Instances"]]
    assert len(pages) >= 4
    assert sorted(told) == sorted(made)
    with refused("InvalidParameterCombination"):
        ec2.describe_instances(InstanceIds=made[:1], MaxResults=5)


def test_the_status_is_told_of_running_instances_and_of_all_when_asked_for(twin: Twin) -> None:
    ec2 = twin.client("ec2", REGION)
    (instance_id,) = run(twin)
    assert ec2.describe_instance_status()["InstanceStatuses"] == []
    told = ec2.describe_instance_status(IncludeAllInstances=True)["InstanceStatuses"][0]
    assert (told["InstanceState"]["Name"], told["InstanceStatus"]["Status"]) == ("pending", "not-applicable")
    twin.clock.advance(timedelta(minutes=1))
    starting = ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"][0]
    assert starting["InstanceStatus"]["Status"] == "initializing"
    twin.clock.advance(timedelta(minutes=5))
    started = ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"][0]
    assert (started["InstanceStatus"]["Status"], started["SystemStatus"]["Status"]) == ("ok", "ok")


@pytest.mark.parametrize("action", ["start", "stop", "reboot", "terminate"])
def test_a_dry_run_changes_nothing(twin: Twin, launch: Any, refused: Any, action: str) -> None:
    instance_id = launch(twin)["InstanceId"]
    with refused("DryRunOperation"):
        getattr(twin.client("ec2", REGION), f"{action}_instances")(InstanceIds=[instance_id], DryRun=True)
    assert state(twin, instance_id) == "running"


@pytest.mark.contract("lifecycle")
def test_a_stop_and_a_termination_take_their_time(cloud: Any, launch: Any, settle: Any) -> None:
    ec2, instance_id = cloud.client("ec2", REGION), launch(cloud)["InstanceId"]
    ec2.stop_instances(InstanceIds=[instance_id])
    assert state(cloud, instance_id) == "stopping"
    settle(cloud)
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert state(cloud, instance_id) == "shutting-down"
    settle(cloud)
    assert state(cloud, instance_id) == "terminated"


@pytest.mark.contract("instance_type_change")
def test_the_type_is_changed_only_while_stopped_and_to_one_that_fits(
    cloud: Any, launch: Any, settle: Any, refused: Any
):
    ec2, instance_id = cloud.client("ec2", REGION), launch(cloud)["InstanceId"]
    with refused("IncorrectInstanceState"):
        ec2.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "t3.small"})
    ec2.modify_instance_attribute(InstanceId=instance_id, SourceDestCheck={"Value": False})
    ec2.stop_instances(InstanceIds=[instance_id])
    settle(cloud)
    for instance_type in ("t9.huge", "t4g.micro"):
        with refused("InvalidParameterValue"):
            ec2.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": instance_type})
    ec2.modify_instance_attribute(InstanceId=instance_id, Attribute="instanceType", Value="t3.small")
    assert describe(cloud, instance_id)["InstanceType"] == "t3.small"


@pytest.mark.contract("terminate")
def test_the_volumes_of_an_image_go_with_the_instance_unless_it_says_otherwise(
    cloud: Any, launch: Any, settle: Any
) -> None:
    ec2, source = cloud.client("ec2", REGION), launch(cloud, data_volumes=1)
    image_id = ec2.create_image(InstanceId=source["InstanceId"], Name="orders")["ImageId"]
    settle(cloud)
    started = ec2.run_instances(ImageId=image_id, MinCount=1, MaxCount=1, InstanceType="t3.micro")["Instances"][0]
    settle(cloud)
    mapped = describe(cloud, started["InstanceId"])["BlockDeviceMappings"]
    image = ec2.describe_images(ImageIds=[image_id])["Images"][0]["BlockDeviceMappings"]
    assert [each["Ebs"]["DeleteOnTermination"] for each in mapped] == [True, True]
    assert [each["Ebs"]["DeleteOnTermination"] for each in image] == [True, True]


@pytest.mark.contract("instance_status")
def test_scheduled_events_are_told_and_found_by_their_code(cloud: Any, launch: Any) -> None:
    ec2, planned, other = cloud.client("ec2", REGION), launch(cloud)["InstanceId"], launch(cloud)["InstanceId"]

    def found(name: str, value: str) -> list[str]:
        answer = ec2.describe_instance_status(Filters=[{"Name": name, "Values": [value]}])
        return [each["InstanceId"] for each in answer["InstanceStatuses"]]

    assert found("event.code", "system-reboot") == []
    cloud.schedule_event(planned, "system-reboot", not_before=cloud.clock.now() + timedelta(days=14))
    assert found("event.code", "system-reboot") == [planned]
    assert found("event.code", "instance-stop") == []
    assert set(found("instance-state-name", "running")) == {planned, other}
    [status] = ec2.describe_instance_status(InstanceIds=[planned])["InstanceStatuses"]
    assert status["Events"][0]["NotBefore"] == cloud.clock.now() + timedelta(days=14)


@pytest.mark.contract("instance_status")
def test_a_status_is_initializing_before_it_is_ok(cloud: Any) -> None:
    ec2 = cloud.client("ec2", REGION)
    images = ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "root-device-type", "Values": ["ebs"]}])["Images"]
    image_id = images[0]["ImageId"] if images else "ami-12345678"
    ec2.run_instances(ImageId=image_id, MinCount=1, MaxCount=1, InstanceType="t3.micro")
    seen = []
    for _ in range(2):
        cloud.clock.advance(timedelta(minutes=2))
        [status] = ec2.describe_instance_status(IncludeAllInstances=True)["InstanceStatuses"]
        seen.append(status["InstanceStatus"]["Status"])
    assert seen == ["initializing", "ok"]


@pytest.mark.contract("alarms")
def test_a_recovered_instance_is_the_same_one_without_what_was_in_memory(twin: Twin, launch: Any) -> None:
    instance = launch(twin)
    instance_id, volume_id = instance["InstanceId"], instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    with pytest.raises(EC2ClientError, match="not impaired"):
        twin.recover(instance_id)
    before = twin.digest_of(volume_id)
    twin.write(volume_id, b"in memory only", is_flushed=False)
    twin.impair(instance_id)
    twin.recover(instance_id)
    twin.freeze(volume_id)  # whatever is still held back would reach the disk now
    assert twin.digest_of(volume_id) == before
    twin.clock.advance(timedelta(minutes=3))
    again = describe(twin, instance_id)
    assert (again["State"]["Name"], again["PrivateIpAddress"]) == ("running", instance["PrivateIpAddress"])
    assert again["BlockDeviceMappings"][0]["Ebs"]["VolumeId"] == volume_id
    [status] = twin.client("ec2", REGION).describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"]
    assert status["SystemStatus"]["Status"] == "ok"


@pytest.mark.contract("lifecycle")
def test_a_public_address_changes_with_a_stop_and_the_private_one_stays(twin: Twin, launch: Any, settle: Any) -> None:
    """EC2 User Guide, "Amazon EC2 instance IP addressing"."""
    ec2, before = twin.client("ec2", REGION), launch(twin)
    for change in (ec2.stop_instances, ec2.start_instances):
        change(InstanceIds=[before["InstanceId"]])
        settle(twin)
    after = describe(twin, before["InstanceId"])
    assert after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert after["PublicIpAddress"] != before["PublicIpAddress"]


@pytest.mark.contract("key_pairs")
def test_key_pairs_are_found_by_their_ids(cloud: Any, refused: Any) -> None:
    ec2 = cloud.client("ec2", REGION)
    ids = [ec2.create_key_pair(KeyName=name)["KeyPairId"] for name in ("one", "two")]
    assert [each["KeyName"] for each in ec2.describe_key_pairs(KeyPairIds=ids[:1])["KeyPairs"]] == ["one"]
    with refused("InvalidKeyPair.NotFound"):
        ec2.describe_key_pairs(KeyPairIds=["key-0123456789abcdef0"])


@pytest.mark.contract("lifecycle", "eventbridge")
def test_an_instance_whose_key_cannot_be_used_any_more_goes_back_to_stopped(
    cloud: Any, launch: Any, settle: Any
) -> None:
    """EC2 User Guide, "Troubleshoot Amazon EC2 instance launch issues"; EBS User Guide, "reattachVolume" events."""
    ec2, kms = cloud.client("ec2", REGION), cloud.client("kms", REGION)
    key = kms.create_key()["KeyMetadata"]["Arn"]
    ec2.enable_ebs_encryption_by_default()
    ec2.modify_ebs_default_kms_key_id(KmsKeyId=key)
    instance_id = launch(cloud)["InstanceId"]
    ec2.stop_instances(InstanceIds=[instance_id])
    settle(cloud)
    kms.disable_key(KeyId=key.rpartition("/")[2])
    ec2.start_instances(InstanceIds=[instance_id])
    settle(cloud)
    found = describe(cloud, instance_id)
    assert (found["State"]["Name"], found["StateReason"]["Code"]) == ("stopped", "Client.InternalError")
    assert [each["detail"]["result"] for each in cloud.events if each["detail"].get("event") == "reattachVolume"] == [
        "failed"
    ]
    kms.enable_key(KeyId=key.rpartition("/")[2])
    ec2.start_instances(InstanceIds=[instance_id])
    settle(cloud)
    assert state(cloud, instance_id) == "running"
