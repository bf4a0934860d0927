"""Deprecating images: others no longer find them, and everything else goes on.

Sources: EC2 User Guide, "Deprecate an Amazon EC2 AMI" (a deprecated image is left out for everyone but its owner unless
it is named or IncludeDeprecated is set; it can still be launched); botocore's model, EnableImageDeprecationRequest
(rounded to the minute, not in the past, at most 10 years ahead, 2 for a public image).
"""

from datetime import datetime, timedelta

from moto.core.responses import ActionResult

from local.twin.clock import read_time
from local.twin.errors import refuse
from local.twin.sharing import SharingBackend, SharingResponse

_MINUTE = timedelta(minutes=1)
_YEAR = timedelta(days=365)


class DeprecationBackend(SharingBackend):
    """Deprecation of one account's images in one Region."""

    def deprecate_image(self, image_id: str, *, at: datetime) -> None:
        """EnableImageDeprecation, also to change the time."""
        image = self.own_image(image_id)
        rounded = datetime.fromtimestamp(round(at.timestamp() / 60) * 60, tz=at.tzinfo)
        most = (2 if image.is_public else 10) * _YEAR
        if not self.now - _MINUTE < rounded <= self.now + most:
            raise refuse("InvalidParameterValue", f"{at} is in the past or too far ahead.")
        image.deprecated_at = rounded

    def undeprecate_image(self, image_id: str) -> None:
        """DisableImageDeprecation."""
        self.own_image(image_id).deprecated_at = None


class DeprecationResponse(SharingResponse):
    """EnableImageDeprecation and DisableImageDeprecation."""

    def enable_image_deprecation(self) -> ActionResult:
        self.backend.deprecate_image(self._get_param("ImageId"), at=read_time(self._get_param("DeprecateAt")))
        return ActionResult({"Return": True})

    def disable_image_deprecation(self) -> ActionResult:
        self.backend.undeprecate_image(self._get_param("ImageId"))
        return ActionResult({"Return": True})
