"""A clock for deadlines that runs only while somebody is inside a guest.

The ticker calls `tick` every 5 ms while at least one slot is busy, and sleeps without waking
otherwise: an idle daemon must not keep a small board's core from its deep sleep.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

INTERVAL_MS = 5


def ticks(deadline_ms: float) -> int:
    """How many ticks pass before a deadline is surely over; the running tick counts for nothing."""
    return math.ceil(deadline_ms / INTERVAL_MS) + 1


class Slot:
    """One who may be inside a guest; `busy` is set and cleared around each call."""

    __slots__ = ("busy",)

    def __init__(self) -> None:
        self.busy = False


class Ticker:
    """Calls `tick` every `INTERVAL_MS` while a slot is busy.

    Args:
        tick: what to call; must be safe from another thread.
    """

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._slots: tuple[Slot, ...] = ()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._asleep = True
        self._started = False
        self.wakes = 0

    def slot(self) -> Slot:
        """A new slot; give it back with `release`."""
        made = Slot()
        with self._lock:
            self._slots = (*self._slots, made)
            if not self._started:
                self._started = True
                threading.Thread(target=self._loop, name="sanderling-ticker", daemon=True).start()
        return made

    def release(self, slot: Slot) -> None:
        """Take a slot out."""
        with self._lock:
            self._slots = tuple(other for other in self._slots if other is not slot)

    def enter(self, slot: Slot) -> None:
        """The slot's owner goes into a guest; costs a lock only when the ticker slept."""
        # The order matters: the ticker sets _asleep and then looks at busy, we the other way
        # round, so that one of the two always sees the other.
        slot.busy = True
        if self._asleep:
            self._asleep = False
            self._wake.set()

    def _loop(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            self.wakes += 1
            while True:
                time.sleep(INTERVAL_MS / 1000)
                self._tick()
                if any(slot.busy for slot in self._slots):
                    continue
                self._asleep = True
                if not any(slot.busy for slot in self._slots):
                    break
                self._asleep = False
