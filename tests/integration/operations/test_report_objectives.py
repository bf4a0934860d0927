"""What the recovery site can say by itself about what it should have."""

import json
from datetime import timedelta
from typing import Any

import pytest

from hikae.domain.naming import inventory_key
from hikae.domain.objectives import Standing
from local.inprocess import PRIMARY, RECOVERY, SNAPSHOT_PLAN, Installation
from local.twin.faults import unreachable

LAST = "reports/latest.json"


def read(installation: Installation, key: str = LAST) -> dict[str, Any]:
    body = installation.twin.client("s3", RECOVERY).get_object(Bucket=installation.recovery.bucket, Key=key)["Body"]
    document: dict[str, Any] = json.loads(body.read())
    return document


def write(installation: Installation, key: str, body: bytes) -> None:
    installation.twin.client("s3", RECOVERY).put_object(Bucket=installation.recovery.bucket, Key=key, Body=body)


@pytest.fixture
def protected(installation: Installation) -> Installation:
    """Two instances with a point and its copy each, and one that no point can have."""
    installation.launch(2)
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    installation.copy_all()
    return installation


def test_the_report_is_stored_as_the_latest_and_under_its_date(protected: Installation) -> None:
    now = protected.twin.clock.now()
    report = protected.report()
    assert [each.standing for each in report.measurements] == [Standing.MET, Standing.MET]
    stored = read(protected)
    assert stored == read(protected, f"reports/{now:%Y/%m/%d/%H%M%SZ}.json")
    assert stored["summary"] == {"met": 2, "breached": 0, "never": 0, "waiting": 0}
    [first, _] = stored["objectives"]
    [source_time] = {str(each["StartTime"].isoformat()) for each in protected.snapshots()}
    assert first["source_time"].replace("Z", "+00:00") == source_time
    assert 0 < first["achieved_rpo_seconds"] < first["rpo_seconds"] == 7200


def test_a_report_of_an_earlier_time_is_stored_under_its_date_and_the_latest_stays(protected: Installation) -> None:
    protected.report()
    latest, earlier = read(protected), protected.twin.clock.now() - timedelta(minutes=30)
    protected.report(now=earlier)
    assert read(protected) == latest
    assert read(protected, f"reports/{earlier:%Y/%m/%d/%H%M%SZ}.json")["reported_at"] < latest["reported_at"]


def test_what_ages_is_breached_and_what_is_copied_again_is_met(protected: Installation) -> None:
    protected.advance(hours=3)
    assert [each.standing for each in protected.report().measurements] == [Standing.BREACHED, Standing.BREACHED]
    protected.back_up()
    protected.copy_all()
    assert [each.standing for each in protected.report().measurements] == [Standing.MET, Standing.MET]


def test_a_set_that_lost_a_member_or_its_manifest_is_no_copy(protected: Installation) -> None:
    ec2 = protected.twin.client("ec2", RECOVERY)
    ec2.delete_snapshot(SnapshotId=protected.snapshots(RECOVERY)[0]["SnapshotId"])
    assert sorted(each.standing for each in protected.report().measurements) == ["met", "waiting"]
    s3 = protected.twin.client("s3", RECOVERY)
    for entry in s3.list_objects_v2(Bucket=protected.recovery.bucket, Prefix="manifests/")["Contents"]:
        s3.delete_object(Bucket=protected.recovery.bucket, Key=entry["Key"])
    assert [each.standing for each in protected.report().measurements] == ["waiting", "waiting"]


def test_a_resource_without_a_copy_is_named_once_its_rpo_has_passed_since_it_was_first_seen(
    installation: Installation,
) -> None:
    [instance] = installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    installation.copy()
    assert [each.standing for each in installation.report().measurements] == [Standing.WAITING]
    installation.advance(hours=1)
    assert [each.standing for each in installation.report().measurements] == [Standing.WAITING]
    installation.advance(minutes=61)
    [found] = installation.report().measurements
    assert (found.standing, found.group.resource) == (Standing.NEVER, instance)


def test_that_an_inventory_could_not_be_read_for_a_while_gives_no_resource_more_time(
    installation: Installation,
) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    installation.copy()
    [began] = [each.since for each in installation.report().measurements]
    key = inventory_key(installation.primary.place)
    good = json.dumps(read(installation, key)).encode()
    for broken in (b"{}", b"not JSON"):
        write(installation, key, broken)
        report = installation.report()
        assert report.measurements == ()
        assert "its inventory cannot be read" in report.sources[0].problems[0]
    installation.advance(hours=2, minutes=1)
    write(installation, key, good)
    [found] = installation.report().measurements
    assert (found.standing, found.since) == (Standing.NEVER, began)


def test_an_inventory_that_is_missing_or_too_old_is_a_problem_and_the_old_one_is_still_measured(
    installation: Installation,
) -> None:
    [source] = installation.report().sources
    assert "there is no inventory" in source.problems[0]
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    installation.copy_all()
    installation.advance(days=2)
    [source] = installation.report().sources
    assert "2d" in source.problems[0]
    assert [each.standing for each in source.measurements] == [Standing.BREACHED]


def test_the_primary_region_is_not_asked(protected: Installation) -> None:
    before = protected.report()
    with unreachable(PRIMARY):
        after = protected.report()
    assert [each.achieved for each in after.measurements] == [each.achieved for each in before.measurements]
    assert after.sources[0].problems == ()


def test_what_cannot_be_protected_and_broken_plans_are_named(installation: Installation) -> None:
    volume = installation.detached_volume(tags={"Backup": "image"})
    plan = SNAPSHOT_PLAN.replace("protect: snapshots", "protect: image").replace("Backup: production", "Backup: image")
    installation.apply("production", plan)
    installation.apply("broken", "version: 1\nplan: broken\n")
    installation.tick()
    installation.copy()
    [source] = installation.report().sources
    assert [(each.group.resource, each.group.plan) for each in source.unprotectable] == [(volume, "production")]
    assert "plans/broken.yaml" in source.broken_plans[0]
    assert source.measurements == ()


def test_a_resource_that_is_gone_is_left_out(protected: Installation) -> None:
    gone = protected.report().measurements[0].group.resource
    protected.twin.client("ec2", PRIMARY).terminate_instances(InstanceIds=[gone])
    protected.advance(minutes=10)
    protected.tick()
    protected.copy()
    assert gone not in {each.group.resource for each in protected.report().measurements}


def test_a_last_report_that_cannot_be_read_is_said_and_replaced(protected: Installation) -> None:
    protected.report()
    write(protected, LAST, b'{"objectives": [{}], "carried": []}')
    report = protected.report()
    assert "the last report cannot be read" in report.problems[0]
    assert len(report.measurements) == 2
    assert protected.report().problems == ()


def test_what_a_report_of_a_time_to_come_saw_first_counts_from_the_next_run_on(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    installation.copy()
    now = installation.twin.clock.now()
    installation.report(now=now + timedelta(days=30))
    installation.advance(hours=2, minutes=1)
    [found] = installation.report().measurements
    assert found.since == installation.twin.clock.now()
