"""The slots of a rule as people read them: in UTC, on the wall, and what a change of the clock made of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim

from hikae.domain.schedule import ClockChange, clock_changes, follows_clock, slots

_SECOND: Final = timedelta(seconds=1)
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One time of a schedule.

    `slot` is None where the clock skipped the time and there is no slot for it. `local` is what the clock on the wall
    shows at the slot, with its UTC offset, or would have shown, without one. `remark` says what a change of the clock
    made of it, and is empty on every other day.
    """

    slot: datetime | None
    local: datetime
    remark: str = ""


def agenda(schedule: str, *, timezone: ZoneInfo, after: datetime, until: datetime) -> Iterator[Entry]:
    """Every slot later than `after` and not later than `until`, and every time that a change of the clock left out."""
    last = after
    for slot in chain(slots(schedule, timezone=timezone, after=after, until=until), (None,)):
        if follows_clock(schedule):
            yield from _skipped(schedule, timezone, after=last, until=slot or until)
        if slot is not None:
            yield Entry(slot=slot, local=slot.astimezone(timezone), remark=_remark(schedule, timezone, slot))
            last = slot


def _skipped(schedule: str, timezone: ZoneInfo, *, after: datetime, until: datetime) -> Iterator[Entry]:
    for change in clock_changes(timezone, after=after, until=until):
        for wall in _times_in(schedule, *_gap(change)):
            remark = f"has no slot: the clock goes {_from_to(change)}"
            yield Entry(slot=None, local=wall, remark=remark)


def _remark(schedule: str, timezone: ZoneInfo, slot: datetime) -> str:
    local = slot.astimezone(timezone)
    first, second = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    if first < second:
        if not follows_clock(schedule):
            return f"{local:%H:%M} comes twice, and runs the first time only"
        return f"{local:%H:%M} comes twice; this is the {'first' if slot == first else 'second'} time"
    if follows_clock(schedule):
        return ""
    for change in clock_changes(timezone, after=slot - _SECOND, until=slot):
        moved = [f"{wall:%H:%M}" for wall in _times_in(schedule, *_gap(change))]
        if moved:
            own = [f"{local:%H:%M}"] if list(_times_in(schedule, *_minute(local))) else []
            merged = f", merged with {own[0]}" if own else ", merged" if len(moved) > 1 else ""
            return f"{_listed(moved)} moved right behind the gap{merged}: the clock goes {_from_to(change)}"
    return ""


def _gap(change: ClockChange) -> tuple[datetime, datetime]:
    """What the clock on the wall never shows: from the first, to the second exclusive; empty where it goes back."""
    wall = change.at.replace(tzinfo=None)
    return wall + change.before, wall + change.after


def _minute(local: datetime) -> tuple[datetime, datetime]:
    wall = local.replace(tzinfo=None)
    return wall, wall + _SECOND


def _times_in(schedule: str, begin: datetime, end: datetime) -> Iterator[datetime]:
    """The times on the wall that match, as if no clock were ever changed."""
    if begin >= end:
        return
    for wall in CronSim(schedule, begin - _SECOND):
        if wall >= end:
            return
        yield wall


def _from_to(change: ClockChange) -> str:
    begin, end = _gap(change)
    form = "%H:%M" if begin.date() == end.date() else "%Y-%m-%d %H:%M"
    return f"from {begin:{form}} to {end:{form}}"


def _listed(times: list[str]) -> str:
    if len(times) <= _SHOWN:
        return " and ".join(filter(None, (", ".join(times[:-1]), times[-1])))
    return f"{', '.join(times[:_SHOWN])} and {len(times) - _SHOWN} more"
