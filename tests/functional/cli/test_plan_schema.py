"""The published JSON Schema of plans: fresh, takes what the reader takes, and refuses what has the wrong shape."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from hikae.domain.plan import PlanError, parse_plan
from hikae.domain.plan_grammar import ALIASES
from hikae_cli.plan_schema import plan_schema
from tests.unit.domain import test_plan as reader_tests

ROOT = Path(__file__).parents[3]
PUBLISHED = ROOT / "docs/reference/plan.schema.json"
VALIDATOR = Draft202012Validator(plan_schema())


def test_the_published_schema_is_the_one_that_the_reader_goes_by(hikae):
    assert hikae("plan", "schema").stdout == PUBLISHED.read_text(), "make schema writes it anew"


def test_it_is_a_schema():
    Draft202012Validator.check_schema(json.loads(PUBLISHED.read_text()))


@pytest.mark.parametrize("path", sorted((ROOT / "docs/examples").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_valid(path):
    VALIDATOR.validate(yaml.safe_load(path.read_text()))


def everything() -> dict[str, Any]:
    """A plan with every key that there is."""
    retention = {"keep_last": 1, "keep_hourly": 24, "keep_daily": -1, "keep_weekly": 5, "keep_monthly": 12}
    retention |= {"keep_yearly": 1_000_000, "keep_within": "3d1y2m", "keep_within_hourly": "48h"}
    retention |= {"keep_within_daily": "07d", "keep_within_weekly": "2m", "keep_within_monthly": "1y"}
    retention |= {"keep_within_yearly": "75y"}
    exclusion = {"tags": {"Scratch": ["true", "yes"]}, "devices": ["/dev/sdf", "xvdb"], "boot": False, "data": False}
    rule = {"name": "all", "schedule": "0 3 * * MON-FRI", "start_window": "1d12h", "protect": "image", "reboot": True}
    rule |= {"exclude_volumes": exclusion, "consistency": "crash", "retention": retention}
    rule |= {"copies": [{"region": "us-gov-west-1", "retention": retention}], "objectives": {"rpo": "8d", "rto": "90m"}}
    drill: dict[str, Any] = {"probe_timeout": "30m", "instance_profile": "own"}
    drill |= {"schedule": "@weekly", "group_by": "tag:Service", "order": "tag:Boot Order"}
    drill["probes"] = [
        "status-checks",
        {"tcp": 443},
        {"http": "8080/health"},
        {"https": "/", "status": 401, "body": "sign in"},
        {"ssm": "systemctl is-active app", "output": "^active"},
        {"console": "login:$"},
    ]
    return {
        "version": 1,
        "plan": "everything",
        "timezone": "Asia/Tokyo",
        "selection": {
            "resources": ["instance", "volume"],
            "tags": [{"Backup": ["a", "b"]}, {"Team": ""}],
            "exclude_tags": {"Lifecycle": "ephemeral"},
        },
        "rules": [rule, {"name": "b", "schedule": " @", "protect": "snapshots", "retention": {"keep_last": 1}}],
        "retire_after": "90d",
        "recovery": {"instance_types": ["m6i.large", "m5.large"]},
        "drill": drill,
    }


@pytest.mark.parametrize("schedule", [*ALIASES, "0 3 * * *", "  */5  8-18/2   1,15 JAN,DEC 1#2 ", "0 0 L * 5L"])
def test_a_plan_with_everything_is_taken_by_both(schedule):
    document = everything()
    document["rules"][1]["schedule"] = schedule
    parse_plan(yaml.safe_dump(document))
    VALIDATOR.validate(document)


def paths_of(schema: dict[str, Any], path: str = "") -> set[str]:
    found: set[str] = set()
    if not schema:
        return found
    for key, below in schema.get("properties", {}).items():
        found |= {f"{path}{key}"} | paths_of(below, f"{path}{key}.")
    for each in [schema.get("items", {}), *schema.get("anyOf", []), *schema.get("items", {}).get("anyOf", [])]:
        found |= paths_of(each, path)
    return found


def given(value: Any, path: str = "") -> set[str]:
    if isinstance(value, list):
        return {each for item in value for each in given(item, path)}
    if isinstance(value, dict) and not path.endswith("tags."):
        return {each for key, below in value.items() for each in {f"{path}{key}"} | given(below, f"{path}{key}.")}
    return set()


def test_that_plan_has_every_key_of_the_schema():
    assert given(everything()) == paths_of(plan_schema())


# What only the reader can judge: (the text that is wrong) of its own table of refusals.
LEFT_TO_THE_READER = {
    "Tokio": "no such time zone",
    "../../etc/passwd": "no such time zone",
    '"60 * * * *"': "no such minute",
    '"0 0 30 2 *"': "no such day",
    "7d1m": "a duration that is too long",
    "rto: 2h": "YAML itself lets a key be given twice",
    "tags: {Backup: production, Backup: other}": "YAML itself lets a key be given twice",
    "tags: {1: production}": "a key of JSON is text, whatever it looks like",
    "<<: {plan: production}": "YAML's merge, which hikae does not read",
}
(TABLE,) = (
    mark.args[1]
    for mark in reader_tests.test_what_is_wrong_is_said_with_its_line_its_path_and_what_would_be_right.pytestmark
)


def cases():
    for old, new, (_, _, message) in TABLE:
        if not message.startswith("not YAML") or new in LEFT_TO_THE_READER:
            yield old, new


@pytest.mark.parametrize(("old", "new"), list(cases()))
def test_what_the_reader_refuses_for_its_shape_the_schema_refuses(old, new):
    text = reader_tests.changed(old, new)
    with pytest.raises(PlanError):
        parse_plan(text)
    is_valid = VALIDATOR.is_valid(yaml.safe_load(text))
    assert is_valid == (new in LEFT_TO_THE_READER), text


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("rules", 0, "copies", 0, "account"), "123456789012"),
        (("rules", 0, "consistency"), "application"),
        (("rules", 0, "protect"), "snapshots"),  # and it has a reboot
        (("rules", 0, "exclude_volumes"), {}),
        (("rules", 0, "exclude_volumes"), {"boot": True}),  # of an image
        (("rules", 1, "exclude_volumes"), {"boot": True, "data": True}),
        (("rules", 0, "exclude_volumes"), {"devices": ["/dev/"]}),
        (("rules", 0, "objectives", "rpo"), "0h"),
        (("rules", 0, "retention", "keep_within"), "1d1d"),
        (("rules", 0, "retention", "keep_within"), "0d"),
        (("retire_after",), 90),
        (("recovery",), {}),
        (("recovery", "instance_types"), []),
        (("recovery", "instance_types"), ["m5.large"] * 21),
        (("recovery", "instance_types"), ["large"]),
        (("drill", "instance_profile"), "mine"),
        (("drill", "probe_timeout"), "0m"),
        (("drill", "schedule"), None),
        (("drill", "probes"), []),
        (("drill", "probes"), ["reachable"]),
        (("drill", "probes"), [{"tcp": 65536}]),
        (("drill", "probes"), [{"tcp": 1, "http": "/"}]),
        (("drill", "probes"), [{"http": "health"}]),
        (("drill", "group_by"), "Service"),
        (("selection", "tags"), [{}]),
        (("selection", "tags"), []),
        (("note",), "ours"),
    ],
)
def test_the_rest_of_the_language_is_refused_by_both_alike(where, value):
    document = everything()
    document["rules"][1]["schedule"] = "@daily"
    VALIDATOR.validate(document)
    place: Any = document
    for step in where[:-1]:
        place = place[step]
    place[where[-1]] = value
    with pytest.raises(PlanError):
        parse_plan(yaml.safe_dump(document))
    assert not VALIDATOR.is_valid(document)
