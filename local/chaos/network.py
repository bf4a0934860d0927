"""The network of a site's drills: what answers there are the twin's instances, and no packet leaves the process.

The probing function is the deployed one; only the library call beneath it that opens a connection is answered here.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

from hikae.domain.model import Region
from local.twin.backend import TwinBackend

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
_BOOTS_FOR = timedelta(seconds=20)

Connect = Callable[[], socket.socket]
Hindrance = Callable[[Connect], socket.socket]
"""What happens to one connection: it is given how the connection would come about without it."""


class _Connection(socket.socket):
    """One end of a pair within this process, which has none of TCP's options."""

    def setsockopt(self, *_: Any) -> None:
        """There is nothing to set."""


class Silent(_Connection):
    """A connection that comes about, and over which nothing ever comes."""

    def recv_into(self, *_: Any) -> int:
        raise TimeoutError("timed out")


@dataclass(slots=True, kw_only=True)
class DrillNetwork:
    """What is behind each address. `connections` are those that were asked for, in order: address and port."""

    backend: Callable[[Region], TwinBackend]
    region: Region
    now: Callable[[], datetime]
    wait: Callable[[timedelta], None]
    connections: list[tuple[str, int]] = field(default_factory=list)
    hindrances: dict[int, Hindrance] = field(default_factory=dict)
    _began_at: datetime | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """What opens a connection in here is in the drills' network, and does so as soon as it may."""
        self._began_at = self.now()
        with patch("socket.create_connection", self._connect):
            yield

    def _connect(self, address: tuple[str, int], timeout: float | None = None, *_: Any) -> socket.socket:
        with self._turn:  # the probing function asks many at once, and the stage knows one thread
            self.connections.append(address)
            return self._connect_alone(address, timeout)

    def _connect_alone(self, address: tuple[str, int], timeout: float | None) -> socket.socket:
        def connect() -> socket.socket:
            if not self._is_listening(address[0]):
                assert self._began_at is not None
                self.wait(max(self._began_at + timedelta(seconds=timeout or 0) - self.now(), timedelta()))
                raise TimeoutError("timed out")
            own, its = socket.socketpair()
            mine = _Connection(fileno=own.detach())
            mine.settimeout(timeout)
            its.sendall(_ANSWER)
            its.shutdown(socket.SHUT_WR)
            its.detach()  # it stays open until this process ends: whoever reads is not cut off
            return mine

        hindrance = self.hindrances.pop(address[1], None)
        return hindrance(connect) if hindrance else connect()

    def _is_listening(self, address: str) -> bool:
        backend = self.backend(self.region)
        for reservation in backend.reservations.values():
            for instance in reservation.instances:
                if instance.private_ip == address and instance.state == "running":
                    running_since = backend.launch_of(instance.id).running_since
                    return running_since is not None and self.now() - running_since >= _BOOTS_FOR
        return False
