"""Find out which resources with points here are not there any more, by what their primary said last."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from hikae.domain.inventory import is_gone
from hikae.domain.model import RecoveryPoint
from hikae.domain.naming import inventory_key
from hikae.operations.recovery.site import RecoverySite
from hikae.ports import NotFound, Refused, Unreachable


def find_gone(
    resources: Iterable[str], points: Iterable[RecoveryPoint], site: RecoverySite, *, now: datetime
) -> dict[str, str]:
    """The resources that are gone, each with the reason: its points outlive it, and nobody misses it.

    Each of them has some of the `points`.
    """
    newest: dict[str, RecoveryPoint] = {}
    for point in sorted(points, key=lambda point: point.source_time):
        newest[point.tags.identity.resource] = point
    inventories: dict[str, Mapping[str, Any]] = {}
    gone = {}
    for resource in resources:
        last = newest[resource]
        key = inventory_key(last.tags.identity.place)
        if key not in inventories:
            try:
                inventories[key] = site.documents.read(key)
            except (NotFound, Refused, Unreachable):
                inventories[key] = {}  # nobody can say that anything is gone
        if is_gone(resource, inventories[key], newest=last.source_time, now=now):
            gone[resource] = f"it is not there any more, by {key}"
    return gone
