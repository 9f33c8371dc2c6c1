"""Frames that the same process pushes."""

from __future__ import annotations

import threading
import time
from collections import deque

from sanderling.errors import SourceError
from sanderling.frame import Image, check_image
from sanderling.source import Source, Stamp, put


class Pushed(Source):
    """Gives what is pushed, in order. Any thread may push.

    Args:
        name: what it is called.
        room: how many frames may wait to be taken.
    """

    live = True

    def __init__(self, name: str = "pushed", *, room: int = 2) -> None:
        if room < 1:
            raise SourceError(f"{name}: room for {room} frames; it must be 1 or more")
        self._name = name
        self._room = room
        self._waiting: deque[tuple[Image, Stamp]] = deque()
        self._changed = threading.Condition()
        self._finished = self._closed = False
        self._sequence = 0
        self._image: Image | None = None

    def push(self, image: Image, captured_ns: int | None = None) -> bool:
        """Hand over a frame; it is not copied, so leave it alone from then on.

        Args:
            image: uint8 `[height, width, 3]`, BGR.
            captured_ns: when it was captured, monotonic clock; now, if it is not given.

        Returns:
            Whether it was taken: not when there is no room, or after the end.

        Raises:
            SourceError: it is no such image.
        """
        check_image(image, self._name)
        now, wall = time.monotonic_ns(), time.time_ns()
        if captured_ns is None:
            captured_ns = now
        with self._changed:
            if self._finished or self._closed or len(self._waiting) >= self._room:
                return False
            stamp = Stamp(self._sequence, captured_ns, wall - (now - captured_ns), name=self._name)
            self._sequence += 1
            self._waiting.append((image, stamp))
            self._changed.notify_all()
        return True

    def finish(self) -> None:
        """Nothing more is pushed: the source ends after what waits."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def grab(self) -> Stamp | None:
        """Wait for the next frame."""
        with self._changed:
            self._image = None
            self._changed.wait_for(lambda: self._waiting or self._finished or self._closed)
            if self._closed or not self._waiting:
                return None
            self._image, stamp = self._waiting.popleft()
            return stamp

    def retrieve(self, into: Image | None = None) -> Image:
        """The frame; that which was pushed, unless there is a buffer for it."""
        with self._changed:
            image, self._image = self._image, None
        if image is None:
            raise SourceError(f"{self._name}: there is no frame to retrieve")
        return put(image, into)

    def close(self) -> None:
        """End it; what waits is dropped."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._image = None
            self._changed.notify_all()
