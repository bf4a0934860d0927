"""The question that goes to the function inside the drills' network, and what is made of its answer."""

import io
import json
from typing import Any

import pytest

from hikae.aws.recovery import AwsProber
from hikae.domain.runs import ProbeResult
from hikae.runtime.connecting import connect_all


class Functions:
    """Lambda with one function: the real one, called in this process as `invoke` would call it."""

    def __init__(self, *, fails: bool = False) -> None:
        self.asked: list[dict[str, Any]] = []
        self._fails = fails

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803 - Lambda's own words
        assert FunctionName == "probe-network"
        event = json.loads(Payload)
        self.asked.append(event)
        if self._fails:
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorMessage": "x"}')}
        return {"Payload": io.BytesIO(json.dumps(connect_all(event)).encode())}


def prober(functions: Functions) -> AwsProber:
    unused: Any = None
    client: Any = functions
    return AwsProber(
        unused, ssm=lambda: unused, sending_ssm=lambda: unused, functions=lambda: client, function_name="probe-network"
    )


@pytest.mark.parametrize("kind", ["tcp", "http", "https"])
def test_a_probe_is_asked_as_the_plan_has_it_and_a_refused_connection_is_no_pass(kind: str) -> None:
    functions = Functions()
    value = "1" if kind == "tcp" else "1/health"
    probe = ProbeResult(kind=kind, value=value, status="204", expected="ok")
    [(has_passed, detail)] = prober(functions).connect([("127.0.0.1", probe)])
    assert not has_passed
    assert detail.startswith("ConnectionRefusedError")
    question = {"address": "127.0.0.1", "kind": kind, "value": value, "status": "204", "expected": "ok"}
    assert functions.asked == [{"questions": [question]}]


def test_a_function_that_fails_is_no_pass_either() -> None:
    probe = ProbeResult(kind="tcp", value="443")
    answers = prober(Functions(fails=True)).connect([("10.255.0.9", probe), ("10.255.0.10", probe)])
    assert answers == [(False, "the probe function failed: Unhandled")] * 2


def test_a_large_group_is_asked_in_parts_and_answered_in_its_order() -> None:
    functions = Functions()
    questions = [("127.0.0.1", ProbeResult(kind="tcp", value=str(port))) for port in range(1, 71)]
    answers = prober(functions).connect(questions)
    assert [len(event["questions"]) for event in functions.asked] == [64, 6]
    assert [answer for answer, _ in answers] == [False] * 70
