"""The usual measures of tracking.

CLEAR MOT (Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance", 2008): in
each frame objects and tracks are matched, those that were matched before first where they still
overlap by half; missed objects, false boxes and changes of id make MOTA. IDF1 (Ristani et al.,
"Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", 2016): the share of
boxes that bear the right id when each object is given one track over the whole scene.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from tracking import Frame, iou

LEAST_IOU = 0.5


@dataclass(frozen=True)
class Measures:
    """Of one scene: counts, and the two shares that are 1 at best."""

    objects: int
    missed: int
    false: int
    switches: int
    fragments: int
    idf1: float

    @property
    def mota(self) -> float:
        """1 less the share of all that went wrong."""
        return 1 - (self.missed + self.false + self.switches) / self.objects


def _matched(truth: Frame, found: Frame, before: dict[int, int]) -> dict[int, int]:
    """Object to track: as before where that still holds, the rest for the greatest overlap."""
    kept: dict[int, int] = {}
    for number in truth:
        track = before.get(number, -1)
        free = track in found and track not in kept.values()
        if free and iou(truth[number], found[track]) >= LEAST_IOU:
            kept[number] = track
    objects = [number for number in truth if number not in kept]
    tracks = [number for number in found if number not in kept.values()]
    table = np.array([[iou(truth[i], found[j]) for j in tracks] for i in objects])
    if table.size:
        table[table < LEAST_IOU] = -1e3
        for i, j in zip(*linear_sum_assignment(table, maximize=True), strict=True):
            if table[i, j] >= LEAST_IOU:
                kept[objects[i]] = tracks[j]
    return kept


def measure(truth: list[Frame], found: list[Frame]) -> Measures:
    """Compare what a tracker found with what there was, frame by frame."""
    objects = missed = false = switches = fragments = 0
    last: dict[int, int] = {}
    lost: set[int] = set()
    together: dict[tuple[int, int], int] = defaultdict(int)
    for there, seen in zip(truth, found, strict=True):
        pairs = _matched(there, seen, last)
        objects += len(there)
        missed += len(there) - len(pairs)
        false += len(seen) - len(pairs)
        for number, track in pairs.items():
            switches += last.get(number, track) != track
            fragments += number in lost
            lost.discard(number)
            last[number] = track
        lost |= {number for number in there if number in last and number not in pairs}
        for number, box in there.items():
            for track, other in seen.items():
                together[number, track] += iou(box, other) >= LEAST_IOU
    numbers = sorted({number for frame in truth for number in frame})
    tracks = sorted({track for frame in found for track in frame})
    table = np.array([[together[number, track] for track in tracks] for number in numbers])
    right = 0
    if table.size:
        right = int(table[linear_sum_assignment(table, maximize=True)].sum())
    boxes = sum(map(len, truth)) + sum(map(len, found))
    return Measures(
        objects, missed, false, switches, fragments, 2 * right / boxes if boxes else 1.0
    )
