"""At the account's limits: never above them, hardly slower than they allow, and nothing lost or made twice."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from bench.limits import COPY_QUOTA, COPY_SECONDS, measure_backing_up, measure_deleting, measure_waves
from hikae.domain.pacing import LOOKING
from hikae.ports import Outcome
from local.inprocess import IMAGE_PLAN, PRIMARY, RECOVERY, SNAPSHOT_PLAN, Installation, tags_of
from local.twin.faults import Killed, answer_lost, intercepted, killed_after, killed_before, read_request, refused
from local.twin.quotas import EC2, SNAPSHOT_COPIES, Quota
from local.twin.request_rates import UNFILTERED_ACTIONS

# --- copies in flight -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("foreign", [0, 5], ids=["alone", "another tool holds 5"])
@pytest.mark.parametrize("kill_at", [None, 1, 30, 80], ids=["undisturbed", "killed at 1", "killed at 30", "at 80"])
def test_80_copies_take_no_longer_than_their_waves_and_never_more_places(foreign: int, kill_at: int | None) -> None:
    waves = measure_waves(80, foreign=foreign, kill_at=kill_at)
    assert waves.highest <= COPY_QUOTA
    assert waves.refused == 0
    assert waves.made == 80
    assert waves.ratio <= 1.05


@pytest.mark.parametrize(
    ("kill_at", "foreign"),
    [
        pytest.param(1, 0, id="in the first wave"),
        pytest.param(30, 0, id="in the second"),
        pytest.param(60, 0, id="in the third"),
        pytest.param(30, 5, id="another tool holds 5"),
    ],
)
def test_a_copy_that_was_never_sent_takes_nobodys_place_and_is_sent_in_time(foreign: int, kill_at: int) -> None:
    waves = measure_waves(80, foreign=foreign, kill_at=kill_at, is_sent=False)
    assert (waves.highest, waves.refused, waves.made) == (COPY_QUOTA, 0, 80)
    assert waves.ratio <= 1.05


def test_a_copy_that_was_never_sent_in_the_last_wave_is_waited_for_until_ec2_can_be_believed() -> None:
    waves = measure_waves(80, kill_at=80, is_sent=False)
    assert (waves.highest, waves.refused, waves.made) == (COPY_QUOTA, 0, 80)
    assert waves.seconds == waves.best_seconds + COPY_SECONDS


@pytest.mark.parametrize(
    ("limit", "quota", "created"),
    [
        pytest.param(2, 20, 1, id="below EC2's quota nobody else keeps the limit"),
        pytest.param(20, 3, 2, id="at EC2's quota it keeps nothing empty"),
    ],
)
def test_a_copy_of_which_nobody_knows(limit: int, quota: int, created: int) -> None:
    with Installation(snapshot_copy_limit=limit) as installation:
        backed_up(installation)
        installation.twin.world.quotas.set(SNAPSHOT_COPIES, quota)
        with killed_before("CopySnapshot"), pytest.raises(Killed):
            installation.copy()
        if quota < limit:
            foreign = installation.twin.client("ec2", RECOVERY)
            source = installation.snapshots()[0]["SnapshotId"]
            foreign.copy_snapshot(SourceRegion=PRIMARY, SourceSnapshotId=source)
        assert len(started(installation)) == created
        installation.advance(minutes=6)
        installation.copy_all()
        ours = [each for each in installation.snapshots(RECOVERY) if tags_of(each)]
        assert len(ours) == len(installation.snapshots()) == len({tags_of(each)["hikae:copy-of"] for each in ours})


def test_a_copy_that_ec2_said_it_made_takes_its_place_although_it_is_not_shown(installation: Installation) -> None:
    backed_up(installation)
    installation.twin.world.quotas.set(SNAPSHOT_COPIES, 3)
    installation.twin.world.lag = timedelta(minutes=4)
    assert len(started(installation)) == 3
    installation.advance(minutes=1)
    assert started(installation) == []
    assert installation.twin.count("CopySnapshot", error="ResourceLimitExceeded") == 0


def test_a_copy_that_was_sent_and_of_which_nobody_knows_costs_a_refusal(installation: Installation) -> None:
    backed_up(installation)
    installation.twin.world.quotas.set(SNAPSHOT_COPIES, 3)
    installation.twin.world.lag = timedelta(minutes=4)
    with answer_lost("CopySnapshot"):
        run = installation.copy()
    assert [outcome.status for outcome in run.outcomes].count("created") == 2
    assert installation.twin.count("CopySnapshot", error="ResourceLimitExceeded") == 1
    assert not [outcome for outcome in run.outcomes if outcome.is_failure]
    assert installation.twin.world.calls.high_water["pending copies", RECOVERY] == 3


def test_a_copy_is_remembered_from_when_it_was_asked_for_however_long_the_run_had_read_before(
    installation: Installation,
) -> None:
    backed_up(installation, instances=1)
    installation.twin.world.lag = timedelta(minutes=4)

    def read_slowly(request: Any, go_on: Callable[[Any], Any]) -> Any:
        if read_request(request).action == "DescribeImages":
            installation.advance(minutes=3)
        return go_on(request)

    with intercepted(read_slowly), killed_after("CopySnapshot"), pytest.raises(Killed):
        installation.copy()
    installation.advance(minutes=3)
    installation.copy()
    installation.advance(minutes=30)
    installation.copy_all()
    copies = [tags_of(each)["hikae:copy-of"] for each in installation.snapshots(RECOVERY)]
    assert sorted(copies) == sorted(each["SnapshotId"] for each in installation.snapshots())


def test_two_brokers_at_once_make_one_copy_of_each(installation: Installation) -> None:
    """As where somebody invokes it beside its queue, or where a wake-up is given out again."""
    backed_up(installation)
    installation.twin.world.lag = timedelta(minutes=4)
    outcomes: list[Outcome] = []
    waiting = ["another"]

    def copy_too(request: Any, go_on: Callable[[Any], Any]) -> Any:
        if read_request(request).action == "CopySnapshot" and waiting:
            waiting.pop()
            outcomes.extend(installation.copy().outcomes)
        return go_on(request)

    with intercepted(copy_too):
        outcomes.extend(installation.copy().outcomes)
    assert "another run has just asked for it" in {outcome.reason for outcome in outcomes if outcome.status == "later"}
    assert installation.twin.count("CopySnapshot") == len(installation.snapshots())
    installation.advance(minutes=5)
    installation.copy_all()
    assert installation.twin.count("CopySnapshot") == len(installation.snapshots())


def backed_up(installation: Installation, instances: int = 4) -> None:
    installation.launch(instances)
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()


def started(installation: Installation) -> list[str]:
    return [outcome.resource for outcome in installation.copy().outcomes if outcome.created]


def test_a_quota_below_the_sites_own_limit_holds(installation: Installation) -> None:
    backed_up(installation)
    installation.twin.world.quotas.set(SNAPSHOT_COPIES, 3)
    run = installation.copy()
    assert run.in_flight == 3
    assert run.limits["snapshots"].value == 3
    assert run.limits["snapshots"].reason == "EC2's quota is 3, this site's own limit 20"
    assert installation.twin.count("CopySnapshot", error="ResourceLimitExceeded") == 0


def test_a_quota_above_the_sites_own_limit_changes_nothing() -> None:
    with Installation(snapshot_copy_limit=2) as installation:
        backed_up(installation)
        installation.twin.world.quotas.set(SNAPSHOT_COPIES, 100)
        assert len(started(installation)) == 2


def test_a_quota_that_cannot_be_read_is_taken_for_its_default_and_reported() -> None:
    with Installation(snapshot_copy_limit=100) as installation:
        for _ in range(22):
            installation.detached_volume()
        installation.apply("production", SNAPSHOT_PLAN)
        installation.back_up()
        installation.twin.world.quotas.is_answering = False
        run = installation.copy()
        assert run.in_flight == 20
        limit = run.limits["snapshots"]
        assert limit.value == 20
        assert "cannot be read" in limit.problem
        assert "AccessDeniedException" in limit.problem
        assert not [outcome for outcome in run.outcomes if outcome.is_failure]


def test_the_quota_on_image_copies_holds_where_there_is_one_and_300_where_there_is_none() -> None:
    with Installation(image_copy_limit=1000) as installation:
        installation.launch(3, tags={"Backup": "image"})
        installation.apply("web-images", IMAGE_PLAN)
        installation.back_up()
        run = installation.copy()
        assert run.limits["images"].value == 300
        assert set(run.limits) == {"images"}  # nobody asks for what nobody needs
    with Installation() as installation:
        installation.launch(3, tags={"Backup": "image"})
        installation.apply("web-images", IMAGE_PLAN)
        installation.back_up()
        installation.twin.world.quotas.add(
            Quota(service=EC2, name="Concurrent AMI copies per destination Region", default=300, value=2)
        )
        installation.twin.world.quotas.image_copies = 2
        assert len(started(installation)) == 2
        installation.copy_all()
        assert installation.twin.world.calls.high_water["pending image copies", RECOVERY] == 2
        assert len(installation.images(RECOVERY)) == 3


def test_images_that_somebody_makes_here_take_no_place_of_a_copy() -> None:
    with Installation(image_copy_limit=2) as installation:
        installation.launch(2, tags={"Backup": "image"})
        installation.apply("web-images", IMAGE_PLAN)
        installation.back_up()
        ec2 = installation.twin.client("ec2", RECOVERY)
        base = next(
            each for each in ec2.describe_images(Owners=["amazon"])["Images"] if each["RootDeviceType"] == "ebs"
        )
        local = ec2.run_instances(ImageId=base["ImageId"], MinCount=2, MaxCount=2)["Instances"]
        installation.advance(minutes=1)
        for each in local:
            ec2.create_image(InstanceId=each["InstanceId"], Name=f"nightly of {each['InstanceId']}", NoReboot=True)
        run = installation.copy()
        assert [outcome.status for outcome in run.outcomes] == ["created", "created"]


def test_copies_that_nobody_sees_are_met_with_patience_and_the_others_are_not_asked_for(
    installation: Installation,
) -> None:
    backed_up(installation)
    installation.launch(1, tags={"Backup": "image"})
    installation.apply("web-images", IMAGE_PLAN)
    installation.back_up()
    with refused("CopySnapshot", "ResourceLimitExceeded", times=1):
        run = installation.copy()
    # One was refused, so the seven others would have been; images have a limit of their own.
    assert installation.twin.count("CopySnapshot") == 0
    assert sorted({outcome.status for outcome in run.outcomes}) == ["created", "later"]
    assert [outcome.resource[:4] for outcome in run.outcomes if outcome.created] == ["ami-"]
    installation.copy_all()
    assert installation.twin.count("CopySnapshot") == len(installation.snapshots(PRIMARY)) - 2


def test_one_copy_that_is_refused_stops_no_other(installation: Installation) -> None:
    backed_up(installation)
    first = installation.snapshots()[0]["SnapshotId"]
    with refused("CopySnapshot", "UnauthorizedOperation", resource=first):
        run = installation.copy()
    assert {outcome.resource: outcome.status for outcome in run.outcomes if outcome.is_failure} == {first: "failed"}
    assert [outcome.status for outcome in run.outcomes].count("created") == 7


# --- calls per second -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_instance", [0, 2], ids=["detached", "two of each instance"])
def test_400_volumes_are_backed_up_without_a_throttled_call_in_hardly_more_than_the_best_time(
    per_instance: int,
) -> None:
    pace = measure_backing_up(400, per_instance=per_instance)
    assert pace.calls == (200 if per_instance else 400)
    assert pace.throttled == 0
    assert pace.ratio <= 1.10


def test_pruning_keeps_to_the_rate_of_deletions() -> None:
    pace = measure_deleting(250)
    assert (pace.calls, pace.throttled) == (250, 0)
    assert pace.ratio <= 1.10


def test_without_pacing_calls_are_throttled_and_sent_again_and_each_point_is_made_once() -> None:
    with Installation(has_request_rates=True) as installation:
        for _ in range(220):
            installation.detached_volume()
        installation.apply("production", SNAPSHOT_PLAN)
        installation.tick()
        outcomes = installation.work(5, paced=LOOKING)
        assert installation.twin.count("CreateSnapshot", error="RequestLimitExceeded") > 0
        assert [outcome.status for outcome in outcomes].count("created") == 220
        assert installation.twin.count("CreateSnapshot") == 220


def test_everything_that_a_job_reads_is_filtered_or_paged(installation: Installation) -> None:
    """Other reads have half the request rate."""
    installation.launch()
    installation.detached_volume()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    before = len(installation.twin.calls)
    assert [outcome.status for outcome in installation.work(1)] == ["created", "created"]
    reads = [call for call in installation.twin.calls[before:] if call.action in UNFILTERED_ACTIONS]
    assert {call.action for call in reads} == {"DescribeInstances", "DescribeSnapshots", "DescribeVolumes"}
    assert all(call.parameters.get("Filters") or call.parameters.get("MaxResults") for call in reads)
