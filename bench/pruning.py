"""How long prune takes to judge the points of a whole site, of which every destination shows its copies."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hikae.domain.guards import Surroundings
from hikae.domain.model import (
    AccountId,
    Consistency,
    CopyOrigin,
    Kind,
    Place,
    PointIdentity,
    PointState,
    PointTags,
    RecoveryPoint,
    Region,
    ResourceId,
    Snapshot,
    SnapshotId,
)
from hikae.domain.naming import point_id
from hikae.domain.pruning import DeletionLimits, KeepPolicy, plan_pruning
from hikae.domain.replication import CopyPolicy
from hikae.domain.retention import Policy, Span

NOW = datetime(2026, 11, 22, tzinfo=UTC)
PRIMARY = Place(account=AccountId("123456789012"), region=Region("us-east-1"))
RECOVERY = Region("us-west-2")
LINEAGES = 1_000
POLICY = KeepPolicy(
    retention=Policy(keep_hourly=24, keep_daily=7, keep_within=Span(days=1)),
    timezone=ZoneInfo("America/New_York"),
    copies={
        RECOVERY: CopyPolicy(
            retention=Policy(keep_hourly=6, keep_daily=14, keep_monthly=12, keep_within_daily=Span(months=1)),
            timezone=ZoneInfo("America/New_York"),
        )
    },
)


@dataclass(frozen=True, slots=True)
class Pruning:
    """The larger number of points: how long they take, and what one costs against one of the smaller number."""

    points: int
    lineages: int
    seconds: float
    ratio: float


def measure_pruning(few: int, many: int) -> Pruning:
    """Judge `few` and `many` hourly points of a thousand resources, a tenth of them failed; the best of two counts."""
    small, large = (_seconds(number) for number in (few, many))
    return Pruning(points=many, lineages=LINEAGES, seconds=large, ratio=(large / many) / (small / few))


def _seconds(number: int) -> float:
    points = list(_points(number))
    copies = [_copy(point) for point in points if point.is_complete]
    surroundings = Surroundings(
        copies_at={RECOVERY: copies},
        present={PRIMARY: frozenset(point.tags.identity.resource for point in points)},
        references={point.snapshots[0].id: frozenset({"ami-1"}) for point in points[::100]},
    )
    limits = DeletionLimits(per_run=200, lineage_percent=100)
    took = []
    for _ in range(2):
        begun = time.process_time()
        plan_pruning(points=points, policy_of=lambda *_: POLICY, surroundings=surroundings, limits=limits, now=NOW)
        took.append(time.process_time() - begun)
    return min(took)


def _points(number: int) -> Iterator[RecoveryPoint]:
    for each in range(number):
        hours, resource = divmod(each, LINEAGES)
        # Started a little after its slot, each resource at a moment of its own.
        slot = NOW - timedelta(hours=hours)
        started_at = slot + timedelta(seconds=resource)
        who = PointIdentity(
            installation="main",
            place=PRIMARY,
            plan="production",
            rule="hourly",
            slot=slot,
            resource=ResourceId(f"i-{resource:017x}"),
        )
        has_failed = hours % 10 == 9
        snapshot = Snapshot(
            id=SnapshotId(f"snap-{each:017x}"),
            owner=PRIMARY.account,
            state="error" if has_failed else "completed",
            started_at=started_at,
            volume_id=f"vol-{resource:017x}",
        )
        yield RecoveryPoint(
            tags=PointTags(
                identity=who,
                point=point_id(who),
                attempt=1,
                kind=Kind.SNAPSHOT_SET,
                members=1,
                consistency=Consistency.CRASH,
            ),
            source_time=started_at,
            state=PointState.FAILED if has_failed else PointState.COMPLETE,
            snapshots=(snapshot,),
            reason="EC2 gave no reason" if has_failed else "",
        )


def _copy(point: RecoveryPoint) -> RecoveryPoint:
    origin = CopyOrigin(copy_of=point.snapshots[0].id, source_time=point.source_time, attempt=1)
    return replace(point, tags=replace(point.tags, origin=origin))
