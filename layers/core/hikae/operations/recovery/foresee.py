"""Foresee a run: choose and look around as it would, and write, launch and register nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from hikae.domain.launches import losses_on
from hikae.domain.manifest import Manifest
from hikae.domain.runs import Mode, Request, Run, StepStatus
from hikae.domain.targets import Target
from hikae.domain.teardown import Made, list_recovered
from hikae.operations.recovery.choose import choose
from hikae.operations.recovery.preflight import look_around, target_of
from hikae.operations.recovery.site import RecoverySite


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a run would do now: its members with their points and rungs, where each goes, and all that lacks for it.

    `targets`, `manifests` and `losses`, which is what would not come back, are by resource; a detached volume has no
    target and loses nothing. `restored` is, by resource, what earlier restores have made of it and is still there.
    """

    run: Run
    targets: Mapping[str, Target]
    manifests: Mapping[str, Manifest]
    problems: tuple[str, ...]
    losses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    restored: Mapping[str, tuple[Made, ...]] = field(default_factory=dict)


def foresee(name: str, request: Request, site: RecoverySite, *, now: datetime) -> Forecast:
    """What a run of this name would do.

    EC2's own DryRun is left out: it says what the caller may do, and the run has a role of its own.

    Raises:
        Unreachable: the site does not answer.
    """
    run = Run(name=name, request=request, began_at=now)
    while True:
        run, chosen = choose(run, site, now=now)
        if chosen.status is not StepStatus.DONE:
            return Forecast(run=run, targets={}, manifests={}, problems=(chosen.reason,))
        run, problems, ended = look_around(run, site, asks_to_launch=False)
        if ended is None:
            break
        if ended.status is not StepStatus.FALL_BACK:
            return Forecast(run=run, targets={}, manifests={}, problems=(ended.reason,))
    manifests = {member.resource: site.manifest(member) for member in run.members}
    settings = site.settings.load()
    targets = {
        member.resource: target_of(member, manifests[member.resource], run, site, settings)
        for member in run.members
        if member.is_instance
    }
    losses = {
        member.resource: losses_on(member.rungs[0], targets[member.resource], own_type=member.type)
        for member in run.members
        if member.is_instance and member.rungs
    }
    restored = _restored(run, site) if request.mode is Mode.RESTORE else {}
    return Forecast(run=run, targets=targets, manifests=manifests, problems=problems, losses=losses, restored=restored)


def _restored(run: Run, site: RecoverySite) -> dict[str, tuple[Made, ...]]:
    """What stands here already for each member, whichever restore of this installation has made it."""
    members = {member.resource for member in run.members}
    found: dict[str, tuple[Made, ...]] = {}
    for each in list_recovered(site.restored()):
        if each.resource in members:
            found[each.resource] = (*found.get(each.resource, ()), each)
    return found
