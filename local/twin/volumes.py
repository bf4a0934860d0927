"""Volumes: creating, attaching, detaching, deleting, writing, describing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.models.block_device import BlockDeviceType
from moto.ec2.models.elastic_block_store import Volume as MotoVolume
from moto.ec2.models.elastic_block_store import VolumeAttachment
from moto.ec2.utils import random_volume_id

from local.twin.client_tokens import ClientTokens
from local.twin.content import Content
from local.twin.core import Answer
from local.twin.errors import refuse, unknown_volume
from local.twin.events import volume_changed
from local.twin.keys import aws_managed_key
from local.twin.matching import Filters, select
from local.twin.tags import TagsBackend, TagsResponse, print_tags


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeType:
    """The limits of a volume type: EBS User Guide, "Amazon EBS volume types". Sizes in GiB, throughput in MiB/s."""

    smallest: int
    largest: int
    least_iops: int = 0
    most_iops: int = 0
    iops_per_gib: int = 0
    default_iops: int | None = None
    most_throughput: int = 0
    default_throughput: int | None = None
    throughput_per_iops: float = 0
    needs_iops: bool = False


VOLUME_TYPES = {
    "standard": VolumeType(smallest=1, largest=1024),
    "gp2": VolumeType(smallest=1, largest=16_384),
    "gp3": VolumeType(
        smallest=1,
        largest=65_536,
        least_iops=3000,
        most_iops=80_000,
        iops_per_gib=500,
        default_iops=3000,
        most_throughput=2000,
        default_throughput=125,
        throughput_per_iops=0.25,
    ),
    "io1": VolumeType(smallest=4, largest=16_384, least_iops=100, most_iops=64_000, iops_per_gib=50, needs_iops=True),
    "io2": VolumeType(
        smallest=4, largest=65_536, least_iops=100, most_iops=256_000, iops_per_gib=1000, needs_iops=True
    ),
    "st1": VolumeType(smallest=125, largest=16_384),
    "sc1": VolumeType(smallest=125, largest=16_384),
}


class Volume(MotoVolume):
    """A volume with its content and where that came from."""

    def __init__(self, *, content: Content, lineage: tuple[str, ...], created_at: datetime, **moto: Any) -> None:
        super().__init__(**moto)
        self.content = content
        self.lineage = lineage
        self.create_time = created_at
        self.state = "creating"
        self.is_frozen = False
        self.source_volume_id: str | None = None
        self.unflushed: list[tuple[bytes, int | None]] = []

    @property
    def status(self) -> str:
        if self.state == "available" and self.attachment:
            return "in-use"
        return self.state

    @property
    def shown_status(self) -> str:
        """The state that describes tell."""
        shown: str = self.ec2_backend.sightings.state_of(self.id, self.status)
        return shown

    def write(self, data: bytes, *, changed_bytes: int | None = None, is_flushed: bool = True) -> None:
        """Write `data`; what is not flushed, or written to a frozen file system, is not on the disk yet."""
        self.unflushed.append((data, changed_bytes))
        if is_flushed and not self.is_frozen:
            self._flush()

    def freeze(self) -> None:
        """Flush the file system and hold back writes until `thaw`."""
        self._flush()
        self.is_frozen = True

    def thaw(self) -> None:
        """Let writes through again, those held back first."""
        self.is_frozen = False
        self._flush()

    def _flush(self) -> None:
        for data, changed_bytes in self.unflushed:
            self.content = self.content.write(data, changed_bytes=changed_bytes)
        self.unflushed.clear()

    def describe(self) -> dict[str, Any]:
        """The volume as DescribeVolumes prints it."""
        answer = {
            "VolumeId": self.id,
            "State": self.shown_status,
            "Size": self.size,
            "VolumeType": self.volume_type,
            "Iops": self.iops,
            "Throughput": self.throughput,
            "AvailabilityZone": self.zone.name,
            "AvailabilityZoneId": self.zone.zone_id,
            "CreateTime": self.create_time,
            "SnapshotId": self.snapshot_id or "",
            "SourceVolumeId": self.source_volume_id,
            "Encrypted": self.encrypted,
            "KmsKeyId": self.kms_key_id,
            "MultiAttachEnabled": bool(self.multi_attach_enabled),
            "Attachments": [self.describe_attachment(self.attachment)] if self.attachment else [],
            "Tags": print_tags(self.ec2_backend.tags_of(self.id)) or None,
        }
        return {key: value for key, value in answer.items() if value is not None}

    @staticmethod
    def describe_attachment(attachment: VolumeAttachment) -> dict[str, Any]:
        """One attachment of a volume."""
        return {
            "VolumeId": attachment.volume.id,
            "InstanceId": attachment.instance.id,
            "Device": attachment.device,
            "State": attachment.status,
            "AttachTime": attachment.attach_time,
            "DeleteOnTermination": _deletes_on_termination(attachment),
        }


def _deletes_on_termination(attachment: VolumeAttachment) -> bool:
    block = attachment.instance.block_device_mapping.get(attachment.device)
    return bool(block and block.delete_on_termination)


def _attached(read: Callable[[VolumeAttachment], Any]) -> Callable[[Volume], Any]:
    return lambda volume: read(volume.attachment) if volume.attachment else None


_READERS: dict[str, Callable[[Volume], Any]] = {
    "attachment.attach-time": _attached(lambda attachment: attachment.attach_time),
    "attachment.delete-on-termination": _attached(_deletes_on_termination),
    "attachment.device": _attached(lambda attachment: attachment.device),
    "attachment.instance-id": _attached(lambda attachment: attachment.instance.id),
    "attachment.status": _attached(lambda attachment: attachment.status),
    "availability-zone": lambda volume: volume.zone.name,
    "availability-zone-id": lambda volume: volume.zone.zone_id,
    "create-time": lambda volume: volume.create_time,
    "encrypted": lambda volume: volume.encrypted,
    "multi-attach-enabled": lambda volume: bool(volume.multi_attach_enabled),
    "size": lambda volume: volume.size,
    "snapshot-id": lambda volume: volume.snapshot_id,
    "status": lambda volume: volume.shown_status,
    "volume-id": lambda volume: volume.id,
    "volume-type": lambda volume: volume.volume_type,
}


class VolumesBackend(TagsBackend):
    """Volumes of one account in one Region.

    `create_volume`, `attach_volume`, `detach_volume` and `delete_volume` keep moto's signatures, because launching
    and terminating instances calls them; `request_attachment` and `request_detachment` are the API's, with its checks.
    """

    volumes: dict[str, Any]

    def __init__(self, region_name: str, account_id: str) -> None:
        self.volume_tokens: ClientTokens[Volume] = ClientTokens()
        super().__init__(region_name, account_id)

    @property
    def default_key(self) -> str:
        """The ARN of the key that encrypts when none is named."""
        return self.default_kms_key_id or aws_managed_key(account_id=self.account_id, region=self.region_name)

    def check_key(self, key: str, then: Callable[[str | None], None], *, after: timedelta | None = None) -> None:
        """Look the key up after a while, as EC2 does, and call `then` with its ARN, or None if it cannot be used."""

        def look_up() -> None:
            found = self.find_key(key)
            with self.world.clock.lock:
                then(found)

        self.call_later(self.world.durations.key_check if after is None else after, look_up, is_locked=False)

    def check_keys(self, keys: Sequence[str], then: Callable[[str | None], None]) -> None:
        """Look up several keys one after the other: `then` gets the last one's ARN, or None if one cannot be used."""

        def go_on(found: str | None) -> None:
            if found is None or len(keys) == 1:
                then(found)
            else:
                self.check_keys(keys[1:], then)

        self.check_key(keys[0], go_on)

    def find_key(self, key: str) -> str | None:
        """The ARN of a key that EC2 can use in this Region, None otherwise."""
        managed = aws_managed_key(account_id=self.account_id, region=self.region_name)
        if key in (managed, "alias/aws/ebs", f"arn:aws:kms:{self.region_name}:{self.account_id}:alias/aws/ebs"):
            return managed
        return self.world.keys.find_usable(account_id=self.account_id, region=self.region_name, key=key)

    def name_key(self, key: str) -> str:
        """The ARN that a key id means here; an alias stays as it is until the key has been looked up."""
        if key.startswith(("arn:", "alias/")):
            return key
        return f"arn:aws:kms:{self.region_name}:{self.account_id}:key/{key}"

    def get_snapshot(self, snapshot_id: str) -> Any:
        """A snapshot that this account may use: see SnapshotsBackend."""
        return super().get_snapshot(snapshot_id)

    def find_snapshot(self, snapshot_id: str) -> Any:
        """A snapshot of this Region, whoever may use it: see SnapshotsBackend."""
        return self.get_snapshot(snapshot_id)

    def create_volume_once(self, token: str | None, *, tags: dict[str, str], **request: Any) -> Volume:
        """CreateVolume: the snapshot is one that this account may use, and a client token makes one volume only."""

        def create() -> Volume:
            if request["snapshot_id"]:
                self.get_snapshot(request["snapshot_id"])
            volume = self.create_volume(**request)
            if tags:
                self.create_tags([volume.id], tags)
            return volume

        return self.volume_tokens.once(token, (request, tags), create)

    def create_volume(  # noqa: PLR0917 (moto's launch calls it so)
        self,
        size: int | None = None,
        zone_name: str | None = None,
        snapshot_id: str | None = None,
        encrypted: bool = False,
        kms_key_id: str | None = None,
        volume_type: str | None = None,
        iops: int | None = None,
        throughput: int | None = None,
        multi_attach_enabled: bool | None = None,
    ) -> Volume:
        """Start making a volume: blank, or from a completed snapshot. It is `creating` when this returns.

        Whether the account may use the snapshot has been looked at before: an image's come with the image.
        """
        snapshot = self.find_snapshot(snapshot_id) if snapshot_id else None
        if snapshot is not None:
            snapshot.require_usable()
        if kms_key_id and not encrypted and not (snapshot and snapshot.encrypted):
            raise refuse(
                "InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set."
            )
        size = size if size is not None else (snapshot.volume_size if snapshot else None)
        if size is None:
            raise refuse("MissingParameter", "The request must contain the parameter size/snapshot")
        if snapshot is not None and size < snapshot.volume_size:
            raise refuse(
                "InvalidParameterValue", f"Volume size {size} is smaller than the snapshot's, {snapshot.volume_size}"
            )
        volume_type = volume_type or "gp2"
        check_volume_type(volume_type, size=size, iops=iops, throughput=throughput)
        limits = VOLUME_TYPES[volume_type]
        is_encrypted = bool(encrypted or (snapshot and snapshot.encrypted) or self.ebs_encryption_by_default)
        key = self._key_of_volume(kms_key_id, snapshot=snapshot) if is_encrypted else None
        volume_id = random_volume_id()
        volume = Volume(  # type: ignore[abstract] # not for CloudFormation
            content=snapshot.content.restore_to(volume_id) if snapshot else Content(origin=volume_id),
            lineage=(*(snapshot.lineage if snapshot else ()), f"{self.region_name}/{volume_id}"),
            created_at=self.now,
            ec2_backend=self,
            volume_id=volume_id,
            size=size,
            zone=self._find_zone(zone_name),
            snapshot_id=snapshot_id,
            encrypted=is_encrypted,
            kms_key_id=key,
            volume_type=volume_type,
            iops=iops or default_iops(volume_type, size=size),
            throughput=throughput or limits.default_throughput,
            multi_attach_enabled=multi_attach_enabled,
        )
        self.volumes[volume_id] = volume
        self.sightings.appear(volume_id)
        source_key = snapshot.kms_key_id if snapshot is not None and snapshot.encrypted else None
        if key and (kms_key_id or snapshot is not None):
            # Also the key that a snapshot brings along: its data key has to be decrypted for the volume (EBS UG
            # how-ebs-encryption-works).
            self.check_keys([*{source_key or key: None, key: None}], lambda found: self._finish_volume(volume, found))
        else:
            self.call_later(self.world.durations.volume, lambda: self._finish_volume(volume, key))
        return volume

    def _key_of_volume(self, asked: str | None, *, snapshot: Any) -> str:
        if asked:
            return self.name_key(asked)
        if snapshot is not None and snapshot.encrypted and snapshot.owner_id == self.account_id:
            return str(snapshot.kms_key_id)
        # EBS User Guide, "Encryption outcomes": a snapshot that is shared makes volumes under one's own default key.
        return self.default_key

    def _find_zone(self, zone_name: str | None) -> Any:
        zone = next((zone for zone in self.describe_availability_zones() if zone.name == zone_name), None)
        if zone is None:
            raise refuse("InvalidZone.NotFound", f"The zone '{zone_name}' does not exist.")
        return zone

    def _finish_volume(self, volume: Volume, key: str | None) -> None:
        if volume.state != "creating":
            return
        if volume.encrypted and key is None:
            volume.state = "error"
            cause = f"{volume.kms_key_id} is not accessible."
            self.send_event(
                volume_changed("createVolume", volume_arn=self._volume_arn(volume), result="failed", cause=cause)
            )
            return
        volume.kms_key_id = key
        self.sightings.change(volume.id, former=volume.status)
        volume.state = "available"
        self.send_event(volume_changed("createVolume", volume_arn=self._volume_arn(volume), result="available"))

    def _volume_arn(self, volume: Volume) -> str:
        return f"arn:aws:ec2:{self.region_name}:{self.account_id}:volume/{volume.id}"

    def get_volume(self, volume_id: str) -> Volume:
        if volume_id not in self.volumes:
            raise unknown_volume(volume_id)
        volume: Volume = self.volumes[volume_id]
        return volume

    def request_attachment(self, *, volume_id: str, instance_id: str, device: str) -> VolumeAttachment:
        """Start attaching a volume, with AttachVolume's checks."""
        volume = self.get_volume(volume_id)
        instance = self.get_instance(instance_id)
        if instance.state not in ("running", "stopped"):
            raise refuse("IncorrectState", f"Instance '{instance_id}' is not 'running' or 'stopped'.")
        if volume.attachment:
            raise refuse("VolumeInUse", f"{volume_id} is already attached to an instance")
        if volume.status != "available":
            raise refuse("IncorrectState", f"{volume_id} is not 'available'.")
        if volume.zone.name != instance.availability_zone:
            raise refuse(
                "InvalidVolume.ZoneMismatch",
                f"The volume '{volume_id}' is not in the same availability zone as instance '{instance_id}'",
            )
        if device in instance.block_device_mapping:
            raise refuse(
                "InvalidParameterValue",
                f"Invalid value '{device}' for unixDevice. Attachment point {device} is already in use",
            )
        return self.attach_volume(volume_id, instance_id, device, key=volume.kms_key_id if volume.encrypted else None)

    def attach_volume(
        self,
        volume_id: str,
        instance_id: str,
        device_path: str,
        delete_on_termination: bool = False,
        *,
        key: str | None = None,
    ) -> VolumeAttachment:
        """Start attaching a volume without AttachVolume's checks, as a launch does.

        With a `key` the volume is available again if that cannot be used (EBS User Guide, "attachVolume" events).
        """
        volume = self.get_volume(volume_id)
        instance = self.get_instance(instance_id)
        attachment = VolumeAttachment(volume, instance, device_path, "attaching")  # type: ignore[abstract] # likewise
        attachment.attach_time = self.now
        self.sightings.change(volume_id, former=volume.status)
        volume.attachment = attachment
        block = BlockDeviceType(
            volume_id=volume_id,
            status="attaching",
            size=volume.size,
            attach_time=attachment.attach_time,
            delete_on_termination=delete_on_termination,
        )
        instance.block_device_mapping[device_path] = block

        def finish() -> None:
            if attachment.status == "attaching":
                attachment.status = block.status = "attached"

        def take_key(found: str | None) -> None:
            if found is not None:
                finish()
            elif volume.attachment is attachment and attachment.status == "attaching":
                self.detach_volume(volume_id, instance_id, device_path)
                cause = f"{key} is not accessible."
                arn = self._volume_arn(volume)
                self.send_event(volume_changed("attachVolume", volume_arn=arn, result="failed", cause=cause))

        if key is None:
            self.call_later(self.world.durations.attachment, finish)
        else:
            self.check_key(key, take_key, after=self.world.durations.attachment)
        return attachment

    def request_detachment(
        self, *, volume_id: str, instance_id: str | None, device: str | None, is_forced: bool
    ) -> VolumeAttachment:
        """Start detaching a volume, with DetachVolume's checks; its instance and device need not be named."""
        volume = self.get_volume(volume_id)
        attachment = volume.attachment
        if attachment is None:
            raise refuse("IncorrectState", f"Volume '{volume_id}' is in the 'available' state.")
        if instance_id:
            self.get_instance(instance_id)
        if instance_id not in (None, attachment.instance.id) or device not in (None, attachment.device):
            raise refuse(
                "InvalidAttachment.NotFound",
                f"The volume '{volume_id}' is not attached to '{instance_id}' as {device}.",
            )
        instance = attachment.instance
        if attachment.device == instance.root_device_name and instance.state != "stopped":
            raise refuse(
                "OperationNotPermitted", f"Unable to detach root volume '{volume_id}' from instance '{instance.id}'"
            )
        if attachment.status != "attached" and not is_forced:
            raise refuse("IncorrectState", f"The attachment of '{volume_id}' is '{attachment.status}'.")
        attachment.status = "detaching"
        instance.block_device_mapping[attachment.device].status = "detaching"

        def finish() -> None:
            if volume.attachment is attachment:
                self.detach_volume(volume_id, instance.id, attachment.device)

        self.call_later(self.world.durations.attachment, finish)
        return attachment

    def detach_volume(self, volume_id: str, instance_id: str, device_path: str) -> VolumeAttachment:
        """Detach a volume at once, as the end of a termination or of a detachment does."""
        volume = self.get_volume(volume_id)
        attachment = volume.attachment
        if attachment is None:
            raise refuse("IncorrectState", f"Volume '{volume_id}' is in the 'available' state.")
        attachment.instance.block_device_mapping.pop(device_path or attachment.device, None)
        attachment.status = "detached"
        self.sightings.change(volume_id, former=volume.status)
        volume.attachment = None
        return attachment

    def delete_volume(self, volume_id: str) -> Volume:
        """Start deleting a volume that is not attached."""
        volume = self.get_volume(volume_id)
        if volume.attachment:
            raise refuse("VolumeInUse", f"Volume {volume_id} is currently attached to {volume.attachment.instance.id}")
        if volume.state not in ("available", "error"):
            raise refuse("IncorrectState", f"The volume '{volume_id}' is '{volume.state}'.")
        self.sightings.change(volume_id, former=volume.status)
        volume.state = "deleting"

        def finish() -> None:
            self.sightings.disappear(volume, tags=self.tags_of(volume_id))
            self.volumes.pop(volume_id, None)
            self.forget_tags(volume_id)
            self.send_event(volume_changed("deleteVolume", volume_arn=self._volume_arn(volume), result="deleted"))

        self.call_later(self.world.durations.volume, finish)
        return volume

    def describe_volumes(self, volume_ids: list[str] | None = None, filters: Filters | None = None) -> list[Any]:
        """The volumes asked for, in the order in which they were made; all of them without ids."""
        if volume_ids:
            found: Iterable[Volume] = [self._get_shown_volume(volume_id) for volume_id in dict.fromkeys(volume_ids)]
        else:
            shown = [*self.volumes.values(), *self.sightings.lingering(Volume)]
            found = [each for each in shown if not self.sightings.is_hidden(each.id)]
        return list(select(found, filters, readers=_READERS, tags=lambda volume: self.tags_of(volume.id)))

    def _get_shown_volume(self, volume_id: str) -> Volume:
        if self.sightings.is_hidden(volume_id):
            raise unknown_volume(volume_id)
        lingering: Volume | None = self.sightings.find_lingering(volume_id)
        return lingering or self.get_volume(volume_id)

    def is_volume_shown(self, volume_id: str) -> bool:
        """Whether it is still there to be described: a later page may come after its deletion."""
        return volume_id in self.volumes or self.sightings.find_lingering(volume_id) is not None

    def modify_ebs_default_kms_key_id(self, kms_key_id: str) -> str:
        found = self.find_key(kms_key_id)
        if found is None:
            raise refuse("InvalidParameterValue", f"The key '{kms_key_id}' cannot be used in {self.region_name}.")
        self.default_kms_key_id = found
        return found


def check_volume_type(volume_type: str, *, size: int, iops: int | None, throughput: int | None) -> None:
    """Refuse a size, IOPS or throughput that the volume type does not have."""
    limits = VOLUME_TYPES.get(volume_type)
    if limits is None:
        raise refuse("UnknownVolumeType", f"Unsupported volume type '{volume_type}' for volume creation.")
    if size > limits.largest:
        raise refuse(
            "InvalidParameterValue",
            f"Volume of {size}GiB is too large for volume type {volume_type}; maximum is {limits.largest}GiB.",
        )
    if size < limits.smallest:
        raise refuse(
            "InvalidParameterValue",
            f"Volume of {size}GiB is too small for volume type {volume_type}; minimum is {limits.smallest}GiB.",
        )
    if iops is None and limits.needs_iops:
        raise refuse("MissingParameter", "The request must contain the parameter iops")
    if iops is not None and not limits.most_iops:
        raise refuse("InvalidParameterCombination", f"The parameter iops is not supported for {volume_type} volumes.")
    if iops is not None and not limits.least_iops <= iops <= min(
        limits.most_iops, max(size * limits.iops_per_gib, limits.default_iops or 0)
    ):
        raise refuse(
            "InvalidParameterCombination", f"Volume iops of {iops} is out of range for {size}GiB of {volume_type}."
        )
    if throughput is not None and not limits.most_throughput:
        raise refuse(
            "InvalidParameterCombination", f"The parameter throughput is not supported for {volume_type} volumes."
        )
    if throughput is not None and not (limits.default_throughput or 0) <= throughput <= limits.most_throughput:
        raise refuse("InvalidParameterValue", f"Volume throughput of {throughput} is out of range for {volume_type}.")
    if throughput is not None and throughput > limits.throughput_per_iops * (iops or limits.default_iops or 0):
        raise refuse(
            "InvalidParameterCombination",
            f"Throughput (MiBps) to iops ratio of {throughput} is too high; maximum is {limits.throughput_per_iops}.",
        )


def default_iops(volume_type: str, *, size: int) -> int | None:
    """The IOPS of a volume for which none were asked: 3 for each GiB of gp2, 100 to 16,000."""
    return min(16_000, max(100, 3 * size)) if volume_type == "gp2" else VOLUME_TYPES[volume_type].default_iops


class VolumesResponse(TagsResponse):
    """CreateVolume, AttachVolume, DetachVolume, DeleteVolume, DescribeVolumes and the account's default key."""

    def create_volume(self) -> ActionResult:
        tags = self.tag_specifications("volume")["volume"]
        volume = self.backend.create_volume_once(
            self._get_param("ClientToken"),
            size=self._get_param("Size"),
            zone_name=self._get_param("AvailabilityZone"),
            snapshot_id=self._get_param("SnapshotId"),
            encrypted=self._get_bool_param("Encrypted", False),
            kms_key_id=self._get_param("KmsKeyId"),
            volume_type=self._get_param("VolumeType"),
            iops=self._get_param("Iops"),
            throughput=self._get_param("Throughput"),
            multi_attach_enabled=self._get_param("MultiAttachEnabled"),
            tags=tags,
        )
        return Answer(volume.describe())

    def attach_volume(self) -> ActionResult:
        attachment = self.backend.request_attachment(
            volume_id=self._get_param("VolumeId"),
            instance_id=self._get_param("InstanceId"),
            device=self._get_param("Device"),
        )
        return Answer(Volume.describe_attachment(attachment))

    def detach_volume(self) -> ActionResult:
        attachment = self.backend.request_detachment(
            volume_id=self._get_param("VolumeId"),
            instance_id=self._get_param("InstanceId"),
            device=self._get_param("Device"),
            is_forced=self._get_bool_param("Force", False),
        )
        return Answer(Volume.describe_attachment(attachment))

    def delete_volume(self) -> ActionResult:
        self.backend.delete_volume(self._get_param("VolumeId"))
        return EmptyResult()

    def describe_volumes(self) -> ActionResult:
        ids = self._get_param("VolumeIds", [])
        volumes, token = self.page(
            lambda: self.backend.describe_volumes(volume_ids=ids, filters=self.filters()), ids=ids
        )
        shown = [each for each in volumes if self.backend.is_volume_shown(each.id)]
        return Answer({"Volumes": [each.describe() for each in shown], "NextToken": token})

    def get_ebs_default_kms_key_id(self) -> ActionResult:
        return Answer({"KmsKeyId": self.backend.default_kms_key_id or "alias/aws/ebs"})

    def reset_ebs_default_kms_key_id(self) -> ActionResult:
        self.backend.default_kms_key_id = ""
        return Answer({"KmsKeyId": "alias/aws/ebs"})
