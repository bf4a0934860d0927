"""`python -m bench`: measure, print, write docs/benchmarks.md, and fail where a limit is not kept."""

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from bench.calls import CallCosts, Churn, measure_calls, measure_churn
from bench.limits import COPY_QUOTA, Pace, Waves, measure_backing_up, measure_deleting, measure_waves
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
    waves = _say("80 copies against the limit of 20", _measure_all_waves)
    paces = [
        _say("400 volumes under the request rates", partial(measure_backing_up, 400)),
        _say("400 volumes of 200 instances under the request rates", partial(measure_backing_up, 400, per_instance=2)),
        _say("250 deletions under the request rates", partial(measure_deleting, 250)),
    ]
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
        *(
            limit
            for name, wave in waves.items()
            for limit in (
                Limit(f"copies in flight, {name}", wave.highest, COPY_QUOTA),
                Limit(f"copies made more than once, {name}", wave.made - wave.copies, 0),
                Limit(f"time of 80 copies, of the best possible, {name}", wave.ratio, 1.05),
            )
        ),
        *(Limit(f"throttled calls, {pace.what}", pace.throttled, 0) for pace in paces),
        *(Limit(f"time, of the best possible, {pace.what}", pace.ratio, 1.10) for pace in paces),
    ]
    page = _page(costs, churn, baseline, starts, growth, judging, pruning, limits, _limits_section(waves, paces))
    PAGE.write_text(page)
    sys.stdout.write(page)
    return 0 if all(limit.is_kept for limit in limits) else 1


def _measure_all_waves() -> dict[str, Waves]:
    return {
        "undisturbed": measure_waves(80),
        "killed after call 30": measure_waves(80, kill_at=30),
        "killed before call 30": measure_waves(80, kill_at=30, is_sent=False),
        "killed before call 60": measure_waves(80, kill_at=60, is_sent=False),
        "another tool holds 5": measure_waves(80, foreign=5),
        "another tool holds 5, killed after call 30": measure_waves(80, foreign=5, kill_at=30),
    }


def _limits_section(waves: dict[str, Waves], paces: list[Pace]) -> list[str]:
    return [
        "## At the account's limits",
        "",
        "80 copies of 300 s each into a Region whose quota is 20. The copying is woken by the end of a copy; killed,",
        "its wake-up is delivered again at once. Best possible: full waves, one right after the other.",
        "",
        _row("", "most in flight", "copies made", "calls refused", "time", "best possible", "of the best"),
        _row("---", "---:", "---:", "---:", "---:", "---:", "---:"),
        *(
            _row(
                name,
                str(wave.highest),
                str(wave.made),
                str(wave.refused),
                f"{wave.seconds:.0f} s",
                f"{wave.best_seconds:.0f} s",
                f"{wave.ratio:.3f}",
            )
            for name, wave in waves.items()
        ),
        "",
        "Calls under EC2's token buckets, all full at the start, by workers on the twin's clock.",
        "Best possible: the bucket at once, then each token as it arrives.",
        "",
        _row("", "calls", "throttled", "time", "best possible", "of the best"),
        _row("---", "---:", "---:", "---:", "---:", "---:"),
        *(
            _row(
                pace.what,
                str(pace.calls),
                str(pace.throttled),
                f"{pace.seconds:.1f} s",
                f"{pace.best_seconds:.1f} s",
                f"{pace.ratio:.3f}",
            )
            for pace in paces
        ),
        "",
    ]


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
    at_the_limits: list[str],
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
        *at_the_limits,
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
