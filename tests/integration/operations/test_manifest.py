"""The manifest says how to rebuild the instance, with nothing that EC2 said about it left out."""

import json
from typing import Any

import pytest

from hikae.ports import Status, Unreachable
from local.inprocess import PRIMARY, SNAPSHOT_PLAN, Installation
from local.twin import faults


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


def test_it_says_what_no_describe_of_the_instance_says(installation: Installation) -> None:
    installation.launch(
        InstanceType="t3.micro",
        InstanceInitiatedShutdownBehavior="terminate",
        DisableApiTermination=True,
        DisableApiStop=True,
        CreditSpecification={"CpuCredits": "standard"},
    )
    source = manifest_of(installation)["source"]
    assert source["launch"] == {
        "CreditSpecification": {"CpuCredits": "standard"},
        "DisableApiStop": True,
        "DisableApiTermination": True,
        "InstanceInitiatedShutdownBehavior": "terminate",
    }
    assert source["type"]["InstanceType"] == "t3.micro"
    assert source["type"]["EbsInfo"]["NvmeSupport"] == "required"
    assert source["unknown"] == {}


def test_it_costs_one_call_more_than_the_describes(installation: Installation) -> None:
    installation.launch(5)
    manifest_of_first(installation)
    counts = {
        action: installation.twin.count(action, region=PRIMARY)
        for action in ("GetLaunchTemplateData", "DescribeInstanceAttribute", "DescribeInstanceTypes")
    }
    # The type is asked for once by the tick, and once by the worker for all instances of the type.
    assert counts == {"GetLaunchTemplateData": 5, "DescribeInstanceAttribute": 5, "DescribeInstanceTypes": 2}


def manifest_of_first(installation: Installation) -> dict[str, Any]:
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    s3 = installation.twin.client("s3", PRIMARY)
    first = s3.list_objects_v2(Bucket=installation.primary.bucket, Prefix="manifests/")["Contents"][0]
    body = s3.get_object(Bucket=installation.primary.bucket, Key=first["Key"])["Body"].read()
    manifest: dict[str, Any] = json.loads(body)
    return manifest


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "UnsupportedOperation"])
def test_what_ec2_will_not_tell_is_written_down_and_the_point_is_made(installation: Installation, code: str) -> None:
    installation.launch()
    with faults.refused("GetLaunchTemplateData", code, status=403):
        source = manifest_of(installation)["source"]
    assert (source["launch"], source["unknown"]) == ({}, {"launch": code})
    assert len(installation.snapshots()) == 2


def test_what_ec2_could_not_tell_for_the_moment_lets_the_job_come_back(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    [job] = installation.jobs()
    with faults.refused("GetLaunchTemplateData", "InternalError", status=500), pytest.raises(Unreachable):
        installation.carry_out(job)
    assert installation.snapshots() == []
    assert installation.carry_out(job).status is Status.CREATED


def target_group(installation: Installation, **options: Any) -> tuple[Any, str]:
    elb = installation.twin.client("elbv2", PRIMARY)
    ec2 = installation.twin.client("ec2", PRIMARY)
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    created = elb.create_target_group(**{"Name": "shop", "Protocol": "HTTP", "Port": 80, "VpcId": vpc, **options})
    return elb, created["TargetGroups"][0]["TargetGroupArn"]


def test_it_names_the_target_groups_with_the_port(installation: Installation) -> None:
    instances = installation.launch(2)
    elb, group = target_group(installation)
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": instances[0], "Port": 8080}])
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    found = {manifest["resource"]: manifest["source"]["target_groups"] for manifest in manifests(installation)}
    assert [(each["TargetGroupArn"], each["Id"], each["Port"]) for each in found[instances[0]]] == [
        (group, instances[0], 8080)
    ]
    assert found[instances[1]] == []


def manifests(installation: Installation) -> list[dict[str, Any]]:
    s3 = installation.twin.client("s3", PRIMARY)
    keys = s3.list_objects_v2(Bucket=installation.primary.bucket, Prefix="manifests/")["Contents"]
    bodies = [s3.get_object(Bucket=installation.primary.bucket, Key=each["Key"])["Body"].read() for each in keys]
    return [json.loads(body) for body in bodies]


def test_a_load_balancer_service_that_is_out_of_order_keeps_no_backup_waiting(installation: Installation) -> None:
    installation.launch(3)
    target_group(installation)
    with faults.refused("DescribeTargetGroups", "AccessDenied", status=403):
        installation.apply("production", SNAPSHOT_PLAN)
        outcomes = installation.back_up()
    assert [outcome.status for outcome in outcomes] == [Status.CREATED] * 3
    assert [each["source"]["unknown"] for each in manifests(installation)] == [{"target_groups": "AccessDenied"}] * 3


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
