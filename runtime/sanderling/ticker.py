"""A clock for deadlines that runs only while somebody is inside a guest.

One thread waits on a kernel timer (timerfd). The timer is armed when the first lane enters a guest
and disarmed when the last one leaves, so for guests that are done within `INTERVAL_MS` the thread
never wakes, and an idle daemon sleeps. A thread that is woken by every call would take the
interpreter's lock at the moment a short guest comes back for it, which on a busy board cost a lane
up to 5 ms a frame (docs/adr/0005-deadlines-by-a-kernel-timer.md).
"""

from __future__ import annotations

import ctypes
import math
import os
import threading
from collections.abc import Callable

from sanderling.errors import SanderlingError

INTERVAL_MS = 5
_CLOCK_MONOTONIC = 1


class _TimerSpec(ctypes.Structure):
    """`struct itimerspec` of 64-bit Linux: the interval, and the first time."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns")]


def ticks(deadline_ms: float) -> int:
    """How many ticks pass before a deadline is surely over; the running tick counts for nothing."""
    return math.ceil(deadline_ms / INTERVAL_MS) + 1


class Ticker:
    """Calls `tick` every `INTERVAL_MS` while somebody is inside.

    Args:
        tick: what to call, from a thread of the ticker's own.

    Raises:
        SanderlingError: the system gives no timer or no thread. Better no guest than one that
            nothing stops.
    """

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        # PyDLL keeps the interpreter's lock: the call takes less time than giving it away would.
        library = ctypes.PyDLL(None, use_errno=True)
        self._settime = library.timerfd_settime
        self._create = library.timerfd_create
        step = INTERVAL_MS * 1_000_000
        self._run = ctypes.byref(_TimerSpec(0, step, 0, step))
        self._stop = ctypes.byref(_TimerSpec())
        self._start()
        os.register_at_fork(after_in_child=self._start)  # a child has no threads but its own

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._timer = self._create(_CLOCK_MONOTONIC, os.O_CLOEXEC)
        if self._timer < 0:
            reason = os.strerror(ctypes.get_errno())
            raise SanderlingError(f"the system gives no timer for deadlines: {reason}")
        try:
            threading.Thread(
                target=self._loop, args=(self._timer,), name="sanderling-ticker", daemon=True
            ).start()
        except RuntimeError as exc:
            os.close(self._timer)
            raise SanderlingError(f"the system gives no thread for deadlines: {exc}") from exc

    def _loop(self, timer: int) -> None:
        while True:
            os.read(timer, 8)
            self._tick()

    @property
    def running(self) -> bool:
        """Whether the timer is armed."""
        return self._inside > 0

    def enter(self) -> None:
        """A lane goes into a guest."""
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._settime(self._timer, 0, self._run, None)

    def leave(self) -> None:
        """It came back."""
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._settime(self._timer, 0, self._stop, None)
