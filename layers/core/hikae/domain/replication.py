"""Which copies are wanted, and in what order.

Wanted is what the destination's own retention would keep, judged over its complete copies plus all candidate sources
together. So a backlog sheds itself, and a copy that has been expired is never made again: adding points never makes
retention keep one that it would expire without them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from hikae.domain import retention
from hikae.domain.model import Action, Image, Place, PointId, RecoveryPoint, Region, ResourceId, Snapshot, Verdict
from hikae.domain.naming import COPY_ATTEMPT, format_time
from hikae.domain.plan import Plan, Rule
from hikae.domain.points import FAILED_IMAGE, FAILED_SNAPSHOT
from hikae.domain.retention import Policy


class Group(NamedTuple):
    """Points that one rule makes of one resource: what retention judges together."""

    place: Place
    plan: str
    rule: str
    resource: ResourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPolicy:
    """What a destination keeps of a rule's copies, how old its newest may be, and of what is gone."""

    retention: Policy
    timezone: ZoneInfo
    rpo: timedelta | None = None
    retire_after: timedelta | None = None


def copy_policy_of(plan: Plan, rule: Rule, region: Region) -> CopyPolicy | None:
    """What `plan` says about the copies of `rule` in `region`; None where it sends none there."""
    copy = rule.copy_to(region)
    if copy is None:
        return None
    return CopyPolicy(
        retention=copy.retention,
        timezone=plan.timezone,
        rpo=rule.objectives.rpo,
        retire_after=plan.retire_after,
    )


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


def is_given_up(point: RecoveryPoint, *, retire_after: timedelta | None, is_gone: bool, now: datetime) -> bool:
    """Whether `point` is of a resource that is gone, and older than the user wants to pay for."""
    return is_gone and retire_after is not None and now - point.source_time > retire_after


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
class StartCopy:
    """The member is to be copied, in this attempt."""

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryCopy:
    """The last copy has failed, and the next attempt is not due before `at`; None: there is none."""

    reason: str
    at: datetime | None


MAX_ATTEMPTS: Final = 5
RETRY_AFTER: Final = timedelta(minutes=15)
RETRY_AFTER_AT_MOST: Final = timedelta(days=1)
_KEY_MESSAGE: Final = "key id is not accessible"
KEY_REMEDY: Final = (
    "give the recovery site the use of the key that the source is encrypted with, by the key's policy and its ARN in "
    "SourceKeyArns, and see that the key is enabled"
)


def next_copy(copies: Sequence[Snapshot | Image], *, now: datetime) -> StartCopy | RetryCopy | None:
    """What is to be done about a member with these copies; None where one is there, or on its way.

    After a failure the next attempt waits a quarter of an hour from the start of the failed one, after each further
    failure twice as long, a day at most.
    """
    if any(copy.state not in FAILED_IMAGE | FAILED_SNAPSHOT for copy in copies):
        return None
    if not copies:
        return StartCopy(attempt=1)
    last = max(copies, key=attempt_of)
    attempt = attempt_of(last)
    why = explain_failure(last.state_message or "EC2 gave no reason")
    reason = f"copy {last.id}, attempt {attempt}, is {last.state}: {why}"
    if attempt >= MAX_ATTEMPTS:
        return RetryCopy(reason=f"{reason}; there is no further attempt", at=None)
    started_at = last.created_at if isinstance(last, Image) else last.started_at
    due = now if started_at is None else started_at + min(RETRY_AFTER * 2 ** (attempt - 1), RETRY_AFTER_AT_MOST)
    if now >= due:
        return StartCopy(attempt=attempt + 1)
    return RetryCopy(reason=f"{reason}; the next attempt is due at {format_time(due)}", at=due)


def attempt_of(copy: Snapshot | Image) -> int:
    """Which attempt at a copy this is, by its tag."""
    return int(copy.tags[COPY_ATTEMPT])


def explain_failure(message: str) -> str:
    """EC2's message, and what to do about it where that is known.

    A key that cannot be used shows up only in the copy's state:
    https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copy-snapshot.html
    """
    return f"{message}; {KEY_REMEDY}" if _KEY_MESSAGE in message.lower() else message


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
    present: Mapping[Place, frozenset[str]] | None = None,
) -> Replication:
    """Judge every source that has no complete copy. `policies` are the destination's own, by (plan, rule).

    `present` are the resources that exist, by place, as far as that is known.
    """
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
        ids = (present or {}).get(group.place)
        is_gone = ids is not None and group.resource not in ids
        given_up = {
            point.id
            for point in members
            if is_given_up(point, retire_after=policy.retire_after, is_gone=is_gone, now=now)
        }
        judged = judge_copies(policy, sources=[each for each in members if each.id not in given_up], copies=there)
        verdicts.extend(judged)
        verdicts.extend(
            Verdict(id=name, action=Action.SKIP, reasons=(f"{group.resource} is gone, and it is past retire_after",))
            for name in sorted(given_up)
        )
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
