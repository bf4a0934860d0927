"""The recover state machine where something goes wrong: tried again, caught, torn down, recorded."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

import pytest

from hikae.operations.recovery.take_step import STEPS
from local.inprocess import RECOVERY, SNAPSHOT_PLAN, Installation
from local.state_machine import Stopped
from local.twin import faults
from local.twin.quotas import STANDARD_VCPUS
from tests.integration.operations.test_recovery import (
    DRILL,
    DRILL_REQUEST,
    RESTORE_REQUEST,
    Dying,
    leftovers,
    put_group,
    record_of,
)


@pytest.fixture
def one() -> Iterator[Installation]:
    """A group of one instance."""
    with Installation() as installation:
        put_group(installation, plan="snapshots", count=1)
        yield installation


class Raising:
    """The function, raising in one step: so often, or always."""

    def __init__(self, installation: Installation, step: str, *, times: int = -1) -> None:
        self._installation = installation
        self._step = step
        self._left = times

    def __call__(self, event: dict[str, Any]) -> dict[str, Any]:
        if event["step"] == self._step and self._left != 0:
            self._left -= 1
            raise RuntimeError(f"{self._step} was told to fail")
        return self._installation.run_step(event)


@pytest.mark.parametrize("step", [step for step in STEPS if step not in ("tear-down", "record")])
def test_a_step_that_always_raises_is_caught_torn_down_and_recorded(one: Installation, step: str) -> None:
    player = one.recover("drill-1", call=Raising(one, step))
    assert player.play({"request": DRILL_REQUEST}) == "FAILED"
    assert "NoteFailure" in player.visited
    assert player.visited[-1] == "Failed"
    record = record_of(one, "drill-1")
    before = list(STEPS)[: list(STEPS).index(step)]
    where = f"after {before[-1]}: " if before else ""
    assert (record["outcome"], record["failure"]) == ("failed", f"{where}RuntimeError: {step} was told to fail")
    assert leftovers(one) == []


@pytest.mark.parametrize(
    "step", ["select", "prepare", "preflight", "launch", "attach", "network", "probe", "tear-down", "record"]
)
def test_a_step_that_raises_for_a_while_is_tried_again(one: Installation, step: str) -> None:
    player = one.recover("drill-1", call=Raising(one, step, times=5))
    assert player.play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    assert leftovers(one) == []


def test_a_teardown_that_always_raises_is_recorded_and_left_to_the_sweep(one: Installation) -> None:
    player = one.recover("drill-1", call=Raising(one, "tear-down"))
    # All had passed until then; what is left behind is what the sweep is for, and no success.
    assert player.play({"request": DRILL_REQUEST}) == "FAILED"
    assert "tear-down was told to fail" in record_of(one, "drill-1")["failure"]
    assert player.visited[-3:-1] == ["Record", "AfterRecord"]
    assert leftovers(one) != []
    one.end_execution("drill-1")
    for _ in range(5):
        one.sweep()
        one.advance(minutes=1)
    assert leftovers(one) == []


def test_a_record_that_always_raises_fails_the_run_and_the_sweep_records_it(one: Installation) -> None:
    player = one.recover("drill-1", call=Raising(one, "record"))
    assert player.play({"request": DRILL_REQUEST}) == "FAILED"
    assert leftovers(one) == []
    one.end_execution("drill-1")
    one.sweep()
    assert record_of(one, "drill-1")["run"] == "drill-1"


def test_a_point_that_proves_unusable_leads_back_to_the_selection(one: Installation) -> None:
    one.advance(minutes=60)
    one.back_up()
    one.copy_all()
    newest = max(one.recovery_site().catalogue().points, key=lambda point: point.source_time)
    with faults.refused("RegisterImage", "InvalidSnapshot.NotFound", resource=newest.snapshots[0].id):
        player = one.recover("drill-1")
        assert player.play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    assert player.visited.count("Select") == 2
    record = record_of(one, "drill-1")
    assert list(record["rejected_points"]) == [newest.id]
    assert record["members"][0]["point"] != newest.tags.point
    assert leftovers(one) == []


def test_when_no_point_is_left_the_run_fails_with_every_reason(one: Installation) -> None:
    with faults.refused("RegisterImage", "InvalidSnapshot.NotFound"):
        assert one.recover("drill-1").play({"request": DRILL_REQUEST}) == "FAILED"
    record = record_of(one, "drill-1")
    assert "no image could be registered" in record["failure"]
    assert len(record["rejected_points"]) == 1


def test_an_instance_that_ec2_does_not_show_yet_is_not_launched_again(one: Installation) -> None:
    """Eventual consistency, and a step that dies after each of its requests: the ClientToken is what is left."""
    one.twin.world.lag = timedelta(seconds=40)
    dying = Dying(one, faults.Phase.AFTER)
    assert one.recover("drill-1", call=dying).play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    one.twin.world.lag = timedelta()
    one.advance(minutes=5)
    made = one.recovery_site().recoverer.made(tag="hikae:drill", value="*")
    assert len([each for each in made if each.kind == "instance"]) == 1
    assert one.twin.count("RunInstances", region=RECOVERY) > 1
    assert leftovers(one) == []


def test_an_image_that_ec2_does_not_show_yet_is_waited_for_and_not_registered_again(one: Installation) -> None:
    """Its name is taken: whoever registered it, and died before it was written down, did so a moment ago."""

    def call(event: dict[str, Any]) -> dict[str, Any]:
        if event["step"] == "prepare" and not one.twin.world.lag:
            one.twin.world.lag = timedelta(minutes=4)
            with faults.answer_lost("RegisterImage"):
                return one.run_step(event)
        answer = one.run_step(event)
        if event["step"] == "prepare" and answer["status"] == "done":
            one.twin.world.lag = timedelta()
        return answer

    assert one.recover("drill-1", call=call).play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    assert one.twin.count("RegisterImage", region=RECOVERY, error="InvalidAMIName.Duplicate") > 1
    assert len([each for each in record_of(one, "drill-1")["torn_down"] if each.startswith("ami-")]) == 1
    assert leftovers(one) == []


def test_a_restore_that_fails_keeps_what_it_launched_and_says_so(one: Installation) -> None:
    one.set_recovery_settings(
        f"version: 1\ndefault_subnets: [{one.restore_vpc['a']}]\n"
        f"default_security_groups: [{one.restore_vpc['group']}]\n"
    )
    assert one.recover("restore-1", call=Raising(one, "network")).play({"request": RESTORE_REQUEST}) == "FAILED"
    record = record_of(one, "restore-1")
    [instance] = record["remains"]
    described = one.twin.client("ec2", RECOVERY).describe_instances(InstanceIds=[instance])
    assert described["Reservations"][0]["Instances"][0]["State"]["Name"] == "running"
    assert leftovers(one) == []


def _stop_at_the_launch(one: Installation, plan: str = "production") -> None:
    """The restore is stopped, and its function killed, when EC2 has launched the instance and nobody has noted it."""
    one.set_recovery_settings(
        f"version: 1\ndefault_subnets: [{one.restore_vpc['a']}]\n"
        f"default_security_groups: [{one.restore_vpc['group']}]\n"
    )

    def call(event: dict[str, Any]) -> dict[str, Any]:
        if event["step"] == "launch":
            with faults.killed_after("RunInstances"):
                one.run_step(event)
        return one.run_step(event)

    with pytest.raises(faults.Killed):
        one.recover("restore-1", call=call).play({"request": {**RESTORE_REQUEST, "plan": plan}})
    one.end_execution("restore-1")


def test_a_restore_that_is_stopped_names_what_it_had_launched_and_not_yet_noted(one: Installation) -> None:
    _stop_at_the_launch(one)
    assert one.sweep().outcomes[0].status == "later"  # the image that it was launched from goes first
    one.sweep()
    record = record_of(one, "restore-1")
    [reservation] = one.twin.client("ec2", RECOVERY).describe_instances(
        Filters=[{"Name": "tag:hikae:recovery", "Values": ["main/restore-1"]}]
    )["Reservations"]
    [instance] = reservation["Instances"]
    assert record["remains"] == [instance["InstanceId"]]
    [member] = record["members"]
    assert member["notes"][-1].startswith(f"{instance['InstanceId']} was made by a step that ended before it could say")


def test_what_ec2_does_not_show_yet_of_a_stopped_restore_is_waited_for() -> None:
    with Installation() as one:
        put_group(one, plan="image", count=1)
        one.twin.world.lag = timedelta(minutes=4)
        _stop_at_the_launch(one, plan="web-images")
        [outcome] = one.sweep().outcomes
        assert outcome.status == "later"
        assert outcome.reason == "EC2 may not show yet all that a step made which was cut off"
        one.advance(minutes=5)
        one.sweep()
        assert len(record_of(one, "restore-1")["remains"]) == 1


@pytest.fixture
def three() -> Iterator[Installation]:
    """A group of three instances without an order, so that they are launched in one step."""
    with Installation() as installation:
        put_group(installation, plan="snapshots")
        installation.apply("production", SNAPSHOT_PLAN + DRILL.replace("order: tag:BootOrder\n", "order: tag:Any\n"))
        yield installation


def launching(installation: Installation, happening: Callable[[], None]) -> AbstractContextManager[None]:
    """`happening` comes about after every launch."""

    def process(request: Any, go_on: Callable[[Any], Any]) -> Any:
        answer = go_on(request)
        asked = faults.read_request(request)
        if asked.action == "RunInstances" and "DryRun=true" not in request.body:
            happening()
        return answer

    return faults.intercepted(process)


def test_a_restore_that_is_stopped_while_it_launches_launches_no_more(three: Installation) -> None:
    _settle(three)

    def stop() -> None:
        three.end_execution("restore-1")
        three.advance(seconds=15)

    def call(event: dict[str, Any]) -> dict[str, Any]:
        answer = three.run_step(event)
        if event["step"] == "launch":
            raise Stopped  # nobody asks for another step
        return answer

    with launching(three, stop), pytest.raises(Stopped):
        three.recover("restore-1", call=call).play({"request": RESTORE_REQUEST})
    for _ in range(10):
        three.sweep()
        three.advance(minutes=1)
    record = record_of(three, "restore-1")
    assert (len(record["remains"]), len(record["members"])) == (1, 3)
    assert "it was stopped" in record["failure"]


def test_what_a_long_step_launched_counts_from_when_it_did(three: Installation) -> None:
    """EC2 does not show at once what the end of a step of minutes has launched; that is no instance that is gone."""
    _settle(three)
    three.twin.world.lag = timedelta(minutes=4)
    with launching(three, lambda: three.advance(minutes=5)):
        assert three.recover("restore-1").play({"request": RESTORE_REQUEST}) == "SUCCEEDED"
    record = record_of(three, "restore-1")
    assert record["rejected_points"] == {}
    moments = [datetime.fromisoformat(member["launched_at"]) for member in record["members"]]
    assert max(moments) - min(moments) == timedelta(minutes=10)
    assert record["stages"]["launch"]["seconds"] >= 15 * 60
    assert record["achieved_rto_seconds"] >= 15 * 60


def test_the_measured_rto_ends_when_the_last_probe_has_answered(one: Installation) -> None:
    ended: list[datetime] = []

    def answer_slowly(request: Any, go_on: Callable[[Any], Any]) -> Any:
        if faults.read_request(request).action == "DescribeInstanceStatus":
            one.advance(seconds=40)
        return go_on(request)

    def call(event: dict[str, Any]) -> dict[str, Any]:
        answer = one.run_step(event)
        if event["step"] == "probe" and answer["status"] == "done":
            ended.append(one.twin.clock.now())
        return answer

    with faults.intercepted(answer_slowly):
        assert one.recover("drill-1", call=call).play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    record = record_of(one, "drill-1")
    began_at = datetime.fromisoformat(record["began_at"])
    assert record["achieved_rto_seconds"] == (ended[-1] - began_at).total_seconds()


def _settle(installation: Installation) -> None:
    installation.set_recovery_settings(
        f"version: 1\ndefault_subnets: [{installation.restore_vpc['a']}]\n"
        f"default_security_groups: [{installation.restore_vpc['group']}]\n"
    )


def test_two_sweeps_at_once_sign_one_record(one: Installation) -> None:
    one.step("select", "drill-1", DRILL_REQUEST)
    one.advance(minutes=11)
    signed: list[str] = []

    def sweep_too(request: Any, go_on: Callable[[Any], Any]) -> Any:
        if not signed and request.method == "PUT" and "/evidence/" in request.url:
            signed.append("")
            one.sweep()
            signed.append(one.document("evidence/drill-1.json")["signature"])
        return go_on(request)

    with faults.intercepted(sweep_too):
        one.sweep()
    assert one.document("evidence/drill-1.json")["signature"] == signed[-1] != ""


def test_a_run_that_is_recorded_while_a_sweep_looks_has_not_failed(one: Installation) -> None:
    player = one.recover("drill-1", call=Raising(one, "record", times=-1))
    player.play({"request": DRILL_REQUEST})
    one.end_execution("drill-1")

    def record_now(request: Any, go_on: Callable[[Any], Any]) -> Any:
        if faults.read_request(request).action == "DescribeExecution" and not recorded:
            recorded.append("")
            one.step("record", "drill-1")
        return go_on(request)

    recorded: list[str] = []
    with faults.intercepted(record_now):
        assert one.sweep().outcomes == ()
    assert recorded
    assert one.recovery_site().load("drill-1").failure == ""
    assert record_of(one, "drill-1")["outcome"] == "succeeded"


def test_a_quota_that_was_raised_counts_with_the_next_run(one: Installation) -> None:
    _settle(one)
    one.twin.world.quotas.set(STANDARD_VCPUS, 1)
    assert one.recover("restore-1").play({"request": RESTORE_REQUEST}) == "FAILED"
    assert "quota" in record_of(one, "restore-1")["failure"]
    one.twin.world.quotas.set(STANDARD_VCPUS, 64)
    assert one.recover("restore-2").play({"request": RESTORE_REQUEST}) == "SUCCEEDED"


def test_a_restore_without_settings_names_what_it_lacks_before_anything_is_launched(one: Installation) -> None:
    assert one.recover("restore-1").play({"request": RESTORE_REQUEST}) == "FAILED"
    failure = record_of(one, "restore-1")["failure"]
    assert "name it under subnets or default_subnets" in failure
    assert "name it under security_groups" in failure
    assert one.twin.count("RunInstances", region=RECOVERY) == 0


def test_the_rung_is_written_down_before_it_is_tried() -> None:
    """A launch that dies on a higher rung goes on there, though EC2 does not show it and has room below again."""

    def up_to_launch(installation: Installation) -> None:
        put_group(installation, plan="snapshots", count=1)
        for step in ("select", "prepare", "prepare", "preflight"):
            installation.step(step, "drill-1", DRILL_REQUEST)
            installation.advance(seconds=10)
        installation.twin.world.lag = timedelta(seconds=60)

    with Installation() as installation:
        up_to_launch(installation)
        with faults.no_capacity(instance_type="m5.large"), faults.recorded() as asked:
            installation.step("launch", "drill-1")
        launches = [number for number, each in enumerate(asked, start=1) if each.action == "RunInstances"]
        assert len(launches) == 3  # two zones without room, then the next type
    with Installation() as installation:
        up_to_launch(installation)
        with (
            faults.no_capacity(instance_type="m5.large"),
            faults.killed(launches[-1], faults.Phase.AFTER),
            pytest.raises(faults.Killed),
        ):
            installation.step("launch", "drill-1")
        installation.step("launch", "drill-1")
        installation.twin.world.lag = timedelta()
        installation.advance(minutes=5)
        made = installation.recovery_site().recoverer.made(tag="hikae:drill", value="*")
        assert [each.type for each in made if each.kind == "instance"] == ["m5a.large"]
