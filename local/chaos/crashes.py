"""Every operation, killed at every call, and every call of it failing in every way; each run goes on to its end.

First a clean run records the calls. Then, for every call, a run of its own meets the fault there, what Lambda and SQS
do follows, the hour passes with its prunes, and the end must be the clean run's.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from local.chaos import delivery
from local.chaos.branches import branch, branches
from local.chaos.delivery import Delivery
from local.chaos.operations import OPERATIONS, SLOT, Operation, finish
from local.chaos.stage import Stage
from local.chaos.verdict import Ending, Faults, digest_now, judge, look
from local.twin import faults
from local.twin.faults import Asked, Phase

Trouble = Callable[[Stage, int], AbstractContextManager[Any]]
"""A fault of one call, by its number, for one invocation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run with one fault: where, what, and what was wrong in the end."""

    operation: str
    call: int
    what: str
    kind: str
    faults: Faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All trials of one operation."""

    operation: str
    calls: tuple[Asked, ...]
    trials: tuple[Trial, ...]


@contextmanager
def _killed_while_lagging(stage: Stage, number: int) -> Iterator[None]:
    """From this invocation on, describes are four minutes behind."""
    stage.twin.world.lag = timedelta(minutes=4)
    with faults.killed(number, Phase.AFTER):
        yield


CRASHES: dict[str, Trouble] = {
    "killed before": lambda _, number: faults.killed(number, Phase.BEFORE),
    "killed after": lambda _, number: faults.killed(number, Phase.AFTER),
    "killed, while EC2 lags, after": _killed_while_lagging,
}
STRIKES: dict[str, Trouble] = {
    "throttled:": lambda _, number: faults.struck(number, faults.throttle),
    "no connection for": lambda _, number: faults.struck(number, faults.refuse_connection),
    "a 500 after the effect of": lambda _, number: faults.struck(number, faults.fail_after),
    "a dropped connection after the effect of": lambda _, number: faults.struck(number, faults.drop_after),
}
AFTER_EFFECT = tuple(STRIKES.values())[2:]
MEANWHILE: dict[str, Trouble] = {"the same again before": delivery.same_again, "prunes before": delivery.prunes}

Troubles = Mapping[str, Mapping[str, Trouble]]
EVERYTHING: Troubles = {"crash": CRASHES, "EC2": STRIKES, "delivery": MEANWHILE}
CREATING = frozenset({"CreateSnapshots", "CreateSnapshot", "CreateImage", "CopySnapshot", "CopyImage"})
"""The calls that make what EC2 may not show yet."""


def try_operations(troubles: Troubles, *, operations: Iterable[Operation] = OPERATIONS) -> Iterator[Report]:
    """Try every trouble, by its kind and name, at every call of every operation; report operation by operation.

    With the kind "delivery" among them, whatever starts the operation arrives in every way, too.
    """
    operations = tuple(operations)
    for world in dict.fromkeys(operation.world for operation in operations):
        of_world = [operation for operation in operations if operation.world is world]
        with world.build() as stage:
            world.begin(stage)
            for operation in of_world:
                yield branch(partial(_try, stage, operation, troubles))


def _try(stage: Stage, operation: Operation, troubles: Troubles) -> Report:
    operation.prepare(stage)
    calls, clean, marks = branch(partial(_run_clean, stage, operation))
    places = [
        (number, kind, name, trouble)
        for number in range(1, len(calls) + 1)
        for kind, named in troubles.items()
        for name, trouble in named.items()
        if trouble is not _killed_while_lagging or calls[number - 1].action in CREATING
        if trouble is not delivery.same_again or not operation.is_single
        # What only reads has no effect: there is nothing to be had before an answer that is lost.
        if trouble not in AFTER_EFFECT or not calls[number - 1].is_reading or trouble is AFTER_EFFECT[-1]
    ]
    endings = branches(
        partial(_run, stage, operation, number, trouble, clean=clean, marks=marks) for number, _, _, trouble in places
    )
    trials = [
        Trial(
            operation=operation.name,
            call=number,
            what=f"{name} {calls[number - 1]} (call {number})",
            kind=kind,
            faults=judge(ending, clean),
        )
        for (number, kind, name, _), ending in zip(places, endings, strict=True)
    ]
    if "delivery" in troubles:
        trials.extend(_deliver(stage, operation, clean))
    return Report(operation=operation.name, calls=calls, trials=tuple(trials))


def _deliver(stage: Stage, operation: Operation, clean: Ending) -> Iterable[Trial]:
    """The operation with what starts it arriving in every way."""
    endings = branches(partial(_run_delivered, stage, way) for way in operation.deliveries.values())
    for name, ending in zip(operation.deliveries, endings, strict=True):
        yield Trial(operation=operation.name, call=0, what=name, kind="delivery", faults=judge(ending, clean))


def _run_delivered(stage: Stage, way: Delivery) -> Ending:
    way(stage)
    return finish(stage)


_CHECKPOINTS = tuple(
    SLOT + timedelta(minutes=minutes) for minutes in (1, 6, 9, 12, 15, 19, 22, 25, 30, 34, 41, 43.8, 47)
)

Marks = Mapping[datetime, str]
"""The state of a clean run, by digest, at the checkpoints at which nothing was under way."""


def _run_clean(stage: Stage, operation: Operation) -> tuple[tuple[Asked, ...], Ending, Marks]:
    calls: list[Asked] = []

    @contextmanager
    def record() -> Iterator[None]:
        with faults.recorded() as asked:
            yield
        calls.extend(asked)

    stage.plot(operation.is_meant, record)
    marks = {}
    for moment in _checkpoints(stage):
        stage.run_until(moment)
        if stage.is_quiet:
            marks[moment] = digest_now(stage)
    ending = finish(stage)
    assert calls, f"{operation.name} did not run"
    return tuple(calls), ending, marks


def _run(stage: Stage, operation: Operation, number: int, trouble: Trouble, *, clean: Ending, marks: Marks) -> Ending:
    """One run with one fault.

    Where it comes to the very state that the clean run had at the same time, and nothing is under way in either, what
    follows is what followed there: the same schedules find the same things. That is where it is over.
    """
    stage.plot(operation.is_meant, lambda: trouble(stage, number))
    for moment in _checkpoints(stage):
        stage.run_until(moment)
        if moment in marks and stage.is_quiet and digest_now(stage) == marks[moment]:
            return replace(look(stage), state=clean.state)
    return finish(stage)


def _checkpoints(stage: Stage) -> list[datetime]:
    return [moment for moment in _CHECKPOINTS if moment > stage.now]
