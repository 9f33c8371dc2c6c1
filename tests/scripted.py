"""A source that does what a test says, frame by frame."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import numpy as np

from sanderling.errors import SourceError
from sanderling.source import Source, Stamp, put


class Scripted(Source):
    """Gives the frames of a script.

    Args:
        script: of each frame its pixels, an error that grabbing or retrieving it raises, or
            something to call (and wait for) before the next one.
        step_ns: from one capture time to the next.
        name: what its frames are called.
    """

    def __init__(
        self,
        script: Iterable[np.ndarray | Exception | Callable[[], None]],
        *,
        step_ns: int = 1_000_000,
        name: str = "scripted",
        restarts: Iterable[int] = (),
    ) -> None:
        self._script = iter(script)
        self._step_ns = step_ns
        self._name = name
        self._restarts = set(restarts)
        self._sequence = 0
        self._image: np.ndarray | None = None
        self._closed = threading.Event()
        self.decoded_straight = 0

    def grab(self) -> Stamp | None:
        """The next of the script."""
        for item in self._script:
            if self._closed.is_set():
                return None
            if isinstance(item, SourceError):
                raise item
            if callable(item):
                item()
                continue
            self._image = item
            number = self._sequence
            self._sequence += 1
            at = (number + 1) * self._step_ns
            return Stamp(number, at, at, restarted=number in self._restarts, name=self._name)
        return None

    def retrieve(self, into: np.ndarray | None = None) -> np.ndarray:
        """Its pixels."""
        assert self._image is not None, "retrieved twice"
        image, self._image = self._image, None
        if isinstance(image, Exception):
            raise image
        found = put(image, into)
        self.decoded_straight += found is into and into is not None
        return found.copy() if found is image else found

    def close(self) -> None:
        """End the script."""
        self._closed.set()
