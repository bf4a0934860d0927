"""What the deployed functions said: read from their log groups, as an operator would."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

_PREFIX = "/aws/lambda/"
_MOST_ERRORS = 20


def read_log(logs: Any, function: str) -> Iterator[Mapping[str, Any]]:
    """Every JSON line in the log group of `function`; nothing before its first run."""
    for message in _messages(logs, f"{_PREFIX}{function}"):
        try:
            line = json.loads(message)
        except ValueError:
            continue  # START, END and REPORT
        if isinstance(line, dict):
            yield line


def read_errors(logs: Any) -> list[str]:
    """The newest lines of every function in the Region that are errors, or that are not hikae's: a traceback, say."""
    groups = [group["logGroupName"] for group in logs.describe_log_groups(logGroupNamePrefix=_PREFIX)["logGroups"]]
    errors = [
        f"{group.removeprefix(_PREFIX)}: {message.strip()}"
        for group in groups
        for message in _messages(logs, group)
        if not message.startswith(("START ", "END ", "REPORT ", "{")) or '"level":"ERROR"' in message
    ]
    return errors[-_MOST_ERRORS:]


def _messages(logs: Any, group: str) -> Iterator[str]:
    try:
        pages = list(logs.get_paginator("filter_log_events").paginate(logGroupName=group))
    except logs.exceptions.ResourceNotFoundException:
        return
    for page in pages:
        yield from (event["message"] for event in page["events"])


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
