"""Calls that may hang, in a thread that can be left behind.

A driver or a network library may keep a thread for as long as it likes, and nothing in Python can
take it back. So such calls run in a thread of their own: whoever waits can stop waiting, and what
the call held is released when it returns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from sanderling.errors import SourceError

T = TypeVar("T")

MOST_LEFT_BEHIND = 16
"""Threads that may hang at one time; past that, no new one is started."""
_GRACE_S = 0.25

_lock = threading.Lock()
_left_behind = 0


def left_behind() -> int:
    """How many threads hang in a call that nobody waits for any more."""
    return _left_behind


class Left(Exception):
    """The call was not waited for to its end."""


class Detached:
    """A thread that does one call at a time.

    Args:
        name: of the thread, and in messages.

    Raises:
        SourceError: too many such threads hang.
    """

    def __init__(self, name: str) -> None:
        if _left_behind >= MOST_LEFT_BEHIND:
            raise SourceError(
                f"{name}: {_left_behind} calls to cameras hang in their drivers; not opening more"
                " until one returns. Restart if they stay"
            )
        self._changed = threading.Condition()
        self._job: _Job[object] | None = None
        self._last: Callable[[], None] | None = None
        self._closed = False
        self._counted = self._ended = False
        self._thread = threading.Thread(target=self._work, name=f"detached {name}", daemon=True)
        self._thread.start()

    def call(
        self, work: Callable[[], T], *, timeout_s: float | None = None, must_end: bool = False
    ) -> T:
        """What the work gives.

        Args:
            work: done in the thread.
            timeout_s: how long to wait for it.
            must_end: wait for its end even when `close` is called meanwhile: it writes into memory
                that is somebody else's afterwards.

        Raises:
            Left: `close` was called, or the time is up.
        """
        job = _Job(work)
        with self._changed:
            if self._closed:
                raise Left
            self._job = job  # type: ignore[assignment] # what it gives is only handed through
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: job.done or (self._closed and not must_end), timeout=timeout_s
            )
            if not job.done:
                raise Left
        return job.outcome()

    def close(self, last: Callable[[], None]) -> None:
        """End the thread after what it does now; a call that is waited for raises `Left`.

        Args:
            last: done in the thread at its end, whenever that is.
        """
        with self._changed:
            if self._closed:
                return
            self._closed, self._last = True, last
            self._changed.notify_all()
        if self._thread is threading.current_thread():
            return
        self._thread.join(_GRACE_S)
        with self._changed:
            if not self._ended:
                self._counted = True
                _count(1)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._job is not None or self._closed)
                job = self._job
                if job is None or self._closed:
                    break
            job.run()
            with self._changed:
                self._job = None
                job.done = True
                self._changed.notify_all()
        with self._changed:
            last, self._last = self._last, None
            if job is not None:  # not begun: nobody waits for it but one who must see its end
                job.done = True
                self._changed.notify_all()
        try:
            if last is not None:
                last()
        finally:
            with self._changed:
                self._ended = True
                if self._counted:
                    _count(-1)


class _Job(Generic[T]):
    """One call and what became of it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._results: list[T] = []
        self._error: BaseException | None = None
        self.done = False

    def run(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as exc:  # noqa: BLE001 - raised again where it is waited for
            self._error = exc

    def outcome(self) -> T:
        if self._error is not None:
            raise self._error
        if not self._results:
            raise Left
        return self._results[0]


def _count(change: int) -> None:
    global _left_behind  # noqa: PLW0603 - threads are counted for the whole process
    with _lock:
        _left_behind += change
