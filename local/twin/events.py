"""EventBridge events that EC2 sends about volumes, snapshots, images and instances.

Shapes: EBS User Guide, "Amazon EventBridge events for Amazon EBS"; EC2 User Guide, "Monitor AMI events using
Amazon EventBridge" and "Instance state-change events". No EBS event carries tags.
"""

import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

Envelope = dict[str, Any]
Subscriber = Callable[[Envelope], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened, before it has an id, an account and a time."""

    detail_type: str
    resources: tuple[str, ...]
    detail: dict[str, Any]


class EventLog:
    """Every event in the order in which it was sent, and those who want to hear of the next."""

    def __init__(self, *, random: Random) -> None:
        self.envelopes: list[Envelope] = []
        self._subscribers: list[Subscriber] = []
        self._arrived = threading.Condition()
        self._random = random

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` with every envelope sent from now on."""
        self._subscribers.append(subscriber)

    def send(self, event: Event, *, account_id: str, region: str, at: datetime) -> None:
        """Put `event` into its envelope, keep it and tell the subscribers."""
        envelope = {
            "version": "0",
            "id": str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            "detail-type": event.detail_type,
            "source": "aws.ec2",
            "account": account_id,
            "time": event_time(at),
            "region": region,
            "resources": list(event.resources),
            "detail": event.detail,
        }
        with self._arrived:
            self.envelopes.append(envelope)
            self._arrived.notify_all()
        for subscriber in self._subscribers:
            subscriber(envelope)

    def wait_after(self, number: int, *, seconds: float) -> list[Envelope]:
        """The envelopes after the first `number`; wait up to `seconds` for one."""
        with self._arrived:
            self._arrived.wait_for(lambda: len(self.envelopes) > number, timeout=seconds)
            return self.envelopes[number:]


def event_time(at: datetime) -> str:
    """EventBridge's spelling of a time."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def ebs_arn(*, region: str, kind: str, resource_id: str) -> str:
    """An EBS resource as snapshot events spell it: the account is empty and the Region stands in its place."""
    return f"arn:aws:ec2::{region}:{kind}/{resource_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotOutcome:
    """How one snapshot ended, as events tell it. `source_arn` is a volume's, or for a copy a snapshot's."""

    snapshot_id: str
    source_arn: str
    is_completed: bool
    started_at: datetime
    ended_at: datetime
    cause: str = ""


def snapshot_created(outcome: SnapshotOutcome, *, region: str) -> Event:
    """CreateSnapshot ended."""
    return _snapshot_notification("createSnapshot", outcome, region=region, extra={})


def snapshot_copied(outcome: SnapshotOutcome, *, region: str, is_incremental: bool, transfer_type: str) -> Event:
    """CopySnapshot ended, sent in the destination Region; a failed one says nothing of how it was transferred."""
    extra = {"incremental": str(is_incremental).lower(), "transferType": transfer_type}
    return _snapshot_notification("copySnapshot", outcome, region=region, extra=extra if outcome.is_completed else {})


def _snapshot_notification(name: str, outcome: SnapshotOutcome, *, region: str, extra: dict[str, str]) -> Event:
    arn = ebs_arn(region=region, kind="snapshot", resource_id=outcome.snapshot_id)
    return Event(
        detail_type="EBS Snapshot Notification",
        resources=(arn,),
        detail={
            "event": name,
            "result": "succeeded" if outcome.is_completed else "failed",
            "cause": outcome.cause,
            "request-id": "",
            "snapshot_id": arn,
            "source": outcome.source_arn,
            "startTime": event_time(outcome.started_at),
            "endTime": event_time(outcome.ended_at),
            **extra,
        },
    )


def snapshot_shared(*, region: str, snapshot_id: str, owner_id: str, at: datetime) -> Event:
    """A snapshot was shared with the account that receives this; the owner stands there as a bare number."""
    arn = ebs_arn(region=region, kind="snapshot", resource_id=snapshot_id)
    return Event(
        detail_type="EBS Snapshot Notification",
        resources=(arn,),
        detail={
            "event": "shareSnapshot",
            "result": "succeeded",
            "cause": "",
            "request-id": "",
            "snapshot_id": arn,
            "source": int(owner_id),
            "startTime": event_time(at),
            "endTime": event_time(at),
        },
    )


def snapshot_kept(name: str, *, region: str, snapshot_id: str, at: datetime, extra: dict[str, Any]) -> Event:
    """A snapshot was locked or its lock ran out, or it was archived or restored: always `succeeded` here."""
    arn = ebs_arn(region=region, kind="snapshot", resource_id=snapshot_id)
    told = {"event": name, "result": "succeeded", "cause": "", "request-id": "", "snapshot_id": arn}
    return Event(
        detail_type="EBS Snapshot Notification",
        resources=(arn,),
        detail={**told, "startTime": event_time(at), "endTime": event_time(at), **extra},
    )


def fast_restore_changed(*, region: str, snapshot_id: str, zone: str, state: str) -> Event:
    """Fast snapshot restore of a snapshot entered a state in a zone; the snapshot's id is bare, its key hyphenated."""
    return Event(
        detail_type="EBS Fast Snapshot Restore State-change Notification",
        resources=(ebs_arn(region=region, kind="snapshot", resource_id=snapshot_id),),
        detail={"snapshot-id": snapshot_id, "state": state, "zone": zone, "message": "Client.UserInitiated"},
    )


def copy_missed_its_duration(*, region: str, snapshot_id: str, source_arn: str, started_at: datetime) -> Event:
    """A time-based copy is late: an ordinary copySnapshot follows once it is done."""
    arn = ebs_arn(region=region, kind="snapshot", resource_id=snapshot_id)
    return Event(
        detail_type="EBS Copy Snapshot Missed Completion Duration",
        resources=(arn,),
        detail={
            "event": "copySnapshot",
            "missedCompletionDurationCause": "The copy's throughput was limited.",
            "snapshot_id": arn,
            "source": source_arn,
            "startTime": started_at.strftime("%a %b %d %H:%M:%S UTC %Y"),
            "transferType": "time-based",
        },
    )


def snapshot_set_created(outcomes: Iterable[SnapshotOutcome], *, region: str, failed_id: str | None = None) -> Event:
    """CreateSnapshots ended: one event for the whole set, when its last snapshot completed or `failed_id` failed."""
    outcomes = tuple(outcomes)
    arns = [ebs_arn(region=region, kind="snapshot", resource_id=outcome.snapshot_id) for outcome in outcomes]
    return Event(
        detail_type="EBS Multi-Volume Snapshots Completion Status",
        resources=tuple(arns),
        detail={
            "event": "createSnapshots",
            "result": "failed" if failed_id else "succeeded",
            "cause": f"Snapshot {failed_id} is in status error" if failed_id else "",
            "request-id": "",
            "startTime": event_time(outcomes[0].started_at),
            "endTime": event_time(max(outcome.ended_at for outcome in outcomes)),
            "snapshots": [
                {
                    "snapshot_id": arn,
                    "source": outcome.source_arn,
                    "status": "completed" if outcome.is_completed else "error",
                }
                for arn, outcome in zip(arns, outcomes, strict=True)
            ],
        },
    )


def volume_changed(name: str, *, volume_arn: str, result: str, cause: str = "", request_id: str = "") -> Event:
    """createVolume (available, failed) and deleteVolume (deleted)."""
    return Event(
        detail_type="EBS Volume Notification",
        resources=(volume_arn,),
        detail={"result": result, "cause": cause, "event": name, "request-id": request_id},
    )


def image_changed(*, region: str, image_id: str, state: str, request_id: str = "", error: str = "") -> Event:
    """An image became available, failed, deregistered or disabled; there is no event for pending."""
    return Event(
        detail_type="EC2 AMI State Change",
        resources=(f"arn:aws:ec2:{region}::image/{image_id}",),
        detail={"RequestId": request_id, "ImageId": image_id, "State": state, "ErrorMessage": error},
    )


def instance_changed(*, region: str, account_id: str, instance_id: str, state: str) -> Event:
    """An instance entered `state`: every transitional state has its event too."""
    return Event(
        detail_type="EC2 Instance State-change Notification",
        resources=(f"arn:aws:ec2:{region}:{account_id}:instance/{instance_id}",),
        detail={"instance-id": instance_id, "state": state},
    )


@dataclass(slots=True, kw_only=True)
class Relay:
    """Passes events on as badly as a best-effort service may: losing, doubling, delaying and reordering them.

    The probabilities are per event. What is delayed waits for `flush` or for as many later events as `reach` says,
    which is also what reorders it. The same seed gives the same misfortunes.
    """

    deliver: Subscriber
    random: Random
    drop: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    reach: int = 5
    _held: list[tuple[int, Envelope]] = field(default_factory=list)

    def __call__(self, envelope: Envelope) -> None:
        """Take one event: subscribe the relay itself to an EventLog."""
        if self.random.random() >= self.drop:
            for _ in range(2 if self.random.random() < self.duplicate else 1):
                if self.random.random() < self.delay:
                    self._held.append((self.random.randint(1, self.reach), envelope))
                else:
                    self.deliver(envelope)
        self._age()

    def flush(self) -> None:
        """Deliver what is still held, in an order of its own."""
        held, self._held = self._held, []
        self.random.shuffle(held)
        for _, envelope in held:
            self.deliver(envelope)

    def _age(self) -> None:
        due = [envelope for left, envelope in self._held if left == 0]
        self._held = [(left - 1, envelope) for left, envelope in self._held if left > 0]
        for envelope in due:
            self.deliver(envelope)
