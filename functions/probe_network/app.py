"""Inside the drills' network: asks addresses whether they answer. Makes no AWS call, and could reach none."""

from typing import Any

from hikae.runtime import connecting


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Answer `{"questions": [{"address", "kind", "value"}]}` with `{"answers": [{"ok", "detail"}]}`."""
    return connecting.connect_all(event)
