"""Sharing snapshots and images with other accounts, and blocking that they become public.

Sources: EC2 API Reference (ModifySnapshotAttribute, ModifyImageAttribute, ResetSnapshotAttribute,
EnableSnapshotBlockPublicAccess, EnableImageBlockPublicAccess, "Error codes"), EBS User Guide ("Share an Amazon EBS
snapshot", "Block public access for Amazon EBS snapshots", "Encryption outcomes"), EC2 User Guide ("Share an AMI with
specific accounts", "Block public access to your AMIs"). The codes of the refusals to share what is encrypted under the
AWS-managed key are those that EC2 gives: OperationNotPermitted for a snapshot, InvalidParameter for an image. The codes
for public and encrypted, and for blocked, are not documented: the same ones are taken.

What is shared is looked up where it lies: SnapshotsBackend.find_snapshot and ImageCatalog.find_images.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.exceptions import EC2ClientError

from local.twin.errors import refuse
from local.twin.events import snapshot_shared
from local.twin.keys import aws_managed_key
from local.twin.safekeeping import SafekeepingBackend, SafekeepingResponse
from local.twin.snapshots import BLOCK_ALL_SHARING, UNBLOCKED, Snapshot

BLOCK_NEW_SHARING = "block-new-sharing"
MOST_CHANGES = 500
_ACCOUNT = re.compile(r"\d{12}")
# "The API can take up to 10 minutes to configure this setting. During this time ... the response will be unblocked."
_CONFIGURING = timedelta(minutes=10)

Permission = Mapping[str, str]
"""{"UserId": account} or {"Group": "all"}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Permissions to add and to remove."""

    add: Sequence[Permission] = ()
    remove: Sequence[Permission] = ()

    @property
    def makes_public(self) -> bool:
        return any("Group" in each for each in self.add)


class SharingBackend(SafekeepingBackend):
    """What one account shares in one Region, and whether it may be public."""

    def __init__(self, region_name: str, account_id: str) -> None:
        # "Block public access is enabled by default for all new accounts" (EC2 User Guide, "Block public access to
        # your AMIs"); that of snapshots is not.
        self.image_public_access = BLOCK_NEW_SHARING
        super().__init__(region_name, account_id)

    def change_snapshot_permissions(self, snapshot_id: str, change: Change) -> None:
        """ModifySnapshotAttribute, of the account's own snapshots only."""
        snapshot = self._own_snapshot(snapshot_id)
        _check_permissions(change)
        if change.add and snapshot.encrypted:
            if snapshot.kms_key_id == aws_managed_key(account_id=self.account_id, region=self.region_name):
                raise refuse("OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared")
            if change.makes_public:
                raise refuse("OperationNotPermitted", f"The snapshot {snapshot_id} is encrypted and cannot be public.")
        if change.makes_public and self.snapshot_public_access != UNBLOCKED:
            raise refuse("OperationNotPermitted", "Public access of snapshots is blocked in this Region.")
        if change.add and snapshot.storage_tier != "standard":
            raise refuse("IncorrectState", f"Snapshot {snapshot_id} is archived.")
        known = set(snapshot.create_volume_permission_userids)
        _apply(change, users=snapshot.create_volume_permission_userids, groups=snapshot.create_volume_permission_groups)
        for account_id in sorted(snapshot.create_volume_permission_userids - known):
            self.in_account(account_id).send_event(
                snapshot_shared(region=self.region_name, snapshot_id=snapshot_id, owner_id=self.account_id, at=self.now)
            )

    def reset_snapshot_permissions(self, snapshot_id: str) -> None:
        """ResetSnapshotAttribute: nobody but the owner has a permission."""
        revoke_all(self._own_snapshot(snapshot_id))

    def permissions_of_snapshot(self, snapshot_id: str) -> list[dict[str, str]]:
        """DescribeSnapshotAttribute, of the account's own snapshots only."""
        snapshot = self._own_snapshot(snapshot_id)
        return [
            *({"Group": each} for each in sorted(snapshot.create_volume_permission_groups)),
            *({"UserId": each} for each in sorted(snapshot.create_volume_permission_userids)),
        ]

    def block_public_snapshots(self, state: str) -> None:
        """EnableSnapshotBlockPublicAccess, or with `unblocked` DisableSnapshotBlockPublicAccess.

        `block-all-sharing` changes no permission: what is public is treated as private as long as it is in force.
        """
        if state not in (UNBLOCKED, BLOCK_NEW_SHARING, BLOCK_ALL_SHARING):
            raise refuse("InvalidParameterValue", f"'{state}' is not a state of block public access for snapshots.")
        self.snapshot_public_access = state

    def block_public_images(self) -> None:
        """EnableImageBlockPublicAccess: in force after a while; images that are public stay so."""

        def block() -> None:
            self.image_public_access = BLOCK_NEW_SHARING

        self.call_later(_CONFIGURING, block)

    def change_launch_permissions(self, image_id: str, change: Change) -> None:
        """ModifyImageAttribute of launchPermission."""
        image = self.own_image(image_id)
        _check_permissions(change)
        if image.state != "available":
            raise refuse("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is '{image.state}'")
        managed = aws_managed_key(account_id=self.account_id, region=self.region_name)
        snapshots = [self.find_snapshot(each) for each in image.snapshot_ids]
        if change.add and any(each.encrypted and each.kms_key_id == managed for each in snapshots):
            raise refuse(
                "InvalidParameter",
                "Snapshots encrypted with the AWS Managed CMK can't be shared. Specify another snapshot.",
            )
        if change.makes_public and any(each.encrypted for each in snapshots):
            raise refuse("InvalidParameter", "An image with encrypted snapshots cannot be public.")
        if change.makes_public and self.image_public_access != UNBLOCKED:
            raise refuse("OperationNotPermitted", "Public access of images is blocked in this Region.")
        kept = [each for each in image.launch_permissions if each not in change.remove]
        image.launch_permissions = [*kept, *(dict(each) for each in change.add if each not in kept)]


def _check_permissions(change: Change) -> None:
    if not change.add and not change.remove:
        raise refuse("MissingParameter", "The request must name accounts or groups to add or to remove.")
    if change.add and change.remove:
        raise refuse("InvalidParameterCombination", "Permissions are added or removed, not both in one request.")
    if len(change.add) + len(change.remove) > MOST_CHANGES:
        raise refuse("InvalidParameterValue", f"At most {MOST_CHANGES} permissions are changed in one request.")
    for each in (*change.add, *change.remove):
        if "Group" in each and each["Group"] != "all":
            raise _bad_item(each["Group"], "userGroup")
        if "UserId" in each and not _ACCOUNT.fullmatch(each["UserId"]):
            raise _bad_item(each["UserId"], "userId")


def _bad_item(value: str, kind: str) -> EC2ClientError:
    return refuse("InvalidAMIAttributeItemValue", f'Invalid attribute item value "{value}" for {kind} item type.')


def _apply(change: Change, *, users: set[str], groups: set[str]) -> None:
    for each in change.add:
        (groups if "Group" in each else users).add(next(iter(each.values())))
    for each in change.remove:
        (groups if "Group" in each else users).discard(next(iter(each.values())))


def revoke_all(snapshot: Snapshot) -> None:
    """Leave the snapshot to its owner alone."""
    snapshot.create_volume_permission_userids.clear()
    snapshot.create_volume_permission_groups.clear()


class SharingResponse(SafekeepingResponse):
    """The attributes of snapshots and images, and block public access."""

    def modify_snapshot_attribute(self) -> ActionResult:
        attribute = self._get_param("Attribute") or "createVolumePermission"
        if attribute != "createVolumePermission":
            raise refuse("InvalidParameterValue", f"The attribute '{attribute}' of a snapshot cannot be modified.")
        change = self._change("CreateVolumePermission", groups="GroupNames")
        self.backend.change_snapshot_permissions(self._get_param("SnapshotId"), change)
        return EmptyResult()

    def describe_snapshot_attribute(self) -> ActionResult:
        snapshot_id = self._get_param("SnapshotId")
        permissions = self.backend.permissions_of_snapshot(snapshot_id)
        if self._get_param("Attribute") == "productCodes":
            return ActionResult({"SnapshotId": snapshot_id, "ProductCodes": []})
        return ActionResult({"SnapshotId": snapshot_id, "CreateVolumePermissions": permissions})

    def reset_snapshot_attribute(self) -> Any:
        self.backend.reset_snapshot_permissions(self._get_param("SnapshotId"))
        return EmptyResult()

    def modify_image_attribute(self) -> ActionResult:
        """One attribute at a time: the launch permissions, the description, or what is said of IMDS."""
        attribute, value = self._named_attribute()
        image_id = self._get_param("ImageId")
        if attribute == "launchPermission":
            self.backend.change_launch_permissions(image_id, self._change("LaunchPermission", groups="UserGroups"))
        elif attribute == "description":
            self.backend.own_image(image_id).description = value
        elif attribute == "imdsSupport":
            if value != "v2.0":
                raise refuse("InvalidParameterValue", f"'{value}' is no value of imdsSupport.")
            self.backend.own_image(image_id).imds_support = value
        else:
            raise refuse("InvalidParameterValue", f"The attribute '{attribute}' of an image cannot be modified.")
        return EmptyResult()

    def _named_attribute(self) -> tuple[str, Any]:
        given = {
            "launchPermission": self._get_param("LaunchPermission"),
            "description": (self._get_param("Description") or {}).get("Value"),
            "imdsSupport": (self._get_param("ImdsSupport") or {}).get("Value"),
        }
        named = [name for name, value in given.items() if value is not None]
        attribute = self._get_param("Attribute") or (named[0] if named else None)
        if attribute is None or len({attribute, *named}) > 1:
            raise refuse("InvalidParameterCombination", "Exactly one attribute is modified at a time.")
        value = given.get(attribute)
        return attribute, self._get_param("Value") if value is None else value

    def describe_image_attribute(self) -> ActionResult:
        attribute = self._get_param("Attribute")
        image = self.backend.own_image(self._get_param("ImageId"))
        single = {
            "description": ("Description", image.description),
            "imdsSupport": ("ImdsSupport", image.imds_support),
            "bootMode": ("BootMode", image.boot_mode),
            "tpmSupport": ("TpmSupport", image.tpm_support),
            "deregistrationProtection": ("DeregistrationProtection", self.backend.protection_of(image.id)),
        }
        if attribute == "launchPermission":
            return ActionResult({"ImageId": image.id, "LaunchPermissions": image.launch_permissions})
        if attribute == "blockDeviceMapping":
            return ActionResult(
                {"ImageId": image.id, "BlockDeviceMappings": [device.describe() for device in image.devices]}
            )
        if attribute not in single:
            raise refuse("InvalidParameterValue", f"The twin does not know the image attribute '{attribute}'.")
        name, value = single[attribute]
        return ActionResult({"ImageId": image.id, name: {"Value": value} if value else {}})

    def reset_image_attribute(self) -> Any:
        if self._get_param("Attribute") != "launchPermission":
            raise refuse("InvalidParameterValue", "Only launchPermission can be reset.")
        self.backend.own_image(self._get_param("ImageId")).launch_permissions = []
        return EmptyResult()

    def enable_snapshot_block_public_access(self) -> ActionResult:
        state = self._get_param("State")
        if state == UNBLOCKED:
            raise refuse("InvalidParameterValue", "DisableSnapshotBlockPublicAccess unblocks.")
        self.backend.block_public_snapshots(state)
        return ActionResult({"State": state})

    def disable_snapshot_block_public_access(self) -> ActionResult:
        self.backend.block_public_snapshots(UNBLOCKED)
        return ActionResult({"State": UNBLOCKED})

    def get_snapshot_block_public_access_state(self) -> ActionResult:
        return ActionResult({"State": self.backend.snapshot_public_access, "ManagedBy": "account"})

    def enable_image_block_public_access(self) -> ActionResult:
        if self._get_param("ImageBlockPublicAccessState") != BLOCK_NEW_SHARING:
            raise refuse("InvalidParameterValue", f"The only state to enable is {BLOCK_NEW_SHARING}.")
        self.backend.block_public_images()
        return ActionResult({"ImageBlockPublicAccessState": BLOCK_NEW_SHARING})

    def disable_image_block_public_access(self) -> ActionResult:
        self.backend.image_public_access = UNBLOCKED
        return ActionResult({"ImageBlockPublicAccessState": UNBLOCKED})

    def get_image_block_public_access_state(self) -> ActionResult:
        state = self.backend.image_public_access
        return ActionResult({"ImageBlockPublicAccessState": state, "ManagedBy": "account"})

    def _change(self, structure: str, *, groups: str) -> Change:
        """What a request asks for, in its nested form or in the flat one of OperationType, UserIds and groups."""
        nested = self._get_param(structure) or {}
        operation = self._get_param("OperationType")
        flat = [
            *({"UserId": each} for each in self._get_param("UserIds", [])),
            *({"Group": each} for each in self._get_param(groups, [])),
        ]
        if flat and operation not in ("add", "remove"):
            raise refuse("InvalidParameterValue", "OperationType is add or remove.")
        add = [*_listed(nested.get("Add")), *(flat if operation == "add" else [])]
        remove = [*_listed(nested.get("Remove")), *(flat if operation == "remove" else [])]
        named = {name for each in (*add, *remove) for name in each}
        if (
            self._get_param("OrganizationArns")
            or self._get_param("OrganizationalUnitArns")
            or named - {"UserId", "Group"}
        ):
            raise NotImplementedError("sharing with an organization")
        return Change(add=add, remove=remove)


def _listed(permissions: Iterable[Mapping[str, str]] | None) -> list[dict[str, str]]:
    """One entry for each account or group: a request may name both in one, and both are meant."""
    return [{name: value} for each in permissions or () for name, value in each.items()]
