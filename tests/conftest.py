"""What holds for every test: it never leaves loopback, it never meets real credentials, it runs the same in CI."""

import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

_refused: list[str] = []
_GUARDED = frozenset(
    {"socket.bind", "socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"}
)


class LeftLoopbackError(RuntimeError):
    """A test tried to reach, or to be reached from, something other than this machine."""


def pytest_configure(config: pytest.Config) -> None:
    sys.addaudithook(_guard)
    for name in list(os.environ):
        if name.startswith(("AWS_", "HIKAE_")):
            del os.environ[name]
    os.environ.update(
        AWS_ACCESS_KEY_ID="testing",
        AWS_SECRET_ACCESS_KEY="testing",
        AWS_SESSION_TOKEN="testing",
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
    )
    in_ci = bool(os.environ.get("CI"))
    hypothesis.settings.register_profile("hikae", deadline=None, derandomize=in_ci, print_blob=True, database=None)
    hypothesis.settings.load_profile("hikae")


@pytest.fixture(autouse=True)
def left_loopback() -> Iterator[list[str]]:
    """What was refused in this test: a library that swallows the refusal does not hide it."""
    _refused.clear()
    yield _refused
    assert not _refused, f"the test tried to leave loopback: {'; '.join(_refused)}"


def _guard(event: str, args: tuple[Any, ...]) -> None:
    """See every use of a socket in this process, whichever library makes it and in whichever thread.

    https://docs.python.org/3/library/audit_events.html
    """
    if event not in _GUARDED:
        return
    if isinstance(args[0], socket.socket):
        if args[0].family == getattr(socket, "AF_UNIX", None):
            return
        host = args[1][0] if isinstance(args[1], tuple) and args[1] else None
        if event in {"socket.sendto", "socket.sendmsg"} and args[1] is None:
            return  # on a socket that is connected already
    else:
        host = args[0]
        if host is None:
            return  # any address of this machine; bind decides about it
    if not _is_loopback(host):
        _refused.append(f"{event} {host!r}")
        raise LeftLoopbackError(f"tests stay on loopback, and this is {event} with {host!r}")


def _is_loopback(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if not isinstance(host, str):
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
