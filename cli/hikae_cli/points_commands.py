"""`hikae points`: the recovery points of a resource, and which of them a recovery would choose."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from hikae.domain.model import SiteRole
from hikae.domain.naming import format_time
from hikae_cli.run_report import spell
from hikae_cli.site_options import find_region, installation_option
from hikae_cli.terminal import printable

if TYPE_CHECKING:
    from hikae.operations.list_points import ListedPoint, Listing


@click.command("points")
@click.argument("resource")
@click.option(
    "--site",
    type=click.Choice([role.value for role in SiteRole]),
    default=SiteRole.RECOVERY.value,
    show_default=True,
    help="Whose points.",
)
@click.option("--plan", default="", help="Only the points of this plan.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many, the newest first.")
@installation_option
@click.option("--region", help="The site's Region; by default that of HIKAE_PRIMARY_REGION or HIKAE_RECOVERY_REGION.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: the points, then the summary.")
def points(  # noqa: PLR0913 - one argument per option
    *, resource: str, site: str, plan: str, limit: int, installation: str, region: str | None, as_json: bool
) -> None:
    """List the recovery points of RESOURCE, an instance's or volume's id at the primary, the newest first.

    Of each: when, how old, what it consists of, whether it is complete and why not, its size, its holds and locks, and
    whether its manifest can rebuild the resource. At the recovery site, also which one a recovery would choose. Reads
    only, and only the site that it is about.

    Exit codes: 0 there is a point that can be used; 1 there is none, or the site does not answer; 2 wrong usage.
    """
    from hikae.runtime import wiring  # noqa: PLC0415 - other commands need no boto3
    from hikae_cli.deployed_functions import DeployedFunction  # noqa: PLC0415
    from hikae_cli.recovery_access import explained  # noqa: PLC0415

    role = SiteRole(site)
    where = find_region(role, region)
    with explained(f"{site} site in {where}"):
        settings = DeployedFunction(installation=installation, site=role, region=where).settings()
        listing = wiring.points_of(settings, resource, plan=plan, limit=limit)
    now = datetime.now(tz=UTC)
    show = _as_json if as_json else _as_table
    for line in show(listing, resource, role, now):
        click.echo(line)
    if not listing.chosen:
        raise click.exceptions.Exit(1)


def _as_table(listing: "Listing", resource: str, role: SiteRole, now: datetime) -> Iterator[str]:
    count = f"{listing.total} point{'' if listing.total == 1 else 's'}"
    more = f", the newest {len(listing.points)} of them" if listing.total > len(listing.points) else ""
    yield printable(f"{resource} at {role} {listing.place}: {count}{more}")
    for listed in listing.points:
        point, tags = listed.point, listed.point.tags
        members = point.resource_ids
        yield printable(
            f"  {point.source_time:%Y-%m-%d %H:%M:%SZ}  {spell(now - point.source_time):>12} old  {tags.kind:<12}  "
            f"{tags.consistency}  {point.state:<10}  {_gib(listed):>6,} GiB  {tags.identity.plan}/{tags.identity.rule}"
        )
        yield printable(f"    {tags.point} attempt {tags.attempt}: {', '.join(members)}")
        yield from (printable(f"    {note}") for note in _notes(listed, listing))
    for unclear in listing.unclear:
        yield printable(f"  left alone: {unclear.id}: {unclear.reason}")
    for unknown in listing.unknown:
        yield printable(f"  not known: {unknown}")
    if listing.why_none:
        yield printable(f"none can be used: {listing.why_none}")
    elif role is SiteRole.PRIMARY:
        yield "a recovery chooses at the recovery site: leave out --site"


def _notes(listed: "ListedPoint", listing: "Listing") -> Iterator[str]:
    if listed.point.id == listing.chosen and listed.point.is_copy:
        yield "a recovery would choose this one"
    if listed.point.reason:
        yield f"{listed.point.state}: {listed.point.reason}"
    # What lacks its manifest has said so.
    if listed.unreadable and not listed.point.lacks_manifest:
        yield f"its manifest cannot be used: {listed.unreadable}"
    for name, reason in listed.holds.items():
        yield f"on hold: {name}: {reason}"
    for name, lock in listed.locks.items():
        yield f"locked: {name}: {lock}"


def _gib(listed: "ListedPoint") -> int:
    return sum(snapshot.size_gib for snapshot in listed.point.snapshots)


def _as_json(listing: "Listing", resource: str, role: SiteRole, now: datetime) -> Iterator[str]:
    for listed in listing.points:
        point, tags = listed.point, listed.point.tags
        yield _dump(
            {
                "record": "point",
                "id": point.id,
                "point": tags.point,
                "attempt": tags.attempt,
                "time": format_time(point.source_time),
                "age_seconds": (now - point.source_time).total_seconds(),
                "slot": format_time(tags.identity.slot),
                "kind": tags.kind.value,
                "consistency": tags.consistency.value,
                "state": point.state.value,
                "reason": point.reason or None,
                "gib": _gib(listed),
                "plan": tags.identity.plan,
                "rule": tags.identity.rule,
                "ids": list(point.resource_ids),
                "manifest": listed.unreadable or "readable",
                "holds": dict(listed.holds),
                "locks": dict(listed.locks),
                "is_chosen": point.id == listing.chosen and point.is_copy,
            }
        )
    for unclear in listing.unclear:
        yield _dump({"record": "unclear", "id": unclear.id, "reason": unclear.reason})
    yield _dump(
        {
            "record": "summary",
            "resource": resource,
            "site": role.value,
            "account": listing.place.account,
            "region": listing.place.region,
            "points": listing.total,
            "why_none": listing.why_none or None,
            "unknown": list(listing.unknown),
        }
    )


def _dump(answer: dict[str, Any]) -> str:
    return json.dumps(answer, ensure_ascii=False)
