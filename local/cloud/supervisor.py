"""Keep one cloud's processes running, and make sure of their end.

The supervisor is the only parent of ministack, the twin and the relay. It ends them, and removes the cloud's folder,
when it gets SIGTERM, and in the foreground also when the program that started it is gone: that one holds the other end
of the supervisor's standard input, which reaches its end however that program dies.

It holds a lock on the folder's `lock` file, inherited from the launcher: a folder whose lock is free is a leftover.
"""

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from local.cloud import processes

READY = "ready.json"
FAILED = "failed.txt"
DIED = "died.txt"
LOCK = "lock"

_START_SECONDS = 60


class StartError(Exception):
    """A program did not come up; the message says which, why, and shows the end of its log."""


class PortTakenError(StartError):
    """Somebody else took the chosen port in between."""


def main() -> int:
    arguments = _arguments()
    folder: Path = arguments.folder
    settings: dict[str, Any] = json.loads((folder / "settings.json").read_text())
    stop_reader, stop_writer = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os.write(stop_writer, b"."))

    watched = [stop_reader] if arguments.detached else [stop_reader, sys.stdin.fileno()]
    programs = _Programs(folder=folder, settings=settings, stop=watched)
    try:
        _run(programs, folder=folder, watched=watched)
    except StartError as failure:
        _write(folder / FAILED, str(failure))
        # The launcher reads the reason and closes our standard input; only then does the folder go.
        select.select(watched, [], [], 30)
    finally:
        survivors = processes.end(programs.running.values(), folder=folder)
        is_gone = processes.remove(folder)
    if survivors or not is_gone:
        print(f"left behind: processes {survivors}, folder {folder if folder.exists() else 'none'}", file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.cloud.supervisor")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--detached", action="store_true")
    return parser.parse_args()


def _run(programs: "_Programs", *, folder: Path, watched: list[int]) -> None:
    for attempt in range(3):
        try:
            endpoints = programs.start_all()
            break
        except PortTakenError:
            processes.end(programs.running.values(), folder=folder)
            programs.running.clear()
            if attempt == 2:
                raise
    if endpoints is None:
        return
    pids = {name: child.pid for name, child in programs.running.items()}
    _write(folder / READY, json.dumps({**endpoints, "pids": pids}))
    while not select.select(watched, [], [], 0.5)[0]:
        for name, child in list(programs.running.items()):
            if child.poll() is None:
                continue
            if name == "relay":
                time.sleep(0.5)
                programs.start_relay(endpoints)
            else:
                log = processes.tail(folder / "logs" / f"{name}.log")
                _write(folder / DIED, f"{name} ended with status {child.returncode}; the end of its log:\n{log}")
                del programs.running[name]


class _Programs:
    """The three programs of a cloud, in the order in which they need each other."""

    def __init__(self, *, folder: Path, settings: dict[str, Any], stop: list[int]) -> None:
        self.folder = folder
        self.settings = settings
        self.stop = stop
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start_all(self) -> dict[str, Any] | None:
        """Start all three and answer their endpoints, or None when told to stop meanwhile."""
        port = processes.free_port()
        endpoint = f"http://127.0.0.1:{port}"
        port_file = self.folder / "twin.port"
        port_file.unlink(missing_ok=True)
        # The twin asks ministack about keys only when a request needs one, so it can be told the address in advance.
        twin = [part.format(port_file=port_file, endpoint=endpoint) for part in self.settings["twin"]]
        self._start("twin", twin, MOTO_EC2_LOAD_DEFAULT_AMIS="false")
        if not self._wait("twin", lambda: _read_port(port_file) is not None):
            return None
        twin_endpoint = f"http://127.0.0.1:{_read_port(port_file)}"
        if not self._wait("twin", lambda: _answers(twin_endpoint + self.settings["twin_health"])):
            return None
        token = self.folder.name
        self._start(
            "ministack",
            self.settings["ministack"],
            GATEWAY_PORT=str(port),
            AWS_ENDPOINT_URL=endpoint,
            # Auto Scaling refers to the twin's images, the Recycle Bin retains what the twin deletes, SSM runs its
            # commands on the twin's instances, and Service Quotas tells what the twin keeps to.
            AWS_ENDPOINT_URL_EC2=twin_endpoint,
            AWS_ENDPOINT_URL_AUTO_SCALING=twin_endpoint,
            AWS_ENDPOINT_URL_RBIN=twin_endpoint,
            AWS_ENDPOINT_URL_SSM=twin_endpoint,
            AWS_ENDPOINT_URL_SERVICE_QUOTAS=twin_endpoint,
            MINISTACK_EDITION=token,
        )
        if not self._wait("ministack", lambda: _answers(f"{endpoint}/_ministack/health", containing=token)):
            return None
        if not self._wait("ministack", lambda: _answers(f"{endpoint}/_ministack/ready")):
            return None
        endpoints = {"endpoint": endpoint, "ec2_endpoint": twin_endpoint}
        self.start_relay(endpoints)
        return endpoints

    def start_relay(self, endpoints: dict[str, Any]) -> None:
        relay = [part.format(**endpoints) for part in self.settings["relay"]]
        self._start("relay", relay)

    def _start(self, name: str, command: list[str], **environment: str) -> None:
        self.running[name] = processes.start(
            command,
            environment={**self.settings["environment"], **environment},
            folder=self.folder,
            log=self.folder / "logs" / f"{name}.log",
            # What is imported from the checkout must not be importable in the functions that ministack runs.
            cwd=self.folder if name == "ministack" else Path(self.settings["root"]),
        )

    def _wait(self, name: str, condition: Any) -> bool:
        """Wait until `condition` holds; False when told to stop; StartError when the program died or took too long."""
        child = self.running[name]
        log = self.folder / "logs" / f"{name}.log"
        give_up_at = time.monotonic() + _START_SECONDS
        while not condition():
            if select.select(self.stop, [], [], 0.05)[0]:
                return False
            if child.poll() is not None:
                message = f"{name} ended with status {child.returncode} while starting; the end of its log:"
                text = processes.tail(log)
                kind = PortTakenError if "already in use" in text else StartError
                raise kind(f"{message}\n{text}")
            if time.monotonic() > give_up_at:
                message = f"{name} did not answer within {_START_SECONDS} s; the end of its log:"
                raise StartError(f"{message}\n{processes.tail(log)}")
        return True


def _read_port(port_file: Path) -> int | None:
    try:
        return int(port_file.read_text().strip())
    except (OSError, ValueError):
        return None


def _answers(url: str, *, containing: str = "") -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - always http on loopback
            return containing in response.read().decode()
    except (OSError, urllib.error.URLError, ValueError):
        return False


def _write(path: Path, text: str) -> None:
    """Write `text` so that a reader sees all of it or nothing."""
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(path)


if __name__ == "__main__":
    sys.exit(main())
