"""SAM's and CloudFormation's own linters have nothing to say, about the template or about what a site gets."""

import json
import os
import re
import subprocess
from collections.abc import Mapping

import pytest
from cfnlint.api import lint

from tests.template.sites import (
    PRIMARY,
    PRIMARY_REGION,
    RECOVERY,
    RECOVERY_REGION,
    ROOT,
    TEMPLATE,
    Site,
    key_arn,
    load_template,
    resolve,
    translate,
)

SAM = ROOT / ".tools" / "bin" / "sam"
UV = ROOT / ".tools" / "uv" / "bin" / "uv"


def _given(region: str) -> Mapping[str, str]:
    return {"CopyKeyArn": key_arn(region), "BucketName": "kept-bucket", "TableName": "kept-table"}


DEPLOYMENTS = {
    "primary": (PRIMARY, PRIMARY_REGION),
    "primary-without-a-bus": ({"Site": "primary"}, PRIMARY_REGION),
    "primary-taking-over": ({**PRIMARY, **_given(PRIMARY_REGION)}, PRIMARY_REGION),
    "recovery": (RECOVERY, RECOVERY_REGION),
    "recovery-of-another-account": (
        {
            **RECOVERY,
            "SourceRoleArns": "arn:aws:iam::222222222222:role/hikae-source",
            "SourceKeyArns": key_arn(PRIMARY_REGION),
            "AlertEmail": "somebody@example.com",
        },
        RECOVERY_REGION,
    ),
    "recovery-taking-over": ({**RECOVERY, **_given(RECOVERY_REGION)}, RECOVERY_REGION),
}


@pytest.fixture(params=DEPLOYMENTS)
def site(request: pytest.FixtureRequest) -> Site:
    parameters, region = DEPLOYMENTS[request.param]
    return resolve(load_template(), parameters, region=region)


def test_cfn_lint_finds_nothing_in_what_a_site_gets(site: Site):
    assert [str(match) for match in lint(site.template(), regions=[site.region])] == []


@pytest.mark.parametrize(("parameters", "region"), [(PRIMARY, PRIMARY_REGION), (RECOVERY, RECOVERY_REGION)])
def test_cfn_lint_finds_nothing_in_the_whole_translated_template(parameters: Mapping[str, str], region: str):
    whole = translate(load_template(), parameters, region=region)
    assert [str(match) for match in lint(json.dumps(whole), regions=[region])] == []


def test_cfn_lint_would_find_mistakes():
    site = resolve(load_template(), PRIMARY, region=PRIMARY_REGION)
    broken = json.loads(site.template())
    resources = broken["Resources"]
    resources["SnapshotJobsQueue"]["Properties"]["VisibilityTimeout"] = 30
    resources["ScheduleBackups"]["Properties"]["Timeout"] = 1000
    resources["TickTimer"]["Properties"]["Colour"] = "red"
    resources["Alerts"]["Properties"]["KmsMasterKeyId"] = {"Ref": "Nowhere"}
    found = {tuple(match.path[1:2]) for match in lint(json.dumps(broken), regions=[site.region])}
    assert {("ScheduleBackups",), ("TickTimer",), ("Alerts",)} <= found
    assert found & {("SnapshotJobsQueue",), ("SnapshotVolumesJobs",)}


def test_sam_finds_nothing_in_the_template():
    environment = {**os.environ, "SAM_CLI_TELEMETRY": "0", "AWS_REGION": PRIMARY_REGION}
    done = subprocess.run(
        [SAM, "validate", "--lint", "--template", TEMPLATE, "--region", PRIMARY_REGION],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is a valid SAM Template" in done.stdout


def test_the_layer_installs_exactly_what_is_locked():
    exported = subprocess.run(
        [UV, "export", "--quiet", "--frozen", "--no-dev", "--no-emit-project"],
        env={**os.environ, "UV_PYTHON_DOWNLOADS": "never", "UV_OFFLINE": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert _without_comments(exported) == _without_comments((ROOT / "layers/core/requirements.txt").read_text())


def _without_comments(requirements: str) -> list[str]:
    # The comments repeat the command line, which names the output file in one case and not in the other.
    return [line for line in requirements.splitlines() if not line.strip().startswith("#")]


def test_the_layer_keeps_the_models_of_exactly_the_services_that_are_called():
    makefile = (ROOT / "layers/core/Makefile").read_text()
    (listed,) = re.findall(r"^SERVICES := (.*)$", makefile, re.MULTILINE)
    clients = (ROOT / "layers/core/hikae/aws/clients.py").read_text()
    called = set(re.findall(r'(?:_client|boto3\.client)\(\s*"([a-z0-9-]+)"', clients))
    assert {service.rstrip("/") for service in listed.split("|")} == called
