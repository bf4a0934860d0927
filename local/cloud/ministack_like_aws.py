"""ministack, and what AWS does by itself and ministack does not: metrics, alarms, timeouts, and the loss of a Region.

This is the one module that runs in ministack's own environment: `.tools/ministack/bin/python -P ministack_like_aws.py`.
ministack 1.5.33 keeps metrics and alarms, but publishes nothing about queues, reads no embedded metric format, counts
no error of a function that a queue, a schedule or an event runs, and judges an alarm by every metric of its name,
whatever the dimensions, and never by a missing value. It lets an execution of a state machine run for ever, and has one
address for all Regions, so that none of them can be lost. That is put right here, inside its process: no call from
outside can. It is pinned exactly; what is replaced is looked up by name, so that another version fails at the start and
not in silence. Each rule names the page that it is from.
"""

# ruff: noqa: SLF001 - there is no public way to any of this

import itertools
import json
import logging
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hypercorn.protocol import h11
from ministack import app
from ministack.core import responses
from ministack.services import cloudwatch, cloudwatch_logs, lambda_svc, sqs, stepfunctions
from ministack.services.cloudformation import changesets, engine, handlers, stacks

log = logging.getLogger("ministack_like_aws")

_LOOK_EVERY_SECONDS = 1.0
_GAUGES_FRESH_SECONDS = 30.0
"""AWS publishes a queue's metrics every minute. A change is published at once here, to be waited for less."""

_OK = 200
_ENDS_AT = "hikae:endsAt"
"""Where the time is kept at which an execution has taken too long, with all else that ministack knows of it."""

_OUT_OF_ORDER = 600.0
"""How many seconds late a value may come and still be judged."""


def main() -> None:
    _replace(cloudwatch, "_evaluate_alarm", evaluate_alarm)
    append = cloudwatch_logs._append_log_events

    def append_and_measure(stream: Any, events: list[dict[str, Any]]) -> Any:
        answer = append(stream, events)
        for event in events:
            read_embedded_metrics(event.get("message", ""))
        return answer

    _replace(cloudwatch_logs, "_append_log_events", append_and_measure)
    execute = lambda_svc._execute_function_dispatch

    def execute_and_count(func: Any, config: Mapping[str, Any], *rest: Any) -> Any:
        result: Mapping[str, Any] = {"error": True}
        began = time.time()
        try:
            result = execute(func, config, *rest)
        finally:
            count_invocation(config["FunctionName"], is_error=bool(result.get("error")), seconds=time.time() - began)
        return result

    _replace(lambda_svc, "_execute_function_dispatch", execute_and_count)
    _replace(lambda_svc, "_emit_lambda_metrics", _count_throttle)
    evaluate_conditions = engine._evaluate_conditions

    def evaluate_all_conditions(template: dict[str, Any], parameters: dict[str, Any]) -> Any:
        conditions = {name: _literal(body, parameters) for name, body in template.get("Conditions", {}).items()}
        return evaluate_conditions({**template, "Conditions": conditions}, parameters)

    for module in (engine, changesets, handlers, stacks):
        _replace(module, "_evaluate_conditions", evaluate_all_conditions)
    start = stepfunctions._start_execution
    _replace(stepfunctions, "_start_execution", lambda data: start_with_time_limit(start, data))
    _refuse_lost_region()
    threading.Thread(target=_look_for_ever, daemon=True).start()
    app.main()


def _replace(module: Any, name: str, by: Any) -> None:
    if not hasattr(module, name):
        message = f"{module.__name__} has no {name}: this is not the version of ministack that is put right here"
        raise SystemExit(message)
    setattr(module, name, by)


# --- metrics ----------------------------------------------------------------------------------------------------------


def read_embedded_metrics(message: str) -> None:
    """Store the metrics of a log line in the embedded metric format; any other line says nothing.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    if '"_aws"' not in message:
        return
    try:
        document = json.loads(message)
        directives = document["_aws"]["CloudWatchMetrics"]
        moment = document["_aws"]["Timestamp"] / 1000
        for directive in directives:
            for names in directive["Dimensions"]:
                dimensions = {name: str(document[name]) for name in names}
                for metric in directive["Metrics"]:
                    value = document[metric["Name"]]
                    values = [float(each) for each in (value if isinstance(value, list) else [value])]
                    unit = metric.get("Unit", "None")
                    _store(directive["Namespace"], metric["Name"], dimensions, moment, unit, values)
    except (ValueError, LookupError, TypeError) as error:
        # As on AWS, where such a line is kept and gives no metric.
        log.warning("a log line in the embedded metric format is not understood: %r", error)


def _store(  # noqa: PLR0917 - the parts of a datum
    namespace: str, name: str, dimensions: Mapping[str, str], moment: float, unit: str, values: list[float]
) -> None:
    cloudwatch._store_datum(namespace, name, dict(dimensions), moment, unit, None, values, None, None)


def count_invocation(function: str, *, is_error: bool, seconds: float) -> None:
    """Publish what AWS/Lambda has of one attempt to run a function, whoever asked for it.

    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
    """
    now, dimensions = time.time(), {"FunctionName": function}
    _store("AWS/Lambda", "Invocations", dimensions, now, "Count", [1.0])
    _store("AWS/Lambda", "Errors", dimensions, now, "Count", [float(is_error)])
    _store("AWS/Lambda", "Duration", dimensions, now, "Milliseconds", [seconds * 1000])


def _count_throttle(function: str, *, throttle: Any, **_: Any) -> None:
    """In place of ministack's own count, which takes every asynchronous run for a success."""
    if throttle:
        _store("AWS/Lambda", "Throttles", {"FunctionName": function}, time.time(), "Count", [1.0])


class QueueMeter:
    """Publishes what AWS/SQS has of every queue of the Region of the current request.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    """

    def __init__(self) -> None:
        self._published: dict[tuple[str, str, str], tuple[float, Mapping[str, float]]] = {}

    def measure(self, account: str, region: str) -> None:
        now = time.time()
        for url, queue in list(sqs._queues.items()):
            name = url.rpartition("/")[2]
            sqs._refresh_counts(queue)
            attributes = queue["attributes"]
            messages = list(queue["messages"])
            oldest = min((message.get("sent_at", now) for message in messages), default=now)
            counts = {
                "ApproximateNumberOfMessagesVisible": float(attributes["ApproximateNumberOfMessages"]),
                "ApproximateNumberOfMessagesNotVisible": float(attributes["ApproximateNumberOfMessagesNotVisible"]),
                "ApproximateNumberOfMessagesDelayed": float(attributes["ApproximateNumberOfMessagesDelayed"]),
            }
            published_at, published = self._published.get((account, region, name), (0.0, {}))
            if counts == published and now - published_at < _GAUGES_FRESH_SECONDS:
                continue
            self._published[account, region, name] = (now, counts)
            for metric, value in counts.items():
                _store("AWS/SQS", metric, {"QueueName": name}, now, "Count", [value])
            _store("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": name}, now, "Seconds", [now - oldest])


# --- alarms -----------------------------------------------------------------------------------------------------------


def evaluate_alarm(alarm: dict[str, Any]) -> None:
    """Judge one alarm on one metric by its own dimensions, period by period, missing values included.

    AWS also looks at some periods before those, how many it does not say, and takes values from there where recent ones
    are missing; so there an alarm on silence fires up to that much later.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
    """
    if not alarm.get("Namespace") or not alarm.get("MetricName"):
        return
    values = list(_values_of(alarm))
    needed = alarm.get("DatapointsToAlarm") or len(values)
    present = [value for value in values if value is not None]
    breaching = sum(_is_breaching(alarm, value) for value in present)
    missing = len(values) - len(present)
    treat = alarm.get("TreatMissingData") or "missing"
    if breaching + (missing if treat == "breaching" else 0) >= needed:
        state = "ALARM"
    elif present or treat in {"breaching", "notBreaching"}:
        state = "OK"
    elif treat == "missing":
        state = "INSUFFICIENT_DATA"
    else:
        return
    shown = ", ".join("missing" if value is None else f"{value:g}" for value in values)
    reason = (
        f"{alarm.get('Statistic')} of {alarm['MetricName']}: {shown} (newest first), {alarm['ComparisonOperator']} "
    )
    _move(alarm, state, f"{reason}{alarm.get('Threshold')}, missing values are {treat}")


def _values_of(alarm: Mapping[str, Any]) -> Iterator[float | None]:
    """The statistic of each period, the newest first; None where there was no value."""
    key = (alarm["Namespace"], alarm["MetricName"], cloudwatch._dims_key(_dimensions_of(alarm)))
    period, now = int(alarm.get("Period", 60)), time.time()
    begin = now - period * int(alarm.get("EvaluationPeriods", 1))
    # A cloud may run for days: only as much is read as is judged, and what may have come out of order.
    points = list(itertools.takewhile(lambda each: each["Timestamp"] > begin - _OUT_OF_ORDER, _newest_first(key)))
    statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic", "Average")
    for number in range(int(alarm.get("EvaluationPeriods", 1))):
        end = now - number * period
        inside = [point for point in points if end - period < point["Timestamp"] <= end]
        yield cloudwatch._stat_value(cloudwatch._calc_stats(inside), statistic, inside) if inside else None


def _newest_first(key: tuple[str, str, str]) -> Iterator[dict[str, Any]]:
    yield from reversed(list(cloudwatch._metrics.get(key) or []))


def _dimensions_of(alarm: Mapping[str, Any]) -> dict[str, str]:
    return {each["Name"]: str(each["Value"]) for each in alarm.get("Dimensions") or []}


def _is_breaching(alarm: Mapping[str, Any], value: float) -> bool:
    threshold = float(alarm.get("Threshold", 0))
    return {
        "GreaterThanOrEqualToThreshold": value >= threshold,
        "GreaterThanThreshold": value > threshold,
        "LessThanThreshold": value < threshold,
        "LessThanOrEqualToThreshold": value <= threshold,
    }[alarm["ComparisonOperator"]]


def _move(alarm: dict[str, Any], state: str, reason: str) -> None:
    before = alarm["StateValue"]
    if before == state:
        return
    alarm.update(StateValue=state, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
    cloudwatch._record_history(alarm["AlarmName"], before, state, reason)
    cloudwatch._dispatch_alarm_actions(alarm, before, state, reason)
    cloudwatch._evaluate_parent_alarms(alarm)


def _look_for_ever() -> None:
    """Measure, judge and end without being asked, in every Region that has a queue, an alarm or an execution."""
    meter = QueueMeter()
    while True:
        time.sleep(_LOOK_EVERY_SECONDS)
        try:
            stores = (sqs._queues, cloudwatch._alarms, stepfunctions._executions)
            scopes = {key[:2] for store in stores for key in list(store._data)}
            for account, region in scopes:
                responses._request_account_id.set(account)
                responses._request_region.set(region)
                meter.measure(account, region)
                for alarm in list(cloudwatch._alarms.values()):
                    evaluate_alarm(alarm)
                for execution in list(stepfunctions._executions.values()):
                    end_if_out_of_time(execution)
        except Exception:
            log.exception("metrics, alarms and executions could not be looked at")


# --- templates --------------------------------------------------------------------------------------------------------


def _literal(value: Any, parameters: Mapping[str, Any]) -> Any:
    """A condition with its Fn::Split and Fn::Join worked out, which ministack only knows in resources."""
    if isinstance(value, list):
        return [_literal(each, parameters) for each in value]
    if not isinstance(value, dict):
        return value
    if "Fn::Split" in value:
        separator, text = value["Fn::Split"]
        return str(_parameter(text, parameters)).split(separator)
    if "Fn::Join" in value:
        separator, parts = value["Fn::Join"]
        found = _parameter(parts, parameters)
        members = found if isinstance(found, list) else str(found).split(",")
        return separator.join(str(_parameter(each, parameters)) for each in members)
    return {key: _literal(each, parameters) for key, each in value.items()}


def _parameter(value: Any, parameters: Mapping[str, Any]) -> Any:
    if isinstance(value, dict) and value.get("Ref") in parameters:
        return parameters[value["Ref"]]["Value"]
    return value


# --- state machines ---------------------------------------------------------------------------------------------------


def start_with_time_limit(start: Any, data: dict[str, Any]) -> Any:
    """Start an execution, and keep how long its state machine lets it run at the time of the start."""
    answer = start(data)
    status, _, body = answer
    if status == _OK:
        execution = stepfunctions._executions[json.loads(body)["executionArn"]]
        definition = json.loads(stepfunctions._state_machines[execution["stateMachineArn"]]["definition"])
        execution[_ENDS_AT] = time.time() + definition.get("TimeoutSeconds", float("inf"))
    return answer


def end_if_out_of_time(execution: dict[str, Any]) -> None:
    """End an execution that takes longer than its state machine's TimeoutSeconds. No state of it runs any more.

    "If the state machine runs longer than the specified time, the execution fails with a States.Timeout":
    https://docs.aws.amazon.com/step-functions/latest/dg/statemachine-structure.html. Its status is TIMED_OUT:
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html
    """
    if execution["status"] != "RUNNING" or time.time() < execution.get(_ENDS_AT, float("inf")):
        return
    execution.update(status="TIMED_OUT", error="States.Timeout", stopDate=responses.now_iso())
    stepfunctions._add_event(execution, "ExecutionTimedOut", {"executionTimedOutEventDetails": {}})
    stepfunctions._emit_execution_status_event(execution)


# --- the loss of a Region ---------------------------------------------------------------------------------------------

LOST = "lost-region"
"""The file in the cloud's folder that names the Region that is lost; there is none while all is well."""

_RESET = struct.pack("ii", 1, 0)
_CREDENTIAL = re.compile(r"Credential=[^/%]+(?:/|%2F)\d+(?:/|%2F)(?P<region>[a-z0-9-]+)(?:/|%2F)")


def _refuse_lost_region() -> None:
    """Reset the connection of every request to a Region that is lost, before anything of it is carried out."""
    folder = os.environ.get("HIKAE_CLOUD_FOLDER")
    create_stream = h11.H11Protocol._create_stream

    async def create_stream_unless_lost(protocol: Any, request: Any) -> None:
        lost = _read_lost_region(Path(folder)) if folder else ""
        if not lost or not is_for_region(lost, target=request.target, headers=request.headers):
            await create_stream(protocol, request)
            return
        log.warning("refused, as %s is lost: %s %s", lost, request.method.decode(), request.target.decode())
        writer = protocol.send.__self__.writer
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()

    _replace(h11.H11Protocol, "_create_stream", create_stream_unless_lost)


def _read_lost_region(folder: Path) -> str:
    try:
        return (folder / LOST).read_text()
    except FileNotFoundError:
        return ""


def is_for_region(region: str, *, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request is signed for a Region, or about a bucket whose name ends with it.

    A bucket lives in one Region, and whoever asks for it in another is sent there:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/Redirects.html
    """
    texts = [target.decode("latin1"), *(value.decode("latin1") for name, value in headers if name == b"authorization")]
    if any(found["region"] == region for text in texts for found in _CREDENTIAL.finditer(text)):
        return True
    return re.split(r"[/?]", texts[0].lstrip("/"), maxsplit=1)[0].endswith(f"-{region}")


if __name__ == "__main__":
    main()
