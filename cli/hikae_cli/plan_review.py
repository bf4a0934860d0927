"""What is unwise in plans that can be read, with the lines of their files."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from hikae.domain.model import Region
from hikae.domain.plan import Problem
from hikae.domain.review import (
    COPY_DURATION,
    Finding,
    Fleet,
    SteadyState,
    review_capacity,
    review_destinations,
    review_plan,
    steady_state,
)
from hikae_cli.plan_files import FileProblem, PlanFile


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSize:
    """The fleet that plans are judged for: its size, its Region where that is told, and how long a copy takes."""

    fleet: Fleet
    region: Region | None = None
    copy_duration: timedelta = COPY_DURATION


def review_files(
    files: Sequence[PlanFile], *, served: Collection[Region] | None = None, size: FleetSize | None = None
) -> list[FileProblem]:
    """Everything that is unwise in each file, in the order of its lines.

    `served` are the Regions of all recovery sites, None where they are not told. Of several plans the capacity is
    judged of all together, each of them taken to select the whole fleet; what is found of it names no file's line.
    """
    found = []
    for file in files:
        findings = list(review_plan(file.plan))
        if served is not None:
            findings += review_destinations(file.plan, served=served)
        if size is not None and len(files) == 1:
            findings += _of_capacity(files, size)
        found += sorted(_in_file(file, findings), key=lambda each: each.problem.line or 0)
    if size is not None and len(files) > 1:
        found += [
            FileProblem(
                file=f"these {len(files)} plans together",
                problem=Problem(path="", message=finding.message),
                severity=finding.severity,
            )
            for finding in _of_capacity(files, size)
        ]
    return found


def steady_states(files: Iterable[PlanFile], *, size: FleetSize) -> tuple[SteadyState, ...]:
    """What the plans of all files together come to at each site."""
    return steady_state([file.plan for file in files], fleet=size.fleet, home=size.region)


def _of_capacity(files: Sequence[PlanFile], size: FleetSize) -> tuple[Finding, ...]:
    plans = [file.plan for file in files]
    return review_capacity(plans, fleet=size.fleet, home=size.region, copy_duration=size.copy_duration)


def _in_file(file: PlanFile, findings: Iterable[Finding]) -> list[FileProblem]:
    return [
        FileProblem(
            file=file.name,
            problem=Problem(path=finding.path, message=finding.message, line=file.parsed.line_of(finding.path)),
            severity=finding.severity,
        )
        for finding in findings
    ]
