"""Measure what was achieved: how old the newest complete copy of everything is that should have one, and write it down.

Only the recovery site is asked, its copies and the inventory that it has pulled: the report works, and is most needed,
when the primary Region is gone.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from hikae.domain import naming
from hikae.domain.inventory import Inventory, InventoryError, read_inventory
from hikae.domain.model import AccountId, Place, RecoveryPoint, Region, ResourceId
from hikae.domain.objectives import Measurement, Standing, doubt, measure, select_rows
from hikae.domain.points import assemble
from hikae.domain.replication import Group
from hikae.ports import Documents, Holdings, NotFound, PortError

REPORT_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Unprotectable:
    """A resource that a primary's plan names and that cannot have the point it asks for."""

    group: Group
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """What is reported of one primary site; `problems` are its inventory's, and say how far the rest can be trusted."""

    place: Place
    published_at: datetime | None = None
    measurements: tuple[Measurement, ...] = ()
    unprotectable: tuple[Unprotectable, ...] = ()
    broken_plans: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one run has measured.

    `problems` are about the last report, which says since when a resource is protected. `carried` is what it said about
    the primaries whose inventory cannot be read now.
    """

    reported_at: datetime
    sources: tuple[SourceReport, ...]
    problems: tuple[str, ...] = ()
    carried: Mapping[Group, datetime] = field(default_factory=dict)

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """Those of all primaries."""
        return tuple(each for source in self.sources for each in source.measurements)

    def count(self, standing: Standing) -> int:
        """How many (resource, rule) stand like this."""
        return sum(each.standing is standing for each in self.measurements)


def report_objectives(
    *,
    installation: str,
    primaries: Collection[Place],
    holdings: Holdings,
    documents: Documents,
    now: datetime,
) -> Report:
    """Measure achieved RPO of all that the primaries' inventories name, and store the report in the site's bucket.

    It is stored under its date, and as the latest unless there is one of a later time: this one is of another time, or
    it took longer than the one after it.

    An inventory that is missing, too old or unreadable is a problem of its primary; the others are measured all the
    same, and so is what an old one names.

    Raises:
        PortError: what is here cannot be listed, or the report cannot be stored: nothing was reported.
    """
    here = holdings.place
    # Points before manifests: a copy's manifest is pulled before its snapshots, so none found can lack one by timing.
    snapshots = list(holdings.snapshots(installation=installation))
    images = list(holdings.images(installation=installation))
    manifests = set(documents.keys("manifests/"))
    catalogue = assemble(place=here, installation=installation, snapshots=snapshots, images=images, manifests=manifests)
    since, last_at, problems = _read_last(documents)
    sources = [
        _report_source(place, documents, here=here, copies=catalogue.points, since=since, now=now)
        for place in primaries
    ]
    unread = {source.place for source in sources if source.published_at is None}
    carried = {group: moment for group, moment in since.items() if group.place in unread}
    report = Report(reported_at=now, sources=tuple(sources), problems=problems, carried=carried)
    document = write_report(report, installation=installation, here=here)
    documents.write(naming.dated_report_key(now), document)
    if last_at is None or last_at <= now:
        documents.write(naming.LAST_REPORT_KEY, document)
    return report


def _report_source(  # noqa: PLR0913 - as for measuring
    place: Place,
    documents: Documents,
    *,
    here: Place,
    copies: Collection[RecoveryPoint],
    since: Mapping[Group, datetime],
    now: datetime,
) -> SourceReport:
    report = SourceReport(place=place)
    try:
        inventory = read_inventory(documents.read(naming.inventory_key(place)))
    except NotFound:
        reason = (
            "there is no inventory: no tick has run there, or it could not be pulled; nobody knows what is protected"
        )
        return replace(report, problems=(reason,))
    except (PortError, InventoryError) as error:
        return replace(report, problems=(f"its inventory cannot be read: {error}",))
    doubts = doubt(inventory, now=now)
    return replace(
        report,
        published_at=inventory.published_at,
        measurements=tuple(measure(inventory, source=place, here=here, copies=copies, since=since, now=now)),
        unprotectable=_unprotectable(inventory, place, here),
        broken_plans=inventory.broken_plans,
        problems=(doubts,) if doubts else (),
    )


def _unprotectable(inventory: Inventory, place: Place, here: Place) -> tuple[Unprotectable, ...]:
    return tuple(
        Unprotectable(
            group=Group(place=place, plan=row.plan, rule=row.rule, resource=row.resource), reason=row.unprotectable
        )
        for row in select_rows(inventory, here=here)
        if row.unprotectable is not None
    )


def _read_last(documents: Documents) -> tuple[dict[Group, datetime], datetime | None, tuple[str, ...]]:
    """Since when each resource was seen to be protected, by the last report, and when that was.

    A first run knows nothing yet.
    """
    try:
        last = documents.read(naming.LAST_REPORT_KEY)
        rows = [*last["objectives"], *last["carried"]]
        since = {_read_group(row): naming.parse_time(row["since"]) for row in rows}
        return since, naming.parse_time(last["reported_at"]), ()
    except NotFound:
        return {}, None, ()
    except (PortError, LookupError, TypeError, ValueError) as error:
        reason = f"the last report cannot be read, so every resource counts as protected from now on: {error!r}"
        return {}, None, (reason,)


def _read_group(row: Mapping[str, Any]) -> Group:
    return Group(
        place=Place(account=AccountId(row["account"]), region=Region(row["region"])),
        plan=row["plan"],
        rule=row["rule"],
        resource=ResourceId(row["resource"]),
    )


def write_report(report: Report, *, installation: str, here: Place) -> dict[str, Any]:
    """The report as the JSON document that is stored; durations are seconds."""
    return {
        "version": REPORT_VERSION,
        "installation": installation,
        "account": here.account,
        "region": here.region,
        "reported_at": naming.format_time(report.reported_at),
        "summary": {standing.value: report.count(standing) for standing in Standing},
        "problems": list(report.problems),
        "primaries": [
            {
                "account": source.place.account,
                "region": source.place.region,
                "published_at": naming.format_time(source.published_at) if source.published_at else None,
                "problems": list(source.problems),
                "broken_plans": list(source.broken_plans),
                "unprotectable": [_write_group(each.group) | {"reason": each.reason} for each in source.unprotectable],
            }
            for source in report.sources
        ],
        "objectives": [_write_measurement(each) for each in report.measurements],
        "carried": [
            _write_group(group) | {"since": naming.format_time(moment)} for group, moment in report.carried.items()
        ],
    }


def _write_group(group: Group) -> dict[str, Any]:
    return {
        "account": group.place.account,
        "region": group.place.region,
        "plan": group.plan,
        "rule": group.rule,
        "resource": group.resource,
    }


def _write_measurement(each: Measurement) -> dict[str, Any]:
    return _write_group(each.group) | {
        "standing": each.standing.value,
        "reason": each.reason,
        "since": naming.format_time(each.since),
        "rpo_seconds": int(each.rpo.total_seconds()) if each.rpo is not None else None,
        "achieved_rpo_seconds": each.achieved_seconds,
        "source_time": naming.format_time(each.newest.source_time) if each.newest else None,
        "point": each.newest.tags.point if each.newest else None,
    }
