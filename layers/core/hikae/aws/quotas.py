"""Service Quotas behind the ports: how many copies the account may have in flight at once into one Region.

Quotas are found by name. The documentation prints the codes of adjustable quotas only, and this one is not:
https://docs.aws.amazon.com/ebs/latest/userguide/ebs-resource-quotas.html
"""

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from hikae.aws.errors import reading

if TYPE_CHECKING:
    from mypy_boto3_service_quotas import ServiceQuotasClient

_SNAPSHOT_COPIES = re.compile(r"Concurrent snapshot copies per destination Region", re.IGNORECASE)
_IMAGE_COPIES = re.compile(r".*\bconcurrent AMI cop(y|ies)\b.*", re.IGNORECASE)
"""A limit of 300 is documented, a quota of that name is not (yet):
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/how-ami-copy-works.html
"""
_KEPT_SECONDS = 3600
"""How long an answer holds: EC2 has far more than a thousand quotas, and one changes when somebody has asked for it."""


class ServiceQuotas:
    """The quotas of the account and Region of `client`, which is made when first asked for."""

    def __init__(
        self, client: Callable[[], "ServiceQuotasClient"], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[re.Pattern[str], tuple[float, int | None]] = {}

    def snapshot_copies(self) -> int | None:
        """See `ports.CopyQuotas`."""
        return self._find("ebs", _SNAPSHOT_COPIES)

    def image_copies(self) -> int | None:
        """See `ports.CopyQuotas`."""
        return self._find("ec2", _IMAGE_COPIES)

    def vcpus(self, names: Collection[str]) -> Mapping[str, int]:
        """See `ports.Surroundings.vcpu_quotas`."""
        found = {name: self._find("ec2", re.compile(re.escape(name))) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def _find(self, service: str, name: re.Pattern[str]) -> int | None:
        asked_at, value = self._known.get(name, (None, None))
        if asked_at is None or self._clock() - asked_at > _KEPT_SECONDS:
            with reading(f"quotas of {service}"):
                value = next((int(value) for listed, value in self._list(service) if name.fullmatch(listed)), None)
            self._known[name] = (self._clock(), value)
        return value

    def _list(self, service: str) -> Iterator[tuple[str, float]]:
        """Every quota by name: those of the account first, then AWS's defaults, where some are listed only."""
        client = self._client()
        for page in client.get_paginator("list_service_quotas").paginate(ServiceCode=service):
            for quota in page["Quotas"]:
                yield quota["QuotaName"], quota["Value"]
        for defaults in client.get_paginator("list_aws_default_service_quotas").paginate(ServiceCode=service):
            for quota in defaults["Quotas"]:
                yield quota["QuotaName"], quota["Value"]
