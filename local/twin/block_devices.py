"""Block device mappings: what an image carries, what a launch asks for, and how the two merge.

Pure: nothing here knows a backend. Sizes are GiB, throughput is MiB/s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from moto.ec2.exceptions import EC2ClientError

from local.twin.errors import refuse


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One entry of an image's or a launch's block device mapping.

    Either `virtual_name` (an instance store device: no volume, no snapshot) or the EBS fields are set
    (botocore shapes BlockDeviceMapping and EbsBlockDevice).
    """

    name: str
    virtual_name: str | None = None
    snapshot_id: str | None = None
    size: int | None = None
    volume_type: str | None = None
    iops: int | None = None
    throughput: int | None = None
    encrypted: bool | None = None
    kms_key_id: str | None = None
    delete_on_termination: bool | None = None

    @property
    def is_ebs(self) -> bool:
        return self.virtual_name is None

    def describe(self) -> dict[str, Any]:
        """The entry as DescribeImages prints it.

        KmsKeyId is left out: EbsBlockDevice says it is "only supported on BlockDeviceMapping objects called by
        RunInstances, RequestSpotFleet, and RequestSpotInstances".
        """
        if not self.is_ebs:
            return {"DeviceName": self.name, "VirtualName": self.virtual_name}
        ebs = {
            "DeleteOnTermination": bool(self.delete_on_termination),
            "SnapshotId": self.snapshot_id,
            "VolumeSize": self.size,
            "VolumeType": self.volume_type or "gp2",
            "Iops": self.iops,
            "Throughput": self.throughput,
            "Encrypted": bool(self.encrypted),
        }
        return {"DeviceName": self.name, "Ebs": {key: value for key, value in ebs.items() if value is not None}}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedDevice:
    """One BlockDeviceMapping of a request: a device, or the wish that the named device be left out (NoDevice)."""

    device: Device
    is_suppressed: bool = False


def parse_block_devices(raw: Iterable[Mapping[str, Any]]) -> list[RequestedDevice]:
    """Reads a request's BlockDeviceMappings.

    Refuses with InvalidBlockDeviceMapping a mapping without a device name, one named twice, a NoDevice that is not the
    empty string, and one that asks for an EBS volume and an instance store device at once.
    """
    requested: list[RequestedDevice] = []
    for mapping in raw:
        name = mapping.get("DeviceName")
        if not name:
            raise invalid_mapping("The device name is missing from a block device mapping")
        if any(earlier.device.name == name for earlier in requested):
            raise invalid_mapping(f"Duplicate device name '{name}'")
        if "NoDevice" in mapping:
            if mapping["NoDevice"] not in ("", None):
                raise invalid_mapping(f"NoDevice of '{name}' takes an empty string only")
            requested.append(RequestedDevice(device=Device(name=name), is_suppressed=True))
            continue
        ebs = mapping.get("Ebs")
        virtual_name = mapping.get("VirtualName")
        if virtual_name and ebs:
            raise invalid_mapping(f"Device '{name}' is both an EBS volume and an instance store volume")
        if virtual_name:
            if not (virtual_name.startswith("ephemeral") and virtual_name.removeprefix("ephemeral").isdigit()):
                raise invalid_mapping(f"Invalid virtual name '{virtual_name}' of device '{name}'")
            requested.append(RequestedDevice(device=Device(name=name, virtual_name=virtual_name)))
            continue
        if ebs is None:
            raise invalid_mapping(f"Device '{name}' has neither Ebs, nor VirtualName, nor NoDevice")
        requested.append(RequestedDevice(device=_read_ebs(name, ebs)))
    return requested


def merge_block_devices(*, image: Iterable[Device], requested: Iterable[RequestedDevice]) -> list[Device]:
    """The devices of a launch: the image's, overridden by device name, with the request's own ones added.

    A field that the request leaves out keeps the image's value; NoDevice removes the device
    (EC2 UG block-device-mapping-concepts, "Specify the block device mapping for an instance").
    """
    devices = {device.name: device for device in image}
    for request in requested:
        name = request.device.name
        if request.is_suppressed:
            devices.pop(name, None)
        elif name in devices and devices[name].is_ebs and request.device.is_ebs:
            devices[name] = _override(devices[name], request.device)
        else:
            devices[name] = request.device
    return list(devices.values())


def check_snapshot_of_device(device: Device, *, snapshot_size: int, snapshot_is_encrypted: bool) -> None:
    """Refuses a device that does not fit its snapshot: smaller than it, or unencrypted from an encrypted one.

    Sizes: EbsBlockDevice.VolumeSize ("equal to or larger than the snapshot size"). Encryption: EBS UG ebs-encryption,
    a volume from an encrypted snapshot is always encrypted. The code is errors-overview's InvalidBlockDeviceMapping.
    """
    if device.size is not None and device.size < snapshot_size:
        raise invalid_mapping(
            f"Volume of size {device.size}GB is smaller than snapshot '{device.snapshot_id}',"
            f" expect size >= {snapshot_size}GB"
        )
    if device.encrypted is False and snapshot_is_encrypted:
        raise invalid_mapping(f"Device {device.name} of encrypted snapshot '{device.snapshot_id}' must be encrypted")


def invalid_mapping(message: str) -> EC2ClientError:
    return refuse("InvalidBlockDeviceMapping", message)


def _read_ebs(name: str, ebs: Mapping[str, Any]) -> Device:
    return Device(
        name=name,
        snapshot_id=ebs.get("SnapshotId"),
        size=_integer(ebs.get("VolumeSize")),
        volume_type=ebs.get("VolumeType"),
        iops=_integer(ebs.get("Iops")),
        throughput=_integer(ebs.get("Throughput")),
        encrypted=ebs.get("Encrypted"),
        kms_key_id=ebs.get("KmsKeyId"),
        delete_on_termination=ebs.get("DeleteOnTermination"),
    )


def _integer(value: Any) -> int | None:
    return None if value is None else int(value)


def _override(base: Device, request: Device) -> Device:
    given = {
        field: value
        for field in ("snapshot_id", "size", "volume_type", "iops", "throughput", "encrypted", "kms_key_id")
        if (value := getattr(request, field)) is not None
    }
    if request.delete_on_termination is not None:
        given["delete_on_termination"] = request.delete_on_termination
    if request.volume_type is not None and request.volume_type != base.volume_type:
        # The image's performance belongs to the image's volume type and means nothing for another one.
        given.setdefault("iops", None)
        given.setdefault("throughput", None)
    return replace(base, **given)
