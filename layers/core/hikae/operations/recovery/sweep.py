"""Sweep: tear down and record what runs have left that nobody looks after any more."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from hikae.domain.naming import evidence_key, run_tag
from hikae.domain.points import CONSISTENCY_DELAY
from hikae.domain.runs import RUN_NAME, Mode, Request, Run, RunError, StepStatus
from hikae.domain.teardown import GOING, GONE
from hikae.operations.recovery.site import RecoverySite
from hikae.operations.recovery.take_step import take_step
from hikae.operations.recovery.under_way import list_unrecorded
from hikae.ports import ExecutionState, NotFound, Outcome, PortError, Status

STOPPED = "its execution ended before it was recorded"
"""Where Step Functions does not know any more how."""


_EVIDENCE_FOLLOWS: Final = timedelta(hours=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What became of each run that was left, and what could not be looked at."""

    outcomes: tuple[Outcome, ...]


def sweep(site: RecoverySite, *, now: datetime) -> Swept:
    """End every run that has no evidence, or of which something is left, and whose execution is over."""
    outcomes = []
    for name, mode in sorted(_unfinished(site).items()):
        try:
            if mode is None and _is_long_over(site.load(name), now):
                continue  # it was recorded, and its evidence has had its time
            if _is_under_way(name, site, now):
                continue
            is_recorded = _is_recorded(name, site)
            if mode is None and is_recorded:
                continue  # since it was listed
            outcomes.append(_end(name, mode, site, now, is_recorded=is_recorded))
        except (PortError, RunError) as error:
            outcomes.append(Outcome(resource=name, status=Status.FAILED, reason=f"not swept: {error}"))
    return Swept(outcomes=tuple(outcomes))


def _is_long_over(run: Run, now: datetime) -> bool:
    """Evidence follows at once where a run is over, or with the sweeps of the next minutes; it is kept for days."""
    return run.ended_at is not None and now - run.ended_at >= _EVIDENCE_FOLLOWS


def _is_under_way(name: str, site: RecoverySite, now: datetime) -> bool:
    """Whether the run's execution goes on: also where it does not show and the run began only a moment ago."""
    state = site.executions.state(name)
    if state is not ExecutionState.UNKNOWN:
        return state is ExecutionState.UNDER_WAY
    try:
        run = site.load(name)
    except (NotFound, RunError):
        return False  # a run has its document before it makes anything, so this one began long ago
    return abs(now - run.began_at) < CONSISTENCY_DELAY


def _is_recorded(name: str, site: RecoverySite) -> bool:
    try:
        site.documents.read(evidence_key(name))
    except NotFound:
        return False
    return True


def _unfinished(site: RecoverySite) -> dict[str, Mode | None]:
    """The names of runs that left something in EC2, or that have a document (None) and no evidence."""
    found: dict[str, Mode | None] = {}
    for mode in Mode:
        everything = site.recoverer.made(tag=mode.tag, value=run_tag(installation=site.installation, run="*"))
        for each in everything:
            is_leftover = mode is Mode.DRILL or each.kind == "image"
            name = each.tags.get(mode.tag, "").partition("/")[2]
            # EC2 shows for a while what is gone, endpoints as well as instances: that is nothing to be swept.
            if is_leftover and each.state not in GONE | GOING and RUN_NAME.fullmatch(name):
                found[name] = mode
    for name in list_unrecorded(site.documents):
        found.setdefault(name, None)
    return found


def _end(name: str, mode: Mode | None, site: RecoverySite, now: datetime, *, is_recorded: bool) -> Outcome:
    # What is recorded has ended as its evidence says, whatever is left of it.
    failure = "" if is_recorded else site.executions.how_it_ended(name) or STOPPED
    try:
        run = site.load(name)
    except (NotFound, RunError):
        if mode is None:
            raise
        # What it made says all that is known of it.
        run = Run(name=name, request=Request(mode=mode, started_by="unknown"), began_at=now, failure=failure)
        site.save(run)
    if mode is not None and run.request.mode is not mode:
        return Outcome(resource=name, status=Status.FAILED, reason=f"tags say {mode}, its document {run.request.mode}")
    before = len(run.torn_down)
    taken = take_step("tear-down", name, request={}, failure=failure, site=site, now=now)
    run = site.load(name)
    if taken.status is StepStatus.AGAIN:
        return Outcome(resource=name, status=Status.LATER, reason=taken.reason, created=run.torn_down[before:])
    take_step("record", name, request={}, site=site, now=now)
    status = Status.DELETED if taken.status is StepStatus.DONE else Status.FAILED
    return Outcome(resource=name, status=status, reason=taken.reason or run.failure, created=run.torn_down[before:])
