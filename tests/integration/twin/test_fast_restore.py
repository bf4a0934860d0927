"""Fast snapshot restore: EBS User Guide, "Amazon EBS fast snapshot restore"."""

from datetime import timedelta

import pytest

REGION, ZONE = "us-east-1", "us-east-1a"


def states(ec2, **filters):
    found = ec2.describe_fast_snapshot_restores(
        Filters=[{"Name": name.replace("_", "-"), "Values": [value]} for name, value in filters.items()]
    )
    return [each["State"] for each in found["FastSnapshotRestores"]]


def enable(ec2, snapshot_id):
    return ec2.enable_fast_snapshot_restores(SourceSnapshotIds=[snapshot_id], AvailabilityZones=[ZONE])


@pytest.mark.contract("fast_snapshot_restore", "eventbridge")
def test_it_takes_an_hour_for_each_tib_and_every_state_is_told(cloud, make_snapshot):
    ec2, snapshot_id = cloud.client("ec2", REGION), make_snapshot(cloud, Size=512, VolumeType="gp3")
    [enabling] = enable(ec2, snapshot_id)["Successful"]
    assert (enabling["State"], enabling["AvailabilityZone"]) == ("enabling", ZONE)
    cloud.clock.advance(timedelta(minutes=29))
    assert states(ec2, snapshot_id=snapshot_id) == ["optimizing"]
    cloud.clock.advance(timedelta(minutes=2))
    assert states(ec2, state="enabled") == ["enabled"]
    ec2.disable_fast_snapshot_restores(SourceSnapshotIds=[snapshot_id], AvailabilityZones=[ZONE])
    cloud.clock.advance(timedelta(minutes=1))
    assert states(ec2) == ["disabled"]
    told = [each["detail"] for each in cloud.events if "Fast Snapshot Restore" in each["detail-type"]]
    assert [each["state"] for each in told] == ["enabling", "optimizing", "enabled", "disabling", "disabled"]
    assert {(each["snapshot-id"], each["zone"]) for each in told} == {(snapshot_id, ZONE)}


def test_each_snapshot_and_zone_has_its_own_result(twin, make_snapshot):
    ec2, snapshot_id = twin.client("ec2", REGION), make_snapshot(twin)
    unknown = "snap-0123456789abcdef0"
    answer = ec2.enable_fast_snapshot_restores(
        SourceSnapshotIds=[snapshot_id, unknown], AvailabilityZones=[ZONE, "us-west-2a"]
    )
    assert [(each["SnapshotId"], each["AvailabilityZone"]) for each in answer["Successful"]] == [(snapshot_id, ZONE)]
    failed = {each["SnapshotId"]: each["FastSnapshotRestoreStateErrors"] for each in answer["Unsuccessful"]}
    assert [each["Error"]["Code"] for each in failed[snapshot_id]] == ["InvalidZone.NotFound"]
    assert [each["Error"]["Code"] for each in failed[unknown]] == ["InvalidSnapshot.NotFound"] * 2


@pytest.mark.contract("fast_snapshot_restore")
def test_five_snapshots_of_a_region_and_no_more(cloud, make_snapshot):
    ec2 = cloud.client("ec2", REGION)
    for _ in range(5):
        assert enable(ec2, make_snapshot(cloud))["Successful"]
    [refused] = enable(ec2, make_snapshot(cloud))["Unsuccessful"]
    assert refused["FastSnapshotRestoreStateErrors"][0]["Error"]["Code"] == "FastSnapshotRestoreLimitExceeded"


def test_it_ends_with_its_snapshot(twin, make_snapshot):
    ec2, snapshot_id = twin.client("ec2", REGION), make_snapshot(twin)
    enable(ec2, snapshot_id)
    ec2.delete_snapshot(SnapshotId=snapshot_id)
    twin.clock.advance(timedelta(hours=1))
    assert states(ec2) == ["disabled"]
