"""Facts for tests: what EC2 would hold, with only what a test is about spelt out."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hikae.domain.model import (
    AccountId,
    Consistency,
    CopyOrigin,
    Image,
    ImageId,
    Kind,
    Place,
    PointIdentity,
    PointTags,
    RecoveryPoint,
    Region,
    ResourceId,
    Snapshot,
    SnapshotId,
)
from hikae.domain.naming import image_name, manifest_key, point_id, write_tags
from hikae.domain.points import Catalogue, assemble

ACCOUNT = AccountId("123456789012")
PRIMARY = Place(account=ACCOUNT, region=Region("us-east-1"))
RECOVERY = Place(account=ACCOUNT, region=Region("us-west-2"))
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


@dataclass(frozen=True)
class At:
    """The least that retention judges."""

    id: str
    time: datetime


def hours_ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


def identity(**differences: Any) -> PointIdentity:
    known: dict[str, Any] = {
        "installation": "main",
        "place": PRIMARY,
        "plan": "production",
        "rule": "hourly",
        "slot": NOW,
        "resource": ResourceId("i-1"),
    }
    return PointIdentity(**known | differences)


def tags_of(who: PointIdentity | None = None, **differences: Any) -> PointTags:
    who = who or identity()
    known: dict[str, Any] = {
        "attempt": 1,
        "kind": Kind.SNAPSHOT_SET,
        "members": 2,
        "consistency": Consistency.CRASH,
    }
    return PointTags(identity=who, point=point_id(who), **known | differences)


def snapshot(name: str, tags: PointTags, **differences: Any) -> Snapshot:
    """A completed snapshot of the point with `tags`, started at the slot."""
    carried = differences.pop("carried", None)
    known: dict[str, Any] = {
        "owner": ACCOUNT,
        "state": "completed",
        "started_at": tags.identity.slot,
        "volume_id": f"vol-{name}",
        "tags": write_tags(tags) | (carried or {}),
        "is_copy": tags.origin is not None,
    }
    return Snapshot(id=SnapshotId(f"snap-{name}"), **known | differences)


def image(name: str, tags: PointTags, **differences: Any) -> Image:
    """An available image of the point with `tags`, created at the slot."""
    carried = differences.pop("carried", None)
    known: dict[str, Any] = {
        "owner": ACCOUNT,
        "name": image_name(tags),
        "state": "available",
        "created_at": tags.identity.slot,
        "tags": write_tags(tags) | (carried or {}),
    }
    return Image(id=ImageId(f"ami-{name}"), **known | differences)


def copied(tags: PointTags, *, of: str, source_time: datetime | None = None, attempt: int = 1) -> PointTags:
    """The tags of a copy of one member of the point with `tags`."""
    origin = CopyOrigin(copy_of=of, source_time=source_time or tags.identity.slot, attempt=attempt)
    return replace(tags, origin=origin)


class EveryManifest:
    """A site that has every manifest."""

    def __contains__(self, key: object) -> bool:
        return True


def put_together(*members: Snapshot | Image, place: Place = PRIMARY, manifests: Any = None) -> Catalogue:
    return assemble(
        place=place,
        installation="main",
        snapshots=[each for each in members if isinstance(each, Snapshot)],
        images=[each for each in members if isinstance(each, Image)],
        manifests=EveryManifest() if manifests is None else manifests,
    )


def point(at: datetime, *, state: str = "completed", name: str = "", **differences: Any) -> RecoveryPoint:
    """A source set of one snapshot, made for the slot `at` and started then."""
    who = identity(slot=differences.pop("slot", at), **_identity_part(differences))
    attempt = differences.pop("attempt", 1)
    tags = tags_of(who, members=1, attempt=attempt)
    name = name or f"{who.resource}-{who.plan}-{who.rule}-{at:%m%dT%H%M%S}-{attempt}"
    manifests = differences.pop("manifests", None)
    one = snapshot(name, tags, state=state, started_at=at, **differences)
    return put_together(one, manifests=manifests).points[0]


def copy(of: RecoveryPoint, *, state: str = "completed", name: str = "", **differences: Any) -> RecoveryPoint:
    """The copy of a set of one snapshot in the recovery Region, started an hour later."""
    source = of.snapshots[0]
    tags = copied(of.tags, of=source.id, source_time=of.source_time)
    known: dict[str, Any] = {"started_at": of.source_time + timedelta(hours=1)}
    one = snapshot(f"copy-{name or source.id}", tags, state=state, **known | differences)
    return put_together(one, place=RECOVERY).points[0]


def manifests_of(points: Iterable[RecoveryPoint]) -> set[str]:
    return {manifest_key(point.tags) for point in points}


def _identity_part(differences: dict[str, Any]) -> dict[str, Any]:
    return {name: differences.pop(name) for name in ("place", "plan", "rule", "resource") if name in differences}
