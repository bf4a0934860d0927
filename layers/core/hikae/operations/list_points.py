"""List the recovery points of a resource at one site, and say which of them a recovery would choose."""

from collections.abc import Mapping
from dataclasses import dataclass

from hikae.domain.choice import MAX_FALLBACKS, check_point, choose_points, member_of
from hikae.domain.manifest import ManifestError, read_manifest
from hikae.domain.model import Image, Place, RecoveryPoint, Snapshot, Unclear
from hikae.domain.naming import HOLD, manifest_key
from hikae.domain.points import assemble
from hikae.domain.runs import Mode, Request
from hikae.ports import Documents, Holdings, NotFound, PortError, Refused, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPoint:
    """One point; `unreadable` says why its manifest cannot rebuild it, and is empty where it can."""

    point: RecoveryPoint
    unreadable: str
    holds: Mapping[str, str]
    locks: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The points of a resource, the newest first, no more than were asked for.

    `chosen` is the set's id that a recovery would take, `why_none` the reason where it would take none. `unclear` is
    what says that it belongs to one of these points, or that it is of this resource, and that nobody can account for.
    `unknown` is what could not be asked.
    """

    place: Place
    points: tuple[ListedPoint, ...]
    total: int
    chosen: str
    why_none: str
    unclear: tuple[Unclear, ...]
    unknown: tuple[str, ...]


def list_points(  # noqa: PLR0913 - what it looks at
    resource: str, *, plan: str, limit: int, installation: str, holdings: Holdings, documents: Documents, usage: Usage
) -> Listing:
    """The newest `limit` points of `resource`, of `plan` alone where one is named.

    Raises:
        Unreachable: the site's EC2 or bucket does not answer.
    """
    # Points before manifests: a manifest is written before its point.
    snapshots = list(holdings.snapshots(installation=installation))
    images = list(holdings.images(installation=installation))
    catalogue = assemble(
        place=holdings.place,
        installation=installation,
        snapshots=snapshots,
        images=images,
        manifests=set(documents.keys("manifests/")),
    )
    found = [
        point
        for point in catalogue.points
        if point.tags.identity.resource == resource and (not plan or point.tags.identity.plan == plan)
    ]
    locks, unknown = _locks(usage)
    everything: list[Snapshot | Image] = [*snapshots, *images]
    of_resource = {each.id for each in everything if each.tags.get("hikae:resource") == resource}
    names = {point.tags.point for point in found}
    chosen, why_none = _choose(found, resource, documents)
    return Listing(
        place=holdings.place,
        points=tuple(_listed(point, documents, locks) for point in found[:limit]),
        total=len(found),
        chosen=chosen,
        why_none=why_none,
        unclear=tuple(each for each in catalogue.unclear if each.id in of_resource or each.point in names),
        unknown=unknown,
    )


def _locks(usage: Usage) -> tuple[Mapping[str, str], tuple[str, ...]]:
    try:
        return usage.locked_snapshots(), ()
    except PortError as error:
        return {}, (f"which snapshots are locked: {error}",)


def _choose(points: list[RecoveryPoint], resource: str, documents: Documents) -> tuple[str, str]:
    """As a run selects: the newest complete point that can rebuild the resource, of as many as a run tries."""
    request = Request(mode=Mode.RESTORE, resources=(resource,))
    rejected: dict[str, str] = {}
    while True:
        chosen = choose_points(points, [resource], request, rejected=rejected)
        if chosen.missing:
            return "", chosen.missing[resource]
        point = chosen.points[resource]
        if len(rejected) > MAX_FALLBACKS:
            return "", f"its {len(rejected)} newest points cannot be used; the last: {list(rejected.values())[-1]}"
        reason = _why_unreadable(point, documents)
        if not reason:
            return point.id, ""
        rejected[point.id] = reason


def _listed(point: RecoveryPoint, documents: Documents, locks: Mapping[str, str]) -> ListedPoint:
    members: list[Snapshot | Image] = [*([point.image] if point.image else []), *point.snapshots]
    return ListedPoint(
        point=point,
        unreadable=_why_unreadable(point, documents),
        holds={each.id: each.tags[HOLD] for each in members if HOLD in each.tags},
        locks={each.id: locks[each.id] for each in members if each.id in locks},
    )


def _why_unreadable(point: RecoveryPoint, documents: Documents) -> str:
    try:
        manifest = read_manifest(documents.read(manifest_key(point.tags)), tags=point.tags)
    except NotFound:
        return f"there is no manifest {manifest_key(point.tags)}"
    except (ManifestError, Refused) as error:
        return str(error)
    # What is not complete lacks snapshots anyway, and says so.
    return check_point(member_of(point, order="", batch=0), manifest) if point.is_complete else ""
