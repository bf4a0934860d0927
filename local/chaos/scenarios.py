"""Faults that are not of one call: of EC2 for a while, of what it holds, of the functions, of what users do meanwhile.

Each is one whole run of a world, compared with a run of the same world that met no fault.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from hikae.domain.model import Region
from local.chaos import recovery_plays
from local.chaos.branches import branches, each_branch
from local.chaos.delivery import schedule_deliveries
from local.chaos.operations import (
    END,
    IMAGE_PLAN,
    IMAGES,
    LONG_IMAGES,
    LONG_SNAPSHOTS,
    RECOVERY_FROM_IMAGES,
    RECOVERY_FROM_SETS,
    SLOT,
    SNAPSHOT_PLAN,
    SNAPSHOTS,
    THROUGHPUT,
    WIDE,
    World,
)
from local.chaos.stage import Stage
from local.chaos.verdict import Ending, Faults, judge, judge_ended, look
from local.inprocess import PRIMARY, RECOVERY
from local.twin import faults

AFTER_THE_TICK = SLOT + timedelta(seconds=20)
MINUTE = timedelta(minutes=1)
Play = Callable[[Stage], Iterable[str]]
"""Sets up what is to happen; gives the resources that an error and a metric have to name."""


STRAYS_ARE_GONE = SLOT + timedelta(minutes=168)
"""The manifest of a set that failed goes once it is an hour old, with the prune that comes next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run. `clean` is what happens in the run that it is compared with, if anything; both end at `until`.

    `dead` is how many messages belong into dead-letter queues in the end, and `gives_up` says that runs may fail for
    good, which an alarm tells.
    """

    name: str
    kind: str
    world: World
    play: Play
    clean: Play = lambda _: ()
    until: datetime = END
    dead: int = 0
    gives_up: bool = False
    ignored: tuple[str, ...] = ()
    judge: Callable[..., Faults] = judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A scenario, what was wrong with its end, and the alarms that went off in it."""

    scenario: str
    kind: str
    world: str
    faults: Faults
    alarms: tuple[str, ...] = ()


def play_scenarios(scenarios: Iterable[Scenario]) -> Iterator[Played]:
    """Play all scenarios, world by world; while one is built, which takes one processor, another takes the others."""
    scenarios = tuple(scenarios)
    worlds = (
        partial(_play_world, world, [scenario for scenario in scenarios if scenario.world is world])
        for world in dict.fromkeys(scenario.world for scenario in scenarios)
    )
    for played in each_branch(worlds, width=2):
        yield from played


def _play_world(world: World, scenarios: list[Scenario]) -> list[Played]:
    with world.build() as stage:
        world.begin(stage)
        # Many scenarios are compared with the same clean run.
        wanted = list(dict.fromkeys((scenario.clean, scenario.until) for scenario in scenarios))
        plays = [*wanted, *((scenario.play, scenario.until) for scenario in scenarios)]
        endings = branches(partial(_run, stage, play, until) for play, until in plays)
        clean = {key: ending for key, (ending, _) in zip(wanted, endings[: len(wanted)], strict=True)}
        played = endings[len(wanted) :]
    return [
        Played(
            scenario=scenario.name,
            kind=scenario.kind,
            world=world.name,
            faults=_judge(scenario, ending, clean[scenario.clean, scenario.until], named),
            alarms=tuple(sorted({alarm.name for alarm in ending.alarms})),
        )
        for scenario, (ending, named) in zip(scenarios, played, strict=True)
    ]


def _run(stage: Stage, play: Play, until: datetime) -> tuple[Ending, tuple[str, ...]]:
    named = tuple(play(stage))
    stage.run_until(until)
    return look(stage), named


def _judge(scenario: Scenario, ending: Ending, clean: Ending, named: Iterable[str]) -> Faults:
    unnamed = [resource for resource in named if not ending.names_as_failed(resource)]
    dead = sum(ending.dead.values())
    if dead != scenario.dead:
        unnamed.append(f"{dead} messages in dead-letter queues, {scenario.dead} belong there")
    unnamed.extend(ending.unheard())
    if scenario.gives_up:
        ending = replace(ending, failed_runs=())
    return scenario.judge(ending.without(*scenario.ignored), clean.without(*scenario.ignored), unnamed=unnamed)


# --- EC2 --------------------------------------------------------------------------------------------------------------


def _during(fault: Callable[[], Any], *, minutes: float, named: Iterable[str] = ()) -> Play:
    def play(stage: Stage) -> Iterable[str]:
        stage.during(SLOT, SLOT + minutes * MINUTE, fault)
        return named

    return play


def _lag(minutes: float) -> Play:
    def play(stage: Stage) -> Iterable[str]:
        stage.twin.world.lag = minutes * MINUTE
        return ()

    return play


def _lag_and_shake(stage: Stage) -> Iterable[str]:
    stage.twin.world.lag = 4 * MINUTE
    stage.during(SLOT, SLOT + 5 * MINUTE, partial(faults.shaken, 0.3, faults.drop_after, seed=1))
    return ()


def _fail_points(stage: Stage) -> Iterable[str]:
    """One snapshot of each point that is started for the slot ends in error, at its first attempt."""
    named: list[str] = []

    def fail() -> None:
        backend = stage.twin.backend(PRIMARY)
        pending = [each for each in backend.snapshots.values() if each.state == "pending"]
        failed: set[str] = set()
        for snapshot in pending:
            tags = backend.tags_of(snapshot.id)
            if tags.get("hikae:resource") and tags["hikae:resource"] not in failed:
                failed.add(tags["hikae:resource"])
                backend.fail_snapshot(snapshot.id)
        assert failed, "nothing was there to fail"

    stage.at(AFTER_THE_TICK + timedelta(seconds=30), fail)
    return named


def _fail_copies(stage: Stage) -> Iterable[str]:
    """Every copy that is started for the slot ends in error, at its first attempt."""

    def fail() -> None:
        backend = stage.twin.backend(RECOVERY)
        pending = [each for each in backend.snapshots.values() if each.state == "pending"]
        assert pending, "nothing was there to fail"
        for snapshot in pending:
            backend.fail_snapshot(snapshot.id)

    stage.relay = lambda _: None
    stage.at(SLOT + timedelta(minutes=7, seconds=20), fail)
    return ()


def _disable_key(stage: Stage) -> Iterable[str]:
    """The recovery site's key is disabled for a quarter of an hour: every copy of that time fails."""
    kms, key = stage.twin.client("kms", RECOVERY), stage.installation.key_arn.rpartition("/")[2]
    stage.at(SLOT, lambda: kms.disable_key(KeyId=key))
    stage.at(SLOT + 15 * MINUTE, lambda: kms.enable_key(KeyId=key))
    return ("not accessible",)


def _hold_pending(kind: str, number: int) -> Play:
    """Somebody else has `number` snapshots of each volume of a kind under way when the tick comes, for some minutes."""

    def play(stage: Stage) -> Iterable[str]:
        def hold() -> None:
            ec2, world = stage.twin.client("ec2", PRIMARY), stage.twin.world
            durations, world.durations = world.durations, replace(world.durations, snapshot_base=5 * MINUTE)
            for volume in ec2.describe_volumes()["Volumes"]:
                if volume["VolumeType"] == kind:
                    ec2.create_snapshot(VolumeId=volume["VolumeId"], Description="somebody else's")
            world.durations = durations

        # 15 s must lie between two snapshots of one volume.
        for turn in range(number):
            stage.at(SLOT + timedelta(seconds=16 * turn), hold)
        schedule_deliveries("tick")["the tick comes two minutes late"](stage)
        stage.at(END - MINUTE, partial(_clear, stage, PRIMARY, "somebody else's"))
        return ()

    return play


def _foreign_copies(number: int) -> Play:
    """Another tool has `number` copies under way when the points are ready."""

    def play(stage: Stage) -> Iterable[str]:
        def hold() -> None:
            completed = next(
                each for each in stage.twin.backend(PRIMARY).snapshots.values() if each.description == "made by hand"
            )
            ec2 = stage.twin.client("ec2", RECOVERY)
            for _ in range(number):
                ec2.copy_snapshot(SourceRegion=PRIMARY, SourceSnapshotId=completed.id, Description="another tool's")

        stage.relay = lambda _: None
        stage.at(SLOT + timedelta(minutes=6, seconds=50), hold)
        stage.at(END - MINUTE, partial(_clear, stage, RECOVERY, "another tool's"))
        return ()

    return play


def _clear(stage: Stage, region: Region, description: str) -> None:
    """Whoever made these snapshots deletes them, so that the ends can be compared."""
    for snapshot in list(stage.twin.backend(region).snapshots.values()):
        if snapshot.description == description:
            stage.twin.client("ec2", region).delete_snapshot(SnapshotId=snapshot.id)


# --- the functions ----------------------------------------------------------------------------------------------------


def _slow(action: str, *, seconds: float) -> Play:
    """Each call of an action takes so long that a whole batch of them does not fit into one invocation."""

    def play(stage: Stage) -> Iterable[str]:
        stage.during(
            SLOT, SLOT + 30 * MINUTE, partial(faults.slow, action, lambda: stage.wait(timedelta(seconds=seconds)))
        )
        return ()

    return play


def _denied(action: str, resource: Callable[[Stage], Iterable[str]]) -> Play:
    """A permission is missing until somebody gives it back."""

    def play(stage: Stage) -> Iterable[str]:
        stage.during(SLOT, SLOT + 15 * MINUTE, partial(faults.refused, action, "UnauthorizedOperation", status=403))
        return tuple(resource(stage))

    return play


def _protected(stage: Stage) -> Iterable[str]:
    """The instances and detached volumes that the plans protect."""
    ec2 = stage.twin.client("ec2", PRIMARY)
    filters = [{"Name": "tag:Backup", "Values": ["*"]}]
    for reservation in ec2.describe_instances(Filters=filters)["Reservations"]:
        yield from (instance["InstanceId"] for instance in reservation["Instances"])
    yield from (volume["VolumeId"] for volume in ec2.describe_volumes(Filters=filters)["Volumes"])


def _denied_deletion(action: str) -> Play:
    """Prune may not delete what is due; in the next run it may."""

    def play(stage: Stage) -> Iterable[str]:
        stage.during(
            SLOT + 41 * MINUTE,
            SLOT + 46 * MINUTE,
            partial(faults.refused, action, "UnauthorizedOperation", status=403),
        )
        for region in (PRIMARY, RECOVERY):
            stage.at(SLOT + 47 * MINUTE, partial(stage.prune, region))
        return ("UnauthorizedOperation",)

    return play


def _between_tick_and_job(act: Callable[[Stage], Iterable[str]]) -> Play:
    """`act` happens when the jobs have been sent and before any is carried out."""

    def play(stage: Stage) -> Iterable[str]:
        named: list[str] = []
        stage.plot(lambda name, *_: name in {"SnapshotVolumes", "BuildImages"}, lambda: _first(named, act, stage))
        return named

    return play


@contextmanager
def _first(named: list[str], act: Callable[[Stage], Iterable[str]], stage: Stage) -> Iterator[None]:
    named.extend(act(stage))
    yield


def _before_the_slot(act: Callable[[Stage], Iterable[str]]) -> Play:
    return lambda stage: act(stage) and ()


def _remove_plans(stage: Stage) -> Iterable[str]:
    stage.installation.remove("production", sites=[stage.installation.primary.site])
    stage.installation.remove("web-images", sites=[stage.installation.primary.site])
    return ()


def _keep_one(stage: Stage) -> Iterable[str]:
    for name, text in (("production", SNAPSHOT_PLAN), ("web-images", IMAGE_PLAN)):
        if name in stage.plans:
            stage.installation.apply(name, text.replace("keep_last: 2", "keep_last: 1"))
    return ()


def _break_plan(stage: Stage) -> Iterable[str]:
    """The plan cannot be read until somebody mends it."""
    primary = [stage.installation.primary.site]
    for name, text in stage.plans.items():
        stage.installation.apply(name, "version: 1\nplan: [\n", sites=primary)
        stage.at(SLOT + 15 * MINUTE, partial(stage.installation.apply, name, text, primary))
    return tuple(f"plans/{name}.yaml" for name in stage.plans)


def _terminate(stage: Stage) -> Iterable[str]:
    """The instances are gone before their jobs are carried out."""
    ec2 = stage.twin.client("ec2", PRIMARY)
    instances = [each for each in _protected(stage) if each.startswith("i-")]
    ec2.terminate_instances(InstanceIds=instances)
    return instances


def _terminate_before(action: str) -> Play:
    """The instance is gone when its manifest is written, right before its snapshots or image are asked for."""

    def play(stage: Stage) -> Iterable[str]:
        instances = [each for each in _protected(stage) if each.startswith("i-")]
        done: list[bool] = []

        def terminate() -> None:
            if not done:
                done.append(True)
                stage.twin.client("ec2", PRIMARY).terminate_instances(InstanceIds=instances)

        stage.during(SLOT, SLOT + 5 * MINUTE, partial(faults.slow, action, terminate))
        return instances

    return play


def _poison(stage: Stage) -> Iterable[str]:
    """Messages that nobody can carry out lie in the queues beside the good ones."""
    job = {"version": 1, "plan": "production", "rule": "hourly", "slot": "2026-11-22T12:00:00Z", "kind": "snapshot"}
    bodies = ["", "not JSON", "[" * 10_000, json.dumps({"version": 99}), json.dumps(job), json.dumps([job])]
    for body in filter(None, bodies):
        for queue in ("SnapshotJobsQueue", "ImageJobsQueue"):
            stage.send(queue, body)
    stage.send("WakeQueue", "not JSON either")
    return ("not JSON",)


POISON = 10


def _unreachable(region: str) -> Play:
    return _during(partial(faults.unreachable, region), minutes=60)


def _scenarios() -> Iterator[Scenario]:
    for world in (SNAPSHOTS, IMAGES):
        for share in (0.1, 0.5):
            for seed in range(3):
                name = f"{share:.0%} of all calls throttled (seed {seed})"
                play = _during(partial(faults.throttled, share, seed=seed), minutes=48)
                yield Scenario(name=name, kind="EC2", world=world, play=play)
        for fault, what in ((faults.fail_after, "answered with a 500"), (faults.drop_after, "cut off")):
            for seed in range(3):
                name = f"a fifth of all calls carried out and {what} (seed {seed})"
                play = _during(partial(faults.shaken, 0.2, fault, seed=seed), minutes=25)
                yield Scenario(name=name, kind="EC2", world=world, play=play)
        for minutes in (1, 4):
            name = f"new ids invisible and states old for {minutes} min"
            yield Scenario(name=name, kind="EC2", world=world, play=_lag(minutes), ignored=("slots",))
        name = "new ids invisible for 4 min and a third of the answers lost"
        yield Scenario(name=name, kind="EC2", world=world, play=_lag_and_shake)
        yield Scenario(
            name="a snapshot of every point fails later",
            kind="EC2",
            world=world,
            play=_fail_points,
            until=STRAYS_ARE_GONE,
        )
        yield Scenario(name="every copy fails later", kind="EC2", world=world, play=_fail_copies)
        yield Scenario(name="the copies' key is disabled for 15 min", kind="EC2", world=world, play=_disable_key)
    for world in (LONG_SNAPSHOTS, LONG_IMAGES):
        until = SLOT + timedelta(minutes=168)
        for region in (PRIMARY, RECOVERY):
            name = f"{region} unreachable for an hour"
            play = _unreachable(region)
            yield Scenario(name=name, kind="EC2", world=world, play=play, until=until, gives_up=True)
    yield Scenario(
        name="5 snapshots of every volume pending already",
        kind="EC2",
        world=SNAPSHOTS,
        play=_hold_pending("gp3", 5),
    )
    yield Scenario(
        name="18 of 20 copies held by another tool",
        kind="EC2",
        world=SNAPSHOTS,
        play=_foreign_copies(18),
    )
    yield Scenario(
        name="20 of 20 copies held by another tool",
        kind="EC2",
        world=SNAPSHOTS,
        play=_foreign_copies(20),
    )
    yield Scenario(
        name="1 snapshot of an st1 volume pending already",
        kind="EC2",
        world=THROUGHPUT,
        play=_hold_pending("st1", 1),
    )
    yield Scenario(
        name="the snapshot of an st1 volume fails later",
        kind="EC2",
        world=THROUGHPUT,
        play=_fail_points,
        until=STRAYS_ARE_GONE,
    )
    yield Scenario(
        name="a batch that takes longer than the function may",
        kind="function",
        world=WIDE,
        play=_slow("CreateSnapshots", seconds=35),
    )
    for world, actions in (
        (SNAPSHOTS, ("CreateSnapshots", "CreateSnapshot", "CopySnapshot", "DescribeVolumes")),
        (IMAGES, ("CreateImage", "CopyImage", "DescribeInstances")),
    ):
        for action in actions:
            yield Scenario(
                name=f"no permission for {action} for 15 min",
                kind="function",
                world=world,
                play=_denied(action, _names_of(action)),
                gives_up=action.startswith("Describe"),
            )
    for world, action in ((SNAPSHOTS, "DeleteSnapshot"), (IMAGES, "DeregisterImage")):
        yield Scenario(
            name=f"no permission for {action} in one prune",
            kind="function",
            world=world,
            play=_denied_deletion(action),
            until=SLOT + 49 * MINUTE,
        )
    for world in (SNAPSHOTS, IMAGES):
        yield Scenario(
            name="the plan is deleted while its jobs wait",
            kind="function",
            world=world,
            play=_between_tick_and_job(_remove_plans),
            ignored=("inventory/", "plans/"),
        )
        yield Scenario(
            name="the plan is made unreadable while its jobs wait",
            kind="function",
            world=world,
            play=_between_tick_and_job(_break_plan),
        )
        yield Scenario(
            name="the plan's retention is changed while its jobs wait",
            kind="function",
            world=world,
            play=_between_tick_and_job(_keep_one),
            clean=_before_the_slot(_keep_one),
        )
        yield Scenario(
            name="the instance is terminated before its job",
            kind="function",
            world=world,
            play=_between_tick_and_job(_terminate),
            clean=_before_the_slot(_terminate),
        )
    for world, action in ((SNAPSHOTS, "CreateSnapshots"), (IMAGES, "CreateImage")):
        yield Scenario(
            name="the instance is terminated between its manifest and its snapshots",
            kind="function",
            world=world,
            play=_terminate_before(action),
            clean=_before_the_slot(_terminate),
            until=SLOT + 108 * MINUTE,
        )
    yield Scenario(
        name="poison messages beside the good ones",
        kind="delivery",
        world=LONG_SNAPSHOTS,
        play=_poison,
        until=SLOT + timedelta(minutes=168),
        dead=POISON,
    )


def _recoveries() -> Iterator[Scenario]:
    world = RECOVERY_FROM_SETS
    whole: dict[str, Any] = {"world": world, "judge": judge_ended}
    for step in recovery_plays.RUN_STEPS:
        for is_heard, how in ((True, ""), (False, ", and the event of it lost")):
            name = f"a drill is stopped in the step {step}{how}"
            yield Scenario(name=name, kind="recovery", play=recovery_plays.stopped_in(step, is_heard=is_heard), **whole)
        name = f"the step {step} of a drill fails on every attempt"
        yield Scenario(name=name, kind="recovery", play=recovery_plays.always_fails(step), **whole)
    yield Scenario(
        name="two drills of one group at once",
        kind="recovery",
        play=recovery_plays.another_drill(after=timedelta(seconds=20)),
        clean=recovery_plays.another_drill(after=timedelta(minutes=10)),
        **whole,
    )
    for play, name in (
        (recovery_plays.without_room_in_a_zone, "no capacity in the first zone"),
        (recovery_plays.without_room, "no capacity in any zone"),
        (recovery_plays.with_a_disabled_key, "the copies' key is disabled while a drill runs"),
    ):
        yield Scenario(name=name, kind="recovery", play=play, **whole)
    for each in (RECOVERY_FROM_SETS, RECOVERY_FROM_IMAGES):
        yield Scenario(
            name=f"{PRIMARY} unreachable while a drill runs",
            kind="recovery",
            world=each,
            play=_while_drilling(partial(faults.unreachable, PRIMARY)),
            gives_up=True,
        )
        for share in (0.1, 0.5):
            for seed in range(2):
                yield Scenario(
                    name=f"{share:.0%} of all calls throttled while a drill runs (seed {seed})",
                    kind="recovery",
                    world=each,
                    play=_while_drilling(partial(faults.throttled, share, seed=seed)),
                )
        for fault, what in ((faults.fail_after, "answered with a 500"), (faults.drop_after, "cut off")):
            yield Scenario(
                name=f"a fifth of all calls carried out and {what} while a drill runs",
                kind="recovery",
                world=each,
                play=_while_drilling(partial(faults.shaken, 0.2, fault, seed=0)),
            )
        for minutes in (1, 4):
            yield Scenario(
                name=f"new ids invisible and states old for {minutes} min while a drill runs",
                kind="recovery",
                world=each,
                play=_lag_while_drilling(minutes),
            )
    yield Scenario(
        name="a report never comes",
        kind="delivery",
        world=world,
        play=recovery_plays.report_never_comes,
        until=SLOT + 100 * MINUTE,
        ignored=("a dated report",),
    )


def _while_drilling(fault: Callable[[], Any]) -> Play:
    def play(stage: Stage) -> Iterable[str]:
        stage.during(SLOT + 11 * MINUTE, SLOT + 25 * MINUTE, fault)
        return ()

    return play


def _lag_while_drilling(minutes: float) -> Play:
    def play(stage: Stage) -> Iterable[str]:
        def lag() -> None:
            stage.twin.world.lag = minutes * MINUTE

        stage.at(SLOT + 11 * MINUTE, lag)
        return ()

    return play


def _names_of(action: str) -> Callable[[Stage], Iterable[str]]:
    """What has to be named while `action` is not permitted."""

    def names(stage: Stage) -> Iterable[str]:
        found = list(_protected(stage))
        if action in {"CreateSnapshots", "CreateImage"}:
            return [each for each in found if each.startswith("i-")]
        if action == "CreateSnapshot":
            return [each for each in found if each.startswith("vol-")]
        return ("UnauthorizedOperation",)

    return names


SCENARIOS = (*_scenarios(), *_recoveries())
