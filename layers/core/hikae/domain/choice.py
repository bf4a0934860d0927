"""Which points a recovery uses, and in which order their resources start."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from hikae.domain.manifest import Manifest
from hikae.domain.model import Kind, RecoveryPoint
from hikae.domain.naming import manifest_key, user_tags
from hikae.domain.runs import Member, Mode, Request, Run

MAX_FALLBACKS: Final = 3
"""How many points of one resource a run tries after the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The points of a run, and the resources that have none with the reason."""

    points: Mapping[str, RecoveryPoint]
    missing: Mapping[str, str]


def group_points(points: Iterable[RecoveryPoint]) -> dict[str, list[RecoveryPoint]]:
    """The points of each resource."""
    of_resource: dict[str, list[RecoveryPoint]] = {}
    for point in points:
        of_resource.setdefault(point.tags.identity.resource, []).append(point)
    return of_resource


def choose_points(
    points: Iterable[RecoveryPoint], resources: Iterable[str], request: Request, *, rejected: Mapping[str, str]
) -> Chosen:
    """For each resource its newest complete point, of those that the request allows and no step has rejected.

    `rejected` holds, by a set's id, why it cannot be used.
    """
    of_resource = group_points(points)
    chosen: dict[str, RecoveryPoint] = {}
    missing: dict[str, str] = {}
    for resource in resources:
        found = of_resource.get(resource, [])
        wanted = [point for point in found if _is_asked_for(point, request)]
        usable = [point for point in wanted if point.is_complete and point.id not in rejected]
        if usable:
            chosen[resource] = max(usable, key=lambda point: (point.source_time, point.id))
        else:
            missing[resource] = _why_none(found, wanted, request, rejected)
    return Chosen(points=chosen, missing=missing)


STILL_MISSED: Final = timedelta(days=1)
"""How long before the time that is restored a resource must have been gone for nobody to miss it."""


def list_missed(points: Iterable[RecoveryPoint], request: Request, *, began_at: datetime) -> set[str]:
    """The resources that are recovered although they are gone: a restore may be for what went within its last day.

    That they were there says a point. A drill rehearses what there is, and misses nothing.
    """
    if request.mode is Mode.DRILL:
        return set()
    as_of = request.before or began_at
    return {
        point.tags.identity.resource for point in points if timedelta(0) <= as_of - point.source_time <= STILL_MISSED
    }


def _is_asked_for(point: RecoveryPoint, request: Request) -> bool:
    if request.point:
        return point.tags.point == request.point
    return request.before is None or point.source_time <= request.before


def _why_none(
    found: Sequence[RecoveryPoint], wanted: Sequence[RecoveryPoint], request: Request, rejected: Mapping[str, str]
) -> str:
    if not found:
        return "there is no recovery point of it here"
    if not wanted:
        return f"none of its {len(found)} points here is {request.point or f'as old as {request.before}'}"
    newest = max(wanted, key=lambda point: point.source_time)
    why = rejected.get(newest.id) or newest.reason or f"it is {newest.state}"
    return f"none of its {len(wanted)} points can be used; the newest, {newest.tags.point}: {why}"


def tags_of_point(point: RecoveryPoint) -> dict[str, str]:
    """The resource's own tags, as far as the point's snapshots or image carry them."""
    carrier = point.image or point.snapshots[0]
    return user_tags(carrier.tags)


def list_groups(points: Iterable[RecoveryPoint], *, plan: str, group_by: str) -> dict[str, list[str]]:
    """The resources of a plan that are recovered together, by the value of their tag; without a tag, all together.

    A resource is in the group that its newest point says, complete or not; one without the tag is in the group "".
    """
    newest: dict[str, RecoveryPoint] = {}
    for point in points:
        identity = point.tags.identity
        if identity.plan == plan and (point.image or point.snapshots):
            known = newest.get(identity.resource)
            if known is None or point.source_time > known.source_time:
                newest[identity.resource] = point
    groups: dict[str, list[str]] = {}
    for resource in sorted(newest):
        value = tags_of_point(newest[resource]).get(group_by, "") if group_by else ""
        groups.setdefault(value, []).append(resource)
    return groups


def order_batches(orders: Mapping[str, str]) -> dict[str, int]:
    """The batch of each resource by the value of its order tag: equal values start together, none last.

    Numbers go by their size and before other text.
    """
    ranked = sorted({_rank(value) for value in orders.values()})
    batches = {rank: number for number, rank in enumerate(ranked)}
    return {resource: batches[_rank(value)] for resource, value in orders.items()}


def _rank(value: str) -> tuple[int, int, str]:
    if not value:
        return 2, 0, ""
    return (0, int(value), "") if value.isdecimal() and value.isascii() else (1, 0, value)


def member_of(point: RecoveryPoint, *, order: str, batch: int, attempt: int = 1) -> Member:
    """A member that recovers this point."""
    identity = point.tags.identity
    return Member(
        resource=identity.resource,
        kind=point.tags.kind,
        point=point.tags.point,
        set_id=point.id,
        source_time=point.source_time,
        manifest=manifest_key(point.tags),
        account=identity.place.account,
        region=identity.place.region,
        # A copy's own volume id is arbitrary: what it is a snapshot of is in its tag.
        snapshots={snapshot.tags.get("hikae:volume") or snapshot.volume_id: snapshot.id for snapshot in point.snapshots}
        if point.tags.kind is not Kind.IMAGE
        else {},
        image=point.image.id if point.image else "",
        attempt=attempt,
        order=order,
        batch=batch,
    )


def check_point(member: Member, manifest: Manifest) -> str:
    """Why the point cannot rebuild its resource, empty where it can."""
    volumes = manifest.protected_volumes
    lacking = [volume.id for volume in volumes if member.kind is not Kind.IMAGE and volume.id not in member.snapshots]
    if lacking:
        return f"it has no snapshot of {', '.join(lacking)}"
    if manifest.instance and all(volume.device != manifest.instance.root_device for volume in volumes):
        return f"its root volume at {manifest.instance.root_device} was left out, and without it nothing boots"
    return ""


def reject(run: Run, member: Member, reason: str) -> Run:
    """The run with the member's point rejected, so that the next selection takes an older one."""
    return replace(run, rejected={**run.rejected, member.set_id: reason})
