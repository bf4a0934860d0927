"""How much EC2 lets one account have at once in one Region.

Sources: EBS User Guide, "Quotas for Amazon EBS"; EC2 User Guide, "AMI quotas in Amazon EC2" and "How Amazon EC2 AMI
copy works" (300 concurrent copies, which the page of quotas does not list: neither does the twin); EC2 API Reference,
"Error codes".

The documentation prints the codes of adjustable quotas alone. The others' codes are made up here, so that nobody
relies on one: a quota is found by its name.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

EBS, EC2 = "ebs", "ec2"
SNAPSHOT_COPIES = "Concurrent snapshot copies per destination Region"
SNAPSHOTS = "Snapshots per Region"
FAST_RESTORES = "Fast snapshot restore"
IMAGES = "AMIs"
UNLISTED_IMAGE_COPIES = 300
STANDARD_VCPUS = "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"
STANDARD_FAMILIES = frozenset("acdhimrtz")
SERVICES = {EBS: "Amazon Elastic Block Store (Amazon EBS)", EC2: "Amazon Elastic Compute Cloud (Amazon EC2)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """One quota. `default` is AWS's, `value` the account's; without one, only the default can be asked for."""

    service: str
    name: str
    default: int
    value: int | None = None
    code: str = ""
    is_adjustable: bool = False

    @property
    def limit(self) -> int:
        return self.default if self.value is None else self.value

    def describe(self, *, account_id: str, region: str, is_default: bool) -> dict[str, Any]:
        code = self.code or f"L-{hashlib.sha256(f'{self.service}/{self.name}'.encode()).hexdigest()[:8].upper()}"
        return {
            "ServiceCode": self.service,
            "ServiceName": SERVICES[self.service],
            "QuotaArn": f"arn:aws:servicequotas:{region}:{account_id}:{self.service}/{code}",
            "QuotaCode": code,
            "QuotaName": self.name,
            "Value": float(self.default if is_default else self.limit),
            "Unit": "None",
            "Adjustable": self.is_adjustable,
            "GlobalQuota": False,
        }


def concurrent_snapshots(volume_type: str) -> str:
    """The name of the quota on snapshots of one volume of this type that are under way."""
    return f"Concurrent snapshots per {_TYPE_NAMES[volume_type]} ({volume_type}) volume"


_TYPE_NAMES = {
    "gp2": "General Purpose SSD",
    "gp3": "General Purpose SSD",
    "io1": "Provisioned IOPS SSD",
    "io2": "Provisioned IOPS SSD",
    "sc1": "Cold HDD",
    "st1": "Throughput Optimized HDD",
    "standard": "Magnetic",
}
_ONE_AT_A_TIME = frozenset({"sc1", "st1"})


def _defaults() -> Iterable[Quota]:
    yield Quota(service=EBS, name=SNAPSHOT_COPIES, default=20, value=20)
    yield Quota(service=EBS, name=SNAPSHOTS, default=100_000, value=100_000, code="L-309BACF6", is_adjustable=True)
    for kind in _TYPE_NAMES:
        number = 1 if kind in _ONE_AT_A_TIME else 5
        yield Quota(service=EBS, name=concurrent_snapshots(kind), default=number, value=number)
    yield Quota(service=EBS, name=FAST_RESTORES, default=5, value=5, is_adjustable=True)
    yield Quota(service=EC2, name=IMAGES, default=50_000, value=50_000, code="L-B665C33B", is_adjustable=True)
    # EC2 User Guide, "On-Demand Instance quotas": vCPUs of running instances, 5 for a new account. This one is older.
    yield Quota(service=EC2, name=STANDARD_VCPUS, default=5, value=100_000, code="L-1216C47A", is_adjustable=True)
    yield Quota(service=EC2, name="Public AMIs", default=5, value=5, code="L-0E3CBAB9", is_adjustable=True)
    yield Quota(service=EC2, name="AMI sharing", default=1000, value=1000, code="L-70015FFA", is_adjustable=True)


@dataclass(slots=True)
class Quotas:
    """The quotas of every account and Region of the world; what Service Quotas tells is what EC2 keeps to.

    `image_copies` and the `snapshot_interval` between two of one volume are limits that Service Quotas does not list.
    """

    _quotas: dict[str, Quota] = field(default_factory=lambda: {quota.name: quota for quota in _defaults()})
    image_copies: int = UNLISTED_IMAGE_COPIES
    snapshot_interval: timedelta = timedelta(seconds=15)
    is_answering: bool = True

    def limit(self, name: str) -> int:
        return self._quotas[name].limit

    def set(self, name: str, value: int | None) -> None:
        """Give the accounts `value` of a quota; None leaves only AWS's default to be asked for."""
        self._quotas[name] = replace(self._quotas[name], value=value)

    def add(self, quota: Quota) -> None:
        """List one more quota."""
        self._quotas[quota.name] = quota

    def listed(self, service: str) -> list[Quota]:
        return [quota for quota in self._quotas.values() if quota.service == service]
