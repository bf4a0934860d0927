"""One alarm of each kind, made to fire: from what really happens to the notification that a person would get."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local.cloud import LocalCloud

pytestmark = pytest.mark.e2e

PLAN = """\
version: 1
plan: ageing
timezone: UTC
selection: {{resources: [volume], tags: {{Backup: ageing}}}}
rules:
  - name: once
    schedule: "{minute} {hour} * * *"
    start_window: 1h
    protect: snapshots
    retention: {{keep_last: 1}}
    copies: [{{region: {recovery}, retention: {{keep_last: 1}}}}]
    objectives: {{rpo: 1m}}
"""
SITES = ("primary", "recovery")
LISTENER = "somebody-who-listens"


@dataclass(kw_only=True)
class Heard:
    """Everything that the topics have told so far, by alarm."""

    cloud: LocalCloud
    urls: dict[str, str]
    notifications: list[dict[str, Any]] = field(default_factory=list)

    def of(self, alarm: str) -> list[dict[str, Any]]:
        """The notifications that `alarm` has started, by the name that CloudWatch knows it by."""
        for region, url in self.urls.items():
            sqs = self.cloud.client("sqs", region)
            while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
                for message in messages:
                    self.notifications.append(json.loads(json.loads(message["Body"])["Message"]))
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [each for each in self.notifications if each["AlarmName"] == alarm and each["NewStateValue"] == "ALARM"]

    def wait_for(self, cloud: LocalCloud, site: Any, alarm: str, *, seconds: float) -> dict[str, Any]:
        name = cloud.resource(site, alarm)
        wait_until(lambda: bool(self.of(name)), seconds=seconds, what=f"{alarm} of {cloud.stack_name(site)}")
        return self.of(name)[-1]


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, f"not heard within {seconds} s: {what}"
        time.sleep(0.5)


def hikae(cloud: LocalCloud, *arguments: str) -> list[Any]:
    command = [str(Path(sys.executable).with_name("hikae")), "jobs", *arguments, "--json"]
    environment = {**os.environ, **cloud.environment()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def volume(cloud: LocalCloud) -> Iterator[str]:
    """A volume whose one point is copied, and whose plan asks for the next one much sooner than it is due."""
    now = datetime.now(tz=UTC)
    ec2 = cloud.client("ec2", cloud.primary_region)
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "Backup", "Value": "ageing"}]}]
    made = ec2.create_volume(AvailabilityZone=f"{cloud.primary_region}a", Size=1, TagSpecifications=tags)["VolumeId"]
    ec2.get_waiter("volume_available").wait(VolumeIds=[made], WaiterConfig={"Delay": 1})
    text = PLAN.format(minute=now.minute, hour=now.hour, recovery=cloud.recovery_region)
    buckets = {site: cloud.stack_outputs(site)["BucketName"] for site in SITES}
    for site in SITES:
        cloud.client("s3", cloud.region_of(site)).put_object(
            Bucket=buckets[site], Key="plans/ageing.yaml", Body=text.encode()
        )
    cloud.invoke("ScheduleBackups", {})
    yield made
    for site in SITES:
        cloud.client("s3", cloud.region_of(site)).delete_object(Bucket=buckets[site], Key="plans/ageing.yaml")
    ec2.delete_volume(VolumeId=made)


@pytest.fixture(scope="module")
def quiet(cloud: LocalCloud, volume: str) -> Iterator[LocalCloud]:
    """An installation that was given a bucket which is not there: none of its runs can succeed."""
    quiet = cloud.beside(cloud.recovery_region, installation="quiet", BucketName="hikae-there-is-no-such-bucket")
    quiet.deploy_site("primary")
    yield quiet
    quiet.delete_site("primary")


@pytest.fixture(scope="module")
def heard(cloud: LocalCloud, quiet: LocalCloud) -> Iterator[Heard]:
    topics = [
        (cloud.primary_region, cloud.stack_outputs("primary")["AlertsTopicArn"]),
        (cloud.recovery_region, cloud.stack_outputs("recovery")["AlertsTopicArn"]),
        (cloud.primary_region, quiet.stack_outputs("primary")["AlertsTopicArn"]),
    ]
    urls: dict[str, str] = {}
    for region, topic in topics:
        sqs = cloud.client("sqs", region)
        urls[region] = sqs.create_queue(QueueName=LISTENER)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=urls[region], AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        cloud.client("sns", region).subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    yield Heard(cloud=cloud, urls=urls)
    for region, url in urls.items():
        cloud.client("sqs", region).delete_queue(QueueUrl=url)


def test_a_tick_that_never_succeeds_is_a_dead_man(quiet: LocalCloud, heard: Heard) -> None:
    alarm = quiet.resource("primary", "ScheduleBackupsSilent")
    cloudwatch = quiet.client("cloudwatch", quiet.primary_region)
    [described] = cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
    # Three intervals of the schedule that this cloud runs by, a minute.
    assert (described["Period"] * described["EvaluationPeriods"], described["TreatMissingData"]) == (180, "breaching")
    wait_until(lambda: state_of(quiet, alarm) == "ALARM", seconds=20, what="the state of the alarm")
    # It fired while nobody listened. Set by hand to what it is not, CloudWatch sets it right again, and tells so:
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_SetAlarmState.html
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="to hear it fire")
    notification = heard.wait_for(quiet, "primary", "ScheduleBackupsSilent", seconds=20)
    assert "no tick has succeeded" in notification["AlarmDescription"]


def state_of(cloud: LocalCloud, alarm: str) -> str:
    cloudwatch = cloud.client("cloudwatch", cloud.primary_region)
    [described] = cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
    return str(described["StateValue"])


def test_the_tick_that_succeeds_is_no_dead_man(cloud: LocalCloud, heard: Heard) -> None:
    alarm = cloud.resource("primary", "ScheduleBackupsSilent")
    wait_until(lambda: state_of(cloud, alarm) == "OK", seconds=20, what="the state of the alarm")


def test_a_run_that_fails_on_every_attempt_is_heard_of_and_can_be_sent_again(cloud: LocalCloud, heard: Heard) -> None:
    function = cloud.resource("recovery", "PruneRecoveryPoints")
    payload = json.dumps({"dry_run": "perhaps"})
    cloud.client("lambda", cloud.recovery_region).invoke(
        FunctionName=function, InvocationType="Event", Payload=payload.encode()
    )

    errors = heard.wait_for(cloud, "recovery", "PruneRecoveryPointsErrors", seconds=30)
    assert errors["Trigger"]["MetricName"] == "Errors"
    depth = heard.wait_for(cloud, "recovery", "FailedRunsQueueDepth", seconds=30)
    assert depth["Trigger"]["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert heard.of(cloud.resource("primary", "FailedRunsQueueDepth")) == []

    listed = hikae(cloud, "list", "--site", "recovery")
    [run] = next(queue for queue in listed if queue["queue"] == "failed-runs")["messages"]
    assert (run["function"], run["payload"]) == (function, {"dry_run": "perhaps"})
    assert "dry_run is 'perhaps'" in run["error"]
    [sent] = hikae(cloud, "redrive", run["id"], "--site", "recovery", "--yes")
    assert (sent["outcome"], sent["to"]) == ("sent", f"function {function}")
    # It fails for the same reason again, as a message of its own: the first one was taken out.
    wait_until(lambda: failed_runs(cloud) not in ([], [run["id"]]), seconds=90, what="the second failure")
    assert len(failed_runs(cloud)) == 1
    url = cloud.stack_outputs("recovery")["FailedRunsQueueUrl"]
    cloud.client("sqs", cloud.recovery_region).purge_queue(QueueUrl=url)


def failed_runs(cloud: LocalCloud) -> list[str]:
    """The messages of the queue; they are there again at once."""
    url = cloud.stack_outputs("recovery")["FailedRunsQueueUrl"]
    sqs = cloud.client("sqs", cloud.recovery_region)
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0).get("Messages", [])
    return [str(message["MessageId"]) for message in messages]


def test_a_resource_that_could_not_be_done_is_heard_of(cloud: LocalCloud, heard: Heard) -> None:
    outputs = cloud.stack_outputs("primary")
    past = datetime.now(tz=UTC) - timedelta(hours=2)
    job = {
        "version": 1,
        "plan": "ageing",
        "rule": "late",
        "slot": f"{past:%Y-%m-%dT%H:%M:%SZ}",
        "kind": "snapshot",
        "resource": "vol-0123456789abcdef0",
        "account": outputs["CopyKeyArn"].split(":")[4],
        "region": cloud.primary_region,
        "deadline": f"{past + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
        "reboot": False,
        "consistency": "crash",
    }
    sqs = cloud.client("sqs", cloud.primary_region)
    sqs.send_message(QueueUrl=outputs["SnapshotJobsQueueUrl"], MessageBody=json.dumps(job))

    notification = heard.wait_for(cloud, "primary", "SnapshotVolumesFailedResources", seconds=30)
    assert notification["Trigger"]["Namespace"] == "hikae"
    for other in ("BuildImagesFailedResources", "ScheduleBackupsFailedResources"):
        assert heard.of(cloud.resource("primary", other)) == []


def test_a_copy_that_grows_older_than_its_rpo_is_heard_of(cloud: LocalCloud, volume: str, heard: Heard) -> None:
    def breached() -> list[str]:
        answer = cloud.invoke("ReportObjectives", {}, site="recovery")
        return [each["resource"] for each in answer["failed"] if "its newest complete copy" in each["reason"]]

    wait_until(lambda: volume in breached(), seconds=120, what="the report to name the volume")
    notification = heard.wait_for(cloud, "recovery", "BreachedObjectives", seconds=20)
    assert "older than its RPO" in notification["AlarmDescription"]
    # A scheduled run that began a little earlier may store its report a little later; the next one is right again.
    wait_until(
        lambda: volume in breached() and stored(cloud, volume)["standing"] == "breached", seconds=30, what="the row"
    )
    row = stored(cloud, volume)
    assert row["achieved_rpo_seconds"] > row["rpo_seconds"] == 60


def stored(cloud: LocalCloud, resource: str) -> dict[str, Any]:
    """The row of a resource in the report that is in the bucket."""
    s3 = cloud.client("s3", cloud.recovery_region)
    bucket = cloud.stack_outputs("recovery")["BucketName"]
    report = json.loads(s3.get_object(Bucket=bucket, Key="reports/latest.json")["Body"].read())
    [row] = [row for row in report["objectives"] if row["resource"] == resource]
    return dict(row)
