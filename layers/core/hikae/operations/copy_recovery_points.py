"""The copy broker: bring the recovery site level with what is wanted there.

Nothing that wakes it is believed. It compares what exists in both places, and starts the copies that are missing, most
RPO at risk first, never more at a time than the limit allows, counting everybody's.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from hikae.domain import naming
from hikae.domain.guards import STANDARD_TIER
from hikae.domain.inventory import read_presence
from hikae.domain.manifest import ManifestError, read_manifest
from hikae.domain.model import CopyOrigin, Image, Kind, Place, PointTags, RecoveryPoint, Snapshot, Unclear, Verdict
from hikae.domain.points import Catalogue, assemble
from hikae.domain.replication import (
    KEY_REMEDY,
    CopyPolicy,
    RetryCopy,
    StartCopy,
    attempt_of,
    copy_policy_of,
    next_copy,
    plan_replication,
)
from hikae.ports import (
    Ambiguous,
    BrokenPlan,
    Copier,
    CopyQuotas,
    Documents,
    Holdings,
    LimitReached,
    NotFound,
    Outcome,
    Plans,
    PlanStore,
    PortError,
    RecentCopies,
    Refused,
    Status,
    Throttled,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSite:
    """A primary site, as the recovery site sees it: what it holds, and its bucket."""

    holdings: Holdings
    documents: Documents


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyLimits:
    """The most copies that the site wants in flight in its account and Region, whoever started them."""

    snapshots: int
    images: int


DEFAULT_SNAPSHOT_COPIES: Final = 20
"""EC2's quota where it cannot be read: https://docs.aws.amazon.com/ebs/latest/userguide/ebs-resource-quotas.html"""
DEFAULT_IMAGE_COPIES: Final = 300
"""https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/how-ami-copy-works.html"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitInForce:
    """How many copies of one kind may be in flight in this run, with what says so and why that could not be asked.

    Where it `is_quota`, EC2 refuses whatever is beyond it.
    """

    value: int
    reason: str
    problem: str = ""
    is_quota: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Copying:
    """What one run of the broker found and did."""

    outcomes: tuple[Outcome, ...]
    verdicts: tuple[Verdict, ...]
    unclear: tuple[Unclear, ...]
    broken_plans: tuple[BrokenPlan, ...]
    in_flight: int
    wanted: int
    limits: Mapping[str, LimitInForce] = field(default_factory=dict)


def copy_recovery_points(  # noqa: PLR0913 - one keyword per port
    *,
    installation: str,
    plans: PlanStore,
    primaries: Mapping[Place, Callable[[], SourceSite]],
    holdings: Holdings,
    documents: Documents,
    copier: Copier,
    recent: RecentCopies,
    limits: CopyLimits,
    quotas: CopyQuotas,
    now: datetime,
    clock: Callable[[], datetime],
    observe: Callable[[Outcome], None] = lambda _: None,
    has_time: Callable[[], bool] = lambda: True,
) -> Copying:
    """Start the copies that are wanted here and not under way. A primary that cannot be asked stops no other.

    `limits` bound what EC2's `quotas` allow; a quota is only asked for where a copy of its kind is to be started.

    `clock` says when a copy is asked for, which may be minutes after `now`: reading both places takes its time.

    `observe` hears of every outcome when it comes about, so that a run which is cut short has said what it did. Once
    there is no more time, no copy is begun: the rest waits for the next run.
    """
    loaded = plans.load()
    policies = copy_policies(loaded, holdings.place)
    here, manifests = _catalogue(installation, holdings, documents)
    # Where a primary site shares the Region, its points are sources, whatever else they look like.
    copies = [point for point in here.points if point.is_copy]
    outcomes: list[Outcome] = []
    sources: list[RecoveryPoint] = []
    unclear = list(here.unclear)
    sites: dict[Place, SourceSite] = {}
    present: dict[Place, frozenset[str]] = {}
    for place, connect in primaries.items():
        try:
            site = connect()
            found, _ = _catalogue(installation, site.holdings, site.documents)
        except PortError as error:
            outcomes.append(Outcome(resource=str(place), status=Status.FAILED, reason=f"cannot be read: {error}"))
            continue
        outcomes.extend(
            _pull_inventory(place, site.documents, documents, holdings.place, policies.keys(), present, now)
        )
        sites[place] = site
        sources.extend(point for point in found.points if not point.is_copy)
        unclear.extend(found.unclear)
    for outcome in outcomes:
        observe(outcome)
    decided = plan_replication(sources=sources, copies=copies, policies=policies, now=now, present=present)
    broker = _Broker(
        holdings=holdings,
        documents=documents,
        copier=copier,
        recent=recent,
        limits=limits,
        quotas=quotas,
        copies=copies,
        unclear=here.unclear,
        manifest_keys=manifests,
        observe=observe,
        has_time=has_time,
        now=now,
        clock=clock,
    )
    for point in decided.wanted:
        outcomes.extend(broker.copy(point, sites[point.tags.identity.place].documents))
    return Copying(
        outcomes=tuple(outcomes),
        verdicts=decided.verdicts,
        unclear=tuple(unclear),
        broken_plans=loaded.broken,
        in_flight=broker.in_flight,
        wanted=len(decided.wanted),
        limits=broker.in_force,
    )


def copy_policies(plans: Plans, place: Place) -> dict[tuple[str, str], CopyPolicy]:
    """What the plans of the site at `place` keep of copies there, by (plan, rule)."""
    return {
        (plan.name, rule.name): policy
        for plan in plans.readable
        for rule in plan.rules
        if (policy := copy_policy_of(plan, rule, place.region))
    }


def _catalogue(installation: str, holdings: Holdings, documents: Documents) -> tuple[Catalogue, Collection[str]]:
    """What a place holds, and the keys of its site's manifests."""
    # Points before manifests: a manifest is written before its point, so none of those found can lack one by timing.
    snapshots = list(holdings.snapshots(installation=installation))
    images = list(holdings.images(installation=installation))
    manifests = documents.keys("manifests/")
    catalogue = assemble(
        place=holdings.place, installation=installation, snapshots=snapshots, images=images, manifests=manifests
    )
    return catalogue, manifests


def _pull_inventory(  # noqa: PLR0913, PLR0917 - where from, where to, and what is learnt from it
    place: Place,
    source: Documents,
    destination: Documents,
    here: Place,
    policies: Collection[tuple[str, str]],
    present: dict[Place, frozenset[str]],
    now: datetime,
) -> Iterable[Outcome]:
    """Bring over what the primary says it protects, and name the rules that mean to copy here and that nobody knows.

    What exists at the primary goes into `present`. An inventory that cannot be read is reported; it stops no copy,
    since points say themselves what they are.
    """
    key = naming.inventory_key(place)
    try:
        document = source.read(key)
        destination.write(key, document)
        known = read_presence(document, now=now)
        if known is not None:
            present[place] = known
        wanted = {
            (str(row["plan"]), str(row["rule"]))
            for row in document["resources"]
            if row["unprotectable"] is None and here.region in row["destinations"]
        }
    except NotFound:
        return  # a primary that has not ticked yet
    except (PortError, KeyError, TypeError) as error:
        yield Outcome(resource=f"{place} inventory", status=Status.FAILED, reason=f"it cannot be pulled: {error}")
        return
    for plan, rule in sorted(wanted - set(policies)):
        reason = f"{place} wants its points copied here, and this site has no such plan and rule for {here.region}"
        yield Outcome(resource=f"{plan}/{rule}", status=Status.FAILED, reason=reason)


_FULL = "as many copies are in flight as are allowed"
_OUT_OF_TIME = "this run had no time left; the next one goes on"
_ASKED_FOR = "another run has just asked for it"


@dataclass(slots=True, kw_only=True)
class _Broker:
    """Starts copies, one run long, within the limits."""

    holdings: Holdings
    documents: Documents
    copier: Copier
    recent: RecentCopies
    limits: CopyLimits
    quotas: CopyQuotas
    copies: Sequence[RecoveryPoint]
    unclear: Sequence[Unclear]
    manifest_keys: Collection[str]
    observe: Callable[[Outcome], None]
    has_time: Callable[[], bool]
    now: datetime
    clock: Callable[[], datetime]
    _unclear_of: dict[str, Unclear] = field(default_factory=dict)
    _snapshots_of: dict[str, list[Snapshot]] = field(default_factory=dict)
    _images_of: dict[str, list[Image]] = field(default_factory=dict)
    _recent: frozenset[str] = frozenset()
    _in_flight: Counter[str] = field(default_factory=Counter)
    _unconfirmed: Counter[str] = field(default_factory=Counter)
    _closed: set[str] = field(default_factory=set)
    in_force: dict[str, LimitInForce] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._unclear_of = {unclear.copy_of: unclear for unclear in self.unclear if unclear.copy_of}
        for point in self.copies:
            members: tuple[Snapshot | Image, ...] = (point.image,) if point.image else point.snapshots
            for copy in (*members, *point.leftovers):
                origin = copy.tags.get(naming.COPY_OF)
                # The snapshots of an image that is not there (any more, or yet) are no copies of the image.
                if origin is None or (isinstance(copy, Snapshot) and point.tags.kind is Kind.IMAGE):
                    continue
                if isinstance(copy, Image):
                    self._images_of.setdefault(origin, []).append(copy)
                else:
                    self._snapshots_of.setdefault(origin, []).append(copy)
        asked = self.recent.started(now=self.now)
        self._recent = asked.made | asked.unconfirmed
        pending_snapshots = [each for each in self.holdings.pending_snapshots() if each.is_copy]
        pending_images = [each for each in self.holdings.pending_images() if each.is_copy]
        # An image's copy brings pending snapshots of its own, which count against the images' limit, not this one.
        self._in_flight[_SNAPSHOTS] = sum(each.tags.get("hikae:kind") != Kind.IMAGE for each in pending_snapshots)
        self._in_flight[_IMAGES] = len(pending_images)
        copies: list[Snapshot | Image] = [copy for group in self._snapshots_of.values() for copy in group]
        copies.extend(copy for group in self._images_of.values() for copy in group)
        visible = {_name_of(copy.tags[naming.COPY_OF], attempt_of(copy)) for copy in copies}
        for names, count in ((asked.made, self._in_flight), (asked.unconfirmed, self._unconfirmed)):
            count.update(_IMAGES if name.startswith("ami-") else _SNAPSHOTS for name in names - visible)

    @property
    def in_flight(self) -> int:
        return self._in_flight.total()

    def copy(self, point: RecoveryPoint, manifests: Documents) -> list[Outcome]:
        """Start what is missing of one point's copy: its manifest first, then its members."""
        outcomes = []
        for outcome in self._copy(point, manifests):
            self.observe(outcome)
            outcomes.append(outcome)
        return outcomes

    def _copy(self, point: RecoveryPoint, manifests: Documents) -> Iterable[Outcome]:
        tasks: list[tuple[Snapshot | Image, int]] = []
        archived = [each for each in point.snapshots if each.tier != STANDARD_TIER]
        if archived:
            # https://docs.aws.amazon.com/ebs/latest/userguide/snapshot-archive-considerations.html
            reason = f"it is in the {archived[0].tier} tier, from where nothing can be copied; restore it first"
            yield _outcome(archived[0], point, Status.FAILED, reason)
            return
        for member, due in self._missing(point):
            unclear = self._unclear_of.get(member.id)
            if unclear is not None:
                # Copying again because of a copy that cannot be understood would go on without end.
                reason = f"its copy {unclear.id} cannot be accounted for: {unclear.reason}"
                yield _outcome(member, point, Status.FAILED, reason)
            elif isinstance(due, RetryCopy):
                yield _outcome(member, point, Status.FAILED, due.reason)
            else:
                tasks.append((member, due.attempt))
        if tasks and all(self._is_full(member) for member, _ in tasks):
            yield from (_outcome(member, point, Status.LATER, _FULL) for member, _ in tasks)
            return
        if not self.has_time():
            yield from (_outcome(member, point, Status.LATER, _OUT_OF_TIME) for member, _ in tasks)
            return
        if naming.manifest_key(point.tags) not in self.manifest_keys:
            try:
                self._pull_manifest(point, manifests)
            except (PortError, ManifestError) as error:
                reason = f"its manifest cannot be pulled: {error}"
                resource = point.tags.identity.resource
                yield Outcome(resource=resource, status=Status.FAILED, reason=reason, point=point.tags.point)
                return
        for member, attempt in tasks:
            yield self._start(member, attempt, point)

    def _missing(self, point: RecoveryPoint) -> Iterable[tuple[Snapshot | Image, StartCopy | RetryCopy]]:
        """The members that no copy, finished or under way, stands for, each with what is due."""
        members: tuple[Snapshot | Image, ...] = (point.image,) if point.image else point.snapshots
        for member in members:
            due = next_copy(self._copies_of(member), now=self.now)
            if due is None or (isinstance(due, StartCopy) and _name_of(member.id, due.attempt) in self._recent):
                continue
            yield member, due

    def _copies_of(self, member: Snapshot | Image) -> Sequence[Snapshot | Image]:
        if isinstance(member, Image):
            return self._images_of.get(member.id, [])
        return self._snapshots_of.get(member.id, [])

    def _pull_manifest(self, point: RecoveryPoint, manifests: Documents) -> None:
        key = naming.manifest_key(point.tags)
        document = manifests.read(key)
        # A copy whose manifest cannot be read could rebuild nothing; it is refused while somebody can still mend it.
        read_manifest(document, tags=point.tags)
        self.documents.write(key, document)

    def _start(self, member: Snapshot | Image, attempt: int, point: RecoveryPoint) -> Outcome:
        name = _name_of(member.id, attempt)
        if hindrance := self._enter(member, name):
            return _outcome(member, point, Status.LATER, hindrance)
        origin = CopyOrigin(copy_of=member.id, source_time=point.source_time, attempt=attempt)
        tags = replace(_tags_of(member, point), origin=origin)
        try:
            created = self._call(member, tags, point.tags.identity.place)
        except (Throttled, LimitReached) as error:
            self.recent.forget(name)
            if isinstance(error, LimitReached):
                # There are copies that nobody sees yet. The others would only be refused, too.
                self._closed.add(_kind_of(member))
            return _outcome(member, point, Status.LATER, str(error))
        except Refused as error:
            self.recent.forget(name)
            reason = f"{error}; {KEY_REMEDY}" if "kms" in error.code.lower() else str(error)
            return _outcome(member, point, Status.FAILED, reason)
        except Ambiguous as error:
            # It stays in the list of recent copies: only after the consistency delay can EC2 be believed about it.
            self._unconfirmed[_kind_of(member)] += 1
            return _outcome(member, point, Status.LATER, f"nobody knows whether it was started: {error}")
        self._in_flight[_kind_of(member)] += 1
        self.recent.confirm(name, now=self.clock())
        return replace(_outcome(member, point, Status.CREATED, ""), created=(created,))

    def _enter(self, member: Snapshot | Image, name: str) -> str:
        """Write down that the copy of this name is asked for; or why it is not to be."""
        if self._is_full(member):
            return _FULL
        if not self.has_time():
            return _OUT_OF_TIME
        return "" if self.recent.remember(name, now=self.clock()) else _ASKED_FOR

    def _call(self, member: Snapshot | Image, tags: PointTags, source: Place) -> str:
        written = naming.write_tags(tags, carried=member.tags)
        description = f"hikae copy of {member.id} from {source.region}"
        if isinstance(member, Image):
            name = naming.image_name(tags)
            token = naming.copy_token(name, destination=self.holdings.place, now=self.now)
            return self.copier.copy_image(
                member.id, source, name=name, token=token, tags=written, description=description
            )
        return self.copier.copy_snapshot(member.id, source, written, description)

    def _is_full(self, member: Snapshot | Image) -> bool:
        kind = _kind_of(member)
        limit = self._limit(kind)
        # A copy of which nobody knows takes a place only where EC2 would let us go beyond our own limit. At its quota,
        # one that was never sent would keep the place empty, and one that was sent costs no more than a refusal.
        unconfirmed = 0 if limit.is_quota else self._unconfirmed[kind]
        return kind in self._closed or self._in_flight[kind] + unconfirmed >= limit.value

    def _limit(self, kind: str) -> LimitInForce:
        """What is in force for this run: EC2's quota, but no more than the site's own limit."""
        if kind not in self.in_force:
            if kind == _IMAGES:
                self.in_force[kind] = _limit(self.limits.images, self.quotas.image_copies, DEFAULT_IMAGE_COPIES)
            else:
                self.in_force[kind] = _limit(
                    self.limits.snapshots, self.quotas.snapshot_copies, DEFAULT_SNAPSHOT_COPIES
                )
        return self.in_force[kind]


_SNAPSHOTS, _IMAGES = "snapshots", "images"


def _kind_of(member: Snapshot | Image) -> str:
    return _IMAGES if isinstance(member, Image) else _SNAPSHOTS


def _limit(bound: int, ask: Callable[[], int | None], default: int) -> LimitInForce:
    try:
        quota = ask()
    except PortError as error:
        problem = f"EC2's quota cannot be read, its default of {default} is taken for it: {error}"
        return LimitInForce(value=min(bound, default), reason=f"at most EC2's default of {default}", problem=problem)
    if quota is None:
        return LimitInForce(value=min(bound, default), reason=f"EC2 lists no quota, its documented limit is {default}")
    reason = f"EC2's quota is {quota}, this site's own limit {bound}"
    return LimitInForce(value=min(bound, quota), reason=reason, is_quota=quota <= bound)


def _tags_of(member: Snapshot | Image, point: RecoveryPoint) -> PointTags:
    """The tags of a member's copy; a snapshot's names the volume, which EC2 replaces by an arbitrary id in copies."""
    if isinstance(member, Image):
        return point.tags
    return replace(point.tags, volume=member.volume_id)


def _name_of(source: str, attempt: int) -> str:
    return f"{source}/{attempt}"


def _outcome(member: Snapshot | Image, point: RecoveryPoint, status: Status, reason: str) -> Outcome:
    return Outcome(resource=member.id, status=status, reason=reason, point=point.tags.point)
