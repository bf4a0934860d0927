"""The `hikae` command as an administrator of the local cloud's sites types it."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from local.cloud import LocalCloud, processes

_COMMAND = str(Path(sys.executable).with_name("hikae"))
_SECONDS = 60


def run_hikae(cloud: LocalCloud, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, which comes within a minute."""
    return subprocess.run(
        [_COMMAND, *arguments],
        env=_environment(cloud),
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )


def watch_hikae(cloud: LocalCloud, *arguments: str, show: Callable[[str], object], patience: float) -> int:
    """Run a command that takes its time, show each line when it prints it, and answer its exit code.

    After `patience` seconds it is killed: nobody waits for ever for a demo.
    """
    process = subprocess.Popen(
        [_COMMAND, *arguments],
        env={**_environment(cloud), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=processes.die_with_parent,  # noqa: PLW1509 - one call of libc, nothing that locks
    )
    impatience = threading.Timer(patience, process.kill)
    impatience.daemon = True
    impatience.start()
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            show(line.rstrip())
    impatience.cancel()
    return process.returncode


def _environment(cloud: LocalCloud) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HIKAE_"))}
    return {**own, **cloud.environment(), "NO_PROXY": "127.0.0.1"}
