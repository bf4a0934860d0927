"""What a primary site's inventory says about the resources that exist, as far as it can be believed."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from hikae.domain.model import Instance, Volume
from hikae.domain.naming import parse_time

_GONE: Final = frozenset({"shutting-down", "terminated"})
_DELETED: Final = frozenset({"deleting", "deleted"})

IS_GOOD_FOR: Final = timedelta(days=1)
"""How old an inventory may be that says which resources exist; by an older one, nothing is known to be gone."""


def list_present(instances: Iterable[Instance], volumes: Iterable[Volume]) -> set[str]:
    """The ids of every instance and volume of a place, protected or not: what is not among them is gone.

    A volume that is impaired (`error`), or on its way from one instance to another, is there:
    https://docs.aws.amazon.com/ebs/latest/userguide/ebs-describing-volumes.html
    """
    ids: set[str] = {volume.id for volume in volumes if volume.state not in _DELETED}
    for instance in instances:
        ids.update(device.volume_id for device in instance.block_devices)
        if instance.state not in _GONE:
            ids.add(instance.id)
    return ids


def read_presence(inventory: Mapping[str, Any], *, now: datetime) -> frozenset[str] | None:
    """The ids of all resources that exist; None where the inventory does not say, is too old, or is of the future."""
    published_at, present = read_published_at(inventory), inventory.get("present")
    if published_at is None or not timedelta(0) <= now - published_at <= IS_GOOD_FOR or not isinstance(present, list):
        return None
    return frozenset(str(each) for each in present)


def read_published_at(inventory: Mapping[str, Any]) -> datetime | None:
    """When the inventory was published, by the clock of the tick that did; None where it does not say."""
    try:
        return parse_time(inventory["published_at"])
    except (LookupError, TypeError, ValueError):
        return None
