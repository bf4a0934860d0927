"""How an invocation tells what it did: one JSON log line per item, metrics that alarms watch, a summary as the answer.

Every failure names its resource. The metrics are CloudWatch's embedded metric format, so no call leaves the function.
Lambda refuses an answer of more than 6 MB, so each shows the first of what may be very many, and how many more there
are: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from hikae.domain.model import Action
from hikae.domain.naming import format_time
from hikae.domain.objectives import Standing
from hikae.domain.runs import StepStatus
from hikae.ports import BrokenPlan, Outcome, Status

if TYPE_CHECKING:
    from hikae.domain.model import Unclear, Verdict
    from hikae.domain.objectives import Measurement
    from hikae.domain.runs import Step
    from hikae.operations.check_readiness import Readiness
    from hikae.operations.copy_recovery_points import Copying
    from hikae.operations.prune_recovery_points import Pruned
    from hikae.operations.recovery.start_drills import Started
    from hikae.operations.recovery.sweep import Swept
    from hikae.operations.report_objectives import Report
    from hikae.operations.schedule_backups import Tick

FAILED_RESOURCES = "FailedResources"
MISSED_SLOTS = "MissedSlots"
UNREADABLE_PLANS = "UnreadablePlans"
UNPROTECTABLE_RESOURCES = "UnprotectableResources"
CAPPED_DELETIONS = "CappedDeletions"
HELD_BACK_DELETIONS = "HeldBackDeletions"
UNREADABLE_QUOTAS = "UnreadableQuotas"
BREACHED_OBJECTIVES = "BreachedObjectives"
UNCOVERED_RESOURCES = "UncoveredResources"
INVENTORY_PROBLEMS = "InventoryProblems"
SUCCEEDED_RUNS = "SucceededRuns"
"""One for each scheduled run that came to its end; that none comes is what the alarms on silence wait for."""
SUCCEEDED_SWEEPS = "SucceededSweeps"
SUCCEEDED_DRILL_STARTS = "SucceededDrillStarts"
SUCCEEDED_READINESS_CHECKS = "SucceededReadinessChecks"
"""As above, of the one function that three schedules run: one must not be heard for the other."""
READINESS_GAPS = "ReadinessGaps"
"""How much lacks for restoring what is protected."""
OUTCOMES = "Outcomes"
"""How many items ended in each `status`, which is a dimension; a status that did not occur costs no metric."""
ACHIEVED_RPO = "AchievedRpo"
"""Seconds since the source time of the newest complete copy: of a site, and of a plan, the worst."""

_PLANS = 20
"""The most plans that have metrics of their own, the worst ones; the report has all."""

FAILED_RUNS = "FailedRuns"
MISSED_OBJECTIVES = "MissedObjectives"
"""How many objectives a restore or drill has not met although it succeeded."""

_REASON = 1000
_SHOWN = 100
"""The most of one kind that an answer lists; the metrics count all."""


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
    _log_outcomes((*unprotectable, *tick.failures))
    for outcome in skipped:
        # The same ones in every tick, of a large fleet thousands: that is no news.
        log.debug(outcome.status.value, resource=outcome.resource, reason=outcome.reason)
    _log_broken(tick.broken_plans)
    _emit(
        **{
            FAILED_RESOURCES: sum(outcome.is_failure for outcome in tick.failures),
            MISSED_SLOTS: tick.missed,
            UNREADABLE_PLANS: len(tick.broken_plans),
            UNPROTECTABLE_RESOURCES: len({outcome.resource for outcome in unprotectable}),
            "JobsSent": tick.jobs_sent,
            SUCCEEDED_RUNS: 1,
        }
    )
    _emit_outcomes((*unprotectable, *skipped, *tick.failures))
    summary = _show(
        {
            "jobs_sent": tick.jobs_sent,
            "rules": [
                _show(
                    {
                        "plan": rule.plan,
                        "rule": rule.rule,
                        "slot": format_time(rule.slot) if rule.slot else None,
                        "jobs_sent": rule.jobs_sent,
                        "points_there": rule.points_there,
                        "missed": [format_time(slot) for slot in reversed(rule.missed)],
                        "unprotectable": _by_resource(rule.unprotectable),
                        "unprotectable_reasons": _count_reasons(rule.unprotectable),
                        "skipped": _by_resource(rule.skipped),
                        "skipped_reasons": _count_reasons(rule.skipped),
                    }
                )
                for rule in tick.rules
            ],
            "failed": _by_resource(outcome for outcome in tick.failures if outcome.is_failure),
            "broken_plans": [str(broken) for broken in tick.broken_plans],
        }
    )
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
    _emit_outcomes(outcomes)


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
            "UnclearResources": len(copying.unclear),
            UNREADABLE_QUOTAS: sum(bool(limit.problem) for limit in copying.limits.values()),
            SUCCEEDED_RUNS: 1,
        }
    )
    _emit_outcomes(copying.outcomes)
    for kind, limit in copying.limits.items():
        if limit.problem:
            get_logger().warning("quota cannot be read", copies=kind, limit=limit.value, reason=limit.problem)
    summary = _show(
        {
            "wanted": copying.wanted,
            "in_flight": copying.in_flight,
            "started": sum(outcome.status is Status.CREATED for outcome in copying.outcomes),
            "later": sum(outcome.status is Status.LATER for outcome in copying.outcomes),
            "limits": {
                kind: f"{limit.value}: {limit.problem or limit.reason}" for kind, limit in copying.limits.items()
            },
            "failed": {outcome.resource: outcome.reason for outcome in copying.outcomes if outcome.is_failure},
            "broken_plans": [str(broken) for broken in copying.broken_plans],
        }
    )
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
            "UnclearResources": len(pruned.unclear),
            # A dry run is no pruning, however often it is asked for.
            SUCCEEDED_RUNS: 0 if pruned.dry_run else 1,
        }
    )
    _emit_outcomes(pruned.outcomes)
    summary = _show(
        {
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
    )
    log.info("pruning", extra=summary)
    return summary


def report_step(step: str, run: str, taken: "Step") -> dict[str, Any]:
    """Report one step of a run; the answer is all that the state machine's history gets to see."""
    log = get_logger()
    write = log.error if taken.status is StepStatus.FAILED else log.info
    write("step", step=step, run=run, status=taken.status.value, reason=taken.reason)
    for missed in taken.missed:
        log.error("objective not met", run=run, reason=missed)
    if step == "record":
        has_failed = taken.status is StepStatus.FAILED
        _emit(**{FAILED_RUNS: int(has_failed), MISSED_OBJECTIVES: len(taken.missed)})
    return {"status": taken.status.value, "reason": taken.reason[:_REASON], "wait": taken.wait}


def report_sweep(swept: "Swept") -> dict[str, Any]:
    """Report what became of runs that nobody looked after; whatever was left of a run is a failure of that run."""
    _log_outcomes(swept.outcomes)
    ended = [outcome for outcome in swept.outcomes if outcome.status is Status.DELETED]
    failed = [outcome for outcome in swept.outcomes if outcome.is_failure]
    _emit(**{FAILED_RUNS: len(ended), FAILED_RESOURCES: len(failed), SUCCEEDED_SWEEPS: 1})
    _emit_outcomes(swept.outcomes)
    return _show({"ended": _by_resource(ended), "failed": _by_resource(failed)})


def report_drills(started: "Started") -> dict[str, Any]:
    """Report the drills that were due."""
    _log_outcomes(started.outcomes)
    _log_broken(started.broken_plans)
    failed = [outcome for outcome in started.outcomes if outcome.is_failure]
    _emit(
        **{
            FAILED_RESOURCES: len(failed),
            UNREADABLE_PLANS: len(started.broken_plans),
            SUCCEEDED_DRILL_STARTS: 1,
        }
    )
    _emit_outcomes(started.outcomes)
    return _show(
        {
            "started": [outcome.resource for outcome in started.outcomes if outcome.status is Status.CREATED],
            "failed": _by_resource(failed),
            "broken_plans": [str(broken) for broken in started.broken_plans],
        }
    )


def report_objectives(report: "Report", *, is_of_now: bool = True) -> dict[str, Any]:
    """Report a run of report_objectives, beside the document that it has stored.

    One of another time says nothing to the metrics: their alarms are about now.
    """
    log = get_logger()
    for source in report.sources:
        for problem in source.problems:
            log.error("what is protected is not known for sure", primary=str(source.place), reason=problem)
        for broken in source.broken_plans:
            log.error("plan cannot be read", primary=str(source.place), plan=broken)
        for each in source.unprotectable:
            log.warning("unprotectable", resource=each.group.resource, plan=each.group.plan, reason=each.reason)
    for problem in report.problems:
        log.error("the last report is lost", reason=problem)
    failures = [each for each in report.measurements if each.is_failure]
    for measured in failures:
        log.error(measured.standing.value, **_measured(measured))
    if is_of_now:
        _emit_objectives(report)
    summary = _show(
        {
            "reported_at": format_time(report.reported_at),
            **{standing.value: report.count(standing) for standing in Standing},
            "failed": [_measured(measured) for measured in failures],
            "problems": [
                *report.problems,
                *(f"{source.place}: {problem}" for source in report.sources for problem in source.problems),
            ],
            "broken_plans": [
                f"{source.place}: {broken}" for source in report.sources for broken in source.broken_plans
            ],
            "unprotectable": {
                each.group.resource: each.reason for source in report.sources for each in source.unprotectable
            },
        }
    )
    log.info("objectives", extra=summary)
    return summary


def _emit_objectives(report: "Report") -> None:
    _emit(
        **{
            BREACHED_OBJECTIVES: report.count(Standing.BREACHED),
            UNCOVERED_RESOURCES: report.count(Standing.NEVER),
            INVENTORY_PROBLEMS: len(report.problems) + sum(len(source.problems) for source in report.sources),
            UNREADABLE_PLANS: sum(len(source.broken_plans) for source in report.sources),
            UNPROTECTABLE_RESOURCES: len(
                {(each.group.place, each.group.resource) for source in report.sources for each in source.unprotectable}
            ),
            "MeasuredObjectives": len(report.measurements),
            SUCCEEDED_RUNS: 1,
        }
    )
    _emit_achieved(report.measurements)


def report_readiness(found: "Readiness") -> dict[str, Any]:
    """Report what a restore would lack; a warning stops none and is no gap."""
    log = get_logger()
    for finding in found.findings:
        write = log.error if finding in found.gaps else log.warning
        write(finding.severity.value, what=finding.what, remedy=finding.remedy, resources=list(finding.resources))
    _emit(**{READINESS_GAPS: len(found.gaps), SUCCEEDED_READINESS_CHECKS: 1})
    return _show(
        {
            "is_ready": found.is_ready,
            "lacking": {finding.what: finding.remedy for finding in found.gaps},
            "warnings": [finding.what for finding in found.findings if finding not in found.gaps],
            "fetched": list(found.fetched),
        }
    )


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


def _by_resource(outcomes: Iterable[Outcome]) -> dict[str, str]:
    return {outcome.resource: outcome.reason for outcome in outcomes}


def _count_reasons(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How often each reason was given, the most frequent one first."""
    return dict(Counter(outcome.reason for outcome in outcomes).most_common())


def _show(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer with the first of whatever it lists, and under `not_shown` how many more there are."""
    shown, more = dict(answer), {}
    for key, value in answer.items():
        if isinstance(value, (dict, list)) and len(value) > _SHOWN:
            more[key] = len(value) - _SHOWN
            shown[key] = dict(islice(value.items(), _SHOWN)) if isinstance(value, dict) else value[:_SHOWN]
    return {**shown, "not_shown": more} if more else shown


def _measured(measured: "Measurement") -> dict[str, Any]:
    group = measured.group
    return {
        "primary": str(group.place),
        "plan": group.plan,
        "rule": group.rule,
        "resource": group.resource,
        "reason": measured.reason,
    }


def _emit_achieved(measurements: "Iterable[Measurement]") -> None:
    """The worst achieved RPO of the site, and of each plan with what it owes; without any copy there is no figure."""
    worst: dict[str, int] = {}
    unmet: Counter[str] = Counter()
    for measured in measurements:
        unmet[measured.group.plan] += measured.is_failure
        seconds = measured.achieved_seconds
        if seconds is not None:
            worst[measured.group.plan] = max(seconds, worst.get(measured.group.plan, 0))
    if worst:
        _emit_with({}, {ACHIEVED_RPO: max(worst.values())}, unit=MetricUnit.Seconds)
    plans = sorted(unmet, key=lambda plan: (-unmet[plan], -worst.get(plan, 0), plan))
    if len(plans) > _PLANS:
        get_logger().warning("too many plans for metrics of their own", left_out=plans[_PLANS:])
    for plan in plans[:_PLANS]:
        _emit_with({"plan": plan}, {"UnmetObjectives": unmet[plan]})
        if plan in worst:
            _emit_with({"plan": plan}, {ACHIEVED_RPO: worst[plan]}, unit=MetricUnit.Seconds)


def _emit_outcomes(outcomes: Iterable[Outcome]) -> None:
    for status, number in Counter(outcome.status for outcome in outcomes).items():
        _emit_with({"status": status.value}, {OUTCOMES: number})


def _emit(**values: int) -> None:
    _emit_with({}, values)


def _emit_with(
    dimensions: Mapping[str, str], values: Mapping[str, int], *, unit: MetricUnit = MetricUnit.Count
) -> None:
    metrics = Metrics()
    # Several sites and installations may share an account and Region, and each has alarms of its own.
    for dimension in ("installation", "site"):
        metrics.add_dimension(name=dimension, value=os.environ[f"HIKAE_{dimension.upper()}"])
    for dimension, which in dimensions.items():
        metrics.add_dimension(name=dimension, value=which)
    for name, value in values.items():
        metrics.add_metric(name=name, unit=unit, value=value)
    metrics.flush_metrics()
