"""The archive tier: slow to enter, slower to leave, and of no use in between.

Sources: EBS User Guide, "Archive Amazon EBS snapshots" (considerations, "Restore archived snapshots", "Monitor snapshot
archiving"); botocore's model (ModifySnapshotTier, RestoreSnapshotTier, DescribeSnapshotTierStatus). How long archiving
takes is not documented; a restore "can take up to 72 hours", and takes all of them here. A snapshot that is restored
for a while can be read, stays in the archive tier, and goes back to it when its days are over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult

from local.twin.clock import Timer
from local.twin.errors import refuse
from local.twin.events import event_time, snapshot_kept
from local.twin.matching import select
from local.twin.sharing import SharingBackend, SharingResponse, revoke_all
from local.twin.snapshots import Snapshot
from local.twin.tags import print_tags

_RESTORING = timedelta(hours=72)
_MOST_DAYS = 180


@dataclass(slots=True, kw_only=True)
class Tiering:
    """The last archival or restore of a snapshot. `what` is botocore's word for it: archival, permanent-restore, ..."""

    what: str
    started_at: datetime
    timer: Timer
    is_over: bool = False
    archived_at: datetime | None = None

    @property
    def status(self) -> str:
        return f"{self.what}-{'completed' if self.is_over else 'in-progress'}"


class TiersBackend(SharingBackend):
    """The tiers of one account's snapshots in one Region."""

    def __init__(self, region_name: str, account_id: str) -> None:
        self.tierings: dict[str, Tiering] = {}
        super().__init__(region_name, account_id)

    def archive_snapshot(self, snapshot_id: str) -> None:
        """ModifySnapshotTier: an AMI's snapshot only once every AMI that uses it is disabled; nobody shares it then."""
        snapshot = self._own_snapshot(snapshot_id)
        self._require_no_tiering(snapshot)
        if snapshot.state != "completed" or snapshot.storage_tier != "standard":
            raise refuse("IncorrectState", f"Snapshot {snapshot_id} cannot be archived as it is.")
        for image_id in self.images_of(snapshot_id):
            if image_id in self.amis and self.amis[image_id].state != "disabled":
                raise refuse("InvalidSnapshot.InUse", f"The snapshot {snapshot_id} is in use by {image_id}")
        revoke_all(snapshot)

        def archive() -> None:
            snapshot.storage_tier = "archive"
            self.tierings[snapshot_id].archived_at = self.now
            self._announce(snapshot, "archiveSnapshot")

        self._start(snapshot, "archival", archive, after=self.world.transfer_duration(snapshot.content.size))

    def unarchive_snapshot(self, snapshot_id: str, *, days: int | None) -> None:
        """RestoreSnapshotTier: for good or, with `days`, for a while; again while it is restored, other days count."""
        snapshot = self._own_snapshot(snapshot_id)
        self._require_no_tiering(snapshot)
        if snapshot.storage_tier != "archive":
            raise refuse("IncorrectState", f"Snapshot {snapshot_id} is not archived.")
        if days is not None and not 1 <= days <= _MOST_DAYS:
            raise refuse("InvalidParameterValue", f"TemporaryRestoreDays is 1 to {_MOST_DAYS}.")

        def restore() -> None:
            if days is None:
                snapshot.storage_tier, snapshot.restore_expiry_time = "standard", None
                self._announce(snapshot, "permanentRestoreSnapshot")
            else:
                until = self.now + timedelta(days=days)
                snapshot.restore_expiry_time = until
                self._announce(snapshot, "temporaryRestoreSnapshot", restoreExpiryTime=event_time(until))
                self.call_later(until - self.now, lambda: self._expire(snapshot, until))

        is_readable = snapshot.restore_expiry_time is not None
        what = "permanent-restore" if days is None else "temporary-restore"
        self._start(snapshot, what, restore, after=timedelta() if is_readable else _RESTORING)

    def _expire(self, snapshot: Snapshot, until: datetime) -> None:
        if snapshot.restore_expiry_time == until:
            snapshot.restore_expiry_time = None
            self._announce(snapshot, "restoreExpiry")

    def _require_no_tiering(self, snapshot: Snapshot) -> None:
        tiering = self.tierings.get(snapshot.id)
        if tiering is not None and not tiering.is_over:
            raise refuse("IncorrectState", f"Snapshot {snapshot.id} is changing its tier: {tiering.status}.")

    def _start(self, snapshot: Snapshot, what: str, finish: Callable[[], None], *, after: timedelta) -> None:
        former = self.tierings.get(snapshot.id)

        def end() -> None:
            if snapshot.id in self.snapshots:
                self.tierings[snapshot.id].is_over = True
                finish()

        self.tierings[snapshot.id] = Tiering(
            what=what,
            started_at=self.now,
            timer=self.call_later(after, end),
            archived_at=former.archived_at if former else None,
        )

    def _announce(self, snapshot: Snapshot, name: str, **extra: str) -> None:
        self.send_event(
            snapshot_kept(name, region=self.region_name, snapshot_id=snapshot.id, at=self.now, extra={**extra})
        )


class TiersResponse(SharingResponse):
    """ModifySnapshotTier, RestoreSnapshotTier, DescribeSnapshotTierStatus."""

    def modify_snapshot_tier(self) -> ActionResult:
        snapshot_id = self._get_param("SnapshotId")
        if self._get_param("StorageTier") != "archive":
            raise refuse("InvalidParameterValue", "StorageTier must be archive.")
        self.backend.archive_snapshot(snapshot_id)
        return ActionResult({"SnapshotId": snapshot_id, "TieringStartTime": self.backend.now})

    def restore_snapshot_tier(self) -> ActionResult:
        snapshot_id = self._get_param("SnapshotId")
        is_permanent = self._get_bool_param("PermanentRestore", False)
        days = self._get_int_param("TemporaryRestoreDays")
        if is_permanent and days is not None:
            raise refuse("InvalidParameterCombination", "A restore is permanent or for some days, not both.")
        days = None if is_permanent else days or 1
        self.backend.unarchive_snapshot(snapshot_id, days=days)
        answer = {"SnapshotId": snapshot_id, "RestoreStartTime": self.backend.now, "IsPermanentRestore": is_permanent}
        return ActionResult(answer if days is None else {**answer, "RestoreDuration": days})

    def describe_snapshot_tier_status(self) -> ActionResult:
        statuses, token = self.page(
            lambda: select(
                [
                    self._tier_status(self.backend.snapshots[each])
                    for each in self.backend.tierings
                    if self._is_kept(each)
                ],
                self.filters(),
                readers=_READERS,
                tags=lambda status: {each["Key"]: each["Value"] for each in status["Tags"]},
            )
        )
        return ActionResult({"SnapshotTierStatuses": statuses, "NextToken": token})

    def _is_kept(self, snapshot_id: str) -> bool:
        return snapshot_id in self.backend.snapshots

    def _tier_status(self, snapshot: Snapshot) -> dict[str, Any]:
        tiering = self.backend.tierings[snapshot.id]
        status = {
            "SnapshotId": snapshot.id,
            "VolumeId": snapshot.volume_id,
            "Status": snapshot.shown_state,
            "OwnerId": snapshot.owner_id,
            "Tags": print_tags(self.backend.tags_of(snapshot.id)),
            "StorageTier": snapshot.storage_tier,
            "LastTieringStartTime": tiering.started_at,
            "LastTieringProgress": 100 if tiering.is_over else tiering.timer.progress(self.backend.now),
            "LastTieringOperationStatus": tiering.status,
            "ArchivalCompleteTime": tiering.archived_at,
            "RestoreExpiryTime": snapshot.restore_expiry_time,
        }
        return {key: value for key, value in status.items() if value is not None}


_READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "snapshot-id": lambda status: status["SnapshotId"],
    "volume-id": lambda status: status["VolumeId"],
    "last-tiering-operation": lambda status: status["LastTieringOperationStatus"],
}
