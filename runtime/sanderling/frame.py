"""A frame: one picture with a capture time and a number."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sanderling.errors import SourceError

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture.

    Attributes:
        image: uint8 `[height, width, 3]`, BGR.
        sequence: its number within its source, from 0.
        captured_ns: when it was captured, monotonic clock, in ns; 0 when that has no meaning.
        source: the file, camera or address it came from.
        wall_ns: when it was captured, wall clock, in ns since 1970; 0 when that has no meaning.
    """

    image: Image = field(repr=False)
    sequence: int = 0
    captured_ns: int = 0
    source: str = ""
    wall_ns: int = 0


def check_image(image: object, what: str = "the image") -> Image:
    """The image, if it is one.

    Raises:
        SourceError: it is not uint8 `[height, width, 3]`, or is empty; says what it is.
    """
    if not isinstance(image, np.ndarray):
        raise SourceError(f"{what}: {type(image).__name__} instead of a numpy array")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise SourceError(
            f"{what}: {image.dtype} {list(image.shape)} instead of uint8 [height, width, 3] in BGR"
        )
    return image
