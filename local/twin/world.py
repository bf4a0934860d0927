"""What all accounts and Regions share: the clock, the event log, the call log, the keys.

It lives outside moto's backends because moto recreates those on every reset.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from local.twin.calls import CallLog
from local.twin.clock import Clock
from local.twin.events import EventLog
from local.twin.keys import Keys
from local.twin.permissions import Permissions
from local.twin.quotas import Quotas
from local.twin.request_rates import RequestRates

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """How long EC2 takes. A transfer is a base, a random part of `snapshot_spread`, and its changed bytes."""

    volume: timedelta = timedelta(seconds=4)
    attachment: timedelta = timedelta(seconds=4)
    key_check: timedelta = timedelta(seconds=20)
    snapshot_base: timedelta = timedelta(seconds=60)
    snapshot_spread: timedelta = timedelta(seconds=60)
    bytes_per_second: int = 100 * MIB


@dataclass(slots=True, kw_only=True)
class World:
    """One run of the twin.

    `lag` is how far describes are behind: see local.twin.consistency. `snapshots_made` are all that ever were, also
    those that are gone. `lost_region` answers nobody, where the twin is a server.
    """

    clock: Clock
    keys: Keys
    random: Random = field(default_factory=lambda: Random(0))  # noqa: S311 (reproducible, not secret)
    durations: Durations = field(default_factory=Durations)
    calls: CallLog = field(default_factory=CallLog)
    bins: dict[tuple[str, str], Any] = field(default_factory=dict)
    blocks: Any = None
    shells: dict[tuple[str, str], Any] = field(default_factory=dict)
    services: dict[tuple[str, str], Any] = field(default_factory=dict)
    lag: timedelta = timedelta()
    lost_region: str = ""
    snapshots_made: list[Any] = field(default_factory=list)
    request_rates: RequestRates = field(default_factory=RequestRates)
    quotas: Quotas = field(default_factory=Quotas)
    permissions: Permissions = field(default_factory=Permissions)
    events: EventLog = field(init=False)

    def __post_init__(self) -> None:
        self.events = EventLog(random=self.random)

    def transfer_duration(self, changed_bytes: int) -> timedelta:
        """How long a snapshot or a copy of so many changed bytes takes."""
        spread = self.durations.snapshot_spread * self.random.random()
        return (
            self.durations.snapshot_base + spread + timedelta(seconds=changed_bytes / self.durations.bytes_per_second)
        )


_installed: list[World] = []


def install_world(world: World) -> None:
    """Make `world` the one that every backend of this process belongs to."""
    _installed[:] = [world]


def remove_world() -> None:
    """Stop the installed world's clock, close what its instances serve, and forget it."""
    for world in _installed:
        world.clock.stop()
        for services in world.services.values():
            services.close()
    _installed.clear()


def current_world() -> World:
    """The installed world; RuntimeError outside a Twin and its server."""
    if not _installed:
        raise RuntimeError("No EC2 twin is installed: use local.twin.testing.Twin or the server.")
    return _installed[0]
