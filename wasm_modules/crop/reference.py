"""Which part of a frame crop cuts out: the rest is letterbox's reference."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def part(frame: NDArray[np.uint8], box: NDArray[np.float32], margin: float) -> NDArray[np.uint8]:
    """The pixels of a frame `[H, W, C]` that a box is given; none of them when it is no box."""
    height, width = frame.shape[:2]
    nothing = frame[:0, :0]
    if not np.isfinite(box).all() or not (box[2] > box[0] and box[3] > box[1]):
        return nothing
    with np.errstate(over="ignore"):
        area = (box[2] - box[0]) * (box[3] - box[1])
    if not np.isfinite(area) or not area > 0:
        return nothing
    x1, y1, x2, y2 = map(float, box)
    added = float(np.float32(margin))
    across, down = (x2 - x1) * added, (y2 - y1) * added
    left, top = math.floor(max(0.0, x1 - across)), math.floor(max(0.0, y1 - down))
    right, bottom = math.ceil(min(width, x2 + across)), math.ceil(min(height, y2 + down))
    return frame[top:bottom, left:right] if right > left and bottom > top else nothing
