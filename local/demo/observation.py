"""What EC2 shows of recovery points: read from plain describes and tags, without a line of hikae's own code."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_FAILED = frozenset({"error", "failed", "invalid"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One recovery point in one Region. `source_time` is when its source was started, also for a copy."""

    point: str
    resource: str
    slot: str
    state: str
    source_time: datetime
    snapshots: tuple[str, ...]
    keys: frozenset[str]
    image: str | None = None
    is_on_hold: bool = False

    @property
    def is_complete(self) -> bool:
        return self.state == "complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What one Region holds of an installation: points by id, and snapshots that belong to no point."""

    points: Mapping[str, Found]
    strays: tuple[str, ...]
    used_images: Mapping[str, str]

    def of(self, resource: str) -> list[Found]:
        """The points of one resource, the newest first."""
        found = [each for each in self.points.values() if each.resource == resource]
        return sorted(found, key=lambda each: each.source_time, reverse=True)


def observe(ec2: Any, *, installation: str) -> Holdings:
    """Ask EC2 for every snapshot, image and instance of the account in one Region."""
    ours = [{"Name": "tag:hikae:installation", "Values": [installation]}]
    snapshots = {
        snapshot["SnapshotId"]: snapshot
        for page in ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=ours)
        for snapshot in page["Snapshots"]
    }
    images = [
        image
        for page in ec2.get_paginator("describe_images").paginate(Owners=["self"], Filters=ours)
        for image in page["Images"]
    ]
    points = {found.point: found for found in _images(images, snapshots)}
    used = {snapshot for found in points.values() for snapshot in found.snapshots}
    plain = [each for each in snapshots.values() if _tags(each)["hikae:kind"] != "image"]
    points |= {found.point: found for found in _sets(plain)}
    strays = [
        each["SnapshotId"]
        for each in snapshots.values()
        if _tags(each)["hikae:kind"] == "image" and each["SnapshotId"] not in used
    ]
    return Holdings(points=points, strays=tuple(strays), used_images=_used_images(ec2))


def _sets(snapshots: Sequence[Mapping[str, Any]]) -> Iterator[Found]:
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for snapshot in snapshots:
        groups[_tags(snapshot)["hikae:point"]].append(snapshot)
    for members in groups.values():
        # Of several copies of one member the completed one counts.
        by_source = {
            _tags(each).get("hikae:copy-of", each["SnapshotId"]): each
            for each in sorted(members, key=lambda each: str(each["State"] == "completed"))
        }
        yield _found(list(by_source.values()), head=members[0], time_field="StartTime", is_ready=True)


def _images(images: Sequence[Mapping[str, Any]], snapshots: Mapping[str, Mapping[str, Any]]) -> Iterator[Found]:
    for image in images:
        ids = [mapping["Ebs"]["SnapshotId"] for mapping in image.get("BlockDeviceMappings", []) if "Ebs" in mapping]
        members = [snapshots[each] for each in ids if each in snapshots]
        is_ready = image["State"] == "available"
        yield _found(members, head=image, time_field="CreationDate", is_ready=is_ready)


def _found(members: Sequence[Mapping[str, Any]], *, head: Mapping[str, Any], time_field: str, is_ready: bool) -> Found:
    tags = _tags(head)
    completed = sum(each["State"] == "completed" for each in members)
    states = {str(each["State"]) for each in (*members, head)}
    if is_ready and completed == int(tags["hikae:members"]):
        state = "complete"
    elif states & _FAILED:
        state = "failed"
    else:
        state = "pending" if "pending" in states else "incomplete"
    return Found(
        point=tags["hikae:point"],
        resource=tags["hikae:resource"],
        slot=tags["hikae:slot"],
        state=state,
        source_time=_time(tags.get("hikae:source-time", head[time_field])),
        snapshots=tuple(each["SnapshotId"] for each in members),
        keys=frozenset(each.get("KmsKeyId", "") if each["Encrypted"] else "" for each in members),
        image=head.get("ImageId"),
        is_on_hold=any("hikae:hold" in _tags(each) for each in (*members, head)),
    )


def _used_images(ec2: Any) -> dict[str, str]:
    """By image: an instance that was started from it."""
    return {
        instance["ImageId"]: instance["InstanceId"]
        for page in ec2.get_paginator("describe_instances").paginate()
        for reservation in page["Reservations"]
        for instance in reservation["Instances"]
        if instance["State"]["Name"] not in {"shutting-down", "terminated"}
    }


def _tags(resource: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}


def _time(value: str | datetime) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)
