"""Waiting for descriptors in a way that another thread can end."""

from __future__ import annotations

import os
import select
import threading
from abc import abstractmethod

from sanderling.errors import SourceError
from sanderling.frame import Image
from sanderling.source import Source, Stamp


class Wake:
    """Ends the waits on descriptors, now and from now on."""

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def set(self) -> None:
        """End them."""
        os.eventfd_write(self._event, 1)

    def wait(self, *descriptors: int, timeout_s: float | None = None) -> list[int]:
        """Wait until one of the descriptors can be read or has ended.

        Returns:
            Those that can or have; none when the wait was ended, or nothing came in time.
        """
        poll = select.poll()
        for descriptor in (self._event, *descriptors):
            poll.register(descriptor, select.POLLIN)
        ready = [found for found, _ in poll.poll(None if timeout_s is None else 1000 * timeout_s)]
        return [] if self._event in ready else ready

    def close(self) -> None:
        """Let go of the descriptor; nothing may wait any more."""
        os.close(self._event)


class Waiting(Source):
    """A source that waits for descriptors; those who make one fill in the methods at the end.

    Attributes:
        name: what it is called.
        wake: what ends its waits when it is closed.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.wake = Wake()
        self._closed = self._over = self._released = False
        self._busy = threading.Lock()
        self._closing = threading.Lock()

    def grab(self) -> Stamp | None:
        """Wait for the next frame."""
        with self._busy:
            if self._over or self._closed:
                return None
            return self.next_frame()

    def retrieve(self, into: Image | None = None) -> Image:
        """Its pixels."""
        with self._busy:
            if self._over or self._closed:
                raise SourceError(f"{self.name}: it is closed")
            return self.pixels(into)

    def close(self) -> None:
        """End it; what it holds is released when this returns."""
        with self._closing:
            if self._released:
                return
            self._closed = self._released = True
            self.wake.set()
            with self._busy:
                self.release()
                self.wake.close()

    def end(self) -> None:
        """No more frames come: `grab` gives None from now on."""
        self._over = True

    @abstractmethod
    def next_frame(self) -> Stamp | None:
        """As `grab`; None when a wait was ended."""

    @abstractmethod
    def pixels(self, into: Image | None) -> Image:
        """As `retrieve`."""

    @abstractmethod
    def release(self) -> None:
        """Let go of all but `wake`."""
