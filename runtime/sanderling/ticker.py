"""A clock for deadlines that runs only while somebody is inside a guest, and needs no Python.

The kernel's timer (POSIX `timer_create` with SIGEV_THREAD) calls a native function every 5 ms while
at least one lane is inside; otherwise it is disarmed and nothing wakes. A ticker thread in Python
would take the interpreter's lock at the moment a short guest comes back for it: on a busy board
that cost a lane up to 5 ms a frame (docs/adr/0005-deadlines-by-a-kernel-timer.md).
"""

from __future__ import annotations

import atexit
import ctypes
import math
import os
import threading

from sanderling.errors import SanderlingError

INTERVAL_MS = 5
_CLOCK_MONOTONIC = 1
_SIGEV_THREAD = 2


class _SigEvent(ctypes.Structure):
    """`struct sigevent` of 64-bit Linux."""

    _fields_ = [
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("function", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p),
        ("reserved", ctypes.c_byte * 32),
    ]


class _TimerSpec(ctypes.Structure):
    """`struct itimerspec` of 64-bit Linux: the interval, and the first time."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns")]


def ticks(deadline_ms: float) -> int:
    """How many ticks pass before a deadline is surely over; the running tick counts for nothing."""
    return math.ceil(deadline_ms / INTERVAL_MS) + 1


class Ticker:
    """Calls `function(argument)` every `INTERVAL_MS` while somebody is inside.

    Args:
        function: the address of a native `void (*)(void *)` that is safe from any thread.
        argument: what it is given.

    Raises:
        SanderlingError: the system gives no timer.
    """

    def __init__(self, function: int, argument: int) -> None:
        # PyDLL keeps the interpreter's lock: the calls take less time than giving it away would.
        library = ctypes.PyDLL(None, use_errno=True)
        self._settime = library.timer_settime
        self._create = library.timer_create
        self._event = _SigEvent(argument, 0, _SIGEV_THREAD, function, None)
        step = INTERVAL_MS * 1_000_000
        self._run = ctypes.byref(_TimerSpec(0, step, 0, step))
        self._stop = ctypes.byref(_TimerSpec())
        self._lock = threading.Lock()
        self._inside = 0
        self._timer = ctypes.c_void_p()
        self._make()
        os.register_at_fork(after_in_child=self._after_fork)  # a child has no timers
        # The engine that is ticked may go before a thread that still runs at exit.
        atexit.register(self._settime, self._timer, 0, self._stop, None)

    def _make(self) -> None:
        if self._create(_CLOCK_MONOTONIC, ctypes.byref(self._event), ctypes.byref(self._timer)):
            reason = os.strerror(ctypes.get_errno())
            raise SanderlingError(f"the system gives no timer for deadlines: {reason}")

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._make()

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
