"""What a deployed function is told by its environment: read once, checked whole, never at import."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from hikae.domain.model import AccountId, Place, Region, SiteRole

_T = TypeVar("_T")


class SettingsError(RuntimeError):
    """The environment lacks something, or says something that cannot be; the text names every variable concerned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The environment of one function. What its site does not have is empty."""

    installation: str
    site: SiteRole
    place: Place
    bucket: str
    table: str
    snapshot_queue_url: str = ""
    image_queue_url: str = ""
    copy_key_arn: str = ""
    primaries: tuple[Place, ...] = ()
    source_role_arns: Mapping[AccountId, str]
    snapshot_copy_limit: int = 20
    image_copy_limit: int = 50
    request_rate_percent: int = 98
    workers: int = 1
    deletion_cap: int = 2000
    lineage_deletion_percent: int = 75
    require_recycle_bin: bool = False
    drill_subnets: tuple[str, ...] = ()
    drill_security_groups: tuple[str, ...] = ()
    drill_profile: str = ""
    drill_vpc: str = ""
    drill_endpoint_groups: tuple[str, ...] = ()
    probe_function: str = ""
    evidence_key_arn: str = ""
    recover_arn: str = ""
    code_version: str = ""
    restore_roles: tuple[str, ...] = ()
    takes_future_now: bool = False

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment that the template sets.

        Raises:
            SettingsError: naming every variable that is missing or wrong.
        """
        reader = _Reader(os.environ if environment is None else environment)
        settings = cls(
            installation=reader.text("HIKAE_INSTALLATION"),
            site=reader.read("HIKAE_SITE", SiteRole, SiteRole.PRIMARY),
            place=Place(account=AccountId(reader.text("HIKAE_ACCOUNT")), region=Region(reader.text("AWS_REGION"))),
            bucket=reader.text("HIKAE_BUCKET"),
            table=reader.text("HIKAE_TABLE"),
            snapshot_queue_url=reader.text("HIKAE_SNAPSHOT_QUEUE_URL", default=""),
            image_queue_url=reader.text("HIKAE_IMAGE_QUEUE_URL", default=""),
            copy_key_arn=reader.text("HIKAE_COPY_KEY_ARN", default=""),
            primaries=reader.read("HIKAE_PRIMARIES", _places, (), default=""),
            source_role_arns=reader.read("HIKAE_SOURCE_ROLE_ARNS", _roles, {}, default=""),
            snapshot_copy_limit=reader.read("HIKAE_SNAPSHOT_COPY_LIMIT", _count, 20, default="20"),
            image_copy_limit=reader.read("HIKAE_IMAGE_COPY_LIMIT", _count, 50, default="50"),
            request_rate_percent=reader.read("HIKAE_REQUEST_RATE_PERCENT", _positive, 98, default="98"),
            workers=reader.read("HIKAE_WORKERS", _positive, 1, default="1"),
            deletion_cap=reader.read("HIKAE_DELETION_CAP", _count, 2000, default="2000"),
            lineage_deletion_percent=reader.read("HIKAE_LINEAGE_DELETION_PERCENT", _percent, 75, default="75"),
            require_recycle_bin=reader.read("HIKAE_REQUIRE_RECYCLE_BIN", _flag, fallback=False, default="false"),
            drill_subnets=reader.read("HIKAE_DRILL_SUBNETS", _names, (), default=""),
            drill_security_groups=reader.read("HIKAE_DRILL_SECURITY_GROUPS", _names, (), default=""),
            drill_vpc=reader.text("HIKAE_DRILL_VPC", default=""),
            drill_endpoint_groups=reader.read("HIKAE_DRILL_ENDPOINT_GROUPS", _names, (), default=""),
            drill_profile=reader.text("HIKAE_DRILL_PROFILE", default=""),
            probe_function=reader.text("HIKAE_PROBE_FUNCTION", default=""),
            evidence_key_arn=reader.text("HIKAE_EVIDENCE_KEY_ARN", default=""),
            recover_arn=reader.text("HIKAE_RECOVER_ARN", default=""),
            code_version=reader.text("HIKAE_CODE_VERSION", default=""),
            restore_roles=reader.read("HIKAE_RESTORE_ROLES", _names, (), default=""),
            takes_future_now=reader.read("HIKAE_TAKES_FUTURE_NOW", _flag, fallback=False, default="false"),
        )
        if reader.problems:
            raise SettingsError("; ".join(reader.problems))
        return settings


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.problems: list[str] = []

    def text(self, name: str, *, default: str | None = None) -> str:
        value = self._environment.get(name, default)
        if value is None or (value == "" and default is None):
            self.problems.append(f"{name} is not set")
            return ""
        return value

    def read(self, name: str, convert: Callable[[str], _T], fallback: _T, *, default: str | None = None) -> _T:
        before = len(self.problems)
        value = self.text(name, default=default)
        if len(self.problems) > before:
            return fallback
        try:
            return convert(value)
        except ValueError as error:
            self.problems.append(f"{name} is {value!r}: {error}")
            return fallback


def _places(value: str) -> tuple[Place, ...]:
    places = []
    for part in _parts(value):
        account, slash, region = part.partition("/")
        if not (slash and account.isdecimal() and region):
            raise ValueError(f"{part!r} is not account/region, such as 123456789012/us-east-1")
        places.append(Place(account=AccountId(account), region=Region(region)))
    return tuple(places)


def _roles(value: str) -> dict[AccountId, str]:
    roles = {}
    for arn in _parts(value):
        fields = arn.split(":")
        if len(fields) < 6 or fields[2] != "iam":  # noqa: PLR2004 - arn:partition:iam::account:role/name
            raise ValueError(f"{arn!r} is not a role's ARN, such as arn:aws:iam::123456789012:role/hikae-source")
        roles[AccountId(fields[4])] = arn
    return roles


def _count(value: str) -> int:
    number = int(value)
    if number < 0:
        raise ValueError("it must not be negative")
    return number


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise ValueError("it must be at least 1")
    return number


def _percent(value: str) -> int:
    number = _count(value)
    if number > 100:  # noqa: PLR2004 - per cent
        raise ValueError("it must not be more than 100")
    return number


def _flag(value: str) -> bool:
    if value not in {"true", "false"}:
        raise ValueError("either true or false")
    return value == "true"


def _names(value: str) -> tuple[str, ...]:
    return tuple(_parts(value))


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]
