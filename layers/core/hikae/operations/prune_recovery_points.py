"""Prune: list, decide, act, report. One failed deletion never stops the others."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hikae.domain.guards import Lineage, Surroundings, lineage_of
from hikae.domain.inventory import list_present, read_presence, read_published_at
from hikae.domain.model import (
    Action,
    Image,
    Instance,
    Place,
    PointId,
    PointState,
    RecoveryPoint,
    RecycleBinRule,
    Region,
    SiteRole,
    SnapshotId,
    Unclear,
    Verdict,
    Volume,
)
from hikae.domain.naming import DRILL, RECOVERED_FROM, inventory_key, manifest_key
from hikae.domain.plan import Plan
from hikae.domain.points import ORPHANED, assemble
from hikae.domain.pruning import Deletion, DeletionLimits, KeepPolicy, Limit, PolicyOf, keep_policy_of, plan_pruning
from hikae.domain.strays import stray_manifests
from hikae.operations.protect import Anything
from hikae.operations.recovery.under_way import PointsInUse, find_points_in_use
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
    Usage,
)

_GONE = frozenset({"shutting-down", "terminated"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What one run of prune decided and did. In a dry run nothing was done.

    `points` are what the verdicts are about. `withheld` is what would have gone but for the limits, by the id of its
    verdict; `capped` and `held_back` count it: of the run, and of a lineage. `gone` are the lineages whose resource
    does not exist any more.
    """

    points: tuple[RecoveryPoint, ...]
    verdicts: tuple[Verdict, ...]
    withheld: Mapping[str, Limit]
    gone: frozenset[Lineage]
    outcomes: tuple[Outcome, ...]
    unclear: tuple[Unclear, ...]
    broken_plans: tuple[BrokenPlan, ...]
    unreachable: tuple[str, ...]
    capped: int
    held_back: int
    dry_run: bool


def prune_recovery_points(  # noqa: PLR0913 - one keyword per port
    *,
    installation: str,
    site: SiteRole,
    plans: PlanStore,
    holdings: Holdings,
    fleet: Fleet,
    usage: Usage,
    documents: Documents,
    remover: Remover,
    destinations: Callable[[Region], Holdings],
    limits: DeletionLimits,
    now: datetime,
    clock: Callable[[], datetime],
    require_recycle_bin: bool = False,
    dry_run: bool = False,
    observe: Callable[[Outcome], None] = lambda _: None,
    has_time: Callable[[], bool] = lambda: True,
) -> Pruned:
    """Delete what this site's plans do not keep and nothing else needs, within the limits.

    `destinations` gives access to a recovery Region, to see which copies are complete there. With `require_recycle_bin`
    only what a rule of the Recycle Bin would retain is deleted. `observe` hears of every outcome when it comes about,
    so that a run which is cut short has said what it deleted. Once there is no more time, nothing more is begun.

    Deleting takes minutes by the `clock`, and a restore may begin meanwhile: what it has chosen is kept.
    """
    chosen = _Chosen(site=site, documents=documents, clock=clock)
    survey = survey_site(
        installation=installation,
        site=site,
        plans=plans,
        holdings=holdings,
        fleet=fleet,
        usage=usage,
        documents=documents,
        destinations=destinations,
        now=now,
        require_recycle_bin=require_recycle_bin,
    )
    points = survey.points
    pruning = plan_pruning(
        points=points, policy_of=survey.policy_of, surroundings=survey.surroundings, limits=limits, now=now
    )
    outcomes: list[Outcome] = []
    for outcome in (
        *survey.failures,
        *_failed_points(points),
        *_orphans(points, pruning.verdicts),
        *_too_large(pruning.too_large, limits),
    ):
        observe(outcome)
        outcomes.append(outcome)
    if not dry_run:
        for deletion in pruning.deletions:
            for outcome in _delete(deletion, remover, has_time, chosen):
                observe(outcome)
                outcomes.append(outcome)
        for outcome in _delete_manifests(points, tuple(outcomes), survey.strays, documents):
            observe(outcome)
            outcomes.append(outcome)
    return Pruned(
        points=points,
        verdicts=pruning.verdicts,
        withheld=pruning.withheld,
        gone=frozenset(each for each in map(lineage_of, points) if survey.surroundings.is_gone(each)),
        outcomes=tuple(outcomes),
        unclear=survey.unclear,
        broken_plans=survey.broken_plans,
        unreachable=survey.unreachable,
        capped=pruning.capped,
        held_back=pruning.held_back,
        dry_run=dry_run,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a site holds and what is around it: all that pruning decides by.

    `failures` and `unreachable` are what could not be asked; the surroundings say so, too, and nothing goes because
    of it. `strays` are the keys of the manifests of which nothing is left, with the time at which each was written.
    """

    points: tuple[RecoveryPoint, ...]
    policy_of: PolicyOf
    surroundings: Surroundings
    instances: tuple[Instance, ...]
    volumes: tuple[Volume, ...]
    failures: tuple[Outcome, ...]
    unclear: tuple[Unclear, ...]
    broken_plans: tuple[BrokenPlan, ...]
    unreachable: tuple[str, ...]
    strays: Mapping[str, datetime]


def survey_site(  # noqa: PLR0913 - one keyword per port
    *,
    installation: str,
    site: SiteRole,
    plans: PlanStore,
    holdings: Holdings,
    fleet: Fleet,
    usage: Usage,
    documents: Documents,
    destinations: Callable[[Region], Holdings],
    now: datetime,
    require_recycle_bin: bool = False,
) -> Survey:
    """Look at one site, read only: its points, its plans, and everything that may need a point."""
    loaded = plans.load()
    snapshots = list(holdings.snapshots(installation=installation))
    all_images = list(holdings.images())
    manifests = documents.keys("manifests/")
    catalogue = assemble(
        place=holdings.place,
        installation=installation,
        snapshots=snapshots,
        images=[image for image in all_images if image.tags.get("hikae:installation") == installation],
        manifests=manifests,
    )
    tags = [*(each.tags for each in snapshots), *(each.tags for each in all_images)]
    # Both sites may share a Region: each judges only what is its own.
    points = tuple(point for point in catalogue.points if point.is_copy == (site is SiteRole.RECOVERY))
    policies = _Policies(store=plans, loaded=loaded, site=site, place=holdings.place)
    copies_at, unreachable = _copies_at(installation, points, policies.find, destinations)
    instances = tuple(fleet.instances())
    volumes = tuple(fleet.volumes())
    uses = _ask_for_uses(usage, require_recycle_bin=require_recycle_bin)
    in_use, unread = _in_use(site, documents)
    failures = (*uses.failures, *unread)
    inventories = _inventories(points, documents)
    return Survey(
        points=points,
        policy_of=policies.find,
        surroundings=Surroundings(
            references=_references(all_images, instances, uses.references),
            copies_at=copies_at,
            locks=uses.locks,
            runs={**_drills(all_images, instances, volumes), **in_use.points},
            unclear={each.point: each.id for each in catalogue.unclear if each.point is not None},
            present=_present(site, {fleet.place: frozenset(list_present(instances, volumes))}, inventories, now),
            inventoried_at=_inventoried_at(inventories),
            bin_rules=uses.bin_rules,
            unknown=tuple(outcome.reason for outcome in failures),
        ),
        instances=instances,
        volumes=volumes,
        failures=failures,
        unclear=catalogue.unclear,
        broken_plans=loaded.broken,
        unreachable=tuple(unreachable),
        strays={key: manifests[key] for key in stray_manifests(manifests, resources=tags, now=now)},
    )


@dataclass(slots=True, kw_only=True)
class _Policies:
    """What a site keeps of each rule's points: by the plan in force, or by the last one that said so."""

    store: PlanStore
    loaded: Plans
    site: SiteRole
    place: Place
    _found: dict[tuple[str, str], KeepPolicy | None] = field(default_factory=dict)

    def find(self, plan_name: str, rule_name: str) -> KeepPolicy | None:
        """The policy; None where nobody can say, so that everything is kept."""
        key = (plan_name, rule_name)
        if key not in self._found:
            self._found[key] = self._find(plan_name, rule_name)
        return self._found[key]

    def _find(self, plan_name: str, rule_name: str) -> KeepPolicy | None:
        plan = self.loaded.find(plan_name)
        policy = self._of(plan, rule_name, note="") if plan else None
        if policy is not None:
            return policy
        if plan is None and any(f"/{plan_name}." in broken.key for broken in self.loaded.broken):
            return None
        note = f"by the last plan {plan_name} that had the rule {rule_name} for this site, which was removed"
        try:
            past = (self._of(version, rule_name, note=note) for version in self.store.past(plan_name))
            return next((policy for policy in past if policy is not None), None)
        except PortError:
            return None

    def _of(self, plan: Plan, rule_name: str, *, note: str) -> KeepPolicy | None:
        return keep_policy_of(plan, rule_name, site=self.site, region=self.place.region, note=note)


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
        there = destinations(region)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Uses:
    """What the `Usage` port said; what it could not say is a failure, and keeps everything."""

    references: Mapping[str, frozenset[str]]
    locks: Mapping[str, str]
    bin_rules: tuple[RecycleBinRule, ...] | None
    failures: tuple[Outcome, ...]


def _ask_for_uses(usage: Usage, *, require_recycle_bin: bool) -> _Uses:
    failures: list[Outcome] = []
    references: Mapping[str, frozenset[str]] = {}
    locks: Mapping[str, str] = {}
    bin_rules: tuple[RecycleBinRule, ...] | None = () if require_recycle_bin else None
    try:
        references = usage.references()
    except PortError as error:
        failures.append(_unknown("who refers to snapshots and images", error))
    try:
        locks = usage.locked_snapshots()
    except PortError as error:
        failures.append(_unknown("which snapshots are locked", error))
    if require_recycle_bin:
        try:
            bin_rules = usage.recycle_bin_rules()
        except PortError as error:
            failures.append(_unknown("what the Recycle Bin covers", error))
    return _Uses(references=references, locks=locks, bin_rules=bin_rules, failures=tuple(failures))


def _unknown(what: str, error: PortError) -> Outcome:
    return Outcome(resource=what, status=Status.FAILED, reason=f"nobody knows {what}: {error}")


def _references(
    images: Iterable[Image], instances: Iterable[Instance], others: Mapping[str, frozenset[str]]
) -> Mapping[str, frozenset[str]]:
    """By snapshot and image id: the images that use a snapshot, the instances that run from an image, the others."""
    references: dict[str, set[str]] = defaultdict(set)
    for resource, referrers in others.items():
        references[resource].update(referrers)
    for image in images:
        for snapshot in image.snapshots:
            references[snapshot].add(image.id)
    for instance in instances:
        if instance.state not in _GONE:
            references[instance.image_id].add(instance.id)
    return {resource: frozenset(referrers) for resource, referrers in references.items()}


def _in_use(site: SiteRole, documents: Documents) -> tuple[PointsInUse, tuple[Outcome, ...]]:
    """What restores and drills under way have chosen; only recovery sites have any. One that is unread needs any."""
    if site is SiteRole.PRIMARY:
        return PointsInUse(points={}, unread={}), ()
    in_use = find_points_in_use(documents)
    return in_use, tuple(
        Outcome(resource=name, status=Status.FAILED, reason=f"nobody knows what run {name} recovers from: {reason}")
        for name, reason in sorted(in_use.unread.items())
    )


@dataclass(slots=True, kw_only=True)
class _Chosen:
    """What runs have chosen since the survey: asked for before the first deletion, and every half minute after it."""

    site: SiteRole
    documents: Documents
    clock: Callable[[], datetime]
    _asked_at: datetime | None = None
    _in_use: PointsInUse = field(default_factory=lambda: PointsInUse(points={}, unread={}))

    def keeps(self, point: RecoveryPoint) -> str:
        """Why the point is not deleted now; empty where it may be."""
        if self.site is SiteRole.PRIMARY:
            return ""
        if self._asked_at is None or self.clock() - self._asked_at >= _ASK_AGAIN:
            try:
                self._in_use = find_points_in_use(self.documents)
            except PortError as error:
                return f"nobody knows which runs are under way: {error}"
            self._asked_at = self.clock()
        if self._in_use.unread:
            return f"nobody knows what run {min(self._in_use.unread)} recovers from"
        if self._in_use.choosing:
            return f"run {min(self._in_use.choosing)} is choosing what it recovers from"
        run = self._in_use.points.get(point.tags.point)
        return f"run {run}, which has begun meanwhile, recovers from it" if run else ""


_ASK_AGAIN = timedelta(seconds=30)


def _drills(images: Iterable[Image], instances: Iterable[Instance], volumes: Iterable[Volume]) -> dict[str, str]:
    """The drill by each point of which something is still there, as its tags say: a document may be lost."""
    made = [image.tags for image in images]
    made.extend(instance.tags for instance in instances if instance.state not in _GONE)
    made.extend(volume.tags for volume in volumes)
    return {tags[RECOVERED_FROM]: tags[DRILL] for tags in made if DRILL in tags and RECOVERED_FROM in tags}


def _inventories(points: Iterable[RecoveryPoint], documents: Documents) -> dict[Place, Mapping[str, Any]]:
    """By place that the points are from, its inventory as far as this site has it."""
    inventories: dict[Place, Mapping[str, Any]] = {}
    for place in {point.tags.identity.place for point in points}:
        try:
            inventories[place] = documents.read(inventory_key(place))
        except PortError:
            continue
    return inventories


def _present(
    site: SiteRole,
    here: Mapping[Place, frozenset[str]],
    inventories: Mapping[Place, Mapping[str, Any]],
    now: datetime,
) -> Mapping[Place, frozenset[str]]:
    """By place, the resources that exist; a recovery site knows them by the primary's inventory."""
    if site is SiteRole.PRIMARY:
        return here
    found = {place: read_presence(inventory, now=now) for place, inventory in inventories.items()}
    return {place: present for place, present in found.items() if present is not None}


def _inventoried_at(inventories: Mapping[Place, Mapping[str, Any]]) -> dict[Place, datetime]:
    found = {place: read_published_at(inventory) for place, inventory in inventories.items()}
    return {place: published_at for place, published_at in found.items() if published_at is not None}


def _orphans(points: Iterable[RecoveryPoint], verdicts: Iterable[Verdict]) -> Iterable[Outcome]:
    """The snapshots whose image has vanished and that stay for now: somebody pays for them and may not know."""
    kept = {verdict.id: verdict for verdict in verdicts if verdict.action is Action.KEEP}
    for point in points:
        if point.reason == ORPHANED and point.id in kept:
            why = "; ".join(kept[point.id].reasons)
            reason = f"orphan: {why}; it goes when nothing keeps it, or delete it if you do not need it"
            for snapshot in point.snapshots:
                yield Outcome(resource=snapshot.id, status=Status.KEPT, reason=reason, point=point.tags.point)


def _too_large(deletions: Iterable[Deletion], limits: DeletionLimits) -> Iterable[Outcome]:
    """What stays for ever because of the cap, and what would let it go."""
    for deletion in deletions:
        reason = (
            f"needs {deletion.calls} deletions, the cap of a run is {limits.per_run}: it stays until DeletionCap is at"
            f" least {deletion.calls}"
        )
        resource = deletion.point.tags.identity.resource
        yield Outcome(resource=resource, status=Status.FAILED, reason=reason, point=deletion.point.tags.point)


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


_OUT_OF_TIME = "this run had no time left to delete it; the next one goes on"


def _delete(deletion: Deletion, remover: Remover, has_time: Callable[[], bool], chosen: _Chosen) -> Iterable[Outcome]:
    """Delete what belongs together, one by one; the first that EC2 refuses keeps the rest of it for the next run."""
    reason = "; ".join(deletion.verdict.reasons)
    point = deletion.point.tags.point
    kept = chosen.keeps(deletion.point)
    if kept:
        yield Outcome(resource=deletion.point.tags.identity.resource, status=Status.LATER, reason=kept, point=point)
        return
    for resource in deletion.resources:
        if not has_time():
            yield Outcome(resource=resource.id, status=Status.LATER, reason=_OUT_OF_TIME, point=point)
            return
        try:
            if isinstance(resource, Image):
                results = remover.deregister_image(resource.id)
            else:
                remover.delete_snapshot(resource.id)
        except PortError as error:
            yield Outcome(resource=resource.id, status=Status.FAILED, reason=str(error), point=point)
            return
        yield Outcome(resource=resource.id, status=Status.DELETED, reason=reason, point=point)
        if isinstance(resource, Image):
            yield from _delete_rest(resource, results, remover, point)


def _delete_rest(
    image: Image, results: Mapping[SnapshotId, str], remover: Remover, point: PointId
) -> Iterable[Outcome]:
    """Delete what the deregistration has left of an image's snapshots, but for those that another image needs."""
    for snapshot in image.snapshots:
        result = results.get(snapshot, "EC2 did not say what became of it")
        if result == "success":
            continue
        if result == "skipped":
            # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSnapshotReturnCode.html
            reason = f"{image.id} is gone, and its snapshot stays: another image uses it"
            yield Outcome(resource=snapshot, status=Status.KEPT, reason=reason, point=point)
            continue
        try:
            remover.delete_snapshot(snapshot)
        except PortError as error:
            reason = f"{image.id} is gone, its snapshot stays: {result}; {error}"
            yield Outcome(resource=snapshot, status=Status.FAILED, reason=reason, point=point)


def _delete_manifests(
    points: Iterable[RecoveryPoint], outcomes: Iterable[Outcome], strays: Mapping[str, datetime], documents: Documents
) -> Iterable[Outcome]:
    """Remove the manifests that no set needs any more; one that stays behind only costs its storage."""
    deleted = {outcome.resource for outcome in outcomes if outcome.status is Status.DELETED}
    written: Mapping[str, datetime] = {}
    try:
        # Meanwhile a job may have come back and written its manifest anew, before its set.
        written = documents.keys("manifests/") if strays else {}
    except PortError as error:
        yield Outcome(resource="manifests/", status=Status.FAILED, reason=str(error))
    gone: dict[str, str] = {key: "" for key, moment in strays.items() if written.get(key) == moment}
    needed: set[str] = set()
    for point in points:
        key = manifest_key(point.tags)
        resources = [point.image.id] if point.image else [snapshot.id for snapshot in point.snapshots]
        if deleted.issuperset(resources) and point.state is not PointState.FAILED:
            # A job that is still to be carried out may be writing the manifest of a failed attempt anew: that one is
            # left to a later run, as a stray.
            gone[key] = point.tags.point
        else:
            needed.add(key)
    for key in sorted(gone.keys() - needed):
        try:
            documents.delete(key)
        except PortError as error:
            yield Outcome(resource=key, status=Status.FAILED, reason=str(error), point=gone[key])
