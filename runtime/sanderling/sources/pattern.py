"""The test pattern as a source: `pattern:640x480@30?frames=100`."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sanderling import pattern
from sanderling.errors import SourceError
from sanderling.frame import Image
from sanderling.source import Source, Stamp
from sanderling.sources.options import Options

_MOST_SIDE = 8192
_MOST_FPS = 100_000
_MOST = 999_999_999
_HEAD = re.compile(r"(?P<width>\d{1,5})x(?P<height>\d{1,5})(@(?P<fps>\d{1,6}(\.\d{1,6})?))?", re.A)
_SIZES = r"\d{1,5}x\d{1,5}(,\d{1,5}x\d{1,5})*"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the pattern does besides giving its frames.

    Attributes:
        frames: how many there are; 0 for no end.
        flap: a `SourceError` after every so many frames; 0 for never.
        stall: after so many frames nothing comes any more; 0 for never.
        sizes: width and height, taken in turn.
        every: how many frames of one size come in a row.
    """

    frames: int = 0
    flap: int = 0
    stall: int = 0
    sizes: tuple[tuple[int, int], ...] = ((640, 480),)
    every: int = 1


class Pattern(Source):
    """Gives `pattern.render(0)`, `render(1)` and so on: a frame's number is its sequence.

    Args:
        name: what it is called.
        fps: frames a second, then it is live; 0 gives them as fast as they are asked for.
        behaviour: its length, its sizes, and what goes wrong.
        clock: seconds, monotonic.
        wait: waits so many seconds (None: for ever) or until `close`, then is True.

    Raises:
        SourceError: a size is one in which no number can be shown.
    """

    def __init__(
        self,
        name: str,
        fps: float = 0.0,
        behaviour: Behaviour | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float | None], bool] | None = None,
    ) -> None:
        self._does = behaviour or Behaviour()
        for width, height in self._does.sizes:
            if not (
                pattern.LEAST_WIDTH <= width <= _MOST_SIDE
                and pattern.LEAST_HEIGHT <= height <= _MOST_SIDE
            ):
                raise SourceError(
                    f"{name}: {width}x{height}: a pattern has at least {pattern.LEAST_WIDTH}x"
                    f"{pattern.LEAST_HEIGHT} and at most {_MOST_SIDE}x{_MOST_SIDE} pixels"
                )
        self._name = name
        self._clock = clock
        self._closed = threading.Event()
        self._wait = wait or self._closed.wait
        self._next = 0
        self._due = 0.0
        self._flapped = 0
        self._grabbed: int | None = None
        self.live = fps > 0
        self.fps = fps
        self.count = self._does.frames

    @property
    def size(self) -> tuple[int, int]:
        """Width and height up to which its frames go."""
        widths, heights = zip(*self._does.sizes, strict=True)
        return max(widths), max(heights)

    def grab(self) -> Stamp | None:
        """Wait for the time of the next frame; nothing is drawn yet."""
        self._grabbed = None
        does, number = self._does, self._next
        if self._closed.is_set() or (does.frames and number >= does.frames):
            return None
        if does.flap and number and number % does.flap == 0 and self._flapped != number:
            self._flapped = number
            raise SourceError(f"{self._name}: breaks off after every {does.flap} frames")
        if does.stall and number >= does.stall:
            self._wait(None)
            return None
        if self.fps and self._pause():
            return None
        self._grabbed = number
        self._next = number + 1
        return Stamp.now(number, self._name, restarted=number > 0 and self._flapped == number)

    def _pause(self) -> bool:
        """Wait until the frame is due; whether it was closed meanwhile."""
        now = self._clock()
        # Whoever comes late does not get the frames he missed in a bunch.
        self._due = max(self._due + 1 / self.fps, now) if self._due else now + 1 / self.fps
        return self._wait(max(0.0, self._due - now))

    def retrieve(self, into: Image | None = None) -> Image:
        """Draw it."""
        number, self._grabbed = self._grabbed, None
        if number is None or self._closed.is_set():
            raise SourceError(f"{self._name}: there is no frame to retrieve")
        sizes = self._does.sizes
        width, height = sizes[number // self._does.every % len(sizes)]
        return pattern.render(number, height, width, into)

    def close(self) -> None:
        """End it."""
        self._closed.set()


def parse(where: str) -> Pattern:
    """The pattern of this name.

    Args:
        where: `pattern:WxH@FPS?option=value`; size, rate and options may be left out.

    Raises:
        SourceError: it is written wrongly; says what would be right.
    """
    head, _, query = where.removeprefix("pattern:").partition("?")
    match = _HEAD.fullmatch(head or "640x480")
    if match is None:
        raise SourceError(f"{where}: a pattern is written such as pattern:640x480@30?frames=100")
    fps = float(match["fps"] or 0)
    if fps > _MOST_FPS:
        raise SourceError(f"{where}: at most {_MOST_FPS} frames a second")
    options = Options(where, query)
    sizes = options.text("size", _SIZES, "size=640x480,320x240")
    behaviour = Behaviour(
        frames=options.integer("frames", 1, _MOST),
        flap=options.integer("flap", 1, _MOST),
        stall=options.integer("stall", 1, _MOST),
        sizes=tuple(_size(text) for text in (sizes or match[0].partition("@")[0]).split(",")),
        every=options.integer("every", 1, _MOST, default=10),
    )
    options.done()
    return Pattern(where, fps, behaviour)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)
