"""The primary Region is lost: what was protected is restored and drilled with nothing but the recovery Region.

Everything is typed at `hikae`, and all of it happens while every request to the primary Region is refused.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from local.cloud import LocalCloud
from local.demo.drills import Seen, Thing, describe_everything, look
from tests.e2e.drilled_group import IMAGES, KEEPSAKE, SETS, Group, record_of
from tests.manifest_comparison import find_differences, look_at

pytestmark = pytest.mark.e2e

RUNS: Mapping[str, tuple[str, str]] = {
    "restore-of-sets": ("restore", SETS),
    "restore-of-images": ("restore", IMAGES),
    "drill-of-sets": ("drill", SETS),
    "drill-of-images": ("drill", IMAGES),
}
"""All at the same time."""
RESTORES = [run for run, (mode, _) in RUNS.items() if mode == "restore"]
DRILLS = [run for run, (mode, _) in RUNS.items() if mode == "drill"]
ASKED: Mapping[str, Callable[[Any], Any]] = {
    "dynamodb": lambda client: client.list_tables(),
    "ec2": lambda client: client.describe_instances(),
    "events": lambda client: client.list_rules(),
    "iam": lambda client: client.list_roles(),
    "kms": lambda client: client.list_keys(),
    "lambda": lambda client: client.list_functions(),
    "s3": lambda client: client.list_buckets(),
    "sqs": lambda client: client.list_queues(),
    "sts": lambda client: client.get_caller_identity(),
}


@dataclass(kw_only=True)
class Loss:
    """What happened while the Region was lost."""

    where: dict[str, list[str]]
    refused: set[str] = field(default_factory=set)
    ready: list[subprocess.CompletedProcess[str]] = field(default_factory=list)
    before: dict[str, list[Thing]] = field(default_factory=dict)
    done: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=lambda: {run: Seen() for run in DRILLS})
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    after: dict[str, list[Thing]] = field(default_factory=dict)


def hikae(cloud: LocalCloud, *words: str) -> "subprocess.CompletedProcess[str]":
    """A command of somebody who knows the recovery Region, and nothing else."""
    environment = {**os.environ, **cloud.environment(), "AWS_DEFAULT_REGION": cloud.recovery_region}
    del environment["HIKAE_PRIMARY_REGION"]
    command = [str(Path(sys.executable).with_name("hikae")), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=400)


def prepare_network(cloud: LocalCloud) -> dict[str, list[str]]:
    """A network of the user's to restore into, and the site's settings that name it."""
    ec2 = cloud.client("ec2", cloud.recovery_region)
    vpc = ec2.create_vpc(CidrBlock="172.31.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"172.31.{number * 16}.0/20", AvailabilityZone=f"{cloud.recovery_region}{zone}"
        )["Subnet"]["SubnetId"]
        for number, zone in enumerate("ab")
    ]
    group = ec2.create_security_group(GroupName=KEEPSAKE, Description="restored", VpcId=vpc)["GroupId"]
    cloud.client("s3", cloud.recovery_region).put_object(
        Bucket=cloud.stack_outputs("recovery")["BucketName"],
        Key="recovery/settings.yaml",
        Body=f"version: 1\ndefault_subnets: {json.dumps(subnets)}\ndefault_security_groups: [{group}]\n".encode(),
    )
    return {"subnets": subnets, "security_groups": [group]}


@pytest.fixture(scope="module")
def loss(cloud: LocalCloud, group: Group) -> Iterator[Loss]:
    # In peace time: what is protected is looked at daily, which keeps the public halves of key pairs.
    cloud.invoke("Recover", {"step": "check-readiness"}, site="recovery")
    ec2 = cloud.client("ec2", cloud.recovery_region)
    loss = Loss(where=prepare_network(cloud))
    with cloud.without(cloud.primary_region):
        for service, ask in ASKED.items():
            with pytest.raises(ConnectionClosedError):
                ask(cloud.client(service, cloud.primary_region))
            loss.refused.add(service)
        for words in (["--no-primary"], ["--no-primary", "--import-keys"]):
            loss.ready.append(hikae(cloud, "ready", *words))
        loss.before.update(describe_everything(ec2))
        typing = [threading.Thread(target=type_run, args=(cloud, group, run, loss), daemon=True) for run in RUNS]
        for each in typing:
            each.start()
        while any(each.is_alive() for each in typing):
            look(cloud, loss.seen)
            time.sleep(0.4)
        loss.records.update({run: record_of(cloud, run) for run in RUNS})
        loss.report.update(cloud.invoke("ReportObjectives", {}, site="recovery"))
        loss.after.update(describe_everything(ec2))
        yield loss


def type_run(cloud: LocalCloud, group: Group, run: str, loss: Loss) -> None:
    """Type one command to its end. The sets were there before the images, and have to be asked for by their time."""
    mode, plan = RUNS[run]
    words = {"restore": ["restore", "--plan", plan, "--yes"], "drill": ["drill", "start", plan]}[mode]
    words += ["--group", KEEPSAKE, "--name", run, "--interval", "1"]
    loss.done[run] = hikae(cloud, *words, *(["--at", group.between] if plan == SETS else []))


def test_every_service_of_the_primary_region_refuses_and_those_of_the_recovery_region_answer(
    cloud: LocalCloud, loss: Loss
) -> None:
    assert loss.refused == set(ASKED)
    for service, ask in ASKED.items():
        if service != "iam":  # whose one endpoint is in us-east-1
            ask(cloud.client(service, cloud.recovery_region))


def test_what_lacks_is_found_and_the_key_pair_imported_without_the_primary(cloud: LocalCloud, loss: Loss) -> None:
    first, second = loss.ready
    assert f"key pair {KEEPSAKE} is not in this Region" in first.stdout, first
    [imported] = [line for line in second.stdout.splitlines() if line.startswith("key pairs imported: ")]
    assert KEEPSAKE in imported.partition(": ")[2].split(", ")  # those of everything else that is protected, too


@pytest.mark.parametrize("run", RUNS)
def test_restores_and_drills_succeed_from_sets_and_from_images(loss: Loss, group: Group, run: str) -> None:
    done, record = loss.done[run], loss.records[run]
    assert done.returncode == 0, done.stdout + done.stderr
    mode, plan = RUNS[run]
    assert (record["mode"], record["outcome"]) == (mode, "succeeded")
    assert {member["resource"] for member in record["members"]} == set(group.instances)
    kinds = {member["kind"] for member in record["members"]}
    assert kinds == {{SETS: "snapshot-set", IMAGES: "image"}[plan]}
    assert [member["batch"] for member in record["members"]] == [0, 1, 2]
    assert f"{run}: {mode} succeeded" in done.stdout
    for stage in ("select", "launch", "probe", "tear-down"):
        assert f"{stage}: over after" in done.stdout, stage


@pytest.mark.parametrize("run", RESTORES)
def test_every_restored_volume_holds_what_its_source_held_when_its_snapshot_was_made(
    cloud: LocalCloud, loss: Loss, group: Group, run: str
) -> None:
    ec2 = cloud.client("ec2", cloud.recovery_region)
    state = cloud.twin_control(f"/_twin/state/{cloud.recovery_region}")["volumes"]
    compared = 0
    for member in loss.records[run]["members"]:
        [instance] = ec2.describe_instances(InstanceIds=[member["instance"]])["Reservations"][0]["Instances"]
        volumes = {each["DeviceName"]: each["Ebs"]["VolumeId"] for each in instance["BlockDeviceMappings"]}
        found = {device: state[volume]["digest"] for device, volume in volumes.items()}
        assert found == group.expected(RUNS[run][1], member["resource"])
        compared += len(found)
    assert compared == 9


@pytest.mark.parametrize("run", DRILLS)
def test_every_drilled_volume_held_that_too(loss: Loss, group: Group, run: str) -> None:
    for instance in group.instances:
        found = sorted(loss.seen[run].contents[instance].values())
        assert found == sorted(group.expected(RUNS[run][1], instance).values())


def test_sets_and_images_were_of_different_moments(group: Group) -> None:
    """Else the tests above could not tell one from the other, nor either from what is on the volumes now."""
    for volume, digest in group.digests[SETS].items():
        assert digest != group.digests[IMAGES][volume]


@pytest.mark.parametrize("run", RESTORES)
def test_every_attribute_of_the_manifests_has_come_back_or_become_what_stands_for_it(
    cloud: LocalCloud, loss: Loss, run: str
) -> None:
    ec2, s3 = (cloud.client(service, cloud.recovery_region) for service in ("ec2", "s3"))
    outputs = cloud.stack_outputs("recovery")
    differences = []
    for member in loss.records[run]["members"]:
        prefix = f"manifests/123456789012/{cloud.primary_region}/{member['resource']}/{member['point']}/"
        [key] = [each["Key"] for each in s3.list_objects_v2(Bucket=outputs["BucketName"], Prefix=prefix)["Contents"]]
        manifest = json.loads(s3.get_object(Bucket=outputs["BucketName"], Key=key)["Body"].read())
        restored = look_at(ec2, member["instance"], key_arn=outputs["CopyKeyArn"], **loss.where)
        differences += [f"{member['resource']}: {each}" for each in find_differences(manifest, restored)]
    assert differences == []


def test_nothing_is_left_but_what_was_restored(loss: Loss) -> None:
    restored = {each for run in RESTORES for each in loss.records[run]["remains"]}
    left = {
        kind: {each.id for each in things} - {each.id for each in loss.before[kind]}
        for kind, things in loss.after.items()
    }
    assert left.pop("instance") == restored
    # Each of the six with its three volumes and its network interface.
    assert {kind: len(ids) for kind, ids in left.items() if ids} == {"volume": 18, "network interface": 6}


def test_the_report_goes_on(loss: Loss) -> None:
    assert loss.report["met"] >= 2 * 3  # the group by either plan, as the last inventory that was pulled has it
