"""What became of each frame: every captured one ends in exactly one count. Pure."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

STALE = "stale"
"""A newer frame came before a lane was free (policy `latest`)."""
BUSY = "busy"
"""The frame before was still waiting for a lane (policy `sample`)."""
RATE = "rate"
"""It came before the camera's rate allows the next one."""
STILL = "still"
"""A guest, such as a motion gate, said that it needs nothing more."""
SHUTDOWN = "shutdown"
"""It was waiting when its camera was stopped."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The frames of one camera at one moment.

    Attributes:
        captured: frames that the source gave, and those that it lost on the way.
        waiting: of these, frames that wait for a lane or are in one.
        processed: frames whose result was handed out.
        dropped: frames that were left out on purpose, by reason.
        failed: frames that were lost, by stage and reason.
    """

    captured: int = 0
    waiting: int = 0
    processed: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    failed: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def agree(self) -> bool:
        """Whether every captured frame is in exactly one place."""
        ended = self.processed + sum(self.dropped.values()) + sum(self.failed.values())
        return self.captured == self.waiting + ended

    def as_dict(self) -> dict[str, object]:
        """For JSON: failures as `stage: {reason: frames}`."""
        failed: dict[str, dict[str, int]] = {}
        for (stage, reason), frames in sorted(self.failed.items()):
            failed.setdefault(stage, {})[reason] = frames
        return {
            "captured": self.captured,
            "waiting": self.waiting,
            "processed": self.processed,
            "dropped": dict(sorted(self.dropped.items())),
            "failed": failed,
        }


class Account:
    """Counts the frames of one camera. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._captured = self._waiting = self._processed = 0
        self._dropped: Counter[str] = Counter()
        self._failed: Counter[tuple[str, str]] = Counter()

    def capture(self) -> None:
        """A frame came; it waits until it is said what became of it."""
        with self._lock:
            self._captured += 1
            self._waiting += 1

    def process(self) -> None:
        """A waiting frame's result was handed out."""
        with self._lock:
            self._waiting -= 1
            self._processed += 1

    def drop(self, reason: str) -> None:
        """A waiting frame was left out."""
        with self._lock:
            self._waiting -= 1
            self._dropped[reason] += 1

    def fail(self, stage: str, reason: str) -> None:
        """A waiting frame was lost."""
        with self._lock:
            self._waiting -= 1
            self._failed[stage, reason] += 1

    def counts(self) -> Counts:
        """All of them at this moment."""
        with self._lock:
            return Counts(
                self._captured,
                self._waiting,
                self._processed,
                dict(self._dropped),
                dict(self._failed),
            )
