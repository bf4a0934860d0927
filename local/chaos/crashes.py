"""Every operation, killed at every call, and every call of it failing in every way; each run goes on to its end.

First a clean run records the calls. Then, for every call, a run of its own meets the fault there, what Lambda and SQS
do follows, the hour passes with its prunes, and the end must be the clean run's.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from local.chaos import delivery
from local.chaos.branches import branch, branches, each_branch
from local.chaos.delivery import Delivery
from local.chaos.operations import END, OPERATIONS, SLOT, Operation, finish
from local.chaos.stage import Stage
from local.chaos.verdict import Ending, Faults, digest_before_step, digest_now, judge, judge_ended, look
from local.inprocess import PRIMARY, RECOVERY
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
    """All trials of one operation; of a run of recovery there is one for each of its steps."""

    operation: str
    calls: tuple[Asked, ...]
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One invocation in the run without faults: how many came before it in its run, which step it was, what it asked.

    `before` is the state that it found, by digest, without the clock.
    """

    number: int
    at: datetime
    step: str
    calls: tuple[Asked, ...]
    before: str


Marks = Mapping[datetime, str]
"""The state of a clean run, by digest, at the checkpoints at which nothing was under way."""


@contextmanager
def _killed_while_lagging(stage: Stage, number: int) -> Iterator[None]:
    """Describes are four minutes behind from here on; in a run, whose polls are many, of what this invocation does."""
    assert stage.current is not None
    is_in_run = "run" in stage.current[1]
    stage.twin.world.lag = timedelta(minutes=4)
    try:
        with faults.killed(number, Phase.AFTER):
            yield
    finally:
        if is_in_run:
            stage.twin.world.lag = timedelta()


CRASHES: dict[str, Trouble] = {
    "killed before": lambda _, number: faults.killed(number, Phase.BEFORE),
    "killed after": lambda _, number: faults.killed(number, Phase.AFTER),
    "killed, while EC2 lags, after": _killed_while_lagging,
}
AFTER: dict[str, Trouble] = {name: trouble for name, trouble in CRASHES.items() if name != "killed before"}
"""Who is killed before a call leaves what who is killed after the one before it leaves."""
STRIKES: dict[str, Trouble] = {
    "throttled:": lambda _, number: faults.struck(number, faults.throttle),
    "no connection for": lambda _, number: faults.struck(number, faults.refuse_connection),
    "a 500 after the effect of": lambda _, number: faults.struck(number, faults.fail_after),
    "a dropped connection after the effect of": lambda _, number: faults.struck(number, faults.drop_after),
}
AFTER_EFFECT = tuple(STRIKES.values())[2:]
MEANWHILE: dict[str, Trouble] = {"the same again before": delivery.same_again, "prunes before": delivery.prunes}
STOPS: dict[str, Trouble] = {"stopped after": delivery.stopped}
OF_RUNS = tuple(STOPS.values())
"""What can only happen to a run of recovery."""

Troubles = Mapping[str, Mapping[str, Trouble]]
NETWORK: Mapping[str, Mapping[str, Trouble]] = {
    "crash": {
        "killed before": delivery.hindered(delivery.dies_before),
        "killed after": delivery.hindered(delivery.dies_after),
    },
    "EC2": {
        "refused:": delivery.hindered(delivery.refuses),
        "no answer to": delivery.hindered(delivery.times_out),
        "broken off:": delivery.hindered(delivery.resets),
        "silence after": delivery.hindered(delivery.says_nothing),
    },
}
"""What takes the place of the kinds of trouble where an operation is networked."""
EVERYTHING: Troubles = {"crash": {**CRASHES, **STOPS}, "EC2": STRIKES, "delivery": MEANWHILE}
CREATING = frozenset(
    {"CreateSnapshots", "CreateSnapshot", "CreateImage", "CopySnapshot", "CopyImage"}
    | {"RegisterImage", "RunInstances", "CreateVolume", "CreateVpcEndpoint", "CreateSecurityGroup"}
)
"""The calls that make what EC2 may not show yet."""


def try_operations(
    troubles: Troubles, *, operations: Iterable[Operation] = OPERATIONS, with_reads: bool = True
) -> Iterator[Report]:
    """Try every trouble, by its kind and name, at every call of every operation; report operation by operation.

    With the kind "delivery" among them, whatever starts the operation arrives in every way, too. Without reads only
    calls that change something are tried: who is killed at a call that does not leaves what the last change has left.
    """
    operations = tuple(operations)
    for world in dict.fromkeys(operation.world for operation in operations):
        of_world = [operation for operation in operations if operation.world is world]
        with world.build() as stage:
            world.begin(stage)
            # While one makes its run without faults, which takes one processor, another takes the others.
            tries = (partial(_try, stage, operation, troubles, with_reads=with_reads) for operation in of_world)
            for reports in each_branch(tries, width=2):
                yield from reports


def _try(stage: Stage, operation: Operation, troubles: Troubles, *, with_reads: bool) -> list[Report]:
    operation.prepare(stage)
    turns, clean, marks = branch(partial(_run_clean, stage, operation))
    trials: dict[str, list[Trial]] = {}
    calls: dict[str, list[Asked]] = {}
    for turn in _distinct(turns):
        name = f"{operation.name}, {turn.step}" if turn.step else operation.name
        if operation.run:
            stage.run_until(turn.at - _JUST_BEFORE)
            assert stage.steps_begun[operation.run] == turn.number, "the parent is not where the run without faults was"
        before = len(calls.setdefault(name, []))
        calls[name].extend(turn.calls)
        for kind, what, number, ending in _try_turn(
            stage, operation, turn, troubles, turns=turns, clean=clean, marks=marks, with_reads=with_reads
        ):
            trials.setdefault(name, []).append(
                Trial(
                    operation=name,
                    call=before + number,
                    what=f"{what} {turn.calls[number - 1]} (call {before + number})",
                    kind=kind,
                    faults=ending,
                )
            )
    reports = [Report(operation=name, calls=tuple(calls[name]), trials=tuple(found)) for name, found in trials.items()]
    if "delivery" in troubles and operation.deliveries:
        with_deliveries = replace(
            reports[0], trials=(*reports[0].trials, *_deliver(stage, operation, clean, reports[0].operation))
        )
        reports = [with_deliveries, *reports[1:]]
    return reports


_JUST_BEFORE = timedelta(milliseconds=10)


def _distinct(turns: Sequence[Turn]) -> Iterator[Turn]:
    """The turns without those that repeat the one before: a poll that finds the same state and makes the same calls."""
    last: Turn | None = None
    for turn in turns:
        if last is None or (turn.step, turn.calls, turn.before) != (last.step, last.calls, last.before):
            yield turn
        last = turn


def _try_turn(
    stage: Stage,
    operation: Operation,
    turn: Turn,
    troubles: Troubles,
    *,
    turns: Collection[Turn],
    clean: Ending,
    marks: Marks,
    with_reads: bool,
) -> list[tuple[str, str, int, Faults]]:
    """Every trouble at every call of one invocation: its kind, its name, the call and what was wrong in the end."""
    if operation.is_networked:
        troubles = {kind: named for kind, named in NETWORK.items() if kind in troubles}
    places = [
        (number, kind, name, trouble)
        for number in range(1, len(turn.calls) + 1)
        for kind, named in troubles.items()
        for name, trouble in named.items()
        if with_reads or not turn.calls[number - 1].is_reading
        if trouble is not _killed_while_lagging or turn.calls[number - 1].action in CREATING
        if trouble is not delivery.same_again or not operation.is_single
        if trouble not in OF_RUNS or operation.run
        # What only reads has no effect: there is nothing to be had before an answer that is lost.
        if trouble not in AFTER_EFFECT or not turn.calls[number - 1].is_reading or trouble is AFTER_EFFECT[-1]
    ]
    endings = branches(
        partial(_run, stage, operation, turn, number, trouble, turns=turns, clean=clean, marks=marks)
        for number, _, _, trouble in places
    )
    return [
        (kind, name, number, _judge_stopped(ending, clean) if trouble in OF_RUNS else judge(ending, clean))
        for (number, kind, name, trouble), ending in zip(places, endings, strict=True)
    ]


def _judge_stopped(ending: Ending, clean: Ending) -> Faults:
    return judge_ended(ending.without(*_COMES_LATER), clean.without(*_COMES_LATER))


def _deliver(stage: Stage, operation: Operation, clean: Ending, name: str) -> Iterable[Trial]:
    """The operation with what starts it arriving in every way."""
    endings = branches(partial(_run_delivered, stage, way) for way in operation.deliveries.values())
    for what, ending in zip(operation.deliveries, endings, strict=True):
        yield Trial(operation=name, call=0, what=what, kind="delivery", faults=judge(ending, clean))


def _run_delivered(stage: Stage, way: Delivery) -> Ending:
    way(stage)
    return finish(stage)


_CHECKPOINTS = tuple(
    SLOT + timedelta(minutes=minutes) for minutes in (1, 6, 9, 12, 15, 19, 22, 25, 30, 34, 41, 43.8, 47)
)
_AFTER_A_RUN = tuple(timedelta(minutes=minutes) for minutes in (0.2, 0.5, 1, 2, 3, 4, 6, 8, 11, 15, 20, 25, 30))


def _run_clean(stage: Stage, operation: Operation) -> tuple[tuple[Turn, ...], Ending, Marks]:
    turns: list[Turn] = []

    @contextmanager
    def record() -> Iterator[None]:
        assert stage.current is not None
        _, event, _ = stage.current
        step = str(event.get("step", "")) if operation.run else ""
        number, at = stage.steps_begun[operation.run] - 1, stage.now
        before = digest_before_step(stage, operation.run) if operation.run else ""
        connected = len(stage.network.connections)
        with faults.recorded() as asked:
            yield
        opened = sorted(port for _, port in stage.network.connections[connected:]) if operation.is_networked else ()
        for port in opened:
            asked.append(Asked(service="network", region=RECOVERY, action="connect", about=str(port)))
        turns.append(Turn(number=number, at=at, step=step, calls=tuple(asked), before=before))

    if operation.run:
        stage.watch(operation.is_meant, record)
        while operation.run not in stage.runs.ended:
            stage.run_until(stage.now + timedelta(seconds=1))
            assert stage.now < END, f"{operation.name} does not end"
        moments = tuple(stage.now + duration for duration in _AFTER_A_RUN)
    else:
        stage.plot(operation.is_meant, record)
        moments = tuple(moment for moment in _CHECKPOINTS if moment > stage.now)
    marks = {}
    for moment in moments:
        stage.run_until(moment)
        if stage.is_quiet:
            marks[moment] = digest_now(stage)
    ending = finish(stage)
    assert turns, f"{operation.name} did not run"
    assert all(turn.calls for turn in turns), f"{operation.name} has made no call"
    gone_off = {alarm.name for alarm in ending.alarms}
    assert gone_off == operation.expects, f"{operation.name}: these alarms go off without a fault: {gone_off}"
    return tuple(turns), ending, marks


def _run(
    stage: Stage,
    operation: Operation,
    turn: Turn,
    number: int,
    trouble: Trouble,
    *,
    turns: Collection[Turn],
    clean: Ending,
    marks: Marks,
) -> Ending:
    """One run with one fault.

    Where it comes to the very state that the clean run had at the same time, and nothing is under way in either, what
    follows is what followed there: the same schedules find the same things. That is where it is over. So it is where a
    step of a run begins as it did in the clean run.
    """
    wanted = stage.is_turn(operation.run, turn.number) if operation.run else operation.is_meant
    stage.plot(wanted, lambda: trouble(stage, number))
    if operation.run:
        stage.watch(operation.is_meant, partial(_arrive, stage, operation.run, turns))
    if trouble in OF_RUNS:
        return _end_stopped(stage, turn)
    try:
        for moment in sorted(marks):
            if moment <= stage.now:
                continue
            stage.run_until(moment)
            if stage.is_quiet and digest_now(stage) == marks[moment]:
                return replace(look(stage), state=clean.state)
    except _Arrived:
        return replace(look(stage), state=clean.state)
    return finish(stage)


_SWEPT_WITHIN = timedelta(minutes=16)
_COMES_LATER = ("reports/", "a dated report", "key-pairs/")
"""What the report and the look for readiness write, later in the hour than a stopped run is followed."""


def _end_stopped(stage: Stage, turn: Turn) -> Ending:
    """What is left is swept every five minutes, and then prune runs: what the rest of the hour brings is the same.

    A run that a schedule has begun meanwhile is let come to its end.
    """
    stage.run_until(turn.at + _SWEPT_WITHIN)
    while stage.runs.under_way and stage.now < END:
        stage.run_until(stage.now + timedelta(minutes=1))
    for region in (PRIMARY, RECOVERY):
        stage.prune(region)
    return look(stage)


class _Arrived(BaseException):
    """The run is where one without faults has been."""


@contextmanager
def _arrive(stage: Stage, run: str, turns: Collection[Turn]) -> Iterator[None]:
    """A step that begins in the state in which it began without faults does what it did there, and so do the others."""
    assert stage.current is not None
    step = stage.current[1]["step"]
    if not stage.is_plotted and not stage.twin.world.lag:
        before = digest_before_step(stage, run)
        if any((turn.step, turn.before) == (step, before) for turn in turns):
            raise _Arrived
    yield
