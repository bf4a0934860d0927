"""`hikae retention explain`: restic's forget on a file of points, without AWS."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from hikae.domain.naming import parse_time
from hikae.domain.retention import Policy, Span, decide
from tests.unit.domain.builders import At

ROOT = Path(__file__).parents[3]


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """Every six hours for forty days, in no order."""
    start = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
    times = [start - timedelta(hours=6 * number) for number in range(160)]
    lines = [
        json.dumps({"id": f"snap-{number:03}", "time": f"{at:%Y-%m-%dT%H:%M:%SZ}"}) for number, at in enumerate(times)
    ]
    path = tmp_path / "points.jsonl"
    path.write_text("\n".join(lines[80:] + lines[:80]) + "\n")
    return path


POLICY = ["--keep-last", "2", "--keep-daily", "7", "--keep-weekly", "4", "--keep-within-monthly", "1y2m"]


def test_it_explains_to_people(hikae, points, matches_snapshot):
    result = hikae("retention", "explain", "--points", points, *POLICY, "--timezone", "Asia/Tokyo")
    assert result.exit_code == 0
    matches_snapshot(result.stdout, "retention-explain.txt")


def test_it_explains_to_programs(hikae, points, matches_snapshot):
    result = hikae("retention", "explain", "--points", points, *POLICY, "--timezone", "Asia/Tokyo", "--json")
    assert result.exit_code == 0
    matches_snapshot(result.stdout, "retention-explain.jsonl")


@pytest.mark.parametrize("timezone", ["UTC", "America/New_York"])
def test_it_says_what_the_engine_says_of_every_rule(hikae, points, timezone):
    options = ["--keep-last=1", "--keep-hourly=2", "--keep-daily=3", "--keep-weekly=-1", "--keep-monthly=unlimited"]
    options += ["--keep-yearly=1", "--keep-within=1d12h", "--keep-within-hourly=2d", "--keep-within-daily=9d"]
    options += [
        "--keep-within-weekly=1m",
        "--keep-within-monthly=1y",
        "--keep-within-yearly=2y",
        "--timezone",
        timezone,
    ]
    answer = hikae("retention", "explain", "--points", points, *options, "--json")
    policy = Policy(
        keep_last=1, keep_hourly=2, keep_daily=3, keep_weekly=-1, keep_monthly=-1, keep_yearly=1, **within()
    )
    given = [json.loads(line) for line in points.read_text().splitlines()]
    verdicts = decide(policy, [At(each["id"], parse_time(each["time"])) for each in given], timezone=ZoneInfo(timezone))
    assert [json.loads(line) for line in answer.stdout.splitlines()] == [
        {
            "id": verdict.id,
            "time": next(each["time"] for each in given if each["id"] == verdict.id),
            "verdict": verdict.action.value,
            "reasons": list(verdict.reasons),
        }
        for verdict in verdicts
    ]


def within():
    texts = {"": "1d12h", "_hourly": "2d", "_daily": "9d", "_weekly": "1m", "_monthly": "1y", "_yearly": "2y"}
    return {f"keep_within{name}": Span.parse(text) for name, text in texts.items()}


def test_the_worked_example_of_the_reference_is_what_it_prints(hikae, tmp_path):
    page = (ROOT / "docs/reference/retention.md").read_text()
    rows = re.findall(r"^\| (\d{4}-\d\d-\d\d \d\d:\d\d) \| [^|]+ \| (\w+) \| ([^|]+) \|$", page, re.MULTILINE)
    assert len(rows) == 12
    path = tmp_path / "points.jsonl"
    path.write_text(
        "".join(json.dumps({"id": row[0], "time": row[0].replace(" ", "T") + ":00Z"}) + "\n" for row in rows)
    )
    policy = re.search(r"`\{(keep_[^}]+)\}` in `([^`]+)`", page)
    options = [f"--{rule.strip().replace('_', '-').replace(': ', '=')}" for rule in policy[1].split(",")]
    answer = hikae("retention", "explain", "--points", path, *options, "--timezone", policy[2], "--json")
    found = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [(each["id"], each["verdict"], ", ".join(each["reasons"])) for each in found] == rows


def test_points_may_come_by_standard_input_and_keep_their_own_writing(hikae):
    lines = (
        '{"id": "a", "time": "2026-11-22T10:00:00.5+09:00", "host": "x"}\n\n{"id": "ü", "time": "2026-11-22t02:00:00z"}'
    )
    answer = hikae("retention", "explain", "--points", "-", "--keep-last", "1", "--json", stdin=lines)
    assert [json.loads(line)["time"] for line in answer.stdout.splitlines()] == [
        "2026-11-22t02:00:00z",
        "2026-11-22T10:00:00.5+09:00",
    ]


def test_without_a_rule_everything_stays_and_it_says_so(hikae, points):
    for options in ([], ["--keep-last", "0"]):
        result = hikae("retention", "explain", "--points", points, *options, "--json")
        assert {json.loads(line)["verdict"] for line in result.stdout.splitlines()} == {"keep"}
        assert "no --keep-… option is given" in result.stderr


def test_no_points_are_no_verdicts(hikae):
    result = hikae("retention", "explain", "--points", "-", "--keep-last", "1", "--json", stdin="")
    assert (result.exit_code, result.stdout) == (0, "")


def test_every_line_that_is_no_point_is_named_and_nothing_is_judged(hikae, matches_snapshot):
    lines = [
        '{"id": "a", "time": "2026-11-22T10:00:00Z"}',
        '{"id": "a", "time": "2026-11-22T11:00:00Z"}',
        '{"id": "b", "time": "2026-11-22"}',
        '{"id": "c", "time": "2026-11-22T10:00:00"}',
        '{"id": "d"}',
        '{"id": 7, "time": "2026-11-22T10:00:00Z"}',
        '["a"]',
        "snap-1 2026-11-22",
        '{"id": "\\u001b[2J", "time": "never"}',
    ]
    result = hikae("retention", "explain", "--points", "-", "--keep-last", "1", "--json", stdin="\n".join(lines))
    assert (result.exit_code, result.stdout) == (1, "")
    matches_snapshot(result.stderr, "retention-explain-bad-lines.txt")


@pytest.mark.parametrize(
    ("time", "timezone"), [("0001-01-01T00:00:00Z", "America/New_York"), ("9999-12-31T23:59:59Z", "Asia/Tokyo")]
)
def test_a_time_that_the_zones_calendar_does_not_have_is_no_point(hikae, time, timezone):
    line = json.dumps({"id": "a", "time": time})
    result = hikae(
        "retention", "explain", "--points", "-", "--keep-within", "1y", "--timezone", timezone, stdin=f"{line}\n"
    )
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"<stdin>:1: '{time}' is not in the years 1 to 9999 of {timezone}" in result.stderr


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--keep-last", "-2"], "-2 is no number of points; a number from 1, or -1 for all"),
        (["--keep-daily", "many"], "'many' is not a number"),
        (["--keep-within", "7"], "'7' is not a duration such as 1y2m3d3h"),
        (["--keep-within-daily", "1w"], "'1w' is not a duration"),
        (["--timezone", "Mars/Olympus"], "'Mars/Olympus' is not a time zone"),
        (["--points", "no-such-file"], "does not exist"),
    ],
)
def test_options_that_make_no_sense_are_refused(hikae, points, options, complaint):
    result = hikae("retention", "explain", "--points", points, *options)
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_it_needs_no_aws():
    code = "import hikae_cli.main, sys; sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
