"""`python -m local.chaos`: try every fault at every call, print what came of it, write docs/reliability.md."""

import sys
import time
from pathlib import Path

from local.chaos.crashes import EVERYTHING, Trial, try_operations
from local.chaos.report import COUNTED, Line, explain, sum_up, write_page
from local.chaos.scenarios import SCENARIOS, Played, play_scenarios

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def main() -> int:
    """Run the whole suite; 1 if anything at all was wrong."""
    began_at = time.perf_counter()
    lines: list[Line] = []
    trials: list[Trial] = []
    played: list[Played] = []
    for report in try_operations(EVERYTHING):
        line = sum_up(report)
        lines.append(line)
        trials.extend(report.trials)
        wrong = ", ".join(f"{line.wrong[name]} {name.replace('_', ' ')}" for name in COUNTED)
        _say(
            began_at,
            f"{line.operation}: {line.calls} calls, {line.crashes} crash points, {line.deliveries} delivery and "
            f"{line.ec2} EC2 faults: {wrong}",
        )
    for each in play_scenarios(SCENARIOS):
        played.append(each)
        _say(began_at, f"{each.world}: {each.scenario}: {'as it should be' if each.faults.are_none else 'WRONG'}")
    PAGE.write_text(write_page(lines, played))
    problems = list(explain(trials, played))
    for problem in problems:
        print(problem)
    print(f"{len(trials)} faults in {len(lines)} operations, {len(played)} scenarios, {len(problems)} went wrong")
    return 1 if problems else 0


def _say(began_at: float, text: str) -> None:
    print(f"{time.perf_counter() - began_at:5.0f} s  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
