"""A preview is what really happens: the same points are made, copied and kept as by the operations against the twin."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hikae.domain.model import Kind, Place, Region, ResourceId, SiteRole
from hikae.domain.naming import format_time
from hikae.domain.plan import Plan, parse_plan
from hikae.domain.preview import Beginning, Event, Happening, Preview, Protected, Site
from hikae.domain.pruning import DeletionLimits, keep_policy_of
from local.inprocess import ACCOUNT, PRIMARY, RECOVERY, START, Installation, tags_of

DESIGN = (Path(__file__).parents[3] / "docs/examples/production.yaml").read_text()
# So that what a day keeps is used up within the time that is watched, at both sites.
SHORT = """\
version: 1
plan: production
timezone: America/New_York
selection: {resources: [volume], tags: {Backup: production}}
rules:
  - name: often
    schedule: "*/30 * * * *"
    start_window: 30m
    protect: snapshots
    retention: {keep_last: 3, keep_hourly: 4}
    copies: [{region: us-west-2, retention: {keep_hourly: 2}}]
  - name: seldom
    schedule: "15 */6 * * *"
    start_window: 1h
    protect: snapshots
    retention: {keep_last: 1}
"""


Slot = tuple[str, str]


@pytest.mark.parametrize(
    ("text", "step", "hours"), [(DESIGN, timedelta(hours=1), 48), (SHORT, timedelta(minutes=30), 24)]
)
def test_the_simulation_makes_copies_and_keeps_what_the_operations_do(text: str, step: timedelta, hours: int) -> None:
    plan = parse_plan(text)
    made: set[Slot] = set()
    copied: list[Slot] = []
    with Installation(now=START - timedelta(minutes=20)) as installation:
        volume = installation.detached_volume()
        installation.apply(plan.name, text)
        for number in range(hours * 3600 // int(step.total_seconds()) + 1):
            installation.twin.clock.advance(START + number * step - installation.twin.clock.now())
            before = slots_of(installation.snapshots(RECOVERY))
            installation.tick()
            for job in installation.jobs():
                assert installation.carry_out(job).status == "created"
                # Two rules may want a volume at one time, and EC2 makes one snapshot of it in 15 seconds.
                installation.advance(seconds=16)
            installation.advance(minutes=10)
            made |= slots_of(installation.snapshots())
            installation.copy_all()
            copied += sorted(slots_of(installation.snapshots(RECOVERY)) - before)
            for site in SiteRole:
                installation.prune(site)
        held = {region: slots_of(installation.snapshots(region)) for region in (PRIMARY, RECOVERY)}
        assert installation.twin.count("CopySnapshot") == len(copied)
    preview = Preview(begin(plan, volume), days=hours // 24, prune_every=step)
    events = [event for day in preview.days() for event in day.events]
    assert Counter(slot_of(event) for event in events if event.what is Happening.MADE) == Counter(made)
    assert Counter(slot_of(event) for event in events if event.what is Happening.COPIED) == Counter(copied)
    assert any(
        event.what is Happening.DELETED and event.region == region for event in events for region in (None, RECOVERY)
    )
    left: dict[Region, set[Slot]] = {PRIMARY: set(), RECOVERY: set()}
    for holding in preview.holdings():
        identity = holding.point.tags.identity
        left[holding.region or PRIMARY].add((identity.rule, format_time(identity.slot)))
    assert left == held


def begin(plan: Plan, resource: str) -> Beginning:
    """Both sites empty, as they are when the plan is applied."""

    def site(role: SiteRole, region: Region) -> Site:
        return Site(
            points=(),
            policy_of=lambda _, rule: keep_policy_of(plan, rule, site=role, region=region),
            limits=DeletionLimits(per_run=200, lineage_percent=75),
            account=ACCOUNT,
        )

    home = Place(account=ACCOUNT, region=PRIMARY)
    resource_id = ResourceId(resource)
    return Beginning(
        at=START,
        installation="main",
        plan=plan,
        protected=tuple(
            Protected(place=home, resource=resource_id, rule=rule.name, kind=Kind.SNAPSHOT) for rule in plan.rules
        ),
        source=site(SiteRole.PRIMARY, PRIMARY),
        destinations={RECOVERY: site(SiteRole.RECOVERY, RECOVERY)},
    )


def slots_of(snapshots: list[dict[str, Any]]) -> set[Slot]:
    return {(tags_of(each)["hikae:rule"], tags_of(each)["hikae:slot"]) for each in snapshots}


def slot_of(event: Event) -> Slot:
    return event.rule, format_time(event.slot)
