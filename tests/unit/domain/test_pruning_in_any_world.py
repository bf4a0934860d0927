"""Whatever the points, the plans and the world: nothing that anything needs is deleted.

What each guard promises is said here a second time, of what is deleted and in other words than the guards' own.
"""

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import timedelta
from random import Random
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from hikae.domain.guards import Surroundings
from hikae.domain.model import Action, Image, Kind, PointState, RecycleBinRule, Region, ResourceId, Snapshot
from hikae.domain.naming import HOLD
from hikae.domain.pruning import DeletionLimits, KeepPolicy, plan_pruning
from hikae.domain.replication import CopyPolicy, judge_copies
from hikae.domain.retention import Policy, Span
from tests.unit.domain.builders import (
    NOW,
    PRIMARY,
    RECOVERY,
    copied,
    hours_ago,
    identity,
    image,
    put_together,
    snapshot,
    tags_of,
)

FAR = Region("eu-west-1")
RULES = [("production", "hourly"), ("production", "nightly"), ("web", "hourly"), ("web", "nightly")]
RESOURCES = [ResourceId("i-1"), ResourceId("vol-1")]
AHEAD = timedelta(days=3650)
ODD = [
    *("no plan", "clock behind", "clock ahead", "cap", "again", "no manifests", "half", "twice", "no image"),
    *(
        "image state",
        "protection",
        "state",
        "archive",
        "hold",
        "hold",
        "twice",
        "unheard",
        "unreachable",
        "gone",
        "reference",
        "lock",
    ),
    *("drill", "nobody asked", "no inventory", "later", "bin", "unknown", "not copied", "not copied", "not copied"),
]


class World:
    """Points, plans, and what else is true, all of it from one number, so that each is as odd as any other.

    Most of it is ordinary, or nothing would ever go: of what is odd there is a little of a few kinds.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)  # noqa: S311 - reproducible, not secret
        self.odd = self.random.sample(ODD, self.random.randint(0, 4))
        self.is_recovery = self.random.random() < 0.3
        self.points = self._points()
        self.policies = {rule: self._policy() for rule in RULES if not self._is_odd("no plan", 3)}
        self.now = NOW
        if "clock behind" in self.odd:
            self.now = NOW - timedelta(hours=30)
        if {"clock ahead", "later"} & {*self.odd}:
            self.now = NOW + AHEAD
        self.limits = DeletionLimits(
            per_run=3 if "cap" in self.odd else 200, lineage_percent=self.random.choice([50, 100, 100, 100, 100])
        )
        self.surroundings = self._surroundings()

    def __repr__(self) -> str:
        return f"World({self.seed})"

    def _is_odd(self, what: str, one_in: int) -> bool:
        return what in self.odd and self.random.randrange(one_in) == 0

    def _points(self):
        """Sets and images, single and double, of two resources under three rules."""
        everything = {}
        for _ in range(self.random.randint(4, 16)):
            plan, rule = self.random.choice(RULES)
            slot = hours_ago(self.random.randint(0, 60))
            who = identity(slot=slot, plan=plan, rule=rule, resource=self.random.choice(RESOURCES))
            kind = Kind.IMAGE if plan == "web" else Kind.SNAPSHOT_SET
            again = 2 if self._is_odd("again", 2) else 1
            for attempt in range(1, again + 1):
                tags = tags_of(who, attempt=attempt, kind=kind, members=self.random.randint(1, 2))
                started_at = slot + timedelta(minutes=self.random.randint(0, 2))
                for each in self._members(tags, started_at):
                    everything.setdefault(each.id, each)
        manifests = set() if self._is_odd("no manifests", 2) else None
        return put_together(
            *everything.values(), place=RECOVERY if self.is_recovery else PRIMARY, manifests=manifests
        ).points

    def _members(self, tags, started_at):
        label = f"{tags.point[3:9]}-{tags.attempt}"
        carried = {HOLD: "case 7"} if self._is_odd("hold", 3) else {}
        lost = self._is_odd("half", 3)
        snapshots = [
            self._snapshot(f"{label}-{name}", tags, started_at, attempt)
            for name in "ab"[: max(1, tags.members - lost)]
            for attempt in range(1, 3 if self.is_recovery and self._is_odd("twice", 2) else 2)
        ]
        if tags.kind is not Kind.IMAGE or self._is_odd("no image", 3):
            return snapshots
        mine = copied(tags, of=f"ami-{label}", source_time=started_at) if self.is_recovery else tags
        whole = image(
            label,
            mine,
            created_at=started_at,
            snapshots=tuple(each.id for each in snapshots),
            state=self.random.choice(["pending", "failed", "disabled"])
            if self._is_odd("image state", 2)
            else "available",
            protection="enabled" if self._is_odd("protection", 2) else "",
            carried=carried,
        )
        return [*snapshots, whole]

    def _snapshot(self, name, tags, started_at, attempt):
        mine = copied(tags, of=f"snap-{name}", source_time=started_at, attempt=attempt) if self.is_recovery else tags
        return snapshot(
            f"{name}{attempt}",
            mine,
            state=self.random.choice(["pending", "error"]) if self._is_odd("state", 3) else "completed",
            started_at=started_at + (timedelta(hours=attempt) if self.is_recovery else timedelta(0)),
            tier="archive" if self._is_odd("archive", 3) else "standard",
            carried={HOLD: "case 7"} if self._is_odd("hold", 4) else {},
        )

    def _retention(self):
        counts = {name: self.random.choice([0, 1, 2]) for name in ("keep_hourly", "keep_daily", "keep_monthly")}
        span = self.random.choice([None, None, Span(hours=5), Span(days=1)])
        return Policy(keep_last=self.random.choice([1, 1, 2, 4]), **counts, keep_within_daily=span)

    def _policy(self):
        timezone = ZoneInfo(self.random.choice(["UTC", "Asia/Tokyo", "America/New_York"]))
        retire_after = self.random.choice([None, timedelta(days=1), timedelta(days=30)])
        regions = self.random.sample([RECOVERY.region, FAR], self.random.choice([0, 1, 1, 2]))
        return KeepPolicy(
            retention=self._retention(),
            timezone=timezone,
            retire_after=retire_after,
            copies={
                region: CopyPolicy(retention=self._retention(), timezone=timezone, retire_after=retire_after)
                for region in ([] if self.is_recovery else regions)
            },
        )

    def _surroundings(self):
        resources = sorted({each.id for point in self.points for each in all_of(point)})
        ids = sorted({point.tags.point for point in self.points})

        def some(what, among, most):
            return self.random.sample(among, min(len(among), most)) if what in self.odd else []

        copies_at = {region: self._copies() for region in (RECOVERY.region, FAR) if not self._is_odd("unheard", 2)}
        if "unreachable" in self.odd:
            copies_at[self.random.choice([RECOVERY.region, FAR])] = None
        is_gone = {"gone", "later", "clock ahead", "no inventory"} & {*self.odd}
        inventoried_at = self.now if "later" in self.odd else NOW
        known = frozenset(RESOURCES[:1]) if is_gone else frozenset(RESOURCES)
        return Surroundings(
            references={
                each: frozenset({self.random.choice([*resources, "i-9"])}) for each in some("reference", resources, 8)
            },
            copies_at=copies_at,
            locks=dict.fromkeys(some("lock", resources, 8), "governance until …"),
            runs=dict.fromkeys(some("drill", ids, 4), "drill-7"),
            present={} if "nobody asked" in self.odd else {PRIMARY: known},
            inventoried_at={} if "no inventory" in self.odd else {PRIMARY: inventoried_at},
            bin_rules=self._bin_rules() if "bin" in self.odd else None,
            unknown=("nobody knows",) if "unknown" in self.odd else (),
        )

    def _copies(self):
        """The copies that a destination shows: of all points, or of some."""
        share = 0.5 if "not copied" in self.odd else 1
        made = []
        for each in self.points:
            if each.is_copy or not each.is_complete or self.random.random() > share:
                continue
            mine = [
                snapshot(f"copy-{member.id}", copied(each.tags, of=member.id, source_time=each.source_time))
                for member in each.snapshots
            ]
            made.extend(mine)
            if each.image:
                tags = copied(each.tags, of=each.image.id, source_time=each.source_time)
                made.append(image(f"copy-{each.image.id}", tags, snapshots=tuple(member.id for member in mine)))
        return put_together(*made, place=RECOVERY).points

    def _bin_rules(self):
        pairs = [frozenset(), frozenset({("hikae:plan", "production")}), frozenset({("hikae:v", None)})]
        excluded = [frozenset(), frozenset({("hikae:rule", "nightly")})]
        return tuple(
            RecycleBinRule(
                id=f"rule-{number}",
                resource_type=self.random.choice(["EBS_SNAPSHOT", "EC2_IMAGE"]),
                is_available=self.random.random() < 0.8,
                tags=self.random.choice(pairs),
                exclude_tags=self.random.choice(excluded),
            )
            for number in range(self.random.randint(0, 4))
        )

    def prune(self):
        return plan_pruning(
            points=self.points,
            policy_of=lambda plan, rule: self.policies.get((plan, rule)),
            surroundings=self.surroundings,
            limits=self.limits,
            now=self.now,
        )


def all_of(point):
    return (*([point.image] if point.image else []), *point.snapshots, *point.leftovers)


def is_covered(resource, rules):
    mine = [each for each in rules if each.is_available]
    kind = "EC2_IMAGE" if isinstance(resource, Image) else "EBS_SNAPSHOT"
    pairs = {*resource.tags.items(), *((key, None) for key in resource.tags)}
    return any(
        each.resource_type == kind and (each.tags & pairs if each.tags else not each.exclude_tags & pairs)
        for each in mine
    )


def assert_nobody_needs(resource, point, world):
    assert HOLD not in resource.tags
    assert resource.id not in world.locks
    assert not isinstance(resource, Snapshot) or resource.tier == "standard"
    assert not isinstance(resource, Image) or (resource.state != "disabled" and not resource.protection)
    own = {each.id for each in (*([point.image] if point.image else []), *point.leftovers)}
    assert world.references.get(resource.id, frozenset()) <= own
    assert world.bin_rules is None or is_covered(resource, world.bin_rules)


def complete_sets(points):
    """By point, of its complete sets the earliest."""
    found = {}
    for each in sorted(points, key=lambda point: (point.source_time, point.id)):
        if each.state is PointState.COMPLETE:
            found.setdefault(each.tags.point, each)
    return found


def assert_is_safe(pruning, world):
    points, surroundings, now = world.points, world.surroundings, world.now
    by_lineage = defaultdict(list)
    for each in complete_sets(points).values():
        by_lineage[each.tags.identity.resource].append(each)
    assert {verdict.id for verdict in pruning.verdicts} >= {each.id for each in points}
    assert not {name for name, number in Counter(verdict.id for verdict in pruning.verdicts).items() if number > 1}
    assert all(verdict.reasons and all(verdict.reasons) for verdict in pruning.verdicts)
    assert sum(deletion.calls for deletion in pruning.deletions) <= world.limits.per_run
    assert not pruning.deletions or not surroundings.unknown
    assert not pruning.deletions or max(each.source_time for each in points) <= now + timedelta(minutes=10)
    for deletion in pruning.deletions:
        point, identity_of = deletion.point, deletion.point.tags.identity
        policy = world.policies.get((identity_of.plan, identity_of.rule))
        for each in deletion.resources:
            assert_nobody_needs(each, point, surroundings)
        if deletion.verdict.id != point.id:
            (leftover,) = deletion.resources
            assert leftover in point.leftovers
            assert leftover.state != "pending"
            continue
        assert policy is not None
        assert point.state is not PointState.PENDING
        assert point.tags.point not in surroundings.runs
        # Whole, and everything of it was looked at, even the snapshots that go with their image.
        gone = {each.id for each in deletion.resources}
        assert gone >= {each.id for each in ([point.image] if point.image else point.snapshots)}
        assert gone >= {each.id for each in point.leftovers}
        for each in all_of(point):
            assert_nobody_needs(each, point, surroundings)
        lineage = by_lineage[identity_of.resource]
        newest = max(lineage, key=lambda each: (each.source_time, each.id), default=None)
        present = surroundings.present.get(PRIMARY)
        is_gone = present is not None and identity_of.resource not in present and policy.retire_after is not None
        is_retired = is_gone and newest is not None and now - newest.source_time > policy.retire_after
        confirmed_at = surroundings.inventoried_at.get(PRIMARY)
        is_confirmed = confirmed_at is not None and abs(now - confirmed_at) <= timedelta(days=1)
        if newest is not None and point.id == newest.id:
            assert is_retired
            assert is_confirmed
        given_up = is_gone and is_confirmed and now - point.source_time > policy.retire_after
        if point.is_complete and not given_up:
            assert_is_not_wanted(point, points, policy, surroundings)


def assert_is_not_wanted(point, points, policy, surroundings):
    """Each destination was asked, and has its copy or would not keep one."""
    group = [each for each in points if rule_of(each) == rule_of(point)]
    for region, destination in policy.copies.items():
        there = surroundings.copies_at.get(region)
        assert there is not None
        copies = [each for each in there if rule_of(each) == rule_of(point)]
        verdicts = judge_copies(destination, sources=group, copies=copies)
        assert point.id not in {verdict.id for verdict in verdicts if verdict.action is Action.COPY}


def rule_of(point):
    who = point.tags.identity
    return who.plan, who.rule, who.resource


@settings(max_examples=5 * settings().max_examples)
@given(st.integers(0, 2**32).map(World))
def test_nothing_is_deleted_that_anything_needs(world):
    assert_is_safe(world.prune(), world)


@given(st.integers(0, 2**32).map(World), st.integers(1, 4000))
def test_the_clock_alone_deletes_nothing(world, days):
    """What goes goes by the points: the same today and in ten years, where no inventory confirms that."""
    world.surroundings = replace(world.surroundings, inventoried_at={})
    world.now = NOW
    today = deleted(world.prune())
    world.now += timedelta(days=days)
    assert deleted(world.prune()) == today


def test_the_worlds_are_such_that_much_goes_and_much_is_kept_by_every_guard():
    """A promise about what is deleted is none where nothing is."""
    worlds = [World(seed) for seed in range(300)]
    went = [bool(world.prune().deletions) for world in worlds]
    said = {reason for world in worlds for verdict in world.prune().verdicts for reason in verdict.reasons}
    assert sum(went) > 80
    for part in (
        "the clock says",
        "nobody knows",
        "is wanted and not complete",
        "is unreachable",
        "is on hold",
        "is locked",
        "in the archive tier",
        "was disabled by somebody",
        "is protected from deregistration",
        "is referenced by",
        "the run drill-7",
        "no Recycle Bin rule covers",
        "no readable plan",
        "past retire_after",
        "is older than retire_after",
        "above this run's cap",
        "would go at once",
        "pending: ",
        "duplicate of",
        "another copy took its place",
    ):
        assert any(part in reason for reason in said), part


def deleted(pruning):
    return {each.id for deletion in pruning.deletions for each in deletion.resources}
