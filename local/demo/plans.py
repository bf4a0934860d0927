"""The plans of the demo: templates in local/plans whose only blanks are the minute and the hour of their slot."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from local.cloud import LocalCloud

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


def apply_plans(cloud: LocalCloud, plans: Iterable[DemoPlan]) -> None:
    """Put each plan into the buckets of both sites."""
    for site in ("primary", "recovery"):
        bucket = cloud.stack_outputs(site)["BucketName"]
        for plan in plans:
            s3 = cloud.client("s3", cloud.region_of(site))
            s3.put_object(Bucket=bucket, Key=f"plans/{plan.name}.yaml", Body=plan.text.encode())
