"""`hikae plan preview`: what a plan would do, from nothing, from a file, or from the live state."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from hikae.domain.naming import format_time, parse_time
from local.inprocess import PRIMARY, RECOVERY, SNAPSHOT_PLAN, tags_of
from tests.functional.cli.lambda_service import Deployed

EXAMPLE = Path(__file__).parents[3] / "docs/examples/production.yaml"
FROM = ("--from", "2026-11-22T10:00:00Z")
TWO_RULES = """\
version: 1
plan: production
timezone: Asia/Tokyo
selection: {resources: [instance, volume], tags: {Backup: production}}
rules:
  - name: daily
    schedule: "@daily"
    protect: snapshots
    retention: {keep_daily: 3}
    copies:
      - {region: us-west-2, retention: {keep_daily: 2}}
      - {region: eu-west-1, retention: {keep_weekly: 2}}
  - name: weekly
    schedule: "0 4 * * 0"
    protect: image
    retention: {keep_weekly: 2}
"""
POINTS = [
    {"id": "snap-mon", "time": "2026-11-16T00:00:00Z"},
    {"id": "snap-tue", "time": "2026-11-17T00:00:00Z", "hold": True},
    {"id": "snap-sat", "time": "2026-11-20T15:00:00Z", "slot": "2026-11-20T15:00:00Z"},
    {"id": "snap-sat", "time": "2026-11-20T15:00:00Z", "site": "recovery", "region": "us-west-2", "gib": 8},
    {"id": "snap-fri", "time": "2026-11-19T15:00:00Z", "resource": "vol-1", "state": "failed", "ids": ["snap-1"]},
    {"id": "ami", "time": "2026-11-14T19:00:00Z", "rule": "weekly", "ids": ["ami-1", "snap-2", "snap-3"]},
    {"id": "elsewhere", "time": "2026-11-14T19:00:00Z", "plan": "other", "rule": "none-of-ours"},
    {"record": "summary", "kept": 7},
]


@pytest.fixture
def plan(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("plan.yaml").write_text(TWO_RULES)
    return "plan.yaml"


@pytest.fixture
def points(plan) -> str:
    lines = [{"rule": "daily", "resource": "i-1"} | point if "time" in point else point for point in POINTS]
    Path("points.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return "points.jsonl"


def records(result, kind):
    return [each for each in map(json.loads, result.stdout.splitlines()) if each["record"] == kind]


@pytest.mark.parametrize("form", ["txt", "jsonl"])
def test_from_nothing_it_says_day_by_day_what_happens_to_an_assumed_resource(hikae, form, matches_snapshot):
    result = hikae("plan", "preview", EXAMPLE, "--days", "1", *FROM, *(["--json"] if form == "jsonl" else []))
    assert result.exit_code == 0
    matches_snapshot(result.stdout, f"plan-preview-empty.{form}")


@pytest.mark.parametrize("form", ["txt", "jsonl"])
def test_from_a_file_it_goes_on_with_its_points(hikae, plan, points, form, matches_snapshot):
    result = hikae("plan", "preview", plan, "--points", points, *FROM, *(["--json"] if form == "jsonl" else []))
    assert result.exit_code == 0
    matches_snapshot(result.stdout, f"plan-preview-points.{form}")


def test_what_retention_explain_reads_is_enough(hikae):
    lines = "\n".join(json.dumps({"id": f"snap-{hour}", "time": f"2026-11-22T{hour:02}:00:00Z"}) for hour in range(10))
    result = hikae("plan", "preview", EXAMPLE, "--points", "-", "--days", "1", *FROM, "--json", stdin=lines)
    gone = [each["id"] for each in records(result, "event") if each["event"] == "deleted" and each["site"] == "primary"]
    # The newest 24 hours stay, the last one of each day, and the oldest of all, as a week is not yet over.
    assert gone[:-1] == [f"snap-{hour}" for hour in range(1, 10)]
    assert gone[-1].startswith("rp-"), "the first that the preview has made"


def test_one_preview_can_follow_another(hikae):
    arguments = ("plan", "preview", EXAMPLE, "--json")
    whole = hikae(*arguments, *FROM, "--days", "3")
    first = hikae(*arguments, *FROM, "--days", "1")
    second = hikae(*arguments, "--from", "2026-11-23T10:00:00Z", "--days", "2", "--points", "-", stdin=first.stdout)
    assert second.exit_code == 0

    def ends(result):
        held = records(result, "point")
        return [(each["site"], each["time"], each["verdict"], each["reasons"]) for each in held]

    assert ends(second) == ends(whole)


def test_only_the_resources_that_are_asked_for(hikae, plan, points):
    result = hikae("plan", "preview", plan, "--points", points, *FROM, "--resource", "vol-1", "--json")
    assert {each["resource"] for each in records(result, "event")} == {"vol-1"}


def test_a_resource_that_the_plan_cannot_protect_is_named(hikae, plan, points):
    result = hikae("plan", "preview", plan, "--points", points, *FROM)
    assert "never: vol-1 gets no points of the rule weekly: an image is made of an instance" in result.stdout
    images = TWO_RULES.replace("[instance, volume]", "[instance]")
    Path(plan).write_text(images)
    result = hikae("plan", "preview", plan, "--points", points, *FROM)
    assert "never: vol-1 gets no points of the rule daily: the plan does not select it" in result.stdout


def test_every_line_that_is_no_point_is_named_and_nothing_is_previewed(hikae, plan, matches_snapshot):
    good = {"id": "a", "time": "2026-11-22T10:00:00Z", "rule": "daily"}
    lines = [
        json.dumps(good),
        json.dumps(good | {"id": "again"}),
        json.dumps(good | {"time": "2026-11-22T11:00:00Z"}),
        json.dumps({"id": "b", "time": "2026-11-22T10:00:00Z"}),
        json.dumps(good | {"rule": "hourly"}),
        json.dumps(good | {"time": "2026-11-22"}),
        json.dumps({"id": "c", "rule": "daily"}),
        json.dumps(good | {"site": "elsewhere"}),
        json.dumps(good | {"site": "recovery"}),
        json.dumps(good | {"site": "recovery", "region": "us-east-1"}),
        json.dumps(good | {"kind": "tape"}),
        json.dumps(good | {"state": "fine"}),
        json.dumps(good | {"gib": -1}),
        json.dumps(good | {"attempt": "1"}),
        json.dumps(good | {"ids": "snap-1"}),
        json.dumps(good | {"resource": "\u001b[2J", "id": 7}),
        "[1]",
        "snap-1 2026-11-22",
    ]
    result = hikae("plan", "preview", plan, "--points", "-", *FROM, stdin="\n".join(lines))
    assert (result.exit_code, result.stdout) == (1, "")
    matches_snapshot(result.stderr, "plan-preview-bad-lines.txt")


def test_a_date_is_the_plans_own_as_for_its_schedule(hikae):
    days = ("--days", "1", "--json")
    local = hikae("plan", "preview", EXAMPLE, "--from", "2026-11-22", *days)
    assert local.exit_code == 0, local.output
    assert local.stdout == hikae("plan", "preview", EXAMPLE, "--from", "2026-11-22T00:00:00+09:00", *days).stdout


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (["--days", "0"], 2, "0 is not in the range 1<=x<=366"),
        (["--days", "100000"], 2, "100000 is not in the range 1<=x<=366"),
        (["--days", "many"], 2, "'many' is not a valid integer"),
        (["--from", "today"], 2, "'today' is not a time from 1970 to 2199, such as 2026-03-08 or 2026-03-08T12:00:00Z"),
        (["--points", "no-such-file"], 2, "does not exist"),
        (["--points", "plan.yaml", "--live"], 2, "--points and --live are two beginnings"),
        (["--live", "--region", "Virginia"], 2, "'Virginia' is not a Region's code"),
    ],
)
def test_what_cannot_be_previewed_is_refused(hikae, plan, options, code, complaint):
    result = hikae("plan", "preview", plan, *options)
    assert (result.exit_code, result.stdout) == (code, "")
    assert complaint in result.stderr


def test_standard_input_is_read_once(hikae):
    result = hikae("plan", "preview", "-", "--points", "-", stdin="")
    assert result.exit_code == 2
    assert "- is given twice" in result.stderr


def test_a_plan_with_problems_is_not_previewed(hikae, plan):
    Path(plan).write_text(TWO_RULES.replace("keep_daily: 3", "keep_dayly: 3"))
    result = hikae("plan", "preview", plan)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "plan.yaml:9: rules[0].retention.keep_dayly" in result.stderr
    assert "nothing was previewed" in result.stderr


def test_from_nothing_or_a_file_it_needs_no_aws():
    code = (
        "import sys; from click.testing import CliRunner; from hikae_cli.main import main;"
        f"r = CliRunner().invoke(main, ['plan', 'preview', {str(EXAMPLE)!r}, '--days', '1']);"
        "sys.exit(r.exit_code or 'boto3' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- the live state ---------------------------------------------------------------------------------------------------


@pytest.fixture
def live(deployed: Deployed, tmp_path, monkeypatch) -> Deployed:
    """Four hourly points of an instance, their copies, and a store-backed instance that cannot have any."""
    monkeypatch.chdir(tmp_path)
    installation = deployed.functions.installation
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    for _ in range(4):
        installation.back_up()
        installation.copy_all()
        installation.advance(minutes=60 - installation.twin.clock.now().minute)
    Path("plan.yaml").write_text(SNAPSHOT_PLAN)
    return deployed


def preview_live(hikae, live: Deployed, *options: str):
    now = format_time(live.functions.installation.twin.clock.now())
    return hikae("plan", "preview", "plan.yaml", "--live", "--from", now, "--json", *options)


def test_from_the_live_state_it_goes_on_with_what_both_sites_have(hikae, live):
    installation = live.functions.installation
    before = [installation.snapshots(region) for region in (PRIMARY, RECOVERY)]
    result = preview_live(hikae, live, "--days", "1")
    assert result.exit_code == 0
    [start] = records(result, "beginning")
    assert start["notes"][0].startswith(f"the live state of 123456789012/{PRIMARY} and of {RECOVERY}")
    events = records(result, "event")
    assert sum(each["event"] == "made" for each in events) == 25
    assert sum(each["event"] == "copied" for each in events) == 25
    ids = {tags_of(each)["hikae:point"] for each in before[0]}
    gone = {each["id"].split("/")[0] for each in events if each["event"] == "deleted" and each["site"] == "primary"}
    assert ids < gone
    assert [installation.snapshots(region) for region in (PRIMARY, RECOVERY)] == before


@pytest.mark.parametrize("site", ["primary", "recovery"])
def test_what_goes_first_is_what_a_dry_run_lets_go(hikae, live, site):
    """Of a plan that makes nothing for the next hours, so that nothing has changed when pruning runs."""
    later = SNAPSHOT_PLAN.replace('"0 * * * *"', '"0 3 * * *"')
    Path("plan.yaml").write_text(later)
    live.functions.installation.apply("production", later)
    now = live.functions.installation.twin.clock.now()
    dry = hikae("prune", "--dry-run", "--site", site, "--now", format_time(now), "--json")
    going = {each["id"]: each["reasons"] for each in records(dry, "point") if each["verdict"] == "expire"}
    events = records(preview_live(hikae, live, "--days", "1"), "event")
    first = {
        each["id"]: each["reasons"]
        for each in events
        if each["event"] == "deleted" and each["site"] == site and parse_time(each["time"]) <= now + timedelta(hours=1)
    }
    assert going
    assert first == going


def test_the_file_takes_the_place_of_the_plan_that_was_applied_and_removed_rules_keep_what_they_said(hikae, live):
    Path("plan.yaml").write_text(SNAPSHOT_PLAN.replace("name: hourly", "name: renamed"))
    held = records(preview_live(hikae, live, "--days", "1"), "point")
    old = [each for each in held if each["rule"] == "hourly" and each["site"] == "primary"]
    assert len(old) == 3
    assert {each["reasons"][-1] for each in old} == {
        "by the last plan production that had the rule hourly for this site, which was removed"
    }


def test_a_recovery_site_that_is_not_there_says_so(hikae, live):
    Path("plan.yaml").write_text(SNAPSHOT_PLAN.replace("us-west-2", "eu-west-1"))
    live.missing_region = "eu-west-1"
    result = preview_live(hikae, live)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "function hikae-main-recovery-prune-recovery-points (Region eu-west-1): there is no such function" in (
        result.stderr
    )
