"""Moving pictures in, by OpenCV: video files, cameras, streams.

Loads OpenCV, so whoever needs this module imports it late. Nothing here is safe across threads,
and a call to a camera or a stream may hang for as long as its driver likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sanderling.errors import SourceError
from sanderling.frame import Image
from sanderling.opencv import cv2
from sanderling.source import usable
from sanderling.text import printable

_MAX_FPS = 1e4
# One that is filled while the other is read; with a single one some drivers halve their rate.
_BUFFERS = 2


class Capture:
    """What OpenCV captures from.

    Args:
        name: what messages call it.
        address: as OpenCV takes it.
        backend: one of OpenCV's.
        params: pairs of a property and its value, flat, for opening.

    Attributes:
        count: how many frames there will be; 0 when that is not known.
        fps: frames a second; 0 when that is not known.
        open: there is something to capture from.
    """

    def __init__(self, name: str, address: str, backend: int, params: Sequence[int] = ()) -> None:
        self._name = name
        self._grabbed = False
        try:
            self._capture = cv2.VideoCapture(address, backend, list(params))
            self.open = bool(self._capture.isOpened())
            count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT) if self.open else 0
            rate = self._capture.get(cv2.CAP_PROP_FPS) if self.open else 0
        except cv2.error as exc:
            raise SourceError(f"{name}: cannot be opened: {printable(exc.err)}") from exc
        self.count = int(count) if 0 < count < 1e9 else 0
        self.fps = float(rate) if 0 < rate < _MAX_FPS else 0.0

    def grab(self) -> bool:
        """Go to the next frame; whether there is one.

        Raises:
            SourceError: OpenCV failed.
        """
        try:
            self._grabbed = bool(self._capture.grab())
        except cv2.error as exc:
            raise SourceError(f"{self._name}: cannot be read: {printable(exc.err)}") from exc
        return self._grabbed

    def retrieve(self, into: Image | None = None) -> Image:
        """The frame that was grabbed, uint8 `[height, width, 3]`, BGR.

        Args:
            into: decoded into, if it is exactly of that kind.

        Raises:
            SourceError: it cannot be decoded, or there is none.
        """
        if not self._grabbed:
            raise SourceError(f"{self._name}: there is no frame to retrieve")
        self._grabbed = False
        try:
            good, image = self._capture.retrieve(usable(into))
        except cv2.error as exc:
            raise SourceError(
                f"{self._name}: a frame cannot be decoded: {printable(exc.err)}"
            ) from exc
        if not good or image is None or image.size == 0:
            raise SourceError(f"{self._name}: a frame cannot be decoded")
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise SourceError(
                f"{self._name}: a frame is {image.dtype} {list(image.shape)} instead of uint8"
                " [height, width, 3]"
            )
        return np.asarray(image, np.uint8)

    def ask(self, wanted: Sequence[tuple[int, float]]) -> None:
        """Set properties; the camera takes what it has that is nearest."""
        try:
            for key, value in wanted:
                self._capture.set(key, value)
            rate = self._capture.get(cv2.CAP_PROP_FPS)
        except cv2.error as exc:
            raise SourceError(f"{self._name}: cannot be set up: {printable(exc.err)}") from exc
        self.fps = float(rate) if 0 < rate < _MAX_FPS else 0.0

    def release(self) -> None:
        """Let go of it."""
        self._grabbed = False
        self._capture.release()


def file(path: Path) -> Capture:
    """A video file."""
    return Capture(str(path), str(path), cv2.CAP_FFMPEG)


def stream(name: str, url: str, *, open_s: float, read_s: float) -> Capture:
    """A stream of the network.

    Args:
        name: the address without its password.
        url: the address.
        open_s: how long connecting may take.
        read_s: how long the next frame may take.
    """
    limits = [
        # More decode several frames at a time, and hold back as many.
        *(cv2.CAP_PROP_N_THREADS, 1),
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(1000 * open_s)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(1000 * read_s)),
    ]
    return Capture(name, url, cv2.CAP_FFMPEG, limits)


def camera(path: str, *, width: int, height: int, fps: int, fourcc: str) -> Capture:
    """A V4L2 camera.

    Args:
        path: its device.
        width: in pixels; 0 leaves the choice to the camera, as do the others.
        height: in pixels.
        fps: frames a second.
        fourcc: the format in which it sends its pixels, such as MJPG.
    """
    # The format first: the driver offers sizes and rates for the format that is set.
    wanted = [(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*fourcc))] if fourcc else []
    wanted += [
        (cv2.CAP_PROP_BUFFERSIZE, _BUFFERS),
        (cv2.CAP_PROP_FRAME_WIDTH, width),
        (cv2.CAP_PROP_FRAME_HEIGHT, height),
        (cv2.CAP_PROP_FPS, fps),
    ]
    made = Capture(path, path, cv2.CAP_V4L2)
    if made.open:
        made.ask([*((key, value) for key, value in wanted if value)])
    return made
