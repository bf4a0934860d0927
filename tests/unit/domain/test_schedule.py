from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from hikae.domain.plan_grammar import ALIASES, read_schedule
from hikae.domain.schedule import ClockChange, DueSlot, clock_changes, missed, newest_due, slots

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
NEW_YORK = "America/New_York"  # 2026: forward 8 March 07:00 UTC, back 1 November 06:00 UTC
LORD_HOWE = "Australia/Lord_Howe"  # by half an hour; 2026: back 4 April 15:00 UTC, forward 3 October 15:30 UTC


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


def between(schedule: str, zone: str, after: str, until: str) -> list[str]:
    found = slots(schedule, timezone=ZoneInfo(zone), after=at(after), until=at(until))
    return [f"{slot:%d %H:%M}" for slot in found]


# --- Debian's rule for daylight saving, and what follows the clock ----------------------------------


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("30 1 * * *", ["08 06:30", "09 05:30"]),
        ("30 2 * * *", ["08 07:00", "09 06:30"]),  # does not exist: runs right after the skipped hour
        ("0 3 * * *", ["08 07:00", "09 07:00"]),
        ("30 3 * * *", ["08 07:30", "09 07:30"]),
        ("30 2,3 * * *", ["08 07:00", "08 07:30", "09 06:30", "09 07:30"]),
        ("0,15,30 2,3 * * *", ["08 07:00", "08 07:15", "08 07:30", "09 06:00", "09 06:15"]),  # four of them merge
        ("0 * * * *", ["08 06:00", "08 07:00", "08 08:00"]),  # every hour of real time, none twice
        ("*/20 2 * * *", ["09 06:00", "09 06:20", "09 06:40"]),  # follows the clock, which does not show 2
        ("30 */2 * * *", ["08 05:30", "08 08:30", "08 10:30"]),
    ],
)
def test_when_the_clock_goes_forward(schedule, expected):
    assert between(schedule, NEW_YORK, "2026-03-08T05:15", "2026-03-10T00:00")[: len(expected)] == expected


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("30 0 * * *", ["01 04:30", "02 05:30"]),
        ("30 1 * * *", ["01 05:30", "02 06:30"]),  # comes twice, runs once: the first time
        ("30 2 * * *", ["01 07:30", "02 07:30"]),
        ("0 1,2 * * *", ["01 05:00", "01 07:00", "02 06:00"]),
        ("0 * * * *", ["01 05:00", "01 06:00", "01 07:00", "01 08:00"]),  # every hour of real time
        ("*/30 1 * * *", ["01 05:00", "01 05:30", "01 06:00", "01 06:30", "02 06:00"]),  # follows the clock
    ],
)
def test_when_the_clock_goes_back(schedule, expected):
    assert between(schedule, NEW_YORK, "2026-11-01T04:15", "2026-11-03T00:00")[: len(expected)] == expected


@pytest.mark.parametrize(
    ("schedule", "after", "until", "expected"),
    [
        # Back from 02:00 to 01:30.
        ("45 1 * * *", "2026-04-04T14:00", "2026-04-05T14:00", ["04 14:45"]),
        ("0 */2 * * *", "2026-04-04T12:30", "2026-04-04T18:00", ["04 13:00", "04 15:30", "04 17:30"]),
        ("*/15 1 * * *", "2026-04-04T14:20", "2026-04-04T16:00", ["04 14:30", "04 14:45", "04 15:00", "04 15:15"]),
        # Forward from 02:00 to 02:30.
        ("15 2 * * *", "2026-10-03T14:00", "2026-10-04T14:00", ["03 15:30"]),
        ("*/15 2 * * *", "2026-10-03T14:00", "2026-10-04T14:00", ["03 15:30", "03 15:45"]),
    ],
)
def test_when_the_clock_is_changed_by_half_an_hour(schedule, after, until, expected):
    assert between(schedule, LORD_HOWE, after, until) == expected


def test_the_job_of_a_day_that_a_country_left_out_runs_right_after_it():
    # Samoa went from 29 to 31 December 2011 at 10:00 UTC.
    found = between("0 12 * * *", "Pacific/Apia", "2011-12-28T00:00", "2012-01-01T00:00")
    assert found == ["28 22:00", "29 22:00", "30 10:00", "30 22:00", "31 22:00"]
    followed = between("0 */12 * * *", "Pacific/Apia", "2011-12-29T11:00", "2011-12-31T00:00")
    assert followed == ["29 22:00", "30 10:00", "30 22:00"]


@pytest.mark.parametrize("after", ["2026-03-08T06:59:59", "2026-03-08T07:00:00", "2026-03-08T07:00:30"])
def test_nothing_is_lost_right_behind_the_skipped_hour(after):
    assert between("*/10 * * * *", NEW_YORK, after, "2026-03-08T07:20")[-2:] == ["08 07:10", "08 07:20"]
    assert between("30 */3 * * *", NEW_YORK, after, "2026-03-08T10:00") == ["08 07:30"]


def test_a_slot_at_the_start_is_excluded_and_one_at_the_end_is_included():
    assert between("0 * * * *", "UTC", "2026-11-22T10:00", "2026-11-22T12:00") == ["22 11:00", "22 12:00"]
    assert between("0 * * * *", "UTC", "2026-11-22T09:59:59.999", "2026-11-22T10:00") == ["22 10:00"]
    assert between("0 * * * *", "UTC", "2026-11-22T10:00:00.001", "2026-11-22T10:59:59.999") == []
    assert between("0 0 29 2 *", "UTC", "2026-11-22T10:00", "2027-11-22T10:00") == []
    assert between("0 0 29 2 *", "UTC", "2026-11-22T10:00", "2028-11-22T10:00") == ["29 00:00"]


zones = st.sampled_from(
    [
        "Africa/Cairo",
        "Africa/Casablanca",
        "America/Havana",
        "America/Santiago",
        "America/St_Johns",
        "Antarctica/Troll",
        "Asia/Kathmandu",
        "Asia/Tokyo",
        "Europe/London",
        "Pacific/Apia",
        "Pacific/Chatham",
        LORD_HOWE,
        NEW_YORK,
        "UTC",
    ]
).map(ZoneInfo)
schedules = st.sampled_from(
    [
        "*/10 * * * *",
        "0 * * * *",
        "0 */2 * * *",
        "30 */3 * * *",
        "*/15 2 * * *",
        "*/20 0,23 * * *",
        "0 0 * * *",
        "30 1 * * *",
        "30 2 * * *",
        "15,45 0-3 * * *",
        "0 3 * * 0",
    ]
)


@cache
def changes(zone: ZoneInfo) -> list[datetime]:
    """The first hours behind each change of the clock in 2026 and 2027, or some hour where there is none."""
    hours = [at("2026-01-01T00:00") + HOUR * number for number in range(2 * 365 * 24)]
    offsets = [hour.astimezone(zone).utcoffset() for hour in hours]
    changed = [hour for hour, (before, now) in zip(hours[1:], pairwise(offsets), strict=True) if before != now]
    return changed or [at("2026-05-01T00:00")]


@st.composite
def stretches(draw):
    """Some hours around a change of the clock, to the second."""
    zone = draw(zones)
    after = draw(st.sampled_from(changes(zone))) + MINUTE * draw(st.integers(-240, 120))
    after += timedelta(seconds=draw(st.sampled_from([0, 0, 30])))
    return zone, after, after + HOUR * draw(st.integers(1, 6))


@given(schedules, stretches())
def test_slots_are_those_that_the_clock_on_the_wall_shows(schedule, stretch):
    zone, after, until = stretch
    found = list(slots(schedule, timezone=zone, after=after, until=until))
    assert found == [slot for slot in on_the_wall(schedule, zone, after, until) if after < slot <= until]


def on_the_wall(schedule: str, zone: ZoneInfo, after: datetime, until: datetime) -> list[datetime]:
    """The same another way: look at the clock every minute; move a fixed time that it never shows forward."""
    start = after.astimezone(zone).replace(tzinfo=UTC, second=0) - 26 * HOUR
    end = until.astimezone(zone).replace(tzinfo=UTC) + 2 * HOUR
    shown = {each.replace(tzinfo=None) for each in takewhile_until(CronSim(schedule, start), end)}
    if "*" in schedule.split(maxsplit=1)[0] + schedule.split()[1]:
        minutes = [after.replace(second=0) + MINUTE * number for number in range((until - after) // MINUTE + 2)]
        return [each for each in minutes if each.astimezone(zone).replace(tzinfo=None) in shown]
    return sorted({first_real(each, zone) for each in shown})


def takewhile_until(times, end):
    for each in times:
        if each > end:
            return
        yield each


def first_real(wall: datetime, zone: ZoneInfo) -> datetime:
    moment = wall.replace(tzinfo=zone).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    return first_real(wall + MINUTE, zone)


@given(schedules, stretches())
def test_slots_increase_strictly_and_are_whole_minutes_in_utc(schedule, stretch):
    zone, after, _ = stretch
    found = list(islice(slots(schedule, timezone=zone, after=after, until=after + 24 * HOUR), 300))
    assert all(one < other for one, other in pairwise(found))
    assert all(slot.tzinfo is UTC and slot.second == slot.microsecond == 0 for slot in found)


@given(schedules, stretches(), st.integers(0, 360))
def test_looking_in_two_steps_finds_what_one_look_finds(schedule, stretch, minutes):
    """Ticks come at any time: what one leaves, the next one finds."""
    zone, after, until = stretch
    middle = min(after + MINUTE * minutes, until)
    whole = list(slots(schedule, timezone=zone, after=after, until=until))
    first = list(slots(schedule, timezone=zone, after=after, until=middle))
    assert first + list(slots(schedule, timezone=zone, after=middle, until=until)) == whole


# --- the calendar -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "after", "until", "expected"),
    [
        ("@hourly", "2026-11-22T10:00", "2026-11-22T12:00", ["22 11:00", "22 12:00"]),
        ("@daily", "2026-11-22T10:00", "2026-11-24T12:00", ["23 00:00", "24 00:00"]),
        ("@midnight", "2026-11-22T10:00", "2026-11-24T12:00", ["23 00:00", "24 00:00"]),
        ("@weekly", "2026-11-22T10:00", "2026-12-07T00:00", ["29 00:00", "06 00:00"]),  # Sundays
        ("@monthly", "2026-11-22T10:00", "2027-01-02T00:00", ["01 00:00", "01 00:00"]),
        ("@yearly", "2026-11-22T10:00", "2028-11-22T00:00", ["01 00:00", "01 00:00"]),
        ("@annually", "2026-11-22T10:00", "2028-11-22T00:00", ["01 00:00", "01 00:00"]),
    ],
)
def test_a_schedule_may_have_the_name_that_cron_gives_it(name, after, until, expected):
    assert between(read_schedule(name), "UTC", after, until) == expected


def test_every_name_is_tried_here():
    assert set(ALIASES) == {"@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"}


def dates(schedule: str, zone: str, after: str, until: str) -> list[str]:
    found = slots(schedule, timezone=ZoneInfo(zone), after=at(after), until=at(until))
    return [f"{slot.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}" for slot in found]


@pytest.mark.parametrize(
    ("schedule", "after", "until", "expected"),
    [
        ("0 3 29 2 *", "2026-01-01T00:00", "2036-03-01T00:00", ["2028-02-29", "2032-02-29", "2036-02-29"]),
        ("0 3 28 2 *", "2027-01-01T00:00", "2028-12-01T00:00", ["2027-02-28", "2028-02-28"]),
        ("0 3 29 2 *", "2096-03-01T00:00", "2105-01-01T00:00", ["2104-02-29"]),  # 2100 is no leap year
        ("0 3 31 * *", "2026-01-01T00:00", "2026-06-01T00:00", ["2026-01-31", "2026-03-31", "2026-05-31"]),
        ("0 3 30 * *", "2026-01-01T00:00", "2026-04-01T00:00", ["2026-01-30", "2026-03-30"]),
        ("0 3 L * *", "2028-01-01T00:00", "2028-05-01T00:00", ["2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30"]),
        ("0 3 LW * *", "2026-01-01T00:00", "2026-04-01T00:00", ["2026-01-30", "2026-02-27", "2026-03-31"]),
        ("0 3 * * 5L", "2026-01-01T00:00", "2026-03-01T00:00", ["2026-01-30", "2026-02-27"]),
        ("0 3 * * 1#5", "2026-01-01T00:00", "2026-07-01T00:00", ["2026-03-30", "2026-06-29"]),
        ("0 3 13 * 5", "2026-02-10T00:00", "2026-02-28T00:00", ["2026-02-13", "2026-02-20", "2026-02-27"]),  # or
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "Australia/Eucla", "Asia/Kolkata"])
def test_leap_days_and_the_ends_of_months_are_found(schedule, after, until, expected, zone):
    assert dates(schedule, zone, after, until) == [f"{date} 03:00" for date in expected]


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("Asia/Kolkata", ["22 18:30", "23 18:30"]),  # +05:30
        ("Asia/Kathmandu", ["22 18:15", "23 18:15"]),  # +05:45
        ("Australia/Eucla", ["22 15:15", "23 15:15"]),  # +08:45
        ("Pacific/Chatham", ["22 10:15", "23 10:15"]),  # +13:45 in November
        ("America/St_Johns", ["22 03:30", "23 03:30"]),  # -03:30
        ("Pacific/Marquesas", ["22 09:30", "23 09:30"]),  # -09:30
    ],
)
def test_midnight_is_where_the_zone_has_it(zone, expected):
    assert between("0 0 * * *", zone, "2026-11-22T00:00", "2026-11-23T23:59") == expected
    hours = between("0 * * * *", zone, "2026-11-22T00:00", "2026-11-22T23:59")
    assert len(hours) == 24
    assert expected[0] in hours


def test_a_rare_schedule_is_found_wherever_one_starts_to_look():
    zone = ZoneInfo(LORD_HOWE)
    expected = list(slots("0 */6 29 2 *", timezone=zone, after=at("2020-01-01T00:00"), until=at("2040-01-01T00:00")))
    assert len(expected) == 5 * 4
    for day in range(0, 3000, 97):
        after = at("2020-01-01T00:00") + timedelta(days=day, minutes=7)
        found = list(slots("0 */6 29 2 *", timezone=zone, after=after, until=at("2040-01-01T00:00")))
        assert found == [slot for slot in expected if slot > after]


# --- every zone -------------------------------------------------------------------------------------------------------

EVERY_HALF_HOUR = "7,37 0-23 * * *"  # at fixed times: it begins with no *
EVERY_THIRD_OF_AN_HOUR = "*/20 * * * *"
EVERY_OTHER_HOUR = "10 */2 * * *"


@cache
def changes_of(zone: str) -> tuple[ClockChange, ...]:
    return tuple(clock_changes(ZoneInfo(zone), after=at("2020-01-01T00:00"), until=at("2041-01-01T00:00")))


def test_the_clock_changes_are_those_of_the_zone():
    year = [each for each in changes_of(LORD_HOWE) if each.at.year == 2026]
    eleven, half = timedelta(hours=11), timedelta(minutes=630)
    assert year == [
        ClockChange(at=at("2026-04-04T15:00"), before=eleven, after=half),
        ClockChange(at=at("2026-10-03T15:30"), before=half, after=eleven),
    ]
    assert changes_of("Asia/Tokyo") == ()


def test_no_slot_is_lost_at_any_change_of_the_clock_of_any_zone():
    """Between 2020 and 2040: those at fixed times move behind the gap, where they merge; the others are as shown."""
    seen = 0
    for zone in sorted(available_timezones()):
        for change in changes_of(zone):
            after, until = change.at - 2 * HOUR - MINUTE, change.at + 3 * HOUR + MINUTE
            for schedule, minutes, hours in (
                (EVERY_HALF_HOUR, (7, 37), range(24)),
                (EVERY_THIRD_OF_AN_HOUR, (0, 20, 40), range(24)),
                (EVERY_OTHER_HOUR, (10,), range(0, 24, 2)),
            ):
                found = list(slots(schedule, timezone=ZoneInfo(zone), after=after, until=until))
                shown = walls(change, minutes, hours)
                expected = at_fixed_times(shown, change) if schedule == EVERY_HALF_HOUR else whenever(shown, change)
                assert found == [slot for slot in expected if after < slot <= until], (zone, change, schedule)
            seen += 1
    assert seen > 5_000


def walls(change: ClockChange, minutes: tuple[int, ...], hours: range) -> list[datetime]:
    """What the clock on the wall would show on the days around the change, if nobody changed it; written as if UTC."""
    midnight = (change.at + change.before).replace(hour=0, minute=0, second=0)
    days = [midnight + timedelta(days=number) for number in (-1, 0, 1)]
    return [day + HOUR * hour + MINUTE * minute for day in days for hour in hours for minute in minutes]


def at_fixed_times(shown: list[datetime], change: ClockChange) -> list[datetime]:
    """Each time has the first moment that shows it, or the end of the gap that swallows it: none is lost."""
    return sorted(
        {
            wall - change.before if wall - change.before < change.at else max(change.at, wall - change.after)
            for wall in shown
        }
    )


def whenever(shown: list[datetime], change: ClockChange) -> list[datetime]:
    """Each time has every moment that shows it."""
    before = {wall - change.before for wall in shown if wall - change.before < change.at}
    return sorted(before | {wall - change.after for wall in shown if wall - change.after >= change.at})


# --- due and missed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "window", "now", "expected"),
    [
        ("0 * * * *", 30, "10:00", ("10:00", "10:30")),
        ("0 * * * *", 30, "10:29", ("10:00", "10:30")),
        ("0 * * * *", 30, "10:30", None),  # the window has closed
        ("0 * * * *", 30, "09:59:59", None),
        ("0 * * * *", 480, "10:30", ("10:00", "11:00")),  # the next slot is due before the window closes
        ("*/5 * * * *", 30, "10:04", ("10:00", "10:05")),  # the newest of several
        ("0 3 * * *", 480, "10:30", ("03:00", "11:00")),
        ("0 3 * * *", 480, "11:00", None),
        ("0 0 29 2 *", 480, "10:00", None),
    ],
)
def test_the_newest_slot_is_due_until_its_window_closes_or_the_next_one_comes(schedule, window, now, expected):
    due = newest_due(schedule, timezone=ZoneInfo("UTC"), start_window=MINUTE * window, now=at(f"2026-11-22T{now}"))
    times = None if expected is None else [at(f"2026-11-22T{time}") for time in expected]
    assert due == (times and DueSlot(slot=times[0], deadline=times[1]))


@given(schedules, stretches(), st.integers(1, 600))
def test_what_is_due_can_still_be_started(schedule, stretch, window):
    zone, now, _ = stretch
    due = newest_due(schedule, timezone=zone, start_window=MINUTE * window, now=now)
    if due is None:
        assert not list(slots(schedule, timezone=zone, after=now - MINUTE * window, until=now))
    else:
        assert due.slot <= now < due.deadline <= due.slot + MINUTE * window
        assert not list(slots(schedule, timezone=zone, after=due.slot, until=now))


@pytest.mark.parametrize(
    ("last", "newest", "expected"),
    [
        (None, "10:00", []),  # a new rule
        ("09:00", "10:00", []),
        ("10:00", "10:00", []),
        ("11:00", "10:00", []),  # the clock was turned back
        ("06:00", "10:00", ["07:00", "08:00", "09:00"]),
    ],
)
def test_slots_between_the_last_one_done_with_and_the_due_one_are_missed(last, newest, expected):
    slot = at(f"2026-11-22T{newest}")
    found = missed(
        "0 * * * *",
        timezone=ZoneInfo("UTC"),
        start_window=60 * MINUTE,
        last=last and at(f"2026-11-22T{last}"),
        due=DueSlot(slot=slot, deadline=slot + 60 * MINUTE),
        now=slot + MINUTE,
    )
    assert found == [at(f"2026-11-22T{time}") for time in expected]


@pytest.mark.parametrize(
    ("last", "now", "expected"),
    [
        (None, "10:30", []),  # a new rule
        ("06:00", "07:29", []),  # the next one is not due yet, or its window is open
        ("06:00", "08:30", ["07:00", "08:00"]),
        ("08:00", "08:45", []),
    ],
)
def test_where_no_slot_is_due_those_whose_window_has_closed_are_missed(last, now, expected):
    found = missed(
        "0 * * * *",
        timezone=ZoneInfo("UTC"),
        start_window=30 * MINUTE,
        last=last and at(f"2026-11-22T{last}"),
        due=None,
        now=at(f"2026-11-22T{now}"),
    )
    assert found == [at(f"2026-11-22T{time}") for time in expected]
