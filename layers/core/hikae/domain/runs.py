"""A recovery run as a document: what was asked, what was chosen, what each step did and when.

It is rewritten by every step and holds no user data. Whatever EC2 shows under the run's tag takes precedence over it.
"""

import json
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final, TypeVar

from hikae.domain.model import Kind
from hikae.domain.naming import DRILL, RECOVERY, format_time, parse_time

RUN_VERSION: Final = 1
STAGES: Final = ("select", "prepare", "preflight", "launch", "attach", "network", "probe", "tear-down", "record")
"""The steps of a run, in their order."""
RUN_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

_T = TypeVar("_T")


class RunError(ValueError):
    """A request or a document that is no run's; the text says what is wrong and what would be right."""


class Mode(StrEnum):
    """What a run is for."""

    RESTORE = "restore"
    DRILL = "drill"

    @property
    def tag(self) -> str:
        """The tag on everything that such a run makes."""
        return DRILL if self is Mode.DRILL else RECOVERY


class StepStatus(StrEnum):
    """What the state machine goes by after a step."""

    DONE = "done"
    AGAIN = "again"
    FALL_BACK = "fall-back"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How a step ended; with `AGAIN` it is to be called once more after `wait` seconds.

    `missed` are the objectives that the run has not met although it succeeded; only its last step says so.
    """

    status: StepStatus
    reason: str = ""
    wait: int = 0
    missed: tuple[str, ...] = ()


DONE: Final = Step(status=StepStatus.DONE)


def again(seconds: int, reason: str) -> Step:
    """Call the step once more in so many seconds."""
    return Step(status=StepStatus.AGAIN, reason=reason, wait=seconds)


def failed(reason: str) -> Step:
    """The run has failed here."""
    return Step(status=StepStatus.FAILED, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for: the resources named, or those of a group of a plan, or all of a plan.

    `before`: use no point that is younger. `point`: use this very point (`rp-…`), of the one resource named. `partial`:
    go on without what has no usable point or cannot be launched.
    """

    mode: Mode
    plan: str = ""
    group: str = ""
    resources: tuple[str, ...] = ()
    before: datetime | None = None
    point: str = ""
    partial: bool = False
    started_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One way to launch a member: this type, in this subnet.

    `cores` and `threads` a core are asked for, where they are not the type's own. `without` names what the instance had
    and this type cannot have.
    """

    type: str
    subnet: str
    zone: str
    cores: int = 0
    threads: int = 0
    without: tuple[str, ...] = ()


_FROM_INSIDE: Final = frozenset({"tcp", "http", "https"})


class ProbeState(StrEnum):
    """How far a probe is."""

    PENDING = "pending"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What one probe has found so far; `reference` is the id of a command under way."""

    kind: str
    value: str = ""
    status: str = ""
    expected: str = ""
    state: ProbeState = ProbeState.PENDING
    detail: str = ""
    at: datetime | None = None
    reference: str = ""

    @property
    def is_from_inside(self) -> bool:
        """Whether it goes over the run's own network, where only a function in there can ask."""
        return self.kind in _FROM_INSIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One resource of a run: the point that was chosen for it, and what became of it here.

    `snapshots` are by the source volume's id. `registered` is the image that the run registered itself, which goes when
    the run ends. `attempt` counts the points that were tried for this resource, from 1.
    """

    resource: str
    kind: Kind
    point: str
    set_id: str
    source_time: datetime
    manifest: str
    account: str
    region: str
    snapshots: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    registered: str = ""
    attempt: int = 1
    order: str = ""
    batch: int = 0
    type: str = ""
    rungs: tuple[Rung, ...] = ()
    rung: int = 0
    refusals: tuple[str, ...] = ()
    instance: str = ""
    volume: str = ""
    private_ip: str = ""
    launched_at: datetime | None = None
    running_at: datetime | None = None
    networked: bool = False
    probes: tuple[ProbeResult, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_instance(self) -> bool:
        """Whether it is an instance, and not a detached volume."""
        return self.kind is not Kind.SNAPSHOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """When a step was first called and when it was over."""

    began_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One restore or drill.

    `missing` are the resources that it does not recover, with the reason. `group` is a drill's own security group.
    """

    name: str
    request: Request
    began_at: datetime
    version: int = RUN_VERSION
    members: tuple[Member, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    rejected: Mapping[str, str] = field(default_factory=dict)
    stages: Mapping[str, Stage] = field(default_factory=dict)
    failure: str = ""
    torn_down: tuple[str, ...] = ()
    left_behind: tuple[str, ...] = ()
    group: str = ""
    ended_at: datetime | None = None

    @property
    def whereabouts(self) -> str:
        """`launch: ` in this step, `after launch: ` between it and the next; empty before the first one."""
        begun = sorted(self.stages, key=lambda name: (self.stages[name].began_at, rank_stage(name)))
        under_way = [name for name in begun if self.stages[name].ended_at is None]
        if under_way:
            return f"{under_way[-1]}: "
        return f"after {begun[-1]}: " if begun else ""

    def member(self, resource: str) -> Member:
        """The member for this resource."""
        return next(member for member in self.members if member.resource == resource)

    def with_member(self, changed: Member) -> "Run":
        """The run with one member changed."""
        members = tuple(changed if each.resource == changed.resource else each for each in self.members)
        return replace(self, members=members)

    def without(self, resource: str, reason: str) -> "Run":
        """The run going on without one of its members."""
        members = tuple(each for each in self.members if each.resource != resource)
        return replace(self, members=members, missing={**self.missing, resource: reason})

    def begin(self, stage: str, now: datetime) -> "Run":
        """The run with the stage begun, if it was not yet."""
        if stage in self.stages and self.stages[stage].ended_at is None:
            return self
        earlier = self.stages.get(stage)
        begun = Stage(began_at=earlier.began_at if earlier else now)
        return replace(self, stages={**self.stages, stage: begun})

    def end(self, stage: str, now: datetime) -> "Run":
        """The run with the stage over."""
        ended = replace(self.stages[stage], ended_at=now)
        return replace(self, stages={**self.stages, stage: ended})


def rank_stage(name: str) -> int:
    """The place of a step among them; one that a later version has added comes last."""
    return STAGES.index(name) if name in STAGES else len(STAGES)


def check_name(name: str) -> str:
    """The name of a run.

    Raises:
        RunError: it is none.
    """
    if not RUN_NAME.fullmatch(name):
        raise RunError(f"{name!r} is not the name of a run: 1 to 63 small letters, digits and hyphens between them")
    return name


def read_request(document: Mapping[str, Any]) -> Request:
    """What a run is asked to do.

    Raises:
        RunError: it cannot be understood, or asks for nothing.
    """
    known = {each.name for each in fields(Request)}
    for key in document:
        if key not in known:
            raise RunError(f"{key} is not part of a request; it is made of {', '.join(sorted(known))}")
    try:
        request = _decode(Request, dict(document), "request")
    except (TypeError, ValueError) as error:
        raise RunError(str(error)) from error
    if not request.plan and not request.resources:
        raise RunError("names neither a plan nor resources; nothing would be recovered")
    if request.point and len(request.resources) != 1:
        raise RunError("point goes with exactly one resource")
    if request.group and not request.plan:
        raise RunError("group goes with a plan, whose drill says which tag makes a group")
    return request


_LOST: Final = "nobody had an answer in time"
"""What Step Functions calls States.Timeout; it gives no cause."""


def describe_failure(caught: Any) -> str:
    """In words what a Catch of the state machine was given, `{"Error", "Cause"}`; empty where it caught nothing.

    A function's exception is JSON in Cause: https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html.
    """
    if not isinstance(caught, Mapping):
        return str(caught or "")
    error, cause = str(caught.get("Error") or ""), str(caught.get("Cause") or "")
    try:
        said = json.loads(cause)
    except ValueError:
        said = None
    if isinstance(said, dict) and "errorMessage" in said:
        error, cause = str(said.get("errorType") or error), str(said["errorMessage"])
    if error == "States.Timeout" and not cause:
        cause = _LOST
    return ": ".join(part for part in (error, cause) if part) or "nobody knows why"


def write_run(run: Run) -> dict[str, Any]:
    """The run as JSON."""
    encoded: dict[str, Any] = encode(run)
    return encoded


def read_run(document: Mapping[str, Any]) -> Run:
    """The run that a document says.

    Raises:
        RunError: it says none.
    """
    if document.get("version") != RUN_VERSION:
        raise RunError(f"version is {document.get('version')!r}; this version of hikae reads {RUN_VERSION}")
    try:
        return _decode(Run, dict(document), "run")
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"not a run's document: {error}") from error


def encode(value: Any) -> Any:
    """A value of the run as JSON has it: times are RFC 3339, tuples lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: encode(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def _decode(kind: type[_T], document: Mapping[str, Any], path: str) -> _T:
    whose: Any = kind
    hints = _hints(whose)
    known = {key: _read(hints[key], value, f"{path}.{key}") for key, value in document.items() if key in hints}
    return kind(**known)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read(hint: Any, value: Any, path: str) -> Any:  # noqa: PLR0911 - one line for each kind of value
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _read(typing.get_args(hint)[0], value, path)
    if origin is tuple and isinstance(value, list):
        return tuple(_read(typing.get_args(hint)[0], item, f"{path}[{number}]") for number, item in enumerate(value))
    if origin is not None and origin is not tuple and isinstance(value, dict):
        inner = typing.get_args(hint)[1]
        return {key: _read(inner, item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(hint, type) and is_dataclass(hint) and isinstance(value, dict):
        return _decode(hint, value, path)
    if hint is datetime and isinstance(value, str):
        return parse_time(value)
    if isinstance(hint, type) and issubclass(hint, StrEnum) and isinstance(value, str):
        return hint(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    name = getattr(hint, "__name__", str(hint))
    raise TypeError(f"{path} is {value!r}, which is not {name}")
