"""Which frames of a camera are due. Pure: times come in, decisions go out."""

from __future__ import annotations

_SLACK = 0.1
"""Share of a period by which a frame may come early: cameras are not on the microsecond."""
_SMOOTH = 0.1
"""Weight of the newest interval in a rate that is measured."""
_OUTLIER = 4.0
"""An interval counts as at most so many usual ones."""


class Pace:
    """Lets through as many frames a second as a camera may have.

    Args:
        rate: frames a second; 0 for all.

    Attributes:
        factor: the share of the work that is wanted, more than 0, at most 1. It is a share of the
            frames that were run before: of those that come, most may never have found a lane, and
            to leave out those would cool nothing.
    """

    def __init__(self, rate: float = 0.0) -> None:
        self.rate = rate
        self.factor = 1.0
        self._due_ns: float | None = None
        self._came = _Interval()
        self._ran = _Interval()

    @property
    def period_ns(self) -> float:
        """Nanoseconds from one frame to the next, 0 when all are let through.

        Where only a share is wanted of a camera without a rate, it is a share of its own.
        """
        if self.factor >= 1:
            return self._wanted_ns
        return max(self._wanted_ns, self._came.ns, self._ran.ns) / self.factor

    @property
    def _wanted_ns(self) -> float:
        return 1e9 / self.rate if self.rate else 0.0

    @property
    def rest_ns(self) -> float:
        """Nanoseconds to rest after each frame where none may be left out, as those of a file."""
        return self._ran.ns * (1 / self.factor - 1)

    def ran(self, now_ns: int) -> None:
        """A frame is run; told while all of the work is wanted, it says what all of it is."""
        if self.factor >= 1:
            self._ran.see(now_ns)
        else:
            self._ran.pause()

    def due(self, captured_ns: int, *, eased: bool = True) -> bool:
        """Whether a frame of this time is let through; each is asked about once, in order.

        Args:
            captured_ns: when it was captured, monotonic clock, in ns.
            eased: whether frames may be left out for the sake of `factor`.
        """
        self._came.see(captured_ns)
        period = self.period_ns if eased else self._wanted_ns
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


class _Interval:
    """The usual time between two events.

    Attributes:
        ns: in ns; 0 before the second one.
    """

    def __init__(self) -> None:
        self.ns = 0.0
        self._last_ns = 0

    def see(self, now_ns: int) -> None:
        """One happens."""
        interval: float = now_ns - self._last_ns
        if self._last_ns and interval > 0:
            # A camera that was gone for an hour has not become slower.
            interval = min(interval, _OUTLIER * self.ns) if self.ns else interval
            weight = _SMOOTH if self.ns else 1.0
            self.ns += weight * (interval - self.ns)
        self._last_ns = now_ns

    def pause(self) -> None:
        """What comes next does not tell how long it usually is."""
        self._last_ns = 0
