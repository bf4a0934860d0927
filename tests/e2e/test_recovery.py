"""The deployed application rehearses a recovery: a group is drilled by the state machine, and nothing of it is left."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from local.cloud import LocalCloud
from local.demo.journal import read_log
from tests.e2e.drilled_group import (
    KEEPSAKE,
    SECRET,
    Group,
    ended,
    evidence_of,
    groups_left,
    leftovers,
    record_of,
    run,
    wait_for,
)

pytestmark = pytest.mark.e2e

TIME_LIMIT_SECONDS = 20


def history_of(cloud: LocalCloud, arn: str) -> str:
    """What Step Functions keeps of an execution."""
    client = cloud.client("stepfunctions", cloud.recovery_region)
    pages = client.get_paginator("get_execution_history").paginate(executionArn=arn)
    return json.dumps([event for page in pages for event in page["events"]], default=str)


def test_a_group_is_drilled_proven_recorded_and_gone(cloud: LocalCloud, group: Group) -> None:
    arn = run(cloud, "drill-till-1", mode="drill", before=group.between)
    status = wait_for(lambda: ended(cloud, arn), seconds=420)
    evidence = evidence_of(cloud, "drill-till-1")
    assert evidence, f"{status}, and no evidence: {history_of(cloud, arn)[-4000:]}"
    record = json.loads(evidence["record"])
    assert (status, record["outcome"]) == ("SUCCEEDED", "succeeded"), evidence["record"]
    assert {member["resource"] for member in record["members"]} == set(group.instances)
    assert record["rto_met"] is True
    assert all(probe["state"] == "passed" for member in record["members"] for probe in member["probes"])
    assert [*leftovers(cloud), *groups_left(cloud)] == []
    key = load_der_public_key(base64.b64decode(evidence["public_key"]))
    assert isinstance(key, EllipticCurvePublicKey)
    key.verify(base64.b64decode(evidence["signature"]), evidence["record"].encode(), ECDSA(SHA256()))


def test_user_data_is_in_no_history(cloud: LocalCloud, group: Group) -> None:
    arn = cloud.stack_outputs("recovery")["RecoverMachineArn"].replace(":stateMachine:", ":execution:")
    text = history_of(cloud, f"{arn}:drill-till-1")
    assert "PASSWORD" not in text
    assert base64.b64encode(SECRET.encode()).decode() not in text


def test_a_drill_that_is_stopped_by_hand_is_swept_and_recorded(cloud: LocalCloud, group: Group) -> None:
    arn = run(cloud, "drill-till-2", mode="drill")
    wait_for(lambda: leftovers(cloud) or ended(cloud, arn), seconds=120)
    assert leftovers(cloud), history_of(cloud, arn)[-4000:]
    cloud.client("stepfunctions", cloud.recovery_region).stop_execution(executionArn=arn)
    record = wait_for(lambda: record_of(cloud, "drill-till-2"), seconds=300)
    assert "it was stopped" in record["failure"]
    wait_for(lambda: [*leftovers(cloud), *groups_left(cloud)] == [], seconds=60)


def test_a_drill_that_runs_out_of_time_is_swept_and_recorded(cloud: LocalCloud, group: Group) -> None:
    """The rule on the status change tears it down at once, and the next sweep records it."""
    states = cloud.client("stepfunctions", cloud.recovery_region)
    machine = cloud.stack_outputs("recovery")["RecoverMachineArn"]
    definition = json.loads(states.describe_state_machine(stateMachineArn=machine)["definition"])
    assert definition["TimeoutSeconds"] > TIME_LIMIT_SECONDS
    # As it is deployed, but for the time, and it comes to no end by itself.
    endless = {
        "AfterProbe": {"Type": "Pass", "Next": "WaitProbe"},
        "WaitProbe": {"Type": "Wait", "Seconds": 10, "Next": "Probe"},
    }
    hurried = {**definition, "TimeoutSeconds": TIME_LIMIT_SECONDS, "States": {**definition["States"], **endless}}
    with switched_off(cloud, "RecoverySweepTimer"):
        states.update_state_machine(stateMachineArn=machine, definition=json.dumps(hurried))
        try:
            arn = run(cloud, "drill-till-3", mode="drill", before=group.between)
            wait_for(lambda: leftovers(cloud), seconds=TIME_LIMIT_SECONDS)
            assert wait_for(lambda: ended(cloud, arn), seconds=60) == "TIMED_OUT"
        finally:
            states.update_state_machine(stateMachineArn=machine, definition=json.dumps(definition))
        wait_for(lambda: leftovers(cloud) == [], seconds=60)  # nobody but the rule can have done that
        record = wait_for(lambda: _sweep(cloud) and record_of(cloud, "drill-till-3"), seconds=120)
    assert record["outcome"] == "failed"
    assert "it took longer than a run may" in record["failure"]
    assert {"i", "sg"} <= {each.partition("-")[0] for each in record["torn_down"]}
    assert groups_left(cloud) == []


def _sweep(cloud: LocalCloud) -> bool:
    """Every sweep goes on where the last one waited for something to be gone."""
    cloud.invoke("Recover", {"step": "sweep"}, site="recovery")
    return True


@contextmanager
def switched_off(cloud: LocalCloud, logical_id: str) -> Iterator[None]:
    """A schedule of the recovery site does not fire while this lasts."""
    scheduler, name = cloud.client("scheduler", cloud.recovery_region), cloud.resource("recovery", logical_id)
    schedule = scheduler.get_schedule(Name=name)
    known = {key: schedule[key] for key in ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target")}
    scheduler.update_schedule(**known, State="DISABLED")
    try:
        yield
    finally:
        scheduler.update_schedule(**known, State="ENABLED")


def test_what_a_restore_would_lack_is_looked_for_by_schedule_logged_and_an_alarm(
    cloud: LocalCloud, group: Group
) -> None:
    scheduler = cloud.client("scheduler", cloud.recovery_region)
    schedule = scheduler.get_schedule(Name=cloud.resource("recovery", "ReadinessTimer"))
    assert schedule["ScheduleExpression"] == "rate(1 day)"
    known = {key: schedule[key] for key in ("Name", "FlexibleTimeWindow", "Target")}
    # It is due at once: its last time was when it was made.
    scheduler.update_schedule(**known, ScheduleExpression="rate(1 minute)")
    logs, name = cloud.client("logs", cloud.recovery_region), cloud.resource("recovery", "Recover")

    def found() -> dict[str, dict[str, Any]]:
        lines = [line for line in read_log(logs, name) if "remedy" in line]
        return {line["what"]: dict(line) for line in lines if set(line["resources"]) & {*group.instances, ""}}

    expected = f"key pair {KEEPSAKE} is not in this Region"
    try:
        wait_for(lambda: any(what.startswith(expected) for what in found()), seconds=90)
    finally:
        scheduler.update_schedule(**known, ScheduleExpression=schedule["ScheduleExpression"])
    [line] = [line for what, line in found().items() if what.startswith(expected)]
    assert (line["level"], line["resources"]) == ("ERROR", group.instances[:1])
    assert "hikae ready --import-keys" in line["remedy"]
    alarm = cloud.resource("recovery", "ReadinessGaps")
    cloudwatch = cloud.client("cloudwatch", cloud.recovery_region)

    def state() -> str:
        return str(cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"][0]["StateValue"])

    wait_for(lambda: state() == "ALARM", seconds=30)
