"""Pictures in, pictures and video out.

Loads OpenCV, so whoever needs this module imports it late.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sanderling.detections import Classes, Detections, Result
from sanderling.errors import OutputError, SourceError
from sanderling.frame import Image
from sanderling.opencv import cv2
from sanderling.text import printable

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
        SourceError: it is no picture, or is cut off or damaged. A JPEG has no checksum: about one
            damage in a hundred goes unnoticed by its decoder, and so by us.
    """
    if not data:
        raise SourceError(f"{what}: the file is empty")
    # Decoders fill what is missing with grey and only print a warning: a picture that is half
    # there would go through as if it were whole.
    if _cut_off(data):
        raise SourceError(f"{what}: the picture is cut off; copy the file again")
    try:
        image, damaged = _decode(data)
    except cv2.error as exc:
        raise SourceError(f"{what}: the picture cannot be decoded: {printable(exc.err)}") from exc
    if damaged:
        raise SourceError(f"{what}: the picture is damaged; copy the file again")
    if image is None:
        raise SourceError(
            f"{what}: not a picture that can be decoded (JPEG, PNG, BMP, WebP, TIFF, PNM)"
        )
    return np.asarray(image, np.uint8)


# What libjpeg and libpng print about a picture, and what of that means that pixels are wrong. The
# rest is about colour profiles, headers and the like.
_CHATTER = re.compile(
    rb"libpng |Corrupt JPEG|Premature end of JPEG|Invalid SOS|Invalid component|Unknown Adobe"
    rb"|Warning: unknown JFIF|Inconsistent progression|Caution: |Application transferred"
)
_DAMAGE = re.compile(
    rb"Corrupt JPEG|Premature end of JPEG|Inconsistent progression|libpng error"
    rb"|libpng warning: .*(IDAT|CRC|compressed data|image data|Read Error|Truncated)"
)
_stderr_lock = threading.Lock()


def _decode(data: bytes) -> tuple[Image | None, bool]:
    """The picture, and whether its decoder found damage.

    libjpeg and libpng fill what is damaged with something and tell only stderr. So file descriptor
    2 leads elsewhere meanwhile; what another thread says there in this time is handed on.
    """
    encoded = np.frombuffer(data, np.uint8)
    with _stderr_lock:
        try:
            stderr = os.dup(2)
        except OSError:  # closed, as a daemon may have it
            stderr = None
        with open(os.memfd_create("decoder"), "w+b", buffering=0) as heard:
            if stderr is not None and sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(heard.fileno(), 2)
            try:
                image = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
            finally:
                if stderr is None:
                    os.close(2)
                else:
                    os.dup2(stderr, 2)
                    os.close(stderr)
            # Not by seek and read: the offset is that of a write which may still be under way.
            said = os.pread(heard.fileno(), os.fstat(heard.fileno()).st_size, 0)
    lines = said.splitlines(keepends=True)
    foreign = b"".join(line for line in lines if not _CHATTER.match(line))
    if foreign and stderr is not None:
        os.write(2, foreign)
    damaged = any(_DAMAGE.match(line) for line in lines)
    return None if image is None else np.asarray(image, np.uint8), damaged


def _cut_off(data: bytes) -> bool:
    """Whether the end that a complete file has is missing. Data behind the end is allowed."""
    if data.startswith(b"\xff\xd8\xff"):
        return not _jpeg_ends(data)
    if data.startswith(b"\x89PNG"):
        return not _png_ends(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    if data.startswith(b"BM"):
        return len(data) < int.from_bytes(data[2:6], "little")
    return False


# A marker, but for those that stand among the coded data: stuffed zeros and restarts.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
_JPEG_END = 0xD9


def _jpeg_ends(data: bytes) -> bool:
    """Whether the markers lead to the end of the image (ITU-T T.81, B.1).

    Following them passes over thumbnails, which have an end of their own.
    """
    at = 2
    while (marker := _JPEG_MARKER.search(data, at)) is not None:
        if marker[1][0] == _JPEG_END:
            return True
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return False


def _png_ends(data: bytes) -> bool:
    """Whether the chunks lead to a whole IEND (PNG, section 5.3)."""
    at = 8
    while at + 12 <= len(data):
        kind = data[at + 4 : at + 8]
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        if kind == b"IEND":
            return at <= len(data)
    return False


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
        size = "x".join(map(str, image.shape[1::-1]))
        raise OutputError(
            f"a picture of {size} pixels cannot be written as {suffix or 'a file without suffix'};"
            " .jpg and .png are possible"
        ) from exc
    if not good:
        raise OutputError(f"the picture could not be encoded as {suffix}")
    return data.tobytes()


_INK = (60, 220, 60)
_PAPER = (20, 20, 20)


def annotate(image: Image, result: Result) -> Image:
    """A copy of the picture with what was found drawn on it.

    What lies outside of the picture, or has a coordinate that is not finite, is left out.
    """
    made = result.tensors.get("image")
    picture = made is not None and made.ndim == 3 and made.shape[2] == 3 and made.size > 0
    if made is not None and picture and made.dtype == np.uint8:
        # A pipeline that makes a picture of its own shows that one.
        image = np.asarray(made, np.uint8)
    canvas = image.copy()
    thick = max(1, round(min(canvas.shape[:2]) / 300))
    if result.detections is not None:
        _draw_detections(canvas, result.detections, thick)
    elif result.classes is not None:
        _draw_classes(canvas, result.classes, thick)
    return canvas


def _draw_detections(canvas: Image, found: Detections, thick: int) -> None:
    # OpenCV takes 32-bit coordinates; a little outside is as good as far outside.
    height, width = canvas.shape[:2]
    least, most = -2 * thick - 2, np.array([width, height], np.float32) + 2 * thick + 2
    for index in range(len(found)):
        if not np.isfinite(found.boxes[index]).all():
            continue
        corners = np.clip(found.boxes[index].reshape(2, 2), least, most).reshape(4)
        x1, y1, x2, y2 = (round(float(value)) for value in corners)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), _INK, thick, cv2.LINE_AA)
        if found.points is not None:
            points = found.points[index]
            inside = (points >= least).all(axis=1) & (points <= most).all(axis=1)
            for x, y in points[inside]:
                cv2.circle(
                    canvas, (round(float(x)), round(float(y))), thick + 1, _INK, -1, cv2.LINE_AA
                )
        text = f"{printable(found.label(index))} {found.scores[index]:.2f}"
        _draw_text(canvas, text, x1, y1, thick)


def _draw_classes(canvas: Image, found: Classes, thick: int) -> None:
    if len(found):
        text = f"{printable(found.label(0))} {found.scores[0]:.2f}"
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


def outlines(polygons: Sequence[Sequence[tuple[int, int]]]) -> list[np.ndarray]:
    """Polygons as `blacken` takes them: x and y of each corner, in pixels."""
    return [np.array(polygon, np.int32).reshape(-1, 1, 2) for polygon in polygons]


def blacken(image: Image, polygons: list[np.ndarray]) -> None:
    """Fill polygons with black, in place.

    Args:
        image: uint8 `[height, width, 3]`, BGR.
        polygons: what `outlines` gave.
    """
    cv2.fillPoly(image, polygons, (0, 0, 0))


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
