"""EC2's eventual consistency: describes may miss what is new, tell old states, and show what is gone.

EC2 Developer Guide, "Eventual consistency in the Amazon EC2 API": a describe right after a create may not find the
resource, and one right after a change may tell the former state. How long is not promised; `World.lag` says it here,
and applies to all that happens while it is set. Calls that change something see the truth at once: what is deleted
cannot be deleted again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any


@dataclass(slots=True, kw_only=True)
class Sightings:
    """What describes of one account and Region show of what has just happened there."""

    now: Callable[[], datetime]
    lag: Callable[[], timedelta]
    _hidden_until: dict[str, datetime] = field(default_factory=dict)
    _stale_until: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    _retagged_until: dict[str, tuple[dict[str, str], datetime]] = field(default_factory=dict)
    _lingering_until: dict[str, tuple[Any, dict[str, str], datetime]] = field(default_factory=dict)

    def appear(self, resource_id: str) -> None:
        """The resource has been made, or has come back: nobody sees it yet."""
        self._lingering_until.pop(resource_id, None)
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

    def disappear(self, resource: Any, *, tags: Mapping[str, str]) -> None:
        """The resource is gone: it is still told of, with the tags that it had."""
        if self.lag():
            self._lingering_until[resource.id] = (resource, dict(tags), self.now() + self.lag())

    def retag(self, resource_id: str, *, former: Mapping[str, str]) -> None:
        """The resource's tags change: the Tagging API still tells the former ones. EC2's own describes do not lag."""
        if self.lag():
            self._retagged_until[resource_id] = (dict(former), self.now() + self.lag())

    def told_tags(self, resource_id: str, tags: Mapping[str, str]) -> Mapping[str, str]:
        """The tags that the Tagging API tells of a resource that has `tags`."""
        former, until = self._retagged_until.get(resource_id, (tags, None))
        return former if until is not None and self.now() < until else tags

    def find_lingering(self, resource_id: str) -> Any | None:
        """The resource, if it is gone and describes do not know that yet."""
        resource, _, until = self._lingering_until.get(resource_id, (None, None, None))
        return resource if until is not None and self.now() < until else None

    def lingering(self, kind: type) -> list[Any]:
        """All resources of a kind that are gone and that describes still tell of."""
        found = (self.find_lingering(resource_id) for resource_id in list(self._lingering_until))
        return [each for each in found if each is not None and isinstance(each, kind)]

    def tags_of(self, resource_id: str) -> Mapping[str, str]:
        """The tags that a resource had which is gone and still told of; none for any other."""
        return self._lingering_until[resource_id][1] if self.find_lingering(resource_id) else {}
