"""Calibration pictures, prepared as the guest `letterbox` prepares a frame (within one level)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sanderling.errors import SourceError
from sanderling.imaging import IMAGE_SUFFIXES
from sanderling.metadata import ImageInput
from sanderling.sources import read_image

Pixels = NDArray[np.uint8]
Real = NDArray[np.float32]


def find(folder: Path, least: int) -> tuple[list[Path], list[Path]]:
    """The pictures in a folder, by name; not in folders below it.

    Args:
        folder: where to look.
        least: how many are needed.

    Returns:
        Those that can be read, and those that cannot.

    Raises:
        SourceError: there is no such folder, or it has too few readable pictures.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder; give one with at least {least} pictures")
    good: list[Path] = []
    bad: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            try:
                read_image(path)
            except SourceError:
                bad.append(path)
            else:
                good.append(path)
    if len(good) < least:
        found = f"{len(good)} readable pictures, at least {least} are needed"
        if bad:
            found += f"; not readable: {', '.join(path.name for path in bad)}"
        raise SourceError(f"{folder}: has {found}")
    return good, bad


def resize(picture: Pixels, width: int, height: int) -> Pixels:
    """Bilinear, with pixel centres at half coordinates and edges repeated.

    Args:
        picture: `[h, w, c]`.
        width: of the result, in pixels.
        height: of the result, in pixels.

    Returns:
        `[height, width, c]`.
    """
    top, bottom, down = _taps(picture.shape[0], height)
    left, right, across = _taps(picture.shape[1], width)
    across, down = across[:, None], down[:, None, None]
    upper, lower = picture[top].astype(np.float32), picture[bottom].astype(np.float32)
    rows = upper + (lower - upper) * down
    blend: Real = rows[:, left] + (rows[:, right] - rows[:, left]) * across
    whole: Real = np.floor(blend + np.float32(0.5))
    return whole.astype(np.uint8)


def _taps(size: int, wanted: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Real]:
    """For each wanted coordinate the two it lies between, and how far it is from the first."""
    centre = np.clip((np.arange(wanted) + 0.5) * (size / wanted) - 0.5, 0, size - 1)
    first = np.floor(centre).astype(np.intp)
    return first, np.minimum(first + 1, size - 1), (centre - first).astype(np.float32)


def compose(picture: Pixels, width: int, height: int, image: ImageInput) -> Pixels:
    """A frame as the model's pixels, before normalisation.

    Args:
        picture: `[h, w, 3]`, BGR.
        width: of the model's input, in pixels.
        height: of the model's input, in pixels.
        image: order, fit, align and pad.

    Returns:
        `[height, width, c]`; c is 1 for grey, else 3.
    """
    if image.order == "rgb":
        picture = picture[:, :, ::-1]
    elif image.order == "grey":
        weights = np.array([0.114, 0.587, 0.299], np.float32)  # ITU-R BT.601, BGR
        picture = np.floor(picture @ weights + np.float32(0.5)).astype(np.uint8)[:, :, None]
    if image.fit == "stretch":
        return resize(picture, width, height)
    high, wide = picture.shape[:2]
    scale = min(width / wide, height / high)
    content_w = min(width, max(1, int(wide * scale + 0.5)))
    content_h = min(height, max(1, int(high * scale + 0.5)))
    x, y = 0, 0
    if image.align == "centre":
        x, y = (width - content_w) // 2, (height - content_h) // 2
    canvas: Pixels = np.full((height, width, picture.shape[2]), image.pad, np.uint8)
    canvas[y : y + content_h, x : x + content_w] = resize(picture, content_w, content_h)
    return canvas


def normalise(pixels: Pixels, image: ImageInput, layout: str) -> Real:
    """The float input of the model.

    Args:
        pixels: `[h, w, c]`.
        image: mean and std, in pixel units.
        layout: `nchw` or `nhwc`.

    Returns:
        `[1, c, h, w]` or `[1, h, w, c]`.
    """
    channels = pixels.shape[2]
    mean = np.array(image.mean[:channels], np.float32)
    std = np.array(image.std[:channels], np.float32)
    real = (pixels.astype(np.float32) - mean) / std
    if layout == "nchw":
        real = real.transpose(2, 0, 1)
    return np.ascontiguousarray(real[None])
