"""`python -m local.cloud up|down|status|env`: the local cloud of this checkout, kept running between commands."""

import argparse
import contextlib
import fcntl
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from local.cloud.deployment import DeploymentError
from local.cloud.launcher import ROOT, CloudError, LocalCloud

STATE = ROOT / ".local-cloud" / "state.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local.cloud", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the cloud and deploy both sites")
    up.add_argument("--primary-region", default="us-east-1")
    up.add_argument("--recovery-region", default="us-west-2")
    up.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE", help="a template parameter")
    up.add_argument("--empty", action="store_true", help="start only, deploy nothing")
    up.add_argument("--no-fleet", action="store_true", help="deploy, but seed no fleet and apply no plans")
    commands.add_parser("down", help="end it, with everything in it")
    commands.add_parser("status", help="show processes, endpoints, Regions and stacks")
    commands.add_parser("env", help="print the export lines that let any AWS client talk to it")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is half up is taken down again
    try:
        return {"up": _up, "down": _down, "status": _status, "env": _env}[arguments.command](arguments)
    except (CloudError, DeploymentError) as error:
        print(f"local cloud: {error}", file=sys.stderr)
        return 1


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let one `up` or `down` of this checkout wait for the other, or one cloud would be forgotten running."""
    STATE.parent.mkdir(exist_ok=True)
    with STATE.with_name("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _up(arguments: argparse.Namespace) -> int:
    with _alone():
        _bring_up(arguments)
    return _status(arguments)


def _bring_up(arguments: argparse.Namespace) -> None:
    existing = LocalCloud.attach(STATE, say=_say)
    if existing is not None:
        print("local cloud: already up", flush=True)
        if not arguments.empty and len(existing.stacks()) < 2:
            existing.deploy()
            existing.save(STATE)
        return
    begun = time.monotonic()
    cloud = LocalCloud(
        primary_region=arguments.primary_region,
        recovery_region=arguments.recovery_region,
        parameters=dict(item.split("=", 1) for item in arguments.parameter),
        say=_say,
    )
    cloud.start(detached=True)
    try:
        cloud.save(STATE)
        print(f"local cloud: started in {time.monotonic() - begun:.1f} s", flush=True)
        if not arguments.empty:
            cloud.deploy()
            cloud.save(STATE)
            if not arguments.no_fleet:
                _seed(cloud)
    except BaseException:
        cloud.stop()
        STATE.unlink(missing_ok=True)
        raise
    _say(f"up after {time.monotonic() - begun:.1f} s")


def _seed(cloud: LocalCloud) -> None:
    """Give the cloud the demo's fleet, its history and its plans."""
    # Only this command needs them; they import boto3 and the application.
    from local.demo.plans import apply_plans, choose_slot, fill_in  # noqa: PLC0415
    from local.fleet import seed_fleet, seed_history  # noqa: PLC0415

    slot = choose_slot(datetime.now(tz=UTC))
    fleet = seed_history(cloud, seed_fleet(cloud), slot=slot)
    _say(f"seeded {len(fleet.resources)} resources, {fleet.points} points and {fleet.copies} copies of the past")
    slot = choose_slot(datetime.now(tz=UTC))
    plans = fill_in(slot)
    apply_plans(cloud, plans)
    _say(f"applied the plans {', '.join(plan.name for plan in plans)}; due at {slot:%H:%M} UTC")


def _say(line: str) -> None:
    print(f"local cloud: {line}", flush=True)


def _down(_: argparse.Namespace) -> int:
    with _alone():
        cloud = LocalCloud.attach(STATE)
        if cloud is None:
            print("local cloud: not running")
            return 0
        cloud.stop()
        STATE.unlink(missing_ok=True)
    print("local cloud: ended, nothing is left")
    return 0


def _status(_: argparse.Namespace) -> int:
    cloud = LocalCloud.attach(STATE)
    if cloud is None:
        print("local cloud: not running (`make local-up` starts it)")
        return 1
    running = cloud.running
    processes = ", ".join(f"{name} {pid}" for name, pid in {"supervisor": running.supervisor, **running.pids}.items())
    print(f"processes   {processes}")
    print(f"endpoints   {running.endpoint} (ec2: {running.ec2_endpoint})")
    print(f"Regions     primary {cloud.primary_region}, recovery {cloud.recovery_region}")
    stacks = cloud.stacks()
    for site in ("primary", "recovery"):
        print(f"stack       {cloud.stack_name(site)}: {stacks.get(site, 'not deployed')}")
    print(f"logs        {running.folder / 'logs'}")
    return 0


def _env(_: argparse.Namespace) -> int:
    cloud = LocalCloud.attach(STATE)
    if cloud is None:
        print("local cloud: not running (`make local-up` starts it)", file=sys.stderr)
        return 1
    for name, value in cloud.environment().items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
