"""Frames that overtake each other pass some points in the order in which they were captured. Pure.

A ticket is drawn for each frame that is captured. At a point (a guest that remembers earlier
frames; the handing out of results) a frame waits until all with lower tickets have passed it or
have left. A frame in front never waits for one behind it, so nobody waits for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class Turns:
    """The order of one camera's frames."""

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._drawn = 0
        self._passed: dict[int, set[Hashable]] = {}

    def draw(self) -> int:
        """The ticket of the next frame; it has to `leave` in the end."""
        with self._moved:
            ticket = self._drawn
            self._drawn += 1
            self._passed[ticket] = set()
            return ticket

    @contextmanager
    def at(self, point: Hashable, ticket: int) -> Iterator[None]:
        """Wait for this frame's turn at a point; whoever is behind waits until it is left."""
        with self._moved:
            self._moved.wait_for(lambda: self._first(point, ticket))
        try:
            yield
        finally:
            with self._moved:
                self._passed[ticket].add(point)
                self._moved.notify_all()

    def _first(self, point: Hashable, ticket: int) -> bool:
        return all(point in seen for other, seen in self._passed.items() if other < ticket)

    def leave(self, ticket: int) -> None:
        """The frame is done: it will not come to any point any more."""
        with self._moved:
            del self._passed[ticket]
            self._moved.notify_all()

    def wait_idle(self, timeout_s: float | None = None) -> bool:
        """Wait until every frame has left; whether that came about in time."""
        with self._moved:
            return self._moved.wait_for(lambda: not self._passed, timeout_s)
