"""`python -m bench.guards`: take each guard out of a copy of the code, and see that a test turns red.

A guard is taken out by replacing a few lines. Where those lines are not found any more, or no test notices that they
are gone, that is an error; so is a test that is red with all guards in place.
"""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
HIKAE = Path("layers/core/hikae")
_COPIED = (
    "bench",
    "cli",
    "events",
    "functions",
    "layers",
    "local",
    "statemachines",
    "tests",
    "pyproject.toml",
    "template.yaml",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """One guard: the lines that make it up, what they would be without it, and the test that needs them."""

    name: str
    file: Path
    lines: str
    without: str
    test: str


GUARDS = (
    Guard(
        name="look-up before create",
        file=HIKAE / "operations/protect.py",
        lines="next_attempt([point for point in catalogue.points if not point.is_copy], now=now)",
        without="next_attempt([], now=now)",
        test="tests/integration/operations/test_snapshot_volumes.py::test_a_job_that_comes_twice_makes_one_point",
    ),
    Guard(
        name="the lock around a job",
        file=HIKAE / "runtime/entry.py",
        lines="outcomes.append(carry_out(job))",
        without="outcomes.append(wiring.protector(settings, now=now)(job))",
        test="tests/functional/handlers/test_handlers.py"
        "::test_an_answer_that_was_lost_is_not_asked_for_again_before_ec2_can_be_believed",
    ),
    Guard(
        name="one attempt for each creating call",
        file=HIKAE / "aws/clients.py",
        lines='CREATING = Config(retries={"mode": "standard", "total_max_attempts": 1}',
        without='CREATING = Config(retries={"mode": "standard", "total_max_attempts": 5}',
        test="tests/functional/handlers/test_handlers.py"
        "::test_an_answer_that_was_lost_is_not_asked_for_again_before_ec2_can_be_believed",
    ),
    Guard(
        name="the deadline of an invocation",
        file=HIKAE / "runtime/entry.py",
        lines="return lambda: context.get_remaining_time_in_millis() > _RESERVE / timedelta(milliseconds=1)",
        without="return lambda: True",
        test="tests/functional/handlers/test_handlers.py::test_what_there_is_no_time_for_comes_back_and_is_not_begun",
    ),
    Guard(
        name="the recount of copies in flight",
        file=HIKAE / "operations/copy_recovery_points.py",
        lines='sum(each.tags.get("hikae:kind") != Kind.IMAGE for each in pending_snapshots)',
        without="0",
        test="tests/integration/operations/test_copy_recovery_points.py"
        "::test_copies_of_other_tools_count_as_in_flight tests/chaos/test_guards.py -k tools",
    ),
    Guard(
        name="the memory of copies that EC2 may not show yet",
        file=HIKAE / "aws/ledger.py",
        lines='if float(value["N"]) > (now - kept).timestamp()',
        without="if False",
        test="tests/chaos/test_guards.py::test_a_copy_that_ec2_does_not_show_yet_is_not_made_again",
    ),
    Guard(
        name="manifests without a set are cleared away",
        file=HIKAE / "operations/prune_recovery_points.py",
        lines='written = documents.keys("manifests/") if strays else {}',
        without="pass",
        test="tests/chaos/test_guards.py::test_a_prune_that_is_killed_leaves_no_manifest_behind",
    ),
    Guard(
        name="one entry for each copy that is asked for",
        file=HIKAE / "aws/ledger.py",
        lines=", ConditionExpression=unknown",
        without="",
        test="tests/integration/operations/test_limits.py::test_two_brokers_at_once_make_one_copy_of_each",
    ),
    Guard(
        name="what runs choose while prune deletes",
        file=HIKAE / "operations/prune_recovery_points.py",
        lines="if self._asked_at is None or self.clock() - self._asked_at >= _ASK_AGAIN:",
        without="if False:",
        test="tests/integration/operations/test_points_in_use.py",
    ),
    Guard(
        name="a failed set makes room for the next",
        file=HIKAE / "domain/pruning.py",
        lines="if point.state is PointState.FAILED and not point.is_copy:",
        without="if False:",
        test="tests/chaos/test_scenarios.py -k st1",
    ),
)


def main() -> int:
    """Take out one guard after the other."""
    chosen = [guard for guard in GUARDS if not sys.argv[1:] or guard.name in sys.argv[1:]]
    failures = 0
    with tempfile.TemporaryDirectory(prefix="guards-") as folder:
        copy = Path(folder) / "hikae"
        _copy(copy)
        for guard in chosen:
            verdict = _try(guard, copy)
            failures += verdict != "red"
            sys.stdout.write(f"{verdict:<10} without {guard.name}: {guard.test}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(chosen)} guards, {failures} of them needed by no test\n")
    return 1 if failures else 0


def _copy(to: Path) -> None:
    to.mkdir()
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__", ".aws-sam"))
        else:
            shutil.copy(source, to / name)


def _try(guard: Guard, copy: Path) -> str:
    """`red` if the test is green with the guard and red without it."""
    file = copy / guard.file
    text = file.read_text()
    if text.count(guard.lines) != 1:
        return "not found"
    if not _is_green(guard.test, copy):
        return "red before"
    file.write_text(text.replace(guard.lines, guard.without))
    try:
        return "green" if _is_green(guard.test, copy) else "red"
    finally:
        file.write_text(text)


def _is_green(test: str, copy: Path) -> bool:
    command = [sys.executable, "-B", "-m", "pytest", "-q", *test.split(" ")]
    run = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    if run.returncode not in {0, 1}:
        raise RuntimeError(f"{test} could not be run:\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}")
    return run.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
