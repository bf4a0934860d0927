"""The manifest says how to rebuild the instance, with nothing that EC2 said about it left out."""

import json
from typing import Any

from local.inprocess import PRIMARY, SNAPSHOT_PLAN, Installation


def manifest_of(installation: Installation) -> dict[str, Any]:
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    s3 = installation.twin.client("s3", PRIMARY)
    [entry] = s3.list_objects_v2(Bucket=installation.primary.bucket, Prefix="manifests/")["Contents"]
    body = s3.get_object(Bucket=installation.primary.bucket, Key=entry["Key"])["Body"].read()
    manifest: dict[str, Any] = json.loads(body)
    return manifest


def test_it_names_the_point_and_describes_the_instance(installation: Installation) -> None:
    [instance] = installation.launch(UserData="#!/bin/sh\necho hello\n", tags={"Backup": "production", "Name": "web"})
    manifest = manifest_of(installation)
    ec2 = installation.twin.client("ec2", PRIMARY)
    described = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    assert (manifest["version"], manifest["kind"], manifest["members"]) == (1, "snapshot-set", 2)
    assert (manifest["resource"], manifest["account"], manifest["region"]) == (instance, "123456789012", PRIMARY)
    source = manifest["source"]
    for key in ("InstanceType", "SubnetId", "PrivateIpAddress", "SecurityGroups", "Placement", "Architecture"):
        assert source["instance"][key] == described[key], key
    assert source["tags"] == {"Backup": "production", "Name": "web"}
    assert source["user_data"] is not None
    assert len(source["network_interfaces"]) == 1


def test_it_describes_every_volume(installation: Installation) -> None:
    installation.launch(
        BlockDeviceMappings=[
            {
                "DeviceName": "/dev/sdg",
                "Ebs": {"VolumeSize": 100, "VolumeType": "io2", "Iops": 4000, "DeleteOnTermination": False},
            }
        ]
    )
    devices = {device["device"]: device for device in manifest_of(installation)["source"]["block_devices"]}
    data = devices["/dev/sdg"]
    assert data["delete_on_termination"] is False
    assert (data["volume"]["VolumeType"], data["volume"]["Iops"], data["volume"]["Size"]) == ("io2", 4000, 100)
    assert len(devices) == 2


def test_it_names_the_elastic_ip(installation: Installation) -> None:
    [instance] = installation.launch()
    ec2 = installation.twin.client("ec2", PRIMARY)
    address = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(InstanceId=instance, AllocationId=address["AllocationId"])
    [elastic] = manifest_of(installation)["source"]["elastic_ips"]
    assert (elastic["PublicIp"], elastic["AllocationId"]) == (address["PublicIp"], address["AllocationId"])


def test_a_detached_volume_has_one_too(installation: Installation) -> None:
    volume = installation.detached_volume(Size=33)
    manifest = manifest_of(installation)
    assert manifest["kind"] == "snapshot"
    assert (manifest["source"]["volume"]["VolumeId"], manifest["source"]["volume"]["Size"]) == (volume, 33)
