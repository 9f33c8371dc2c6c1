"""What nms computes, one number at a time: the reference that its tests compare it with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Detections:
    """What is left, best first: boxes `[n, 4]`, scores `[n]`, classes `[n]`, points `[n, p, 2]`."""

    boxes: Floats
    scores: Floats
    classes: Ints
    points: Floats | None
    index: list[int]
    """Which candidate each of them was."""


def area(box: Floats) -> np.float32:
    """Of a box in float32; 0 when it is none."""
    if not np.isfinite(box).all() or not (box[2] > box[0] and box[3] > box[1]):
        return np.float32(0)
    value = (box[2] - box[0]) * (box[3] - box[1])
    return value if np.isfinite(value) else np.float32(0)


def overlaps(box: Floats, other: Floats, iou: np.float32) -> bool:
    """Whether the intersection over the union is above `iou`, in float32 without a division."""
    width = max(np.float32(0), min(box[2], other[2]) - max(box[0], other[0]))
    height = max(np.float32(0), min(box[3], other[3]) - max(box[1], other[1]))
    inter = width * height
    return bool(inter > iou * ((area(box) + area(other)) - inter))


def to_frame(points: Floats, geometry: Ints) -> Floats:
    """Map x, y pairs (the last dimension) from the model's input to the frame.

    Args:
        points: pixels of the model's input.
        geometry: frame, image and content width and height, content x and y.
    """
    size, content, origin = (geometry[i : i + 2].astype(np.float64) for i in (0, 4, 6))
    return ((points.astype(np.float64) - origin) * size / content).astype(np.float32)


def nms(
    boxes: Floats,
    scores: Floats,
    classes: Ints,
    points: Floats | None = None,
    geometry: Ints | None = None,
    *,
    iou: float = 0.45,
    score: float = 0.0,
    max_detections: int = 300,
    across_classes: bool = False,
) -> Detections:
    """Greedy non-maximum suppression; the arguments are the guest's inputs and parameters."""
    threshold, limit = np.float32(score), np.float32(iou)
    placed = boxes
    if geometry is not None:
        frame = geometry[:2].astype(np.float32)
        placed = to_frame(boxes.reshape(-1, 2, 2), geometry)
        placed = np.minimum(np.maximum(placed, 0), frame).reshape(-1, 4) + np.float32(0)
        points = None if points is None else to_frame(points, geometry)
    order = sorted(
        (i for i, value in enumerate(scores) if value > threshold and np.isfinite(value)),
        key=lambda i: -scores[i],  # sorted() is stable: equal scores stay in order
    )
    kept: list[int] = []
    for i in order:
        if len(kept) == max_detections:
            break
        empty = placed[i, 2] <= placed[i, 0] or placed[i, 3] <= placed[i, 1]
        if not area(boxes[i]) > 0 or empty:
            continue
        if points is not None and not np.isfinite(points[i]).all():
            continue
        rivals = (j for j in kept if across_classes or classes[j] == classes[i])
        if not any(overlaps(boxes[i], boxes[j], limit) for j in rivals):
            kept.append(i)
    return Detections(
        placed[kept],
        scores[kept],
        classes[kept],
        None if points is None else points[kept],
        kept,
    )
