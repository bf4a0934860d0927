"""What a recovery site's administrator says about restores: what of the primary stands for what here.

One document per site, `recovery/settings.yaml`, read as plans are: whole, or refused with every problem named.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final

from hikae.domain.document import PlanError, Problem, find_line, read_document

SETTINGS_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSettings:
    """What one instance, by its id at the primary, gets here."""

    subnet: str = ""
    private_ip: str = ""
    elastic_ip: str = ""
    target_groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverySettings:
    """Ids at the primary to ids here.

    What is not named falls back to the defaults, key pairs and profiles to their own names: an instance profile is
    there in every Region, a key pair where somebody has imported it. Elastic IP addresses are named at the primary by
    the address or its allocation, here by the allocation; target groups by their ARNs.
    """

    subnets: Mapping[str, str] = field(default_factory=dict)
    default_subnets: tuple[str, ...] = ()
    security_groups: Mapping[str, str] = field(default_factory=dict)
    default_security_groups: tuple[str, ...] = ()
    key_pairs: Mapping[str, str] = field(default_factory=dict)
    instance_profiles: Mapping[str, str] = field(default_factory=dict)
    placement_groups: Mapping[str, str] = field(default_factory=dict)
    elastic_ips: Mapping[str, str] = field(default_factory=dict)
    target_groups: Mapping[str, str] = field(default_factory=dict)
    instances: Mapping[str, InstanceSettings] = field(default_factory=dict)


_MAPPINGS: Final = (
    "subnets",
    "security_groups",
    "key_pairs",
    "instance_profiles",
    "placement_groups",
    "elastic_ips",
    "target_groups",
)
_LISTS: Final = ("default_subnets", "default_security_groups")
_KEYS: Final = ("version", *_MAPPINGS, *_LISTS, "instances")
_INSTANCE_KEYS: Final = ("subnet", "private_ip", "elastic_ip", "target_groups")


def read_settings(text: str) -> RecoverySettings:
    """Read the document.

    Raises:
        PlanError: with every problem of it, in the order of its lines.
    """
    document = read_document(text)
    problems = list(document.problems)

    def refuse(path: str, message: str) -> None:
        problems.append(Problem(path=path, message=message, line=find_line(document.lines, path)))

    value = document.value if document.value is not None else {}
    if not isinstance(value, dict):
        raise PlanError((Problem(path="", message="the document is not a mapping"),))
    for key in value:
        if key not in _KEYS:
            refuse(str(key), f"is not a key of the recovery settings; the keys are {', '.join(_KEYS)}")
    if value.get("version") != SETTINGS_VERSION:
        refuse("version", f"is {value.get('version')!r}; this version of hikae reads version: {SETTINGS_VERSION}")
    texts = {key: _texts(value.get(key, {}), key, refuse) for key in _MAPPINGS}
    lists = {key: _list(value.get(key, []), key, refuse) for key in _LISTS}
    settings = RecoverySettings(
        subnets=texts["subnets"],
        security_groups=texts["security_groups"],
        key_pairs=texts["key_pairs"],
        instance_profiles=texts["instance_profiles"],
        placement_groups=texts["placement_groups"],
        elastic_ips=texts["elastic_ips"],
        target_groups=texts["target_groups"],
        default_subnets=lists["default_subnets"],
        default_security_groups=lists["default_security_groups"],
        instances=_instances(value.get("instances", {}), refuse),
    )
    if problems:
        raise PlanError(tuple(sorted(problems, key=lambda problem: problem.line or 0)))
    return settings


def _instances(value: Any, refuse: Any) -> dict[str, InstanceSettings]:
    if not isinstance(value, dict):
        refuse("instances", "is not a mapping of instance ids, such as {i-0123456789abcdef0: {subnet: subnet-…}}")
        return {}
    read = {}
    for resource, given in value.items():
        path = f"instances.{resource}"
        if not isinstance(given, dict):
            refuse(path, f"is not a mapping with {', '.join(_INSTANCE_KEYS)}")
            continue
        for key, item in given.items():
            if key not in _INSTANCE_KEYS:
                refuse(f"{path}.{key}", f"is not a key of an instance; the keys are {', '.join(_INSTANCE_KEYS)}")
            elif key != "target_groups" and not isinstance(item, str):
                refuse(f"{path}.{key}", f"is {item!r}, not text")
        texts = {key: given[key] for key in _INSTANCE_KEYS[:3] if isinstance(given.get(key), str)}
        if "private_ip" in texts:
            try:
                ip_address(texts["private_ip"])
            except ValueError:
                refuse(f"{path}.private_ip", f"is {texts['private_ip']!r}; an address such as 10.0.1.5")
        groups = _list(given.get("target_groups", []), f"{path}.target_groups", refuse)
        read[resource] = InstanceSettings(**texts, target_groups=groups)
    return read


def _texts(value: Any, path: str, refuse: Any) -> dict[str, str]:
    if not isinstance(value, dict) or any(not isinstance(each, str) for each in value.values()):
        refuse(path, "is not a mapping of what there is at the primary to what stands for it here")
        return {}
    return value


def _list(value: Any, path: str, refuse: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or any(not isinstance(each, str) for each in value):
        refuse(path, "is not a list of ids")
        return ()
    return tuple(value)
