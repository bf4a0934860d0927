"""One step of a restore or drill, the sweep of what they left, or the start of drills that are due."""

from typing import Any

from hikae.runtime import recovering, wiring


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Answer the state machine with `{"status", "reason", "wait"}`, a schedule or a rule with what was done."""
    return recovering.carry_out(event, wiring.recovery_site(wiring.load_settings()))
