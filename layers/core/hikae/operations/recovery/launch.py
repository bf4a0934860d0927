"""Launch the instances in boot order: a batch starts when the one before it runs."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from hikae.domain.choice import reject
from hikae.domain.launches import launch_request, losses_on
from hikae.domain.manifest import Manifest
from hikae.domain.networks import Placed, Subnet, place_interfaces
from hikae.domain.points import CONSISTENCY_DELAY
from hikae.domain.recovery_settings import RecoverySettings
from hikae.domain.runs import DONE, Member, Mode, Run, Step, StepStatus, again, failed
from hikae.domain.targets import Target
from hikae.domain.teardown import Made
from hikae.operations.recovery.preflight import target_of
from hikae.operations.recovery.prepare import answer_refusal, go_on_without
from hikae.operations.recovery.site import RecoverySite
from hikae.ports import ExecutionState, NoCapacity, Refused

_POLL = 10
_ASK_AGAIN = timedelta(seconds=15)
_ENDED = frozenset({"shutting-down", "terminated", "stopping", "stopped"})


def launch(run: Run, site: RecoverySite, *, now: datetime) -> tuple[Run, Step]:
    """Launch the next batch, or see whether the last one runs."""
    made = {each.id: each for each in site.made(run) if each.kind == "instance"}
    settings = site.settings.load()
    waiting = [member for member in run.members if member.is_instance and member.running_at is None]
    if not waiting:
        return run, DONE
    asked_at = now
    for member in [each for each in waiting if each.batch == waiting[0].batch]:
        if not member.instance:
            if site.clock() - asked_at >= _ASK_AGAIN:
                asked_at = site.clock()
                if site.executions.state(run.name) is ExecutionState.OVER:
                    # Stopping an execution stops no step that is under way. What was written down since is not ours.
                    return site.load(run.name), again(_POLL, "its execution is over: nothing more is launched")
            run, step = _start(run, member, made, site, settings)
        else:
            run, step = _look(run, member, made, now)
        run, step = go_on_without(member, run, step)
        if step is not None:
            return run, step
        site.save(run)
    still = [each.resource for each in run.members if each.is_instance and each.running_at is None]
    return (run, again(_POLL, f"{', '.join(still)} not running yet")) if still else (run, DONE)


def _look(run: Run, member: Member, made: Mapping[str, Made], now: datetime) -> tuple[Run, Step | None]:
    seen = made.get(member.instance)
    is_new = member.launched_at is None or now - member.launched_at < CONSISTENCY_DELAY
    if (seen is None and is_new) or (seen is not None and seen.state == "pending"):
        return run, None  # EC2 may not show yet what it has just launched
    if seen is None:
        reason = f"{member.resource}: {member.instance} is not there any more"
        return reject(run, member, reason), Step(status=StepStatus.FALL_BACK, reason=reason)
    if seen.state in _ENDED:
        # An instance that ends by itself while it starts could not use its volumes, or their key:
        # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html
        reason = f"{member.resource}: {seen.id} is {seen.state} by itself: {seen.reason or 'EC2 gave no reason'}"
        return reject(run, member, reason), Step(status=StepStatus.FALL_BACK, reason=reason)
    return run.with_member(replace(member, running_at=now, private_ip=seen.private_ip)), None


def _start(
    run: Run,
    member: Member,
    made: Mapping[str, Made],
    site: RecoverySite,
    settings: RecoverySettings,
) -> tuple[Run, Step | None]:
    image = member.registered or member.image
    manifest = site.manifest(member)
    target = target_of(member, manifest, run, site, settings)
    there = next(
        (e for e in made.values() if e.resource == member.resource and e.image == image and e.state not in _ENDED), None
    )
    if there is not None:
        # It was launched by a step that did not live to write down what there is to say about it.
        _, placed, notes = _place(run, member, target, site)
        main = target.interfaces[0].addresses[:1] if target.interfaces else ()
        if main and main[0] in placed.asked and there.private_ip != main[0]:
            notes = (*notes, _taken(placed.asked))
        return run.with_member(_launched(member, there.id, manifest, target, notes, site.clock())), None
    while member.rung < len(member.rungs):
        try:
            instance, notes = _launch(run, member, manifest, target, site)
        except NoCapacity as error:
            rung = member.rungs[member.rung]
            refusal = f"{rung.type} in {rung.zone}: {error.code}"
            member = replace(member, rung=member.rung + 1, refusals=(*member.refusals, refusal))
            # Written down before the next rung is tried: a step that comes back must not climb from the bottom.
            run = run.with_member(member)
            site.save(run)
        except Refused as error:
            return answer_refusal(run, member, error, what="it could not be launched")
        else:
            return run.with_member(_launched(member, instance, manifest, target, notes, site.clock())), None
    return run, failed(f"{member.resource}: no capacity for any type in any zone: {'; '.join(member.refusals)}")


def _launched(  # noqa: PLR0913, PLR0917 - what is known of it now
    member: Member, instance: str, manifest: Manifest, target: Target, notes: tuple[str, ...], at: datetime
) -> Member:
    assert manifest.instance is not None, "only an instance is launched"
    lost = losses_on(member.rungs[member.rung], target, own_type=manifest.instance.type)
    return replace(member, instance=instance, launched_at=at, notes=(*member.notes, *notes, *lost))


def _launch(
    run: Run, member: Member, manifest: Manifest, target: Target, site: RecoverySite
) -> tuple[str, tuple[str, ...]]:
    """The instance, with its old private addresses where that is possible, and what there is to say about them."""
    rung = member.rungs[member.rung]
    subnets, placed, notes = _place(run, member, target, site)
    for with_ip in (True, False) if placed.asked else (False,):
        request = launch_request(
            member,
            manifest,
            run,
            target,
            rung=rung,
            with_ip=with_ip,
            installation=site.installation,
            subnets=subnets,
        )
        try:
            return site.recoverer.launch(request), notes
        except NoCapacity:
            raise
        except Refused as error:
            if not (with_ip and error.code.startswith("InvalidIPAddress")):
                raise
            notes = (*notes, _taken(placed.asked))
    raise AssertionError("unreachable: the last attempt returns or raises")


def _place(
    run: Run, member: Member, target: Target, site: RecoverySite
) -> tuple[Mapping[str, Subnet], Placed, tuple[str, ...]]:
    """The subnets that it goes into, its interfaces with their old addresses, and what of them cannot be as it was."""
    rung = member.rungs[member.rung]
    subnets = site.surroundings.subnets({rung.subnet, *target.all_subnets})
    placed = place_interfaces(target.interfaces, subnets[rung.subnet], subnets, with_ip=True)
    # That a drill's network has other addresses than the primary's is how it is, and no loss.
    return subnets, placed, placed.notes if run.request.mode is Mode.RESTORE else ()


def _taken(addresses: tuple[str, ...]) -> str:
    if len(addresses) == 1:
        return f"it has another private address: {addresses[0]} is taken"
    return f"it has other private addresses: one of {', '.join(addresses)} is taken"
