"""Processes that never outlive their cloud.

Every process of a cloud carries the cloud's folder in its environment (`MARK`), and so do the processes that it starts
itself (Lambda workers, for one). That finds them again wherever they were reparented to, without trusting a process id
that may have been used twice.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

MARK = "HIKAE_CLOUD_FOLDER"

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def start(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
    cwd: Path,
    dies_with_parent: bool = True,
    stdin: int = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, marked as belonging to the cloud in `folder`, writing to `log`.

    With `dies_with_parent` the kernel kills it when the starting thread ends (Linux; elsewhere the supervisor does).
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            env={**environment, MARK: str(folder)},
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            start_new_session=True,
            pass_fds=pass_fds,
            preexec_fn=die_with_parent if dies_with_parent else None,  # noqa: PLW1509 - one call of libc, nothing that locks
        )


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that started it ends (Linux; elsewhere nothing)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago; whoever binds it must cope with having lost the race."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def belonging_to(folder: Path) -> list[int]:
    """Every living process marked as belonging to the cloud in `folder`, except the caller (Linux; else empty)."""
    wanted = f"{MARK}={folder}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0") and _is_running(entry):
                found.append(int(entry.name))
    return sorted(set(found) - {os.getpid()})


def _is_running(entry: Path) -> bool:
    return (entry / "stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}


def end(children: Iterable[subprocess.Popen[bytes]], *, folder: Path, patience: float = 3) -> list[int]:
    """End `children` with their process groups and everything else of the cloud in `folder`; answer what survived.

    SIGTERM first, SIGKILL after `patience` seconds: ministack outlives SIGTERM while Lambda workers run.
    """
    children = list(children)

    def still_there() -> list[int]:
        groups = [child.pid for child in children if _group_lives(child)]
        return sorted({*groups, *belonging_to(folder)})

    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        for child in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, number)
        for pid in belonging_to(folder):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        if wait_until(lambda: not still_there(), seconds=seconds):
            return []
    return still_there()


def _group_lives(child: subprocess.Popen[bytes]) -> bool:
    child.poll()
    try:
        os.killpg(child.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return child.returncode is None
    return True


def wait_until(condition: Callable[[], bool], *, seconds: float, pause: float = 0.05) -> bool:
    """Whether `condition` came true within `seconds`."""
    give_up_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(pause)
    return True


def remove(folder: Path) -> bool:
    """Remove `folder` whatever is still being written into it; answer whether it is gone."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return True
        time.sleep(0.1)
    return False


def tail(log: Path, *, lines: int = 25) -> str:
    """The end of a log file, indented for an error message."""
    try:
        text = log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        text = []
    return "\n".join(f"    {line}" for line in text) or "    (nothing was logged)"
