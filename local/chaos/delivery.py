"""How messages, events and schedules may arrive: doubled, late, out of order, at the same time, or not at all.

Sources: Amazon SQS Developer Guide, "Amazon SQS at-least-once delivery"; EventBridge Scheduler User Guide, delivery at
least once; EventBridge events of EBS and EC2 are best effort. Nothing here is rarer than what AWS says may happen.
"""

import errno
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from hikae.domain.model import Region
from local.chaos.network import Connect, Hindrance, Silent
from local.chaos.stage import Courier, Records, Stage, Timer
from local.inprocess import PRIMARY, RECOVERY
from local.twin import faults
from local.twin.events import Relay
from local.twin.faults import Killed, Phase

Delivery = Callable[[Stage], None]
"""Sets a stage up so that things arrive in some way from now on."""


def _with_courier(change: Callable[[Stage, Courier, str, Records], list[Records]]) -> Delivery:
    def set_up(stage: Stage) -> None:
        stage.courier = partial(change, stage, stage.courier)

    return set_up


def _twice_at_once(_: Stage, courier: Courier, queue: str, records: Records) -> list[Records]:
    return [batch for once in courier(queue, records) for batch in (once, once)]


def _again_after(delay: timedelta) -> Delivery:
    """Each message comes a second time, when the first has long been dealt with."""
    known: set[str] = set()

    def change(stage: Stage, courier: Courier, queue: str, records: Records) -> list[Records]:
        for record in records:
            if record["body"] not in known:
                known.add(record["body"])
                stage.at(stage.now + delay, partial(stage.send, queue, record["body"]))
        return courier(queue, records)

    return _with_courier(change)


def _late_by(delay: timedelta) -> Delivery:
    """No message arrives before `delay` has passed."""
    known: set[str] = set()

    def change(stage: Stage, courier: Courier, queue: str, records: Records) -> list[Records]:
        new = [record for record in records if record["messageId"] not in known]
        known.update(record["messageId"] for record in new)
        for record in new:
            stage.at(stage.now + delay, partial(stage.show, queue, [record]))
        old = [record for record in records if record not in new]
        return courier(queue, old) if old else []

    return _with_courier(change)


def _backwards(_: Stage, _courier: Courier, _queue: str, records: Records) -> list[Records]:
    return [[record] for record in reversed(records)]


def _lost_first_time() -> Delivery:
    """The first batch of the queue is lost, with what it asked for."""
    lost: list[str] = []

    def change(stage: Stage, courier: Courier, queue: str, records: Records) -> list[Records]:
        if queue in lost:
            return courier(queue, records)
        lost.append(queue)
        stage.lose(queue, records)
        return []

    return _with_courier(change)


MESSAGES: dict[str, Delivery] = {
    "every message twice at once": _with_courier(_twice_at_once),
    "every message again after half a minute": _again_after(timedelta(seconds=30)),
    "every message again after four minutes": _again_after(timedelta(minutes=4)),
    "every message again after eleven minutes": _again_after(timedelta(minutes=11)),
    "every message again after twenty minutes": _again_after(timedelta(minutes=20)),
    "every message five minutes late": _late_by(timedelta(minutes=5)),
    "every message fifteen minutes late": _late_by(timedelta(minutes=15)),
    "every batch backwards, one by one": _with_courier(_backwards),
    "the first batch of every queue lost": _lost_first_time(),
}


def _with_relay(*, drop: float = 0, duplicate: float = 0, delay: float = 0, seed: int = 0) -> Delivery:
    def set_up(stage: Stage) -> None:
        random = Random(seed)  # noqa: S311 - reproducible, not secret
        stage.relay = Relay(deliver=stage.relay, random=random, drop=drop, duplicate=duplicate, delay=delay)

    return set_up


EVENTS: dict[str, Delivery] = {
    "no event of EC2's arrives": _with_relay(drop=1),
    "every event of EC2's arrives twice": _with_relay(duplicate=1),
    "every event of EC2's is held back by up to five others": _with_relay(delay=1),
    **{
        f"events are lost, doubled, delayed and reordered (seed {seed})": _with_relay(
            drop=0.3, duplicate=0.3, delay=0.5, seed=seed
        )
        for seed in range(3)
    },
}


def _with_timer(schedule: str, change: Callable[[Stage, Callable[[], None]], None]) -> Delivery:
    """The next time of a schedule comes about in another way."""

    def set_up(stage: Stage) -> None:
        timer: Timer = stage.timer

        def fire(name: str, act: Callable[[], None]) -> None:
            if name != schedule:
                timer(name, act)
                return
            stage.timer = timer
            change(stage, act)

        stage.timer = fire

    return set_up


def _twice(_stage: Stage, act: Callable[[], None]) -> None:
    act()
    act()


def _again_in_a_minute(stage: Stage, act: Callable[[], None]) -> None:
    act()
    stage.at(stage.now + timedelta(minutes=1), act)


def _two_minutes_late(stage: Stage, act: Callable[[], None]) -> None:
    stage.at(stage.now + timedelta(minutes=2), act)


def _never(_stage: Stage, _act: Callable[[], None]) -> None:
    """It does not come; the next one has to do."""


def schedule_deliveries(schedule: str, *, never: bool = False) -> dict[str, Delivery]:
    """The ways in which the next time of a schedule may come about; or `never`, where the one after it has time."""
    return {
        f"the {schedule} comes twice at once": _with_timer(schedule, _twice),
        f"the {schedule} comes again after a minute": _with_timer(schedule, _again_in_a_minute),
        f"the {schedule} comes two minutes late": _with_timer(schedule, _two_minutes_late),
        **({f"the {schedule} never comes": _with_timer(schedule, _never)} if never else {}),
    }


TICKS: dict[str, Delivery] = {
    **schedule_deliveries("tick", never=True),
    "the messages that the tick sends are lost": MESSAGES["the first batch of every queue lost"],
}


@contextmanager
def same_again(stage: Stage, number: int) -> Iterator[None]:
    """Before the call of this number, another worker carries out the same event, from its beginning to its end."""
    assert stage.current is not None
    name, event, region = stage.current
    with faults.interrupted(number, Phase.BEFORE, lambda: _aside(stage, name, event, region)):
        yield


@contextmanager
def prunes(stage: Stage, number: int) -> Iterator[None]:
    """Before the call of this number prune runs at both sites, and beside a run all else that touches runs."""

    def act() -> None:
        for region in (PRIMARY, RECOVERY):
            _aside(stage, "PruneRecoveryPoints", {}, region)
        # Nobody takes its work away from a run that is under way, or starts it a second time.
        if stage.runs.under_way:
            _aside(stage, "Recover", {"step": "sweep"}, RECOVERY)
        if any(name.startswith("drill-") for name in stage.runs.under_way):
            _aside(stage, "Recover", {"step": "start-drills"}, RECOVERY)

    with faults.interrupted(number, Phase.BEFORE, act):
        yield


@contextmanager
def stopped(stage: Stage, number: int) -> Iterator[None]:
    """After the call of this number the function is killed, and somebody stops the execution that it is a step of."""
    assert stage.current is not None
    _, event, _ = stage.current

    def stop() -> None:
        stage.runs.stop(event["run"])
        raise Killed("its execution was stopped")

    with faults.interrupted(number, Phase.AFTER, stop):
        yield


def hindered(hindrance: Hindrance) -> Callable[[Stage, int], AbstractContextManager[None]]:
    """The connection of this number that the probing function opens meets this, in the order of their ports."""

    @contextmanager
    def hinder(stage: Stage, number: int) -> Iterator[None]:
        assert stage.current is not None
        _, event, _ = stage.current
        ports = sorted(int(each["value"].partition("/")[0]) for each in event["questions"])
        stage.network.hindrances = {ports[number - 1]: hindrance}
        yield
        stage.network.hindrances = {}

    return hinder


def dies_before(_connect: Connect) -> socket.socket:
    """The probing function is killed before it opens its connection."""
    raise Killed("before it connects")


def dies_after(connect: Connect) -> socket.socket:
    """The probing function is killed when it has its connection."""
    connect().close()
    raise Killed("after it has connected")


def refuses(_connect: Connect) -> socket.socket:
    """Nobody listens at the port."""
    raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")


def times_out(_connect: Connect) -> socket.socket:
    """No packet comes back."""
    raise TimeoutError("timed out")


def resets(_connect: Connect) -> socket.socket:
    """The other end breaks the connection off."""
    raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


def says_nothing(_connect: Connect) -> socket.socket:
    """The port is open, and nothing comes through it."""
    own, its = socket.socketpair()
    its.detach()
    return Silent(fileno=own.detach())


def _aside(stage: Stage, name: str, event: Mapping[str, Any], region: Region) -> None:
    stage.invoke(name, event, region=region)
