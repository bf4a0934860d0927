"""What must be there in the end, worked out from the plans and from what EC2 showed before: hikae is not asked.

The retention rules are written down here a second time on purpose, in the few lines that the demo's plans need.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from local.demo.observation import Found, Holdings
from local.demo.plans import DemoPlan
from local.fleet import Resource

_BUCKETS: Mapping[str, Callable[[datetime], str]] = {
    "keep_hourly": lambda local: f"{local:%Y-%m-%d %H}",
    "keep_daily": lambda local: f"{local:%Y-%m-%d}",
    "keep_monthly": lambda local: f"{local:%Y-%m}",
    "keep_last": lambda local: local.isoformat(),
}


def kept(retention: Mapping[str, int], times: Mapping[str, datetime], timezone: ZoneInfo) -> set[str]:
    """Which of the points (by id, with their time) a retention keeps."""
    newest_first = sorted(times, key=lambda point: times[point], reverse=True)
    keeping: set[str] = set()
    for rule, count in retention.items():
        buckets: dict[str, str] = {}
        for point in newest_first:
            buckets.setdefault(_BUCKETS[rule](times[point].astimezone(timezone)), point)
        keeping.update(list(buckets.values())[:count])
        if len(buckets) < count:
            keeping.update(newest_first[-1:])
    return keeping


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Both Regions at one time."""

    primary: Holdings
    recovery: Holdings


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far one resource is. What is still missing is said in words, and nothing is once all is done."""

    resource: Resource
    plan: DemoPlan
    point: Found | None
    copy: Found | None
    copies_wanted: int
    copies_done: int
    to_prune: int
    pruned_at_primary: tuple[str, ...]
    pruned_at_recovery: tuple[str, ...]
    guarded: Mapping[str, str]
    missing: tuple[str, ...]

    @property
    def pruned(self) -> int:
        return len(self.pruned_at_primary) + len(self.pruned_at_recovery)


def stand(resource: Resource, plan: DemoPlan, *, slot: datetime, before: View, now: View, copy_key: str) -> Standing:
    """Compare what EC2 shows `now` of one resource with what must be there at last, given what was there `before`."""
    missing: list[str] = []
    due = f"{slot:%Y-%m-%dT%H:%M:%SZ}"
    made = [each for each in now.primary.of(resource.id) if each.slot == due]
    point = made[0] if made else None
    if point is None or not point.is_complete:
        missing.append(f"its point of {slot:%H:%M} is {point.state if point else 'not there'}")
    elif len(point.snapshots) != len(resource.volumes):
        missing.append(f"its point has {len(point.snapshots)} snapshots, not {len(resource.volumes)}")

    at_primary = _complete(before.primary.of(resource.id)) | {"new": point.source_time if point else slot}
    at_recovery = _complete(before.recovery.of(resource.id))
    names = {"new": point.point} if point else {}
    keep_here = _named(kept(plan.retention, at_primary, plan.timezone), names)
    keep_there: set[str] = set()
    if plan.copy_retention:
        keep_there = _named(kept(plan.copy_retention, at_primary | at_recovery, plan.timezone), names)
    guarded = _guarded(before.primary, resource.id, kept_anyway=keep_here)
    keep_here |= set(guarded)

    wanted = keep_there - set(at_recovery)
    done = {each for each in wanted if _is_good_copy(now.recovery.points.get(each), copy_key)}
    for each in sorted(wanted - done):
        found = now.recovery.points.get(each)
        state = found.state if found and not found.is_complete else "under another key" if found else "not there"
        missing.append(f"the copy of {each if each != 'new' else 'its new point'} is {state}")
    spoilt = {
        each for each in keep_there & set(at_recovery) if not _is_good_copy(now.recovery.points.get(each), copy_key)
    }
    missing += [f"the copy {each} was there and is not complete any more" for each in sorted(spoilt)]

    old_here, old_there = _ids(before.primary, resource.id), _ids(before.recovery, resource.id)
    here, there = _ids(now.primary, resource.id), _ids(now.recovery, resource.id)
    missing += [f"the point {each} should have been kept" for each in sorted((keep_here & old_here) - here)]
    missing += [f"prune has not deleted {each} at the primary site" for each in sorted((old_here - keep_here) & here)]
    missing += [
        f"prune has not deleted {each} at the recovery site" for each in sorted((old_there - keep_there) & there)
    ]
    unexpected = (here - old_here - set(names.values())) | (there - old_there - wanted)
    missing += [f"nobody asked for the point {each}" for each in sorted(unexpected)]
    return Standing(
        resource=resource,
        plan=plan,
        point=point,
        copy=now.recovery.points.get(point.point) if point else None,
        copies_wanted=len(wanted),
        copies_done=len(done),
        to_prune=len(old_here - keep_here) + len(old_there - keep_there),
        pruned_at_primary=tuple(sorted(old_here - here)),
        pruned_at_recovery=tuple(sorted(old_there - there)),
        guarded=guarded,
        missing=tuple(missing),
    )


def _complete(points: Iterable[Found]) -> dict[str, datetime]:
    return {each.point: each.source_time for each in points if each.is_complete}


def _named(points: set[str], names: Mapping[str, str]) -> set[str]:
    return {names.get(point, point) for point in points}


def _ids(holdings: Holdings, resource: str) -> set[str]:
    return {each.point for each in holdings.of(resource)}


def _guarded(holdings: Holdings, resource: str, *, kept_anyway: set[str]) -> dict[str, str]:
    """The points that something else than retention keeps, with what it is."""
    guarded = {}
    for each in holdings.of(resource):
        if each.point in kept_anyway:
            continue
        if each.is_on_hold:
            guarded[each.point] = "on hold"
        elif each.image and each.image in holdings.used_images:
            guarded[each.point] = f"in use by {holdings.used_images[each.image]}"
    return guarded


def _is_good_copy(copy: Found | None, key: str) -> bool:
    return copy is not None and copy.is_complete and copy.keys == {key}
