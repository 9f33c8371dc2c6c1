"""A source whose frames may only be so large, as the board's profile says."""

from __future__ import annotations

import time
from collections.abc import Callable

from sanderling.errors import ConfigError
from sanderling.frame import Image
from sanderling.source import Source, Stamp

AGAIN_S = 60.0
"""Seconds after which it is looked again whether the frames have become smaller."""


class Limited(Source):
    """Refuses frames that are too large; until it looks again it does not even decode them.

    Args:
        source: gives the frames; closed with this.
        profile: the profile's name, for messages.
        megapixels: the largest frame, in millions of pixels.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        source: Source,
        profile: str,
        megapixels: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._profile = profile
        self._megapixels = megapixels
        self._clock = clock
        self._refusal: ConfigError | None = None
        self._again = 0.0
        self._name = ""
        self.live, self.count, self.fps = source.live, source.count, source.fps

    def grab(self) -> Stamp | None:
        """Wait for the next frame."""
        stamp = self._source.grab()
        self.count, self.fps = self._source.count, self._source.fps
        if stamp is not None:
            self._name = stamp.name
            if stamp.restarted:
                self._refusal = None  # whoever mended the camera does not wait
        return stamp

    def retrieve(self, into: Image | None = None) -> Image:
        """The pixels of the frame grabbed last.

        Raises:
            ConfigError: the frame is larger than the profile allows; others may not be.
            SourceError: as from the source.
        """
        if self._refusal is not None and self._clock() < self._again:
            raise self._refusal
        image = self._source.retrieve(into)
        height, width = image.shape[:2]
        if height * width <= self._megapixels * 1e6:
            self._refusal = None
            return image
        self._again = self._clock() + AGAIN_S
        self._refusal = ConfigError(
            f"{self._name}: its frames of {width} x {height} are {height * width / 1e6:.1f}"
            f" megapixels, and the profile {self._profile} allows {self._megapixels:g}"
            " (limits.megapixels): let the camera give smaller ones, or raise the limit in a"
            " profile of your own"
        )
        raise self._refusal

    def close(self) -> None:
        """Close the source."""
        self._source.close()
