"""Drills of the demo's fleet: what the demo finds wrong with one, and that none leaves anything when it is killed."""

import copy
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from hikae.operations.recovery.take_step import STEPS
from local.demo.drill_report import tabulate_drills
from local.demo.drills import (
    REHEARSALS,
    Drilled,
    Rehearsal,
    Seen,
    describe_everything,
    find_leftovers,
    find_shortcomings,
    look,
)
from local.fleet import Fleet
from local.inprocess import PRIMARY, RECOVERY
from local.state_machine import Stopped
from tests.integration.operations.demo_fleet import InProcessCloud, protected_fleet


@pytest.fixture(scope="module")
def scene() -> Iterator[tuple[InProcessCloud, Fleet]]:
    with protected_fleet() as scene:
        yield scene


def request_of(rehearsal: Rehearsal) -> dict[str, Any]:
    return {"mode": "drill", "plan": rehearsal.plan, "group": rehearsal.group, "started_by": "the demo"}


def record_of(cloud: InProcessCloud, run: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(cloud.of.document(f"evidence/{run}.json")["record"])
    return record


def on_volumes(cloud: InProcessCloud) -> dict[str, str]:
    disks = cloud.twin_control(f"/_twin/state/{PRIMARY}")["volumes"]
    return {volume: disk["digest"] for volume, disk in disks.items()}


@pytest.fixture(scope="module")
def drilled(scene: tuple[InProcessCloud, Fleet]) -> dict[str, Drilled]:
    """Every rehearsal of the demo, gone well, watched as the demo watches it."""
    cloud, _ = scene
    drills = {}
    for rehearsal in REHEARSALS:
        seen = {rehearsal.run: Seen()}

        def call(event: dict[str, Any], seen: dict[str, Seen] = seen) -> dict[str, Any]:
            answer = cloud.of.run_step(event)
            look(cloud, seen)
            return answer

        outcome = cloud.of.recover(rehearsal.run, call=call).play({"request": request_of(rehearsal)})
        drills[rehearsal.group] = Drilled(
            rehearsal=rehearsal,
            exit_code=0 if outcome == "SUCCEEDED" else 1,
            seen=seen[rehearsal.run],
            record=record_of(cloud, rehearsal.run),
            verdict="verified",
        )
    return drills


@pytest.mark.parametrize("group", [each.group for each in REHEARSALS])
def test_a_drill_that_went_well_has_no_shortcoming(
    scene: tuple[InProcessCloud, Fleet], drilled: dict[str, Drilled], group: str
) -> None:
    cloud, fleet = scene
    assert list(find_shortcomings(drilled[group], fleet, on_volumes=on_volumes(cloud))) == []


def without(record: dict[str, Any], *path: Any, value: Any = None) -> dict[str, Any]:
    """The record with another value somewhere."""
    changed = copy.deepcopy(record)
    target: Any = changed
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return changed


FALSIFIED: dict[str, tuple[Callable[[Drilled], Drilled], str]] = {
    "exit code": (lambda one: replace(one, exit_code=1), "`hikae drill start` ended with 1"),
    "evidence": (lambda one: replace(one, record={}, verdict="its signature is another's"), "is not verified"),
    "outcome": (lambda one: replace(one, record=without(one.record, "outcome", value="failed")), "failed: None"),
    "RTO": (lambda one: replace(one, record=without(one.record, "rto_met", value=False)), "has not met its RTO"),
    "RPO": (
        lambda one: replace(one, record=without(one.record, "members", 0, "rpo_met", value=False)),
        "the RPO of db-1 is not met",
    ),
    "members": (
        lambda one: replace(one, record=without(one.record, "members", value=one.record["members"][:1])),
        "not of",
    ),
    "probe": (
        lambda one: replace(one, record=without(one.record, "members", 1, "probes", 0, "state", value="failed")),
        "not every probe of db-2 has passed",
    ),
    "no probes": (
        lambda one: replace(one, record=without(one.record, "members", 1, "probes", value=[])),
        "not every probe of db-2 has passed",
    ),
    "never seen": (lambda one: replace(one, seen=replace(one.seen, ran={})), "EC2 never showed db-1 running"),
    "contents": (
        lambda one: replace(one, seen=replace(one.seen, contents={})),
        "what was on the volumes of db-1 is not what is on the fleet's",
    ),
    "order": (
        lambda one: replace(
            one,
            record=without(one.record, "members", 1, "launched_at", value=one.record["members"][0]["launched_at"]),
        ),
        "did not wait for db-1",
    ),
    "torn down": (lambda one: replace(one, record=without(one.record, "torn_down", value=[])), "does not say that it"),
}


@pytest.mark.parametrize("falsified", FALSIFIED)
def test_whatever_a_drill_has_not_proven_is_a_shortcoming(
    scene: tuple[InProcessCloud, Fleet], drilled: dict[str, Drilled], falsified: str
) -> None:
    cloud, fleet = scene
    falsify, expected = FALSIFIED[falsified]
    found = list(find_shortcomings(falsify(drilled["shop-db"]), fleet, on_volumes=on_volumes(cloud)))
    assert any(expected in each for each in found), found


def test_other_contents_than_the_fleets_are_a_shortcoming(
    scene: tuple[InProcessCloud, Fleet], drilled: dict[str, Drilled]
) -> None:
    cloud, fleet = scene
    changed = {volume: f"another than {digest}" for volume, digest in on_volumes(cloud).items()}
    assert len(list(find_shortcomings(drilled["web"], fleet, on_volumes=changed))) == 2


def test_the_table_names_stages_objectives_probes_rungs_and_what_was_torn_down(
    scene: tuple[InProcessCloud, Fleet], drilled: dict[str, Drilled]
) -> None:
    console = Console(width=200, file=io.StringIO())
    console.print(tabulate_drills([*drilled.values(), unproven(drilled["web"])], scene[1]))
    text = console.file.getvalue()
    for stage in ("select", "prepare", "preflight", "launch", "attach", "network", "probe", "tear-down"):
        assert stage in text
    for expected in (
        "objective 1 h: met",
        "objective 26 h: met",
        "objective 30 min: met",
        "db-1: r6i.2xlarge in us-west-2a, rung 1 of its ladder",
        "db-2: ssm systemctl is-active app: passed",
        "web-2: tcp 22: passed",
        "from snapshot sets",
        "from images",
        "EC2 showed of it: ",
        "no evidence at all",
    ):
        assert expected in text, text
    for torn_down in drilled["shop-db"].record["torn_down"]:
        assert torn_down in text


def unproven(drilled: Drilled) -> Drilled:
    return replace(drilled, record={}, verdict="no evidence at all", seen=Seen())


@pytest.mark.parametrize("rehearsal", REHEARSALS, ids=lambda each: each.group)
@pytest.mark.parametrize("step", STEPS)
def test_a_drill_of_the_fleet_that_is_killed_at_any_step_leaves_nothing_of_its_own(
    scene: tuple[InProcessCloud, Fleet], step: str, rehearsal: Rehearsal
) -> None:
    cloud, _ = scene
    everywhere = [cloud.client("ec2", region) for region in (PRIMARY, RECOVERY)]
    before = [describe_everything(ec2) for ec2 in everywhere]
    run = f"killed-in-{step}-{rehearsal.group}"

    def call(event: dict[str, Any]) -> dict[str, Any]:
        answer = cloud.of.run_step(event)
        if event["step"] == step:
            raise Stopped
        return answer

    with pytest.raises(Stopped):
        cloud.of.recover(run, call=call).play({"request": request_of(rehearsal)})
    cloud.of.end_execution(run)
    for _ in range(10):
        if not cloud.of.sweep().outcomes:
            break
        cloud.pause(1)
    left = [
        each
        for was, ec2 in zip(before, everywhere, strict=True)
        for each in find_leftovers(was, describe_everything(ec2))
    ]
    assert left == []
    assert record_of(cloud, run)["run"] == run


def test_what_is_left_and_what_is_lost_is_found(scene: tuple[InProcessCloud, Fleet]) -> None:
    cloud, _ = scene
    ec2 = cloud.client("ec2", RECOVERY)
    before = describe_everything(ec2)
    volume = ec2.create_volume(AvailabilityZone=f"{RECOVERY}a", Size=1)["VolumeId"]
    with_more = describe_everything(ec2)
    assert list(find_leftovers(before, with_more)) == [f"volume {volume} is left of the drills"]
    assert list(find_leftovers(with_more, before)) == [f"volume {volume} was there before the drills, and is gone"]
    cloud.pause(1)
    ec2.delete_volume(VolumeId=volume)
    assert list(find_leftovers(before, describe_everything(ec2))) == []
