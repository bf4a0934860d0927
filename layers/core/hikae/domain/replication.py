"""Which copies are wanted, and in what order.

Wanted is what the destination's own retention would keep, judged over its complete copies plus all candidate sources
together. So a backlog sheds itself, and a copy that has been expired is never made again: adding points never makes
retention keep one that it would expire without them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from hikae.domain import retention
from hikae.domain.model import Action, Place, PointId, RecoveryPoint, ResourceId, Verdict
from hikae.domain.retention import Policy


class Group(NamedTuple):
    """Points that one rule makes of one resource: what retention judges together."""

    place: Place
    plan: str
    rule: str
    resource: ResourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPolicy:
    """What a destination keeps of a rule's copies, and how old its newest may be."""

    retention: Policy
    timezone: ZoneInfo
    rpo: timedelta | None = None


def group_of(point: RecoveryPoint) -> Group:
    """The group that retention judges `point` in; a copy is in the group of its source."""
    identity = point.tags.identity
    return Group(place=identity.place, plan=identity.plan, rule=identity.rule, resource=identity.resource)


def grouped(points: Iterable[RecoveryPoint]) -> dict[Group, list[RecoveryPoint]]:
    """The points by group, each group in the order in which they came."""
    groups: dict[Group, list[RecoveryPoint]] = defaultdict(list)
    for point in points:
        groups[group_of(point)].append(point)
    return groups


def earliest_sets(points: Iterable[RecoveryPoint]) -> dict[PointId, RecoveryPoint]:
    """Of several complete sets of one point the earliest: the others are duplicates, and never judged with it."""
    earliest: dict[PointId, RecoveryPoint] = {}
    for point in points:
        if point.is_complete:
            known = earliest.get(point.tags.point)
            if known is None or (point.source_time, point.id) < (known.source_time, known.id):
                earliest[point.tags.point] = point
    return earliest


def judge_copies(
    policy: CopyPolicy, *, sources: Sequence[RecoveryPoint], copies: Sequence[RecoveryPoint]
) -> list[Verdict]:
    """Copy or skip each complete source of one group that has no complete copy, newest first, with the reason."""
    complete_copies = earliest_sets(copies)
    candidates = [point for point_id, point in earliest_sets(sources).items() if point_id not in complete_copies]
    names = {point.id for point in candidates}
    everything = [*complete_copies.values(), *candidates]
    verdicts = retention.decide(policy.retention, everything, timezone=policy.timezone, is_final=True)
    return [
        Verdict(id=verdict.id, action=Action.COPY, reasons=verdict.reasons)
        if verdict.action is Action.KEEP
        else Verdict(id=verdict.id, action=Action.SKIP, reasons=("superseded: the destination would not keep it",))
        for verdict in verdicts
        if verdict.id in names
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """What a destination should do about all sources: copies that are wanted, most RPO at risk first, and the rest."""

    wanted: tuple[RecoveryPoint, ...]
    verdicts: tuple[Verdict, ...]


def plan_replication(
    *,
    sources: Iterable[RecoveryPoint],
    copies: Iterable[RecoveryPoint],
    policies: Mapping[tuple[str, str], CopyPolicy],
    now: datetime,
) -> Replication:
    """Judge every source that has no complete copy. `policies` are the destination's own, by (plan, rule)."""
    copies_by_group = grouped(copies)
    wanted: list[tuple[float, float, RecoveryPoint]] = []
    verdicts: list[Verdict] = []
    for group, members in grouped(sources).items():
        policy = policies.get((group.plan, group.rule))
        there = copies_by_group.get(group, [])
        if policy is None:
            reason = f"this site has no plan {group.plan} with a rule {group.rule} that copies here"
            have = {copy.tags.point for copy in there}
            verdicts.extend(
                Verdict(id=point.id, action=Action.SKIP, reasons=(reason,))
                for point in members
                if point.is_complete and point.tags.point not in have
            )
            continue
        judged = judge_copies(policy, sources=members, copies=there)
        verdicts.extend(judged)
        by_id = {point.id: point for point in members}
        risk = _risk(policy, there, now)
        wanted.extend(
            (-risk, -by_id[verdict.id].source_time.timestamp(), by_id[verdict.id])
            for verdict in judged
            if verdict.action is Action.COPY
        )
    wanted.sort(key=lambda each: (*each[:2], each[2].id))
    return Replication(wanted=tuple(point for *_, point in wanted), verdicts=tuple(verdicts))


def _risk(policy: CopyPolicy, copies: Iterable[RecoveryPoint], now: datetime) -> float:
    """How much of the RPO has gone by (1 is the objective itself): infinite without a copy, 0 without an objective."""
    newest = max((copy.source_time for copy in copies if copy.is_complete), default=None)
    if newest is None:
        return float("inf")
    if policy.rpo is None:
        return 0.0
    return (now - newest) / policy.rpo
