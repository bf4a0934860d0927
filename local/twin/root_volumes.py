"""CreateReplaceRootVolumeTask: another root volume for a running instance.

Source: botocore's model (CreateReplaceRootVolumeTaskRequest, ReplaceRootVolumeTask) and EC2 User Guide, "Replace a root
volume": the instance is running and restarts; the snapshot was made of the original root volume or of one of its
replacements; a volume is available and in the same zone; the original is kept unless it is to be deleted. A task that
cannot be carried out fails, after the call.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models.instances import Instance

from local.twin.client_tokens import ClientTokens
from local.twin.errors import refuse
from local.twin.matching import select
from local.twin.sharing import SharingBackend, SharingResponse
from local.twin.tags import print_tags
from local.twin.volumes import Volume

_SWAPPING = timedelta(seconds=30)
_LOOKING = timedelta(seconds=5)


@dataclass(slots=True, kw_only=True)
class RootVolumeTask:
    """One replacement. `state` is pending while the volume is made, in-progress while they are swapped."""

    id: str
    instance_id: str
    is_deleting: bool
    started_at: datetime
    tags: dict[str, str]
    image_id: str | None = None
    snapshot_id: str | None = None
    state: str = "pending"
    completed_at: datetime | None = None

    def describe(self) -> dict[str, Any]:
        described = {
            "ReplaceRootVolumeTaskId": self.id,
            "InstanceId": self.instance_id,
            "TaskState": self.state,
            "StartTime": self.started_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "CompleteTime": self.completed_at.strftime("%Y-%m-%dT%H:%M:%SZ") if self.completed_at else None,
            "Tags": print_tags(self.tags),
            "ImageId": self.image_id,
            "SnapshotId": self.snapshot_id,
            "DeleteReplacedRootVolume": self.is_deleting,
        }
        return {key: value for key, value in described.items() if value is not None}


class RootVolumesBackend(SharingBackend):
    """Replacements of root volumes of one account's instances in one Region."""

    def __init__(self, region_name: str, account_id: str) -> None:
        self.root_volume_tasks: dict[str, RootVolumeTask] = {}
        self.root_volume_tokens: ClientTokens[RootVolumeTask] = ClientTokens()
        self._former_roots: dict[str, set[str]] = {}
        super().__init__(region_name, account_id)

    def replace_root_volume(
        self,
        instance_id: str,
        *,
        snapshot_id: str | None,
        image_id: str | None,
        volume_id: str | None,
        is_deleting: bool,
        tags: dict[str, str],
    ) -> RootVolumeTask:
        """Start a replacement from a snapshot, an image, a volume or, with none of them, from the launch state."""
        instance = self.get_instance(instance_id)
        if instance.state != "running":
            raise refuse("IncorrectInstanceState", f"The instance '{instance_id}' is not running.")
        if instance.root_device_type != "ebs":
            raise refuse("UnsupportedOperation", f"The root of '{instance_id}' is not an EBS volume.")
        if sum(each is not None for each in (snapshot_id, image_id, volume_id)) > 1:
            raise refuse("InvalidParameterCombination", "Name a snapshot, an image or a volume, or none of them.")
        if any(
            each.instance_id == instance_id and each.completed_at is None for each in self.root_volume_tasks.values()
        ):
            raise refuse("IncorrectState", f"The root volume of '{instance_id}' is being replaced already.")
        root = self.volumes_of(instance)[instance.root_device_name]
        volume = self._replacement(instance, root, snapshot_id=snapshot_id, image_id=image_id, volume_id=volume_id)
        task = RootVolumeTask(
            id=f"replacevol-{uuid.UUID(int=self.world.random.getrandbits(128)).hex[:17]}",
            instance_id=instance_id,
            is_deleting=is_deleting,
            started_at=self.now,
            tags=dict(tags),
            image_id=image_id,
            snapshot_id=snapshot_id,
        )
        self.root_volume_tasks[task.id] = task
        self.call_later(_LOOKING, lambda: self._go_on(task, instance, root, volume))
        return task

    def _replacement(
        self,
        instance: Instance,
        root: Volume,
        *,
        snapshot_id: str | None,
        image_id: str | None,
        volume_id: str | None,
    ) -> Volume:
        if volume_id is not None:
            volume = self.get_volume(volume_id)
            if volume.status != "available":
                raise refuse("IncorrectState", f"The volume '{volume_id}' is '{volume.status}'.")
            if volume.zone.name != root.zone.name:
                raise refuse("InvalidVolume.ZoneMismatch", f"The volume '{volume_id}' is in {volume.zone.name}.")
            if root.encrypted and not volume.encrypted:
                raise refuse("InvalidParameterValue", f"The volume '{volume_id}' is not encrypted as the original is.")
            return volume
        if snapshot_id is None:
            image = self.require_available_image(image_id) if image_id else self.launch_of(instance.id).image
            if image.architecture != instance.architecture or image.virtualization_type != instance.virtualization_type:
                raise refuse("InvalidParameterValue", f"The image '{image.id}' does not fit '{instance.id}'.")
            device = next(each for each in image.devices if each.name == image.root_device_name)
            assert device.snapshot_id is not None
            source = self.find_snapshot(device.snapshot_id)
        else:
            source = self.get_snapshot(snapshot_id)
            roots = {f"{self.region_name}/{each}" for each in (root.id, *self._former_roots.get(instance.id, ()))}
            if roots.isdisjoint(source.lineage):
                raise refuse("InvalidParameterValue", f"Snapshot {snapshot_id} was not made of the root volume.")
        return self.create_volume(
            size=max(source.volume_size, root.size),
            zone_name=root.zone.name,
            snapshot_id=source.id,
            encrypted=root.encrypted,
            volume_type=root.volume_type,
            iops=root.iops if root.volume_type in ("gp3", "io1", "io2") else None,
            throughput=root.throughput,
        )

    def _go_on(self, task: RootVolumeTask, instance: Instance, root: Volume, volume: Volume) -> None:
        if volume.state == "creating":
            self.call_later(_LOOKING, lambda: self._go_on(task, instance, root, volume))
        elif volume.status != "available" or instance.state != "running" or root.attachment is None:
            self._end_task(task, "failed")
        else:
            task.state = "in-progress"
            self.call_later(_SWAPPING, lambda: self._swap(task, instance, root, volume))

    def _swap(self, task: RootVolumeTask, instance: Instance, root: Volume, volume: Volume) -> None:
        if instance.state != "running" or root.attachment is None or volume.status != "available":
            self._end_task(task, "failed")
            return
        device = instance.root_device_name
        deletes = bool(instance.block_device_mapping[device].delete_on_termination)
        self.note_reboot(instance)
        self.detach_volume(root.id, instance.id, device)
        self._former_roots.setdefault(instance.id, set()).add(root.id)
        self.attach_volume(volume.id, instance.id, device, deletes)
        if task.is_deleting:
            self.delete_volume(root.id)
        self._end_task(task, "succeeded")

    def _end_task(self, task: RootVolumeTask, state: str) -> None:
        task.state = state
        task.completed_at = self.now


class RootVolumesResponse(SharingResponse):
    """CreateReplaceRootVolumeTask and DescribeReplaceRootVolumeTasks."""

    def create_replace_root_volume_task(self) -> ActionResult:
        tags = self.tag_specifications("replace-root-volume-task")["replace-root-volume-task"]
        instance_id = self._get_param("InstanceId")
        request: dict[str, Any] = {
            "snapshot_id": self._get_param("SnapshotId"),
            "image_id": self._get_param("ImageId"),
            "volume_id": self._get_param("VolumeId"),
            "is_deleting": self._get_bool_param("DeleteReplacedRootVolume", False),
            "tags": tags,
        }
        task = self.backend.root_volume_tokens.once(
            self._get_param("ClientToken"),
            (instance_id, request),
            lambda: self.backend.replace_root_volume(instance_id, **request),
        )
        return ActionResult({"ReplaceRootVolumeTask": task.describe()})

    def describe_replace_root_volume_tasks(self) -> ActionResult:
        ids = self._get_param("ReplaceRootVolumeTaskIds", [])
        known = self.backend.root_volume_tasks
        if unknown := [each for each in ids if each not in known]:
            raise refuse("InvalidReplaceRootVolumeTaskId.NotFound", f"The task '{unknown[0]}' does not exist.")
        tasks, token = self.page(
            lambda: select(
                [each for each in known.values() if not ids or each.id in ids],
                self.filters(),
                readers=_READERS,
                tags=lambda task: task.tags,
            )
        )
        return ActionResult({"ReplaceRootVolumeTasks": [each.describe() for each in tasks], "NextToken": token})


_READERS: dict[str, Callable[[RootVolumeTask], Any]] = {"instance-id": lambda task: task.instance_id}
