from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given

from hikae.domain.agenda import agenda
from hikae.domain.schedule import slots
from tests.unit.domain.test_schedule import schedules, stretches

NEW_YORK = "America/New_York"  # 2026: forward 8 March 07:00 UTC, back 1 November 06:00 UTC
LORD_HOWE = "Australia/Lord_Howe"  # by half an hour; 2026: back 4 April 15:00 UTC, forward 3 October 15:30 UTC
FORWARD = "the clock goes from 02:00 to 03:00"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def read(schedule: str, zone: str, after: str, until: str) -> list[tuple[str | None, str, str]]:
    found = agenda(schedule, timezone=ZoneInfo(zone), after=at(after), until=at(until))
    return [
        (entry.slot and f"{entry.slot:%d %H:%M}", f"{entry.local:%H:%M %z}".strip(), entry.remark) for entry in found
    ]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("30 1 * * *", [("08 06:30", "01:30 -0500", "")]),
        ("30 2 * * *", [("08 07:00", "03:00 -0400", f"02:30 moved right behind the gap: {FORWARD}")]),
        (
            "15,30 2 * * *",
            [("08 07:00", "03:00 -0400", f"02:15 and 02:30 moved right behind the gap, merged: {FORWARD}")],
        ),
        (
            "0 2,3 * * *",
            [("08 07:00", "03:00 -0400", f"02:00 moved right behind the gap, merged with 03:00: {FORWARD}")],
        ),
        (
            "0-59/10 2 * * *",
            [
                (
                    "08 07:00",
                    "03:00 -0400",
                    f"02:00, 02:10, 02:20 and 3 more moved right behind the gap, merged: {FORWARD}",
                )
            ],
        ),
        ("0 3 * * *", [("08 07:00", "03:00 -0400", "")]),
        (
            "*/30 2-3 * * *",
            [
                (None, "02:00", f"has no slot: {FORWARD}"),
                (None, "02:30", f"has no slot: {FORWARD}"),
                ("08 07:00", "03:00 -0400", ""),
                ("08 07:30", "03:30 -0400", ""),
            ],
        ),
        ("*/30 2 8 3 *", [(None, "02:00", f"has no slot: {FORWARD}"), (None, "02:30", f"has no slot: {FORWARD}")]),
    ],
)
def test_when_the_clock_goes_forward_it_is_said_what_became_of_each_time(schedule, expected):
    assert read(schedule, NEW_YORK, "2026-03-08T05:15", "2026-03-09T05:00") == expected


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("30 0 * * *", [("01 04:30", "00:30 -0400", "")]),
        ("30 1 * * *", [("01 05:30", "01:30 -0400", "01:30 comes twice, and runs the first time only")]),
        ("30 2 * * *", [("01 07:30", "02:30 -0500", "")]),
        (
            "*/30 1 * * *",
            [
                ("01 05:00", "01:00 -0400", "01:00 comes twice; this is the first time"),
                ("01 05:30", "01:30 -0400", "01:30 comes twice; this is the first time"),
                ("01 06:00", "01:00 -0500", "01:00 comes twice; this is the second time"),
                ("01 06:30", "01:30 -0500", "01:30 comes twice; this is the second time"),
            ],
        ),
    ],
)
def test_when_the_clock_goes_back_it_is_said_which_time_it_is(schedule, expected):
    assert read(schedule, NEW_YORK, "2026-11-01T04:15", "2026-11-02T00:00") == expected


def test_half_an_hour_and_a_whole_day_are_said_too():
    assert read("15 2 * * *", LORD_HOWE, "2026-10-03T14:00", "2026-10-04T14:00") == [
        ("03 15:30", "02:30 +1100", "02:15 moved right behind the gap: the clock goes from 02:00 to 02:30")
    ]
    # Samoa went from 29 to 31 December 2011.
    assert read("0 12 * * *", "Pacific/Apia", "2011-12-30T00:00", "2011-12-30T12:00") == [
        (
            "30 10:00",
            "00:00 +1400",
            "12:00 moved right behind the gap: the clock goes from 2011-12-30 00:00 to 2011-12-31 00:00",
        )
    ]


@given(schedules, stretches())
def test_the_agenda_has_every_slot_and_no_other(schedule, stretch):
    zone, after, until = stretch
    found = list(agenda(schedule, timezone=zone, after=after, until=until))
    expected = list(slots(schedule, timezone=zone, after=after, until=until))
    assert [entry.slot for entry in found if entry.slot] == expected
    assert all(entry.local.astimezone(UTC) == entry.slot for entry in found if entry.slot)
    assert all(entry.remark for entry in found if entry.slot is None)
