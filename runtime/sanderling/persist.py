"""A live source that comes back: opened again, for ever, whenever it is lost or gives nothing."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from sanderling.detached import Detached, Left
from sanderling.errors import SourceError
from sanderling.frame import Image
from sanderling.source import Source, Stamp


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the connection.

    Attributes:
        state: `connected`, with the first frame; `lost`; `retrying`, once for each outage and then
            now and again.
        name: of the source.
        reason: why it was lost, or why the last attempt failed.
        retry_s: how long it waits before the next attempt, in seconds.
    """

    state: Literal["connected", "lost", "retrying"]
    name: str
    reason: str = ""
    retry_s: float = 0.0

    def __str__(self) -> str:
        if self.state == "connected":
            return f"{self.name}: connected"
        reason = self.reason.removeprefix(f"{self.name}: ")
        if self.state == "lost":
            return f"{self.name}: lost: {reason}"
        return f"{self.name}: retrying in {self.retry_s:.1f} s: {reason}"


@dataclass(frozen=True)
class Backoff:
    """How long to wait before an attempt: exponential, with full jitter.

    Attributes:
        first_s: the longest wait before the first attempt, in seconds; doubled with each.
        most_s: where it stops doubling.
        random: between 0 and 1; the wait is this share of the longest.
    """

    first_s: float = 0.25
    most_s: float = 30.0
    random: Callable[[], float] = random.random

    def longest(self, attempt: int) -> float:
        """The longest wait before this attempt, from 0, in seconds."""
        return min(self.most_s, self.first_s * 2.0 ** min(attempt, 32))

    def wait(self, attempt: int) -> float:
        """A wait before this attempt, in seconds."""
        return self.longest(attempt) * self.random()


_FRAMES_LATE = 3.0
"""Frames that may be missing in a row from a source that says how many it gives."""
_REMIND_S = 60.0
"""How often an outage that lasts is told again."""


def patience(source: Source, stall_s: float) -> float:
    """How long a source may give nothing, in seconds: some frames long, where they come slowly."""
    return max(stall_s, _FRAMES_LATE / source.fps) if source.fps else stall_s


class _Watchdog:
    """Closes a source whose `grab` takes too long.

    Attributes:
        bit: it did, in the last one it was set over.
    """

    def __init__(self, stall_s: float) -> None:
        self._stall_s = stall_s
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._watched: Source | None = None
        self._due = 0.0
        self._idle = self._closed = False
        self.bit = False

    @contextmanager
    def over(self, source: Source) -> Iterator[None]:
        """Watch what is done with the source here."""
        with self._changed:
            self.bit = False
            self._watched, self._due = source, time.monotonic() + patience(source, self._stall_s)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
                self._thread.start()
            elif self._idle:
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._watched = None

    def _watch(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                rest = self._due - time.monotonic()
                if self._watched is None or rest > 0:
                    # While frames come it sleeps through them and looks at the time anew.
                    self._idle = self._watched is None
                    self._changed.wait(None if self._idle else rest)
                    self._idle = False
                    continue
                watched, self._watched, self.bit = self._watched, None, True
            watched.close()

    def close(self) -> None:
        """End it."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Persistent(Source):
    """Opens a live source and opens it again whenever it is lost; `grab` never raises.

    A connection that did not outlast the wait before it counts as a failed attempt: what breaks at
    once every time is left alone for longer and longer.

    Args:
        open: opens it; may take long or hang.
        name: what it is called.
        stall_s: a source that gives nothing for so long is closed and opened again. It is also how
            long opening may take.
        backoff: the waits.
        clock: seconds, monotonic.
        wait: waits so many seconds or until `close`, then is True.
        on_change: is told what becomes of the connection, in the thread that grabs.
        first: a source that is open already, to begin with.
    """

    live = True

    def __init__(
        self,
        open: Callable[[], Source],
        *,
        name: str,
        stall_s: float = 10.0,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
        on_change: Callable[[Change], None] | None = None,
        first: Source | None = None,
    ) -> None:
        self.name = name
        self._open = open
        self._stall_s = stall_s
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._closed = threading.Event()
        self._wait = wait or self._closed.wait
        self._on_change = on_change
        self._lock = threading.Lock()
        self._inner = first
        if first is not None:
            self.fps, self.count = first.fps, first.count
        self._stop_opening: Callable[[], None] | None = None
        self._watchdog = _Watchdog(stall_s)
        self._attempt = 0
        self._told: Literal["connected", "lost", "retrying"] | None = None
        self._told_at = 0.0
        self._connected_at = 0.0
        self._waited_s = 0.0
        self._sequence = 0
        self._over = False

    def grab(self) -> Stamp | None:
        """Wait for the next frame, through as many attempts as it takes."""
        while not (self._closed.is_set() or self._over):
            inner = self._inner or self._connect()
            if inner is None:
                continue
            reason = "it ended"
            stamp = None
            try:
                with self._watchdog.over(inner):
                    stamp = inner.grab()
            except SourceError as exc:
                reason = str(exc)
            if self._closed.is_set():
                break
            if self._watchdog.bit:
                reason = f"nothing came for {patience(inner, self._stall_s):g} s"
            elif stamp is not None:
                return self._stamp(stamp)
            elif inner.count and reason == "it ended":
                self._over = True  # one that knows its length has come to its end
                break
            self._lose(inner, reason)
        return None

    def _stamp(self, stamp: Stamp) -> Stamp:
        fresh = self._told != "connected"
        if fresh:
            self._connected_at = self._clock()
            self._tell(Change("connected", self.name))
        elif self._attempt and self._clock() - self._connected_at > self._waited_s:
            self._attempt = 0
        restarted = stamp.restarted or (fresh and self._sequence > 0)
        self._sequence += 1
        return replace(stamp, sequence=self._sequence - 1, restarted=restarted)

    def _lose(self, inner: Source, reason: str) -> None:
        with self._lock:
            self._inner = None
        inner.close()
        self._failed(reason)

    def _failed(self, reason: str) -> None:
        """Tell it, and wait before the next attempt."""
        self._waited_s = self._backoff.longest(self._attempt)
        wait = self._backoff.wait(self._attempt)
        self._attempt += 1
        now = self._clock()
        if self._told in {"connected", None}:
            self._tell(Change("lost", self.name, reason, wait))
        elif self._told == "lost" or now - self._told_at >= _REMIND_S:
            self._tell(Change("retrying", self.name, reason, wait))
        self._wait(wait)

    def _tell(self, change: Change) -> None:
        self._told, self._told_at = change.state, self._clock()
        if self._on_change is not None:
            self._on_change(change)

    def _connect(self) -> Source | None:
        """One attempt; None when it failed, or `close` was called."""
        try:
            inner = self._opened()
        except Left:
            if not self._closed.is_set():
                self._failed(f"opening it took more than {self._stall_s:g} s")
            return None
        except SourceError as exc:
            self._failed(str(exc))
            return None
        with self._lock:
            if not self._closed.is_set():
                self._inner = inner
                self.fps, self.count = inner.fps, inner.count
                return inner
        inner.close()
        return None

    def _opened(self) -> Source:
        """Opened in a thread that can be left behind; what it opens too late is closed again."""
        made: list[Source] = []

        def work() -> Source:
            made.append(self._open())
            return made[0]

        def clean() -> None:
            for inner in made:
                inner.close()

        opening = Detached(self.name)
        with self._lock:
            self._stop_opening = lambda: opening.close(clean)
        if self._closed.is_set():
            opening.close(clean)
        try:
            inner = opening.call(work, timeout_s=self._stall_s)
            made.clear()
            return inner
        finally:
            with self._lock:
                self._stop_opening = None
            opening.close(clean)

    def retrieve(self, into: Image | None = None) -> Image:
        """The pixels, from the source that gave the stamp."""
        inner = self._inner
        if inner is None:
            raise SourceError(f"{self.name}: there is no frame to retrieve")
        return inner.retrieve(into)

    def close(self) -> None:
        """End it, and every wait in it, at once."""
        self._closed.set()
        with self._lock:
            inner, self._inner = self._inner, None
            stop = self._stop_opening
        if stop is not None:
            stop()
        if inner is not None:
            inner.close()
        self._watchdog.close()
