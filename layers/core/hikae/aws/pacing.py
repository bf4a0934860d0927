"""Keeps a process under its share of EC2's request rates: a call that has no token yet waits for it."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hikae.domain.pacing import Bucket, Share

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client


class Pacer:
    """One worker's buckets, full when the process starts.

    `clock` tells seconds that never go back; a process that Lambda has frozen only underestimates its tokens. `sleep`
    lets seconds pass. Without them they are the process's own, as they are when the pacer is made.
    """

    def __init__(
        self,
        share: Share | None = None,
        *,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self.sleep = sleep or time.sleep
        self.clock = clock or time.monotonic
        rates = share.rates() if share else {}
        self._buckets = {action: Bucket.full(rate, at=self.clock()) for action, rate in rates.items()}

    def wait(self, action: str) -> None:
        """Take a token for `action`, once there is one; an action that the share does not name goes at once."""
        bucket = self._buckets.get(action)
        if bucket is None:
            return
        self._buckets[action], seconds = bucket.take(at=self.clock())
        if seconds > 0:
            self.sleep(seconds)

    def watch(self, client: "EC2Client") -> None:
        """Let every call of `client` wait for its token, each time it is sent."""

        def before(*, model: Any, **_: Any) -> None:
            self.wait(model.name)

        client.meta.events.register("before-call.ec2", before)
