"""`hikae plan`: check plans and look ahead without AWS, and give them to the sites."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import click

from hikae.domain.agenda import Entry, agenda
from hikae.domain.model import Region
from hikae.domain.naming import format_time
from hikae.domain.plan import Plan, Rule, parse_duration
from hikae.domain.review import COPY_DURATION, Fleet, Severity, SteadyState
from hikae_cli.plan_files import FileProblem, PlanFile, read_plan_files
from hikae_cli.plan_review import FleetSize, review_files, steady_states
from hikae_cli.plan_schema import schema_text
from hikae_cli.plan_site_commands import apply, diff, history, list_plans, remove
from hikae_cli.plan_times import read_time
from hikae_cli.terminal import FILES, AsRegion, printable, refuse_stdin_twice

_MOST_YEARS = 100


@click.group("plan")
def plan_group() -> None:
    """Check plans, look ahead, and give them to the sites that carry them out."""


plan_group.add_command(apply)
plan_group.add_command(remove)
plan_group.add_command(diff)
plan_group.add_command(list_plans)
plan_group.add_command(history)


# --- validate ---------------------------------------------------------------------------------------------------------


class _Duration(click.ParamType[timedelta]):
    """A duration such as 15m."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@plan_group.command("validate")
@FILES
@click.option(
    "--recovery-region",
    "served",
    type=AsRegion(),
    multiple=True,
    help="A Region that has a recovery site; give all of them. Copies to any other are refused.",
)
@click.option("--instances", type=click.IntRange(min=0), help="Judge the capacity for a fleet of so many instances.")
@click.option(
    "--volumes", type=click.IntRange(min=0), help="How many volumes are attached to them; one each if left out."
)
@click.option("--detached", type=click.IntRange(min=0), default=0, help="How many volumes are attached to nothing.")
@click.option("--primary-region", type=AsRegion(), help="The fleet's Region: copies that stay there count with it.")
@click.option(
    "--copy-duration", type=_Duration(), default="15m", show_default=True, help="How long one copy is taken to take."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def validate(  # noqa: PLR0913 - one for each option
    *,
    files: tuple[str, ...],
    served: tuple[Region, ...],
    instances: int | None,
    volumes: int | None,
    detached: int,
    primary_region: Region | None,
    copy_duration: timedelta,
    as_json: bool,
) -> None:
    """Say everything that is wrong with each plan in FILE... or unwise in it (- is standard input).

    With the size of the fleet also what all plans come to, if each of them selects the whole fleet, and whether that
    fits into the quota of snapshots and into the copies that a Region makes at once.

    Exit code 1 where there is any error; warnings alone do not count.
    """
    refuse_stdin_twice(files)
    fleet = _read_fleet(instances, volumes, detached)
    size = FleetSize(fleet=fleet, region=primary_region, copy_duration=copy_duration) if fleet else None
    if size is None and (primary_region is not None or copy_duration != COPY_DURATION):
        raise click.UsageError(
            "--primary-region and --copy-duration are for a fleet; give --instances or --detached, too"
        )
    readable, problems = read_plan_files(files)
    problems += review_files(readable, served=frozenset(served) if served else None, size=size)
    sites = steady_states(readable, size=size) if size else ()
    if as_json:
        click.echo(json.dumps(_as_document(readable, problems, sites, fleet), indent=2, ensure_ascii=False))
    else:
        for line in _as_lines(readable, problems, sites, fleet):
            click.echo(printable(line))
    if _errors(problems):
        raise click.exceptions.Exit(1)


def _read_fleet(instances: int | None, volumes: int | None, detached: int) -> Fleet | None:
    if instances is None:
        if volumes is not None:
            raise click.UsageError("--volumes are those of instances; give --instances, too")
        return Fleet(instances=0, volumes=0, detached=detached) if detached else None
    if volumes is not None and volumes < instances:
        raise click.UsageError(f"{instances} instances have at least {instances} volumes; --volumes is {volumes}")
    return Fleet(instances=instances, volumes=instances if volumes is None else volumes, detached=detached)


def _errors(problems: Iterable[FileProblem]) -> list[FileProblem]:
    return [problem for problem in problems if problem.severity is Severity.ERROR]


def _as_lines(
    readable: Sequence[PlanFile], problems: Sequence[FileProblem], sites: Sequence[SteadyState], fleet: Fleet | None
) -> list[str]:
    bad = {problem.file for problem in _errors(problems)}
    lines = []
    for file in readable:
        if file.name not in bad:
            rules = ", ".join(rule.name for rule in file.plan.rules)
            lines.append(f"{file.name}: plan {file.plan.name} is valid (rules: {rules})")
    lines += [str(problem) for problem in problems]
    lines += [f"{fleet} come to {_described(site)}" for site in sites]
    return lines


def _described(site: SteadyState) -> str:
    least = "at least " if site.is_least else ""
    copies = [
        f"{number:,.0f} {kind} copies a day"
        for kind, number in (("snapshot", site.snapshot_copies_per_day), ("image", site.image_copies_per_day))
        if number
    ]
    kept = f"{least}{site.points:,} points of {site.snapshots:,} snapshots in {site.region or 'the source Region'}"
    return ", ".join([kept, *copies])


def _as_document(
    readable: Sequence[PlanFile], problems: Sequence[FileProblem], sites: Sequence[SteadyState], fleet: Fleet | None
) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "valid": not _errors(problems),
        "plans": [
            {"file": file.name, "plan": file.plan.name, "rules": [rule.name for rule in file.plan.rules]}
            for file in readable
        ],
        "problems": [
            {
                "file": each.file,
                "line": each.problem.line,
                "severity": each.severity.value,
                "path": each.problem.path,
                "message": each.problem.message,
            }
            for each in problems
        ],
    }
    if fleet is not None:
        answer["fleet"] = {"instances": fleet.instances, "volumes": fleet.volumes, "detached": fleet.detached}
        answer["steady_state"] = [
            {
                "region": site.region,
                "points": site.points,
                "snapshots": site.snapshots,
                "is_least": site.is_least,
                "snapshot_copies_per_day": round(site.snapshot_copies_per_day, 1),
                "image_copies_per_day": round(site.image_copies_per_day, 1),
            }
            for site in sites
        ]
    return answer


# --- schema -----------------------------------------------------------------------------------------------------------


@plan_group.command("schema")
def schema() -> None:
    """Print the JSON Schema of plans, for editors."""
    click.echo(schema_text(), nl=False)


# --- schedule ---------------------------------------------------------------------------------------------------------


@plan_group.command("schedule")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--from", "begin", metavar="TIME", help="The first time that is shown; now if left out.")
@click.option("--to", "end", metavar="TIME", help="Where it ends, exclusive; a week later if left out.")
@click.option("--rule", "names", multiple=True, help="Only this rule; may be given several times.")
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=100_000),
    default=1_000,
    show_default=True,
    help="How many times of each rule are shown at the most.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def schedule(  # noqa: PLR0913 - one for each option
    *, file: str, begin: str | None, end: str | None, names: tuple[str, ...], limit: int, as_json: bool
) -> None:
    """Print when each rule of the plan in FILE is due, in UTC and in the plan's time zone.

    What a change of the clock makes of a time is said beside it. A TIME is RFC 3339, or a date or a time without an
    offset, which is then the plan's local one: 2026-03-08, 2026-03-08T12:00.
    """
    readable, problems = read_plan_files([file])
    if problems:
        for problem in problems:
            click.echo(str(problem), err=True)
        raise click.ClickException("there is no plan to look ahead for")
    plan = readable[0].plan
    after, until = _read_range(plan, begin, end)
    rules = _choose_rules(plan, names)
    if not as_json:
        shown = (f"{moment.astimezone(plan.timezone):%Y-%m-%d %H:%M %z}" for moment in (after, until))
        click.echo(printable(f"plan {plan.name}, {plan.timezone.key}, from {' to '.join(shown)}"))
    for rule in rules:
        # Both ends of `agenda` are the other way round: the first exclusive, the last inclusive.
        moment = timedelta(microseconds=1)
        entries = agenda(rule.schedule, timezone=plan.timezone, after=after - moment, until=until - moment)
        _show_rule(rule, list(islice(entries, limit + 1)), limit, as_json=as_json)


def _read_range(plan: Plan, begin: str | None, end: str | None) -> tuple[datetime, datetime]:
    after = read_time(plan, "--from", begin) if begin is not None else datetime.now(UTC).replace(microsecond=0)
    until = read_time(plan, "--to", end) if end is not None else after + timedelta(days=7)
    if after >= until:
        raise click.UsageError(f"--to ({format_time(until)}) is not after --from ({format_time(after)})")
    if until - after > timedelta(days=_MOST_YEARS * 366):
        raise click.UsageError(f"from --from to --to is more than {_MOST_YEARS} years; give a shorter time")
    return after, until


def _choose_rules(plan: Plan, names: Sequence[str]) -> list[Rule]:
    for name in names:
        if plan.rule(name) is None:
            known = ", ".join(rule.name for rule in plan.rules)
            raise click.BadParameter(
                f"{name!r} is no rule of plan {plan.name}; its rules are {known}", param_hint="--rule"
            )
    return [rule for rule in plan.rules if not names or rule.name in names]


def _show_rule(rule: Rule, entries: Sequence[Entry], limit: int, *, as_json: bool) -> None:
    is_cut = len(entries) > limit
    show: Callable[[Rule, Entry], str] = _entry_as_json if as_json else _entry_as_line
    if not as_json:
        click.echo(f"rule {rule.name}: {rule.schedule}")
    for entry in entries[:limit]:
        click.echo(show(rule, entry))
    if is_cut:
        message = f"rule {rule.name}: there are more than {limit} times; give an earlier --to or a larger --limit"
        click.echo(message, err=True)
    elif not as_json:
        slots = sum(entry.slot is not None for entry in entries)
        click.echo(f"  {slots} {'slot' if slots == 1 else 'slots'}")


def _entry_as_line(_: Rule, entry: Entry) -> str:
    utc = format_time(entry.slot) if entry.slot else "-"
    return f"  {utc:<20}  {f'{entry.local:%Y-%m-%d %H:%M %z}':<22}  {entry.remark}".rstrip()


def _entry_as_json(rule: Rule, entry: Entry) -> str:
    answer = {
        "rule": rule.name,
        "slot": format_time(entry.slot) if entry.slot else None,
        "local": entry.local.isoformat(timespec="minutes"),
        "remark": entry.remark,
    }
    return json.dumps(answer, ensure_ascii=False)
