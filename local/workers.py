"""Several workers of one queue at once, in one process and on the twin's clock, which nobody waits for.

Each worker is a thread, and only one of them runs at a time: the others are asleep, until a moment of the twin's clock.
The one that has to wake first gets its turn, and the clock is moved to that moment. So workers sleep beside each other
as they do when Lambda runs them, the run takes no time, and it is the same each time.
"""

import heapq
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from local.twin.clock import ManualClock


@dataclass(order=True, slots=True)
class _Sleeper:
    until: datetime
    number: int
    woken: threading.Event = field(compare=False, default_factory=threading.Event)


class Turns:
    """Whose turn it is, by the twin's clock."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._sleepers: list[_Sleeper] = []
        self._number = 0
        self._over = threading.Event()
        self._errors: list[BaseException] = []

    def run(self, workers: Sequence[Callable[[], None]]) -> None:
        """Let the workers run beside each other until all of them have ended; raises what one of them raised."""
        threads = [threading.Thread(target=self._work, args=(worker, self._join())) for worker in workers]
        for thread in threads:
            thread.start()
        self._next()
        self._over.wait()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def sleep(self, seconds: float) -> None:
        """Let others have their turn until `seconds` have passed."""
        sleeper = self._join(seconds)
        self._next()
        sleeper.woken.wait()

    def _join(self, seconds: float = 0.0) -> _Sleeper:
        self._number += 1
        sleeper = _Sleeper(self._clock.now() + timedelta(seconds=seconds), self._number)
        heapq.heappush(self._sleepers, sleeper)
        return sleeper

    def _work(self, worker: Callable[[], None], sleeper: _Sleeper) -> None:
        sleeper.woken.wait()
        try:
            worker()
        except BaseException as error:  # noqa: BLE001 - it is raised where the workers were started
            self._errors.append(error)
        finally:
            self._next()

    def _next(self) -> None:
        if not self._sleepers:
            self._over.set()
            return
        sleeper = heapq.heappop(self._sleepers)
        self._clock.advance(max(timedelta(), sleeper.until - self._clock.now()))
        sleeper.woken.set()
