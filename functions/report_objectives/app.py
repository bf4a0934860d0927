"""The report: how old the newest complete copy of everything is that should have one."""

from typing import Any

from hikae.runtime import entry, reporting, wiring


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Answer a schedule. The event may carry `{"now": "RFC 3339"}` in place of the clock."""
    settings = wiring.load_settings()
    report = wiring.reporter(settings, now=entry.time_of(event, settings))
    return reporting.report_objectives(report, is_of_now="now" not in event)
