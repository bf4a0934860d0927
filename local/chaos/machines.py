"""What runs of recovery make and leave: instances, volumes, endpoints, security groups, and how they are connected."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from moto.elbv2.models import elbv2_backends

from hikae.domain.naming import DRILL, RECOVERED_RESOURCE, RECOVERY
from local.inprocess import ACCOUNT
from local.inprocess import RECOVERY as REGION

if TYPE_CHECKING:
    from local.chaos.stage import Stage

_GONE = frozenset({"shutting-down", "terminated"})
_RUNS = (DRILL, RECOVERY)


def describe(stage: Stage) -> dict[str, tuple[str, ...]]:
    """Everything of it that is there, without ids: equal for two runs that have left the same."""
    backend = stage.twin.backend(REGION)
    instances = [_instance(backend, each) for each in _instances(backend) if each.state not in _GONE]
    volumes = [_volume(backend, each) for each in backend.volumes.values() if not each.attachment]
    endpoints = [
        f"{each.service_name} {each.state}" for each in backend.vpc_end_points.values() if each.state != "deleted"
    ]
    return {
        f"{REGION} instances": tuple(sorted(instances)),
        f"{REGION} volumes": tuple(sorted(volumes)),
        f"{REGION} endpoints": tuple(sorted(endpoints)),
        f"{REGION} security groups": tuple(sorted(_groups(backend).values())),
    }


def _groups(backend: Any) -> dict[str, str]:
    """The security groups by id, each by its name."""
    return {group.id: group.name for groups in backend.groups.values() for group in groups.values()}


def standing(backend: Any) -> dict[str, str]:
    """Everything in a Region that a run could remove, by id, in words."""
    there = {each.id: f"instance {each.id}" for each in _instances(backend) if each.state not in _GONE}
    for kind, found in (("volume", backend.volumes), ("endpoint", backend.vpc_end_points)):
        there.update({each: f"{kind} {each}" for each in found})
    there.update({each: f"security group {name}" for each, name in _groups(backend).items()})
    for kind, owned in (("snapshot", backend.snapshots), ("image", backend.amis)):
        there.update({each.id: f"{kind} {each.id}" for each in owned.values()})
    return there


def made_twice(stage: Stage) -> Iterator[str]:
    """The members for which a run has ever had more than one instance, whether it is still there or not."""
    backend = stage.twin.backend(REGION)
    made: Counter[tuple[str, str]] = Counter()
    for instance in _instances(backend):
        tags = backend.tags_of(instance.id)
        for run in filter(None, map(tags.get, _RUNS)):
            made[run, tags[RECOVERED_RESOURCE]] += 1
    for (run, resource), number in made.items():
        if number > 1:
            yield f"{number} instances for {resource} of {run}"
    for comment, number in Counter(each.comment for each in stage.twin.shells(REGION).sent).items():
        if number > 1:
            yield f"{number} times the command {comment}"


def _instances(backend: Any) -> Iterable[Any]:
    return (instance for reservation in backend.reservations.values() for instance in reservation.instances)


def _instance(backend: Any, instance: Any) -> str:
    """An instance with its volumes' content, and what it is connected to."""
    volumes = {device: _disk(volume) for device, volume in backend.volumes_of(instance).items()}
    addresses = [each for each in backend.addresses if each.instance and each.instance.id == instance.id]
    groups = elbv2_backends[ACCOUNT][REGION].target_groups.values()
    described: Mapping[str, Any] = {
        "type": instance.instance_type,
        "state": instance.state,
        "subnet": instance.subnet_id,
        "key": instance.key_name,
        "tags": _tags(backend, instance.id),
        "volumes": volumes,
        "addresses": len(addresses),
        "target groups": sum(instance.id in group.targets for group in groups),
        "checks its source": instance.source_dest_check,
    }
    return json.dumps(described, sort_keys=True, default=str)


def _volume(backend: Any, volume: Any) -> str:
    return json.dumps({"disk": _disk(volume), "tags": _tags(backend, volume.id)}, sort_keys=True)


def _disk(volume: Any) -> str:
    return f"{volume.size} GiB {volume.volume_type} {volume.content.digest} {volume.status}"


def _tags(backend: Any, resource_id: str) -> dict[str, str]:
    return dict(backend.tags_of(resource_id))
