"""The event files are what AWS would send, so that `sam local invoke`, `make invoke` and the tests mean the same."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hikae.domain.jobs import JobError, read_job
from hikae.domain.model import Kind, Place
from hikae.domain.naming import parse_time
from tests.template.sites import ACCOUNT, PRIMARY_REGION, RECOVERY_REGION, ROOT

EVENTS = ROOT / "events"
CASES = {
    "schedule_backups": {"tick", "tick-at"},
    "snapshot_volumes": {"instance", "volume", "batch", "past-deadline", "malformed"},
    "build_images": {"no-reboot", "reboot"},
    "copy_recovery_points": {"snapshot-completed", "sweep"},
    "prune_recovery_points": {"run", "dry-run", "all-of-a-lineage"},
    "recover": {"select", "sweep", "start-drills", "check-readiness"},
    "probe_network": {"tcp"},
    "report_objectives": {"report", "report-at"},
}
QUEUED = sorted(
    path for name in ("snapshot_volumes", "build_images", "copy_recovery_points") for path in (EVENTS / name).iterdir()
)
PLACE = Place(account=ACCOUNT, region=PRIMARY_REGION)


def _load(path: Path) -> Any:
    return json.loads(path.read_text())


def _jobs(case: str) -> list[Any]:
    jobs = []
    for record in _load(EVENTS / case)["Records"]:
        try:
            jobs.append(read_job(record["body"], installation="main", place=PLACE))
        except JobError as error:
            jobs.append(error)
    return jobs


def test_every_function_has_its_cases():
    found = {folder.name: {path.stem for path in folder.glob("*.json")} for folder in EVENTS.iterdir()}
    assert found == CASES
    assert set(CASES) == {path.parent.name for path in (ROOT / "functions").glob("*/app.py")}


def test_scheduled_functions_get_an_object_with_nothing_but_what_they_know():
    for name, known in (
        ("schedule_backups", {"now"}),
        ("prune_recovery_points", {"now", "dry_run", "lineage_percent"}),
        ("report_objectives", {"now"}),
    ):
        for path in (EVENTS / name).iterdir():
            event = _load(path)
            assert set(event) <= known
            if "now" in event:
                assert parse_time(event["now"]).tzinfo is not None


@pytest.mark.parametrize("path", QUEUED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_queued_functions_get_records_as_sqs_sends_them(path: Path):
    for record in _load(path)["Records"]:
        assert set(record) == {
            "messageId",
            "receiptHandle",
            "body",
            "attributes",
            "messageAttributes",
            "md5OfBody",
            "eventSource",
            "eventSourceARN",
            "awsRegion",
        }
        assert record["eventSource"] == "aws:sqs"
        assert record["md5OfBody"] == hashlib.md5(record["body"].encode(), usedforsecurity=False).hexdigest()
        assert record["eventSourceARN"].split(":")[3] == record["awsRegion"]
        required = {"ApproximateReceiveCount", "SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp"}
        fifo = {"SequenceNumber", "MessageGroupId", "MessageDeduplicationId"}
        is_fifo = record["eventSourceARN"].endswith(".fifo")
        assert set(record["attributes"]) == required | (fifo if is_fifo else set())
        assert all(isinstance(value, str) for value in record["attributes"].values())
        assert is_fifo == (path.parent.name == "copy_recovery_points")


def test_snapshot_jobs_are_what_their_names_say():
    (instance,) = _jobs("snapshot_volumes/instance.json")
    (volume,) = _jobs("snapshot_volumes/volume.json")
    (past,) = _jobs("snapshot_volumes/past-deadline.json")
    assert (instance.kind, volume.kind) == (Kind.SNAPSHOT_SET, Kind.SNAPSHOT)
    assert past.deadline < datetime(2026, 12, 1, tzinfo=UTC) < datetime(2099, 1, 1, tzinfo=UTC) < instance.deadline
    batch = _jobs("snapshot_volumes/batch.json")
    assert len({job.identity.resource for job in batch}) == len(batch) == 3


def test_a_malformed_batch_holds_one_job_that_can_be_done():
    jobs = _jobs("snapshot_volumes/malformed.json")
    assert [isinstance(job, JobError) for job in jobs] == [True, True, False]


def test_image_jobs_say_whether_to_reboot():
    for case, reboot in (("no-reboot", False), ("reboot", True)):
        (job,) = _jobs(f"build_images/{case}.json")
        assert (job.kind, job.reboot) == (Kind.IMAGE, reboot)


def test_wakes_carry_an_ec2_event_and_a_schedulers_notification():
    (ready,) = _load(EVENTS / "copy_recovery_points/snapshot-completed.json")["Records"]
    (sweep,) = _load(EVENTS / "copy_recovery_points/sweep.json")["Records"]
    event, notification = json.loads(ready["body"]), json.loads(sweep["body"])
    envelope = {"version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"}
    assert set(event) == set(notification) == envelope
    assert (event["source"], event["detail"]["event"]) == ("aws.ec2", "createSnapshot")
    assert event["detail"]["snapshot_id"] in event["resources"]
    assert (notification["source"], notification["region"]) == ("aws.scheduler", RECOVERY_REGION)
