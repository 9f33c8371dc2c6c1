"""How many threads the models of one process use at a time, whatever their number. Pure.

Each run of a model takes as many cores as it has threads, and gives them back. Whoever came first
goes first: a model with many threads is not overtaken for ever by those with few.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import AbstractContextManager
from types import TracebackType


class Cores:
    """The cores that all models together may use.

    Args:
        count: how many, at least 1.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = count
        self._changed = threading.Condition()
        self._line: deque[object] = deque()

    def share(self, threads: int) -> AbstractContextManager[object]:
        """What is held while a model with so many threads runs; by many threads at a time.

        Args:
            threads: of one run; 0 or more than there are cores: all of them.
        """
        return _Share(self, min(threads or self.count, self.count))

    def take(self, cores: int) -> None:
        """Wait for so many cores."""
        place = object()
        with self._changed:
            self._line.append(place)
            self._changed.wait_for(lambda: self._line[0] is place and self._free >= cores)
            self._line.popleft()
            self._free -= cores
            self._changed.notify_all()

    def give_back(self, cores: int) -> None:
        """They are not used any more."""
        with self._changed:
            self._free += cores
            self._changed.notify_all()


class _Share(AbstractContextManager[object]):
    """Holds cores for one run; it has no state, so that several runs may hold it."""

    def __init__(self, cores: Cores, count: int) -> None:
        self._cores = cores
        self._count = count

    def __enter__(self) -> object:
        self._cores.take(self._count)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._cores.give_back(self._count)
