"""`python -m local.demo`: hikae's main job, from an empty cloud to copied, pruned and drilled points, in minutes.

It builds and deploys both sites into a local cloud of its own, seeds a fleet with a history, applies plans that are due
a minute later, and then only watches: the schedules fire by themselves. What must be there in the end is worked out
from the plans and checked by asking EC2. Then it drills two groups of the fleet, as a user would, and sees that they
came back with the right contents and that nothing is left of it. Exits with 1, naming what is missing, if it is not
there in time.
"""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from local.cloud import CloudError, LocalCloud
from local.cloud.deployment import DeploymentError
from local.cloud.launcher import Site
from local.demo import report
from local.demo.drill_report import tabulate_drills
from local.demo.drills import describe_everything, drill, find_leftovers, find_shortcomings, let_listen
from local.demo.expectation import Standing, View, stand
from local.demo.journal import count_runs, read_errors, reasons_of_expiry
from local.demo.observation import observe
from local.demo.plans import DemoPlan, apply_plans, choose_slot, fill_in
from local.fleet import Fleet, seed_fleet, seed_history

TIME_LIMIT_SECONDS = 240
_SILENCE_SECONDS = 15


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local.demo", description=__doc__)
    parser.add_argument("--time-limit", type=int, default=TIME_LIMIT_SECONDS, help="seconds from applying the plans")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cloud is taken down
    # A log has no width of its own, and the table should be read in it, too.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    demo = Demo(console)
    try:
        return demo.run(time_limit=arguments.time_limit)
    except (CloudError, DeploymentError, TimeoutError) as error:
        console.print(f"[bold red]demo: {type(error).__name__}:[/] {escape(str(error))}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("demo: interrupted")
        return 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What the demo waits for."""

    fleet: Fleet
    plans: Mapping[str, DemoPlan]
    slot: datetime
    before: View
    copy_key: str


class Demo:
    """One run."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = time.monotonic()

    def run(self, *, time_limit: float) -> int:
        self._say("starting the local cloud: ministack, the EC2 twin and the event relay, on loopback")
        with LocalCloud(say=self._say) as cloud:
            goal = self._prepare(cloud)
            standings = self._watch(cloud, goal, give_up_at=time.monotonic() + time_limit)
            problems = self._check(cloud, goal, standings) or self._rehearse(cloud, goal)
            self._say("taking the local cloud down")
        elapsed = time.monotonic() - self._begun
        if problems:
            self._console.print(f"\n[bold red]demo failed after {elapsed:.0f} s; missing:[/]")
            for problem in problems:
                self._console.print(f"  - {escape(problem)}", soft_wrap=True)
            return 1
        self._console.print(f"\n[bold green]demo: everything is there, checked against EC2, after {elapsed:.0f} s[/]")
        return 0

    def _prepare(self, cloud: LocalCloud) -> Goal:
        """Deploy both sites, seed the fleet meanwhile, and apply the plans."""
        seeding = _Seeding(cloud)
        self._say(f"launching the fleet in {cloud.primary_region}, and building and deploying both sites")
        seeding.start()
        cloud.deploy()
        fleet = seeding.result()
        self._say(report.describe_fleet(fleet))
        history_slot = choose_slot(datetime.now(tz=UTC))
        fleet = seed_history(cloud, fleet, slot=history_slot)
        self._say(
            f"added the history: {fleet.points} points in {cloud.primary_region}, {fleet.copies} copies in"
            f" {cloud.recovery_region}, {len(fleet.bystanders)} things that are not ours to prune"
        )
        before = _view(cloud)
        slot = choose_slot(datetime.now(tz=UTC))
        plans = fill_in(slot)
        apply_plans(cloud, plans)
        self._say(f"applied the plans {', '.join(plan.name for plan in plans)} at both sites; due at {slot:%H:%M} UTC")
        return Goal(
            fleet=fleet,
            plans={plan.name: plan for plan in plans},
            slot=slot,
            before=before,
            copy_key=cloud.stack_outputs("recovery")["CopyKeyArn"],
        )

    def _watch(self, cloud: LocalCloud, goal: Goal, *, give_up_at: float) -> list[Standing]:
        """Show what is going on until nothing is missing, or the time is up."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        shown: tuple[int, ...] = ()
        shown_at = time.monotonic()
        with Progress(*columns, console=self._console, transient=True) as progress:
            bars = [progress.add_task(name) for name in ("points", "copies", "pruned")]
            while True:
                now = _view(cloud)
                standings = _standings(goal, now)
                done, of = _count(standings)
                for bar, completed, total in zip(bars, done, of, strict=True):
                    progress.update(bar, completed=completed, total=total)
                if (*done, *of) != shown or time.monotonic() - shown_at > _SILENCE_SECONDS:
                    shown, shown_at = (*done, *of), time.monotonic()
                    self._say(f"{_doing(goal, done, of)}: {report.count(done, of)}")
                if not any(standing.missing for standing in standings) or time.monotonic() > give_up_at:
                    return standings
                time.sleep(1)

    def _check(self, cloud: LocalCloud, goal: Goal, standings: Sequence[Standing]) -> list[str]:
        """Ask EC2 and the twin once more about everything, print the table, and answer what is missing."""
        outputs = {site: cloud.stack_outputs(site) for site in ("primary", "recovery")}
        regions = {"primary": cloud.primary_region, "recovery": cloud.recovery_region}
        prune = {
            site: reasons_of_expiry(
                cloud.client("logs", regions[site]), outputs[site]["PruneRecoveryPointsFunctionName"]
            )
            for site in outputs
        }
        excuses = report.read_excuses(cloud.client("s3", regions["primary"]), outputs["primary"]["BucketName"])
        view = _view(cloud)
        self._console.print(
            report.tabulate(goal.fleet, standings, excuses=excuses, reasons=prune, now=datetime.now(tz=UTC))
        )
        problems = [f"{each.resource.name} ({each.resource.id}): {what}" for each in standings for what in each.missing]
        problems += report.find_unexcused(goal.fleet, excuses)
        problems += report.find_unreasoned(standings, prune)
        problems += report.find_strays(goal.fleet, view)
        problems += report.find_lost_bystanders(goal.fleet, cloud.client("ec2", regions["primary"]))
        copied, badly_kept = report.check_keys(cloud.client("ec2", regions["recovery"]), goal.copy_key)
        problems += badly_kept
        self._say(
            f"{copied} snapshots in {regions['recovery']}, {copied - len(badly_kept)} of them encrypted with its key"
        )
        compared, wrong = report.compare_contents(cloud, standings)
        problems += wrong
        self._say(f"compared the contents of {compared} copied snapshots with their volumes: {len(wrong)} differ")
        for site, function, message in (
            ("primary", "ScheduleBackups", "tick"),
            ("recovery", "CopyRecoveryPoints", "copying"),
            ("primary", "PruneRecoveryPoints", "pruning"),
            ("recovery", "PruneRecoveryPoints", "pruning"),
            ("recovery", "ReportObjectives", "objectives"),
        ):
            logs = cloud.client("logs", regions[site])
            runs = count_runs(logs, outputs[site][f"{function}FunctionName"], message=message)
            self._say(f"{function} at the {site} site ran {runs} time{'s' * (runs != 1)}, nobody invoked it by hand")
            if not runs:
                problems.append(f"{function} at the {site} site has never run")
        if problems:
            self._show_errors(cloud)
        return problems

    def _rehearse(self, cloud: LocalCloud, goal: Goal) -> list[str]:
        """Drill what was backed up, print what that proved, and answer what it did not, or left behind."""
        recovery, primary = (cloud.client("ec2", region) for region in (cloud.recovery_region, cloud.primary_region))
        before, fleet_before = describe_everything(recovery), describe_everything(primary)
        disks = cloud.twin_control(f"/_twin/state/{cloud.primary_region}")["volumes"]
        self._say(f"drilling two groups of the fleet in {cloud.recovery_region}, both at the same time")
        let_listen(cloud, goal.fleet)
        drills = drill(cloud, say=self._say)
        self._console.print(tabulate_drills(drills, goal.fleet))
        self._say(
            f"these times are of a cloud that is {cloud.scale:g} times as fast as EC2, whose instances boot at once"
        )
        on_volumes = {volume: disk["digest"] for volume, disk in disks.items()}
        problems = [each for one in drills for each in find_shortcomings(one, goal.fleet, on_volumes=on_volumes)]
        contents = sum(len(volumes) for one in drills for volumes in one.seen.contents.values())
        self._say(f"compared the contents of {contents} volumes that the drills made with those of the fleet")
        left = [*find_leftovers(before, describe_everything(recovery))]
        problems += left
        kinds = ", ".join(f"{kind}s" for kind in before)
        self._say(
            f"asked EC2 in {cloud.recovery_region} what is left of the drills ({kinds}): {len(left) or 'nothing'}"
        )
        problems += [
            f"in {cloud.primary_region}: {each}" for each in find_leftovers(fleet_before, describe_everything(primary))
        ]
        if problems:
            self._show_errors(cloud)
        return problems

    def _show_errors(self, cloud: LocalCloud) -> None:
        """What the functions logged as errors, before their logs go with the cloud."""
        sites: tuple[Site, ...] = ("primary", "recovery")
        for site in sites:
            for line in read_errors(cloud.client("logs", cloud.region_of(site))):
                self._console.print(f"[red]{site}:[/] {escape(line)}", soft_wrap=True)

    def _say(self, text: str) -> None:
        elapsed = time.monotonic() - self._begun
        self._console.print(f"[cyan]{elapsed:6.1f} s[/]  {escape(text)}", soft_wrap=True)


class _Seeding(threading.Thread):
    """Launches the fleet beside the deployment, which does not need it."""

    def __init__(self, cloud: LocalCloud) -> None:
        super().__init__(daemon=True)
        self._cloud = cloud
        self._fleet: Fleet | None = None
        self._error: BaseException | None = None
        # Clients are made in one thread, before both use the cloud.
        cloud.client("ec2", cloud.primary_region)

    def run(self) -> None:
        try:
            self._fleet = seed_fleet(self._cloud)
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that asks for the result
            self._error = error

    def result(self) -> Fleet:
        self.join()
        if self._error is not None:
            raise self._error
        assert self._fleet is not None
        return self._fleet


def _view(cloud: LocalCloud) -> View:
    primary: Any = cloud.client("ec2", cloud.primary_region)
    recovery: Any = cloud.client("ec2", cloud.recovery_region)
    return View(
        primary=observe(primary, installation=cloud.installation),
        recovery=observe(recovery, installation=cloud.installation),
    )


def _standings(goal: Goal, now: View) -> list[Standing]:
    return [
        stand(
            resource,
            goal.plans[resource.plan or ""],
            slot=goal.slot,
            before=goal.before,
            now=now,
            copy_key=goal.copy_key,
        )
        for resource in goal.fleet.protected()
        if resource.has_points
    ]


def _count(standings: Sequence[Standing]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    done = (
        sum(each.point is not None and each.point.is_complete for each in standings),
        sum(each.copies_done for each in standings),
        sum(each.pruned for each in standings),
    )
    of = (
        len(standings),
        sum(each.copies_wanted for each in standings),
        sum(each.to_prune for each in standings),
    )
    return done, of


def _doing(goal: Goal, done: Sequence[int], of: Sequence[int]) -> str:
    if datetime.now(tz=UTC) < goal.slot:
        return f"waiting for {goal.slot:%H:%M}"
    stages = zip(("making points", "copying", "pruning"), done, of, strict=True)
    return next((name for name, completed, total in stages if completed < total), "done")


if __name__ == "__main__":
    sys.exit(main())
