"""What the drills of the demo proved, as a table with a column for each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from local.demo.drills import Drilled
from local.fleet import Fleet

_STAGES = ("select", "prepare", "preflight", "launch", "attach", "network", "probe", "tear-down")
_KINDS = {"snapshot-set": "snapshot sets", "image": "images"}


def tabulate_drills(drills: Sequence[Drilled], fleet: Fleet) -> Table:
    """Stages with their times, what was achieved against what was asked for, and what became of it all."""
    table = Table(title="What the drills proved", title_justify="left")
    table.add_column("")
    for each in drills:
        kinds = {_KINDS[member["kind"]] for member in each.record.get("members", ())}
        table.add_column(
            f"{each.rehearsal.plan} {each.rehearsal.group}, from {', '.join(kinds) or '?'}", overflow="fold"
        )
    names = {resource.id: resource.name for resource in fleet.resources}
    for stage in _STAGES:
        table.add_row(stage, *(_stage(each.record, stage) for each in drills))
    table.add_section()
    table.add_row("achieved RTO", *(_against(each.record, "rto") for each in drills))
    table.add_row("achieved RPO", *("\n".join(_rpos(each.record, names)) for each in drills))
    table.add_row("launched as", *("\n".join(_rungs(each.record, names)) for each in drills))
    table.add_row("probes", *("\n".join(_probes(each.record, names)) for each in drills))
    table.add_row("torn down", *(_torn_down(each) for each in drills))
    table.add_row("evidence", *(_evidence(each) for each in drills))
    return table


def _stage(record: Mapping[str, Any], stage: str) -> str:
    seconds = record.get("stages", {}).get(stage, {}).get("seconds")
    return "-" if seconds is None else f"{seconds:.1f} s"


def _against(said: Mapping[str, Any], which: str) -> str:
    achieved, objective = said.get(f"achieved_{which}_seconds"), said.get(f"{which}_objective_seconds")
    if achieved is None or objective is None:
        return "[red]none[/]"
    verdict = "met" if said[f"{which}_met"] else "[red]missed[/]"
    asked_for = f"{objective / 3600:g} h" if objective % 3600 == 0 else f"{objective / 60:g} min"
    return f"{achieved:.0f} s, objective {asked_for}: {verdict}"


def _rpos(record: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    yield from (f"{names[each['resource']]}: {_against(each, 'rpo')}" for each in record.get("members", ()))


def _rungs(record: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    for each in record.get("members", ()):
        rung = each["rung"]
        how = f"{rung['type']} in {rung['zone']}, rung {rung['number']} of its ladder" if rung else "[red]nothing[/]"
        yield f"{names[each['resource']]}: {how}"


def _probes(record: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    for each in record.get("members", ()):
        for probe in each["probes"]:
            what = escape(f"{probe['kind']} {probe['value']}".strip())
            state = "passed" if probe["state"] == "passed" else f"[red]{probe['state']}[/]"
            yield f"{names[each['resource']]}: {what}: {state}"


def _torn_down(drilled: Drilled) -> str:
    by_kind = {kind: len(ids) for kind, ids in drilled.seen.made.items() if ids}
    seen = ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in by_kind.items())
    return f"{', '.join(drilled.record.get('torn_down', ())) or '[red]nothing[/]'}\n[dim]EC2 showed of it: {seen}[/]"


def _evidence(drilled: Drilled) -> str:
    return escape(drilled.verdict) if drilled.record else f"[red]{escape(drilled.verdict)}[/]"
