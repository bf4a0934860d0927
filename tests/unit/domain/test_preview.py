"""A preview carries out the real decisions over simulated time, and decides nothing itself."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hikae.domain import preview as module
from hikae.domain.guards import Surroundings
from hikae.domain.model import Action, Kind, PointState, Region, ResourceId, SiteRole
from hikae.domain.naming import HOLD
from hikae.domain.plan import parse_plan
from hikae.domain.preview import (
    MAX_DAYS,
    MAX_POINTS,
    Beginning,
    Happening,
    Preview,
    PreviewError,
    Protected,
    Site,
)
from hikae.domain.pruning import DeletionLimits, keep_policy_of
from tests.unit.domain.builders import ACCOUNT, NOW, PRIMARY, RECOVERY, copied, copy, hours_ago, point, put_together
from tests.unit.domain.builders import snapshot as make_snapshot

EUROPE = Region("eu-west-1")
TWO_THERE = {RECOVERY.region: "keep_last: 2"}
LIMITS = DeletionLimits(per_run=200, lineage_percent=75)


def plan_of(schedule="0 * * * *", keep="keep_last: 3", copies=TWO_THERE, extra="", **rule):
    known = {"protect": "snapshots", "start_window": "1h"} | rule
    text = f"""\
version: 1
plan: production
timezone: UTC
{extra}
selection: {{resources: [instance, volume], tags: {{Backup: production}}}}
rules:
  - name: hourly
    schedule: "{schedule}"
    start_window: {known["start_window"]}
    protect: {known["protect"]}
    retention: {{{keep}}}
"""
    if copies:
        text += "    copies:\n"
        text += "".join(f"      - {{region: {to}, retention: {{{kept}}}}}\n" for to, kept in copies.items())
    return parse_plan(text)


def begin(
    plan=None, *, at=NOW, points=(), copies=(), limits=LIMITS, kind=Kind.SNAPSHOT_SET, resources=("i-1",), **world
):
    """The builders' site, whose points are of production/hourly of i-1."""
    plan = plan or plan_of()

    def site(role, region, there):
        return Site(
            points=tuple(there),
            policy_of=lambda _, rule: keep_policy_of(plan, rule, site=role, region=region),
            limits=limits,
            account=ACCOUNT,
            surroundings=Surroundings(**world),
        )

    destinations = dict.fromkeys(each.region for rule in plan.rules for each in rule.copies)
    return Beginning(
        at=at,
        installation="main",
        plan=plan,
        protected=tuple(
            Protected(place=PRIMARY, resource=ResourceId(each), rule=rule.name, kind=kind)
            for each in resources
            for rule in plan.rules
        ),
        source=site(SiteRole.PRIMARY, PRIMARY.region, points),
        destinations={
            region: site(SiteRole.RECOVERY, region, copies if region == RECOVERY.region else ())
            for region in destinations
        },
    )


def events_of(beginning, *, days=1, **options):
    return [event for day in Preview(beginning, days=days, **options).days() for event in day.events]


def happened(events, what, region=None):
    return [event for event in events if event.what is what and event.region == region]


def held(preview, region=None):
    return sorted((each.point.tags.identity.slot for each in preview.holdings() if each.region == region), reverse=True)


# --- the course of things ---------------------------------------------------------------------------------------------


def test_each_slot_makes_a_point_and_each_wanted_point_a_copy_and_what_no_rule_keeps_goes():
    preview = Preview(begin(), days=2)
    days = list(preview.days())
    assert [day.date.isoformat() for day in days] == ["2026-11-22", "2026-11-23", "2026-11-24"]
    events = [event for day in days for event in day.events]
    made, copies = happened(events, Happening.MADE), happened(events, Happening.COPIED, RECOVERY.region)
    assert len(made) == 49, "the newest slot was due when it began, and 48 followed"
    assert [event.slot for event in copies] == [event.slot for event in made]
    assert {event.reasons for event in copies} == {("last snapshot",)}
    assert len(happened(events, Happening.DELETED)) == 46
    assert len(happened(events, Happening.DELETED, RECOVERY.region)) == 47
    assert {event.reasons for event in events if event.what is Happening.DELETED} == {("no rule keeps it",)}
    assert days[-1].held == {None: 3, RECOVERY.region: 2}
    end = NOW + timedelta(days=2)
    assert held(preview) == [end - timedelta(hours=age) for age in range(3)]
    assert held(preview, RECOVERY.region) == [end - timedelta(hours=age) for age in range(2)]


def test_each_destination_wants_and_keeps_by_its_own_retention():
    plan = plan_of(copies=TWO_THERE | {EUROPE: "keep_daily: 2"})
    preview = Preview(begin(plan), days=3)
    list(preview.days())
    assert len(held(preview, RECOVERY.region)) == 2
    assert held(preview, EUROPE) == [NOW + timedelta(days=3), datetime(2026, 11, 24, 23, tzinfo=UTC)]


def test_a_backlog_sheds_what_the_destination_would_not_keep():
    backlog = [point(hours_ago(age)) for age in range(1, 5)]
    first, *rest = events_of(begin(points=backlog))
    assert (first.what, first.slot) == (Happening.MADE, NOW)
    at_once = [(event.what, event.slot) for event in rest if event.at == NOW]
    assert at_once == [
        (Happening.COPIED, NOW),
        (Happening.COPIED, hours_ago(1)),
        *((Happening.SUPERSEDED, hours_ago(age)) for age in (2, 3, 4)),
    ]
    assert len(happened(rest, Happening.SUPERSEDED, RECOVERY.region)) == 3, "what is no news is told once"


def test_images_are_made_and_copied_and_go_as_images():
    plan = plan_of(protect="image")
    preview = Preview(begin(plan, kind=Kind.IMAGE), days=1)
    list(preview.days())
    holdings = preview.holdings()
    assert all(each.point.image is not None for each in holdings)
    assert Counter(each.region for each in holdings) == {None: 3, RECOVERY.region: 2}


def test_days_are_those_of_the_plans_zone():
    tokyo = replace(plan_of(), timezone=parse_plan_zone("Asia/Tokyo"))
    days = list(Preview(begin(tokyo), days=1).days())
    assert [len(happened(day.events, Happening.MADE)) for day in days] == [5, 20]


def parse_plan_zone(name):
    return parse_plan(
        f"version: 1\nplan: a\ntimezone: {name}\nselection: {{resources: [volume], tags: {{a: b}}}}\n"
        'rules: [{name: a, schedule: "@daily", protect: snapshots, retention: {keep_last: 1}}]'
    ).timezone


# --- the beginning ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("newest", "window", "made", "missed"),
    [
        (0, "1h", None, None),  # the slot has its point
        (1, "1h", 0, None),
        (4, "1h", 0, (3, "3 slots have passed without a point since 2026-11-22T07:00:00Z")),
        (None, "1h", 0, None),  # a new resource: nothing was missed
    ],
)
def test_the_newest_slot_is_made_up_while_its_window_is_open_and_older_ones_are_missed(newest, window, made, missed):
    points = [] if newest is None else [point(hours_ago(newest))]
    events = [event for event in events_of(begin(plan_of(start_window=window), points=points)) if event.at == NOW]
    slots = [event.slot for event in happened(events, Happening.MADE)]
    assert slots == ([] if made is None else [hours_ago(made)])
    gone = happened(events, Happening.MISSED)
    assert [event.reasons for event in gone] == ([(missed[1],)] if missed else [])
    assert [event.slot for event in gone] == ([hours_ago(1)] if missed else [])


def test_a_slot_whose_window_has_closed_is_missed_though_none_is_due():
    daily = plan_of(schedule="0 2 * * *")
    events = [event for event in events_of(begin(daily, points=[point(hours_ago(32))])) if event.at == NOW]
    assert [(event.what, event.slot) for event in events if event.region is None] == [(Happening.MISSED, hours_ago(8))]


def test_a_slot_whose_point_has_failed_is_made_again():
    failed = point(NOW, state="error")
    assert happened(events_of(begin(points=[failed])), Happening.MADE)[0].slot == NOW


def test_what_is_pending_is_taken_to_be_complete():
    pending = point(NOW, state="pending")
    events = [event for event in events_of(begin(points=[pending])) if event.at == NOW]
    assert [(event.what, event.id) for event in events] == [(Happening.COPIED, pending.id)]


# --- what stands in the way -------------------------------------------------------------------------------------------


def test_a_failed_copy_waits_for_its_next_attempt_and_then_takes_the_place_of_the_failed_one():
    source = point(NOW)
    failed = copy(source, state="error", started_at=NOW)
    events = [event for event in events_of(begin(points=[source], copies=[failed])) if event.slot == NOW]
    there = [(event.what, event.at) for event in events if event.region]
    assert there[:2] == [(Happening.NOT_COPIED, NOW), (Happening.COPIED, NOW + timedelta(hours=1))]
    assert "the next attempt is due at 2026-11-22T10:15:00Z" in events[0].reasons[0]


def test_a_copy_that_was_given_up_is_not_made_and_keeps_its_source():
    plan = plan_of(copies={RECOVERY.region: "keep_last: -1"})
    source = point(NOW)
    failed = put_together(
        make_snapshot("x", copied(source.tags, of=source.snapshots[0].id, attempt=5), state="error"), place=RECOVERY
    ).points[0]
    preview = Preview(begin(plan, points=[source], copies=[failed]), days=1)
    events = [event for day in preview.days() for event in day.events if event.slot == NOW]
    assert [event.what for event in events] == [Happening.NOT_COPIED]
    assert "there is no further attempt" in events[0].reasons[0]
    assert NOW in held(preview)


def test_an_archived_source_cannot_be_copied():
    archived = point(NOW, tier="archive")
    event, *_ = [event for event in events_of(begin(points=[archived])) if event.slot == NOW and event.region]
    assert event.what is Happening.NOT_COPIED
    assert "archive tier" in event.reasons[0]


def test_a_hold_keeps_a_point_to_the_end():
    held_point = point(hours_ago(9), carried={HOLD: ""})
    preview = Preview(begin(points=[held_point]), days=2)
    deleted = happened([event for day in preview.days() for event in day.events], Happening.DELETED)
    assert held_point.id not in {event.id for event in deleted}
    [holding] = [each for each in preview.holdings() if each.point == held_point]
    assert holding.verdict.action is Action.KEEP
    assert holding.verdict.reasons == (f"{held_point.snapshots[0].id} is on hold",)


def test_what_nobody_knows_at_the_beginning_keeps_everything():
    preview = Preview(begin(unknown=("nobody knows",)), days=1)
    assert not [event for day in preview.days() for event in day.events if event.what is Happening.DELETED]
    assert len(held(preview)) == 25


def test_the_limits_withhold_and_say_so_once():
    points = [point(hours_ago(age)) for age in range(10)]
    plan = plan_of(copies=None, keep="keep_last: 1")
    events = events_of(begin(plan, points=points, limits=DeletionLimits(per_run=2, lineage_percent=100)))
    withheld = happened(events, Happening.WITHHELD)
    assert Counter(event.id for event in withheld).most_common(1)[0][1] == 1
    assert "above this run's cap of 2 deletions" in withheld[0].reasons[0]
    at_first = [event for event in happened(events, Happening.DELETED) if event.at == NOW + timedelta(hours=1)]
    assert [event.slot for event in at_first] == [hours_ago(9), hours_ago(8)]
    days = [point(hours_ago(25 * age)) for age in range(10)]
    stuck = events_of(begin(plan, points=days, limits=DeletionLimits(per_run=200, lineage_percent=50)))
    assert not happened(stuck, Happening.DELETED)
    assert "more than 50 %" in happened(stuck, Happening.WITHHELD)[0].reasons[0]


@pytest.mark.parametrize(("retire_after", "left"), [("", 1), ("retire_after: 3d", 0)])
def test_what_is_gone_makes_no_points_and_goes_with_retire_after(retire_after, left):
    plan = plan_of(extra=retire_after, copies=None, keep="keep_last: 1")
    gone = {"present": {PRIMARY: frozenset()}, "inventoried_at": {PRIMARY: NOW}}
    beginning = begin(plan, points=[point(hours_ago(1))], resources=(), **gone)
    preview = Preview(beginning, days=4)
    events = [event for day in preview.days() for event in day.events]
    assert len(held(preview)) == left
    deleted = happened(events, Happening.DELETED)
    assert [event.at for event in deleted] == ([NOW + timedelta(days=3)] if not left else [])


def test_a_leftover_goes_and_its_point_stays():
    source = point(NOW)
    origin = source.snapshots[0].id
    good = make_snapshot("good", copied(source.tags, of=origin, attempt=2))
    failed = make_snapshot("failed", copied(source.tags, of=origin), state="error")
    there = put_together(good, failed, place=RECOVERY).points[0]
    preview = Preview(
        begin(plan_of(copies={RECOVERY.region: "keep_last: -1"}), points=[source], copies=[there]), days=1
    )
    deleted = happened([event for day in preview.days() for event in day.events], Happening.DELETED, RECOVERY.region)
    assert [event.id for event in deleted] == ["snap-failed"]
    [holding] = [each for each in preview.holdings() if each.point.id == there.id and each.region]
    assert (holding.point.leftovers, holding.point.state) == ((), PointState.COMPLETE)


# --- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [-1, 0, MAX_DAYS + 1, 10**9])
def test_days_that_cannot_be_simulated_are_refused(days):
    with pytest.raises(PreviewError, match=f"{days} days cannot be simulated; from 1 to {MAX_DAYS}"):
        Preview(begin(), days=days)


def test_more_points_than_can_be_simulated_are_refused_before_anything_is():
    minutely = plan_of(schedule="* * * * *", start_window="1m")
    with pytest.raises(PreviewError, match=r"more than 20,000 points would be made until 2026-12-06"):
        Preview(begin(minutely), days=14)
    with pytest.raises(PreviewError, match="more than"):
        Preview(begin(resources=[f"i-{number}" for number in range(834)]), days=1)
    old = point(hours_ago(1))
    with pytest.raises(PreviewError, match=r"there are 20,001 points, and 20,000 can be simulated"):
        Preview(begin(points=[old] * (MAX_POINTS + 1)), days=1)


def test_more_judgements_than_expected_stop_it_and_say_when(monkeypatch):
    monkeypatch.setattr(module, "MAX_JUDGEMENTS", 500)
    preview = Preview(begin(plan_of(keep="keep_last: -1")), days=3)
    with pytest.raises(PreviewError, match=r"too much from 2026-11-23T\d\d:00:00Z on: points were judged 500 times"):
        list(preview.days())


# --- what holds for every plan ----------------------------------------------------------------------------------------

keeps = st.sampled_from(
    ["keep_last: 1", "keep_last: 4", "keep_hourly: 3", "keep_daily: 2", "keep_within: 7h", "keep_last: -1"]
)
schedules = st.sampled_from(["0 * * * *", "30 */4 * * *", "15 2,14 * * *", "*/45 * * * *", "@daily"])


@settings(max_examples=40)
@given(keeps, keeps, schedules, st.sampled_from([30, 75, 100]))
def test_a_preview_can_be_taken_up_where_another_has_ended(keep, there, schedule, percent):
    plan = plan_of(schedule=schedule, keep=keep, copies={RECOVERY.region: there})
    limits = DeletionLimits(per_run=200, lineage_percent=percent)
    whole = Preview(begin(plan, limits=limits), days=2)
    at_once = [event for day in whole.days() for event in day.events]
    half = Preview(begin(plan, limits=limits), days=1)
    first = [event for day in half.days() for event in day.events]
    sites = {
        region: [each.point for each in half.holdings() if each.region == region] for region in (None, RECOVERY.region)
    }
    beginning = begin(
        plan, at=NOW + timedelta(days=1), points=sites[None], copies=sites[RECOVERY.region], limits=limits
    )
    rest = Preview(beginning, days=1)
    second = [event for day in rest.days() for event in day.events]
    news = (Happening.MADE, Happening.COPIED, Happening.DELETED)
    assert [each for each in (*first, *second) if each.what in news] == [each for each in at_once if each.what in news]
    for region in sites:
        assert held(rest, region) == held(whole, region)


@settings(max_examples=40)
@given(keeps, keeps, schedules)
def test_nothing_is_copied_twice_and_nothing_goes_that_was_not_there(keep, there, schedule):
    plan = plan_of(schedule=schedule, keep=keep, copies={RECOVERY.region: there})
    events = events_of(begin(plan), days=3)
    for region in (None, RECOVERY.region):
        came = [
            event.id for event in events if event.region == region and event.what in (Happening.MADE, Happening.COPIED)
        ]
        went = [event.id for event in happened(events, Happening.DELETED, region)]
        assert len(set(came)) == len(came)
        assert len(set(went)) == len(went)
        assert set(went) <= set(came)
    assert all(event.reasons for event in events if event.what is not Happening.MADE)
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert events_of(begin(plan), days=3) == events
