"""The whole state of one account and Region, out of EC2's API: for comparing what came back and for comparing runs."""

import hashlib
import json
from typing import Any


def describe_state(backend: Any) -> dict[str, Any]:
    """Volumes, snapshots and images by id, with digests and lineage, and one digest of it all."""
    state = {
        "volumes": {each.id: _describe_disk(backend, each, state=each.status) for each in backend.volumes.values()},
        "snapshots": {each.id: _describe_disk(backend, each, state=each.state) for each in backend.snapshots.values()},
        "images": {each.id: _describe_image(backend, each) for each in backend.amis.values()},
    }
    digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    return {**state, "digest": digest}


def _describe_disk(backend: Any, disk: Any, *, state: str) -> dict[str, Any]:
    return {
        "digest": disk.content.digest,
        "lineage": list(disk.lineage),
        "state": state,
        "encrypted": disk.encrypted,
        "kms_key_id": disk.kms_key_id,
        "tags": dict(backend.tags_of(disk.id)),
    }


def _describe_image(backend: Any, image: Any) -> dict[str, Any]:
    return {
        "name": image.name,
        "state": image.state,
        "snapshots": list(image.snapshot_ids),
        "tags": dict(backend.tags_of(image.id)),
    }
