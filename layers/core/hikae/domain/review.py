"""What is legal in a plan and unwise: judged before a plan is applied, by running its slots through its retention.

A site carries out every plan that can be read, whatever is said here; it is for whoever writes a plan. Nothing depends
on the day of the review: the slots are always those that end with `END`.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import groupby, islice, pairwise
from operator import attrgetter
from typing import Final
from zoneinfo import ZoneInfo

from hikae.domain import retention
from hikae.domain.model import Action, Region
from hikae.domain.plan import Plan, Rule, Selection
from hikae.domain.plan_grammar import write_duration
from hikae.domain.retention import KEEP_ALL, Policy, Span
from hikae.domain.schedule import slots

END: Final = datetime(2029, 1, 8, tzinfo=UTC)
"""Where simulated time ends: soon after a leap year, so that its last year has months of every length but one."""
MAX_HISTORY: Final = timedelta(days=30 * 366)
MAX_SLOTS: Final = 50_000
MAX_JUDGEMENTS: Final = 300_000
"""Slots of one rule that are looked at, and how often a point of one retention is judged."""
MAX_SLOTS_OF_A_PLAN: Final = 300_000
MAX_JUDGEMENTS_OF_A_PLAN: Final = 500_000
"""The same for all retentions of a plan together, shared evenly: what takes longer than seconds is not claimed."""

SNAPSHOT_QUOTA: Final = 100_000
"""Snapshots an account may have in a Region: https://docs.aws.amazon.com/ebs/latest/userguide/ebs-resource-quotas.html"""
SNAPSHOT_COPY_SLOTS: Final = 20
"""Snapshot copies that may be in flight in a destination Region: the same page."""
IMAGE_COPY_SLOTS: Final = 50
"""AMI copies that a recovery site keeps in flight unless told otherwise."""
COPY_DURATION: Final = timedelta(minutes=15)
"""An assumption: how long one copy takes. It depends on how much was written since the last one."""

_DAY: Final = timedelta(days=1)
_YEAR: Final = timedelta(days=366)
_FEWEST_REFERENCES: Final = 10


class Severity(StrEnum):
    """Whether a plan should be applied all the same."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is unwise in a plan: where, what, and what would be right.

    `path` is as in a `Problem` (`rules[0].objectives.rpo`); `ParsedPlan.line_of` knows its line. It is empty for what
    concerns several plans.
    """

    severity: Severity
    path: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What a plan is taken to select: instances, the EBS volumes attached to them, detached volumes."""

    instances: int
    volumes: int
    detached: int = 0

    def __str__(self) -> str:
        """`500 instances with 1,500 volumes and 20 detached ones`."""
        detached = f" and {self.detached:,} detached ones" if self.detached else ""
        return f"{self.instances:,} instances with {self.volumes:,} volumes{detached}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyState:
    """What plans come to at one site once their retention is full.

    `region` is None for the site that makes the points where its Region was not told. `is_least` says that a rule keeps
    everything, or more than can be simulated: there will be more than this.
    """

    region: Region | None
    points: int
    snapshots: int
    snapshot_copies_per_day: float
    image_copies_per_day: float
    is_least: bool


def review_plan(plan: Plan) -> tuple[Finding, ...]:
    """Judge one plan, in the order of its document.

    Errors are what cannot be meant: a rule that never makes a point, an objective that its schedule cannot meet.
    Warnings are what may be. What cannot be judged within the bounds of the simulation is not claimed.
    """
    findings = list(_review_selection(plan.selection))
    for number, rule in enumerate(plan.rules):
        findings += _review_rule(plan, rule, f"rules[{number}]")
    if plan.drill is not None and not _is_ever_due(plan.drill.schedule):
        findings.append(_error("drill.schedule", _NEVER_DUE.format(plan.drill.schedule)))
    return (*findings, *_review_proof(plan))


def _review_proof(plan: Plan) -> Iterator[Finding]:
    copying = [number for number, rule in enumerate(plan.rules) if rule.copies]
    if copying and plan.drill is None:
        message = (
            "nobody proves that they can be restored: the plan has no drill; add one, such as "
            'drill: {schedule: "0 4 * * 6"}'
        )
        yield _warning(f"rules[{copying[0]}].copies", message)


def review_destinations(plan: Plan, *, served: Collection[Region]) -> tuple[Finding, ...]:
    """Refuse each destination of a plan's copies that is in none of the `served` Regions: nobody would copy to it.

    `served` are the Regions of all recovery sites that pull from the plan's primary.
    """
    sites = ", ".join(sorted(served)) or "no Region"
    return tuple(
        _error(
            f"rules[{number}].copies[{place}].region",
            f"{copy.region} is served by no recovery site, so nothing would be copied there; there is one in {sites}",
        )
        for number, rule in enumerate(plan.rules)
        for place, copy in enumerate(rule.copies)
        if copy.region not in served
    )


def steady_state(plans: Iterable[Plan], *, fleet: Fleet, home: Region | None = None) -> tuple[SteadyState, ...]:
    """What `plans` together come to at each site if each of them selects the whole `fleet`; the source site first.

    `home` is the Region of the fleet, where that is known: copies that stay there count with their sources.
    """
    return _totals([share for plan in plans for share in _shares(plan, fleet, home)])


def review_capacity(
    plans: Sequence[Plan], *, fleet: Fleet, home: Region | None = None, copy_duration: timedelta = COPY_DURATION
) -> tuple[Finding, ...]:
    """Warn of more snapshots than a Region may hold, and of copies that cannot all be made, at a fleet of this size.

    `copy_duration` is how long one copy is assumed to take. A finding has a path where `plans` is a single one.
    """
    shares = [share for plan in plans for share in _shares(plan, fleet, home)]
    findings = []
    for site in _totals(shares):
        here = [share for share in shares if share.region == site.region]
        where = site.region or "the source Region"
        if site.snapshots > SNAPSHOT_QUOTA:
            least = "at least " if site.is_least else ""
            message = (
                f"{fleet} come to {least}{site.snapshots:,} snapshots in {where}, where {SNAPSHOT_QUOTA:,} are "
                "allowed; keep fewer, or have the quota raised"
            )
            largest = max(here, key=lambda share: share.snapshots)
            findings.append(_warning(largest.path if len(plans) == 1 else "", message))
        for kind, at_once, copies_of in _COPIES:
            wanted, possible = sum(map(copies_of, here)), at_once * (_DAY / copy_duration)
            if wanted > possible:
                message = (
                    f"{fleet} need {wanted:,.0f} {kind} copies a day to {where}; {at_once} at a time, each taking "
                    f"{write_duration(copy_duration)}, make {possible:,.0f}; copy from a rule that runs less often"
                )
                largest = max(here, key=copies_of)
                findings.append(_warning(largest.path if len(plans) == 1 else "", message))
            elif len(plans) == 1:
                findings += _review_bursts([share for share in here if copies_of(share)], fleet, at_once, copy_duration)
    return tuple(findings)


# --- selection and rules ----------------------------------------------------------------------------------------------

_NEVER_DUE: Final = "{!r} is never due: there is no such day; give a day that exists, such as 0 3 1 * *"


def _review_selection(selection: Selection) -> Iterator[Finding]:
    """Mappings of tags that select nothing, because each resource that has them is excluded."""
    excluded = [
        [key for key, values in wanted.items() if values and values <= selection.exclude_tags.get(key, frozenset())]
        for wanted in selection.tags
    ]
    find = _error if all(excluded) else _warning  # nothing at all is selected, or less than was meant
    for number, keys in enumerate(excluded):
        for key in keys:
            path = f"selection.tags.{key}" if len(excluded) == 1 else f"selection.tags[{number}].{key}"
            message = "selects nothing: exclude_tags excludes each of its values; take them out of one of the two"
            yield find(path, message)


def _review_rule(plan: Plan, rule: Rule, path: str) -> Iterator[Finding]:
    resources = plan.selection.resources
    if not _is_ever_due(rule.schedule):
        yield _error(f"{path}.schedule", _NEVER_DUE.format(rule.schedule))
        return
    if rule.protect == "image" and resources == {"volume"}:
        message = "never makes a point: an image is made of an instance, and only volumes are selected; use snapshots"
        yield _error(f"{path}.protect", message)
    elif rule.protect == "image" and "volume" in resources and all(each.protect == "image" for each in plan.rules):
        message = "makes no point of the volumes that are selected; add a rule with protect: snapshots for them"
        yield _warning(f"{path}.protect", message)
    if not rule.exclude_volumes.is_empty and resources == {"volume"}:
        message = "leaves nothing out: it is for the volumes of instances; use selection.exclude_tags for detached ones"
        yield _warning(f"{path}.exclude_volumes", message)
    subject = _Subject.of(plan, rule)
    yield from _review_retention(_judge(rule.retention, subject), _rhythm(subject), f"{path}.retention")
    for number, copy in enumerate(rule.copies):
        below = f"{path}.copies[{number}].retention"
        yield from _review_retention(_judge(copy.retention, subject), _rhythm(subject), below)
    yield from _review_objectives(rule, _rhythm(subject), plan.timezone, f"{path}.objectives")


def _is_ever_due(schedule: str) -> bool:
    """Whether there is a day that the schedule names: whatever its hours and minutes, they come on every day."""
    return _is_some_day(" ".join(schedule.split()[2:]))


@lru_cache(maxsize=1024)
def _is_some_day(days: str) -> bool:
    # The Gregorian calendar repeats every 400 years, and cronsim gives up after 50.
    return next(slots(f"0 0 {days}", timezone=ZoneInfo("UTC"), after=END, until=END + 50 * _YEAR), None) is not None


def _review_objectives(rule: Rule, rhythm: "_Rhythm", timezone: ZoneInfo, path: str) -> Iterator[Finding]:
    rpo = rule.objectives.rpo
    if rpo is None:
        return
    if not rule.copies:
        message = "is an objective for copies, and the rule has none; add copies, or leave it out"
        yield _warning(f"{path}.rpo", message)
    begin, end = (f"{moment.astimezone(timezone):%Y-%m-%d %H:%M}" for moment in (rhythm.begin, rhythm.end))
    between = f"{write_duration(rhythm.longest)} between two slots ({begin} and {end})"
    if rpo < rhythm.longest:
        message = f"{write_duration(rpo)} cannot be met: there are {between}; raise it, or run the rule more often"
        yield _error(f"{path}.rpo", message)
    elif rpo == rhythm.longest:
        message = f"{write_duration(rpo)} leaves no time for the copy: there are {between}; raise it"
        yield _warning(f"{path}.rpo", message)


def _review_retention(judged: "_Judged", rhythm: "_Rhythm", path: str) -> Iterator[Finding]:
    for key, by in judged.useless():
        others = " and ".join(_written(judged.policy, other) for other in by)
        verb = "keeps" if len(by) == 1 else "keep"
        message = f"{_written(judged.policy, key)} adds nothing: {others} {verb} all that it would; leave one out"
        yield _warning(f"{path}.{key}", message)
    spans = [key for key, value in _rules_of(judged.policy).items() if isinstance(value, Span)]
    if spans and judged.is_steady and judged.kept == 1:
        message = (
            f"keeps the newest point and no other: {_written(judged.policy, spans[0])} is shorter than the "
            f"{write_duration(rhythm.longest)} between two slots; give a longer one, or keep_last: 1 where one is "
            "enough"
        )
        yield _warning(f"{path}.{spans[0]}", message)


# --- simulation -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    """A point that a slot would make."""

    id: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bounds:
    """How much is looked at for each retention of a plan: slots, and judgements of their points."""

    slots: int
    judgements: int

    @classmethod
    def of(cls, plan: Plan) -> "_Bounds":
        """What each retention of `plan` may use of what the plan may."""
        retentions = sum(1 + len(rule.copies) for rule in plan.rules)
        return cls(
            slots=min(MAX_SLOTS, MAX_SLOTS_OF_A_PLAN // retentions),
            judgements=min(MAX_JUDGEMENTS, MAX_JUDGEMENTS_OF_A_PLAN // retentions),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """What of a rule its history depends on."""

    schedule: str
    timezone: ZoneInfo
    policies: tuple[Policy, ...]
    bounds: _Bounds

    @classmethod
    def of(cls, plan: Plan, rule: Rule) -> "_Subject":
        """That of `rule`, with all its retentions."""
        policies = (rule.retention, *(copy.retention for copy in rule.copies))
        return cls(schedule=rule.schedule, timezone=plan.timezone, policies=policies, bounds=_Bounds.of(plan))


@dataclass(frozen=True, slots=True, kw_only=True)
class _History:
    """The slots of a rule until `END`, oldest first, from `start` on; no more of them than the bound."""

    start: datetime
    slots: tuple[datetime, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rhythm:
    """How often slots come: in a day, and the longest time between two, with both of them."""

    per_day: float
    longest: timedelta
    begin: datetime
    end: datetime


_LENGTH_OF_BUCKET: Final = {
    "last": timedelta(0),
    "hourly": timedelta(hours=1),
    "daily": _DAY,
    "weekly": timedelta(days=7),
    "monthly": timedelta(days=31),
    "yearly": _YEAR,
}
_SEEN_FOR: Final = {
    "last": timedelta(0),
    "hourly": timedelta(days=2),
    "daily": timedelta(days=14),
    "weekly": timedelta(days=56),
    "monthly": timedelta(days=365),
    "yearly": timedelta(days=365),
}
"""How long a rule must have been watched before something is claimed of it: as long as its calendar takes to repeat."""


@lru_cache(maxsize=4)  # the retentions of a rule are judged one after the other
def _history(subject: _Subject) -> _History:
    """As many slots as fill every retention of the rule and then let it be watched for a year, within the bound."""
    bound = subject.bounds.slots
    sample = _slots_since(subject, END - _YEAR)
    if len(sample) > bound:
        reach = 0.95 * (sample[-1] - sample[0])
    else:
        interval = _YEAR / max(len(sample), 1)
        longest = max(_reach(policy, interval) for policy in subject.policies)
        needed = longest + max(_YEAR, 2 * _FEWEST_REFERENCES * interval)
        reach = min(needed, interval * bound, MAX_HISTORY)
    found = _slots_since(subject, END - reach)
    while len(found) > bound:  # they come more often at other times of the year
        reach /= 2
        found = _slots_since(subject, END - reach)
    return _History(start=END - reach, slots=tuple(found))


def _slots_since(subject: _Subject, after: datetime) -> list[datetime]:
    """The slots until `END`; of too many the first, and one more than the bound."""
    found = slots(subject.schedule, timezone=subject.timezone, after=after, until=END)
    return list(islice(found, subject.bounds.slots + 1))


@lru_cache(maxsize=4096)
def _rhythm(subject: _Subject) -> _Rhythm:
    history = _history(subject)
    intervals = ((later - earlier, earlier, later) for earlier, later in pairwise(history.slots))
    longest, begin, end = max(intervals, default=(timedelta(0), END, END))
    year = min(_YEAR, END - history.start)
    per_day = sum(slot > END - year for slot in history.slots) / (year / _DAY)
    return _Rhythm(per_day=per_day, longest=longest, begin=begin, end=end)


def _reach(policy: Policy, interval: timedelta) -> timedelta:
    """How old a point may become under `policy`, roughly; what is kept for ever needs no time to be full."""
    reach = timedelta(0)
    for key, value in _rules_of(policy).items():
        if isinstance(value, Span):
            days = min(value.years, 100) * 366 + min(value.months, 1_200) * 31 + min(value.days, 36_600)
            reach = max(reach, timedelta(days=days + 2, hours=min(value.hours, 876_000)))
        elif value != KEEP_ALL:
            bucket = max(_LENGTH_OF_BUCKET[_kind_of(key)], interval)
            reach = max(reach, min(value + 2, 1_000_000) * min(bucket * 1.1, MAX_HISTORY))
            reach = min(reach, MAX_HISTORY)
    return reach


@lru_cache(maxsize=4096)
def _judge(policy: Policy, subject: _Subject) -> "_Judged":
    return _Judged.of(policy, subject)


@dataclass(slots=True, kw_only=True)
class _Judged:
    """What a policy does with a history: judged at each of many times, with what it had left until then.

    `together` are the sets of rules that kept a point, each seen at least once; `is_full` says of each rule whether its
    count was used up, or its span was covered, at all times.
    """

    policy: Policy
    kept: int = 0
    references: int = 0
    watched: timedelta = timedelta(0)
    together: set[frozenset[str]] = field(default_factory=set)
    is_full: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, policy: Policy, subject: _Subject) -> "_Judged":
        """Run `policy` over the history: filled at first, then watched for a year or as long as there is."""
        history = _history(subject)
        judged = cls(policy=policy, is_full=dict.fromkeys(_rules_of(policy), True))
        points = [_Slot(id=slot.isoformat(), time=slot) for slot in history.slots]
        begin = max(min(END - _YEAR, _few_before_end(history)), history.start + (END - history.start) / 2)
        filling = [point for point in points if point.time < begin]
        left = judged._step(filling, history.start, subject.timezone, is_watched=False)
        judged.kept = len(left)
        spent = len(filling)
        for chunk in _chunks(points[len(filling) :], subject.timezone):
            spent += len(left) + len(chunk)
            if spent > subject.bounds.judgements:
                break
            left = judged._step([*left, *chunk], history.start, subject.timezone, is_watched=True)
            judged.watched = chunk[-1].time - begin
        return judged

    def _step(self, points: Sequence[_Slot], start: datetime, timezone: ZoneInfo, *, is_watched: bool) -> list[_Slot]:
        by_id = {point.id: point for point in points}
        verdicts = retention.decide(self.policy, points, timezone=timezone)
        if is_watched:
            reasons = [verdict.reasons for verdict in verdicts if verdict.action is Action.KEEP]
            self._watch(reasons, newest=points[-1].time.astimezone(timezone), start=start)
        return [by_id[verdict.id] for verdict in reversed(verdicts) if verdict.action is Action.KEEP]

    def _watch(self, reasons: Sequence[tuple[str, ...]], *, newest: datetime, start: datetime) -> None:
        self.references += 1
        self.kept = max(self.kept, len(reasons))
        key_of = {_reason(key, value): key for key, value in _rules_of(self.policy).items()}
        # A rule that keeps the oldest point, too, for as long as it is not full is not in `key_of` with that reason.
        kept_by = [frozenset(key_of[reason] for reason in each if reason in key_of) for each in reasons]
        self.together.update(kept_by)
        for key, value in _rules_of(self.policy).items():
            if isinstance(value, Span):
                self.is_full[key] &= start <= value.before(newest)
            else:
                self.is_full[key] &= sum(key in each for each in kept_by) == value

    @property
    def is_steady(self) -> bool:
        """Whether there will never be more than `kept`."""
        return self.references > 0 and all(self.is_full.values())

    def useless(self) -> list[tuple[str, tuple[str, ...]]]:
        """Each rule that others make useless, and which; of two that do the same only the later one."""
        rules = _rules_of(self.policy)
        if self.policy.keep_last == KEEP_ALL:
            return [(key, ("keep_last",)) for key in rules if key != "keep_last"]
        left = set(rules)
        found = {}
        for key in reversed(rules):
            is_judged = (
                self.is_full[key]
                and self.references >= _FEWEST_REFERENCES
                and self.watched >= _SEEN_FOR[_kind_of(key)] - _DAY
            )
            seen = [each & left - {key} for each in self.together if key in each]
            if is_judged and seen and all(seen):
                alone = [other for other in rules if all(other in each for each in seen)]
                found[key] = tuple(alone[:1]) or tuple(other for other in rules if any(other in each for each in seen))
                left.remove(key)
        return [(key, found[key]) for key in rules if key in found]


def _few_before_end(history: _History) -> datetime:
    """When the last slots begin that are as many as must be seen, where a year has fewer."""
    few = history.slots[-2 * _FEWEST_REFERENCES :]
    return few[0] if few else END


def _chunks(points: Sequence[_Slot], timezone: ZoneInfo) -> Iterator[list[_Slot]]:
    """The points of each day in two parts, divided at another time on each day.

    A bucket is at its fullest when its last point is there, and every bucket of a day or longer ends with a day.
    """
    for day, group in groupby(points, key=lambda point: point.time.astimezone(timezone).date()):
        members = list(group)
        middle = day.toordinal() * 7 % len(members)
        yield from (part for part in (members[:middle], members[middle:]) if part)


def _rules_of(policy: Policy) -> dict[str, int | Span]:
    """The rules that are set, by their keys."""
    return {each.name: value for each in fields(Policy) if (value := getattr(policy, each.name))}


def _kind_of(key: str) -> str:
    """`daily` of `keep_daily` and of `keep_within_daily`; every point by itself for `keep_within`."""
    kind = key.rsplit("_", 1)[-1]
    return "last" if kind == "within" else kind


def _reason(key: str, value: int | Span) -> str:
    """How retention names the rule."""
    if not isinstance(value, Span):
        return f"{_kind_of(key)} snapshot"
    return f"within {value}" if key == "keep_within" else f"{_kind_of(key)} within {value}"


# --- capacity ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    """What one rule comes to at one site, and where the plan says so."""

    path: str
    region: Region | None
    points: int
    snapshots: int
    is_least: bool
    snapshot_copies_per_day: float = 0
    image_copies_per_day: float = 0
    copies_of_a_slot: int = 0
    interval: timedelta = timedelta(0)
    rpo: timedelta | None = None


def _shares(plan: Plan, fleet: Fleet, home: Region | None) -> Iterator[_Share]:
    for number, rule in enumerate(plan.rules):
        path = f"rules[{number}]"
        if not _is_ever_due(rule.schedule):
            continue
        resources, snapshots = _made_by_a_slot(plan, rule, fleet)
        subject = _Subject.of(plan, rule)
        rhythm = _rhythm(subject)
        there = _judge(rule.retention, subject)
        yield _Share(
            path=path,
            region=home,
            points=there.kept * resources,
            snapshots=there.kept * snapshots,
            is_least=not there.is_steady,
        )
        is_image = rule.protect == "image"
        for place, copy in enumerate(rule.copies):
            there = _judge(copy.retention, subject)
            # The newest point is always wanted: whatever a retention keeps, it keeps that.
            yield _Share(
                path=f"{path}.copies[{place}]",
                region=copy.region,
                points=there.kept * resources,
                snapshots=there.kept * snapshots,
                is_least=not there.is_steady,
                snapshot_copies_per_day=0 if is_image else rhythm.per_day * snapshots,
                image_copies_per_day=rhythm.per_day * resources if is_image else 0,
                copies_of_a_slot=resources if is_image else snapshots,
                interval=rhythm.longest,
                rpo=rule.objectives.rpo,
            )


_COPIES: Final[tuple[tuple[str, int, Callable[[_Share], float]], ...]] = (
    ("snapshot", SNAPSHOT_COPY_SLOTS, attrgetter("snapshot_copies_per_day")),
    ("image", IMAGE_COPY_SLOTS, attrgetter("image_copies_per_day")),
)
"""What is copied, how many at once at the most, and how many of them a share needs in a day."""


def _review_bursts(shares: Iterable[_Share], fleet: Fleet, at_once: int, copy_duration: timedelta) -> Iterator[Finding]:
    """Warn where the copies of one slot are not all made before their predecessors are older than the objective."""
    for share in shares:
        takes = math.ceil(share.copies_of_a_slot / at_once) * copy_duration
        if share.rpo is not None and share.interval <= share.rpo < share.interval + takes:
            message = (
                f"{fleet} need {share.copies_of_a_slot:,} copies for one slot; {at_once} at a time, each taking "
                f"{write_duration(copy_duration)}, take {write_duration(takes)}, and with "
                f"{write_duration(share.interval)} between slots the last of them exceeds the rpo of "
                f"{write_duration(share.rpo)}; raise it, or divide the fleet among rules"
            )
            yield _warning(share.path, message)


def _made_by_a_slot(plan: Plan, rule: Rule, fleet: Fleet) -> tuple[int, int]:
    """How many points and snapshots one slot makes; which volumes a tag or a device leaves out is not known here."""
    has_instances = "instance" in plan.selection.resources
    instances, attached = (fleet.instances, fleet.volumes) if has_instances else (0, 0)
    if rule.exclude_volumes.boot:
        attached = max(attached - instances, 0)
    elif rule.exclude_volumes.data:
        attached = min(attached, instances)
    has_detached = "volume" in plan.selection.resources and rule.protect == "snapshots"
    detached = fleet.detached if has_detached else 0
    return instances + detached, attached + detached


def _totals(shares: Sequence[_Share]) -> tuple[SteadyState, ...]:
    regions = dict.fromkeys(share.region for share in shares)
    return tuple(_total(region, [share for share in shares if share.region == region]) for region in regions)


def _total(region: Region | None, shares: Sequence[_Share]) -> SteadyState:
    return SteadyState(
        region=region,
        points=sum(share.points for share in shares),
        snapshots=sum(share.snapshots for share in shares),
        snapshot_copies_per_day=sum(share.snapshot_copies_per_day for share in shares),
        image_copies_per_day=sum(share.image_copies_per_day for share in shares),
        is_least=any(share.is_least for share in shares),
    )


# --- words ------------------------------------------------------------------------------------------------------------


def _error(path: str, message: str) -> Finding:
    return Finding(severity=Severity.ERROR, path=path, message=message)


def _warning(path: str, message: str) -> Finding:
    return Finding(severity=Severity.WARNING, path=path, message=message)


def _written(policy: Policy, key: str) -> str:
    return f"{key}: {getattr(policy, key)}"
