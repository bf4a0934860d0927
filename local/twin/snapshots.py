"""Snapshots: of volumes, of instances, and copies of snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.utils import random_snapshot_id

from local.twin.clock import Timer
from local.twin.content import Content
from local.twin.core import Answer
from local.twin.errors import refuse, unknown_snapshot
from local.twin.events import (
    SnapshotOutcome,
    copy_missed_its_duration,
    ebs_arn,
    snapshot_copied,
    snapshot_created,
    snapshot_set_created,
)
from local.twin.keys import aws_managed_key
from local.twin.matching import Filters, select
from local.twin.quotas import SNAPSHOT_COPIES, SNAPSHOTS, concurrent_snapshots
from local.twin.tags import Tags, check_tags, print_tags
from local.twin.volumes import Volume, VolumesBackend, VolumesResponse

COPIED_VOLUME_ID = "vol-ffffffff"
MAX_VOLUMES_OF_SET = 128
MAX_EXCLUDED_VOLUMES = 40
# Bytes a second of one time-based copy, whatever its duration (EBS User Guide, "Time-based copies").
FASTEST_TIMED_COPY = 500 * 1024 * 1024
KEY_NOT_ACCESSIBLE = "Given key ID is not accessible"
UNBLOCKED = "unblocked"
BLOCK_ALL_SHARING = "block-all-sharing"


class Snapshot(TaggedEC2Resource):
    """A snapshot. What it holds, how big its volume was and where it came from are fixed when it is started."""

    def __init__(
        self,
        *,
        ec2_backend: Any,
        snapshot_id: str,
        content: Content,
        lineage: tuple[str, ...],
        volume_id: str,
        volume_size: int,
        description: str,
        start_time: datetime,
        encrypted: bool,
        kms_key_id: str | None,
        owner_id: str,
        is_frozen: bool = False,
    ) -> None:
        self.ec2_backend = ec2_backend
        self.id = snapshot_id
        self.content = content
        self.lineage = (*lineage, f"{ec2_backend.region_name}/{snapshot_id}")
        self.volume_id = volume_id
        self.volume_size = volume_size
        self.description = description
        self.start_time = start_time
        self.encrypted = encrypted
        self.kms_key_id = kms_key_id
        self.owner_id = owner_id
        self.is_frozen = is_frozen
        self._state = "pending"
        self.state_message: str | None = None
        self.completion_time: datetime | None = None
        self.timer: Timer | None = None
        self.copy: Copy | None = None
        self.set: SnapshotSet | None = None
        self.on_end: list[Callable[[Snapshot], None]] = []
        self.storage_tier = "standard"
        self.restore_expiry_time: datetime | None = None
        self.create_volume_permission_groups: set[str] = set()
        self.create_volume_permission_userids: set[str] = set()

    @property
    def state(self) -> str:
        """The state that it is in; `shown_state` is what describes tell."""
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        self.ec2_backend.sightings.change(self.id, former=self._state)
        self._state = state

    @property
    def shown_state(self) -> str:
        shown: str = self.ec2_backend.sightings.state_of(self.id, self._state)
        return shown

    @property
    def progress(self) -> str:
        if self.state == "completed":
            return "100%"
        if self.timer is None:
            return "0%"
        return f"{self.timer.progress(self.ec2_backend.now)}%"

    @property
    def transfer_type(self) -> str | None:
        return self.copy.transfer_type if self.copy else None

    def is_visible_to(self, account_id: str) -> bool:
        """Whether `account_id` may make volumes of it: its owner, those it is shared with, or all."""
        return (
            self.owner_id == account_id
            or account_id in self.create_volume_permission_userids
            or self.is_available_to_all
        )

    @property
    def is_available_to_all(self) -> bool:
        """Whether it is public, and its account does not block that: see local.twin.sharing."""
        is_own = self.owner_id == self.ec2_backend.account_id
        is_blocked = is_own and self.ec2_backend.snapshot_public_access == BLOCK_ALL_SHARING
        return "all" in self.create_volume_permission_groups and not is_blocked

    @property
    def is_shared(self) -> bool:
        """Whether anybody but its owner has a permission."""
        return bool(self.create_volume_permission_userids or self.create_volume_permission_groups)

    def require_usable(self) -> None:
        """Refuse to read it while it is not completed, or as long as it is archived.

        EBS User Guide, "Archive Amazon EBS snapshots": an archived snapshot must be restored before it is used.
        """
        if self.state != "completed":
            raise refuse("IncorrectState", f"Snapshot {self.id} is in invalid state - {self.state}")
        if self.storage_tier != "standard" and self.restore_expiry_time is None:
            raise refuse("IncorrectState", f"Snapshot {self.id} is archived.")

    def describe_info(self, tags: Tags) -> dict[str, Any]:
        """What CreateSnapshots tells (botocore shape SnapshotInfo), with the tags of whoever asks."""
        return {
            "SnapshotId": self.id,
            "VolumeId": self.volume_id,
            "VolumeSize": self.volume_size,
            "State": self.shown_state,
            "Progress": self.progress,
            "StartTime": self.start_time,
            "OwnerId": self.owner_id,
            "Description": self.description,
            "Encrypted": self.encrypted,
            "Tags": print_tags(tags),
        }

    def describe(self, tags: Tags) -> dict[str, Any]:
        """What CreateSnapshot and DescribeSnapshots tell (botocore shape Snapshot), with the asker's own tags."""
        answer = {
            **self.describe_info(tags),
            "StateMessage": self.state_message,
            "KmsKeyId": self.kms_key_id if self.encrypted else None,
            "CompletionTime": self.completion_time,
            "FullSnapshotSizeInBytes": self.content.size if self.state == "completed" else None,
            "StorageTier": self.storage_tier,
            "RestoreExpiryTime": self.restore_expiry_time,
            "TransferType": self.transfer_type,
            "CompletionDurationMinutes": self.copy.minutes if self.copy else None,
        }
        return {key: value for key, value in answer.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """That a snapshot is a copy, and of what. `minutes` is the completion duration of a time-based copy."""

    source_id: str
    source_region: str
    is_incremental: bool
    minutes: int | None
    is_counted: bool

    @property
    def transfer_type(self) -> str:
        return "time-based" if self.minutes else "standard"

    @property
    def source_arn(self) -> str:
        return ebs_arn(region=self.source_region, kind="snapshot", resource_id=self.source_id)


@dataclass(slots=True, kw_only=True)
class SnapshotSet:
    """The snapshots of one CreateSnapshots, which complete or fail as one."""

    snapshots: list[Snapshot] = field(default_factory=list)


_READERS: dict[str, Callable[[Snapshot], Any]] = {
    "description": lambda snapshot: snapshot.description,
    "encrypted": lambda snapshot: snapshot.encrypted,
    "owner-alias": lambda _: None,
    "owner-id": lambda snapshot: snapshot.owner_id,
    "progress": lambda snapshot: snapshot.progress,
    "snapshot-id": lambda snapshot: snapshot.id,
    "start-time": lambda snapshot: snapshot.start_time,
    "status": lambda snapshot: snapshot.shown_state,
    "storage-tier": lambda snapshot: snapshot.storage_tier,
    "transfer-type": lambda snapshot: snapshot.transfer_type,
    "volume-id": lambda snapshot: snapshot.volume_id,
    "volume-size": lambda snapshot: snapshot.volume_size,
}


class SnapshotsBackend(VolumesBackend):
    """Snapshots of one account in one Region.

    For images: `start_snapshot` and `start_copy` make a snapshot that is pending until the clock completes it;
    `Snapshot.on_end` tells when it is `completed` or `error`; `hold_snapshot` and `release_snapshot` say which image
    needs it.
    """

    snapshots: dict[str, Any]

    def __init__(self, region_name: str, account_id: str) -> None:
        self._latest_by_volume: dict[str, Snapshot] = {}
        self._unfinished_by_volume: dict[str, set[str]] = {}
        self._copies_by_origin: dict[str, list[Snapshot]] = {}
        self._pending_copies: set[str] = set()
        self._pending_snapshots: set[str] = set()
        self._images_by_snapshot: dict[str, set[str]] = {}
        self.snapshot_public_access = UNBLOCKED
        super().__init__(region_name, account_id)

    def start_snapshot(
        self,
        volume: Volume,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        started_at: datetime | None = None,
        snapshot_set: SnapshotSet | None = None,
    ) -> Snapshot:
        """Start a snapshot of what is on `volume` now. What changed since the last decides how long it takes.

        For a set or an image `check_snapshot_limits` comes first, once for all of its volumes.
        """
        if volume.status not in ("available", "in-use"):
            raise refuse("IncorrectState", f"The volume '{volume.id}' is '{volume.status}'.")
        earlier = self._latest_by_volume.get(volume.id)
        snapshot = Snapshot(
            ec2_backend=self,
            snapshot_id=random_snapshot_id(),
            content=volume.content,
            lineage=volume.lineage,
            volume_id=volume.id,
            volume_size=volume.size,
            description=description,
            start_time=started_at or self.now,
            encrypted=volume.encrypted,
            kms_key_id=volume.kms_key_id,
            owner_id=self.account_id,
            is_frozen=volume.is_frozen,
        )
        snapshot.set = snapshot_set
        if snapshot_set is not None:
            snapshot_set.snapshots.append(snapshot)
        self._keep_snapshot(snapshot, tags)
        self._latest_by_volume[volume.id] = snapshot
        self._unfinished_by_volume.setdefault(volume.id, set()).add(snapshot.id)
        self._pending_snapshots.add(snapshot.id)
        raise_high_water = self.world.calls.raise_high_water
        raise_high_water("pending snapshots", self.region_name, len(self._pending_snapshots))
        of_volume = self._unfinished_by_volume[volume.id] & self._pending_snapshots
        raise_high_water("pending snapshots of one volume", self.region_name, len(of_volume))
        changed = volume.content.changed_since(earlier.content if earlier else None)
        snapshot.timer = self.call_later(
            self.world.transfer_duration(changed), lambda: self._end_snapshot(snapshot, state="completed")
        )
        return snapshot

    def check_snapshot_limits(self, volumes: Iterable[Volume]) -> None:
        """Refuse, before anything is started, what would be too much of one volume, or of the Region."""
        count = 0
        for volume in volumes:
            count += 1
            self._check_unfinished(volume)
            self._check_interval(volume)
        self._check_room_for_snapshots(count)

    def _check_interval(self, volume: Volume) -> None:
        """EC2 API Reference, "Error codes": there are 15 s between snapshots of one volume, whatever became of them."""
        latest = self._latest_by_volume.get(volume.id)
        if latest is not None and self.now - latest.start_time < self.world.quotas.snapshot_interval:
            raise refuse(
                "SnapshotCreationPerVolumeRateExceeded",
                "The maximum per volume CreateSnapshot request rate has been exceeded."
                " Use an increasing or variable sleep interval between requests.",
            )

    def _check_unfinished(self, volume: Volume) -> None:
        """Refuse another snapshot of a volume that has as many under way as it may have.

        Those in `error` count, too (EC2 API Reference, "Error codes", ConcurrentSnapshotLimitExceeded), until they are
        deleted.
        """
        most = self.world.quotas.limit(concurrent_snapshots(volume.volume_type))
        if len(self._unfinished_by_volume.get(volume.id, ())) >= most:
            raise refuse(
                "ConcurrentSnapshotLimitExceeded",
                f"The volume '{volume.id}' has {most} snapshots that are pending or in error; no more are allowed.",
            )

    def _check_room_for_snapshots(self, count: int) -> None:
        limit = self.world.quotas.limit(SNAPSHOTS)
        if len(self.snapshots) + count > limit:
            owned = sum(each.owner_id == self.account_id for each in self.snapshots.values())
            if owned + count > limit:
                raise refuse("SnapshotLimitExceeded", f"Maximum allowed number of snapshots exceeded ({limit}).")

    def start_copy(
        self,
        source: Snapshot,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        is_encrypted: bool | None = None,
        kms_key_id: str | None = None,
        minutes: int | None = None,
        is_counted: bool = True,
    ) -> Snapshot:
        """Start a copy, in this Region, of a completed snapshot of any Region.

        It is encrypted if its source is, if `is_encrypted`, or by default, with the key named or else the default one.
        A key that cannot be used here makes it end in `error` later, and so does the source's own key, through which it
        is read, if that cannot be used there (botocore, Snapshot.StateMessage: encrypted snapshots are copied
        asynchronously, and missing permissions on a key show up in it). `is_counted` copies are those that the quota of
        20 concurrent ones is about. The tags of the source are not copied.
        """
        source.require_usable()
        encrypted = bool(is_encrypted or source.encrypted or self.ebs_encryption_by_default)
        key = self._key_of_copy(source, asked=kms_key_id) if encrypted else None
        earlier = self._earlier_snapshot_copy(source, key=key)
        copy = Copy(
            source_id=source.id,
            source_region=source.ec2_backend.region_name,
            is_incremental=earlier is not None,
            minutes=minutes,
            is_counted=is_counted,
        )
        snapshot = Snapshot(
            ec2_backend=self,
            snapshot_id=random_snapshot_id(),
            content=source.content,
            lineage=source.lineage,
            volume_id=COPIED_VOLUME_ID,
            volume_size=source.volume_size,
            description=description,
            start_time=self.now,
            encrypted=encrypted,
            kms_key_id=key,
            owner_id=self.account_id,
            is_frozen=source.is_frozen,
        )
        snapshot.copy = copy
        self._copies_by_origin.setdefault(source.content.origin, []).append(snapshot)
        self._keep_snapshot(snapshot, tags)
        self._count_snapshot_copy(snapshot)
        changed = source.content.changed_since(earlier.content if earlier else None)
        duration = self.world.transfer_duration(changed)
        if minutes is not None:
            asked, fastest = timedelta(minutes=minutes), timedelta(seconds=changed / FASTEST_TIMED_COPY)
            duration = max(min(duration, asked), fastest)
            if fastest > asked:
                self.call_later(asked, lambda: self._announce_late(snapshot))
        snapshot.timer = self.call_later(duration, lambda: self._end_snapshot(snapshot, state="completed"))
        if encrypted and kms_key_id:
            self.check_key(str(key), lambda found: self._take_copy_key(snapshot, found))
        if source.encrypted and source.kms_key_id:
            here: Any = self.in_region(source.ec2_backend.region_name)
            here.check_key(source.kms_key_id, lambda found: self._read_through_key(snapshot, found))
        return snapshot

    def keep_started_snapshot(self, snapshot: Snapshot, *, tags: Mapping[str, str], timeout: timedelta) -> None:
        """Keep a snapshot whose blocks are to come: in `error` if it is not completed in time (StartSnapshot)."""
        self._check_room_for_snapshots(1)
        self._keep_snapshot(snapshot, tags)
        snapshot.timer = self.call_later(timeout, lambda: self._end_snapshot(snapshot, state="error"))

    def store_started_snapshot(self, snapshot: Snapshot, *, changed_bytes: int) -> None:
        """Its blocks are all there: it is completed once they are stored."""
        if snapshot.timer is not None:
            snapshot.timer.cancel()
        duration = self.world.transfer_duration(changed_bytes)
        snapshot.timer = self.call_later(duration, lambda: self._end_snapshot(snapshot, state="completed"))

    def _announce_late(self, snapshot: Snapshot) -> None:
        if snapshot.state == "pending" and snapshot.id in self.snapshots and snapshot.copy is not None:
            self.send_event(
                copy_missed_its_duration(
                    region=self.region_name,
                    snapshot_id=snapshot.id,
                    source_arn=snapshot.copy.source_arn,
                    started_at=snapshot.start_time,
                )
            )

    def _keep_snapshot(self, snapshot: Snapshot, tags: Mapping[str, str] | None) -> None:
        self.snapshots[snapshot.id] = snapshot
        self.world.snapshots_made.append(snapshot)
        self.sightings.appear(snapshot.id)
        if tags:
            self.create_tags([snapshot.id], dict(tags))

    def _key_of_copy(self, source: Snapshot, *, asked: str | None) -> str:
        if asked:
            return self.name_key(asked)
        if source.encrypted and not self.ebs_encryption_by_default:
            return aws_managed_key(account_id=self.account_id, region=self.region_name)
        return self.default_key

    def _earlier_snapshot_copy(self, source: Snapshot, *, key: str | None) -> Snapshot | None:
        """The copy that a new one can be incremental to.

        EBS User Guide, "Incremental snapshot copying": the most recent copy must still exist here, and all copies that
        exist here must have the one key. An unfinished or a newer one is no base either.
        """
        copies = self._copies_by_origin.get(source.content.origin, [])
        if not copies or copies[-1].id not in self.snapshots:
            return None
        has_one_key = all(each.kms_key_id == key for each in copies if each.id in self.snapshots)
        is_base = copies[-1].state == "completed" and copies[-1].content.written <= source.content.written
        return copies[-1] if has_one_key and is_base else None

    def _count_snapshot_copy(self, snapshot: Snapshot) -> None:
        if snapshot.copy is not None and snapshot.copy.is_counted:
            self._pending_copies.add(snapshot.id)
            self.world.calls.raise_high_water("pending copies", self.region_name, len(self._pending_copies))

    def _take_copy_key(self, snapshot: Snapshot, found: str | None) -> None:
        if found is None:
            self._fail_for_want_of_key(snapshot)
        elif snapshot.state == "pending":
            snapshot.kms_key_id = found

    def _read_through_key(self, snapshot: Snapshot, found: str | None) -> None:
        if found is None:
            self._fail_for_want_of_key(snapshot)

    def _fail_for_want_of_key(self, snapshot: Snapshot) -> None:
        if snapshot.state == "pending":
            self._copies_by_origin[snapshot.content.origin].remove(snapshot)
            self._end_snapshot(snapshot, state="error", message=KEY_NOT_ACCESSIBLE)

    def seed_snapshot(
        self,
        *,
        started_at: datetime,
        volume_id: str,
        tags: Mapping[str, str] | None = None,
        description: str = "",
        data: bytes = b"",
        size: int | None = None,
        kms_key_id: str | None = None,
        owner_id: str | None = None,
        is_public: bool = False,
        error: str | None = None,
    ) -> Snapshot:
        """Add a snapshot that was completed in the past: history for tests, which never wait for it.

        It is of `volume_id`, with the size and encryption of that volume if there is one. `owner_id` and `is_public`
        make the snapshot of another account that everyone sees unless asked for `self`. With `error`, it is one that
        ended so instead.
        """
        volume: Volume | None = self.volumes.get(volume_id)
        key = kms_key_id or (volume.kms_key_id if volume else None)
        snapshot = Snapshot(
            ec2_backend=self,
            snapshot_id=random_snapshot_id(),
            content=Content(origin=volume_id).write(data) if data else Content(origin=volume_id),
            lineage=(f"{self.region_name}/{volume_id}",),
            volume_id=volume_id,
            volume_size=size or (volume.size if volume else 8),
            description=description,
            start_time=started_at,
            encrypted=key is not None,
            kms_key_id=key,
            owner_id=owner_id or self.account_id,
        )
        snapshot.state = "completed" if error is None else "error"
        snapshot.state_message = error
        snapshot.completion_time = started_at + self.world.durations.snapshot_base if error is None else None
        if is_public:
            snapshot.create_volume_permission_groups.add("all")
        self._keep_snapshot(snapshot, tags)
        return snapshot

    def fail_snapshot(self, snapshot_id: str, *, message: str = "Internal error") -> None:
        """Let a pending snapshot end in `error` now, and with it the whole set it is part of: for tests."""
        self._end_snapshot(self.get_snapshot(snapshot_id), state="error", message=message)

    def _end_snapshot(self, snapshot: Snapshot, *, state: str, message: str | None = None) -> None:
        if snapshot.state != "pending" or snapshot.id not in self.snapshots:
            return
        snapshot.state = state
        self._pending_snapshots.discard(snapshot.id)
        snapshot.state_message = message
        snapshot.completion_time = self.now if state == "completed" else None
        if state == "completed":
            self._unfinished_by_volume.get(snapshot.volume_id, set()).discard(snapshot.id)
        if snapshot.timer is not None:
            snapshot.timer.cancel()
        self._pending_copies.discard(snapshot.id)
        self._announce_snapshot(snapshot)
        for tell in snapshot.on_end:
            tell(snapshot)

    def _announce_snapshot(self, snapshot: Snapshot) -> None:
        if snapshot.set is not None:
            self._announce_snapshot_set(snapshot.set, failed_id=snapshot.id if snapshot.state == "error" else None)
        elif snapshot.copy is not None:
            self.send_event(
                snapshot_copied(
                    self._outcome_of(snapshot),
                    region=self.region_name,
                    is_incremental=snapshot.copy.is_incremental,
                    transfer_type=snapshot.copy.transfer_type,
                )
            )
        else:
            self.send_event(snapshot_created(self._outcome_of(snapshot), region=self.region_name))

    def _announce_snapshot_set(self, snapshot_set: SnapshotSet, *, failed_id: str | None) -> None:
        members = [each for each in snapshot_set.snapshots if each.id in self.snapshots]
        if failed_id is None and any(each.state == "pending" for each in members):
            return
        if failed_id is not None:
            for each in members:
                each.state = "error"
                self._pending_snapshots.discard(each.id)
                self._unfinished_by_volume.setdefault(each.volume_id, set()).add(each.id)
                each.completion_time = None
                if each.timer is not None:
                    each.timer.cancel()
        outcomes = [self._outcome_of(each) for each in members]
        self.send_event(snapshot_set_created(outcomes, region=self.region_name, failed_id=failed_id))

    def _outcome_of(self, snapshot: Snapshot) -> SnapshotOutcome:
        source = ebs_arn(region=self.region_name, kind="volume", resource_id=snapshot.volume_id)
        return SnapshotOutcome(
            snapshot_id=snapshot.id,
            source_arn=snapshot.copy.source_arn if snapshot.copy else source,
            is_completed=snapshot.state == "completed",
            started_at=snapshot.start_time,
            ended_at=self.now,
            cause=snapshot.state_message or "",
        )

    def start_snapshot_set(
        self,
        instance_id: str,
        *,
        excludes_boot_volume: bool,
        excluded_volume_ids: list[str],
        copies_volume_tags: bool,
        description: str,
        tags: Mapping[str, str],
    ) -> list[Snapshot]:
        """Start snapshots of an instance's volumes at one instant: all of them or, if anything is wrong, none."""
        instance = self.get_instance(instance_id)
        if instance.state in ("shutting-down", "terminated"):
            raise refuse("IncorrectInstanceState", f"The instance '{instance_id}' is '{instance.state}'.")
        attached = {
            device: self.get_volume(block.volume_id)
            for device, block in instance.get_block_device_mapping
            if block.volume_id
        }
        boot = attached.pop(instance.root_device_name, None)
        unknown = set(excluded_volume_ids) - {volume.id for volume in attached.values()}
        if len(excluded_volume_ids) > MAX_EXCLUDED_VOLUMES or unknown:
            raise refuse(
                "InvalidParameterValue",
                f"Not data volumes of {instance_id}: {', '.join(sorted(unknown)) or 'too many'}",
            )
        volumes = [volume for volume in attached.values() if volume.id not in excluded_volume_ids]
        if boot is not None and not excludes_boot_volume:
            volumes.insert(0, boot)
        if not 1 <= len(volumes) <= MAX_VOLUMES_OF_SET:
            raise refuse("InvalidParameterValue", f"Instance {instance_id} has {len(volumes)} EBS volumes to snapshot.")
        tags_by_volume = {
            volume.id: {**(_user_tags(self.tags_of(volume.id)) if copies_volume_tags else {}), **tags}
            for volume in volumes
        }
        for volume in volumes:
            check_tags(tags_by_volume[volume.id])
            if volume.status not in ("available", "in-use"):
                raise refuse("IncorrectState", f"The volume '{volume.id}' is '{volume.status}'.")
        self.check_snapshot_limits(volumes)
        snapshot_set, now = SnapshotSet(), self.now
        return [
            self.start_snapshot(
                volume,
                description=description,
                tags=tags_by_volume[volume.id],
                started_at=now,
                snapshot_set=snapshot_set,
            )
            for volume in volumes
        ]

    def copy_snapshot(  # type: ignore[override] # moto's order is not ours
        self,
        *,
        source_region: str,
        source_snapshot_id: str,
        description: str,
        tags: Mapping[str, str],
        is_encrypted: bool | None,
        kms_key_id: str | None,
        minutes: int | None,
    ) -> Snapshot:
        """CopySnapshot, called in the destination Region."""
        source = self._find_source_snapshot(source_region=source_region, snapshot_id=source_snapshot_id)
        if is_encrypted is False:
            raise refuse("InvalidParameterValue", "The parameter Encrypted cannot be set to false.")
        if kms_key_id and not is_encrypted and not source.encrypted:
            raise refuse(
                "InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set."
            )
        if minutes is not None and not (15 <= minutes <= 2880 and minutes % 15 == 0):
            raise refuse("InvalidParameterValue", "CompletionDurationMinutes is 15 to 2880 in steps of 15.")
        limit = self.world.quotas.limit(SNAPSHOT_COPIES)
        if len(self._pending_copies) >= limit:
            raise refuse(
                "ResourceLimitExceeded",
                f"Too many snapshot copies in progress. The limit is {limit} for this destination region.",
            )
        self._check_room_for_snapshots(1)
        return self.start_copy(
            source,
            description=description,
            tags=tags,
            is_encrypted=is_encrypted,
            kms_key_id=kms_key_id,
            minutes=minutes,
        )

    def _find_source_snapshot(self, *, source_region: str, snapshot_id: str) -> Snapshot:
        source_backend = self.in_region(source_region)
        assert isinstance(source_backend, SnapshotsBackend)
        return source_backend.get_snapshot(snapshot_id)

    def get_snapshot(self, snapshot_id: str) -> Snapshot:  # type: ignore[override] # a snapshot of our own
        """The snapshot, one's own or a shared one; InvalidSnapshot.NotFound for any other."""
        snapshot = self.find_snapshot(snapshot_id)
        if not snapshot.is_visible_to(self.account_id):
            raise unknown_snapshot(snapshot_id)
        return snapshot

    def find_snapshot(self, snapshot_id: str) -> Snapshot:
        """The snapshot of this Region, whosever it is and whoever may use it; InvalidSnapshot.NotFound without one."""
        if snapshot_id in self.snapshots:
            own: Snapshot = self.snapshots[snapshot_id]
            return own
        for backend in self.other_accounts():
            if snapshot_id in backend.snapshots:
                found: Snapshot = backend.snapshots[snapshot_id]
                return found
        raise unknown_snapshot(snapshot_id)

    def snapshots_shared_by_others(self) -> list[Snapshot]:
        """What other accounts of this Region let this one use."""
        return [
            snapshot
            for backend in self.other_accounts()
            for snapshot in backend.snapshots.values()
            if snapshot.is_shared and snapshot.owner_id == backend.account_id
        ]

    def hold_snapshot(self, snapshot_id: str, *, image_id: str) -> None:
        """`image_id` needs the snapshot: it cannot be deleted until released."""
        self._images_by_snapshot.setdefault(snapshot_id, set()).add(image_id)

    def release_snapshot(self, snapshot_id: str, *, image_id: str) -> None:
        """`image_id` is deregistered."""
        self._images_by_snapshot.get(snapshot_id, set()).discard(image_id)

    def images_of(self, snapshot_id: str) -> frozenset[str]:
        """The registered images that need the snapshot."""
        return frozenset(self._images_by_snapshot.get(snapshot_id, ()))

    def delete_snapshot(self, snapshot_id: str) -> Snapshot:  # type: ignore[override] # a snapshot of our own
        """Delete a snapshot, which also cancels a pending one. Refused to others than its owner and while in use."""
        snapshot = self.get_snapshot(snapshot_id)
        if snapshot.owner_id != self.account_id:
            raise refuse("AuthFailure", f"Not authorized for snapshot {snapshot_id}")
        if images := self.images_of(snapshot_id):
            raise refuse("InvalidSnapshot.InUse", f"The snapshot {snapshot_id} is currently in use by {min(images)}")
        self.sightings.disappear(snapshot, tags=self.tags_of(snapshot_id))
        del self.snapshots[snapshot_id]
        self._pending_copies.discard(snapshot_id)
        self._pending_snapshots.discard(snapshot_id)
        self._unfinished_by_volume.get(snapshot.volume_id, set()).discard(snapshot_id)
        self.forget_tags(snapshot_id)
        if snapshot.timer is not None:
            snapshot.timer.cancel()
        return snapshot

    def describe_snapshots(  # type: ignore[override] # moto has neither owners nor restorable users
        self,
        snapshot_ids: list[str] | None = None,
        filters: Filters | None = None,
        owner_ids: list[str] | None = None,
        restorable_by: list[str] | None = None,
    ) -> list[Snapshot]:
        """The snapshots that this account may see and that were asked for, in the order in which they were started."""
        if snapshot_ids:
            found: Iterable[Snapshot] = [self._get_shown_snapshot(each) for each in dict.fromkeys(snapshot_ids)]
        else:
            shown = [
                *self.snapshots.values(),
                *self.snapshots_shared_by_others(),
                *self.sightings.lingering(Snapshot),
            ]
            found = [each for each in shown if not self.sightings.is_hidden(each.id)]
        owners = {self.account_id if each == "self" else each for each in owner_ids or ()}
        found = (
            each
            for each in found
            if each.is_visible_to(self.account_id)
            and (not owners or each.owner_id in owners)
            and (not restorable_by or any(self._is_snapshot_restorable(each, user) for user in restorable_by))
        )
        return list(select(found, filters, readers=_READERS, tags=lambda snapshot: self.tags_of(snapshot.id)))

    def _get_shown_snapshot(self, snapshot_id: str) -> Snapshot:
        if self.sightings.is_hidden(snapshot_id):
            raise unknown_snapshot(snapshot_id)
        lingering: Snapshot | None = self.sightings.find_lingering(snapshot_id)
        return lingering or self.get_snapshot(snapshot_id)

    def is_snapshot_shown(self, snapshot_id: str) -> bool:
        """Whether it is still there to be described: a later page may come after its deletion."""
        if snapshot_id in self.snapshots or self.sightings.find_lingering(snapshot_id):
            return True
        return any(snapshot_id in backend.snapshots for backend in self.other_accounts())

    def _is_snapshot_restorable(self, snapshot: Snapshot, user: str) -> bool:
        if user == "all":
            return snapshot.is_available_to_all
        if user == "self":
            return self.account_id in (snapshot.owner_id, *snapshot.create_volume_permission_userids)
        return user in (snapshot.owner_id, *snapshot.create_volume_permission_userids)


def _user_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not key.startswith("aws:")}


class SnapshotsResponse(VolumesResponse):
    """CreateSnapshot, CreateSnapshots, CopySnapshot, DeleteSnapshot, DescribeSnapshots."""

    def create_snapshot(self) -> ActionResult:
        tags = self.tag_specifications("snapshot")["snapshot"]
        volume = self.backend.get_volume(self._get_param("VolumeId"))
        self.backend.check_snapshot_limits([volume])
        snapshot = self.backend.start_snapshot(volume, description=self._get_param("Description", ""), tags=tags)
        return Answer(snapshot.describe(self.backend.tags_of(snapshot.id)))

    def create_snapshots(self) -> ActionResult:
        tags = self.tag_specifications("snapshot")["snapshot"]
        instance = self._get_param("InstanceSpecification", {})
        snapshots = self.backend.start_snapshot_set(
            instance["InstanceId"],
            excludes_boot_volume=bool(instance.get("ExcludeBootVolume", False)),
            excluded_volume_ids=instance.get("ExcludeDataVolumeIds", []),
            copies_volume_tags=self._get_param("CopyTagsFromSource") == "volume",
            description=self._get_param("Description", ""),
            tags=tags,
        )
        return Answer({"Snapshots": [each.describe_info(self.backend.tags_of(each.id)) for each in snapshots]})

    def copy_snapshot(self) -> ActionResult:
        tags = self.tag_specifications("snapshot")["snapshot"]
        snapshot = self.backend.copy_snapshot(
            source_region=self._get_param("SourceRegion"),
            source_snapshot_id=self._get_param("SourceSnapshotId"),
            description=self._get_param("Description", ""),
            tags=tags,
            is_encrypted=self._get_bool_param("Encrypted"),
            kms_key_id=self._get_param("KmsKeyId"),
            minutes=self._get_int_param("CompletionDurationMinutes"),
        )
        return Answer({"SnapshotId": snapshot.id, "Tags": print_tags(self.backend.tags_of(snapshot.id))})

    def delete_snapshot(self) -> ActionResult:
        self.backend.delete_snapshot(self._get_param("SnapshotId"))
        return EmptyResult()

    def describe_snapshots(self) -> ActionResult:
        ids = self._get_param("SnapshotIds", [])
        snapshots, token = self.page(
            lambda: self.backend.describe_snapshots(
                snapshot_ids=ids,
                filters=self.filters(),
                owner_ids=self._get_param("OwnerIds", []),
                restorable_by=self._get_param("RestorableByUserIds", []),
            ),
            ids=ids,
        )
        shown = [each for each in snapshots if self.backend.is_snapshot_shown(each.id)]
        answers = [each.describe(self.backend.tags_of(each.id)) for each in shown]
        return Answer({"Snapshots": answers, "NextToken": token})
