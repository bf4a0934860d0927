"""restic's documented semantics (https://restic.readthedocs.io/en/stable/060_forget.html) and what it promises."""

import random
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikae.domain.model import Action
from hikae.domain.retention import KEEP_ALL, Policy, Span, decide, would_keep
from tests.unit.domain.builders import At

ZONE = ZoneInfo("UTC")
ZONES = [
    ZoneInfo(name) for name in ("UTC", "Asia/Tokyo", "America/New_York", "Australia/Lord_Howe", "Antarctica/Troll")
]
START = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
COUNTS = ("keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly")
SPANS = tuple(each.name for each in fields(Policy) if each.name not in COUNTS)


def every(step: timedelta, number: int, *, until: datetime = START) -> list[At]:
    """`number` points, `step` apart, newest first and named by their place from 0."""
    return [At(str(each), until - each * step) for each in range(number)]


def days(*times: str) -> list[At]:
    return [
        At(time, datetime.fromisoformat(f"{time}+00:00" if "T" in time else f"{time}T12:00+00:00")) for time in times
    ]


def kept(policy: Policy, points, *, timezone: ZoneInfo = ZONE) -> list[str]:
    return [verdict.id for verdict in decide(policy, points, timezone=timezone) if verdict.action is Action.KEEP]


def reasons(policy: Policy, points, *, timezone: ZoneInfo = ZONE) -> dict[str, tuple[str, ...]]:
    return {verdict.id: verdict.reasons for verdict in decide(policy, points, timezone=timezone)}


# --- restic's own worked examples -------------------------------------------------------------------------------------


def test_four_dailies_of_twelve_sundays_are_the_last_four_sundays():
    sundays = every(timedelta(weeks=1), 12, until=datetime(2019, 11, 17, 11, tzinfo=UTC))
    assert reasons(Policy(keep_daily=4), sundays) == {
        str(number): ("daily snapshot",) if number < 4 else ("no rule keeps it",) for number in range(12)
    }


def test_a_century_of_dailies_keeps_what_restic_says_it_keeps():
    century = every(timedelta(days=1), 36_525)
    policy = Policy(keep_daily=7, keep_weekly=5, keep_monthly=12, keep_yearly=75)
    by_reason = dict.fromkeys(("daily", "weekly", "monthly", "yearly"), 0)
    for why in reasons(policy, century).values():
        for rule in by_reason:
            by_reason[rule] += f"{rule} snapshot" in why
    assert by_reason == {"daily": 7, "weekly": 5, "monthly": 12, "yearly": 75}
    # Today is a daily, a weekly, a monthly and a yearly at once, 31 December 2025 is a monthly and a yearly.
    assert len(kept(policy, century)) == 7 + 4 + 11 + 73


# --- buckets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(keep_last=2), ["2026-11-22T22:00", "2026-11-22T21:30"]),
        (Policy(keep_hourly=2), ["2026-11-22T22:00", "2026-11-22T21:30"]),
        (Policy(keep_hourly=3), ["2026-11-22T22:00", "2026-11-22T21:30", "2026-11-20T09:00"]),
        (Policy(keep_daily=2), ["2026-11-22T22:00", "2026-11-20T09:00"]),
        (Policy(keep_weekly=2), ["2026-11-22T22:00", "2026-11-15T09:00"]),
        (Policy(keep_monthly=2), ["2026-11-22T22:00", "2026-10-31T09:00"]),
        (Policy(keep_yearly=2), ["2026-11-22T22:00", "2025-12-31T09:00"]),
    ],
)
def test_a_bucket_keeps_its_newest_point_and_empty_buckets_do_not_count(policy, expected):
    points = days(
        "2026-11-22T22:00",
        "2026-11-22T21:30",
        "2026-11-22T21:00",
        "2026-11-20T09:00",
        "2026-11-15T09:00",
        "2026-10-31T09:00",
        "2025-12-31T09:00",
        "2024-01-01T09:00",
    )
    assert kept(policy, points) == expected


def test_every_rule_that_keeps_a_point_is_named():
    points = every(timedelta(hours=12), 4)
    policy = Policy(keep_last=1, keep_daily=2, keep_within=Span(hours=13))
    assert reasons(policy, points) == {
        "0": ("within 13h", "last snapshot", "daily snapshot"),
        "1": ("within 13h",),
        "2": ("daily snapshot",),
        "3": ("no rule keeps it",),
    }


def test_the_oldest_is_kept_while_a_rule_has_counts_left():
    points = days("2026-11-22T22:00", "2026-11-22T21:00", "2026-11-22T20:00")
    assert reasons(Policy(keep_daily=2), points) == {
        "2026-11-22T22:00": ("daily snapshot",),
        "2026-11-22T21:00": ("no rule keeps it",),
        "2026-11-22T20:00": ("oldest daily snapshot",),
    }


def test_the_oldest_is_not_kept_once_the_counts_are_used_up():
    assert kept(Policy(keep_daily=1), days("2026-11-22T22:00", "2026-11-22T20:00")) == ["2026-11-22T22:00"]


def test_minus_one_keeps_one_of_every_bucket_and_the_oldest():
    points = every(timedelta(hours=6), 40)
    tops = [str(number) for number in range(0, 40, 4)]
    assert kept(Policy(keep_daily=KEEP_ALL), points) == [*tops, "39"]
    assert kept(Policy(keep_last=KEEP_ALL), points) == [point.id for point in points]


def test_weeks_are_iso_weeks():
    # Friday 1 January 2027 is in week 53 of 2026, Monday 4 January in week 1.
    points = days("2027-01-04", "2027-01-03", "2027-01-01", "2026-12-28", "2026-12-27")
    assert kept(Policy(keep_weekly=2), points) == ["2027-01-04", "2027-01-03"]
    assert kept(Policy(keep_weekly=3), points) == ["2027-01-04", "2027-01-03", "2026-12-27"]


def test_days_are_those_of_the_plans_time_zone():
    points = days("2026-11-22T16:00", "2026-11-22T14:30", "2026-11-21T16:00")
    assert kept(Policy(keep_daily=2), points) == ["2026-11-22T16:00", "2026-11-21T16:00"]
    # In Tokyo, 9 hours ahead, the first is on the 23rd already.
    tokyo = ZoneInfo("Asia/Tokyo")
    assert kept(Policy(keep_daily=2), points, timezone=tokyo) == ["2026-11-22T16:00", "2026-11-22T14:30"]


def test_the_repeated_hour_is_one_hour():
    # 1 November 2026, New York: 01:00 to 02:00 comes twice (05:00 and 06:00 UTC).
    points = days("2026-11-01T07:30", "2026-11-01T06:30", "2026-11-01T05:30", "2026-11-01T04:30", "2026-11-01T03:30")
    policy = Policy(keep_hourly=3)
    new_york = ZoneInfo("America/New_York")
    assert kept(policy, points, timezone=new_york) == ["2026-11-01T07:30", "2026-11-01T06:30", "2026-11-01T04:30"]


def test_without_a_rule_nothing_expires():
    points = every(timedelta(days=400), 5)
    assert reasons(Policy(), points) == {point.id: ("no retention rule",) for point in points}
    assert kept(Policy(), points) == [point.id for point in points]
    assert Policy().is_empty
    assert not Policy(keep_last=1).is_empty


@pytest.mark.parametrize("policy", [Policy(), Policy(keep_last=1), Policy(keep_within=Span(days=1))])
def test_nothing_is_decided_about_nothing(policy):
    assert decide(policy, [], timezone=ZONE) == []


# --- within -----------------------------------------------------------------------------------------------------------


def test_within_counts_back_from_the_newest_point_and_not_from_now():
    long_ago = every(timedelta(hours=1), 5, until=datetime(2019, 1, 1, tzinfo=UTC))
    assert kept(Policy(keep_within=Span(hours=2)), long_ago) == ["0", "1"]  # exactly two hours is not within


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("keep_within_hourly", ["2026-11-22T22:50", "2026-11-22T21:00", "2026-11-21T09:00", "2026-11-21T08:00"]),
        ("keep_within_daily", ["2026-11-22T22:50", "2026-11-21T09:00"]),
        ("keep_within_weekly", ["2026-11-22T22:50"]),
        ("keep_within_monthly", ["2026-11-22T22:50"]),
        ("keep_within_yearly", ["2026-11-22T22:50"]),
    ],
)
def test_within_a_span_each_bucket_keeps_its_newest(key, expected):
    points = days(
        "2026-11-22T22:50", "2026-11-22T22:10", "2026-11-22T21:00", "2026-11-21T09:00", "2026-11-21T08:00", "2026-10-01"
    )
    assert kept(Policy(**{key: Span(days=2)}), points) == expected


def test_the_oldest_is_kept_where_it_is_within_the_span():
    points = days("2026-11-22T22:00", "2026-11-22T21:00", "2026-11-22T20:00")
    assert reasons(Policy(keep_within_daily=Span(days=2)), points)["2026-11-22T20:00"] == ("oldest daily within 2d",)
    assert kept(Policy(keep_within_daily=Span(hours=2)), points) == ["2026-11-22T22:00"]


@pytest.mark.parametrize(
    ("span", "moment", "expected"),
    [
        ("1m", "2026-03-31T10:00", "2026-03-03T10:00"),  # there is no 31 February: three days over
        ("1m", "2024-03-31T10:00", "2024-03-02T10:00"),
        ("1y", "2024-02-29T10:00", "2023-03-01T10:00"),
        ("1m1d", "2026-03-31T10:00", "2026-03-02T10:00"),
        ("13m", "2026-01-15T10:00", "2024-12-15T10:00"),
        ("1y2m3d4h", "2026-11-22T10:00", "2025-09-19T06:00"),
        ("36h", "2026-11-22T10:00", "2026-11-20T22:00"),
        ("3000y", "2026-11-22T10:00", "0001-01-01T00:00"),
        ("99999999999999999999d", "2026-11-22T10:00", "0001-01-01T00:00"),
        ("99999999999999999999h", "2026-11-22T10:00", "0001-01-01T00:00"),
        (f"{'9' * 400}h", "2026-11-22T10:00", "0001-01-01T00:00"),
        (f"{'9' * 400}y{'9' * 400}m", "2026-11-22T10:00", "0001-01-01T00:00"),
    ],
)
def test_a_span_is_taken_off_on_the_calendar_as_go_does_it(span, moment, expected):
    before = Span.parse(span).before(datetime.fromisoformat(moment).replace(tzinfo=ZONE))
    assert before == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_days_of_a_span_are_days_of_the_calendar_and_hours_are_hours():
    noon_after_the_change = datetime(2026, 3, 8, 12, tzinfo=ZoneInfo("America/New_York"))
    assert Span(days=1).before(noon_after_the_change).astimezone(UTC) == datetime(2026, 3, 7, 17, tzinfo=UTC)
    assert Span(hours=24).before(noon_after_the_change).astimezone(UTC) == datetime(2026, 3, 7, 16, tzinfo=UTC)


@pytest.mark.parametrize("timezone", ZONES, ids=str)
def test_a_span_that_reaches_before_the_calendar_keeps_everything(timezone):
    points = every(timedelta(days=300), 5)
    policy = Policy(keep_within=Span(years=3000))
    assert kept(policy, points, timezone=timezone) == ["0", "1", "2", "3", "4"]
    assert decide(policy, points, timezone=timezone, is_final=True) == decide(policy, points, timezone=timezone)


def test_within_hours_are_counted_through_the_repeated_hour():
    # 06:45 UTC is 01:45 for the second time; 45 minutes before is 01:00 for the second time.
    points = days("2026-11-01T06:45", "2026-11-01T06:00", "2026-11-01T05:50", "2026-11-01T05:44", "2026-11-01T05:40")
    new_york = ZoneInfo("America/New_York")
    assert kept(Policy(keep_within=Span(hours=1)), points, timezone=new_york) == [
        "2026-11-01T06:45",
        "2026-11-01T06:00",
        "2026-11-01T05:50",
    ]


@pytest.mark.parametrize(
    "text", ["", "1", "d", "1w", "1d1d", "-1d", "1d2", "1.5h", " 1d", "1d ", "1d\n", "0h", "0y0m0d0h"]
)
def test_what_is_not_a_span_is_refused(text):
    with pytest.raises(ValueError, match=r"is not a duration such as 1y2m3d3h|is no time at all"):
        Span.parse(text)


def test_what_is_not_a_span_is_shown_as_far_as_a_line_goes():
    for text, complaint in (("9" * 90, "is not a duration such as 1y2m3d3h"), ("0" * 90 + "h", "is no time at all")):
        with pytest.raises(ValueError, match=f"^'{text[0] * 80}' {complaint}$"):
            Span.parse(text)


@given(st.lists(st.integers(0, 10_000), min_size=4, max_size=4).filter(any))
def test_a_span_reads_back_what_it_writes(units):
    span = Span(**dict(zip(("years", "months", "days", "hours"), units, strict=True)))
    assert Span.parse(str(span)) == span


@pytest.mark.parametrize("unit", ["years", "months", "days", "hours"])
def test_a_span_that_would_keep_not_even_the_newest_cannot_be_written(unit):
    with pytest.raises(ValueError, match="is no time at all"):
        Span(**({"years": 1, "hours": 1} | {unit: -1}))
    with pytest.raises(ValueError, match="is no time at all"):
        Span(**{unit: 0})
    assert kept(Policy(keep_within=Span(**{unit: 1})), every(timedelta(hours=1), 1)) == ["0"]


@pytest.mark.parametrize("name", COUNTS)
def test_a_number_that_is_none_cannot_be_written(name):
    with pytest.raises(ValueError, match=f"{name} is -2; a number from 1, -1 for all, or 0 for none"):
        Policy(**{name: -2})
    assert len(kept(Policy(**{name: 10**30}), every(timedelta(days=400), 3))) == 3


# --- what is never brought back ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("span", "zone", "moment", "expected"),
    [
        # One month before 31 March is 3 March, one month before 1 April is 1 March.
        ("1m", "UTC", "2026-03-31T12:34:56.789", "2026-03-03T12:34:56.789"),
        ("1m", "UTC", "2026-03-31T12:47:30", "2026-03-03T12:47:30"),
        ("1m", "UTC", "2026-04-01T12:34:56.789", "2026-03-03T23:59:59.999999"),
        ("1m", "UTC", "2026-04-03T23:47:56.789", "2026-03-03T23:59:59.999999"),
        ("1m", "UTC", "2026-04-04T00:00:00", "2026-03-04T00:00:00"),
        ("1m2h", "UTC", "2026-04-01T12:34:56.789", "2026-03-03T21:59:59.999999"),
        ("1y", "UTC", "2028-03-01T12:34:56.789", "2027-03-01T23:59:59.999999"),
        # Midnight of Kathmandu is 18:15, an hour of New York comes twice, and hours alone never go back.
        ("1m", "Asia/Kathmandu", "2026-03-31T18:14:10", "2026-03-03T18:14:10"),
        ("1m", "Asia/Kathmandu", "2026-03-31T18:15:10", "2026-03-03T18:14:59.999999"),
        ("1m", "Asia/Kathmandu", "2026-03-31T18:20:10", "2026-03-03T18:14:59.999999"),
        ("1m", "Asia/Kathmandu", "2026-03-31T18:05:10", "2026-03-03T18:05:10"),
        ("1d", "America/New_York", "2026-11-01T06:10:00", "2026-10-31T05:59:59.999999"),
        ("1d", "America/New_York", "2026-11-01T05:10:00", "2026-10-31T05:10:00"),
        ("24h", "America/New_York", "2026-11-01T06:10:00", "2026-10-31T06:10:00"),
    ],
)
def test_the_limit_of_a_span_is_the_latest_so_far(span, zone, moment, expected):
    local = datetime.fromisoformat(moment).replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
    assert Span.parse(span).latest_before(local) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@given(
    st.builds(
        Span, years=st.integers(0, 1), months=st.integers(0, 13), days=st.integers(0, 2), hours=st.integers(1, 3)
    ),
    st.sampled_from(["2026-04-01", "2028-03-01", "2026-11-01", "2026-03-08", "2026-10-31"]),
    st.integers(0, 4 * 24 * 3600),
    st.sampled_from(
        ["Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Antarctica/Troll"]
    ),
)
def test_the_limit_of_a_span_is_the_latest_of_all_quarters_of_an_hour(span, day, seconds, zone):
    """All that changes the calendar or the clock does so on a quarter; what a month's end runs over, is three days."""
    timezone = ZoneInfo(zone)
    moment = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(seconds=seconds)
    quarter = moment - timedelta(seconds=seconds % 900, microseconds=1)
    moments = [moment, *(quarter - timedelta(minutes=15 * number) for number in range(4 * 24 * 4))]
    limits = [span.before(each.astimezone(timezone)) for each in moments]
    assert span.latest_before(moment.astimezone(timezone)) == max(limits)


def test_a_final_verdict_expires_what_was_expired_before_the_newest_was_there():
    first_of_april = datetime(2026, 4, 1, 12, tzinfo=UTC)
    points = days("2026-04-01", "2026-03-31", "2026-03-03T23:30", "2026-03-02")
    month = Policy(keep_within=Span(months=1))
    assert points[0].time == first_of_april
    assert [v.id for v in decide(month, points, timezone=ZONE) if v.action is Action.KEEP] == [
        each.id for each in points
    ]
    assert [(v.id, v.reasons) for v in decide(month, points, timezone=ZONE, is_final=True)] == [
        ("2026-04-01", ("within 1m",)),
        ("2026-03-31", ("within 1m",)),
        ("2026-03-03T23:30", ("no rule keeps it",)),
        ("2026-03-02", ("no rule keeps it",)),
    ]


def test_a_final_verdict_keeps_no_point_for_being_the_oldest_within_a_span_and_does_for_a_count():
    points = days("2026-11-22T22:00", "2026-11-22T21:00", "2026-11-22T20:00")
    policy = Policy(keep_daily=2, keep_within_daily=Span(days=2), keep_within=Span(hours=1))
    assert {v.id: v.reasons for v in decide(policy, points, timezone=ZONE, is_final=True)} == {
        "2026-11-22T22:00": ("within 1h", "daily snapshot", "daily within 2d"),
        "2026-11-22T21:00": ("no rule keeps it",),
        "2026-11-22T20:00": ("oldest daily snapshot",),
    }


def test_a_span_is_counted_on_the_calendar_of_the_plans_zone():
    # New York puts its clock back on 1 November: a day before 2 November 00:30 there is 25 hours earlier.
    points = days("2026-11-02T05:30", "2026-11-01T05:00", "2026-11-01T04:45", "2026-11-01T04:15")
    new_york = ZoneInfo("America/New_York")
    day = Policy(keep_within=Span(days=1))
    for is_final in (False, True):
        verdicts = decide(day, points, timezone=new_york, is_final=is_final)
        assert [v.id for v in verdicts if v.action is Action.KEEP] == [point.id for point in points[:3]]
    assert kept(day, points) == ["2026-11-02T05:30"]


# --- what holds for every policy and every history --------------------------------------------------------------------

spans = st.builds(Span, days=st.integers(0, 40), hours=st.integers(1, 48), months=st.integers(0, 2))
policies = st.builds(
    Policy,
    **dict.fromkeys(COUNTS, st.sampled_from([0, 0, 1, 2, 5, KEEP_ALL])),
    **dict.fromkeys(SPANS, st.none() | spans),
)
some_policies = policies.filter(lambda policy: not policy.is_empty)
moments = st.integers(0, 60 * 24 * 100).map(lambda minutes: START - timedelta(minutes=minutes))
# Some of equal time: two sets of one second are told apart by their ids.
histories = st.lists(moments, max_size=40).map(
    lambda times: [At(f"{number:03}", time) for number, time in enumerate(times)]
)
zones = st.sampled_from(ZONES)


@given(policies, histories, zones, st.randoms(use_true_random=False))
def test_the_order_in_which_points_are_given_does_not_matter(policy, points, timezone, shuffle: random.Random):
    shuffled = points.copy()
    shuffle.shuffle(shuffled)
    assert decide(policy, shuffled, timezone=timezone) == decide(policy, points, timezone=timezone)


@given(policies, histories, zones)
def test_every_point_gets_one_verdict_with_a_reason_newest_first(policy, points, timezone):
    verdicts = decide(policy, points, timezone=timezone)
    newest_first = sorted(points, key=lambda point: (point.time, point.id), reverse=True)
    assert [verdict.id for verdict in verdicts] == [point.id for point in newest_first]
    assert all(verdict.reasons and verdict.action in (Action.KEEP, Action.EXPIRE) for verdict in verdicts)


@given(policies, histories, zones)
def test_applying_a_policy_twice_is_applying_it_once(policy, points, timezone):
    once = kept(policy, points, timezone=timezone)
    assert kept(policy, [point for point in points if point.id in once], timezone=timezone) == once


@given(policies, histories.filter(bool), zones)
def test_the_newest_point_is_always_kept(policy, points, timezone):
    newest = max(points, key=lambda point: (point.time, point.id))
    assert newest.id in kept(policy, points, timezone=timezone)


@given(some_policies, policies, histories, zones)
def test_a_further_rule_never_expires_more(policy, other, points, timezone):
    further = {each.name: getattr(other, each.name) for each in fields(Policy) if not getattr(policy, each.name)}
    more = replace(policy, **further)
    assert set(kept(policy, points, timezone=timezone)) <= set(kept(more, points, timezone=timezone))


@given(st.sampled_from(COUNTS), st.integers(1, 20), histories, zones)
def test_a_higher_count_never_expires_more(rule, count, points, timezone):
    fewer, more = (set(kept(Policy(**{rule: each}), points, timezone=timezone)) for each in (count, count + 1))
    every_one = set(kept(Policy(**{rule: KEEP_ALL}), points, timezone=timezone))
    assert fewer <= more <= every_one


@given(
    st.builds(Policy, **dict.fromkeys(COUNTS, st.sampled_from([0, 1, 2, 5, KEEP_ALL]))).filter(
        lambda policy: not policy.is_empty
    ),
    histories,
    st.lists(moments, max_size=5),
    zones,
)
def test_adding_points_never_brings_an_expired_one_back(policy, points, added, timezone):
    """What a destination has expired is not wanted again because newer points, or other copies, have arrived."""
    more = [*points, *(At(f"new-{number}", time) for number, time in enumerate(added))]
    before = set(kept(policy, points, timezone=timezone))
    after = set(kept(policy, more, timezone=timezone))
    assert not (after & {point.id for point in points}) - before


@given(some_policies, histories, zones)
def test_each_rule_keeps_what_its_own_words_say(policy, points, timezone):
    """The same, said another way: the first so many bucket heads, and the oldest where they are fewer."""
    newest_first = sorted(points, key=lambda point: (point.time, point.id), reverse=True)
    expected: set[str] = set()
    for name in (each.name for each in fields(Policy)):
        value = getattr(policy, name)
        if not value or not points:
            continue
        reach = newest_first
        count = len(points) + 1 if not isinstance(value, int) or value == KEEP_ALL else value
        if not isinstance(value, int):
            limit = value.before(newest_first[0].time.astimezone(timezone)).astimezone(UTC)
            reach = [point for point in newest_first if point.time > limit]
        heads: dict[object, str] = {}
        for point in reach:
            heads.setdefault(bucket(name, point, timezone), point.id)
        expected.update(list(heads.values())[:count])
        if count > len(heads) and newest_first[-1] in reach:
            expected.add(newest_first[-1].id)
    assert set(kept(policy, points, timezone=timezone)) == expected


def bucket(rule: str, point: At, timezone: ZoneInfo) -> object:
    local = point.time.astimezone(timezone)
    forms = {"hourly": "%Y%m%d%H", "daily": "%Y%m%d", "weekly": "%G-%V", "monthly": "%Y%m", "yearly": "%Y"}
    return next((local.strftime(form) for name, form in forms.items() if rule.endswith(name)), point.id)


@given(policies, histories, st.lists(moments, max_size=8), zones)
def test_what_would_be_kept_is_what_is_kept_once_it_is_there(policy, points, others, timezone):
    others = [At(f"{number:03}-other", time) for number, time in enumerate(others)]
    found = would_keep(policy, points, others, timezone=timezone)
    assert found == {each.id for each in others if each.id in kept(policy, [*points, each], timezone=timezone)}


def test_each_of_several_would_be_kept_as_if_it_came_alone():
    points = days("2026-11-22T20:00", "2026-11-21T20:00")
    others = days("2026-11-22T22:00", "2026-11-22T21:00", "2026-11-22T19:00", "2026-11-20T09:00", "2026-11-20T08:00")
    newest = {"2026-11-22T22:00", "2026-11-22T21:00"}
    assert would_keep(Policy(keep_daily=2), points, others, timezone=ZONE) == newest
    assert would_keep(Policy(keep_daily=3), points, others, timezone=ZONE) == newest | {
        "2026-11-20T09:00",
        "2026-11-20T08:00",
    }
    assert would_keep(Policy(keep_daily=1), [], others, timezone=ZONE) == {each.id for each in others}
    assert would_keep(Policy(), points, others, timezone=ZONE) == {each.id for each in others}
    assert would_keep(Policy(keep_daily=1), points, [], timezone=ZONE) == frozenset()
    assert (
        would_keep(Policy(keep_hourly=1, keep_daily=2), points, days("2026-11-22T19:00"), timezone=ZONE) == frozenset()
    )


def test_what_would_be_kept_is_told_by_times_and_of_equal_times_by_ids():
    def moment(hour: int) -> datetime:
        return datetime(2026, 11, 22, hour, tzinfo=UTC)

    day = Policy(keep_daily=1)
    newer_last = [At("z", moment(1) - timedelta(days=3)), At("a", moment(20))]
    assert would_keep(day, newer_last, [At("m", moment(19)), At("k", moment(21))], timezone=ZONE) == {"k"}
    last = Policy(keep_last=1)
    assert would_keep(last, [At("a", moment(1)), At("c", moment(1))], [At("b", moment(1))], timezone=ZONE) == set()
    assert would_keep(last, [At("c", moment(1))], [At("d", moment(1)), At("b", moment(1))], timezone=ZONE) == {"d"}


def test_what_would_be_kept_as_the_oldest_is_older_than_all_that_are_there():
    points = days("2026-11-22T20:00", "2026-11-22T19:00", "2026-11-21T20:00")
    oldest = days("2026-11-20T09:00")
    assert would_keep(Policy(keep_daily=3), points, oldest, timezone=ZONE) == {"2026-11-20T09:00"}
    assert would_keep(Policy(keep_daily=2), points[:1], points[1:2], timezone=ZONE) == {"2026-11-22T19:00"}
    assert would_keep(Policy(keep_daily=2), [points[0], *oldest], points[1:2], timezone=ZONE) == set()
    within = Policy(keep_within_daily=Span(days=2))
    assert would_keep(within, points[:1], points[1:2], timezone=ZONE) == {"2026-11-22T19:00"}


def test_what_would_be_kept_goes_by_the_days_of_the_plans_zone():
    points, other = days("2026-11-22T16:00", "2026-11-20T12:00"), days("2026-11-22T14:30")
    assert would_keep(Policy(keep_daily=2), points, other, timezone=ZoneInfo("Asia/Tokyo")) == {"2026-11-22T14:30"}
    assert would_keep(Policy(keep_daily=2), points, other, timezone=ZONE) == set()
    same_day = days("2026-11-22T15:30")
    assert would_keep(Policy(keep_daily=2), points, same_day, timezone=ZoneInfo("Asia/Tokyo")) == set()
    # A day before 2 November 00:30 in New York is 25 hours earlier.
    points, other = days("2026-11-02T05:30", "2026-10-20"), days("2026-11-01T05:00")
    day = Policy(keep_within=Span(days=1))
    assert would_keep(day, points, other, timezone=ZoneInfo("America/New_York")) == {"2026-11-01T05:00"}
    assert would_keep(day, points, other, timezone=ZONE) == set()
