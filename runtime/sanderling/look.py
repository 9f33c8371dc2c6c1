"""How a camera's frames are taken, and what is held of one until it is through."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from sanderling.errors import ConfigError
from sanderling.frame import Image
from sanderling.persist import Change
from sanderling.source import Stamp

Policy = Literal["latest", "block", "sample"]
Paint = Callable[[Image], None]
"""Blackens, in place, what nobody may look at."""
MAX_SIDE = 1 << 14
"""Pixels of a frame's side at the most."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a camera's frames are taken.

    Attributes:
        policy: what happens when frames come faster than they can be processed. `latest`: the
            newest waits, an older one is dropped. `block`: the source waits. `sample`: the one that
            waits is kept, a newer one is dropped.
        rate: frames a second at the most; 0 for all.
        roi: x1, y1, x2, y2 in pixels, the region of interest: only this part is looked at.
        paint: blackens what nobody may look at, before anything sees it.
    """

    policy: Policy = "latest"
    rate: float = 0.0
    roi: tuple[int, int, int, int] | None = None
    paint: Paint | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a person may want to know.

    Attributes:
        camera: which.
        kind: one word, such as `ended`, `failed` or `refused`.
        text: in words.
    """

    camera: str
    kind: str
    text: str


def connection(camera: str, change: Change) -> Event:
    """What became of a live source's connection, as an event."""
    return Event(camera, change.state, str(change))


def mask_of(polygons: Sequence[Sequence[tuple[int, int]]]) -> Paint | None:
    """What blackens these polygons.

    Args:
        polygons: each at least three corners, x and y in pixels of the frame.

    Raises:
        ConfigError: one has fewer corners, or a corner that no frame has.
    """
    if not polygons:
        return None
    for polygon in polygons:
        if len(polygon) < 3:
            raise ConfigError(f"mask: a polygon of {len(polygon)} corners; it needs at least 3")
        for x, y in polygon:
            if not (0 <= x <= MAX_SIDE and 0 <= y <= MAX_SIDE):
                raise ConfigError(f"mask: the corner {x}, {y} is not within 0 to {MAX_SIDE}")
    from sanderling import imaging  # noqa: PLC0415 - loads cv2

    return partial(imaging.blacken, polygons=imaging.outlines(polygons))


@dataclass(slots=True)
class Taken:
    """A frame with its pixels and its place in the order.

    Attributes:
        stamp: its number and times.
        image: its pixels.
        look: how it is looked at.
        ticket: its place among the frames of its camera.
        straight: the pixels may be in the memory of a lane.
    """

    stamp: Stamp
    image: Image
    look: Look
    ticket: int
    straight: bool = False

    @property
    def corner(self) -> tuple[int, int]:
        """Where what is looked at begins, x and y."""
        return self.look.roi[:2] if self.look.roi is not None else (0, 0)

    @property
    def part(self) -> Image:
        """What is looked at, without a copy.

        Raises:
            ConfigError: the region of interest is not inside the frame.
        """
        if self.look.roi is None:
            return self.image
        x1, y1, x2, y2 = self.look.roi
        height, width = self.image.shape[:2]
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            raise ConfigError(
                f"{self.stamp.name}: the roi {x1}, {y1} to {x2}, {y2} is not inside its frames"
                f" of {width} x {height}"
            )
        return self.image[y1:y2, x1:x2]


class Buffers:
    """Pictures of one shape that are used again and again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[Image] = []
        self._shape: tuple[int, ...] = ()

    def take(self, shape: tuple[int, ...]) -> Image:
        """One that nobody uses."""
        with self._lock:
            if shape == self._shape and self._free:
                return self._free.pop()
        return np.empty(shape, np.uint8)

    def give_back(self, image: Image) -> None:
        """It is not used any more."""
        with self._lock:
            if image.shape != self._shape:
                self._shape, self._free = image.shape, []
            self._free.append(image)
