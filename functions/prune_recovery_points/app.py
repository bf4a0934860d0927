"""Prune: deletes the recovery points that nothing keeps."""

from typing import Any

from hikae.runtime import entry, reporting, wiring


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a schedule. `{"dry_run": true}` decides and deletes nothing, `lineage_percent` is for this run only."""
    settings = wiring.load_settings()
    pruned = wiring.pruner(
        settings,
        now=entry.time_of(event, settings),
        dry_run=entry.flag_of(event, "dry_run"),
        lineage_percent=entry.percent_of(event, "lineage_percent"),
        observe=reporting.log_outcome,
        has_time=entry.has_time(context),
    )
    return reporting.report_pruning(pruned)
