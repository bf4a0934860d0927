"""What the template must never allow, asked of both sites; and each question, asked of a template broken on purpose."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from hikae.domain.plan import DEFAULT_START_WINDOW
from tests.template import checks
from tests.template.sites import (
    PRIMARY,
    PRIMARY_REGION,
    RECOVERY,
    RECOVERY_REGION,
    Site,
    load_template,
    primary,
    recovery,
    resolve,
)

Template = dict[str, Any]


@pytest.mark.parametrize("site", [primary, recovery], ids=["primary", "recovery"])
@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.__name__)
def test_nothing_breaks_the_rule(check: Callable[[Site], Any], site: Callable[[], Site]):
    assert list(check(site())) == []


def test_a_primary_touches_nothing_in_another_region():
    assert list(checks.reaching_out(primary())) == []


def test_both_sites_keep_off_each_others_points_where_they_share_a_region():
    assert list(checks.loose_deletions(resolve(load_template(), PRIMARY, region=RECOVERY_REGION))) == []
    (here,) = [each for each in primary().statements("PruneRecoveryPointsRole") if each.get("Sid") == "DeleteOwnPoints"]
    (there,) = [
        each for each in recovery().statements("PruneRecoveryPointsRole") if each.get("Sid") == "DeleteOwnPoints"
    ]
    copy_of = "aws:ResourceTag/hikae:copy-of"
    assert (here["Condition"]["Null"][copy_of], there["Condition"]["Null"][copy_of]) == ("true", "false")


def _properties(template: Template, name: str) -> dict[str, Any]:
    return template["Resources"][name]["Properties"]


def _statement(template: Template, role: str, sid: str) -> dict[str, Any]:
    (found,) = [
        each
        for policy in _properties(template, role)["Policies"]
        for each in policy["PolicyDocument"]["Statement"]
        if each.get("Sid") == sid
    ]
    return found


def _allow(template: Template, role: str, action: str, **more: Any) -> None:
    statements = _properties(template, role)["Policies"][0]["PolicyDocument"]["Statement"]
    statements.append({"Effect": "Allow", "Action": action, "Resource": "*", **more})


def _let_two_functions_share_a_role(template: Template) -> None:
    _properties(template, "PruneRecoveryPoints")["Role"] = {"Fn::GetAtt": ["ScheduleBackupsRole", "Arn"]}


def _drop_prune_condition(template: Template) -> None:
    del _statement(template, "PruneRecoveryPointsRole", "DeleteOwnPoints")["Condition"]


def _delete_what_is_on_hold(template: Template) -> None:
    condition = _statement(template, "PruneRecoveryPointsRole", "DeleteOwnPoints")["Condition"]
    del condition["Null"]["aws:ResourceTag/hikae:hold"]


def _delete_in_every_region(template: Template) -> None:
    _statement(template, "PruneRecoveryPointsRole", "DeleteOwnPoints")["Resource"] = "arn:aws:ec2:*::snapshot/*"


def _tag_at_any_time(template: Template) -> None:
    del _statement(template, "SnapshotVolumesRole", "TagOnlyWhileCreating")["Condition"]


def _tag_back_with_hikaes_own(template: Template) -> None:
    statement = _statement(template, "RecoverRole", "GiveVolumesOfOwnRestoresTheirTagsBack")
    del statement["Condition"]["ForAllValues:StringNotLike"]


def _tag_back_what_drills_made(template: Template) -> None:
    statement = _statement(template, "RecoverRole", "GiveVolumesOfOwnRestoresTheirTagsBack")
    del statement["Condition"]["StringLike"]


def _tag_back_instances(template: Template) -> None:
    statement = _statement(template, "RecoverRole", "GiveVolumesOfOwnRestoresTheirTagsBack")
    statement["Resource"] = {"Fn::Sub": "arn:aws:ec2:${AWS::Region}:${AWS::AccountId}:instance/*"}


def _create_without_tags(template: Template) -> None:
    del _statement(template, "BuildImagesRole", "OnlyTaggedImages")["Condition"]


def _create_elsewhere(template: Template) -> None:
    _statement(template, "SnapshotVolumesRole", "OnlyTaggedSnapshots")["Resource"] = "arn:aws:ec2:*::snapshot/*"


def _use_the_key_directly(template: Template) -> None:
    del _statement(template, "SnapshotVolumesRole", "BucketKey")["Condition"]


def _write_to_another_log(template: Template) -> None:
    _statement(template, "BuildImagesRole", "OwnLog")["Resource"] = {"Fn::GetAtt": ["ScheduleBackupsLogs", "Arn"]}


def _trust_any_account(template: Template) -> None:
    del _properties(template, "TickRole")["AssumeRolePolicyDocument"]["Statement"][0]["Condition"]


def _send_plain(template: Template) -> None:
    _properties(template, "QueuePolicy")["Queues"].pop(0)


def _store_plain(template: Template) -> None:
    _properties(template, "SnapshotJobsDeadLetters")["SqsManagedSseEnabled"] = False


def _take_any_event(template: Template) -> None:
    del _properties(template, "EventDeadLettersPolicy")["PolicyDocument"]["Statement"][1]["Condition"]


def _open_the_bucket(template: Template) -> None:
    _properties(template, "SiteBucket")["PublicAccessBlockConfiguration"]["BlockPublicPolicy"] = False


def _drop_bucket_policy(template: Template) -> None:
    del template["Resources"]["SiteBucketPolicy"]


def _use_the_key_of_sns(template: Template) -> None:
    _properties(template, "Alerts")["KmsMasterKeyId"] = "alias/aws/sns"


def _keep_events_from_the_key(template: Template) -> None:
    _properties(template, "SiteKey")["KeyPolicy"]["Statement"].pop()


def _trust_everybody_with_the_key(template: Template) -> None:
    _properties(template, "SiteKey")["KeyPolicy"]["Statement"][0]["Principal"] = {"AWS": "*"}


def _let_the_bucket_go(template: Template) -> None:
    template["Resources"]["SiteBucket"]["DeletionPolicy"] = "Delete"


def _keep_the_alias(template: Template) -> None:
    template["Resources"]["SiteKeyAlias"]["DeletionPolicy"] = "Retain"


def _forget_nothing(template: Template) -> None:
    del _properties(template, "SiteTable")["TimeToLiveSpecification"]


def _show_messages_too_early(template: Template) -> None:
    _properties(template, "ImageJobsQueue")["VisibilityTimeout"] = 359


def _fail_whole_batches(template: Template) -> None:
    del _properties(template, "SnapshotVolumes")["Events"]["Jobs"]["Properties"]["FunctionResponseTypes"]


def _fail_silently(template: Template) -> None:
    del _properties(template, "ScheduleBackups")["EventInvokeConfig"]


def _keep_logs_for_ever(template: Template) -> None:
    del _properties(template, "ScheduleBackupsLogs")["RetentionInDays"]


def _lose_what_a_schedule_cannot_deliver(template: Template) -> None:
    del _properties(template, "TickTimer")["Target"]["DeadLetterConfig"]


def _watch_no_dead_letters(template: Template) -> None:
    del template["Resources"]["EventDeadLettersDepth"]


def _tell_nobody(template: Template) -> None:
    _properties(template, "MissedSlots")["AlarmActions"] = []


def _listen_for_no_tick(template: Template) -> None:
    del template["Resources"]["ScheduleBackupsSilent"]


def _take_silence_for_success(template: Template) -> None:
    _properties(template, "PruneRecoveryPointsSilent")["TreatMissingData"] = "notBreaching"


def _listen_for_a_day(template: Template) -> None:
    _properties(template, "ScheduleBackupsSilent")["EvaluationPeriods"] = 480


def _look_back_for_a_month(template: Template) -> None:
    _properties(template, "PruneRecoveryPointsSilent")["EvaluationPeriods"] = 240


def _look_back_by_minutes(template: Template) -> None:
    _properties(template, "MissedSlots")["EvaluationPeriods"] = 300


def _forget_between_two_runs(template: Template) -> None:
    _properties(template, "PruneRecoveryPointsFailedResources")["TreatMissingData"] = "notBreaching"


def _never_let_go_of_a_job(template: Template) -> None:
    _properties(template, "SnapshotVolumesFailedResources")["TreatMissingData"] = "ignore"


def _measure_for_nobody(template: Template) -> None:
    del template["Resources"]["BreachedObjectives"]


def _let_one_resource_pass(template: Template) -> None:
    _properties(template, "UncoveredResources")["Threshold"] = 2


def _leave_a_name_to_cloudformation(template: Template) -> None:
    del _properties(template, "FailedRunsQueue")["QueueName"]


BROKEN: list[tuple[Callable[[Site], Any], Callable[[Template], None]]] = [
    (checks.shared_roles, _let_two_functions_share_a_role),
    (checks.wildcard_actions, lambda template: _allow(template, "SnapshotVolumesRole", "ec2:Describe*")),
    (checks.wildcard_actions, lambda template: _allow(template, "TickRole", "*")),
    (
        checks.managed_policies,
        lambda template: _properties(template, "TickRole").update(ManagedPolicyArns=["arn:aws:iam::aws:policy/x"]),
    ),
    (checks.passed_roles, lambda template: _allow(template, "BuildImagesRole", "iam:PassRole")),
    (checks.open_resources, lambda template: _allow(template, "ScheduleBackupsRole", "sqs:SendMessage")),
    (checks.loose_deletions, lambda template: _allow(template, "SnapshotVolumesRole", "ec2:DeleteSnapshot")),
    (checks.loose_deletions, lambda template: _allow(template, "PruneRecoveryPointsRole", "ec2:DeleteVolume")),
    (checks.loose_deletions, _drop_prune_condition),
    (checks.loose_deletions, _delete_what_is_on_hold),
    (checks.loose_deletions, _delete_in_every_region),
    (checks.loose_tagging, _tag_at_any_time),
    (checks.loose_tagging, _tag_back_with_hikaes_own),
    (checks.loose_tagging, _tag_back_what_drills_made),
    (checks.loose_tagging, _tag_back_instances),
    (checks.loose_tagging, lambda template: _allow(template, "PruneRecoveryPointsRole", "ec2:CreateTags")),
    (checks.untagged_creations, _create_without_tags),
    (checks.untagged_creations, _create_elsewhere),
    (checks.reaching_out, _delete_in_every_region),
    (checks.reaching_out, _create_elsewhere),
    (checks.open_keys, _use_the_key_directly),
    (checks.foreign_logs, _write_to_another_log),
    (checks.strangers, _trust_any_account),
    (checks.plain_queues, _send_plain),
    (checks.plain_queues, _store_plain),
    (checks.open_queues, _take_any_event),
    (checks.open_buckets, _open_the_bucket),
    (checks.open_buckets, _drop_bucket_policy),
    (checks.mute_topics, _use_the_key_of_sns),
    (checks.mute_topics, _keep_events_from_the_key),
    (checks.unrotated_keys, _trust_everybody_with_the_key),
    (checks.losable, _let_the_bucket_go),
    (checks.losable, _keep_the_alias),
    (checks.frail_tables, _forget_nothing),
    (checks.impatient_queues, _show_messages_too_early),
    (checks.impatient_queues, _fail_whole_batches),
    (checks.unwatched_functions, _fail_silently),
    (checks.unwatched_functions, _keep_logs_for_ever),
    (checks.lost_deliveries, _lose_what_a_schedule_cannot_deliver),
    (checks.unwatched_failure_paths, _watch_no_dead_letters),
    (checks.silent_alarms, _tell_nobody),
    (checks.unheard_runs, _listen_for_no_tick),
    (checks.unheard_runs, _take_silence_for_success),
    (checks.unheard_runs, _listen_for_a_day),
    (checks.impossible_alarms, _look_back_for_a_month),
    (checks.impossible_alarms, _look_back_by_minutes),
    (checks.fleeting_alarms, _forget_between_two_runs),
    (checks.fleeting_alarms, _never_let_go_of_a_job),
    (checks.unmeasured_objectives, _measure_for_nobody),
    (checks.unmeasured_objectives, _let_one_resource_pass),
    (checks.nameless_queues, _leave_a_name_to_cloudformation),
]


@pytest.mark.parametrize(
    ("check", "breaking"), BROKEN, ids=lambda each: each.__name__.strip("_").replace("<lambda>", "otherwise")
)
def test_the_rule_notices_a_template_that_breaks_it(check: Callable[[Site], Any], breaking: Callable[[Template], None]):
    template = load_template()
    breaking(template)
    broken = (
        resolve(template, PRIMARY, region=PRIMARY_REGION),
        resolve(template, RECOVERY, region=RECOVERY_REGION),
    )
    assert [each for site in broken for each in check(site)] != []


def _tear_down_anything(template: Template) -> None:
    del _statement(template, "RecoverRole", "TearDownOwnDrills")["Condition"]


def _tear_down_what_was_restored(template: Template) -> None:
    _statement(template, "RecoverRole", "TidyUpAfterOwnRestores")["Action"] = "ec2:TerminateInstances"


def _launch_without_a_tag(template: Template) -> None:
    del _statement(template, "RecoverRole", "MakeForDrills")["Condition"]


def _pass_roles_to_anything(template: Template) -> None:
    del _statement(template, "RecoverRole", "PassTheDrillProfile")["Condition"]


def _sign_with_the_sites_key(template: Template) -> None:
    _statement(template, "RecoverRole", "SignEvidence")["Resource"] = {"Fn::GetAtt": ["SiteKey", "Arn"]}


def _lead_drills_out(template: Template) -> None:
    template["Resources"]["Gateway"] = {"Type": "AWS::EC2::InternetGateway"}


def _let_drills_talk(template: Template) -> None:
    del _properties(template, "DrillSecurityGroup")["SecurityGroupEgress"]


def _let_anybody_probe(template: Template) -> None:
    probes = _properties(template, "DrillProbesIn")
    del probes["SourceSecurityGroupId"]
    probes["CidrIp"] = "0.0.0.0/0"


def _open_any_group(template: Template) -> None:
    del _statement(template, "RecoverRole", "EncloseGroupsOfDrills")["Condition"]


BROKEN_AT_RECOVERY: list[tuple[Callable[[Site], Any], Callable[[Template], None]]] = [
    (checks.loose_deletions, _tear_down_anything),
    (checks.loose_deletions, _tear_down_what_was_restored),
    (checks.untagged_runs, _launch_without_a_tag),
    (checks.passed_roles, _pass_roles_to_anything),
    (checks.open_keys, _sign_with_the_sites_key),
    (checks.open_drills, _lead_drills_out),
    (checks.loose_groups, _open_any_group),
    (checks.loose_groups, _launch_without_a_tag),
    (checks.open_drills, _let_drills_talk),
    (checks.open_drills, _let_anybody_probe),
]


@pytest.mark.parametrize(("check", "breaking"), BROKEN_AT_RECOVERY, ids=lambda each: each.__name__.strip("_"))
def test_the_rule_notices_a_recovery_site_that_breaks_it(
    check: Callable[[Site], Any], breaking: Callable[[Template], None]
):
    template = load_template()
    breaking(template)
    assert list(check(resolve(template, RECOVERY, region=RECOVERY_REGION))) != []


def test_every_rule_was_seen_to_notice_something():
    assert {check for check, _ in [*BROKEN, *BROKEN_AT_RECOVERY]} == {*checks.ALL, checks.reaching_out}


SCHEDULES = ("Tick", "Sweep", "Prune", "Report", "RecoverySweep", "Drill")


@pytest.mark.parametrize(
    "expression",
    [
        "rate(1 minute)",
        "rate(5 minutes)",
        "rate(99 minutes)",
        "rate(480 minutes)",
        "rate(1 hour)",
        "rate(2 hours)",
        "rate(56 hours)",
        "rate(1 day)",
        "cron(0 3 * * ? *)",
    ],
)
def test_silence_is_heard_whatever_the_schedule(expression: str):
    schedules = {f"{name}Schedule": expression for name in SCHEDULES if _may_be(f"{name}Schedule", expression)}
    assert schedules
    for parameters, region in ((PRIMARY, PRIMARY_REGION), (RECOVERY, RECOVERY_REGION)):
        site = resolve(load_template(), {**parameters, **schedules}, region=region)
        assert list(checks.unheard_runs(site)) == []
        assert list(checks.impossible_alarms(site)) == []


def _may_be(parameter: str, value: str) -> bool:
    return bool(re.fullmatch(load_template()["Parameters"][parameter]["AllowedPattern"], value))


@pytest.mark.parametrize("parameter", [f"{name}Schedule" for name in SCHEDULES if name != "Tick"])
def test_a_schedule_that_no_alarm_could_follow_is_refused(parameter: str):
    taken = [
        "rate(1 minute)",
        "rate(480 minutes)",
        "rate(1 hour)",
        "rate(56 hours)",
        "rate(1 day)",
        "cron(0 3 * * ? *)",
    ]
    refused = ["rate(481 minutes)", "rate(0 minutes)", "rate(1 minutes)", "rate(57 hours)", "rate(2 days)", "at(2026)"]
    assert [each for each in taken if not _may_be(parameter, each)] == []
    assert [each for each in refused if _may_be(parameter, each)] == []


@pytest.mark.parametrize("parameter", [f"{name}Schedule" for name in SCHEDULES if name != "Tick"])
def test_a_cron_expression_that_leaves_out_days_is_refused_as_its_alarm_would_be_false(parameter: str):
    taken = ["cron(0/15 * * * ? *)", "cron(0 3,15 ? * * *)", "cron(5-55/10 8-20 * * ? *)"]
    refused = ["cron(0 3 ? * SUN *)", "cron(0 3 1 * ? *)", "cron(0 3 * 1-6 ? *)", "cron(0 3 * * ? 2027)", "cron(0 3)"]
    assert [each for each in taken if not _may_be(parameter, each)] == []
    assert [each for each in refused if _may_be(parameter, each)] == []


def test_a_tick_with_which_slots_would_never_be_seen_is_refused():
    rates = ["rate(1 minute)", *(f"rate({minutes} minutes)" for minutes in range(2, 31))]
    assert [each for each in rates if not _may_be("TickSchedule", each)] == []
    refused = [
        "rate(1 minutes)",
        "rate(0 minutes)",
        "rate(31 minutes)",
        "rate(1 hour)",
        "rate(1 day)",
        "cron(* * * * ? *)",
    ]
    assert [each for each in refused if _may_be("TickSchedule", each)] == []
    # The largest rate sees every slot of a plan that says nothing of its window.
    assert timedelta(minutes=30) < DEFAULT_START_WINDOW


def test_an_alarm_on_silence_is_made_after_its_schedule():
    resources = load_template()["Resources"]
    timers = {name: body.get("DependsOn") for name, body in resources.items() if name.endswith("Silent")}
    assert timers == {
        "ScheduleBackupsSilent": "TickTimer",
        "CopyRecoveryPointsSilent": "SweepTimer",
        "PruneRecoveryPointsSilent": "PruneTimer",
        "ReportObjectivesSilent": "ReportTimer",
        "RecoverySweepSilent": "RecoverySweepTimer",
        "DrillStartSilent": "DrillTimer",
        "ReadinessSilent": "ReadinessTimer",
    }


def test_the_copying_role_is_held_to_the_recovery_region():
    template = load_template()
    tagged = _statement(template, "CopyRecoveryPointsRole", "OnlyTaggedCopies")
    tagged["Resource"] = "arn:aws:ec2:us-east-1::snapshot/*"
    assert list(checks.untagged_creations(resolve(template, RECOVERY, region=RECOVERY_REGION))) != []
