"""What a primary site's inventory says: what exists, what its plans protect, and how far it can be believed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from hikae.domain.model import Instance, Region, ResourceId, Volume
from hikae.domain.naming import parse_time
from hikae.domain.plan_grammar import read_timezone

_GONE: Final = frozenset({"shutting-down", "terminated"})
_DELETED: Final = frozenset({"deleting", "deleted"})

IS_GOOD_FOR: Final = timedelta(days=1)
"""How old an inventory may be that says which resources exist; by an older one, nothing is known to be gone."""


AHEAD_AT_MOST: Final = timedelta(minutes=15)
"""How much later than a run began an inventory may be published that it reads: a tick may run meanwhile.

It is as long as a function may take: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""


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
    """The ids of all resources that exist; None where the inventory does not say, is too old, or is yet to come."""
    published_at, present = read_published_at(inventory), inventory.get("present")
    if published_at is None or not -AHEAD_AT_MOST <= now - published_at <= IS_GOOD_FOR or not isinstance(present, list):
        return None
    return frozenset(str(each) for each in present)


def is_gone(resource: str, inventory: Mapping[str, Any], *, newest: datetime, now: datetime) -> bool:
    """Whether the inventory says that a resource with points exists no more; not where it says nothing.

    `newest` is when its newest point was taken. If that was after the inventory was published, the resource was there
    when the inventory could not know: the next one has not come over, or a tick that is made up for published none.
    """
    published_at, present = read_published_at(inventory), read_presence(inventory, now=now)
    return published_at is not None and present is not None and newest <= published_at and resource not in present


def read_published_at(inventory: Mapping[str, Any]) -> datetime | None:
    """When the inventory was published, by the clock of the tick that did; None where it does not say."""
    try:
        return parse_time(inventory["published_at"])
    except (LookupError, TypeError, ValueError):
        return None


class InventoryError(ValueError):
    """A document that is no inventory; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """When a rule's points are due: cron in a time zone, and how long after its slot a job may start."""

    schedule: str
    timezone: ZoneInfo
    start_window: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryRow:
    """One resource that one rule is to protect; `unprotectable` says why it cannot.

    `cadence` is None in an inventory of an earlier version, which did not say it.
    """

    plan: str
    rule: str
    resource: ResourceId
    destinations: frozenset[Region]
    unprotectable: str | None = None
    rpo: timedelta | None = None
    cadence: Cadence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a primary protects; `present` are the ids of all resources that exist, None where it does not say."""

    published_at: datetime
    rows: tuple[InventoryRow, ...]
    broken_plans: tuple[str, ...] = ()
    present: frozenset[str] | None = None


def read_inventory(document: Mapping[str, Any]) -> Inventory:
    """The inventory in a document, however old it is.

    Raises:
        InventoryError: it lacks something, or says something that cannot be.
    """
    try:
        return Inventory(
            published_at=parse_time(document["published_at"]),
            rows=tuple(_read_row(row) for row in document["resources"]),
            broken_plans=tuple(str(each) for each in document.get("broken_plans", [])),
            present=frozenset(str(each) for each in document["present"]) if "present" in document else None,
        )
    except LookupError as error:
        raise InventoryError(f"it has no {error}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise InventoryError(str(error)) from error


def _read_row(row: Mapping[str, Any]) -> InventoryRow:
    rpo = row["rpo_seconds"]
    cadence = None
    if row.get("schedule") is not None:
        cadence = Cadence(
            schedule=str(row["schedule"]),
            timezone=read_timezone(str(row["timezone"])),
            start_window=timedelta(seconds=row["start_window_seconds"]),
        )
    return InventoryRow(
        plan=str(row["plan"]),
        rule=str(row["rule"]),
        resource=ResourceId(str(row["resource"])),
        destinations=frozenset(Region(str(each)) for each in row["destinations"]),
        unprotectable=None if row["unprotectable"] is None else str(row["unprotectable"]),
        rpo=None if rpo is None else timedelta(seconds=rpo),
        cadence=cadence,
    )
