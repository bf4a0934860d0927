"""How many EC2 calls the main job takes: exact counts from the twin's call log, the same on every machine."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hikae.domain.model import SiteRole
from hikae.ports import Status
from local.inprocess import RECOVERY, SNAPSHOT_PLAN, Installation

VOLUMES_PER_INSTANCE = 2
CREATING = frozenset({"CreateSnapshot", "CreateSnapshots", "CreateImage"})
COPYING = frozenset({"CopySnapshot", "CopyImage"})
DELETING = frozenset({"DeleteSnapshot", "DeregisterImage"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCosts:
    """Calls per unit of work, for one size of fleet."""

    instances: int
    volumes: int
    creating_per_volume: float
    reads_per_volume: float
    copies: int
    copying_per_copy: float
    copy_reads_per_copy: float
    highest_in_flight: int
    deletions: int
    deleting_per_deletion: float
    delete_reads_per_deletion: float


def measure_calls(instances: int) -> CallCosts:
    """Back up a fleet, copy it with 20 copies in flight, back it up again, prune it without a cap, and count."""
    with Installation(deletion_cap=1_000_000, lineage_percent=100) as installation:
        installation.launch(instances)
        plan = SNAPSHOT_PLAN.replace("keep_last: 3", "keep_last: 1").replace("keep_last: 2", "keep_last: 1")
        installation.apply("production", plan)
        volumes = instances * VOLUMES_PER_INSTANCE
        with _counted(installation) as backing_up:
            installation.back_up()
        with _counted(installation) as copying:
            installation.copy_all()
        copies = len(installation.snapshots(RECOVERY))
        installation.advance(hours=1)
        # The second points go nowhere, so that the first ones may go: copying them would only repeat what was counted.
        installation.apply("production", re.sub(r"    copies: .*\n", "", plan), [SiteRole.PRIMARY])
        installation.back_up()
        with _counted(installation) as pruning:
            pruned = installation.prune(SiteRole.PRIMARY)
        deletions = sum(outcome.status is Status.DELETED for outcome in pruned.outcomes)
        return CallCosts(
            instances=instances,
            volumes=volumes,
            creating_per_volume=_sum(backing_up, CREATING) / volumes,
            reads_per_volume=_reads(backing_up) / volumes,
            copies=copies,
            copying_per_copy=_sum(copying, COPYING) / copies,
            copy_reads_per_copy=_reads(copying) / copies,
            highest_in_flight=installation.twin.world.calls.high_water["pending copies", RECOVERY],
            deletions=deletions,
            deleting_per_deletion=_sum(pruning, DELETING) / deletions,
            delete_reads_per_deletion=_reads(pruning) / deletions,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Churn:
    """What 48 hours of the design's first example come to."""

    slots: int
    points: int
    copies_made: int
    copies_made_again: int
    copies_left: int


CHURN_PLAN = """\
version: 1
plan: production
timezone: Asia/Tokyo
selection:
  resources: [instance]
  tags: {Backup: production}
  exclude_tags: {Backup: "off"}
rules:
  - name: hourly
    schedule: "0 * * * *"
    start_window: 8h
    protect: snapshots
    consistency: crash
    retention: {keep_hourly: 24, keep_daily: 7}
    copies:
      - region: us-west-2
        retention: {keep_hourly: 6, keep_daily: 14, keep_monthly: 12}
    objectives: {rpo: 2h, rto: 1h}
"""


def measure_churn(hours: int = 48) -> Churn:
    """Run the example's schedule, start window and retentions over `hours`; every tick, sweep and prune takes place."""
    with Installation() as installation:
        installation.launch()
        installation.apply("production", CHURN_PLAN)
        installation.advance(minutes=60 - installation.twin.clock.now().minute)
        copied: Counter[str] = Counter()
        for _ in range(hours):
            for _ in range(4):
                installation.tick()
                for job in installation.jobs():
                    installation.carry_out(job)
                installation.advance(minutes=15)
                for outcome in installation.copy().outcomes:
                    copied[outcome.resource] += len(outcome.created)
            for site in SiteRole:
                installation.prune(site)
        return Churn(
            slots=hours,
            points=installation.twin.count("CreateSnapshots"),
            copies_made=sum(copied.values()) // VOLUMES_PER_INSTANCE,
            copies_made_again=sum(count - 1 for count in copied.values() if count > 1),
            copies_left=len(installation.snapshots(RECOVERY)) // VOLUMES_PER_INSTANCE,
        )


@contextmanager
def _counted(installation: Installation) -> Iterator[Counter[str]]:
    before = len(installation.twin.calls)
    counts: Counter[str] = Counter()
    yield counts
    counts.update(call.action for call in installation.twin.calls[before:])


def _sum(counts: Counter[str], actions: frozenset[str]) -> int:
    return sum(counts[action] for action in actions)


def _reads(counts: Counter[str]) -> int:
    return sum(count for action, count in counts.items() if action.startswith("Describe"))
