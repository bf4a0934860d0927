"""`hikae points`: what there is of a resource, and which of it a recovery would choose."""

import json

import pytest

from local.inprocess import PRIMARY, RECOVERY, Installation, tags_of
from local.twin.faults import recorded, refused, unreachable
from tests.functional.cli.json_services import JsonServices
from tests.functional.cli.recovery_scene import at_the_twins_time, protect_group, without_ids


@pytest.fixture
def installation(recovery_services: JsonServices) -> Installation:
    """Three hourly points, of which the recovery site keeps two."""
    protect_group(recovery_services.installation, count=1, hours=3)
    return recovery_services.installation


@pytest.fixture
def instance(installation: Installation) -> str:
    found: str = installation.twin.client("ec2", PRIMARY).describe_instances()["Reservations"][0]["Instances"][0][
        "InstanceId"
    ]
    return found


def points(hikae, installation: Installation, *arguments: str):
    with at_the_twins_time(installation):
        return hikae("points", *arguments)


def manifest_of(installation: Installation, point: str) -> str:
    [key] = [each for each in installation.recovery_site().documents.keys("manifests/") if point in each]
    return key


def copies(installation: Installation) -> list[dict]:
    """The copies, the newest first."""
    return sorted(installation.snapshots(RECOVERY), key=lambda each: tags_of(each)["hikae:source-time"], reverse=True)


@pytest.mark.parametrize("form", ["txt", "jsonl"])
def test_the_points_are_listed_newest_first_with_what_a_recovery_would_choose_and_why_not_a_newer(
    hikae, installation, instance, form, matches_snapshot
):
    s3, ec2 = installation.twin.client("s3", RECOVERY), installation.twin.client("ec2", RECOVERY)
    [newest, *_, oldest] = copies(installation)
    key = manifest_of(installation, tags_of(newest)["hikae:point"])
    s3.put_object(Bucket=installation.recovery.bucket, Key=key, Body=b'{"version": 1}')
    ec2.create_tags(Resources=[oldest["SnapshotId"]], Tags=[{"Key": "hikae:hold", "Value": "case 4711"}])
    ec2.lock_snapshot(SnapshotId=newest["SnapshotId"], LockMode="governance", LockDuration=2)
    with unreachable(PRIMARY), recorded() as asked:
        result = points(hikae, installation, instance, *(["--json"] if form == "jsonl" else []))
    assert result.exit_code == 0, result.output
    assert {each.region for each in asked} == {RECOVERY}
    matches_snapshot(without_ids(result.stdout), f"points-recovery.{form}")


def test_the_primarys_points_are_listed_too(hikae, installation, instance, matches_snapshot):
    result = points(hikae, installation, instance, "--site", "primary", "--limit", "2")
    assert result.exit_code == 0
    matches_snapshot(without_ids(result.stdout), "points-primary.txt")


def test_a_set_that_is_not_whole_says_what_is_missing_of_it(hikae, installation, instance):
    [newest, *_] = copies(installation)
    installation.twin.client("ec2", RECOVERY).delete_snapshot(SnapshotId=newest["SnapshotId"])
    first, second, *_ = [
        json.loads(line) for line in points(hikae, installation, instance, "--json").stdout.splitlines()
    ]
    assert (first["state"], first["reason"]) == ("incomplete", "1 of 2 snapshots are there and completed")
    assert (first["is_chosen"], second["is_chosen"]) == (False, True)


def test_what_nobody_can_account_for_is_named(hikae, installation, instance):
    [newest, *_] = copies(installation)
    tags = [{"Key": "hikae:members", "Value": "7"}]
    installation.twin.client("ec2", RECOVERY).create_tags(Resources=[newest["SnapshotId"]], Tags=tags)
    result = points(hikae, installation, instance)
    assert f"  left alone: {newest['SnapshotId']}: " in result.stdout


def test_a_resource_without_a_point_and_a_plan_that_has_none_fail(hikae, installation, instance):
    for arguments in (["i-00000000000000000"], [instance, "--plan", "other"]):
        result = points(hikae, installation, *arguments)
        assert result.exit_code == 1
        assert "0 points" in result.stdout
        assert "none can be used: there is no recovery point of it here" in result.stdout


def test_locks_that_may_not_be_asked_for_are_not_taken_for_none(hikae, installation, instance):
    with refused("DescribeLockedSnapshots", "UnauthorizedOperation"):
        result = points(hikae, installation, instance)
    assert result.exit_code == 0
    assert "  not known: which snapshots are locked: " in result.stdout


def test_a_site_that_does_not_answer_says_what_and_where_and_what_to_do(hikae, installation, instance):
    with unreachable(RECOVERY):
        result = points(hikae, installation, instance)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "check the Region's code, the network and AWS_ENDPOINT_URL" in result.stderr
