"""Fast snapshot restore: enabled by snapshot and zone, slowly, and only for a few.

Sources: EBS User Guide, "Amazon EBS fast snapshot restore" (states, "60 minutes per TiB", at most 5 snapshots of a
Region, 16 TiB) and "Amazon EBS fast snapshot restore events"; botocore's model. The code for one too many is not
documented.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError

from local.twin.errors import refuse
from local.twin.events import fast_restore_changed
from local.twin.matching import select
from local.twin.quotas import FAST_RESTORES
from local.twin.sharing import SharingBackend, SharingResponse
from local.twin.snapshots import Snapshot

_CHANGING = timedelta(seconds=30)
_PER_TIB = timedelta(hours=1)
_LARGEST = 16 * 1024
_TIMES = {
    "enabling": "EnablingTime",
    "optimizing": "OptimizingTime",
    "enabled": "EnabledTime",
    "disabling": "DisablingTime",
    "disabled": "DisabledTime",
}


@dataclass(slots=True, kw_only=True)
class FastRestore:
    """Fast restore of one snapshot in one zone: its state, and when it entered each."""

    snapshot: Snapshot
    zone: Any
    owner_id: str
    state: str = ""
    times: dict[str, datetime] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        return {
            "SnapshotId": self.snapshot.id,
            "AvailabilityZone": self.zone.name,
            "AvailabilityZoneId": self.zone.zone_id,
            "State": self.state,
            "StateTransitionReason": "Client.UserInitiated",
            "OwnerId": self.owner_id,
            **{_TIMES[state]: at for state, at in self.times.items()},
        }


class FastRestoreBackend(SharingBackend):
    """Fast snapshot restore of one account in one Region."""

    def __init__(self, region_name: str, account_id: str) -> None:
        self.fast_restores: dict[tuple[str, str], FastRestore] = {}
        super().__init__(region_name, account_id)

    def enable_fast_restore(self, snapshot_id: str, zone_name: str) -> FastRestore:
        """Start enabling it for a completed snapshot, one's own or a shared one."""
        snapshot = self.get_snapshot(snapshot_id)
        snapshot.require_usable()
        zone = self._find_zone(zone_name)
        if snapshot.volume_size > _LARGEST:
            raise refuse("InvalidParameterValue", f"Snapshot {snapshot_id} is larger than {_LARGEST} GiB.")
        known = self.fast_restores.get((snapshot_id, zone_name))
        if known is not None and known.state != "disabled":
            return known
        used = {name for (name, _), each in self.fast_restores.items() if each.state != "disabled"} - {snapshot_id}
        if len(used) >= self.world.quotas.limit(FAST_RESTORES):
            raise refuse("FastSnapshotRestoreLimitExceeded", "Too many snapshots have fast restore in this Region.")
        made = FastRestore(snapshot=snapshot, zone=zone, owner_id=self.account_id)
        self.fast_restores[snapshot_id, zone_name] = made
        optimizing = _PER_TIB * (snapshot.volume_size / 1024)
        self._enter_fast_restore(made, "enabling")
        self._later(made, "enabling", "optimizing", _CHANGING)
        self._later(made, "optimizing", "enabled", _CHANGING + optimizing)
        return made

    def disable_fast_restore(self, snapshot_id: str, zone_name: str) -> FastRestore:
        """Start disabling it."""
        found = self.fast_restores.get((snapshot_id, zone_name))
        if found is None or found.state in ("disabling", "disabled"):
            raise refuse("InvalidParameterValue", f"Fast restore of {snapshot_id} is not enabled in {zone_name}.")
        self._enter_fast_restore(found, "disabling")
        self._later(found, "disabling", "disabled", _CHANGING)
        return found

    def delete_snapshot(self, snapshot_id: str) -> Snapshot:  # type: ignore[override] # a snapshot of our own
        """Fast restore ends with its snapshot."""
        snapshot = super().delete_snapshot(snapshot_id)
        for name, zone_name in list(self.fast_restores):
            if name == snapshot_id and self.fast_restores[name, zone_name].state not in ("disabling", "disabled"):
                self.disable_fast_restore(name, zone_name)
        return snapshot

    def _later(self, restore: FastRestore, former: str, state: str, after: timedelta) -> None:
        def change() -> None:
            if restore.state == former:
                self._enter_fast_restore(restore, state)

        self.call_later(after, change)

    def _enter_fast_restore(self, restore: FastRestore, state: str) -> None:
        restore.state = state
        restore.times[state] = self.now
        self.send_event(
            fast_restore_changed(
                region=self.region_name, snapshot_id=restore.snapshot.id, zone=restore.zone.name, state=state
            )
        )


class FastRestoreResponse(SharingResponse):
    """EnableFastSnapshotRestores, DisableFastSnapshotRestores, DescribeFastSnapshotRestores."""

    def enable_fast_snapshot_restores(self) -> ActionResult:
        return self._change_each(self.backend.enable_fast_restore)

    def disable_fast_snapshot_restores(self) -> ActionResult:
        return self._change_each(self.backend.disable_fast_restore)

    def _change_each(self, change: Callable[[str, str], FastRestore]) -> ActionResult:
        if not self._get_param("AvailabilityZones"):
            raise refuse("MissingParameter", "The twin wants AvailabilityZones by name.")
        successful, unsuccessful = [], []
        for snapshot_id in self._get_param("SourceSnapshotIds", []):
            errors = []
            for zone_name in self._get_param("AvailabilityZones"):
                try:
                    successful.append(change(snapshot_id, zone_name).describe())
                except EC2ClientError as error:
                    said = {"Code": error.code, "Message": error.message}
                    errors.append({"AvailabilityZone": zone_name, "Error": said})
            if errors:
                unsuccessful.append({"SnapshotId": snapshot_id, "FastSnapshotRestoreStateErrors": errors})
        return ActionResult({"Successful": successful, "Unsuccessful": unsuccessful})

    def describe_fast_snapshot_restores(self) -> ActionResult:
        restores, token = self.page(self._selected)
        return ActionResult({"FastSnapshotRestores": [each.describe() for each in restores], "NextToken": token})

    def _selected(self) -> Iterable[FastRestore]:
        return select(self.backend.fast_restores.values(), self.filters(), readers=_READERS, tags=lambda _: {})


_READERS: dict[str, Callable[[FastRestore], Any]] = {
    "availability-zone": lambda restore: restore.zone.name,
    "availability-zone-id": lambda restore: restore.zone.zone_id,
    "owner-id": lambda restore: restore.owner_id,
    "snapshot-id": lambda restore: restore.snapshot.id,
    "state": lambda restore: restore.state,
}
