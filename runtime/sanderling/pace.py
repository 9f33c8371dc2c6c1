"""Which frames of a camera are due. Pure: times come in, decisions go out."""

from __future__ import annotations

_SLACK = 0.1
"""Share of a period by which a frame may come early: cameras are not on the microsecond."""
_SMOOTH = 0.1
"""Weight of the newest interval in the camera's own rate."""


class Pace:
    """Lets through as many frames a second as a camera may have.

    Args:
        rate: frames a second; 0 for all.
    """

    def __init__(self, rate: float = 0.0) -> None:
        self.rate = rate
        self.factor = 1.0
        self._due_ns: float | None = None
        self._last_ns = 0
        self._interval_ns = 0.0

    @property
    def period_ns(self) -> float:
        """Nanoseconds from one frame to the next, 0 when all are let through.

        Where only a share is wanted of a camera without a rate, it is a share of its own.
        """
        if self.rate:
            return 1e9 / (self.rate * self.factor)
        return self._interval_ns / self.factor if self.factor < 1 else 0.0

    def due(self, captured_ns: int) -> bool:
        """Whether a frame of this time is let through; each is asked about once, in order."""
        self._measure(captured_ns)
        period = self.period_ns
        if not period:
            self._due_ns = None
            return True
        due = self._due_ns if self._due_ns is not None else captured_ns
        early = due - captured_ns
        # A clock that went back must not hold frames up for ever.
        if _SLACK * period < early <= 2 * period:
            return False
        on_time = -period < early <= _SLACK * period
        self._due_ns = (due if on_time else captured_ns) + period
        return True

    def _measure(self, captured_ns: int) -> None:
        interval = captured_ns - self._last_ns
        if self._last_ns and interval > 0:
            weight = _SMOOTH if self._interval_ns else 1.0
            self._interval_ns += weight * (interval - self._interval_ns)
        self._last_ns = captured_ns
