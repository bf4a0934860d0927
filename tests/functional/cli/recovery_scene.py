"""What the tests of recovery's commands begin with: a group that is protected, its settings, and a clock."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import time_machine

from local.inprocess import SNAPSHOT_PLAN, Installation

PLAN = (
    SNAPSHOT_PLAN
    + """\
drill:
  schedule: "0 4 * * 6"
  group_by: tag:Service
  order: tag:BootOrder
  probes: [status-checks]
"""
)


def protect_group(installation: Installation, *, hours: int = 2, count: int = 2, **arguments: Any) -> list[str]:
    """Instances of the group `shop`, which start one after the other, with so many hourly points at both sites."""
    instances = []
    for number in range(count):
        [instance] = installation.launch(
            tags={"Backup": "production", "Service": "shop", "BootOrder": str(number), "Name": f"shop-{number}"},
            **arguments,
        )
        instances.append(instance)
    installation.apply("production", PLAN)
    for _ in range(hours):
        installation.back_up()
        installation.copy_all()
        installation.advance(minutes=60 - installation.twin.clock.now().minute)
    installation.set_recovery_settings(
        f"""\
version: 1
default_subnets: [{installation.restore_vpc["a"]}, {installation.restore_vpc["b"]}]
default_security_groups: [{installation.restore_vpc["group"]}]
"""
    )
    return instances


@contextmanager
def at_the_twins_time(installation: Installation) -> Iterator[time_machine.Traveller]:
    """The process's clock is the twin's, so that ages are what they are there."""
    with time_machine.travel(installation.twin.clock.now(), tick=False) as clock:
        yield clock


def without_ids(output: str) -> str:
    """The output with ids and addresses that count up as they come: the twin's are of its own choosing."""
    known: dict[str, str] = {}

    def rename(found: re.Match[str]) -> str:
        kind, digits = found.groups()
        number = sum(each.startswith(f"{kind}-") for each in known) + 1
        return known.setdefault(found[0], f"{kind}-{number:0{len(digits)}}")

    def move(found: re.Match[str]) -> str:
        net = "10.0.0." if found[0].startswith("10.") else "203.0.113."
        number = sum(each.startswith(net) for each in known.values()) + 1
        return known.setdefault(found[0], f"{net}{number}")

    output = re.sub(r"\b(10|54)(\.[0-9]{1,3}){3}\b(?!/)", move, output)
    plain = re.sub(r"\b(snap|vol|i|rp|ami|subnet|sg)-([0-9a-f]{17}|[0-9a-f]{32}|[0-9a-f]{8})\b", rename, output)
    return re.sub(r"key/[0-9a-f-]{36}", "key/of-the-test", plain)
