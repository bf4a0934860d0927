"""The deployed application, in two Regions: schedule → points → copies → prune, and what must hold around it.

The tests share one cloud and build on each other's state, in the order in which they are written here.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.cloud import LocalCloud
from local.demo.expectation import Standing, View, stand
from local.demo.journal import read_log
from local.demo.observation import observe
from local.demo.plans import DemoPlan, apply_plans, fill_in
from local.fleet import Fleet, seed_fleet, seed_history

pytestmark = pytest.mark.e2e

CREATING = {"CreateSnapshot", "CreateSnapshots", "CreateImage", "CopySnapshot", "CopyImage"}
SITES = ("primary", "recovery")

BROKEN_PLAN = """\
version: 1
plan: broken
timezone: Europe/Atlantis
selection: {resources: [instance], tags: {Backup: production}}
rules:
  - name: daily
    schedule: "every day at noon"
    protect: snapshots
    retention: {keep_last: 1}
"""
SCRATCH_PLAN = """\
version: 1
plan: scratch
timezone: UTC
selection: {{resources: [instance], tags: {{Name: scratch-1}}}}
rules:
  - name: daily
    schedule: "{minute} {hour} * * *"
    protect: snapshots
    retention: {{keep_last: 1}}
"""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A cloud with the fleet, its history, and plans that have just become due."""

    cloud: LocalCloud
    fleet: Fleet
    plans: dict[str, DemoPlan]
    slot: datetime
    before: View
    copy_key: str

    def look(self) -> list[Standing]:
        now = view(self.cloud)
        return [
            stand(
                resource,
                self.plans[resource.plan or ""],
                slot=self.slot,
                before=self.before,
                now=now,
                copy_key=self.copy_key,
            )
            for resource in self.fleet.protected()
            if resource.has_points
        ]

    def missing(self) -> list[str]:
        return [f"{standing.resource.name}: {what}" for standing in self.look() for what in standing.missing]

    def tick(self) -> Any:
        return self.cloud.invoke("ScheduleBackups", {"now": f"{self.slot + timedelta(seconds=30):%Y-%m-%dT%H:%M:%SZ}"})


@pytest.fixture(scope="module")
def scene(cloud: LocalCloud) -> Scene:
    slot = datetime.now(tz=UTC).replace(second=0, microsecond=0)
    fleet = seed_history(cloud, seed_fleet(cloud), slot=slot)
    before = view(cloud)
    plans = fill_in(slot)
    apply_plans(cloud, plans)
    return Scene(
        cloud=cloud,
        fleet=fleet,
        plans={plan.name: plan for plan in plans},
        slot=slot,
        before=before,
        copy_key=cloud.stack_outputs("recovery")["CopyKeyArn"],
    )


def view(cloud: LocalCloud) -> View:
    primary, recovery = (
        observe(cloud.client("ec2", region), installation=cloud.installation)
        for region in (cloud.primary_region, cloud.recovery_region)
    )
    return View(primary=primary, recovery=recovery)


def wait_until_empty(found: Callable[[], list[str]], *, seconds: float) -> None:
    """Until nothing is missing; fails with what still is."""
    give_up_at = time.monotonic() + seconds
    while left := found():
        assert time.monotonic() < give_up_at, "\n".join(left)
        time.sleep(1)


def creating_calls(cloud: LocalCloud, *, after: int) -> list[str]:
    calls = cloud.twin_control(f"/_twin/calls?after={after}")
    return [f"{call['action']} in {call['region']}" for call in calls if call["action"] in CREATING]


def number_of_calls(cloud: LocalCloud) -> int:
    return len(cloud.twin_control("/_twin/calls"))


def backlog(cloud: LocalCloud) -> list[str]:
    """The job queues that hold messages, waiting or in hand."""
    sqs, outputs = cloud.client("sqs", cloud.primary_region), cloud.stack_outputs("primary")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    left = []
    for queue in ("SnapshotJobsQueueUrl", "ImageJobsQueueUrl"):
        counts = sqs.get_queue_attributes(QueueUrl=outputs[queue], AttributeNames=names)["Attributes"]
        if any(int(counts[name]) for name in names):
            left.append(f"{queue}: {counts}")
    return left


def everything_kept(cloud: LocalCloud) -> dict[str, Any]:
    """What must survive its stacks, by kind."""
    kept: dict[str, Any] = {}
    for site in SITES:
        region, outputs = cloud.region_of(site), cloud.stack_outputs(site)
        ec2, s3 = cloud.client("ec2", region), cloud.client("s3", region)
        kept[f"{site} snapshots"] = {
            each["SnapshotId"]: each["State"] for each in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        }
        kept[f"{site} images"] = {
            each["ImageId"]: each["State"] for each in ec2.describe_images(Owners=["self"])["Images"]
        }
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=outputs["BucketName"])
        objects = {each["Key"] for page in pages for each in page.get("Contents", [])}
        kept[f"{site} bucket"] = {outputs["BucketName"]: objects}
    return kept


def test_what_is_due_becomes_points_and_copies_and_the_history_is_pruned(scene: Scene) -> None:
    cloud = scene.cloud

    answer = cloud.invoke("ScheduleBackups", {})
    unprotectable = {resource: reason for rule in answer["rules"] for resource, reason in rule["unprotectable"].items()}
    wait_until_empty(lambda: [what for what in scene.missing() if "prune" not in what], seconds=90)
    for site in SITES:
        cloud.invoke("PruneRecoveryPoints", {}, site=site)
    wait_until_empty(scene.missing, seconds=75)

    cache = next(resource.id for resource in scene.fleet.resources if resource.name == "cache-1")
    assert list(unprotectable) == [cache]
    assert "instance store" in unprotectable[cache]
    found = scene.look()
    assert sum(standing.copies_done for standing in found) >= 14
    assert all(standing.pruned_at_primary for standing in found if standing.to_prune)
    snapshots = view(cloud).primary
    images = {found.image for found in snapshots.points.values()}
    everything = everything_kept(cloud)["primary snapshots"].keys() | images
    assert scene.fleet.bystanders.keys() <= everything, "prune deleted what is not its own"


def test_copies_hold_what_was_on_the_volumes(scene: Scene) -> None:
    on_volumes = scene.cloud.twin_control(f"/_twin/state/{scene.cloud.primary_region}")["volumes"]
    in_copies = scene.cloud.twin_control(f"/_twin/state/{scene.cloud.recovery_region}")["snapshots"]

    for standing in scene.look():
        if standing.copy is not None:
            assert sorted(in_copies[each]["digest"] for each in standing.copy.snapshots) == sorted(
                on_volumes[each]["digest"] for each in standing.resource.volumes
            )


def test_the_same_tick_again_and_its_jobs_again_create_nothing(scene: Scene) -> None:
    cloud = scene.cloud
    wait_until_empty(lambda: backlog(cloud), seconds=30)
    start = number_of_calls(cloud)

    assert [scene.tick()["jobs_sent"] for _ in range(2)] == [0, 0]
    outputs = cloud.stack_outputs("primary")
    account = outputs["CopyKeyArn"].split(":")[4]
    for name, kind, queue in (
        ("db-1", "snapshot-set", "SnapshotJobsQueueUrl"),
        ("ledger-2019", "snapshot", "SnapshotJobsQueueUrl"),
        ("web-1", "image", "ImageJobsQueueUrl"),
    ):
        resource = next(each for each in scene.fleet.resources if each.name == name)
        job = {
            "version": 1,
            "plan": resource.plan,
            "rule": "daily",
            "slot": f"{scene.slot:%Y-%m-%dT%H:%M:%SZ}",
            "kind": kind,
            "resource": resource.id,
            "account": account,
            "region": cloud.primary_region,
            "deadline": f"{scene.slot + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
            "reboot": False,
            "consistency": "crash",
        }
        cloud.client("sqs", cloud.primary_region).send_message(QueueUrl=outputs[queue], MessageBody=json.dumps(job))
    wait_until_empty(lambda: backlog(cloud), seconds=45)
    copying = cloud.invoke("CopyRecoveryPoints", {"Records": []}, site="recovery")

    assert copying["wanted"] == 0
    assert creating_calls(cloud, after=start) == []


def test_a_broken_plan_is_reported_and_the_others_still_run(scene: Scene) -> None:
    cloud = scene.cloud
    s3, outputs = cloud.client("s3", cloud.primary_region), cloud.stack_outputs("primary")
    bucket = outputs["BucketName"]
    scratch = next(resource for resource in scene.fleet.resources if resource.name == "scratch-1")
    plan = SCRATCH_PLAN.format(minute=scene.slot.minute, hour=scene.slot.hour)
    s3.put_object(Bucket=bucket, Key="plans/broken.yaml", Body=BROKEN_PLAN.encode())
    s3.put_object(Bucket=bucket, Key="plans/scratch.yaml", Body=plan.encode())

    try:
        answer = scene.tick()
        pruning = cloud.invoke("PruneRecoveryPoints", {"dry_run": True}, site="primary")
    finally:
        s3.delete_object(Bucket=bucket, Key="plans/broken.yaml")
    wait_until_empty(
        lambda: [] if any(each.is_complete for each in view(cloud).primary.of(scratch.id)) else ["no point"], seconds=60
    )

    for broken in (answer["broken_plans"], pruning["broken_plans"]):
        assert len(broken) == 1
        assert "plans/broken.yaml" in broken[0]
        assert "timezone" in broken[0]
        assert "rules[0].schedule" in broken[0]
    assert {rule["plan"] for rule in answer["rules"]} == {"analytics", "production", "scratch", "web-images"}
    lines = list(read_log(cloud.client("logs", cloud.primary_region), outputs["ScheduleBackupsFunctionName"]))
    logged = [line for line in lines if line.get("message") == "plan cannot be read"]
    assert logged
    assert logged[-1]["level"] == "ERROR"
    assert logged[-1]["plan"] == "plans/broken.yaml"
    assert any(line.get("UnreadablePlans") == [1.0] and "_aws" in line for line in lines)


def test_deleting_both_stacks_leaves_everything_and_new_ones_take_it_over(scene: Scene) -> None:
    cloud = scene.cloud
    wait_until_empty(scene.missing, seconds=75)
    before, outputs = everything_kept(cloud), {site: cloud.stack_outputs(site) for site in SITES}
    given = {
        site: {
            "BucketName": outputs[site]["BucketName"],
            "TableName": outputs[site]["TableName"],
            "CopyKeyArn": outputs[site]["CopyKeyArn"],
        }
        for site in SITES
    }

    for site in ("primary", "recovery"):
        cloud.delete_site(site)

    assert cloud.stacks() == {}
    for site in SITES:
        key = cloud.client("kms", cloud.region_of(site)).describe_key(KeyId=given[site]["CopyKeyArn"])
        assert key["KeyMetadata"]["KeyState"] == "Enabled"
        table = cloud.client("dynamodb", cloud.region_of(site)).describe_table(TableName=given[site]["TableName"])
        assert table["Table"]["TableStatus"] == "ACTIVE"

    for site in ("recovery", "primary"):
        cloud.deploy_site(site, **given[site])

    for site in SITES:
        now = cloud.stack_outputs(site)
        assert {name: now[name] for name in given[site]} == given[site]
    assert everything_kept(cloud) == before
    start = number_of_calls(cloud)
    assert scene.tick()["jobs_sent"] == 0
    assert cloud.invoke("CopyRecoveryPoints", {"Records": []}, site="recovery")["wanted"] == 0
    assert creating_calls(cloud, after=start) == []
    assert scene.missing() == []
