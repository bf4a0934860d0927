"""The recover function, given its event files as Step Functions, a schedule and a rule would give them."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hikae.domain.model import SiteRole
from hikae.domain.naming import format_time, parse_time
from hikae.domain.runs import RunError
from local.inprocess import SNAPSHOT_PLAN
from local.twin import faults
from tests.functional.handlers.conftest import Functions, load_event, load_handler

DRILL = 'drill:\n  schedule: "0 4 * * 6"\n  group_by: tag:Service\n'


def invoke(functions: Functions, event: dict[str, Any]) -> dict[str, Any]:
    return functions.invoke("recover", event, site=SiteRole.RECOVERY)


def protect(functions: Functions) -> None:
    installation = functions.installation
    installation.launch(tags={"Backup": "production", "Service": "shop"})
    installation.apply("production", SNAPSHOT_PLAN + DRILL)
    installation.back_up()
    installation.copy_all()


def let_it_be_known(functions: Functions) -> None:
    """Let the run of `select` have begun so long ago that its execution would show if there were one."""
    site = functions.installation.recovery_site()
    run = site.load("drill-production-shop")
    site.save(replace(run, began_at=run.began_at - timedelta(minutes=10)))


def test_a_step_answers_with_its_status_and_keeps_the_rest_in_the_bucket(functions: Functions) -> None:
    protect(functions)
    answer = invoke(functions, load_event("recover/select"))
    assert answer == {"status": "done", "reason": "", "wait": 0}
    run = functions.installation.document("recovery/drill-production-shop/run.json")
    assert (run["request"]["started_by"], len(run["members"])) == ("somebody", 1)


def test_a_step_that_cannot_be_done_says_why(functions: Functions, caplog: pytest.LogCaptureFixture) -> None:
    answer = invoke(functions, load_event("recover/select"))
    assert (answer["status"], answer["reason"]) == ("failed", "plan production is not at this site")
    [line] = [vars(record) for record in caplog.records if record.levelname == "ERROR"]
    assert (line["run"], line["reason"]) == ("drill-production-shop", "plan production is not at this site")


def test_the_execution_is_who_started_it_where_nobody_says_so(functions: Functions) -> None:
    protect(functions)
    event = load_event("recover/select")
    del event["request"]["started_by"]
    invoke(functions, event)
    run = functions.installation.document("recovery/drill-production-shop/run.json")
    assert run["request"]["started_by"] == event["started_by"]


def test_a_sweep_ends_what_has_no_execution(functions: Functions) -> None:
    protect(functions)
    invoke(functions, load_event("recover/select"))
    assert invoke(functions, load_event("recover/sweep")) == {"ended": {}, "failed": {}}  # it may not show yet
    let_it_be_known(functions)
    answer = invoke(functions, load_event("recover/sweep"))
    assert answer == {
        "ended": {"drill-production-shop": "after select: its execution ended before it was recorded"},
        "failed": {},
    }
    evidence = functions.installation.document("evidence/drill-production-shop.json")
    assert json.loads(evidence["record"])["outcome"] == "failed"
    assert invoke(functions, load_event("recover/sweep")) == {"ended": {}, "failed": {}}


def test_a_run_whose_evidence_has_had_its_time_is_not_recorded_again(functions: Functions) -> None:
    protect(functions)
    invoke(functions, load_event("recover/select"))
    let_it_be_known(functions)
    invoke(functions, load_event("recover/sweep"))
    documents = functions.installation.recovery_site().documents
    key = "recovery/drill-production-shop/run.json"
    run = documents.read(key)
    documents.write(key, {**run, "ended_at": format_time(parse_time(run["ended_at"]) - timedelta(days=1))})
    documents.delete("evidence/drill-production-shop.json")
    assert invoke(functions, load_event("recover/sweep")) == {"ended": {}, "failed": {}}
    assert list(documents.keys("evidence/")) == []


def test_a_run_that_was_over_when_its_recording_died_is_recorded_by_the_next_sweep(functions: Functions) -> None:
    protect(functions)
    invoke(functions, load_event("recover/select"))
    let_it_be_known(functions)
    documents = functions.installation.recovery_site().documents

    with faults.killed_before("Sign"), pytest.raises(faults.Killed):
        invoke(functions, load_event("recover/sweep"))
    assert documents.read("recovery/drill-production-shop/run.json")["ended_at"] is not None
    assert list(documents.keys("evidence/")) == []
    assert "drill-production-shop" in invoke(functions, load_event("recover/sweep"))["ended"]
    assert list(documents.keys("evidence/")) == ["evidence/drill-production-shop.json"]


def test_drills_that_are_due_are_started(functions: Functions) -> None:
    protect(functions)
    answer = invoke(functions, load_event("recover/start-drills"))
    assert answer["failed"] == {}
    [name] = answer["started"]
    assert name.startswith("drill-production-20261121t0400-")
    assert invoke(functions, load_event("recover/start-drills"))["started"] == []


@pytest.mark.parametrize("case", ["start-drills", "check-readiness"])
def test_no_drill_is_started_and_no_readiness_asked_for_as_of_a_time_to_come(functions: Functions, case: str) -> None:
    functions.takes_future_now = False
    ahead = format_time(datetime.now(tz=UTC) + timedelta(hours=1))
    with pytest.raises(ValueError, match="a time that has come"):
        invoke(functions, load_event(f"recover/{case}") | {"now": ahead})


@pytest.mark.parametrize(
    ("case", "said", "not_said"),
    [
        ("sweep", "SucceededSweeps", "SucceededDrillStarts"),
        ("start-drills", "SucceededDrillStarts", "SucceededSweeps"),
        ("check-readiness", "SucceededReadinessChecks", "SucceededSweeps"),
    ],
)
def test_each_of_its_schedules_says_by_itself_that_its_run_came_to_its_end(
    functions: Functions, capsys: pytest.CaptureFixture[str], case: str, said: str, not_said: str
) -> None:
    invoke(functions, load_event(f"recover/{case}"))
    printed = capsys.readouterr().out
    assert f'"{said}":[1.0]' in printed.replace(" ", "")
    assert not_said not in printed


def test_what_a_restore_would_lack_is_counted_named_and_answered(
    functions: Functions, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    protect(functions)
    vpc = functions.installation.restore_vpc
    functions.installation.set_recovery_settings(f"version: 1\ndefault_security_groups: [{vpc['group']}]\n")
    answer = invoke(functions, load_event("recover/check-readiness"))
    assert answer["is_ready"] is False
    [(what, remedy)] = answer["lacking"].items()
    assert what.startswith("no subnet stands for subnet-")
    assert remedy == "name it under subnets or default_subnets in recovery/settings.yaml in this site's bucket"
    assert '"ReadinessGaps":[1.0]' in capsys.readouterr().out.replace(" ", "")
    [line] = [vars(record) for record in caplog.records if record.levelname == "ERROR"]
    assert (line["what"], line["remedy"], len(line["resources"])) == (what, remedy, 1)

    functions.installation.set_recovery_settings(
        f"version: 1\ndefault_subnets: [{vpc['a']}]\ndefault_security_groups: [{vpc['group']}]\n"
    )
    answer = invoke(functions, load_event("recover/check-readiness"))
    assert (answer["is_ready"], answer["lacking"]) == (True, {})
    assert '"ReadinessGaps":[0.0]' in capsys.readouterr().out.replace(" ", "")


def test_a_drill_that_succeeds_from_a_point_older_than_its_rpo_is_heard(
    functions: Functions, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    protect(functions)
    request = {"mode": "drill", "plan": "production", "started_by": "somebody"}

    def call(event: dict[str, Any]) -> dict[str, Any]:
        """The function records; the twin's clock rules the other steps, in which time has to pass."""
        return invoke(functions, event) if event["step"] == "record" else functions.installation.run_step(event)

    for name, missed in (("drill-1", 0), ("drill-2", 1)):
        capsys.readouterr()
        player = functions.installation.recover(name, call=call)
        assert player.play({"request": request}) == "SUCCEEDED"
        assert f'"MissedObjectives":[{missed}.0]' in capsys.readouterr().out.replace(" ", "")
        functions.installation.advance(hours=3)
    [line] = [vars(record) for record in caplog.records if record.levelname == "ERROR"]
    assert (line["run"], line["reason"].partition(":")[0][:6]) == ("drill-2", "RPO of")
    assert line["reason"].endswith("its objective is 2h")


def test_a_step_that_is_none_is_refused(functions: Functions) -> None:
    with pytest.raises(RunError, match="'dance' is not a step"):
        invoke(functions, {"step": "dance", "run": "drill-1"})


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"run": "../x", "request": {"mode": "drill", "plan": "p"}}, "'../x' is not the name of a run"),
        ({"run": "drill-1", "request": {"mode": "drill"}}, "names neither a plan nor resources"),
        ({"run": "drill-1"}, "names neither a plan nor resources"),
    ],
)
def test_what_nobody_can_carry_out_has_failed_at_once(functions: Functions, event: dict[str, Any], reason: str) -> None:
    for step in ("select", "tear-down", "record"):
        answer = invoke(functions, {"step": step, **event})
        assert answer["status"] == "failed"
        assert reason in answer["reason"] or "mode" in answer["reason"]
    assert list(functions.installation.recovery_site().documents.keys("recovery/")) == []


def test_the_probing_function_answers_without_any_setting() -> None:
    [question] = load_event("probe_network/tcp")["questions"]
    event = {"questions": [question | {"value": "1"}, question | {"value": "2"}]}
    assert [each["ok"] for each in load_handler("probe_network")(event, None)["answers"]] == [False, False]
