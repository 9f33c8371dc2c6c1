"""What letterbox computes, as sl_resize.h and sl_emit.h define it: the tests compare with it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Params:
    """The guest's parameters, with the defaults of its manifest."""

    width: int
    height: int
    fit: str = "letterbox"
    align: str = "centre"
    pad: int = 114
    layout: str = "nchw"
    order: str = "rgb"
    dtype: str = "u8"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    scale: float = 1.0
    zero_point: int = 0


def geometry(width: int, height: int, params: Params) -> list[int]:
    """Sizes of frame, image and content, and where the content lies; in whole fractions."""
    content = [params.width, params.height]
    if params.fit == "letterbox":
        scale = min(Fraction(params.width, width), Fraction(params.height, height))
        content = [max(1, round(width * scale)), max(1, round(height * scale))]
    x = y = 0
    if params.align == "centre":
        x, y = (params.width - content[0]) // 2, (params.height - content[1]) // 2
    return [width, height, params.width, params.height, *content, x, y]


def axis(size: int, to: int) -> tuple[Ints, Ints, Ints]:
    """Of each output element: the one before it, the one behind it, and the latter's weight."""
    before, behind, weights = [], [], []
    for i in range(to):
        at = Fraction(2 * i + 1, 2) * size / to - Fraction(1, 2)
        at = min(max(at, Fraction(0)), Fraction(size - 1))
        whole = at.numerator // at.denominator
        before.append(whole)
        behind.append(min(whole + 1, size - 1))
        weights.append(int((at - whole) * 32768 + Fraction(1, 2)))
    return np.array(before), np.array(behind), np.array(weights)


def between(a: Ints, b: Ints, weight: Ints) -> Ints:
    """The step of both passes: the product is rounded to the bits that it began with."""
    return a + (((b - a) * weight + 0x4000) >> 15)


def resize(frame: Pixels, width: int, height: int) -> Pixels:
    """`[H, W, C]` to `[height, width, C]`."""
    source = frame.astype(np.int64)
    upper, lower, weight = axis(frame.shape[0], height)
    blended = between(source[upper] * 128, source[lower] * 128, weight[:, None, None]) + 64
    left, right, weight = axis(frame.shape[1], width)
    return (between(blended[:, left], blended[:, right], weight[:, None]) >> 7).astype(np.uint8)


def ordered(picture: Pixels, order: str) -> Pixels:
    """`[H, W, C]` of a BGR or grey picture in the channel order of the image."""
    if picture.shape[2] == 1:
        return picture if order == "grey" else np.repeat(picture, 3, axis=2)
    if order == "grey":
        sums = picture.astype(np.int64) @ np.array([3735, 19235, 9798])
        return ((sums + (1 << 14)) >> 15).astype(np.uint8)[..., None]
    return picture[..., ::-1] if order == "rgb" else picture


def mapped(picture: Pixels, params: Params) -> NDArray[np.generic]:
    """Bytes `[H, W, C]` as elements of the image; float32 arithmetic throughout."""
    channels = picture.shape[2]
    mean = np.array(params.mean, np.float32)[:channels]
    inverse = np.float32(1) / np.array(params.std, np.float32)[:channels]
    real = (picture.astype(np.float32) - mean) * inverse
    if params.dtype == "f32":
        return real
    low, high = (0, 255) if params.dtype == "u8" else (-128, 127)
    steps = np.rint(real / np.float32(params.scale)).astype(np.float64) + params.zero_point
    return np.clip(steps, low, high).astype(np.uint8 if params.dtype == "u8" else np.int8)


def letterbox(frame: Pixels, params: Params) -> tuple[NDArray[np.generic], list[int]]:
    """The image and the geometry for a frame `[H, W, 3]` or `[H, W, 1]`."""
    place = geometry(frame.shape[1], frame.shape[0], params)
    width, height, x, y = place[4:]
    content = ordered(resize(frame, width, height), params.order)
    image = np.full((params.height, params.width, content.shape[2]), params.pad, np.uint8)
    image[y : y + height, x : x + width] = content
    out = mapped(image, params)
    return (out.transpose(2, 0, 1) if params.layout == "nchw" else out)[None], place
