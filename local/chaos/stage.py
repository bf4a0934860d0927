"""The deployed application in one process: the real handlers, and what Scheduler, SQS, EventBridge and Lambda do.

EC2 is the twin; time stands still but for what AWS takes and for what one waits for. Everything that happens happens at
its time: ticks, sweeps and prunes by the template's schedules, messages when they become visible, retries when they are
due. A fault is plotted beforehand for an invocation, and strikes there.
"""

import heapq
import importlib.util
import io
import itertools
import json
import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

import time_machine
from moto.events.models import EventPattern
from moto.sqs.models import sqs_backends

from hikae.domain.model import Region, SiteRole
from hikae.runtime import entry, reporting, wiring
from local.chaos.alarms import Datum, dimensions_of
from local.chaos.machines import standing
from local.chaos.network import DrillNetwork
from local.chaos.runs import Runs
from local.chaos.template import ROOT, Deployment, Function, read_deployment
from local.inprocess import ACCOUNT, PRIMARY, RECOVERY, Installation
from local.twin import faults
from local.twin.clock import ManualClock
from local.twin.events import Envelope
from local.twin.faults import Killed, unaffected
from local.twin.inspection import name_image, name_snapshot

START = datetime(2026, 11, 22, 9, 45, tzinfo=UTC)
LATENCY = timedelta(milliseconds=20)
VOLATILE_TAGS = frozenset({"hikae:attempt", "hikae:copy-attempt", "hikae:source-time"})
SITES = {PRIMARY: SiteRole.PRIMARY, RECOVERY: SiteRole.RECOVERY}
_RETRY_AFTER = (timedelta(minutes=1), timedelta(minutes=2))
"""Lambda's pauses before it runs an asynchronous event again:
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""
TIMED_OUT = "the function has timed out"
_DEPTH = "ApproximateNumberOfMessagesVisible"
_ENVIRONMENT = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

Fault = Callable[[], AbstractContextManager[Any]]
Wanted = Callable[[str, Region, Mapping[str, Any]], bool]
"""Whether an invocation is the one that a fault is meant for: by function, Region and event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One run of a function: how it ended, what it logged, and the metrics that it emitted."""

    function: str
    region: Region
    at: datetime
    answer: Any
    error: str
    lines: tuple[Mapping[str, Any], ...]
    emitted: tuple[Datum, ...]

    @property
    def metrics(self) -> Mapping[str, float]:
        """The sum of every metric, whatever its dimensions."""
        totals: Counter[str] = Counter()
        for datum in self.emitted:
            totals[datum.metric] += datum.value  # type: ignore[assignment] # values are whole numbers but for seconds
        return totals

    @property
    def data(self) -> tuple[Datum, ...]:
        """What CloudWatch gets of it: what the function emitted, and Lambda's own count of errors."""
        errors = Datum(
            site=SITES[self.region],
            namespace="AWS/Lambda",
            metric="Errors",
            dimensions=dimensions_of(FunctionName=self.function),
            at=self.at,
            value=float(bool(self.error)),
        )
        return (*self.emitted, errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """Something that prune deleted: what it was, and how many completed ones like it were left."""

    region: Region
    identity: str
    is_complete: bool
    left: int


@dataclass(slots=True, kw_only=True)
class _Due:
    act: Callable[[], None]
    is_schedule: bool


@dataclass(slots=True)
class _Context:
    """What Lambda hands to a handler beside the event."""

    function_name: str
    ends_at: datetime
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = f"arn:aws:lambda:{PRIMARY}:{ACCOUNT}:function:chaos"
    aws_request_id: str = "52fdfc07-2182-454f-963f-5f0f9a621d72"

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.ends_at - datetime.now(tz=UTC)).total_seconds() * 1000))


Records = list[dict[str, Any]]
Courier = Callable[[str, Records], list[Records]]
"""How a batch of a queue arrives: the batches that Lambda is given for it, in order."""


def deliver_once(_queue: str, records: Records) -> list[Records]:
    """As they are: one batch."""
    return [records]


def deliver_one_by_one(_queue: str, records: Records) -> list[Records]:
    """Each message in a batch of its own."""
    return [[record] for record in records]


Timer = Callable[[str, Callable[[], None]], None]
"""How a schedule's time comes: its name, and what it is to do."""


def fire(_name: str, act: Callable[[], None]) -> None:
    """Once, and in time."""
    act()


class Stage:
    """Both sites of one installation, and time."""

    def __init__(
        self,
        plans: Mapping[str, str],
        *,
        seed: int = 0,
        snapshot_copy_limit: int = 20,
        tick: timedelta | None = None,
        recovers: bool = False,
    ) -> None:
        self._tick_interval = tick or read_deployment().intervals["Tick"]
        self.installation = Installation(now=START, snapshot_copy_limit=snapshot_copy_limit)
        self.deployment: Deployment = read_deployment()
        self.invocations: list[Invocation] = []
        self.removals: list[Removal] = []
        self.failed_runs: list[str] = []
        self.courier: Courier = deliver_once
        self.relay: Callable[[Envelope], None] = self.wake
        self.timer: Timer = fire
        self.current: tuple[str, Mapping[str, Any], Region] | None = None
        self.plans = plans
        self.runs = Runs(self)
        self.made_by_runs: set[str] = set()
        self.foreign_removals: list[str] = []
        self._pruned: set[str] = set()
        self.steps_begun: Counter[str] = Counter()
        self._recovers = recovers
        self._seed = seed
        self._plots: list[tuple[Wanted, Fault]] = []
        self._watches: list[tuple[Wanted, Fault]] = []
        self._due: list[tuple[datetime, int, _Due]] = []
        self._numbers = itertools.count()
        self._deadlines: list[datetime] = []
        self._urls: dict[str, str] = {}
        self._lines: list[Mapping[str, Any]] = []
        self._console = io.StringIO()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        entry.get_looks.cache_clear()  # no execution environment of another stage is still warm
        # Jitter is the product's and botocore's, and the same in every run with the same seed.
        random.seed(self._seed)
        keys = {name: os.environ.get(name, "chaos") for name in _ENVIRONMENT}
        self._stack.enter_context(patch.dict(os.environ, {**keys, "AWS_DEFAULT_REGION": PRIMARY}))
        self._traveller = self._stack.enter_context(time_machine.travel(START, tick=False))
        # Whoever waits in the process waits by this clock: botocore between its attempts, a pacer for its tokens.
        self._stack.enter_context(patch("time.sleep", self.sleep))
        self._stack.enter_context(patch("time.monotonic", self._seconds))
        self._stack.enter_context(self.installation)
        self._stack.enter_context(faults.intercepted(self._answer_invocations))
        self._stack.enter_context(_latency(lambda: self.wait(LATENCY)))
        self.network = DrillNetwork(backend=self.twin.backend, region=RECOVERY, now=lambda: self.now, wait=self.wait)
        self._make_queues()
        self.twin.world.events.subscribe(self.hear)
        handler = _Listener(self._lines)
        logging.getLogger().addHandler(handler)
        self._stack.callback(logging.getLogger().removeHandler, handler)
        for name, text in self.plans.items():
            self.installation.apply(name, text)
        self._plan_schedules()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    # --- time ---------------------------------------------------------------------------------------------------------

    @property
    def twin(self) -> Any:
        """The EC2 twin."""
        return self.installation.twin

    @property
    def now(self) -> datetime:
        """The time."""
        now: datetime = self.twin.clock.now()
        return now

    def wait(self, duration: timedelta) -> None:
        """Let time pass, within an invocation too: Lambda ends one that is still running at its deadline."""
        self.twin.clock.advance(duration)
        self._traveller.move_to(self.now)
        if self._deadlines and self.now >= self._deadlines[-1]:
            raise Killed(TIMED_OUT)

    def sleep(self, seconds: float) -> None:
        """What time.sleep does."""
        self.wait(timedelta(seconds=seconds))

    def _seconds(self) -> float:
        now: datetime = getattr(getattr(self.installation, "twin", None), "clock", ManualClock(START)).now()
        return now.timestamp()

    def run_until(self, moment: datetime) -> None:
        """Let everything happen that is to happen up to `moment`."""
        while True:
            self.deliver()
            times = [self._due[0][0] if self._due else None, self.twin.clock.next_due_at, *self._visible_at()]
            upcoming = min((max(self.now, each) for each in times if each is not None), default=moment)
            if upcoming > moment:
                if moment > self.now:
                    self.wait(moment - self.now)
                return
            if upcoming > self.now:
                self.wait(upcoming - self.now)
            while self._due and self._due[0][0] <= self.now:
                heapq.heappop(self._due)[2].act()

    def during(self, begin: datetime, end: datetime, fault: Fault) -> None:
        """Everything between two moments meets `fault`; one such fault at a time."""
        force = ExitStack()
        self.at(begin, lambda: force.enter_context(fault()))
        self.at(end, force.close)

    def at(self, moment: datetime, act: Callable[[], None], *, is_schedule: bool = False) -> None:
        """Let `act` happen at `moment`."""
        heapq.heappush(self._due, (moment, next(self._numbers), _Due(act=act, is_schedule=is_schedule)))

    @property
    def is_plotted(self) -> bool:
        """Whether a fault is still to come."""
        return bool(self._plots)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way and no fault is still to come: only the schedules will start anything."""
        return (
            not self._plots
            and not self.twin.world.lag
            and not self._is_anything_due_soon()
            and all(due.is_schedule for _, _, due in self._due)
            and not any(self.waiting().values())
        )

    def _is_anything_due_soon(self) -> bool:
        """What EC2 has under way takes minutes; only that it forgets what was terminated is an hour away."""
        due_at = self.twin.clock.next_due_at
        return due_at is not None and due_at - self.now < timedelta(minutes=20)

    # --- the functions ------------------------------------------------------------------------------------------------

    def plot(self, wanted: Wanted, fault: Fault) -> None:
        """The next invocation that is `wanted` meets `fault`."""
        self._plots.append((wanted, fault))

    def is_turn(self, run: str, number: int) -> Wanted:
        """Which invocation is the one of a run that has `number` others before it."""

        def is_meant(_name: str, _region: Region, event: Mapping[str, Any]) -> bool:
            return event.get("run") == run and self.steps_begun[run] == number

        return is_meant

    def watch(self, wanted: Wanted, fault: Fault) -> None:
        """Every invocation that is `wanted` and meets no other fault meets this one, which is to change nothing."""
        self._watches.append((wanted, fault))

    def invoke(self, name: str, event: Mapping[str, Any], *, region: Region) -> Invocation:
        """Run a function once, as a fresh or a warm execution environment would."""
        function = self.deployment.functions[name]
        fault = self._take_plot(name, region, event)
        self.steps_begun[event.get("run", "")] += 1
        began_at, lines_before = self.now, len(self._lines)
        before = self._made() if name == "PruneRecoveryPoints" else {}
        stood = self._standing() if name == "Recover" else {}
        answer, error = None, ""
        printed = io.StringIO()
        outer, self.current = self.current, (name, event, region)
        with ExitStack() as stack:
            stack.enter_context(patch.dict(os.environ, self._environment(function, region)))
            stack.enter_context(redirect_stdout(printed))
            for wanted, watch in self._watches:
                if fault is None and wanted(name, region, event):
                    stack.enter_context(watch())
            if fault is not None:
                stack.enter_context(fault())
            wiring.load_settings.cache_clear()
            reporting.get_logger.cache_clear()
            self._deadlines.append(self.now + function.timeout)
            try:
                context = _Context(function_name=function.service, ends_at=self._deadlines[-1])
                answer = _handler(function.folder)(json.loads(json.dumps(event)), context)
            except Exception as failure:  # noqa: BLE001 - Lambda takes any
                error = f"{type(failure).__name__}: {failure}"
            except Killed as kill:
                error = f"Killed: {kill}"
                entry.get_looks.cache_clear()  # the execution environment is gone, and what it knew with it
            finally:
                self._deadlines.pop()
                self.current = outer
        if name == "PruneRecoveryPoints":
            self._note_removals(before)
        if name == "Recover":
            self._note_recovery(stood)
            self.runs.notice()
        invocation = Invocation(
            function=name,
            region=region,
            at=began_at,
            answer=answer,
            error=error,
            lines=tuple(self._lines[lines_before:]),
            emitted=tuple(_emitted(printed.getvalue(), SITES[region])),
        )
        self.invocations.append(invocation)
        return invocation

    def invoke_asynchronously(self, name: str, event: Mapping[str, Any], *, region: Region, attempt: int = 0) -> None:
        """Run a function as Scheduler has Lambda run it: again after one minute and after two, then it has failed."""
        invocation = self.invoke(name, event, region=region)
        if not invocation.error:
            return
        if attempt == min(len(_RETRY_AFTER), self.deployment.functions[name].retries):
            self.failed_runs.append(f"{name} {region}: {invocation.error}")
            return

        def again() -> None:
            self.invoke_asynchronously(name, event, region=region, attempt=attempt + 1)

        self.at(self.now + _RETRY_AFTER[attempt], again)

    def tick(self) -> None:
        """Scheduler wants schedule_backups to run."""
        self.invoke_asynchronously("ScheduleBackups", {}, region=PRIMARY)

    def prune(self, region: Region) -> None:
        """Scheduler wants prune_recovery_points to run."""
        self.invoke_asynchronously("PruneRecoveryPoints", {}, region=region)

    def sweep(self) -> None:
        """Scheduler wakes the broker."""
        number = next(self._numbers)
        event = {"id": f"sweep-{number}", "source": "aws.scheduler", "detail-type": "Scheduled Event"}
        self.send("WakeQueue", json.dumps(event))

    def wake(self, envelope: Envelope) -> None:
        """EventBridge has an event: what the rules of both sites forward goes to the wake queue, or is a sweep."""
        patterns = self.deployment.patterns
        if envelope["source"] == "aws.states":
            if envelope["detail"]["status"] in patterns["RunEndedRule"]["detail"]["status"]:
                sweep = partial(self.invoke_asynchronously, "Recover", {"step": "sweep"}, region=RECOVERY)
                self.at(self.now + timedelta(seconds=1), sweep)
            return
        own = "PointReadyRule" if envelope["region"] == PRIMARY else "CopyReadyRule"
        forwarded = [own, "PrimaryReadyRule"] if own == "PointReadyRule" else [own]
        if all(EventPattern.load(json.dumps(patterns[name])).matches_event(envelope) for name in forwarded):  # type: ignore[arg-type] # moto types its own events
            self.send("WakeQueue", json.dumps(envelope))

    def hear(self, envelope: Envelope) -> None:
        """Something has happened that EventBridge has an event of."""
        self.relay(envelope)  # whichever is in force by then

    def deliver(self) -> None:
        """Lambda polls the queues until none has a message to give."""
        functions = [each for each in self.deployment.functions.values() if each.queue]
        while sum(self._poll(function) for function in functions):
            """There may be more."""

    def _poll(self, function: Function) -> bool:
        region = RECOVERY if function.queue == "WakeQueue" else PRIMARY
        if not self._queue(function.queue).messages:
            return False
        sqs, url = self.twin.client("sqs", region), self._urls[function.queue]
        with unaffected():
            found = sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=min(10, function.batch), MessageSystemAttributeNames=["All"]
            )
        messages = found.get("Messages", [])
        if not messages:
            return False
        records = [self._record(message, function.queue, region) for message in messages]
        for batch in filter(None, self.courier(function.queue, records)):
            invocation = self.invoke(function.name, {"Records": batch}, region=region)
            if invocation.error:
                continue  # none is deleted: they come back when their visibility timeout is over
            back = {each["itemIdentifier"] for each in invocation.answer["batchItemFailures"]}
            with unaffected():
                for record in batch:
                    if record["messageId"] not in back:
                        sqs.delete_message(QueueUrl=url, ReceiptHandle=record["receiptHandle"])
        return True

    # --- what is inside -----------------------------------------------------------------------------------------------

    def waiting(self) -> dict[str, int]:
        """How many messages each queue and each dead-letter queue holds, whether visible or not."""
        names = [*self._urls, *(f"{name}Dead" for name in self._urls)]
        return {name: len(self._queue(name)._messages) for name in names}  # noqa: SLF001 - moto shows visible ones only

    def published(self) -> Iterator[Datum]:
        """What the services behind the functions publish by themselves: what was given up, and what ran out of time."""
        for name, queue in self.deployment.queues.items():
            site = SiteRole.RECOVERY if queue.is_fifo else SiteRole.PRIMARY
            depth = len(self._queue(f"{name}Dead")._messages)  # noqa: SLF001 - as above
            yield self._datum(site, "AWS/SQS", _DEPTH, depth, QueueName=queue.dead_letters)
        for region, site in SITES.items():
            given_up = sum(f" {region}: " in run for run in self.failed_runs)
            yield self._datum(site, "AWS/SQS", _DEPTH, given_up, QueueName="FailedRunsQueue")
        timed_out = list(self.runs.ended.values()).count("TIMED_OUT")
        yield self._datum(
            SiteRole.RECOVERY, "AWS/States", "ExecutionsTimedOut", timed_out, StateMachineArn="RecoverMachine"
        )

    def _datum(self, site: SiteRole, namespace: str, metric: str, value: float, **dimensions: str) -> Datum:
        return Datum(
            site=site,
            namespace=namespace,
            metric=metric,
            dimensions=dimensions_of(**dimensions),
            at=self.now,
            value=value,
        )

    def send(self, queue: str, body: str) -> None:
        """Put a message into a queue, as whoever may."""
        region, group = (RECOVERY, {"MessageGroupId": "copies"}) if queue == "WakeQueue" else (PRIMARY, {})
        with unaffected():
            self.twin.client("sqs", region).send_message(QueueUrl=self._urls[queue], MessageBody=body, **group)

    def lose(self, queue: str, records: Records) -> None:
        """The messages are gone from the queue, and nobody had them."""
        sqs = self.twin.client("sqs", records[0]["awsRegion"])
        with unaffected():
            for record in records:
                sqs.delete_message(QueueUrl=self._urls[queue], ReceiptHandle=record["receiptHandle"])

    def show(self, queue: str, records: Records) -> None:
        """The messages are visible again, now."""
        sqs = self.twin.client("sqs", records[0]["awsRegion"])
        with unaffected():
            for record in records:
                sqs.change_message_visibility(
                    QueueUrl=self._urls[queue], ReceiptHandle=record["receiptHandle"], VisibilityTimeout=0
                )

    def _queue(self, name: str) -> Any:
        region = RECOVERY if name.startswith("WakeQueue") else PRIMARY
        suffix = ".fifo" if name.startswith("WakeQueue") else ""
        return sqs_backends[ACCOUNT][region].queues[f"{name}{suffix}"]

    def _visible_at(self) -> Iterator[datetime]:
        for name in self._urls:
            for message in self._queue(name)._messages:  # noqa: SLF001 - likewise
                hidden_until = max(message.visible_at, message.delayed_until) / 1000
                if hidden_until > self.now.timestamp():
                    yield datetime.fromtimestamp(hidden_until, tz=UTC) + timedelta(seconds=1)

    def _made(self) -> dict[tuple[Region, str], tuple[str, str]]:
        """Everything that is there now, by Region and id: what it is, and its state."""
        made = {}
        for region in (PRIMARY, RECOVERY):
            backend = self.twin.backend(region)
            for snapshot in backend.snapshots.values():
                if snapshot.owner_id == ACCOUNT:
                    what = name_snapshot(backend, snapshot, leave_out=VOLATILE_TAGS)
                    made[region, snapshot.id] = (what, snapshot.state)
            for image in backend.amis.values():
                if image.owner_id == ACCOUNT:
                    made[region, image.id] = (name_image(backend, image, leave_out=VOLATILE_TAGS), image.state)
        return made

    def _standing(self) -> dict[str, str]:
        """Everything of the account's that a run could remove, by id, in words."""
        return {
            resource_id: f"{region} {what}"
            for region in (PRIMARY, RECOVERY)
            for resource_id, what in standing(self.twin.backend(region)).items()
        }

    def _note_recovery(self, before: Mapping[str, str]) -> None:
        """What was made is a run's own, to be removed again; anything else is not."""
        after = self._standing()
        self.made_by_runs.update(after.keys() - before.keys())
        for gone in before.keys() - after.keys() - self.made_by_runs - self._pruned:
            self.foreign_removals.append(before[gone])

    def _note_removals(self, before: Mapping[tuple[Region, str], tuple[str, str]]) -> None:
        after = self._made()
        for (region, resource_id), (identity, state) in before.items():
            if (region, resource_id) not in after:
                self._pruned.add(resource_id)
                left = sum(there == region and what == identity for (there, _), (what, _) in after.items())
                is_complete = state in {"completed", "available"}
                self.removals.append(Removal(region=region, identity=identity, is_complete=is_complete, left=left))

    # --- how it is set up ---------------------------------------------------------------------------------------------

    def _make_queues(self) -> None:
        for queue in self.deployment.queues.values():
            region = RECOVERY if queue.is_fifo else PRIMARY
            sqs = self.twin.client("sqs", region)
            suffix = ".fifo" if queue.is_fifo else ""
            kind = {"FifoQueue": "true", "ContentBasedDeduplication": "true"} if queue.is_fifo else {}
            dead = sqs.create_queue(QueueName=f"{queue.name}Dead{suffix}", Attributes=kind)["QueueUrl"]
            arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": queue.receives})
            visibility = str(int(queue.visibility.total_seconds()))
            attributes = {**kind, "VisibilityTimeout": visibility, "RedrivePolicy": redrive}
            self._urls[queue.name] = sqs.create_queue(QueueName=f"{queue.name}{suffix}", Attributes=attributes)[
                "QueueUrl"
            ]

    def _plan_schedules(self) -> None:
        """The schedules run by their rates from the moment of deployment; each began a little after the other."""
        intervals = self.deployment.intervals
        whole = START.replace(minute=0)
        if self._recovers:
            for name, minute, interval, step in (
                ("recovery sweep", 3, intervals["RecoverySweep"], "sweep"),
                ("drill start", 11, intervals["Drill"], "start-drills"),
                ("readiness check", 214, timedelta(days=1), "check-readiness"),
            ):
                act = partial(self.invoke_asynchronously, "Recover", {"step": step}, region=RECOVERY)
                first = whole + timedelta(minutes=minute, seconds=40)
                self._every(name, interval, first, act)
            report = partial(self.invoke_asynchronously, "ReportObjectives", {}, region=RECOVERY)
            self._every("report", intervals["Report"], whole + timedelta(minutes=38), report)
        self._every("tick", self._tick_interval, whole + timedelta(seconds=20), self.tick)
        self._every("sweep", intervals["Sweep"], whole + timedelta(minutes=7), self.sweep)
        for region, minute in ((PRIMARY, 42), (RECOVERY, 44)):
            first = whole + timedelta(minutes=minute)
            self._every(f"prune {region}", intervals["Prune"], first, partial(self.prune, region))

    def _every(self, name: str, interval: timedelta, first: datetime, act: Callable[[], None]) -> None:
        def run(moment: datetime) -> None:
            self.at(moment + interval, lambda: run(moment + interval), is_schedule=True)
            self.timer(name, act)

        while first < self.now:
            first += interval
        self.at(first, lambda: run(first), is_schedule=True)

    def _environment(self, function: Function, region: Region) -> dict[str, str]:
        own = self.installation.recovery_environment if function.name == "Recover" else {}
        return (
            self.installation.environment(SITES[region])
            | own
            | {
                "HIKAE_SNAPSHOT_QUEUE_URL": self._urls["SnapshotJobsQueue"],
                "HIKAE_IMAGE_QUEUE_URL": self._urls["ImageJobsQueue"],
                "POWERTOOLS_SERVICE_NAME": function.service,
                "POWERTOOLS_METRICS_NAMESPACE": "hikae",
                "POWERTOOLS_LOG_DEDUPLICATION_DISABLED": "true",  # or the stage's own ears would be taken for Lambda's
            }
        )

    def _answer_invocations(self, request: Any, go_on: Callable[[Any], Any]) -> Any:
        """Lambda, asked to invoke the probing function: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html."""
        if not request.url.endswith("/invocations"):
            return go_on(request)
        event = json.loads(request.body)
        with self.network.joined():
            invocation = self.invoke("ProbeNetwork", event, region=RECOVERY)
        if invocation.error:
            return 200, {"x-amz-function-error": "Unhandled"}, json.dumps({"errorMessage": invocation.error})
        return 200, {}, json.dumps(invocation.answer)

    def _take_plot(self, name: str, region: Region, event: Mapping[str, Any]) -> Fault | None:
        for plot in self._plots:
            if plot[0](name, region, event):
                self._plots.remove(plot)
                return plot[1]
        return None

    def _record(self, message: Mapping[str, Any], queue: str, region: Region) -> dict[str, Any]:
        """A message as Lambda gives it to a function: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html."""
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:{region}:{ACCOUNT}:{queue}",
            "awsRegion": region,
        }


class _Listener(logging.Handler):
    """Keeps what the functions log, field by field."""

    def __init__(self, lines: list[Mapping[str, Any]]) -> None:
        super().__init__(level=logging.INFO)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append({key: value for key, value in vars(record).items() if _is_plain(value)})


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, int, float, bool, list, tuple, dict, type(None)))


@cache
def _handler(folder: str) -> Callable[[dict[str, Any], Any], Any]:
    path = ROOT / folder / "app.py"
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_app", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler: Callable[[dict[str, Any], Any], Any] = module.handler
    return handler


def _emitted(printed: str, site: SiteRole) -> Iterator[Datum]:
    """Every value that was emitted in CloudWatch's embedded metric format.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    for line in printed.splitlines():
        if '"_aws"' not in line:
            continue
        document = json.loads(line)
        at = datetime.fromtimestamp(document["_aws"]["Timestamp"] / 1000, tz=UTC)
        for directive in document["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = dimensions_of(**{name: document[name] for name in names})
                for metric in directive["Metrics"]:
                    value = document[metric["Name"]]
                    for each in value if isinstance(value, list) else [value]:
                        yield Datum(
                            site=site,
                            namespace=directive["Namespace"],
                            metric=metric["Name"],
                            dimensions=dimensions,
                            at=at,
                            value=each,
                        )


@contextmanager
def _latency(pass_time: Callable[[], None]) -> Iterator[None]:
    """Every request takes a moment, so that no two happen at once."""

    def process(request: Any, go_on: Callable[[Any], Any]) -> Any:
        pass_time()
        return go_on(request)

    with faults.intercepted(process):
        yield
