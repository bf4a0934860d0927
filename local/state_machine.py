"""Plays a state machine's definition in this process: its tasks are calls, its waits are given to whoever plays it.

Only what `statemachines/` uses of the Amazon States Language (https://states-language.net/spec.html), and anything else
is an error: Task with Parameters, ResultPath, TimeoutSeconds, Retry and Catch of `States.ALL`; Choice of equal strings;
Wait; Pass; Succeed; Fail; TimeoutSeconds of the whole. A wait of a retry is its interval without jitter.
"""

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

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


class Way(NamedTuple):
    """One way out of a state: by which of its fields, and where to. The machine's own timeout leads nowhere."""

    state: str
    by: str
    to: str


def ways_of(definition: Mapping[str, Any]) -> list[Way]:
    """Every way that there is through a definition: each Next, Retry, Catch, branch, Default and TimeoutSeconds."""
    found = [Way("", "TimeoutSeconds", "")] if "TimeoutSeconds" in definition else []
    for state, body in definition["States"].items():
        if "Next" in body:
            found.append(Way(state, "Next", body["Next"]))
        found.extend(Way(state, _branch(rule), rule["Next"]) for rule in body.get("Choices", ()))
        if "Default" in body:
            found.append(Way(state, "Default", body["Default"]))
        if "TimeoutSeconds" in body:
            found.append(Way(state, "TimeoutSeconds", state))
        found.extend(Way(state, "Retry", state) for _ in body.get("Retry", ()))
        found.extend(Way(state, "Catch", catch["Next"]) for catch in body.get("Catch", ()))
    return found


def _branch(rule: Mapping[str, Any]) -> str:
    return f"{rule['Variable']} is {rule['StringEquals']}"


class Stopped(Exception):  # noqa: N818 - StopExecution is no error of the machine
    """Somebody stopped the execution: no Catch runs."""


Playing = Generator[float, None, str]
"""An execution under way: the seconds that it waits now, zero before each task; in the end its status."""
_Left = Generator[float, None, tuple[str, str, Any]]
"""A state under way; in the end by which of its fields it is left, where to, and with which data."""


class _OutOfTime(Exception):  # noqa: N818 - no error of the machine either
    """The execution has lasted longer than its TimeoutSeconds: no Catch runs."""


@dataclass(slots=True, kw_only=True)
class Player:
    """One execution. `call` is the function behind every task; what it raises is retried and caught as on AWS.

    Time is `now`'s: a call that takes longer than its state's TimeoutSeconds has been carried out all the same, and
    nobody takes its answer.
    """

    name: str
    call: Callable[[dict[str, Any]], Any]
    wait: Callable[[float], None]
    now: Callable[[], datetime]
    definition: Mapping[str, Any] = field(default_factory=lambda: yaml.safe_load(DEFINITION.read_text()))
    visited: list[str] = field(default_factory=list)
    taken: set[Way] = field(default_factory=set)
    _ends_at: datetime = field(init=False)

    def play(self, given: dict[str, Any]) -> str:
        """Run to the end: `SUCCEEDED`, `FAILED` or `TIMED_OUT`.

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
        self._ends_at = self.now() + timedelta(seconds=self.definition["TimeoutSeconds"])
        try:
            return (yield from self._play(given))
        except _OutOfTime:
            self.taken.add(Way("", "TimeoutSeconds", ""))
            return "TIMED_OUT"

    def _play(self, given: dict[str, Any]) -> Playing:
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
            came_from = state
            by, state, data = yield from getattr(self, f"_{body['Type'].lower()}")(state, body, data, context)
            self.taken.add(Way(came_from, by, state))

    def _pass(self, _: str, body: Mapping[str, Any], data: Any, context: Any) -> _Left:
        yield from ()
        return "Next", body["Next"], _fill(body["Parameters"], data, context)

    def _wait(self, _: str, body: Mapping[str, Any], data: Any, context: Any) -> _Left:
        yield from self._let_pass(_get(body["SecondsPath"], data, context))
        return "Next", body["Next"], data

    def _choice(self, _: str, body: Mapping[str, Any], data: Any, context: Any) -> _Left:
        yield from ()
        for rule in body["Choices"]:
            if _get(rule["Variable"], data, context) == rule["StringEquals"]:
                return _branch(rule), rule["Next"], data
        return "Default", body["Default"], data

    def _task(self, state: str, body: Mapping[str, Any], data: Any, context: Any) -> _Left:
        yield from self._let_pass(0)
        [retry] = body["Retry"]
        assert retry["ErrorEquals"] == ["States.ALL"]
        interval = retry["IntervalSeconds"]
        for attempt in range(retry["MaxAttempts"] + 1):
            result, error = self._attempt(state, body, _fill(body["Parameters"], data, context))
            if error is None:
                return "Next", body["Next"], _put(body["ResultPath"], data, result)
            if attempt < retry["MaxAttempts"]:
                self.taken.add(Way(state, "Retry", state))
                yield from self._let_pass(min(interval, retry["MaxDelaySeconds"]))
                interval *= retry["BackoffRate"]
        [catch] = body["Catch"]
        assert catch["ErrorEquals"] == ["States.ALL"]
        return "Catch", catch["Next"], _put(catch["ResultPath"], data, error)

    def _attempt(self, state: str, body: Mapping[str, Any], event: Any) -> tuple[Any, dict[str, str] | None]:
        """What the function answers, or the error as Step Functions hands it to a Catch.

        A function's exception is JSON in Cause (https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html);
        the Cause of States.Timeout has been seen empty on AWS, and so it is here.
        """
        began_at = self.now()
        try:
            result = self.call(event)
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 - States.ALL
            cause = {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": []}
            return None, {"Error": type(error).__name__, "Cause": json.dumps(cause)}
        if self.now() - began_at > timedelta(seconds=body["TimeoutSeconds"]):
            self.taken.add(Way(state, "TimeoutSeconds", state))
            return None, {"Error": "States.Timeout", "Cause": ""}
        return result, None

    def _let_pass(self, seconds: float) -> Generator[float, None, None]:
        left = (self._ends_at - self.now()).total_seconds()
        if seconds >= left:
            yield max(left, 0)
            raise _OutOfTime
        yield seconds


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
