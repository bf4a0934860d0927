"""What may happen to a restore or a drill as a whole: stopped in any step, failing in it for good, two at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import yaml

from hikae.domain.model import Region
from hikae.operations.recovery.take_step import STEPS
from local.chaos.delivery import schedule_deliveries
from local.chaos.operations import RUN_AT, SLOT
from local.chaos.stage import Stage, Wanted
from local.inprocess import RECOVERY
from local.state_machine import DEFINITION
from local.twin import faults
from local.twin.faults import Phase

RUN_STEPS = tuple(STEPS)
MOST_ATTEMPTS = 1 + max(
    retry["MaxAttempts"]
    for state in yaml.safe_load(DEFINITION.read_text())["States"].values()
    for retry in state.get("Retry", ())
)
Play = Callable[[Stage], Iterable[str]]


def stopped_in(step: str, *, is_heard: bool) -> Play:
    """Somebody stops the execution right after this step of it was called for the first time."""

    def play(stage: Stage) -> Iterable[str]:
        stage.plot(_is_step(step), lambda: _stop_afterwards(stage, is_heard=is_heard))
        return ()

    return play


@contextmanager
def _stop_afterwards(stage: Stage, *, is_heard: bool) -> Iterator[None]:
    assert stage.current is not None
    _, event, _ = stage.current
    yield
    relay = stage.relay
    if not is_heard:
        stage.relay = lambda _: None
    stage.runs.stop(event["run"])
    stage.relay = relay


def always_fails(step: str) -> Play:
    """The function is killed in this step, however often it is tried: the state machine gives it up."""

    def play(stage: Stage) -> Iterable[str]:
        for _ in range(MOST_ATTEMPTS):
            stage.plot(_is_step(step), partial(faults.killed, 3, Phase.BEFORE))
        return ()

    return play


def _is_step(step: str) -> Wanted:
    def is_meant(name: str, _region: Region, event: Mapping[str, Any]) -> bool:
        return name == "Recover" and event.get("step") == step and "run" in event

    return is_meant


def another_drill(*, after: timedelta) -> Play:
    """Somebody drills the same group, so long after its own drill was started."""

    def play(stage: Stage) -> Iterable[str]:
        [plan] = stage.plans
        request = {"mode": "drill", "plan": plan, "group": "shop", "started_by": "somebody"}
        stage.at(RUN_AT + after, partial(stage.runs.start, "drill-by-hand", request))
        return ()

    return play


def without_room_in_a_zone(stage: Stage) -> Iterable[str]:
    """EC2 has no capacity in the first of the drills' zones."""
    subnet = stage.installation.drill_vpc["a"]
    stage.during(
        SLOT + timedelta(minutes=11), SLOT + timedelta(minutes=30), lambda: faults.no_capacity(zone_subnets=[subnet])
    )
    return ()


def without_room(stage: Stage) -> Iterable[str]:
    """EC2 has no capacity at all."""
    stage.during(SLOT + timedelta(minutes=11), SLOT + timedelta(minutes=30), faults.no_capacity)
    return ("no capacity for any type in any zone",)


def with_a_disabled_key(stage: Stage) -> Iterable[str]:
    """The key that the copies are encrypted with is disabled while the drill runs."""
    kms, key = stage.twin.client("kms", RECOVERY), stage.installation.key_arn.rpartition("/")[2]
    stage.at(SLOT + timedelta(minutes=11), lambda: kms.disable_key(KeyId=key))
    stage.at(SLOT + timedelta(minutes=16), lambda: kms.enable_key(KeyId=key))
    return ("is disabled or about to be deleted",)


def report_never_comes(stage: Stage) -> Iterable[str]:
    """One report is left out; the next one is there for it."""
    schedule_deliveries("report", never=True)["the report never comes"](stage)
    return ()
