"""Many futures of one present: a fork of the process is a copy of the whole simulated cloud, clocks and ids included.

Every branch starts from exactly the state that its parent is in, so runs that differ in one fault differ in nothing
else, and what led up to it is paid for once.
"""

import gc
import os
import pickle
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import connection
from typing import Any, TypeVar, cast

T = TypeVar("T")


class BranchError(RuntimeError):
    """A branch ended without a result; the text is what it said."""


def branch(run: Callable[[], T]) -> T:
    """What `run` returns in a copy of this process; nothing that it does is seen here.

    Raises:
        BranchError: it raised, or the copy died.
    """
    [result] = branches([run], width=1)
    return result


def branches(runs: Iterable[Callable[[], T]], *, width: int | None = None) -> list[T]:
    """What each of `runs` returns in a copy of this process of its own, in their order, `width` of them at a time."""
    return list(each_branch(runs, width=width))


def each_branch(runs: Iterable[Callable[[], T]], *, width: int | None = None) -> Iterator[T]:
    """As `branches`, each result as soon as it and those before it are there."""
    width = width or os.cpu_count() or 1
    results: dict[int, T] = {}
    under_way: dict[connection.Connection, tuple[int, int]] = {}
    waiting: Iterator[tuple[int, Callable[[], T]]] = iter(enumerate(runs))
    told = 0
    try:
        while True:
            while len(under_way) < width and (started := next(waiting, None)) is not None:
                number, run = started
                reader, process = _start(run)
                under_way[reader] = (number, process)
            while told in results:
                yield results.pop(told)
                told += 1
            if not under_way:
                return
            for ready in connection.wait(list(under_way)):
                reader = cast("connection.Connection", ready)
                number, process = under_way.pop(reader)
                results[number] = _finish(reader, process)
    finally:
        for reader, (_, process) in under_way.items():
            reader.close()
            os.kill(process, 9)
            os.waitpid(process, 0)


def _start(run: Callable[[], Any]) -> tuple[connection.Connection, int]:
    reader, writer = connection.Pipe(duplex=False)
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        writer.close()
        return reader, process
    reader.close()
    gc.disable()  # it lives for a second, and what it does not touch it shares with its parent
    try:
        answer = pickle.dumps((True, run()))
    except BaseException:  # noqa: BLE001 - whatever ended it is told to the parent
        answer = pickle.dumps((False, traceback.format_exc()))
    try:
        writer.send_bytes(answer)
    finally:
        # No exit handlers, no flushing of what the parent has buffered: this process was only ever a copy.
        os._exit(0)


def _finish(reader: connection.Connection, process: int) -> Any:
    try:
        is_well, result = pickle.loads(reader.recv_bytes())  # noqa: S301 - from our own child
    except EOFError:
        is_well, result = False, "it died without a word"
    finally:
        reader.close()
        os.waitpid(process, 0)
    if not is_well:
        raise BranchError(result)
    return result
