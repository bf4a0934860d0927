"""The plans of the demo: templates in local/plans whose only blanks are when their slot and their drill are due."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from local.cloud import CloudError, LocalCloud
from local.demo.command_line import run_hikae

FOLDER = Path(__file__).resolve().parents[1] / "plans"
_LEAST_NOTICE = timedelta(seconds=12)
_DRILL_IN = timedelta(hours=12)
"""When the plans' own drills are due at the earliest: the demo starts its drills by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """One plan, filled in: its text, and what the check needs to know of it, read without hikae's own reader."""

    name: str
    text: str
    timezone: ZoneInfo
    retention: Mapping[str, int]
    copy_retention: Mapping[str, int] | None


def choose_slot(now: datetime) -> datetime:
    """The next full minute that leaves a few seconds for applying the plans."""
    return (now + _LEAST_NOTICE).astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)


def fill_in(slot: datetime) -> list[DemoPlan]:
    """Every plan, due daily at the time of `slot` in its own time zone."""
    return [_fill_in(path.read_text(), slot) for path in sorted(FOLDER.glob("*.yaml"))]


def _fill_in(template: str, slot: datetime) -> DemoPlan:
    timezone = ZoneInfo(yaml.safe_load(template)["timezone"])
    local = slot.astimezone(timezone)
    text = Template(template).substitute(minute=local.minute, hour=local.hour, drill_hour=(local + _DRILL_IN).hour)
    document: dict[str, Any] = yaml.safe_load(text)
    rule = document["rules"][0]
    copies = rule.get("copies") or [{"retention": None}]
    return DemoPlan(
        name=document["plan"],
        text=text,
        timezone=timezone,
        retention=rule["retention"],
        copy_retention=copies[0]["retention"],
    )


def apply_plans(cloud: LocalCloud, plans: Sequence[DemoPlan]) -> str:
    """Give every plan to both sites with `hikae plan apply`, as their administrator would; answer what it said.

    Raises CloudError, with what it said, where it refuses.
    """
    with TemporaryDirectory(prefix="hikae-plans-") as folder:
        files = [Path(folder, f"{plan.name}.yaml") for plan in plans]
        for file, plan in zip(files, plans, strict=True):
            file.write_text(plan.text)
        where = ("--site", "both", "--installation", cloud.installation, "--yes")
        done = run_hikae(cloud, "plan", "apply", *(str(file) for file in files), *where)
    if done.returncode != 0:
        raise CloudError(f"hikae plan apply ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
