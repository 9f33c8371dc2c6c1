"""What is done about heat: frames come slower, then the smaller model runs; then all comes back.

Readings and the time go in, decisions come out. Nothing here reads a sensor or a clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

COLDEST_C = -40.0
HOTTEST_C = 150.0
"""What a chip that still computes can have; a reading beyond is a broken sensor."""
DWELL_S = 30.0
"""How long a decision stands at least: a heat sink answers in tens of seconds."""


@dataclass(frozen=True, slots=True)
class Ease:
    """How much is asked of the board.

    Attributes:
        rate: share of the full frame rate, 0 to 1.
        smaller: whether the smaller variant of the model runs.
    """

    rate: float
    smaller: bool = False


STEPS = (Ease(1.0), Ease(0.75), Ease(0.5), Ease(0.25), Ease(0.25, smaller=True))
"""From normal to the least, one step at a time."""


@dataclass(frozen=True, slots=True)
class Change:
    """A decision that differs from the one before.

    Attributes:
        ease: what holds from now on.
        words: why, on one line, for a log.
        hotter: whether less is asked of the board than before.
    """

    ease: Ease
    words: str
    hotter: bool


def plausible(celsius: float | None) -> bool:
    """Whether a reading can be the temperature of a running chip."""
    return celsius is not None and math.isfinite(celsius) and COLDEST_C <= celsius <= HOTTEST_C


class Governor:
    """Takes temperatures, and says when the pace changes.

    At or above `limit_c` it goes one step down, at or below `resume_c` one step back; between the
    two nothing changes. Each step stands for the dwell time, and to come back it must have been
    cool throughout that time. A reading that cannot be is no reading: it changes nothing.

    Args:
        limit_c: degrees Celsius from which on less is done.
        resume_c: degrees Celsius at which more is done again; less than `limit_c`.
        dwell_s: seconds that a step stands at least.
        has_smaller: whether there is a smaller variant of the model to run.

    Raises:
        ValueError: `resume_c` is not below `limit_c`, or the dwell time is not positive.
    """

    def __init__(
        self,
        limit_c: float,
        resume_c: float,
        *,
        dwell_s: float = DWELL_S,
        has_smaller: bool = True,
    ) -> None:
        if not resume_c < limit_c:
            raise ValueError(f"resume_c {resume_c} is not below limit_c {limit_c}")
        if not dwell_s > 0:
            raise ValueError(f"dwell_s {dwell_s} is not positive")
        self._limit_c = limit_c
        self._resume_c = resume_c
        self._dwell_ns = int(dwell_s * 1e9)
        self._step = 0
        self.has_smaller = has_smaller
        self._now_ns: int | None = None
        self._changed_ns: int | None = None
        self._cool_ns: int | None = None

    @property
    def has_smaller(self) -> bool:
        """Whether there is a smaller variant of the model to run; may change at any time."""
        return self._steps[-1].smaller

    @has_smaller.setter
    def has_smaller(self, there: bool) -> None:
        self._steps = STEPS if there else tuple(step for step in STEPS if not step.smaller)
        self._step = min(self._step, len(self._steps) - 1)

    @property
    def ease(self) -> Ease:
        """What holds now."""
        return self._steps[self._step]

    def update(self, celsius: float | None, now_ns: int) -> Change | None:
        """Take a reading.

        Args:
            celsius: the hottest sensor that counts, in degrees Celsius; None when there is none.
            now_ns: monotonic clock, in ns.

        Returns:
            The new decision, once; None while the old one stands.
        """
        # A clock that steps back must not shorten a dwell time.
        now_ns = self._now_ns = now_ns if self._now_ns is None else max(now_ns, self._now_ns)
        if celsius is None or not plausible(celsius):
            return None
        if celsius > self._resume_c:
            self._cool_ns = None
        elif self._cool_ns is None:
            self._cool_ns = now_ns
        if celsius >= self._limit_c:
            return self._hotter(celsius, now_ns)
        return self._cooler(celsius, now_ns)

    def _hotter(self, celsius: float, now_ns: int) -> Change | None:
        if self._step + 1 == len(self._steps) or not self._stood(self._changed_ns, now_ns):
            return None
        before = self.ease
        self._step += 1
        self._changed_ns = now_ns
        why = f"{celsius:.1f} °C, limit {self._limit_c:g} °C"
        return Change(self.ease, f"too hot: {why}: {_told(before, self.ease)}", hotter=True)

    def _cooler(self, celsius: float, now_ns: int) -> Change | None:
        if (
            self._step == 0
            or self._cool_ns is None
            or not self._stood(self._cool_ns, now_ns)
            or not self._stood(self._changed_ns, now_ns)
        ):
            return None
        before = self.ease
        self._step -= 1
        self._changed_ns = now_ns
        why = f"{celsius:.1f} °C, at most {self._resume_c:g} °C for {self._dwell_ns / 1e9:g} s"
        return Change(self.ease, f"cooled down: {why}: {_told(before, self.ease)}", hotter=False)

    def _stood(self, since_ns: int | None, now_ns: int) -> bool:
        return since_ns is None or now_ns - since_ns >= self._dwell_ns


def _told(before: Ease, after: Ease) -> str:
    if before.smaller != after.smaller:
        return "the smaller model runs" if after.smaller else "the full model runs again"
    if after.rate == 1.0:
        return "the full frame rate again"
    return f"frame rate {'down' if after.rate < before.rate else 'up'} to {after.rate:.0%}"
