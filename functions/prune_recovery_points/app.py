"""Prune: deletes the recovery points that nothing keeps."""

from typing import Any

from hikae.runtime import entry, reporting, wiring


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Answer a schedule. `{"dry_run": true}` decides and deletes nothing."""
    dry_run = entry.flag_of(event, "dry_run")
    pruned = wiring.pruner(wiring.load_settings(), dry_run=dry_run, observe=reporting.log_outcome)
    return reporting.report_pruning(pruned)
