"""Recovery points out of what EC2 holds: snapshots and images are put together by their tags, and only by them.

A set is point + attempt + equal source time. At a recovery site a set's members are the copies of the source's
members, each its one completed copy: https://docs.aws.amazon.com/ebs/latest/userguide/ebs-create-snapshots.html says
that a set's snapshots share their start time, a copy's own start time says nothing.
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple, TypeVar

from hikae.domain.model import (
    Consistency,
    Image,
    Kind,
    Place,
    PointState,
    PointTags,
    RecoveryPoint,
    Snapshot,
    Unclear,
)
from hikae.domain.naming import COPY_ATTEMPT, COPY_OF, POINT, TagError, manifest_key, read_tags

_R = TypeVar("_R", Snapshot, Image)

_SetKey = tuple[str, int, datetime | None, bool]

FAILED_SNAPSHOT = frozenset({"error"})
ORPHANED: Final = "its image is not there"
"""The reason of a point that consists of an image's snapshots without the image."""

FAILED_IMAGE = frozenset({"failed", "error", "invalid"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What one place holds of one installation: points, and what cannot be accounted for."""

    place: Place
    points: tuple[RecoveryPoint, ...]
    unclear: tuple[Unclear, ...]


def assemble(
    *,
    place: Place,
    installation: str,
    snapshots: Iterable[Snapshot],
    images: Iterable[Image],
    manifests: Container[str],
) -> Catalogue:
    """Put together the points of `installation` that live at `place`.

    `manifests` holds the keys of the manifests that the site has. What carries hikae's tags but is owned by somebody
    else, or whose tags do not agree, is returned as unclear.
    """
    unclear: list[Unclear] = []
    tagged_snapshots = _read(snapshots, place=place, installation=installation, unclear=unclear)
    tagged_images = _read(images, place=place, installation=installation, unclear=unclear)
    tagged_snapshots, disagreeing = _agreeing(tagged_snapshots)
    unclear.extend(disagreeing)
    of_sets = [pair for pair in tagged_snapshots if pair[0].kind is not Kind.IMAGE]
    of_images = [pair for pair in tagged_snapshots if pair[0].kind is Kind.IMAGE]
    points = [*_snapshot_points(of_sets, manifests), *_image_points(tagged_images, of_images, manifests)]
    points.sort(key=lambda point: (point.source_time, point.id), reverse=True)
    return Catalogue(place=place, points=tuple(points), unclear=tuple(unclear))


def _read(
    resources: Iterable[_R], *, place: Place, installation: str, unclear: list[Unclear]
) -> list[tuple[PointTags, _R]]:
    read = []
    for resource in resources:
        reason = None
        if resource.owner != place.account:
            reason = f"owned by {resource.owner}, not by {place.account}"
        else:
            try:
                tags = read_tags(resource.tags, place=place)
            except TagError as error:
                reason = str(error)
            else:
                if tags.identity.installation != installation:
                    reason = f"belongs to installation {tags.identity.installation}"
                elif isinstance(resource, Image) and tags.kind is not Kind.IMAGE:
                    reason = f"its tags say that it is a {tags.kind}"
                elif isinstance(resource, Image) and resource.created_at is None:
                    reason = "EC2 does not say when it was made"
        if reason is None:
            read.append((tags, resource))
        else:
            unclear.append(
                Unclear(
                    id=resource.id,
                    reason=reason,
                    copy_of=resource.tags.get(COPY_OF),
                    point=resource.tags.get(POINT),
                )
            )
    return read


def _agreeing(
    tagged: Sequence[tuple[PointTags, Snapshot]],
) -> tuple[list[tuple[PointTags, Snapshot]], list[Unclear]]:
    """Only the snapshots whose sets agree about what they are; a point's id does not cover all of its tags."""
    said: dict[_SetKey, set[tuple[Kind, int, Consistency]]] = defaultdict(set)
    for tags, snapshot in tagged:
        said[_set_of(tags, snapshot)].add((tags.kind, tags.members, tags.consistency))
    agreeing = [pair for pair in tagged if len(said[_set_of(*pair)]) == 1]
    unclear = [
        Unclear(
            id=snapshot.id,
            reason=f"the snapshots of {tags.point} do not agree about what makes it complete",
            copy_of=tags.origin.copy_of if tags.origin else None,
            point=tags.point,
        )
        for tags, snapshot in tagged
        if len(said[_set_of(tags, snapshot)]) > 1
    ]
    return agreeing, unclear


def _set_of(tags: PointTags, snapshot: Snapshot) -> _SetKey:
    if tags.kind is Kind.IMAGE:
        # An image says itself which snapshots are its own; theirs need not have started together.
        return tags.point, tags.attempt, None, tags.origin is not None
    source_time = tags.origin.source_time if tags.origin else snapshot.started_at
    return tags.point, tags.attempt, source_time, tags.origin is not None


def _snapshot_points(
    tagged: Sequence[tuple[PointTags, Snapshot]], manifests: Container[str]
) -> Iterable[RecoveryPoint]:
    groups: dict[_SetKey, list[tuple[PointTags, Snapshot]]] = defaultdict(list)
    for tags, snapshot in tagged:
        groups[_set_of(tags, snapshot)].append((tags, snapshot))
    for (_, _, _, is_copy), group in groups.items():
        first_tags, first = min(group, key=lambda pair: pair[1].id)
        source_time = first_tags.origin.source_time if first_tags.origin else first.started_at
        if is_copy:
            members, leftovers = _one_copy_each(group)
        else:
            members, leftovers = tuple(sorted((snapshot for _, snapshot in group), key=lambda each: each.id)), ()
        standing = _stand_of_members(members, first_tags, manifests)
        yield RecoveryPoint(
            tags=first_tags,
            source_time=source_time,
            state=standing.state,
            reason=standing.reason,
            lacks_manifest=standing.lacks_manifest,
            snapshots=members,
            leftovers=leftovers,
        )


def _one_copy_each(
    group: Sequence[tuple[PointTags, Snapshot]],
) -> tuple[tuple[Snapshot, ...], tuple[Snapshot, ...]]:
    """For each source snapshot its best copy: completed before pending before failed, of failed ones the newest."""
    by_source: dict[str, list[Snapshot]] = defaultdict(list)
    for tags, snapshot in group:
        by_source[tags.origin.copy_of if tags.origin else snapshot.id].append(snapshot)
    members, leftovers = [], []
    for copies in by_source.values():
        best, *others = sorted(copies, key=lambda copy: (*_merit(copy), copy.started_at, copy.id))
        members.append(best)
        leftovers.extend(others)
    return tuple(sorted(members, key=lambda each: each.id)), tuple(leftovers)


def _merit(copy: Snapshot | Image) -> tuple[int, int]:
    """Lower is better; of failed copies the newest attempt counts, since its number says how many there were."""
    rank = _RANK.get(copy.state, _WORST)
    return rank, -int(copy.tags.get(COPY_ATTEMPT, "0")) if rank == _WORST else 0


def _image_points(
    tagged: Sequence[tuple[PointTags, Image]],
    tagged_snapshots: Sequence[tuple[PointTags, Snapshot]],
    manifests: Container[str],
) -> Iterable[RecoveryPoint]:
    groups: dict[tuple[str, int, datetime, bool], list[tuple[PointTags, Image]]] = defaultdict(list)
    for tags, image in tagged:
        source_time = tags.origin.source_time if tags.origin else _created_at(image)
        # Two source images of one attempt would be two sets; their names forbid it, their times would tell.
        groups[tags.point, tags.attempt, source_time, tags.origin is not None].append((tags, image))
    by_id = {snapshot.id: snapshot for _, snapshot in tagged_snapshots}
    orphans = _orphans(tagged_snapshots, tagged)
    for (point, attempt, source_time, is_copy), group in groups.items():
        group.sort(key=lambda pair: (*_merit(pair[1]), _created_at(pair[1]), pair[1].id))
        tags, image = group[0]
        members = tuple(by_id[each] for each in image.snapshots if each in by_id)
        standing = _stand_of_image(image, members, tags, manifests)
        remains = [snapshot for _, snapshot in orphans.pop((point, attempt, is_copy), ())]
        yield RecoveryPoint(
            tags=tags,
            source_time=source_time,
            state=standing.state,
            reason=standing.reason,
            lacks_manifest=standing.lacks_manifest,
            snapshots=members,
            image=image,
            leftovers=(*(each for _, each in group[1:]), *remains),
        )
    for pairs in orphans.values():
        tags = pairs[0][0]
        is_pending = any(snapshot.state == "pending" for _, snapshot in pairs)
        yield RecoveryPoint(
            tags=tags,
            source_time=tags.origin.source_time if tags.origin else min(each.started_at for _, each in pairs),
            state=PointState.PENDING if is_pending else PointState.INCOMPLETE,
            reason=ORPHANED,
            snapshots=tuple(sorted((snapshot for _, snapshot in pairs), key=lambda each: each.id)),
        )


def _orphans(
    snapshots: Sequence[tuple[PointTags, Snapshot]], images: Sequence[tuple[PointTags, Image]]
) -> dict[tuple[str, int, bool], list[tuple[PointTags, Snapshot]]]:
    """Snapshots that were made for an image which is not there, by point, attempt, and whether they are copies."""
    referenced = {snapshot for _, image in images for snapshot in image.snapshots}
    # A pending image does not show its snapshots yet.
    unfinished = {(tags.point, tags.attempt, tags.origin is not None) for tags, image in images if not image.snapshots}
    orphans: dict[tuple[str, int, bool], list[tuple[PointTags, Snapshot]]] = defaultdict(list)
    for tags, snapshot in snapshots:
        key = (tags.point, tags.attempt, tags.origin is not None)
        if snapshot.id not in referenced and key not in unfinished:
            orphans[key].append((tags, snapshot))
    return orphans


def _created_at(image: Image) -> datetime:
    assert image.created_at is not None, "an image without a date is unclear"
    return image.created_at


class _Standing(NamedTuple):
    """How far a point is, and why it is no further."""

    state: PointState
    reason: str = ""
    lacks_manifest: bool = False


def _stand_of_image(
    image: Image, members: tuple[Snapshot, ...], tags: PointTags, manifests: Container[str]
) -> _Standing:
    if image.state in FAILED_IMAGE:
        why = image.state_message or "EC2 gave no reason"
        return _Standing(PointState.FAILED, f"{image.id} is {image.state}: {why}")
    if image.state == "pending":
        return _Standing(PointState.PENDING, f"{image.id} is pending")
    if image.state != "available":
        return _Standing(PointState.INCOMPLETE, f"{image.id} is {image.state}")
    return _stand_of_members(members, tags, manifests)


def _stand_of_members(members: tuple[Snapshot, ...], tags: PointTags, manifests: Container[str]) -> _Standing:
    failed = [each for each in members if each.state in FAILED_SNAPSHOT]
    if failed:
        # With one member all of a set fail, and only that one says why.
        culprit = next((each for each in failed if each.state_message), failed[0])
        why = culprit.state_message or "EC2 gave no reason"
        return _Standing(PointState.FAILED, f"{culprit.id} is {culprit.state}: {why}")
    if any(each.state == "pending" for each in members):
        pending = sum(each.state == "pending" for each in members)
        return _Standing(PointState.PENDING, f"{pending} of {tags.members} are pending")
    completed = sum(each.state == "completed" for each in members)
    if completed != tags.members:
        return _Standing(PointState.INCOMPLETE, f"{completed} of {tags.members} snapshots are there and completed")
    if manifest_key(tags) not in manifests:
        return _Standing(PointState.INCOMPLETE, f"manifest {manifest_key(tags)} is missing", lacks_manifest=True)
    return _Standing(PointState.COMPLETE)


_RANK = {"completed": 0, "available": 0, "pending": 1}
_WORST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """The job's point is there, or on its way: nothing is to be created."""

    point: RecoveryPoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """The job's point is to be created, in this attempt."""

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """Every attempt at the job's point has failed."""

    reason: str


MAX_ATTEMPTS = 5
VISIBLE_WITHIN = timedelta(minutes=5)
"""For how long EC2 advises to look again for something that was just created, before it is taken not to exist.

https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
"""
CONSISTENCY_DELAY = 2 * VISIBLE_WITHIN
"""How long a created snapshot may stay invisible to a describe, where being wrong costs more than being late."""


def next_attempt(existing: Sequence[RecoveryPoint], *, now: datetime) -> Adopt | Create | GiveUp:
    """What is to be done for a job of whose point these sets exist, before anything is created."""
    alive = [
        point
        for point in existing
        if point.state in (PointState.COMPLETE, PointState.PENDING)
        # A member that EC2 does not show yet looks like one that is gone; only time tells them apart.
        or (point.state is PointState.INCOMPLETE and now - point.source_time < CONSISTENCY_DELAY)
    ]
    if alive:
        return Adopt(point=min(alive, key=lambda point: (not point.is_complete, point.source_time, point.id)))
    attempt = max((point.tags.attempt for point in existing), default=0) + 1
    if attempt > MAX_ATTEMPTS:
        last = max(existing, key=lambda point: point.tags.attempt)
        return GiveUp(reason=f"{MAX_ATTEMPTS} attempts have failed, the last one: {last.reason}")
    return Create(attempt=attempt)
