"""The copy broker: brings the recovery site level with what is wanted there."""

from datetime import UTC, datetime
from typing import Any

from hikae.runtime import reporting, wiring


def handler(_event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Answer a wake-up, whatever it says: only what exists in both places counts."""
    copying = wiring.broker(wiring.load_settings(), now=datetime.now(tz=UTC))
    return reporting.report_copying(copying)
