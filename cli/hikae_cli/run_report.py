"""What a run would do, does and has done, for people and for programs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from hikae.domain.naming import format_time
from hikae.domain.runs import Member, ProbeState, Run, rank_stage

if TYPE_CHECKING:
    from hikae.domain.teardown import Made
    from hikae.operations.recovery.foresee import Forecast


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a run; `stage` is empty for what happened to one resource."""

    at: datetime
    text: str
    stage: str = ""
    resource: str = ""

    def __str__(self) -> str:
        """For a person."""
        return f"{self.at:%H:%M:%S}Z  {self.text}"

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "record": "progress",
            "at": format_time(self.at),
            "stage": self.stage or None,
            "resource": self.resource or None,
            "text": self.text,
        }


def list_events(run: Run) -> list[Event]:
    """All that the run's document says has happened, in order; of the same moment, by the order of the steps."""
    events: list[tuple[datetime, int, int, Event]] = []

    def add(stage: str, rank: int, event: Event) -> None:
        events.append((event.at, rank_stage(stage), rank, event))

    for name, stage in run.stages.items():
        add(name, 0, Event(at=stage.began_at, stage=name, text=f"{name}: began"))
        if stage.ended_at is not None:
            took = spell(stage.ended_at - stage.began_at)
            add(name, 2, Event(at=stage.ended_at, stage=name, text=f"{name}: over after {took}"))
    for member in run.members:
        for name, event in _events_of(member):
            add(name, 1, event)
    return [event for *_, event in sorted(events, key=lambda each: each[:3])]


def _events_of(member: Member) -> Iterator[tuple[str, Event]]:
    resource = member.resource
    if member.launched_at is not None:
        rung = member.rungs[member.rung]
        text = f"{resource} is launched as {member.instance}: {rung.type} in {rung.zone}"
        yield "launch", Event(at=member.launched_at, resource=resource, text=text)
    if member.running_at is not None:
        yield "launch", Event(at=member.running_at, resource=resource, text=f"{resource} runs as {member.instance}")
    for probe in member.probes:
        if probe.state is not ProbeState.PENDING and probe.at is not None:
            what = f"{probe.kind} {probe.value}".strip()
            detail = f": {probe.detail}" if probe.detail else ""
            text = f"{resource}: probe {what} has {probe.state}{detail}"
            yield "probe", Event(at=probe.at, resource=resource, text=text)


def spell(duration: timedelta) -> str:
    """A duration for a person, in its two largest units."""
    seconds = int(duration.total_seconds())
    sign = "-" if seconds < 0 else ""
    left = abs(seconds)
    parts = []
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {name}")
    return sign + (" ".join(parts[:2]) or "0 s")


# --- what it would do -------------------------------------------------------------------------------------------------


def forecast_lines(forecast: "Forecast", *, where: str, now: datetime) -> Iterator[str]:
    """For a person, before it is asked whether to go on."""
    run = forecast.run
    yield f"{run.request.mode} {run.name} at {where}"
    for member in run.members:
        age = spell(now - member.source_time)
        yield (
            f"  {member.resource}  {member.point} of {member.source_time:%Y-%m-%d %H:%M:%SZ}, {age} old, {member.kind}"
        )
        yield from (f"    {note}" for note in member.notes)
        yield from (f"    {line}" for line in _member_lines(member, forecast))
        yield from (f"    {line}" for line in _restored_lines(member, forecast))
    for what, reasons in (("left out", run.left_out), ("not recovered", run.missing)):
        for resource, reason in reasons.items():
            yield f"  {resource}  {what}: {reason}"
    for point, reason in run.rejected.items():
        yield f"  not used: {point.partition('/')[0]}: {reason}"
    if forecast.problems:
        yield "lacking:"
        yield from (f"  {problem}" for problem in forecast.problems)


def _member_lines(member: Member, forecast: "Forecast") -> Iterator[str]:
    if not member.is_instance:
        [volume] = forecast.manifests[member.resource].volumes if member.resource in forecast.manifests else [None]
        if volume is not None:
            yield f"a volume of {volume.size} GiB, {volume.type}, attached to nothing"
        return
    for number, rung in enumerate(member.rungs):
        yield f"{'' if number == 0 else 'or, where there is no capacity, '}{rung.type} in {rung.subnet} ({rung.zone})"
    for refusal in member.refusals:
        yield f"not taken: {refusal}"
    target = forecast.targets.get(member.resource)
    if target is not None:
        yield f"security groups {', '.join(target.security_groups) or 'none'}"
        yield f"key pair {target.key_name or 'none'}, instance profile {target.profile or 'none'}"
        addresses = [address for interface in target.interfaces for address in interface.addresses]
        if len(addresses) > 1:
            yield f"private addresses {', '.join(addresses)}, where the subnets have them free"
        elif target.private_ip:
            yield f"private address {target.private_ip}, where the subnet has it free"
        extras = [each.id for each in (*target.elastic_ips, *target.target_groups)]
        if any(extras):
            yield f"then {', '.join(each for each in extras if each)}"
        if len(target.interfaces) > 1:
            yield f"{len(target.interfaces)} network interfaces"
        yield from forecast.losses.get(member.resource, ())
    yield f"starts in batch {member.batch + 1}"


def _restored_lines(member: Member, forecast: "Forecast") -> Iterator[str]:
    for made in forecast.restored.get(member.resource, ()):
        yield f"was restored already as {made.id} ({made.state}) by {made.run}"


_NAMED_IN_A_QUESTION: Final = 3


def doubled_lines(forecast: "Forecast") -> Iterator[str]:
    """What there would be twice, for the question whether to go on; nothing where there would not."""
    twice = [
        (
            f"{resource} was restored already as {', '.join(each.id for each in made)} by "
            f"{', '.join(dict.fromkeys(each.run for each in made))}: "
            f"{_count(len(made) + 1)} of it would {'run' if _run_all(made) else 'be there'}"
        )
        for resource, made in forecast.restored.items()
    ]
    yield from twice[:_NAMED_IN_A_QUESTION]
    if len(twice) > _NAMED_IN_A_QUESTION:
        yield f"and so for {len(twice) - _NAMED_IN_A_QUESTION} more, each named above"


def _run_all(made: Sequence["Made"]) -> bool:
    return all(each.kind == "instance" and each.state in {"pending", "running"} for each in made)


def _count(number: int) -> str:
    return "two" if number == 2 else str(number)  # noqa: PLR2004 - two is two


def forecast_json(forecast: "Forecast", *, now: datetime) -> dict[str, Any]:
    """For a program."""
    run = forecast.run
    return {
        "record": "forecast",
        "run": run.name,
        "mode": run.request.mode.value,
        "members": [_member_json(member, forecast, now) for member in run.members],
        "missing": dict(run.missing),
        "left_out": dict(run.left_out),
        "rejected_points": dict(run.rejected),
        "problems": list(forecast.problems),
    }


def _member_json(member: Member, forecast: "Forecast", now: datetime) -> dict[str, Any]:
    target = forecast.targets.get(member.resource)
    return {
        "resource": member.resource,
        "point": member.point,
        "kind": member.kind.value,
        "source_time": format_time(member.source_time),
        "age_seconds": (now - member.source_time).total_seconds(),
        "batch": member.batch,
        "rungs": [{"type": each.type, "subnet": each.subnet, "zone": each.zone} for each in member.rungs],
        "refused_rungs": list(member.refusals),
        "security_groups": list(target.security_groups) if target else [],
        "key_pair": (target.key_name if target else "") or None,
        "instance_profile": (target.profile if target else "") or None,
        "private_ip": (target.private_ip if target else "") or None,
        "notes": list(member.notes),
        "losses": list(forecast.losses.get(member.resource, ())),
        "restored_as": [
            {"id": made.id, "state": made.state, "run": made.run} for made in forecast.restored.get(member.resource, ())
        ],
    }


# --- what it has done -------------------------------------------------------------------------------------------------


def record_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """A run's record for a person."""
    yield f"{record['run']}: {record['mode']} {record['outcome']}"
    if record.get("failure"):
        yield f"  failure: {record['failure']}"
    yield f"  began {record['began_at']}, ended {record['ended_at']}, started by {record['request'].get('started_by')}"
    yield f"  RTO: {_against(record, 'rto')}"
    stages = [
        f"{name} {_seconds(stage['seconds'])}"
        for name, stage in _in_order(record["stages"])
        if stage["seconds"] is not None  # it writes the record itself
    ]
    yield f"  stages: {', '.join(stages)}"
    for member in record["members"]:
        yield from _record_of_member(member)
    for what, title in (("missing", "not recovered"), ("left_out", "left out"), ("rejected_points", "not used")):
        for name, reason in record[what].items():
            yield f"  {title}: {name}: {reason}"
    for what, title in (("torn_down", "torn down"), ("left_behind", "left behind"), ("remains", "remains")):
        if record[what]:
            yield f"  {title}: {', '.join(record[what])}"


def _in_order(stages: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    return sorted(stages.items(), key=lambda each: rank_stage(each[0]))


def _record_of_member(member: Mapping[str, Any]) -> Iterator[str]:
    rung = member.get("rung")
    made = member.get("instance") or member.get("volume") or "nothing"
    how = f" ({rung['type']} in {rung['zone']}, rung {rung['number']})" if rung else ""
    yield f"  {member['resource']} as {made}{how} from {member['point']}"
    yield f"    RPO: {_against(member, 'rpo')}"
    for refusal in member["refused_rungs"]:
        yield f"    not taken: {refusal}"
    for probe in member["probes"]:
        what = f"{probe['kind']} {probe['value']}".strip()
        yield f"    probe {what}: {probe['state']}{': ' + probe['detail'] if probe['detail'] else ''}"
    yield from (f"    {note}" for note in member["notes"])


def _against(said: Mapping[str, Any], which: str) -> str:
    achieved, objective = _seconds(said[f"achieved_{which}_seconds"]), said[f"{which}_objective_seconds"]
    if objective is None:
        return f"achieved {achieved}, no objective"
    return f"achieved {achieved}, objective {_seconds(objective)}: {'met' if said[f'{which}_met'] else 'missed'}"


def _seconds(seconds: float | None) -> str:
    return "none" if seconds is None else spell(timedelta(seconds=seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run in a list; what is not known yet is empty."""

    run: str
    mode: str
    began_at: datetime | None
    state: str
    what: str
    started_by: str
    rto: float | None = None
    rpo: float | None = None

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "run": self.run,
            "mode": self.mode,
            "began_at": format_time(self.began_at) if self.began_at else None,
            "state": self.state,
            "what": self.what,
            "started_by": self.started_by,
            "achieved_rto_seconds": self.rto,
            "worst_achieved_rpo_seconds": self.rpo,
        }


def list_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Runs for a person, as they come."""
    head = ("began", "run", "mode", "state", "RTO", "worst RPO", "what", "started by")
    table = [
        head,
        *(
            (
                f"{row.began_at:%Y-%m-%d %H:%M:%SZ}" if row.began_at else "unknown",
                row.run,
                row.mode,
                row.state,
                "" if row.rto is None else _seconds(row.rto),
                "" if row.rpo is None else _seconds(row.rpo),
                row.what,
                row.started_by,
            )
            for row in rows
        ),
    ]
    widths = [max(len(line[column]) for line in table) for column in range(len(head))]
    for line in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
