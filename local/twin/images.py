"""Images: made of an instance, registered, copied and deregistered.

Sources: EC2 API Reference (CreateImage, RegisterImage, CopyImage, DeregisterImage, "Error codes"), EC2 User Guide ("How
Amazon EC2 AMI copy works", "Deregister an Amazon EC2 AMI").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.utils import random_ami_id

from local.twin.block_devices import Device, RequestedDevice, check_snapshot_of_device, invalid_mapping
from local.twin.client_tokens import ClientTokens
from local.twin.errors import refuse
from local.twin.events import image_changed
from local.twin.image_record import Image, check_image_name
from local.twin.instances import InstancesBackend
from local.twin.snapshots import Snapshot
from local.twin.tags import Tags
from local.twin.volumes import VOLUME_TYPES

# An image becomes available shortly after its last snapshot is completed, never in the call that asks for it.
_SETTLING = timedelta(seconds=5)
# "If you have recently deregistered an AMI with the same name, allow enough time for the change to propagate"
# (errors-overview, InvalidAMIName.Duplicate); how long is enough is not documented.
_NAME_RELEASE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTags:
    """TagSpecifications of CreateImage and CopyImage: every snapshot gets the same tags."""

    image: Tags
    snapshot: Tags


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRequest:
    """What CopyImage was asked for, apart from its client token."""

    source_region: str
    source_image_id: str
    name: str | None
    description: str | None
    is_encrypted: bool | None
    kms_key_id: str | None
    is_copying_tags: bool
    minutes: int | None
    tags: ImageTags


class ImagesBackend(InstancesBackend):
    """The images of one account in one Region, and what is done to them."""

    def __init__(self, region_name: str, account_id: str) -> None:
        self._names: dict[str, str] = {}
        self._names_free_at: dict[str, datetime] = {}
        self.copy_tokens: ClientTokens[Image] = ClientTokens()
        self._pending_image_copies: set[str] = set()
        super().__init__(region_name, account_id)

    def start_image(
        self,
        *,
        instance_id: str,
        name: str | None,
        description: str | None,
        is_rebooting: bool,
        overrides: Sequence[RequestedDevice],
        tags: ImageTags,
        location: str | None = None,
    ) -> Image:
        """CreateImage: one snapshot of every EBS volume, all at one instant; pending until all are completed.

        "An Amazon EBS-backed instance that is either running or stopped": any other state is refused with
        IncorrectState, an instance-store root with InvalidParameterValue.
        """
        instance = self.get_instance(instance_id)
        name = self._claimable(name)
        if location not in (None, "regional"):
            # SnapshotLocation: "Only supported for instances in Local Zones".
            raise refuse("InvalidParameterValue", f"'{location}' is no location for snapshots of this instance.")
        if instance.state not in ("running", "stopped"):
            raise refuse("IncorrectState", f"Instance '{instance_id}' is not 'running' or 'stopped'.")
        if instance.root_device_type != "ebs":
            raise refuse("InvalidParameterValue", f"The root device of instance '{instance_id}' is not an EBS volume.")
        launch = self.launch_of(instance_id)
        suppressed = {each.device.name for each in overrides if each.is_suppressed}
        asked = {each.device.name: each.device for each in overrides if not each.is_suppressed}
        volumes = {device: each for device, each in self.volumes_of(instance).items() if device not in suppressed}
        if instance.root_device_name not in volumes:
            raise refuse("IncorrectState", f"Instance '{instance_id}' has no volume at {instance.root_device_name}.")
        for device, volume in volumes.items():
            _check_override(asked.get(device), size=volume.size)
            if volume.status != "in-use":
                raise refuse("IncorrectState", f"The volume '{volume.id}' is '{volume.status}'.")
        self.check_snapshot_limits(volumes.values())
        image = replace(
            launch.image,
            id=random_ami_id(),
            owner_id=self.account_id,
            owner_alias=None,
            name=name,
            description=description,
            created_at=self.now,
            state="pending",
            devices=[],
            image_location=None,
            root_device_name=instance.root_device_name,
            source_instance_id=instance_id,
            source_image_id=launch.image.id,
            source_image_region=self.region_name,
            launch_permissions=[],
            deprecated_at=None,
        )
        is_rebooting = is_rebooting and instance.state == "running"
        if is_rebooting:
            self.note_reboot(instance)
        for device, volume in volumes.items():
            if is_rebooting:
                volume.freeze()  # while the machine is down nothing writes: "while data is at rest"
            snapshot = self.start_snapshot(
                volume, description=f"Created by CreateImage({instance_id}) for {image.id}", tags=tags.snapshot
            )
            if is_rebooting:
                volume.thaw()
            block = instance.block_device_mapping[device]
            wish = asked[device].delete_on_termination if device in asked else None
            image.devices.append(
                Device(
                    name=device,
                    snapshot_id=snapshot.id,
                    size=volume.size,
                    volume_type=volume.volume_type,
                    iops=volume.iops if VOLUME_TYPES[volume.volume_type].most_iops else None,
                    throughput=volume.throughput,
                    encrypted=volume.encrypted,
                    delete_on_termination=bool(block.delete_on_termination) if wish is None else wish,
                )
            )
        carried = {device.name: device for device in launch.instance_store_devices if device.name not in suppressed}
        image.devices += {**carried, **{name: each for name, each in asked.items() if name not in volumes}}.values()
        self._keep_image(image, tags.image)
        self._follow(image)
        return image

    def register(self, image: Image, *, requested: Sequence[RequestedDevice], tags: Tags) -> Image:
        """RegisterImage: the image stands on the snapshots that the request names; nothing is copied.

        `image` comes without its devices. Refused: a root device without a snapshot, a snapshot that is not completed,
        and an encryption state beside a snapshot ("you can't specify the encryption state of the volume").
        """
        self._claimable(image.name)
        image.devices = [self._registered(each.device) for each in requested if not each.is_suppressed]
        root = next((device for device in image.devices if device.name == image.root_device_name), None)
        if root is None or root.snapshot_id is None:
            raise invalid_mapping(f"The root device '{image.root_device_name}' must have a snapshot")
        self._keep_image(image, tags)
        self._follow(image)
        return image

    def _registered(self, device: Device) -> Device:
        if not device.is_ebs:
            return device
        if device.snapshot_id is None:
            if device.size is None:
                raise invalid_mapping(f"Device '{device.name}' has neither a snapshot nor a size")
            return replace(device, delete_on_termination=device.delete_on_termination is not False)
        if device.encrypted is not None:
            raise invalid_mapping(
                f"the encrypted flag cannot be specified since device {device.name} has a snapshot specified."
            )
        snapshot = self.get_snapshot(device.snapshot_id)
        if not snapshot.is_visible_to(self.account_id):
            raise refuse("InvalidSnapshot.NotFound", f"The snapshot '{snapshot.id}' does not exist.")
        if snapshot.state != "completed":
            raise refuse("IncorrectState", f"Snapshot {snapshot.id} is '{snapshot.state}', not 'completed'.")
        check_snapshot_of_device(device, snapshot_size=snapshot.volume_size, snapshot_is_encrypted=snapshot.encrypted)
        return _device_of(snapshot, device)

    def start_copy_of_image(self, request: CopyRequest, *, client_token: str | None) -> Image:
        """CopyImage, called in the destination: every snapshot is copied; pending until all copies are completed.

        The same client token gives the same image again, or IdempotentParameterMismatch when anything else in the
        request differs (EC2 Developer Guide, "Ensuring idempotency in Amazon EC2 API requests").
        """
        return self.copy_tokens.once(client_token, request, lambda: self._start_copy_of_image(request))

    def _start_copy_of_image(self, request: CopyRequest) -> Image:
        there = self.in_region(request.source_region)
        assert isinstance(there, ImagesBackend)
        source = there.require_available_image(request.source_image_id)
        if not all(there.find_snapshot(each).is_visible_to(self.account_id) for each in source.snapshot_ids):
            # To launch an image is not to read its snapshots: those have to be shared as well (EC2 UG,
            # "How Amazon EC2 AMI copy works", copying an AMI that was shared with you).
            raise refuse("InvalidRequest", "You do not have permission to access the storage of this ami")
        if request.kms_key_id and not request.is_encrypted:
            raise refuse(
                "InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set."
            )
        if request.minutes is not None and not (15 <= request.minutes <= 2880 and request.minutes % 15 == 0):
            raise refuse("InvalidParameterValue", "SnapshotCopyCompletionDurationMinutes is 15 to 2880 in steps of 15.")
        name = self._claimable(request.name)
        # "Destination Regions are limited to 300 concurrent AMI copy operations"; the code is that of too many copies.
        self._pending_image_copies = {each for each in self._pending_image_copies if self._is_pending(each)}
        limit = self.world.quotas.image_copies
        if len(self._pending_image_copies) >= limit:
            raise refuse("ResourceLimitExceeded", f"Too many AMI copies in progress. The limit is {limit}.")
        image = replace(
            source,
            id=random_ami_id(),
            owner_id=self.account_id,
            owner_alias=None,
            name=name,
            description=source.description if request.description is None else request.description,
            created_at=self.now,
            state="pending",
            devices=[],
            image_location=None,
            source_instance_id=None,
            source_image_id=source.id,
            source_image_region=request.source_region,
            launch_permissions=[],
            deprecated_at=None,
        )
        for device in source.devices:
            if device.snapshot_id is None:
                image.devices.append(device)
                continue
            copy = self.start_copy(
                there.get_snapshot(device.snapshot_id),
                description=f"Copied for DestinationAmi {image.id} from SourceAmi {source.id}"
                f" for SourceSnapshot {device.snapshot_id}.",
                tags=request.tags.snapshot,
                is_encrypted=request.is_encrypted,
                kms_key_id=request.kms_key_id,
                minutes=request.minutes,
                is_counted=False,
            )
            image.devices.append(replace(device, snapshot_id=copy.id, encrypted=copy.encrypted))
        # "You can't copy user-defined AMI tags that were attached by another account" (CopyImage, CopyImageTags).
        carried = there.tags_of(source.id) if request.is_copying_tags else {}
        own = {key: value for key, value in carried.items() if not key.startswith("aws:")}
        self._keep_image(image, {**own, **request.tags.image})
        self._pending_image_copies.add(image.id)
        self.world.calls.raise_high_water("pending image copies", self.region_name, len(self._pending_image_copies))
        self._follow(image)
        return image

    def deregister(self, image_id: str, *, deletes_snapshots: bool) -> list[tuple[str, str]]:
        """DeregisterImage: the image is gone at once; each of its snapshots' id with its return code, if asked for.

        A snapshot that another image needs is `skipped`. AuthFailure for somebody else's image.
        """
        image = self.require_image(image_id)
        if image.owner_id != self.account_id:
            raise refuse("AuthFailure", f"Not authorized for image:{image_id}")
        self.sightings.disappear(image, tags=self.tags_of(image_id))
        del self.amis[image_id]
        self.deleted_amis.append(image_id)
        self.forget_tags(image_id)
        self._names_free_at[image.name] = self.now + _NAME_RELEASE
        for snapshot_id in image.snapshot_ids:
            self.release_snapshot(snapshot_id, image_id=image_id)
        self._announce_image(image, state="deregistered")
        if not deletes_snapshots:
            return []
        return [
            (snapshot_id, self._delete_associated(snapshot_id)) for snapshot_id in dict.fromkeys(image.snapshot_ids)
        ]

    def _delete_associated(self, snapshot_id: str) -> str:
        if self.images_of(snapshot_id):
            return "skipped"
        try:
            self.delete_snapshot(snapshot_id)
        except EC2ClientError:
            return "client-error"
        return "success"

    def seed_image(
        self,
        *,
        name: str,
        created_at: datetime,
        snapshot_ids: Sequence[str],
        tags: Tags,
        source_instance_id: str | None = None,
        description: str | None = None,
    ) -> Image:
        """An available image that was made long ago, for tests: its root is the first snapshot, others follow it."""
        if not snapshot_ids:
            raise ValueError(f"The image {name} needs at least the snapshot of its root device.")
        snapshots = [self.get_snapshot(snapshot_id) for snapshot_id in snapshot_ids]
        names = ["/dev/xvda", *(f"/dev/sd{letter}" for letter in "fghijklmnop")]
        image = Image(
            id=random_ami_id(),
            owner_id=self.account_id,
            name=self._claimable(name),
            description=description,
            created_at=created_at,
            state="available",
            source_instance_id=source_instance_id,
            devices=[
                _device_of(snapshot, Device(name=device, volume_type="gp3"))
                for device, snapshot in zip(names, snapshots, strict=False)
            ],
        )
        self._keep_image(image, tags)
        return image

    def _claimable(self, name: str | None) -> str:
        """The name, if no image has it; InvalidAMIName.Malformed or InvalidAMIName.Duplicate otherwise."""
        name = check_image_name(name)
        holder = self._names.get(name)
        free_at = self._names_free_at.get(name)
        if holder in self.amis or (free_at is not None and self.now < free_at):
            raise refuse("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {holder}")
        return name

    def _keep_image(self, image: Image, tags: Tags) -> None:
        self.amis[image.id] = image
        self.sightings.appear(image.id)
        self._names[image.name] = image.id
        for snapshot_id in image.snapshot_ids:
            self.hold_snapshot(snapshot_id, image_id=image.id)
        if tags:
            self.create_tags([image.id], dict(tags))

    def _follow(self, image: Image) -> None:
        """Let the image end as its snapshots do: failed with the first that fails, available after the last."""

        def look(_: Any = None) -> None:
            snapshots = [self.snapshots[each] for each in image.snapshot_ids]
            failed = next((each for each in snapshots if each.state == "error"), None)
            if failed is not None:
                self._end_image(image, state="failed", error=f"{failed.id}: {failed.state_message or 'error'}")
            elif all(each.state == "completed" for each in snapshots):
                self.call_later(_SETTLING, lambda: self._end_image(image, state="available"))

        for snapshot_id in image.snapshot_ids:
            self.snapshots[snapshot_id].on_end.append(look)
        look()

    def _is_pending(self, image_id: str) -> bool:
        return image_id in self.amis and self.amis[image_id].state == "pending"

    def _end_image(self, image: Image, *, state: str, error: str = "") -> None:
        if image.state != "pending" or image.id not in self.amis:
            return
        self.sightings.change(image.id, former=image.state)
        image.state = state
        if error:
            image.state_reason = {"Code": "Client.InternalError", "Message": error}
        self._announce_image(image, state=state, error=error)

    def _announce_image(self, image: Image, *, state: str, error: str = "") -> None:
        self.send_event(image_changed(region=self.region_name, image_id=image.id, state=state, error=error))


def seed_image(
    *,
    region: str,
    name: str,
    created_at: datetime,
    snapshot_ids: Sequence[str],
    tags: Mapping[str, str],
    account_id: str = DEFAULT_ACCOUNT_ID,
    source_instance_id: str | None = None,
    description: str | None = None,
) -> str:
    """Make an available image with an old CreationDate and return its id: a control for tests, outside EC2's API."""
    backend = ec2_backends[account_id][region]
    assert isinstance(backend, ImagesBackend)
    image = backend.seed_image(
        name=name,
        created_at=created_at,
        snapshot_ids=snapshot_ids,
        tags=tags,
        source_instance_id=source_instance_id,
        description=description,
    )
    return image.id


def _check_override(asked: Device | None, *, size: int) -> None:
    """CreateImage: "The only option that can be changed for existing mappings or snapshots is DeleteOnTermination"."""
    if asked is None:
        return
    if asked.encrypted is not None:
        raise invalid_mapping(f"the encrypted flag cannot be specified since device {asked.name} has a snapshot.")
    changed = asked.volume_type or asked.iops or asked.throughput or asked.snapshot_id
    if changed or asked.size not in (None, size) or not asked.is_ebs:
        raise invalid_mapping(f"Only DeleteOnTermination of device {asked.name} can be changed")


def _device_of(snapshot: Snapshot, device: Device) -> Device:
    return replace(
        device,
        snapshot_id=snapshot.id,
        size=device.size or snapshot.volume_size,
        volume_type=device.volume_type or "gp2",
        encrypted=snapshot.encrypted,
        delete_on_termination=device.delete_on_termination is not False,
    )
