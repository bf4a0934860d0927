"""The EC2 operations on images: what they take and what they answer."""

from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.utils import random_ami_id

from local.twin.block_devices import parse_block_devices
from local.twin.errors import refuse
from local.twin.image_record import Image, check_image_name
from local.twin.images import CopyRequest, ImageTags
from local.twin.instance_requests import InstancesResponse


class ImagesResponse(InstancesResponse):
    """CreateImage, RegisterImage, CopyImage, DeregisterImage, DescribeImages."""

    def create_image(self) -> ActionResult:
        tags = self.tag_specifications("image", "snapshot")
        image = self.backend.start_image(
            instance_id=self._get_param("InstanceId"),
            name=self._get_param("Name"),
            description=self._get_param("Description"),
            is_rebooting=not self._get_bool_param("NoReboot", False),
            overrides=parse_block_devices(self._get_param("BlockDeviceMappings", [])),
            tags=ImageTags(image=tags["image"], snapshot=tags["snapshot"]),
            location=self._get_param("SnapshotLocation"),
        )
        return ActionResult({"ImageId": image.id})

    def register_image(self) -> ActionResult:
        """Only from snapshots: RegisterImage of a manifest in S3 (ImageLocation) is refused.

        The defaults are RegisterImage's own, and old: Architecture i386, VirtualizationType paravirtual.
        """
        tags = self.tag_specifications("image")
        if self._get_param("ImageLocation"):
            raise refuse("UnsupportedOperation", "The twin registers images from snapshots only, not from S3.")
        image = Image(
            id=random_ami_id(),
            owner_id=self.current_account,
            name=check_image_name(self._get_param("Name")),
            description=self._get_param("Description"),
            created_at=self.backend.now,
            devices=[],
            architecture=self._get_param("Architecture") or "i386",
            virtualization_type=self._get_param("VirtualizationType") or "paravirtual",
            root_device_name=self._get_param("RootDeviceName") or "/dev/sda1",
            kernel_id=self._get_param("KernelId"),
            ramdisk_id=self._get_param("RamdiskId"),
            ena_support=self._get_bool_param("EnaSupport", False),
            sriov_net_support=self._get_param("SriovNetSupport"),
            boot_mode=self._get_param("BootMode"),
            tpm_support=self._get_param("TpmSupport"),
            imds_support=self._get_param("ImdsSupport"),
        )
        requested = parse_block_devices(self._get_param("BlockDeviceMappings", []))
        self.backend.register(image, requested=requested, tags=tags["image"])
        return ActionResult({"ImageId": image.id})

    def copy_image(self) -> ActionResult:
        tags = self.tag_specifications("image", "snapshot")
        request = CopyRequest(
            source_region=self._get_param("SourceRegion"),
            source_image_id=self._get_param("SourceImageId"),
            name=self._get_param("Name"),
            description=self._get_param("Description"),
            is_encrypted=self._get_bool_param("Encrypted"),
            kms_key_id=self._get_param("KmsKeyId"),
            is_copying_tags=self._get_bool_param("CopyImageTags", False),
            minutes=self._get_param("SnapshotCopyCompletionDurationMinutes"),
            tags=ImageTags(image=tags["image"], snapshot=tags["snapshot"]),
        )
        image = self.backend.start_copy_of_image(request, client_token=self._get_param("ClientToken"))
        return ActionResult({"ImageId": image.id})

    def deregister_image(self) -> ActionResult:
        deletes = self._get_bool_param("DeleteAssociatedSnapshots", False)
        outcomes = self.backend.deregister(self._get_param("ImageId"), deletes_snapshots=deletes)
        results = [{"SnapshotId": snapshot_id, "ReturnCode": code} for snapshot_id, code in outcomes]
        return ActionResult({"Return": True, **({"DeleteSnapshotResults": results} if deletes else {})})

    def describe_images(self) -> ActionResult:
        ids = self._get_param("ImageIds", [])
        images, token = self.page(
            lambda: self.backend.select_images(
                image_ids=ids,
                filters=self.filters(),
                owners=self._get_param("Owners", []),
                executable_by=self._get_param("ExecutableUsers", []),
                includes_disabled=self._get_bool_param("IncludeDisabled", False),
                includes_deprecated=self._get_bool_param("IncludeDeprecated", False),
            )
        )
        described = [self.describe_image(each) for each in images if self.backend.is_image_shown(each.id)]
        return ActionResult({"Images": described, "NextToken": token})

    def describe_image(self, image: Image) -> dict[str, Any]:
        """The image as DescribeImages tells it."""
        return {**image.describe(self.backend.tags_of(image.id)), "State": self.backend.shown_image_state(image)}
