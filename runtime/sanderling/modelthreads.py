"""Threads that do nothing but run models, for lanes that have frames of several cameras in flight.

A lane's own thread could run its model. But then the next run begins on another thread, often on
another core, whose caches hold none of the model's weights, and only after that thread was woken. A
thread that takes one run after the other begins the next at once, where the last one was.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

Work = Callable[[], None]
RunModel = Callable[[Work], None]
"""Runs a model, and comes back when that is done; raises what it raises."""


class ModelThreads:
    """As many runs of models at a time as there are threads.

    Args:
        count: how many.
        name: of the threads.
        share: held while a model runs, where others use the same cores.
    """

    def __init__(
        self, count: int, name: str, share: AbstractContextManager[object] | None = None
    ) -> None:
        self._share = share
        self._line: queue.SimpleQueue[tuple[Work, queue.SimpleQueue[BaseException | None]] | None]
        self._line = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._loop, name=f"{name}-model-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _loop(self) -> None:
        while (item := self._line.get()) is not None:
            work, done = item
            error: BaseException | None = None
            try:
                if self._share is None:
                    work()
                else:
                    with self._share:
                        work()
            except BaseException as exc:  # noqa: BLE001 - it is raised where it is waited for
                error = exc
            done.put(error)
            del item, work, done, error  # nothing of a frame is kept until the next one comes

    def entrance(self) -> RunModel:
        """The way in for one lane, which waits for one model at a time."""
        done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

        def run(work: Work) -> None:
            self._line.put((work, done))
            error = done.get()
            if error is not None:
                raise error

        return run

    def close(self) -> None:
        """End the threads; no lane uses them any more."""
        for _ in self._threads:
            self._line.put(None)
        for thread in self._threads:
            thread.join()


def holding(share: AbstractContextManager[object]) -> RunModel:
    """Runs a model on the lane's own thread, while something is held."""

    def run(work: Work) -> None:
        with share:
            work()

    return run
