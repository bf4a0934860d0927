"""Which recovery points may go: retention proposes, guards object, limits hold back. Every verdict has all its reasons.

Ages are told by the points' own times and not by the clock, but for resources that are gone, where there is nothing
else to go by: there the clock must agree with the last inventory.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from hikae.domain import retention
from hikae.domain.guards import (
    Circumstances,
    Lineage,
    Surroundings,
    lineage_of,
    newest_of_lineages,
    object_to_deleting,
    object_to_touching,
)
from hikae.domain.model import (
    Action,
    Image,
    PointId,
    PointState,
    RecoveryPoint,
    Region,
    SiteRole,
    Snapshot,
    Verdict,
)
from hikae.domain.naming import format_time
from hikae.domain.plan import Plan
from hikae.domain.plan_grammar import write_duration
from hikae.domain.points import FAILED_IMAGE, FAILED_SNAPSHOT
from hikae.domain.replication import (
    CopyPolicy,
    Group,
    copy_policy_of,
    earliest_sets,
    grouped,
    is_given_up,
    judge_copies,
)
from hikae.domain.retention import Policy

INCOMPLETE_AFTER: Final = timedelta(days=1)
"""How much older than a complete point of its resource a set must be before it is given up for incomplete."""
CHURN: Final = timedelta(days=1)
"""How much younger than its resource's newest point are points whose going by themselves never holds a run back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepPolicy:
    """What a site keeps of a rule's points; `copies` is what each of the rule's destinations keeps, by its Region.

    `retire_after` is how old the newest point of a resource that is gone may grow; None: for ever. `note` says where
    the policy comes from, if not from a plan that is in force.
    """

    retention: Policy
    timezone: ZoneInfo
    copies: Mapping[Region, CopyPolicy] = field(default_factory=dict)
    retire_after: timedelta | None = None
    note: str = ""


PolicyOf = Callable[[str, str], KeepPolicy | None]


def keep_policy_of(plan: Plan, rule_name: str, *, site: SiteRole, region: Region, note: str = "") -> KeepPolicy | None:
    """What `plan` keeps of a rule's points at a site in `region`; None where it says nothing about them there."""
    rule = plan.rule(rule_name)
    if rule is None:
        return None
    if site is SiteRole.PRIMARY:
        retention = rule.retention
        destinations = {copy.region: copy_policy_of(plan, rule, copy.region) for copy in rule.copies}
        copies = {destination: policy for destination, policy in destinations.items() if policy}
    elif copy := rule.copy_to(region):
        retention, copies = copy.retention, {}
    else:
        return None
    return KeepPolicy(
        retention=retention, timezone=plan.timezone, copies=copies, retire_after=plan.retire_after, note=note
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionLimits:
    """How much one run may delete: calls in all, and per cent of the complete points of one lineage."""

    per_run: int
    lineage_percent: int


class Limit(StrEnum):
    """Which limit keeps what would go otherwise."""

    RUN = "capped"
    LINEAGE = "held back"


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
    """The verdict on every point and every leftover, and what to delete in this run, oldest first.

    `withheld` is what would go but for a limit, by the id of its verdict. `too_large` is what no run can delete, since
    the cap is below its size; a cap of nothing is somebody's wish, and too small for nothing.
    """

    verdicts: tuple[Verdict, ...]
    deletions: tuple[Deletion, ...]
    withheld: Mapping[str, Limit]
    too_large: tuple[Deletion, ...] = ()

    @property
    def capped(self) -> int:
        """How much would go but for the limit of the run."""
        return sum(limit is Limit.RUN for limit in self.withheld.values())

    @property
    def held_back(self) -> int:
        """How much would go but for the limit of a lineage."""
        return sum(limit is Limit.LINEAGE for limit in self.withheld.values())


def plan_pruning(
    *,
    points: Sequence[RecoveryPoint],
    policy_of: PolicyOf,
    surroundings: Surroundings,
    limits: DeletionLimits,
    now: datetime,
) -> Pruning:
    """Judge all points of one site. Sets are never split, whatever the limits."""
    newest = newest_of_lineages(points)
    retired = _retired(points, newest, policy_of, surroundings, now)
    circumstances = Circumstances(
        now=now,
        latest=max((point.source_time for point in points), default=None),
        newest={lineage: point.id for lineage, point in newest.items()},
        wanted=_wanted(points, policy_of, surroundings, now),
        retired=frozenset(retired),
        surroundings=surroundings,
    )
    kept: list[Verdict] = []
    deletions: list[Deletion] = []
    for group, members in grouped(points).items():
        proposals = _propose(policy_of(group.plan, group.rule), group, members, newest)
        for point in members:
            proposal = retired.get(point.id, proposals[point.id])
            if proposal.action is Action.EXPIRE:
                objections = object_to_deleting(point, circumstances)
                if objections:
                    proposal = Verdict(id=point.id, action=Action.KEEP, reasons=objections)
            if proposal.action is Action.EXPIRE:
                resources = (point.image,) if point.image else point.snapshots
                whole = (*resources, *point.leftovers)
                deletions.append(Deletion(verdict=proposal, point=point, resources=whole))
            else:
                kept.append(proposal if point.id in retired else _explain(proposal, point, policy_of, circumstances))
                for leftover in _judge_leftovers(point, circumstances):
                    if isinstance(leftover, Deletion):
                        deletions.append(leftover)
                    else:
                        kept.append(leftover)
    allowed, held_back = _hold_back(deletions, points, newest, retired, limits.lineage_percent)
    too_large = tuple(deletion for deletion in allowed if 0 < limits.per_run < deletion.calls)
    allowed, capped = _cap(allowed, limits.per_run)
    return Pruning(
        verdicts=(*kept, *(deletion.verdict for deletion in allowed), *held_back, *capped),
        deletions=tuple(allowed),
        withheld={verdict.id: Limit.LINEAGE for verdict in held_back} | {each.id: Limit.RUN for each in capped},
        too_large=too_large,
    )


def _retired(
    points: Iterable[RecoveryPoint],
    newest: Mapping[Lineage, RecoveryPoint],
    policy_of: PolicyOf,
    surroundings: Surroundings,
    now: datetime,
) -> dict[str, Verdict]:
    """What is left of resources that are gone, whose newest point is older than their plan's `retire_after`.

    First the complete points; when none is there any more, what remains of points, so that a run which was cut short is
    finished. What lacks only its manifest is no remains.
    """
    retired = {}
    for point in points:
        lineage = lineage_of(point)
        policy = policy_of(point.tags.identity.plan, point.tags.identity.rule)
        is_remains = point.state in (PointState.INCOMPLETE, PointState.FAILED) and not point.lacks_manifest
        if policy is None or not (point.is_complete if lineage in newest else is_remains):
            continue
        is_gone = _is_known_to_be_gone(lineage, surroundings, now)
        last = newest.get(lineage, point)
        if is_given_up(last, retire_after=policy.retire_after, is_gone=is_gone, now=now):
            assert policy.retire_after is not None, "without it, nothing is given up"
            spelled = write_duration(policy.retire_after)
            what = "its newest point" if lineage in newest else f"this ({point.reason})"
            reason = f"{lineage.resource} is gone and {what} is older than retire_after {spelled}"
            retired[point.id] = Verdict(id=point.id, action=Action.EXPIRE, reasons=(reason,))
    return retired


def _is_known_to_be_gone(lineage: Lineage, surroundings: Surroundings, now: datetime) -> bool:
    """Whether the resource is gone, and the clock may be believed that says for how long."""
    return surroundings.is_gone(lineage) and surroundings.vouches_for(now, lineage.place)


def _wanted(
    points: Iterable[RecoveryPoint], policy_of: PolicyOf, surroundings: Surroundings, now: datetime
) -> dict[str, tuple[str, ...]]:
    """The points whose copy is wanted and not complete, with the reasons; all of a rule, where nobody can tell."""
    copies = {region: None if there is None else grouped(there) for region, there in surroundings.copies_at.items()}
    wanted: dict[str, list[str]] = {}
    for group, members in grouped(points).items():
        policy = policy_of(group.plan, group.rule)
        if policy is None:
            continue
        is_gone = _is_known_to_be_gone(Lineage(place=group.place, resource=group.resource), surroundings, now)
        sources = [
            point
            for point in members
            if not is_given_up(point, retire_after=policy.retire_after, is_gone=is_gone, now=now)
        ]
        for region, destination in policy.copies.items():
            there = copies.get(region)
            if there is None:
                reason = f"recovery Region {region} is unreachable, so its copy counts as not complete"
                due = [point.id for point in sources]
            else:
                reason = f"its copy to {region} is wanted and not complete"
                verdicts = judge_copies(destination, sources=sources, copies=there.get(group, ()))
                due = [verdict.id for verdict in verdicts if verdict.action is Action.COPY]
            for name in due:
                wanted.setdefault(name, []).append(reason)
    return {name: tuple(reasons) for name, reasons in wanted.items()}


def _propose(
    policy: KeepPolicy | None,
    group: Group,
    members: Sequence[RecoveryPoint],
    newest: Mapping[Lineage, RecoveryPoint],
) -> dict[str, Verdict]:
    """What retention says of one group's points, the incomplete ones and the duplicates included."""
    if policy is None:
        reason = f"this site has no readable plan {group.plan} with a rule {group.rule}"
        return {point.id: Verdict(id=point.id, action=Action.KEEP, reasons=(reason,)) for point in members}
    first = earliest_sets(members)
    judged = {
        verdict.id: verdict for verdict in retention.decide(policy.retention, first.values(), timezone=policy.timezone)
    }
    remains = [point for point in members if point.id not in judged]
    worth = retention.would_keep(
        policy.retention,
        first.values(),
        [point for point in remains if point.tags.point not in first],
        timezone=policy.timezone,
    )
    proposals = judged | {
        point.id: _judge_remains(point, first, newest, is_worth_keeping=point.id in worth) for point in remains
    }
    if policy.note:
        proposals = {
            name: Verdict(id=name, action=each.action, reasons=(*each.reasons, policy.note))
            for name, each in proposals.items()
        }
    return proposals


def _judge_remains(  # noqa: PLR0911 - every return is a verdict of its own
    point: RecoveryPoint,
    first: Mapping[PointId, RecoveryPoint],
    newest: Mapping[Lineage, RecoveryPoint],
    *,
    is_worth_keeping: bool,
) -> Verdict:
    """What is to become of a set that retention does not count: a duplicate, or one that is not complete.

    `is_worth_keeping` says whether a rule would keep it if it were whole.
    """
    original = first.get(point.tags.point)
    if point.is_complete and original is not None:
        return Verdict(id=point.id, action=Action.EXPIRE, reasons=(f"duplicate of {original.id}, which is earlier",))
    if point.state is PointState.PENDING:
        return Verdict(id=point.id, action=Action.KEEP, reasons=(f"pending: {point.reason}",))
    why = f"{point.state}: {point.reason}"
    if original is not None:
        return Verdict(id=point.id, action=Action.EXPIRE, reasons=(f"{why}; {original.id} took its place",))
    if point.state is PointState.FAILED and not point.is_copy:
        # Nothing can come of it, and while it is there an st1 or sc1 volume can have no other snapshot:
        # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html, ConcurrentSnapshotLimitExceeded
        reason = f"{why}; EC2 counts it among the snapshots that its volumes have under way"
        return Verdict(id=point.id, action=Action.EXPIRE, reasons=(reason,))
    if not point.lacks_manifest:
        # A set that was half deleted, or a copy that failed, and that nothing would keep if it were whole.
        if not is_worth_keeping:
            reason = f"{why}; no rule would keep it if it were complete"
            return Verdict(id=point.id, action=Action.EXPIRE, reasons=(reason,))
        later = newest.get(lineage_of(point))
        # What a copy lacks may still be copied; what a source lacks comes no more.
        if later and not point.is_copy and later.source_time - point.source_time > INCOMPLETE_AFTER:
            reason = f"{why}; {later.id} is complete and more than a day younger"
            return Verdict(id=point.id, action=Action.EXPIRE, reasons=(reason,))
    return Verdict(id=point.id, action=Action.KEEP, reasons=(why,))


def _explain(verdict: Verdict, point: RecoveryPoint, policy_of: PolicyOf, circumstances: Circumstances) -> Verdict:
    """Say beside a kept point what it costs that its resource is gone and nothing will ever supersede it."""
    lineage = lineage_of(point)
    if circumstances.newest.get(lineage) != point.id or not circumstances.surroundings.is_gone(lineage):
        return verdict
    policy = policy_of(point.tags.identity.plan, point.tags.identity.rule)
    size = sum(snapshot.size_gib for snapshot in point.snapshots)
    if policy is None or policy.retire_after is None:
        until = "for ever, as its plan has no retire_after"
    elif is_given_up(point, retire_after=policy.retire_after, is_gone=True, now=circumstances.now):
        # A clock that has jumped ahead must not give up everything at once.
        last = circumstances.surroundings.inventoried_at.get(lineage.place)
        until = (
            f"although it is past retire_after: the clock says {format_time(circumstances.now)}, and the last "
            f"inventory of {lineage.place} is {f'of {format_time(last)}' if last else 'not known'}"
        )
    else:
        until = f"until {format_time(point.source_time + policy.retire_after)}, by its plan's retire_after"
    reason = f"{lineage.resource} is gone; its newest point, of volumes of {size} GiB, is kept {until}"
    return Verdict(id=verdict.id, action=verdict.action, reasons=(*verdict.reasons, reason))


def _judge_leftovers(point: RecoveryPoint, circumstances: Circumstances) -> Iterable[Deletion | Verdict]:
    """Copies that were made again or twice, of a point that stays: what is to go, and why the others are kept.

    One that failed goes at once: the newest attempt, which carries their number, is never among them. What may still
    be good goes once the point is complete without it.
    """
    for resource in point.leftovers:
        failed = resource.state in FAILED_IMAGE | FAILED_SNAPSHOT
        objections = object_to_touching(resource, point, circumstances)
        if resource.state == "pending":
            objections = (f"pending: not a member of {point.id}", *objections)
        elif not (failed or point.is_complete):
            objections = (f"{resource.state}: may be needed until {point.id} is complete", *objections)
        if objections:
            yield Verdict(id=resource.id, action=Action.KEEP, reasons=objections)
            continue
        reason = f"{resource.state}: another copy took its place in {point.id}"
        verdict = Verdict(id=resource.id, action=Action.EXPIRE, reasons=(reason,))
        yield Deletion(verdict=verdict, point=point, resources=(resource,))


def _hold_back(
    deletions: Sequence[Deletion],
    points: Sequence[RecoveryPoint],
    newest: Mapping[Lineage, RecoveryPoint],
    retired: Mapping[str, Verdict],
    percent: int,
) -> tuple[list[Deletion], list[Verdict]]:
    """Hold back all complete points of a lineage that would lose more than `percent` of them at once.

    Duplicates, remains and what the user has given up do not count: they are no history. Nor is a lineage held back
    that would lose nothing but points of its last day: a rule that makes many and keeps few sheds most of them in every
    run, and that is no mistake.
    """
    first = {point.id: lineage_of(point) for point in earliest_sets(points).values()}
    whole = Counter(first.values())
    expired: Counter[Lineage] = Counter()
    oldest: dict[Lineage, datetime] = {}
    for deletion in deletions:
        if deletion.verdict.id in first and deletion.verdict.id not in retired:
            loser, time = first[deletion.verdict.id], deletion.point.source_time
            expired[loser] += 1
            oldest[loser] = min(time, oldest.get(loser, time))
    held = {
        lineage
        for lineage, number in expired.items()
        if number * 100 > percent * whole[lineage] and newest[lineage].source_time - oldest[lineage] > CHURN
    }
    allowed, verdicts = [], []
    for deletion in deletions:
        lineage = first.get(deletion.verdict.id)
        if lineage is None or lineage not in held or deletion.verdict.id in retired:
            allowed.append(deletion)
            continue
        share = f"{expired[lineage]} of the {whole[lineage]} complete points of {lineage.resource} would go at once"
        verdicts.append(_withhold(deletion, f"{share}, more than {percent} %"))
    return allowed, verdicts


def _cap(deletions: Sequence[Deletion], cap: int) -> tuple[list[Deletion], list[Verdict]]:
    """Let the oldest go first, until the next would be one too many: there the run stops.

    Of one point what remains of other attempts goes before the set that took their place: with that gone, nothing
    would be known against one that lacks only its manifest, and it would stay for ever.
    """
    oldest: dict[PointId, datetime] = {}
    for deletion in deletions:
        point = deletion.point
        oldest[point.tags.point] = min(point.source_time, oldest.get(point.tags.point, point.source_time))

    def turn(deletion: Deletion) -> tuple[datetime, str, bool, datetime, str]:
        point = deletion.point
        return oldest[point.tags.point], point.tags.point, point.is_complete, point.source_time, deletion.verdict.id

    left = cap
    allowed, verdicts = [], []
    for deletion in sorted(deletions, key=turn):
        if deletion.calls > cap:
            # It would stop every run; the others do not wait for it.
            verdicts.append(_withhold(deletion, f"needs {deletion.calls} deletions, the cap of a run is {cap}"))
        elif deletion.calls > left:
            left = 0
            verdicts.append(_withhold(deletion, f"above this run's cap of {cap} deletions"))
        else:
            left -= deletion.calls
            allowed.append(deletion)
    return allowed, verdicts


def _withhold(deletion: Deletion, why: str) -> Verdict:
    reasons = "; ".join(deletion.verdict.reasons)
    return Verdict(id=deletion.verdict.id, action=Action.KEEP, reasons=(f"{why} ({reasons})",))
