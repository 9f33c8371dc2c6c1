"""Sources whose calls may hang, as those of cameras and streams do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sanderling.detached import Detached, Left
from sanderling.errors import SourceError
from sanderling.frame import Image
from sanderling.source import Source, Stamp

_LATE_S = 2.0
"""How long a call may outlast its own limit before it counts as hanging."""


class Opened(Protocol):
    """What a library captures from. All calls are made in one thread.

    Attributes:
        open: there is something to capture from.
        fps: frames a second; 0 when that is not known.
    """

    open: bool
    fps: float

    def grab(self) -> bool:
        """Wait for the next frame; whether there is one. May raise `SourceError`."""

    def retrieve(self, into: Image | None = None) -> Image:
        """Its pixels, as `Source.retrieve` promises them."""

    def release(self) -> None:
        """Let go of it."""


class Captured(Source):
    """What comes frame by frame from a driver or a network, either of which may hang.

    All calls into OpenCV are made in one thread, which is left behind when one does not return.

    Args:
        name: what it is called, without a password.
        make: opens it; called in that thread.
        open_s: how long that may take.
        hint: what to look at when it cannot be opened.

    Raises:
        SourceError: it cannot be opened.
    """

    live = True

    def __init__(self, name: str, make: Callable[[], Opened], *, open_s: float, hint: str) -> None:
        self._name = name
        self._sequence = 0
        self._over = False
        self._capture: Opened | None = None
        self._thread = Detached(name)
        try:
            opened = self._thread.call(lambda: self._open(make), timeout_s=open_s + _LATE_S)
            if not opened.open:
                raise SourceError(f"{name}: cannot be opened; {hint}")
        except Left:
            self.close()
            raise SourceError(f"{name}: no answer in {open_s:g} s; {hint}") from None
        except SourceError:
            self.close()
            raise
        self.fps = opened.fps

    def _open(self, make: Callable[[], Opened]) -> Opened:
        self._capture = make()
        return self._capture

    def grab(self) -> Stamp | None:
        """Wait for the next frame.

        Raises:
            SourceError: no more come; the source has ended then.
        """
        opened = self._capture
        if self._over or opened is None:
            return None
        try:
            good = self._thread.call(opened.grab)
        except Left:
            return None
        except SourceError:
            self.close()
            raise
        if not good:
            self.close()
            raise SourceError(f"{self._name}: it broke off, after {self._sequence} frames")
        self._sequence += 1
        return Stamp.now(self._sequence - 1, self._name)

    def retrieve(self, into: Image | None = None) -> Image:
        """Decode it."""
        opened = self._capture
        if self._over or opened is None:
            raise SourceError(f"{self._name}: it is closed")
        try:
            return self._thread.call(lambda: opened.retrieve(into), must_end=True)
        except Left:
            raise SourceError(f"{self._name}: it was closed meanwhile") from None

    def close(self) -> None:
        """Release it, as soon as the call that is under way returns."""
        self._over = True
        self._thread.close(self._release)

    def _release(self) -> None:
        opened, self._capture = self._capture, None
        if opened is not None:
            opened.release()
