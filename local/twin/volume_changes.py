"""ModifyVolume: another size, type or performance, which comes about slowly and not too often.

Sources: EC2 API Reference, ModifyVolume (one at a time, four in 24 hours) and "Error codes"
(VolumeModificationRateExceeded, IncorrectModificationState); EBS User Guide, "Monitor the progress of volume
modifications" (a size takes effect with `optimizing`, and a used TiB takes about six hours); botocore's model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult

from local.twin.core import Answer
from local.twin.errors import refuse
from local.twin.events import volume_changed
from local.twin.matching import select
from local.twin.sharing import SharingBackend, SharingResponse
from local.twin.volumes import VOLUME_TYPES, Volume, check_volume_type, default_iops

_MODIFYING = timedelta(seconds=5)
_PER_TIB = timedelta(hours=6)
_DEFAULT_IOPS = 3000
_DAY, _MOST_A_DAY = timedelta(hours=24), 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What can be modified of a volume."""

    size: int
    volume_type: str
    iops: int | None
    throughput: int | None

    def describe(self, prefix: str) -> dict[str, Any]:
        said = {"Size": self.size, "VolumeType": self.volume_type, "Iops": self.iops, "Throughput": self.throughput}
        return {f"{prefix}{name}": value for name, value in said.items() if value is not None}


@dataclass(slots=True, kw_only=True)
class VolumeChange:
    """One modification of a volume: `modifying`, then `optimizing`, then `completed`."""

    volume_id: str
    original: Shape
    target: Shape
    started_at: datetime
    state: str = "modifying"
    ended_at: datetime | None = None

    def describe(self) -> dict[str, Any]:
        described = {
            "VolumeId": self.volume_id,
            "ModificationState": self.state,
            "Progress": 100 if self.state == "completed" else 0,
            "StartTime": self.started_at,
            "EndTime": self.ended_at,
            **self.original.describe("Original"),
            **self.target.describe("Target"),
        }
        return {key: value for key, value in described.items() if value is not None}


class VolumeChangesBackend(SharingBackend):
    """Modifications of one account's volumes in one Region."""

    def __init__(self, region_name: str, account_id: str) -> None:
        self.volume_changes: dict[str, list[VolumeChange]] = {}
        super().__init__(region_name, account_id)

    def change_volume(
        self, volume_id: str, *, size: int | None, volume_type: str | None, iops: int | None, throughput: int | None
    ) -> VolumeChange:
        """Start a modification; what is not named stays as it is, as far as the type has it."""
        volume = self.get_volume(volume_id)
        if volume.status not in ("available", "in-use"):
            raise refuse("IncorrectState", f"The volume '{volume_id}' is '{volume.status}'.")
        earlier = self.volume_changes.setdefault(volume_id, [])
        if earlier and earlier[-1].state != "completed":
            raise refuse("IncorrectModificationState", f"Volume {volume_id} is '{earlier[-1].state}' already.")
        if sum(self.now - each.started_at < _DAY for each in earlier) >= _MOST_A_DAY:
            raise refuse(
                "VolumeModificationRateExceeded",
                f"You've reached the maximum modification rate per volume limit: {_MOST_A_DAY} in 24 hours.",
            )
        if size is not None and size < volume.size:
            raise refuse("InvalidParameterValue", "New size cannot be smaller than existing size")
        target = _target(volume, size=size, volume_type=volume_type, iops=iops, throughput=throughput)
        original = Shape(
            size=volume.size, volume_type=volume.volume_type, iops=volume.iops, throughput=volume.throughput
        )
        change = VolumeChange(volume_id=volume_id, original=original, target=target, started_at=self.now)
        earlier.append(change)
        self.call_later(_MODIFYING, lambda: self._take_effect(change))
        return change

    def _take_effect(self, change: VolumeChange) -> None:
        volume: Volume | None = self.volumes.get(change.volume_id)
        if volume is None:
            return
        volume.size, volume.volume_type = change.target.size, change.target.volume_type
        volume.iops, volume.throughput = change.target.iops, change.target.throughput
        self._enter_change(volume, change, "optimizing")
        self.call_later(_PER_TIB * (volume.size / 1024), lambda: self._complete_change(change))

    def _complete_change(self, change: VolumeChange) -> None:
        volume: Volume | None = self.volumes.get(change.volume_id)
        if volume is not None:
            change.ended_at = self.now
            self._enter_change(volume, change, "completed")

    def _enter_change(self, volume: Volume, change: VolumeChange, state: str) -> None:
        change.state = state
        self.send_event(volume_changed("modifyVolume", volume_arn=self._volume_arn(volume), result=state))


def _target(
    volume: Volume, *, size: int | None, volume_type: str | None, iops: int | None, throughput: int | None
) -> Shape:
    kind, new_size = volume_type or volume.volume_type, size or volume.size
    # ModifyVolumeRequest: "The existing value is retained if you keep the same volume type. If you change the volume
    # type to io1, io2, or gp3, the default is 3,000", and 125 MiB/s where it becomes gp3.
    if iops is None and kind in VOLUME_TYPES and VOLUME_TYPES[kind].most_iops:
        iops = volume.iops if kind == volume.volume_type else _DEFAULT_IOPS
    if throughput is None and kind == volume.volume_type and VOLUME_TYPES[kind].most_throughput:
        throughput = volume.throughput
    check_volume_type(kind, size=new_size, iops=iops, throughput=throughput)
    return Shape(
        size=new_size,
        volume_type=kind,
        iops=iops or default_iops(kind, size=new_size),
        throughput=throughput or VOLUME_TYPES[kind].default_throughput,
    )


class VolumeChangesResponse(SharingResponse):
    """ModifyVolume and DescribeVolumesModifications."""

    def modify_volume(self) -> ActionResult:
        change = self.backend.change_volume(
            self._get_param("VolumeId"),
            size=self._get_param("Size"),
            volume_type=self._get_param("VolumeType"),
            iops=self._get_param("Iops"),
            throughput=self._get_param("Throughput"),
        )
        return Answer({"VolumeModification": change.describe()})

    def describe_volumes_modifications(self) -> ActionResult:
        """The latest modification of each volume."""
        ids = self._get_param("VolumeIds", [])
        latest = {name: each[-1] for name, each in self.backend.volume_changes.items() if each}
        for volume_id in ids:
            self.backend.get_volume(volume_id)

        def selected() -> Iterable[VolumeChange]:
            wanted = [change for name, change in latest.items() if not ids or name in ids]
            return select(wanted, self.filters(), readers=_READERS, tags=lambda _: {})

        changes, token = self.page(selected, ids=ids)
        return Answer({"VolumesModifications": [each.describe() for each in changes], "NextToken": token})


_READERS: dict[str, Callable[[VolumeChange], Any]] = {
    "modification-state": lambda change: change.state,
    "original-iops": lambda change: change.original.iops,
    "original-size": lambda change: change.original.size,
    "original-volume-type": lambda change: change.original.volume_type,
    "start-time": lambda change: change.started_at,
    "target-iops": lambda change: change.target.iops,
    "target-size": lambda change: change.target.size,
    "target-volume-type": lambda change: change.target.volume_type,
    "volume-id": lambda change: change.volume_id,
}
