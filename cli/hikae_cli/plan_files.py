"""Plans in files: read them all, and name everything that is wrong with any of them."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from hikae.domain.plan import MAX_BYTES, ParsedPlan, Plan, PlanError, Problem, read_plan
from hikae.domain.review import Severity
from hikae_cli.terminal import printable

STDIN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFile:
    """A plan that can be read and the file that it is in; `content` is the file as it is, comments and all."""

    name: str
    parsed: ParsedPlan
    content: bytes

    @property
    def plan(self) -> Plan:
        """What the file says."""
        return self.parsed.plan


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProblem:
    """One thing that is wrong with a file, or unwise in it."""

    file: str
    problem: Problem
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        """`file:line: path: message`, without what is not known: the form that editors can jump to."""
        where = self.file if self.problem.line is None else f"{self.file}:{self.problem.line}"
        warning = "warning" if self.severity is Severity.WARNING else ""
        parts = (where, warning, self.problem.path, self.problem.message)
        return printable(": ".join(part for part in parts if part))


def read_plan_files(paths: Iterable[str]) -> tuple[list[PlanFile], list[FileProblem]]:
    """Read every file (`-` is standard input): the plans of the valid ones, and the problems of all the others.

    A plan's name is its identity, so two files with one name are a problem of the second.

    Raises:
        click.UsageError: a file cannot be read.
    """
    valid: list[PlanFile] = []
    problems: list[FileProblem] = []
    file_of: dict[str, str] = {}
    for path in paths:
        file = "<stdin>" if path == STDIN else click.format_filename(path)
        content = _read(path)
        try:
            parsed = read_plan(_decode(content))
        except PlanError as error:
            problems.extend(FileProblem(file=file, problem=problem) for problem in error.problems)
            continue
        name = parsed.plan.name
        if name in file_of:
            message = f"{name!r} is the name of the plan in {file_of[name]}, too; names must differ"
            problem = Problem(path="plan", message=message, line=parsed.line_of("plan"))
            problems.append(FileProblem(file=file, problem=problem))
            continue
        file_of[name] = file
        valid.append(PlanFile(name=file, parsed=parsed, content=content))
    return valid, problems


def _read(path: str) -> bytes:
    """The file, or as much of it as shows that it is too large: a device has no end."""
    try:
        if path == STDIN:
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with Path(path).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise click.UsageError(f"{click.format_filename(path)} cannot be read: {error.strerror}") from error


def _decode(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        return content.decode(errors="replace")  # it is refused for its size, wherever it was cut
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8: byte 0x{content[error.start]:02x}; save the file as UTF-8"
        raise PlanError((Problem(path="", message=message, line=line),)) from error
