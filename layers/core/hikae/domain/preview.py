"""What a plan would do over the next days: the decisions of the real runs, taken over time that is simulated.

Nothing is decided here. Slots come from `schedule`, copies are wanted by `replication`, points go by `pruning`, and
this module only carries out what they say, on points that it makes up. Two things are simpler than they really are:
points and copies are complete at once, and as many copies as are wanted are made at a time.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Final

from hikae.domain import schedule
from hikae.domain.guards import STANDARD_TIER, Surroundings, lineage_of
from hikae.domain.model import (
    AccountId,
    Action,
    CopyOrigin,
    Image,
    ImageId,
    Kind,
    Place,
    PointId,
    PointIdentity,
    PointState,
    PointTags,
    RecoveryPoint,
    Region,
    ResourceId,
    Snapshot,
    SnapshotId,
    Verdict,
)
from hikae.domain.naming import format_time, image_name, point_id, write_tags
from hikae.domain.plan import Plan, Rule
from hikae.domain.pruning import Deletion, DeletionLimits, PolicyOf, Pruning, plan_pruning
from hikae.domain.replication import RetryCopy, copy_policy_of, next_copy, plan_replication

MAX_DAYS: Final = 366
MAX_POINTS: Final = 20_000
"""How many points a preview makes, and how many there may be at the beginning."""
MAX_JUDGEMENTS: Final = 20_000_000
"""How often a preview judges a point, which is what takes its time."""
PRUNE_EVERY: Final = timedelta(hours=1)


class PreviewError(ValueError):
    """More than can be simulated: what, how much of it, and what to do about it."""


class Happening(StrEnum):
    """What became of a point, or of a slot."""

    MADE = "made"
    MISSED = "missed"
    COPIED = "copied"
    SUPERSEDED = "superseded"
    NOT_COPIED = "not copied"
    DELETED = "deleted"
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happens: when, where, to what, why. `region` is that of a destination, None at the source.

    `id` is the point's at its site, or a leftover's; a slot that was missed has none.
    """

    at: datetime
    what: Happening
    region: Region | None
    plan: str
    rule: str
    resource: ResourceId
    slot: datetime
    id: str = ""
    source_time: datetime | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day in the plan's zone: all that happens, and how many points each site has when it ends."""

    date: date
    events: tuple[Event, ...]
    held: Mapping[Region | None, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """What a rule makes points of: one resource, as what, of how many snapshots; `tags` are the resource's own."""

    place: Place
    resource: ResourceId
    rule: str
    kind: Kind
    members: int = 1
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One site as the preview finds it; what is around it stays as it is."""

    points: tuple[RecoveryPoint, ...]
    policy_of: PolicyOf
    limits: DeletionLimits
    account: AccountId
    surroundings: Surroundings = field(default_factory=Surroundings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What there is when a preview begins: the site that makes points, and those that copy them."""

    at: datetime
    installation: str
    plan: Plan
    protected: tuple[Protected, ...]
    source: Site
    destinations: Mapping[Region, Site]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A point that a site has, and the verdict on it; `region` as in an `Event`."""

    region: Region | None
    point: RecoveryPoint
    verdict: Verdict


class Preview:
    """The days from a beginning on, one after the other; the same beginning always gives the same days."""

    def __init__(self, beginning: Beginning, *, days: int, prune_every: timedelta = PRUNE_EVERY) -> None:
        """Refuse at once what is too much.

        Raises:
            PreviewError: the days, or the points that would be made in them, are too many.
        """
        if not 1 <= days <= MAX_DAYS:
            raise PreviewError(f"{days} days cannot be simulated; from 1 to {MAX_DAYS}")
        self._beginning = beginning
        self._plan = beginning.plan
        self._end = beginning.at + timedelta(days=days)
        self._prune_every = prune_every
        _refuse_too_much(beginning, self._end)
        self._sites: dict[Region | None, _State] = {None: _State.of(beginning.source)}
        self._sites.update({region: _State.of(site) for region, site in beginning.destinations.items()})
        self._now = beginning.at
        self._number = 0
        self._judgements = 0

    @property
    def end(self) -> datetime:
        """When the preview ends."""
        return self._end

    def days(self) -> Iterator[Day]:
        """Each day with all that happens in it; to be taken once.

        Raises:
            PreviewError: there is more to judge than was to be expected; the days until then are right.
        """
        today = self._date_of(self._beginning.at)
        events: list[Event] = []
        for at, step in self._steps():
            day = self._date_of(at)
            while today < day:
                yield self._finish(today, events)
                today, events = today + timedelta(days=1), []
            self._now = at
            events.extend(step())
        while today <= self._date_of(self._end):
            yield self._finish(today, events)
            today, events = today + timedelta(days=1), []

    def holdings(self) -> list[Holding]:
        """What each site has now, with the verdict on it: in full once all days have been taken."""
        return [
            Holding(region=region, point=point, verdict=verdicts[point.id])
            for region, state in self._sites.items()
            for verdicts in [{each.id: each for each in self._judge(region).verdicts}]
            for point in state.points
        ]

    def _date_of(self, moment: datetime) -> date:
        return moment.astimezone(self._plan.timezone).date()

    def _finish(self, day: date, events: Sequence[Event]) -> Day:
        held = {region: len(state.points) for region, state in self._sites.items()}
        return Day(date=day, events=tuple(events), held=held)

    # --- time ---------------------------------------------------------------------------------------------------------

    def _steps(self) -> Iterator[tuple[datetime, Callable[[], Iterator[Event]]]]:
        """All that is done, in order: at one time points are made first, then copied, then pruned."""
        yield self._beginning.at, self._begin
        for at, _, rule in heapq.merge(*map(self._slots, self._plan.rules), self._prunings()):
            yield at, partial(self._carry_out, rule) if rule else self._prune

    def _slots(self, rule: Rule) -> Iterator[tuple[datetime, int, str]]:
        begin, timezone = self._beginning.at, self._plan.timezone
        for slot in schedule.slots(rule.schedule, timezone=timezone, after=begin, until=self._end):
            yield slot, 0, rule.name

    def _prunings(self) -> Iterator[tuple[datetime, int, str]]:
        at = self._beginning.at + self._prune_every
        while at <= self._end:
            yield at, 1, ""
            at += self._prune_every

    # --- what is done -------------------------------------------------------------------------------------------------

    def _begin(self) -> Iterator[Event]:
        """What is due at the beginning: the newest slot whose window is open; older ones are missed."""
        source = self._sites[None]
        for rule in self._plan.rules:
            timezone, window = self._plan.timezone, rule.start_window
            due = schedule.newest_due(rule.schedule, timezone=timezone, start_window=window, now=self._now)
            for each in self._protected(rule.name):
                known = [point for point in source.points if _is_of(point, each, self._plan)]
                slots = {point.tags.identity.slot: False for point in known}
                slots |= {point.tags.identity.slot: True for point in known if point.is_complete}
                last = max(slots, default=None)
                missed = schedule.missed(
                    rule.schedule, timezone=timezone, start_window=window, last=last, due=due, now=self._now
                )
                if missed:
                    slots_passed = "1 slot has" if len(missed) == 1 else f"{len(missed)} slots have"
                    reason = f"{slots_passed} passed without a point since {format_time(missed[0])}"
                    yield self._event(Happening.MISSED, each, missed[-1], reasons=(reason,))
                if due is not None and not slots.get(due.slot):
                    yield self._make(each, due.slot)
        yield from self._copy()

    def _carry_out(self, rule: str) -> Iterator[Event]:
        """Make the points of one rule's slot, which is now, and copy what is wanted."""
        for each in self._protected(rule):
            yield self._make(each, self._now)
        yield from self._copy()

    def _protected(self, rule: str) -> Iterator[Protected]:
        return (each for each in self._beginning.protected if each.rule == rule)

    def _make(self, each: Protected, slot: datetime) -> Event:
        identity = PointIdentity(
            installation=self._beginning.installation,
            place=each.place,
            plan=self._plan.name,
            rule=each.rule,
            slot=slot,
            resource=each.resource,
        )
        rule = self._plan.rule(each.rule)
        assert rule is not None, "what is protected is protected by a rule of the plan"
        tags = PointTags(
            identity=identity,
            point=point_id(identity),
            attempt=1,
            kind=each.kind,
            members=each.members,
            consistency=rule.consistency,
        )
        point = self._point(tags, [0] * each.members, at=self._now, owner=each.place.account, carried=each.tags)
        self._sites[None].replace((), point)
        return self._event(Happening.MADE, each, slot, point=point)

    def _copy(self) -> Iterator[Event]:
        """One run of the broker at each destination."""
        for region in self._beginning.destinations:
            state = self._sites[region]
            seen = (self._sites[None].version, state.version)
            if state.is_waiting or state.compared != seen:
                state.is_waiting = False
                yield from self._copy_to(region)
                state.compared = (self._sites[None].version, state.version)

    def _copy_to(self, region: Region) -> Iterator[Event]:
        source, there = self._sites[None], self._sites[region]
        policies = {
            (self._plan.name, rule.name): policy
            for rule in self._plan.rules
            if (policy := copy_policy_of(self._plan, rule, region))
        }
        keys = ((point, (point.tags.identity.plan, point.tags.identity.rule)) for point in source.points)
        sources = [point for point, key in keys if key in policies]
        self._count(len(sources) + len(there.points))
        decided = plan_replication(
            sources=sources,
            copies=there.points,
            policies=policies,
            now=self._now,
            present=source.site.surroundings.present,
        )
        why = {verdict.id: verdict for verdict in decided.verdicts}
        for point in decided.wanted:
            attempts = [each for each in there.points if each.tags.point == point.tags.point]
            obstacle = self._obstacle(point, attempts)
            if obstacle:
                there.is_waiting = True
                yield from self._once(there, Happening.NOT_COPIED, region, point, (obstacle,))
                continue
            copy = self._copy_of(point, there.site.account)
            there.replace(attempts, copy)
            there.was_there.add(point.tags.point)
            yield self._about(Happening.COPIED, region, copy, why[point.id].reasons)
        by_id = {point.id: point for point in sources}
        for verdict in decided.verdicts:
            # What was copied and has expired there is not wanted again, which is no news.
            if verdict.action is Action.SKIP and by_id[verdict.id].tags.point not in there.was_there:
                yield from self._once(there, Happening.SUPERSEDED, region, by_id[verdict.id], verdict.reasons)

    def _obstacle(self, point: RecoveryPoint, attempts: Iterable[RecoveryPoint]) -> str:
        """Why a wanted copy is not started now; nothing if it is."""
        archived = next((each for each in point.snapshots if each.tier != STANDARD_TIER), None)
        if archived is not None:
            return f"{archived.id} is in the {archived.tier} tier, from where nothing can be copied"
        for attempt in attempts:
            members: tuple[Snapshot | Image, ...] = (attempt.image,) if attempt.image else attempt.snapshots
            for member in members:
                due = next_copy([member], now=self._now)
                if isinstance(due, RetryCopy):
                    return due.reason
        return ""

    def _prune(self) -> Iterator[Event]:
        """One run of pruning at each site."""
        yield from self._copy()  # the sweep: what had to wait may be due
        for region, state in self._sites.items():
            if not self._has_news(region):
                continue
            pruning = self._judge(region)
            for deletion in pruning.deletions:
                state.delete(deletion)
                event = self._about(Happening.DELETED, region, deletion.point, deletion.verdict.reasons)
                yield replace(event, id=deletion.verdict.id)
            by_id = {point.id: point for point in state.points}
            for verdict in pruning.verdicts:
                if verdict.id in pruning.withheld and verdict.id in by_id:
                    yield from self._once(state, Happening.WITHHELD, region, by_id[verdict.id], verdict.reasons)
            state.seen = self._version_for(region) if not pruning.deletions else None

    def _has_news(self, region: Region | None) -> bool:
        """Whether another run could say anything else than the last one, which found nothing to delete."""
        state = self._sites[region]
        is_gone = state.site.surroundings.is_gone
        by_the_clock = any(point.source_time > self._now or is_gone(lineage_of(point)) for point in state.points)
        return by_the_clock or state.seen != self._version_for(region)

    def _version_for(self, region: Region | None) -> tuple[int, ...]:
        """Changes with everything that the site's decisions depend on; the source looks at its copies."""
        states = self._sites.values() if region is None else [self._sites[region]]
        return tuple(state.version for state in states)

    def _judge(self, region: Region | None) -> Pruning:
        state = self._sites[region]
        self._count(len(state.points))
        surroundings = state.site.surroundings
        # Ticks go on publishing the inventory, which is what vouches for the clock.
        inventoried_at = dict.fromkeys(surroundings.inventoried_at, self._now)
        surroundings = replace(surroundings, inventoried_at=inventoried_at)
        if region is None:
            copies: dict[str, Sequence[RecoveryPoint]] = {
                each: self._sites[each].points for each in self._beginning.destinations
            }
            surroundings = replace(surroundings, copies_at={**surroundings.copies_at, **copies})
        return plan_pruning(
            points=state.points,
            policy_of=state.site.policy_of,
            surroundings=surroundings,
            limits=state.site.limits,
            now=self._now,
        )

    # --- points and events --------------------------------------------------------------------------------------------

    def _point(  # noqa: PLR0913 - what a point is made of
        self,
        tags: PointTags,
        sizes: Sequence[int],
        *,
        at: datetime,
        owner: AccountId,
        carried: Mapping[str, str],
        source_time: datetime | None = None,
    ) -> RecoveryPoint:
        written = write_tags(tags, carried=carried)
        snapshots = tuple(
            Snapshot(
                id=SnapshotId(f"snap-{self._next()}"),
                owner=owner,
                state="completed",
                started_at=at,
                volume_id="",
                tags=written,
                is_copy=tags.origin is not None,
                size_gib=size,
            )
            for size in sizes
        )
        image = None
        if tags.kind is Kind.IMAGE:
            image = Image(
                id=ImageId(f"ami-{self._next()}"),
                owner=owner,
                name=image_name(tags),
                state="available",
                created_at=at,
                snapshots=tuple(snapshot.id for snapshot in snapshots),
                tags=written,
                is_copy=tags.origin is not None,
            )
        return RecoveryPoint(
            tags=tags, source_time=source_time or at, state=PointState.COMPLETE, snapshots=snapshots, image=image
        )

    def _copy_of(self, point: RecoveryPoint, owner: AccountId) -> RecoveryPoint:
        origin = CopyOrigin(copy_of=point.resource_ids[0], source_time=point.source_time, attempt=1)
        carried = point.snapshots[0].tags if point.snapshots else {}
        return self._point(
            replace(point.tags, origin=origin),
            [snapshot.size_gib for snapshot in point.snapshots],
            at=self._now,
            owner=owner,
            carried=carried,
            source_time=point.source_time,
        )

    def _next(self) -> str:
        self._number += 1
        return f"preview-{self._number}"

    def _once(
        self, state: "_State", what: Happening, region: Region | None, point: RecoveryPoint, reasons: tuple[str, ...]
    ) -> Iterator[Event]:
        """What is found again in every run is told when it is new."""
        if state.told.get((what, point.id)) != reasons:
            state.told[what, point.id] = reasons
            yield self._about(what, region, point, reasons)

    def _about(self, what: Happening, region: Region | None, point: RecoveryPoint, reasons: tuple[str, ...]) -> Event:
        identity = point.tags.identity
        return Event(
            at=self._now,
            what=what,
            region=region,
            plan=identity.plan,
            rule=identity.rule,
            resource=identity.resource,
            slot=identity.slot,
            id=point.id,
            source_time=point.source_time,
            reasons=reasons,
        )

    def _event(
        self,
        what: Happening,
        each: Protected,
        slot: datetime,
        *,
        point: RecoveryPoint | None = None,
        reasons: tuple[str, ...] = (),
    ) -> Event:
        return Event(
            at=self._now,
            what=what,
            region=None,
            plan=self._plan.name,
            rule=each.rule,
            resource=each.resource,
            slot=slot,
            id=point.id if point else "",
            source_time=point.source_time if point else None,
            reasons=reasons,
        )

    def _count(self, judgements: int) -> None:
        self._judgements += judgements
        if self._judgements > MAX_JUDGEMENTS:
            raise PreviewError(
                f"it is too much from {format_time(self._now)} on: points were judged {MAX_JUDGEMENTS:,} times; "
                "simulate fewer days or fewer resources"
            )


@dataclass(slots=True, kw_only=True)
class _State:
    """A site on its way.

    `version` grows with every change. `seen` is what the last run of pruning that deleted nothing saw, `compared` what
    the last run of the broker saw; it `is_waiting` while a wanted copy could not be started.
    """

    site: Site
    points: list[RecoveryPoint]
    version: int = 0
    seen: tuple[int, ...] | None = None
    compared: tuple[int, ...] | None = None
    is_waiting: bool = False
    was_there: set[PointId] = field(default_factory=set)
    told: dict[tuple[Happening, str], tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, site: Site) -> "_State":
        """What is on its way is taken to have arrived."""
        points = [
            replace(point, state=PointState.COMPLETE, reason="") if point.state is PointState.PENDING else point
            for point in site.points
        ]
        return cls(site=site, points=points, was_there={point.tags.point for point in points if point.is_complete})

    def replace(self, old: Sequence[RecoveryPoint], new: RecoveryPoint) -> None:
        """Put `new` in the place of the sets that are of no use any more."""
        names = {point.id for point in old}
        self.points = [point for point in self.points if point.id not in names]
        self.points.append(new)
        self.version += 1

    def delete(self, deletion: Deletion) -> None:
        """Take away a whole point, or the leftovers that are deleted of one that stays."""
        point = deletion.point
        left = [each for each in self.points if each.id != point.id]
        if deletion.verdict.id != point.id:
            now = next(each for each in self.points if each.id == point.id)
            leftovers = tuple(each for each in now.leftovers if each not in deletion.resources)
            left.append(replace(now, leftovers=leftovers))
        self.points = left
        self.version += 1


def _is_of(point: RecoveryPoint, each: Protected, plan: Plan) -> bool:
    identity = point.tags.identity
    return (identity.plan, identity.rule, identity.resource) == (plan.name, each.rule, each.resource)


def _refuse_too_much(beginning: Beginning, end: datetime) -> None:
    sites = (beginning.source, *beginning.destinations.values())
    there = sum(len(site.points) for site in sites)
    if there > MAX_POINTS:
        raise PreviewError(f"there are {there:,} points, and {MAX_POINTS:,} can be simulated; take fewer resources")
    made = 0
    for rule in beginning.plan.rules:
        resources = sum(each.rule == rule.name for each in beginning.protected)
        due = schedule.slots(rule.schedule, timezone=beginning.plan.timezone, after=beginning.at, until=end)
        made += resources * sum(1 for _ in islice(due, MAX_POINTS + 1))
        if made > MAX_POINTS:
            raise PreviewError(
                f"more than {MAX_POINTS:,} points would be made until {format_time(end)}; simulate fewer days or fewer "
                "resources"
            )
