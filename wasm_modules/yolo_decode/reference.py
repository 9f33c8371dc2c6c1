"""What yolo_decode computes, one number at a time: the reference that its tests compare it with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Stored = NDArray[np.float32] | NDArray[np.uint8] | NDArray[np.int8]


@dataclass(frozen=True)
class Candidates:
    """In the order of the anchors: boxes `[n, 4]`, scores `[n]`, classes `[n]`."""

    boxes: Floats
    scores: Floats
    classes: Ints


def dequantize(stored: Stored, scale: float, zero_point: int) -> Floats:
    """The real values in float32: one subtraction of integers, one product."""
    if stored.dtype == np.float32:
        return stored.astype(np.float32)
    return np.float32(scale) * (stored.astype(np.int32) - zero_point).astype(np.float32)


def rows_of(
    version: str, output: Floats, class_scores: Floats | None = None
) -> tuple[Floats, Floats]:
    """Boxes `[N, 4]` and scores `[N, C]` (v5: `[N, 1+C]`), of one joined tensor or of two.

    Args:
        version: `v5` or `v8`.
        output: the real values of the first input.
        class_scores: those of the second, where they are split.
    """
    parts = [part[0] for part in (output, class_scores) if part is not None]
    joined = np.concatenate([part.T if version == "v8" else part for part in parts], axis=1)
    return joined[:, :4], joined[:, 4:]


def decode(
    version: str, boxes: Floats, scores: Floats, *, score: float = 0.25, max_candidates: int = 1000
) -> Candidates:
    """Candidates from rows.

    Args:
        version: `v5`, with objectness as the first score, or `v8`.
        boxes: `[N, 4]`, cx, cy, w, h.
        scores: as `rows_of` gives them.
        score: a score has to be above it.
        max_candidates: of more, the best are kept.
    """
    threshold = np.float32(score)
    found: list[tuple[np.float32, int, int, Floats]] = []
    with np.errstate(invalid="ignore", over="ignore"):
        for anchor, (row, (cx, cy, w, h)) in enumerate(zip(scores, boxes, strict=True)):
            best, class_id = -np.float32(np.inf), -1
            for index, value in enumerate(row[1:] if version == "v5" else row):
                if value > best:
                    best, class_id = value, index
            if version == "v5":
                if not row[0] > threshold:
                    continue
                best = row[0] * best
            half_w, half_h = np.float32(0.5) * w, np.float32(0.5) * h
            box = np.array([cx - half_w, cy - half_h, cx + half_w, cy + half_h], np.float32)
            if best > threshold and np.isfinite(best) and np.isfinite(box).all():
                found.append((best, anchor, class_id, box))
    best_first = sorted(found, key=lambda item: (-item[0], item[1]))[:max_candidates]
    kept = sorted(best_first, key=lambda item: item[1])
    return Candidates(
        np.array([item[3] for item in kept], np.float32).reshape(-1, 4),
        np.array([item[0] for item in kept], np.float32),
        np.array([item[2] for item in kept], np.int32),
    )
