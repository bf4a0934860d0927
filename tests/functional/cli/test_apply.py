import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from tests.functional.cli.conftest import ACCOUNT, PRIMARY, RECOVERY

KEY = "plans/production.yaml"


@pytest.fixture
def answer(monkeypatch):
    """Have one operation answered with an error; the others go on."""
    really = BaseClient._make_api_call

    def have(operation, error):
        def call(client, name, arguments):
            if name == operation:
                raise error
            return really(client, name, arguments)

        monkeypatch.setattr(BaseClient, "_make_api_call", call)

    return have


def refusal(code, message="", *, status=400):
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "Something")


def test_a_new_plan_is_written_to_both_sites_as_it_is(hikae, buckets, write_plan):
    path = write_plan()
    Path(path).write_text("# ours\n" + Path(path).read_text())
    result = hikae("plan", "apply", path, "--site", "both", "--yes")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"primary {ACCOUNT}/{PRIMARY}: production: new",
        f"recovery {ACCOUNT}/{RECOVERY}: production: new",
        "applied production to primary",
        "applied production to recovery",
    ]
    for bucket in (buckets.primary, buckets.recovery):
        assert buckets.content(bucket, KEY) == Path(path).read_text()


@pytest.mark.parametrize("site", ["primary", "recovery"])
def test_one_site_alone_gets_what_is_meant_for_it(hikae, buckets, write_plan, site):
    assert hikae("plan", "apply", write_plan(), "--site", site, "--yes").exit_code == 0
    assert buckets.keys(buckets.primary) == ([KEY] if site == "primary" else [])
    assert buckets.keys(buckets.recovery) == ([KEY] if site == "recovery" else [])


def test_region_and_installation_can_be_named(hikae, buckets, write_plan):
    bucket = f"hikae-blue-primary-{ACCOUNT}-eu-west-1"
    buckets.create(bucket, "eu-west-1")
    arguments = ("--site", "primary", "--region", "eu-west-1", "--installation", "blue", "--yes")
    assert hikae("plan", "apply", write_plan(), *arguments).exit_code == 0
    assert buckets.keys(bucket) == [KEY]


def test_a_changed_plan_is_shown_as_a_diff_and_an_unchanged_one_is_not_written_again(hikae, buckets, write_plan):
    hikae("plan", "apply", write_plan(), write_plan("other"), "--site", "primary", "--yes")
    result = hikae("plan", "apply", write_plan(keep=48), write_plan("other"), "--site", "primary", "--yes")
    lines = result.output.splitlines()
    assert lines[0] == f"primary {ACCOUNT}/{PRIMARY}: production: changed"
    assert f"  --- s3://{buckets.primary}/{KEY}" in lines
    assert "  +++ production.yaml" in lines
    assert "  -    retention: {keep_hourly: 24}" in lines
    assert "  +    retention: {keep_hourly: 48}" in lines
    assert lines[-2:] == [f"primary {ACCOUNT}/{PRIMARY}: other: unchanged", "applied production to primary"]
    assert buckets.versions(buckets.primary, KEY) == 2
    assert buckets.versions(buckets.primary, "plans/other.yaml") == 1


def test_applying_again_has_nothing_to_do_and_asks_nobody(hikae, buckets, write_plan):
    hikae("plan", "apply", write_plan(), "--site", "both", "--yes")
    result = hikae("plan", "apply", write_plan(), "--site", "both")
    assert result.exit_code == 0
    assert result.output.endswith("nothing to do\n")
    assert buckets.versions(buckets.primary, KEY) == 1


def test_line_ends_alone_are_a_change_that_is_said(hikae, buckets, write_plan):
    path = write_plan()
    hikae("plan", "apply", path, "--site", "primary", "--yes")
    Path(path).write_bytes(Path(path).read_bytes().replace(b"\n", b"\r\n"))
    assert "  only the ends of lines differ\n" in hikae("plan", "apply", path, "--site", "primary", "--yes").output


def test_what_is_there_cannot_steer_the_terminal(hikae, buckets, write_plan):
    buckets.s3.put_object(Bucket=buckets.primary, Key=KEY, Body=b"\x1b[2J\xff\n")
    result = hikae("plan", "apply", write_plan(), "--site", "primary", "--yes")
    assert "  -\\x1b[2J\ufffd" in result.output
    assert "\x1b" not in result.output


def test_one_bad_plan_refuses_them_all(hikae, buckets, write_plan):
    good, bad = write_plan(), write_plan("bad")
    Path(bad).write_text(Path(bad).read_text().replace("plan: bad", "plan: Bad"))
    result = hikae("plan", "apply", good, bad, "--site", "both", "--yes")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "bad.yaml:2: plan: is 'Bad'; 1 to 40 small letters, digits and hyphens, no hyphen at either end",
        "Error: refused as a whole, nothing was applied: 1 of 2 files have problems",
    ]
    assert buckets.keys(buckets.primary) == buckets.keys(buckets.recovery) == []


def test_both_buckets_must_be_there_before_anything_is_written(hikae, no_buckets, write_plan):
    no_buckets.create(no_buckets.primary, PRIMARY)
    result = hikae("plan", "apply", write_plan(), "--site", "both", "--yes")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: bucket {no_buckets.recovery} (account {ACCOUNT}, Region {RECOVERY}): there is no such bucket; deploy "
        "the recovery site of installation main there, or check --installation, the Region and the account\n"
    )
    assert no_buckets.keys(no_buckets.primary) == []


def test_somebody_at_a_terminal_is_asked(hikae, buckets, write_plan, monkeypatch):
    monkeypatch.setattr("hikae_cli.plan_site_commands.is_interactive", lambda: True)
    declined = hikae("plan", "apply", write_plan(), write_plan("other"), "--site", "primary", stdin="n\n")
    assert declined.exit_code == 1
    assert "Apply 2 plans? [y/N]: n\n" in declined.output
    assert declined.stderr == "Error: nothing was applied\n"
    assert buckets.keys(buckets.primary) == []
    accepted = hikae("plan", "apply", write_plan(), "--site", "primary", stdin="y\n")
    assert "Apply 1 plan? [y/N]: y\n" in accepted.output
    assert accepted.exit_code == 0
    assert buckets.keys(buckets.primary) == [KEY]


def test_with_nobody_to_ask_nothing_is_applied(hikae, buckets, write_plan):
    result = hikae("plan", "apply", write_plan(), "--site", "primary")
    assert result.exit_code == 2
    assert f"primary {ACCOUNT}/{PRIMARY}: production: new" in result.stdout
    assert "nobody to ask, so nothing was applied; give --yes to apply 1 plan" in result.stderr
    assert buckets.keys(buckets.primary) == []


def test_a_plan_can_come_from_standard_input(hikae, buckets, write_plan):
    text = Path(write_plan()).read_text()
    assert hikae("plan", "apply", "-", "--site", "primary", "--yes", stdin=text).exit_code == 0
    assert buckets.content(buckets.primary, KEY) == text


def test_a_copy_that_no_site_here_takes_is_warned_of(hikae, buckets, write_plan):
    result = hikae("plan", "apply", write_plan(region="eu-west-1"), "--site", "primary", "--yes")
    assert result.exit_code == 0
    assert result.stderr == (
        "warning: plan production, rule hourly: copies go to eu-west-1, which is not the recovery Region us-west-2: "
        "the recovery site there will not take them\n"
    )
    assert hikae("plan", "apply", write_plan(), "--site", "primary", "--yes").stderr == ""


def test_the_recovery_region_that_is_given_is_the_one_to_warn_about(hikae, buckets, write_plan):
    buckets.create(f"hikae-main-recovery-{ACCOUNT}-eu-west-1", "eu-west-1")
    arguments = ("--site", "recovery", "--region", "eu-west-1", "--yes")
    assert "warning" not in hikae("plan", "apply", write_plan(region="eu-west-1"), *arguments).output
    assert "not the recovery Region eu-west-1" in hikae("plan", "apply", write_plan(), *arguments).stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--site", "primary"), "the Region of the primary site is not known; set HIKAE_PRIMARY_REGION or give --reg"),
        (("--site", "recovery"), "the Region of the recovery site is not known; set HIKAE_RECOVERY_REGION or give"),
        (("--site", "both"), "the Region of the primary site is not known; set HIKAE_PRIMARY_REGION\n"),
        (("--site", "both", "--region", "us-east-1"), "--region is for a single site; with --site both set HIKAE_"),
        (("--site", "primary", "--installation", "Main"), "'Main' is not an installation; 1 to 16 small letters"),
        (("--site", "third"), "'third' is not one of 'primary', 'recovery', 'both'"),
        ((), "Missing option '--site'"),
    ],
)
def test_wrong_usage_exits_with_2(hikae, write_plan, monkeypatch, arguments, problem):
    monkeypatch.delenv("HIKAE_PRIMARY_REGION")
    monkeypatch.delenv("HIKAE_RECOVERY_REGION")
    result = hikae("plan", "apply", write_plan(), *arguments)
    assert result.exit_code == 2
    assert problem in result.output


WHERE = f"bucket hikae-main-primary-{ACCOUNT}-{PRIMARY} (account {ACCOUNT}, Region {PRIMARY})"
CREDENTIALS = "give credentials of the site's administrator, by AWS_PROFILE or aws configure"


@pytest.mark.usefixtures("buckets")
@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (
            ("GetCallerIdentity", refusal("InvalidClientTokenId", "no such key")),
            (
                f"account unknown: STS in Region {PRIMARY}: the AWS credentials are refused (InvalidClientTokenId "
                f"no such key); {CREDENTIALS}"
            ),
        ),
        (
            ("GetCallerIdentity", refusal("AccessDenied", "no")),
            (
                f"account unknown: STS in Region {PRIMARY}: access denied (AccessDenied no); {CREDENTIALS}, with "
                "sts:GetCallerIdentity"
            ),
        ),
        (
            ("GetCallerIdentity", EndpointConnectionError(endpoint_url="https://sts")),
            (
                f'account unknown: STS in Region {PRIMARY}: unreachable (Could not connect to the endpoint URL: "https://'
                "sts\"); check the Region's code, the network and AWS_ENDPOINT_URL"
            ),
        ),
        (
            ("HeadBucket", refusal("403", "Forbidden", status=403)),
            (
                f"{WHERE}: access denied (403 Forbidden); {CREDENTIALS}, with s3:ListBucket, s3:GetObject and "
                "s3:PutObject on it"
            ),
        ),
        (
            ("HeadBucket", ReadTimeoutError(endpoint_url="https://s3")),
            (
                f'{WHERE}: unreachable (Read timeout on endpoint URL: "https://s3"); check the Region\'s code, the '
                "network and AWS_ENDPOINT_URL"
            ),
        ),
        (
            ("GetObject", refusal("ExpiredToken", "too late")),
            f"{KEY} in {WHERE}: the AWS credentials are refused (ExpiredToken too late); {CREDENTIALS}",
        ),
        (
            ("GetObject", EndpointConnectionError(endpoint_url="https://s3")),
            (
                f'{KEY} in {WHERE}: unreachable (Could not connect to the endpoint URL: "https://s3"); check the '
                "Region's code, the network and AWS_ENDPOINT_URL"
            ),
        ),
        (
            ("PutObject", refusal("InternalError", "We encountered an internal error", status=500)),
            (
                f"{KEY} in {WHERE}: InternalError We encountered an internal error; try again, and check the Region's "
                "service health if it stays\n0 of 1 applied; apply again for the rest"
            ),
        ),
    ],
)
def test_what_aws_refuses_is_said_with_its_place_and_remedy(hikae, write_plan, answer, failure, said):
    answer(*failure)
    result = hikae("plan", "apply", write_plan(), "--site", "primary", "--yes")
    assert result.exit_code == 1
    assert result.stderr == f"Error: {said}\n"


def test_a_failure_half_way_says_how_far_it_came(hikae, buckets, write_plan, monkeypatch):
    really = BaseClient._make_api_call

    def fail_at_recovery(client, name, arguments):
        if name == "PutObject" and arguments["Bucket"] == buckets.recovery:
            raise refusal("AccessDenied", "no", status=403)
        return really(client, name, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", fail_at_recovery)
    result = hikae("plan", "apply", write_plan(), "--site", "both", "--yes")
    assert result.exit_code == 1
    assert "applied production to primary\n" in result.stdout
    assert result.stderr.endswith("1 of 2 applied; apply again for the rest\n")


def test_every_call_to_a_bucket_names_the_account_that_must_own_it(hikae, buckets, write_plan, monkeypatch):
    really, owners = BaseClient._make_api_call, {}

    def record(client, name, arguments):
        owners[name] = arguments.get("ExpectedBucketOwner")
        return really(client, name, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", record)
    hikae("plan", "apply", write_plan(), "--site", "primary", "--yes")
    owners.pop("GetCallerIdentity")
    assert owners == {"HeadBucket": ACCOUNT, "GetObject": ACCOUNT, "PutObject": ACCOUNT}


def test_an_impossible_region_is_said_to_be_one(hikae, write_plan):
    result = hikae("plan", "apply", write_plan(), "--site", "primary", "--region", "us east 1", "--yes")
    assert result.exit_code == 1
    assert "STS in Region us east 1: " in result.stderr
    assert "give a Region's code, such as us-east-1" in result.stderr


def test_without_credentials_the_remedy_is_named(hikae, write_plan, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    result = hikae("plan", "apply", write_plan(), "--site", "primary", "--yes")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: account unknown: STS in Region {PRIMARY}: no AWS credentials (Unable to locate credentials); "
        f"{CREDENTIALS}\n"
    )


def test_a_profile_that_does_not_exist_is_named(hikae, write_plan, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    result = hikae("plan", "apply", write_plan(), "--site", "primary", "--yes")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: account unknown: STS in Region {PRIMARY}: The config profile (nobody) could not be found; "
        "set AWS_PROFILE to one that exists\n"
    )


def test_the_installed_command_fails_in_one_line_where_nothing_listens(write_plan):
    command = [str(Path(sys.executable).with_name("hikae")), "plan", "apply", write_plan(), "--site", "both", "--yes"]
    environment = os.environ | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1
    assert result.stderr.startswith(f"Error: account unknown: STS in Region {PRIMARY}: unreachable (")
    assert result.stderr.count("\n") == 1
