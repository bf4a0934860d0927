"""A run's document says all that a step needs, and comes back as it was."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from hikae.domain.model import Kind
from hikae.domain.runs import (
    Member,
    Mode,
    ProbeResult,
    ProbeState,
    Request,
    Run,
    RunError,
    Rung,
    check_name,
    describe_failure,
    read_request,
    read_run,
    write_run,
)
from tests.unit.domain.builders import NOW

MEMBER = Member(
    resource="i-1",
    kind=Kind.SNAPSHOT_SET,
    point="rp-1",
    set_id="rp-1/1/t",
    source_time=NOW,
    manifest="manifests/x.json",
    account="123456789012",
    region="us-east-1",
    snapshots={"vol-1": "snap-1"},
    rungs=(Rung(type="m5.large", subnet="subnet-1", zone="us-west-2a"),),
    launched_at=NOW,
    probes=(ProbeResult(kind="tcp", value="443", state=ProbeState.PASSED, at=NOW),),
    notes=("a note",),
)
RUN = Run(
    name="drill-1",
    request=Request(mode=Mode.DRILL, plan="production", group="shop", before=NOW),
    began_at=NOW,
    members=(MEMBER,),
    missing={"i-2": "no point"},
    rejected={"rp-0/1/t": "corrupt"},
    torn_down=("i-9",),
)


def test_a_run_comes_back_from_json_as_it_was():
    run = RUN.begin("select", NOW).end("select", NOW + timedelta(seconds=1.5)).begin("launch", NOW)
    assert read_run(json.loads(json.dumps(write_run(run)))) == run


def test_a_key_of_a_later_version_is_left_alone():
    document = write_run(RUN) | {"later": 1}
    document["members"][0]["later"] = {}
    assert read_run(document) == RUN


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": None},
        {"began_at": "yesterday"},
        {"members": "none"},
        {"request": {"mode": "rescue"}},
        {"missing": []},
        {"members": [{"resource": 1}]},
        {"request": None},
    ],
)
def test_what_is_no_run_is_refused_with_where(change: dict[str, Any]):
    with pytest.raises(RunError, match=r"version|run"):
        read_run(write_run(RUN) | change)


def test_a_stage_that_is_begun_twice_keeps_its_first_begin_and_its_last_end():
    run = RUN.begin("launch", NOW).begin("launch", NOW + timedelta(minutes=1))
    assert run.stages["launch"].began_at == NOW
    again = run.end("launch", NOW + timedelta(minutes=2)).begin("launch", NOW + timedelta(minutes=3))
    assert (again.stages["launch"].began_at, again.stages["launch"].ended_at) == (NOW, None)


def test_one_member_is_changed_and_the_others_stay():
    other = replace(MEMBER, resource="i-2")
    run = replace(RUN, members=(MEMBER, other)).with_member(replace(other, instance="i-9"))
    assert [member.instance for member in run.members] == ["", "i-9"]


@pytest.mark.parametrize("name", ["drill-1", "a", "x" * 63])
def test_a_name_is_a_name(name: str):
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a/b", "a_b", "x" * 64, "../run"])
def test_what_would_not_fit_into_a_key_or_a_tag_is_no_name(name: str):
    with pytest.raises(RunError, match="is not the name of a run"):
        check_name(name)


def test_a_request_is_read():
    request = read_request({"mode": "restore", "resources": ["i-1"], "before": "2026-11-22T10:00:00Z", "partial": True})
    assert request == Request(mode=Mode.RESTORE, resources=("i-1",), before=NOW, partial=True)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"mode": "drill"}, "names neither a plan nor resources"),
        ({"plan": "production"}, "mode"),
        ({"mode": "rescue", "plan": "production"}, "rescue"),
        ({"mode": "drill", "plan": "production", "point": "rp-1"}, "exactly one resource"),
        ({"mode": "drill", "resources": ["i-1"], "group": "shop"}, "group goes with a plan"),
        ({"mode": "drill", "plan": "production", "user_data": "x"}, "user_data is not part of a request"),
        ({"mode": "drill", "resources": "i-1"}, "resources"),
        ({"mode": "drill", "plan": "production", "partial": "yes"}, "partial"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(request_: dict[str, Any], message: str):
    with pytest.raises(RunError, match=message):
        read_request(request_)


def test_where_a_run_was_is_the_step_under_way_or_the_one_before():
    assert RUN.whereabouts == ""
    selected = RUN.begin("select", NOW).end("select", NOW)
    assert selected.whereabouts == "after select: "
    launching = selected.begin("prepare", NOW).end("prepare", NOW).begin("launch", NOW)
    assert launching.whereabouts == "launch: "
    kept = read_run(json.loads(json.dumps(write_run(launching.end("launch", NOW)), sort_keys=True)))
    assert kept.whereabouts == "after launch: "


@pytest.mark.parametrize(
    ("caught", "said"),
    [
        ("", ""),
        (None, ""),
        ("it was stopped", "it was stopped"),
        ({"Error": "States.Timeout", "Cause": ""}, "States.Timeout: nobody had an answer in time"),
        ({"Error": "States.Timeout"}, "States.Timeout: nobody had an answer in time"),
        (
            {"Error": "Unreachable", "Cause": '{"errorMessage": "us-west-2: 503", "errorType": "Unreachable"}'},
            "Unreachable: us-west-2: 503",
        ),
        (
            {"Error": "Runtime.HandlerError", "Cause": '{"errorMessage": "x", "errorType": "KeyError"}'},
            "KeyError: x",
        ),
        ({"Error": "Lambda.TooManyRequestsException", "Cause": "Rate"}, "Lambda.TooManyRequestsException: Rate"),
        ({"Error": "Lambda.Unknown", "Cause": "[1]"}, "Lambda.Unknown: [1]"),
        ({}, "nobody knows why"),
    ],
)
def test_what_a_catch_was_given_is_said_in_words(caught: Any, said: str):
    assert describe_failure(caught) == said
