"""Results on their way to a sink, in a thread of its own: a sink that is slow delays no frame."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from sanderling.errors import OutputError
from sanderling.lines import Line, LineSink

_LONGEST_S = 1.0


class Outlet:
    """A sink with a bounded queue before it.

    Args:
        name: what events call it.
        sink: what takes the results; the outlet closes it.
        size: results that may wait.
        on_event: told when it goes down, and when it is there again: which, its name, in words.

    Attributes:
        written: results that the sink took.
        lost: results that it did not, for want of room or because it was down.
    """

    def __init__(
        self, name: str, sink: LineSink, size: int, on_event: Callable[[str, str, str], None]
    ) -> None:
        self.name = name
        self.written = 0
        self.lost = 0
        self._sink = sink
        self._on_event = on_event
        self._queue: queue.Queue[Line | None] = queue.Queue(size)
        self._lock = threading.Lock()
        self._down = self._full = self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"{name}-sink", daemon=True)
        self._thread.start()

    def offer(self, line: Line) -> None:
        """Let a result go to the sink, if there is room; never waits."""
        with self._lock:  # comes from many lanes, and while it is closed
            try:
                if self._closed:
                    raise queue.Full
                self._queue.put_nowait(line)
                return
            except queue.Full:
                self.lost += 1
                told, self._full = self._full or self._closed, True
        if not told:
            self._on_event(
                "sink_full",
                self.name,
                f"it takes results too slowly: {self._queue.maxsize} wait, more are lost until"
                " there is room; lower the cameras' rate, or mend the sink",
            )

    def _run(self) -> None:
        while (line := self._queue.get()) is not None:
            try:
                self._sink.write(line)
            except OutputError as exc:
                self._fail(str(exc))
                continue
            except Exception as exc:  # noqa: BLE001 - a fault of ours costs the result, not the sink
                self._fail(f"a fault of ours: {exc!r}")
                continue
            self.written += 1
            if self._full and self._queue.empty():
                self._full = False
            if self._down:
                self._down = False
                self._on_event("sink_up", self.name, "it takes results again")
        self._sink.close()

    def _fail(self, words: str) -> None:
        with self._lock:
            self.lost += 1
        if not self._down:
            self._down = True
            self._on_event("sink_down", self.name, words)

    def close(self, timeout_s: float = _LONGEST_S) -> bool:
        """Write what waits, and end.

        Args:
            timeout_s: how long that may take.

        Returns:
            Whether it came about in time; else it is left behind.
        """
        until = time.monotonic() + timeout_s
        with self._lock:  # what was taken is before the mark in the queue, so it is written
            self._closed = True
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return False
        self._thread.join(max(0.0, until - time.monotonic()))
        return not self._thread.is_alive()
