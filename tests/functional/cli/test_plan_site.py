"""`hikae plan diff`, `list` and `history`, and what a conditional write refuses."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from botocore.client import BaseClient
from botocore.exceptions import EndpointConnectionError
from moto.s3.models import s3_backends

from tests.functional.cli.conftest import ACCOUNT, PRIMARY, RECOVERY

KEY = "plans/production.yaml"


def settled(output: str) -> str:
    """Output without what differs from run to run: times, and the ids of versions in the order they come in."""
    names: dict[str, str] = {}
    output = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "2026-01-01T00:00:00Z", output)
    version = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    return re.sub(version, lambda found: names.setdefault(found[0], f"version-{len(names) + 1}"), output)


@pytest.fixture
def before_write(monkeypatch):
    """Have something happen between the difference that is shown and the write, or deletion; only once."""
    really = BaseClient._make_api_call

    def have(happen):
        pending = [happen]

        def call(client, name, arguments):
            if name in {"PutObject", "DeleteObject"} and pending:
                pending.pop()()
            return really(client, name, arguments)

        monkeypatch.setattr(BaseClient, "_make_api_call", call)

    return have


@pytest.fixture
def region_is_gone(monkeypatch):
    """Have no endpoint of a Region answer."""
    really = BaseClient._make_api_call

    def have(region):
        def call(client, name, arguments):
            if client.meta.region_name == region:
                raise EndpointConnectionError(endpoint_url=f"https://{region}")
            return really(client, name, arguments)

        monkeypatch.setattr(BaseClient, "_make_api_call", call)

    return have


# --- writing only what was compared -----------------------------------------------------------------------------------

WHERE = f"{KEY} in bucket hikae-main-primary-{ACCOUNT}-{PRIMARY} (account {ACCOUNT}, Region {PRIMARY})"


@pytest.mark.parametrize(
    "interference",
    [(True, b"theirs", "was changed"), (False, b"theirs", "was made"), (True, None, "was deleted")],
    ids=["changed", "made", "deleted"],
)
def test_what_somebody_else_did_since_the_difference_was_shown_is_not_overwritten(
    hikae, buckets, write_plan, before_write, interference
):
    is_there, becomes, what = interference
    if is_there:
        hikae("plan", "apply", write_plan(), "--site", "primary", "--yes")

    def interfere():
        if becomes is None:
            buckets.s3.delete_object(Bucket=buckets.primary, Key=KEY)
        else:
            buckets.s3.put_object(Bucket=buckets.primary, Key=KEY, Body=becomes)

    before_write(interfere)
    result = hikae("plan", "apply", write_plan(keep=48), "--site", "both", "--yes")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {WHERE}: {what} by somebody else since it was compared, and was not overwritten; apply again to see "
        "the difference to what is there now\n0 of 2 applied; apply again for the rest\n"
    )
    assert buckets.keys(buckets.recovery) == []
    if becomes is None:
        assert buckets.keys(buckets.primary) == []
    else:
        assert buckets.content(buckets.primary, KEY) == "theirs"


def test_a_plan_that_was_deleted_can_be_applied_anew(hikae, buckets, write_plan):
    hikae("plan", "apply", write_plan(), "--site", "primary", "--yes")
    buckets.s3.delete_object(Bucket=buckets.primary, Key=KEY)
    result = hikae("plan", "apply", write_plan(), "--site", "primary", "--yes")
    assert result.exit_code == 0
    assert buckets.keys(buckets.primary) == [KEY]


def test_a_write_whose_answer_was_lost_finds_its_own_content_and_is_content(hikae, buckets, write_plan, before_write):
    path = write_plan()
    ours = Path(path).read_bytes()
    before_write(lambda: buckets.s3.put_object(Bucket=buckets.primary, Key=KEY, Body=ours))
    result = hikae("plan", "apply", path, "--site", "primary", "--yes")
    assert result.exit_code == 0
    assert "applied production to primary\n" in result.output
    assert buckets.versions(buckets.primary, KEY) == 1


# --- review before applying -------------------------------------------------------------------------------------------


def test_a_plan_that_cannot_be_meant_is_not_applied(hikae, buckets, write_plan):
    path = Path(write_plan())
    path.write_text(path.read_text().replace('"0 * * * *"', '"0 0 */31 * 1#2"'))
    result = hikae("plan", "apply", path, "--site", "both", "--yes")
    assert result.exit_code == 1
    assert result.stderr == (
        "production.yaml:7: rules[0].schedule: '0 0 */31 * 1#2' is never due: there is no such day; give a day that "
        "exists, such as 0 3 1 * *\n"
        "Error: refused as a whole, nothing was applied: 1 of 1 files have problems\n"
    )
    assert buckets.keys(buckets.primary) == buckets.keys(buckets.recovery) == []


def test_what_is_unwise_is_said_and_applied_all_the_same(hikae, buckets, write_plan):
    path = Path(write_plan())
    path.write_text(path.read_text().replace("{keep_hourly: 24}", "{keep_hourly: 24, keep_last: 5}"))
    result = hikae("plan", "apply", path, "--site", "primary", "--yes")
    assert result.exit_code == 0
    assert result.stderr == (
        "production.yaml:9: warning: rules[0].retention.keep_last: keep_last: 5 adds nothing: keep_hourly: 24 keeps "
        "all that it would; leave one out\n"
    )


def test_the_regions_of_the_recovery_sites_can_be_told(hikae, buckets, write_plan):
    arguments = ("--site", "primary", "--yes", "--recovery-region", "us-west-2")
    refused = hikae("plan", "apply", write_plan(region="eu-west-1"), *arguments)
    assert refused.exit_code == 1
    assert "production.yaml:10: rules[0].copies[0].region: eu-west-1 is served by no recovery site" in refused.stderr
    accepted = hikae("plan", "apply", write_plan(region="eu-west-1"), *arguments, "--recovery-region", "eu-west-1")
    assert (accepted.exit_code, accepted.stderr) == (0, "")


# --- remove -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def applied(hikae, buckets, write_plan):
    path = Path(write_plan())
    path.write_text(path.read_text() + "retire_after: 30d\n")
    assert hikae("plan", "apply", path, "--site", "both", "--yes").exit_code == 0


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize(("answer", "code", "left"), [("n", 1, [KEY]), ("y", 0, [])])
def test_removing_says_what_follows_asks_and_keeps_the_history(  # noqa: PLR0917 - three fixtures and a row
    hikae, buckets, monkeypatch, answer, code, left
):
    monkeypatch.setattr("hikae_cli.plan_site_commands.is_interactive", lambda: True)
    result = hikae("plan", "remove", "production", "--site", "both", stdin=f"{answer}\n")
    assert result.exit_code == code
    where = f"primary {ACCOUNT}/{PRIMARY} and recovery {ACCOUNT}/{RECOVERY}"
    stays = "Nothing is made by it there any more; what was made stays"
    assert settled(result.stdout).splitlines()[:9] == [
        f"primary {ACCOUNT}/{PRIMARY}: production: of 2026-01-01T00:00:00Z",
        "  rule hourly: no point is made any more; those that there are stay under keep_hourly: 24",
        "  of resources that are gone, all points go once the newest is older than 30d",
        f"recovery {ACCOUNT}/{RECOVERY}: production: of 2026-01-01T00:00:00Z",
        "  rule hourly: no copy is made any more; those that there are stay under keep_daily: 7",
        "  no drill of it is started any more",
        "  of resources that are gone, all points go once the newest is older than 30d",
        f"Remove production from {where}? {stays} [y/N]: {answer}",
        *(["removed production from primary"] if answer == "y" else []),
    ]
    assert buckets.keys(buckets.primary) == buckets.keys(buckets.recovery) == left
    assert buckets.versions(buckets.primary, KEY) == buckets.versions(buckets.recovery, KEY) == 1
    told = [json.loads(line) for line in hikae("plan", "history", "production", "--json").stdout.splitlines()]
    assert [each["is_deletion"] for each in told] == ([True, False] * 2 if answer == "y" else [False] * 2)


@pytest.mark.usefixtures("applied")
def test_a_plan_that_is_at_one_site_only_is_removed_there(hikae, buckets):
    assert hikae("plan", "remove", "production", "--site", "primary", "--yes").exit_code == 0
    assert (buckets.keys(buckets.primary), buckets.keys(buckets.recovery)) == ([], [KEY])
    result = hikae("plan", "remove", "production", "--site", "both", "--yes")
    assert result.exit_code == 0
    assert f"primary {ACCOUNT}/{PRIMARY}: production: is not there\n" in result.stdout
    assert "removed production from recovery\n" in result.stdout
    assert buckets.keys(buckets.recovery) == []


@pytest.mark.usefixtures("applied")
def test_what_somebody_else_changed_since_it_was_shown_is_not_removed(hikae, buckets, before_write):
    before_write(lambda: buckets.s3.put_object(Bucket=buckets.primary, Key=KEY, Body=b"theirs"))
    result = hikae("plan", "remove", "production", "--site", "both", "--yes")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {WHERE}: was changed by somebody else since it was shown, and was not removed; remove again to see "
        "what is there now\n0 of 2 removed; remove again for the rest\n"
    )
    assert buckets.content(buckets.primary, KEY) == "theirs"
    assert buckets.keys(buckets.recovery) == [KEY]


@pytest.mark.usefixtures("applied")
def test_a_removal_whose_answer_was_lost_finds_nothing_and_is_content(hikae, buckets, before_write):
    before_write(lambda: buckets.s3.delete_object(Bucket=buckets.primary, Key=KEY))
    result = hikae("plan", "remove", "production", "--site", "primary", "--yes")
    assert result.exit_code == 0, result.output
    assert "removed production from primary\n" in result.output


def test_a_plan_that_cannot_be_read_is_removed_all_the_same(hikae, buckets):
    buckets.s3.put_object(Bucket=buckets.primary, Key="plans/broken.yaml", Body="version: 2\nplan: broken\n")
    result = hikae("plan", "remove", "broken", "--site", "primary", "--yes")
    assert result.exit_code == 0, result.output
    assert "  it cannot be read here (" in result.stdout
    assert "version: is 2" in result.stdout
    assert buckets.keys(buckets.primary) == []


@pytest.mark.usefixtures("applied")
def test_a_site_that_does_not_answer_means_that_nothing_is_removed(hikae, buckets, region_is_gone):
    region_is_gone(RECOVERY)
    result = hikae("plan", "remove", "production", "--site", "both", "--yes")
    assert result.exit_code == 1
    assert f"account unknown: STS in Region {RECOVERY}: unreachable" in result.stderr
    assert buckets.keys(buckets.primary) == [KEY]


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere", "--site", "both", "--yes"), 1, "neither site has a plan nowhere; `hikae plan list` names those"),
        (("other", "--site", "primary", "--yes"), 1, f"primary {ACCOUNT}/{PRIMARY} does not have a plan other"),
        (("production.yaml", "--site", "both"), 2, "'production.yaml' is not the name of a plan; not its file"),
        (("production", "--site", "both"), 2, "nobody to ask, so nothing was removed; give --yes to remove production"),
        (("production",), 2, "Missing option '--site'"),
    ],
)
def test_what_cannot_be_removed_is_said_and_nothing_is(hikae, buckets, arguments, code, message):
    result = hikae("plan", "remove", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert buckets.keys(buckets.primary) == buckets.keys(buckets.recovery) == [KEY]


# --- diff -------------------------------------------------------------------------------------------------------------


def test_the_difference_to_both_sites_is_shown(hikae, buckets, write_plan, matches_snapshot):
    hikae("plan", "apply", write_plan(), write_plan("other"), "--site", "primary", "--yes")
    hikae("plan", "apply", write_plan(keep=12), "--site", "recovery", "--yes")
    result = hikae("plan", "diff", write_plan(), "other.yaml")
    assert result.exit_code == 1
    matches_snapshot(result.stdout, "plan-diff.txt")
    assert buckets.versions(buckets.primary, KEY) == 1


def test_the_difference_is_told_to_programs(hikae, buckets, write_plan):
    hikae("plan", "apply", write_plan(), "--site", "recovery", "--yes")
    result = hikae("plan", "diff", write_plan(keep=48), "--json")
    assert result.exit_code == 1
    primary, recovery = (json.loads(line) for line in result.stdout.splitlines())
    assert primary == {
        "plan": "production",
        "file": "production.yaml",
        "site": "primary",
        "account": ACCOUNT,
        "region": PRIMARY,
        "change": "new",
        "difference": [],
    }
    assert (recovery["site"], recovery["change"]) == ("recovery", "changed")
    assert "+    retention: {keep_hourly: 48}" in recovery["difference"]


def test_diff_exits_like_diff(hikae, buckets, write_plan):
    path = write_plan()
    assert hikae("plan", "diff", path, "--site", "primary").exit_code == 1
    hikae("plan", "apply", path, "--site", "primary", "--yes")
    assert hikae("plan", "diff", path, "--site", "primary").exit_code == 0
    assert hikae("plan", "diff", path).exit_code == 1
    Path("bad.yaml").write_text("version: 2\n")
    bad = hikae("plan", "diff", path, "bad.yaml", "--site", "primary")
    assert bad.exit_code == 2
    assert "bad.yaml:1: version: is 2" in bad.stderr
    assert "nothing was compared" in bad.stderr


def test_what_cannot_be_asked_is_neither_the_same_nor_different(hikae, buckets, write_plan, region_is_gone):
    path = write_plan()
    hikae("plan", "apply", path, "--site", "both", "--yes")
    region_is_gone(PRIMARY)
    result = hikae("plan", "diff", path)
    assert result.exit_code == 2
    assert f"account unknown: STS in Region {PRIMARY}: unreachable" in result.stderr
    assert hikae("plan", "diff", path, "--site", "recovery").exit_code == 0


# --- list -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def many_plans(hikae, buckets, write_plan):
    hikae("plan", "apply", write_plan(), write_plan("same"), write_plan("here"), "--site", "primary", "--yes")
    hikae("plan", "apply", write_plan(keep=12), "same.yaml", write_plan("there"), "--site", "recovery", "--yes")
    text = Path("same.yaml").read_text()
    buckets.s3.put_object(Bucket=buckets.primary, Key="plans/retold.yaml", Body=text.replace("same", "retold"))
    retold = "# said again\n" + text.replace("same", "retold")
    buckets.s3.put_object(Bucket=buckets.recovery, Key="plans/retold.yaml", Body=retold)
    buckets.s3.put_object(Bucket=buckets.primary, Key="plans/broken.yaml", Body="version: 2\nplan: Broken\n")
    buckets.s3.put_object(Bucket=buckets.recovery, Key="plans/wrong.yaml", Body=text)
    buckets.s3.put_object(Bucket=buckets.recovery, Key="plans/notes.txt", Body="\x1b[2J")


@pytest.mark.usefixtures("many_plans")
def test_the_plans_of_both_sites_are_listed_side_by_side(hikae, matches_snapshot):
    result = hikae("plan", "list")
    assert result.exit_code == 1  # some are broken
    matches_snapshot(settled(result.stdout), "plan-list.txt")


@pytest.mark.usefixtures("many_plans")
def test_the_plans_are_listed_for_programs(hikae, matches_snapshot):
    matches_snapshot(settled(hikae("plan", "list", "--json").stdout), "plan-list.jsonl")


def test_one_site_alone_is_listed_and_an_empty_one_says_so(hikae, buckets, write_plan):
    assert hikae("plan", "list").stdout == (
        f"primary {ACCOUNT}/{PRIMARY}: no plans\nrecovery {ACCOUNT}/{RECOVERY}: no plans\n"
    )
    hikae("plan", "apply", write_plan(), "--site", "primary", "--yes")
    result = hikae("plan", "list", "--site", "primary")
    assert result.exit_code == 0
    header, row = settled(result.stdout).splitlines()
    assert header == f"PLAN        primary {ACCOUNT}/{PRIMARY}"
    assert row == "production  2026-01-01T00:00:00Z"


def test_with_the_primary_gone_the_recovery_site_is_listed(hikae, buckets, write_plan, region_is_gone):
    hikae("plan", "apply", write_plan(), "--site", "both", "--yes")
    region_is_gone(PRIMARY)
    result = hikae("plan", "list")
    assert result.exit_code == 1
    assert f"recovery {ACCOUNT}/{RECOVERY}" in result.stdout
    assert "production" in result.stdout
    assert result.stderr.startswith(f"Error: account unknown: STS in Region {PRIMARY}: unreachable")
    assert result.stderr.count("\n") == 1


# --- history ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def lived(hikae, buckets, write_plan):
    hikae("plan", "apply", write_plan(), write_plan("production-two"), "--site", "primary", "--yes")
    hikae("plan", "apply", write_plan(keep=48), "--site", "both", "--yes")
    buckets.s3.delete_object(Bucket=buckets.primary, Key=KEY)
    hikae("plan", "apply", write_plan(keep=12), "--site", "primary", "--yes")
    # A day apart, as if it had not all been done within one second.
    stored = s3_backends[ACCOUNT]["aws"].buckets[buckets.primary].keys.getlist(KEY)
    for days, version in enumerate(reversed(stored)):
        version.last_modified -= timedelta(days=days)


@pytest.mark.usefixtures("lived")
def test_every_version_is_listed_with_its_deletions(hikae, matches_snapshot):
    result = hikae("plan", "history", "production")
    assert result.exit_code == 0
    matches_snapshot(settled(result.stdout), "plan-history.txt")


@pytest.mark.usefixtures("lived")
def test_what_each_version_changed_is_shown(hikae, matches_snapshot):
    matches_snapshot(settled(hikae("plan", "history", "production", "--diff").stdout), "plan-history-diff.txt")


@pytest.mark.usefixtures("lived")
def test_the_history_is_told_to_programs(hikae):
    lines = hikae("plan", "history", "production", "--site", "primary", "--diff", "--json").stdout.splitlines()
    told = [json.loads(line) for line in lines]
    assert [(each["is_deletion"], each["is_current"]) for each in told] == [
        (False, True),
        (True, False),
        (False, False),
        (False, False),
    ]
    assert "+    retention: {keep_hourly: 48}" in told[2]["difference"]
    assert told[1]["difference"] == []


@pytest.mark.usefixtures("lived")
def test_a_long_history_is_cut_and_says_so(hikae):
    result = hikae("plan", "history", "production", "--site", "primary", "--limit", "3", "--diff")
    assert "there are more than 3 versions; give a larger --limit" in result.stderr
    assert "-    retention: {keep_hourly: 24}" in result.stdout  # the oldest that is shown is compared, too


@pytest.mark.usefixtures("lived")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere",), 1, "neither site has ever had a plan nowhere; `hikae plan list` names those that are there"),
        (("nowhere", "--site", "recovery"), 1, "the recovery site has never had a plan nowhere"),
        (("plans/production.yaml",), 2, "'plans/production.yaml' is not the name of a plan; not its file"),
        (("production", "--limit", "0"), 2, "0 is not in the range"),
    ],
)
def test_what_has_no_history_is_said(hikae, arguments, code, message):
    result = hikae("plan", "history", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
