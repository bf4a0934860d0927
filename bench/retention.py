"""How long retention takes to judge a long history by all of its rules."""

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hikae.domain.retention import Policy, Span, decide

NEWEST = datetime(2026, 11, 22, tzinfo=UTC)
EVERY_RULE = Policy(
    keep_last=10,
    keep_hourly=100,
    keep_daily=100,
    keep_weekly=100,
    keep_monthly=100,
    keep_yearly=10,
    keep_within=Span(days=3),
    keep_within_hourly=Span(days=30),
    keep_within_daily=Span(months=6),
    keep_within_weekly=Span(years=1),
    keep_within_monthly=Span(years=1),
    keep_within_yearly=Span(years=3),
)


@dataclass(frozen=True, slots=True)
class Point:
    """The least that retention judges."""

    id: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Judging:
    """The larger number of points: how long they take, and what one costs against one of the smaller number."""

    points: int
    seconds: float
    ratio: float


def measure_judging(few: int, many: int) -> Judging:
    """Judge `few` and `many` points, one every five minutes, given in no order; the best of three runs counts."""
    small, large = (min(_seconds(number) for _ in range(3)) for number in (few, many))
    return Judging(points=many, seconds=large, ratio=(large / many) / (small / few))


def _seconds(number: int) -> float:
    points = [Point(f"{each:06}", NEWEST - timedelta(minutes=5 * each)) for each in range(number)]
    random.Random(0).shuffle(points)  # noqa: S311 - reproducible, not secret
    begun = time.process_time()
    decide(EVERY_RULE, points, timezone=ZoneInfo("Asia/Tokyo"))
    return time.process_time() - begun
