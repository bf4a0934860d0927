"""Drills start when they are due: one run for each group, once a slot."""

import json
from datetime import timedelta

from hikae.operations.recovery.start_drills import start_drills
from local.inprocess import RECOVERY, SNAPSHOT_PLAN, START, Installation

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
    site = installation.recovery_site()
    noon = START.replace(hour=12)
    assert start_drills(site, now=noon - timedelta(minutes=1)).outcomes == ()
    first = start_drills(site, now=noon + timedelta(minutes=5))
    assert [outcome.status for outcome in first.outcomes] == ["created", "created"]
    again = start_drills(site, now=noon + timedelta(minutes=20))
    assert [outcome.status for outcome in again.outcomes] == ["adopted", "adopted"]
    assert len(executions(installation)) == 2
    assert all(name.startswith("drill-production-20261122t1200-") for name in executions(installation))
    assert start_drills(site, now=noon + timedelta(hours=2)).outcomes == ()
    tomorrow = start_drills(site, now=noon + timedelta(days=1))
    assert [outcome.status for outcome in tomorrow.outcomes] == ["created", "created"]


def test_what_a_schedule_starts_is_a_request_that_can_be_played(installation: Installation) -> None:
    protect(installation)
    start_drills(installation.recovery_site(), now=START.replace(hour=12))
    client = installation.twin.client("stepfunctions", RECOVERY)
    for name in executions(installation):
        arn = f"{installation.recovery.recover_arn.replace(':stateMachine:', ':execution:')}:{name}"
        given = client.describe_execution(executionArn=arn)["input"]
        player = installation.recover(f"replayed-{name[-8:]}")

        assert player.play(json.loads(given)) == "SUCCEEDED"


def test_a_plan_without_a_drill_and_a_broken_one_start_nothing(installation: Installation) -> None:
    protect(installation, SNAPSHOT_PLAN)
    installation.apply("broken", "version: 1\nplan: broken\n")
    started = start_drills(installation.recovery_site(), now=START.replace(hour=12))
    assert started.outcomes == ()
    assert [broken.key for broken in started.broken_plans] == ["plans/broken.yaml"]
