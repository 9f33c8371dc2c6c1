"""Pictures and video in and out: the only module that imports cv2.

cv2 takes up to 90 ms and 36 MB to import, so whoever needs this module imports it late.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Before the import: OpenCV reads both once. A header may claim any size, and a board has little
# memory; OpenCV's own warnings would stand between our lines on the terminal.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 27))
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from sanderling.detections import Classes, Detections, Result
from sanderling.errors import OutputError, SourceError
from sanderling.frame import Image

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)
_MAX_FILE_BYTES = 256 << 20


def read_image(path: Path) -> Image:
    """A picture as uint8 `[height, width, 3]`, BGR.

    Raises:
        SourceError: it is missing, is no picture, or is cut off.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise SourceError(f"{path}: cannot be read: {exc.strerror}") from exc
    if len(data) > _MAX_FILE_BYTES:
        raise SourceError(f"{path}: larger than {_MAX_FILE_BYTES >> 20} MiB; not read")
    return decode_image(data, str(path))


def decode_image(data: bytes, what: str) -> Image:
    """An encoded picture as uint8 `[height, width, 3]`, BGR.

    Args:
        data: JPEG, PNG, BMP, WebP, TIFF or PNM.
        what: its name, for messages.

    Raises:
        SourceError: it is no picture, or is cut off.
    """
    if not data:
        raise SourceError(f"{what}: the file is empty")
    # Decoders fill what is missing with grey and only print a warning: a picture that is half
    # there would go through as if it were whole.
    if _cut_off(data):
        raise SourceError(f"{what}: the picture is cut off; copy the file again")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as exc:
        raise SourceError(f"{what}: the picture cannot be decoded: {exc.err}") from exc
    if image is None:
        raise SourceError(
            f"{what}: not a picture that can be decoded (JPEG, PNG, BMP, WebP, TIFF, PNM)"
        )
    return np.asarray(image, np.uint8)


def _cut_off(data: bytes) -> bool:
    """Whether the end that a complete file has is missing. Data behind the end is allowed."""
    if data.startswith(b"\xff\xd8\xff"):
        # A thumbnail inside the file has an end of its own, so only the second half counts.
        return data.rfind(b"\xff\xd9") < len(data) // 2
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-4096:]
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    if data.startswith(b"BM"):
        return len(data) < int.from_bytes(data[2:6], "little")
    return False


class Video:
    """A video file, frame by frame.

    Args:
        path: the file.

    Raises:
        SourceError: it is missing, or is no video.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise SourceError(f"{path}: there is no such file")
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise SourceError(f"{path}: not a video that can be decoded; it may be cut off")
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(count) if 0 < count < 1e9 else 0
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(rate) if 0 < rate < 1e4 else 25.0

    def frames(self) -> Iterator[Image]:
        """Each picture, uint8 `[height, width, 3]`, BGR.

        Raises:
            SourceError: it holds none, or fewer than its header says (allowing for a rounding).
        """
        seen = 0
        while True:
            try:
                good, image = self._capture.read()
            except cv2.error as exc:
                raise SourceError(f"{self._path}: frame {seen} cannot be decoded: {exc}") from exc
            if not good:
                break
            yield np.asarray(image, np.uint8)
            seen += 1
        if seen == 0:
            raise SourceError(f"{self._path}: the video holds no frame that can be decoded")
        if seen < self.count - max(2, self.count // 100):
            raise SourceError(
                f"{self._path}: the video ends early, after {seen} of {self.count} frames; it is"
                " cut off or damaged"
            )

    def close(self) -> None:
        """Let go of the file."""
        self._capture.release()


class VideoWriter:
    """Writes pictures of one size as MPEG-4.

    Args:
        path: the file; its suffix chooses the container (`.mp4`, `.avi`, `.mkv`).
        fps: frames a second.
        image: the first picture, for its size.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path, fps: float, image: Image) -> None:
        self._size = (image.shape[1], image.shape[0])
        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(path), code, fps, self._size)
        if not self._writer.isOpened():
            raise OutputError(f"{path}: cannot be written as a video; use .mp4, .avi or .mkv")

    def write(self, image: Image) -> None:
        """Add a picture; one of another size is fitted to the first."""
        if (image.shape[1], image.shape[0]) != self._size:
            image = np.asarray(cv2.resize(image, self._size), np.uint8)
        self._writer.write(image)

    def close(self) -> None:
        """Finish the file."""
        self._writer.release()


def encode_image(image: Image, suffix: str) -> bytes:
    """A picture in the format of this suffix.

    Raises:
        OutputError: there is no such format.
    """
    try:
        good, data = cv2.imencode(suffix, image)
    except cv2.error as exc:
        raise OutputError(f"{suffix or 'no suffix'}: pictures are written as .jpg or .png") from exc
    if not good:
        raise OutputError(f"the picture could not be encoded as {suffix}")
    return data.tobytes()


_INK = (60, 220, 60)
_PAPER = (20, 20, 20)


def annotate(image: Image, result: Result) -> Image:
    """A copy of the picture with what was found drawn on it."""
    canvas = image.copy()
    thick = max(1, round(min(canvas.shape[:2]) / 300))
    if result.detections is not None:
        _draw_detections(canvas, result.detections, thick)
    elif result.classes is not None:
        _draw_classes(canvas, result.classes, thick)
    return canvas


def _draw_detections(canvas: Image, found: Detections, thick: int) -> None:
    for index in range(len(found)):
        x1, y1, x2, y2 = (round(float(value)) for value in found.boxes[index])
        cv2.rectangle(canvas, (x1, y1), (x2, y2), _INK, thick, cv2.LINE_AA)
        if found.points is not None:
            for x, y in found.points[index]:
                cv2.circle(
                    canvas, (round(float(x)), round(float(y))), thick + 1, _INK, -1, cv2.LINE_AA
                )
        text = f"{found.label(index)} {found.scores[index]:.2f}"
        _draw_text(canvas, text, x1, y1, thick)


def _draw_classes(canvas: Image, found: Classes, thick: int) -> None:
    if len(found):
        text = f"{found.label(0)} {found.scores[0]:.2f}"
        _draw_text(canvas, text, 0, canvas.shape[0], thick)


def _draw_text(canvas: Image, text: str, x: int, y: int, thick: int) -> None:
    """Text on a dark ground above the point, or below it where there is no room above."""
    size = max(0.35, 0.4 * thick)
    font = cv2.FONT_HERSHEY_SIMPLEX
    (width, height), below = cv2.getTextSize(text, font, size, max(1, thick // 2))
    x = max(0, min(x, canvas.shape[1] - width))
    y = y if y - height - below >= 0 else min(canvas.shape[0], y + height + below)
    cv2.rectangle(canvas, (x, y - height - below), (x + width, y), _PAPER, -1)
    cv2.putText(
        canvas, text, (x, y - below // 2), font, size, _INK, max(1, thick // 2), cv2.LINE_AA
    )


_WRITABLE = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_WRITABLE_VIDEO = (".mp4", ".avi", ".mkv")


def writable(name: str) -> bool:
    """Whether a picture of this name can be written."""
    return name.lower().endswith(_WRITABLE)


def check_suffix(path: Path, *, video: bool = False) -> None:
    """Whether this name can be written, before an hour of work is spent on it.

    Raises:
        OutputError: its suffix is of no format that can be written.
    """
    known = _WRITABLE_VIDEO if video else _WRITABLE
    if path.suffix.lower() not in known:
        kind = "a video" if video else "a picture"
        raise OutputError(f"{path}: {kind} is written as {', '.join(known)}")
