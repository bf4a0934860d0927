"""The operations under test, each brought to the moment before it runs; and one whole run around it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from hikae.domain.model import Region
from hikae.operations.recovery.start_drills import name_drill
from local.chaos.delivery import EVENTS, MESSAGES, TICKS, Delivery, schedule_deliveries
from local.chaos.stage import Stage, Wanted, deliver_one_by_one
from local.chaos.verdict import Ending, look
from local.inprocess import PRIMARY, RECOVERY

SLOT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
END = SLOT + timedelta(minutes=48)
EDGE = timedelta(seconds=1)
TICK = timedelta(minutes=10)
"""Half as often as by default: between two of them a message that nobody finished is still invisible."""

_RULE = """\
version: 1
plan: {name}
timezone: UTC
selection: {{resources: {resources}, tags: {{Backup: {tag}}}}}
rules:
  - name: hourly
    schedule: "0 * * * *"
    start_window: 1h
    protect: {protect}
    retention: {{keep_last: 2}}
    copies: [{{region: us-west-2, retention: {{keep_last: 2}}}}]
    objectives: {{rpo: 2h, rto: 1h}}
"""
SNAPSHOT_PLAN = _RULE.format(name="production", resources="[instance, volume]", tag="production", protect="snapshots")
IMAGE_PLAN = _RULE.format(name="web-images", resources="[instance]", tag="image", protect="image")
FOREIGN = "made by hand"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """A fleet and its plans, with two hours of history: what is kept at both sites, and what prune will let go."""

    name: str
    plans: Mapping[str, str]
    populate: Callable[[Stage], None]
    recovers: bool = False

    def build(self, *, seed: int = 0, snapshot_copy_limit: int = 20) -> Stage:
        """A stage to enter, on which `begin` is to be called."""
        return Stage(self.plans, seed=seed, snapshot_copy_limit=snapshot_copy_limit, tick=TICK, recovers=self.recovers)

    def begin(self, stage: Stage) -> None:
        """Launch the fleet, and let the slots before SLOT pass."""
        self.populate(stage)
        stage.run_until(SLOT - EDGE)
        stage.invocations.clear()  # an ending is about what comes now


def _populate_snapshots(stage: Stage) -> None:
    stage.installation.launch()
    volume = stage.installation.detached_volume()
    # Somebody's own snapshot, and somebody else's with tags like ours: neither is anybody's to delete.
    ec2 = stage.twin.client("ec2", PRIMARY)
    ec2.create_snapshot(VolumeId=volume, Description=FOREIGN)
    stage.wait(timedelta(seconds=15))
    tags = [{"Key": "hikae:installation", "Value": "other"}, {"Key": "hikae:v", "Value": "1"}]
    ec2.create_snapshot(VolumeId=volume, TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}])


def _populate_images(stage: Stage) -> None:
    [instance] = stage.installation.launch(tags={"Backup": "image"})
    stage.twin.client("ec2", PRIMARY).create_image(InstanceId=instance, Name=FOREIGN, NoReboot=True)


def _populate_throughput(stage: Stage) -> None:
    device = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 125, "VolumeType": "st1"}}
    stage.installation.launch(BlockDeviceMappings=[device])


def _populate_wide(stage: Stage) -> None:
    stage.installation.launch(6)


_DRILL = """\
drill:
  schedule: "11 12 * * *"
  group_by: tag:Service
  order: tag:BootOrder
  probes:
    - status-checks
    - tcp: 443
    - http: 8080/health
      body: ok
    - ssm: systemctl is-active app
    - console: ready
"""
_KEY = "shop"


def _populate_recovery(stage: Stage, backup: str, *, detached: bool) -> None:
    """A group to recover, all that a restore of it needs here, and a bystander that no run may touch."""
    twin, installation = stage.twin, stage.installation
    public_key = _public_key()
    for region in (PRIMARY, RECOVERY):
        twin.client("ec2", region).import_key_pair(KeyName=_KEY, PublicKeyMaterial=public_key)
    tags = {"Backup": backup, "Service": "shop", "BootOrder": "1"}
    [instance] = installation.launch(tags=tags, KeyName=_KEY)
    if detached:
        installation.detached_volume(tags=tags)
    ec2 = twin.client("ec2", PRIMARY)
    ec2.modify_instance_attribute(InstanceId=instance, SourceDestCheck={"Value": False})
    for reservation in ec2.describe_instances(InstanceIds=[instance])["Reservations"]:
        for device in reservation["Instances"][0]["BlockDeviceMappings"]:
            twin.write(device["Ebs"]["VolumeId"], f"{instance} {device['DeviceName']}".encode())
    _prepare_restore(stage, instance)
    twin.world.events.subscribe(partial(_print_when_running, stage))
    here = twin.client("ec2", RECOVERY)
    [base, *_] = [each for each in here.describe_images(Owners=["amazon"])["Images"] if each["RootDeviceType"] == "ebs"]
    here.run_instances(
        ImageId=base["ImageId"], InstanceType="t3.micro", MinCount=1, MaxCount=1, SubnetId=installation.drill_vpc["b"]
    )


def _prepare_restore(stage: Stage, instance: str) -> None:
    installation, elb = stage.installation, stage.twin.client("elbv2", RECOVERY)
    vpc = installation.restore_vpc
    address = stage.twin.client("ec2", RECOVERY).allocate_address(Domain="vpc")["AllocationId"]
    target_group = elb.create_target_group(
        Name="shop", Protocol="TCP", Port=443, VpcId=vpc["vpc"], TargetType="instance"
    )
    installation.set_recovery_settings(
        f"""\
version: 1
default_subnets: [{vpc["a"]}, {vpc["b"]}]
default_security_groups: [{vpc["group"]}]
instances:
  {instance}:
    elastic_ip: {address}
    target_groups: ["{target_group["TargetGroups"][0]["TargetGroupArn"]}"]
"""
    )


def _print_when_running(stage: Stage, envelope: Mapping[str, Any]) -> None:
    """What runs has written to its console that it is ready."""
    is_change = envelope["detail-type"] == "EC2 Instance State-change Notification"
    if is_change and envelope["region"] == RECOVERY and envelope["detail"]["state"] == "running":
        stage.twin.print_to_console(envelope["detail"]["instance-id"], "booting\nready\n", region=RECOVERY)


@cache
def _public_key() -> bytes:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


def _rarely(plan: str) -> str:
    """The plan with a slot every three hours, each of which may be made up for nearly as long."""
    return plan.replace("0 * * * *", "0 */3 * * *").replace("start_window: 1h", "start_window: 170m")


SNAPSHOTS = World(name="snapshots", plans={"production": SNAPSHOT_PLAN}, populate=_populate_snapshots)
IMAGES = World(name="images", plans={"web-images": IMAGE_PLAN}, populate=_populate_images)
LONG_SNAPSHOTS = World(
    name="snapshots, every three hours", plans={"production": _rarely(SNAPSHOT_PLAN)}, populate=_populate_snapshots
)
LONG_IMAGES = World(
    name="images, every three hours", plans={"web-images": _rarely(IMAGE_PLAN)}, populate=_populate_images
)
THROUGHPUT = World(
    name="an instance with an st1 volume",
    plans={"production": _rarely(SNAPSHOT_PLAN)},
    populate=_populate_throughput,
)
RECOVERY_FROM_SETS = World(
    name="recovery from snapshots",
    plans={"production": SNAPSHOT_PLAN + _DRILL},
    populate=partial(_populate_recovery, backup="production", detached=True),
    recovers=True,
)
RECOVERY_FROM_IMAGES = World(
    name="recovery from images",
    plans={"web-images": IMAGE_PLAN + _DRILL},
    populate=partial(_populate_recovery, backup="image", detached=False),
    recovers=True,
)
WIDE = World(name="six instances", plans={"production": SNAPSHOT_PLAN}, populate=_populate_wide)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation: in which world, which invocation it is, and how the stage comes to the moment before it.

    `deliveries` are the ways in which what starts it may arrive. One that `is_single` never runs twice at a time: its
    queue has one message group, and a message stays invisible for longer than the function may run. A `run` is one of
    recovery, by its name: all of its invocations are the operation, step by step. One that `is_networked` opens
    connections and calls no service. `expects` are the alarms that go off without any fault.
    """

    name: str
    world: World
    is_meant: Wanted
    prepare: Callable[[Stage], None]
    deliveries: Mapping[str, Delivery]
    is_single: bool = False
    run: str = ""
    is_networked: bool = False
    expects: frozenset[str] = frozenset()


def _function(function: str, *, region: Region | None = None, kind: str = "") -> Wanted:
    """The next invocation of a function, in a Region or with a job of a kind where these are given."""

    def is_meant(name: str, where: Region, event: Mapping[str, Any]) -> bool:
        bodies = "".join(record["body"] for record in event.get("Records", ()))
        return name == function and region in {None, where} and (not kind or f'"kind": "{kind}"' in bodies)

    return is_meant


def _at_once(_stage: Stage) -> None:
    """What happens next is the operation, or leads to it."""


def _one_by_one(stage: Stage) -> None:
    stage.courier = deliver_one_by_one


def _all_copies_at_once(stage: Stage) -> None:
    """No event wakes the broker before everything is there to be copied: the sweep finds it all."""
    relay, stage.relay = stage.relay, lambda _: None
    stage.run_until(SLOT + timedelta(minutes=6))
    stage.relay = relay


def _before_prune(stage: Stage) -> None:
    stage.run_until(SLOT + timedelta(minutes=41))


RUN_AT = SLOT + timedelta(minutes=11, seconds=40)


def _before_runs(stage: Stage) -> None:
    """All copies are there, nothing is due for deletion, and the next thing to happen is that drills are looked for."""
    stage.run_until(RUN_AT - timedelta(seconds=20))
    for region in (PRIMARY, RECOVERY):
        stage.prune(region)
    stage.run_until(RUN_AT - EDGE)


def _start_restore(stage: Stage) -> None:
    """Somebody restores the group, and no drill is looked for meanwhile."""
    [plan] = stage.plans
    _before_runs(stage)
    schedule_deliveries("drill start", never=True)["the drill start never comes"](stage)
    request = {"mode": "restore", "plan": plan, "group": "shop", "started_by": "somebody"}
    stage.at(RUN_AT + EDGE, partial(stage.runs.start, "restore-1", request))


def _is_step_of(run: str) -> Wanted:
    return lambda name, _region, event: name == "Recover" and event.get("run") == run


def _is_scheduled(step: str) -> Wanted:
    return lambda name, _region, event: name == "Recover" and event.get("step") == step


def _leave_a_stopped_drill(stage: Stage) -> None:
    """A drill was stopped while its instance ran, and the event of that was lost: the sweep is what is left."""
    _before_runs(stage)
    stage.run_until(RUN_AT + timedelta(seconds=50))
    relay, stage.relay = stage.relay, lambda _: None
    [name] = stage.runs.under_way
    stage.runs.stop(name)
    stage.relay = relay


def _leave_a_drill_torn_down(stage: Stage) -> None:
    """Of a stopped drill all is gone, and nothing recorded."""
    _leave_a_stopped_drill(stage)
    stage.run_until(SLOT + timedelta(minutes=18, seconds=39))


def _until(minutes: float) -> Callable[[Stage], None]:
    return lambda stage: stage.run_until(SLOT + timedelta(minutes=minutes))


def _drill_of(world: World) -> str:
    """The name that the schedule gives to the drill of a world's group."""
    [plan] = world.plans
    return name_drill(plan, "shop", SLOT + timedelta(minutes=11))


_RECOVERY = (
    *(
        Operation(
            name=f"{what}, {world.name.removeprefix('recovery ')}",
            world=world,
            is_meant=_is_step_of(run),
            prepare=prepare,
            deliveries=deliveries,
            is_single=True,
            run=run,
        )
        for world in (RECOVERY_FROM_SETS, RECOVERY_FROM_IMAGES)
        for what, run, prepare, deliveries in (
            ("drill", _drill_of(world), _before_runs, schedule_deliveries("drill start", never=True)),
            ("restore", "restore-1", _start_restore, {}),
        )
    ),
    Operation(
        name="probe_network",
        world=RECOVERY_FROM_SETS,
        is_meant=_function("ProbeNetwork"),
        prepare=_before_runs,
        deliveries={},
        is_networked=True,
    ),
    *(
        Operation(
            name=name,
            world=RECOVERY_FROM_SETS,
            is_meant=_is_scheduled(step),
            prepare=prepare,
            deliveries=schedule_deliveries(schedule),
            expects=frozenset(expects),
        )
        for name, step, prepare, schedule, expects in (
            ("recover, start-drills", "start-drills", _before_runs, "drill start", ()),
            ("recover, a sweep that tears down", "sweep", _leave_a_stopped_drill, "recovery sweep", ("FailedRuns",)),
            ("recover, a sweep that records", "sweep", _leave_a_drill_torn_down, "recovery sweep", ("FailedRuns",)),
            ("recover, check-readiness", "check-readiness", _until(34), "readiness check", ()),
        )
    ),
    *(
        Operation(
            name=f"report_objectives, {world.name.removeprefix('recovery ')}",
            world=world,
            is_meant=_function("ReportObjectives"),
            prepare=_until(37),
            deliveries=schedule_deliveries("report"),
        )
        for world in (RECOVERY_FROM_SETS, RECOVERY_FROM_IMAGES)
    ),
)


OPERATIONS = (
    Operation(
        name="schedule_backups",
        world=SNAPSHOTS,
        is_meant=_function("ScheduleBackups"),
        prepare=_at_once,
        deliveries=TICKS,
    ),
    Operation(
        name="snapshot_volumes, a set",
        world=SNAPSHOTS,
        is_meant=_function("SnapshotVolumes", kind="snapshot-set"),
        prepare=_one_by_one,
        deliveries=MESSAGES,
    ),
    Operation(
        name="snapshot_volumes, a detached volume",
        world=SNAPSHOTS,
        is_meant=_function("SnapshotVolumes", kind="snapshot"),
        prepare=_one_by_one,
        deliveries=MESSAGES,
    ),
    Operation(
        name="snapshot_volumes, a batch of both",
        world=SNAPSHOTS,
        is_meant=_function("SnapshotVolumes"),
        prepare=_at_once,
        deliveries=MESSAGES,
    ),
    Operation(
        name="build_images", world=IMAGES, is_meant=_function("BuildImages"), prepare=_at_once, deliveries=MESSAGES
    ),
    *(
        Operation(
            name=f"copy_recovery_points, {world.name}",
            world=world,
            is_meant=_function("CopyRecoveryPoints"),
            prepare=_all_copies_at_once,
            deliveries={**MESSAGES, **EVENTS},
            is_single=True,
        )
        for world in (SNAPSHOTS, IMAGES)
    ),
    *(
        Operation(
            name=f"prune_recovery_points, {world.name}, {site}",
            world=world,
            is_meant=_function("PruneRecoveryPoints", region=region),
            prepare=_before_prune,
            deliveries=schedule_deliveries(f"prune {region}"),
        )
        for world in (SNAPSHOTS, IMAGES)
        for site, region in (("primary", PRIMARY), ("recovery", RECOVERY))
    ),
    *_RECOVERY,
)


def finish(stage: Stage, *, until: datetime = END) -> Ending:
    """Let the rest of the hour pass, prunes included, and see how it ends."""
    stage.run_until(until)
    return look(stage)
