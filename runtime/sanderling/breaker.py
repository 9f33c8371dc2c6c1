"""A breaker: what keeps failing is left alone for a while, longer each time."""

from __future__ import annotations

import time
from collections.abc import Callable

FAILURES = 50
"""Failures in a row that open it."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


class Breaker:
    """Counts failures in a row; opens, pauses, lets one try through, opens for twice as long.

    Args:
        clock: seconds, monotonic.

    Attributes:
        failures: how many there were in a row.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.failures = 0
        self._pause = FIRST_PAUSE_S
        self._until = 0.0

    def wait(self) -> float:
        """Seconds until the next try is allowed; 0 while it is closed."""
        if self.failures < FAILURES:
            return 0.0
        return max(0.0, self._until - self._clock())

    def success(self) -> None:
        """A try went well: closed again."""
        self.failures = 0
        self._pause = FIRST_PAUSE_S

    def failure(self) -> None:
        """A try failed."""
        self.failures += 1
        if self.failures >= FAILURES:
            self._until = self._clock() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE_S)
