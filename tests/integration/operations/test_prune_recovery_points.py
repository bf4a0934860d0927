"""Prune deletes what no rule keeps and nothing needs, whole sets at a time, and keeps everything else."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from moto.s3.models import s3_backends

from hikae.domain.model import SiteRole
from local.inprocess import ACCOUNT, IMAGE_PLAN, PRIMARY, RECOVERY, SNAPSHOT_PLAN, Installation, tags_of
from local.twin.faults import intercepted, read_request, refused, unreachable


def back_up_hours(installation: Installation, hours: int, *, copy: bool = True) -> None:
    for _ in range(hours):
        installation.back_up()
        if copy:
            installation.copy_all()
        installation.advance(minutes=60 - installation.twin.clock.now().minute)


def points(installation: Installation, region: str = PRIMARY) -> set[str]:
    return {tags_of(snapshot)["hikae:point"] for snapshot in installation.snapshots(region)}


@pytest.fixture
def five_hours(installation: Installation) -> Installation:
    """Five hourly points of one instance; three are kept at the source, two at the destination."""
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    back_up_hours(installation, 5)
    return installation


def test_whole_sets_go_at_both_sites_and_each_says_why(five_hours: Installation) -> None:
    assert len(points(five_hours)) == 5
    pruned = five_hours.prune(SiteRole.PRIMARY)
    assert len(points(five_hours)) == 3
    assert [outcome.status for outcome in pruned.outcomes] == ["deleted"] * 4
    assert {outcome.reason for outcome in pruned.outcomes} == {"no rule keeps it"}
    five_hours.prune(SiteRole.RECOVERY)
    assert len(points(five_hours, RECOVERY)) == 2


def test_a_second_run_finds_nothing_to_do(five_hours: Installation) -> None:
    for site in SiteRole:
        five_hours.prune(site)
        assert five_hours.prune(site).outcomes == ()


def test_a_dry_run_decides_the_same_and_deletes_nothing(five_hours: Installation) -> None:
    dry = five_hours.prune(SiteRole.PRIMARY, dry_run=True)
    assert (len(points(five_hours)), dry.outcomes) == (5, ())
    assert five_hours.prune(SiteRole.PRIMARY).verdicts == dry.verdicts


def test_an_expired_copy_is_never_made_again(five_hours: Installation) -> None:
    five_hours.prune(SiteRole.RECOVERY)
    before = five_hours.twin.count("CopySnapshot")
    five_hours.copy_all()
    assert five_hours.twin.count("CopySnapshot") == before


def test_a_source_whose_copy_is_wanted_stays(installation: Installation) -> None:
    installation.launch()
    plan = SNAPSHOT_PLAN.replace("retention: {keep_last: 3}", "retention: {keep_last: 1}")
    installation.apply("production", plan)
    back_up_hours(installation, 3, copy=False)
    pruned = installation.prune(SiteRole.PRIMARY)
    kept = [verdict for verdict in pruned.verdicts if "wanted and not complete" in verdict.reasons[0]]
    assert (len(points(installation)), len(kept)) == (2, 1)
    installation.copy_all()
    installation.prune(SiteRole.PRIMARY)
    assert len(points(installation)) == 1


def test_nothing_that_is_copied_goes_while_the_recovery_region_cannot_be_asked(five_hours: Installation) -> None:
    with unreachable(RECOVERY):
        pruned = five_hours.prune(SiteRole.PRIMARY)
    assert pruned.outcomes == ()
    assert pruned.unreachable[0].startswith(RECOVERY)
    assert len(points(five_hours)) == 5


def test_a_hold_on_one_member_keeps_the_whole_set(five_hours: Installation) -> None:
    ec2 = five_hours.twin.client("ec2", PRIMARY)
    oldest = min(five_hours.snapshots(), key=lambda snapshot: snapshot["StartTime"])
    ec2.create_tags(Resources=[oldest["SnapshotId"]], Tags=[{"Key": "hikae:hold", "Value": "case 4711"}])
    pruned = five_hours.prune(SiteRole.PRIMARY)
    assert tags_of(oldest)["hikae:point"] in points(five_hours)
    assert any(f"{oldest['SnapshotId']} is on hold" in verdict.reasons for verdict in pruned.verdicts)


def test_a_set_that_an_image_uses_stays_whole(five_hours: Installation) -> None:
    ec2 = five_hours.twin.client("ec2", PRIMARY)
    oldest = min(five_hours.snapshots(), key=lambda snapshot: snapshot["StartTime"])
    image = ec2.register_image(
        Name="restored-by-hand",
        RootDeviceName="/dev/xvda",
        Architecture="x86_64",
        VirtualizationType="hvm",
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": oldest["SnapshotId"]}}],
    )["ImageId"]
    pruned = five_hours.prune(SiteRole.PRIMARY)
    same = [each for each in five_hours.snapshots() if each["StartTime"] == oldest["StartTime"]]
    assert len(same) == 2
    assert any(f"is referenced by {image}" in reason for verdict in pruned.verdicts for reason in verdict.reasons)


def test_an_image_that_an_instance_was_started_from_stays(installation: Installation) -> None:
    installation.launch(tags={"Backup": "image"})
    installation.apply("web-images", IMAGE_PLAN)
    back_up_hours(installation, 4)
    oldest, second = sorted(installation.images(), key=lambda image: image["CreationDate"])[:2]
    installation.launch(ImageId=oldest["ImageId"], tags={"Name": "restored"}, BlockDeviceMappings=[])
    installation.prune(SiteRole.PRIMARY)
    left = {image["ImageId"] for image in installation.images()}
    assert oldest["ImageId"] in left
    assert second["ImageId"] not in left


def test_an_image_goes_with_its_snapshots_in_one_call(installation: Installation) -> None:
    installation.launch(tags={"Backup": "image"})
    installation.apply("web-images", IMAGE_PLAN)
    back_up_hours(installation, 4)
    installation.prune(SiteRole.PRIMARY)
    assert (len(installation.images()), len(installation.snapshots())) == (2, 4)
    assert installation.twin.count("DeregisterImage") == 2
    assert installation.twin.count("DeleteSnapshot") == 0


def test_one_deletion_that_is_refused_stops_no_other(five_hours: Installation) -> None:
    """A snapshot that becomes used between the decision and the deletion is EC2's to refuse."""
    oldest = min(five_hours.snapshots(), key=lambda snapshot: snapshot["StartTime"])
    with refused("DeleteSnapshot", "InvalidSnapshot.InUse", resource=oldest["SnapshotId"]):
        pruned = five_hours.prune(SiteRole.PRIMARY)
    statuses = {outcome.resource: outcome.status for outcome in pruned.outcomes}
    assert statuses[oldest["SnapshotId"]] == "failed"
    assert list(statuses.values()).count("deleted") >= 2
    five_hours.prune(SiteRole.PRIMARY)
    assert len(points(five_hours)) == 3


def test_a_half_deleted_set_is_finished_by_the_next_run(five_hours: Installation) -> None:
    oldest = min(five_hours.snapshots(), key=lambda snapshot: snapshot["StartTime"])
    five_hours.twin.client("ec2", PRIMARY).delete_snapshot(SnapshotId=oldest["SnapshotId"])
    five_hours.prune(SiteRole.PRIMARY)
    assert len(points(five_hours)) == 3


def test_no_more_is_deleted_than_the_cap_allows_and_no_set_is_split() -> None:
    with Installation(deletion_cap=3) as installation:
        installation.launch()
        installation.apply("production", SNAPSHOT_PLAN)
        back_up_hours(installation, 5)
        pruned = installation.prune(SiteRole.PRIMARY)
        assert (len(pruned.outcomes), pruned.capped) == (2, 1)
        assert len(points(installation)) == 4


def test_a_set_larger_than_the_cap_is_a_failure_that_names_the_parameter() -> None:
    with Installation(deletion_cap=1, lineage_percent=100) as installation:
        installation.launch()
        installation.apply("production", SNAPSHOT_PLAN)
        back_up_hours(installation, 5)
        for _ in range(2):
            pruned = installation.prune(SiteRole.PRIMARY)
            failures = [outcome for outcome in pruned.outcomes if outcome.is_failure]
            assert len(failures) == pruned.capped == len(pruned.withheld) == 2
            assert all("stays until DeletionCap is at least 2" in failure.reason for failure in failures)
            assert len(points(installation)) == 5


def test_foreign_and_unclear_snapshots_are_left_alone_and_named(five_hours: Installation) -> None:
    ec2 = five_hours.twin.client("ec2", PRIMARY)
    oldest = min(five_hours.snapshots(), key=lambda snapshot: snapshot["StartTime"])
    ec2.create_tags(Resources=[oldest["SnapshotId"]], Tags=[{"Key": "hikae:rule", "Value": "another"}])
    pruned = five_hours.prune(SiteRole.PRIMARY)
    assert [unclear.id for unclear in pruned.unclear] == [oldest["SnapshotId"]]
    left = {snapshot["SnapshotId"] for snapshot in five_hours.snapshots()}
    assert oldest["SnapshotId"] in left


def test_the_rest_of_a_set_stays_with_the_one_that_cannot_be_accounted_for(five_hours: Installation) -> None:
    ec2 = five_hours.twin.client("ec2", PRIMARY)
    first, second = sorted(five_hours.snapshots(), key=lambda snapshot: snapshot["StartTime"])[:2]
    assert tags_of(first)["hikae:point"] == tags_of(second)["hikae:point"]
    ec2.create_tags(Resources=[first["SnapshotId"]], Tags=[{"Key": "hikae:rule", "Value": "another"}])
    for _ in range(2):
        pruned = five_hours.prune(SiteRole.PRIMARY)
        reasons = [reason for verdict in pruned.verdicts for reason in verdict.reasons]
        assert f"{first['SnapshotId']} carries its id and cannot be accounted for" in reasons
        left = {snapshot["SnapshotId"] for snapshot in five_hours.snapshots()}
        assert {first["SnapshotId"], second["SnapshotId"]} <= left
    assert len(points(five_hours)) == 4


def test_what_a_drill_recovers_from_stays_while_a_volume_of_the_drill_is_there(five_hours: Installation) -> None:
    oldest = min(five_hours.snapshots(), key=lambda snapshot: snapshot["StartTime"])
    point = tags_of(oldest)["hikae:point"]
    volume = five_hours.detached_volume(tags={"hikae:drill": "drill-7", "hikae:recovered-from": point})
    for _ in range(2):
        five_hours.prune(SiteRole.PRIMARY)
        assert point in points(five_hours)
    five_hours.twin.client("ec2", PRIMARY).delete_volume(VolumeId=volume)
    five_hours.advance(minutes=5)
    five_hours.prune(SiteRole.PRIMARY)
    assert point not in points(five_hours)


def test_points_of_a_plan_that_cannot_be_read_stay(five_hours: Installation) -> None:
    five_hours.apply("production", "version: 1\nplan: [")
    pruned = five_hours.prune(SiteRole.PRIMARY)
    assert (pruned.outcomes, len(pruned.broken_plans)) == ((), 1)
    assert len(points(five_hours)) == 5


def test_of_duplicate_sets_the_earliest_stays(installation: Installation) -> None:
    [instance] = installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    first = installation.snapshots()
    tags = [tag for tag in first[0]["Tags"] if tag["Key"] != "Backup"]
    installation.twin.client("ec2", PRIMARY).create_snapshots(
        InstanceSpecification={"InstanceId": instance},
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}],
    )
    installation.advance(minutes=20)
    installation.copy_all()
    pruned = installation.prune(SiteRole.PRIMARY)
    assert {snapshot["SnapshotId"] for snapshot in installation.snapshots()} == {each["SnapshotId"] for each in first}
    assert all("duplicate" in outcome.reason for outcome in pruned.outcomes)


def test_a_manifest_goes_with_its_point_and_no_other_does(five_hours: Installation) -> None:
    five_hours.prune(SiteRole.PRIMARY)
    s3 = five_hours.twin.client("s3", PRIMARY)
    listed = s3.list_objects_v2(Bucket=five_hours.primary.bucket, Prefix="manifests/")["Contents"]
    assert {entry["Key"].split("/")[-2] for entry in listed} == points(five_hours)


@pytest.mark.parametrize("is_written_anew", [False, True])
def test_a_stray_manifest_goes_unless_a_job_comes_back_to_it_meanwhile(
    installation: Installation, *, is_written_anew: bool
) -> None:
    installation.apply("production", SNAPSHOT_PLAN)
    s3, bucket = installation.twin.client("s3", PRIMARY), installation.primary.bucket
    key = f"manifests/{ACCOUNT}/{PRIMARY}/i-1/rp-{32 * '0'}/1.json"
    s3.put_object(Bucket=bucket, Key=key, Body=b"{}")
    s3_backends[ACCOUNT]["aws"].buckets[bucket].keys[key].last_modified -= timedelta(hours=2)

    def write_anew(request: Any, go_on: Callable[[Any], Any]) -> Any:
        if is_written_anew and read_request(request).action == "DescribeVolumes":
            s3.put_object(Bucket=bucket, Key=key, Body=b"{}")
        return go_on(request)

    with intercepted(write_anew):
        installation.prune(SiteRole.PRIMARY, now=datetime.now(tz=UTC))
    assert s3.list_objects_v2(Bucket=bucket, Prefix="manifests/")["KeyCount"] == is_written_anew


def test_a_point_that_ec2_failed_to_make_is_named_even_after_its_slot(five_hours: Installation) -> None:
    five_hours.tick()
    [job] = five_hours.jobs()
    five_hours.carry_out(job)
    pending = [each for each in five_hours.snapshots() if each["State"] == "pending"]
    for snapshot in pending:
        five_hours.twin.backend(PRIMARY).fail_snapshot(snapshot["SnapshotId"], message="boom")
    pruned = five_hours.prune(SiteRole.PRIMARY)
    [failure] = [outcome for outcome in pruned.outcomes if outcome.is_failure]
    assert failure.resource == job.identity.resource
    assert "boom" in failure.reason


def test_a_volume_that_is_impaired_is_there_and_keeps_its_points(installation: Installation) -> None:
    """EC2 shows it as neither attached nor available, and its points are all that is left of it."""
    volume = installation.detached_volume()
    installation.apply("production", SNAPSHOT_PLAN.replace("timezone: UTC", "timezone: UTC\nretire_after: 1d"))
    installation.back_up()
    installation.copy_all()
    installation.twin.backend(PRIMARY).get_volume(volume).state = "error"
    installation.advance(days=2)
    installation.tick()
    pruned = installation.prune(SiteRole.PRIMARY)
    assert (len(points(installation)), pruned.outcomes) == (1, ())


@pytest.mark.parametrize("site", list(SiteRole))
def test_what_is_gone_is_given_up_by_a_clock_that_a_tick_confirms_and_by_no_other(
    installation: Installation, site: SiteRole
) -> None:
    region = PRIMARY if site is SiteRole.PRIMARY else RECOVERY
    volume = installation.detached_volume()
    installation.apply("production", SNAPSHOT_PLAN.replace("timezone: UTC", "timezone: UTC\nretire_after: 30d"))
    installation.back_up()
    installation.copy_all()
    installation.twin.client("ec2", PRIMARY).delete_volume(VolumeId=volume)
    installation.advance(hours=1)
    installation.tick()
    installation.copy()
    jumped = installation.prune(site, now=installation.twin.clock.now() + timedelta(days=3650))
    assert (len(points(installation, region)), jumped.outcomes) == (1, ())
    installation.advance(days=31)
    installation.tick()
    installation.copy()
    installation.prune(site)
    assert points(installation, region) == set()
