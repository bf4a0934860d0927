"""DescribeVolumeStatus, and EnableVolumeIO after a volume's host had trouble.

Sources: EBS User Guide, "Monitor the status of your volumes"; botocore's model (DescribeVolumeStatus, EnableVolumeIO).
Checks "might still be taking place": a volume has `insufficient-data` until it can be used.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any

from moto.core.responses import EmptyResult

from local.twin.core import Answer
from local.twin.matching import select
from local.twin.sharing import SharingBackend, SharingResponse
from local.twin.volumes import Volume

INCONSISTENT = "potential-data-inconsistency"


class VolumeStatusBackend(SharingBackend):
    """The status of one account's volumes in one Region."""

    def __init__(self, region_name: str, account_id: str) -> None:
        self.inconsistent_volumes: dict[str, dict[str, Any]] = {}
        super().__init__(region_name, account_id)

    def impair_volume(self, volume_id: str) -> None:
        """Let the volume's host have failed: its data may be inconsistent, and it does no I/O until told to."""
        volume = self.get_volume(volume_id)
        event = {"EventId": f"evol-{uuid.UUID(int=self.world.random.getrandbits(128)).hex[:17]}", "NotBefore": self.now}
        self.inconsistent_volumes[volume.id] = {**event, "EventType": INCONSISTENT, "Description": "A host failed."}

    def enable_volume_io(self, volume_id: str) -> None:
        """EnableVolumeIO: the volume is used again as it is."""
        self.inconsistent_volumes.pop(self.get_volume(volume_id).id, None)

    def status_of_volume(self, volume: Volume) -> dict[str, Any]:
        """One entry of DescribeVolumeStatus."""
        event = self.inconsistent_volumes.get(volume.id)
        is_checked = volume.status in ("available", "in-use")
        status = "impaired" if event else "ok" if is_checked else "insufficient-data"
        is_enabled = "failed" if event else "passed" if is_checked else "insufficient-data"
        action = {"Code": "enable-volume-io", "Description": "Enable volume I/O", "EventType": INCONSISTENT}
        return {
            "VolumeId": volume.id,
            "AvailabilityZone": volume.zone.name,
            "AvailabilityZoneId": volume.zone.zone_id,
            "VolumeStatus": {
                "Status": status,
                "Details": [
                    {"Name": "io-enabled", "Status": is_enabled},
                    {"Name": "io-performance", "Status": "not-applicable"},
                ],
            },
            "Events": [event] if event else [],
            "Actions": [{**action, "EventId": event["EventId"]}] if event else [],
        }


class VolumeStatusResponse(SharingResponse):
    """DescribeVolumeStatus and EnableVolumeIO."""

    def describe_volume_status(self) -> Any:
        ids = self._get_param("VolumeIds", [])

        def statuses() -> Iterable[dict[str, Any]]:
            volumes = self.backend.describe_volumes(volume_ids=ids)
            described = [self.backend.status_of_volume(each) for each in volumes]
            return select(described, self.filters(), readers=_READERS, tags=lambda _: {})

        found, token = self.page(statuses, ids=ids)
        return Answer({"VolumeStatuses": found, "NextToken": token})

    def enable_volume_io(self) -> Any:
        self.backend.enable_volume_io(self._get_param("VolumeId"))
        return EmptyResult()


_READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "action.code": lambda status: [each["Code"] for each in status["Actions"]],
    "action.event-id": lambda status: [each["EventId"] for each in status["Actions"]],
    "availability-zone": lambda status: status["AvailabilityZone"],
    "availability-zone-id": lambda status: status["AvailabilityZoneId"],
    "event.event-id": lambda status: [each["EventId"] for each in status["Events"]],
    "event.event-type": lambda status: [each["EventType"] for each in status["Events"]],
    "volume-status.details-name": lambda status: [each["Name"] for each in status["VolumeStatus"]["Details"]],
    "volume-status.details-status": lambda status: [each["Status"] for each in status["VolumeStatus"]["Details"]],
    "volume-status.status": lambda status: status["VolumeStatus"]["Status"],
}
