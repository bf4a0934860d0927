"""A job becomes exactly one recovery point, whatever happens to its message."""

from dataclasses import replace
from datetime import timedelta

from hikae.domain.naming import manifest_key, read_tags
from local.inprocess import PRIMARY, SNAPSHOT_PLAN, Installation, tags_of


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


def test_an_instance_that_vanished_is_named(installation: Installation) -> None:
    [instance] = installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    [job] = installation.jobs()
    installation.twin.client("ec2", PRIMARY).terminate_instances(InstanceIds=[instance])
    installation.advance(minutes=10)
    outcome = installation.carry_out(job)
    assert (outcome.resource, outcome.status) == (instance, "failed")
    assert "not there any more" in outcome.reason


def test_a_volume_that_was_never_there_is_named(installation: Installation) -> None:
    installation.detached_volume()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    [job] = installation.jobs()
    gone = replace(job, identity=replace(job.identity, resource="vol-0123456789abcdef0"))
    outcome = installation.carry_out(gone)
    assert (outcome.resource, outcome.status) == ("vol-0123456789abcdef0", "failed")


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
