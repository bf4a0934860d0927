"""The reference is complete: what the code has is documented, and nothing is documented that it has not."""

import ast
import json
import re
from dataclasses import fields
from typing import Any

import pytest

from hikae.domain import naming
from hikae.domain.fidelity import FATES, Fate
from hikae.domain.recovery_settings import read_settings
from hikae.runtime.settings import Settings
from tests.functional.docs.documents import ROOT, blocks, code_spans, documented_names, rows
from tests.template.sites import PRIMARY, PRIMARY_REGION, RECOVERY, RECOVERY_REGION, key_arn, load_template, resolve

OPERATE = ROOT / "docs/guide/operate.md"
CONFIGURATION = ROOT / "docs/reference/configuration.md"
TAGS = ROOT / "docs/reference/tags.md"
MANIFEST = ROOT / "docs/reference/manifest.md"
CORE = ROOT / "layers/core/hikae"


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return load_template()


def resources_of(template: dict[str, Any], kind: str) -> dict[str, Any]:
    return {name: body for name, body in template["Resources"].items() if body["Type"] == kind}


def test_every_template_parameter_is_documented_with_its_default_and_no_other(template: dict[str, Any]) -> None:
    documented = {row[0].strip("`"): row[2] for row in rows(CONFIGURATION, heading="## Template parameters")}
    written = {name: parameter.get("Default") for name, parameter in template["Parameters"].items()}
    assert documented == {
        name: "" if default is None else "empty" if default == "" else f"`{default}`"
        for name, default in written.items()
    }


def test_every_output_is_documented(template: dict[str, Any]) -> None:
    spans = code_spans(CONFIGURATION)
    outputs = {name for name in template["Outputs"] if not name.endswith("FunctionName")}
    assert not outputs - spans


def test_every_environment_variable_of_a_function_is_documented_and_no_other(template: dict[str, Any]) -> None:
    everywhere = set(template["Globals"]["Function"]["Environment"]["Variables"])
    own = {
        variable
        for function in resources_of(template, "AWS::Serverless::Function").values()
        for variable in function["Properties"].get("Environment", {}).get("Variables", {})
    }
    assert documented_names(CONFIGURATION, heading="## Environment of the functions") == everywhere | own


def test_every_setting_that_the_code_reads_is_documented() -> None:
    read = set(re.findall(r'"(HIKAE_\w+)"', (CORE / "runtime/settings.py").read_text()))
    assert len(read) >= len(Settings.__dataclass_fields__) - 1
    documented = documented_names(CONFIGURATION, heading="## Environment of the functions")
    assert not read - documented - documented_names(CONFIGURATION, heading="### Of a local cloud")


def test_every_attribute_that_a_restore_brings_back_or_names_is_documented() -> None:
    wanted = {name for name, fate in FATES.items() if fate is not Fate.NEW}
    assert not wanted - code_spans(MANIFEST)


def test_every_key_of_a_manifests_source_is_documented() -> None:
    source = ast.parse((CORE / "aws/ec2.py").read_text())
    written = {
        key.value
        for call in ast.walk(source)
        if isinstance(call, ast.keyword) and call.arg == "description" and isinstance(call.value, ast.Dict)
        for key in call.value.keys
        if isinstance(key, ast.Constant)
    }
    assert len(written) > 10
    assert not {f"source.{key}" for key in written} - code_spans(MANIFEST)


def test_every_key_of_the_recovery_settings_is_shown_and_the_example_can_be_read() -> None:
    text = (ROOT / "docs/guide/recovery.md").read_text()
    section = text.partition("## Where a restore goes")[2]
    example = section.partition("```yaml\n")[2].partition("```")[0]
    settings = read_settings(example)
    assert all(getattr(settings, each.name) for each in fields(settings))


def test_every_alarm_is_documented_and_no_other(template: dict[str, Any]) -> None:
    alarms = set(resources_of(template, "AWS::CloudWatch::Alarm"))
    assert documented_names(OPERATE, heading="## Alarms") == alarms


def test_every_metric_that_a_function_reports_is_in_the_guide() -> None:
    source = (CORE / "runtime/reporting.py").read_text()
    reported = set(re.findall(r'^[A-Z_]+ = "(\w+)"$', source, re.MULTILINE)) | set(
        re.findall(r'"([A-Z]\w+)": ', source)
    )
    assert len(reported) > 8
    guide = OPERATE.read_text()
    assert not {metric for metric in reported if metric not in guide}


def test_the_readme_counts_the_alarms_rightly(template: dict[str, Any]) -> None:
    sites = {"IsPrimary": (1, 0), "IsRecovery": (0, 1), None: (1, 1), "HasEventRules": (1, 1)}
    alarms = [sites[alarm.get("Condition")] for alarm in resources_of(template, "AWS::CloudWatch::Alarm").values()]
    primary, recovery = (sum(column) for column in zip(*alarms, strict=True))
    assert f"{primary} alarms at the primary, {recovery} at the recovery site" in (ROOT / "README.md").read_text()


def test_the_statements_for_a_sources_key_allow_what_the_role_asks_of_it() -> None:
    [block] = [each for each in blocks("json") if each.path == CONFIGURATION]
    keys = {"SourceKeyArns": key_arn(PRIMARY_REGION)}
    site = resolve(load_template(), RECOVERY | keys, region=RECOVERY_REGION)
    of_the_role = [
        {key: value for key, value in each.items() if key not in {"Sid", "Resource"}}
        for each in site.statements(site.role_of("CopyRecoveryPoints"))
        if each["Sid"].endswith("ThroughSourceKeys")
    ]
    documented = [
        {key: value for key, value in each.items() if key not in {"Sid", "Resource", "Principal"}}
        for each in json.loads(block.text)
    ]
    assert len(documented) == 2
    assert documented == of_the_role


def test_every_dead_letter_queue_is_in_the_guide(template: dict[str, Any]) -> None:
    queues = {name for name in resources_of(template, "AWS::SQS::Queue") if "Dead" in name or "Failed" in name}
    guide = OPERATE.read_text()
    assert not {queue for queue in queues if f"`{queue}`" not in guide and f"-id {queue}" not in guide}


def test_every_tag_that_the_code_knows_is_documented_and_no_other() -> None:
    known = set(re.findall(r'"(hikae:[a-z-]+)"', (CORE / "domain/naming.py").read_text()))
    assert naming.HOLD in known
    assert {name for name in documented_names(TAGS, heading="# Tags, names and keys") if "hikae:" in name} == known


def test_what_the_guide_calls_the_reasons_for_keeping_is_what_the_code_says() -> None:
    source = "".join((CORE / f"domain/{module}.py").read_text() for module in ("pruning", "guards"))
    for reason in (
        "newest complete point of its resource",
        "is wanted and not complete",
        "is unreachable, so its copy counts as not complete",
        "is on hold",
        "is referenced by",
        "this site has no readable plan",
        "above this run's cap of",
        "is locked (",
        "was disabled by somebody",
        "is protected from deregistration (",
        "no Recycle Bin rule covers",
        "the clock says",
        "the run ",
        "is gone; its newest point, of volumes of",
        "would go at once",
        "the cap of a run is",
    ):
        assert reason in source
        assert reason in OPERATE.read_text()


def test_every_objection_of_every_guard_is_in_the_guide() -> None:
    guide = OPERATE.read_text()
    objections = [
        node.value
        for node in ast.walk(ast.parse((CORE / "domain/guards.py").read_text()))
        if isinstance(node, ast.Yield) and isinstance(node.value, (ast.JoinedStr, ast.Constant))
    ]
    assert len(objections) >= 10
    for objection in objections:
        parts = objection.values if isinstance(objection, ast.JoinedStr) else [objection]
        words = [str(part.value).strip() for part in parts if isinstance(part, ast.Constant)]
        assert all(each in guide for each in words if each), words


def test_every_resource_that_outlives_its_stack_is_named_where_removal_is_explained(template: dict[str, Any]) -> None:
    retained = {
        body["Type"]
        for body in template["Resources"].values()
        if body.get("DeletionPolicy", "Delete").startswith("Retain")
    }
    assert retained == {"AWS::KMS::Key", "AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::DynamoDB::Table"}
    removal = (ROOT / "README.md").read_text().split("### Remove it")[1].split("\n## ")[0]
    for word in ("KMS key", "key that evidence is signed with", "bucket, with its policy", "table", "snapshot and AMI"):
        assert word in removal
    [field] = set(re.findall(r"`(key_\w+)`", removal))
    assert f'"{field}": signature.key_arn' in (CORE / "operations/recovery/record.py").read_text()
    taking_over = next(group for group in _groups(template) if "CopyKeyArn" in group)
    for parameter in taking_over:
        assert f'"{parameter}=' in removal


def _groups(template: dict[str, Any]) -> list[list[str]]:
    return [each["Parameters"] for each in template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]]


def test_the_readme_counts_the_runs_of_the_schedules_and_the_memory_rightly() -> None:
    readme = (ROOT / "README.md").read_text()
    runs = {}
    for parameters, region in ((PRIMARY, PRIMARY_REGION), (RECOVERY, RECOVERY_REGION)):
        site = resolve(load_template(), parameters, region=region)
        expressions = [each["ScheduleExpression"] for each in site.of_type("AWS::Scheduler::Schedule").values()]
        runs[site.name] = sum(30 * 86_400 // _seconds(each) for each in expressions)
        for name, function in site.of_type("AWS::Lambda::Function").items():
            assert f"{function['MemorySize'] / 1024:.3g} GB" in readme, name
    primary, recovery = (f"{round(number, -2):,}" for number in runs.values())
    assert f"schedules run {primary} times at the primary, {recovery} times at the recovery site" in readme


def _seconds(rate: str) -> int:
    number, unit = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", rate).groups()  # type: ignore[union-attr]
    return int(number) * {"minute": 60, "hour": 3600, "day": 86_400}[unit]
