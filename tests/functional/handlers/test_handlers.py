"""Every event file, given to its handler as Lambda would give it."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

import pytest
import time_machine

from hikae.domain.model import SiteRole
from hikae.domain.naming import format_time
from hikae.domain.pacing import COPYING
from hikae.ports import PortError
from hikae.runtime import wiring
from local.inprocess import IMAGE_PLAN, PRIMARY, RECOVERY, SNAPSHOT_PLAN, tags_of
from local.twin.faults import answer_lost, intercepted, read_request, unreachable
from tests.functional.handlers.conftest import Context, Functions, load_event, load_handler


def metrics_of(printed: str) -> dict[str, int]:
    """The metrics of every EMF line, summed."""
    totals: dict[str, int] = {}
    for line in printed.splitlines():
        document = json.loads(line)
        for directive in document.get("_aws", {}).get("CloudWatchMetrics", []):
            assert directive["Namespace"] == "hikae"
            dimensions = {name for names in directive["Dimensions"] for name in names}
            assert dimensions >= {"service", "installation", "site"}
            if dimensions > {"service", "installation", "site"}:
                continue  # what is there in all, by a further dimension
            for metric in directive["Metrics"]:
                value = document[metric["Name"]]
                totals[metric["Name"]] = totals.get(metric["Name"], 0) + int(sum(value))
    return totals


def metrics_by(dimension: str, printed: str) -> dict[str, dict[str, int]]:
    """The metrics that have this dimension, by its value."""
    found: dict[str, dict[str, int]] = {}
    for line in printed.splitlines():
        document = json.loads(line)
        for directive in document.get("_aws", {}).get("CloudWatchMetrics", []):
            if any(dimension in names for names in directive["Dimensions"]):
                values = {metric["Name"]: int(sum(document[metric["Name"]])) for metric in directive["Metrics"]}
                found.setdefault(document[dimension], {}).update(values)
    return found


def errors_of(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The error lines, with the fields that the JSON line has."""
    return [vars(record) for record in caplog.records if record.levelname == "ERROR"]


def test_the_tick_answers_with_what_it_sent(functions: Functions, capsys: pytest.CaptureFixture[str]) -> None:
    functions.installation.launch(2)
    functions.installation.apply("production", SNAPSHOT_PLAN)
    answer = functions.invoke("schedule_backups", load_event("schedule_backups/tick-at"))
    assert answer["jobs_sent"] == 2
    assert answer["rules"][0]["slot"] == "2026-11-22T10:00:00Z"
    assert metrics_of(capsys.readouterr().out)["JobsSent"] == 2


def test_the_tick_takes_the_clock_where_the_event_says_nothing(functions: Functions) -> None:
    functions.installation.apply("production", SNAPSHOT_PLAN)
    assert functions.invoke("schedule_backups", load_event("schedule_backups/tick"))["broken_plans"] == []


@pytest.mark.parametrize("now", ["yesterday", 1795341870, "2026-11-22T10:00:00"])
def test_the_tick_refuses_a_time_that_is_none(functions: Functions, now: object) -> None:
    with pytest.raises(ValueError, match="now"):
        functions.invoke("schedule_backups", {"now": now})


@pytest.mark.parametrize("name", ["schedule_backups", "prune_recovery_points", "report_objectives"])
def test_a_time_to_come_is_refused_and_one_that_has_come_is_taken(functions: Functions, name: str) -> None:
    """One mistyped year would have every slot until then taken for done with."""
    functions.takes_future_now = False
    site = SiteRole.RECOVERY if name == "report_objectives" else SiteRole.PRIMARY
    clock = datetime.now(tz=UTC)
    ahead = format_time(clock + timedelta(hours=1))
    with pytest.raises(ValueError, match=f"now is {ahead}, and the clock says .*; a time that has come, or no now"):
        functions.invoke(name, {"now": ahead}, site=site)
    for moment in (clock - timedelta(days=1), clock + timedelta(minutes=5)):
        functions.invoke(name, {"now": format_time(moment)}, site=site)


def test_only_where_a_clock_is_moved_by_hand_a_time_to_come_is_taken(functions: Functions) -> None:
    ahead = format_time(datetime.now(tz=UTC) + timedelta(days=400))
    assert functions.invoke("schedule_backups", {"now": ahead})["jobs_sent"] == 0


def test_a_broken_plan_is_reported_and_the_others_still_run(
    functions: Functions, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    functions.installation.launch()
    functions.installation.apply("production", SNAPSHOT_PLAN)
    functions.installation.apply("broken", "version: 1\nplan: broken\n")
    answer = functions.invoke("schedule_backups", load_event("schedule_backups/tick-at"))
    assert answer["jobs_sent"] == 1
    assert answer["broken_plans"][0].startswith("plans/broken.yaml: ")
    assert metrics_of(capsys.readouterr().out)["UnreadablePlans"] == 1
    [line] = errors_of(caplog)
    assert line["plan"] == "plans/broken.yaml"


def test_missed_slots_are_counted(functions: Functions, capsys: pytest.CaptureFixture[str]) -> None:
    functions.installation.launch()
    functions.installation.apply("production", SNAPSHOT_PLAN)
    functions.invoke("schedule_backups", {"now": "2026-11-22T10:00:30Z"})
    capsys.readouterr()
    answer = functions.invoke("schedule_backups", {"now": "2026-11-22T14:10:00Z"})
    assert answer["rules"][0]["missed"] == ["2026-11-22T13:00:00Z", "2026-11-22T12:00:00Z", "2026-11-22T11:00:00Z"]
    assert metrics_of(capsys.readouterr().out)["MissedSlots"] == 3


def test_an_instance_job_makes_its_set_and_nothing_comes_back(functions: Functions) -> None:
    [instance] = functions.installation.launch()
    event = load_event("snapshot_volumes/instance", i_0123456789abcdef0=instance)
    assert functions.invoke("snapshot_volumes", event) == {"batchItemFailures": []}
    assert {tags_of(each)["hikae:resource"] for each in functions.installation.snapshots()} == {instance}
    assert functions.invoke("snapshot_volumes", event) == {"batchItemFailures": []}
    assert len(functions.installation.snapshots()) == 2


def test_a_volume_job_makes_its_snapshot(functions: Functions) -> None:
    volume = functions.installation.detached_volume()
    event = load_event("snapshot_volumes/volume", vol_0123456789abcdef0=volume)
    assert functions.invoke("snapshot_volumes", event) == {"batchItemFailures": []}
    assert [each["VolumeId"] for each in functions.installation.snapshots()] == [volume]


def test_one_bad_resource_of_a_batch_fails_alone_and_is_named(
    functions: Functions, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    one, two = functions.installation.launch(2)
    volumes = functions.installation.twin.client("ec2", PRIMARY).describe_volumes()["Volumes"]
    attached = volumes[0]["VolumeId"]
    event = load_event(
        "snapshot_volumes/batch", i_0aaaaaaaaaaaaaaa1=one, i_0aaaaaaaaaaaaaaa2=two, vol_0123456789abcdef0=attached
    )
    assert functions.invoke("snapshot_volumes", event) == {"batchItemFailures": []}
    assert {tags_of(each)["hikae:resource"] for each in functions.installation.snapshots()} == {one, two}
    assert metrics_of(capsys.readouterr().out)["FailedResources"] == 1
    [line] = errors_of(caplog)
    assert line["resource"] == attached


def test_what_has_ended_since_its_job_was_sent_comes_not_back_and_is_no_failure(
    functions: Functions, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    [instance] = functions.installation.launch()
    functions.installation.twin.client("ec2", PRIMARY).terminate_instances(InstanceIds=[instance])
    event = load_event("snapshot_volumes/instance", i_0123456789abcdef0=instance)
    assert functions.invoke("snapshot_volumes", event) == {"batchItemFailures": []}
    printed = capsys.readouterr().out
    assert metrics_of(printed)["FailedResources"] == 0
    assert metrics_by("status", printed) == {"skipped": {"Outcomes": 1}}
    assert errors_of(caplog) == []


def test_a_job_past_its_deadline_is_reported_and_not_run(
    functions: Functions, capsys: pytest.CaptureFixture[str]
) -> None:
    event = load_event("snapshot_volumes/past-deadline")
    assert functions.invoke("snapshot_volumes", event) == {"batchItemFailures": []}
    assert metrics_of(capsys.readouterr().out)["FailedResources"] == 1
    assert functions.installation.snapshots() == []


def test_malformed_messages_go_back_and_the_good_one_is_carried_out(
    functions: Functions, caplog: pytest.LogCaptureFixture
) -> None:
    [instance] = functions.installation.launch()
    event = load_event("snapshot_volumes/malformed", i_0123456789abcdef0=instance)
    answer = functions.invoke("snapshot_volumes", event)
    good = [record["messageId"] for record in event["Records"] if instance in record["body"]]
    bad = [record["messageId"] for record in event["Records"] if record["messageId"] not in good]
    assert [failure["itemIdentifier"] for failure in answer["batchItemFailures"]] == bad
    assert len(functions.installation.snapshots()) == 2
    errors = [line["error"] for line in errors_of(caplog)]
    assert any("not JSON" in error for error in errors)


def test_when_all_messages_fail_they_come_back_one_by_one(functions: Functions) -> None:
    event = load_event("snapshot_volumes/malformed")
    event["Records"] = event["Records"][:2]
    assert len(functions.invoke("snapshot_volumes", event)["batchItemFailures"]) == 2


@pytest.mark.parametrize(("case", "no_reboot"), [("no-reboot", "true"), ("reboot", "false")])
def test_an_image_job_makes_its_image(functions: Functions, case: str, no_reboot: str) -> None:
    [instance] = functions.installation.launch()
    event = load_event(f"build_images/{case}", i_0123456789abcdef0=instance)
    assert functions.invoke("build_images", event) == {"batchItemFailures": []}
    [call] = [call for call in functions.installation.twin.calls if call.action == "CreateImage"]
    assert str(call.parameters["NoReboot"]).lower() == no_reboot
    assert len(functions.installation.images()) == 1


@pytest.mark.parametrize("case", ["snapshot-completed", "sweep"])
def test_whatever_wakes_the_broker_it_copies_what_is_wanted(
    functions: Functions, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    functions.installation.launch()
    functions.installation.apply("production", SNAPSHOT_PLAN)
    functions.installation.back_up()
    capsys.readouterr()
    answer = functions.invoke(
        "copy_recovery_points", load_event(f"copy_recovery_points/{case}"), site=SiteRole.RECOVERY
    )
    assert (answer["wanted"], answer["started"], answer["in_flight"]) == (1, 2, 2)
    assert metrics_of(capsys.readouterr().out)["CopiesStarted"] == 2
    assert len(functions.installation.snapshots(RECOVERY)) == 2


def test_an_answer_that_was_lost_is_not_asked_for_again_before_ec2_can_be_believed(functions: Functions) -> None:
    [instance] = functions.installation.launch()
    event = load_event("snapshot_volumes/instance", i_0123456789abcdef0=instance)
    with answer_lost("CreateSnapshots"):
        answers = [functions.invoke("snapshot_volumes", event) for _ in range(3)]
    assert [len(answer["batchItemFailures"]) for answer in answers] == [1, 1, 1]
    assert functions.installation.twin.count("CreateSnapshots") == 1


def test_copying_says_which_limit_was_in_force_and_counts_a_quota_that_it_could_not_read(
    functions: Functions, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    functions.installation.launch()
    functions.installation.apply("production", SNAPSHOT_PLAN)
    functions.installation.back_up()
    functions.installation.twin.world.quotas.is_answering = False
    capsys.readouterr()
    event = load_event("copy_recovery_points/sweep")
    answer = functions.invoke("copy_recovery_points", event, site=SiteRole.RECOVERY)
    assert answer["started"] == 2
    assert answer["limits"]["snapshots"].startswith("20: EC2's quota cannot be read")
    metrics = metrics_of(capsys.readouterr().out)
    assert (metrics["UnreadableQuotas"], metrics["FailedResources"]) == (1, 0)
    assert "quota cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("event", "actions", "sent", "site"),
    [
        ("snapshot_volumes/instance", wiring.PROTECTING, "CreateSnapshots", SiteRole.PRIMARY),
        ("build_images/no-reboot", wiring.PROTECTING, "CreateImage", SiteRole.PRIMARY),
        ("copy_recovery_points/sweep", COPYING, "CopySnapshot", SiteRole.RECOVERY),
    ],
)
def test_a_deployed_function_takes_a_token_of_its_share_for_each_call(
    functions: Functions, event: str, actions: frozenset[str], sent: str, site: SiteRole
) -> None:
    [instance] = functions.installation.launch()
    functions.installation.apply("production", SNAPSHOT_PLAN)
    if site is SiteRole.RECOVERY:
        functions.installation.back_up()
    functions.invoke(event.partition("/")[0], load_event(event, i_0123456789abcdef0=instance), site=site)
    settings = functions.installation.primary if site is SiteRole.PRIMARY else functions.installation.recovery
    region = settings.place.region
    pacer = wiring.clients_for(region, wiring.share_of(settings, actions)).pacer
    taken = pacer._buckets[sent].rate.capacity - pacer._buckets[sent].level
    # Of what was taken first, a part has come back.
    assert 0 < taken <= functions.installation.twin.count(sent, region=region)


@pytest.mark.parametrize(("received", "back_after"), [("1", [20]), ("2", [120]), ("3", [])])
def test_a_job_that_ec2_refused_for_the_moment_comes_back_soon_and_later_when_the_queue_says(
    functions: Functions, received: str, back_after: list[int]
) -> None:
    installation = functions.installation
    [instance] = installation.launch()
    event = load_event("snapshot_volumes/instance", i_0123456789abcdef0=instance)
    url, [record] = installation.primary.snapshot_queue_url, event["Records"]
    sqs = installation.twin.client("sqs", PRIMARY)
    sqs.send_message(QueueUrl=url, MessageBody=record["body"])
    [message] = sqs.receive_message(QueueUrl=url)["Messages"]
    record["receiptHandle"] = message["ReceiptHandle"]
    record["eventSourceARN"] = f"arn:aws:sqs:{PRIMARY}:123456789012:{url.rsplit('/', 1)[-1]}"
    record["attributes"]["ApproximateReceiveCount"] = received
    # Another rule's snapshot of the same volumes, a moment before.
    specification = {"InstanceId": instance}
    installation.twin.client("ec2", PRIMARY).create_snapshots(InstanceSpecification=specification)
    asked = []

    def listen(request: Any, go_on: Callable[[Any], Any]) -> Any:
        if read_request(request).action == "ChangeMessageVisibility":
            asked.append(json.loads(request.body)["VisibilityTimeout"])
        return go_on(request)

    with intercepted(listen):
        answer = functions.invoke("snapshot_volumes", event)
    assert answer == {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
    assert asked == back_after
    installation.advance(seconds=20)
    assert functions.invoke("snapshot_volumes", event) == {"batchItemFailures": []}


@pytest.mark.parametrize("seconds_left", [5, 59])
def test_what_there_is_no_time_for_comes_back_and_is_not_begun(
    functions: Functions, seconds_left: int, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = functions.installation.launch(2)
    event = load_event("snapshot_volumes/batch", i_0aaaaaaaaaaaaaaa1=one, i_0aaaaaaaaaaaaaaa2=two)
    answer = functions.invoke("snapshot_volumes", event, seconds=seconds_left)
    assert [each["itemIdentifier"] for each in answer["batchItemFailures"]] == [
        record["messageId"] for record in event["Records"]
    ]
    assert functions.installation.snapshots() == []
    assert {line["body"] for line in errors_of(caplog)} == {record["body"] for record in event["Records"]}


def test_without_time_the_broker_begins_no_copy_and_prune_no_deletion(functions: Functions) -> None:
    functions.installation.launch()
    functions.installation.apply("production", SNAPSHOT_PLAN)
    functions.installation.back_up()
    sweep = load_event("copy_recovery_points/sweep")
    answer = functions.invoke("copy_recovery_points", sweep, site=SiteRole.RECOVERY, seconds=5)
    assert (answer["wanted"], answer["started"], answer["later"]) == (1, 0, 2)
    assert functions.installation.snapshots(RECOVERY) == []
    functions.installation.copy_all()
    for _ in range(4):
        functions.installation.advance(minutes=60)
        functions.installation.back_up()
        functions.installation.copy_all()
    before = len(functions.installation.snapshots())
    answer = functions.invoke("prune_recovery_points", load_event("prune_recovery_points/run"), seconds=5)
    assert answer["expired"]
    assert (answer["deleted"], len(functions.installation.snapshots())) == (0, before)


def test_a_backlog_of_wake_ups_takes_one_look(functions: Functions) -> None:
    event = load_event("copy_recovery_points/sweep")
    first = functions.invoke("copy_recovery_points", event, site=SiteRole.RECOVERY)
    handler = load_handler("copy_recovery_points")
    assert "wanted" in first
    context = Context(function_name="copy_recovery_points")
    assert handler(event, context) == {"batchItemFailures": []}
    event["Records"][0]["attributes"]["SentTimestamp"] = str(int(time.time() * 1000))
    assert "wanted" in handler(event, context)


def test_prune_answers_with_what_it_deleted_and_a_dry_run_deletes_nothing(functions: Functions) -> None:
    functions.installation.launch(tags={"Backup": "image"})
    functions.installation.apply("web-images", IMAGE_PLAN)
    for _ in range(4):
        functions.installation.back_up()
        functions.installation.copy_all()
        functions.installation.advance(minutes=60 - functions.installation.twin.clock.now().minute)
    dry = functions.invoke("prune_recovery_points", load_event("prune_recovery_points/dry-run"))
    assert (len(dry["expired"]), dry["deleted"]) == (2, 0)
    assert len(functions.installation.images(PRIMARY)) == 4
    run = functions.invoke("prune_recovery_points", load_event("prune_recovery_points/run"))
    assert (run["expired"], run["deleted"]) == (dry["expired"], 2)
    assert len(functions.installation.images(PRIMARY)) == 2


def test_prune_refuses_a_dry_run_that_is_neither_true_nor_false(functions: Functions) -> None:
    with pytest.raises(ValueError, match="dry_run"):
        functions.invoke("prune_recovery_points", {"dry_run": "yes"})


def test_a_function_without_its_environment_names_what_is_missing(
    functions: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions.invoke("schedule_backups", {})
    from hikae.runtime import wiring  # noqa: PLC0415 - the settings as the next cold start reads them

    monkeypatch.delenv("HIKAE_BUCKET")
    monkeypatch.setenv("HIKAE_DELETION_CAP", "many")
    wiring.load_settings.cache_clear()
    with pytest.raises(RuntimeError, match="HIKAE_BUCKET is not set; HIKAE_DELETION_CAP is 'many'"):
        wiring.load_settings()


def test_every_status_that_occurred_is_counted_by_name(
    functions: Functions, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = functions.installation.launch(2)
    event = load_event("snapshot_volumes/batch", i_0aaaaaaaaaaaaaaa1=one, i_0aaaaaaaaaaaaaaa2=two)
    functions.invoke("snapshot_volumes", event)
    assert metrics_by("status", capsys.readouterr().out) == {"created": {"Outcomes": 2}, "skipped": {"Outcomes": 1}}


def test_a_scheduled_run_says_that_it_came_to_its_end_and_a_dry_run_does_not(
    functions: Functions, capsys: pytest.CaptureFixture[str]
) -> None:
    functions.installation.apply("production", SNAPSHOT_PLAN)
    for name, event, site, said in (
        ("schedule_backups", "tick-at", SiteRole.PRIMARY, 1),
        ("prune_recovery_points", "run", SiteRole.PRIMARY, 1),
        ("prune_recovery_points", "dry-run", SiteRole.PRIMARY, 0),
        ("copy_recovery_points", "sweep", SiteRole.RECOVERY, 1),
        ("report_objectives", "report", SiteRole.RECOVERY, 1),
    ):
        functions.invoke(name, load_event(f"{name}/{event}"), site=site)
        assert metrics_of(capsys.readouterr().out)["SucceededRuns"] == said


def test_a_run_that_fails_does_not_say_that_it_succeeded(
    functions: Functions, capsys: pytest.CaptureFixture[str]
) -> None:
    functions.installation.apply("production", SNAPSHOT_PLAN)
    with unreachable(RECOVERY), pytest.raises(PortError):
        functions.invoke("report_objectives", load_event("report_objectives/report"), site=SiteRole.RECOVERY)
    assert "SucceededRuns" not in capsys.readouterr().out


def test_the_report_measures_and_names_what_is_breached(
    functions: Functions, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    [instance] = functions.installation.launch()
    functions.installation.apply("production", SNAPSHOT_PLAN)
    functions.installation.back_up()
    functions.installation.copy_all()
    capsys.readouterr()
    [point] = {tags_of(each)["hikae:source-time"] for each in functions.installation.snapshots(RECOVERY)}
    age = ceil((datetime(2026, 11, 22, 16, tzinfo=UTC) - datetime.fromisoformat(point)).total_seconds())
    with time_machine.travel(datetime(2026, 11, 22, 16, tzinfo=UTC), tick=False):
        answer = functions.invoke("report_objectives", load_event("report_objectives/report"), site=SiteRole.RECOVERY)
    assert (answer["breached"], answer["met"], answer["never"]) == (1, 0, 0)
    printed = capsys.readouterr().out
    metrics = metrics_of(printed)
    assert (metrics["BreachedObjectives"], metrics["UncoveredResources"]) == (1, 0)
    assert metrics["AchievedRpo"] == age > 5 * 3600
    assert metrics_by("plan", printed) == {"production": {"UnmetObjectives": 1, "AchievedRpo": age}}
    [line] = errors_of(caplog)
    assert (line["message"], line["resource"], line["plan"], line["rule"]) == (
        "breached",
        instance,
        "production",
        "hourly",
    )
    assert line["reason"].endswith("its RPO is 2h")


def test_a_report_of_another_time_tells_no_metric(functions: Functions, capsys: pytest.CaptureFixture[str]) -> None:
    """Their alarms are about now, and would be silenced, or raised, by what was."""
    functions.installation.launch()
    functions.installation.apply("production", SNAPSHOT_PLAN)
    functions.installation.back_up()
    functions.installation.copy_all()
    capsys.readouterr()
    answer = functions.invoke("report_objectives", load_event("report_objectives/report-at"), site=SiteRole.RECOVERY)
    assert answer["breached"] == 1
    assert metrics_of(capsys.readouterr().out) == {}


def test_only_the_worst_plans_have_metrics_of_their_own(
    functions: Functions, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    functions.installation.launch()
    for number in range(22):
        plan = SNAPSHOT_PLAN.replace("plan: production", f"plan: plan-{number:02}")
        functions.installation.apply(f"plan-{number:02}", plan)
    functions.installation.tick()
    functions.installation.copy()
    with time_machine.travel(datetime(2026, 11, 22, 10, 10, tzinfo=UTC), tick=False):
        functions.invoke("report_objectives", {}, site=SiteRole.RECOVERY)
    assert len(metrics_by("plan", capsys.readouterr().out)) == 20
    [line] = [vars(record) for record in caplog.records if record.levelname == "WARNING"]
    assert line["left_out"] == ["plan-20", "plan-21"]
