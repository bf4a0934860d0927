"""Make the volumes that no image carries: those that were attached to nothing."""

from dataclasses import replace
from datetime import datetime

from hikae.domain.choice import reject
from hikae.domain.launches import volume_request
from hikae.domain.runs import DONE, Member, Mode, Run, Step, StepStatus, again, failed
from hikae.operations.recovery.prepare import answer_refusal
from hikae.operations.recovery.site import RecoverySite
from hikae.ports import Refused

_POLL = 5


def attach(run: Run, site: RecoverySite, *, now: datetime) -> tuple[Run, Step]:  # noqa: ARG001 - as every step
    """Make each of them in the Availability Zone of the run's instances, and see that it is available."""
    members = [member for member in run.members if not member.is_instance]
    if not members:
        return run, DONE
    zone = _zone(run, site)
    if not zone:
        return run, failed("no subnet says in which Availability Zone the volumes are to be made")
    made = [each for each in site.made(run) if each.kind == "volume" and not each.attached_to]
    waiting = []
    for member in members:
        known = next((each for each in made if (each.resource, each.point) == (member.resource, member.point)), None)
        try:
            volume = known.id if known else site.recoverer.create_volume(_request(member, run, site, zone))
        except Refused as error:
            return answer_refusal(run, member, error, what="its volume could not be made")
        run = run.with_member(replace(member, volume=volume))
        if known is not None and known.state == "error":
            reason = f"{member.resource}: {volume} is in error: {known.reason or 'EC2 gave no reason'}"
            return reject(run, member, reason), Step(status=StepStatus.FALL_BACK, reason=reason)
        if known is None or known.state == "creating":
            waiting.append(volume)
    return (run, again(_POLL, f"{', '.join(waiting)} not available yet")) if waiting else (run, DONE)


def _request(member: Member, run: Run, site: RecoverySite, zone: str) -> dict[str, object]:
    return volume_request(member, site.manifest(member), run, zone=zone, installation=site.installation)


def _zone(run: Run, site: RecoverySite) -> str:
    launched = [member.rungs[member.rung].zone for member in run.members if member.instance]
    if launched:
        return launched[0]
    wanted = site.network.subnets if run.request.mode is Mode.DRILL else site.settings.load().default_subnets
    subnets = site.surroundings.subnets(wanted)
    return next((subnets[each].zone for each in wanted if each in subnets), "")
