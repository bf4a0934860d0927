"""Drills start when they are due: one run for each group, once a slot."""

import json
from datetime import timedelta
from typing import Any

from hikae.domain.runs import check_name
from hikae.operations.recovery.start_drills import Started, name_drill
from hikae.ports import Status
from local.inprocess import PRIMARY, RECOVERY, SNAPSHOT_PLAN, START, Installation
from local.twin.faults import intercepted, read_request, refuse_connection

PLAN = SNAPSHOT_PLAN + 'drill:\n  schedule: "0 12 * * *"\n  group_by: tag:Service\n'


def protect(installation: Installation, plan: str = PLAN) -> None:
    for service in ("shop", "shop", "search"):
        installation.launch(tags={"Backup": "production", "Service": service})
    installation.apply("production", plan)
    installation.back_up()
    installation.copy_all()


def executions(installation: Installation) -> list[str]:
    listed = installation.twin.client("stepfunctions", RECOVERY).list_executions(
        stateMachineArn=installation.recovery.recover_arn
    )
    return sorted(each["name"] for each in listed["executions"])


def test_every_group_of_a_plan_is_a_run_of_its_own_once_a_slot(installation: Installation) -> None:
    protect(installation)
    noon = START.replace(hour=12)
    assert installation.start_drills(noon - timedelta(minutes=1)).outcomes == ()
    first = installation.start_drills(noon + timedelta(minutes=5))
    assert [outcome.status for outcome in first.outcomes] == ["created", "created"]
    again = installation.start_drills(noon + timedelta(minutes=20))
    assert [outcome.status for outcome in again.outcomes] == ["adopted", "adopted"]
    assert len(executions(installation)) == 2
    assert all(name.startswith("drill-production-20261122t1200-") for name in executions(installation))
    assert installation.start_drills(noon + timedelta(hours=2)).outcomes == ()
    tomorrow = installation.start_drills(noon + timedelta(days=1))
    assert [outcome.status for outcome in tomorrow.outcomes] == ["created", "created"]


def test_what_a_schedule_starts_is_a_request_that_can_be_played(installation: Installation) -> None:
    protect(installation)
    installation.start_drills(START.replace(hour=12))
    client = installation.twin.client("stepfunctions", RECOVERY)
    for name in executions(installation):
        arn = f"{installation.recovery.recover_arn.replace(':stateMachine:', ':execution:')}:{name}"
        given = client.describe_execution(executionArn=arn)["input"]
        player = installation.recover(f"replayed-{name[-8:]}")

        assert player.play(json.loads(given)) == "SUCCEEDED"


def test_a_plan_without_a_drill_and_a_broken_one_start_nothing(installation: Installation) -> None:
    protect(installation, SNAPSHOT_PLAN)
    installation.apply("broken", "version: 1\nplan: broken\n")
    started = installation.start_drills(START.replace(hour=12))
    assert started.outcomes == ()
    assert [broken.key for broken in started.broken_plans] == ["plans/broken.yaml"]


def test_two_plans_whose_long_names_begin_alike_are_both_drilled(installation: Installation) -> None:
    installation.launch(tags={"Backup": "production", "Service": "shop"})
    for which in ("one", "two"):
        name = f"the-same-thirty-characters-and-{which}"
        installation.apply(name, PLAN.replace("plan: production", f"plan: {name}"))
        installation.back_up()
    installation.copy_all()
    started = installation.start_drills(START.replace(hour=12))
    assert [outcome.status for outcome in started.outcomes] == ["created", "created"]
    assert len(executions(installation)) == 2


def test_a_run_has_a_name_that_a_run_may_have_whatever_the_plan_is_called() -> None:
    name = name_drill("p" * 40, "a group / of any name: " + "x" * 256, START)
    assert check_name(name) == name
    assert name_drill("a", "b/c", START) != name_drill("a", "b", START)


def missed(started: Started) -> list[str]:
    return [outcome.reason for outcome in started.outcomes if outcome.status is Status.MISSED]


def test_a_drill_whose_hour_has_passed_is_told_once(installation: Installation) -> None:
    protect(installation)
    noon = START.replace(hour=12)
    installation.start_drills(noon + timedelta(minutes=5))
    days = [noon + timedelta(days=days) for days in range(4)]
    late = days[1] + timedelta(hours=3)
    [told] = installation.start_drills(late).outcomes
    assert (told.resource, told.is_failure) == ("drill of production", True)
    assert told.reason.endswith(": 2026-11-23T12:00:00Z")
    assert installation.start_drills(late + timedelta(minutes=15)).outcomes == ()
    # After a longer outage that ends when the next drill is due, that one starts and those before it are told.
    again = installation.start_drills(days[3] + timedelta(minutes=10))
    assert [outcome.status for outcome in again.outcomes] == ["created", "created", "missed"]
    assert missed(again)[0].endswith(": 2026-11-24T12:00:00Z")


def test_where_nobody_ever_looks_in_its_hour_a_drill_is_told_all_the_same(installation: Installation) -> None:
    """As with a `DrillSchedule` of `cron(0 10 * * ? *)` and a drill at noon."""
    protect(installation)
    morning = START.replace(hour=10, minute=30)
    assert installation.start_drills(morning).outcomes == ()
    assert len(missed(installation.start_drills(morning + timedelta(days=1)))) == 1
    [told] = missed(installation.start_drills(morning + timedelta(days=3)))
    assert told.endswith(": 2 slots from 2026-11-23T12:00:00Z to 2026-11-24T12:00:00Z")


def test_a_drill_that_is_new_or_has_another_schedule_has_missed_nothing(installation: Installation) -> None:
    protect(installation)
    evening = START.replace(hour=20)
    assert installation.start_drills(evening).outcomes == ()
    installation.apply("production", PLAN.replace("0 12 * * *", "0 13 * * *"))
    assert installation.start_drills(evening + timedelta(hours=18)).outcomes == ()


def test_a_slot_of_which_a_group_never_started_is_told_and_the_others_run(installation: Installation) -> None:
    protect(installation)
    noon = START.replace(hour=12)

    def process(request: Any, go_on: Any) -> Any:
        is_start = read_request(request).action == "StartExecution"
        return refuse_connection(request, go_on) if is_start else go_on(request)

    with intercepted(process):
        failed = installation.start_drills(noon)
    assert [outcome.status for outcome in failed.outcomes] == ["failed", "failed"]
    assert len(missed(installation.start_drills(noon + timedelta(hours=2)))) == 1


def test_a_group_of_which_nothing_is_there_any_more_is_skipped_and_the_others_are_drilled(
    installation: Installation,
) -> None:
    """Its points outlive it, so that it would fail in every slot from now on."""
    protect(installation)
    ec2 = installation.twin.client("ec2", PRIMARY)
    searching = [{"Name": "tag:Service", "Values": ["search"]}]
    [reservation] = ec2.describe_instances(Filters=searching)["Reservations"]
    ec2.terminate_instances(InstanceIds=[each["InstanceId"] for each in reservation["Instances"]])
    installation.advance(minutes=5)
    installation.tick()
    installation.copy()
    started = installation.start_drills(START.replace(hour=12))
    assert sorted((outcome.status.value, outcome.reason) for outcome in started.outcomes) == [
        ("created", "2 resources of production"),
        ("skipped", "nothing of group search is there any more"),
    ]
    assert len(executions(installation)) == 1


def test_a_plan_of_which_nothing_is_here_yet_has_nothing_to_drill(installation: Installation) -> None:
    """What has no copy is told by the report, and what has no resource has nothing to recover."""
    installation.apply("production", PLAN)
    noon = START.replace(hour=12)
    assert installation.start_drills(noon).outcomes == ()
    assert installation.start_drills(noon + timedelta(hours=2)).outcomes == ()
