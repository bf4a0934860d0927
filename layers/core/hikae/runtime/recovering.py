"""What the recover function does with an event: by the name of its step."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hikae.domain.runs import describe_failure
from hikae.operations.recovery.start_drills import start_drills
from hikae.operations.recovery.sweep import sweep
from hikae.operations.recovery.take_step import take_step
from hikae.runtime import entry, reporting, wiring

if TYPE_CHECKING:
    from hikae.operations.recovery.site import RecoverySite


def carry_out(event: Mapping[str, Any], site: "RecoverySite") -> dict[str, Any]:
    """A step of a run, `sweep`, `check-readiness`, or `start-drills`; the last two take `now` as the tick does.

    Raises:
        RunError: there is no such step, or its run cannot be understood.
        KeyError: the event has no step.
    """
    settings = wiring.load_settings()
    others: Mapping[str, Callable[[], dict[str, Any]]] = {
        "sweep": lambda: reporting.report_sweep(sweep(site, now=datetime.now(tz=UTC))),
        "start-drills": lambda: reporting.report_drills(
            start_drills(site, ledger=wiring.slot_ledger(settings), now=entry.time_of(event, settings))
        ),
        "check-readiness": lambda: reporting.report_readiness(
            # The primary is asked for public keys while it answers; nothing here waits for it.
            wiring.readiness(settings, asks_primary=True, imports_keys=False, now=entry.time_of(event, settings))
        ),
    }
    return others.get(event["step"], lambda: _take_step(event, site))()


def _take_step(event: Mapping[str, Any], site: "RecoverySite") -> dict[str, Any]:
    step, name = str(event["step"]), str(event.get("run", ""))
    taken = take_step(
        step,
        name,
        request=event.get("request", {}),
        failure=describe_failure(event.get("failure")),
        started_by=str(event.get("started_by", "")),
        site=site,
        now=datetime.now(tz=UTC),
    )
    return reporting.report_step(step, name, taken)
