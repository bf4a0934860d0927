"""The worked example of docs/reference/retention.md, decided anew."""

import re
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import yaml

from hikae.domain.retention import Policy, decide
from tests.functional.docs.documents import ROOT, code_spans, rows

RETENTION = ROOT / "docs/reference/retention.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    id: str
    time: datetime


def test_the_worked_example_is_what_retention_decides() -> None:
    stated = re.search(r"## Worked example\n\n`(.+?)` in `(.+?)`", RETENTION.read_text())
    assert stated
    policy, timezone = Policy(**yaml.safe_load(stated[1])), ZoneInfo(stated[2])
    table = rows(RETENTION, heading="## Worked example")
    points = [Point(id=row[0], time=datetime.fromisoformat(row[0]).replace(tzinfo=UTC)) for row in table]
    assert len(points) > 10
    assert decide(policy, points, timezone=timezone) == decide(policy, reversed(points), timezone=timezone)
    decided = [
        [
            verdict.id,
            f"{datetime.fromisoformat(verdict.id).replace(tzinfo=UTC).astimezone(timezone):%Y-%m-%d %H:%M}",
            verdict.action.value,
            ", ".join(verdict.reasons),
        ]
        for verdict in decide(policy, points, timezone=timezone)
    ]
    assert decided == table


def test_every_rule_of_retention_is_documented() -> None:
    spans = " ".join(code_spans(RETENTION))
    between = {"keep_within_daily", "keep_within_weekly", "keep_within_monthly"}  # "keep_within_hourly … _yearly"
    assert not {each.name for each in fields(Policy)} - set(re.findall(r"keep_\w+", spans)) - between
