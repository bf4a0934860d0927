"""What keeps snapshots and images from going, or brings them back: locks, protection, the Recycle Bin.

Sources: EBS User Guide, "Amazon EBS snapshot lock", "Monitor snapshot lock events", "Recycle Bin"; EC2 User Guide,
"Disable an AMI", "Protect an AMI from deregistration". The code of the refusal to delete a locked snapshot is not
documented; a 4xx is all that may be relied on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult

from local.twin.clock import read_time
from local.twin.errors import refuse
from local.twin.events import event_time, snapshot_kept
from local.twin.image_record import Image
from local.twin.image_requests import ImagesResponse
from local.twin.images import ImagesBackend
from local.twin.recycle_bin import IMAGE, SNAPSHOT, Binned, bin_of
from local.twin.snapshots import Snapshot

_COOLDOWN = timedelta(hours=24)


@dataclass(slots=True, kw_only=True)
class Lock:
    """The lock of one snapshot: governance, or compliance that nobody can lift once its cooling-off period is over."""

    mode: str
    created_at: datetime
    expires_at: datetime
    cooling_off_until: datetime | None

    def state(self, now: datetime) -> str:
        if now >= self.expires_at:
            return "expired"
        if self.mode == "compliance" and self.cooling_off_until is not None and now < self.cooling_off_until:
            return "compliance-cooloff"
        return self.mode


class SafekeepingBackend(ImagesBackend):
    """Locks, protection and the Recycle Bin of one account in one Region."""

    def __init__(self, region_name: str, account_id: str) -> None:
        self.locks: dict[str, Lock] = {}
        self._refusals: dict[str, str] = {}
        self._protected: dict[str, str] = {}
        self._protected_until: dict[str, datetime] = {}
        super().__init__(region_name, account_id)

    # --- locks --------------------------------------------------------------------------------------------------------

    def lock_snapshot(
        self, snapshot_id: str, *, mode: str, duration: timedelta | None, expires_at: datetime | None, cooling_off: int
    ) -> Lock:
        """LockSnapshot: pending or completed ones of the account's own; a compliance lock can only be made longer."""
        snapshot = self._own_snapshot(snapshot_id)
        if snapshot.state not in ("pending", "completed"):
            raise refuse("IncorrectState", f"Snapshot {snapshot_id} is '{snapshot.state}'.")
        if (duration is None) == (expires_at is None):
            raise refuse("InvalidParameterCombination", "Specify either LockDuration or ExpirationDate.")
        until = expires_at or self.now + (duration or timedelta())
        known = self.locks.get(snapshot_id)
        if (
            known is not None
            and known.state(self.now) == "compliance"
            and (mode, until) < ("compliance", known.expires_at)
        ):
            raise refuse("InvalidParameterValue", "A lock in compliance mode can only be extended.")
        lock = Lock(
            mode=mode,
            created_at=self.now,
            expires_at=until,
            cooling_off_until=self.now + timedelta(hours=cooling_off) if cooling_off else None,
        )
        self.locks[snapshot_id] = lock
        self._announce_lock(snapshot_id, lock, "lockSnapshot")
        self._announce_lock_later(snapshot_id, lock, "lockDurationExpiry", at=until)
        if mode == "compliance" and lock.cooling_off_until is not None:
            self._announce_lock_later(snapshot_id, lock, "cooloffperiodExpiry", at=lock.cooling_off_until)
        return lock

    def _announce_lock_later(self, snapshot_id: str, lock: Lock, event: str, *, at: datetime) -> None:
        def announce() -> None:
            if self.locks.get(snapshot_id) is lock:
                self._announce_lock(snapshot_id, lock, event)

        self.call_later(at - self.now, announce)

    def _announce_lock(self, snapshot_id: str, lock: Lock, event: str) -> None:
        said = {
            "lockState": lock.state(self.now),
            "lockCreatedOn": event_time(lock.created_at),
            "lockExpiresOn": event_time(lock.expires_at),
            "lockDuration": str((lock.expires_at - lock.created_at).days),
        }
        if event == "lockSnapshot":
            said["source"] = self.account_id
        self.send_event(snapshot_kept(event, region=self.region_name, snapshot_id=snapshot_id, at=self.now, extra=said))

    def unlock_snapshot(self, snapshot_id: str) -> None:
        """UnlockSnapshot: not once a compliance lock's cooling-off period is over."""
        self._own_snapshot(snapshot_id)
        lock = self.locks.get(snapshot_id)
        if lock is None:
            raise refuse("IncorrectState", f"Snapshot {snapshot_id} is not locked.")
        if lock.state(self.now) == "compliance":
            raise refuse("OperationNotPermitted", f"Snapshot {snapshot_id} is locked in compliance mode.")
        del self.locks[snapshot_id]

    def delete_snapshot(self, snapshot_id: str) -> Snapshot:  # type: ignore[override] # a snapshot of our own
        if snapshot_id in self._refusals:
            raise refuse("InternalError", "An internal error has occurred")
        lock = self.locks.get(snapshot_id)
        if lock is not None and snapshot_id in self.snapshots and lock.state(self.now) != "expired":
            raise refuse("OperationNotPermitted", f"The snapshot {snapshot_id} is locked.")
        tags = dict(self.tags_of(snapshot_id))
        snapshot = super().delete_snapshot(snapshot_id)
        self.locks.pop(snapshot_id, None)
        bin_of(self).throw(Binned(id=snapshot_id, kind=SNAPSHOT, what=snapshot, tags=tags, at=self.now))
        return snapshot

    def _own_snapshot(self, snapshot_id: str) -> Snapshot:
        snapshot = self.get_snapshot(snapshot_id)
        if snapshot.owner_id != self.account_id:
            raise refuse("AuthFailure", f"Not authorized for snapshot {snapshot_id}")
        return snapshot

    # --- images -------------------------------------------------------------------------------------------------------

    def own_image(self, image_id: str) -> Image:
        """The image, if it is the account's own; AuthFailure otherwise."""
        image = self.require_image(image_id)
        if image.owner_id != self.account_id:
            raise refuse("AuthFailure", f"Not authorized for image:{image_id}")
        return image

    def disable_image(self, image_id: str) -> None:
        """DisableImage: it can be neither launched nor copied, and launch permissions are gone."""
        image = self.own_image(image_id)
        if image.state != "available":
            raise refuse("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is '{image.state}'")
        self._set_image_state(image, "disabled")
        image.launch_permissions = []

    def enable_image(self, image_id: str) -> None:
        """EnableImage."""
        image = self.own_image(image_id)
        if image.state != "disabled":
            raise refuse("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is '{image.state}'")
        self._set_image_state(image, "available")

    def _set_image_state(self, image: Image, state: str) -> None:
        self.sightings.change(image.id, former=image.state)
        image.state = state
        self._announce_image(image, state=state)

    def protect_image(self, image_id: str, *, with_cooldown: bool) -> str:
        """EnableImageDeregistrationProtection."""
        self.own_image(image_id)
        self._protected[image_id] = "enabled-with-cooldown" if with_cooldown else "enabled-without-cooldown"
        return self._protected[image_id]

    def unprotect_image(self, image_id: str) -> None:
        """DisableImageDeregistrationProtection; with a cooldown the protection lasts another 24 hours."""
        self.own_image(image_id)
        if self._protected.pop(image_id, "") == "enabled-with-cooldown":
            self._protected_until[image_id] = self.now + _COOLDOWN

    def protection_of(self, image_id: str) -> str:
        """What DescribeImages says about the deregistration protection."""
        until = self._protected_until.get(image_id)
        if until is not None and self.now < until:
            return "enabled-with-cooldown"
        return self._protected.get(image_id, "disabled")

    def deregister(self, image_id: str, *, deletes_snapshots: bool) -> list[tuple[str, str]]:
        if image_id in self.amis and self.protection_of(image_id) != "disabled":
            raise refuse("OperationNotPermitted", f"The image {image_id} is protected from deregistration.")
        image = self.require_image(image_id)
        tags = dict(self.tags_of(image_id))
        results = super().deregister(image_id, deletes_snapshots=deletes_snapshots)
        bin_of(self).throw(Binned(id=image_id, kind=IMAGE, what=image, tags=tags, at=self.now))
        return results

    def _delete_associated(self, snapshot_id: str) -> str:
        return self._refusals.get(snapshot_id) or super()._delete_associated(snapshot_id)

    def refuse_to_delete(self, snapshot_id: str, *, code: str | None = "internal-error") -> None:
        """Let every deletion of a snapshot fail, until `code` is None: for tests."""
        if code is None:
            self._refusals.pop(snapshot_id, None)
        else:
            self._refusals[snapshot_id] = code

    # --- the Recycle Bin ----------------------------------------------------------------------------------------------

    def restore_snapshot(self, snapshot_id: str) -> Snapshot:
        """RestoreSnapshotFromRecycleBin."""
        binned = bin_of(self).take(snapshot_id, SNAPSHOT, self.now)
        if binned is None:
            raise refuse("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")
        snapshot: Snapshot = binned.what
        self._keep_snapshot(snapshot, binned.tags)
        return snapshot

    def restore_image(self, image_id: str) -> Image:
        """RestoreImageFromRecycleBin; its snapshots must be there."""
        binned = bin_of(self).find(image_id, IMAGE, self.now)
        if binned is None:
            raise refuse("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
        image: Image = binned.what
        if missing := [each for each in image.snapshot_ids if each not in self.snapshots]:
            raise refuse("InvalidSnapshot.NotFound", f"The snapshot '{missing[0]}' does not exist.")
        bin_of(self).take(image_id, IMAGE, self.now)
        self.deleted_amis.remove(image_id)
        self._names_free_at.pop(image.name, None)
        self._keep_image(image, binned.tags)
        return image


class SafekeepingResponse(ImagesResponse):
    """The operations on locks, protection and the Recycle Bin."""

    def lock_snapshot(self) -> ActionResult:
        snapshot_id = self._get_param("SnapshotId")
        days = self._get_int_param("LockDuration")
        expires_at = self._get_param("ExpirationDate")
        lock = self.backend.lock_snapshot(
            snapshot_id,
            mode=self._get_param("LockMode"),
            duration=timedelta(days=days) if days else None,
            expires_at=read_time(expires_at) if expires_at else None,
            cooling_off=self._get_int_param("CoolOffPeriod") or 0,
        )
        return ActionResult(self._describe_lock(snapshot_id, lock))

    def unlock_snapshot(self) -> ActionResult:
        snapshot_id = self._get_param("SnapshotId")
        self.backend.unlock_snapshot(snapshot_id)
        return ActionResult({"SnapshotId": snapshot_id})

    def describe_locked_snapshots(self) -> ActionResult:
        ids = self._get_param("SnapshotIds", [])
        locks, token = self.page(
            lambda: [(name, lock) for name, lock in self.backend.locks.items() if not ids or name in ids], ids=ids
        )
        described = [self._describe_lock(name, lock) for name, lock in locks]
        return ActionResult({"Snapshots": described, "NextToken": token})

    def _describe_lock(self, snapshot_id: str, lock: Lock) -> dict[str, Any]:
        described = {
            "OwnerId": self.current_account,
            "SnapshotId": snapshot_id,
            "LockState": lock.state(self.backend.now),
            "LockDuration": (lock.expires_at - lock.created_at).days,
            "LockCreatedOn": lock.created_at,
            "LockExpiresOn": lock.expires_at,
            "CoolOffPeriodExpiresOn": lock.cooling_off_until,
        }
        return {key: value for key, value in described.items() if value is not None}

    def disable_image(self) -> ActionResult:
        self.backend.disable_image(self._get_param("ImageId"))
        return ActionResult({"Return": True})

    def enable_image(self) -> ActionResult:
        self.backend.enable_image(self._get_param("ImageId"))
        return ActionResult({"Return": True})

    def enable_image_deregistration_protection(self) -> ActionResult:
        image_id = self._get_param("ImageId")
        said = self.backend.protect_image(image_id, with_cooldown=self._get_bool_param("WithCooldown", False))
        return ActionResult({"Return": said})

    def disable_image_deregistration_protection(self) -> ActionResult:
        image_id = self._get_param("ImageId")
        self.backend.unprotect_image(image_id)
        return ActionResult({"Return": self.backend.protection_of(image_id)})

    def describe_image(self, image: Image) -> dict[str, Any]:
        described = super().describe_image(image)
        return {**described, "DeregistrationProtection": self.backend.protection_of(image.id)}

    def list_snapshots_in_recycle_bin(self) -> ActionResult:
        return ActionResult({"Snapshots": [self._describe_binned(each) for each in self._binned(SNAPSHOT)]})

    def list_images_in_recycle_bin(self) -> ActionResult:
        return ActionResult({"Images": [self._describe_binned(each) for each in self._binned(IMAGE)]})

    def _binned(self, kind: str) -> list[Binned]:
        return bin_of(self.backend).held(kind, self.backend.now)

    def _describe_binned(self, binned: Binned) -> dict[str, Any]:
        more: Mapping[str, Any] = {"SnapshotId": binned.id}
        if binned.kind == IMAGE:
            more = {"ImageId": binned.id, "Name": binned.what.name}
        return {**more, "RecycleBinEnterTime": binned.at, "RecycleBinExitTime": binned.until}

    def restore_snapshot_from_recycle_bin(self) -> ActionResult:
        snapshot = self.backend.restore_snapshot(self._get_param("SnapshotId"))
        return ActionResult(snapshot.describe_info(self.backend.tags_of(snapshot.id)))

    def restore_image_from_recycle_bin(self) -> ActionResult:
        self.backend.restore_image(self._get_param("ImageId"))
        return ActionResult({"Return": True})
