"""What the template says about how the functions are run: the suite runs them by these figures, not by its own."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parents[2]
_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One Lambda function. `retries` are those of asynchronous invocations, `queue` and `batch` are of its mapping."""

    name: str
    folder: str
    timeout: timedelta
    retries: int
    queue: str
    batch: int

    @property
    def service(self) -> str:
        """Its name in logs and metrics."""
        return Path(self.folder).name


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One SQS queue that feeds a function."""

    name: str
    is_fifo: bool
    visibility: timedelta
    receives: int
    dead_letters: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """The template, as far as running the functions goes. `intervals` are those of the schedules."""

    functions: Mapping[str, Function]
    queues: Mapping[str, Queue]
    patterns: Mapping[str, Any]
    intervals: Mapping[str, timedelta]


@cache
def read_template() -> dict[str, Any]:
    """template.yaml as it is written."""
    template: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
    return template


@cache
def read_deployment() -> Deployment:
    """Read template.yaml."""
    template = read_template()
    resources: dict[str, Any] = template["Resources"]
    defaults = template["Globals"]["Function"]
    of_type = {
        kind: {name: each["Properties"] for name, each in resources.items() if each["Type"] == kind}
        for kind in ("AWS::Serverless::Function", "AWS::SQS::Queue", "AWS::Events::Rule")
    }
    functions = {
        name: _function(name, {**defaults, **properties})
        for name, properties in of_type["AWS::Serverless::Function"].items()
    }
    return Deployment(
        functions=functions,
        queues={
            name: _queue(name, properties)
            for name, properties in of_type["AWS::SQS::Queue"].items()
            if name in {each.queue for each in functions.values()}
        },
        patterns={name: properties["EventPattern"] for name, properties in of_type["AWS::Events::Rule"].items()},
        intervals={
            name: _interval(template["Parameters"][f"{name}Schedule"]["Default"])
            for name in ("Tick", "Sweep", "Prune", "Report", "RecoverySweep", "Drill")
        },
    )


def _function(name: str, properties: Mapping[str, Any]) -> Function:
    mappings = [each["Properties"] for each in properties.get("Events", {}).values() if each["Type"] == "SQS"]
    assert all(each["FunctionResponseTypes"] == ["ReportBatchItemFailures"] for each in mappings)
    return Function(
        name=name,
        folder=properties["CodeUri"].rstrip("/"),
        timeout=timedelta(seconds=properties["Timeout"]),
        retries=properties.get("EventInvokeConfig", {}).get("MaximumRetryAttempts", 2),
        queue=mappings[0]["Queue"]["Fn::GetAtt"][0] if mappings else "",
        batch=mappings[0]["BatchSize"] if mappings else 0,
    )


def _queue(name: str, properties: Mapping[str, Any]) -> Queue:
    return Queue(
        name=name,
        is_fifo=properties.get("FifoQueue", False),
        visibility=timedelta(seconds=properties["VisibilityTimeout"]),
        receives=properties["RedrivePolicy"]["maxReceiveCount"],
        dead_letters=properties["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0],
    )


def _interval(schedule: str) -> timedelta:
    found = _RATE.fullmatch(schedule)
    assert found is not None, f"{schedule} is no rate"
    return timedelta(**{f"{found[2]}s": int(found[1])})
