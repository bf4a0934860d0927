from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikae.domain import retention
from hikae.domain.model import Action, Kind, Place, Region, ResourceId, Verdict
from hikae.domain.naming import format_time, point_id
from hikae.domain.plan import parse_plan
from hikae.domain.replication import (
    KEY_REMEDY,
    MAX_ATTEMPTS,
    RETRY_AFTER_AT_MOST,
    CopyPolicy,
    RetryCopy,
    StartCopy,
    copy_policy_of,
    earliest_sets,
    explain_failure,
    group_of,
    grouped,
    judge_copies,
    next_copy,
    plan_replication,
)
from hikae.domain.retention import Policy
from tests.unit.domain.builders import (
    NOW,
    PRIMARY,
    RECOVERY,
    copied,
    copy,
    hours_ago,
    image,
    point,
    snapshot,
    tags_of,
)

UTC_ZONE = ZoneInfo("UTC")
HOURLY = {("production", "hourly"): CopyPolicy(retention=Policy(keep_last=3), timezone=UTC_ZONE)}


def policies(**rules: int) -> dict[tuple[str, str], CopyPolicy]:
    return {("production", "hourly"): CopyPolicy(retention=Policy(**rules), timezone=UTC_ZONE)}


def wanted(sources, copies=(), policies=HOURLY):
    return list(plan_replication(sources=sources, copies=copies, policies=policies, now=NOW).wanted)


# --- what a plan says -------------------------------------------------------------------------------------------------

PLAN = parse_plan("""
version: 1
plan: production
timezone: Asia/Tokyo
retire_after: 90d
selection: {resources: [instance], tags: {Backup: production}}
rules:
  - name: hourly
    schedule: "0 * * * *"
    protect: snapshots
    retention: {keep_last: 24}
    copies:
      - {region: us-west-2, retention: {keep_last: 6}}
      - {region: eu-west-1, retention: {keep_last: 3}}
    objectives: {rpo: 3h}
""")


def test_a_destination_keeps_and_owes_what_the_plan_says_of_it():
    [rule] = PLAN.rules
    assert copy_policy_of(PLAN, rule, Region("eu-west-1")) == CopyPolicy(
        retention=Policy(keep_last=3),
        timezone=ZoneInfo("Asia/Tokyo"),
        rpo=timedelta(hours=3),
        retire_after=timedelta(days=90),
    )
    assert copy_policy_of(PLAN, rule, Region("us-west-2")).retention == Policy(keep_last=6)
    assert copy_policy_of(PLAN, rule, Region("us-east-1")) is None


# --- which ------------------------------------------------------------------------------------------------------------


def test_what_the_destination_would_keep_is_wanted_and_the_rest_is_skipped_with_its_reason():
    sources = [point(hours_ago(hours)) for hours in range(5)]
    replication = plan_replication(sources=sources, copies=[], policies=HOURLY, now=NOW)
    assert [each.id for each in replication.wanted] == [each.id for each in sources[:3]]
    verdicts = {verdict.id: verdict for verdict in replication.verdicts}
    assert [verdicts[each.id].action for each in sources] == [Action.COPY] * 3 + [Action.SKIP] * 2
    assert verdicts[sources[0].id].reasons == ("last snapshot",)
    assert verdicts[sources[4].id].reasons == ("superseded: the destination would not keep it",)


def test_a_complete_copy_is_not_wanted_again():
    sources = [point(hours_ago(hours)) for hours in range(3)]
    assert wanted(sources, [copy(sources[0]), copy(sources[2])]) == [sources[1]]


@pytest.mark.parametrize("state", ["pending", "error", "recoverable"])
def test_a_copy_that_is_not_complete_stays_wanted_until_it_is(state):
    source = point(NOW)
    assert wanted([source], [copy(source, state=state)]) == [source]


@pytest.mark.parametrize("state", ["pending", "error"])
def test_only_a_complete_source_is_a_candidate(state):
    assert wanted([point(NOW, state=state), point(hours_ago(1))]) == [point(hours_ago(1))]


def test_a_source_without_its_manifest_is_no_candidate():
    assert wanted([point(NOW, manifests=set())]) == []


def test_of_two_sets_of_one_point_the_earlier_is_copied_once():
    first = point(hours_ago(1), slot=hours_ago(1))
    again = point(NOW, slot=hours_ago(1), attempt=2)
    assert wanted([again, first]) == [first]
    assert wanted([again, first], [copy(first)]) == []
    assert wanted([again, first], [copy(again)]) == []
    for sets in ([again, first], [first, again]):
        assert earliest_sets(sets) == {first.tags.point: first}


def test_copies_that_are_there_use_up_the_counts():
    sources = [point(hours_ago(hours)) for hours in range(5)]
    copies = [copy(each) for each in sources[:3]]
    assert wanted(sources, copies) == []
    assert wanted([*sources, point(NOW + timedelta(hours=1))], copies) == [point(NOW + timedelta(hours=1))]


def test_a_copy_whose_source_is_gone_counts_all_the_same():
    gone = [point(hours_ago(hours)) for hours in (1, 2, 3)]
    old = point(hours_ago(9))
    assert wanted([old], [copy(each) for each in gone]) == []
    assert wanted([old]) == [old]


def test_a_rule_that_this_site_does_not_have_is_skipped_by_name():
    source, foreign = point(NOW), point(NOW, plan="other", rule="weekly")
    replication = plan_replication(sources=[source, foreign], copies=[], policies=HOURLY, now=NOW)
    assert replication.wanted == (source,)
    reason = "this site has no plan other with a rule weekly that copies here"
    assert [verdict.reasons for verdict in replication.verdicts if verdict.id == foreign.id] == [(reason,)]


def test_a_rule_that_this_site_does_not_have_keeps_no_other_from_its_copies():
    source, foreign = point(NOW), point(NOW, plan="other", rule="weekly")
    for sources in ([source, foreign], [foreign, source]):
        replication = plan_replication(sources=sources, copies=[], policies=HOURLY, now=NOW)
        assert replication.wanted == (source,)
        assert {verdict.id: verdict.action for verdict in replication.verdicts} == {
            source.id: Action.COPY,
            foreign.id: Action.SKIP,
        }


def test_a_rule_that_this_site_does_not_have_says_nothing_about_what_is_copied_or_incomplete():
    there, pending = point(NOW, rule="weekly"), point(hours_ago(1), rule="weekly", state="pending")
    replication = plan_replication(sources=[there, pending], copies=[copy(there)], policies=HOURLY, now=NOW)
    assert replication.verdicts == ()


def test_each_resource_and_rule_is_judged_on_its_own():
    sources = [point(hours_ago(hours), resource=ResourceId(f"i-{number}")) for number in (1, 2) for hours in range(4)]
    assert len(wanted(sources)) == 6


def test_a_copy_is_in_the_group_of_its_source():
    source = point(NOW)
    assert group_of(copy(source)) == group_of(source)
    assert grouped([source, copy(source)]) == {group_of(source): [source, copy(source)]}
    assert copy(source).tags.identity.place == PRIMARY != RECOVERY


def test_what_two_primaries_made_for_one_rule_is_judged_apart():
    elsewhere = Place(account=PRIMARY.account, region=Region("eu-west-1"))
    here = [point(hours_ago(hours)) for hours in range(4)]
    there = []
    for each in here:
        who = replace(each.tags.identity, place=elsewhere)
        there.append(replace(each, tags=replace(each.tags, identity=who, point=point_id(who))))
    assert len(grouped([*here, *there])) == 2
    assert {each.id for each in wanted([*here, *there])} == {each.id for each in (*here[:3], *there[:3])}


def test_a_pending_set_is_never_the_earliest():
    pending = point(hours_ago(2), slot=NOW, state="pending")
    complete = point(NOW, attempt=2)
    assert earliest_sets([pending, complete]) == {complete.tags.point: complete}


# --- what is gone -----------------------------------------------------------------------------------------------------

RETIRING = {
    ("production", "hourly"): CopyPolicy(
        retention=Policy(keep_last=9), timezone=UTC_ZONE, retire_after=timedelta(hours=2)
    )
}
GONE = {PRIMARY: frozenset({"i-2"})}


def test_what_is_gone_and_past_retire_after_is_not_copied_and_says_so():
    young, old = point(hours_ago(2)), point(hours_ago(2.1))
    replication = plan_replication(sources=[young, old], copies=[], policies=RETIRING, now=NOW, present=GONE)
    assert replication.wanted == (young,)
    assert [verdict for verdict in replication.verdicts if verdict.id != young.id] == [
        Verdict(id=old.id, action=Action.SKIP, reasons=("i-1 is gone, and it is past retire_after",))
    ]


@pytest.mark.parametrize(
    ("policies", "present"),
    [
        pytest.param(HOURLY, GONE, id="nothing was said about it"),
        pytest.param(RETIRING, {PRIMARY: frozenset({"i-1"})}, id="the resource is there"),
        pytest.param(RETIRING, {RECOVERY: frozenset()}, id="only another place was asked"),
        pytest.param(RETIRING, {}, id="nobody was asked"),
        pytest.param(RETIRING, None, id="nobody can be asked"),
    ],
)
def test_what_is_old_is_copied_otherwise(policies, present):
    old = point(hours_ago(24 * 365))
    replication = plan_replication(sources=[old], copies=[], policies=policies, now=NOW, present=present)
    assert replication.wanted == (old,)


# --- one member -------------------------------------------------------------------------------------------------------

SOURCE = tags_of(members=1)


def failed_copy(attempt: int, **differences):
    known = {"state": "error", "started_at": NOW, "state_message": "boom"}
    return snapshot(f"{attempt}", copied(SOURCE, of="snap-a", attempt=attempt), **known | differences)


def failed_image(**differences):
    known = {"state": "failed", "created_at": NOW, "state_message": "boom"}
    return image("a", copied(tags_of(kind=Kind.IMAGE), of="ami-s"), **known | differences)


def test_a_member_without_a_copy_is_copied_for_the_first_time():
    assert next_copy([], now=NOW) == StartCopy(attempt=1)


@pytest.mark.parametrize("state", ["pending", "completed", "recoverable"])
def test_a_member_whose_copy_is_there_or_on_its_way_is_left_alone(state):
    assert next_copy([failed_copy(1), failed_copy(2, state=state)], now=NOW + timedelta(days=9)) is None


@pytest.mark.parametrize(
    ("attempt", "minutes"), [(1, 15), (2, 30), (3, 60), (4, 120)], ids=["first", "second", "third", "fourth"]
)
def test_each_failure_waits_twice_as_long_for_the_next_attempt(attempt, minutes):
    copies = [failed_copy(each) for each in range(1, attempt + 1)]
    due = NOW + timedelta(minutes=minutes)
    assert next_copy(copies, now=due - timedelta(seconds=1)) == RetryCopy(
        reason=f"copy snap-{attempt}, attempt {attempt}, is error: boom; the next attempt is due at {format_time(due)}",
        at=due,
    )
    for order in (copies, copies[::-1]):
        assert next_copy(order, now=due) == StartCopy(attempt=attempt + 1)


def test_the_last_failure_is_the_last():
    copies = [failed_copy(each) for each in (5, 4)]
    reason = "copy snap-5, attempt 5, is error: boom; there is no further attempt"
    assert next_copy(copies, now=NOW + timedelta(days=99)) == RetryCopy(reason=reason, at=None)


def test_no_attempt_waits_longer_than_a_day():
    assert timedelta(minutes=15) * 2**MAX_ATTEMPTS < RETRY_AFTER_AT_MOST == timedelta(days=1)


@pytest.mark.parametrize("state", ["failed", "error", "invalid"])
def test_a_failed_image_is_copied_again_by_the_time_that_ec2_made_it(state):
    retry = next_copy([failed_image(state=state)], now=NOW)
    assert retry == RetryCopy(
        reason=f"copy ami-a, attempt 1, is {state}: boom; the next attempt is due at 2026-11-22T10:15:00Z",
        at=NOW + timedelta(minutes=15),
    )
    assert next_copy([failed_image(created_at=None)], now=NOW) == StartCopy(attempt=2)


def test_a_failure_without_a_reason_says_so_and_one_by_its_key_says_what_to_do():
    silent = next_copy([failed_copy(5, state_message="")], now=NOW)
    assert silent.reason == "copy snap-5, attempt 5, is error: EC2 gave no reason; there is no further attempt"
    assert explain_failure("Given key ID is not accessible") == f"Given key ID is not accessible; {KEY_REMEDY}"
    assert explain_failure("Internal error") == "Internal error"


# --- in what order ----------------------------------------------------------------------------------------------------


def test_most_rpo_at_risk_goes_first():
    both = {
        ("production", "hourly"): CopyPolicy(retention=Policy(keep_last=9), timezone=UTC_ZONE, rpo=timedelta(hours=2)),
        ("production", "nightly"): CopyPolicy(
            retention=Policy(keep_last=9), timezone=UTC_ZONE, rpo=timedelta(hours=26)
        ),
        ("production", "best-effort"): CopyPolicy(retention=Policy(keep_last=9), timezone=UTC_ZONE),
    }
    hourly, nightly, effort = (
        [point(hours_ago(hours), rule=rule) for hours in (0, 5)] for rule in ("hourly", "nightly", "best-effort")
    )
    never_copied = point(hours_ago(3), resource=ResourceId("i-2"), rule="best-effort")
    copies = [copy(hourly[1]), copy(nightly[1]), copy(effort[1])]
    sources = [effort[0], nightly[0], never_copied, hourly[0]]
    assert wanted(sources, copies, both) == [never_copied, hourly[0], nightly[0], effort[0]]


def test_of_one_resource_the_newest_goes_first():
    sources = [point(hours_ago(hours)) for hours in (2, 0, 1)]
    assert wanted(sources) == sorted(sources, key=lambda each: each.source_time, reverse=True)


def test_the_order_is_the_same_every_time():
    sources = [point(NOW, resource=ResourceId(f"i-{number}")) for number in range(9)]
    assert wanted(sources) == wanted(sources[::-1])


# --- what holds for every history -------------------------------------------------------------------------------------

counts = st.sampled_from([0, 1, 2, 3, 6, -1])
destinations = st.builds(
    Policy, keep_last=counts, keep_hourly=counts, keep_daily=counts, keep_weekly=counts, keep_monthly=counts
).filter(lambda policy: not policy.is_empty)
ages = st.lists(st.integers(0, 24 * 60), max_size=25, unique=True)


@given(destinations, ages, st.data())
def test_wanted_copies_once_made_are_kept_by_the_destination(policy, hours, data):
    sources = [point(hours_ago(each)) for each in hours]
    copies = [copy(each) for each in sources if data.draw(st.booleans())]
    copy_policy = CopyPolicy(retention=policy, timezone=UTC_ZONE)
    verdicts = judge_copies(copy_policy, sources=sources, copies=copies)
    made = [copy(each) for each in sources if (each.id, Action.COPY) in {(v.id, v.action) for v in verdicts}]
    after = retention.decide(policy, [*copies, *made], timezone=UTC_ZONE)
    kept = {verdict.id for verdict in after if verdict.action is Action.KEEP}
    assert {each.id for each in made} <= kept
    assert all(v.action is Action.SKIP for v in judge_copies(copy_policy, sources=sources, copies=[*copies, *made]))


@given(destinations, destinations, st.lists(st.integers(1, 30), min_size=1, max_size=30), st.data())
def test_no_copy_is_ever_wanted_again_after_it_was_expired(here, there, steps, data):
    """Points come, copies are made late or never, both sites prune when they like: no copy is made twice."""
    copy_policy = CopyPolicy(retention=there, timezone=UTC_ZONE)
    sources, copies, made = [], [], set()
    at = NOW
    for step in steps:
        at += timedelta(hours=step)
        sources.append(point(at))
        if data.draw(st.booleans(), label="the broker runs"):
            for verdict in judge_copies(copy_policy, sources=sources, copies=copies):
                if verdict.action is Action.COPY and data.draw(st.booleans(), label="within the limit"):
                    assert verdict.id not in made
                    made.add(verdict.id)
                    copies.extend(copy(each) for each in sources if each.id == verdict.id)
        if data.draw(st.booleans(), label="the destination prunes"):
            copies = _keep(there, copies)
        if data.draw(st.booleans(), label="the source prunes"):
            sources = _keep(here, sources)


def _keep(policy, points):
    verdicts = retention.decide(policy, points, timezone=UTC_ZONE)
    kept = {verdict.id for verdict in verdicts if verdict.action is Action.KEEP}
    return [each for each in points if each.id in kept]


@pytest.mark.parametrize(
    ("start", "timezone"),
    [
        (datetime(2026, 11, 22, tzinfo=UTC), "UTC"),
        (datetime(2026, 10, 31, 3, tzinfo=UTC), "Asia/Tokyo"),
        (datetime(2026, 10, 31, 3, tzinfo=UTC), "America/New_York"),
    ],
)
def test_48_hours_of_the_designs_first_example_make_one_copy_a_slot_and_none_again(start, timezone):
    here = Policy(keep_hourly=24, keep_daily=7)
    zone = ZoneInfo(timezone)
    there = CopyPolicy(
        retention=Policy(keep_hourly=6, keep_daily=14, keep_monthly=12), timezone=zone, rpo=timedelta(hours=2)
    )
    sources, copies, made = [], [], []
    for hour in range(48):
        now = start + timedelta(hours=hour)
        sources.append(point(now))
        for _ in range(4):  # sweeps
            replication = plan_replication(
                sources=sources, copies=copies, policies={("production", "hourly"): there}, now=now
            )
            made.extend(each.id for each in replication.wanted)
            copies.extend(copy(each) for each in replication.wanted)
            copies = [each for each in copies if each.id in _kept(there.retention, copies, zone)]
            sources = [each for each in sources if each.id in _kept(here, sources, zone)]
    assert len(made) == len(set(made)) == 48


def _kept(policy, points, zone):
    verdicts = retention.decide(policy, points, timezone=zone)
    return {verdict.id for verdict in verdicts if verdict.action is Action.KEEP}
