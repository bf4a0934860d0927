"""Everything that keeps a recovery point whatever retention says, each guard by its own name: deletion fails closed.

A guard looks at one point and yields its objections; a point goes only if no guard has any. `GUARDS` is all of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from hikae.domain.inventory import IS_GOOD_FOR
from hikae.domain.model import Image, Place, RecoveryPoint, RecycleBinRule, ResourceId, Snapshot
from hikae.domain.naming import HOLD, format_time
from hikae.domain.points import CONSISTENCY_DELAY
from hikae.domain.replication import earliest_sets

STANDARD_TIER: Final = "standard"
DISABLED: Final = "disabled"


class Lineage(NamedTuple):
    """The points of one resource at one site."""

    place: Place
    resource: ResourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What else is true at the time of pruning, all of it reasons to keep.

    Attributes:
        references: by the id of a snapshot or image, who names it: images, instances, launch templates, …
        copies_at: the copies that each destination Region shows, None for one that could not be asked.
        locks: by the id of a snapshot, its lock in words.
        runs: by the id of a point, the restore or drill under way that recovers something from it.
        unclear: by the id of a point, what says that it belongs to it and cannot be accounted for.
        present: by place, all resources that are there; a place that is missing could not be asked.
        inventoried_at: by place, when its inventory was published, which is what another clock says.
        bin_rules: the Recycle Bin's rules, where every deletion must be covered by one; None where it need not be.
        unknown: what could not be found out, though it might keep anything.
    """

    references: Mapping[str, frozenset[str]] = field(default_factory=dict)
    copies_at: Mapping[str, Sequence[RecoveryPoint] | None] = field(default_factory=dict)
    locks: Mapping[str, str] = field(default_factory=dict)
    runs: Mapping[str, str] = field(default_factory=dict)
    unclear: Mapping[str, str] = field(default_factory=dict)
    present: Mapping[Place, frozenset[str]] = field(default_factory=dict)
    inventoried_at: Mapping[Place, datetime] = field(default_factory=dict)
    bin_rules: tuple[RecycleBinRule, ...] | None = None
    unknown: tuple[str, ...] = ()

    def is_gone(self, lineage: Lineage) -> bool:
        """Whether the resource is known not to exist any more; what nobody knows is not gone."""
        present = self.present.get(lineage.place)
        return present is not None and lineage.resource not in present

    def vouches_for(self, now: datetime, place: Place) -> bool:
        """Whether the place's inventory, which every tick publishes, is of about `now`."""
        published_at = self.inventoried_at.get(place)
        return published_at is not None and -CONSISTENCY_DELAY <= now - published_at <= IS_GOOD_FOR


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the guards know: the surroundings, and what was worked out over all points.

    `newest` is the id of each lineage's newest complete point, `wanted` why the copy of a point still has to be made,
    `retired` the points of lineages that the user has given up.
    """

    now: datetime
    latest: datetime | None
    newest: Mapping[Lineage, str]
    wanted: Mapping[str, tuple[str, ...]]
    retired: frozenset[str]
    surroundings: Surroundings


Guard = Callable[[RecoveryPoint, Circumstances], Iterable[str]]


def lineage_of(point: RecoveryPoint) -> Lineage:
    """The lineage that `point` belongs to; a copy is in the lineage of its source's resource."""
    return Lineage(place=point.tags.identity.place, resource=point.tags.identity.resource)


def newest_of_lineages(points: Iterable[RecoveryPoint]) -> dict[Lineage, RecoveryPoint]:
    """The newest complete point of each lineage. A duplicate is never the newest: what it duplicates stays instead."""
    newest: dict[Lineage, RecoveryPoint] = {}
    for point in earliest_sets(points).values():
        known = newest.get(lineage_of(point))
        if known is None or (known.source_time, known.id) < (point.source_time, point.id):
            newest[lineage_of(point)] = point
    return newest


def object_to_deleting(point: RecoveryPoint, circumstances: Circumstances) -> tuple[str, ...]:
    """All objections of all guards to deleting `point` with everything that belongs to it."""
    return tuple(objection for guard in GUARDS for objection in guard(point, circumstances))


def object_to_touching(
    resource: Snapshot | Image, point: RecoveryPoint, circumstances: Circumstances
) -> tuple[str, ...]:
    """The objections to deleting one snapshot or image of `point`, whatever becomes of the rest of it."""
    return (
        *keep_while_the_clock_is_wrong(point, circumstances),
        *keep_while_something_is_unknown(point, circumstances),
        *keep_what_is_unclear(point, circumstances),
        *(objection for guard in _OF_RESOURCES for objection in guard(resource, point, circumstances.surroundings)),
    )


def keep_while_the_clock_is_wrong(_: RecoveryPoint, circumstances: Circumstances) -> Iterable[str]:
    """A point that was made after `now` shows that the clock has jumped back: then no age can be believed."""
    latest = circumstances.latest
    if latest is not None and latest > circumstances.now + CONSISTENCY_DELAY:
        yield f"the clock says {format_time(circumstances.now)}, and a point is of {format_time(latest)}"


def keep_while_something_is_unknown(_: RecoveryPoint, circumstances: Circumstances) -> Iterable[str]:
    """What could not be asked may need anything."""
    yield from circumstances.surroundings.unknown


def keep_the_newest(point: RecoveryPoint, circumstances: Circumstances) -> Iterable[str]:
    """Without its newest copy the next one is full, and without its newest point a resource may have none."""
    if circumstances.newest.get(lineage_of(point)) == point.id and point.id not in circumstances.retired:
        yield "newest complete point of its resource"


def keep_until_copied(point: RecoveryPoint, circumstances: Circumstances) -> Iterable[str]:
    """A source whose copy is wanted and not complete is all there is."""
    yield from circumstances.wanted.get(point.id, ())


def keep_while_recovered(point: RecoveryPoint, circumstances: Circumstances) -> Iterable[str]:
    """A restore or drill needs what it recovers from, from the moment at which it has chosen it."""
    run = circumstances.surroundings.runs.get(point.tags.point)
    if run is not None:
        yield f"the run {run} recovers from it"


def keep_what_is_unclear(point: RecoveryPoint, circumstances: Circumstances) -> Iterable[str]:
    """A point that may have more members than are known would be torn apart."""
    unclear = circumstances.surroundings.unclear.get(point.tags.point)
    if unclear is not None:
        yield f"{unclear} carries its id and cannot be accounted for"


def keep_for_its_resources(point: RecoveryPoint, circumstances: Circumstances) -> Iterable[str]:
    """What keeps one snapshot or image of a point keeps all of it."""
    image = (point.image,) if point.image else ()
    for resource in (*image, *point.snapshots, *point.leftovers):
        for guard in _OF_RESOURCES:
            yield from guard(resource, point, circumstances.surroundings)


GUARDS: Final[tuple[Guard, ...]] = (
    keep_while_the_clock_is_wrong,
    keep_while_something_is_unknown,
    keep_the_newest,
    keep_until_copied,
    keep_while_recovered,
    keep_what_is_unclear,
    keep_for_its_resources,
)


def _held(resource: Snapshot | Image, _: RecoveryPoint, __: Surroundings) -> Iterable[str]:
    if HOLD in resource.tags:
        yield f"{resource.id} is on hold"


def _locked(resource: Snapshot | Image, _: RecoveryPoint, surroundings: Surroundings) -> Iterable[str]:
    # https://docs.aws.amazon.com/ebs/latest/userguide/ebs-snapshot-lock.html
    if resource.id in surroundings.locks:
        yield f"{resource.id} is locked ({surroundings.locks[resource.id]})"


def _archived(resource: Snapshot | Image, _: RecoveryPoint, __: Surroundings) -> Iterable[str]:
    # Somebody chose to keep it for long, and pays 90 days of it in any case:
    # https://docs.aws.amazon.com/ebs/latest/userguide/snapshot-archive.html
    if isinstance(resource, Snapshot) and resource.tier != STANDARD_TIER:
        yield f"{resource.id} is in the {resource.tier} tier"


def _disabled(resource: Snapshot | Image, _: RecoveryPoint, __: Surroundings) -> Iterable[str]:
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/disable-an-ami.html
    if isinstance(resource, Image) and resource.state == DISABLED:
        yield f"{resource.id} was disabled by somebody"


def _protected(resource: Snapshot | Image, _: RecoveryPoint, __: Surroundings) -> Iterable[str]:
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-deregistration-protection.html
    if isinstance(resource, Image) and resource.protection:
        yield f"{resource.id} is protected from deregistration ({resource.protection})"


def _referenced(resource: Snapshot | Image, point: RecoveryPoint, surroundings: Surroundings) -> Iterable[str]:
    own: set[str] = {point.image.id} if point.image else set()
    own.update(each.id for each in point.leftovers)
    for referrer in sorted(surroundings.references.get(resource.id, frozenset()) - own):
        yield f"{resource.id} is referenced by {referrer}"


def _not_recoverable(resource: Snapshot | Image, _: RecoveryPoint, surroundings: Surroundings) -> Iterable[str]:
    rules = surroundings.bin_rules
    if rules is not None and not any(_covers(rule, resource) for rule in rules):
        yield f"no Recycle Bin rule covers {resource.id}"


def _covers(rule: RecycleBinRule, resource: Snapshot | Image) -> bool:
    """Whether the Recycle Bin would retain `resource`.

    https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-concepts.html
    """
    of_type = rule.resource_type == ("EC2_IMAGE" if isinstance(resource, Image) else "EBS_SNAPSHOT")
    if not (of_type and rule.is_available):
        return False
    if rule.tags:
        return _has_any(rule.tags, resource.tags)
    return not _has_any(rule.exclude_tags, resource.tags)


def _has_any(wanted: Iterable[tuple[str, str | None]], tags: Mapping[str, str]) -> bool:
    return any(key in tags and value in {None, tags[key]} for key, value in wanted)


_OF_RESOURCES: Final[tuple[Callable[[Snapshot | Image, RecoveryPoint, Surroundings], Iterable[str]], ...]] = (
    _held,
    _locked,
    _archived,
    _disabled,
    _protected,
    _referenced,
    _not_recoverable,
)
