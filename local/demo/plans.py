"""The plans of the demo: templates in local/plans whose only blanks are the minute and the hour of their slot."""

import os
import subprocess
import sys
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

FOLDER = Path(__file__).resolve().parents[1] / "plans"
_LEAST_NOTICE = timedelta(seconds=12)


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
    text = Template(template).substitute(minute=local.minute, hour=local.hour)
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
        command = [str(Path(sys.executable).with_name("hikae")), "plan", "apply", *(str(file) for file in files)]
        command += ["--site", "both", "--installation", cloud.installation, "--yes"]
        own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HIKAE_"))}
        environment = {**own, **cloud.environment(), "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise CloudError(f"hikae plan apply ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
