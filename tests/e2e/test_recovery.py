"""The deployed application rehearses a recovery: a group is drilled by the state machine, and nothing of it is left."""

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from local.cloud import LocalCloud

pytestmark = pytest.mark.e2e

PLAN = """\
version: 1
plan: drilled
timezone: UTC
selection: {{resources: [instance], tags: {{Drilled: "true"}}}}
rules:
  - name: often
    schedule: "{minute} {hour} * * *"
    start_window: 1h
    protect: snapshots
    retention: {{keep_last: 3}}
    copies: [{{region: {region}, retention: {{keep_last: 3}}}}]
    objectives: {{rpo: 2h, rto: 1h}}
drill:
  schedule: "0 4 1 1 *"
  group_by: tag:Service
  order: tag:BootOrder
  probes: [status-checks, {{ssm: systemctl is-active app}}]
"""


def wait_for(found: Callable[[], Any], *, seconds: float) -> Any:
    """The first answer that is something."""
    give_up_at = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < give_up_at, "it did not come about"
        time.sleep(1)
    return answer


@pytest.fixture(scope="module")
def group(cloud: LocalCloud) -> list[str]:
    """Three instances with points at the recovery site."""
    ec2 = cloud.client("ec2", cloud.primary_region)
    base = next(image for image in ec2.describe_images(Owners=["amazon"])["Images"] if image["RootDeviceType"] == "ebs")
    instances = []
    for number in range(3):
        tags = {"Drilled": "true", "Service": "till", "BootOrder": str(number)}
        answer = ec2.run_instances(
            ImageId=base["ImageId"],
            InstanceType="m5.large",
            MinCount=1,
            MaxCount=1,
            UserData="export PASSWORD=do-not-show",
            BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3"}}],
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            ],
        )
        instances.append(answer["Instances"][0]["InstanceId"])
    slot = datetime.now(tz=UTC).replace(second=0, microsecond=0)
    for site in ("primary", "recovery"):
        text = PLAN.format(minute=slot.minute, hour=slot.hour, region=cloud.recovery_region)
        bucket = cloud.stack_outputs(site)["BucketName"]
        s3 = cloud.client("s3", cloud.region_of(site))
        s3.put_object(Bucket=bucket, Key="plans/drilled.yaml", Body=text.encode())
    wait_for(lambda: len(_running(cloud, instances)) == 3, seconds=60)
    cloud.invoke("ScheduleBackups", {"now": f"{slot + timedelta(seconds=30):%Y-%m-%dT%H:%M:%SZ}"})
    there = cloud.client("ec2", cloud.recovery_region)

    def is_copied() -> bool:
        found = there.describe_snapshots(
            OwnerIds=["self"], Filters=[{"Name": "tag:hikae:plan", "Values": ["drilled"]}]
        )["Snapshots"]
        return len(found) == 6 and all(snapshot["State"] == "completed" for snapshot in found)

    wait_for(is_copied, seconds=240)
    return instances


def _running(cloud: LocalCloud, instances: list[str]) -> list[str]:
    ec2 = cloud.client("ec2", cloud.primary_region)
    reservations = ec2.describe_instances(InstanceIds=instances)["Reservations"]
    return [each["InstanceId"] for r in reservations for each in r["Instances"] if each["State"]["Name"] == "running"]


def run(cloud: LocalCloud, name: str, **request: Any) -> str:
    """Start an execution; its ARN."""
    machine = cloud.stack_outputs("recovery")["RecoverMachineArn"]
    answer = cloud.client("stepfunctions", cloud.recovery_region).start_execution(
        stateMachineArn=machine,
        name=name,
        input=json.dumps({"request": {"plan": "drilled", "group": "till", "started_by": "e2e", **request}}),
    )
    arn: str = answer["executionArn"]
    return arn


def ended(cloud: LocalCloud, arn: str) -> str:
    client = cloud.client("stepfunctions", cloud.recovery_region)
    status: str = client.describe_execution(executionArn=arn)["status"]
    return "" if status == "RUNNING" else status


def history_of(cloud: LocalCloud, arn: str) -> str:
    """What Step Functions keeps of an execution."""
    client = cloud.client("stepfunctions", cloud.recovery_region)
    pages = client.get_paginator("get_execution_history").paginate(executionArn=arn)
    return json.dumps([event for page in pages for event in page["events"]], default=str)


def evidence_of(cloud: LocalCloud, name: str) -> dict[str, Any]:
    s3 = cloud.client("s3", cloud.recovery_region)
    bucket = cloud.stack_outputs("recovery")["BucketName"]
    found = s3.list_objects_v2(Bucket=bucket, Prefix=f"evidence/{name}.json")
    if not found.get("KeyCount"):
        return {}
    evidence: dict[str, Any] = json.loads(s3.get_object(Bucket=bucket, Key=f"evidence/{name}.json")["Body"].read())
    return evidence


def leftovers(cloud: LocalCloud) -> list[str]:
    ec2 = cloud.client("ec2", cloud.recovery_region)
    filters = [{"Name": "tag:hikae:drill", "Values": ["*"]}]
    instances = [i for r in ec2.describe_instances(Filters=filters)["Reservations"] for i in r["Instances"]]
    alive = [each["InstanceId"] for each in instances if each["State"]["Name"] != "terminated"]
    volumes = [each["VolumeId"] for each in ec2.describe_volumes(Filters=filters)["Volumes"]]
    images = [each["ImageId"] for each in ec2.describe_images(Owners=["self"], Filters=filters)["Images"]]
    endpoints = [
        each["VpcEndpointId"]
        for each in ec2.describe_vpc_endpoints(Filters=filters)["VpcEndpoints"]
        if each["State"].lower() != "deleted"
    ]
    return [*alive, *volumes, *images, *endpoints]


def test_a_group_is_drilled_proven_recorded_and_gone(cloud: LocalCloud, group: list[str]) -> None:
    arn = run(cloud, "drill-till-1", mode="drill")
    status = wait_for(lambda: ended(cloud, arn), seconds=420)
    evidence = evidence_of(cloud, "drill-till-1")
    assert evidence, f"{status}, and no evidence: {history_of(cloud, arn)[-4000:]}"
    record = json.loads(evidence["record"])
    assert (status, record["outcome"]) == ("SUCCEEDED", "succeeded"), record
    assert {member["resource"] for member in record["members"]} == set(group)
    assert record["rto_met"] is True
    assert all(probe["state"] == "passed" for member in record["members"] for probe in member["probes"])
    assert leftovers(cloud) == []
    key = load_der_public_key(base64.b64decode(evidence["public_key"]))
    assert isinstance(key, EllipticCurvePublicKey)
    key.verify(base64.b64decode(evidence["signature"]), evidence["record"].encode(), ECDSA(SHA256()))


def test_user_data_is_in_no_history(cloud: LocalCloud, group: list[str]) -> None:
    arn = cloud.stack_outputs("recovery")["RecoverMachineArn"].replace(":stateMachine:", ":execution:")
    text = history_of(cloud, f"{arn}:drill-till-1")
    assert "PASSWORD" not in text
    assert base64.b64encode(b"export PASSWORD=do-not-show").decode() not in text


def test_a_drill_that_is_stopped_by_hand_is_swept_and_recorded(cloud: LocalCloud, group: list[str]) -> None:
    arn = run(cloud, "drill-till-2", mode="drill")
    wait_for(lambda: leftovers(cloud), seconds=120)
    cloud.client("stepfunctions", cloud.recovery_region).stop_execution(executionArn=arn)
    evidence = wait_for(lambda: evidence_of(cloud, "drill-till-2"), seconds=300)
    record = json.loads(evidence["record"])
    assert "it was stopped" in record["failure"]
    wait_for(lambda: leftovers(cloud) == [], seconds=60)
