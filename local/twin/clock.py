"""The one clock of the twin: everything that takes time on EC2 waits for it."""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

_LOG = logging.getLogger(__name__)

Action = Callable[[], None]


@dataclass(slots=True, kw_only=True)
class Timer:
    """A transition under way. `started_at` and `due_at` are times of the clock that made it."""

    started_at: datetime
    due_at: datetime
    action: Action
    is_locked: bool = True
    is_cancelled: bool = False

    def progress(self, now: datetime) -> int:
        """How far the transition is at `now`, 0 to 99 percent: what is not over is never at 100."""
        whole = (self.due_at - self.started_at).total_seconds()
        if whole <= 0:
            return 99
        return max(0, min(99, int(100 * (now - self.started_at).total_seconds() / whole)))

    def cancel(self) -> None:
        """Never run the action."""
        self.is_cancelled = True


def read_time(given: str | datetime) -> datetime:
    """A time of a request, aware: moto gives it as text or without a zone, and EC2's are in UTC."""
    at = datetime.fromisoformat(given) if isinstance(given, str) else given
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


class Clock(Protocol):
    """Tells the time and runs actions later, each under `lock`, in the order in which they are due."""

    lock: threading.RLock

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        ...

    def call_later(self, delay: timedelta, action: Action, *, is_locked: bool = True) -> Timer:
        """Run `action` once `delay` of EC2's time has passed, never within this call.

        With `is_locked=False` the action runs outside the lock: for asking another service first.
        """
        ...

    def stop(self) -> None:
        """Forget every timer."""
        ...


@dataclass(order=True, slots=True)
class _Entry:
    due_at: datetime
    number: int
    timer: Timer = field(compare=False)


class ManualClock:
    """A clock that stands still until `advance` moves it: timestamps and durations both follow it."""

    def __init__(self, now: datetime) -> None:
        self.lock = threading.RLock()
        self._now = now.astimezone(UTC)
        self._entries: list[_Entry] = []
        self._numbers = itertools.count()

    def now(self) -> datetime:
        return self._now

    def call_later(self, delay: timedelta, action: Action, *, is_locked: bool = True) -> Timer:
        with self.lock:
            timer = Timer(started_at=self._now, due_at=self._now + delay, action=action, is_locked=is_locked)
            heapq.heappush(self._entries, _Entry(timer.due_at, next(self._numbers), timer))
            return timer

    def advance(self, duration: timedelta) -> None:
        """Move the clock on by `duration`, running what becomes due at its own time, oldest first."""
        with self.lock:
            until = self._now + duration
            while self._entries and self._entries[0].due_at <= until:
                entry = heapq.heappop(self._entries)
                self._now = max(self._now, entry.due_at)
                if not entry.timer.is_cancelled:
                    entry.timer.action()
            self._now = until

    @property
    def next_due_at(self) -> datetime | None:
        """When the next transition is due; None while nothing is under way."""
        with self.lock:
            while self._entries and self._entries[0].timer.is_cancelled:
                heapq.heappop(self._entries)
            return self._entries[0].due_at if self._entries else None

    def stop(self) -> None:
        with self.lock:
            self._entries.clear()


class ScaledClock:
    """The wall clock, with durations divided by `scale`: one minute of EC2's work takes a second at 60.

    Only durations shrink. Timestamps stay wall-clock time, or snapshots would be newer than their readers' `now`.
    """

    def __init__(self, *, scale: float = 1) -> None:
        self.lock = threading.RLock()
        self._scale = scale
        self._entries: list[_Entry] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="twin-clock", daemon=True)
        self._thread.start()

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time(), tz=UTC)

    def call_later(self, delay: timedelta, action: Action, *, is_locked: bool = True) -> Timer:
        now = self.now()
        timer = Timer(started_at=now, due_at=now + delay / self._scale, action=action, is_locked=is_locked)
        with self._changed:
            heapq.heappush(self._entries, _Entry(timer.due_at, next(self._numbers), timer))
            self._changed.notify()
        return timer

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._entries.clear()
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._is_stopped and not self._is_due():
                    wait = (self._entries[0].due_at - self.now()).total_seconds() if self._entries else None
                    self._changed.wait(wait)
                if self._is_stopped:
                    return
                timer = heapq.heappop(self._entries).timer
            if not timer.is_cancelled:
                self._act(timer)

    def _act(self, timer: Timer) -> None:
        try:
            if timer.is_locked:
                with self.lock:
                    timer.action()
            else:
                timer.action()
        except Exception:  # noqa: BLE001 (one broken transition must not stop the clock)
            _LOG.exception("A transition of the EC2 twin broke; time goes on for the others.")

    def _is_due(self) -> bool:
        return bool(self._entries) and self._entries[0].due_at <= self.now()
