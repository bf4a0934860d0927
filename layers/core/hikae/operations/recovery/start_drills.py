"""Start the drills that are due: one run for each group of each plan, exactly once a slot; tell what was missed."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Final

from hikae.domain.choice import list_groups
from hikae.domain.naming import format_time
from hikae.domain.plan import Drill, Plan
from hikae.domain.runs import Mode
from hikae.domain.schedule import DueSlot, missed, newest_due
from hikae.operations.recovery.find_gone import find_gone
from hikae.operations.recovery.site import RecoverySite
from hikae.ports import BrokenPlan, ExecutionState, Outcome, PortError, SlotLedger, Status

START_WINDOW: Final = timedelta(hours=1)
"""How late a drill may start; one that is later is left out and told, and the next slot has its own."""
DRILL_SLOTS: Final = "(drill)"
"""Under which name the ledger has the slots of a plan's drill: no rule can have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The runs that were started, or could not be or were missed, and the plans that cannot be read."""

    outcomes: tuple[Outcome, ...]
    broken_plans: tuple[BrokenPlan, ...]


def start_drills(site: RecoverySite, *, ledger: SlotLedger, now: datetime) -> Started:
    """Start what is due now. A run's name is made of plan, slot and group, and a name starts once in 90 days.

    A slot whose window has closed without all of its runs started is told once, whoever was to blame.
    """
    plans = site.plans.load()
    outcomes: list[Outcome] = []
    looked: list[tuple[Plan, Drill, DueSlot | None, bool]] = []
    points = None
    for plan in plans.readable:
        if plan.drill is None:
            continue
        due = newest_due(plan.drill.schedule, timezone=plan.timezone, start_window=START_WINDOW, now=now)
        begun = []
        if due is not None:
            points = site.catalogue().points if points is None else points
            groups = list_groups(points, plan=plan.name, group_by=plan.drill.group_by)
            gone = find_gone(chain.from_iterable(groups.values()), points, site, now=now)
            begun = [
                _start(plan, group, [each for each in resources if each not in gone], due.slot, site)
                for group, resources in groups.items()
            ]
        outcomes.extend(begun)
        looked.append((plan, plan.drill, due, not any(outcome.is_failure for outcome in begun)))
    # No drill waits for the ledger, which only knows what was missed.
    for plan, drill, due, is_started in looked:
        outcomes.extend(_tell_missed(plan, drill, due, is_started=is_started, ledger=ledger, now=now))
    return Started(outcomes=tuple(outcomes), broken_plans=plans.broken)


def _tell_missed(  # noqa: PLR0913 - what a slot goes by
    plan: Plan, drill: Drill, due: DueSlot | None, *, is_started: bool, ledger: SlotLedger, now: datetime
) -> Iterator[Outcome]:
    """The slots that have passed, as one outcome, and what is done with for the next look."""
    last = ledger.last(plan.name, DRILL_SLOTS, schedule=drill.schedule)
    passed = missed(drill.schedule, timezone=plan.timezone, start_window=START_WINDOW, last=last, due=due, now=now)
    if due is not None and is_started:
        done: datetime | None = due.slot
    elif passed:
        done = passed[-1]
    else:
        # A drill that is new is counted from here on: who never looks in its window would else never hear of it.
        done = now - START_WINDOW if last is None else None
    if done is not None and (last is None or last < done):
        ledger.mark(plan.name, DRILL_SLOTS, done, schedule=drill.schedule, now=now)
    if passed:
        first, newest = format_time(passed[0]), format_time(passed[-1])
        which = first if len(passed) == 1 else f"{len(passed)} slots from {first} to {newest}"
        minutes = START_WINDOW // timedelta(minutes=1)
        reason = f"not started within {minutes} minutes of when it was due, and not made up: {which}"
        yield Outcome(resource=f"drill of {plan.name}", status=Status.MISSED, reason=reason)


def name_drill(plan: str, group: str, slot: datetime) -> str:
    """The name of the run of a plan's group for a slot: no other group has it, whatever plan it is of.

    A name has at most 63 characters, so that of a plan may not be in it whole.
    """
    digest = hashlib.sha256(f"{plan}/{group}".encode()).hexdigest()[:12]
    return f"drill-{plan[:30].strip('-')}-{slot:%Y%m%dt%H%M}-{digest}"


def _start(plan: Plan, group: str, resources: list[str], slot: datetime, site: RecoverySite) -> Outcome:
    """Start a group's run with those of its resources that are there."""
    name = name_drill(plan.name, group, slot)
    if not resources:
        reason = f"nothing of {f'group {group}' if group else plan.name} is there any more"
        return Outcome(resource=name, status=Status.SKIPPED, reason=reason)
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
        is_under_way = site.executions.state(name) is ExecutionState.UNDER_WAY
        has_started = not is_under_way and site.executions.start(name, request)
    except PortError as error:
        return Outcome(resource=name, status=Status.FAILED, reason=f"not started: {error}")
    if has_started:
        return Outcome(resource=name, status=Status.CREATED, reason=f"{len(resources)} resources of {plan.name}")
    return Outcome(resource=name, status=Status.ADOPTED, reason="it was started before")
