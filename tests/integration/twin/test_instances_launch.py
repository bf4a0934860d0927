"""RunInstances on the twin: EC2 API Reference, RunInstances; EC2 User Guide, "Block device mappings"."""

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.twin.testing import Twin

REGION = "us-east-1"
FAR = "us-west-2"


@pytest.fixture
def ec2(twin: Twin) -> Any:
    return twin.client("ec2", REGION)


def base_image(ec2: Any, root: str = "ebs") -> str:
    filters = [{"Name": "root-device-type", "Values": [root]}]
    return ec2.describe_images(Owners=["amazon"], Filters=filters)["Images"][0]["ImageId"]


def run(twin: Twin, image_id: str, *, region: str = REGION, **request: Any) -> str:
    request = {"MinCount": 1, "MaxCount": 1, **request}
    started = twin.client("ec2", region).run_instances(ImageId=image_id, **request)
    twin.clock.advance(timedelta(minutes=2))
    return started["Instances"][0]["InstanceId"]


def volumes_of(ec2: Any, instance_id: str) -> dict[str, Any]:
    instance = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    devices = {each["Ebs"]["VolumeId"]: each["DeviceName"] for each in instance["BlockDeviceMappings"]}
    volumes = ec2.describe_volumes(VolumeIds=list(devices))["Volumes"] if devices else []
    return {devices[each["VolumeId"]]: each for each in volumes}


def image_with_data(twin: Twin, ec2: Any) -> str:
    key = twin.client("kms", REGION).create_key()["KeyMetadata"]["Arn"]
    mappings = [
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 20, "VolumeType": "io2", "Iops": 1000}},
        {
            "DeviceName": "/dev/sdg",
            "Ebs": {
                "VolumeSize": 30,
                "VolumeType": "gp3",
                "Iops": 4000,
                "Throughput": 250,
                "DeleteOnTermination": False,
            },
        },
        {"DeviceName": "/dev/sdh", "Ebs": {"VolumeSize": 10, "Encrypted": True, "KmsKeyId": key}},
    ]
    instance_id = run(twin, base_image(ec2), BlockDeviceMappings=mappings)
    for device, volume in volumes_of(ec2, instance_id).items():
        twin.write(volume["VolumeId"], device.encode())
    image_id = ec2.create_image(InstanceId=instance_id, Name="with data")["ImageId"]
    twin.clock.advance(timedelta(hours=1))
    return image_id


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


@pytest.mark.contract("run_instances_from_image", "content")
def test_volumes_come_from_the_image_with_their_bytes_types_and_keys(twin: Twin, ec2: Any) -> None:
    image_id = image_with_data(twin, ec2)
    mapped = {
        each["DeviceName"]: each["Ebs"]
        for each in ec2.describe_images(ImageIds=[image_id])["Images"][0]["BlockDeviceMappings"]
    }
    volumes = volumes_of(ec2, run(twin, image_id))
    assert set(volumes) == set(mapped) == {"/dev/xvda", "/dev/sdf", "/dev/sdg", "/dev/sdh"}
    for device, volume in volumes.items():
        snapshot_id = mapped[device]["SnapshotId"]
        assert volume["SnapshotId"] == snapshot_id
        assert (volume["Size"], volume["VolumeType"]) == (mapped[device]["VolumeSize"], mapped[device]["VolumeType"])
        assert volume["Encrypted"] == mapped[device]["Encrypted"]
        assert volume["Attachments"][0]["DeleteOnTermination"] == mapped[device]["DeleteOnTermination"]
        assert twin.digest_of(volume["VolumeId"]) == twin.digest_of(snapshot_id)
    snapshot = ec2.describe_snapshots(SnapshotIds=[mapped["/dev/sdh"]["SnapshotId"]])["Snapshots"][0]
    assert volumes["/dev/sdh"]["KmsKeyId"] == snapshot["KmsKeyId"]
    assert volumes["/dev/sdf"]["Iops"] == 1000
    assert (volumes["/dev/sdg"]["Iops"], volumes["/dev/sdg"]["Throughput"]) == (4000, 250)


@pytest.mark.contract("run_instances_from_image")
def test_a_mapping_overrides_the_images_by_device_and_keeps_what_it_does_not_say(twin: Twin, ec2: Any) -> None:
    mappings = [
        {"DeviceName": "/dev/sdf", "Ebs": {"DeleteOnTermination": False}},
        {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 50}},
        {"DeviceName": "/dev/sdh", "NoDevice": ""},
    ]
    volumes = volumes_of(ec2, run(twin, image_with_data(twin, ec2), BlockDeviceMappings=mappings))
    assert set(volumes) == {"/dev/xvda", "/dev/sdf", "/dev/sdg"}
    assert volumes["/dev/sdf"]["Attachments"][0]["DeleteOnTermination"] is False
    assert (volumes["/dev/sdf"]["VolumeType"], volumes["/dev/sdf"]["Iops"]) == ("io2", 1000)
    assert volumes["/dev/sdg"]["Size"] == 50
    assert volumes["/dev/sdg"]["SnapshotId"]


def test_a_volume_cannot_be_smaller_than_its_snapshot_and_nothing_is_launched(twin: Twin, ec2: Any) -> None:
    mappings = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 5}}]
    with pytest.raises(ClientError) as refusal:
        run(twin, base_image(ec2), BlockDeviceMappings=mappings)
    assert code(refusal) == "InvalidBlockDeviceMapping"
    assert ec2.describe_instances()["Reservations"] == []
    assert ec2.describe_volumes()["Volumes"] == []


@pytest.mark.parametrize(
    "ebs",
    [
        {"VolumeSize": 10, "VolumeType": "standard"},
        {"VolumeSize": 10, "VolumeType": "gp2"},
        {"VolumeSize": 10, "VolumeType": "gp3", "Iops": 4000, "Throughput": 500},
        {"VolumeSize": 10, "VolumeType": "io1", "Iops": 500},
        {"VolumeSize": 10, "VolumeType": "io2", "Iops": 5000},
        {"VolumeSize": 125, "VolumeType": "st1"},
        {"VolumeSize": 125, "VolumeType": "sc1"},
    ],
)
def test_every_volume_type_can_be_launched(twin: Twin, ec2: Any, ebs: dict[str, Any]) -> None:
    instance_id = run(twin, base_image(ec2), BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": ebs}])
    volume = volumes_of(ec2, instance_id)["/dev/sdf"]
    assert (volume["VolumeType"], volume["Size"]) == (ebs["VolumeType"], ebs["VolumeSize"])
    assert volume.get("Iops") == ebs["Iops"] if "Iops" in ebs else True


def test_a_volume_type_without_provisioned_iops_takes_none(twin: Twin, ec2: Any) -> None:
    ebs = {"VolumeSize": 10, "VolumeType": "gp2", "Iops": 500}
    with pytest.raises(ClientError) as refusal:
        run(twin, base_image(ec2), BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": ebs}])
    assert code(refusal) == "InvalidParameterCombination"


@pytest.mark.parametrize("root", ["ebs", "instance-store"])
def test_an_instance_store_device_makes_no_volume(twin: Twin, ec2: Any, root: str) -> None:
    mappings = [{"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}]
    instance_id = run(twin, base_image(ec2, root), BlockDeviceMappings=mappings)
    assert set(volumes_of(ec2, instance_id)) == ({"/dev/xvda"} if root == "ebs" else set())
    instance = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    assert instance["RootDeviceType"] == root


def test_as_many_instances_start_as_max_count_says(twin: Twin, ec2: Any) -> None:
    started = ec2.run_instances(ImageId=base_image(ec2), MinCount=1, MaxCount=3)["Instances"]
    assert len(started) == 3
    with pytest.raises(ClientError) as refusal:
        ec2.run_instances(ImageId=base_image(ec2), MinCount=3, MaxCount=2)
    assert code(refusal) == "InvalidParameterValue"


def test_the_same_client_token_launches_once(twin: Twin, ec2: Any) -> None:
    request = {"ImageId": base_image(ec2), "MinCount": 1, "MaxCount": 1, "ClientToken": "once"}
    first = ec2.run_instances(**request)["Instances"][0]["InstanceId"]
    assert ec2.run_instances(**request)["Instances"][0]["InstanceId"] == first
    with pytest.raises(ClientError) as refusal:
        ec2.run_instances(**{**request, "MaxCount": 2})
    assert code(refusal) == "IdempotentParameterMismatch"


@pytest.mark.contract("run_instances_arguments")
def test_an_image_of_another_region_does_not_exist_here(twin: Twin, ec2: Any) -> None:
    far = base_image(twin.client("ec2", FAR))
    with pytest.raises(ClientError) as refusal:
        run(twin, far)
    assert code(refusal) == "InvalidAMIID.NotFound"


def test_an_image_that_is_pending_or_gone_cannot_be_launched(twin: Twin, ec2: Any) -> None:
    image_id = ec2.create_image(InstanceId=run(twin, base_image(ec2)), Name="orders")["ImageId"]
    with pytest.raises(ClientError) as pending:
        run(twin, image_id)
    ec2.deregister_image(ImageId=image_id)
    with pytest.raises(ClientError) as gone:
        run(twin, image_id)
    assert (code(pending), code(gone)) == ("InvalidAMIID.Unavailable", "InvalidAMIID.Unavailable")


def test_instance_and_volume_tags_are_set_in_the_call(twin: Twin, ec2: Any) -> None:
    specifications = [
        {"ResourceType": "instance", "Tags": [{"Key": "kind", "Value": "instance"}]},
        {"ResourceType": "volume", "Tags": [{"Key": "kind", "Value": "volume"}]},
    ]
    instance_id = run(twin, base_image(ec2), TagSpecifications=specifications)
    instance = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    assert instance["Tags"] == [{"Key": "kind", "Value": "instance"}]
    assert volumes_of(ec2, instance_id)["/dev/xvda"]["Tags"] == [{"Key": "kind", "Value": "volume"}]


def test_a_key_that_cannot_be_used_ends_the_instance_after_the_call(twin: Twin, ec2: Any) -> None:
    ebs = {"VolumeSize": 10, "Encrypted": True, "KmsKeyId": "12345678-0000-0000-0000-000000000000"}
    instance_id = run(twin, base_image(ec2), BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": ebs}])
    instance = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    assert instance["State"]["Name"] == "terminated"
    assert instance["StateReason"]["Code"] == "Client.InternalError"


@pytest.mark.parametrize("region", [REGION, FAR, "eu-central-1"])
def test_every_region_offers_a_base_image_of_both_root_types(twin: Twin, region: str) -> None:
    images = twin.client("ec2", region).describe_images(Owners=["amazon"])["Images"]
    assert {each["RootDeviceType"] for each in images} == {"ebs", "instance-store"}
    assert {(each["State"], each["ImageOwnerAlias"], each["Architecture"]) for each in images} == {
        ("available", "amazon", "x86_64")
    }
    assert twin.client("ec2", region).describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


def some_image(cloud: Any) -> str:
    """The base image of the twin; stock moto, which has none here, is told of any."""
    images = cloud.client("ec2", REGION).describe_images(
        Owners=["amazon"], Filters=[{"Name": "root-device-type", "Values": ["ebs"]}]
    )["Images"]
    return images[0]["ImageId"] if images else "ami-12345678"


@pytest.mark.contract("run_instances_arguments")
@pytest.mark.parametrize(
    ("request_", "code_"),
    [
        ({"InstanceType": "t3.micro", "KeyName": "nobody"}, "InvalidKeyPair.NotFound"),
        ({"InstanceType": "t9.huge"}, "InvalidParameterValue"),
        ({"InstanceType": "t4g.micro"}, "InvalidParameterValue"),
        ({"InstanceType": "t3.micro", "MinCount": 2}, "InvalidParameterValue"),
    ],
)
def test_a_key_a_type_and_a_machine_that_do_not_fit_are_refused_and_nothing_is_launched(
    cloud: Any, refused: Any, request_: dict[str, Any], code_: str
) -> None:
    ec2 = cloud.client("ec2", REGION)
    with refused(code_):
        ec2.run_instances(**{"ImageId": some_image(cloud), "MinCount": 1, "MaxCount": 1, **request_})
    assert ec2.describe_instances()["Reservations"] == []


@pytest.mark.contract("run_instances_arguments")
def test_the_type_and_the_key_of_a_launch_template_are_looked_at_too(twin: Twin, ec2: Any, refused: Any) -> None:
    for name, data, code_ in (
        ("arm", {"InstanceType": "t4g.micro"}, "InvalidParameterValue"),
        ("key", {"KeyName": "nobody"}, "InvalidKeyPair.NotFound"),
    ):
        ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"ImageId": base_image(ec2), **data})
        with refused(code_):
            ec2.run_instances(LaunchTemplate={"LaunchTemplateName": name}, MinCount=1, MaxCount=1)


@pytest.mark.contract("register_image")
@pytest.mark.parametrize(
    "machine", [{}, {"Architecture": "x86_64", "VirtualizationType": "hvm"}, {"Architecture": "x86_64"}]
)
def test_an_image_with_the_defaults_of_register_image_does_not_start_on_a_modern_type(
    twin: Twin, ec2: Any, make_snapshot: Any, machine: dict[str, str]
) -> None:
    """RegisterImage: i386, paravirtual and no ENA unless told otherwise."""
    mapping = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": make_snapshot(twin)}}]
    root = {"RootDeviceName": "/dev/xvda", "BlockDeviceMappings": mapping}
    image_id = ec2.register_image(Name="old", **root, **machine)["ImageId"]
    twin.clock.advance(timedelta(minutes=1))
    with pytest.raises(ClientError) as error:
        ec2.run_instances(ImageId=image_id, MinCount=1, MaxCount=1, InstanceType="t3.micro")
    assert code(error) in ("InvalidParameterValue", "InvalidParameterCombination")


@pytest.mark.contract("client_token")
def test_the_same_client_token_launches_once_and_fits_one_request(cloud: Any, refused: Any) -> None:
    ec2 = cloud.client("ec2", REGION)
    request = {"ImageId": some_image(cloud), "MinCount": 1, "MaxCount": 1, "ClientToken": "once"}
    first, second = (ec2.run_instances(**request)["Instances"][0]["InstanceId"] for _ in range(2))
    assert first == second
    with refused("IdempotentParameterMismatch"):
        ec2.run_instances(**{**request, "MaxCount": 2})


@pytest.mark.contract("run_instances_from_image")
def test_an_instance_of_a_copied_image_has_every_volume_of_the_source(cloud: Any, launch: Any, settle: Any) -> None:
    instance = launch(cloud, data_volumes=2)
    source = cloud.client("ec2", REGION).create_image(InstanceId=instance["InstanceId"], Name="source")["ImageId"]
    settle(cloud)
    ec2 = cloud.client("ec2", FAR)
    copy = ec2.copy_image(SourceRegion=REGION, SourceImageId=source, Name="copy", Encrypted=True)["ImageId"]
    settle(cloud)
    mapping = ec2.describe_images(ImageIds=[copy])["Images"][0]["BlockDeviceMappings"]
    expected = {each["DeviceName"]: each["Ebs"]["SnapshotId"] for each in mapping}
    started = ec2.run_instances(ImageId=copy, MinCount=1, MaxCount=1, InstanceType="t3.micro")["Instances"][0]
    settle(cloud)
    volumes = volumes_of(ec2, started["InstanceId"])
    assert {device: volume["SnapshotId"] for device, volume in volumes.items()} == expected
    assert len(expected) == 3
    assert {(volume["Size"], volume["Encrypted"]) for volume in volumes.values()} == {(10, True)}


@pytest.mark.contract("run_instances_from_image")
def test_a_mapping_that_says_one_thing_leaves_the_rest_to_the_image(cloud: Any, launch: Any, settle: Any) -> None:
    ec2 = cloud.client("ec2", REGION)
    image_id = ec2.create_image(InstanceId=launch(cloud, data_volumes=1)["InstanceId"], Name="source")["ImageId"]
    settle(cloud)
    mapping = [
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeType": "gp3", "Iops": 4000, "Throughput": 250}},
        {"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}},
    ]
    started = ec2.run_instances(
        ImageId=image_id, MinCount=1, MaxCount=1, InstanceType="t3.micro", BlockDeviceMappings=mapping
    )["Instances"][0]
    settle(cloud)
    volumes = volumes_of(ec2, started["InstanceId"])
    assert len(volumes) == 2
    changed = volumes["/dev/sdf"]
    assert (changed["Size"], changed["Iops"], changed["Throughput"]) == (10, 4000, 250)
    fates = {device: each["Attachments"][0]["DeleteOnTermination"] for device, each in volumes.items()}
    assert fates == {"/dev/xvda": False, "/dev/sdf": True}
