"""The copy broker: brings the recovery site level with what is wanted there."""

from datetime import UTC, datetime
from typing import Any

from hikae.runtime import entry, reporting, wiring


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a batch of wake-ups, whatever they say: only what exists in both places counts, and none comes back."""
    now = datetime.now(tz=UTC)
    if entry.get_looks().has_answered(event):
        return {"batchItemFailures": []}
    copying = wiring.broker(
        wiring.load_settings(), now=now, observe=reporting.log_outcome, has_time=entry.has_time(context)
    )
    entry.get_looks().remember(now)
    return {"batchItemFailures": [], **reporting.report_copying(copying)}
