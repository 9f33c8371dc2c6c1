"""What centerface_decode computes, one number at a time in float64: the reference of its tests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Map:
    """One map as the model gives it: `[1, channels, h, w]`; scale 0 where not quantized."""

    stored: NDArray[np.generic]
    scale: float = 0.0
    zero_point: int = 0

    def real(self, channel: int, row: int, column: int) -> float:
        """One value, a quantized one rounded to float32 as the guest does."""
        value = self.stored[0, channel, row, column].item()
        if not self.scale:
            return float(value)
        return float(np.float32(self.scale) * np.float32(value - self.zero_point))

    def above(self, row: int, column: int, bound: float) -> bool:
        """Whether a value of channel 0 is above a bound, without rounding."""
        value = self.stored[0, 0, row, column].item()
        if isinstance(value, int):
            return Fraction(self.scale or 1) * (value - self.zero_point) > Fraction(bound)
        return value > bound


@dataclass(frozen=True)
class Face:
    """A candidate: score, box x1, y1, x2, y2 and five points x, y, in pixels."""

    score: float
    box: tuple[float, float, float, float]
    points: list[tuple[float, float]]


def exponential(x: float) -> float:
    """e^x as float32 has it: inf where it is too large, NaN for NaN."""
    with np.errstate(over="ignore", under="ignore"):
        return float(np.exp(np.float64(x)).astype(np.float32))


def face(
    heatmap: Map, scale: Map, offset: Map, landmarks: Map, row: int, column: int
) -> Face | None:
    """The face with its centre in a cell, or None when something in it is not finite."""
    high, wide = (4.0 * size for size in heatmap.stored.shape[2:])
    h, w = (4 * exponential(scale.real(channel, row, column)) for channel in (0, 1))
    left = (column + offset.real(1, row, column) + 0.5) * 4 - w / 2
    top = (row + offset.real(0, row, column) + 0.5) * 4 - h / 2
    if not all(abs(value) < 3.4028235e38 for value in (h, w, left, top)):
        return None
    x1, y1 = min(max(left, 0), wide), min(max(top, 0), high)
    points = [
        (
            landmarks.real(2 * j + 1, row, column) * w + x1,
            landmarks.real(2 * j, row, column) * h + y1,
        )
        for j in range(5)
    ]
    score = heatmap.real(0, row, column)
    if not all(abs(value) < 3.4028235e38 for point in points for value in point):
        return None
    if not math.isfinite(score):
        return None
    return Face(score, (x1, y1, min(x1 + w, wide), min(y1 + h, high)), points)


def decode(
    heatmap: Map, scale: Map, offset: Map, landmarks: Map, score: float, max_candidates: int = 1000
) -> list[Face]:
    """Candidates in row-major order; of too many the best, the first of equal scores."""
    _, _, height, width = heatmap.stored.shape
    found = []
    for row in range(height):
        for column in range(width):
            if heatmap.above(row, column, score):
                one = face(heatmap, scale, offset, landmarks, row, column)
                if one is not None:
                    found.append(one)
    ranked = sorted(range(len(found)), key=lambda i: (-found[i].score, i))[:max_candidates]
    return [found[i] for i in sorted(ranked)]
