"""`hikae plan schedule`: when each rule is due, looked ahead without AWS."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TWO_RULES = """\
version: 1
plan: offices
timezone: America/New_York
selection: {resources: [instance], tags: {Backup: office}}
rules:
  - {name: nightly, schedule: "15,45 1,2 * * *", protect: snapshots, retention: {keep_daily: 7}}
  - {name: often, schedule: "*/30 1-3 * * *", protect: snapshots, retention: {keep_hourly: 24}}
"""


@pytest.fixture
def offices(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("offices.yaml").write_text(TWO_RULES)
    return "offices.yaml"


@pytest.mark.parametrize(
    ("days", "snapshot"),
    [
        (("2026-03-08", "2026-03-09"), "plan-schedule-spring.txt"),
        (("2026-11-01", "2026-11-02"), "plan-schedule-autumn.txt"),
    ],
)
def test_the_slots_of_each_rule_are_printed_with_what_the_clock_does_to_them(
    hikae, offices, matches_snapshot, days, snapshot
):
    result = hikae("plan", "schedule", offices, "--from", days[0], "--to", days[1])
    assert result.exit_code == 0
    matches_snapshot(result.stdout, snapshot)


def test_the_slots_are_told_to_programs(hikae, offices, matches_snapshot):
    result = hikae("plan", "schedule", offices, "--from", "2026-03-08", "--to", "2026-03-09", "--json")
    matches_snapshot(result.stdout, "plan-schedule.jsonl")


def told(result):
    return [json.loads(line)["slot"] for line in result.stdout.splitlines()]


def test_the_start_is_shown_and_the_end_is_not(hikae, write_plan):
    arguments = ("--from", "2026-11-22T10:00:00Z", "--to", "2026-11-22T12:00:00+00:00", "--json")
    assert told(hikae("plan", "schedule", write_plan(), *arguments)) == ["2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z"]


def test_a_time_without_an_offset_is_the_plans(hikae, offices):
    arguments = ("--from", "2026-11-22T01:30", "--to", "2026-11-22T02:00", "--rule", "nightly", "--json")
    assert told(hikae("plan", "schedule", offices, *arguments)) == ["2026-11-22T06:45:00Z"]


def test_one_rule_alone_can_be_asked_for(hikae, offices):
    result = hikae("plan", "schedule", offices, "--from", "2026-11-22", "--to", "2026-11-23", "--rule", "often")
    assert "rule often: */30 1-3 * * *\n" in result.stdout
    assert "nightly" not in result.stdout


def test_without_times_it_is_the_coming_week(hikae, offices):
    result = hikae("plan", "schedule", offices, "--json", "--rule", "nightly")
    assert 4 * 7 - 3 <= len(told(result)) <= 4 * 7 + 3


def test_what_is_long_is_cut_and_says_so(hikae, write_plan):
    arguments = ("--from", "2026-01-01", "--to", "2090-01-01")
    result = hikae("plan", "schedule", write_plan(), *arguments, "--json")
    assert len(told(result)) == 1_000
    assert result.stderr == "rule hourly: there are more than 1000 times; give an earlier --to or a larger --limit\n"
    assert len(told(hikae("plan", "schedule", write_plan(), *arguments, "--json", "--limit", "3"))) == 3


def test_a_rule_that_is_hardly_ever_due_does_not_take_long_to_look_for(hikae, offices):
    Path(offices).write_text(TWO_RULES.replace("*/30 1-3 * * *", "* * */31 * 1#2"))
    result = hikae("plan", "schedule", offices, "--from", "2026-01-01", "--to", "2120-01-01", "--rule", "often")
    assert result.stdout.splitlines()[1:] == ["rule often: * * */31 * 1#2", "  0 slots"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--from", "tomorrow"), 2, "Invalid value for --from: 'tomorrow' is not a time from 1970 to 2199, such as"),
        (("--to", "2026-02-30"), 2, "Invalid value for --to: '2026-02-30' is not a time"),
        (("--from", "0001-01-01"), 2, "'0001-01-01' is not a time from 1970 to 2199"),
        (("--from", "9999-12-31T23:59:59-12:00"), 2, "is not a time from 1970 to 2199"),
        (
            ("--from", "2026-01-02", "--to", "2026-01-02"),
            2,
            "--to (2026-01-02T05:00:00Z) is not after --from (2026-01-",
        ),
        (("--from", "1990-01-02", "--to", "2190-01-02"), 2, "is more than 100 years; give a shorter time"),
        (("--rule", "weekly"), 2, "'weekly' is no rule of plan offices; its rules are nightly, often"),
        (("--limit", "0"), 2, "0 is not in the range"),
        (("--limit", "1000000"), 2, "1000000 is not in the range"),
    ],
)
def test_what_cannot_be_asked_is_said(hikae, offices, arguments, code, message):
    result = hikae("plan", "schedule", offices, *arguments)
    assert result.exit_code == code
    assert message in result.stderr.replace("\n", " ")


def test_of_what_is_no_plan_its_problems_are_named(hikae, offices):
    Path(offices).write_text("version: 2\n")
    result = hikae("plan", "schedule", offices)
    assert result.exit_code == 1
    assert "offices.yaml:1: version: is 2; this version of hikae reads version: 1\n" in result.stderr
    assert "there is no plan to look ahead for" in result.stderr
    assert result.stdout == ""


def test_a_plan_can_come_from_standard_input(hikae, offices):
    result = hikae("plan", "schedule", "-", "--from", "2026-11-22", "--to", "2026-11-23", stdin=TWO_RULES)
    assert "plan offices, America/New_York, from 2026-11-22 00:00 -0500 to 2026-11-23 00:00 -0500\n" in result.stdout


def test_looking_ahead_does_not_load_the_aws_sdk(offices):
    code = "import sys; from hikae_cli.main import main; main(sys.argv[1:], standalone_mode=False)"
    code += "; assert 'boto3' not in sys.modules"
    for arguments in (["plan", "schedule", offices], ["plan", "schema"]):
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
