"""How an invocation tells what it did: one JSON log line per item, metrics that alarms watch, a summary as the answer.

Every failure names its resource. The metrics are CloudWatch's embedded metric format, so no call leaves the function.
"""

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from hikae.domain.model import Action
from hikae.domain.naming import format_time
from hikae.domain.runs import StepStatus
from hikae.ports import BrokenPlan, Outcome, Status

if TYPE_CHECKING:
    from hikae.domain.model import Unclear, Verdict
    from hikae.domain.runs import Step
    from hikae.operations.copy_recovery_points import Copying
    from hikae.operations.prune_recovery_points import Pruned
    from hikae.operations.recovery.start_drills import Started
    from hikae.operations.recovery.sweep import Swept
    from hikae.operations.schedule_backups import Tick

FAILED_RESOURCES = "FailedResources"
MISSED_SLOTS = "MissedSlots"
UNREADABLE_PLANS = "UnreadablePlans"
UNPROTECTABLE_RESOURCES = "UnprotectableResources"
CAPPED_DELETIONS = "CappedDeletions"
HELD_BACK_DELETIONS = "HeldBackDeletions"

FAILED_RUNS = "FailedRuns"

_REASON = 1000
_SHOWN = 100
"""The most missed slots of a rule that an answer lists, the newest ones; the metric counts all."""


@lru_cache(maxsize=1)
def get_logger() -> Logger:
    """The function's logger; its service is the function's folder, from the environment."""
    return Logger()


def report_tick(tick: "Tick") -> dict[str, Any]:
    """Report a run of schedule_backups."""
    log = get_logger()
    for rule in tick.rules:
        if rule.missed:
            log.error(
                "slots missed",
                plan=rule.plan,
                rule=rule.rule,
                missed=len(rule.missed),
                first=format_time(rule.missed[0]),
                last=format_time(rule.missed[-1]),
            )
    unprotectable = [outcome for rule in tick.rules for outcome in rule.unprotectable]
    skipped = [outcome for rule in tick.rules for outcome in rule.skipped]
    _log_outcomes((*unprotectable, *skipped, *tick.failures))
    _log_broken(tick.broken_plans)
    _emit(
        **{
            FAILED_RESOURCES: sum(outcome.is_failure for outcome in tick.failures),
            MISSED_SLOTS: tick.missed,
            UNREADABLE_PLANS: len(tick.broken_plans),
            UNPROTECTABLE_RESOURCES: len({outcome.resource for outcome in unprotectable}),
            "JobsSent": tick.jobs_sent,
        }
    )
    summary = {
        "jobs_sent": tick.jobs_sent,
        "rules": [
            {
                "plan": rule.plan,
                "rule": rule.rule,
                "slot": format_time(rule.slot) if rule.slot else None,
                "jobs_sent": rule.jobs_sent,
                "points_there": rule.points_there,
                "missed": [format_time(slot) for slot in rule.missed[-_SHOWN:]],
                "unprotectable": _by_reason(rule.unprotectable),
                "skipped": _by_reason(rule.skipped),
            }
            for rule in tick.rules
        ],
        "failed": _by_reason(outcome for outcome in tick.failures if outcome.is_failure),
        "broken_plans": [str(broken) for broken in tick.broken_plans],
    }
    log.info("tick", extra=summary)
    return summary


def report_jobs(outcomes: Sequence[Outcome], *, errors: int) -> None:
    """Report the jobs of one batch; `errors` is how many of them go back to the queue."""
    _log_outcomes(outcomes)
    _emit(
        **{
            FAILED_RESOURCES: sum(outcome.is_failure for outcome in outcomes),
            "PointsStarted": sum(outcome.status is Status.CREATED for outcome in outcomes),
            "JobsReturned": errors,
        }
    )


def report_copying(copying: "Copying") -> dict[str, Any]:
    """Report a run of copy_recovery_points; its outcomes were logged one by one, by `log_outcome`."""
    _log_unclear(copying.unclear)
    _log_broken(copying.broken_plans)
    _log_verdicts(copying.verdicts, Action.COPY)
    _emit(
        **{
            FAILED_RESOURCES: sum(outcome.is_failure for outcome in copying.outcomes),
            UNREADABLE_PLANS: len(copying.broken_plans),
            "CopiesStarted": sum(outcome.status is Status.CREATED for outcome in copying.outcomes),
            "CopiesLater": sum(outcome.status is Status.LATER for outcome in copying.outcomes),
            "CopiesInFlight": copying.in_flight,
            "CopiesWanted": copying.wanted,
        }
    )
    summary = {
        "wanted": copying.wanted,
        "in_flight": copying.in_flight,
        "started": sum(outcome.status is Status.CREATED for outcome in copying.outcomes),
        "later": sum(outcome.status is Status.LATER for outcome in copying.outcomes),
        "failed": {outcome.resource: outcome.reason for outcome in copying.outcomes if outcome.is_failure},
        "broken_plans": [str(broken) for broken in copying.broken_plans],
    }
    get_logger().info("copying", extra=summary)
    return summary


def report_pruning(pruned: "Pruned") -> dict[str, Any]:
    """Report a run of prune_recovery_points; its outcomes were logged one by one, by `log_outcome`."""
    log = get_logger()
    _log_unclear(pruned.unclear)
    _log_broken(pruned.broken_plans)
    _log_verdicts(pruned.verdicts, Action.EXPIRE)
    for verdict in pruned.verdicts:
        if verdict.id in pruned.withheld:
            log.warning("withheld", point=verdict.id, reasons=list(verdict.reasons))
    for place in pruned.unreachable:
        log.error("recovery Region unreachable; every point whose copy it should have is kept", place=place)
    deleted = sum(outcome.status is Status.DELETED for outcome in pruned.outcomes)
    _emit(
        **{
            FAILED_RESOURCES: sum(outcome.is_failure for outcome in pruned.outcomes) + len(pruned.unreachable),
            UNREADABLE_PLANS: len(pruned.broken_plans),
            CAPPED_DELETIONS: pruned.capped,
            HELD_BACK_DELETIONS: pruned.held_back,
            "Deleted": deleted,
        }
    )
    summary = {
        "dry_run": pruned.dry_run,
        "kept": sum(verdict.action is Action.KEEP for verdict in pruned.verdicts),
        "expired": {
            verdict.id: list(verdict.reasons) for verdict in pruned.verdicts if verdict.action is Action.EXPIRE
        },
        "deleted": deleted,
        "capped": pruned.capped,
        "held_back": pruned.held_back,
        "failed": {outcome.resource: outcome.reason for outcome in pruned.outcomes if outcome.is_failure},
        "unclear": {unclear.id: unclear.reason for unclear in pruned.unclear},
        "unreachable": list(pruned.unreachable),
        "broken_plans": [str(broken) for broken in pruned.broken_plans],
    }
    log.info("pruning", extra=summary)
    return summary


def report_step(step: str, run: str, taken: "Step") -> dict[str, Any]:
    """Report one step of a run; the answer is all that the state machine's history gets to see."""
    log = get_logger()
    write = log.error if taken.status is StepStatus.FAILED else log.info
    write("step", step=step, run=run, status=taken.status.value, reason=taken.reason)
    has_failed = step == "record" and taken.status is StepStatus.FAILED
    if step == "record":
        _emit(**{FAILED_RUNS: int(has_failed)})
    return {"status": taken.status.value, "reason": taken.reason[:_REASON], "wait": taken.wait}


def report_sweep(swept: "Swept") -> dict[str, Any]:
    """Report what became of runs that nobody looked after; whatever was left of a run is a failure of that run."""
    _log_outcomes(swept.outcomes)
    ended = [outcome for outcome in swept.outcomes if outcome.status is Status.DELETED]
    failed = [outcome for outcome in swept.outcomes if outcome.is_failure]
    _emit(**{FAILED_RUNS: len(ended), FAILED_RESOURCES: len(failed)})
    return {"ended": _by_reason(ended), "failed": _by_reason(failed)}


def report_drills(started: "Started") -> dict[str, Any]:
    """Report the drills that were due."""
    _log_outcomes(started.outcomes)
    _log_broken(started.broken_plans)
    failed = [outcome for outcome in started.outcomes if outcome.is_failure]
    _emit(**{FAILED_RESOURCES: len(failed), UNREADABLE_PLANS: len(started.broken_plans)})
    return {
        "started": [outcome.resource for outcome in started.outcomes if outcome.status is Status.CREATED],
        "failed": _by_reason(failed),
        "broken_plans": [str(broken) for broken in started.broken_plans],
    }


def log_outcome(outcome: Outcome) -> None:
    """Log what became of one item, at once."""
    log = get_logger()
    # Hundreds may have to wait for a free place, in every run: that is no news.
    quiet = log.debug if outcome.status is Status.LATER else log.info
    write = log.error if outcome.is_failure else quiet
    write(
        outcome.status.value,
        resource=outcome.resource,
        point=outcome.point,
        reason=outcome.reason,
        ids=list(outcome.created),
    )


def _log_outcomes(outcomes: Iterable[Outcome]) -> None:
    for outcome in outcomes:
        log_outcome(outcome)


def _log_verdicts(verdicts: "Iterable[Verdict]", acting: Action) -> None:
    log = get_logger()
    for verdict in verdicts:
        write = log.info if verdict.action is acting else log.debug
        write(verdict.action.value, point=verdict.id, reasons=list(verdict.reasons))


def _log_unclear(unclear: "Iterable[Unclear]") -> None:
    for each in unclear:
        get_logger().warning("left alone", resource=each.id, reason=each.reason)


def _log_broken(broken_plans: Iterable[BrokenPlan]) -> None:
    for broken in broken_plans:
        get_logger().error(
            "plan cannot be read", plan=broken.key, problems=[str(problem) for problem in broken.problems]
        )


def _by_reason(outcomes: Iterable[Outcome]) -> dict[str, str]:
    return {outcome.resource: outcome.reason for outcome in outcomes}


def _emit(**values: int) -> None:
    metrics = Metrics()
    # Several sites and installations may share an account and Region, and each has alarms of its own.
    for dimension in ("installation", "site"):
        metrics.add_dimension(name=dimension, value=os.environ[f"HIKAE_{dimension.upper()}"])
    for name, value in values.items():
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
    metrics.flush_metrics()
