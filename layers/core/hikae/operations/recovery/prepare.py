"""Prepare the images to launch from: register one of each snapshot set, and see that each is available."""

from dataclasses import replace
from datetime import datetime

from hikae.domain.choice import reject
from hikae.domain.launches import image_registration
from hikae.domain.manifest import ManifestError
from hikae.domain.model import Kind
from hikae.domain.naming import recovery_image_name
from hikae.domain.points import CONSISTENCY_DELAY
from hikae.domain.runs import DONE, Member, Run, Step, StepStatus, again, failed
from hikae.operations.recovery.connect_members import connect_members
from hikae.operations.recovery.site import RecoverySite
from hikae.ports import Ambiguous, NotFound, PortError, Refused

_POLL = 5
_TAKEN = "InvalidAMIName.Duplicate"
_OF_THE_POINT = ("InvalidSnapshot", "IncorrectState", "InvalidAMIID")
"""Codes that speak of what a point consists of: another point may do where this one does not."""


def prepare(run: Run, site: RecoverySite, *, now: datetime) -> tuple[Run, Step]:
    """Register what is not registered yet; an image of the run's own name is taken over. A drill gets its group."""
    run = connect_members(run, site)
    for member in run.members:
        if member.kind is not Kind.SNAPSHOT_SET or member.registered:
            continue
        name = recovery_image_name(
            installation=site.installation, run=run.name, resource=member.resource, attempt=member.attempt
        )
        known = site.recoverer.find_image(name)
        try:
            image = known.id if known else site.recoverer.register_image(_request(member, run, site))
        except (ManifestError, NotFound, Refused) as error:
            run, step = go_on_without(member, *answer_refusal(run, member, error, what="no image could be registered"))
            if step is not None:
                return run, step
            continue
        except Ambiguous as error:
            if error.code != _TAKEN or now - run.stages["prepare"].began_at >= CONSISTENCY_DELAY:
                raise
            return run, again(_POLL, f"EC2 does not show {name} yet, which is registered")
        run = run.with_member(replace(member, registered=image))
        site.save(run)
    return _look(run, site)


def go_on_without(member: Member, run: Run, step: Step | None) -> tuple[Run, Step | None]:
    """A partial run goes on without a member that fails, while there are others; else the step ends as it did."""
    if step is None or step.status is not StepStatus.FAILED or not run.request.partial:
        return run, step
    run = run.without(member.resource, step.reason.removeprefix(f"{member.resource}: "))
    return run, None if run.members else failed(f"nothing is left to recover: {step.reason}")


def answer_refusal(run: Run, member: Member, error: Exception, *, what: str) -> tuple[Run, Step]:
    """Fall back where the point is to blame, and fail where another point would not do either."""
    reason = f"{member.resource}: {what}: {error}"
    code = error.code if isinstance(error, PortError) else ""
    if isinstance(error, ManifestError) or code.startswith(_OF_THE_POINT):
        return reject(run, member, reason), Step(status=StepStatus.FALL_BACK, reason=reason)
    return run, failed(reason)


def _request(member: Member, run: Run, site: RecoverySite) -> dict[str, object]:
    return image_registration(member, site.manifest(member), run, installation=site.installation)


def _look(run: Run, site: RecoverySite) -> tuple[Run, Step]:
    wanted = {member.registered or member.image: member for member in run.members if member.is_instance}
    states = site.recoverer.images(wanted)
    waiting = []
    for image, member in wanted.items():
        state = states.get(image, "pending" if member.registered else "not there")
        if state == "pending":
            waiting.append(image)
        elif state != "available":
            reason = f"{member.resource}: {image} is {state}"
            return reject(run, member, reason), Step(status=StepStatus.FALL_BACK, reason=reason)
    if waiting:
        return run, again(_POLL, f"{', '.join(waiting)} not available yet")
    if run.group and not site.surroundings.security_groups([run.group]):
        return run, again(_POLL, f"EC2 does not show security group {run.group} yet")
    return run, DONE
