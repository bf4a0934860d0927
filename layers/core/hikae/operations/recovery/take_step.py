"""Take one step of a run: read its document, carry out the step, keep what came of it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from hikae.domain.runs import Run, RunError, Step, StepStatus, check_name, failed, read_request
from hikae.operations.recovery.attach import attach
from hikae.operations.recovery.choose import choose
from hikae.operations.recovery.launch import launch
from hikae.operations.recovery.network import network
from hikae.operations.recovery.preflight import preflight
from hikae.operations.recovery.prepare import prepare
from hikae.operations.recovery.probe import probe
from hikae.operations.recovery.record import record
from hikae.operations.recovery.site import RecoverySite
from hikae.operations.recovery.tear_down import tear_down
from hikae.ports import NotFound

_Step = Callable[..., tuple[Run, Step]]

_SHOWN = 1000
"""How much of an exception's text is kept; the function's log has all of it."""

STEPS: Final[Mapping[str, _Step]] = {
    "select": choose,
    "prepare": prepare,
    "preflight": preflight,
    "launch": launch,
    "attach": attach,
    "network": network,
    "probe": probe,
    "tear-down": tear_down,
    "record": record,
}


def take_step(  # noqa: PLR0913 - what it is called with, and where
    step: str,
    name: str,
    *,
    request: Mapping[str, Any],
    failure: str = "",
    started_by: str = "",
    site: RecoverySite,
    now: datetime,
) -> Step:
    """Carry out `step` of the run `name`; a run without a document begins here, with what `request` asks.

    `failure` is what the state machine caught, or why the run was given up, if anything; the first one is kept, with
    where the run was then. `started_by` is the execution, where the request does not say who wanted it.

    A request, a name or a document that cannot be understood has failed, with the reason.

    Raises:
        RunError: there is no such step.
        Throttled, LimitReached, Ambiguous, Unreachable: the step is to be called again; it goes on where it was.
    """
    if step not in STEPS:
        raise RunError(f"{step!r} is not a step; the steps are {', '.join(STEPS)}")
    try:
        run = _load(name, request, started_by, site, now)
    except RunError as error:
        # Nobody can carry it out, however often it is tried; nothing of it was begun.
        return failed(str(error))
    if failure and not run.failure:
        run = replace(run, failure=f"{run.whereabouts}{failure}"[:_SHOWN])
    run = run.begin(step, now)
    site.save(run)
    run, taken = STEPS[step](run, site, now=now)
    if taken.status is StepStatus.FAILED and not run.failure and step != "record":
        run = replace(run, failure=f"{step}: {taken.reason}")
    if taken.status is not StepStatus.AGAIN:
        run = run.end(step, site.clock())
    site.save(run)
    return taken


def _load(name: str, request: Mapping[str, Any], started_by: str, site: RecoverySite, now: datetime) -> Run:
    try:
        return site.load(check_name(name))
    except NotFound:
        asked = read_request(request)
        return Run(name=name, request=replace(asked, started_by=asked.started_by or started_by), began_at=now)
