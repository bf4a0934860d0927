"""hikae against restic's documentation: https://restic.readthedocs.io/en/stable/060_forget.html

Each table is one thing that the page says, under the heading "Removing snapshots according to a policy". The algorithm
at the end was written from the page's words alone, as plainly as they are: filters and groups, no running state.
"""

import itertools
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikae.domain.retention import KEEP_ALL, Policy, Span, decide
from tests.unit.domain.builders import At

ZONE = ZoneInfo("UTC")
EXPIRED = ("no rule keeps it",)


def at(*times: str) -> list[At]:
    return [At(time, datetime.fromisoformat(time).replace(tzinfo=UTC)) for time in times]


def reasons(policy: Policy, points: list[At], *, timezone: ZoneInfo = ZONE) -> dict[str, tuple[str, ...]]:
    return {verdict.id: verdict.reasons for verdict in decide(policy, points, timezone=timezone)}


def kept(policy: Policy, points: list[At], *, timezone: ZoneInfo = ZONE) -> list[str]:
    return [name for name, why in reasons(policy, points, timezone=timezone).items() if why != EXPIRED]


def named(value: object) -> str | None:
    """A policy by what it sets."""
    if not isinstance(value, Policy):
        return None
    return ", ".join(f"{each.name}={getattr(value, each.name)}" for each in fields(value) if getattr(value, each.name))


# --- what the page says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(keep_last=3), ["2026-11-22 22:50", "2026-11-22 22:10", "2026-11-22 21:30"]),
        (Policy(keep_hourly=3), ["2026-11-22 22:50", "2026-11-22 21:30", "2026-11-20 09:00"]),
        (Policy(keep_daily=3), ["2026-11-22 22:50", "2026-11-20 09:00", "2026-11-16 00:00"]),
        (Policy(keep_weekly=3), ["2026-11-22 22:50", "2026-11-15 23:59", "2026-10-31 10:00"]),
        (Policy(keep_monthly=3), ["2026-11-22 22:50", "2026-10-31 10:00", "2025-12-31 10:00"]),
        (Policy(keep_yearly=2), ["2026-11-22 22:50", "2025-12-31 10:00"]),
        (Policy(keep_yearly=KEEP_ALL), ["2026-11-22 22:50", "2025-12-31 10:00", "2024-06-01 00:00"]),
    ],
    ids=named,
)
def test_a_rule_keeps_the_most_recent_of_each_of_the_last_units_that_have_any(policy, expected):
    points = at(
        "2026-11-22 22:50",  # a Sunday
        "2026-11-22 22:10",
        "2026-11-22 21:30",
        "2026-11-20 09:00",
        "2026-11-16 00:00",  # the Monday of that week
        "2026-11-15 23:59",  # the Sunday before
        "2026-10-31 10:00",
        "2025-12-31 10:00",
        "2025-01-01 00:00",
        "2024-06-01 00:00",
    )
    assert kept(policy, points) == expected


def test_the_seven_of_keep_daily_may_be_spread_over_a_longer_period():
    spread = at(*(f"2026-{month:02}-{day:02} 12:00" for month in range(11, 6, -1) for day in (20, 3)))
    assert kept(Policy(keep_daily=7), spread) == [point.id for point in spread[:7]]
    # Who means the last seven days says keep-within-daily 7d.
    week = Policy(keep_within_daily=Span(days=7))
    assert kept(week, spread) == [spread[0].id]
    assert kept(week, at("2026-11-20 12:00", "2026-11-14 12:00", "2026-11-14 11:00", "2026-11-13 12:00")) == [
        "2026-11-20 12:00",
        "2026-11-14 12:00",
    ]


def test_all_of_the_pages_policy_for_irregular_backups():
    """What it proposes to who has irregular backups."""
    policy = Policy(
        keep_within_daily=Span(days=7),
        keep_within_weekly=Span(months=1),
        keep_within_monthly=Span(years=1),
        keep_within_yearly=Span(years=75),
    )
    daily, weekly, monthly, yearly = "daily within 7d", "weekly within 1m", "monthly within 1y", "yearly within 75y"
    assert reasons(
        policy,
        at(
            "2026-11-22 12:00",
            "2026-11-16 12:00",
            "2026-11-16 11:00",
            "2026-11-15 12:00",
            "2026-11-13 12:00",
            "2026-10-22 13:00",
            "2026-10-22 12:00",
            "2025-11-22 13:00",
            "2025-11-22 12:00",
            "1951-11-22 13:00",
            "1951-11-22 12:00",
        ),
    ) == {
        "2026-11-22 12:00": (daily, weekly, monthly, yearly),
        "2026-11-16 12:00": (daily,),
        "2026-11-16 11:00": EXPIRED,
        "2026-11-15 12:00": (weekly,),  # seven days to the hour: not within; the Sunday of its week
        "2026-11-13 12:00": EXPIRED,
        "2026-10-22 13:00": (weekly, monthly),
        "2026-10-22 12:00": EXPIRED,
        "2025-11-22 13:00": (monthly, yearly),
        "2025-11-22 12:00": EXPIRED,
        "1951-11-22 13:00": (yearly,),
        "1951-11-22 12:00": EXPIRED,
    }


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ("2y5m7d3h", 5),
        ("2y5m7d2h", 4),
        ("2y5m7d", 3),
        ("2y5m", 2),
        ("2y", 1),
    ],
)
def test_within_a_duration_is_within_years_months_days_and_hours_before_the_latest(span, expected):
    """2y5m7d3h is the page's own duration."""
    points = at("2026-11-22 12:00", "2024-11-20 12:00", "2024-06-20 12:00", "2024-06-15 11:00", "2024-06-15 09:30")
    assert kept(Policy(keep_within=Span.parse(span)), points) == [point.id for point in points[:expected]]


def test_a_duration_is_counted_from_the_latest_snapshot_wherever_that_is():
    for year in (1999, 2026, 2199):
        points = [At(str(day), datetime(year, 6, 30 - day, tzinfo=UTC)) for day in range(20)]
        assert kept(Policy(keep_within=Span(days=3)), points) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (Policy(keep_hourly=3), "oldest hourly snapshot"),
        (Policy(keep_daily=3), "oldest daily snapshot"),
        (Policy(keep_weekly=3), "oldest weekly snapshot"),
        (Policy(keep_monthly=3), "oldest monthly snapshot"),
        (Policy(keep_yearly=3), "oldest yearly snapshot"),
        (Policy(keep_within_hourly=Span(days=1)), "oldest hourly within 1d"),
        (Policy(keep_within_yearly=Span(years=1)), "oldest yearly within 1y"),
    ],
    ids=named,
)
def test_the_oldest_is_kept_additionally_where_there_are_not_enough(policy, why):
    # All in one hour: every rule finds one of its units, and has two left.
    points = at("2026-11-22 22:50", "2026-11-22 22:30", "2026-11-22 22:10")
    assert reasons(policy, points) == {
        "2026-11-22 22:50": (why.removeprefix("oldest "),),
        "2026-11-22 22:30": EXPIRED,
        "2026-11-22 22:10": (why,),
    }


def test_the_oldest_stays_the_oldest_until_the_counts_are_used_up():
    daily = Policy(keep_daily=3)
    history: list[At] = []
    left = []
    for day in range(1, 6):
        history += at(f"2026-11-{day:02} 08:00", f"2026-11-{day:02} 20:00")
        names = kept(daily, history)
        history = [point for point in history if point.id in names]
        left.append([name[8:13] for name in names])
    assert left == [
        ["01 20", "01 08"],
        ["02 20", "01 20", "01 08"],
        ["03 20", "02 20", "01 20"],
        ["04 20", "03 20", "02 20"],
        ["05 20", "04 20", "03 20"],
    ]


@pytest.mark.parametrize(
    ("policy", "boundary"),
    [
        (Policy(keep_hourly=2), "2026-11-22 22:00"),
        (Policy(keep_daily=2), "2026-11-22 00:00"),
        (Policy(keep_weekly=2), "2026-11-23 00:00"),  # a Monday
        (Policy(keep_monthly=2), "2026-12-01 00:00"),
        (Policy(keep_yearly=2), "2027-01-01 00:00"),
    ],
    ids=named,
)
def test_units_are_natural_ones(policy, boundary):
    """Weeks begin on Monday, and no unit begins when forget is run."""
    start = datetime.fromisoformat(boundary).replace(tzinfo=UTC)
    minute = timedelta(minutes=1)
    names = ["last", "first", "just before", "long before"]
    points = [At(name, start + step * minute) for name, step in zip(names, (1, 0, -1, -2), strict=True)]
    assert kept(policy, points) == ["last", "just before"]


def test_a_snapshot_needs_only_one_rule_and_several_may_keep_it():
    """The last one of a Sunday is the page's example of one that several rules keep."""
    points = at("2026-11-22 23:00", "2026-11-22 22:00", "2026-11-21 23:00", "2026-11-15 23:00")
    assert reasons(Policy(keep_hourly=2, keep_daily=2, keep_weekly=2), points) == {
        "2026-11-22 23:00": ("hourly snapshot", "daily snapshot", "weekly snapshot"),
        "2026-11-22 22:00": ("hourly snapshot",),
        "2026-11-21 23:00": ("daily snapshot",),
        "2026-11-15 23:00": ("weekly snapshot",),
    }


def test_an_empty_policy_removes_nothing():
    """As --keep-last 0 removes nothing there."""
    points = at("2026-11-22 23:00", "1990-01-01 00:00")
    assert kept(Policy(keep_last=0), points) == [point.id for point in points]


# --- the page's words as an algorithm ---------------------------------------------------------------------------------

Unit = Callable[[datetime], object]
UNITS: dict[str, Unit] = {
    "hourly": lambda local: f"{local:%Y-%m-%d %H}",
    "daily": lambda local: f"{local:%Y-%m-%d}",
    "weekly": lambda local: f"{local:%G-W%V}",
    "monthly": lambda local: f"{local:%Y-%m}",
    "yearly": lambda local: f"{local:%Y}",
}


def forget(policy: Policy, points: list[At], timezone: ZoneInfo) -> dict[str, tuple[str, ...]]:
    """What the page says is kept, with the reasons as it prints them."""
    newest_first = sorted(points, key=lambda point: (point.time, point.id))[::-1]
    if policy == Policy():
        return {point.id: ("no retention rule",) for point in newest_first}
    found = []
    if policy.keep_within:
        found += [
            (point, f"within {policy.keep_within}") for point in reach(newest_first, policy.keep_within, timezone)
        ]
    found += first(newest_first, newest_first, policy.keep_last, "last snapshot")
    for name, unit in UNITS.items():
        chosen = one_of_each(unit, newest_first, timezone)
        found += first(chosen, newest_first, getattr(policy, f"keep_{name}"), f"{name} snapshot")
    for name, unit in UNITS.items():
        span = getattr(policy, f"keep_within_{name}")
        if span:
            near = reach(newest_first, span, timezone)
            whole = near if near == newest_first else []
            found += first(one_of_each(unit, near, timezone), whole, KEEP_ALL, f"{name} within {span}")
    return {each.id: tuple(why for point, why in found if point is each) or EXPIRED for each in newest_first}


def first(chosen: list[At], everything: list[At], number: int, why: str) -> list[tuple[At, str]]:
    """So many of those chosen, and the oldest of all besides where these are not enough."""
    taken = chosen if number == KEEP_ALL else chosen[:number]
    lacks = number == KEEP_ALL or len(taken) < number
    oldest = [each for each in everything[-1:] if lacks and each not in taken]
    return [*((each, why) for each in taken), *((each, f"oldest {why}") for each in oldest)]


def one_of_each(unit: Unit, newest_first: list[At], timezone: ZoneInfo) -> list[At]:
    by_unit: dict[object, list[At]] = {}
    for point in newest_first:
        by_unit.setdefault(unit(point.time.astimezone(timezone)), []).append(point)
    return [members[0] for members in by_unit.values()]


def reach(newest_first: list[At], span: Span, timezone: ZoneInfo) -> list[At]:
    limit = back(newest_first[0].time.astimezone(timezone), span)
    return [point for point in newest_first if point.time > limit]


def back(local: datetime, span: Span) -> datetime:
    """Years, months and days off on the calendar, what is over the end of a month runs on; hours off on the clock."""
    year, month = local.year - span.years, local.month - span.months
    while month < 1:
        year, month = year - 1, month + 12
    first = local.replace(year=year, month=month, day=1, fold=local.fold)
    wall = first.replace(tzinfo=None) + timedelta(days=local.day - 1 - span.days)
    return wall.replace(tzinfo=local.tzinfo, fold=local.fold).astimezone(UTC) - timedelta(hours=span.hours)


zones = st.sampled_from(
    [
        "UTC",
        "Asia/Tokyo",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "America/Havana",
        "Antarctica/Troll",
    ]
).map(ZoneInfo)
spans = st.builds(
    Span, years=st.integers(0, 2), months=st.integers(0, 14), days=st.integers(0, 40), hours=st.integers(1, 60)
)
counts = st.sampled_from([0, 0, 0, 1, 2, 3, 7, KEEP_ALL])
policies = st.builds(
    Policy,
    **{each.name: st.none() | st.none() | spans if "within" in each.name else counts for each in fields(Policy)},
)
# Steps of minutes to months, from a few anchors: around changes of the clock and the ends of years and short months.
anchors = st.sampled_from(
    [
        datetime(2026, 11, 1, 7, tzinfo=UTC),
        datetime(2027, 3, 31, 16, tzinfo=UTC),
        datetime(2028, 2, 29, 23, tzinfo=UTC),
        datetime(2027, 1, 1, 5, tzinfo=UTC),
        datetime(2026, 10, 25, 4, tzinfo=UTC),
    ]
)
steps = st.lists(
    st.sampled_from([0, 1, 7, 20, 29, 30, 45, 60])
    | st.integers(60, 60 * 30)
    | st.integers(60 * 24, 60 * 24 * 45)
    | st.just(60 * 24),
    max_size=40,
)


@given(policies, anchors, steps, zones)
def test_every_verdict_and_every_reason_are_those_of_the_page(policy, anchor, steps, timezone):
    ages = itertools.accumulate(steps, initial=0)
    points = [At(f"{number:02}", anchor - timedelta(minutes=age)) for number, age in enumerate(ages)]
    assert reasons(policy, points, timezone=timezone) == forget(policy, points, timezone)


@pytest.mark.parametrize(
    ("zone", "changed_at"),
    [
        ("America/New_York", "2026-11-01T06:00"),
        ("Australia/Lord_Howe", "2026-04-04T15:00"),
        ("Antarctica/Troll", "2026-10-25T01:00"),
    ],
)
@pytest.mark.parametrize(
    "policy", [Policy(keep_hourly=4), Policy(keep_hourly=KEEP_ALL), Policy(keep_within_hourly=Span(hours=3))], ids=named
)
def test_an_hour_that_the_clock_shows_twice_is_one_hour(policy, zone, changed_at):
    """By an hour, by half an hour, and by two: there the clock shows one hour, another, and the first again."""
    changed = datetime.fromisoformat(changed_at).replace(tzinfo=UTC)
    points = [At(f"{number:02}", changed + timedelta(minutes=150 - 20 * number)) for number in range(24)]
    assert reasons(policy, points, timezone=ZoneInfo(zone)) == forget(policy, points, ZoneInfo(zone))
    newest, oldest = (point.time.astimezone(ZoneInfo(zone)) for point in (points[0], points[-1]))
    assert newest.utcoffset() < oldest.utcoffset()
