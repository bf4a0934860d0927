"""What the deployed functions said: read from their log groups, as an operator would."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def read_log(logs: Any, function: str) -> Iterator[Mapping[str, Any]]:
    """Every JSON line in the log group of `function`, in the order of its streams; nothing before its first run."""
    group = f"/aws/lambda/{function}"
    try:
        pages = list(logs.get_paginator("filter_log_events").paginate(logGroupName=group))
    except logs.exceptions.ResourceNotFoundException:
        return
    for page in pages:
        for event in page["events"]:
            try:
                line = json.loads(event["message"])
            except ValueError:
                continue  # START, END and REPORT
            if isinstance(line, dict):
                yield line


def count_runs(logs: Any, function: str, *, message: str) -> int:
    """How often `function` has said that it is done."""
    return sum(line.get("message") == message for line in read_log(logs, function))


def reasons_of_expiry(logs: Any, function: str) -> dict[str, str]:
    """By point: why prune deleted it."""
    reasons = {}
    for line in read_log(logs, function):
        if line.get("message") == "expire" and line.get("reasons"):
            reasons[str(line["point"]).split("/")[0]] = "; ".join(line["reasons"])
    return reasons
