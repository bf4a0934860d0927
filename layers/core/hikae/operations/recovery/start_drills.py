"""Start the drills that are due: one run for each group of each plan, exactly once a slot."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from hikae.domain.choice import list_groups
from hikae.domain.plan import Plan
from hikae.domain.runs import Mode
from hikae.domain.schedule import newest_due
from hikae.operations.recovery.site import RecoverySite
from hikae.ports import BrokenPlan, Outcome, PortError, Status

START_WINDOW: Final = timedelta(hours=1)
"""How late a drill may start; one that is later is left out, and the next slot has its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The runs that were started, or could not be, and the plans that cannot be read."""

    outcomes: tuple[Outcome, ...]
    broken_plans: tuple[BrokenPlan, ...]


def start_drills(site: RecoverySite, *, now: datetime) -> Started:
    """Start what is due now. A run's name is made of plan, slot and group, and a name starts once in 90 days."""
    plans = site.plans.load()
    outcomes: list[Outcome] = []
    points = None
    for plan in plans.readable:
        due = None
        if plan.drill is not None:
            due = newest_due(plan.drill.schedule, timezone=plan.timezone, start_window=START_WINDOW, now=now)
        if plan.drill is None or due is None:
            continue
        points = site.catalogue().points if points is None else points
        for group, resources in list_groups(points, plan=plan.name, group_by=plan.drill.group_by).items():
            outcomes.append(_start(plan, group, resources, due.slot, site))
    return Started(outcomes=tuple(outcomes), broken_plans=plans.broken)


def _start(plan: Plan, group: str, resources: list[str], slot: datetime, site: RecoverySite) -> Outcome:
    digest = hashlib.sha256(group.encode()).hexdigest()[:8]
    name = f"drill-{plan.name[:30].strip('-')}-{slot:%Y%m%dt%H%M}-{digest}"
    # Those without the tag are no group that one could name.
    what = {"group": group} if group or not (plan.drill and plan.drill.group_by) else {"resources": resources}
    request = {
        "mode": Mode.DRILL.value,
        "plan": plan.name,
        "started_by": f"schedule of plan {plan.name}",
        **{key: value for key, value in what.items() if value},
    }
    try:
        # Step Functions answers a second start of what is still running as if it were the first.
        has_started = not site.executions.is_running(name) and site.executions.start(name, request)
    except PortError as error:
        return Outcome(resource=name, status=Status.FAILED, reason=f"not started: {error}")
    if has_started:
        return Outcome(resource=name, status=Status.CREATED, reason=f"{len(resources)} resources of {plan.name}")
    return Outcome(resource=name, status=Status.ADOPTED, reason="it was started before")
