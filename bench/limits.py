"""What the account's limits allow at best, and what hikae makes of them: copies in flight, and calls per second."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from unittest.mock import patch

from moto.core.botocore_stubber import BotocoreStubber

from hikae.domain.model import SiteRole
from hikae.domain.pacing import REQUEST_RATES, shortest
from hikae.ports import Status
from local.inprocess import PRIMARY, RECOVERY, SNAPSHOT_PLAN, Installation
from local.twin.calls import Call
from local.twin.world import Durations

COPY_SECONDS = 300
COPY_QUOTA = 20
_STEADY = Durations(snapshot_base=timedelta(seconds=COPY_SECONDS), snapshot_spread=timedelta())
_LONG = 100 * 1024**4
"""Bytes whose copy outlasts everything measured here."""
CREATING = ("CreateSnapshot", "CreateSnapshots")


class KilledError(BaseException):
    """The function was killed; nothing of its own gets to handle that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waves:
    """Copies against the limit: how many were in flight at most, how long it took, and how long it had to take."""

    copies: int
    foreign: int
    highest: int
    made: int
    refused: int
    seconds: float
    best_seconds: float

    @property
    def ratio(self) -> float:
        return self.seconds / self.best_seconds


def measure_waves(copies: int, *, foreign: int = 0, kill_at: int | None = None, is_sent: bool = True) -> Waves:
    """Copy so many snapshots, 300 s each, against the quota of 20, of which another tool holds `foreign`.

    The copying is woken by the end of each copy, as EC2's events do. With `kill_at` it is killed at that CopySnapshot,
    and the wake-up is delivered again at once: after the call was carried out and before it hears of it, or, unless the
    call `is_sent`, right before.
    """
    with Installation(durations=_STEADY, snapshot_copy_limit=COPY_QUOTA) as installation:
        twin = installation.twin
        for _ in range(copies):
            installation.detached_volume()
        installation.apply("production", SNAPSHOT_PLAN)
        installation.back_up()
        _occupy(installation, foreign)
        before = len(twin.calls)
        began = twin.clock.now()
        with _killed("CopySnapshot", kill_at, is_sent=is_sent):
            while _completed(installation) < copies:
                try:
                    installation.copy()
                except KilledError:
                    continue
                installation.advance(seconds=COPY_SECONDS)
        calls = [call for call in twin.calls[before:] if call.action == "CopySnapshot"]
        return Waves(
            copies=copies,
            foreign=foreign,
            highest=twin.world.calls.high_water["pending copies", RECOVERY],
            made=sum(call.error is None for call in calls),
            refused=sum(call.error is not None for call in calls),
            seconds=(twin.clock.now() - began).total_seconds(),
            best_seconds=ceil(copies / (COPY_QUOTA - foreign)) * COPY_SECONDS,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Calls under the request rates: how many were throttled, how long they took, and how long they had to take."""

    what: str
    calls: int
    throttled: int
    seconds: float
    best_seconds: float

    @property
    def ratio(self) -> float:
        return self.seconds / self.best_seconds


def measure_backing_up(volumes: int, *, per_instance: int = 0, workers: int = 5) -> Pace:
    """Back up so many volumes under the real buckets: detached ones, or those of instances with `per_instance` each."""
    with Installation() as installation:
        if per_instance:
            device = {"Ebs": {"VolumeSize": 20, "VolumeType": "gp3"}}
            names = [f"/dev/sd{letter}" for letter in "fghijklmnop"][: per_instance - 1]
            mappings = [{"DeviceName": name, **device} for name in names]
            installation.launch(volumes // per_instance, BlockDeviceMappings=mappings)
        else:
            for _ in range(volumes):
                installation.detached_volume()
        installation.apply("production", SNAPSHOT_PLAN)
        installation.twin.world.request_rates.is_enforced = True
        installation.tick()
        before, began = len(installation.twin.calls), installation.twin.clock.now()
        outcomes = installation.work(workers)
        calls = [call for call in installation.twin.calls[before:] if call.action in CREATING]
        made = sum(outcome.status is Status.CREATED for outcome in outcomes)
        if made != sum(call.error is None for call in calls) or made != len(outcomes):
            raise RuntimeError(f"{made} of {len(outcomes)} jobs made their point")
        of = f"{volumes} volumes" if not per_instance else f"{volumes} volumes of {volumes // per_instance} instances"
        return _pace(
            f"snapshots of {of}, {workers} workers", installation.twin.calls[before:], calls, began.timestamp()
        )


def measure_deleting(snapshots: int) -> Pace:
    """Prune so many snapshots under the real buckets."""
    with Installation(deletion_cap=1_000_000, lineage_percent=100) as installation:
        for _ in range(snapshots):
            installation.detached_volume()
        plan = SNAPSHOT_PLAN.replace("keep_last: 3", "keep_last: 1")
        plan = "".join(line for line in plan.splitlines(keepends=True) if "copies:" not in line)
        installation.apply("production", plan, [SiteRole.PRIMARY])
        for _ in range(2):
            installation.back_up()
            installation.advance(hours=1)
        installation.twin.world.request_rates.is_enforced = True
        before, began = len(installation.twin.calls), installation.twin.clock.now()
        installation.prune(SiteRole.PRIMARY)
        calls = [call for call in installation.twin.calls[before:] if call.action == "DeleteSnapshot"]
        return _pace(f"deletion of {snapshots} snapshots", installation.twin.calls[before:], calls, began.timestamp())


def _pace(what: str, everything: list[Call], calls: list[Call], began: float) -> Pace:
    carried_out = [call for call in calls if call.error is None]
    return Pace(
        what=what,
        calls=len(carried_out),
        throttled=sum(call.error == "RequestLimitExceeded" for call in everything),
        seconds=max(call.at for call in carried_out).timestamp() - began,
        best_seconds=shortest(len(carried_out), REQUEST_RATES[calls[0].action]),
    )


def _occupy(installation: Installation, places: int) -> None:
    """Let another tool hold so many places until after the end."""
    if not places:
        return
    ec2 = installation.twin.client("ec2", PRIMARY)
    volume = ec2.create_volume(AvailabilityZone=f"{PRIMARY}a", Size=10)["VolumeId"]
    installation.advance(minutes=5)
    installation.twin.write(volume, b"much", changed_bytes=_LONG)
    snapshot = installation.twin.seed_snapshot(
        region=PRIMARY, started_at=installation.twin.clock.now(), volume_id="vol-0f0e1d2c3b4a59687", size=10
    )
    backend = installation.twin.backend(PRIMARY)
    backend.get_snapshot(snapshot).content = backend.get_volume(volume).content
    foreign = installation.twin.client("ec2", RECOVERY)
    for _ in range(places):
        foreign.copy_snapshot(SourceRegion=PRIMARY, SourceSnapshotId=snapshot)


def _completed(installation: Installation) -> int:
    """How many of our own copies are completed."""
    return sum(
        snapshot["State"] == "completed" and any(tag["Key"] == "hikae:copy-of" for tag in snapshot.get("Tags", []))
        for snapshot in installation.snapshots(RECOVERY)
    )


@contextmanager
def _killed(action: str, number: int | None, *, is_sent: bool) -> Iterator[None]:
    """Kill whoever sends the `number`th call of `action`, before or after it is carried out."""
    original: Callable[..., object] = BotocoreStubber.process_request
    seen = 0

    def process_request(stubber: BotocoreStubber, request: object) -> object:
        nonlocal seen
        body = getattr(request, "body", b"") or b""
        is_it = f"Action={action}&".encode() in (body if isinstance(body, bytes) else str(body).encode())
        seen += is_it
        is_killed = is_it and seen == number
        if is_killed and not is_sent:
            raise KilledError
        answer = original(stubber, request)
        if is_killed:
            raise KilledError
        return answer

    with patch.object(BotocoreStubber, "process_request", process_request):
        yield
