"""The tick: find out what is due, send its jobs, publish what is protected.

Sending a job twice is harmless, losing one is not: a slot counts as dispatched only when its last job was accepted,
and until its window closes every tick sends again the jobs that have no point yet.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hikae.domain import naming, schedule
from hikae.domain.inventory import list_present
from hikae.domain.model import Instance, Job, Kind, Place, PointIdentity, PointState, Volume
from hikae.domain.plan import Plan, Rule
from hikae.domain.points import assemble
from hikae.domain.schedule import DueSlot
from hikae.domain.selection import Selected, Skipped, Unprotectable, choose_instance, choose_volume
from hikae.operations.protect import Anything
from hikae.ports import (
    BrokenPlan,
    Documents,
    Fleet,
    Holdings,
    JobQueue,
    NotFound,
    Outcome,
    Plans,
    PlanStore,
    PortError,
    Refused,
    SlotLedger,
    Status,
)

INVENTORY_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOutcome:
    """What the tick made of one rule."""

    plan: str
    rule: str
    slot: datetime | None
    jobs_sent: int
    points_there: int
    missed: tuple[datetime, ...]
    unprotectable: tuple[Outcome, ...]
    skipped: tuple[Outcome, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What one tick did."""

    rules: tuple[RuleOutcome, ...]
    broken_plans: tuple[BrokenPlan, ...]
    failures: tuple[Outcome, ...] = ()

    @property
    def jobs_sent(self) -> int:
        """How many jobs were handed to the queues."""
        return sum(rule.jobs_sent for rule in self.rules)

    @property
    def missed(self) -> int:
        """How many slots have passed without being dispatched."""
        return sum(len(rule.missed) for rule in self.rules)


def schedule_backups(  # noqa: PLR0913 - one keyword per port
    *,
    installation: str,
    plans: PlanStore,
    fleet: Fleet,
    holdings: Holdings,
    queues: Mapping[Kind, JobQueue],
    ledger: SlotLedger,
    inventory: Documents,
    now: datetime,
) -> Tick:
    """Send the jobs that are due at `now` and publish the inventory. A plan that cannot be read stops no other."""
    loaded = plans.load()
    # Also without a plan: the inventory says what exists, and what it leaves out would be taken for gone.
    instances = list(fleet.instances())
    volumes = list(fleet.volumes())
    outcomes: list[RuleOutcome] = []
    failures: list[Outcome] = []
    protected: list[dict[str, Any]] = []
    stores: Mapping[str, str] = {}
    try:
        stores = fleet.instance_stores({each.type for each in instances if _is_named(loaded, each)})
    except PortError as error:
        # No backup waits for it: only what no backup can have goes unsaid, and this says so.
        failures.append(Outcome(resource="instance types", status=Status.FAILED, reason=str(error)))
    for plan in loaded.readable:
        for rule in plan.rules:
            chosen = _choose(plan, rule, instances, volumes, stores)
            protected.extend(_inventory_rows(plan, rule, chosen))
            try:
                outcome = _dispatch(
                    plan,
                    rule,
                    chosen,
                    installation=installation,
                    holdings=holdings,
                    queues=queues,
                    ledger=ledger,
                    now=now,
                )
            except PortError as error:
                # Nothing was marked as dispatched, so the next tick sends it; the other rules do not wait for that.
                name = f"{plan.name}/{rule.name}"
                failures.append(Outcome(resource=name, status=Status.FAILED, reason=f"not dispatched: {error}"))
            else:
                outcomes.append(outcome)
    failures.extend(_publish(installation, fleet.place, loaded, protected, instances, volumes, inventory, now))
    return Tick(rules=tuple(outcomes), broken_plans=loaded.broken, failures=tuple(failures))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """What one rule makes of the fleet."""

    selected: tuple[Selected, ...]
    unprotectable: tuple[Unprotectable, ...]
    skipped: tuple[Skipped, ...]


def _is_named(loaded: Plans, instance: Instance) -> bool:
    """Whether any rule selects the instance, so that its type matters."""
    rules = ((plan, rule) for plan in loaded.readable for rule in plan.rules)
    return any(isinstance(choose_instance(plan.selection, rule, instance), Selected) for plan, rule in rules)


def _choose(
    plan: Plan, rule: Rule, instances: Iterable[Instance], volumes: Iterable[Volume], stores: Mapping[str, str]
) -> _Chosen:
    volume_tags: dict[str, Mapping[str, str]] = (
        {volume.id: volume.tags for volume in volumes} if rule.exclude_volumes.tags else {}
    )
    choices = [
        *(
            choose_instance(plan.selection, rule, instance, instance_stores=stores, volume_tags=volume_tags)
            for instance in instances
        ),
        *(choose_volume(plan.selection, rule, volume) for volume in volumes),
    ]
    return _Chosen(
        selected=tuple(choice for choice in choices if isinstance(choice, Selected)),
        unprotectable=tuple(choice for choice in choices if isinstance(choice, Unprotectable)),
        skipped=tuple(choice for choice in choices if isinstance(choice, Skipped)),
    )


def _dispatch(  # noqa: PLR0913 - one keyword per port
    plan: Plan,
    rule: Rule,
    chosen: _Chosen,
    *,
    installation: str,
    holdings: Holdings,
    queues: Mapping[Kind, JobQueue],
    ledger: SlotLedger,
    now: datetime,
) -> RuleOutcome:
    due = schedule.newest_due(rule.schedule, timezone=plan.timezone, start_window=rule.start_window, now=now)
    jobs: list[Job] = []
    there: set[str] = set()
    last = ledger.last(plan.name, rule.name, schedule=rule.schedule)
    missed = schedule.missed(
        rule.schedule, timezone=plan.timezone, start_window=rule.start_window, last=last, due=due, now=now
    )
    if due is None and missed:
        ledger.mark(plan.name, rule.name, missed[-1], schedule=rule.schedule, now=now)
    if due is not None:
        there = _points_of_slot(due.slot, installation=installation, rule=rule, holdings=holdings)
        candidates = _jobs(plan, rule, due, chosen.selected, installation=installation, place=holdings.place)
        jobs = [job for job in candidates if naming.point_id(job.identity) not in there]
        for kind, queue in queues.items():
            queue.send([job for job in jobs if job.kind is kind])
        if last is None or last < due.slot:
            ledger.mark(plan.name, rule.name, due.slot, schedule=rule.schedule, now=now)
    return RuleOutcome(
        plan=plan.name,
        rule=rule.name,
        slot=due.slot if due else None,
        jobs_sent=len(jobs),
        points_there=len(chosen.selected) - len(jobs) if due else 0,
        missed=tuple(missed),
        unprotectable=tuple(
            Outcome(resource=each.resource, status=Status.FAILED, reason=each.reason) for each in chosen.unprotectable
        ),
        skipped=(
            *(Outcome(resource=each.resource, status=Status.SKIPPED, reason=each.reason) for each in chosen.skipped),
            *(
                Outcome(resource=each.resource, status=Status.SKIPPED, reason=reason)
                for each in chosen.selected
                for reason in each.left_out
            ),
        ),
    )


def _points_of_slot(slot: datetime, *, installation: str, rule: Rule, holdings: Holdings) -> set[str]:
    """The points of a slot that are there or on their way; a failed one needs its job again."""
    when = naming.format_time(slot)
    catalogue = assemble(
        place=holdings.place,
        installation=installation,
        snapshots=holdings.snapshots(installation=installation, slot=when),
        images=holdings.images(installation=installation, slot=when) if rule.protect == "image" else (),
        manifests=Anything(),
    )
    return {
        point.tags.point
        for point in catalogue.points
        if not point.is_copy and point.state in (PointState.COMPLETE, PointState.PENDING)
    }


def _jobs(  # noqa: PLR0913 - the parts of an identity
    plan: Plan, rule: Rule, due: DueSlot, selected: Iterable[Selected], *, installation: str, place: Place
) -> Iterable[Job]:
    for each in selected:
        identity = PointIdentity(
            installation=installation,
            place=place,
            plan=plan.name,
            rule=rule.name,
            slot=due.slot,
            resource=each.resource,
        )
        yield Job(
            identity=identity,
            kind=each.kind,
            deadline=due.deadline,
            consistency=rule.consistency,
            reboot=rule.reboot,
            exclude_volumes=rule.exclude_volumes,
        )


def _inventory_rows(plan: Plan, rule: Rule, chosen: _Chosen) -> Iterable[dict[str, Any]]:
    shared = {
        "plan": plan.name,
        "rule": rule.name,
        "destinations": [copy.region for copy in rule.copies],
        "rpo_seconds": int(rule.objectives.rpo.total_seconds()) if rule.objectives.rpo else None,
        "rto_seconds": int(rule.objectives.rto.total_seconds()) if rule.objectives.rto else None,
        "schedule": rule.schedule,
        "timezone": plan.timezone.key,
        "start_window_seconds": int(rule.start_window.total_seconds()),
    }
    for each in chosen.selected:
        row = {"resource": each.resource, "kind": each.kind.value, "unprotectable": None, **shared}
        yield row | {"left_out": list(each.left_out)}
    for other in chosen.unprotectable:
        row = {"resource": other.resource, "kind": None, "unprotectable": other.reason, **shared}
        yield row | {"left_out": []}


def _publish(  # noqa: PLR0913, PLR0917 - the parts of the document
    installation: str,
    place: Place,
    loaded: Plans,
    protected: list[dict[str, Any]],
    instances: Iterable[Instance],
    volumes: Iterable[Volume],
    inventory: Documents,
    now: datetime,
) -> Iterable[Outcome]:
    """Publish the inventory, in place of an older one: a run that is made up for must not hide what is true now."""
    key = naming.inventory_key(place)
    try:
        published_at = naming.parse_time(str(inventory.read(key).get("published_at")))
    except (NotFound, Refused, ValueError):
        published_at = None
    if published_at is not None and published_at > now:
        reason = (
            f"the inventory of {naming.format_time(published_at)} is newer than {naming.format_time(now)} and stays"
        )
        return [Outcome(resource=key, status=Status.KEPT, reason=reason)]
    document = {
        "version": INVENTORY_VERSION,
        "installation": installation,
        "account": place.account,
        "region": place.region,
        "published_at": naming.format_time(now),
        "broken_plans": [str(broken) for broken in loaded.broken],
        "resources": protected,
        "present": sorted(list_present(instances, volumes)),
    }
    inventory.write(key, document)
    return []
