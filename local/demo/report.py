"""The end of the demo: the table, and every check that is not about one resource's points."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.markup import escape
from rich.table import Table

from local.cloud import LocalCloud
from local.demo.expectation import Standing, View
from local.demo.observation import Found
from local.fleet import MACHINES, Fleet

Reasons = Mapping[str, Mapping[str, str]]
"""By site and point: why prune deleted it."""


def describe_fleet(fleet: Fleet) -> str:
    """The fleet in a line."""
    kinds = Counter(disk.type for machine in MACHINES for disk in machine.disks)
    volumes = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    stopped = sum(machine.is_stopped for machine in MACHINES)
    protected = list(fleet.protected())
    return (
        f"the fleet is there: {len(MACHINES)} instances ({stopped} stopped, 1 instance-store-backed) with {volumes}"
        f" volumes, 2 detached volumes; the plans select {len(protected)} of {len(fleet.resources)} resources"
    )


def count(done: Sequence[int], of: Sequence[int]) -> str:
    """How many of how many."""
    words = zip(("points complete", "copies complete", "pruned"), done, of, strict=True)
    return ", ".join(f"{completed} of {total} {word}" for word, completed, total in words)


def read_excuses(s3: Any, bucket: str) -> dict[str, str]:
    """By resource: why it cannot have a point, as the site's inventory names it."""
    excuses: dict[str, str] = {}
    for entry in s3.list_objects_v2(Bucket=bucket, Prefix="inventory/").get("Contents", []):
        inventory = json.loads(s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read())
        excuses |= {row["resource"]: row["unprotectable"] for row in inventory["resources"] if row["unprotectable"]}
    return excuses


def tabulate(
    fleet: Fleet, standings: Sequence[Standing], *, excuses: Mapping[str, str], reasons: Reasons, now: datetime
) -> Table:
    """One row for each resource."""
    table = Table(title="What EC2 shows", title_justify="left")
    for name in ("resource", "plan", "recovery point", "age", "copy", "pruned"):
        table.add_column(name, overflow="fold")
    by_id = {standing.resource.id: standing for standing in standings}
    for resource in fleet.resources:
        label = f"{resource.name} [dim]{resource.id}[/]"
        standing = by_id.get(resource.id)
        if standing is None:
            why = excuses.get(resource.id, "[red]none, and no reason named[/]") if resource.plan else "not selected"
            table.add_row(label, resource.plan or "-", f"[yellow]none:[/] {why}" if resource.plan else why)
            continue
        point = standing.point
        table.add_row(
            label,
            standing.plan.name,
            _describe(point) if point else "[red]missing[/]",
            f"{(now - point.source_time).total_seconds():.0f} s" if point else "-",
            _describe_copy(standing) if standing.plan.copy_retention else "none asked for",
            "\n".join(_describe_pruning(standing, reasons)) or "-",
        )
    return table


def _describe(point: Found) -> str:
    what = "an image of " if point.image else ""
    state = "" if point.is_complete else f" [red]{point.state}[/]"
    return f"{what}{len(point.snapshots)} snapshot{'s' * (len(point.snapshots) != 1)}{state}"


def _describe_copy(standing: Standing) -> str:
    copy = standing.copy
    if copy is None:
        return "[red]missing[/]"
    more = standing.copies_done - 1
    is_encrypted = all(copy.keys)
    return f"{_describe(copy)}, {'' if is_encrypted else '[red]not[/] '}encrypted{f', {more} made up' * (more > 0)}"


def _describe_pruning(standing: Standing, reasons: Reasons) -> Iterator[str]:
    for site, points in (("here", standing.pruned_at_primary), ("there", standing.pruned_at_recovery)):
        logged = reasons["primary" if site == "here" else "recovery"]
        why = Counter(escape(logged[point]) if point in logged else "[red]no reason logged[/]" for point in points)
        yield from (f"{number} {site}: {reason}" for reason, number in why.most_common())
    yield from (f"[dim]1 kept: {why}[/]" for why in standing.guarded.values())


def find_unexcused(fleet: Fleet, excuses: Mapping[str, str]) -> list[str]:
    """Resources that cannot have a point and whose reason nobody names."""
    return [
        f"{resource.name} ({resource.id}): neither a point nor the reason why it cannot have one"
        for resource in fleet.protected()
        if not resource.has_points and resource.id not in excuses
    ]


def find_unreasoned(standings: Sequence[Standing], reasons: Reasons) -> list[str]:
    """Points that are gone without a reason in the log of prune."""
    gone = [
        (standing, site, point)
        for standing in standings
        for site, points in (("primary", standing.pruned_at_primary), ("recovery", standing.pruned_at_recovery))
        for point in points
    ]
    return [
        f"{standing.resource.name}: {point} is gone at the {site} site, and the log of prune does not say why"
        for standing, site, point in gone
        if point not in reasons[site]
    ]


def find_strays(fleet: Fleet, view: View) -> list[str]:
    """What hikae's tags are on and what is no part of a point, or the point of something that no plan selects."""
    selected = {resource.id for resource in fleet.protected() if resource.has_points}
    strays = [f"snapshot {each} belongs to no image" for each in (*view.primary.strays, *view.recovery.strays)]
    strays += [
        f"{point.resource} has the point {point.point}, and no plan selects it"
        for holdings in (view.primary, view.recovery)
        for point in holdings.points.values()
        if point.resource not in selected
    ]
    return strays


def find_lost_bystanders(fleet: Fleet, ec2: Any) -> list[str]:
    """Snapshots and images that were not hikae's to delete, and are gone."""
    snapshots = {
        snapshot["SnapshotId"]
        for page in ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"])
        for snapshot in page["Snapshots"]
    }
    images = {image["ImageId"] for image in ec2.describe_images(Owners=["self"])["Images"]}
    return [
        f"{each} is gone, although {reason}"
        for each, reason in fleet.bystanders.items()
        if each not in snapshots | images
    ]


def check_keys(ec2: Any, key: str) -> tuple[int, list[str]]:
    """How many snapshots the recovery Region has, and those that are not encrypted with its own key."""
    snapshots = [
        snapshot
        for page in ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"])
        for snapshot in page["Snapshots"]
    ]
    wrong = [each["SnapshotId"] for each in snapshots if not each["Encrypted"] or each.get("KmsKeyId") != key]
    return len(snapshots), [f"snapshot {each} is not encrypted with the recovery site's key" for each in wrong]


def compare_contents(cloud: LocalCloud, standings: Sequence[Standing]) -> tuple[int, list[str]]:
    """Compare, by the twin's digests, what is in the new copies with what is on the volumes, where nothing writes."""
    primary = cloud.twin_control(f"/_twin/state/{cloud.primary_region}")
    recovery = cloud.twin_control(f"/_twin/state/{cloud.recovery_region}")["snapshots"]
    compared, wrong = 0, []
    for standing in standings:
        if standing.copy is None:
            continue
        on_volumes = sorted(primary["volumes"][volume]["digest"] for volume in standing.resource.volumes)
        in_copies = sorted(recovery[snapshot]["digest"] for snapshot in standing.copy.snapshots)
        compared += len(in_copies)
        if on_volumes != in_copies:
            wrong.append(f"{standing.resource.name}: the copy's contents are not those of its volumes")
    return compared, wrong
