"""What is unwise in a plan is found, and nothing is claimed of a plan that is sensible."""

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hikae.domain.model import Action, Region
from hikae.domain.plan import ParsedPlan, Plan, read_plan
from hikae.domain.retention import Policy, Span, decide
from hikae.domain.review import (
    MAX_JUDGEMENTS_OF_A_PLAN,
    MAX_SLOTS_OF_A_PLAN,
    Finding,
    Fleet,
    Severity,
    review_capacity,
    review_destinations,
    review_plan,
    steady_state,
)
from hikae.domain.schedule import slots
from tests.unit.domain.builders import At

ROOT = Path(__file__).parents[3]


def parsed(
    *, timezone: str = "UTC", selection: dict[str, Any] | None = None, more: Any = None, **rule: Any
) -> ParsedPlan:
    document = {
        "version": 1,
        "plan": "production",
        "timezone": timezone,
        "selection": {"resources": ["instance"], "tags": {"Backup": "production"}} | (selection or {}),
        "rules": [
            {"name": "r", "schedule": "0 0 * * *", "protect": "snapshots", "retention": {"keep_daily": 7}} | rule,
            *(more or []),
        ],
        "drill": {"schedule": "0 4 * * 6"},
    }
    return read_plan(yaml.safe_dump(document, sort_keys=False))


def plan_with(**differences: Any) -> Plan:
    return parsed(**differences).plan


def said(findings: tuple[Finding, ...]) -> list[tuple[str, str, str]]:
    return [(each.severity.value, each.path, each.message) for each in findings]


# --- what is sensible -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "docs/examples").glob("*.yaml")), ids=lambda path: path.name)
def test_nothing_is_said_of_the_examples(path):
    assert review_plan(read_plan(path.read_text()).plan) == ()


def test_nothing_is_said_of_a_drill_that_is_due_some_time():
    plan = read_plan((ROOT / "docs/examples/production.yaml").read_text()).plan
    assert plan.drill is not None
    assert said(review_plan(plan)) == []


def test_copies_without_a_drill_are_warned_of_once_where_the_first_are_asked_for():
    document = yaml.safe_load((ROOT / "docs/examples/production.yaml").read_text())
    del document["drill"]
    [rule] = document["rules"]
    local = {key: value for key, value in rule.items() if key not in {"copies", "objectives"}}
    document["rules"] = [local | {"name": "local"}, rule, rule | {"name": "again"}]
    message = (
        "nobody proves that they can be restored: the plan has no drill; add one, such as "
        'drill: {schedule: "0 4 * * 6"}'
    )
    assert said(review_plan(read_plan(yaml.safe_dump(document)).plan)) == [("warning", "rules[1].copies", message)]
    document["rules"] = [local]
    assert review_plan(read_plan(yaml.safe_dump(document)).plan) == ()


@pytest.mark.parametrize(
    ("schedule", "retention"),
    [
        ("0 * * * *", {"keep_hourly": 24, "keep_daily": 7, "keep_weekly": 4, "keep_monthly": 12, "keep_yearly": 5}),
        ("0 * * * *", {"keep_last": 1}),
        ("*/5 * * * *", {"keep_last": 12, "keep_hourly": 24, "keep_daily": 31}),
        ("0 */4 * * *", {"keep_within": "2d", "keep_within_daily": "1m", "keep_within_monthly": "1y"}),
        ("0 3 * * *", {"keep_daily": 7, "keep_weekly": 5, "keep_monthly": 12, "keep_yearly": 3}),
        ("0 3 * * *", {"keep_daily": 14, "keep_monthly": 6}),
        ("0 3 * * 1-5", {"keep_daily": 10, "keep_weekly": 8}),
        ("0 3 * * 0", {"keep_weekly": 8, "keep_monthly": 12}),
        ("0 3 1 * *", {"keep_monthly": 12, "keep_yearly": -1}),
        ("0 3 1 1 *", {"keep_yearly": 10}),
        ("0 3 29 2 *", {"keep_last": 3}),
        ("0 3 L * *", {"keep_monthly": 12}),
        # After 40 years the second keeps more than the first: nobody waits for it here, and so nothing is claimed.
        ("0 3 1 1 *", {"keep_yearly": 40, "keep_monthly": 45}),
    ],
)
@pytest.mark.parametrize("timezone", ["America/New_York"])
def test_nothing_is_said_of_what_people_usually_keep(schedule, retention, timezone):
    assert review_plan(plan_with(schedule=schedule, retention=retention, timezone=timezone)) == ()


# --- what is not ------------------------------------------------------------------------------------------------------

NEVER = "is never due: there is no such day; give a day that exists, such as 0 3 1 * *"


@pytest.mark.parametrize(
    ("differences", "finding"),
    [
        ({"schedule": "0 0 */31 * 1#2"}, ("error", "rules[0].schedule", f"'0 0 */31 * 1#2' {NEVER}")),
        ({"schedule": "*/5 * */31 * 1#2"}, ("error", "rules[0].schedule", f"'*/5 * */31 * 1#2' {NEVER}")),
        (
            {"selection": {"resources": ["volume"]}, "protect": "image"},
            (
                "error",
                "rules[0].protect",
                "never makes a point: an image is made of an instance, and only volumes are selected; use snapshots",
            ),
        ),
        (
            {"selection": {"resources": ["instance", "volume"]}, "protect": "image"},
            (
                "warning",
                "rules[0].protect",
                "makes no point of the volumes that are selected; add a rule with protect: snapshots for them",
            ),
        ),
        (
            {"selection": {"resources": ["volume"]}, "exclude_volumes": {"devices": ["/dev/sdf"]}},
            (
                "warning",
                "rules[0].exclude_volumes",
                "leaves nothing out: it is for the volumes of instances; use selection.exclude_tags for detached ones",
            ),
        ),
        (
            {"selection": {"exclude_tags": {"Backup": ["production", "off"]}}},
            (
                "error",
                "selection.tags.Backup",
                "selects nothing: exclude_tags excludes each of its values; take them out of one of the two",
            ),
        ),
        (
            {"selection": {"tags": [{"Backup": "production"}, {"A": "b"}], "exclude_tags": {"A": "b"}}},
            (
                "warning",
                "selection.tags[1].A",
                "selects nothing: exclude_tags excludes each of its values; take them out of one of the two",
            ),
        ),
        (
            {"objectives": {"rpo": "2d"}},
            (
                "warning",
                "rules[0].objectives.rpo",
                "is an objective for copies, and the rule has none; add copies, or leave it out",
            ),
        ),
        (
            {"retention": {"keep_within": "1h"}},
            (
                "warning",
                "rules[0].retention.keep_within",
                (
                    "keeps the newest point and no other: keep_within: 1h is shorter than the 1d between two slots; "
                    "give a longer one, or keep_last: 1 where one is enough"
                ),
            ),
        ),
        (
            {"retention": {"keep_hourly": 24, "keep_daily": 7}},
            (
                "warning",
                "rules[0].retention.keep_daily",
                "keep_daily: 7 adds nothing: keep_hourly: 24 keeps all that it would; leave one out",
            ),
        ),
        (
            {"retention": {"keep_last": -1, "keep_daily": 7}},
            (
                "warning",
                "rules[0].retention.keep_daily",
                "keep_daily: 7 adds nothing: keep_last: -1 keeps all that it would; leave one out",
            ),
        ),
        (
            {"retention": {"keep_daily": 30, "keep_weekly": 4, "keep_yearly": 2}},
            (
                "warning",
                "rules[0].retention.keep_weekly",
                "keep_weekly: 4 adds nothing: keep_daily: 30 keeps all that it would; leave one out",
            ),
        ),
        (
            {"retention": {"keep_within": "7d", "keep_within_daily": "7d"}},
            (
                "warning",
                "rules[0].retention.keep_within_daily",
                "keep_within_daily: 7d adds nothing: keep_within: 7d keeps all that it would; leave one out",
            ),
        ),
        (
            {"schedule": "0 0 * * 0", "retention": {"keep_daily": 7, "keep_weekly": 9}},
            (
                "warning",
                "rules[0].retention.keep_daily",
                "keep_daily: 7 adds nothing: keep_weekly: 9 keeps all that it would; leave one out",
            ),
        ),
        (
            {"copies": [{"region": "us-west-2", "retention": {"keep_last": 2, "keep_within": "12h"}}]},
            (
                "warning",
                "rules[0].copies[0].retention.keep_within",
                "keep_within: 12h adds nothing: keep_last: 2 keeps all that it would; leave one out",
            ),
        ),
    ],
)
def test_what_is_unwise_is_said_where_it_is_with_what_would_be_right(differences, finding):
    plan = parsed(**differences)
    assert said(review_plan(plan.plan)) == [finding]
    assert plan.line_of(finding[1])


def test_an_image_is_enough_where_another_rule_protects_the_volumes():
    more = [{"name": "other", "schedule": "0 1 * * *", "protect": "snapshots", "retention": {"keep_last": 3}}]
    assert review_plan(plan_with(selection={"resources": ["instance", "volume"]}, protect="image", more=more)) == ()


def test_everything_that_is_excluded_is_an_error_whichever_of_the_tags_it_is():
    selection = {"tags": [{"A": "b"}, {"C": ["d", "e"], "F": "g"}], "exclude_tags": {"A": "b", "C": ["d", "e", "f"]}}
    found = review_plan(plan_with(selection=selection))
    assert [(each.severity, each.path) for each in found] == [
        (Severity.ERROR, "selection.tags[0].A"),
        (Severity.ERROR, "selection.tags[1].C"),
    ]


def test_a_drill_that_is_never_due_is_an_error():
    document = yaml.safe_load((ROOT / "docs/examples/production.yaml").read_text())
    document["drill"] = {"schedule": "0 0 */31 2 1#3"}
    found = review_plan(read_plan(yaml.safe_dump(document)).plan)
    assert said(found)[0] == ("error", "drill.schedule", f"'0 0 */31 2 1#3' {NEVER}")


# --- objectives -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "timezone", "rpo", "severity", "message"),
    [
        ("0 * * * *", "UTC", "59m", "error", "59m cannot be met: there are 1h between two slots ("),
        ("0 * * * *", "UTC", "1h", "warning", "1h leaves no time for the copy: there are 1h between two slots ("),
        ("0 3 * * *", "UTC", "12h", "error", "12h cannot be met: there are 1d between two slots ("),
        # In autumn a day has 25 hours.
        (
            "0 3 * * *",
            "Europe/Berlin",
            "1d",
            "error",
            (
                "1d cannot be met: there are 1d1h between two slots (2028-10-28 03:00 and 2028-10-29 03:00); "
                "raise it, or run the rule more often"
            ),
        ),
        ("0 3 * * 1-5", "UTC", "2d", "error", "2d cannot be met: there are 3d between two slots ("),
        ("0 3 1 * *", "UTC", "30d", "error", "30d cannot be met: there are 31d between two slots ("),
        ("0 3 29 2 *", "UTC", "1000d", "error", "1000d cannot be met: there are 1461d between two slots ("),
    ],
)
def test_an_rpo_that_the_schedule_cannot_meet_is_named_with_the_slots_that_are_too_far_apart(
    schedule, timezone, rpo, severity, message
):
    copies = [{"region": "us-west-2", "retention": {"keep_last": 1}}]
    plan = plan_with(
        schedule=schedule, timezone=timezone, retention={"keep_last": 2}, copies=copies, objectives={"rpo": rpo}
    )
    ((found, path, text),) = said(review_plan(plan))
    assert (found, path) == (severity, "rules[0].objectives.rpo")
    assert text.startswith(message)


@pytest.mark.parametrize(
    ("schedule", "rpo"),
    [
        ("0 * * * *", "61m"),
        ("0 3 * * *", "26h"),
        ("0 3 * * 1-5", "4d"),
        ("*/15 8-17 * * *", "16h"),
        ("@monthly", "32d"),
    ],
)
def test_an_rpo_that_can_be_met_is_not_doubted(schedule, rpo):
    copies = [{"region": "us-west-2", "retention": {"keep_last": 1}}]
    plan = plan_with(
        schedule=schedule, timezone="Europe/Berlin", retention={"keep_last": 2}, copies=copies, objectives={"rpo": rpo}
    )
    assert review_plan(plan) == ()


# --- destinations -----------------------------------------------------------------------------------------------------


def test_a_destination_without_a_recovery_site_is_refused():
    copies = [{"region": region, "retention": {"keep_last": 1}} for region in ("us-west-2", "eu-west-1")]
    plan = parsed(copies=copies)
    served = {Region("us-west-2"), Region("ap-northeast-1")}
    assert said(review_destinations(plan.plan, served=served)) == [
        (
            "error",
            "rules[0].copies[1].region",
            (
                "eu-west-1 is served by no recovery site, so nothing would be copied there; there is one in "
                "ap-northeast-1, us-west-2"
            ),
        )
    ]
    assert review_destinations(plan.plan, served=served | {Region("eu-west-1")}) == ()
    assert len(review_destinations(plan.plan, served=[])) == 2
    assert plan.line_of("rules[0].copies[1].region") == plan.line_of("rules[0].copies[1]")


# --- nothing false, whatever the plan ---------------------------------------------------------------------------------

schedules = st.sampled_from(
    ["0 9,17 * * *", "30 2 * * *", "0 3 * * 1-5", "0 3 * * 0", "0 3 1,15 * *", "0 3 L * *", "0 3 1 */3 *"]
)
zones = st.sampled_from(["UTC", "America/New_York", "Australia/Lord_Howe"])
counts = st.integers(1, 8)  # what is kept for ever is judged above: here it would take minutes
spans = st.builds(Span, days=st.integers(1, 40)) | st.builds(Span, hours=st.integers(1, 60)) | st.just(Span(months=2))
policies = st.lists(
    st.sampled_from([each.name for each in fields(Policy)]), min_size=1, max_size=4, unique=True
).flatmap(lambda keys: st.fixed_dictionaries({key: spans if "within" in key else counts for key in keys}))


def kept_over_time(policy: Policy, plan: Plan) -> Iterator[frozenset[str]]:
    """What is left after each slot of some weeks, with what was left of ten years and of the slot before."""
    start, end = datetime(2016, 1, 1, tzinfo=UTC), datetime(2026, 3, 5, tzinfo=UTC)
    times = list(slots(plan.rules[0].schedule, timezone=plan.timezone, after=start, until=end))
    left = [At(id=time.isoformat(), time=time) for time in times[:-60]]
    for time in times[-60:]:
        left.append(At(id=time.isoformat(), time=time))
        verdicts = decide(policy, left, timezone=plan.timezone)
        keep = frozenset(verdict.id for verdict in verdicts if verdict.action is Action.KEEP)
        left = [point for point in left if point.id in keep]
        yield keep


def written(policy: dict[str, Any]) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Span) else value for key, value in policy.items()}


@settings(max_examples=25)
@given(schedules, zones, policies)
def test_what_is_said_to_add_nothing_adds_nothing_and_a_steady_state_is_not_exceeded(schedule, timezone, policy):
    plan = plan_with(schedule=schedule, timezone=timezone, retention=written(policy))
    useless = {each.path.rsplit(".", 1)[-1] for each in review_plan(plan) if "adds nothing" in each.message}
    (site,) = steady_state([plan], fleet=Fleet(instances=1, volumes=3))
    seen = list(kept_over_time(Policy(**policy), plan))
    assert useless < set(policy)
    assert site.is_least or max(map(len, seen)) <= site.points
    assert site.snapshots == 3 * site.points
    rest = {key: value for key, value in policy.items() if key not in useless}
    assert rest == policy or seen == list(kept_over_time(Policy(**rest), plan))


@settings(max_examples=25)
@given(schedules, zones, st.integers(30, 3000))
def test_an_rpo_is_refused_only_where_two_slots_are_that_far_apart(schedule, timezone, minutes):
    copies = [{"region": "us-west-2", "retention": {"keep_last": 1}}]
    plan = plan_with(
        schedule=schedule,
        timezone=timezone,
        retention={"keep_last": 2},
        copies=copies,
        objectives={"rpo": f"{minutes}m"},
    )
    start = datetime(2028, 1, 8, tzinfo=UTC)
    year = list(slots(schedule, timezone=plan.timezone, after=start, until=start + timedelta(days=366)))
    longest = max(later - earlier for earlier, later in pairwise(year))
    rpo = timedelta(minutes=minutes)
    expected = ["error"] if rpo < longest else ["warning"] if rpo == longest else []
    assert [each.severity.value for each in review_plan(plan)] == expected


# --- capacity ---------------------------------------------------------------------------------------------------------


def production() -> Plan:
    return read_plan((ROOT / "docs/examples/production.yaml").read_text()).plan


def test_the_steady_state_of_the_example_is_what_one_counts_by_hand():
    source, copies = steady_state([production()], fleet=Fleet(instances=10, volumes=30, detached=5))
    # 24 hours and 7 days, the newest of which is the newest hour: 30 points of 15 resources.
    assert (source.region, source.points, source.snapshots, source.is_least) == (None, 30 * 15, 30 * 35, False)
    assert source.snapshot_copies_per_day == source.image_copies_per_day == 0
    assert copies.region == "us-west-2"
    assert copies.snapshot_copies_per_day == pytest.approx(24 * 35)
    assert copies.points <= (6 + 14 + 12) * 15
    assert not copies.is_least


def test_a_recovery_site_in_the_same_region_counts_with_its_source():
    (site,) = steady_state([production()], fleet=Fleet(instances=1, volumes=1), home=Region("us-west-2"))
    source, copies = steady_state([production()], fleet=Fleet(instances=1, volumes=1))
    assert site.snapshots == source.snapshots + copies.snapshots


@pytest.mark.parametrize(
    ("exclusion", "snapshots"),
    [({"boot": True}, 20), ({"data": True}, 10), ({"tags": {"Scratch": "true"}}, 30), ({"devices": ["sdf"]}, 30)],
)
def test_volumes_that_are_left_out_make_no_snapshots(exclusion, snapshots):
    plan = plan_with(exclude_volumes=exclusion, retention={"keep_last": 1})
    (site,) = steady_state([plan], fleet=Fleet(instances=10, volumes=30))
    assert (site.points, site.snapshots) == (10, snapshots)


def test_an_image_is_made_of_instances_and_of_all_their_volumes():
    copies = [{"region": "us-west-2", "retention": {"keep_last": 1}}]
    selection = {"resources": ["instance", "volume"]}
    plan = plan_with(selection=selection, protect="image", retention={"keep_last": 2}, copies=copies)
    source, there = steady_state([plan], fleet=Fleet(instances=10, volumes=30, detached=7))
    assert (source.points, source.snapshots) == (20, 60)
    assert (there.image_copies_per_day, there.snapshot_copies_per_day) == (pytest.approx(10), 0)


def test_what_is_kept_for_ever_is_only_the_least():
    (site,) = steady_state([plan_with(retention={"keep_last": -1})], fleet=Fleet(instances=1, volumes=1))
    assert site.is_least
    assert site.points >= 366


def test_a_rule_that_is_never_due_comes_to_nothing():
    assert steady_state([plan_with(schedule="*/5 * */31 * 1#2")], fleet=Fleet(instances=1, volumes=1)) == ()


def test_a_rule_that_is_due_in_one_month_of_the_year_is_not_taken_for_nothing():
    (site,) = steady_state([plan_with(schedule="*/30 * * 2 *")], fleet=Fleet(instances=1, volumes=1))
    assert site.points >= 7


def test_more_snapshots_than_a_region_may_hold_are_warned_of():
    plan = plan_with(retention={"keep_daily": 10})
    assert review_capacity([plan], fleet=Fleet(instances=2_000, volumes=10_000)) == ()
    assert said(review_capacity([plan], fleet=Fleet(instances=2_000, volumes=10_001))) == [
        (
            "warning",
            "rules[0]",
            (
                "2,000 instances with 10,001 volumes come to 100,010 snapshots in the source Region, where 100,000 are "
                "allowed; keep fewer, or have the quota raised"
            ),
        )
    ]
    at_least = plan_with(retention={"keep_daily": -1})
    ((_, _, message),) = said(review_capacity([at_least], fleet=Fleet(instances=1_000, volumes=1_000, detached=3)))
    assert message.startswith("1,000 instances with 1,000 volumes and 3 detached ones come to at least ")


def test_plans_that_fit_alone_and_not_together_are_warned_of_without_a_path():
    plan = plan_with(retention={"keep_daily": 10})
    fleet = Fleet(instances=1_000, volumes=6_000)
    assert review_capacity([plan], fleet=fleet) == ()
    ((_, path, message),) = said(review_capacity([plan, plan], fleet=fleet))
    assert path == ""
    assert "come to 120,000 snapshots in the source Region" in message


def test_more_copies_than_fit_into_a_day_are_warned_of():
    copies = [{"region": "us-west-2", "retention": {"keep_last": 1}}]
    plan = plan_with(schedule="0 * * * *", copies=copies)
    # 20 at a time, four times an hour, are 80 an hour.
    assert review_capacity([plan], fleet=Fleet(instances=10, volumes=80)) == ()
    assert said(review_capacity([plan], fleet=Fleet(instances=10, volumes=81))) == [
        (
            "warning",
            "rules[0].copies[0]",
            (
                "10 instances with 81 volumes need 1,944 snapshot copies a day to us-west-2; 20 at a time, each taking "
                "15m, make 1,920; copy from a rule that runs less often"
            ),
        )
    ]
    faster = review_capacity([plan], fleet=Fleet(instances=10, volumes=81), copy_duration=timedelta(minutes=10))
    assert faster == ()


def test_copies_that_exceed_the_rpo_before_the_last_is_made_are_warned_of():
    copies = [{"region": "us-west-2", "retention": {"keep_last": 1}}]
    plan = plan_with(copies=copies, protect="image", objectives={"rpo": "26h"})
    # 50 at a time, four times an hour, are 400 in the two hours that are left.
    assert review_capacity([plan], fleet=Fleet(instances=400, volumes=400)) == ()
    assert said(review_capacity([plan], fleet=Fleet(instances=401, volumes=401))) == [
        (
            "warning",
            "rules[0].copies[0]",
            (
                "401 instances with 401 volumes need 401 copies for one slot; 50 at a time, each taking 15m, take "
                "2h15m, and with 1d between slots the last of them exceeds the rpo of 1d2h; raise it, or divide the "
                "fleet among rules"
            ),
        )
    ]


# --- bounds -----------------------------------------------------------------------------------------------------------


# A slot is looked for some times and filled in once a retention; a judgement asks once or twice.
MOST = 4 * (MAX_SLOTS_OF_A_PLAN + MAX_JUDGEMENTS_OF_A_PLAN)


class CountingZone(ZoneInfo):
    """A zone that counts how often it is asked: a measure of work that no other load on the machine changes."""

    asked = 0

    def fromutc(self, moment: datetime) -> datetime:
        type(self).asked += 1
        assert self.asked < MOST, "the review goes on and on"
        return super().fromutc(moment)


ENDLESS = {"keep_last": 1_000_000, "keep_daily": -1, "keep_within": "100y", "keep_within_hourly": "100y"}


def many_rules(number: int, *, copies: int = 0, schedule: str = "* * * * *") -> list[dict[str, Any]]:
    return [
        {
            "name": f"r{rule}",
            "schedule": schedule,
            "protect": "snapshots",
            "retention": ENDLESS | {"keep_monthly": rule + 1},
            "copies": [
                {"region": f"us-west-{copy}", "retention": {"keep_yearly": -1, "keep_hourly": 9_000 + rule + copy}}
                for copy in range(copies)
            ],
        }
        for rule in range(number)
    ]


@pytest.mark.parametrize(
    "differences",
    [
        {"schedule": "* * * * *", "retention": ENDLESS},
        {"schedule": "* * 29 2 *", "retention": ENDLESS},
        {"schedule": "0 0 29 2 *", "retention": {"keep_yearly": 1_000_000, "keep_within_monthly": "999999999y"}},
        {"more": many_rules(100)},
        {"more": many_rules(20, copies=9, schedule="0 * * * *")},
    ],
    ids=["minutes", "leap minutes", "leap years", "100 rules", "200 retentions"],
)
def test_a_review_takes_no_more_than_its_bounds_whatever_the_plan(differences):
    CountingZone.asked = 0
    plan = replace(plan_with(**differences), timezone=CountingZone("Europe/Berlin"))
    review_plan(plan)
    review_capacity([plan], fleet=Fleet(instances=1, volumes=1))
    assert 0 < CountingZone.asked < MOST
