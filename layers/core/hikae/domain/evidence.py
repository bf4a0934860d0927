"""The record of a run: what it used, how long it took, what it proved, what it left."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from hikae.domain.plan_grammar import write_duration
from hikae.domain.runs import Member, Mode, ProbeState, Run, encode

EVIDENCE_VERSION: Final = 1
RECOVERY_STAGES: Final = ("select", "prepare", "preflight", "launch", "attach", "network", "probe")
"""What counts towards the RTO: from the request to the last probe, without teardown and paperwork."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What the plan asks of one resource."""

    rpo: timedelta | None = None
    rto: timedelta | None = None


def outcome_of(run: Run) -> str:
    """`succeeded`, or `failed`: a step or probe did or was never reached, a point lacked, something is left behind."""
    probes = (probe for member in run.members for probe in member.probes)
    is_unproven = any(probe.state is not ProbeState.PASSED for probe in probes)
    is_partial = not run.members or (bool(run.missing) and not run.request.partial)
    probed = run.stages.get(RECOVERY_STAGES[-1])
    is_unfinished = probed is None or probed.ended_at is None
    return "failed" if run.failure or is_unproven or is_partial or is_unfinished or run.left_behind else "succeeded"


def achieved_rto(run: Run) -> timedelta | None:
    """From the run's begin to the end of the last probe; None where it did not get there."""
    probe = run.stages.get("probe")
    if outcome_of(run) != "succeeded" or probe is None or probe.ended_at is None:
        return None
    return probe.ended_at - run.began_at


def make_record(  # noqa: PLR0913 - what a record is made of
    run: Run, *, installation: str, account: str, region: str, code_version: str, objectives: Mapping[str, Objective]
) -> dict[str, Any]:
    """The record that is signed. Durations are seconds; what was not reached is null."""
    rto = achieved_rto(run)
    targets = [objective.rto for objective in objectives.values() if objective.rto is not None]
    target = min(targets) if targets else None
    return {
        "version": EVIDENCE_VERSION,
        "installation": installation,
        "account": account,
        "region": region,
        "run": run.name,
        "mode": run.request.mode.value,
        "request": encode(run.request),
        "began_at": encode(run.began_at),
        "ended_at": encode(run.ended_at),
        "outcome": outcome_of(run),
        "failure": run.failure or None,
        "achieved_rto_seconds": _seconds(rto),
        "rto_objective_seconds": _seconds(target),
        "rto_met": None if target is None else rto is not None and rto <= target,
        "stages": {
            name: {
                "began_at": encode(stage.began_at),
                "seconds": _seconds(stage.ended_at - stage.began_at) if stage.ended_at else None,
            }
            for name, stage in run.stages.items()
        },
        "members": [_member(member, run, objectives.get(member.resource, Objective())) for member in run.members],
        "missing": dict(run.missing),
        "left_out": dict(run.left_out),
        "rejected_points": dict(run.rejected),
        "torn_down": list(run.torn_down),
        "left_behind": list(run.left_behind),
        "remains": _remains(run),
        "code_version": code_version,
    }


def list_missed(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The objectives that a run which succeeded has not met, in words; of one that failed, its failure says more."""
    if record["outcome"] != "succeeded":
        return ()
    missed = []
    if record["rto_met"] is False:
        missed.append(f"RTO: {_compare(record['achieved_rto_seconds'], record['rto_objective_seconds'])}")
    for member in record["members"]:
        if member["rpo_met"] is False:
            compared = _compare(member["achieved_rpo_seconds"], member["rpo_objective_seconds"])
            missed.append(f"RPO of {member['resource']}: {compared}")
    return tuple(missed)


def _compare(achieved: float, objective: float) -> str:
    """To the second, since it may have been missed by seconds; the objective as the plan has it."""
    return f"{timedelta(seconds=round(achieved))}, its objective is {write_duration(timedelta(seconds=objective))}"


def _member(member: Member, run: Run, objective: Objective) -> dict[str, Any]:
    age = run.began_at - member.source_time
    rung = member.rungs[member.rung] if member.rung < len(member.rungs) else None
    return {
        "resource": member.resource,
        "point": member.point,
        "kind": member.kind.value,
        "source_time": encode(member.source_time),
        "achieved_rpo_seconds": _seconds(age),
        "rpo_objective_seconds": _seconds(objective.rpo),
        "rpo_met": None if objective.rpo is None else age <= objective.rpo,
        "snapshots": dict(member.snapshots),
        "image": member.image or None,
        "batch": member.batch,
        "instance": member.instance or None,
        "volume": member.volume or None,
        "rung": {"number": member.rung + 1, **encode(rung)} if rung and member.instance else None,
        "refused_rungs": list(member.refusals),
        "launched_at": encode(member.launched_at),
        "running_at": encode(member.running_at),
        "probes": [
            {
                "kind": each.kind,
                "value": each.value,
                "expected": [part for part in (each.status, each.expected) if part],
                "state": each.state.value,
                "detail": each.detail,
            }
            for each in member.probes
        ],
        "notes": list(member.notes),
    }


def _remains(run: Run) -> list[str]:
    """What a restore has made, and a person now has."""
    if run.request.mode is Mode.DRILL:
        return []
    return [each for member in run.members for each in (member.instance, member.volume) if each]


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()
