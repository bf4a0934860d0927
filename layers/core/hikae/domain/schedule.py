"""When a rule is due: cron in the plan's time zone, slots in UTC.

Debian's daylight-saving rule, by cronsim: a job at a fixed time in the skipped hour runs right after it, one in the
repeated hour runs once, and slots that thereby coincide merge. EventBridge Scheduler would silently skip the former:
https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import timezone as FixedOffset  # noqa: N812 - a zone of the plan is the timezone here
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim

_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueSlot:
    """The newest slot of a rule that has become due, and until when its jobs may start."""

    slot: datetime
    deadline: datetime


def slots(schedule: str, *, timezone: ZoneInfo, after: datetime, until: datetime) -> Iterator[datetime]:
    """The slots later than `after` and not later than `until`, strictly increasing, in UTC."""
    last, end = after.astimezone(UTC), until.astimezone(UTC)
    find = _whenever_shown if follows_clock(schedule) else _at_fixed_times
    for slot in find(schedule, timezone, last, end):
        if slot > end:
            return
        if slot > last:
            last = slot
            yield slot


def follows_clock(schedule: str) -> bool:
    """Whether the schedule follows the time that passes, as one does whose minute or hour begins with `*`.

    It has no slot in a skipped hour and one in each of two that look alike; the others move and run once.
    """
    minute, hour, *_ = schedule.split()
    return minute.startswith("*") or hour.startswith("*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockChange:
    """A moment at which the clock is changed: from `before` ahead of UTC to `after` ahead of it."""

    at: datetime
    before: timedelta
    after: timedelta


def clock_changes(timezone: ZoneInfo, *, after: datetime, until: datetime) -> Iterator[ClockChange]:
    """Each change of the clock later than `after` and not later than `until`, to the second.

    The clock is looked at once a day: of two changes within one that cancel each other nothing is seen.
    """
    begin, end = (moment.astimezone(UTC).replace(microsecond=0) for moment in (after, until))
    while begin < end:
        following = min(begin + _DAY, end)
        before, now = _offset(timezone, begin), _offset(timezone, following)
        if before != now:
            last = _last_with(before, timezone, begin, following).replace(microsecond=0)
            yield ClockChange(at=last + _SECOND, before=before, after=now)
        begin = following


def _at_fixed_times(schedule: str, timezone: ZoneInfo, after: datetime, _: datetime) -> Iterator[datetime]:
    """Fixed times of the day, which cronsim moves out of a skipped hour and gives once in a repeated one."""
    for local in CronSim(schedule, after.astimezone(timezone)):
        yield local.astimezone(UTC)


def _whenever_shown(schedule: str, timezone: ZoneInfo, after: datetime, until: datetime) -> Iterator[datetime]:
    """Whenever the clock on the wall shows a time that matches: never in a skipped hour, twice in a repeated one.

    Each stretch of one UTC offset by itself: cronsim leaves times out where the clock is changed by half an hour. Days
    on which nothing matches are not looked at one by one, but for those before the next match, which a change of the
    clock, of a day at the most, may bring closer.
    """
    begin = after
    while begin < until:
        offset = _offset(timezone, begin + _SECOND)
        end = min(begin + _DAY, until)
        if _offset(timezone, end) != offset:
            end = _last_with(offset, timezone, begin + _SECOND, end)
        slot = None
        for local in CronSim(schedule, begin.astimezone(FixedOffset(offset))):
            slot = local.astimezone(UTC)
            if slot > end:
                break
            yield slot
        if slot is None:  # never again
            return
        begin = max(end, slot - 3 * _DAY) if end - begin == _DAY else end


def _last_with(offset: timedelta, timezone: ZoneInfo, known: datetime, changed: datetime) -> datetime:
    """The last second before the clock is changed, which is between the two."""
    while changed - known > _SECOND:
        middle = known + (changed - known) // 2
        if _offset(timezone, middle) == offset:
            known = middle
        else:
            changed = middle
    return known


def _offset(timezone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(timezone).utcoffset() or timedelta(0)


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


def missed(  # noqa: PLR0913 - what a slot goes by
    schedule: str,
    *,
    timezone: ZoneInfo,
    start_window: timedelta,
    last: datetime | None,
    due: DueSlot | None,
    now: datetime,
) -> list[datetime]:
    """The slots after the `last` one that is done with whose time is over at `now`: nobody will make them up.

    Those before the one that is `due`; where none is, those whose window has closed, so that they are told then and not
    only when the next one is due, which may be a month later. Without a `last` one the schedule is new, and nothing was
    missed.
    """
    if last is None:
        return []
    if due is None:
        return list(slots(schedule, timezone=timezone, after=last, until=now - start_window))
    return [slot for slot in slots(schedule, timezone=timezone, after=last, until=due.slot) if slot < due.slot]
