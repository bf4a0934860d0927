"""What a user asks for: selection, rules, retention, copies, objectives, drill; read from YAML and checked once, here.

A plan is taken whole or refused whole, with every problem named: where it is in the document, what is wrong, and what
would be right. A key of the plan language that this version does not carry out is refused by name: a backup that was
asked for and silently not made is the worst that a backup tool can do. What is legal and unwise is `review`'s to judge.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from hikae.domain.document import MAX_BYTES, MAX_NODES, PlanError, Problem, find_line, join_path, read_document
from hikae.domain.model import Consistency, Region, VolumeExclusion
from hikae.domain.plan_grammar import (
    COPY_KEYS,
    DEFAULT_PROBE_TIMEOUT,
    DEFAULT_START_WINDOW,
    DEVICE,
    DRILL_KEYS,
    EXCLUSION_KEYS,
    INSTANCE_TYPE,
    MAX_COUNT,
    MAX_INSTANCE_TYPES,
    MAX_TAG_KEY,
    MAX_TAG_VALUE,
    NAME,
    OBJECTIVE_KEYS,
    PLAN_KEYS,
    PROBE_EXPECTATIONS,
    PROBE_VALUES,
    PROBES,
    PROFILES,
    PROTECTIONS,
    RECOVERY_KEYS,
    REGION,
    RESOURCES,
    RETENTION_KEYS,
    RULE_KEYS,
    SELECTION_KEYS,
    VERSION,
    Keys,
    parse_duration,
    read_probe_timeout,
    read_retire_after,
    read_schedule,
    read_start_window,
    read_tag_key,
    read_timezone,
    shown,
)
from hikae.domain.retention import KEEP_ALL, Policy, Span

__all__ = [
    "DEFAULT_START_WINDOW",
    "MAX_BYTES",
    "MAX_NODES",
    "CopyRule",
    "Drill",
    "Objectives",
    "ParsedPlan",
    "Plan",
    "PlanError",
    "Probe",
    "Problem",
    "Rule",
    "Selection",
    "parse_duration",
    "parse_plan",
    "read_plan",
]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which resources a plan protects.

    One of `tags` must match, whole: all of its keys, each with one of its values. None of `exclude_tags` may.
    """

    resources: frozenset[str]
    tags: tuple[Mapping[str, frozenset[str]], ...]
    exclude_tags: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRule:
    """Where the points of a rule are copied to, and what is kept there."""

    region: Region
    retention: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """Targets: how old the newest point at the recovery site may be, and how long a recovery may take."""

    rpo: timedelta | None = None
    rto: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One schedule with its kind of protection, retention, copies and objectives."""

    name: str
    schedule: str
    start_window: timedelta
    protect: str
    reboot: bool
    consistency: Consistency
    retention: Policy
    copies: tuple[CopyRule, ...] = ()
    objectives: Objectives = field(default_factory=Objectives)
    exclude_volumes: VolumeExclusion = field(default_factory=VolumeExclusion)

    def copy_to(self, region: Region) -> CopyRule | None:
        """What the rule says about copies in `region`; None where it sends none there."""
        return next((copy for copy in self.copies if copy.region == region), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One question that a drill asks of what it recovered: `kind` as in the plan, `value` what goes with it.

    `status` is the HTTP status that it has to answer with, empty for any of success; `expected` a regular expression
    that the body or the command's output has to match.
    """

    kind: str
    value: str = ""
    status: str = ""
    expected: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """How recovery is rehearsed: when, which instances together, in which order, and how it is proven.

    `group_by` and `order` are tag keys, empty where none was given. `probe_timeout` counts from the first probe;
    `own_profile` lets what is drilled run under the instance's own profile instead of the drill's.
    """

    schedule: str
    group_by: str = ""
    order: str = ""
    probes: tuple[Probe, ...] = ()
    probe_timeout: timedelta = DEFAULT_PROBE_TIMEOUT
    own_profile: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A document of the user's: selection, rules and drill.

    `retire_after` is how old the newest point of a resource that is gone may grow before it is released; None: it is
    kept for ever. `recovery_types` are the instance types to recover on where the instance's own has no room.
    """

    name: str
    timezone: ZoneInfo
    selection: Selection
    rules: tuple[Rule, ...]
    retire_after: timedelta | None = None
    drill: Drill | None = None
    recovery_types: tuple[str, ...] = ()

    def rule(self, name: str) -> Rule | None:
        """The rule of this name."""
        return next((rule for rule in self.rules if rule.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedPlan:
    """A plan, and where its text says what."""

    plan: Plan
    lines: Mapping[str, int]

    def line_of(self, path: str) -> int | None:
        """The line of `path` (`rules[0].objectives.rpo`), or of the nearest that is above it in the document."""
        return find_line(self.lines, path)


def parse_plan(text: str) -> Plan:
    """Read a plan from YAML.

    Raises:
        PlanError: with every problem of the document, in the order of its lines.
    """
    return read_plan(text).plan


def read_plan(text: str) -> ParsedPlan:
    """Read a plan from YAML, and remember its lines.

    Raises:
        PlanError: with every problem of the document, in the order of its lines.
    """
    document = read_document(text)
    reader = _Reader(lines=document.lines, problems=document.problems)
    plan = reader.plan(document.value)
    if reader.problems or plan is None:
        raise PlanError(tuple(sorted(reader.problems, key=lambda problem: problem.line or 0)))
    return ParsedPlan(plan=plan, lines=document.lines)


class _Reader:
    """Reads one document and collects what is wrong with it."""

    def __init__(self, *, lines: Mapping[str, int], problems: tuple[Problem, ...]) -> None:
        self.problems: list[Problem] = list(problems)
        self._lines = lines

    def refuse(self, path: str, message: str) -> None:
        self.problems.append(Problem(path=path, message=message, line=find_line(self._lines, path)))

    def plan(self, document: Any) -> Plan | None:
        top = self._mapping(document, "", PLAN_KEYS)
        if top is None:
            return None
        if "version" in top and (type(top["version"]) is not int or top["version"] != VERSION):
            self.refuse("version", f"is {shown(top['version'])}; this version of hikae reads version: {VERSION}")
        name = self._name(top, "plan")
        timezone = self._convert(top, "timezone", "", read_timezone)
        selection = self._selection(top["selection"], "selection") if top.get("selection") is not None else None
        rules = self._rules(top["rules"], "rules") if top.get("rules") is not None else ()
        retire_after = self._convert(top, "retire_after", "", read_retire_after)
        drill = self._drill(top["drill"], "drill") if "drill" in top else None
        types = self._recovery(top["recovery"], "recovery") if "recovery" in top else ()
        if self.problems or not (name and timezone and selection and rules):
            return None
        return Plan(
            name=name,
            timezone=timezone,
            selection=selection,
            rules=rules,
            retire_after=retire_after,
            drill=drill,
            recovery_types=types,
        )

    # --- what is protected --------------------------------------------------------------------------------------------

    def _selection(self, value: Any, path: str) -> Selection | None:
        section = self._mapping(value, path, SELECTION_KEYS)
        if section is None:
            return None
        resources = section.get("resources")
        if resources is not None and (
            not isinstance(resources, list)
            or not resources
            or any(not isinstance(kind, str) or kind not in RESOURCES for kind in resources)
        ):
            message = f"is {shown(resources)}; a list of {' and '.join(RESOURCES)}, such as [instance]"
            self.refuse(f"{path}.resources", message)
            resources = []
        return Selection(
            resources=frozenset(resources or []),
            tags=self._alternatives(section["tags"], f"{path}.tags") if section.get("tags") is not None else (),
            exclude_tags=self._tags(section, "exclude_tags", path),
        )

    def _alternatives(self, value: Any, path: str) -> tuple[Mapping[str, frozenset[str]], ...]:
        """One mapping of tags, or a list of them of which one must match."""
        if not isinstance(value, list):
            return (self._some_tags(value, path),)
        if not value:
            self.refuse(path, "is empty; name at least one tag, or every resource would be selected")
        return tuple(self._some_tags(each, f"{path}[{number}]") for number, each in enumerate(value))

    def _some_tags(self, value: Any, path: str) -> Mapping[str, frozenset[str]]:
        if value == {}:
            self.refuse(path, "is empty; name at least one tag, or every resource would be selected")
        return self._tag_values(value, path)

    def _tags(self, section: Mapping[str, Any], key: str, path: str) -> Mapping[str, frozenset[str]]:
        return self._tag_values(section[key], f"{path}.{key}") if key in section else {}

    def _tag_values(self, value: Any, path: str) -> dict[str, frozenset[str]]:
        if not isinstance(value, dict):
            message = f"is {shown(value)}; a mapping of tag keys to values, such as {{Backup: production}}"
            self.refuse(path, message)
            return {}
        tags = {}
        for name, wanted in value.items():
            below = join_path(path, name)
            if not 1 <= len(name) <= MAX_TAG_KEY:
                self.refuse(below, f"{shown(name)} is no tag's key; one has 1 to {MAX_TAG_KEY} letters")
            values = wanted if isinstance(wanted, list) else [wanted]
            if not values:
                self.refuse(below, "is an empty list; name at least one value")
            for one in values:
                if not isinstance(one, str):
                    self.refuse(below, f'is {shown(one)}, not text; put the value in quotes, such as "off" or "1"')
                elif len(one) > MAX_TAG_VALUE:
                    self.refuse(below, f"{shown(one)} is no tag's value; one has at most {MAX_TAG_VALUE} letters")
            tags[name] = frozenset(one for one in values if isinstance(one, str))
        return tags

    # --- rules --------------------------------------------------------------------------------------------------------

    def _rules(self, value: Any, path: str) -> tuple[Rule, ...]:
        if not isinstance(value, list) or not value:
            self.refuse(path, f"is {shown(value)}; a list with at least one rule")
            return ()
        rules = [rule for number, item in enumerate(value) if (rule := self._rule(item, f"{path}[{number}]"))]
        names: set[str] = set()
        for number, item in enumerate(value):
            name = item.get("name") if isinstance(item, dict) else None
            if isinstance(name, str) and name in names:
                self.refuse(f"{path}[{number}].name", f"{shown(name)} is the name of another rule; names must differ")
            elif isinstance(name, str):
                names.add(name)
        return tuple(rules)

    def _rule(self, value: Any, path: str) -> Rule | None:
        section = self._mapping(value, path, RULE_KEYS)
        if section is None:
            return None
        name = self._name(section, f"{path}.name")
        schedule = self._convert(section, "schedule", path, read_schedule)
        window = self._convert(section, "start_window", path, read_start_window)
        protect = section.get("protect")
        if protect is not None and (not isinstance(protect, str) or protect not in PROTECTIONS):
            self.refuse(f"{path}.protect", f"is {shown(protect)}; either snapshots or image")
        reboot = self._flag(section, "reboot", path)
        if "reboot" in section and protect != "image" and isinstance(section["reboot"], bool):
            self.refuse(f"{path}.reboot", "only an image can reboot its instance; leave it out, or protect: image")
        self._consistency(section, path)
        exclusion = VolumeExclusion()
        if "exclude_volumes" in section:
            exclusion = self._exclusion(section["exclude_volumes"], f"{path}.exclude_volumes", protect=protect)
        retention = self._retention(section.get("retention"), f"{path}.retention")
        copies = self._copies(section.get("copies", []), f"{path}.copies")
        objectives = self._objectives(section.get("objectives", {}), f"{path}.objectives")
        if not (name and schedule and retention and isinstance(protect, str)):
            return None
        return Rule(
            name=name,
            schedule=schedule,
            start_window=window or DEFAULT_START_WINDOW,
            protect=protect,
            reboot=reboot,
            consistency=Consistency.CRASH,
            retention=retention,
            copies=copies,
            objectives=objectives,
            exclude_volumes=exclusion,
        )

    def _consistency(self, section: Mapping[str, Any], path: str) -> None:
        value = section.get("consistency", "crash")
        if value == Consistency.APPLICATION:
            self.refuse(f"{path}.consistency", "application is not carried out by this version; use crash")
        elif value != Consistency.CRASH:
            self.refuse(f"{path}.consistency", f"is {shown(value)}; crash")

    def _exclusion(self, value: Any, path: str, *, protect: Any) -> VolumeExclusion:
        section = self._mapping(value, path, EXCLUSION_KEYS)
        if section is None:
            return VolumeExclusion()
        if not section:
            self.refuse(path, 'is empty; name the volumes, such as {tags: {Scratch: "true"}}, or leave it out')
        tags = self._tags(section, "tags", path)
        devices = section.get("devices", [])
        if not isinstance(devices, list) or any(
            not isinstance(device, str) or not DEVICE.fullmatch(device) for device in devices
        ):
            self.refuse(f"{path}.devices", f"is {shown(devices)}; a list of device names, such as [/dev/sdf]")
            devices = []
        boot, data = self._flag(section, "boot", path), self._flag(section, "data", path)
        if boot and data:
            self.refuse(path, "boot and data together leave no volume; keep one of them")
        elif boot and protect == "image":
            self.refuse(
                f"{path}.boot", "an image cannot leave its boot volume out; leave it out, or protect: snapshots"
            )
        return VolumeExclusion(tags=tags, devices=frozenset(devices), boot=boot, data=data)

    def _copies(self, value: Any, path: str) -> tuple[CopyRule, ...]:
        if not isinstance(value, list):
            message = f"is {shown(value)}; a list, such as [{{region: us-west-2, retention: {{keep_daily: 7}}}}]"
            self.refuse(path, message)
            return ()
        copies: list[CopyRule] = []
        first_of: dict[str, int] = {}
        for number, item in enumerate(value):
            below = f"{path}[{number}]"
            section = self._mapping(item, below, COPY_KEYS)
            if section is None:
                continue
            region = section.get("region")
            if region is not None and (not isinstance(region, str) or not REGION.fullmatch(region)):
                self.refuse(f"{below}.region", f"is {shown(region)}; a Region's code, such as us-west-2")
            elif isinstance(region, str) and first_of.setdefault(region, number) != number:
                message = f"{region} is the destination of copies[{first_of[region]}], too; keep one of them"
                self.refuse(f"{below}.region", message)
            retention = self._retention(section.get("retention"), f"{below}.retention")
            if isinstance(region, str) and retention:
                copies.append(CopyRule(region=Region(region), retention=retention))
        return tuple(copies)

    def _objectives(self, value: Any, path: str) -> Objectives:
        section = self._mapping(value, path, OBJECTIVE_KEYS) or {}
        return Objectives(
            rpo=self._convert(section, "rpo", path, parse_duration),
            rto=self._convert(section, "rto", path, parse_duration),
        )

    def _retention(self, value: Any, path: str) -> Policy | None:
        if value is None:
            return None
        before = len(self.problems)
        section = self._mapping(value, path, RETENTION_KEYS)
        if section is None:
            return None
        rules: dict[str, Any] = {}
        for key in section:
            if key not in RETENTION_KEYS.known:
                continue
            if "within" in key:
                rules[key] = self._convert(section, key, path, Span.parse)
            elif type(section[key]) is not int or not (section[key] == KEEP_ALL or 1 <= section[key] <= MAX_COUNT):
                self.refuse(f"{path}.{key}", f"is {shown(section[key])}; a number from 1 to {MAX_COUNT}, or -1 for all")
            else:
                rules[key] = section[key]
        if len(self.problems) > before:
            return None
        if not rules:
            self.refuse(path, "is empty; name at least one rule such as keep_daily: 7, or keep_last: -1 for everything")
            return None
        return Policy(**rules)

    # --- recovery -----------------------------------------------------------------------------------------------------

    def _recovery(self, value: Any, path: str) -> tuple[str, ...]:
        section = self._mapping(value, path, RECOVERY_KEYS)
        types = section.get("instance_types") if section else None
        if types is None:
            return ()
        if (
            not isinstance(types, list)
            or not 1 <= len(types) <= MAX_INSTANCE_TYPES
            or any(not isinstance(each, str) or not INSTANCE_TYPE.fullmatch(each) for each in types)
        ):
            message = f"is {shown(types)}; a list of 1 to {MAX_INSTANCE_TYPES} types, such as [m6i.large, m5.large]"
            self.refuse(f"{path}.instance_types", message)
            return ()
        return tuple(types)

    # --- drill --------------------------------------------------------------------------------------------------------

    def _drill(self, value: Any, path: str) -> Drill | None:
        section = self._mapping(value, path, DRILL_KEYS)
        if section is None:
            return None
        probes = section.get("probes", [])
        if not isinstance(probes, list) or ("probes" in section and not probes):
            self.refuse(f"{path}.probes", f"is {shown(probes)}; a list, such as [status-checks, {{tcp: 443}}]")
            probes = []
        if section.get("instance_profile", "drill") not in PROFILES:
            self.refuse(f"{path}.instance_profile", f"is {shown(section['instance_profile'])}; drill or own")
        return Drill(
            schedule=self._convert(section, "schedule", path, read_schedule) or "",
            group_by=self._convert(section, "group_by", path, read_tag_key) or "",
            order=self._convert(section, "order", path, read_tag_key) or "",
            probes=tuple(
                probe for number, each in enumerate(probes) if (probe := self._probe(each, f"{path}.probes[{number}]"))
            ),
            probe_timeout=self._convert(section, "probe_timeout", path, read_probe_timeout) or DEFAULT_PROBE_TIMEOUT,
            own_profile=section.get("instance_profile") == "own",
        )

    def _probe(self, value: Any, path: str) -> Probe | None:
        if value == "status-checks":
            return Probe(kind=value)
        kinds = [key for key in value if key in PROBES[1:]] if isinstance(value, dict) else []
        if len(kinds) != 1 or not set(value) <= {kinds[0], *PROBE_EXPECTATIONS.get(kinds[0], ())}:
            message = f"is {shown(value)}; status-checks, or one of {', '.join(PROBES[1:])}, such as {{tcp: 443}}"
            self.refuse(path, message)
            return None
        [kind] = kinds
        read: dict[str, str] = {}
        for key, given in value.items():
            try:
                read[key] = {**PROBE_VALUES, **PROBE_EXPECTATIONS.get(kind, {})}[key](given)
            except ValueError as error:
                self.refuse(f"{path}.{key}", str(error))
        expected = read.get("body", "") or read.get("output", "")
        return Probe(kind=kind, value=read.get(kind, ""), status=read.get("status", ""), expected=expected)

    # --- pieces -------------------------------------------------------------------------------------------------------

    def _mapping(self, value: Any, path: str, keys: Keys) -> dict[str, Any] | None:
        if not isinstance(value, dict):
            what = "the document" if not path else "it"
            self.refuse(path, f"{what} is {shown(value)}; a mapping with {', '.join(keys.required or keys.known)}")
            return None
        for key in value:
            below = join_path(path, key)
            if key in keys.refused:
                self.refuse(below, keys.refused[key])
            elif key not in keys.known:
                self.refuse(below, f"is not a key of a plan here; the keys are {', '.join(keys.known)}")
        for key in keys.required:
            if key not in value:
                self.refuse(join_path(path, key), "is missing")
            elif value[key] is None:
                self.refuse(join_path(path, key), "has no value")
        return value

    def _name(self, section: Mapping[str, Any], path: str) -> str | None:
        value = section.get(path.rsplit(".", 1)[-1])
        if value is None:
            return None
        if not isinstance(value, str) or not NAME.fullmatch(value):
            self.refuse(path, f"is {shown(value)}; 1 to 40 small letters, digits and hyphens, no hyphen at either end")
            return None
        return value

    def _flag(self, section: Mapping[str, Any], key: str, path: str) -> bool:
        value = section.get(key, False)
        if not isinstance(value, bool):
            self.refuse(f"{path}.{key}", f"is {shown(value)}; either true or false")
            return False
        return value

    def _convert(self, section: Mapping[str, Any], key: str, path: str, read: Callable[[str], _T]) -> _T | None:
        value, below = section.get(key), join_path(path, key)
        if value is None:
            if key in section:
                self.refuse(below, "has no value")
            return None
        if not isinstance(value, str):
            self.refuse(below, f"is {shown(value)}, not text; put it in quotes")
            return None
        try:
            return read(value)
        except ValueError as error:
            self.refuse(below, str(error))
            return None
