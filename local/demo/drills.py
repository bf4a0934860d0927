"""The end of the demo: drills of its fleet, typed as a user would type them, watched in EC2 meanwhile.

What must be true afterwards is checked against EC2 and against what the evidence says: hikae's own word is not enough.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from local.cloud import LocalCloud
from local.demo.command_line import run_hikae, watch_hikae
from local.fleet import Cloud, Fleet, Resource

_LOOK_EVERY_SECONDS = 0.4
_PATIENCE_SECONDS = 180.0
_GONE = frozenset({"terminated", "shutting-down", "deleted", "deleting", "deregistered"})
_TAG, _OF = "hikae:drill", "hikae:recovered-resource"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """A drill of one group of the fleet. `machines` are those that must come back, in the order of their start.

    Whatever comes back of them listens on `open_ports`, as the plan's probes expect.
    """

    plan: str
    group: str
    machines: tuple[str, ...]
    is_in_order: bool = False
    open_ports: tuple[int, ...] = ()

    @property
    def run(self) -> str:
        return f"drill-demo-{self.group}"


REHEARSALS = (
    Rehearsal(plan="production", group="shop-db", machines=("db-1", "db-2"), is_in_order=True),
    Rehearsal(plan="web-images", group="web", machines=("web-1", "web-2"), open_ports=(22,)),
)
"""Snapshot sets with a boot order, and images; both at the same time."""


@dataclass(slots=True, kw_only=True)
class Seen:
    """What EC2 showed of one drill while it went on: ids by kind, and by resource what was on its volumes."""

    made: dict[str, set[str]] = field(default_factory=dict)
    ran: dict[str, str] = field(default_factory=dict)
    contents: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """One drill that is over. `record` is what its evidence says, empty where that could not be verified."""

    rehearsal: Rehearsal
    exit_code: int | None
    seen: Seen
    record: Mapping[str, Any]
    verdict: str


def let_listen(cloud: Cloud, fleet: Fleet) -> None:
    """Tell the twin what will listen on its instances: what runs inside of one is nothing that EC2 knows."""
    resources = {each.name: each.id for each in fleet.resources}
    for rehearsal in REHEARSALS:
        for name in rehearsal.machines:
            recovered = {"region": cloud.recovery_region, "tags": {_OF: resources[name]}}
            for port in rehearsal.open_ports:
                cloud.twin_control("/_twin/serve", {**recovered, "port": port, "kind": "tcp"})


def drill(cloud: LocalCloud, *, say: Callable[[str], object]) -> list[Drilled]:
    """Type the drills, show what they print, look at EC2 meanwhile, and read their evidence."""
    key = cloud.stack_outputs("recovery")["EvidenceKeyArn"]
    typing = [_Typing(cloud, each, key=key, say=say) for each in REHEARSALS]
    seen = {each.rehearsal.run: Seen() for each in typing}
    for each in typing:
        each.start()
    while any(each.is_alive() for each in typing):
        look(cloud, seen)
        time.sleep(_LOOK_EVERY_SECONDS)
    return [
        Drilled(
            rehearsal=each.rehearsal,
            exit_code=each.exit_code,
            seen=seen[each.rehearsal.run],
            record=each.record,
            verdict=each.verdict,
        )
        for each in typing
    ]


class _Typing(threading.Thread):
    """One drill, beside the others: its commands, and what the last of them said."""

    def __init__(self, cloud: LocalCloud, rehearsal: Rehearsal, *, key: str, say: Callable[[str], object]) -> None:
        super().__init__(daemon=True)
        self.rehearsal = rehearsal
        self.exit_code: int | None = None
        self.record: Mapping[str, Any] = {}
        self.verdict = "nobody has got as far as that"
        self._cloud = cloud
        self._key = key
        self._say = say

    def run(self) -> None:
        of = self.rehearsal
        words = ["drill", "start", of.plan, "--group", of.group, "--name", of.run, "--interval", "0.5"]
        self._show(f"$ hikae {' '.join(words)}")
        where = ["--installation", self._cloud.installation]
        self.exit_code = watch_hikae(self._cloud, *words, *where, show=self._show, patience=_PATIENCE_SECONDS)
        with TemporaryDirectory(prefix="hikae-evidence-") as folder:
            self._verify(str(Path(folder, f"{of.run}.json")), where)

    def _verify(self, file: str, where: Sequence[str]) -> None:
        """Fetch the evidence, and verify it with the site's public key, as an auditor would."""
        shown = run_hikae(self._cloud, "drill", "show", self.rehearsal.run, "--evidence", file, *where)
        if not Path(file).exists():
            self.verdict = f"there is none: {shown.stderr.strip()}"
            return
        self._show(f"$ hikae drill verify {Path(file).name} --key {self._key}")
        verified = run_hikae(self._cloud, "drill", "verify", file, "--key", self._key, "--json")
        self.verdict = verified.stderr.strip()
        if verified.returncode == 0:
            self.record = json.loads(verified.stdout)

    def _show(self, line: str) -> None:
        self._say(f"{self.rehearsal.group:<8}│ {line}")


def look(cloud: Cloud, seen: Mapping[str, Seen]) -> None:
    """Note what carries the tag of a drill now."""
    for kind, found in describe_everything(cloud.client("ec2", cloud.recovery_region)).items():
        for each in found:
            run = each.tags.get(_TAG, "").partition("/")[2]
            if run in seen:
                seen[run].made.setdefault(kind, set()).add(each.id)
                if kind == "instance" and each.state == "running":
                    seen[run].ran[each.tags[_OF]] = each.id
    for volume, state in cloud.twin_control(f"/_twin/state/{cloud.recovery_region}")["volumes"].items():
        run = state["tags"].get(_TAG, "").partition("/")[2]
        if run in seen:
            seen[run].contents.setdefault(state["tags"][_OF], {})[volume] = state["digest"]


# --- what EC2 shows ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """Anything in EC2 that could be left behind."""

    id: str
    state: str
    tags: Mapping[str, str]


def describe_everything(ec2: Any) -> dict[str, list[Thing]]:
    """What there is in one Region, by kind, without what is on its way out."""
    reservations = _pages(ec2, "describe_instances", "Reservations")
    found = {
        "instance": [
            _thing(instance, "InstanceId", instance["State"]["Name"])
            for reservation in reservations
            for instance in reservation["Instances"]
        ],
        "volume": [_thing(each, "VolumeId", each["State"]) for each in _pages(ec2, "describe_volumes", "Volumes")],
        "image": [
            _thing(each, "ImageId", each["State"]) for each in _pages(ec2, "describe_images", "Images", Owners=["self"])
        ],
        "snapshot": [
            _thing(each, "SnapshotId", each["State"])
            for each in _pages(ec2, "describe_snapshots", "Snapshots", OwnerIds=["self"])
        ],
        "network interface": [
            _thing(each, "NetworkInterfaceId", each["Status"])
            for each in _pages(ec2, "describe_network_interfaces", "NetworkInterfaces")
        ],
        "endpoint": [
            _thing(each, "VpcEndpointId", each["State"])
            for each in _pages(ec2, "describe_vpc_endpoints", "VpcEndpoints")
        ],
        "security group": [
            _thing(each, "GroupId", "") for each in _pages(ec2, "describe_security_groups", "SecurityGroups")
        ],
        "key pair": [_thing(each, "KeyPairId", "") for each in ec2.describe_key_pairs()["KeyPairs"]],
    }
    return {kind: [each for each in things if each.state.lower() not in _GONE] for kind, things in found.items()}


def _pages(ec2: Any, call: str, key: str, **arguments: Any) -> list[Any]:
    return [each for page in ec2.get_paginator(call).paginate(**arguments) for each in page[key]]


def _thing(described: Mapping[str, Any], key: str, state: str) -> Thing:
    tags = described.get("Tags", described.get("TagSet", []))
    return Thing(id=described[key], state=state, tags={tag["Key"]: tag["Value"] for tag in tags})


# --- what must be true afterwards -------------------------------------------------------------------------------------


def find_shortcomings(drilled: Drilled, fleet: Fleet, *, on_volumes: Mapping[str, str]) -> Iterator[str]:
    """What one drill has not proven. `on_volumes` is what is on the fleet's volumes, by volume id."""
    of, record = drilled.rehearsal, drilled.record
    if drilled.exit_code != 0:
        yield f"{of.run}: `hikae drill start` ended with {drilled.exit_code}"
    if not record:
        yield f"{of.run}: its evidence is not verified: {drilled.verdict}"
        return
    if record["outcome"] != "succeeded":
        yield f"{of.run} {record['outcome']}: {record['failure']}"
    if record["rto_met"] is not True:
        yield f"{of.run} has not met its RTO: {record['achieved_rto_seconds']} s of {record['rto_objective_seconds']}"
    resources = {each.name: each for each in fleet.resources}
    expected = [resources[name] for name in of.machines]
    members = {member["resource"]: member for member in record["members"]}
    if set(members) != {each.id for each in expected}:
        yield f"{of.run} was of {sorted(members)}, not of {sorted(each.id for each in expected)}"
        return
    for resource in expected:
        yield from _find_shortcomings_of(resource, members[resource.id], drilled, on_volumes)
    in_order = [members[each.id] for each in expected]
    if of.is_in_order and any(
        later["launched_at"] < earlier["running_at"] for earlier, later in itertools.pairwise(in_order)
    ):
        yield f"{of.run} did not wait for {of.machines[0]} to run before it launched the next"
    made = drilled.seen.made.get("instance", set()) | drilled.seen.made.get("image", set())
    if not made <= set(record["torn_down"]):
        yield f"{of.run} does not say that it tore down {sorted(made - set(record['torn_down']))}"


def _find_shortcomings_of(
    resource: Resource, member: Mapping[str, Any], drilled: Drilled, on_volumes: Mapping[str, str]
) -> Iterator[str]:
    run = drilled.rehearsal.run
    if member["rpo_met"] is not True:
        yield f"{run}: the RPO of {resource.name} is not met: its point is {member['achieved_rpo_seconds']} s old"
    if not member["probes"] or any(probe["state"] != "passed" for probe in member["probes"]):
        yield f"{run}: not every probe of {resource.name} has passed: {member['probes']}"
    if drilled.seen.ran.get(resource.id) != member["instance"]:
        yield f"{run}: EC2 never showed {resource.name} running as {member['instance']}"
    contents = sorted(drilled.seen.contents.get(resource.id, {}).values())
    if contents != sorted(on_volumes[volume] for volume in resource.volumes):
        yield f"{run}: what was on the volumes of {resource.name} is not what is on the fleet's"


def find_leftovers(before: Mapping[str, Sequence[Thing]], after: Mapping[str, Sequence[Thing]]) -> Iterator[str]:
    """What is there after the drills and was not before, and what was there before and is not any more."""
    for kind, things in after.items():
        known = {each.id for each in before[kind]}
        there = {each.id for each in things}
        yield from (f"{kind} {each} is left of the drills" for each in sorted(there - known))
        yield from (f"{kind} {each} was there before the drills, and is gone" for each in sorted(known - there))
