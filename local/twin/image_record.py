"""What the twin keeps of one image, and how DescribeImages prints and filters it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from local.twin.block_devices import Device
from local.twin.errors import refuse
from local.twin.tags import Tags, print_tags

# CreateImage, RegisterImage: "3-128 alphanumeric characters, parentheses, square brackets, spaces, periods, slashes,
# dashes, single quotes, at-signs, or underscores". CopyImage documents no rule: the same, harsher one is applied.
_NAME = re.compile(r"[A-Za-z0-9()\[\] ./\-'@_]{3,128}")

AMAZON_ACCOUNT = "137112412989"
EBS_BASE_NAME = "hikae-twin/base"
INSTANCE_STORE_BASE_NAME = "hikae-twin/base-instance-store"


@dataclass(kw_only=True, eq=False)
class Image:
    """An AMI. `state` is pending, available, failed or disabled; a deregistered image is no longer kept."""

    id: str
    owner_id: str
    name: str
    created_at: datetime
    devices: list[Device]
    state: str = "pending"
    owner_alias: str | None = None
    description: str | None = None
    state_reason: dict[str, str] | None = None
    architecture: str = "x86_64"
    virtualization_type: str = "hvm"
    hypervisor: str = "xen"
    image_type: str = "machine"
    platform: str | None = None
    platform_details: str = "Linux/UNIX"
    usage_operation: str = "RunInstances"
    root_device_name: str = "/dev/xvda"
    root_device_type: str = "ebs"
    kernel_id: str | None = None
    ramdisk_id: str | None = None
    ena_support: bool = True
    sriov_net_support: str | None = None
    boot_mode: str | None = None
    tpm_support: str | None = None
    imds_support: str | None = None
    source_instance_id: str | None = None
    source_image_id: str | None = None
    source_image_region: str | None = None
    image_location: str | None = None
    product_codes: list[str] = field(default_factory=list)
    launch_permissions: list[dict[str, str]] = field(default_factory=list)
    deprecated_at: datetime | None = None

    @property
    def is_public(self) -> bool:
        return {"Group": "all"} in self.launch_permissions

    @property
    def location(self) -> str:
        return self.image_location or f"{self.owner_id}/{self.name}"

    @property
    def snapshot_ids(self) -> list[str]:
        return [device.snapshot_id for device in self.devices if device.snapshot_id]

    def describe(self, tags: Tags) -> dict[str, Any]:
        """The image as botocore's shape Image."""
        described = {
            "ImageId": self.id,
            "Name": self.name,
            "Description": self.description,
            "State": self.state,
            "StateReason": self.state_reason,
            "OwnerId": self.owner_id,
            "ImageOwnerAlias": self.owner_alias,
            "Public": self.is_public,
            "CreationDate": self.created_at,  # moto prints it
            "ImageLocation": self.location,
            "ImageType": self.image_type,
            "Architecture": self.architecture,
            "VirtualizationType": self.virtualization_type,
            "Hypervisor": self.hypervisor,
            "Platform": self.platform,
            "PlatformDetails": self.platform_details,
            "UsageOperation": self.usage_operation,
            "RootDeviceName": self.root_device_name,
            "RootDeviceType": self.root_device_type,
            "BlockDeviceMappings": [device.describe() for device in self.devices],
            "KernelId": self.kernel_id,
            "RamdiskId": self.ramdisk_id,
            "EnaSupport": self.ena_support,
            "SriovNetSupport": self.sriov_net_support,
            "BootMode": self.boot_mode,
            "TpmSupport": self.tpm_support,
            "ImdsSupport": self.imds_support,
            "SourceInstanceId": self.source_instance_id,
            "SourceImageId": self.source_image_id,
            "SourceImageRegion": self.source_image_region,
            "DeprecationTime": self.deprecated_at.strftime("%Y-%m-%dT%H:%M:%S.000Z") if self.deprecated_at else None,
            "Tags": print_tags(tags),
        }
        return {key: value for key, value in described.items() if value not in (None, [])}


def _ebs(field: str) -> Callable[[Image], Any]:
    return lambda image: [device.describe()["Ebs"].get(field) for device in image.devices if device.is_ebs]


# DescribeImages' own list of filters in botocore's model, less those of features that the twin does not have.
IMAGE_READERS: dict[str, Callable[[Image], Any]] = {
    "architecture": lambda image: image.architecture,
    "block-device-mapping.delete-on-termination": _ebs("DeleteOnTermination"),
    "block-device-mapping.device-name": lambda image: [device.name for device in image.devices],
    "block-device-mapping.encrypted": _ebs("Encrypted"),
    "block-device-mapping.snapshot-id": _ebs("SnapshotId"),
    "block-device-mapping.volume-size": _ebs("VolumeSize"),
    "block-device-mapping.volume-type": _ebs("VolumeType"),
    "boot-mode": lambda image: image.boot_mode,
    "creation-date": lambda image: image.created_at,
    "description": lambda image: image.description,
    "ena-support": lambda image: image.ena_support,
    "hypervisor": lambda image: image.hypervisor,
    "image-id": lambda image: image.id,
    "image-type": lambda image: image.image_type,
    "is-public": lambda image: image.is_public,
    "kernel-id": lambda image: image.kernel_id,
    "manifest-location": lambda image: image.location,
    "name": lambda image: image.name,
    "owner-alias": lambda image: image.owner_alias,
    "owner-id": lambda image: image.owner_id,
    "platform": lambda image: image.platform,
    "product-code": lambda image: image.product_codes,
    "product-code.type": lambda image: ["marketplace" for _ in image.product_codes],
    "ramdisk-id": lambda image: image.ramdisk_id,
    "root-device-name": lambda image: image.root_device_name,
    "root-device-type": lambda image: image.root_device_type,
    "source-image-id": lambda image: image.source_image_id,
    "source-image-region": lambda image: image.source_image_region,
    "source-instance-id": lambda image: image.source_instance_id,
    "sriov-net-support": lambda image: image.sriov_net_support,
    "state": lambda image: image.state,
    "state-reason-code": lambda image: (image.state_reason or {}).get("Code"),
    "state-reason-message": lambda image: (image.state_reason or {}).get("Message"),
    "virtualization-type": lambda image: image.virtualization_type,
}


def check_image_name(name: str | None) -> str:
    """Returns the name, or refuses it with InvalidAMIName.Malformed (MissingParameter when there is none)."""
    if not name:
        raise refuse("MissingParameter", "The request must contain the parameter Name")
    if not _NAME.fullmatch(name):
        raise refuse(
            "InvalidAMIName.Malformed",
            "AMI names must be between 3 and 128 characters long, and may contain letters, numbers,"
            " '(', ')', '[', ']', ' ', '.', '/', '-', ''', '@' and '_'.",
        )
    return name


def base_images(region: str, *, created_at: datetime, snapshot_id: str, snapshot_size: int) -> list[Image]:
    """The two public Amazon images that every Region offers: one EBS-backed, one instance-store-backed.

    Their ids differ from Region to Region, as AMI ids do, and stay the same from run to run.
    """
    return [
        Image(
            id=stable_id("ami", region, EBS_BASE_NAME),
            owner_id=AMAZON_ACCOUNT,
            owner_alias="amazon",
            name=EBS_BASE_NAME,
            created_at=created_at,
            state="available",
            launch_permissions=[{"Group": "all"}],
            image_location=f"amazon/{EBS_BASE_NAME}",
            devices=[
                Device(
                    name="/dev/xvda",
                    snapshot_id=snapshot_id,
                    size=snapshot_size,
                    volume_type="gp3",
                    iops=3000,
                    throughput=125,
                    encrypted=False,
                    delete_on_termination=True,
                )
            ],
        ),
        Image(
            id=stable_id("ami", region, INSTANCE_STORE_BASE_NAME),
            owner_id=AMAZON_ACCOUNT,
            owner_alias="amazon",
            name=INSTANCE_STORE_BASE_NAME,
            created_at=created_at,
            state="available",
            launch_permissions=[{"Group": "all"}],
            image_location=f"amazon/{INSTANCE_STORE_BASE_NAME}.manifest.xml",
            root_device_name="/dev/sda1",
            root_device_type="instance-store",
            devices=[],
        ),
    ]


def stable_id(prefix: str, *parts: str) -> str:
    """An id in EC2's long form that depends on nothing but `parts`."""
    return f"{prefix}-0{hashlib.sha256('/'.join(parts).encode()).hexdigest()[:16]}"
