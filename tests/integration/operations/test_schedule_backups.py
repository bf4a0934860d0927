"""The tick: due slots become jobs, nothing is lost, and one broken thing stops no other."""

import json
from datetime import UTC, datetime, timedelta

from hikae.domain.model import SiteRole
from local.inprocess import IMAGE_PLAN, PRIMARY, SNAPSHOT_PLAN, Installation
from local.twin.faults import refused


def test_every_selected_resource_gets_a_job_and_no_other(installation: Installation) -> None:
    selected = installation.launch(2)
    installation.launch(1, tags={"Backup": "off"})
    volume = installation.detached_volume()
    installation.apply("production", SNAPSHOT_PLAN)
    assert installation.tick().jobs_sent == 3
    assert {job.identity.resource for job in installation.jobs()} == {*selected, volume}


def test_stopped_instances_are_protected_and_terminated_ones_are_not(installation: Installation) -> None:
    stopped, terminated = installation.launch(2)
    ec2 = installation.twin.client("ec2", PRIMARY)
    ec2.stop_instances(InstanceIds=[stopped])
    ec2.terminate_instances(InstanceIds=[terminated])
    installation.advance(minutes=5)
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    assert [job.identity.resource for job in installation.jobs()] == [stopped]


def test_jobs_without_a_point_are_sent_again_until_the_next_slot(installation: Installation) -> None:
    installation.launch(2)
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    first, _lost = installation.jobs()
    installation.carry_out(first)
    installation.advance(minutes=5)
    assert installation.tick().jobs_sent == 1


def test_a_point_that_failed_gets_its_job_again_as_the_next_attempt(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    [job] = installation.jobs()
    installation.carry_out(job)
    for snapshot in installation.snapshots():
        installation.twin.backend(PRIMARY).fail_snapshot(snapshot["SnapshotId"])
    installation.advance(seconds=15)
    assert installation.tick().jobs_sent == 1
    [again] = installation.jobs()
    assert installation.carry_out(again).status == "created"
    assert {
        tag["Value"] for each in installation.snapshots() for tag in each["Tags"] if tag["Key"] == "hikae:attempt"
    } == {
        "1",
        "2",
    }


def test_after_an_outage_only_the_newest_slot_runs_and_the_others_are_missed(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    installation.advance(hours=5)
    tick = installation.tick()
    assert tick.jobs_sent == 1
    [rule] = tick.rules
    assert [slot.hour for slot in rule.missed] == [11, 12, 13, 14]
    assert rule.slot == datetime(2026, 11, 22, 15, tzinfo=UTC)


def test_a_slot_outside_its_start_window_does_not_run(installation: Installation) -> None:
    installation.launch()
    plan = SNAPSHOT_PLAN.replace('"0 * * * *"', '"0 3 * * *"').replace("start_window: 1h", "start_window: 30m")
    installation.apply("production", plan)
    assert installation.tick(datetime(2026, 11, 22, 3, 31, tzinfo=UTC)).jobs_sent == 0
    assert installation.tick(datetime(2026, 11, 22, 3, 29, tzinfo=UTC)).jobs_sent == 1


def test_a_jobs_deadline_is_the_next_slot_where_that_is_earlier(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN.replace("start_window: 1h", "start_window: 8h"))
    installation.tick()
    [job] = installation.jobs()
    assert job.deadline - job.identity.slot == timedelta(hours=1)


def test_the_inventory_says_what_is_protected_and_what_cannot_be(installation: Installation) -> None:
    [instance] = installation.launch()
    volume = installation.detached_volume(tags={"Backup": "image"})
    installation.apply("production", SNAPSHOT_PLAN)
    plan = IMAGE_PLAN.replace("resources: [instance]", "resources: [instance, volume]")
    installation.apply("web-images", plan)
    installation.tick()
    s3 = installation.twin.client("s3", PRIMARY)
    key = f"inventory/123456789012/{PRIMARY}/latest.json"
    inventory = json.loads(s3.get_object(Bucket=installation.primary.bucket, Key=key)["Body"].read())
    rows = {row["resource"]: row for row in inventory["resources"]}
    assert rows[instance]["unprotectable"] is None
    assert rows[instance]["destinations"] == ["us-west-2"]
    assert rows[instance]["rpo_seconds"] == 7200
    assert "image is made of an instance" in rows[volume]["unprotectable"]


def test_a_plan_whose_name_is_not_its_files_is_broken(installation: Installation) -> None:
    installation.apply("another", SNAPSHOT_PLAN, [SiteRole.PRIMARY])
    [broken] = installation.tick().broken_plans
    assert "they must agree" in str(broken)


def test_a_rule_that_cannot_be_dispatched_is_named_and_the_others_run(installation: Installation) -> None:
    installation.launch()
    installation.launch(tags={"Backup": "image"})
    installation.apply("production", SNAPSHOT_PLAN)
    installation.apply("web-images", IMAGE_PLAN)
    with refused("DescribeImages", "UnauthorizedOperation", status=403):
        tick = installation.tick()
    assert tick.jobs_sent == 1
    [failure] = tick.failures
    assert failure.resource == "web-images/hourly"
    assert "UnauthorizedOperation" in failure.reason
    assert installation.tick().rules[1].jobs_sent == 1


def test_a_missed_slot_is_told_when_its_window_has_closed(installation: Installation) -> None:
    installation.launch()
    plan = SNAPSHOT_PLAN.replace('"0 * * * *"', '"0 3 * * *"')
    installation.apply("production", plan)
    assert installation.tick(datetime(2026, 11, 22, 3, 30, tzinfo=UTC)).jobs_sent == 1
    assert installation.tick(datetime(2026, 11, 23, 2, 0, tzinfo=UTC)).missed == 0
    assert installation.tick(datetime(2026, 11, 23, 4, 30, tzinfo=UTC)).missed == 1
    assert installation.tick(datetime(2026, 11, 23, 4, 35, tzinfo=UTC)).missed == 0


def test_a_schedule_that_was_changed_has_missed_nothing(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN.replace('"0 * * * *"', '"0 3 * * *"'))
    installation.tick(datetime(2026, 11, 22, 3, 30, tzinfo=UTC))
    installation.apply("production", SNAPSHOT_PLAN)
    tick = installation.tick(datetime(2026, 11, 22, 12, 30, tzinfo=UTC))
    assert (tick.jobs_sent, tick.missed) == (1, 0)


def test_a_plan_that_no_yaml_reader_takes_is_broken_and_the_others_run(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.apply("odd", "!!bool maybe")
    tick = installation.tick()
    assert tick.jobs_sent == 1
    assert [broken.key for broken in tick.broken_plans] == ["plans/odd.yaml"]
