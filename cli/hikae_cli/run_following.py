"""Following a run until it is over: what its document says, step by step, and in the end its record."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from hikae.domain.naming import EVIDENCE, RUNS, evidence_key
from hikae.domain.runs import Run
from hikae.ports import NotFound, Refused
from hikae_cli.recovery_access import UNDER_WAY, Access
from hikae_cli.run_report import Event, list_events

_SWEPT: Final = frozenset({"ABORTED", "FAILED", "TIMED_OUT"})
"""How an execution ends that may have no record yet: the sweep writes it."""
_PATIENCE: Final = 1800.0
"""Seconds that the sweep is waited for. A rule starts it at once, a schedule every quarter of an hour."""
_PATIENCE_WITH_NOTHING: Final = 60.0
"""Seconds that a run is waited for which has written no document: its first step may still be at it."""


def follow(access: Access, run: str, *, interval: float, show: Callable[[Event], None]) -> Mapping[str, Any] | None:
    """Show what happens until the run is over; its record, or None where there is none.

    Raises:
        SiteError, Unreachable: the site does not answer.
    """
    shown: set[Event] = set()
    waited = 0.0
    while True:
        # Asked first: what the document says after the end is all that it will ever say.
        status = access.machine.status(run)
        document = load_run(access, run)
        for event in list_events(document) if document else ():
            if event not in shown:
                shown.add(event)
                show(event)
        if status not in UNDER_WAY:
            record = load_record(access, run)
            patience = _PATIENCE if document else _PATIENCE_WITH_NOTHING
            if record is not None or status not in _SWEPT or waited >= patience:
                return record
            waited += max(interval, 1.0)
        time.sleep(interval)


def load_run(access: Access, run: str) -> Run | None:
    """The run's document; None where it has not written one yet.

    Raises:
        RunError: it cannot be read.
    """
    try:
        return access.site.load(run)
    except NotFound:
        return None


def load_record(access: Access, run: str) -> Mapping[str, Any] | None:
    """What the run's evidence says, unverified; None where there is none, or none that can be read."""
    try:
        document = access.site.documents.read(evidence_key(run))
        record = json.loads(document["record"])
    except (NotFound, Refused, KeyError, TypeError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def list_recorded(access: Access) -> list[str]:
    """The names of the runs that have evidence."""
    return [key.removeprefix(EVIDENCE).removesuffix(".json") for key in access.site.documents.keys(EVIDENCE)]


def list_documented(access: Access) -> list[str]:
    """The names of the runs that have a document."""
    keys = (key.removeprefix(RUNS).partition("/") for key in access.site.documents.keys(RUNS))
    return [name for name, _, rest in keys if rest == "run.json"]
