"""A test pattern: a picture whose content follows from its number, and tells it.

A strip at the top carries the number as two rows of sixteen black or white blocks, large enough to
be read again after a lossy codec or a resize: 24 bits of the number, 8 bits that check them. Below
it a square moves over a still background.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sanderling.frame import Image
from sanderling.source import put, usable

LEAST_WIDTH = 64
LEAST_HEIGHT = 32
NUMBERS = 1 << 24
"""Numbers start over after so many."""

_COLUMNS = 16
_ROWS = 2
_BITS = np.arange(_COLUMNS * _ROWS, dtype=np.uint32)
_STEP = 3
_SQUARE = np.array([(60, 220, 240), (240, 90, 60), (90, 240, 90), (230, 80, 230)], np.uint8)


def render(number: int, height: int, width: int, into: Image | None = None) -> Image:
    """The picture of this number.

    Args:
        number: from 0; it is taken modulo `NUMBERS`.
        height: in pixels, `LEAST_HEIGHT` or more.
        width: in pixels, `LEAST_WIDTH` or more.
        into: where to draw it, if it is exactly of that size; all of it is written.

    Returns:
        uint8 `[height, width, 3]`, BGR.
    """
    background = _background(height, width)
    into = usable(into)
    if into is None or into.shape != background.shape:
        into = np.empty_like(background)
    image = put(background, into)
    number %= NUMBERS
    block, strip = _blocks(height, width)
    bits = (np.uint32(number << 8 | _check(number)) >> _BITS & 1).astype(np.uint8) * np.uint8(255)
    rows = bits.reshape(_ROWS, _COLUMNS).repeat(block, axis=1)
    for row in range(_ROWS):
        image[row * strip : (row + 1) * strip, : block * _COLUMNS] = rows[row, :, None]
    top, left, side = square(number, height, width)
    image[top : top + side, left : left + side] = _SQUARE[number // 64 % len(_SQUARE)]
    return image


def square(number: int, height: int, width: int) -> tuple[int, int, int]:
    """Where the square is: its top, left and side, in pixels."""
    _, strip = _blocks(height, width)
    side = max(4, min(height, width) // 6)
    return (
        _ROWS * strip + _bounce(number, height - _ROWS * strip - side),
        _bounce(number * _STEP, width - side),
        side,
    )


def read_number(image: Image) -> int | None:
    """The number in a picture, if it has one that can be read.

    Args:
        image: uint8 `[height, width, 3]`, of any size at least the least.
    """
    height, width = image.shape[:2]
    if height < LEAST_HEIGHT or width < LEAST_WIDTH:
        return None
    block, strip = _blocks(height, width)
    found = 0
    for bit in range(_COLUMNS * _ROWS):
        row, column = divmod(bit, _COLUMNS)
        # The middle of the block: a codec smears its edges.
        across = slice(column * block + block // 4, (column + 1) * block - block // 4)
        down = slice(row * strip + strip // 4, (row + 1) * strip - strip // 4)
        found |= int(image[down, across].mean() > 127) << bit
    number, check = found >> 8, found & 0xFF
    return number if check == _check(number) else None


def _check(number: int) -> int:
    # All black and all white must not pass for a number.
    return ((number * 0x9E3779B1 >> 13) ^ number ^ 0xA5) & 0xFF


def _blocks(height: int, width: int) -> tuple[int, int]:
    """The width and the height of a block."""
    return width // _COLUMNS, max(4, height // 16)


def _bounce(at: int, room: int) -> int:
    """To and fro between 0 and the room."""
    if room <= 0:
        return 0
    at %= 2 * room
    return min(at, 2 * room - at)


@lru_cache(maxsize=4)
def _background(height: int, width: int) -> Image:
    down = np.linspace(40, 120, height)[:, None]
    across = np.linspace(0, 60, width)[None, :]
    image = np.empty((height, width, 3), np.uint8)
    for channel, share in enumerate((1.0, 0.8, 0.6)):
        image[:, :, channel] = down * share + across
    image.flags.writeable = False
    return image
