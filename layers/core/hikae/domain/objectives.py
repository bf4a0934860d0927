"""Whether what is protected can be recovered to a moment that is late enough: achieved RPO against the objective.

Achieved RPO is now minus the source time of the newest complete copy at the recovery site. A rule without an RPO is
held to its own schedule: a slot whose window has closed must have its copy after `COPY_GRACE`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from math import ceil
from typing import Final

from hikae.domain import schedule
from hikae.domain.inventory import AHEAD_AT_MOST, IS_GOOD_FOR, Cadence, Inventory, InventoryRow
from hikae.domain.model import Place, RecoveryPoint
from hikae.domain.naming import format_time
from hikae.domain.plan_grammar import write_duration
from hikae.domain.replication import Group, grouped

COPY_GRACE: Final = timedelta(hours=6)
"""How long after its window a slot of a rule without an RPO may be without a complete copy: it has to be made, too."""

_LOOK_BACK: Final = (timedelta(days=1), timedelta(days=32), timedelta(days=366), timedelta(days=4 * 366 + 1))
"""How far back the newest slot is looked for, first near, as most rules are due often; 29 February is the rarest."""


class Standing(StrEnum):
    """How a resource stands to a rule's objective; `waiting` has no complete copy yet, and still has time for it."""

    MET = "met"
    BREACHED = "breached"
    NEVER = "never"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one rule has achieved for one resource; `newest` is its newest complete copy.

    `since` is when the resource was first seen to be protected by the rule. `rpo` is None where the rule has none.
    """

    group: Group
    standing: Standing
    since: datetime
    reason: str
    rpo: timedelta | None = None
    newest: RecoveryPoint | None = None
    achieved: timedelta | None = None

    @property
    def achieved_seconds(self) -> int | None:
        """Achieved RPO in whole seconds, rounded up: what exceeds its objective must not look equal to it."""
        return None if self.achieved is None else ceil(self.achieved.total_seconds())

    @property
    def is_failure(self) -> bool:
        """Whether a person has to hear of it."""
        return self.standing in (Standing.BREACHED, Standing.NEVER)


def measure(  # noqa: PLR0913 - what was promised, what is there, and since when
    inventory: Inventory,
    *,
    source: Place,
    here: Place,
    copies: Iterable[RecoveryPoint],
    since: Mapping[Group, datetime],
    now: datetime,
) -> list[Measurement]:
    """Measure every resource that `source` protects by a rule that copies to `here`, in the inventory's order.

    `copies` are the points at the recovery site, complete or not; `since` is what earlier reports knew. What cannot be
    protected is left out, and so is what the inventory itself does not count among what exists. What was taken after
    `now` was not there then.
    """
    copies_by_group = grouped(copy for copy in copies if copy.is_copy and copy.is_complete and copy.source_time <= now)
    measurements = []
    for row in select_rows(inventory, here=here):
        if row.unprotectable is not None:
            continue
        if inventory.present is not None and row.resource not in inventory.present:
            continue
        group = Group(place=source, plan=row.plan, rule=row.rule, resource=row.resource)
        newest = max(copies_by_group.get(group, ()), key=lambda copy: copy.source_time, default=None)
        began = min(since.get(group, now), now)
        measurements.append(_measure(row, group, newest, began, now))
    return measurements


def select_rows(inventory: Inventory, *, here: Place) -> list[InventoryRow]:
    """The rows of the rules that copy to `here`."""
    return [row for row in inventory.rows if here.region in row.destinations]


def _measure(
    row: InventoryRow, group: Group, newest: RecoveryPoint | None, since: datetime, now: datetime
) -> Measurement:
    achieved = now - newest.source_time if newest else None
    if row.rpo is not None:
        standing, reason = _hold_against_rpo(row.rpo, achieved, since, now)
    else:
        standing, reason = _hold_against_schedule(row.cadence, newest, since, now)
    return Measurement(
        group=group, standing=standing, since=since, reason=reason, rpo=row.rpo, newest=newest, achieved=achieved
    )


def _hold_against_rpo(
    rpo: timedelta, achieved: timedelta | None, since: datetime, now: datetime
) -> tuple[Standing, str]:
    if achieved is None:
        standing = Standing.NEVER if now - since > rpo else Standing.WAITING
        age = write_duration(now - since)
        return standing, f"it has no complete copy, {age} after it was first seen; its RPO is {write_duration(rpo)}"
    standing = Standing.BREACHED if achieved > rpo else Standing.MET
    return standing, f"its newest complete copy is of {write_duration(achieved)} ago; its RPO is {write_duration(rpo)}"


def _hold_against_schedule(
    cadence: Cadence | None, newest: RecoveryPoint | None, since: datetime, now: datetime
) -> tuple[Standing, str]:
    due = _newest_slot_due(cadence, since=since, now=now)
    if due is None:
        standing = Standing.MET if newest else Standing.WAITING
        return standing, "its rule has no RPO, and no slot since it was first seen had to be copied yet"
    slot = f"the slot of {format_time(due)}, which had to be copied by now; its rule has no RPO"
    if newest is None:
        return Standing.NEVER, f"it has no complete copy, not even of {slot}"
    if newest.source_time < due:
        when = format_time(newest.source_time)
        return Standing.BREACHED, f"its newest complete copy is of {when}, from before {slot}"
    return Standing.MET, f"it has a complete copy of {slot}"


def _newest_slot_due(cadence: Cadence | None, *, since: datetime, now: datetime) -> datetime | None:
    """The newest slot since the resource was first seen that must have a complete copy by now; None without one."""
    if cadence is None:
        # An inventory that does not say when: a day is as long as most rules wait.
        closed = now - timedelta(days=1) - COPY_GRACE
        return closed if closed >= since else None
    newest = _newest_slot(cadence, until=now - cadence.start_window - COPY_GRACE)
    return newest if newest is not None and newest > since else None


@lru_cache(maxsize=256)
def _newest_slot(cadence: Cadence, *, until: datetime) -> datetime | None:
    """The newest slot that is not later than `until`: the same for all resources of a rule, and found only once."""
    for look_back in _LOOK_BACK:
        newest = None
        for newest in schedule.slots(  # noqa: B007 - the last one is wanted
            cadence.schedule, timezone=cadence.timezone, after=until - look_back, until=until
        ):
            pass
        if newest is not None:
            return newest
    return None


def doubt(inventory: Inventory, *, now: datetime) -> str | None:
    """Why an inventory cannot be believed to say what is protected now; None where it can."""
    age = now - inventory.published_at
    published = format_time(inventory.published_at)
    if age < -AHEAD_AT_MOST:
        return f"the inventory is of {published}, which is yet to come: a clock is wrong, or a tick was run by hand"
    if age > IS_GOOD_FOR:
        return (
            f"the inventory is of {published}, {write_duration(age)} ago: no tick has run since, or it could not be "
            "pulled; what was protected since then is not in this report"
        )
    return None
