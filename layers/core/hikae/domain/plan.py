"""What a user asks for: selection, rules, retention, copies, objectives; read from YAML and checked once, here.

A plan is taken whole or refused whole, with every problem named: where it is in the document, what is wrong, and what
would be right. A key of the plan language that this version does not carry out is refused by name: a backup that was
asked for and silently not made is the worst that a backup tool can do.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import yaml
from cronsim import CronSim, CronSimError
from yaml.reader import ReaderError

from hikae.domain.model import Consistency, Region, VolumeExclusion
from hikae.domain.retention import KEEP_ALL, Policy, Span

VERSION: Final = 1
MAX_BYTES: Final = 64 * 1024
MAX_NODES: Final = 5_000

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with a plan: where in the document, on which line (from 1), what would be right."""

    path: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        """`line 7: rules[0].schedule: …`, without what is not known."""
        where = ": ".join(part for part in (f"line {self.line}" if self.line else "", self.path) if part)
        return f"{where}: {self.message}" if where else self.message


class PlanError(ValueError):
    """A plan that is refused, with all its problems."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems


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
    """One question that a drill asks of what it recovered: `kind` as in the plan, `value` what goes with it."""

    kind: str
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """How recovery is rehearsed: when, which instances together, in which order, and how it is proven.

    `group_by` and `order` are tag keys, empty where none was given.
    """

    schedule: str
    group_by: str = ""
    order: str = ""
    probes: tuple[Probe, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A document of the user's: selection, rules and drill.

    `retire_after` is how old the newest point of a resource that is gone may grow before it is released; None: it is
    kept for ever.
    """

    name: str
    timezone: ZoneInfo
    selection: Selection
    rules: tuple[Rule, ...]
    retire_after: timedelta | None = None
    drill: Drill | None = None

    def rule(self, name: str) -> Rule | None:
        """The rule of this name."""
        return next((rule for rule in self.rules if rule.name == name), None)


DEFAULT_START_WINDOW: Final = timedelta(hours=1)
MAX_START_WINDOW: Final = timedelta(days=7)


def parse_plan(text: str) -> Plan:
    """Read a plan from YAML.

    Raises:
        PlanError: with every problem of the document, in the order of its lines.
    """
    reader = _Reader()
    document = reader.load(text)
    plan = reader.plan(document)
    if reader.problems or plan is None:
        raise PlanError(tuple(sorted(reader.problems, key=lambda problem: problem.line or 0)))
    return plan


def parse_duration(text: str) -> timedelta:
    """Read `90m`, `2h`, `1d12h`.

    Raises:
        ValueError: it is not such a duration, or is zero.
    """
    match = _DURATION.fullmatch(text)
    days, hours, minutes = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    duration = timedelta(days=min(days, 36_500), hours=min(hours, 876_000), minutes=min(minutes, 52_560_000))
    if not duration:
        raise ValueError(f"{text!r} is not a duration such as 30m, 8h or 1d12h")
    return duration


class _Reader:
    """Reads one document and collects what is wrong with it."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._lines: dict[str, int] = {}
        self._nodes = 0

    def refuse(self, path: str, message: str) -> None:
        line = self._lines.get(path)
        parent = path
        while line is None and parent:
            parent = re.sub(r"(\.[^.\[]+|\[\d+\]|^[^.\[]+)$", "", parent)
            line = self._lines.get(parent)
        self.problems.append(Problem(path=path, message=message, line=line))

    # --- YAML ---------------------------------------------------------------------------------------------------------

    def load(self, text: str) -> Any:
        if len(text.encode(errors="replace")) > MAX_BYTES:
            raise PlanError((Problem(path="", message=f"the document is larger than {MAX_BYTES} bytes"),))
        try:
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
            return None if node is None else self._value(loader, node, "")
        except PlanError:
            raise
        except ReaderError as error:
            message = f"not YAML: character #x{error.character:04x} is not allowed"
            before = text.count("\n", 0, error.position)
            raise PlanError((Problem(path="", message=message, line=before + 1),)) from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else None
            message = f"not YAML: {error.problem or error.context}"
            raise PlanError((Problem(path="", message=message, line=line),)) from error
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
            # PyYAML's constructors let all of these out, of `!!bool maybe` for one.
            raise PlanError((Problem(path="", message=f"not YAML: {type(error).__name__}: {error}"),)) from error

    def _value(self, loader: yaml.SafeLoader, node: yaml.Node, path: str) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise PlanError((Problem(path="", message=f"the document has more than {MAX_NODES} values"),))
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            mapping: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                if not isinstance(key_node, yaml.ScalarNode):
                    # It is not even shown: a list of lists of … unfolds to more than memory holds.
                    line = key_node.start_mark.line + 1
                    self.problems.append(Problem(path=path, message="a key must be text", line=line))
                    continue
                key = loader.construct_object(key_node)
                below = _join(path, key_node.value)
                if not isinstance(key, str):
                    message = f'a key must be text; write "{key_node.value}"'
                    self.problems.append(Problem(path=below, message=message, line=key_node.start_mark.line + 1))
                    key = key_node.value
                if key in mapping:
                    self.problems.append(
                        Problem(path=below, message="given twice; keep one of them", line=key_node.start_mark.line + 1)
                    )
                self._lines.setdefault(below, key_node.start_mark.line + 1)
                mapping[key] = self._value(loader, value_node, below)
            return mapping
        if isinstance(node, yaml.SequenceNode):
            return [self._value(loader, item, f"{path}[{number}]") for number, item in enumerate(node.value)]
        return loader.construct_object(node, deep=True)

    # --- the plan -----------------------------------------------------------------------------------------------------

    def plan(self, document: Any) -> Plan | None:
        known = ("version", "plan", "timezone", "selection", "rules")
        top = self._mapping(document, "", known=known, later=("drill", "retire_after"), required=known)
        if top is None:
            return None
        if "version" in top and (type(top["version"]) is not int or top["version"] != VERSION):
            self.refuse("version", f"is {top['version']!r}; this version of hikae reads version: {VERSION}")
        name = self._name(top, "plan")
        timezone = self._convert(top, "timezone", "timezone", _timezone)
        selection = self._selection(top.get("selection"))
        rules = self._rules(top.get("rules"))
        if self.problems or not (name and timezone and selection and rules):
            return None
        return Plan(name=name, timezone=timezone, selection=selection, rules=rules)

    def _selection(self, value: Any) -> Selection | None:
        path = "selection"
        if value is None:
            return None
        known = ("resources", "tags", "exclude_tags")
        section = self._mapping(value, path, known=known, required=("resources", "tags"))
        if section is None:
            return None
        resources = section.get("resources")
        kinds = ("instance", "volume")
        if "resources" in section and (
            not isinstance(resources, list)
            or not resources
            or any(not isinstance(kind, str) or kind not in kinds for kind in resources)
        ):
            self.refuse(f"{path}.resources", f"is {resources!r}; a list of {' and '.join(kinds)}, such as [instance]")
            resources = []
        tags = self._tags(section, "tags", path)
        if "tags" in section and tags == {}:
            self.refuse(f"{path}.tags", "is empty; name at least one tag, or every resource would be selected")
        return Selection(
            resources=frozenset(resources or []),
            tags=(tags or {},),
            exclude_tags=self._tags(section, "exclude_tags", path) or {},
        )

    def _tags(self, section: Mapping[str, Any], key: str, parent: str) -> dict[str, frozenset[str]] | None:
        if key not in section:
            return None
        path = f"{parent}.{key}"
        value = section[key]
        if not isinstance(value, dict):
            self.refuse(path, f"is {value!r}; a mapping of tag keys to values, such as {{Backup: production}}")
            return None
        tags = {}
        for name, wanted in value.items():
            values = wanted if isinstance(wanted, list) else [wanted]
            if not values:
                self.refuse(f"{path}.{name}", "is an empty list; name at least one value")
            for one in values:
                if not isinstance(one, str):
                    self.refuse(
                        f"{path}.{name}", f'is {one!r}, not text; put the value in quotes, such as "off" or "1"'
                    )
            tags[name] = frozenset(one for one in values if isinstance(one, str))
        return tags

    def _rules(self, value: Any) -> tuple[Rule, ...]:
        if value is None:
            return ()
        if not isinstance(value, list) or not value:
            self.refuse("rules", f"is {value!r}; a list with at least one rule")
            return ()
        rules = [rule for number, item in enumerate(value) if (rule := self._rule(item, f"rules[{number}]"))]
        names: set[str] = set()
        for number, item in enumerate(value):
            name = item.get("name") if isinstance(item, dict) else None
            if isinstance(name, str) and name in names:
                self.refuse(f"rules[{number}].name", f"{name!r} is the name of another rule; names must differ")
            elif isinstance(name, str):
                names.add(name)
        return tuple(rules)

    def _rule(self, value: Any, path: str) -> Rule | None:
        required = ("name", "schedule", "protect", "retention")
        known = (*required, "start_window", "reboot", "consistency", "copies", "objectives")
        section = self._mapping(value, path, known=known, later=("exclude_volumes",), required=required)
        if section is None:
            return None
        name = self._name(section, f"{path}.name")
        schedule = self._convert(section, "schedule", f"{path}.schedule", _schedule)
        window = self._convert(section, "start_window", f"{path}.start_window", parse_duration)
        if window and window > MAX_START_WINDOW:
            self.refuse(f"{path}.start_window", f"is longer than {MAX_START_WINDOW.days} days; 1h is usual")
        protect = section.get("protect")
        if "protect" in section and (not isinstance(protect, str) or protect not in ("snapshots", "image")):
            self.refuse(f"{path}.protect", f"is {protect!r}; either snapshots or image")
        reboot = section.get("reboot", False)
        if not isinstance(reboot, bool):
            self.refuse(f"{path}.reboot", f"is {reboot!r}; either true or false")
        elif "reboot" in section and protect != "image":
            self.refuse(f"{path}.reboot", "only an image can reboot its instance; leave it out, or protect: image")
        self._consistency(section, path)
        retention = self._retention(section.get("retention"), f"{path}.retention") if "retention" in section else None
        copies = self._copies(section.get("copies", []), f"{path}.copies")
        objectives = self._objectives(section.get("objectives", {}), f"{path}.objectives")
        if not (name and schedule and retention and isinstance(protect, str) and isinstance(reboot, bool)):
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
        )

    def _consistency(self, section: Mapping[str, Any], path: str) -> None:
        value = section.get("consistency", "crash")
        if value == Consistency.APPLICATION:
            self.refuse(f"{path}.consistency", "application is not carried out by this version; use crash")
        elif value != Consistency.CRASH:
            self.refuse(f"{path}.consistency", f"is {value!r}; crash")

    def _copies(self, value: Any, path: str) -> tuple[CopyRule, ...]:
        if not isinstance(value, list):
            self.refuse(path, f"is {value!r}; a list, such as [{{region: us-west-2, retention: {{keep_daily: 7}}}}]")
            return ()
        if len(value) > 1:
            self.refuse(f"{path}[1]", "more than one destination is not carried out by this version; keep one")
        copies = []
        for number, item in enumerate(value):
            below = f"{path}[{number}]"
            known = ("region", "retention")
            section = self._mapping(item, below, known=known, later=("account",), required=known)
            if section is None:
                continue
            region = section.get("region")
            if "region" in section and (not isinstance(region, str) or not _REGION.fullmatch(region)):
                self.refuse(f"{below}.region", f"is {region!r}; a Region's code, such as us-west-2")
            retention = self._retention(section.get("retention"), f"{below}.retention")
            if isinstance(region, str) and retention:
                copies.append(CopyRule(region=Region(region), retention=retention))
        return tuple(copies)

    def _objectives(self, value: Any, path: str) -> Objectives:
        section = self._mapping(value, path, known=("rpo", "rto")) or {}
        return Objectives(
            rpo=self._convert(section, "rpo", f"{path}.rpo", parse_duration),
            rto=self._convert(section, "rto", f"{path}.rto", parse_duration),
        )

    def _retention(self, value: Any, path: str) -> Policy | None:
        before = len(self.problems)
        section = self._mapping(value, path, known=tuple(each.name for each in fields(Policy)))
        if section is None:
            return None
        rules: dict[str, Any] = {}
        for key in section:
            if "within" in key:
                rules[key] = self._convert(section, key, f"{path}.{key}", Span.parse)
            elif key in {each.name for each in fields(Policy)}:
                count = section[key]
                if type(count) is not int or count < KEEP_ALL or count == 0:
                    self.refuse(f"{path}.{key}", f"is {count!r}; a number from 1, or -1 for all")
                else:
                    rules[key] = count
        if len(self.problems) > before:
            return None
        if not rules:
            self.refuse(path, "is empty; name at least one rule such as keep_daily: 7, or keep_last: -1 for everything")
            return None
        return Policy(**rules)

    # --- pieces -------------------------------------------------------------------------------------------------------

    def _mapping(
        self,
        value: Any,
        path: str,
        *,
        known: tuple[str, ...],
        later: tuple[str, ...] = (),
        required: tuple[str, ...] = (),
    ) -> dict[str, Any] | None:
        if not isinstance(value, dict):
            what = "the document" if not path else "it"
            self.refuse(path, f"{what} is {_shown(value)}; a mapping with {', '.join(required or known)}")
            return None
        for key in value:
            below = _join(path, key)
            if key in later:
                self.refuse(below, "is not carried out by this version; leave it out")
            elif key not in known:
                self.refuse(below, f"is not a key of a plan here; the keys are {', '.join(known)}")
        for key in required:
            if key not in value:
                self.refuse(_join(path, key), "is missing")
            elif value[key] is None:
                self.refuse(_join(path, key), "has no value")
        return value

    def _name(self, section: Mapping[str, Any], path: str) -> str | None:
        value = section.get(path.rsplit(".", 1)[-1])
        if value is None:
            return None
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            self.refuse(path, f"is {value!r}; 1 to 40 small letters, digits and hyphens, no hyphen at either end")
            return None
        return value

    def _convert(self, section: Mapping[str, Any], key: str, path: str, read: Callable[[str], _T]) -> _T | None:
        value = section.get(key)
        if value is None:
            if key in section:
                self.refuse(path, "has no value")
            return None
        if not isinstance(value, str):
            self.refuse(path, f"is {value!r}, not text; put it in quotes")
            return None
        try:
            return read(value)
        except ValueError as error:
            self.refuse(path, str(error))
            return None


def _timezone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (ValueError, OSError, LookupError) as error:
        raise ValueError(f"{text!r} is not a time zone; an IANA name, such as Asia/Tokyo or UTC") from error


def _schedule(text: str) -> str:
    if len(text.split()) != 5:  # noqa: PLR2004 - cronsim would take a sixth field, seconds, which a tick cannot keep
        raise ValueError(f"{text!r} is not a schedule; five cron fields, such as 0 3 * * *")
    try:
        CronSim(text, datetime(2026, 1, 1, tzinfo=UTC))  # any start: only to have the expression parsed
    except CronSimError as error:
        raise ValueError(f"{text!r} is not a schedule ({error}); five cron fields, such as 0 3 * * *") from error
    return text


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _shown(value: Any) -> str:
    return "empty" if value is None else repr(value)[:80]
