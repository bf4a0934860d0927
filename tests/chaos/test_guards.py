"""One run each that only ends well because of one guard: `make guards` takes them out one by one."""

from datetime import timedelta

import pytest

from local.chaos.operations import SLOT, SNAPSHOTS, World
from local.chaos.stage import Stage
from local.chaos.verdict import look
from local.inprocess import PRIMARY, RECOVERY
from local.twin import faults

WORLD = World(name="one instance", plans=SNAPSHOTS.plans, populate=lambda stage: stage.installation.launch() and None)


@pytest.fixture
def stage():
    with WORLD.build() as stage:
        WORLD.populate(stage)
        yield stage


def copies(stage: Stage) -> list[object]:
    return [each for each in stage.twin.world.snapshots_made if each.copy and each.ec2_backend.region_name == RECOVERY]


def test_the_copies_of_other_tools_are_counted(stage):
    foreign = stage.twin.seed_snapshot(started_at=stage.now, volume_id="vol-0123456789abcdef0", data=b"theirs")
    stage.relay = lambda _: None
    stage.run_until(stage.now + timedelta(minutes=8))
    ec2 = stage.twin.client("ec2", RECOVERY)
    for _ in range(20):
        ec2.copy_snapshot(SourceRegion=PRIMARY, SourceSnapshotId=foreign)
    stage.sweep()
    stage.deliver()
    ending = look(stage)
    assert ending.invocations[-1].answer["later"] == 2
    assert (ending.refused_for_limit, ending.highest_in_flight) == (0, 20)


def test_a_copy_that_ec2_does_not_show_yet_is_not_made_again(stage):
    stage.relay = lambda _: None
    stage.run_until(stage.now + timedelta(minutes=8))
    stage.twin.world.lag = timedelta(minutes=4)
    for _ in range(2):
        stage.sweep()
        stage.deliver()
        stage.wait(timedelta(minutes=1))
    assert len(copies(stage)) == 2


def test_a_prune_that_is_killed_leaves_no_manifest_behind(stage):
    stage.run_until(SLOT - timedelta(minutes=20))
    stage.plot(lambda name, *_: name == "PruneRecoveryPoints", lambda: faults.killed_before("DeleteObject"))
    stage.run_until(SLOT - timedelta(minutes=10))
    assert [each.error for each in stage.invocations if each.error] == ["Killed: before DeleteObject"]
    assert {removal.region for removal in stage.removals} == {PRIMARY, RECOVERY}
    for region, settings in ((PRIMARY, stage.installation.primary), (RECOVERY, stage.installation.recovery)):
        listed = stage.twin.client("s3", region).list_objects_v2(Bucket=settings.bucket, Prefix="manifests/")
        sets = {
            (tags["hikae:point"], tags["hikae:attempt"])
            for backend in [stage.twin.backend(region)]
            for snapshot in backend.snapshots.values()
            if "hikae:point" in (tags := backend.tags_of(snapshot.id))
        }
        there = {tuple(entry["Key"].removesuffix(".json").split("/")[-2:]) for entry in listed["Contents"]}
        assert there == sets
