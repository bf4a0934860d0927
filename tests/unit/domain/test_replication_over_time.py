"""What holds however late copies are made, whenever either site prunes, in any zone: no copy is ever made twice."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from hikae.domain import retention
from hikae.domain.model import Action
from hikae.domain.replication import CopyPolicy, judge_copies
from hikae.domain.retention import KEEP_ALL, Policy, Span
from tests.unit.domain.builders import copy, point

COUNTS = [each.name for each in fields(Policy) if "within" not in each.name]
SPANS = [each.name for each in fields(Policy) if "within" in each.name]
ZONES = ["UTC", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "Antarctica/Troll"]
counts = st.sampled_from([0, 0, 0, 1, 2, 3, 6, KEEP_ALL])
spans = st.none() | st.builds(
    Span, years=st.integers(0, 1), months=st.integers(0, 2), days=st.integers(0, 3), hours=st.integers(1, 30)
)
policies = st.builds(Policy, **dict.fromkeys(COUNTS, counts), **dict.fromkeys(SPANS, spans)).filter(
    lambda policy: not policy.is_empty
)
# Around the ends of months that are too short, and around the changes of the clock.
starts = st.sampled_from(
    [datetime(2027, 1, 29, tzinfo=UTC), datetime(2028, 2, 27, tzinfo=UTC), datetime(2026, 10, 30, tzinfo=UTC)]
)
steps = st.lists(st.integers(1, 40) | st.integers(24 * 20, 24 * 40), min_size=1, max_size=25)


def keep(policy: Policy, points, timezone: ZoneInfo):
    verdicts = retention.decide(policy, points, timezone=timezone)
    kept = {verdict.id for verdict in verdicts if verdict.action is Action.KEEP}
    return [each for each in points if each.id in kept]


@settings(max_examples=3 * settings().max_examples)
@given(policies, policies, starts, steps, st.sampled_from(ZONES), st.data())
def test_what_was_expired_is_never_wanted_again_and_what_is_wanted_is_kept(  # noqa: PLR0917 - each is drawn
    here, there, start, steps, zone, data
):
    timezone = ZoneInfo(zone)
    policy = CopyPolicy(retention=there, timezone=timezone)
    sources, copies, made = [], [], set()
    at = start
    for step in steps:
        at += timedelta(hours=step)
        sources.append(point(at))
        if data.draw(st.booleans(), label="the broker runs"):
            wanted = {
                verdict.id
                for verdict in judge_copies(policy, sources=sources, copies=copies)
                if verdict.action is Action.COPY
            }
            assert not wanted & made, "a copy that was made and expired is wanted again"
            due = [each for each in sources if each.id in wanted and data.draw(st.booleans(), label="within the limit")]
            made |= {each.id for each in due}
            copies.extend(copy(each) for each in due)
            if len(due) == len(wanted):
                kept = {each.id for each in keep(there, copies, timezone)}
                assert {each.id for each in map(copy, due)} <= kept, "a wanted copy would be expired at once"
        if data.draw(st.booleans(), label="the destination prunes"):
            copies = keep(there, copies, timezone)
        if data.draw(st.booleans(), label="the source prunes"):
            sources = keep(here, sources, timezone)


@settings(max_examples=settings().max_examples // 5)
@given(policies, policies, starts, st.sampled_from(ZONES), st.integers(0, 2**32))
def test_months_in_which_both_sites_expire_at_every_step_and_copies_are_late(here, there, start, zone, seed):
    random = Random(seed)  # noqa: S311 - reproducible, not secret
    timezone = ZoneInfo(zone)
    policy = CopyPolicy(retention=there, timezone=timezone)
    sources, copies, made = [], [], set()
    at = start
    for _ in range(50):
        at += timedelta(hours=random.choice([1, 1, 6, 12, 24, 24, 26, 40, 24 * 9]))
        sources.append(point(at))
        wanted = {v.id for v in judge_copies(policy, sources=sources, copies=copies) if v.action is Action.COPY}
        assert not wanted & made, "a copy that was made and expired is wanted again"
        due = [each for each in sources if each.id in wanted and random.random() < 0.7]
        made |= {each.id for each in due}
        copies.extend(map(copy, due))
        at_once = {each.id for each in keep(there, copies, timezone)}
        assert len(due) < len(wanted) or {each.id for each in map(copy, due)} <= at_once
        copies, sources = keep(there, copies, timezone), keep(here, sources, timezone)


def test_a_month_before_the_first_of_april_brings_nothing_back():
    there = CopyPolicy(retention=Policy(keep_within=Span(months=1)), timezone=ZoneInfo("UTC"))
    old, end, april = (point(datetime(2026, *day, 12, tzinfo=UTC)) for day in ((3, 2), (3, 31), (4, 1)))
    assert keep(there.retention, [old, end], there.timezone) == [end]
    assert keep(there.retention, [old, end, april], there.timezone) == [old, end, april], "restic keeps it again"
    verdicts = judge_copies(there, sources=[old, april], copies=[copy(end)])
    assert {verdict.id: verdict.action for verdict in verdicts} == {april.id: Action.COPY, old.id: Action.SKIP}


def test_the_next_oldest_within_a_span_is_not_brought_back():
    there = CopyPolicy(retention=Policy(keep_within_daily=Span(days=2)), timezone=ZoneInfo("UTC"))
    first, second, third = (point(datetime(2026, 3, 2, hour, tzinfo=UTC)) for hour in (8, 9, 10))
    assert keep(there.retention, [first, second, third], there.timezone) == [first, third]
    later = point(datetime(2026, 3, 4, 8, 30, tzinfo=UTC))
    assert second in keep(there.retention, [second, third, later], there.timezone), "restic keeps it again"
    verdicts = judge_copies(there, sources=[second, later], copies=[copy(third)])
    assert {verdict.id: verdict.action for verdict in verdicts} == {later.id: Action.COPY, second.id: Action.SKIP}
