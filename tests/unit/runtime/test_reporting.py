"""Answers that Lambda takes, of fleets of any size: it refuses one of more than 6 MB, and the run has failed."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from hikae.domain.model import Action, Verdict
from hikae.operations.prune_recovery_points import Pruned
from hikae.operations.recovery.sweep import Swept
from hikae.operations.schedule_backups import RuleOutcome, Tick
from hikae.ports import BrokenPlan, Outcome, Status
from hikae.runtime import reporting

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
MEGABYTE = 1024 * 1024


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HIKAE_INSTALLATION", "main")
    monkeypatch.setenv("HIKAE_SITE", "primary")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "hikae")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "schedule_backups")
    reporting.get_logger.cache_clear()
    yield
    reporting.get_logger.cache_clear()


def outcomes(number: int, status: Status, reason: str) -> tuple[Outcome, ...]:
    return tuple(Outcome(resource=f"i-{each:017x}", status=status, reason=reason) for each in range(number))


def rule(number: int, **differences: tuple[Outcome, ...] | tuple[datetime, ...]) -> RuleOutcome:
    known = {
        "plan": "production",
        "rule": f"rule-{number}",
        "slot": NOW,
        "jobs_sent": 0,
        "points_there": 0,
        "missed": (),
        "unprotectable": (),
    }
    return RuleOutcome(**{**known, **differences})  # type: ignore[arg-type] # a table of the fields


def test_a_tick_over_a_large_fleet_answers_with_counts_by_reason_and_the_first_of_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stores = outcomes(40_000, Status.SKIPPED, "an instance store: instance stores are in no snapshot and no image")
    drilled = outcomes(3, Status.SKIPPED, "the drill drill-7 made it")
    roots = outcomes(250, Status.FAILED, "its root device is an instance store")
    rules = tuple(rule(each, skipped=drilled + stores, unprotectable=roots) for each in range(3))
    with caplog.at_level(logging.INFO):
        answer = reporting.report_tick(Tick(rules=rules, broken_plans=()))
    assert len(json.dumps(answer)) < MEGABYTE / 8
    for told in answer["rules"]:
        assert list(told["skipped_reasons"].items()) == [(stores[0].reason, 40_000), (drilled[0].reason, 3)]
        assert told["unprotectable_reasons"] == {roots[0].reason: 250}
        assert len(told["skipped"]) == len(told["unprotectable"]) == 100
        assert told["not_shown"] == {"unprotectable": 150, "skipped": 39_900}
    # What nobody can do anything about is no news; what somebody has to hear of is named one by one.
    levels = [record.levelname for record in caplog.records]
    assert (levels.count("ERROR"), levels.count("INFO")) == (750, 1)


def test_what_is_little_is_shown_whole_and_nothing_is_said_of_more() -> None:
    few = outcomes(100, Status.SKIPPED, "it is shutting down for good")
    answer = reporting.report_tick(Tick(rules=(rule(1, skipped=few),), broken_plans=()))
    assert len(answer["rules"][0]["skipped"]) == 100
    assert "not_shown" not in answer["rules"][0]
    assert "not_shown" not in answer


def test_of_very_many_missed_slots_the_newest_are_listed_and_the_others_counted() -> None:
    missed = tuple(NOW + timedelta(minutes=each) for each in range(150))
    [told] = reporting.report_tick(Tick(rules=(rule(1, missed=missed),), broken_plans=()))["rules"]
    assert (len(told["missed"]), told["not_shown"]) == (100, {"missed": 50})
    assert (told["missed"][0], told["missed"][-1]) == ("2026-11-22T12:29:00Z", "2026-11-22T10:50:00Z")


def test_no_number_of_rules_reasons_slots_and_plans_makes_an_answer_that_lambda_refuses() -> None:
    """Each at the most that the longest texts come to."""
    each_its_own = tuple(
        Outcome(resource=f"i-{each:017x}", status=Status.SKIPPED, reason=f"{'a reason ' * 12}{each}")
        for each in range(1000)
    )
    missed = tuple(NOW + timedelta(minutes=each) for each in range(1000))
    rules = tuple(rule(each, skipped=each_its_own, unprotectable=each_its_own, missed=missed) for each in range(150))
    answer = reporting.report_tick(
        Tick(rules=rules, broken_plans=tuple([BrokenPlan(key="plans/x", problems=())] * 200))
    )
    assert len(json.dumps(answer)) < 6 * MEGABYTE
    assert answer["not_shown"] == {"rules": 50, "broken_plans": 100}


def test_a_pruning_run_that_lets_very_much_go_says_how_much_it_does_not_list() -> None:
    verdicts = tuple(
        Verdict(id=f"snap-{each:017x}", action=Action.EXPIRE, reasons=("no rule keeps it",)) for each in range(50_000)
    )
    pruned = Pruned(
        points=(),
        verdicts=verdicts,
        withheld={},
        gone=frozenset(),
        outcomes=outcomes(5000, Status.FAILED, "refused"),
        unclear=(),
        broken_plans=(),
        unreachable=(),
        capped=0,
        held_back=0,
        dry_run=True,
    )
    answer = reporting.report_pruning(pruned)
    assert (len(answer["expired"]), len(answer["failed"])) == (100, 100)
    assert answer["not_shown"] == {"expired": 49_900, "failed": 4900}


def test_a_sweep_of_very_many_runs_says_how_many_it_does_not_list() -> None:
    answer = reporting.report_sweep(Swept(outcomes=outcomes(150, Status.DELETED, "it was stopped")))
    assert (len(answer["ended"]), answer["not_shown"]) == (100, {"ended": 50})
