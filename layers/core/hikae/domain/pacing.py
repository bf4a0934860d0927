"""How fast one worker may call EC2, so that all workers together stay under the account's request rates.

EC2 lets each action of an account and Region take tokens from a bucket of its own, which is refilled every second:
https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html. Nobody sees that bucket, so each worker keeps
one of its own, which is its share of it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rate:
    """The size of a bucket, and how many tokens come back per second."""

    capacity: float
    refill: float


REQUEST_RATES: Final[Mapping[str, Rate]] = {
    # Uncategorized actions have a rate of their own, the others that of their category.
    "CreateSnapshot": Rate(100, 5),
    "CreateSnapshots": Rate(100, 5),
    "DeleteSnapshot": Rate(100, 5),
    "DeregisterImage": Rate(100, 5),
    "CopyImage": Rate(100, 1),
    "CreateImage": Rate(50, 5),
    "CopySnapshot": Rate(50, 5),
    "DescribeImages": Rate(100, 20),
    "DescribeInstanceAttribute": Rate(100, 20),
    # Filtered or paged, as every call here is; otherwise it would be half of this.
    "DescribeInstances": Rate(100, 20),
    "DescribeSnapshots": Rate(100, 20),
    "DescribeVolumes": Rate(100, 20),
    "GetLaunchTemplateData": Rate(100, 20),
}
"""EC2's default rates of the actions that are sent once for each job, copy or deletion."""

CREATING: Final = frozenset({"CreateSnapshot", "CreateSnapshots", "CreateImage"})
COPYING: Final = frozenset({"CopySnapshot", "CopyImage"})
DELETING: Final = frozenset({"DeleteSnapshot", "DeregisterImage"})
LOOKING: Final = frozenset(REQUEST_RATES) - CREATING - COPYING - DELETING
"""What a worker reads for each of its jobs. The tick, the broker and prune read by the thousand and are not paced."""

_PART_OF_LOOKING: Final = 0.45
"""Of the rate of a reading action, for each of the two functions that take jobs; the rest is everybody else's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one worker takes of the account's request rates.

    `percent` is what all workers of all functions may take together, `workers` how many there are of this one's
    function at a time, `actions` what they send.
    """

    actions: frozenset[str]
    workers: int
    percent: int

    def rates(self) -> dict[str, Rate]:
        """The bucket of one worker for each action.

        EC2's tokens arrive in one go every second, the worker's steadily. A bucket that lacks one refill therefore
        never asks for a token that has not arrived yet: whatever conforms to (capacity - refill, refill) is let in.
        """
        return {action: self._rate(action) for action in self.actions}

    def _rate(self, action: str) -> Rate:
        whole = REQUEST_RATES[action]
        part = self.percent / 100 / self.workers * (_PART_OF_LOOKING if action in LOOKING else 1)
        # A bucket that holds less than a token could never give any.
        return Rate(max(1.0, (whole.capacity - whole.refill) * part), whole.refill * part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A token bucket at one moment; `level` is below zero where tokens were taken that are still to come."""

    rate: Rate
    level: float
    at: float

    @classmethod
    def full(cls, rate: Rate, *, at: float) -> "Bucket":
        """A bucket that nothing was taken from."""
        return cls(rate=rate, level=rate.capacity, at=at)

    def take(self, *, at: float) -> tuple["Bucket", float]:
        """Take one token at the time `at`, in seconds; returns the bucket then, and how many seconds to wait for it."""
        elapsed = max(0.0, at - self.at)
        level = min(self.rate.capacity, self.level + elapsed * self.rate.refill) - 1
        return Bucket(rate=self.rate, level=level, at=max(at, self.at)), max(0.0, -level / self.rate.refill)


def shortest(calls: int, rate: Rate) -> float:
    """In how many seconds `calls` can be let in at best, from a full bucket whose tokens arrive once a second."""
    missing = max(0.0, calls - rate.capacity)
    return float(-(-missing // rate.refill))


def add_up(shares: Collection[Share]) -> dict[str, Rate]:
    """What all workers of these shares take together, by action."""
    total: dict[str, Rate] = {}
    for share in shares:
        for action, rate in share.rates().items():
            so_far = total.get(action, Rate(0, 0))
            total[action] = Rate(
                so_far.capacity + share.workers * rate.capacity, so_far.refill + share.workers * rate.refill
            )
    return total
