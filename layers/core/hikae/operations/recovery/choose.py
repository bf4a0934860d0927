"""Choose the points of a run: the newest complete one of each resource whose manifest can be read."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from hikae.domain.choice import (
    MAX_FALLBACKS,
    check_point,
    choose_points,
    group_points,
    list_groups,
    list_missed,
    member_of,
    order_batches,
)
from hikae.domain.manifest import ManifestError
from hikae.domain.model import RecoveryPoint
from hikae.domain.naming import manifest_key
from hikae.domain.plan import Plan
from hikae.domain.points import Catalogue
from hikae.domain.runs import DONE, Member, Mode, ProbeResult, Run, Step, failed
from hikae.operations.recovery.find_gone import find_gone
from hikae.operations.recovery.site import RecoverySite
from hikae.ports import NotFound, Refused

_STATUS_CHECKS = ProbeResult(kind="status-checks")


def choose(run: Run, site: RecoverySite, *, now: datetime) -> tuple[Run, Step]:
    """Choose, or choose again where points were rejected; members whose point still stands stay as they are."""
    plan = site.plan_of(run)
    if run.request.plan and plan is None:
        broken = [str(each) for each in site.plans.load().broken if run.request.plan in each.key]
        return run, failed(f"plan {run.request.plan} is not at this site{'; '.join(['', *broken])}")
    catalogue = site.catalogue()
    run, resources, problem = _resources(run, plan, catalogue, site, now)
    if problem:
        return run, failed(problem)
    run, members = _members(run, list(resources), catalogue, site)
    run = replace(run, members=_ordered(members, resources, plan, run, site))
    if run.missing and not run.request.partial:
        return run, failed(f"not every resource has a usable point: {_spell(run.missing)}")
    if not run.members:
        why = _spell({**run.left_out, **run.missing})
        return run, failed(f"there is nothing to recover{': ' if why else ''}{why}")
    return run, DONE


def _spell(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{resource}: {reason}" for resource, reason in sorted(reasons.items()))


def _resources(
    run: Run, plan: Plan | None, catalogue: Catalogue, site: RecoverySite, now: datetime
) -> tuple[Run, dict[str, str], str]:
    """Which resources are meant, each with what is to be noted of it, and why none can be told."""
    if run.request.resources:
        return run, dict.fromkeys(run.request.resources, ""), ""
    assert plan is not None, "a request without resources names a plan"
    group_by = plan.drill.group_by if plan.drill else ""
    groups = list_groups(catalogue.points, plan=plan.name, group_by=group_by)
    if run.request.group and not group_by:
        lacks = (
            f"the drill of plan {plan.name} has no group_by"
            if plan.drill
            else f"plan {plan.name} has no drill with group_by"
        )
        return run, {}, f"{lacks}, so there is no group {run.request.group}"
    if run.request.group and run.request.group not in groups:
        return run, {}, f"there is no group {run.request.group}; there are {', '.join(sorted(groups)) or 'none'}"
    wanted = [run.request.group] if run.request.group else sorted(groups)
    named = [resource for group in wanted for resource in groups[group]]
    gone = find_gone(named, catalogue.points, site, now=now)
    missed = list_missed(catalogue.points, run.request, began_at=run.began_at)
    missed.update(member.resource for member in run.members)
    left_out = {
        resource: f"{reason}; it is recovered if it is asked for by its id"
        for resource, reason in gone.items()
        if resource not in missed
    }
    return replace(run, left_out=left_out), {each: gone.get(each, "") for each in named if each not in left_out}, ""


def _members(run: Run, resources: list[str], catalogue: Catalogue, site: RecoverySite) -> tuple[Run, dict[str, Member]]:
    """A member of each resource, with a point whose manifest can be read and rebuilds it."""
    kept = {member.resource: member for member in run.members if member.set_id not in run.rejected}
    attempts = {member.resource: member.attempt for member in run.members}
    # A run that goes on without something does not come back to it when another member falls back.
    missing = dict(run.missing) if run.request.partial else {}
    wanted = [resource for resource in resources if resource not in kept and resource not in missing]
    newest = choose_points(catalogue.points, wanted, run.request, rejected=run.rejected).points.values()
    site.fetch_manifests({manifest_key(point.tags) for point in newest} | {member.manifest for member in kept.values()})
    points = group_points(catalogue.points)
    for resource in wanted:
        own = points.get(resource, ())
        while resource not in kept and resource not in missing:
            chosen = choose_points(own, [resource], run.request, rejected=run.rejected)
            if chosen.missing:
                missing |= chosen.missing
                break
            point = chosen.points[resource]
            tried = sum(each.id in run.rejected for each in own)
            if tried > MAX_FALLBACKS:
                missing[resource] = f"its {tried} newest points could not be used; the last: {_last(run, resource)}"
                break
            member = member_of(point, order="", batch=0, attempt=attempts.get(resource, 0) + 1)
            reason = _why_unusable(member, point, site)
            if reason:
                run = replace(run, rejected={**run.rejected, point.id: reason})
            else:
                kept[resource] = member
    return replace(run, missing=missing), kept


def _last(run: Run, resource: str) -> str:
    own = [
        reason
        for set_id, reason in run.rejected.items()
        if any(member.resource == resource and member.set_id == set_id for member in run.members)
    ]
    return (own or list(run.rejected.values()))[-1]


def _why_unusable(member: Member, point: RecoveryPoint, site: RecoverySite) -> str:
    try:
        manifest = site.manifest_of(point)
    except (ManifestError, NotFound, Refused) as error:
        return f"its manifest cannot be read: {error}"
    return check_point(member, manifest)


def _ordered(
    members: Mapping[str, Member], notes: Mapping[str, str], plan: Plan | None, run: Run, site: RecoverySite
) -> tuple[Member, ...]:
    """The members in boot order, each with its probes; a detached volume starts nothing and has neither."""
    order_by = plan.drill.order if plan and plan.drill else ""
    orders = {}
    for resource, member in members.items():
        instance = site.manifest(member).instance
        orders[resource] = instance.tags.get(order_by, "") if instance and order_by else ""
    batches = order_batches(orders)
    ordered = [
        replace(
            member,
            order=orders[resource],
            batch=batches[resource],
            probes=member.probes or (_probes(plan, run) if member.is_instance else ()),
            notes=member.notes or tuple(filter(None, [notes.get(resource)])),
        )
        for resource, member in members.items()
    ]
    return tuple(sorted(ordered, key=lambda member: (member.batch, member.resource)))


def _probes(plan: Plan | None, run: Run) -> tuple[ProbeResult, ...]:
    """What the plan's drill asks; a restore has no function in its network, so it asks what EC2 and SSM can tell."""
    asked = [
        ProbeResult(kind=each.kind, value=each.value, status=each.status, expected=each.expected)
        for each in (plan.drill.probes if plan and plan.drill else ())
    ]
    if run.request.mode is Mode.RESTORE:
        asked = [each for each in asked if not each.is_from_inside]
    return tuple(asked) or (_STATUS_CHECKS,)
