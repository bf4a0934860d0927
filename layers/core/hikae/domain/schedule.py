"""When a rule is due: cron in the plan's time zone, slots in UTC.

Debian's daylight-saving rule, by cronsim: a job at a fixed time in the skipped hour runs right after it, one in the
repeated hour runs once, and slots that thereby coincide merge. EventBridge Scheduler would silently skip the former:
https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim


@dataclass(frozen=True, slots=True, kw_only=True)
class DueSlot:
    """The newest slot of a rule that has become due, and until when its jobs may start."""

    slot: datetime
    deadline: datetime


def slots(schedule: str, *, timezone: ZoneInfo, after: datetime, until: datetime) -> Iterator[datetime]:
    """The slots later than `after` and not later than `until`, strictly increasing, in UTC."""
    last = after.astimezone(UTC)
    end = until.astimezone(UTC)
    # cronsim starts behind the minute it is given, on the wall clock; one minute earlier loses none at a fold.
    for local in CronSim(schedule, last.astimezone(timezone) - timedelta(minutes=1)):
        slot = local.astimezone(UTC)
        if slot > end:
            return
        if slot > last:
            last = slot
            yield slot


def newest_due(schedule: str, *, timezone: ZoneInfo, start_window: timedelta, now: datetime) -> DueSlot | None:
    """The newest slot that is due at `now` and whose start window is still open; None where there is none.

    Its jobs may start until the window closes or the next slot is due, whichever is earlier: two snapshots of one
    volume at once are worth one.
    """
    opened = now - start_window
    due = None
    for due in slots(schedule, timezone=timezone, after=opened, until=now):  # noqa: B007 - the last one is wanted
        pass
    if due is None:
        return None
    closes = due + start_window
    following = next(slots(schedule, timezone=timezone, after=due, until=closes), closes)
    return DueSlot(slot=due, deadline=min(closes, following))


def missed(schedule: str, *, timezone: ZoneInfo, last: datetime | None, newest: datetime) -> list[datetime]:
    """The slots between the `last` one that was dispatched and the `newest` due one: nobody will make them up.

    Without a `last` one the rule is new, and nothing was missed.
    """
    if last is None or last >= newest:
        return []
    return [slot for slot in slots(schedule, timezone=timezone, after=last, until=newest) if slot < newest]
