"""The EBS direct APIs: EBS User Guide, "Use EBS direct APIs to access the contents of an EBS snapshot"."""

import base64
import hashlib
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError

REGION = "us-east-1"
BLOCK = 512 * 1024


def checksum(data):
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def put(ebs, snapshot_id, index, data, **changed):
    given = {"DataLength": len(data), "Checksum": checksum(data), "ChecksumAlgorithm": "SHA256", **changed}
    ebs.put_snapshot_block(SnapshotId=snapshot_id, BlockIndex=index, BlockData=data, **given)


def read(ebs, snapshot_id):
    """Every block of a snapshot by its index."""
    blocks = ebs.list_snapshot_blocks(SnapshotId=snapshot_id)["Blocks"]
    return {
        each["BlockIndex"]: ebs.get_snapshot_block(SnapshotId=snapshot_id, **each)["BlockData"].read()
        for each in blocks
    }


def reason(error):
    return error.value.response["Error"]["Code"], error.value.response.get("Reason")


@pytest.fixture
def snapshots(make_volume, settle):
    """Two snapshots of one volume, between which one block was written."""

    def snapshots(cloud):
        ec2, volume_id = cloud.client("ec2", REGION), make_volume(cloud)
        cloud.write(volume_id, b"first", changed_bytes=3 * BLOCK)
        first = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
        settle(cloud)
        cloud.write(volume_id, b"second")
        second = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
        settle(cloud)
        return first, second

    return snapshots


@pytest.mark.contract("ebs_direct")
def test_a_snapshot_that_ec2_made_is_read_block_by_block(cloud, snapshots):
    first, second = snapshots(cloud)
    ebs = cloud.client("ebs", REGION)
    listed = ebs.list_snapshot_blocks(SnapshotId=first)
    assert (listed["BlockSize"], listed["VolumeSize"]) == (BLOCK, 10)
    blocks = read(ebs, first)
    assert sorted(blocks) == [0, 1, 2]
    assert {len(each) for each in blocks.values()} == {BLOCK}
    assert len(set(blocks.values())) == 3
    assert {index: read(ebs, second)[index] for index in blocks} == blocks


@pytest.mark.contract("ebs_direct")
def test_only_what_was_written_in_between_has_changed(twin, snapshots):
    first, second = snapshots(twin)
    ebs = twin.client("ebs", REGION)
    changed = ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=second)["ChangedBlocks"]
    assert [(each["BlockIndex"], "FirstBlockToken" in each) for each in changed] == [(3, False)]


@pytest.mark.contract("ebs_direct")
def test_a_snapshot_of_the_same_blocks_has_the_same_content(cloud, snapshots, settle):
    """And it is pending, in EC2 too, until it was completed and its blocks were stored."""
    source, _ = snapshots(cloud)
    ec2, ebs = cloud.client("ec2", REGION), cloud.client("ebs", REGION)
    snapshot_id = ebs.start_snapshot(VolumeSize=10, Tags=[{"Key": "a", "Value": "b"}])["SnapshotId"]
    blocks = read(ebs, source)
    for index, data in blocks.items():
        put(ebs, snapshot_id, index, data)
    settle(cloud)
    assert ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]["State"] == "pending"
    assert ebs.complete_snapshot(SnapshotId=snapshot_id, ChangedBlocksCount=len(blocks))["Status"] == "pending"
    settle(cloud)
    [found] = ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    assert (found["State"], found["Tags"]) == ("completed", [{"Key": "a", "Value": "b"}])
    assert cloud.digest_of(snapshot_id) == cloud.digest_of(source)


def test_a_child_has_its_parents_blocks_but_for_those_that_were_written(twin, snapshots, settle):
    _, parent = snapshots(twin)
    ebs = twin.client("ebs", REGION)
    snapshot_id = ebs.start_snapshot(VolumeSize=10, ParentSnapshotId=parent)["SnapshotId"]
    data = b"x" * BLOCK
    put(ebs, snapshot_id, 1, data)
    ebs.complete_snapshot(SnapshotId=snapshot_id, ChangedBlocksCount=1)
    settle(twin)
    assert read(ebs, snapshot_id) == {**read(ebs, parent), 1: data}
    changed = ebs.list_changed_blocks(FirstSnapshotId=parent, SecondSnapshotId=snapshot_id)["ChangedBlocks"]
    assert [each["BlockIndex"] for each in changed] == [1]


@pytest.mark.contract("ebs_direct")
@pytest.mark.parametrize("changed", [{"Checksum": checksum(b"other")}, {"DataLength": 5}, {"ChecksumAlgorithm": "MD5"}])
def test_a_block_that_is_not_what_it_says_is_refused(twin, changed):
    ebs = twin.client("ebs", REGION)
    snapshot_id = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    with pytest.raises(ClientError) as error:
        put(ebs, snapshot_id, 0, b"x" * BLOCK, **changed)
    assert reason(error)[0] == "ValidationException"


@pytest.mark.contract("ebs_direct")
def test_a_bad_checksum_and_a_wrong_count_are_refused(cloud):
    ebs = cloud.client("ebs", REGION)
    snapshot_id = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    with pytest.raises(ClientError) as error:
        put(ebs, snapshot_id, 0, b"x" * BLOCK, Checksum=checksum(b"other"))
    assert reason(error)[0] == "ValidationException"
    put(ebs, snapshot_id, 0, b"x" * BLOCK)
    with pytest.raises(ClientError) as error:
        ebs.complete_snapshot(SnapshotId=snapshot_id, ChangedBlocksCount=2)
    assert reason(error)[0] == "ValidationException"
    summed = base64.b64encode(hashlib.sha256(hashlib.sha256(b"x" * BLOCK).digest()).digest()).decode()
    how = {"ChecksumAlgorithm": "SHA256", "ChecksumAggregationMethod": "LINEAR"}
    with pytest.raises(ClientError):
        ebs.complete_snapshot(SnapshotId=snapshot_id, ChangedBlocksCount=1, Checksum=checksum(b"other"), **how)
    ebs.complete_snapshot(SnapshotId=snapshot_id, ChangedBlocksCount=1, Checksum=summed, **how)


def test_a_token_is_of_one_block_and_lives_a_week(twin, snapshots):
    first, second = snapshots(twin)
    ebs = twin.client("ebs", REGION)
    tokens = {each["BlockIndex"]: each["BlockToken"] for each in ebs.list_snapshot_blocks(SnapshotId=first)["Blocks"]}
    for snapshot_id, index, token in ((first, 0, tokens[1]), (second, 0, tokens[0]), (first, 0, "bogus")):
        with pytest.raises(ClientError) as error:
            ebs.get_snapshot_block(SnapshotId=snapshot_id, BlockIndex=index, BlockToken=token)
        assert reason(error)[0] == "ValidationException"
    twin.clock.advance(timedelta(days=7))
    with pytest.raises(ClientError):
        ebs.get_snapshot_block(SnapshotId=first, BlockIndex=0, BlockToken=tokens[0])


def test_snapshots_of_two_volumes_are_not_compared(twin, snapshots, make_snapshot):
    with pytest.raises(ClientError) as error:
        twin.client("ebs", REGION).list_changed_blocks(
            FirstSnapshotId=make_snapshot(twin), SecondSnapshotId=snapshots(twin)[1]
        )
    assert reason(error)[0] == "ValidationException"


def test_the_same_client_token_starts_one_snapshot(twin):
    ebs = twin.client("ebs", REGION)
    first, second = (ebs.start_snapshot(VolumeSize=1, ClientToken="once")["SnapshotId"] for _ in range(2))
    assert first == second
    with pytest.raises(ClientError) as error:
        ebs.start_snapshot(VolumeSize=2, ClientToken="once")
    assert reason(error)[0] == "ConflictException"


def test_a_snapshot_that_is_not_completed_in_time_is_in_error(twin):
    ebs = twin.client("ebs", REGION)
    snapshot_id = ebs.start_snapshot(VolumeSize=1, Timeout=10)["SnapshotId"]
    twin.clock.advance(timedelta(minutes=10))
    [found] = twin.client("ec2", REGION).describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    assert found["State"] == "error"
    with pytest.raises(ClientError):
        put(ebs, snapshot_id, 0, b"x" * BLOCK)


def test_what_is_pending_archived_or_of_somebody_else_is_not_read(twin, make_volume, make_snapshot):
    ec2, ebs = twin.client("ec2", REGION), twin.client("ebs", REGION)
    pending = ec2.create_snapshot(VolumeId=make_volume(twin))["SnapshotId"]
    archived = make_snapshot(twin)
    ec2.modify_snapshot_tier(SnapshotId=archived, StorageTier="archive")
    twin.clock.advance(timedelta(minutes=10))
    foreign = twin.seed_snapshot(started_at=twin.clock.now(), volume_id="vol-ffffffff", owner_id="999999999999")
    again = ec2.create_snapshot(VolumeId=make_volume(twin))["SnapshotId"]
    for snapshot_id, code in (
        (again, "ValidationException"),
        (archived, "ValidationException"),
        (foreign, "ResourceNotFoundException"),
    ):
        with pytest.raises(ClientError) as error:
            ebs.list_snapshot_blocks(SnapshotId=snapshot_id)
        assert reason(error)[0] == code
    ebs.list_snapshot_blocks(SnapshotId=pending)
