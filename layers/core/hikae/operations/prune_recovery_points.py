"""Prune: list, decide, act, report. One failed deletion never stops the others."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hikae.domain.model import Image, Place, PointState, RecoveryPoint, Region, SiteRole, Unclear, Verdict
from hikae.domain.naming import manifest_key
from hikae.domain.points import assemble
from hikae.domain.pruning import Deletion, KeepPolicy, Surroundings, plan_pruning
from hikae.domain.replication import CopyPolicy
from hikae.operations.protect import Anything
from hikae.ports import (
    BrokenPlan,
    Documents,
    Fleet,
    Holdings,
    Outcome,
    Plans,
    PlanStore,
    PortError,
    Remover,
    Status,
    Unreachable,
)

_GONE = frozenset({"shutting-down", "terminated"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What one run of prune decided and did. In a dry run nothing was done."""

    verdicts: tuple[Verdict, ...]
    outcomes: tuple[Outcome, ...]
    unclear: tuple[Unclear, ...]
    broken_plans: tuple[BrokenPlan, ...]
    unreachable: tuple[str, ...]
    capped: int
    dry_run: bool


def prune_recovery_points(  # noqa: PLR0913 - one keyword per port
    *,
    installation: str,
    site: SiteRole,
    plans: PlanStore,
    holdings: Holdings,
    fleet: Fleet,
    documents: Documents,
    remover: Remover,
    destinations: Callable[[Region], Holdings],
    cap: int,
    dry_run: bool = False,
    observe: Callable[[Outcome], None] = lambda _: None,
) -> Pruned:
    """Delete what this site's plans do not keep and nothing else needs, at most `cap` deletions.

    `destinations` gives access to a recovery Region, to see which copies are complete there. `observe` hears of every
    outcome when it comes about, so that a run which is cut short has said what it deleted.
    """
    loaded = plans.load()
    snapshots = list(holdings.snapshots(installation=installation))
    all_images = list(holdings.images())
    catalogue = assemble(
        place=holdings.place,
        installation=installation,
        snapshots=snapshots,
        images=[image for image in all_images if image.tags.get("hikae:installation") == installation],
        manifests=set(documents.keys("manifests/")),
    )
    # Both sites may share a Region: each judges only what is its own.
    points = [point for point in catalogue.points if point.is_copy == (site is SiteRole.RECOVERY)]
    policy_of = _policies(loaded, site, holdings.place)
    copies_at, unreachable = _copies_at(installation, points, policy_of, destinations)
    pruning = plan_pruning(
        points=points,
        policy_of=policy_of,
        surroundings=Surroundings(references=_references(all_images, fleet), copies_at=copies_at),
        cap=cap,
    )
    outcomes: list[Outcome] = []
    for outcome in _failed_points(points):
        observe(outcome)
        outcomes.append(outcome)
    if not dry_run:
        for deletion in pruning.deletions:
            for outcome in _delete(deletion, remover):
                observe(outcome)
                outcomes.append(outcome)
        for outcome in _delete_manifests(points, tuple(outcomes), documents):
            observe(outcome)
            outcomes.append(outcome)
    return Pruned(
        verdicts=pruning.verdicts,
        outcomes=tuple(outcomes),
        unclear=catalogue.unclear,
        broken_plans=loaded.broken,
        unreachable=tuple(unreachable),
        capped=pruning.capped,
        dry_run=dry_run,
    )


def _policies(plans: Plans, site: SiteRole, place: Place) -> Callable[[str, str], KeepPolicy | None]:
    def policy_of(plan_name: str, rule_name: str) -> KeepPolicy | None:
        plan = plans.find(plan_name)
        rule = plan.rule(rule_name) if plan else None
        if plan is None or rule is None:
            return None
        if site is SiteRole.RECOVERY:
            copy = rule.copy_to(place.region)
            if copy is None:
                return None
            return KeepPolicy(retention=copy.retention, timezone=plan.timezone, retire_after=plan.retire_after)
        copies = {
            copy.region: CopyPolicy(retention=copy.retention, timezone=plan.timezone, rpo=rule.objectives.rpo)
            for copy in rule.copies
        }
        return KeepPolicy(
            retention=rule.retention, timezone=plan.timezone, copies=copies, retire_after=plan.retire_after
        )

    return policy_of


def _copies_at(
    installation: str,
    points: Iterable[RecoveryPoint],
    policy_of: Callable[[str, str], KeepPolicy | None],
    destinations: Callable[[Region], Holdings],
) -> tuple[dict[str, tuple[RecoveryPoint, ...] | None], list[str]]:
    """The copies that each recovery Region shows; None and the reason for one that does not answer."""
    rules = {(point.tags.identity.plan, point.tags.identity.rule) for point in points}
    regions = {region for rule in rules if (policy := policy_of(*rule)) for region in policy.copies}
    copies: dict[str, tuple[RecoveryPoint, ...] | None] = {}
    unreachable = []
    for region in sorted(regions):
        there = destinations(Region(region))
        try:
            found = assemble(
                place=there.place,
                installation=installation,
                snapshots=list(there.snapshots(installation=installation)),
                images=list(there.images(installation=installation)),
                # The primary may describe the recovery Region and no more: it cannot see the manifests there.
                manifests=Anything(),
            )
        except Unreachable as error:
            copies[region] = None
            unreachable.append(f"{region}: {error}")
        else:
            copies[region] = tuple(point for point in found.points if point.is_copy)
    return copies, unreachable


def _references(images: Iterable[Image], fleet: Fleet) -> Mapping[str, frozenset[str]]:
    """By snapshot and image id: the images that use a snapshot, the instances that were started from an image."""
    references: dict[str, set[str]] = defaultdict(set)
    for image in images:
        for snapshot in image.snapshots:
            references[snapshot].add(image.id)
    for instance in fleet.instances():
        if instance.state not in _GONE:
            references[instance.image_id].add(instance.id)
    return {resource: frozenset(referrers) for resource, referrers in references.items()}


def _failed_points(points: Sequence[RecoveryPoint]) -> Iterable[Outcome]:
    """The points that EC2 has failed to make and that no later attempt replaced: their slot may be long over.

    Copies that failed are the broker's: it makes them again, and reports those that it has given up.
    """
    replaced = {point.tags.point for point in points if point.state in (PointState.COMPLETE, PointState.PENDING)}
    for point in points:
        if point.state is PointState.FAILED and not point.is_copy and point.tags.point not in replaced:
            yield Outcome(
                resource=point.tags.identity.resource,
                status=Status.FAILED,
                reason=f"EC2 failed to make its recovery point: {point.reason}",
                point=point.tags.point,
            )


def _delete(deletion: Deletion, remover: Remover) -> Iterable[Outcome]:
    """Delete what belongs together, one by one; the first that EC2 refuses keeps the rest of it for the next run."""
    reason = "; ".join(deletion.verdict.reasons)
    point = deletion.point.tags.point
    for resource in deletion.resources:
        try:
            staying = remover.deregister_image(resource.id) if isinstance(resource, Image) else None
            if not isinstance(resource, Image):
                remover.delete_snapshot(resource.id)
        except PortError as error:
            yield Outcome(resource=resource.id, status=Status.FAILED, reason=str(error), point=point)
            return
        yield Outcome(resource=resource.id, status=Status.DELETED, reason=reason, point=point)
        for snapshot, why in (staying or {}).items():
            left = f"{resource.id} is gone, its snapshot stays: {why}"
            yield Outcome(resource=snapshot, status=Status.FAILED, reason=left, point=point)


def _delete_manifests(
    points: Iterable[RecoveryPoint], outcomes: Iterable[Outcome], documents: Documents
) -> Iterable[Outcome]:
    """Remove the manifests that no set needs any more; one that stays behind only costs its storage."""
    deleted = {outcome.resource for outcome in outcomes if outcome.status is Status.DELETED}
    gone: dict[str, str] = {}
    needed: set[str] = set()
    for point in points:
        key = manifest_key(point.tags)
        resources = [point.image.id] if point.image else [snapshot.id for snapshot in point.snapshots]
        if deleted.issuperset(resources):
            gone[key] = point.tags.point
        else:
            needed.add(key)
    for key in sorted(gone.keys() - needed):
        try:
            documents.delete(key)
        except PortError as error:
            yield Outcome(resource=key, status=Status.FAILED, reason=str(error), point=gone[key])
