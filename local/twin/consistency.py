"""EC2's eventual consistency: what is new may be missing from describes for a while, and states may be old ones.

EC2 Developer Guide, "Eventual consistency in the Amazon EC2 API": a describe right after a create may not find the
resource, and one right after a change may tell the former state. How long is not promised; `World.lag` says it here,
and applies to all that happens while it is set.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(slots=True, kw_only=True)
class Sightings:
    """What describes of one account and Region show of what has just happened there."""

    now: Callable[[], datetime]
    lag: Callable[[], timedelta]
    _hidden_until: dict[str, datetime] = field(default_factory=dict)
    _stale_until: dict[str, tuple[str, datetime]] = field(default_factory=dict)

    def appear(self, resource_id: str) -> None:
        """The resource has been made: nobody sees it yet."""
        if self.lag():
            self._hidden_until[resource_id] = self.now() + self.lag()

    def change(self, resource_id: str, *, former: str) -> None:
        """The resource has left the state `former`: that is what is still told."""
        if self.lag():
            self._stale_until[resource_id] = (former, self.now() + self.lag())

    def is_hidden(self, resource_id: str) -> bool:
        """Whether describes do not know the resource yet."""
        until = self._hidden_until.get(resource_id)
        return until is not None and self.now() < until

    def state_of(self, resource_id: str, state: str) -> str:
        """The state that describes tell of a resource that is in `state`."""
        former, until = self._stale_until.get(resource_id, (state, None))
        return former if until is not None and self.now() < until else state
