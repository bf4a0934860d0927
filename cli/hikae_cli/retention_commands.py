"""`hikae retention`: what a policy would keep, worked out without AWS by the engine that decides for real."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from hikae.domain.model import Action, Verdict
from hikae.domain.naming import parse_time
from hikae.domain.retention import KEEP_ALL, Policy, Span, decide
from hikae_cli.terminal import printable

STDIN = "-"
_SHOWN_PROBLEMS = 20
_HELP = {
    "last": "newest points",
    "hourly": "newest hours that have a point, each with its newest one",
    "daily": "newest days that have a point, each with its newest one",
    "weekly": "newest ISO weeks that have a point, each with its newest one",
    "monthly": "newest months that have a point, each with its newest one",
    "yearly": "newest years that have a point, each with its newest one",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One line of the file: a name, its time, and the time as it was written."""

    id: str
    time: datetime
    written: str


@click.group("retention")
def retention_group() -> None:
    """Work out what a retention policy keeps."""


class _Count(click.ParamType[int]):
    """How many to keep, as restic reads it: -1 or `unlimited` is all, 0 is as if the option were not given."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if value == "unlimited":
            return KEEP_ALL
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is not a number; a number from 1, or -1 for all", param, ctx)
        if number < KEEP_ALL:
            self.fail(f"{number} is no number of points; a number from 1, or -1 for all", param, ctx)
        return number


class _Span(click.ParamType[Span]):
    """A duration such as 1y2m3d3h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Span:
        if isinstance(value, Span):
            return value
        try:
            return Span.parse(value)
        except ValueError as error:
            self.fail(f"{error}", param, ctx)


class _Zone(click.ParamType[ZoneInfo]):
    """An IANA time zone."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ZoneInfo:
        if isinstance(value, ZoneInfo):
            return value
        try:
            return ZoneInfo(value)
        except (ValueError, OSError, LookupError):
            self.fail(f"{value!r} is not a time zone; an IANA name, such as Asia/Tokyo or UTC", param, ctx)


def _policy_options(command: Callable[..., None]) -> Callable[..., None]:
    """One option for each rule of a policy."""
    for each in reversed(fields(Policy)):
        option = f"--{each.name.replace('_', '-')}"
        kind = each.name.removeprefix("keep_").removeprefix("within").removeprefix("_")
        if "within" in each.name:
            what = f"the newest point of each {_UNITS[kind]}" if kind else "every point"
            help_text = f"Keep {what} not older than this, counted back from the newest point, such as 1y2m3d3h."
            command = click.option(option, each.name, type=_Span(), help=help_text)(command)
        else:
            help_text = f"Keep this many {_HELP[kind]}; -1 keeps all."
            command = click.option(option, each.name, type=_Count(), default=0, help=help_text)(command)
    return command


_UNITS = {"hourly": "hour", "daily": "day", "weekly": "ISO week", "monthly": "month", "yearly": "year"}


@retention_group.command("explain")
@click.option(
    "--points",
    "file",
    metavar="FILE",
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help='JSON Lines, one {"id": …, "time": RFC 3339} a line; - is standard input.',
)
@_policy_options
@click.option("--timezone", type=_Zone(), default="UTC", show_default=True, help="Whose hours, days, … these are.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def explain(*, file: str, timezone: ZoneInfo, as_json: bool, **rules: Any) -> None:
    """Say of each point in FILE whether the policy keeps it, newest first, with every rule that does.

    The rules are ORed, as in restic's forget. Nothing is printed if any line is not a point.
    """
    points = list(_read(file, timezone))
    policy = Policy(**rules)
    if policy.is_empty:
        click.echo("warning: no --keep-… option is given, so every point is kept", err=True)
    by_id = {point.id: point for point in points}
    verdicts = decide(policy, points, timezone=timezone)
    lines = _as_json(verdicts, by_id) if as_json else _as_table(verdicts, by_id, timezone)
    for line in lines:
        click.echo(line)


def _read(file: str, timezone: ZoneInfo) -> Iterator[Point]:
    """Every point of the file; exits with every bad line named, before anything is printed."""
    name = "<stdin>" if file == STDIN else click.format_filename(file)
    problems: list[str] = []
    line_of: dict[str, int] = {}
    points = []
    for number, line in enumerate(_lines(file, name), start=1):
        if not line.strip():
            continue
        try:
            point = _read_point(line, timezone)
        except ValueError as error:
            problems.append(printable(f"{name}:{number}: {error}"))
            continue
        if point.id in line_of:
            other = f"id {point.id!r} is in line {line_of[point.id]}, too; each point has an id of its own"
            problems.append(printable(f"{name}:{number}: {other}"))
            continue
        line_of[point.id] = number
        points.append(point)
    for problem in problems[:_SHOWN_PROBLEMS]:
        click.echo(problem, err=True)
    if problems:
        more = f", the first {_SHOWN_PROBLEMS} are shown" if len(problems) > _SHOWN_PROBLEMS else ""
        raise click.ClickException(f"nothing was judged: {len(problems)} lines are not points{more}")
    yield from points


def _lines(file: str, name: str) -> Iterable[str]:
    try:
        content = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
        return content.decode().split("\n")
    except OSError as error:
        raise click.UsageError(f"{name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{name} is not UTF-8: byte 0x{content[error.start]:02x}") from error


def _read_point(line: str, timezone: ZoneInfo) -> Point:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'is not JSON ({error}); {{"id": "…", "time": "2026-11-22T10:00:00Z"}}') from error
    if not isinstance(entry, dict):
        kind = type(entry).__name__
        raise ValueError(f'is a {kind}; an object {{"id": "…", "time": "2026-11-22T10:00:00Z"}}')  # noqa: TRY004 - caught above
    for key in ("id", "time"):
        if not isinstance(entry.get(key), str) or not entry[key]:
            shown = repr(entry[key])[:80] if key in entry else "missing"
            raise ValueError(f"{key} is {shown}; a text")
    time = parse_time(entry["time"])
    try:
        time.astimezone(timezone)
    except OverflowError as error:
        raise ValueError(f"{entry['time']!r} is not in the years 1 to 9999 of {timezone.key}") from error
    return Point(id=entry["id"], time=time, written=entry["time"])


def _as_json(verdicts: Iterable[Verdict], by_id: dict[str, Point]) -> Iterator[str]:
    for verdict in verdicts:
        answer = {
            "id": verdict.id,
            "time": by_id[verdict.id].written,
            "verdict": verdict.action.value,
            "reasons": list(verdict.reasons),
        }
        yield json.dumps(answer, ensure_ascii=False)


def _as_table(verdicts: list[Verdict], by_id: dict[str, Point], timezone: ZoneInfo) -> Iterator[str]:
    width = max((len(printable(verdict.id)) for verdict in verdicts), default=0)
    kept = 0
    for verdict in verdicts:
        kept += verdict.action is Action.KEEP
        local = by_id[verdict.id].time.astimezone(timezone)
        shown = f"{printable(verdict.id):<{width}}  {local:%Y-%m-%d %H:%M:%S %z}  {verdict.action.value:<6}"
        yield f"{shown}  {', '.join(verdict.reasons)}"
    yield f"{len(verdicts)} points: {kept} kept, {len(verdicts) - kept} expired ({timezone.key})"
