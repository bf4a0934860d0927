"""What Step Functions says of an execution that is over, in words that evidence can keep."""

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from hikae.aws.evidence import StepFunctionsExecutions
from hikae.ports import Unreachable

MACHINE = "arn:aws:states:us-west-2:123456789012:stateMachine:hikae-main-recovery-recover"
EXECUTION = "arn:aws:states:us-west-2:123456789012:execution:hikae-main-recovery-recover:drill-1"
SOMETIME = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def executions(**described: Any) -> StepFunctionsExecutions:
    client = boto3.client("stepfunctions", region_name="us-west-2")
    stubber = Stubber(client)
    answer = {"executionArn": EXECUTION, "stateMachineArn": MACHINE, "startDate": SOMETIME, **described}
    stubber.add_response("describe_execution", answer, {"executionArn": EXECUTION})
    stubber.activate()
    return StepFunctionsExecutions(client, state_machine_arn=MACHINE)


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"status": "ABORTED", "cause": "hikae drill stop by me"}, "it was stopped: hikae drill stop by me"),
        ({"status": "ABORTED"}, "it was stopped"),
        ({"status": "TIMED_OUT"}, "it took longer than a run may"),
        ({"status": "FAILED", "error": "NotRecorded", "cause": "x"}, "its execution failed: NotRecorded: x"),
        ({"status": "RUNNING"}, ""),
        ({"status": "SUCCEEDED"}, ""),
    ],
)
def test_how_an_execution_ended(described: dict[str, str], said: str) -> None:
    assert executions(**described).how_it_ended("drill-1") == said


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("RUNNING", "under-way"),
        ("PENDING_REDRIVE", "under-way"),
        ("SUCCEEDED", "over"),
        ("FAILED", "over"),
        ("ABORTED", "over"),
        ("TIMED_OUT", "over"),
    ],
)
def test_how_far_an_execution_is(status: str, state: str) -> None:
    assert executions(status=status).state("drill-1") == state


def test_an_execution_that_does_not_show_is_neither_under_way_nor_over() -> None:
    client = boto3.client("stepfunctions", region_name="us-west-2")
    stubber = Stubber(client)
    stubber.add_client_error("describe_execution", "ExecutionDoesNotExist", http_status_code=400)
    stubber.activate()
    assert StepFunctionsExecutions(client, state_machine_arn=MACHINE).state("drill-1") == "unknown"


@pytest.mark.parametrize(("code", "says_nothing"), [("ExecutionDoesNotExist", True), ("InternalFailure", False)])
def test_one_that_nobody_knows_any_more_ended_somehow_and_one_that_nobody_can_see_is_unknown(
    code: str,
    says_nothing: bool,  # noqa: FBT001 - a table's column
) -> None:
    client = boto3.client("stepfunctions", region_name="us-west-2")
    stubber = Stubber(client)
    stubber.add_client_error("describe_execution", code, http_status_code=400 if says_nothing else 500)
    stubber.activate()
    known = StepFunctionsExecutions(client, state_machine_arn=MACHINE)
    if says_nothing:
        assert known.how_it_ended("drill-1") == ""
    else:
        with pytest.raises(Unreachable):
            known.how_it_ended("drill-1")
