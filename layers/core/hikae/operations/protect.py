"""Carry out one job: make its recovery point, exactly once.

The identity of the point is deterministic and in the tags of the creating call. What is there is adopted, what has
failed is made again as the next attempt, and what nobody knows about is looked up again when the job comes back.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from hikae.domain import naming
from hikae.domain.manifest import ManifestError, write_manifest
from hikae.domain.model import Job, Kind, PointTags, SourceVolume
from hikae.domain.points import Adopt, GiveUp, assemble, next_attempt
from hikae.domain.selection import exclude_volumes, refuse_left_out
from hikae.ports import Creator, Documents, Gone, Holdings, NotFound, Outcome, Refused, Source, Sources, Status


def snapshot_volumes(  # noqa: PLR0913 - one keyword per port
    job: Job, *, holdings: Holdings, sources: Sources, creator: Creator, manifests: Documents, now: datetime
) -> Outcome:
    """Start the snapshot set of the job's instance, or the snapshot of its detached volume.

    Raises:
        Throttled, LimitReached, Ambiguous: the job is to come back later; nothing was done that it would not find.
    """

    def create(source: Source, tags: PointTags, leave_out: Sequence[SourceVolume]) -> tuple[str, ...]:
        resource = job.identity.resource
        written = naming.write_tags(tags, carried=source.tags)
        if job.kind is Kind.SNAPSHOT:
            return (creator.create_snapshot(resource, written, _description(job)),)
        return tuple(creator.create_snapshots(resource, written, _description(job), leave_out=leave_out))

    return _protect(job, create, holdings=holdings, sources=sources, manifests=manifests, now=now)


def build_image(  # noqa: PLR0913 - one keyword per port
    job: Job, *, holdings: Holdings, sources: Sources, creator: Creator, manifests: Documents, now: datetime
) -> Outcome:
    """Start the image of the job's instance, rebooting it only where the plan says so.

    Raises:
        Throttled, LimitReached, Ambiguous: the job is to come back later; nothing was done that it would not find.
    """

    def create(source: Source, tags: PointTags, leave_out: Sequence[SourceVolume]) -> tuple[str, ...]:
        written = naming.write_tags(tags, carried=source.tags)
        image = creator.create_image(
            job.identity.resource,
            naming.image_name(tags),
            written,
            _description(job),
            reboot=job.reboot,
            leave_out=leave_out,
        )
        return (image,)

    return _protect(job, create, holdings=holdings, sources=sources, manifests=manifests, now=now)


def _protect(  # noqa: PLR0911, PLR0913 - every return is an outcome of its own; one keyword per port
    job: Job,
    create: Callable[[Source, PointTags, Sequence[SourceVolume]], tuple[str, ...]],
    *,
    holdings: Holdings,
    sources: Sources,
    manifests: Documents,
    now: datetime,
) -> Outcome:
    point = naming.point_id(job.identity)
    outcome = Outcome(resource=job.identity.resource, status=Status.FAILED, point=point)
    catalogue = assemble(
        place=holdings.place,
        installation=job.identity.installation,
        snapshots=holdings.snapshots(point=point),
        images=holdings.images(point=point) if job.kind is Kind.IMAGE else (),
        manifests=Anything(),
    )
    for unclear in catalogue.unclear:
        # Whatever it is, it was found by the point's id: making the point again could go on without end.
        return replace(outcome, reason=f"{unclear.id} carries its id and cannot be accounted for: {unclear.reason}")
    # A recovery site may share the Region; its copies are not this site's points.
    decision = next_attempt([point for point in catalogue.points if not point.is_copy], now=now)
    if isinstance(decision, Adopt):
        ids = tuple(decision.point.resource_ids)
        return replace(outcome, status=Status.ADOPTED, reason=f"it is {decision.point.state}", created=ids)
    if now > job.deadline:
        deadline = naming.format_time(job.deadline)
        return replace(outcome, status=Status.MISSED, reason=f"its deadline {deadline} has passed")
    if isinstance(decision, GiveUp):
        return replace(outcome, reason=decision.reason)
    try:
        return _make(
            job, create, attempt=decision.attempt, outcome=outcome, sources=sources, manifests=manifests, now=now
        )
    except Gone as error:
        # Fleets that scale end instances all day: what the tick would not have sent a moment later is no failure.
        return replace(outcome, status=Status.SKIPPED, reason=f"it has ended since the tick saw it ({error})")
    except NotFound as error:
        return replace(outcome, reason=f"it is not there any more ({error})")
    except Refused as error:
        return replace(outcome, reason=str(error))
    except ManifestError as error:
        # A point that nobody could rebuild from is none.
        return replace(outcome, reason=f"what EC2 says of it makes no manifest: {error}")


def _make(  # noqa: PLR0913 - as above
    job: Job,
    create: Callable[[Source, PointTags, Sequence[SourceVolume]], tuple[str, ...]],
    *,
    attempt: int,
    outcome: Outcome,
    sources: Sources,
    manifests: Documents,
    now: datetime,
) -> Outcome:
    source = sources.inspect(job)
    # A detached volume was named by itself: what is said about an instance's volumes does not touch it.
    is_whole = job.kind is Kind.SNAPSHOT
    left_out = {} if is_whole else exclude_volumes(job.exclude_volumes, source.volumes)
    excluded = [volume for volume in source.volumes if volume.id in left_out]
    members = len(source.volumes) - len(excluded)
    if not members:
        return replace(outcome, reason=f"nothing of it is left: {'; '.join(sorted(set(left_out.values())))}")
    if job.kind is Kind.SNAPSHOT_SET and (refusal := refuse_left_out(excluded)):
        return replace(outcome, reason=refusal)
    tags = naming.tags_of_job(
        job, attempt=attempt, members=members, volume=job.identity.resource if job.kind is Kind.SNAPSHOT else None
    )
    manifest = write_manifest(job, tags, description=source.description, left_out=left_out, now=now)
    manifests.write(naming.manifest_key(tags), manifest)
    created = create(source, tags, excluded)
    if job.kind is Kind.SNAPSHOT_SET and len(created) != members:
        # The set can never become complete; it is named here, and made again once it is clear that none is hidden.
        reason = f"EC2 made {len(created)} snapshots, the instance had {members} such volumes a moment before"
        return replace(outcome, reason=reason, created=created)
    return replace(outcome, status=Status.CREATED, created=created)


class Anything:
    """The manifests of a look-up: whether one is there does not change what is to be created."""

    def __contains__(self, _: object) -> bool:
        """It is there."""
        return True


def _description(job: Job) -> str:
    identity = job.identity
    return f"hikae {identity.plan}/{identity.rule} {naming.format_time(identity.slot)} of {identity.resource}"
