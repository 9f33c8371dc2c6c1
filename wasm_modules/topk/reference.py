"""What topk computes, one number at a time: the reference of its tests."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def row(
    stored: NDArray[np.generic], k: int, score: float, scale: float, zero_point: int
) -> tuple[list[float], list[int]]:
    """The scores and classes of one row, best first.

    Args:
        stored: `[classes]` of float32, uint8 or int8.
        k: how many at most.
        score: the least real value; -inf for all.
        scale: of quantized values; 0 where they stand for themselves.
        zero_point: likewise.
    """
    values = [x.item() for x in stored]
    exact = Fraction(scale) if scale else Fraction(1)

    def passes(value: float) -> bool:
        if isinstance(value, int):
            return score == -math.inf or exact * (value - zero_point) >= Fraction(score)
        return value >= score

    indices = [i for i, value in enumerate(values) if not math.isnan(value) and passes(value)]
    indices = sorted(indices, key=lambda i: (-values[i], i))[:k]
    factor = np.float32(scale or 1)
    reals = [
        float(factor * np.float32(values[i] - zero_point)) if scale else float(values[i])
        for i in indices
    ]
    return reals, indices


def topk(
    stored: NDArray[np.generic],
    k: int = 5,
    score: float = 0.0,
    *,
    scale: float = 0.0,
    zero_point: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Scores and classes `[batch, k]`, or `[k]` for an input of rank 1."""
    rows = stored.reshape(-1, stored.shape[-1]) if stored.size else stored
    batch = 1 if stored.ndim == 1 else stored.shape[0]
    count = min(k, stored.shape[-1])
    if batch == 1:
        scores, classes = row(rows.reshape(-1), k, score, scale, zero_point)
        shape = [len(scores)] if stored.ndim == 1 else [1, len(scores)]
        return np.array(scores, np.float32).reshape(shape), np.array(classes, np.int32).reshape(
            shape
        )
    out = np.full((batch, count), -np.inf, np.float32), np.full((batch, count), -1, np.int32)
    for index in range(batch):
        scores, classes = row(rows[index], k, -math.inf, scale, zero_point)
        out[0][index, : len(scores)] = scores
        out[1][index, : len(classes)] = classes
    return out
