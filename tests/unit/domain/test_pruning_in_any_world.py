"""Whatever the points, the plans and the world: nothing that anything needs is deleted.

What each guard promises is said here a second time, of what is deleted and in other words than the guards' own.
"""

from collections import Counter, defaultdict
from datetime import timedelta
from zoneinfo import ZoneInfo

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hikae.domain.guards import Surroundings
from hikae.domain.model import Action, Image, Kind, PointState, RecycleBinRule, Region, ResourceId, Snapshot
from hikae.domain.naming import HOLD
from hikae.domain.pruning import DeletionLimits, KeepPolicy, plan_pruning
from hikae.domain.replication import CopyPolicy, judge_copies
from hikae.domain.retention import KEEP_ALL, Policy, Span
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
RULES = [("production", "hourly"), ("production", "nightly"), ("web", "hourly")]
RESOURCES = [ResourceId("i-1"), ResourceId("vol-1")]
AHEAD = timedelta(days=3650)

states = st.sampled_from(["completed"] * 6 + ["pending", "error"])
carried = st.sampled_from([{}] * 8 + [{HOLD: "case 7"}])
tiers = st.sampled_from(["standard"] * 8 + ["archive"])
zones = st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York"]).map(ZoneInfo)
counts = st.sampled_from([0, 0, 1, 2, 5, KEEP_ALL])
retentions = st.builds(
    Policy,
    keep_last=counts,
    keep_hourly=counts,
    keep_daily=counts,
    keep_within=st.none() | st.builds(Span, hours=st.integers(1, 30)),
    keep_within_daily=st.none() | st.builds(Span, days=st.integers(1, 3)),
).filter(lambda policy: not policy.is_empty)
ages = st.none() | st.sampled_from([timedelta(days=1), timedelta(days=30)])
bin_rules = st.lists(
    st.builds(
        RecycleBinRule,
        id=st.just("rule"),
        resource_type=st.sampled_from(["EBS_SNAPSHOT", "EBS_SNAPSHOT", "EC2_IMAGE"]),
        is_available=st.sampled_from([True, True, False]),
        tags=st.sampled_from([frozenset(), frozenset({("hikae:plan", "production")}), frozenset({("hikae:v", None)})]),
        exclude_tags=st.sampled_from([frozenset(), frozenset({("hikae:rule", "nightly")})]),
    ),
    max_size=3,
).map(tuple)


def destinations():
    policy = st.builds(CopyPolicy, retention=retentions, timezone=zones, retire_after=ages)
    return st.dictionaries(st.sampled_from([RECOVERY.region, FAR]), policy, max_size=2)


keep_policies = st.builds(KeepPolicy, retention=retentions, timezone=zones, copies=destinations(), retire_after=ages)


@st.composite
def members_of(draw, tags, started_at):
    """What EC2 holds of one set or image; of a copy some members were made twice."""
    names = "ab"[: draw(st.integers(1, tags.members))]
    label = f"{tags.point[3:9]}-{tags.attempt}"
    made = []
    for name in names:
        sources = f"snap-{label}-{name}"
        for attempt in range(1, 1 + (draw(st.integers(1, 2)) if tags.origin else 1)):
            mine = copied(tags, of=sources, source_time=started_at, attempt=attempt) if tags.origin else tags
            made.append(
                snapshot(
                    f"{label}-{name}{attempt}" + ("-copy" if tags.origin else ""),
                    mine,
                    state=draw(states),
                    started_at=started_at + (timedelta(hours=attempt) if tags.origin else timedelta(0)),
                    tier=draw(tiers),
                    carried=draw(carried),
                )
            )
    if tags.kind is Kind.IMAGE and draw(st.integers(0, 7)):
        made.append(
            image(
                f"{label}" + ("-copy" if tags.origin else ""),
                copied(tags, of=f"ami-{label}", source_time=started_at) if tags.origin else tags,
                created_at=started_at,
                snapshots=tuple(each.id for each in made),
                state=draw(st.sampled_from(["available"] * 6 + ["pending", "failed", "disabled"])),
                protection=draw(st.sampled_from([""] * 8 + ["enabled"])),
                carried=draw(carried),
            )
        )
    return made


@st.composite
def histories(draw, *, copies=False):
    """Sets and images, single and double, of two resources under three rules, made in the order of their slots."""
    everything = {}
    for _ in range(draw(st.integers(1, 14))):
        plan, rule = draw(st.sampled_from(RULES))
        slot = hours_ago(draw(st.integers(0, 60)))
        who = identity(slot=slot, plan=plan, rule=rule, resource=draw(st.sampled_from(RESOURCES)))
        kind = Kind.IMAGE if plan == "web" else Kind.SNAPSHOT_SET
        tags = tags_of(who, attempt=draw(st.integers(1, 2)), kind=kind, members=draw(st.integers(1, 2)))
        started_at = slot + timedelta(minutes=draw(st.integers(0, 2)))
        if copies:
            tags = copied(tags, of="snap-x", source_time=started_at)
        for each in draw(members_of(tags, started_at)):
            everything.setdefault(each.id, each)
    without_manifest = draw(st.integers(0, 9)) == 0
    place = RECOVERY if copies else PRIMARY
    return put_together(*everything.values(), place=place, manifests=set() if without_manifest else None).points


def copies_of(points):
    """The complete copies that a destination shows of some of these points, whatever became of the sources."""
    made = []
    for each in points:
        for member in each.snapshots:
            tags = copied(each.tags, of=member.id, source_time=each.source_time)
            made.append(snapshot(f"copy-{member.id}", tags))
        if each.image:
            tags = copied(each.tags, of=each.image.id, source_time=each.source_time)
            mine = tuple(snapshot(f"copy-{member.id}", each.tags).id for member in each.snapshots)
            made.append(image(f"copy-{each.image.id}", tags, snapshots=mine))
    return put_together(*made, place=RECOVERY).points


@st.composite
def worlds(draw, points):
    """What else may be true of these points."""
    resources = sorted({each.id for point in points for each in all_of(point)})
    some = st.sets(st.sampled_from(resources), max_size=3)
    ids = sorted({point.tags.point for point in points})

    def shown():
        return copies_of(draw(st.lists(st.sampled_from(points), unique_by=lambda each: each.tags.point)))

    copies_at = {}
    for region in (RECOVERY.region, FAR):
        state = draw(st.sampled_from(["missing", "unreachable", "there", "there", "there"]))
        if state != "missing":
            copies_at[region] = None if state == "unreachable" else shown()
    return Surroundings(
        references={each: frozenset({draw(st.sampled_from([*resources, "i-9"]))}) for each in draw(some)},
        copies_at=copies_at,
        locks=dict.fromkeys(draw(some), "governance"),
        drills=dict.fromkeys(draw(st.sets(st.sampled_from(ids), max_size=1)), "drill-7"),
        present=draw(st.sampled_from([{}, {PRIMARY: frozenset()}, {PRIMARY: frozenset(RESOURCES[:1])}])),
        inventoried_at=draw(st.sampled_from([{}, {PRIMARY: NOW}, {PRIMARY: NOW + AHEAD}])),
        bin_rules=draw(st.none() | st.none() | bin_rules),
        unknown=draw(st.sampled_from([()] * 8 + [("nobody knows",)])),
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


def assert_is_safe(pruning, points, *, policies, world, now, limits):
    by_lineage = defaultdict(list)
    for each in complete_sets(points).values():
        by_lineage[each.tags.identity.resource].append(each)
    assert {verdict.id for verdict in pruning.verdicts} >= {each.id for each in points}
    assert not {name for name, number in Counter(verdict.id for verdict in pruning.verdicts).items() if number > 1}
    assert all(verdict.reasons and all(verdict.reasons) for verdict in pruning.verdicts)
    assert sum(deletion.calls for deletion in pruning.deletions) <= limits.per_run
    assert not pruning.deletions or not world.unknown
    assert not pruning.deletions or max(each.source_time for each in points) <= now + timedelta(minutes=10)
    for deletion in pruning.deletions:
        point, identity_of = deletion.point, deletion.point.tags.identity
        policy = policies.get((identity_of.plan, identity_of.rule))
        for each in deletion.resources:
            assert_nobody_needs(each, point, world)
        if deletion.verdict.id != point.id:
            (leftover,) = deletion.resources
            assert leftover in point.leftovers
            assert leftover.state != "pending"
            continue
        assert policy is not None
        assert point.state is not PointState.PENDING
        assert point.tags.point not in world.drills
        # Whole, and everything of it was looked at, even the snapshots that go with their image.
        gone = {each.id for each in deletion.resources}
        assert gone >= {each.id for each in ([point.image] if point.image else point.snapshots)}
        assert gone >= {each.id for each in point.leftovers}
        for each in all_of(point):
            assert_nobody_needs(each, point, world)
        lineage = by_lineage[identity_of.resource]
        newest = max(lineage, key=lambda each: (each.source_time, each.id), default=None)
        present = world.present.get(PRIMARY)
        is_gone = present is not None and identity_of.resource not in present and policy.retire_after is not None
        is_retired = is_gone and newest is not None and now - newest.source_time > policy.retire_after
        confirmed_at = world.inventoried_at.get(PRIMARY)
        is_confirmed = confirmed_at is not None and abs(now - confirmed_at) <= timedelta(days=1)
        if newest is not None and point.id == newest.id:
            assert is_retired
            assert is_confirmed
        given_up = is_gone and is_confirmed and now - point.source_time > policy.retire_after
        if point.is_complete and not given_up:
            assert_is_not_wanted(point, points, policy, world)


def assert_is_not_wanted(point, points, policy, world):
    """Each destination was asked, and has its copy or would not keep one."""
    group = [each for each in points if rule_of(each) == rule_of(point)]
    for region, destination in policy.copies.items():
        there = world.copies_at.get(region)
        assert there is not None
        copies = [each for each in there if rule_of(each) == rule_of(point)]
        verdicts = judge_copies(destination, sources=group, copies=copies)
        assert point.id not in {verdict.id for verdict in verdicts if verdict.action is Action.COPY}


def rule_of(point):
    who = point.tags.identity
    return who.plan, who.rule, who.resource


@settings(max_examples=2 * settings().max_examples)
@given(st.booleans().flatmap(lambda copies: histories(copies=copies)), st.data())
def test_nothing_is_deleted_that_anything_needs(points, data):
    assume(points)
    policies = data.draw(st.dictionaries(st.sampled_from(RULES), keep_policies, min_size=2), label="policies")
    world = data.draw(worlds(points), label="world")
    now = NOW + data.draw(st.sampled_from([timedelta(0), timedelta(0), -timedelta(hours=5), AHEAD]), label="the clock")
    limits = DeletionLimits(
        per_run=data.draw(st.sampled_from([2, 200])), lineage_percent=data.draw(st.sampled_from([50, 100]))
    )
    pruning = plan_pruning(
        points=points,
        policy_of=lambda plan, rule: policies.get((plan, rule)),
        surroundings=world,
        limits=limits,
        now=now,
    )
    assert_is_safe(pruning, points, policies=policies, world=world, now=now, limits=limits)


@given(histories(), keep_policies, st.integers(1, 400))
def test_the_clock_alone_deletes_nothing_of_what_is_there(points, policy, days):
    """What goes goes by the points: the same today and in a year, with no inventory to confirm it."""
    assume(points)

    def gone(now):
        pruning = plan_pruning(
            points=points,
            policy_of=lambda _plan, _rule: policy,
            surroundings=Surroundings(
                copies_at={RECOVERY.region: (), FAR: ()}, present={PRIMARY: frozenset(RESOURCES[:1])}
            ),
            limits=DeletionLimits(per_run=200, lineage_percent=100),
            now=now,
        )
        return {each.id for deletion in pruning.deletions for each in deletion.resources}

    assert gone(NOW + timedelta(days=days)) == gone(NOW)
