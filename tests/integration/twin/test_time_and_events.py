"""The clock, and the events that transitions send: EBS User Guide "Amazon EventBridge events for Amazon EBS"."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from local.twin.clock import ManualClock, ScaledClock
from local.twin.events import Relay
from local.twin.testing import Twin

ENVELOPE = {"version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"}


@pytest.mark.contract("clock")
def test_the_manual_clock_runs_what_is_due_in_order_and_each_at_its_own_time():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    clock = ManualClock(start)
    seen = []

    def note(name, then=None):
        def act():
            seen.append((name, clock.now() - start))
            if then:
                clock.call_later(timedelta(seconds=1), then)

        return act

    clock.call_later(timedelta(seconds=9), note("last"))
    clock.call_later(timedelta(seconds=3), note("first", then=note("started by it")))
    clock.call_later(timedelta(seconds=6), note("cancelled")).cancel()
    clock.advance(timedelta(seconds=10))
    assert seen == [(name, timedelta(seconds=at)) for name, at in [("first", 3), ("started by it", 4), ("last", 9)]]
    assert clock.now() == start + timedelta(seconds=10)


@pytest.mark.contract("clock")
def test_the_scaled_clock_shortens_durations_and_leaves_timestamps_alone():
    clock = ScaledClock(scale=600)
    before, ends = datetime.now(tz=UTC), []
    try:
        clock.call_later(timedelta(minutes=1), lambda: ends.append(clock.now()))
        assert ends == []
        assert before <= clock.now() <= datetime.now(tz=UTC)
        while not ends:
            assert datetime.now(tz=UTC) - before < timedelta(seconds=10)
    finally:
        clock.stop()
    assert timedelta(seconds=0.1) <= ends[0] - before < timedelta(seconds=10)


@pytest.mark.contract("state_digest")
def test_two_runs_with_one_seed_are_the_same_and_leave_nothing_behind():
    def run():
        with Twin() as twin:
            ec2 = twin.client("ec2", "us-east-1")
            assert ec2.describe_volumes()["Volumes"] == []
            volume_id = ec2.create_volume(AvailabilityZone="us-east-1a", Size=10)["VolumeId"]
            twin.clock.advance(timedelta(minutes=1))
            ec2.create_snapshot(VolumeId=volume_id)
            twin.clock.advance(timedelta(minutes=5))
            return twin.state()["digest"], twin.events

    assert run() == run()


@pytest.mark.contract("call_log")
def test_every_call_is_in_the_log_with_how_it_ended(twin, make_volume, refused):
    ec2 = twin.client("ec2", "us-east-1")
    ec2.create_snapshot(VolumeId=make_volume(twin))
    with refused("InvalidVolume.NotFound"):
        ec2.create_snapshot(VolumeId="vol-0123456789abcdef0")
    assert [(each.action, each.error) for each in twin.calls] == [
        ("CreateVolume", None),
        ("CreateSnapshot", None),
        ("CreateSnapshot", "InvalidVolume.NotFound"),
    ]
    assert (twin.count("CreateSnapshot"), twin.count("CreateSnapshot", error="InvalidVolume.NotFound")) == (1, 1)
    call = twin.calls[1]
    assert call.parameters["VolumeId"].startswith("vol-")
    assert (call.account_id, call.region, call.at) == ("123456789012", "us-east-1", twin.clock.now())


@pytest.mark.contract("call_log")
def test_the_log_tells_who_called(twin):
    for account_id in (None, "222222222222"):
        twin.client("ec2", "us-west-2", account_id=account_id).describe_volumes()
    assert [(each.account_id, each.caller, each.region) for each in twin.calls] == [
        ("123456789012", "arn:aws:iam::123456789012:root", "us-west-2"),
        ("222222222222", "arn:aws:sts::222222222222:assumed-role/anybody/twin", "us-west-2"),
    ]


@pytest.mark.contract("high_water")
def test_the_most_that_was_ever_under_way_at_once_is_remembered(twin, make_volume, settle):
    ec2 = twin.client("ec2", "us-east-1")
    volumes = [make_volume(twin) for _ in range(3)]
    for volume_id in volumes:
        ec2.create_snapshot(VolumeId=volume_id)
    settle(twin)
    ec2.create_snapshot(VolumeId=volumes[0])
    high_water = twin.world.calls.high_water
    assert high_water["pending snapshots", "us-east-1"] == 3
    assert high_water["pending snapshots of one volume", "us-east-1"] == 1


def last(twin, detail_type):
    found = [each for each in twin.events if each["detail-type"] == detail_type]
    assert set(found[-1]) == ENVELOPE
    assert (found[-1]["version"], found[-1]["source"], found[-1]["account"]) == ("0", "aws.ec2", "123456789012")
    return found[-1]


def test_a_created_volume_says_so(twin, make_volume):
    volume_id = make_volume(twin)
    event = last(twin, "EBS Volume Notification")
    assert event["resources"] == [f"arn:aws:ec2:us-east-1:123456789012:volume/{volume_id}"]
    assert set(event["detail"]) == {"result", "cause", "event", "request-id"}
    assert (event["detail"]["event"], event["detail"]["result"]) == ("createVolume", "available")


@pytest.mark.contract("eventbridge")
def test_a_completed_snapshot_says_so(twin, make_snapshot):
    snapshot_id = make_snapshot(twin)
    volume_id = next(iter(twin.backend("us-east-1").volumes))
    event = last(twin, "EBS Snapshot Notification")
    arn = f"arn:aws:ec2::us-east-1:snapshot/{snapshot_id}"
    assert event["resources"] == [arn]
    times = {name: event["detail"].pop(name) for name in ("startTime", "endTime")}
    assert times["startTime"] < times["endTime"] == event["time"]
    assert event["detail"] == {
        "event": "createSnapshot",
        "result": "succeeded",
        "cause": "",
        "request-id": "",
        "snapshot_id": arn,
        "source": f"arn:aws:ec2::us-east-1:volume/{volume_id}",
    }


def test_nothing_is_sent_before_the_snapshot_ends(twin, make_volume):
    twin.client("ec2", "us-east-1").create_snapshot(VolumeId=make_volume(twin))
    assert not [each for each in twin.events if each["detail-type"] == "EBS Snapshot Notification"]


def test_a_failed_snapshot_says_so(twin, make_volume):
    snapshot_id = twin.client("ec2", "us-east-1").create_snapshot(VolumeId=make_volume(twin))["SnapshotId"]
    twin.backend("us-east-1").fail_snapshot(snapshot_id)
    assert last(twin, "EBS Snapshot Notification")["detail"]["result"] == "failed"


def test_a_set_says_so_once_when_its_last_snapshot_is_completed(twin, launch, settle):
    instance = launch(twin, data_volumes=2)
    snapshots = twin.client("ec2", "us-east-1").create_snapshots(
        InstanceSpecification={"InstanceId": instance["InstanceId"]}
    )["Snapshots"]
    settle(twin)
    event = last(twin, "EBS Multi-Volume Snapshots Completion Status")
    arns = [f"arn:aws:ec2::us-east-1:snapshot/{each['SnapshotId']}" for each in snapshots]
    assert event["resources"] == arns
    assert event["detail"]["snapshots"] == [
        {"snapshot_id": arn, "source": f"arn:aws:ec2::us-east-1:volume/{each['VolumeId']}", "status": "completed"}
        for arn, each in zip(arns, snapshots, strict=True)
    ]
    assert (event["detail"]["event"], event["detail"]["result"]) == ("createSnapshots", "succeeded")
    assert Counter(each["detail-type"] for each in twin.events)[event["detail-type"]] == 1


def test_a_failed_set_names_the_snapshot_that_failed(twin, launch):
    instance = launch(twin, data_volumes=1)
    snapshots = twin.client("ec2", "us-east-1").create_snapshots(
        InstanceSpecification={"InstanceId": instance["InstanceId"]}
    )["Snapshots"]
    twin.backend("us-east-1").fail_snapshot(snapshots[1]["SnapshotId"])
    detail = last(twin, "EBS Multi-Volume Snapshots Completion Status")["detail"]
    assert (detail["result"], detail["cause"]) == (
        "failed",
        f"Snapshot {snapshots[1]['SnapshotId']} is in status error",
    )


def test_a_copy_is_announced_in_the_destination_with_its_source(twin, make_snapshot, settle):
    snapshot_id = make_snapshot(twin)
    copy_id = twin.client("ec2", "us-west-2").copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=snapshot_id)[
        "SnapshotId"
    ]
    settle(twin)
    event = last(twin, "EBS Snapshot Notification")
    assert event["region"] == "us-west-2"
    assert event["resources"] == [f"arn:aws:ec2::us-west-2:snapshot/{copy_id}"]
    assert event["detail"]["source"] == f"arn:aws:ec2::us-east-1:snapshot/{snapshot_id}"
    assert (event["detail"]["incremental"], event["detail"]["transferType"]) == ("false", "standard")


def test_a_failed_copy_tells_nothing_of_its_transfer(twin, make_snapshot, settle):
    twin.client("ec2", "us-west-2").copy_snapshot(
        SourceRegion="us-east-1", SourceSnapshotId=make_snapshot(twin), Encrypted=True, KmsKeyId="alias/none"
    )
    settle(twin)
    detail = last(twin, "EBS Snapshot Notification")["detail"]
    assert (detail["result"], detail["cause"]) == ("failed", "Given key ID is not accessible")
    assert not {"incremental", "transferType"} & set(detail)


def relayed(number=400, **misfortune):
    arrived = []
    relay = Relay(deliver=arrived.append, random=Random(1), **misfortune)  # noqa: S311 (reproducible, not secret)
    for each in range(number):
        relay({"id": each})
    relay.flush()
    return [each["id"] for each in arrived]


def test_a_relay_without_misfortune_delivers_everything_in_order():
    assert relayed() == list(range(400))


@pytest.mark.contract("relay")
@pytest.mark.parametrize("misfortune", [{"drop": 0.2}, {"duplicate": 0.2}, {"delay": 0.2}])
def test_a_relay_does_to_events_what_it_is_told_and_the_same_again_with_the_same_seed(misfortune):
    ids = relayed(**misfortune)
    assert ids == relayed(**misfortune)
    assert (len(set(ids)) < 400) == ("drop" in misfortune)
    assert (len(ids) > len(set(ids))) == ("duplicate" in misfortune)
    assert (ids != sorted(ids)) == ("delay" in misfortune)


def test_a_subscriber_hears_every_event(twin, make_snapshot):
    heard = []
    twin.world.events.subscribe(heard.append)
    make_snapshot(twin)
    assert heard == twin.events
