"""The record of a run says what it proved, and claims nothing that it did not."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from hikae.domain.evidence import Objective, achieved_rto, list_missed, make_record, outcome_of
from hikae.domain.runs import Mode, ProbeResult, ProbeState, Run, Stage
from tests.unit.domain.builders import NOW
from tests.unit.domain.test_runs import MEMBER, RUN


def done(**changes: Any) -> Run:
    stages = {"probe": Stage(began_at=NOW + timedelta(minutes=5), ended_at=NOW + timedelta(minutes=20))}
    member = replace(MEMBER, instance="i-9", source_time=NOW - timedelta(hours=1))
    return replace(RUN, members=(member,), missing={}, stages=stages, **changes)


def record(run: Run, **objective: Any) -> dict[str, Any]:
    return make_record(
        run,
        installation="main",
        account="123456789012",
        region="us-west-2",
        code_version="v1",
        objectives={"i-1": Objective(**objective)},
    )


def test_the_rto_runs_from_the_request_to_the_last_probe():
    assert achieved_rto(done()) == timedelta(minutes=20)
    made = record(done(), rto=timedelta(minutes=20), rpo=timedelta(minutes=59))
    assert (made["achieved_rto_seconds"], made["rto_met"]) == (1200, True)
    [member] = made["members"]
    assert (member["achieved_rpo_seconds"], member["rpo_met"]) == (3600, False)
    assert (made["stages"]["probe"]["seconds"], made["outcome"]) == (900, "succeeded")


def test_what_was_missed_is_named_by_how_much():
    made = record(done(), rto=timedelta(minutes=10), rpo=timedelta(minutes=59))
    assert list_missed(made) == (
        "RTO: 0:20:00, its objective is 10m",
        "RPO of i-1: 1:00:00, its objective is 59m",
    )


@pytest.mark.parametrize(
    ("run", "objective"),
    [
        (done(), {}),
        (done(), {"rto": timedelta(minutes=20), "rpo": timedelta(hours=1)}),
        (done(failure="launch: no capacity"), {"rto": timedelta(minutes=1), "rpo": timedelta(minutes=1)}),
    ],
    ids=["without objectives", "both met", "failed, which is heard as such"],
)
def test_nothing_else_was_missed(run: Run, objective: dict[str, Any]):
    assert list_missed(record(run, **objective)) == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"failure": "launch: no capacity"},
        {"left_behind": ("i-9: refused",)},
        {"probes": (ProbeResult(kind="tcp", value="443", state=ProbeState.FAILED),)},
        {"probes": (ProbeResult(kind="tcp", value="443"),)},
    ],
)
def test_a_run_that_proved_less_has_failed_and_has_no_rto(changes: dict[str, Any]):
    probes = changes.pop("probes", None)
    run = done(**changes)
    if probes is not None:
        run = run.with_member(replace(run.members[0], probes=probes))
    assert (outcome_of(run), achieved_rto(run)) == ("failed", None)
    made = record(run, rto=timedelta(hours=1))
    assert (made["achieved_rto_seconds"], made["rto_met"]) == (None, False)


@pytest.mark.parametrize("probed", [None, Stage(began_at=NOW)])
def test_a_run_that_never_came_to_the_end_of_its_probes_has_failed(probed: Stage | None):
    run = replace(done(), stages={"probe": probed} if probed else {"launch": Stage(began_at=NOW, ended_at=NOW)})
    assert outcome_of(run.with_member(replace(run.members[0], probes=()))) == "failed"


def test_without_an_objective_none_is_met_or_missed():
    made = record(done())
    assert (made["rto_met"], made["members"][0]["rpo_met"]) == (None, None)


def test_a_resource_without_a_point_fails_a_run_unless_a_part_was_asked_for():
    run = replace(done(), missing={"i-2": "no point"})
    assert outcome_of(run) == "failed"
    assert outcome_of(replace(run, request=replace(run.request, partial=True))) == "succeeded"


def test_a_restore_lists_what_a_person_now_has_and_a_drill_nothing():
    assert record(done())["remains"] == []
    restore = done()
    restore = replace(restore, request=replace(restore.request, mode=Mode.RESTORE))
    assert record(restore)["remains"] == ["i-9"]
