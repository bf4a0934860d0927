"""Which recovery points a policy keeps, with every rule that keeps each: restic's `forget`, as a pure function.

The rules are ORed. A bucket (an hour, a day, …) keeps its newest point; buckets without a point do not count; while a
rule has counts left, the oldest point is kept too, which makes the history as long as the policy allows.
https://restic.readthedocs.io/en/stable/060_forget.html
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from hikae.domain.model import Action, Verdict

KEEP_ALL: Final = -1
_MONTHS: Final = 12


class Dated(Protocol):
    """What retention decides about: anything with a name and a time."""

    @property
    def id(self) -> str:
        """A name, unique among the points that are judged together."""

    @property
    def time(self) -> datetime:
        """The aware time that retention goes by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A duration in calendar units, such as `1y2m3d3h`."""

    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0

    def __post_init__(self) -> None:
        """Refuse what would keep nothing, not even the newest point.

        Raises:
            ValueError: a unit is negative, or all are zero.
        """
        units = astuple(self)
        if min(units) < 0 or not any(units):
            raise ValueError(f"{self!r} is no time at all")

    @classmethod
    def parse(cls, text: str) -> "Span":
        """Read `1y2m3d3h`, any part of it, in any order.

        Raises:
            ValueError: it is not such a duration, names a unit twice, or is empty.
        """
        parts = re.findall(r"([0-9]{1,4000})([ymdh])", text)
        units = {unit: int(number) for number, unit in parts}
        if not parts or len(units) < len(parts) or "".join(map("".join, parts)) != text:
            raise ValueError(f"{text[:80]!r} is not a duration such as 1y2m3d3h")
        if not any(units.values()):
            raise ValueError(f"{text[:80]!r} is no time at all")
        return cls(years=units.get("y", 0), months=units.get("m", 0), days=units.get("d", 0), hours=units.get("h", 0))

    def __str__(self) -> str:
        """As it is written in a plan."""
        parts = ((self.years, "y"), (self.months, "m"), (self.days, "d"), (self.hours, "h"))
        return "".join(f"{number}{unit}" for number, unit in parts if number)

    def before(self, moment: datetime) -> datetime:
        """The time this long before `moment`, counted on the calendar of its zone, in UTC.

        A day that the month does not have runs over into the next month (31 March less one month is 3 March), as in
        restic.
        """
        month_index = moment.year * _MONTHS + moment.month - 1 - self.years * _MONTHS - self.months
        try:
            day = date(month_index // _MONTHS, month_index % _MONTHS + 1, 1) + timedelta(
                days=moment.day - 1 - self.days
            )
            local = datetime.combine(day, moment.timetz())
            # Hours are absolute: taken off in UTC, they do not stretch over a daylight-saving change.
            return datetime.fromtimestamp(local.timestamp() - self.hours * 3600, tz=UTC)
        except (OverflowError, ValueError):  # before the year 1
            return datetime.min.replace(tzinfo=UTC)

    def latest_before(self, moment: datetime) -> datetime:
        """The latest time that `before` gives for `moment` or any earlier one, in UTC.

        `before` goes back at times: one month before 31 March is 3 March, one month before 1 April is 1 March.
        """
        if not (self.years or self.months or self.days):
            return self.before(moment)
        utc = moment.astimezone(UTC)
        quarter = utc.replace(minute=utc.minute // 15 * 15, second=0, microsecond=0)
        return max(self.before(moment), _latest_until(self, quarter, moment.tzinfo))


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How many points to keep; -1 keeps all of a kind. A policy without any rule keeps everything."""

    keep_last: int = 0
    keep_hourly: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0
    keep_within: Span | None = None
    keep_within_hourly: Span | None = None
    keep_within_daily: Span | None = None
    keep_within_weekly: Span | None = None
    keep_within_monthly: Span | None = None
    keep_within_yearly: Span | None = None

    def __post_init__(self) -> None:
        """Refuse what is no number of points.

        Raises:
            ValueError: a number is below -1.
        """
        for name in _COUNTS:
            number: int = getattr(self, name)
            if number < KEEP_ALL:
                raise ValueError(f"{name} is {number}; a number from 1, -1 for all, or 0 for none")

    @property
    def is_empty(self) -> bool:
        """Whether no rule is set."""
        return self == Policy()


def decide(policy: Policy, points: Iterable[Dated], *, timezone: ZoneInfo, is_final: bool = False) -> list[Verdict]:
    """Keep or expire each point, newest first, with every rule that keeps it.

    Only complete points may be given: an incomplete one would use up a count. Points of equal time are told apart by
    their id, so the order in which they are given does not matter.

    With `is_final`, less is kept: no point that was expired, or would have been, when the newest one was not there yet.
    restic's own words would bring it back where a span of months ends on a day that the month does not have, and where
    the oldest point falls out of a span and the next one becomes the oldest.
    """
    newest_first = sorted(points, key=attrgetter("time", "id"), reverse=True)
    if policy.is_empty:
        return [Verdict(id=point.id, action=Action.KEEP, reasons=("no retention rule",)) for point in newest_first]
    rules = _rules(policy, newest_first, timezone, is_final=is_final)
    verdicts = []
    for number, point in enumerate(newest_first):
        local = point.time.astimezone(timezone)
        is_oldest = number == len(newest_first) - 1
        # A rule that is over stays so for all older points: most of a long history is judged by few rules.
        rules = [rule for rule in rules if not rule.is_over(local)]
        reasons = tuple(reason for rule in rules if (reason := rule.judge(local, number, is_oldest=is_oldest)))
        if reasons:
            verdicts.append(Verdict(id=point.id, action=Action.KEEP, reasons=reasons))
        else:
            verdicts.append(Verdict(id=point.id, action=Action.EXPIRE, reasons=("no rule keeps it",)))
    return verdicts


def would_keep(
    policy: Policy, points: Iterable[Dated], others: Iterable[Dated], *, timezone: ZoneInfo
) -> frozenset[str]:
    """The ids of those of `others` that the policy would keep, each if it alone came to `points`."""
    newest_first = sorted(points, key=attrgetter("time", "id"), reverse=True)
    waiting = sorted(others, key=attrgetter("time", "id"))
    rules = _rules(policy, newest_first, timezone, is_final=False)
    kept = set()
    for number, point in enumerate([*newest_first, None]):
        while waiting and (point is None or (waiting[-1].time, waiting[-1].id) > (point.time, point.id)):
            other = waiting.pop()
            local = other.time.astimezone(timezone)
            # One that would be the newest is kept by any rule, and anything by a policy that has none.
            if number == 0 or policy.is_empty or _keeps(rules, local, number, is_oldest=point is None):
                kept.add(other.id)
        if point is not None:
            local = point.time.astimezone(timezone)
            rules = [rule for rule in rules if not rule.is_over(local)]
            for rule in rules:
                rule.judge(local, number, is_oldest=False)
    return frozenset(kept)


def _keeps(rules: Iterable["_Rule"], local: datetime, number: int, *, is_oldest: bool) -> bool:
    live = (rule for rule in rules if not rule.is_over(local))
    return any(rule.reason_for(rule.bucket(local, number), is_oldest=is_oldest) for rule in live)


@dataclass(slots=True, kw_only=True)
class _Rule:
    """One rule on its way from the newest point to the oldest."""

    reason: str
    bucket: "_Bucket"
    left: int
    after: datetime | None = None
    keeps_oldest: bool = True
    last: tuple[int, ...] | None = None

    def is_over(self, local: datetime) -> bool:
        # `after` is in UTC: times of one and the same zone are compared by their wall clock, which repeats an hour.
        return self.left == 0 or (self.after is not None and local <= self.after)

    def judge(self, local: datetime, number: int, *, is_oldest: bool) -> str | None:
        value = self.bucket(local, number)
        reason = self.reason_for(value, is_oldest=is_oldest)
        if reason is not None:
            self.last = value
            if self.left != KEEP_ALL:
                self.left -= 1
        return reason

    def reason_for(self, value: tuple[int, ...], *, is_oldest: bool) -> str | None:
        # Not "another": where the clock is put back by two hours, it comes to an hour a second time with one between.
        if self.last is None or value < self.last:
            return self.reason
        return f"oldest {self.reason}" if is_oldest and self.keeps_oldest else None


def _rules(policy: Policy, newest_first: Sequence[Dated], timezone: ZoneInfo, *, is_final: bool) -> list[_Rule]:
    if not newest_first:
        return []
    newest = newest_first[0].time.astimezone(timezone)

    def within(span: Span, reason: str, bucket: "_Bucket") -> _Rule:
        after = span.latest_before(newest) if is_final else span.before(newest)
        return _Rule(reason=reason, bucket=bucket, left=KEEP_ALL, after=after, keeps_oldest=not is_final)

    rules: list[_Rule] = []
    if policy.keep_within:
        rules.append(within(policy.keep_within, f"within {policy.keep_within}", _each))
    for name, bucket in _BUCKETS.items():
        count: int = getattr(policy, f"keep_{name}")
        if count:
            rules.append(_Rule(reason=f"{name} snapshot", bucket=bucket, left=count))
    for name, bucket in _BUCKETS.items():
        span: Span | None = getattr(policy, f"keep_within_{name}", None)
        if span:
            rules.append(within(span, f"{name} within {span}", bucket))
    return rules


@lru_cache(maxsize=4096)
def _latest_until(span: Span, quarter: datetime, timezone: ZoneInfo) -> datetime:
    """The latest that `before` gives in the days up to `quarter`, in UTC.

    Between local midnights and changes of the UTC offset, all of them on a quarter of an hour, it grows with time; so
    it is the greatest just before one of these. What runs over the end of a month does so for at most three days.
    """
    local = quarter.astimezone(timezone)
    midnight = local.replace(hour=0, minute=0)
    ends = [_just_before(end.astimezone(UTC), timezone) for end in (local, *(midnight - day for day in _RUN_OVER))]
    limits = [span.before(end) for end in ends]
    # The hours are no matter of the calendar: where its days end up is told without them.
    days_before = [max(replace(span, hours=0).before(end), _EARLIEST).astimezone(timezone) for end in ends]
    if len({each.utcoffset() for each in ends}) > 1 or len({each.utcoffset() for each in days_before}) > 1:
        quarters = (quarter - number * _QUARTER for number in range(_RUN_OVER[-1] // _QUARTER))
        limits = [span.before(_just_before(end, timezone)) for end in quarters]
    return max(limits)


def _just_before(moment: datetime, timezone: ZoneInfo) -> datetime:
    return (moment - timedelta(microseconds=1)).astimezone(timezone)


_QUARTER: Final = timedelta(minutes=15)
_RUN_OVER: Final = tuple(timedelta(days=number) for number in range(6))
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC) + timedelta(days=1)

_Bucket = Callable[[datetime, int], tuple[int, ...]]


def _each(_: datetime, number: int) -> tuple[int, ...]:
    return (-number,)


def _hour(local: datetime, _: int) -> tuple[int, ...]:
    return local.year, local.month, local.day, local.hour


def _day(local: datetime, _: int) -> tuple[int, ...]:
    return local.year, local.month, local.day


def _week(local: datetime, _: int) -> tuple[int, ...]:
    return local.isocalendar()[:2]


def _month(local: datetime, _: int) -> tuple[int, ...]:
    return local.year, local.month


def _year(local: datetime, _: int) -> tuple[int, ...]:
    return (local.year,)


_BUCKETS: Final[dict[str, _Bucket]] = {
    "last": _each,
    "hourly": _hour,
    "daily": _day,
    "weekly": _week,
    "monthly": _month,
    "yearly": _year,
}
_COUNTS: Final = tuple(f"keep_{name}" for name in _BUCKETS)
