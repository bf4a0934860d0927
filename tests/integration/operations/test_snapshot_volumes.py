"""A job becomes exactly one recovery point, whatever happens to its message."""

from dataclasses import replace
from datetime import timedelta

import pytest

from hikae.domain.naming import manifest_key, read_tags
from local.inprocess import PRIMARY, SNAPSHOT_PLAN, Installation, tags_of
from local.twin.faults import refused


def test_an_instance_gets_one_set_with_a_snapshot_of_each_volume(installation: Installation) -> None:
    [instance] = installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    [outcome] = installation.back_up()
    assert (outcome.resource, outcome.status) == (instance, "created")
    snapshots = installation.snapshots()
    assert len(snapshots) == 2
    assert len({snapshot["StartTime"] for snapshot in snapshots}) == 1
    assert installation.twin.count("CreateSnapshots") == 1
    for snapshot in snapshots:
        tags = read_tags(tags_of(snapshot), place=installation.primary.place)
        assert (tags.kind, tags.members, tags.attempt) == ("snapshot-set", 2, 1)
        assert tags_of(snapshot)["Backup"] == "production"


def test_the_manifest_is_there_before_the_point(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    tags = read_tags(tags_of(installation.snapshots()[0]), place=installation.primary.place)
    s3 = installation.twin.client("s3", PRIMARY)
    written = s3.head_object(Bucket=installation.primary.bucket, Key=manifest_key(tags))["LastModified"]
    assert written is not None
    actions = [call.action for call in installation.twin.calls]
    assert actions.index("CreateSnapshots") > max(
        number for number, action in enumerate(actions) if action == "DescribeInstanceAttribute"
    )


def test_a_detached_volume_gets_a_snapshot_of_its_own(installation: Installation) -> None:
    volume = installation.detached_volume()
    installation.apply("production", SNAPSHOT_PLAN)
    [outcome] = installation.back_up()
    assert (outcome.resource, outcome.status) == (volume, "created")
    [snapshot] = installation.snapshots()
    assert snapshot["VolumeId"] == volume
    assert tags_of(snapshot)["hikae:volume"] == volume


def test_a_job_that_comes_twice_makes_one_point(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    [job] = installation.jobs()
    statuses = [installation.carry_out(job).status for _ in range(3)]
    installation.advance(minutes=20)
    statuses.append(installation.carry_out(job).status)
    assert statuses == ["created", "adopted", "adopted", "adopted"]
    assert len(installation.snapshots()) == 2


def test_the_same_tick_again_sends_nothing_once_the_points_are_there(installation: Installation) -> None:
    installation.launch(3)
    installation.apply("production", SNAPSHOT_PLAN)
    now = installation.twin.clock.now()
    assert installation.tick(now).jobs_sent == 3
    for job in installation.jobs():
        installation.carry_out(job)
    assert installation.tick(now).jobs_sent == 0


def test_a_job_past_its_deadline_is_reported_and_not_run(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    [job] = installation.jobs()
    outcome = installation.carry_out(job, now=job.deadline + timedelta(seconds=1))
    assert outcome.status == "missed"
    assert outcome.is_failure
    assert "deadline" in outcome.reason
    assert installation.snapshots() == []


@pytest.mark.parametrize(("minutes", "state"), [(0, "shutting-down"), (10, "terminated")])
def test_an_instance_that_ended_since_the_tick_is_skipped_as_the_tick_would(
    installation: Installation, minutes: int, state: str
) -> None:
    [instance] = installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    [job] = installation.jobs()
    installation.twin.client("ec2", PRIMARY).terminate_instances(InstanceIds=[instance])
    installation.advance(minutes=minutes)
    outcome = installation.carry_out(job)
    assert (outcome.resource, outcome.status, outcome.is_failure) == (instance, "skipped", False)
    assert outcome.reason == f"it has ended since the tick saw it (the instance is {state})"
    assert installation.snapshots() == []
    s3 = installation.twin.client("s3", PRIMARY)
    assert s3.list_objects_v2(Bucket=installation.primary.bucket, Prefix="manifests/")["KeyCount"] == 0


def test_a_volume_that_was_deleted_since_the_tick_is_skipped(installation: Installation) -> None:
    volume = installation.detached_volume()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    [job] = installation.jobs()
    installation.twin.client("ec2", PRIMARY).delete_volume(VolumeId=volume)
    installation.advance(minutes=10)
    outcome = installation.carry_out(job)
    assert (outcome.resource, outcome.status, outcome.is_failure) == (volume, "skipped", False)
    assert outcome.reason == f"it has ended since the tick saw it (there is no volume {volume} any more)"


def test_an_instance_that_ec2_does_not_show_at_all_is_a_failure(installation: Installation) -> None:
    """A terminated one would show for about an hour: nobody knows what this is."""
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    [job] = installation.jobs()
    unknown = replace(job, identity=replace(job.identity, resource="i-0123456789abcdef0"))
    outcome = installation.carry_out(unknown)
    assert (outcome.resource, outcome.status) == ("i-0123456789abcdef0", "failed")
    assert outcome.reason == "it is not there any more (there is no instance i-0123456789abcdef0)"


def test_what_the_creating_call_does_not_find_is_a_failure(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    [job] = installation.jobs()
    with refused("CreateSnapshots", "InvalidInstanceID.NotFound"):
        assert installation.carry_out(job).status == "failed"


def test_a_volume_that_was_attached_since_the_tick_is_named(installation: Installation) -> None:
    [instance] = installation.launch(tags={"Backup": "no"})
    volume = installation.detached_volume(AvailabilityZone=zone_of(installation, instance))
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    [job] = installation.jobs()
    ec2 = installation.twin.client("ec2", PRIMARY)
    ec2.attach_volume(InstanceId=instance, VolumeId=volume, Device="/dev/sdp")
    installation.advance(minutes=5)
    outcome = installation.carry_out(job)
    assert (outcome.resource, outcome.status) == (volume, "failed")
    assert "protected with its instance" in outcome.reason


def zone_of(installation: Installation, instance: str) -> str:
    [reservation] = installation.twin.client("ec2", PRIMARY).describe_instances(InstanceIds=[instance])["Reservations"]
    zone: str = reservation["Instances"][0]["Placement"]["AvailabilityZone"]
    return zone


def test_tags_of_the_instance_are_carried_over_as_far_as_they_fit(installation: Installation) -> None:
    many = {"Backup": "production"} | {f"key-{number:02}": "value" for number in range(49)}
    installation.launch(tags=many)
    installation.apply("production", SNAPSHOT_PLAN)
    [outcome] = installation.back_up()
    assert outcome.status == "created"
    assert {len(snapshot["Tags"]) for snapshot in installation.snapshots()} == {50}


def test_a_job_that_comes_back_after_its_deadline_finds_its_point(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    [job] = installation.jobs()
    installation.carry_out(job)
    installation.advance(hours=3)
    assert installation.carry_out(job).status == "adopted"


def test_a_set_whose_tags_were_changed_is_not_made_again_and_again(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    [job] = installation.jobs()
    installation.carry_out(job)
    [first, _] = installation.snapshots()
    installation.twin.client("ec2", PRIMARY).create_tags(
        Resources=[first["SnapshotId"]], Tags=[{"Key": "hikae:members", "Value": "7"}]
    )
    for _ in range(3):
        installation.advance(minutes=15)
        outcome = installation.carry_out(job)
    assert outcome.status == "failed"
    assert "cannot be accounted for" in outcome.reason
    assert len(installation.snapshots()) == 2
