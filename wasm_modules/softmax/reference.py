"""What softmax computes, one number at a time in float64: the reference of its tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def row(logits: Sequence[float], temperature: float) -> list[float]:
    """The probabilities of one row; see the head of softmax.c for infinities and NaN."""
    if any(math.isnan(x) for x in logits):
        return [math.nan] * len(logits)
    most = max(logits)
    shares = [1.0 if x == most else math.exp((x - most) / temperature) for x in logits]
    total = math.fsum(shares)
    return [share / total for share in shares]


def softmax(logits: NDArray[np.float64], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities along the last dimension.

    Args:
        logits: real values `[..., classes]`.
        temperature: they are divided by it.

    Returns:
        float64 of the same shape.
    """
    out = np.zeros(logits.shape)
    for index in np.ndindex(logits.shape[:-1]):
        if logits.shape[-1]:
            out[index] = row([float(x) for x in logits[index]], temperature)
    return out
