"""Which recovery points may go, and everything that keeps one: deletion fails closed.

Retention proposes, guards object, the cap limits. Every verdict names all its reasons.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from zoneinfo import ZoneInfo

from hikae.domain import retention
from hikae.domain.model import (
    Action,
    Image,
    Place,
    PointId,
    PointState,
    RecoveryPoint,
    Region,
    ResourceId,
    Snapshot,
    Verdict,
)
from hikae.domain.naming import HOLD
from hikae.domain.replication import CopyPolicy, Group, earliest_sets, grouped, judge_copies
from hikae.domain.retention import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepPolicy:
    """What a site keeps of a rule's points; `copies` is what each of the rule's destinations keeps, by its Region.

    `retire_after` is how old the newest point of a resource that is gone may grow; None: for ever.
    """

    retention: Policy
    timezone: ZoneInfo
    copies: Mapping[Region, CopyPolicy] = field(default_factory=dict)
    retire_after: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What else is true at the time of pruning, all of it reasons to keep.

    `copies_at` holds the copies that each destination Region shows, None for one that could not be asked.
    `references` says by the id of a snapshot or image which images or instances refer to it.
    """

    references: Mapping[str, frozenset[str]] = field(default_factory=dict)
    copies_at: Mapping[str, Sequence[RecoveryPoint] | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """What is deleted together: a whole point, or the leftovers of one."""

    verdict: Verdict
    point: RecoveryPoint
    resources: tuple[Snapshot | Image, ...]

    @property
    def calls(self) -> int:
        """How many EC2 deletions it takes; an image takes its snapshots with it."""
        return len(self.resources)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """The verdict on every point, and what to delete in this run, oldest first."""

    verdicts: tuple[Verdict, ...]
    deletions: tuple[Deletion, ...]
    capped: int


def plan_pruning(
    *,
    points: Sequence[RecoveryPoint],
    policy_of: Callable[[str, str], KeepPolicy | None],
    surroundings: Surroundings,
    cap: int,
) -> Pruning:
    """Judge all points of one site. `cap` is the most EC2 deletions that this run may make; sets are never split."""
    newest = _newest_of_lineages(points)
    copies = {region: None if there is None else grouped(there) for region, there in surroundings.copies_at.items()}
    kept: list[Verdict] = []
    deletions: list[Deletion] = []
    for group, members in grouped(points).items():
        policy = policy_of(group.plan, group.rule)
        proposals = _propose(policy, group, members)
        wanted = _wanted(policy, group, members, copies)
        for point in members:
            proposal = proposals[point.id]
            if proposal.action is Action.EXPIRE:
                objections = tuple(_objections(point, newest=newest, wanted=wanted, surroundings=surroundings))
                if objections:
                    proposal = Verdict(id=point.id, action=Action.KEEP, reasons=objections)
            if proposal.action is Action.EXPIRE:
                resources = (point.image,) if point.image else point.snapshots
                whole = (*resources, *point.leftovers)
                deletions.append(Deletion(verdict=proposal, point=point, resources=whole))
            else:
                kept.append(proposal)
                deletions.extend(_leftovers(point, surroundings))
    return _cap(kept, deletions, cap)


def _propose(policy: KeepPolicy | None, group: Group, members: Sequence[RecoveryPoint]) -> dict[str, Verdict]:
    """What retention says of one group's points, the incomplete ones and the duplicates included."""
    if policy is None:
        reason = f"this site has no readable plan {group.plan} with a rule {group.rule}"
        return {point.id: Verdict(id=point.id, action=Action.KEEP, reasons=(reason,)) for point in members}
    first = earliest_sets(members)
    kept = {
        verdict.id: verdict for verdict in retention.decide(policy.retention, first.values(), timezone=policy.timezone)
    }
    return {point.id: kept.get(point.id) or _judge_remains(point, policy, first) for point in members}


def _judge_remains(point: RecoveryPoint, policy: KeepPolicy, first: Mapping[PointId, RecoveryPoint]) -> Verdict:
    """What is to become of a set that retention does not count: a duplicate, or one that is not complete."""
    original = first.get(point.tags.point)
    if point.is_complete and original is not None:
        return Verdict(id=point.id, action=Action.EXPIRE, reasons=(f"duplicate of {original.id}, which is earlier",))
    if point.state is PointState.PENDING:
        return Verdict(id=point.id, action=Action.KEEP, reasons=(f"pending: {point.reason}",))
    if original is not None:
        return Verdict(
            id=point.id,
            action=Action.EXPIRE,
            reasons=(f"{point.state}: {point.reason}; {original.id} took its place",),
        )
    if "manifest" not in point.reason:
        # A set that was half deleted, or failed, and that nothing would keep if it were whole.
        whole = retention.decide(policy.retention, [*first.values(), point], timezone=policy.timezone)
        if any(verdict.id == point.id and verdict.action is Action.EXPIRE for verdict in whole):
            reason = f"{point.state}: {point.reason}; no rule would keep it if it were complete"
            return Verdict(id=point.id, action=Action.EXPIRE, reasons=(reason,))
    return Verdict(id=point.id, action=Action.KEEP, reasons=(f"{point.state}: {point.reason}",))


def _wanted(
    policy: KeepPolicy | None,
    group: Group,
    members: Sequence[RecoveryPoint],
    copies: Mapping[str, Mapping[Group, Sequence[RecoveryPoint]] | None],
) -> dict[str, str]:
    """The points of one group whose copy is wanted and not complete, with the reason; all, where nobody can tell."""
    wanted: dict[str, str] = {}
    for region, destination in policy.copies.items() if policy else ():
        there = copies.get(region)
        if there is None:
            reason = f"recovery Region {region} is unreachable, so its copy counts as not complete"
            wanted.update({point.id: reason for point in members})
            continue
        verdicts = judge_copies(destination, sources=members, copies=there.get(group, ()))
        reason = f"its copy to {region} is wanted and not complete"
        wanted.update({verdict.id: reason for verdict in verdicts if verdict.action is Action.COPY})
    return wanted


def _objections(
    point: RecoveryPoint,
    *,
    newest: Mapping[tuple[Place, ResourceId], str],
    wanted: Mapping[str, str],
    surroundings: Surroundings,
) -> Iterable[str]:
    if newest.get(_lineage(point)) == point.id:
        yield "newest complete point of its resource"
    if point.id in wanted:
        yield wanted[point.id]
    image = (point.image,) if point.image else ()
    for resource in (*image, *point.snapshots, *point.leftovers):
        yield from _objections_to(resource, point, surroundings)


def _objections_to(resource: Snapshot | Image, point: RecoveryPoint, surroundings: Surroundings) -> Iterable[str]:
    if HOLD in resource.tags:
        yield f"{resource.id} is on hold"
    own: set[str] = {point.image.id} if point.image else set()
    own.update(each.id for each in point.leftovers)
    for referrer in sorted(surroundings.references.get(resource.id, frozenset()) - own):
        yield f"{resource.id} is referenced by {referrer}"


def _leftovers(point: RecoveryPoint, surroundings: Surroundings) -> Iterable[Deletion]:
    """Copies that were made again or twice, of a point that stays: they go once the point is complete without them."""
    if not point.is_complete:
        return
    for resource in point.leftovers:
        if resource.state == "pending" or any(_objections_to(resource, point, surroundings)):
            continue
        reason = f"{resource.state}: another copy took its place in {point.id}"
        verdict = Verdict(id=resource.id, action=Action.EXPIRE, reasons=(reason,))
        yield Deletion(verdict=verdict, point=point, resources=(resource,))


def _newest_of_lineages(points: Iterable[RecoveryPoint]) -> dict[tuple[Place, ResourceId], str]:
    newest: dict[tuple[Place, ResourceId], RecoveryPoint] = {}
    # A duplicate is never the newest: the set that it duplicates stays instead.
    for point in earliest_sets(points).values():
        known = newest.get(_lineage(point))
        if known is None or (known.source_time, known.id) < (point.source_time, point.id):
            newest[_lineage(point)] = point
    return {lineage: point.id for lineage, point in newest.items()}


def _lineage(point: RecoveryPoint) -> tuple[Place, ResourceId]:
    return point.tags.identity.place, point.tags.identity.resource


def _cap(kept: list[Verdict], deletions: list[Deletion], cap: int) -> Pruning:
    deletions.sort(key=lambda deletion: (deletion.point.source_time, deletion.verdict.id))
    left = cap
    allowed: list[Deletion] = []
    capped: list[Verdict] = []
    for deletion in deletions:
        if deletion.calls <= left:
            left -= deletion.calls
            allowed.append(deletion)
        else:
            why = "; ".join(deletion.verdict.reasons)
            reason = f"above this run's cap of {cap} deletions ({why})"
            capped.append(Verdict(id=deletion.verdict.id, action=Action.KEEP, reasons=(reason,)))
    return Pruning(
        verdicts=(*kept, *(deletion.verdict for deletion in allowed), *capped),
        deletions=tuple(allowed),
        capped=len(capped),
    )
