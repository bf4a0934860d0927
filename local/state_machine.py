"""Plays a state machine's definition in this process: its tasks are calls, its waits are given to whoever plays it.

Only what `statemachines/` uses of the Amazon States Language (https://states-language.net/spec.html), and anything else
is an error: Task with Parameters, ResultPath, Retry and Catch of `States.ALL`; Choice of equal strings; Wait; Pass;
Succeed; Fail. A wait of a retry is its interval without jitter.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

DEFINITION = Path(__file__).parents[1] / "statemachines/recover.asl.yaml"

_KNOWN = {
    "Task": {"Type", "Resource", "TimeoutSeconds", "Parameters", "ResultPath", "Retry", "Catch", "Next"},
    "Choice": {"Type", "Choices", "Default"},
    "Wait": {"Type", "SecondsPath", "Next"},
    "Pass": {"Type", "Parameters", "Next"},
    "Succeed": {"Type"},
    "Fail": {"Type", "Error", "Cause"},
}


class Stopped(Exception):  # noqa: N818 - StopExecution is no error of the machine
    """Somebody stopped the execution: no Catch runs."""


Playing = Generator[float, None, str]
"""An execution under way: the seconds that it waits now, zero before each task; in the end its status."""
_State = Generator[float, None, tuple[str, Any]]


@dataclass(slots=True, kw_only=True)
class Player:
    """One execution. `call` is the function behind every task; what it raises is retried and caught as on AWS."""

    name: str
    call: Callable[[dict[str, Any]], Any]
    wait: Callable[[float], None]
    definition: Mapping[str, Any] = field(default_factory=lambda: yaml.safe_load(DEFINITION.read_text()))
    visited: list[str] = field(default_factory=list)

    def play(self, given: dict[str, Any]) -> str:
        """Run to the end: `SUCCEEDED` or `FAILED`.

        Raises:
            Stopped: as `call` or `wait` raised it.
        """
        playing = self.begin(given)
        while True:
            try:
                seconds = next(playing)
            except StopIteration as end:
                status: str = end.value
                return status
            if seconds:
                self.wait(seconds)

    def begin(self, given: dict[str, Any]) -> Playing:
        """Run to the end, leaving it to the caller how time passes: other things may happen during each wait."""
        context = {"Execution": {"Name": self.name, "Id": f"arn:aws:states:::execution:recover:{self.name}"}}
        data: Any = given
        state = self.definition["StartAt"]
        while True:
            self.visited.append(state)
            body = self.definition["States"][state]
            unknown = set(body) - _KNOWN[body["Type"]]
            assert not unknown, f"{state} uses {unknown}, which is not played here"
            if body["Type"] in ("Succeed", "Fail"):
                return "SUCCEEDED" if body["Type"] == "Succeed" else "FAILED"
            state, data = yield from getattr(self, f"_{body['Type'].lower()}")(body, data, context)

    def _pass(self, body: Mapping[str, Any], data: Any, context: Any) -> _State:
        yield from ()
        return body["Next"], _fill(body["Parameters"], data, context)

    def _wait(self, body: Mapping[str, Any], data: Any, context: Any) -> _State:
        yield _get(body["SecondsPath"], data, context)
        return body["Next"], data

    def _choice(self, body: Mapping[str, Any], data: Any, context: Any) -> _State:
        yield from ()
        for rule in body["Choices"]:
            if _get(rule["Variable"], data, context) == rule["StringEquals"]:
                return rule["Next"], data
        return body["Default"], data

    def _task(self, body: Mapping[str, Any], data: Any, context: Any) -> _State:
        yield 0
        [retry] = body["Retry"]
        interval = retry["IntervalSeconds"]
        for attempt in range(retry["MaxAttempts"] + 1):
            try:
                result = self.call(_fill(body["Parameters"], data, context))
            except Stopped:
                raise
            except Exception as error:  # noqa: BLE001 - States.ALL
                if attempt < retry["MaxAttempts"]:
                    yield min(interval, retry["MaxDelaySeconds"])
                    interval *= retry["BackoffRate"]
                    continue
                [catch] = body["Catch"]
                caught = {"Error": type(error).__name__, "Cause": str(error)}
                return catch["Next"], _put(catch["ResultPath"], data, caught)
            return body["Next"], _put(body["ResultPath"], data, result)
        raise AssertionError("the last attempt returns")


def _fill(template: Any, data: Any, context: Any) -> Any:
    if not isinstance(template, dict):
        return template
    return {
        key.removesuffix(".$"): _get(value, data, context) if key.endswith(".$") else _fill(value, data, context)
        for key, value in template.items()
    }


def _get(path: str, data: Any, context: Any) -> Any:
    value = context if path.startswith("$$") else data
    for part in path.lstrip("$").strip(".").split("."):
        value = value[part]
    return value


def _put(path: str, data: Any, value: Any) -> Any:
    return {**data, path.removeprefix("$."): value}
