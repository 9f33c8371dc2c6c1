"""What every source of frames looks like, whatever it reads."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sanderling.frame import Frame, Image


@dataclass(frozen=True, slots=True)
class Stamp:
    """A frame that was grabbed, without its pixels.

    Attributes:
        sequence: its number within its source, rising by 1 with every frame grabbed; a reconnect
            does not begin again from 0.
        captured_ns: when it was captured, monotonic clock, in ns.
        wall_ns: the same by the wall clock, in ns since 1970.
        restarted: it is the first after the source began anew, so that what was remembered of the
            frames before no longer holds.
        name: what the frame is called: the path of a picture or a video, the address of a camera.
    """

    sequence: int
    captured_ns: int
    wall_ns: int
    restarted: bool = False
    name: str = ""

    @classmethod
    def now(cls, sequence: int, name: str, *, restarted: bool = False) -> Stamp:
        """The stamp of a frame that is captured at this moment."""
        return cls(sequence, time.monotonic_ns(), time.time_ns(), restarted, name)


class Source(ABC):
    """Something that gives frames.

    Grabbing and retrieving are two steps so that a frame nobody wants costs no decoding. They are
    never called at the same time, though from different threads; `close` may come at any moment.

    Attributes:
        live: frames come at their own pace, and one that is not taken is gone.
        count: how many frames it will give; 0 when that is not known.
        fps: frames a second; 0 for single pictures, or when that is not known.
    """

    live = False
    count = 0
    fps = 0.0

    @abstractmethod
    def grab(self) -> Stamp | None:
        """Wait for the next frame.

        Returns:
            Its stamp; None when the source has ended or was closed, and ever after.

        Raises:
            SourceError: this frame (a bad picture) or the whole source (a stream that broke) is
                lost. It may be called again.
        """

    @abstractmethod
    def retrieve(self, into: Image | None = None) -> Image:
        """The pixels of the frame grabbed last; at most once for each.

        Args:
            into: where to put them. It is used if it is uint8, C-contiguous, and exactly of the
                frame's shape.

        Returns:
            uint8 `[height, width, 3]`, BGR: `into` where it was used, else a new array.

        Raises:
            SourceError: they cannot be decoded, or there is no frame to retrieve.
        """

    def close(self) -> None:  # noqa: B027 - most sources hold nothing
        """Let go of what it holds; a `grab` that waits returns None soon. May be called again."""

    def frames(self) -> Iterator[Frame]:
        """The frames, in order; after a `SourceError`, `next` goes on with the one behind it."""
        return _Frames(self)


class Limited(Source):
    """The first frames of a source that does not give them at its own pace.

    Args:
        source: gives them; it is closed with this.
        frames: how many; those that are lost on the way count too.
    """

    def __init__(self, source: Source, frames: int) -> None:
        self._source = source
        self._left = frames
        self.fps = source.fps
        self.count = min(source.count, frames)

    def grab(self) -> Stamp | None:
        """The next frame, if it is one of the first."""
        if not self._left:
            return None
        self._left -= 1
        return self._source.grab()

    def retrieve(self, into: Image | None = None) -> Image:
        """Its pixels."""
        return self._source.retrieve(into)

    def close(self) -> None:
        """End the source."""
        self._source.close()


class _Frames(Iterator[Frame]):
    """A generator would be over after an error."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __next__(self) -> Frame:
        stamp = self._source.grab()
        if stamp is None:
            raise StopIteration
        image = self._source.retrieve()
        return Frame(image, stamp.sequence, stamp.captured_ns, stamp.name, stamp.wall_ns)


def usable(into: Image | None) -> Image | None:
    """The caller's buffer, if pixels of any size can be written into it; else None."""
    if into is None or into.dtype != np.uint8 or into.ndim != 3 or into.shape[2] != 3:
        return None
    return into if into.flags.c_contiguous and into.flags.writeable else None


def put(image: Image, into: Image | None) -> Image:
    """The picture in the caller's buffer, if it fits there; else the picture itself."""
    into = usable(into)
    if into is None or into.shape != image.shape:
        return image
    np.copyto(into, image)
    return into
