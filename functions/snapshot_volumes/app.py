"""Takes jobs from its queue and starts their recovery points: snapshot sets and snapshots."""

from typing import Any

from hikae.runtime import entry, wiring


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer an SQS batch with the messages that are to come back."""
    return entry.carry_out_jobs(event, context, wiring.load_settings())
