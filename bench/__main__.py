"""`python -m bench`: measure, print, write docs/benchmarks.md, and fail where a limit is not kept."""

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from bench.calls import CallCosts, Churn, measure_calls, measure_churn
from bench.pruning import Pruning, measure_pruning
from bench.retention import Judging, measure_judging
from bench.startup import RUNS, Startup, measure_startup
from bench.twin import measure_growth

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
FLEETS = (50, 500)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Limit:
    """A promise about one figure."""

    name: str
    figure: float
    most: float

    @property
    def is_kept(self) -> bool:
        return self.figure <= self.most


def main() -> int:
    """Run every benchmark."""
    costs = [_say(f"calls of {size} instances", partial(measure_calls, size)) for size in FLEETS]
    churn = _say("48 hours of the first example", measure_churn)
    baseline, starts = _say(f"imports, {RUNS} fresh processes each", measure_startup)
    judging = _say("retention of 10,000 and 100,000 points", partial(measure_judging, 10_000, 100_000))
    pruning = _say("prune of 10,000 and 100,000 points", partial(measure_pruning, 10_000, 100_000))
    growth = _say("describing 1,000 and 10,000 volumes", partial(measure_growth, 1_000, 10_000))
    limits = [
        Limit("creating calls per protected volume, 500 instances", costs[-1].creating_per_volume, 0.51),
        *(Limit(f"copying calls per copy, {cost.instances} instances", cost.copying_per_copy, 1.05) for cost in costs),
        *(
            Limit(f"deleting calls per deletion, {cost.instances} instances", cost.deleting_per_deletion, 1.05)
            for cost in costs
        ),
        *(Limit(f"import of {start.handler}, of the baseline's", start.ratio, 0.8) for start in starts),
        Limit("copies made again in 48 hours", churn.copies_made_again, 0),
        Limit("cost per described volume, 10,000 against 1,000", growth, 1.5),
        Limit("cost per point in retention, 100,000 against 10,000", judging.ratio, 1.5),
        Limit("seconds for 100,000 points through all twelve rules", judging.seconds, 2),
        Limit("cost per point in prune, 100,000 against 10,000", pruning.ratio, 1.5),
    ]
    page = _page(costs, churn, baseline, starts, growth, judging, pruning, limits)
    PAGE.write_text(page)
    sys.stdout.write(page)
    return 0 if all(limit.is_kept for limit in limits) else 1


def _say(what: str, measure: Callable[[], _T]) -> _T:
    sys.stderr.write(f"measuring {what} …\n")
    return measure()


def _page(  # noqa: PLR0913, PLR0917 - one argument a section
    costs: list[CallCosts],
    churn: Churn,
    baseline: float,
    starts: list[Startup],
    describing: float,
    judging: Judging,
    pruning: Pruning,
    limits: list[Limit],
) -> str:
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; do not edit. Call counts are exact and the same on every machine. Times are of the",
        f"machine that ran it (Python {platform.python_version()}, {platform.machine()}): read the ratios, not the",
        "seconds.",
        "",
        "## EC2 calls",
        "",
        "One tick, its jobs, their copies with 20 in flight, then prune without a cap, on the EC2 twin.",
        "",
        _row("", *(f"{cost.instances} instances" for cost in costs)),
        _row("---", *("---:" for _ in costs)),
        _row("protected volumes", *(str(cost.volumes) for cost in costs)),
        _row("creating calls per protected volume", *(f"{cost.creating_per_volume:.3f}" for cost in costs)),
        _row("reads per protected volume", *(f"{cost.reads_per_volume:.3f}" for cost in costs)),
        _row("copies", *(str(cost.copies) for cost in costs)),
        _row("creating calls per copy", *(f"{cost.copying_per_copy:.3f}" for cost in costs)),
        _row("reads per copy", *(f"{cost.copy_reads_per_copy:.3f}" for cost in costs)),
        _row("most copies in flight", *(str(cost.highest_in_flight) for cost in costs)),
        _row("deletions", *(str(cost.deletions) for cost in costs)),
        _row("deleting calls per deletion", *(f"{cost.deleting_per_deletion:.3f}" for cost in costs)),
        _row("reads per deletion", *(f"{cost.delete_reads_per_deletion:.3f}" for cost in costs)),
        "",
        "## Copies over 48 hours",
        "",
        "The first example's schedule, start window and retentions: hourly, 24 hourlies and 7 dailies at the source,",
        "6 hourlies, 14 dailies and 12 monthlies at the copy; a tick and a sweep every 15 minutes, prune every hour.",
        "",
        _row("slots", "points made", "copies made", "copies made again", "copies left"),
        _row("---:", "---:", "---:", "---:", "---:"),
        _row(*map(str, (churn.slots, churn.points, churn.copies_made, churn.copies_made_again, churn.copies_left))),
        "",
        "## Cold start",
        "",
        f"Import of each handler in a fresh process, median of {RUNS}, against",
        f'`import boto3; boto3.client("ec2")` in the same run ({baseline * 1000:.0f} ms). The first invocation',
        "includes the import and runs against services on loopback.",
        "",
        _row("handler", "import", "of the baseline", "first invocation", "peak memory"),
        _row("---", "---:", "---:", "---:", "---:"),
        *(
            _row(
                start.handler,
                f"{start.import_seconds * 1000:.0f} ms",
                f"{start.ratio:.2f}",
                f"{start.first_invocation_seconds * 1000:.0f} ms",
                f"{start.peak_memory_mib:.0f} MiB",
            )
            for start in starts
        ),
        "",
        "## Retention",
        "",
        f"{judging.points:,} points, one every five minutes, through all twelve rules: {judging.seconds:.2f} s, and",
        f"per point {judging.ratio:.2f} of what a tenth as many cost.",
        "",
        "## Prune",
        "",
        f"{pruning.points:,} hourly points of {pruning.lineages:,} resources, a tenth of them failed, with the copies",
        f"of one destination, through retention and every guard: {pruning.seconds:.2f} s, and per point",
        f"{pruning.ratio:.2f} of what a tenth as many cost.",
        "",
        "## The twin",
        "",
        f"Cost per described volume, 10,000 against 1,000, paged by 1,000: {describing:.2f}.",
        "",
        "## Limits",
        "",
        _row("figure", "measured", "limit", ""),
        _row("---", "---:", "---:", "---"),
        *(
            _row(limit.name, f"{limit.figure:.3f}", f"{limit.most:g}", "kept" if limit.is_kept else "**not kept**")
            for limit in limits
        ),
        "",
    ]
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
