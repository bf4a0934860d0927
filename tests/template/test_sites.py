"""What each site gets: the functions, their environment, their wiring and their names."""

import importlib.util
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml

from hikae.domain.model import Place, SiteRole
from hikae.domain.naming import bucket_name, function_name, queue_name
from hikae.operations.recovery.take_step import STEPS
from hikae.runtime import reporting
from hikae.runtime.settings import Settings
from hikae_cli.waiting import QUEUES
from tests.template.deployments import deployment, deployments
from tests.template.sites import (
    ACCOUNT,
    PRIMARY,
    PRIMARY_REGION,
    RECOVERY,
    RECOVERY_REGION,
    ROOT,
    Site,
    key_arn,
    load_template,
    primary,
    recovery,
    resolve,
    target,
)

FOLDERS = {
    "ScheduleBackups": "schedule_backups",
    "SnapshotVolumes": "snapshot_volumes",
    "BuildImages": "build_images",
    "CopyRecoveryPoints": "copy_recovery_points",
    "PruneRecoveryPoints": "prune_recovery_points",
    "Recover": "recover",
    "ProbeNetwork": "probe_network",
    "ReportObjectives": "report_objectives",
}
SITES = pytest.mark.parametrize("site", [primary, recovery], ids=["primary", "recovery"])
EVERYWHERE = {
    "HIKAE_INSTALLATION",
    "HIKAE_SITE",
    "HIKAE_ACCOUNT",
    "HIKAE_BUCKET",
    "HIKAE_TABLE",
    "POWERTOOLS_SERVICE_NAME",
    "POWERTOOLS_METRICS_NAMESPACE",
}
OWN = {
    "ScheduleBackups": {"HIKAE_SNAPSHOT_QUEUE_URL", "HIKAE_IMAGE_QUEUE_URL"},
    "SnapshotVolumes": {"HIKAE_REQUEST_RATE_PERCENT", "HIKAE_WORKERS", "HIKAE_SNAPSHOT_QUEUE_URL"},
    "BuildImages": {"HIKAE_REQUEST_RATE_PERCENT", "HIKAE_WORKERS", "HIKAE_IMAGE_QUEUE_URL"},
    "CopyRecoveryPoints": {
        "HIKAE_COPY_KEY_ARN",
        "HIKAE_PRIMARIES",
        "HIKAE_SOURCE_ROLE_ARNS",
        "HIKAE_SNAPSHOT_COPY_LIMIT",
        "HIKAE_IMAGE_COPY_LIMIT",
        "HIKAE_REQUEST_RATE_PERCENT",
    },
    "PruneRecoveryPoints": {
        "HIKAE_DELETION_CAP",
        "HIKAE_LINEAGE_DELETION_PERCENT",
        "HIKAE_REQUEST_RATE_PERCENT",
        "HIKAE_REQUIRE_RECYCLE_BIN",
    },
    "Recover": {
        "HIKAE_COPY_KEY_ARN",
        "HIKAE_DRILL_VPC",
        "HIKAE_DRILL_SUBNETS",
        "HIKAE_DRILL_SECURITY_GROUPS",
        "HIKAE_DRILL_ENDPOINT_GROUPS",
        "HIKAE_DRILL_PROFILE",
        "HIKAE_PROBE_FUNCTION",
        "HIKAE_EVIDENCE_KEY_ARN",
        "HIKAE_RECOVER_ARN",
        "HIKAE_RESTORE_ROLES",
        "HIKAE_CODE_VERSION",
    },
    "ProbeNetwork": set(),
    "ReportObjectives": {"HIKAE_PRIMARIES"},
}


def _functions(site: Site) -> dict[str, dict[str, Any]]:
    return site.of_type("AWS::Lambda::Function")


def _deployed(parameters: Mapping[str, str], region: str) -> Site:
    return resolve(load_template(), parameters, region=region)


def test_each_site_has_its_own_functions():
    assert set(_functions(primary())) == {"ScheduleBackups", "SnapshotVolumes", "BuildImages", "PruneRecoveryPoints"}
    assert set(_functions(recovery())) == {
        "CopyRecoveryPoints",
        "PruneRecoveryPoints",
        "ReportObjectives",
        "Recover",
        "ProbeNetwork",
    }


@SITES
def test_every_function_runs_its_folder_on_the_shared_layer(site: Callable[[], Site]):
    written = load_template()["Resources"]
    for name, function in _functions(site()).items():
        assert written[name]["Properties"]["CodeUri"] == f"functions/{FOLDERS[name]}/"
        assert written[name]["Metadata"] == {"SkipBuild": True}
        assert (function["Runtime"], function["Architectures"]) == ("python3.13", ["arm64"])
        assert function["Handler"] == "app.handler"
        assert [target(layer)[: len("CoreLayer")] for layer in function["Layers"]] == ["CoreLayer"]
        assert function["LoggingConfig"]["LogFormat"] == "JSON"


@SITES
def test_every_handler_that_the_template_names_is_there(site: Callable[[], Site]):
    for name in _functions(site()):
        source = ROOT / "functions" / FOLDERS[name] / "app.py"
        spec = importlib.util.spec_from_file_location(f"template_{FOLDERS[name]}", source)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert callable(module.handler)


@SITES
def test_every_function_gets_the_environment_it_reads(site: Callable[[], Site]):
    for name, function in _functions(site()).items():
        variables = function["Environment"]["Variables"]
        assert set(variables) == EVERYWHERE | OWN[name]
        assert variables["POWERTOOLS_SERVICE_NAME"] == FOLDERS[name]
        physical = {key: value if isinstance(value, str) else target(value) for key, value in variables.items()}
        settings = Settings.from_env({**physical, "AWS_REGION": site().region})
        assert (settings.installation, settings.site.value) == ("main", site().name)
        assert settings.place == Place(account=ACCOUNT, region=site().region)


def test_lists_and_limits_reach_the_copying_as_they_were_given():
    given = {
        **RECOVERY,
        "Primaries": f"{ACCOUNT}/us-east-1, {ACCOUNT}/eu-west-1",
        "SourceRoleArns": "arn:aws:iam::222222222222:role/hikae-source",
        "SnapshotCopyLimit": "7",
    }
    variables = _functions(_deployed(given, RECOVERY_REGION))["CopyRecoveryPoints"]["Environment"]["Variables"]
    physical = {key: value if isinstance(value, str) else target(value) for key, value in variables.items()}
    settings = Settings.from_env({**physical, "AWS_REGION": RECOVERY_REGION})
    assert [place.region for place in settings.primaries] == ["us-east-1", "eu-west-1"]
    assert list(settings.source_role_arns) == ["222222222222"]
    assert (settings.snapshot_copy_limit, settings.image_copy_limit) == (7, 50)


@SITES
def test_the_bucket_is_named_as_the_other_site_looks_for_it(site: Callable[[], Site]):
    place = Place(account=ACCOUNT, region=site().region)
    expected = bucket_name(installation="main", site=SiteRole(site().name), place=place)
    assert site().of_type("AWS::S3::Bucket")["SiteBucket"]["BucketName"] == expected


def test_both_sites_and_a_namesake_fit_into_one_region():
    deployments = [
        {**PRIMARY, "Installation": "a"},
        {**RECOVERY, "Installation": "a"},
        {**PRIMARY, "Installation": "a-primary"},
        {**RECOVERY, "Installation": "a-primary"},
        {**RECOVERY, "Installation": "a-recovery"},
    ]
    names = [_physical_names(_deployed(each, PRIMARY_REGION)) for each in deployments]
    assert all(len(own) >= 8 for own in names)
    assert len(set().union(*names)) == sum(len(own) for own in names)


def _physical_names(site: Site) -> set[tuple[str, str]]:
    naming = {
        "AWS::DynamoDB::Table": "TableName",
        "AWS::Events::EventBus": "Name",
        "AWS::KMS::Alias": "AliasName",
        "AWS::Lambda::Function": "FunctionName",
        "AWS::Lambda::LayerVersion": "LayerName",
        "AWS::Logs::LogGroup": "LogGroupName",
        "AWS::S3::Bucket": "BucketName",
        "AWS::SQS::Queue": "QueueName",
        "AWS::Scheduler::Schedule": "Name",
    }
    found = set()
    for resource in site.resources.values():
        properties = resource.get("Properties", {})
        named = {key for key in properties if key in {"Name", *naming.values()}}
        for key in named & {naming.get(resource["Type"], "")}:
            found.add((resource["Type"], properties[key]))
    return found


def test_names_follow_installation_and_site():
    here, there = _physical_names(primary()), _physical_names(recovery())
    assert ("AWS::KMS::Alias", "alias/hikae-main") in there
    assert ("AWS::DynamoDB::Table", "hikae-main-primary") in here
    assert ("AWS::Events::EventBus", "hikae-main-recovery") in there
    # Only the layer is not referred to by name; everything else that has one is found under it.
    assert all("main" in name for _, name in here | there)


@pytest.mark.parametrize(("parameters", "region"), [(PRIMARY, PRIMARY_REGION), (RECOVERY, RECOVERY_REGION)])
def test_a_stack_that_is_given_what_an_earlier_one_left_uses_it_and_makes_none(parameters: dict[str, str], region: str):
    key = key_arn(region)
    given = {"CopyKeyArn": key, "BucketName": "kept-bucket", "TableName": "kept-table"}
    if parameters is RECOVERY:
        given["EvidenceKeyArn"] = key
    site = _deployed({**parameters, **given}, region)
    made = {resource["Type"] for resource in site.resources.values()}
    # Neither a second policy for the bucket, whose own was kept with it.
    assert not made & {"AWS::KMS::Key", "AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::DynamoDB::Table"}
    assert site.of_type("AWS::KMS::Alias")["SiteKeyAlias"]["TargetKeyId"] == key
    assert site.of_type("AWS::SNS::Topic")["Alerts"]["KmsMasterKeyId"] == key
    assert {name: site.outputs[name]["Value"] for name in given} == given
    for function in _functions(site).values():
        variables = function["Environment"]["Variables"]
        assert (variables["HIKAE_BUCKET"], variables["HIKAE_TABLE"]) == ("kept-bucket", "kept-table")
    body = json.dumps(site.resources)
    assert 'SiteKey"' not in body.replace('"SiteKeyAlias"', "")
    assert all(f"arn:aws:s3:::kept-bucket{path}" in body for path in ("", "/plans/*"))


def test_a_primary_without_a_bus_has_no_rule_and_the_sweep_is_enough():
    site = _deployed({"Site": "primary"}, PRIMARY_REGION)
    assert not site.of_type("AWS::Events::Rule")
    assert "EventDeadLetters" not in site.resources


def test_the_broker_is_woken_through_one_message_group():
    site = recovery()
    queue = site.of_type("AWS::SQS::Queue")["WakeQueue"]
    assert (queue["FifoQueue"], queue["ContentBasedDeduplication"]) == (True, True)
    sweep = site.of_type("AWS::Scheduler::Schedule")["SweepTimer"]["Target"]
    rules = site.of_type("AWS::Events::Rule")
    targets = [each for name, rule in rules.items() if name != "RunEndedRule" for each in rule["Targets"]]
    assert [each["SqsParameters"] for each in [sweep, *targets]] == [{"MessageGroupId": "copies"}] * 3
    # A fixed body would be taken for a duplicate by the queue; Scheduler's own notification has an id.
    assert "Input" not in sweep


@pytest.mark.parametrize(
    ("status", "sweeps"), [("ABORTED", True), ("TIMED_OUT", True), ("FAILED", True), ("SUCCEEDED", False)]
)
def test_a_run_that_was_stopped_is_swept_at_once(status: str, sweeps: bool):  # noqa: FBT001 - a table's column
    rule = recovery().of_type("AWS::Events::Rule")["RunEndedRule"]
    arn = rule["EventPattern"]["detail"]["stateMachineArn"][0]
    event = {
        "source": "aws.states",
        "detail-type": "Step Functions Execution Status Change",
        "detail": {"stateMachineArn": arn, "status": status},
    }
    assert _matches(rule["EventPattern"], event) is sweeps
    (sweep,) = rule["Targets"]
    assert (target(sweep["Arn"]), json.loads(sweep["Input"])) == ("Recover", {"step": "sweep"})
    (permission,) = recovery().of_type("AWS::Lambda::Permission").values()
    assert (target(permission["FunctionName"]), permission["Principal"]) == ("Recover", "events.amazonaws.com")


def test_the_machines_definition_calls_the_function_for_every_step_and_ends_in_teardown_and_record():
    definition = yaml.safe_load((ROOT / "statemachines/recover.asl.yaml").read_text())
    tasks = {name: state for name, state in definition["States"].items() if state["Type"] == "Task"}
    assert {state["Parameters"]["step"] for state in tasks.values()} == set(STEPS)
    for name, state in tasks.items():
        assert state["Resource"] == "${RecoverArn}"
        assert (state["TimeoutSeconds"], [each["ErrorEquals"] for each in state["Retry"]]) == (920, [["States.ALL"]])
        wanted = {"TearDown": "NoteLeftBehind", "Record": "NotRecorded"}.get(name, "NoteFailure")
        assert [(each["ErrorEquals"], each["Next"]) for each in state["Catch"]] == [(["States.ALL"], wanted)]
        assert definition["States"][state["Next"]]["Default"] in {"TearDown", "Record", "Failed"}
    assert definition["States"]["NoteFailure"]["Next"] == "TearDown"
    assert definition["States"]["NoteLeftBehind"]["Next"] == "Record"


def _event(detail_type: str, **detail: Any) -> dict[str, Any]:
    return {"source": "aws.ec2", "detail-type": detail_type, "detail": detail}


SNAPSHOT, SET, IMAGE = (
    "EBS Snapshot Notification",
    "EBS Multi-Volume Snapshots Completion Status",
    "EC2 AMI State Change",
)


@pytest.mark.parametrize(
    ("event", "rules"),
    [
        (_event(SNAPSHOT, event="createSnapshot", result="succeeded"), {"PointReadyRule"}),
        (_event(SET, event="createSnapshots", result="succeeded"), {"PointReadyRule"}),
        (_event(IMAGE, State="available"), {"PointReadyRule", "CopyReadyRule"}),
        (_event(IMAGE, State="failed"), {"PointReadyRule", "CopyReadyRule"}),
        (_event(IMAGE, State="deregistered"), set()),
        (_event(SNAPSHOT, event="copySnapshot", result="failed"), {"CopyReadyRule"}),
        (_event(SNAPSHOT, event="shareSnapshot", result="succeeded"), set()),
        (_event("EBS Volume Notification", event="createVolume", result="available"), set()),
    ],
    ids=lambda each: (
        each.get("detail", {}).get("event") or each["detail"].get("State") if isinstance(each, dict) else ""
    ),
)
def test_the_default_bus_wakes_for_what_matters_and_for_nothing_else(event: dict[str, Any], rules: set[str]):
    found = {**primary().of_type("AWS::Events::Rule"), **recovery().of_type("AWS::Events::Rule")}
    on_default_bus = {name: rule["EventPattern"] for name, rule in found.items() if "EventBusName" not in rule}
    assert {name for name, pattern in on_default_bus.items() if _matches(pattern, event)} == rules


def _matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    for key, wanted in pattern.items():
        if key == "$or":
            if not any(_matches(each, event) for each in wanted):
                return False
        elif isinstance(wanted, dict):
            if not _matches(wanted, event.get(key, {})):
                return False
        elif event.get(key) not in wanted:
            return False
    return True


def test_a_primary_forwards_to_the_bus_it_was_given_and_may_do_nothing_else_there():
    site = primary()
    (rule,) = site.of_type("AWS::Events::Rule").values()
    assert [each["Arn"] for each in rule["Targets"]] == [PRIMARY["WakeBusArn"]]
    (statement,) = site.statements(target(rule["Targets"][0]["RoleArn"]))
    assert (statement["Action"], statement["Resource"]) == ("events:PutEvents", PRIMARY["WakeBusArn"])


@SITES
def test_alarms_watch_metrics_that_are_really_reported(site: Callable[[], Site]):
    names = {
        reporting.FAILED_RESOURCES,
        reporting.MISSED_SLOTS,
        reporting.UNREADABLE_PLANS,
        reporting.CAPPED_DELETIONS,
        reporting.HELD_BACK_DELETIONS,
        reporting.UNPROTECTABLE_RESOURCES,
        reporting.FAILED_RUNS,
        reporting.SUCCEEDED_RUNS,
    }
    of_the_report = {reporting.BREACHED_OBJECTIVES, reporting.UNCOVERED_RESOURCES, reporting.INVENTORY_PROBLEMS}
    services = {
        function["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"] for function in _functions(site()).values()
    }
    watched = set()
    for alarm in site().of_type("AWS::CloudWatch::Alarm").values():
        if alarm["Namespace"] == "hikae":
            dimensions = {dimension["Name"]: dimension["Value"] for dimension in alarm["Dimensions"]}
            assert dimensions.keys() == {"service", "installation", "site"}
            assert dimensions["service"] in services
            assert dimensions["site"] == site().name
            watched.add(alarm["MetricName"])
    of_the_tick = {reporting.MISSED_SLOTS, reporting.UNPROTECTABLE_RESOURCES}
    of_recovery = {
        reporting.FAILED_RUNS,
        reporting.MISSED_OBJECTIVES,
        reporting.SUCCEEDED_SWEEPS,
        reporting.SUCCEEDED_DRILL_STARTS,
        reporting.READINESS_GAPS,
        reporting.SUCCEEDED_READINESS_CHECKS,
    }
    there = names - of_the_tick | of_the_report | of_recovery
    assert watched == (names - of_recovery if site().name == "primary" else there)


@SITES
def test_every_queue_is_named_as_the_command_looks_for_it(site: Callable[[], Site]):
    named = {queue["QueueName"] for queue in site().of_type("AWS::SQS::Queue").values()}
    looked_for = {
        queue_name(installation="main", site=site().name, queue=queue.name)
        for queue in QUEUES
        if SiteRole(site().name) in queue.sites
    }
    assert named == looked_for


@SITES
def test_every_function_is_named_as_the_command_calls_it(site: Callable[[], Site]):
    for name, function in _functions(site()).items():
        expected = function_name(installation="main", site=site().name, function=FOLDERS[name])
        assert function["FunctionName"] == expected


def test_the_schedules_are_the_parameters():
    given = {**PRIMARY, "TickSchedule": "rate(1 minute)", "PruneSchedule": "cron(0 3 * * ? *)"}
    schedules = _deployed(given, PRIMARY_REGION).of_type("AWS::Scheduler::Schedule")
    assert {name: schedule["ScheduleExpression"] for name, schedule in schedules.items()} == {
        "TickTimer": "rate(1 minute)",
        "PruneTimer": "cron(0 3 * * ? *)",
    }


def test_every_parameter_and_output_is_described():
    template = load_template()
    for section in ("Parameters", "Outputs"):
        assert [name for name, each in template[section].items() if not each.get("Description")] == []


def test_samconfig_deploys_both_sites_and_the_way_back_with_parameters_that_exist():
    known = load_template()["Parameters"]
    found = deployments()
    assert set(found) == {"primary", "recovery", "standby", "failback"}
    for each in found.values():
        assert set(each.parameters) <= set(known)
        assert each.capabilities == "CAPABILITY_IAM"
        assert "AlertEmail" in each.parameters
    here, there = found["primary"], found["recovery"]
    assert (here.parameters["Site"], there.parameters["Site"]) == ("primary", "recovery")
    assert here.parameters["WakeBusArn"].split(":")[3] == there.region
    assert there.parameters["Primaries"].split("/")[1] == here.region
    bus = _deployed(there.parameters, there.region).of_type("AWS::Events::EventBus")["WakeBus"]["Name"]
    assert here.parameters["WakeBusArn"].endswith(f"event-bus/{bus}")
    standby, failback = found["standby"], found["failback"]
    assert (standby.parameters["Site"], failback.parameters["Site"]) == ("primary", "recovery")
    assert (standby.region, failback.region) == (there.region, here.region)
    assert failback.parameters["Primaries"].split("/")[1] == standby.region
    assert set(failback.parameters) == set(there.parameters)
    assert len({each.stack for each in found.values()}) == len(found)


def _names(site: Site) -> set[tuple[str, str]]:
    """Every name that is not left to CloudFormation, with the type of what has it."""
    return {
        (resource["Type"], value)
        for resource in site.resources.values()
        for key, value in resource.get("Properties", {}).items()
        if key.endswith("Name") and key != "MetricName" and isinstance(value, str)
    }


@pytest.mark.parametrize(("one", "other"), [("standby", "recovery"), ("failback", "primary")])
def test_two_sites_in_one_region_have_no_name_in_common(one: str, other: str):
    left, right = (_deployed(deployment(name).parameters, deployment(name).region) for name in (one, other))
    assert left.region == right.region
    assert len(_names(left)) > 15
    assert _names(left) & _names(right) == set()


def test_a_key_to_fill_in_is_not_deployed_unfilled():
    pattern = re.compile(load_template()["Parameters"]["SourceKeyArns"]["AllowedPattern"])
    assert not pattern.fullmatch(deployment("failback").parameters["SourceKeyArns"])
    assert not pattern.fullmatch(f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/hikae-main")
    assert all(pattern.fullmatch(each) for each in ("", key_arn(PRIMARY_REGION)))


def test_no_named_iam_resource_asks_for_more_than_the_plain_capability():
    for site in (primary(), recovery()):
        assert [name for name, role in site.of_type("AWS::IAM::Role").items() if "RoleName" in role] == []
