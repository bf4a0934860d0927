"""`hikae prune`: a dry run says what the deployed function would do, and only the deployed function does it."""

import json
import re
from datetime import timedelta

import pytest

from hikae.domain.model import SiteRole
from hikae.domain.naming import format_time
from local.inprocess import PRIMARY, RECOVERY, SNAPSHOT_PLAN, Installation, tags_of
from local.twin.faults import refused, unreachable
from tests.functional.cli.lambda_service import Deployed

PLAN = SNAPSHOT_PLAN.replace("timezone: UTC", "timezone: UTC\nretire_after: 90d")


def back_up_hours(installation: Installation, hours: int) -> None:
    for _ in range(hours):
        installation.back_up()
        installation.copy_all()
        installation.advance(minutes=60 - installation.twin.clock.now().minute)


def points(installation: Installation, region: str = PRIMARY) -> set[str]:
    return {tags_of(snapshot)["hikae:point"] for snapshot in installation.snapshots(region)}


@pytest.fixture
def installation(deployed: Deployed) -> Installation:
    """Five hourly points of an instance and of a volume, which is gone now; three are kept here, two there."""
    installation = deployed.functions.installation
    installation.launch()
    volume = installation.detached_volume()
    installation.apply("production", PLAN)
    back_up_hours(installation, 5)
    installation.twin.client("ec2", PRIMARY).delete_volume(VolumeId=volume)
    return installation


@pytest.fixture
def odd(installation: Installation) -> Installation:
    """With a hold, a point that nobody can account for, and a failed copy that was made again."""
    ec2 = installation.twin.client("ec2", PRIMARY)
    by_time = sorted(installation.snapshots(), key=lambda each: (each["StartTime"], each["VolumeSize"]))
    first = next(each for each in by_time if tags_of(each)["hikae:resource"].startswith("vol-"))
    last = by_time[-1]
    ec2.create_tags(Resources=[first["SnapshotId"]], Tags=[{"Key": "hikae:hold", "Value": "case 4711"}])
    ec2.create_tags(Resources=[last["SnapshotId"]], Tags=[{"Key": "hikae:members", "Value": "7"}])
    installation.back_up()
    installation.copy()
    pending = [each for each in installation.snapshots(RECOVERY) if each["State"] == "pending"]
    largest = max(pending, key=lambda each: each["VolumeSize"])
    installation.twin.backend(RECOVERY).fail_snapshot(largest["SnapshotId"], message="boom")
    installation.advance(minutes=30)
    installation.copy_all()
    return installation


def without_ids(output: str) -> str:
    """The output with ids that count up, in the order in which they come: the twin's are of its own choosing."""
    known: dict[str, str] = {}

    def rename(found: re.Match[str]) -> str:
        kind, digits = found.groups()
        number = sum(each.startswith(f"{kind}-") for each in known) + 1
        return known.setdefault(found[0], f"{kind}-{number:0{len(digits)}}")

    return re.sub(r"\b(snap|vol|i|rp)-([0-9a-f]{17}|[0-9a-f]{32})\b", rename, output)


def dry_run(hikae, installation: Installation, site: str, *options: str):
    now = format_time(installation.twin.clock.now())
    return hikae("prune", "--dry-run", "--site", site, "--now", now, *options)


@pytest.mark.parametrize("site", ["primary", "recovery"])
@pytest.mark.parametrize("form", ["txt", "jsonl"])
def test_a_dry_run_says_of_every_point_what_becomes_of_it_and_why(hikae, odd, site, form, matches_snapshot):
    before = [odd.snapshots(region) for region in (PRIMARY, RECOVERY)]
    result = dry_run(hikae, odd, site, *(["--json"] if form == "jsonl" else []))
    assert result.exit_code == 0
    matches_snapshot(without_ids(result.stdout), f"prune-dry-run-{site}.{form}")
    assert [odd.snapshots(region) for region in (PRIMARY, RECOVERY)] == before


@pytest.mark.parametrize("site", list(SiteRole))
def test_what_a_dry_run_lets_go_is_what_the_deployed_function_deletes(hikae, odd, site, deployed):
    answer = dry_run(hikae, odd, site.value, "--json")
    records = [json.loads(line) for line in answer.stdout.splitlines()]
    going = {name for each in records if each.get("verdict") == "expire" for name in each["ids"]}
    region = PRIMARY if site is SiteRole.PRIMARY else RECOVERY
    before = {each["SnapshotId"] for each in odd.snapshots(region)}
    assert going
    assert going < before
    result = hikae("prune", "--site", site.value, "--yes", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["deleted"] == len(going)
    assert before - {each["SnapshotId"] for each in odd.snapshots(region)} == going
    assert deployed.events == [(site, {})]


def test_what_a_limit_withholds_is_told_apart_and_the_limit_can_be_lifted_for_one_run(hikae, installation):
    installation.advance(hours=25)
    back_up_hours(installation, 8)
    result = dry_run(hikae, installation, "primary", "--lineage-percent", "50", "--json")
    withheld = [json.loads(line) for line in result.stdout.splitlines() if '"held back"' in line]
    assert {(each["verdict"], each["record"]) for each in withheld} == {("keep", "point")}
    assert (
        "held back, and would go but for that: "
        in dry_run(hikae, installation, "primary", "--lineage-percent", "50").stdout
    )
    assert "held back" not in dry_run(hikae, installation, "primary", "--lineage-percent", "100").stdout
    before = points(installation)
    hikae("prune", "--site", "primary", "--yes", "--lineage-percent", "100")
    assert points(installation) < before


def test_the_limits_are_those_that_the_deployed_function_has(hikae, installation):
    installation.deletion_cap = 1
    result = dry_run(hikae, installation, "primary", "--json")
    summary = json.loads(result.stdout.splitlines()[-1])
    assert (summary["deletion_cap"], summary["expired"], summary["capped"]) == (1, 1, 3)


def test_what_is_kept_of_a_resource_that_is_gone_says_what_it_costs(hikae, installation):
    lines = dry_run(hikae, installation, "primary").stdout.splitlines()
    [cost] = [line for line in lines if "is gone, and what stays of it costs" in line]
    assert cost.endswith("3 points, of volumes of 30 GiB in all")
    assert any("its newest point, of volumes of 10 GiB, is kept until" in line for line in lines)


def test_a_recovery_region_that_cannot_be_asked_is_named_and_is_a_failure(hikae, installation):
    with unreachable(RECOVERY):
        result = dry_run(hikae, installation, "primary")
    assert result.exit_code == 1
    assert f"cannot be asked, so what may need a copy there stays: 1\n  {RECOVERY}: " in result.stdout


def test_a_plan_that_cannot_be_read_is_named_and_is_a_failure(hikae, deployed):
    installation = deployed.functions.installation
    installation.apply("production", "version: 1\nplan: [")
    result = dry_run(hikae, installation, "primary", "--json")
    assert result.exit_code == 1
    [broken] = [json.loads(line) for line in result.stdout.splitlines() if "broken-plan" in line]
    assert broken["resource"] == "plans/production.yaml"


@pytest.mark.parametrize(
    ("action", "code", "remedy"),
    [
        ("DescribeSnapshots", "UnauthorizedOperation", "with the reading actions of the function's own role"),
        ("DescribeSnapshots", "AuthFailure", "give credentials of the site's administrator"),
        ("DescribeInstances", "InternalError", "check the Region's service health"),
    ],
)
def test_a_site_that_does_not_answer_says_what_and_where_and_what_to_do(hikae, deployed, action, code, remedy):
    with refused(action, code):
        result = dry_run(hikae, deployed.functions.installation, "primary")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: primary 123456789012/{PRIMARY}: ")
    assert code in result.stderr
    assert remedy in result.stderr


def test_what_may_not_be_asked_keeps_everything_and_is_a_failure(hikae, installation):
    with refused("DescribeLockedSnapshots", "UnauthorizedOperation"):
        result = dry_run(hikae, installation, "primary")
    assert result.exit_code == 1
    assert "would go: 0 points" in result.stdout
    assert "  which snapshots are locked: nobody knows which snapshots are locked: " in result.stdout


@pytest.mark.parametrize(
    ("refusal", "complaint"),
    [
        (
            (404, "ResourceNotFoundException", "Function not found"),
            "there is no such function; deploy the primary site of installation main there",
        ),
        ((403, "AccessDeniedException", "not authorized"), "with lambda:GetFunctionConfiguration on it"),
        ((403, "UnrecognizedClientException", "bad token"), "give credentials of the site's administrator"),
        ((400, "InvalidParameterValueException", "odd"), "InvalidParameterValueException odd"),
    ],
)
def test_a_function_that_cannot_be_asked_says_why(hikae, deployed, refusal, complaint):
    deployed.refusal = refusal
    result = hikae("prune", "--dry-run", "--site", "primary")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: function hikae-main-primary-prune-recovery-points (Region {PRIMARY}): ")
    assert complaint in result.stderr


def test_a_function_that_is_told_too_little_is_not_guessed_for(hikae, deployed):
    deployed.missing_variable = "HIKAE_BUCKET"
    result = hikae("prune", "--dry-run", "--site", "primary")
    assert result.exit_code == 1
    assert "its environment says: HIKAE_BUCKET is not set; deploy the stack again" in result.stderr


def test_nobody_to_ask_means_that_nothing_is_deleted(hikae, installation, deployed):
    result = hikae("prune", "--site", "primary")
    assert result.exit_code == 2
    assert "nobody to ask, so nothing was deleted" in result.stderr
    assert deployed.events == []


@pytest.mark.parametrize(("answer", "left"), [("n", 10), ("y", 6)])
def test_somebody_at_a_terminal_is_asked_with_what_would_go(  # noqa: PLR0917 - four fixtures and a row
    hikae, installation, deployed, monkeypatch, answer, left
):
    monkeypatch.setattr("hikae_cli.prune_commands.is_interactive", lambda: True)
    result = hikae("prune", "--site", "primary", stdin=f"{answer}\n")
    assert (
        "function hikae-main-primary-prune-recovery-points (account 123456789012, Region us-east-1) would delete 4 "
        "points and leftovers. Let it? [y/N]" in result.stderr
    )
    assert len(points(installation)) == left
    assert deployed.events[0] == (SiteRole.PRIMARY, {"dry_run": True})
    assert len(deployed.events) == (2 if answer == "y" else 1)
    assert result.exit_code == (0 if answer == "y" else 1)


def test_what_the_function_has_no_room_to_list_is_counted(hikae, installation, deployed, monkeypatch):
    monkeypatch.setattr("hikae_cli.prune_commands.is_interactive", lambda: True)
    deployed.not_shown = {"expired": 1900}
    result = hikae("prune", "--site", "primary", stdin="y\n")
    assert "would delete 1904 points and leftovers. Let it? [y/N]" in result.stderr
    assert "  expired: 1900 more, which the log of the function names" in result.stdout


def test_what_the_function_could_not_do_is_shown_and_is_a_failure(hikae, installation):
    oldest = min(installation.snapshots(), key=lambda snapshot: snapshot["StartTime"])
    with refused("DeleteSnapshot", "InvalidSnapshot.InUse", resource=oldest["SnapshotId"]):
        result = hikae("prune", "--site", "primary", "--yes")
    assert result.exit_code == 1
    assert f"  failed {oldest['SnapshotId']}: InvalidSnapshot.InUse" in result.stdout


def test_a_function_that_fails_says_so_and_where_its_log_is(hikae, deployed):
    deployed.fails_with = {"errorType": "Unreachable", "errorMessage": "boom"}
    result = hikae("prune", "--site", "recovery", "--yes")
    assert result.exit_code == 1
    assert "it has failed (Unhandled)" in result.stderr
    assert "boom" in result.stderr
    assert "its log /aws/lambda/hikae-main-recovery-prune-recovery-points says more" in result.stderr


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--site", "both"], "is not one of"),
        ([], "Missing option '--site'"),
        (["--site", "primary", "--now", "2026-11-22T10:00:00Z"], "--now is for --dry-run"),
        (["--site", "primary", "--dry-run", "--now", "yesterday"], "'yesterday' is not an RFC 3339 time"),
        (["--site", "primary", "--lineage-percent", "101"], "101 is not in the range"),
        (["--site", "primary", "--region", "us-east"], "'us-east' is not a Region's code"),
        (["--site", "primary", "--installation", "Main"], "'Main' is not an installation"),
    ],
)
def test_options_that_make_no_sense_are_refused(hikae, options, complaint):
    result = hikae("prune", *options)
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_the_region_of_the_site_must_be_known(hikae, monkeypatch):
    monkeypatch.delenv("HIKAE_RECOVERY_REGION")
    result = hikae("prune", "--dry-run", "--site", "recovery")
    assert result.exit_code == 2
    assert "the Region of the recovery site is not known; set HIKAE_RECOVERY_REGION or give --region" in result.stderr


def test_a_clock_before_the_points_keeps_them_all(hikae, installation):
    early = format_time(installation.twin.clock.now() - timedelta(days=1))
    result = hikae("prune", "--dry-run", "--site", "primary", "--now", early)
    assert "would go: 0 points" in result.stdout
