"""Inside the drills' network: asks an address whether it answers. Makes no AWS call, and could reach none."""

from typing import Any

from hikae.runtime import connecting


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Answer `{"address", "kind", "value"}` with `{"ok", "detail"}`."""
    return connecting.connect(event)
