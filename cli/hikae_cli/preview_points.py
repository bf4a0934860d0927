"""Where a preview begins without asking anybody: with nothing, or with the points of a file."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from hikae.domain.model import (
    AccountId,
    BlockDevice,
    CopyOrigin,
    Image,
    ImageId,
    Instance,
    Kind,
    Place,
    PointIdentity,
    PointState,
    PointTags,
    RecoveryPoint,
    Region,
    ResourceId,
    SiteRole,
    Snapshot,
    SnapshotId,
    Volume,
)
from hikae.domain.naming import HOLD, image_name, parse_time, point_id, write_tags
from hikae.domain.plan import Plan, Rule
from hikae.domain.preview import Beginning, Protected, Site
from hikae.domain.pruning import DeletionLimits, PolicyOf, keep_policy_of
from hikae.domain.selection import Choice, Selected, choose_instance, choose_volume
from hikae_cli.terminal import printable

STDIN: Final = "-"
LIMITS: Final = DeletionLimits(per_run=2000, lineage_percent=75)
"""The template's defaults of DeletionCap and LineageDeletionPercent."""
HOME: Final = Place(account=AccountId("000000000000"), region=Region("primary"))
INSTALLATION: Final = "main"
_SHOWN_PROBLEMS: Final = 20
_M = TypeVar("_M", Kind, PointState)
_EXAMPLE: Final = '{"id": "…", "time": "2026-11-22T10:00:00Z"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A beginning, what its points are called, and what is to be said about it."""

    beginning: Beginning
    names: Mapping[tuple[Region | None, str], str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def start_empty(plan: Plan, *, at: datetime) -> Start:
    """No points, and one resource that is taken to be selected."""
    prefix = "i" if "instance" in plan.selection.resources else "vol"
    resource = ResourceId(f"{prefix}-assumed")
    return _start(plan, at=at, resources={resource: HOME}, points=[], names={}, notes=[f"nothing, and {resource}"])


def start_with_points(plan: Plan, file: str, *, at: datetime, only: frozenset[str]) -> Start:
    """The points in `file`, of the resources in `only` if there are any; each resource goes on being selected.

    Raises:
        click.ClickException: lines of the file are no points, each of them named before.
    """
    name = "<stdin>" if file == STDIN else click.format_filename(file)
    rows, left_out = _read(file, name, plan, only)
    resources = {row.point.tags.identity.resource: row.point.tags.identity.place for row in rows}
    notes = [f"the {len(rows)} points in {name}"]
    if left_out:
        notes.append(f"{left_out} points there are of other plans or resources and left out")
    return _start(
        plan,
        at=at,
        resources=resources,
        points=[(row.region, row.point) for row in rows],
        names={(row.region, row.point.id): row.id for row in rows},
        notes=notes,
    )


def _start(  # noqa: PLR0913 - what it begins with
    plan: Plan,
    *,
    at: datetime,
    resources: Mapping[ResourceId, Place],
    points: Iterable[tuple[Region | None, RecoveryPoint]],
    names: Mapping[tuple[Region | None, str], str],
    notes: list[str],
) -> Start:
    protected = []
    for resource, place in sorted(resources.items()):
        rules = [(rule, _choose_as_if_tagged(plan, rule, resource)) for rule in plan.rules]
        chosen = [(rule, choice) for rule, choice in rules if isinstance(choice, Selected)]
        protected += [
            Protected(place=place, resource=resource, rule=rule.name, kind=choice.kind) for rule, choice in chosen
        ]
        for rule, choice in rules:
            if not isinstance(choice, Selected):
                why = "the plan does not select it" if choice is None else choice.reason
                notes.append(f"never: {resource} gets no points of the rule {rule.name}: {why}")
    regions = dict.fromkeys(copy.region for rule in plan.rules for copy in rule.copies)
    there = list(points)
    return Start(
        beginning=Beginning(
            at=at,
            installation=INSTALLATION,
            plan=plan,
            protected=tuple(protected),
            source=_site([point for region, point in there if region is None], _policies(plan, SiteRole.PRIMARY)),
            destinations={
                region: _site(
                    [point for where, point in there if where == region], _policies(plan, SiteRole.RECOVERY, region)
                )
                for region in regions
            },
        ),
        names=names,
        notes=tuple(notes),
    )


def _site(points: Iterable[RecoveryPoint], policy_of: PolicyOf) -> Site:
    return Site(points=tuple(points), policy_of=policy_of, limits=LIMITS, account=HOME.account)


def _policies(plan: Plan, site: SiteRole, region: Region = HOME.region) -> PolicyOf:
    return lambda name, rule: keep_policy_of(plan, rule, site=site, region=region) if name == plan.name else None


def _choose_as_if_tagged(plan: Plan, rule: Rule, resource: ResourceId) -> Choice:
    """What the rule makes of a resource of which only its id is known, if it has the tags that it needs."""
    tags = {key: min(values) for key, values in plan.selection.tags[0].items()} if plan.selection.tags else {}
    if resource.startswith("vol-"):
        return choose_volume(plan.selection, rule, Volume(id=resource, state="available", tags=tags))
    device = BlockDevice(device="/dev/xvda", volume_id="vol-assumed")
    instance = Instance(
        id=resource, state="running", image_id="", root_device_type="ebs", block_devices=(device,), tags=tags
    )
    return choose_instance(plan.selection, rule, instance)


# --- the file ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One point of the file: what it is called there, where it is (None: at the source), and what it is."""

    id: str
    region: Region | None
    point: RecoveryPoint


def _read(file: str, name: str, plan: Plan, only: frozenset[str]) -> tuple[list[_Row], int]:
    problems: list[str] = []
    line_of: dict[tuple[Region | None, str], int] = {}
    rows: list[_Row] = []
    left_out = 0
    for number, line in enumerate(_lines(file, name), start=1):
        if not line.strip():
            continue
        try:
            entry = _parse(line)
            if not _is_of_this_preview(entry, plan, only):
                left_out += entry.get("record", "point") == "point"
                continue
            row = _read_row(entry, plan)
            for key in ((row.region, row.id), (row.region, row.point.id)):
                if key in line_of and line_of[key] != number:
                    raise ValueError(f"is the point of line {line_of[key]}, too")  # noqa: TRY301 - told like the others
                line_of[key] = number
        except ValueError as error:
            problems.append(printable(f"{name}:{number}: {error}"))
            continue
        rows.append(row)
    for problem in problems[:_SHOWN_PROBLEMS]:
        click.echo(problem, err=True)
    if problems:
        more = f", the first {_SHOWN_PROBLEMS} are shown" if len(problems) > _SHOWN_PROBLEMS else ""
        raise click.ClickException(f"nothing was previewed: {len(problems)} lines are not points{more}")
    return rows, left_out


def _lines(file: str, name: str) -> Iterator[str]:
    try:
        content = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
        yield from content.decode().split("\n")
    except OSError as error:
        raise click.UsageError(f"{name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{name} is not UTF-8: byte 0x{content[error.start]:02x}") from error


def _parse(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON ({error}); {_EXAMPLE}") from error
    if not isinstance(entry, dict):
        raise ValueError(f"is a {type(entry).__name__}; an object {_EXAMPLE}")  # noqa: TRY004 - caught with the others
    return entry


def _is_of_this_preview(entry: Mapping[str, Any], plan: Plan, only: frozenset[str]) -> bool:
    """What a dry run says of leftovers, failures and in its summary is no point; other plans decide for themselves."""
    if entry.get("record", "point") != "point" or entry.get("plan", plan.name) != plan.name:
        return False
    return not only or entry.get("resource") in only


def _read_row(entry: Mapping[str, Any], plan: Plan) -> _Row:
    rule = _rule_of(entry, plan)
    region = _region_of(entry, rule)
    resource = ResourceId(_text(entry, "resource", "i-assumed"))
    time = _time(entry, "time", None)
    kind = _member(Kind, entry, "kind", _usual_kind(rule, resource))
    identity = PointIdentity(
        installation=INSTALLATION,
        place=Place(
            account=AccountId(_text(entry, "source_account", HOME.account)),
            region=Region(_text(entry, "source_region", HOME.region)),
        ),
        plan=plan.name,
        rule=rule.name,
        slot=_time(entry, "slot", time),
        resource=resource,
    )
    ids = _ids(entry, kind)
    tags = PointTags(
        identity=identity,
        point=point_id(identity),
        attempt=_number(entry, "attempt", 1, least=1),
        kind=kind,
        members=max(len(ids) - (kind is Kind.IMAGE), 1),
        consistency=rule.consistency,
        origin=CopyOrigin(copy_of="unknown", source_time=time, attempt=1) if region else None,
    )
    return _Row(id=_text(entry, "id", None), region=region, point=_point(entry, tags, ids, time))


def _point(entry: Mapping[str, Any], tags: PointTags, ids: list[str], time: datetime) -> RecoveryPoint:
    carried = write_tags(tags) | ({HOLD: ""} if entry.get("hold") is True else {})
    owner = tags.identity.place.account
    image, names = None, ids
    if tags.kind is Kind.IMAGE:
        names = ids[1:]
        image = Image(
            id=ImageId(ids[0]),
            owner=owner,
            name=image_name(tags),
            state="available",
            created_at=time,
            snapshots=tuple(map(SnapshotId, names)),
            tags=carried,
        )
    # Its size is that of all of its volumes.
    sizes = [_number(entry, "gib", 0, least=0), *([0] * (len(names) - 1))]
    snapshots = tuple(
        Snapshot(
            id=SnapshotId(name),
            owner=owner,
            state="completed",
            started_at=time,
            volume_id="",
            tags=carried,
            size_gib=size,
        )
        for name, size in zip(names, sizes, strict=False)
    )
    state = _member(PointState, entry, "state", PointState.COMPLETE)
    reason = "" if state is PointState.COMPLETE else "so the file says"
    return RecoveryPoint(tags=tags, source_time=time, state=state, reason=reason, snapshots=snapshots, image=image)


def _rule_of(entry: Mapping[str, Any], plan: Plan) -> Rule:
    names = ", ".join(rule.name for rule in plan.rules)
    if "rule" not in entry and len(plan.rules) > 1:
        raise ValueError(f"rule is missing; the plan has several: {names}")
    name = _text(entry, "rule", plan.rules[0].name)
    rule = plan.rule(name)
    if rule is None:
        raise ValueError(f"rule is {name!r}; the plan has {names}")
    return rule


def _region_of(entry: Mapping[str, Any], rule: Rule) -> Region | None:
    """Which destination a point is at; None at the source."""
    site = _text(entry, "site", "primary")
    if site == "primary":
        return None
    if site != "recovery":
        raise ValueError(f"site is {site!r}; primary or recovery")
    if "region" not in entry and len(rule.copies) == 1:
        return rule.copies[0].region
    region = Region(_text(entry, "region", None))
    if rule.copy_to(region) is None:
        there = ", ".join(copy.region for copy in rule.copies) or "nowhere"
        raise ValueError(f"region is {region!r}; the rule {rule.name} copies to {there}")
    return region


def _usual_kind(rule: Rule, resource: str) -> Kind:
    if resource.startswith("vol-"):
        return Kind.SNAPSHOT
    return Kind.IMAGE if rule.protect == "image" else Kind.SNAPSHOT_SET


def _ids(entry: Mapping[str, Any], kind: Kind) -> list[str]:
    ids = entry.get("ids", [])
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise ValueError(f"ids is {str(ids)[:80]!r}; a list of texts")
    name = _text(entry, "id", None)
    return ids or ([f"ami of {name}"] if kind is Kind.IMAGE else []) + [f"snapshot of {name}"]


def _text(entry: Mapping[str, Any], key: str, default: str | None) -> str:
    value = entry.get(key, default)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} is {repr(value)[:80] if key in entry else 'missing'}; a text")
    return value


def _time(entry: Mapping[str, Any], key: str, default: datetime | None) -> datetime:
    if key not in entry and default is not None:
        return default
    return parse_time(_text(entry, key, None))


def _number(entry: Mapping[str, Any], key: str, default: int, *, least: int) -> int:
    value = entry.get(key, default)
    if type(value) is not int or value < least:
        raise ValueError(f"{key} is {str(value)[:80]!r}; a whole number from {least}")
    return value


def _member(kind: type[_M], entry: Mapping[str, Any], key: str, default: _M) -> _M:
    value = _text(entry, key, default.value)
    try:
        return kind(value)
    except ValueError as error:
        raise ValueError(f"{key} is {value!r}; one of {', '.join(kind)}") from error
