"""A preview, day by day, for people and for programs."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby

from hikae.domain.model import Action, Region
from hikae.domain.naming import format_time
from hikae.domain.preview import Day, Event, Happening, Holding, Preview
from hikae_cli.preview_points import Start
from hikae_cli.prune_report import kind_of
from hikae_cli.terminal import printable

_SOURCE = "source"
_WORDS = {
    Happening.MISSED: "missed",
    Happening.MADE: "made",
    Happening.COPIED: "copied",
    Happening.SUPERSEDED: "not wanted",
    Happening.NOT_COPIED: "wanted, and not copied",
    Happening.DELETED: "deleted",
    Happening.WITHHELD: "withheld",
}


def as_text(preview: Preview, start: Start) -> Iterator[str]:
    """Lines for a person: each day, then what every site holds at the end."""
    beginning = start.beginning
    zone = beginning.plan.timezone
    begin, end = (f"{moment.astimezone(zone):%Y-%m-%d %H:%M %z}" for moment in (beginning.at, preview.end))
    yield printable(f"plan {beginning.plan.name}, from {begin} to {end} ({zone.key})")
    yield from (printable(f"{'begins with' if number == 0 else ' '} {note}") for number, note in enumerate(start.notes))
    for day in preview.days():
        yield ""
        yield from _day(day)
    yield ""
    yield from _end(preview, start)


def _day(day: Day) -> Iterator[str]:
    slots = len({(event.rule, event.slot) for event in day.events if event.what is Happening.MADE})
    held = ", ".join(f"{number} at {_place(region)}" for region, number in day.held.items())
    yield f"{day.date:%Y-%m-%d %a}: {slots} {'slot' if slots == 1 else 'slots'}; at its end there are {held}"
    counted = Counter(
        (_ORDER[event.what], _place(event.region), f"{event.plan}/{event.rule}", kind_of("; ".join(event.reasons)))
        for event in day.events
    )
    for (what, place, rule, reason), number in sorted(counted.items()):
        why = f": {reason}" if reason else ""
        yield printable(f"  {number:>6,} {_WORDS[list(Happening)[what]]} at {place}, {rule}{why}")


_ORDER = {what: number for number, what in enumerate(Happening)}


def _end(preview: Preview, start: Start) -> Iterator[str]:
    zone = start.beginning.plan.timezone
    holdings = sorted(preview.holdings(), key=_place_in_the_table)
    for (region, resource, rule), group in groupby(holdings, key=_heading):
        there = list(group)
        yield printable(f"at the end, {resource} has {len(there)} at {_place(region)}, {rule}:")
        for each in there:
            mark = "" if each.verdict.action is Action.KEEP else "  (expires with the next run)"
            when = f"{each.point.source_time.astimezone(zone):%Y-%m-%d %H:%M:%S %z}"
            yield printable(f"  {when}  {', '.join(each.verdict.reasons)}{mark}")
    if not holdings:
        yield "at the end there are no points"


def _place(region: Region | None) -> str:
    return region or _SOURCE


def _heading(holding: Holding) -> tuple[Region | None, str, str]:
    identity = holding.point.tags.identity
    return holding.region, identity.resource, f"{identity.plan}/{identity.rule}"


def _place_in_the_table(holding: Holding) -> tuple[str, str, str, float, str]:
    region, resource, rule = _heading(holding)
    return region or "", resource, rule, -holding.point.source_time.timestamp(), holding.point.id


def as_json(preview: Preview, start: Start) -> Iterator[str]:
    """One object a line; what is held at the end is what `--points` reads, so that one preview can follow another."""
    yield _dump({"record": "beginning", "time": format_time(start.beginning.at), "notes": list(start.notes)})
    for day in preview.days():
        for event in day.events:
            yield _dump(_event(event, start))
        yield _dump(
            {
                "record": "day",
                "date": f"{day.date}",
                "held": {_place(region): number for region, number in day.held.items()},
                **_counts(day.events),
            }
        )
    for holding in sorted(preview.holdings(), key=_place_in_the_table):
        yield _dump(_holding(holding, start))


def _counts(events: Iterable[Event]) -> dict[str, int]:
    counts = Counter(event.what for event in events)
    return {what.value.replace(" ", "_"): counts[what] for what in Happening}


def _event(event: Event, start: Start) -> dict[str, object]:
    return {
        "record": "event",
        "event": event.what.value,
        "time": format_time(event.at),
        **_site(event.region),
        "resource": event.resource,
        "plan": event.plan,
        "rule": event.rule,
        "slot": format_time(event.slot),
        "source_time": format_time(event.source_time) if event.source_time else None,
        "id": start.names.get((event.region, event.id), event.id) or None,
        "reasons": list(event.reasons),
    }


def _holding(holding: Holding, start: Start) -> dict[str, object]:
    point = holding.point
    identity = point.tags.identity
    return {
        "record": "point",
        "id": start.names.get((holding.region, point.id), point.id),
        "time": format_time(point.source_time),
        "verdict": holding.verdict.action.value,
        "reasons": list(holding.verdict.reasons),
        **_site(holding.region),
        "source_account": identity.place.account,
        "source_region": identity.place.region,
        "resource": identity.resource,
        "plan": identity.plan,
        "rule": identity.rule,
        "slot": format_time(identity.slot),
        "attempt": point.tags.attempt,
        "kind": point.tags.kind.value,
        "state": point.state.value,
        "gib": sum(snapshot.size_gib for snapshot in point.snapshots),
    }


def _site(region: Region | None) -> dict[str, object]:
    return {"site": "primary"} if region is None else {"site": "recovery", "region": region}


def _dump(answer: dict[str, object]) -> str:
    return json.dumps(answer, ensure_ascii=False)
