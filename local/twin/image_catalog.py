"""Which images there are in a Region, and which of them one may see, launch or copy."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from local.twin.content import Content
from local.twin.errors import refuse
from local.twin.image_record import AMAZON_ACCOUNT, EBS_BASE_NAME, IMAGE_READERS, Image, base_images, stable_id
from local.twin.matching import Filters, select
from local.twin.snapshots import COPIED_VOLUME_ID, Snapshot, SnapshotsBackend

_IMAGE_ID = re.compile(r"ami-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_BASE_CREATED_AT = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
_BASE_SIZE = 8
_BASE_USED_BYTES = 2 * 1024**3


class ImageCatalog(SnapshotsBackend):
    """The images of one account in one Region, with Amazon's base images among them."""

    amis: dict[str, Any]

    def find_images(self, image_ids: Sequence[str] = ()) -> list[Image]:
        """The images with these ids, or all, one's own and those of others that one may launch.

        One that was deregistered is left out. Raises InvalidAMIID.Malformed, and InvalidAMIID.NotFound for an id that
        this Region never had, or had for others only.
        """
        self._offer_base_images()
        shared = {each.id: each for each in self._images_shared_by_others()}
        if not image_ids:
            return [*self.amis.values(), *shared.values()]
        for image_id in image_ids:
            if not _IMAGE_ID.fullmatch(image_id):
                raise refuse("InvalidAMIID.Malformed", f'Invalid id: "{image_id}" (expecting "ami-...")')
        known = {**shared, **self.amis}
        unknown = [each for each in image_ids if each not in known and each not in self.deleted_amis]
        if unknown:
            raise refuse("InvalidAMIID.NotFound", f"The image id '[{', '.join(unknown)}]' does not exist")
        return [known[image_id] for image_id in dict.fromkeys(image_ids) if image_id in known]

    def _is_deprecated_for_us(self, image: Image) -> bool:
        is_deprecated = image.deprecated_at is not None and image.deprecated_at <= self.now
        return is_deprecated and image.owner_id != self.account_id

    def _images_shared_by_others(self) -> list[Image]:
        return [
            image
            for backend in self.other_accounts()
            for image in backend.amis.values()
            if image.owner_id == backend.account_id and self._may_launch(image)
        ]

    def is_image_shown(self, image_id: str) -> bool:
        """Whether it is still there to be described: a later page may come after its deregistration."""
        if image_id in self.amis or self.sightings.find_lingering(image_id):
            return True
        return any(image_id in backend.amis for backend in self.other_accounts())

    def require_image(self, image_id: str) -> Image:
        """The image in whatever state; InvalidAMIID.Unavailable if it "has been deregistered"."""
        found = self.find_images([image_id])
        if not found:
            raise refuse("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is no longer available")
        return found[0]

    def require_available_image(self, image_id: str) -> Image:
        """The image if it can be launched and copied; InvalidAMIID.Unavailable in any state but available."""
        image = self.require_image(image_id)
        if image.state != "available":
            raise refuse("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is '{image.state}'")
        return image

    def select_images(
        self,
        *,
        image_ids: Sequence[str],
        filters: Filters,
        owners: Iterable[str],
        executable_by: Iterable[str],
        includes_disabled: bool,
        includes_deprecated: bool,
    ) -> list[Image]:
        """DescribeImages: what this account may launch, scoped by owners and launch permissions, then filtered."""
        wanted_owners = {self.account_id if each == "self" else each for each in owners}
        wanted_users = {self.account_id if each == "self" else each for each in executable_by}
        hidden = [each for each in image_ids if self.sightings.is_hidden(each)]
        if hidden:
            raise refuse("InvalidAMIID.NotFound", f"The image id '[{', '.join(hidden)}]' does not exist")
        lingering = [each for each in self.sightings.lingering(Image) if not image_ids or each.id in image_ids]
        found = (
            image
            for image in [*self.find_images(image_ids), *lingering]
            if not self.sightings.is_hidden(image.id)
            and self._may_launch(image)
            and (includes_disabled or image.state != "disabled")
            and (includes_deprecated or image_ids or not self._is_deprecated_for_us(image))
            and (not wanted_owners or not wanted_owners.isdisjoint({image.owner_id, image.owner_alias}))
            and (not wanted_users or any(_is_shared_with(image, user) for user in wanted_users))
        )
        readers = {**IMAGE_READERS, "state": self.shown_image_state}
        return list(select(found, filters, readers=readers, tags=lambda image: self.tags_of(image.id)))

    def shown_image_state(self, image: Image) -> str:
        """The state that describes tell."""
        return self.sightings.state_of(image.id, image.state)

    def describe_images(
        self,
        ami_ids: list[str] | None = None,
        filters: dict[str, Any] | None = None,
        exec_users: list[str] | None = None,
        owners: list[str] | None = None,
    ) -> list[Any]:
        """What moto's own code asks for: the images with these ids, given plainly or as filter image-id."""
        wanted = ami_ids or (filters or {}).get("image-id") or []
        return self.find_images([wanted] if isinstance(wanted, str) else wanted)

    def _may_launch(self, image: Image) -> bool:
        return image.owner_id == self.account_id or image.is_public or _is_shared_with(image, self.account_id)

    def _offer_base_images(self) -> None:
        if stable_id("ami", self.region_name, EBS_BASE_NAME) in self.amis:
            return
        snapshot = Snapshot(
            ec2_backend=self,
            snapshot_id=stable_id("snap", self.region_name, "base"),
            content=Content(origin="hikae-twin/base").write(b"hikae-twin/base", changed_bytes=_BASE_USED_BYTES),
            lineage=(),
            volume_id=COPIED_VOLUME_ID,
            volume_size=_BASE_SIZE,
            description="",
            start_time=_BASE_CREATED_AT,
            encrypted=False,
            kms_key_id=None,
            owner_id=AMAZON_ACCOUNT,
        )
        snapshot.state = "completed"
        self.snapshots[snapshot.id] = snapshot
        for image in base_images(
            self.region_name, created_at=_BASE_CREATED_AT, snapshot_id=snapshot.id, snapshot_size=_BASE_SIZE
        ):
            self.amis[image.id] = image
            for snapshot_id in image.snapshot_ids:
                self.hold_snapshot(snapshot_id, image_id=image.id)


def _is_shared_with(image: Image, user: str) -> bool:
    return ({"Group": "all"} if user == "all" else {"UserId": user}) in image.launch_permissions
