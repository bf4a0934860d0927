"""The question that goes to the function inside the drills' network, and what is made of its answer."""

import io
import json
from typing import Any

import pytest

from hikae.aws.recovery import AwsProber
from hikae.domain.runs import ProbeResult
from hikae.runtime.connecting import connect


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
        return {"Payload": io.BytesIO(json.dumps(connect(event)).encode())}


def prober(functions: Functions) -> AwsProber:
    unused: Any = None
    client: Any = functions
    return AwsProber(unused, ssm=lambda: unused, functions=lambda: client, function_name="probe-network")


@pytest.mark.parametrize("kind", ["tcp", "http", "https"])
def test_a_probe_is_asked_as_the_plan_has_it_and_a_refused_connection_is_no_pass(kind: str) -> None:
    functions = Functions()
    value = "1" if kind == "tcp" else "1/health"
    probe = ProbeResult(kind=kind, value=value, status="204", expected="ok")
    has_passed, detail = prober(functions).connect("127.0.0.1", probe)
    assert not has_passed
    assert detail.startswith("ConnectionRefusedError")
    assert functions.asked == [
        {"address": "127.0.0.1", "kind": kind, "value": value, "status": "204", "expected": "ok"}
    ]


def test_a_function_that_fails_is_no_pass_either() -> None:
    answer = prober(Functions(fails=True)).connect("10.255.0.9", ProbeResult(kind="tcp", value="443"))
    assert answer == (False, "the probe function failed: Unhandled")
