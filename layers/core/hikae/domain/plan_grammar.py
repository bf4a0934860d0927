"""The words of the plan language: its keys, its limits, and how a single value is written.

The reader of plans and their JSON Schema both go by what is here.
"""

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from reprlib import Repr
from typing import Any, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from hikae.domain.retention import Policy

VERSION: Final = 1
DEFAULT_START_WINDOW: Final = timedelta(hours=1)
MAX_START_WINDOW: Final = timedelta(days=7)
MIN_RETIRE_AFTER: Final = timedelta(days=1)
MAX_COUNT: Final = 1_000_000
"""Of points that a rule keeps: one an hour for more than a hundred years. Who wants more wants all."""
MAX_PORT: Final = 65_535
MIN_STATUS: Final = 100
MAX_STATUS: Final = 599
MAX_TAG_KEY: Final = 128
MAX_TAG_VALUE: Final = 256
"""Letters of a tag: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html"""

NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
REGION: Final = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]+")
DURATION: Final = re.compile(r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?")
DEVICE: Final = re.compile(r"(/dev/)?[a-z][a-z0-9]+")
TAG_REFERENCE: Final = re.compile(r"tag:(\S(.{0,126}\S)?)")
URL: Final = re.compile(r"([1-9][0-9]{0,4})?/[!-~]*")

RESOURCES: Final = ("instance", "volume")
PROTECTIONS: Final = ("snapshots", "image")
ALIASES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""The names that cron has for schedules, but for `@reboot`: nothing here boots."""
INSTANCE_TYPE: Final = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+")
MAX_INSTANCE_TYPES: Final = 20
PROFILES: Final = ("drill", "own")
DEFAULT_PROBE_TIMEOUT: Final = timedelta(minutes=15)
MAX_PROBE_TIMEOUT: Final = timedelta(hours=4)
PROBES: Final = ("status-checks", "tcp", "http", "https", "ssm", "console")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The keys of one mapping of a plan; `refused` are those of the language that this version does not carry out."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def known(self) -> tuple[str, ...]:
        """Those that may be given."""
        return (*self.required, *self.optional)


PLAN_KEYS: Final = Keys(
    required=("version", "plan", "timezone", "selection", "rules"), optional=("retire_after", "recovery", "drill")
)
SELECTION_KEYS: Final = Keys(required=("resources", "tags"), optional=("exclude_tags",))
RULE_KEYS: Final = Keys(
    required=("name", "schedule", "protect", "retention"),
    optional=("start_window", "reboot", "exclude_volumes", "consistency", "copies", "objectives"),
)
EXCLUSION_KEYS: Final = Keys(optional=("tags", "devices", "boot", "data"))
COPY_KEYS: Final = Keys(
    required=("region", "retention"),
    refused={"account": "is not carried out by this version, which copies within one account; leave it out"},
)
RETENTION_KEYS: Final = Keys(optional=tuple(each.name for each in fields(Policy)))
OBJECTIVE_KEYS: Final = Keys(optional=("rpo", "rto"))
RECOVERY_KEYS: Final = Keys(required=("instance_types",))
DRILL_KEYS: Final = Keys(
    required=("schedule",), optional=("group_by", "order", "probes", "probe_timeout", "instance_profile")
)


def parse_duration(text: str) -> timedelta:
    """Read `90m`, `2h`, `1d12h`.

    Raises:
        ValueError: it is not such a duration, or is zero.
    """
    match = DURATION.fullmatch(text)
    try:
        days, hours, minutes = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    except ValueError:  # more digits than Python reads
        days, hours, minutes = 0, 0, 0
    duration = timedelta(days=min(days, 36_500), hours=min(hours, 876_000), minutes=min(minutes, 52_560_000))
    if not duration:
        raise ValueError(f"{shown(text)} is not a duration such as 30m, 8h or 1d12h")
    return duration


def write_duration(duration: timedelta) -> str:
    """A duration as plans write it, in whole minutes: `1d2h30m`."""
    minutes = duration // timedelta(minutes=1)
    parts = ((minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "m"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0m"


def read_timezone(text: str) -> ZoneInfo:
    """Read an IANA name.

    Raises:
        ValueError: it is none.
    """
    try:
        return ZoneInfo(text)
    except (ValueError, OSError, LookupError) as error:
        raise ValueError(f"{shown(text)} is not a time zone; an IANA name, such as Asia/Tokyo or UTC") from error


def read_schedule(text: str) -> str:
    """Read five fields of cron, or the name of a schedule, as five fields.

    Raises:
        ValueError: it is neither.
    """
    what = "five cron fields, such as 0 3 * * *"
    if text.startswith("@"):
        if text not in ALIASES:
            raise ValueError(f"{shown(text)} is not a schedule; {what}, or one of {', '.join(ALIASES)}")
        return ALIASES[text]
    if len(text.split()) != 5:  # noqa: PLR2004 - cronsim would take a sixth field, seconds, which a tick cannot keep
        raise ValueError(f"{shown(text)} is not a schedule; {what}")
    try:
        CronSim(text, datetime(2026, 1, 1, tzinfo=UTC))  # any start: only to have the expression parsed
    except CronSimError as error:
        raise ValueError(f"{shown(text)} is not a schedule ({error}); {what}") from error
    return " ".join(text.split())


def read_start_window(text: str) -> timedelta:
    """Read a duration that a job may be late by.

    Raises:
        ValueError: it is none.
    """
    window = parse_duration(text)
    if window > MAX_START_WINDOW:
        raise ValueError(f"is longer than {MAX_START_WINDOW.days} days; 1h is usual")
    return window


def read_retire_after(text: str) -> timedelta:
    """Read how old the newest point of a resource that is gone may grow.

    Raises:
        ValueError: it is none.
    """
    age = parse_duration(text)
    if age < MIN_RETIRE_AFTER:
        raise ValueError(f"is shorter than {MIN_RETIRE_AFTER.days}d; 90d is usual, and without it nothing is released")
    return age


def read_probe_timeout(text: str) -> timedelta:
    """Read how long a drill waits for its probes.

    Raises:
        ValueError: it is none.
    """
    timeout = parse_duration(text)
    if timeout > MAX_PROBE_TIMEOUT:
        raise ValueError("is longer than 4h; 15m is usual")
    return timeout


def read_tag_key(text: str) -> str:
    """Read `tag:Service` as `Service`.

    Raises:
        ValueError: it is none.
    """
    match = TAG_REFERENCE.fullmatch(text)
    if not match:
        raise ValueError(f"{shown(text)} is not the key of a tag; such as tag:Service")
    return match[1]


def _port(value: Any) -> str:
    if type(value) is not int or not 1 <= value <= MAX_PORT:
        raise ValueError(f"is {shown(value)}; a port from 1 to {MAX_PORT}, such as 443")
    return str(value)


def _url(value: Any) -> str:
    match = URL.fullmatch(value) if isinstance(value, str) else None
    if not match or int(match[1] or 1) > MAX_PORT:
        raise ValueError(f"is {shown(value)}; a path such as /health, or a port and a path such as 8080/health")
    return match[0]


def _command(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"is {shown(value)}; a command, such as systemctl is-active app")
    return value


def _pattern(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"is {shown(value)}; a regular expression that the console's output must match")
    try:
        with warnings.catch_warnings():  # of what a later Python may read otherwise
            warnings.simplefilter("ignore")
            re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{shown(value)} is not a regular expression: {error}") from error
    return value


def _status(value: Any) -> str:
    if type(value) is not int or not MIN_STATUS <= value <= MAX_STATUS:
        raise ValueError(f"is {shown(value)}; an HTTP status from {MIN_STATUS} to {MAX_STATUS}, such as 204")
    return str(value)


PROBE_EXPECTATIONS: Final[Mapping[str, Mapping[str, Callable[[Any], str]]]] = {
    "http": {"status": _status, "body": _pattern},
    "https": {"status": _status, "body": _pattern},
    "ssm": {"output": _pattern},
}
"""What may be said beside a probe: how its answer has to be."""

PROBE_VALUES: Final[dict[str, Callable[[Any], str]]] = {
    "tcp": _port,
    "http": _url,
    "https": _url,
    "ssm": _command,
    "console": _pattern,
}


def shown(value: Any) -> str:
    """A value as a message names it, however large it is or unfolds to."""
    if value is None:
        return "empty"
    try:
        return _SHORT.repr(value)[:_SHOWN]
    except ValueError:  # an integer of more digits than Python writes: YAML reads it where it is hexadecimal
        return "a number without end"


_SHOWN: Final = 80
_SHORT: Final = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 4 * _SHOWN
_SHORT.maxlist = _SHORT.maxdict = _SHOWN // 4
_SHORT.maxlevel = 3
