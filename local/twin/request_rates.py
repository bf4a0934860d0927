"""EC2's request rates: a token bucket for each action, account and Region.

Source of every number and rule: EC2 Developer Guide, "Request throttling for the Amazon EC2 API"
(https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html). "Each API is evaluated individually": a
category says how large the buckets of its actions are, they do not share one.

Where the page leaves a choice, the harsher one is taken: tokens arrive in one go, a whole second after the first of
them was taken; ids are neither a filter nor pagination; a request that the bucket of resources refuses has used up its
request token; a request that is refused for any other reason has used its tokens, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Rate:
    """The size of a bucket, and how many tokens come back every second."""

    capacity: float
    refill: float


NON_MUTATING = Rate(100, 20)
UNFILTERED = Rate(50, 10)
MUTATING = Rate(50, 5)

UNFILTERED_ACTIONS = frozenset(
    {
        "DescribeInstances",
        "DescribeInstanceStatus",
        "DescribeNetworkInterfaces",
        "DescribeSecurityGroups",
        "DescribeSnapshots",
        "DescribeSpotInstanceRequests",
        "DescribeVolumes",
    }
)
UNCATEGORIZED: Mapping[str, Rate] = {
    "CopyImage": Rate(100, 1),
    "CreateLaunchTemplateVersion": Rate(100, 5),
    "CreateNetworkInterface": Rate(100, 5),
    "CreateRestoreImageTask": Rate(50, 0.1),
    "CreateSnapshot": Rate(100, 5),
    "CreateSnapshots": Rate(100, 5),
    "CreateStoreImageTask": Rate(50, 0.1),
    "CreateTags": Rate(100, 10),
    "CreateVolume": Rate(100, 5),
    "DeleteNetworkInterface": Rate(100, 5),
    "DeleteSnapshot": Rate(100, 5),
    "DeleteTags": Rate(100, 10),
    "DeleteVolume": Rate(100, 5),
    "DeregisterImage": Rate(100, 5),
    "DescribeStoreImageTasks": Rate(50, 0.5),
    "DisableImageBlockPublicAccess": Rate(1, 0.1),
    "DisableSnapshotBlockPublicAccess": Rate(1, 0.1),
    "EnableImageBlockPublicAccess": Rate(1, 0.1),
    "EnableSnapshotBlockPublicAccess": Rate(1, 0.1),
    "ModifyImageAttribute": Rate(100, 5),
    "ModifyInstanceMetadataOptions": Rate(100, 5),
    "ModifyLaunchTemplate": Rate(100, 5),
    "ModifyNetworkInterfaceAttribute": Rate(100, 5),
    "ModifySnapshotAttribute": Rate(100, 5),
    "RunInstances": Rate(5, 2),
    "StartInstances": Rate(5, 2),
    "TerminateInstances": Rate(100, 5),
}
RESOURCES: Mapping[str, Rate] = {
    "RunInstances": Rate(1000, 2),
    "StartInstances": Rate(1000, 2),
    "StopInstances": Rate(1000, 20),
    "TerminateInstances": Rate(1000, 20),
}


@dataclass(slots=True)
class Bucket:
    """One bucket, full at first."""

    rate: Rate
    tokens: float
    refilled_at: datetime

    def take(self, count: float, now: datetime) -> bool:
        """Take `count` tokens, all of them or none."""
        steps = (now - self.refilled_at) // _SECOND
        self.tokens = min(self.rate.capacity, self.tokens + steps * self.rate.refill)
        # A full bucket gets its next tokens a second after it is drawn on.
        self.refilled_at = now if self.tokens == self.rate.capacity else self.refilled_at + steps * _SECOND
        if count > self.tokens:
            return False
        self.tokens -= count
        return True


@dataclass(slots=True)
class RequestRates:
    """All buckets. `is_enforced` is off where a test, or the local cloud, is about something else."""

    is_enforced: bool = False
    _buckets: dict[tuple[str, str, str], Bucket] = field(default_factory=dict)

    def admit(self, action: str, parameters: Mapping[str, Any], *, account_id: str, region: str, now: datetime) -> bool:
        """Whether EC2 lets this request in; a refused one has no effect."""
        if not self.is_enforced:
            return True
        name, rate = _request_bucket(action, parameters)
        if not self._bucket(account_id, region, name, rate, now).take(1, now):
            return False
        if action not in RESOURCES:
            return True
        resources = self._bucket(account_id, region, f"{action} resources", RESOURCES[action], now)
        return resources.take(_count_resources(action, parameters), now)

    def _bucket(self, account_id: str, region: str, name: str, rate: Rate, now: datetime) -> Bucket:
        key = (account_id, region, name)
        if key not in self._buckets:
            self._buckets[key] = Bucket(rate, rate.capacity, now)
        return self._buckets[key]


def _request_bucket(action: str, parameters: Mapping[str, Any]) -> tuple[str, Rate]:
    if action in UNCATEGORIZED:
        return action, UNCATEGORIZED[action]
    if not action.startswith(("Describe", "List", "Search", "Get")):
        return action, MUTATING
    is_narrowed = any(parameters.get(name) for name in ("Filters", "MaxResults", "NextToken"))
    if action in UNFILTERED_ACTIONS and not is_narrowed:
        return f"{action} unfiltered", UNFILTERED
    return action, NON_MUTATING


def _count_resources(action: str, parameters: Mapping[str, Any]) -> int:
    if action == "RunInstances":
        return int(parameters.get("MaxCount") or 1)
    return len(parameters.get("InstanceIds") or ())
