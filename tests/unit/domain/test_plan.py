import json
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from hikae.domain import plan as plans
from hikae.domain.model import Consistency, Region, VolumeExclusion
from hikae.domain.plan import (
    DEFAULT_START_WINDOW,
    MAX_BYTES,
    MAX_NODES,
    CopyRule,
    Drill,
    Objectives,
    Plan,
    PlanError,
    Probe,
    Rule,
    Selection,
    parse_duration,
)
from hikae.domain.plan_grammar import ALIASES
from hikae.domain.retention import KEEP_ALL, Policy, Span

PRODUCTION = """\
version: 1
plan: production
timezone: Asia/Tokyo
selection:
  resources: [instance, volume]
  tags: {Backup: production}
  exclude_tags: {Backup: "off"}
rules:
  - name: hourly
    schedule: "0 * * * *"
    start_window: 8h
    protect: snapshots
    consistency: crash
    retention: {keep_hourly: 24, keep_daily: 7}
    copies:
      - region: us-west-2
        retention: {keep_hourly: 6, keep_daily: 14, keep_monthly: 12}
    objectives: {rpo: 2h, rto: 1h}
"""
WEB_IMAGES = """\
version: 1
plan: web-images
timezone: UTC
selection: {resources: [instance], tags: {Backup: image}}
rules:
  - name: nightly
    schedule: "30 2 * * *"
    protect: image
    reboot: false
    retention: {keep_daily: 7}
    copies: [{region: us-west-2, retention: {keep_daily: 7}}]
    objectives: {rpo: 26h, rto: 1h}
"""


SCHEMA = Draft202012Validator(json.loads((Path(__file__).parents[3] / "docs/reference/plan.schema.json").read_text()))


def parse_plan(text: str) -> Plan:
    """What the reader takes, the published schema takes, too: an editor marks no plan that is right."""
    plan = plans.parse_plan(text)
    SCHEMA.validate(yaml.safe_load(text))
    return plan


def problems(text: str) -> list[tuple[int | None, str, str]]:
    with pytest.raises(PlanError) as caught:
        parse_plan(text)
    assert str(caught.value)
    return [(each.line, each.path, each.message) for each in caught.value.problems]


def changed(old: str, new: str, *, plan: str = PRODUCTION) -> str:
    assert plan.count(old) == 1, old
    return plan.replace(old, new)


# --- what is asked for ------------------------------------------------------------------------------------------------


def test_the_designs_first_example_says_all_this():
    assert parse_plan(PRODUCTION) == Plan(
        name="production",
        timezone=ZoneInfo("Asia/Tokyo"),
        selection=Selection(
            resources=frozenset({"instance", "volume"}),
            tags=({"Backup": frozenset({"production"})},),
            exclude_tags={"Backup": frozenset({"off"})},
        ),
        rules=(
            Rule(
                name="hourly",
                schedule="0 * * * *",
                start_window=timedelta(hours=8),
                protect="snapshots",
                reboot=False,
                consistency=Consistency.CRASH,
                retention=Policy(keep_hourly=24, keep_daily=7),
                copies=(
                    CopyRule(
                        region=Region("us-west-2"), retention=Policy(keep_hourly=6, keep_daily=14, keep_monthly=12)
                    ),
                ),
                objectives=Objectives(rpo=timedelta(hours=2), rto=timedelta(hours=1)),
            ),
        ),
    )


def test_the_designs_second_example_asks_for_images_without_a_reboot():
    plan = parse_plan(WEB_IMAGES)
    (rule,) = plan.rules
    assert (rule.protect, rule.reboot, rule.start_window) == ("image", False, DEFAULT_START_WINDOW)
    assert plan.rule("nightly") is rule
    assert plan.rule("weekly") is None
    assert rule.copy_to(Region("us-west-2")) == CopyRule(region=Region("us-west-2"), retention=Policy(keep_daily=7))
    assert rule.copy_to(Region("us-east-1")) is None


def test_copies_and_objectives_may_be_left_out():
    text = changed("    copies: [{region: us-west-2, retention: {keep_daily: 7}}]\n", "", plan=WEB_IMAGES)
    (rule,) = parse_plan(changed("    objectives: {rpo: 26h, rto: 1h}\n", "", plan=text)).rules
    assert (rule.copies, rule.objectives) == ((), Objectives())


def test_a_tag_may_have_alternatives_and_every_retention_rule_may_be_given():
    text = changed("{Backup: production}", '{Backup: [production, "on"], Team: ""}')
    retention = (
        "{keep_last: -1, keep_hourly: 1, keep_daily: 2, keep_weekly: 3, keep_monthly: 4, keep_yearly: 5, "
        "keep_within: 1y2m3d3h, keep_within_hourly: 1d, keep_within_daily: 2d, keep_within_weekly: 1m, "
        "keep_within_monthly: 1y, keep_within_yearly: 75y}"
    )
    plan = parse_plan(changed("{keep_hourly: 24, keep_daily: 7}", retention, plan=text))
    assert plan.selection.tags == ({"Backup": frozenset({"production", "on"}), "Team": frozenset({""})},)
    assert plan.rules[0].retention == Policy(
        keep_last=KEEP_ALL,
        keep_hourly=1,
        keep_daily=2,
        keep_weekly=3,
        keep_monthly=4,
        keep_yearly=5,
        keep_within=Span(years=1, months=2, days=3, hours=3),
        keep_within_hourly=Span(days=1),
        keep_within_daily=Span(days=2),
        keep_within_weekly=Span(months=1),
        keep_within_monthly=Span(years=1),
        keep_within_yearly=Span(years=75),
    )


FULL = (
    PRODUCTION.replace(
        "    consistency: crash\n",
        "    exclude_volumes: {tags: {Scratch: [a, b]}, devices: [/dev/sdf, xvdb], data: true}\n",
    ).replace("    objectives: {rpo: 2h, rto: 1h}\n", "")
    + """\
      - region: eu-west-1
        retention: {keep_last: 3}
retire_after: 90d
recovery: {instance_types: [m6i.large, m5.large]}
drill:
  probe_timeout: 30m
  instance_profile: own
  schedule: "@weekly"
  group_by: tag:Service
  order: tag:Boot Order
  probes:
    [status-checks, {tcp: 443}, {http: 8080/health}, {https: /}, {ssm: "systemctl is-active app"}, {console: "ok$"}]
"""
)


def test_several_destinations_exclusions_retirement_and_a_drill_are_read():
    plan = parse_plan(FULL)
    (rule,) = plan.rules
    assert [copy.region for copy in rule.copies] == ["us-west-2", "eu-west-1"]
    assert rule.exclude_volumes == VolumeExclusion(
        tags={"Scratch": frozenset({"a", "b"})}, devices=frozenset({"/dev/sdf", "xvdb"}), data=True
    )
    assert plan.retire_after == timedelta(days=90)
    assert plan.recovery_types == ("m6i.large", "m5.large")
    assert plan.drill == Drill(
        probe_timeout=timedelta(minutes=30),
        own_profile=True,
        schedule="0 0 * * 0",
        group_by="Service",
        order="Boot Order",
        probes=(
            Probe(kind="status-checks"),
            Probe(kind="tcp", value="443"),
            Probe(kind="http", value="8080/health"),
            Probe(kind="https", value="/"),
            Probe(kind="ssm", value="systemctl is-active app"),
            Probe(kind="console", value="ok$"),
        ),
    )


PROBE = "status-checks, or one of tcp, http, https, ssm, console, such as {tcp: 443}"


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        ("eu-west-1", "us-west-2", "rules[0].copies[1].region", "us-west-2 is the destination of copies[0], too; keep"),
        ("90d", "1h", "retire_after", "is shorter than 1d; 90d is usual, and without it nothing is released"),
        ("m6i.large", "large", "recovery.instance_types", "is ['large', 'm5.large']; a list of 1 to 20 types, such as"),
        ("30m", "5h", "drill.probe_timeout", "is longer than 4h; 15m is usual"),
        ("instance_profile: own", "instance_profile: mine", "drill.instance_profile", "is 'mine'; drill or own"),
        ("90d", "90", "retire_after", "is 90, not text; put it in quotes"),
        ("[/dev/sdf, xvdb]", "/dev/sdf", "rules[0].exclude_volumes.devices", "is '/dev/sdf'; a list of device names"),
        ("[/dev/sdf, xvdb]", "[/dev/]", "rules[0].exclude_volumes.devices", "is ['/dev/']; a list of device names"),
        ("data: true", "data: true, boot: true", "rules[0].exclude_volumes", "boot and data together leave no volume"),
        ("data: true", "data: 1", "rules[0].exclude_volumes.data", "is 1; either true or false"),
        (
            "data: true",
            "root: true",
            "rules[0].exclude_volumes.root",
            "is not a key of a plan here; the keys are tags,",
        ),
        (
            "Scratch: [a, b]",
            "Scratch: true",
            "rules[0].exclude_volumes.tags.Scratch",
            "is True, not text; put the valu",
        ),
        ("tag:Service", "Service", "drill.group_by", "'Service' is not the key of a tag; such as tag:Service"),
        ('"@weekly"', "weekly", "drill.schedule", "'weekly' is not a schedule; five cron fields, such as 0 3 * * *"),
        ('  schedule: "@weekly"\n', "", "drill.schedule", "is missing"),
        ("status-checks,", "reachable,", "drill.probes[0]", f"is 'reachable'; {PROBE}"),
        ("{tcp: 443}", "{tcp: 443, http: /}", "drill.probes[1]", f"is {{'http': '/', 'tcp': 443}}; {PROBE}"),
        ("{tcp: 443}", "{udp: 53}", "drill.probes[1]", f"is {{'udp': 53}}; {PROBE}"),
        ("{tcp: 443}", "{http: /, status: 20}", "drill.probes[1].status", "is 20; an HTTP status from 100 to 599"),
        ("{tcp: 443}", "{http: /, body: '('}", "drill.probes[1].body", "'(' is not a regular expression: missing )"),
        ("{tcp: 443}", "{tcp: 443, status: 200}", "drill.probes[1]", f"is {{'status': 200, 'tcp': 443}}; {PROBE}"),
        ("{tcp: 443}", "{ssm: uptime, output: 1}", "drill.probes[1].output", "is 1; a regular expression"),
        ("tcp: 443", "tcp: 0", "drill.probes[1].tcp", "is 0; a port from 1 to 65535, such as 443"),
        ("tcp: 443", 'tcp: "443"', "drill.probes[1].tcp", "is '443'; a port from 1 to 65535, such as 443"),
        ("8080/health", "health", "drill.probes[2].http", "is 'health'; a path such as /health, or a port and a path"),
        ("8080/health", "80800/health", "drill.probes[2].http", "is '80800/health'; a path such as /health"),
        ('"systemctl is-active app"', '" "', "drill.probes[4].ssm", "is ' '; a command, such as systemctl is-active"),
        ('"ok$"', '"("', "drill.probes[5].console", "'(' is not a regular expression: missing )"),
        (
            "probes:\n    [",
            "probes: []\n  other: [",
            "drill.probes",
            "is []; a list, such as [status-checks, {tcp: 443}]",
        ),
    ],
)
def test_what_is_wrong_with_the_rest_of_the_language_is_said_likewise(old, new, path, message):
    found = [(where, text) for _, where, text in problems(changed(old, new, plan=FULL)) if where != "drill.other"]
    assert [where for where, _ in found] == [path]
    assert found[0][1].startswith(message)


def test_an_image_cannot_leave_its_boot_volume_out():
    text = changed("    reboot: false\n", "    exclude_volumes: {boot: true}\n", plan=WEB_IMAGES)
    ((_, path, message),) = problems(text)
    assert path == "rules[0].exclude_volumes.boot"
    assert message.startswith("an image cannot leave its boot volume out")


@pytest.mark.parametrize("empty", ["exclude_volumes: {}", "exclude_volumes:"])
def test_an_exclusion_of_nothing_is_refused(empty):
    ((_, path, message),) = problems(changed("consistency: crash", empty))
    assert (path, message[:2]) in {("rules[0].exclude_volumes", "is"), ("rules[0].exclude_volumes", "it")}


# --- what this version does not carry out -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        (
            "      - region: us-west-2\n",
            '      - region: us-west-2\n        account: "123456789012"\n',
            (
                17,
                "rules[0].copies[0].account",
                "is not carried out by this version, which copies within one account; leave it out",
            ),
        ),
        (
            "consistency: crash",
            "consistency: application",
            (13, "rules[0].consistency", "application is not carried out by this version; use crash"),
        ),
    ],
)
def test_what_is_not_carried_out_is_refused_by_name(old, new, refused):
    assert problems(changed(old, new)) == [refused]


# --- what is wrong ----------------------------------------------------------------------------------------------------

NAME = "1 to 40 small letters, digits and hyphens, no hyphen at either end"
NO_TAG = "not YAML: could not determine a constructor for the tag"
CRON = "five cron fields, such as 0 3 * * *"
DURATION = "is not a duration such as 30m, 8h or 1d12h"
COUNT = "a number from 1 to 1000000, or -1 for all"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("version: 1", "version: 2", (1, "version", "is 2; this version of hikae reads version: 1")),
        ("version: 1", "version: true", (1, "version", "is True; this version of hikae reads version: 1")),
        ("version: 1", 'version: "1"', (1, "version", "is '1'; this version of hikae reads version: 1")),
        ("version: 1\n", "", (1, "version", "is missing")),
        ("plan: production", "plan:", (2, "plan", "has no value")),
        ("plan: production", "plan: Production", (2, "plan", f"is 'Production'; {NAME}")),
        ("plan: production", "plan: -a", (2, "plan", f"is '-a'; {NAME}")),
        ("plan: production", f"plan: {'a' * 41}", (2, "plan", f"is '{'a' * 41}'; {NAME}")),
        ("plan: production", "plan: 7", (2, "plan", f"is 7; {NAME}")),
        (
            "Asia/Tokyo",
            "Tokio",
            (3, "timezone", "'Tokio' is not a time zone; an IANA name, such as Asia/Tokyo or UTC"),
        ),
        (
            "Asia/Tokyo",
            "../../etc/passwd",
            (3, "timezone", "'../../etc/passwd' is not a time zone; an IANA name, such as Asia/Tokyo or UTC"),
        ),
        ("Asia/Tokyo", "9", (3, "timezone", "is 9, not text; put it in quotes")),
        ("Asia/Tokyo", "[UTC]", (3, "timezone", "is ['UTC'], not text; put it in quotes")),
        (
            "resources: [instance, volume]",
            "resources: [instances]",
            (5, "selection.resources", "is ['instances']; a list of instance and volume, such as [instance]"),
        ),
        (
            "resources: [instance, volume]",
            "resources: instance",
            (5, "selection.resources", "is 'instance'; a list of instance and volume, such as [instance]"),
        ),
        (
            "resources: [instance, volume]",
            "resources: []",
            (5, "selection.resources", "is []; a list of instance and volume, such as [instance]"),
        ),
        ("  resources: [instance, volume]\n", "", (4, "selection.resources", "is missing")),
        (
            "tags: {Backup: production}",
            "tags: {}",
            (6, "selection.tags", "is empty; name at least one tag, or every resource would be selected"),
        ),
        (
            "tags: {Backup: production}",
            "tags: Backup",
            (6, "selection.tags", "is 'Backup'; a mapping of tag keys to values, such as {Backup: production}"),
        ),
        ("  resources: [instance, volume]", "  resources:", (5, "selection.resources", "has no value")),
        (
            "tags: {Backup: production}",
            'tags: {"": production}',
            (6, "selection.tags.", "'' is no tag's key; one has 1 to 128 letters"),
        ),
        (
            "tags: {Backup: production}",
            f"tags: {{Backup: [production, {'v' * 257}]}}",
            (6, "selection.tags.Backup", f"'{'v' * 79} is no tag's value; one has at most 256 letters"),
        ),
        (
            "tags: {Backup: production}",
            f"tags: {{Backup: production, {'k' * 129}: x}}",
            (6, f"selection.tags.{'k' * 129}", f"'{'k' * 79} is no tag's key; one has 1 to 128 letters"),
        ),
        (
            "tags: {Backup: production}",
            f"tags: {{Backup: production, {'k' * 201}: x}}",
            (6, "selection.tags", f"the key '{'k' * 40}'… is longer than 200 letters"),
        ),
        (
            'exclude_tags: {Backup: "off"}',
            "exclude_tags: {Backup: off}",
            (
                7,
                "selection.exclude_tags.Backup",
                'is False, not text; put the value in quotes, such as "off" or "1"',
            ),
        ),
        (
            "tags: {Backup: production}",
            "tags: {Backup: []}",
            (6, "selection.tags.Backup", "is an empty list; name at least one value"),
        ),
        (
            "tags: {Backup: production}",
            "tags: {1: production}",
            (6, "selection.tags.1", 'a key must be text; write "1"'),
        ),
        (
            "tags: {Backup: production}",
            "tags: {Backup: production, Backup: other}",
            (6, "selection.tags.Backup", "given twice; keep one of them"),
        ),
        ("  - name: hourly\n", "  - \n", (10, "rules[0].name", "is missing")),
        ("name: hourly", "name: Hourly", (9, "rules[0].name", f"is 'Hourly'; {NAME}")),
        (
            '"0 * * * *"',
            '"0 * * *"',
            (10, "rules[0].schedule", "'0 * * *' is not a schedule; five cron fields, such as 0 3 * * *"),
        ),
        (
            '"0 * * * *"',
            '"0 0 * * * *"',
            (10, "rules[0].schedule", "'0 0 * * * *' is not a schedule; five cron fields, such as 0 3 * * *"),
        ),
        (
            '"0 * * * *"',
            '"@reboot"',
            (
                10,
                "rules[0].schedule",
                f"'@reboot' is not a schedule; {CRON}, or one of {', '.join(ALIASES)}",
            ),
        ),
        (
            '"0 * * * *"',
            '"60 * * * *"',
            (10, "rules[0].schedule", f"'60 * * * *' is not a schedule (Bad minute); {CRON}"),
        ),
        (
            '"0 * * * *"',
            '"0 0 30 2 *"',
            (
                10,
                "rules[0].schedule",
                "'0 0 30 2 *' is not a schedule (Bad day-of-month); five cron fields, such as 0 3 * * *",
            ),
        ),
        ("8h", "8", (11, "rules[0].start_window", "is 8, not text; put it in quotes")),
        ("8h", "soon", (11, "rules[0].start_window", "'soon' is not a duration such as 30m, 8h or 1d12h")),
        ("8h", "0h", (11, "rules[0].start_window", "'0h' is not a duration such as 30m, 8h or 1d12h")),
        ("8h", "7d1m", (11, "rules[0].start_window", "is longer than 7 days; 1h is usual")),
        ("8h", "", (11, "rules[0].start_window", "has no value")),
        ("protect: snapshots", "protect: both", (12, "rules[0].protect", "is 'both'; either snapshots or image")),
        ("protect: snapshots", "protect: [image]", (12, "rules[0].protect", "is ['image']; either snapshots or image")),
        ("    protect: snapshots\n", "", (9, "rules[0].protect", "is missing")),
        ("protect: snapshots", "protect:", (12, "rules[0].protect", "has no value")),
        (
            "    consistency: crash\n",
            "    reboot: false\n",
            (13, "rules[0].reboot", "only an image can reboot its instance; leave it out, or protect: image"),
        ),
        ("consistency: crash", "consistency: none", (13, "rules[0].consistency", "is 'none'; crash")),
        ("consistency: crash", 'reboot: "yes"', (13, "rules[0].reboot", "is 'yes'; either true or false")),
        ("keep_hourly: 24", "keep_hourly: 0", (14, "rules[0].retention.keep_hourly", f"is 0; {COUNT}")),
        ("keep_hourly: 24", "keep_hourly: -2", (14, "rules[0].retention.keep_hourly", f"is -2; {COUNT}")),
        ("keep_hourly: 24", "keep_hourly: 1.5", (14, "rules[0].retention.keep_hourly", f"is 1.5; {COUNT}")),
        ("keep_hourly: 24", "keep_hourly: true", (14, "rules[0].retention.keep_hourly", f"is True; {COUNT}")),
        ("keep_hourly: 24", "keep_hourly: 1000001", (14, "rules[0].retention.keep_hourly", f"is 1000001; {COUNT}")),
        ("keep_hourly: 24", "keep_hourly: all", (14, "rules[0].retention.keep_hourly", f"is 'all'; {COUNT}")),
        (
            "keep_hourly: 24",
            "keep_within: 24",
            (14, "rules[0].retention.keep_within", "is 24, not text; put it in quotes"),
        ),
        (
            "keep_hourly: 24",
            "keep_within: 1w",
            (14, "rules[0].retention.keep_within", "'1w' is not a duration such as 1y2m3d3h"),
        ),
        ("keep_hourly: 24", "keep_within:", (14, "rules[0].retention.keep_within", "has no value")),
        (
            "{keep_hourly: 24, keep_daily: 7}",
            "{}",
            (
                14,
                "rules[0].retention",
                "is empty; name at least one rule such as keep_daily: 7, or keep_last: -1 for everything",
            ),
        ),
        (
            "region: us-west-2",
            "region: oregon",
            (16, "rules[0].copies[0].region", "is 'oregon'; a Region's code, such as us-west-2"),
        ),
        ("region: us-west-2", "region:", (16, "rules[0].copies[0].region", "has no value")),
        (
            "region: us-west-2",
            "region: 2",
            (16, "rules[0].copies[0].region", "is 2; a Region's code, such as us-west-2"),
        ),
        (
            "      - region: us-west-2\n        retention",
            "      - retention",
            (16, "rules[0].copies[0].region", "is missing"),
        ),
        ("rpo: 2h", "rpo: 2 hours", (18, "rules[0].objectives.rpo", f"'2 hours' {DURATION}")),
        ("rpo: 2h", "rto: 2h", (18, "rules[0].objectives.rto", "given twice; keep one of them")),
        ("plan: production", "plan: [a\nx", (4, "", "not YAML: expected ',' or ']', but got ':'")),
        ("plan: production", "plan: !!python/name:os", (2, "", f"{NO_TAG} 'tag:yaml.org,2002:python/name:os'")),
        ("plan: production", "plan: a\x00b", (2, "", "not YAML: character #x0000 is not allowed")),
        ("plan: production", "<<: {plan: production}", (2, "", f"{NO_TAG} 'tag:yaml.org,2002:merge'")),
    ],
)
def test_what_is_wrong_is_said_with_its_line_its_path_and_what_would_be_right(old, new, problem):
    assert problems(changed(old, new)) == [problem]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", (None, "", "the document is empty; a mapping with version, plan, timezone, selection, rules")),
        ("- a", (1, "", "the document is ['a']; a mapping with version, plan, timezone, selection, rules")),
        ("a\n---\nb", (2, "", "not YAML: but found another document")),
        (f"a: {'b' * MAX_BYTES}", (None, "", f"the document is larger than {MAX_BYTES} bytes")),
        (f"a: [{'1,' * MAX_NODES}]", (None, "", f"the document has more than {MAX_NODES} values")),
        ("x: " + "9" * 5000, (None, "", "not YAML: ")),
        ("\ud800", (1, "", "not YAML: character #xd800 is not allowed")),
    ],
)
def test_what_is_no_plan_at_all_is_said_in_one_problem(text, problem):
    (found,) = problems(text)
    assert found[:2] == problem[:2]
    assert found[2].startswith(problem[2])


@pytest.mark.parametrize(
    ("section", "new"),
    [
        ("selection", "selection: all"),
        ("rules", "rules: {}"),
        ("rules", "rules: []"),
        ("rules", "rules: hourly"),
        ("rules[0]", "rules: [hourly]"),
        ("rules[0].copies", "copies: {region: us-west-2}"),
        ("rules[0].copies[0]", "copies: [us-west-2]"),
        ("rules[0].objectives", "objectives: 2h"),
        ("rules[0].objectives", "objectives:"),
        ("rules[0].retention", "retention: [keep_all]"),
    ],
)
def test_a_section_of_the_wrong_shape_is_named(section, new):
    document = yaml.safe_load(PRODUCTION)
    where = document["rules"][0] if section.startswith("rules[0].") else document
    where.update(yaml.safe_load(new))
    assert [path for _, path, _ in problems(yaml.safe_dump(document, sort_keys=False))] == [section]


def test_an_unknown_key_is_named_together_with_the_known_ones():
    known = "version, plan, timezone, selection, rules, retire_after, recovery, drill"
    assert problems(changed("plan: production", "plan: production\ndescription: ours")) == [
        (3, "description", f"is not a key of a plan here; the keys are {known}")
    ]


def test_an_unknown_retention_rule_is_one_problem_and_not_two():
    ((line, path, message),) = problems(changed("{keep_hourly: 24, keep_daily: 7}", "{keep_hurly: 24}"))
    assert (line, path) == (14, "rules[0].retention.keep_hurly")
    assert message.startswith(
        "is not a key of a plan here; the keys are keep_last, keep_hourly, keep_daily, keep_weekly"
    )


def test_two_rules_of_one_name_are_one_too_many():
    twice = PRODUCTION + PRODUCTION[PRODUCTION.index("  - name") :]
    assert problems(twice) == [(19, "rules[1].name", "'hourly' is the name of another rule; names must differ")]


def test_every_problem_is_named_in_the_order_of_the_lines():
    text = changed("version: 1", "version: 2")
    for old, new in (
        ("Asia/Tokyo", "Tokio"),
        ("production}", "1}"),
        ("snapshots", "disks"),
        ("keep_daily: 7", "daily: 7"),
    ):
        text = changed(old, new, plan=text)
    found = problems(text)
    assert [line for line, _, _ in found] == [1, 3, 6, 12, 14]


def test_a_problem_reads_as_one_line():
    with pytest.raises(PlanError) as caught:
        parse_plan(changed("version: 1", "version: 2"))
    assert str(caught.value) == "line 1: version: is 2; this version of hikae reads version: 1"


def unfolding(form: str) -> str:
    """Ten lists, each of ten of the one before."""
    lists = ["&a [x, x, x, x, x, x, x, x, x, x]"]
    lists += [f"&{name} [{', '.join([f'*{before}'] * 10)}]" for before, name in pairwise("abcdefghij")]
    return "".join(form.format(key=f"k{number}", items=each) for number, each in enumerate(lists))


def test_text_that_unfolds_to_more_than_it_is_is_refused_quickly():
    assert problems(unfolding("{key}: {items}\n")) == [(None, "", f"the document has more than {MAX_NODES} values")]
    assert problems(unfolding("? {items}\n: {key}\n"))[0] == (1, "", "a key must be text")


def test_a_long_text_is_not_repeated_whole_in_what_is_said_of_it():
    long = f"- &a {'x' * 30_000}\n"
    for form in (
        f"plan:\n{long}" + "- *a\n" * 4_000,
        f"selection:\n  resources:\n{long}" + "- *a\n" * 4_000,
        f"rules:\n{long}"
        + "- {schedule: *a, start_window: *a, name: *a, protect: *a, retention: {keep_within: *a}}\n" * 400,
    ):
        assert sum(len(message) for _, _, message in problems(form)) < 2_000_000


def test_keys_within_keys_do_not_make_paths_without_end():
    nested = f"a: &a {'x' * 20_000}\nb: " + "{? *a : " * 100 + "{1: x}" + "}" * 100
    assert all(len(path) < 100 for _, path, _ in problems(nested))


@pytest.mark.parametrize(
    "key", ["version: {}", "plan: {}", "rules: [{{retention: {{keep_last: {}}}}}]", "timezone: {}"]
)
def test_a_number_of_more_digits_than_python_writes_is_refused_with_a_reason(key):
    messages = [message for _, _, message in problems(key.format("0x" + "f" * 5_000))]
    assert any(message.startswith("is a number without end") for message in messages)


@pytest.mark.parametrize("region", ["us-west-2", "us-gov-east-1", "eusc-de-east-1", "ap-southeast-10", "us-iso-west-1"])
def test_every_kind_of_region_can_be_a_destination(region):
    (rule,) = parse_plan(changed("us-west-2", region)).rules
    assert rule.copies[0].region == region


def test_a_list_that_contains_itself_is_refused():
    assert problems("a: &a [*a]")[0][2].startswith("not YAML: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", timedelta(minutes=90)),
        ("2h", timedelta(hours=2)),
        ("1d12h", timedelta(days=1, hours=12)),
        ("1d1h1m", timedelta(days=1, hours=1, minutes=1)),
        ("99999999999d", timedelta(days=36_500)),
    ],
)
def test_a_duration_is_read(text, expected):
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "0", "0m", "1", "h", "1h1d", "1.5h", "-1h", "1 h", "1h\n", "PT1H", "9" * 5000])
def test_what_is_not_a_duration_is_refused(text):
    with pytest.raises(ValueError, match="is not a duration such as 30m, 8h or 1d12h"):
        parse_duration(text)


# --- whatever the text ------------------------------------------------------------------------------------------------


def a_plan_or_its_problems(text: str) -> None:
    try:
        plan = parse_plan(text)
    except PlanError as refused:
        found, plan = refused.problems, None
    if plan is None:
        assert found
        assert all(problem.message for problem in found)
        assert all(problem.line is None or problem.line >= 1 for problem in found)
    else:
        assert plan.name
        assert plan.rules
        assert all(not rule.retention.is_empty for rule in plan.rules)


@given(st.text())
def test_any_text_is_a_plan_or_is_refused_with_reasons(text):
    a_plan_or_its_problems(text)


@given(st.binary())
def test_any_bytes_are_a_plan_or_are_refused_with_reasons(content):
    a_plan_or_its_problems(content.decode(errors="replace"))


@given(st.text(alphabet="[]{}:,-?&*!|>'\"%@`# \n\tab1~<=", max_size=60))
def test_any_yaml_like_text_is_a_plan_or_is_refused_with_reasons(text):
    a_plan_or_its_problems(text)


texts = st.text(max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.dates() | st.binary(max_size=4)
keys = ["version", "plan", "timezone", "selection", "rules", "name", "retention", "copies", "region", "tags"]
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(keys) | scalars, inner, max_size=4),
    max_leaves=8,
)


@given(values)
def test_any_yaml_is_a_plan_or_is_refused_with_reasons(document):
    a_plan_or_its_problems(yaml.safe_dump(document))


@given(st.data())
def test_a_plan_with_any_value_in_any_place_is_a_plan_or_is_refused_with_reasons(data):
    document = yaml.safe_load(PRODUCTION)
    where = document
    while True:
        key = data.draw(st.sampled_from(sorted(where) if isinstance(where, dict) else range(len(where))))
        if not isinstance(where[key], dict | list) or not where[key] or data.draw(st.booleans()):
            break
        where = where[key]
    where[key] = data.draw(values)
    a_plan_or_its_problems(yaml.safe_dump(document, sort_keys=False))


@given(st.text(max_size=30) | st.text(alphabet="0123456789*/,-#LW JANSU", max_size=20))
def test_any_schedule_and_any_time_zone_are_taken_or_refused_with_reasons(text):
    for key in ("schedule", "timezone", "start_window"):
        document = yaml.safe_load(PRODUCTION)
        (document if key == "timezone" else document["rules"][0])[key] = text
        a_plan_or_its_problems(yaml.safe_dump(document))


@pytest.mark.parametrize("text", ["!!bool maybe", '!!int ""', '!!float ""', "!!timestamp foo", "plan: !!bool maybe"])
def test_a_value_that_denies_its_own_tag_is_a_plan_error(text):
    with pytest.raises(PlanError):
        parse_plan(text)
