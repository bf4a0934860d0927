"""The whole state of one account and Region, out of EC2's API: for comparing what came back and for comparing runs."""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from typing import Any

_MADE_ID = re.compile(r"\b(snap|ami)-[0-9a-f]{8,17}\b")


def describe_state(backend: Any) -> dict[str, Any]:
    """Volumes, snapshots, images and instances by id, with digests and lineage, and one digest of it all."""
    state = {
        "volumes": {each.id: _describe_disk(backend, each, state=each.status) for each in backend.volumes.values()},
        "snapshots": {each.id: _describe_disk(backend, each, state=each.state) for each in backend.snapshots.values()},
        "images": {each.id: _describe_image(backend, each) for each in backend.amis.values()},
        "instances": {each.id: _describe_instance(backend, each) for each in _instances(backend)},
    }
    return {**state, "digest": digest_of(state)}


def digest_of(state: Mapping[str, Any]) -> str:
    """One digest of a state: equal states have equal ones."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def compare_state(backend: Any, *, leave_out: Collection[str]) -> dict[str, list[str]]:
    """The snapshots and images of the account without what two equal runs may differ in, in a fixed order.

    Ids are replaced by what they stand for: a snapshot by the volume and the Regions that its content came through, an
    image by its devices. Times, contents and the tags to `leave_out` are not there. Two that are alike are listed
    twice, so a duplicate shows.
    """
    owned = [each for each in backend.snapshots.values() if each.owner_id == backend.account_id]
    images = [each for each in backend.amis.values() if each.owner_id == backend.account_id]
    return {
        "snapshots": sorted(name_snapshot(backend, each, leave_out=leave_out) for each in owned),
        "images": sorted(name_image(backend, each, leave_out=leave_out) for each in images),
    }


def name_snapshot(backend: Any, snapshot: Any, *, leave_out: Collection[str]) -> str:
    """What a snapshot is, whatever its id: equal for the same snapshot of two equal runs."""
    return _text(
        {
            "region": backend.region_name,
            "came through": list(snapshot.lineage[:-1]),
            "state": snapshot.state,
            "key": snapshot.kms_key_id,
            "size": snapshot.volume_size,
            "tier": snapshot.storage_tier,
            "tags": _kept_tags(backend, snapshot.id, leave_out),
        }
    )


def name_image(backend: Any, image: Any, *, leave_out: Collection[str]) -> str:
    """What an image is, whatever its id: equal for the same image of two equal runs."""
    devices = []
    for device in image.devices:
        snapshot = backend.snapshots.get(device.snapshot_id)
        through = list(snapshot.lineage[:-1]) if snapshot else "nothing"
        devices.append([device.name, device.size, device.volume_type, device.delete_on_termination, through])
    return _text(
        {
            "region": backend.region_name,
            "state": image.state,
            "devices": devices,
            "tags": _kept_tags(backend, image.id, leave_out),
        }
    )


def _kept_tags(backend: Any, resource_id: str, leave_out: Collection[str]) -> dict[str, str]:
    return {key: value for key, value in backend.tags_of(resource_id).items() if key not in leave_out}


def _text(what: Mapping[str, Any]) -> str:
    return _MADE_ID.sub(r"\1-…", json.dumps(what, sort_keys=True))


def _describe_disk(backend: Any, disk: Any, *, state: str) -> dict[str, Any]:
    return {
        "digest": disk.content.digest,
        "lineage": list(disk.lineage),
        "state": state,
        "encrypted": disk.encrypted,
        "kms_key_id": disk.kms_key_id,
        "tags": dict(backend.tags_of(disk.id)),
    }


def _instances(backend: Any) -> list[Any]:
    return [each for reservation in backend.reservations.values() for each in reservation.instances]


def _describe_instance(backend: Any, instance: Any) -> dict[str, Any]:
    return {
        "state": instance.state,
        "image": instance.image_id,
        "volumes": {device: volume.id for device, volume in backend.volumes_of(instance).items()},
        "tags": dict(backend.tags_of(instance.id)),
    }


def _describe_image(backend: Any, image: Any) -> dict[str, Any]:
    return {
        "name": image.name,
        "state": image.state,
        "snapshots": list(image.snapshot_ids),
        "tags": dict(backend.tags_of(image.id)),
    }
