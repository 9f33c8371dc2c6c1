"""How far two variants of a model find the same. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sanderling.detections import Classes, Detections, Result

_SAME_BOX = 0.5


def share(reference: Sequence[Result], others: Sequence[Result]) -> float | None:
    """How far two variants find the same in the same pictures.

    Of detections the share of both sides' boxes that have a partner of the same class at IoU 0.5
    (the F1 score); of classes the share of pictures with the same first one.

    Returns:
        0 to 1; None when there is nothing to compare.
    """
    matched = total = 0
    for one, other in zip(reference, others, strict=True):
        if one.detections is not None and other.detections is not None:
            matched += 2 * _matched(one.detections, other.detections)
            total += len(one.detections) + len(other.detections)
        elif one.classes is not None and other.classes is not None:
            matched += int(_first(one.classes) == _first(other.classes))
            total += 1
    return matched / total if total else None


def _matched(one: Detections, other: Detections) -> int:
    """Pairs of boxes, the best of `one` first, each with the box of `other` that fits it best."""
    free = np.ones(len(other), bool)
    pairs = 0
    for index in range(len(one)):
        overlap = _iou(one.boxes[index], other.boxes)
        overlap[~free | (other.classes != one.classes[index])] = 0.0
        if len(overlap) and overlap.max() >= _SAME_BOX:
            free[int(overlap.argmax())] = False
            pairs += 1
    return pairs


def _iou(
    box: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    boxes: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Intersection over union of a box `[4]` with boxes `[n, 4]`, float32 `[n]`."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    overlap: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = shared / np.maximum(
        areas - shared, np.float32(1e-9)
    )
    return overlap


def _first(classes: Classes) -> int | None:
    return int(classes.classes[0]) if len(classes) else None


def found(result: Result) -> int:
    """How many things a result has; of a classifier, 1 where it has a class."""
    if result.detections is not None:
        return len(result.detections)
    return 1 if result.classes is not None and len(result.classes) else 0
