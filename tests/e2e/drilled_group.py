"""A group of three instances with points of both kinds at the recovery site, and what is asked about runs of it."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from local.cloud import LocalCloud
from local.cloud.clients import clients_of

SETS, IMAGES = "drilled", "drilled-images"
PLAN = """\
version: 1
plan: {plan}
timezone: UTC
selection: {{resources: [instance], tags: {{Drilled: "true"}}}}
rules:
  - name: often
    schedule: "{minute} {hour} * * *"
    start_window: 1h
    protect: {protect}
    retention: {{keep_last: 3}}
    copies: [{{region: {region}, retention: {{keep_last: 3}}}}]
    objectives: {{rpo: 2h, rto: 1h}}
drill:
  schedule: "0 4 1 1 *"
  group_by: tag:Service
  order: tag:BootOrder
  probes: [status-checks, {{ssm: systemctl is-active app}}, {{tcp: 5432}}, {{http: 8080/health, body: "^all is well$"}}]
"""
KEEPSAKE = "till"
"""The name of the first instance's key pair, instance profile and group."""
SECRET = "export PASSWORD=do-not-show"


@dataclass(frozen=True, kw_only=True)
class Group:
    """`digests` are, by plan and volume, of what was on the volume when the plan's point was made.

    What is on the volumes now is neither. The sets were made before `between`, and the images after it. The first
    instance has a key pair and an instance profile of the name `KEEPSAKE`.
    """

    instances: list[str]
    between: str
    volumes: Mapping[str, Mapping[str, str]]
    digests: Mapping[str, Mapping[str, str]]

    def expected(self, plan: str, instance: str) -> dict[str, str]:
        """What the plan's point has of an instance, by device."""
        return {device: self.digests[plan][volume] for device, volume in self.volumes[instance].items()}


def wait_for(found: Callable[[], Any], *, seconds: float) -> Any:
    """The first answer that is something."""
    give_up_at = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < give_up_at, "it did not come about"
        time.sleep(0.5)
    return answer


def make_group(cloud: LocalCloud) -> Group:
    """Launch it, write to its volumes, protect it by sets, write, protect it by images, and write once more."""
    ec2 = cloud.client("ec2", cloud.primary_region)
    public_key = ed25519.Ed25519PrivateKey.generate().public_key()
    material = public_key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    ec2.import_key_pair(KeyName=KEEPSAKE, PublicKeyMaterial=material)
    # An instance profile is known to IAM, which is ministack's, and to EC2, which is the twin.
    for iam in (cloud.client("iam"), clients_of(cloud.running.ec2_endpoint)("iam", cloud.primary_region)):
        iam.create_instance_profile(InstanceProfileName=KEEPSAKE)
    instances = [_launch(cloud, number) for number in range(3)]
    for instance in instances:
        recovered = {"region": cloud.recovery_region, "tags": {"hikae:recovered-resource": instance}}
        cloud.twin_control("/_twin/serve", {**recovered, "port": 5432, "kind": "tcp"})
        cloud.twin_control("/_twin/serve", {**recovered, "port": 8080, "body": "so far\nall is well\n"})
    wait_for(lambda: len(_running(cloud, instances)) == 3, seconds=60)
    volumes = {
        each["InstanceId"]: {
            mapping["DeviceName"]: mapping["Ebs"]["VolumeId"] for mapping in each["BlockDeviceMappings"]
        }
        for reservation in ec2.describe_instances(InstanceIds=instances)["Reservations"]
        for each in reservation["Instances"]
    }
    every = [volume for devices in volumes.values() for volume in devices.values()]
    digests = {}
    for plan, protect, kind in ((SETS, "snapshots", "snapshot-set"), (IMAGES, "image", "image")):
        digests[plan] = {volume: _write(cloud, volume, f"{volume} before {plan}") for volume in every}
        _protect(cloud, plan, protect)
        wait_for(lambda plan=plan, kind=kind: len(_snapshots(cloud, plan, kind)) == len(every), seconds=60)
        # The snapshots say the same of what they hold as the volumes said when it was written.
        assert _snapshots(cloud, plan, kind) == digests[plan]
        if plan == SETS:
            between = _let_a_second_begin()
    for volume in every:
        _write(cloud, volume, f"{volume} after all points")
    there = cloud.client("ec2", cloud.recovery_region)

    def is_copied() -> bool:
        ours = [{"Name": "tag:hikae:plan", "Values": [SETS, IMAGES]}]
        snapshots = there.describe_snapshots(OwnerIds=["self"], Filters=ours)["Snapshots"]
        images = there.describe_images(Owners=["self"], Filters=ours)["Images"]
        states = {each["State"] for each in (*snapshots, *images)}
        return (len(snapshots), len(images)) == (2 * len(every), 3) and states == {"completed", "available"}

    wait_for(is_copied, seconds=240)
    return Group(instances=instances, between=between, volumes=volumes, digests=digests)


def _let_a_second_begin() -> str:
    """A full second from now, which is there when this returns, as a time of RFC 3339."""
    begins_at = math.ceil(time.time()) + 1
    time.sleep(begins_at - time.time())
    return f"{datetime.fromtimestamp(begins_at, tz=UTC):%Y-%m-%dT%H:%M:%SZ}"


def _launch(cloud: LocalCloud, number: int) -> str:
    ec2 = cloud.client("ec2", cloud.primary_region)
    base = next(image for image in ec2.describe_images(Owners=["amazon"])["Images"] if image["RootDeviceType"] == "ebs")
    tags = {"Drilled": "true", "Service": KEEPSAKE, "BootOrder": str(number), "Name": f"till-{number}"}
    only_first: dict[str, Any] = {
        "KeyName": KEEPSAKE,
        "IamInstanceProfile": {"Name": KEEPSAKE},
        "DisableApiTermination": True,
        "InstanceInitiatedShutdownBehavior": "terminate",
    }
    answer = ec2.run_instances(
        **(only_first if number == 0 else {}),
        ImageId=base["ImageId"],
        InstanceType="m5.large",
        MinCount=1,
        MaxCount=1,
        EbsOptimized=True,
        Monitoring={"Enabled": number == 0},
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        UserData=SECRET,
        BlockDeviceMappings=[
            {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3", "Iops": 4000, "Throughput": 250}},
            {
                "DeviceName": "/dev/sdg",
                "Ebs": {"VolumeSize": 30, "VolumeType": "io2", "Iops": 2000, "DeleteOnTermination": False},
            },
        ],
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]},
            {"ResourceType": "volume", "Tags": [{"Key": "Owner", "Value": "till-team@example.com"}]},
        ],
    )
    return str(answer["Instances"][0]["InstanceId"])


def _running(cloud: LocalCloud, instances: list[str]) -> list[str]:
    ec2 = cloud.client("ec2", cloud.primary_region)
    reservations = ec2.describe_instances(InstanceIds=instances)["Reservations"]
    return [each["InstanceId"] for r in reservations for each in r["Instances"] if each["State"]["Name"] == "running"]


def _write(cloud: LocalCloud, volume: str, text: str) -> str:
    written = cloud.twin_control(
        "/_twin/write", {"region": cloud.primary_region, "volume_id": volume, "text": text, "changed_bytes": 2**20}
    )
    return str(written["digest"])


def _protect(cloud: LocalCloud, plan: str, protect: str) -> None:
    slot = datetime.now(tz=UTC).replace(second=0, microsecond=0)
    apply(cloud, plan, protect=protect, slot=slot)
    cloud.invoke("ScheduleBackups", {"now": f"{slot + timedelta(seconds=30):%Y-%m-%dT%H:%M:%SZ}"})


def apply(cloud: LocalCloud, plan: str, *, protect: str, slot: datetime) -> None:
    """Apply a plan of the group at both sites."""
    text = PLAN.format(plan=plan, protect=protect, minute=slot.minute, hour=slot.hour, region=cloud.recovery_region)
    for site in ("primary", "recovery"):
        bucket = cloud.stack_outputs(site)["BucketName"]
        s3 = cloud.client("s3", cloud.region_of(site))
        s3.put_object(Bucket=bucket, Key=f"plans/{plan}.yaml", Body=text.encode())


def _snapshots(cloud: LocalCloud, plan: str, kind: str) -> dict[str, str]:
    """By volume: the digest of its snapshot by the plan, at the primary."""
    ours = [{"Name": "tag:hikae:plan", "Values": [plan]}, {"Name": "tag:hikae:kind", "Values": [kind]}]
    found = cloud.client("ec2", cloud.primary_region).describe_snapshots(OwnerIds=["self"], Filters=ours)["Snapshots"]
    state = cloud.twin_control(f"/_twin/state/{cloud.primary_region}")["snapshots"]
    return {each["VolumeId"]: state[each["SnapshotId"]]["digest"] for each in found}


# --- runs of it -------------------------------------------------------------------------------------------------------


def run(cloud: LocalCloud, name: str, **request: Any) -> str:
    """Start an execution; its ARN."""
    machine = cloud.stack_outputs("recovery")["RecoverMachineArn"]
    answer = cloud.client("stepfunctions", cloud.recovery_region).start_execution(
        stateMachineArn=machine,
        name=name,
        input=json.dumps({"request": {"plan": SETS, "group": KEEPSAKE, "started_by": "e2e", **request}}),
    )
    arn: str = answer["executionArn"]
    return arn


def ended(cloud: LocalCloud, arn: str) -> str:
    client = cloud.client("stepfunctions", cloud.recovery_region)
    status: str = client.describe_execution(executionArn=arn)["status"]
    return "" if status == "RUNNING" else status


def evidence_of(cloud: LocalCloud, name: str) -> dict[str, Any]:
    s3 = cloud.client("s3", cloud.recovery_region)
    bucket = cloud.stack_outputs("recovery")["BucketName"]
    found = s3.list_objects_v2(Bucket=bucket, Prefix=f"evidence/{name}.json")
    if not found.get("KeyCount"):
        return {}
    evidence: dict[str, Any] = json.loads(s3.get_object(Bucket=bucket, Key=f"evidence/{name}.json")["Body"].read())
    return evidence


def record_of(cloud: LocalCloud, name: str) -> dict[str, Any]:
    """What the evidence of a run says; empty where there is none yet."""
    evidence = evidence_of(cloud, name)
    record: dict[str, Any] = json.loads(evidence["record"]) if evidence else {}
    return record


def leftovers(cloud: LocalCloud) -> list[str]:
    """Whatever is there that any drill has made."""
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


def groups_left(cloud: LocalCloud) -> list[str]:
    """The security groups of drills that are there, which go when the last instance is gone."""
    ec2 = cloud.client("ec2", cloud.recovery_region)
    found = ec2.describe_security_groups(Filters=[{"Name": "tag:hikae:drill", "Values": ["*"]}])["SecurityGroups"]
    return [each["GroupId"] for each in found]
