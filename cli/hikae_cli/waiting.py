"""What waits in a site's queues, decoded: jobs, wake-ups, runs that failed, deliveries that did not arrive.

Pure: a message comes in as SQS gives it, and goes out as words and as where it has to go to be done after all.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from hikae.domain.jobs import JobError, read_job
from hikae.domain.model import SiteRole
from hikae.domain.naming import format_time, queue_name
from hikae_cli.plan_changes import Site

_BOTH: Final = frozenset(SiteRole)
_PRIMARY: Final = frozenset({SiteRole.PRIMARY})
_RECOVERY: Final = frozenset({SiteRole.RECOVERY})
_WAKE_GROUP: Final = "copies"
"""The one message group of the queue that wakes the copying, as the template has it."""


class Holds(StrEnum):
    """What the messages of a queue are."""

    JOBS = "jobs"
    WAKES = "wakes"
    RUNS = "runs"
    DELIVERIES = "deliveries"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteQueue:
    """A queue that the template makes; `source` is the queue whose dead letters it takes.

    A queue with `is_work` is taken from by a function: each look into it counts as one of a message's five receives.
    """

    name: str
    sites: frozenset[SiteRole]
    holds: Holds
    source: str = ""
    is_work: bool = False


QUEUES: Final = (
    SiteQueue(name="snapshot-jobs", sites=_PRIMARY, holds=Holds.JOBS, is_work=True),
    SiteQueue(name="snapshot-jobs-dead-letters", sites=_PRIMARY, holds=Holds.JOBS, source="snapshot-jobs"),
    SiteQueue(name="image-jobs", sites=_PRIMARY, holds=Holds.JOBS, is_work=True),
    SiteQueue(name="image-jobs-dead-letters", sites=_PRIMARY, holds=Holds.JOBS, source="image-jobs"),
    SiteQueue(name="wake.fifo", sites=_RECOVERY, holds=Holds.WAKES, is_work=True),
    SiteQueue(name="wake-dead-letters.fifo", sites=_RECOVERY, holds=Holds.WAKES, source="wake.fifo"),
    SiteQueue(name="failed-runs", sites=_BOTH, holds=Holds.RUNS),
    SiteQueue(name="schedule-dead-letters", sites=_BOTH, holds=Holds.DELIVERIES),
    SiteQueue(name="event-dead-letters", sites=_BOTH, holds=Holds.DELIVERIES),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToQueue:
    """Back into a queue of the site, by the name that it has in AWS."""

    name: str
    group: str = ""

    def __str__(self) -> str:
        """As one says it."""
        return f"queue {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToFunction:
    """The function is invoked again, with what it was invoked with."""

    name: str
    payload: str

    def __str__(self) -> str:
        """As one says it."""
        return f"function {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One message. `refusal` says why it cannot go anywhere where there is no `origin`."""

    site: Site
    queue: SiteQueue
    id: str
    sent_at: datetime
    receives: int
    what: str
    body: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    decoded: Mapping[str, Any] = field(default_factory=dict)
    is_late: bool = False
    origin: ToQueue | ToFunction | None = None
    refusal: str = ""


def read_message(message: Mapping[str, Any], *, site: Site, queue: SiteQueue, now: datetime) -> Waiting:
    """What a message of `queue` is, as ReceiveMessage gives it; one that is not understood says so in `what`."""
    system = message.get("Attributes", {})
    attributes = {
        name: str(value.get("StringValue", "")) for name, value in message.get("MessageAttributes", {}).items()
    }
    body = str(message["Body"])
    readers = {Holds.JOBS: _read_job, Holds.WAKES: _read_wake, Holds.RUNS: _read_run, Holds.DELIVERIES: _read_delivery}
    found = readers[queue.holds](body, attributes, site, now)
    origin, refusal = found.origin, found.refusal
    if queue.source:
        name = queue_name(installation=site.installation, site=site.role, queue=queue.source)
        origin, refusal = ToQueue(name=name, group=str(system.get("MessageGroupId", ""))), ""
    elif queue.is_work:
        origin, refusal = None, "it has not been given up: its function takes it by itself"
    return Waiting(
        site=site,
        queue=queue,
        id=str(message["MessageId"]),
        sent_at=datetime.fromtimestamp(int(system.get("SentTimestamp", "0")) / 1000, tz=UTC),
        receives=int(system.get("ApproximateReceiveCount", "0")),
        what=found.what,
        body=body,
        attributes=attributes,
        decoded=found.decoded,
        is_late=found.is_late,
        origin=origin,
        refusal=refusal,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    what: str
    decoded: Mapping[str, Any] = field(default_factory=dict)
    is_late: bool = False
    origin: ToQueue | ToFunction | None = None
    refusal: str = ""


def _read_job(body: str, _: Mapping[str, str], site: Site, now: datetime) -> _Read:
    try:
        job = read_job(body, installation=site.installation, place=site.place)
    except JobError as error:
        return _Read(what=f"no job: {error}", decoded={"problem": str(error)})
    identity = job.identity
    is_late = now > job.deadline
    decoded = {
        "plan": identity.plan,
        "rule": identity.rule,
        "slot": format_time(identity.slot),
        "resource": identity.resource,
        "kind": job.kind.value,
        "deadline": format_time(job.deadline),
        "is_past_deadline": is_late,
    }
    what = f"{identity.plan}/{identity.rule} {format_time(identity.slot)} of {identity.resource}"
    deadline = f"its deadline {format_time(job.deadline)} has passed: it would be reported as missed, not made"
    return _Read(what=f"{what}; {deadline}" if is_late else what, decoded=decoded, is_late=is_late)


def _read_wake(body: str, _: Mapping[str, str], __: Site, ___: datetime) -> _Read:
    event = _object(body)
    if event is None:
        return _Read(what="no wake-up: it is no JSON object", decoded={"problem": "no JSON object"})
    decoded = {"event": event.get("detail-type"), "source": event.get("source"), "time": event.get("time")}
    return _Read(what=f"wake-up by {event.get('detail-type')} of {event.get('time')}", decoded=decoded)


def _read_run(body: str, _: Mapping[str, str], site: Site, __: datetime) -> _Read:
    """A record of Lambda's on-failure destination.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    record = _object(body)
    context = record.get("requestContext") if record else None
    if record is None or not isinstance(context, dict):
        return _Read(what="no record of a failed run", refusal="it does not say what was invoked")
    arn = str(context.get("functionArn", ""))
    answer = record.get("responsePayload")
    error = answer if isinstance(answer, dict) else {}
    said = ": ".join(str(error[key]) for key in ("errorType", "errorMessage") if error.get(key))
    reason = said or str(context.get("condition", "")) or "no reason given"
    decoded = {
        "function": _function_of(arn),
        "condition": context.get("condition"),
        "error": reason,
        "failed_at": record.get("timestamp"),
        "payload": record.get("requestPayload"),
    }
    read = _to_function(arn, json.dumps(record.get("requestPayload")), site)
    return _Read(
        what=f"{_function_of(arn)} failed: {reason}", decoded=decoded, origin=read.origin, refusal=read.refusal
    )


def _read_delivery(body: str, attributes: Mapping[str, str], site: Site, _: datetime) -> _Read:
    """What a schedule or a rule could not deliver; the attributes say why.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
    """
    arn = attributes.get("TARGET_ARN", "")
    sender = attributes.get("SCHEDULE_ARN") or attributes.get("RULE_ARN") or "somebody"
    code, message = attributes.get("ERROR_CODE", "no code"), attributes.get("ERROR_MESSAGE", "no message")
    decoded = {
        "sender": sender,
        "target": arn,
        "error": f"{code}: {message}",
        "scheduled_at": attributes.get("SCHEDULED_TIME"),
        "payload": body,
    }
    what = f"{sender.rpartition('/')[2]} did not reach {arn.rpartition(':')[2] or 'its target'}: {code} {message}"
    service = arn.split(":")[2] if arn.count(":") > 2 else ""  # noqa: PLR2004 - arn:partition:service:…
    if attributes.get("IS_PAYLOAD_TRUNCATED", "false").lower() == "true":
        read = _Read(what="", refusal="what was to be delivered was cut off")
    elif service == "lambda":
        read = _to_function(arn, body, site)
    elif service == "sqs":
        read = _to_queue(arn, site)
    elif service == "events":
        reason = "EventBridge takes AWS's own events from nobody else; the recovery site's next sweep does the same"
        read = _Read(what="", refusal=reason)
    else:
        read = _Read(what="", refusal="it does not say what it was for")
    return _Read(what=what, decoded=decoded, origin=read.origin, refusal=read.refusal)


def _to_function(arn: str, payload: str, site: Site) -> _Read:
    fields = arn.split(":")
    name = _function_of(arn)
    if fields[2:5] != ["lambda", site.place.region, site.place.account] or not name.startswith(_prefix(site)):
        return _Read(what="", refusal=f"{arn or 'what it names'} is not a function of this site")
    if _is_json(payload):
        return _Read(what="", origin=ToFunction(name=name, payload=payload))
    return _Read(what="", refusal="what it was invoked with is not JSON")


def _to_queue(arn: str, site: Site) -> _Read:
    fields = arn.split(":")
    names = {queue_name(installation=site.installation, site=site.role, queue=queue.name) for queue in QUEUES}
    if fields[2:5] != ["sqs", site.place.region, site.place.account] or fields[-1] not in names:
        return _Read(what="", refusal=f"{arn} is not a queue of this site")
    return _Read(what="", origin=ToQueue(name=fields[-1], group=_WAKE_GROUP if fields[-1].endswith(".fifo") else ""))


def _prefix(site: Site) -> str:
    return queue_name(installation=site.installation, site=site.role, queue="")


def _function_of(arn: str) -> str:
    """The function's name: an ARN may go on with a version or an alias."""
    fields = arn.split(":")
    return fields[6] if len(fields) > 6 else arn or "a function"  # noqa: PLR2004 - arn:partition:lambda:region:account:function:name


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def shown_age(age: timedelta) -> str:
    """How long something has waited, in its two largest units: `3d4h`, `2h5m`, `40s`."""
    seconds = max(0, int(age.total_seconds()))
    parts = [("d", seconds // 86400), ("h", seconds // 3600 % 24), ("m", seconds // 60 % 60), ("s", seconds % 60)]
    while len(parts) > 1 and not parts[0][1]:
        parts.pop(0)
    return "".join(f"{number}{unit}" for unit, number in parts[:2])
