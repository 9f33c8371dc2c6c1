"""Frames that overtake each other pass some points in the order in which they were captured. Pure.

A ticket is drawn for each frame when it goes into a lane. At a point (a guest that remembers
earlier frames; the handing out of results) a frame waits until all with lower tickets have passed
or are gone. A frame in front never waits for one behind it, so nobody waits for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Turns:
    """The order of one camera's frames.

    Args:
        points: where they take turns.
    """

    def __init__(self, points: Iterable[int]) -> None:
        self._moved = threading.Condition()
        self._drawn = 0
        self._next = dict.fromkeys(points, 0)
        self._passed: dict[int, set[int]] = {point: set() for point in self._next}

    def draw(self) -> int:
        """The ticket of the next frame."""
        with self._moved:
            self._drawn += 1
            return self._drawn - 1

    @contextmanager
    def at(self, point: int, ticket: int) -> Iterator[None]:
        """Wait for this frame's turn at a point; whoever is behind waits until it is left."""
        with self._moved:
            self._moved.wait_for(lambda: self._next[point] >= ticket)
        try:
            yield
        finally:
            with self._moved:
                self._pass(point, ticket)

    def leave(self, ticket: int) -> None:
        """The frame is done: it will not come to any point any more."""
        with self._moved:
            for point in self._next:
                self._pass(point, ticket)

    def _pass(self, point: int, ticket: int) -> None:
        if ticket < self._next[point]:
            return
        passed = self._passed[point]
        passed.add(ticket)
        while self._next[point] in passed:
            passed.remove(self._next[point])
            self._next[point] += 1
        self._moved.notify_all()

    def idle(self, timeout_s: float) -> bool:
        """Wait until every frame that drew a ticket has left; whether that came about in time."""
        with self._moved:
            return self._moved.wait_for(
                lambda: all(number == self._drawn for number in self._next.values()), timeout_s
            )
