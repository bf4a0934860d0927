"""CopyVolumes: a crash-consistent copy of a volume in its own Availability Zone.

Source: botocore's model (CopyVolumesRequest: the size is equal or larger, the type gp2 if none is named, a copy of an
encrypted volume always encrypted) and EBS User Guide, "Copy an Amazon EBS volume".
"""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult

from local.twin.core import Answer
from local.twin.errors import refuse
from local.twin.sharing import SharingBackend, SharingResponse
from local.twin.volumes import Volume


class VolumeCopiesBackend(SharingBackend):
    """Copies of one account's volumes in one Region."""

    def copy_volume_once(self, source_id: str, token: str | None, *, tags: dict[str, str], **request: Any) -> Volume:
        """Start a copy of what is on the volume now; it is `creating` when this returns."""
        return self.volume_tokens.once(
            token, ("copy", source_id, request, tags), lambda: self._copy_volume(source_id, tags=tags, **request)
        )

    def _copy_volume(self, source_id: str, *, tags: dict[str, str], size: int | None, **request: Any) -> Volume:
        source = self.get_volume(source_id)
        if source.status not in ("available", "in-use"):
            raise refuse("IncorrectState", f"The volume '{source_id}' is '{source.status}'.")
        if size is not None and size < source.size:
            raise refuse("InvalidParameterValue", f"The copy's size {size} is smaller than the source's, {source.size}")
        if source.encrypted:
            request = {**request, "encrypted": True, "kms_key_id": request["kms_key_id"] or source.kms_key_id}
        copy = self.create_volume(size=size or source.size, zone_name=source.zone.name, **request)
        copy.content = source.content.restore_to(copy.id)
        copy.lineage = (*source.lineage, *copy.lineage)
        copy.source_volume_id = source.id
        if tags:
            self.create_tags([copy.id], tags)
        return copy


class VolumeCopiesResponse(SharingResponse):
    """CopyVolumes."""

    def copy_volumes(self) -> ActionResult:
        tags = self.tag_specifications("volume")["volume"]
        copy = self.backend.copy_volume_once(
            self._get_param("SourceVolumeId"),
            self._get_param("ClientToken"),
            tags=tags,
            size=self._get_param("Size"),
            volume_type=self._get_param("VolumeType"),
            iops=self._get_param("Iops"),
            throughput=self._get_param("Throughput"),
            multi_attach_enabled=self._get_param("MultiAttachEnabled"),
            encrypted=self._get_bool_param("Encrypted", False),
            kms_key_id=self._get_param("KmsKeyId"),
        )
        return Answer({"Volumes": [copy.describe()]})
