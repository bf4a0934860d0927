"""The JSON Schema of the plan language, made of the reader's own words: editors check and complete plans by it.

Every plan that the reader takes is valid by it, and what has the wrong shape is not. What only a reader can judge is
left to the reader: whether a time zone exists, an hour is one, or two rules have one name.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from hikae.domain.model import Consistency
from hikae.domain.plan_grammar import (
    ALIASES,
    COPY_KEYS,
    DEVICE,
    DRILL_KEYS,
    DURATION,
    EXCLUSION_KEYS,
    INSTANCE_TYPE,
    MAX_COUNT,
    MAX_INSTANCE_TYPES,
    MAX_PORT,
    MAX_STATUS,
    MAX_TAG_KEY,
    MAX_TAG_VALUE,
    MIN_STATUS,
    NAME,
    OBJECTIVE_KEYS,
    PLAN_KEYS,
    PROBE_EXPECTATIONS,
    PROBES,
    PROFILES,
    PROTECTIONS,
    RECOVERY_KEYS,
    REGION,
    RESOURCES,
    RETENTION_KEYS,
    RULE_KEYS,
    SELECTION_KEYS,
    TAG_REFERENCE,
    URL,
    VERSION,
    Keys,
)
from hikae.domain.retention import KEEP_ALL, Policy

Schema = dict[str, Any]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema_text() -> str:
    """The schema as it is published: JSON, with a line end."""
    return json.dumps(plan_schema(), indent=2, ensure_ascii=False) + "\n"


def plan_schema() -> Schema:
    """The schema of a plan."""
    return {
        "$schema": _DIALECT,
        "title": "hikae plan",
        **_mapping(
            PLAN_KEYS,
            "A plan: what is protected, when, and what is kept.",
            {
                "version": {"description": "The version of the plan language.", "const": VERSION},
                "plan": _named("The plan's name, and so a part of the identity of its points."),
                "timezone": _text("An IANA time zone, such as Asia/Tokyo; schedules and retention go by it."),
                "selection": _selection(),
                "rules": {
                    "description": "What is made, when; the names of rules differ.",
                    "type": "array",
                    "minItems": 1,
                    "items": _rule(),
                },
                "retire_after": _duration(
                    "How old the newest point of a resource that is gone may grow before it is released; at least 1d."
                ),
                "recovery": _recovery(),
                "drill": _drill(),
            },
        ),
    }


def _selection() -> Schema:
    return _mapping(
        SELECTION_KEYS,
        "Which resources the plan protects.",
        {
            "resources": {
                "description": "Kinds of resources; volume: detached volumes only.",
                "type": "array",
                "minItems": 1,
                "items": {"enum": list(RESOURCES)},
            },
            "tags": {
                "description": "A resource is selected if it has all of these tags; of a list, one must match.",
                "anyOf": [_tags(least=1), {"type": "array", "minItems": 1, "items": _tags(least=1)}],
            },
            "exclude_tags": _tags() | {"description": "A resource with any of these tags is not selected."},
        },
    )


def _rule() -> Schema:
    schema = _mapping(
        RULE_KEYS,
        "One schedule with what it makes, keeps and copies.",
        {
            "name": _named("The rule's name, and so a part of the identity of its points."),
            "schedule": _schedule("When the rule is due, in the plan's time zone."),
            "start_window": _duration("How long after its slot a job may start; 1h by default, at most 7d."),
            "protect": {
                "description": "What is made: a snapshot set of all volumes, or an AMI.",
                "enum": list(PROTECTIONS),
            },
            "reboot": {
                "description": "With protect: image only: whether EC2 reboots the instance for it.",
                "type": "boolean",
                "default": False,
            },
            "exclude_volumes": _exclusion(),
            "consistency": {
                "description": "crash: as if the power failed.",
                "const": Consistency.CRASH.value,
                "default": Consistency.CRASH.value,
            },
            "retention": _retention("What is kept of the rule's points; the rules are ORed."),
            "copies": {
                "description": "Where the points are copied to, each destination in a Region of its own.",
                "type": "array",
                "items": _copy(),
            },
            "objectives": _objectives(),
        },
    )
    schema["allOf"] = [
        {"if": {"required": ["reboot"]}, "then": {"properties": {"protect": {"const": "image"}}}},
        {
            "if": {"properties": {"protect": {"const": "image"}}, "required": ["protect"]},
            "then": {"properties": {"exclude_volumes": {"properties": {"boot": {"const": False}}}}},
        },
    ]
    return schema


def _exclusion() -> Schema:
    schema = _mapping(
        EXCLUSION_KEYS,
        "Volumes of instances that are left out: those that any of these names.",
        {
            "tags": _tags(),
            "devices": {
                "description": "Names of devices, such as /dev/sdf.",
                "type": "array",
                "items": {"type": "string", "pattern": _whole(DEVICE.pattern)},
            },
            "boot": {"description": "The volume that the instance boots from.", "type": "boolean", "default": False},
            "data": {"description": "All the others.", "type": "boolean", "default": False},
        },
    )
    schema["minProperties"] = 1
    schema["not"] = {
        "properties": {"boot": {"const": True}, "data": {"const": True}},
        "required": ["boot", "data"],
    }
    return schema


def _copy() -> Schema:
    return _mapping(
        COPY_KEYS,
        "One destination.",
        {
            "region": {
                "description": "The recovery site's Region.",
                "type": "string",
                "pattern": _whole(REGION.pattern),
            },
            "retention": _retention("What is kept there, and so what is copied at all."),
        },
    )


def _objectives() -> Schema:
    return _mapping(
        OBJECTIVE_KEYS,
        "Targets.",
        {
            "rpo": _duration("How old the newest point at the recovery site may be."),
            "rto": _duration("How long a recovery may take."),
        },
    )


def _retention(description: str) -> Schema:
    counted = {
        "type": "integer",
        "anyOf": [{"const": KEEP_ALL}, {"minimum": 1, "maximum": MAX_COUNT}],
    }
    span = {"type": "string", "pattern": r"^(?=.*[1-9])(?!.*([ymdh]).*\1)(?:[0-9]+[ymdh])+$"}
    properties = {
        each.name: (
            {"description": "Points not older than this, counted back from the newest, such as 1y2m3d3h.", **span}
            if "within" in each.name
            else {"description": "How many are kept; -1 keeps all.", **counted}
        )
        for each in fields(Policy)
    }
    return _mapping(RETENTION_KEYS, description, properties) | {"minProperties": 1}


def _recovery() -> Schema:
    return _mapping(
        RECOVERY_KEYS,
        "How instances are recovered.",
        {
            "instance_types": {
                "description": "Instance types to recover on where the instance's own has no room, in this order.",
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_INSTANCE_TYPES,
                "items": {"type": "string", "pattern": _whole(INSTANCE_TYPE.pattern)},
            }
        },
    )


def _drill() -> Schema:
    return _mapping(
        DRILL_KEYS,
        "How recovery is rehearsed.",
        {
            "schedule": _schedule("When it is rehearsed, in the plan's time zone."),
            "group_by": _tag_reference("Instances with one value of this tag are recovered together."),
            "order": _tag_reference("They are started in the order of this tag's values."),
            "probes": {
                "description": "What is asked of what was recovered.",
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": [{"const": PROBES[0]}, *map(_probe, PROBES[1:])]},
            },
            "probe_timeout": _duration("How long the probes are waited for; 15m by default, at most 4h."),
            "instance_profile": {
                "description": "Under which instance profile it runs: the drill's, or the instance's own.",
                "enum": list(PROFILES),
                "default": PROFILES[0],
            },
        },
    )


def _probe(kind: str) -> Schema:
    return {
        "type": "object",
        "properties": {kind: _PROBES[kind], **{key: _EXPECTED[key] for key in PROBE_EXPECTATIONS.get(kind, ())}},
        "required": [kind],
        "additionalProperties": False,
    }


# --- pieces -----------------------------------------------------------------------------------------------------------


def _mapping(keys: Keys, description: str, properties: Mapping[str, Schema]) -> Schema:
    """Exactly the keys that the reader knows, in its order."""
    return {
        "description": description,
        "type": "object",
        "properties": {key: properties[key] for key in keys.known},
        "required": list(keys.required),
        "additionalProperties": False,
    }


def _whole(pattern: str) -> str:
    """A pattern of the reader, which matches whole texts, as JSON Schema has it, which looks anywhere."""
    return f"^(?:{pattern})$"


def _text(description: str) -> Schema:
    return {"description": description, "type": "string"}


def _named(description: str) -> Schema:
    return {**_text(description), "pattern": _whole(NAME.pattern)}


def _duration(description: str) -> Schema:
    return {**_text(f"{description} Such as 30m, 8h or 1d12h."), "pattern": f"^(?=.*[1-9])(?:{DURATION.pattern})$"}


def _schedule(description: str) -> Schema:
    five_fields = {"type": "string", "pattern": r"^\s*[^\s@]\S*(?:\s+\S+){4}\s*$"}
    return {
        "description": f"{description} Five cron fields, in quotes, or a name.",
        "anyOf": [five_fields, {"enum": list(ALIASES)}],
    }


def _tags(*, least: int = 0) -> Schema:
    value = {"type": "string", "maxLength": MAX_TAG_VALUE}
    return {
        "type": "object",
        "minProperties": least,
        "propertyNames": {"minLength": 1, "maxLength": MAX_TAG_KEY},
        "additionalProperties": {"anyOf": [value, {"type": "array", "minItems": 1, "items": value}]},
    }


def _tag_reference(description: str) -> Schema:
    return {**_text(f"{description} Such as tag:Service."), "pattern": _whole(TAG_REFERENCE.pattern)}


_URL: Final[Schema] = {"type": "string", "pattern": _whole(URL.pattern)}
_EXPECTED: Final[Mapping[str, Schema]] = {
    "status": {
        "description": "The HTTP status that it has to answer with; without, any of success.",
        "type": "integer",
        "minimum": MIN_STATUS,
        "maximum": MAX_STATUS,
    },
    "body": {"description": "A regular expression that the body has to match.", "type": "string", "minLength": 1},
    "output": {"description": "A regular expression that the output has to match.", "type": "string", "minLength": 1},
}
_PROBES: Final[Mapping[str, Schema]] = {
    "tcp": {"description": "A port that answers.", "type": "integer", "minimum": 1, "maximum": MAX_PORT},
    "http": {"description": "A path, or a port and a path, such as 8080/health.", **_URL},
    "https": {"description": "A path, or a port and a path, such as 8443/health.", **_URL},
    "ssm": {"description": "A command that succeeds on the instance.", "type": "string", "pattern": r"\S"},
    "console": {
        "description": "A regular expression that the console's output matches.",
        "type": "string",
        "minLength": 1,
    },
}
