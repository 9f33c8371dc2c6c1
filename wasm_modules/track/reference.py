"""What track computes, one number at a time: the reference that its tests compare it with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Box = tuple[float, float, float, float]

MOST = 256
FRAME_NS = 33_333_333
LONGEST_NS = 100_000_000_000
PREDICTED_NS = 1_000_000_000
IOU_ONE = 1 << 20
PLACE, SPEED = 1.0 / 20, 1.0 / 160
FLOAT_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class Params:
    """The guest's parameters, with the defaults of its manifest."""

    high: float = 0.5
    low: float = 0.1
    new_score: float = 0.6
    iou: float = 0.2
    keep_ms: int = 1000
    min_hits: int = 2
    across_classes: bool = False
    smooth: bool = False


@dataclass(frozen=True)
class Tracked:
    """What comes out, best score first, and which detection of the input each was."""

    boxes: Floats
    scores: Floats
    classes: Ints
    ids: Ints
    index: list[int]


def assign(weights: list[list[int]]) -> list[int]:
    """Of each row the column it is assigned or -1, for the greatest sum of weights.

    Args:
        weights: 0 or more, 0 for a pair that must not be; all rows equally long.
    """
    rows, columns = len(weights), len(weights[0]) if weights else 0
    turned = rows > columns
    few, many = min(rows, columns), max(rows, columns)
    near, far = [0] * (few + 1), [0] * (many + 1)
    owner = [0] * (many + 1)
    for i in range(1, few + 1):
        owner[0], at = i, 0
        slack, before, reached = [1 << 31] * (many + 1), [0] * (many + 1), [False] * (many + 1)
        while owner[at] or at == 0:
            reached[at] = True
            who = owner[at]
            for j in range(1, many + 1):
                weight = weights[j - 1][who - 1] if turned else weights[who - 1][j - 1]
                here = -weight - near[who] - far[j]
                if not reached[j] and here < slack[j]:
                    slack[j], before[j] = here, at
            following = min(
                (j for j in range(1, many + 1) if not reached[j]), key=slack.__getitem__
            )
            least = slack[following]
            for j in range(many + 1):
                if reached[j]:
                    near[owner[j]] += least
                    far[j] -= least
                else:
                    slack[j] -= least
            at = following
        while at:
            owner[at], at = owner[before[at]], before[at]
    found = [-1] * rows
    for j in range(1, many + 1):
        if owner[j]:
            row, column = (j - 1, owner[j] - 1) if turned else (owner[j] - 1, j - 1)
            if weights[row][column] > 0:
                found[row] = column
    return found


class Motion:
    """Four filters of a value and its speed: centre x and y, width, height."""

    def __init__(self, box: Box) -> None:
        self.value = self.measured(box)
        self.speed = [0.0] * 4
        self.p00 = [(2 * PLACE * size) * (2 * PLACE * size) for size in self.sizes()]
        self.p01 = [0.0] * 4
        self.p11 = [(10 * SPEED * size) * (10 * SPEED * size) for size in self.sizes()]

    @staticmethod
    def measured(box: Box) -> list[float]:
        """What is measured of a box."""
        return [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]]

    def sizes(self) -> list[float]:
        """What the noise of each value grows with."""
        width, height = (size if size > 1e-6 else 1e-6 for size in self.value[2:])
        return [width, height, width, height]

    def predict(self, frames: float, seen: bool) -> None:
        """Move on in time."""
        for i, size in enumerate(self.sizes()):
            place, speed = PLACE * size, SPEED * size
            if not seen and i >= 2:
                self.speed[i] = 0.0
            self.value[i] += frames * self.speed[i]
            self.p00[i] += frames * (2 * self.p01[i] + frames * self.p11[i]) + frames * (
                place * place
            )
            self.p01[i] += frames * self.p11[i]
            self.p11[i] += frames * (speed * speed)

    def update(self, box: Box) -> None:
        """Take in where it was found."""
        measured = self.measured(box)
        for i, size in enumerate(self.sizes()):
            noise = PLACE * size
            whole = self.p00[i] + noise * noise
            gain, speed_gain = self.p00[i] / whole, self.p01[i] / whole
            apart = measured[i] - self.value[i]
            self.value[i] += gain * apart
            self.speed[i] += speed_gain * apart
            self.p11[i] -= speed_gain * self.p01[i]
            self.p01[i] -= gain * self.p01[i]
            self.p00[i] -= gain * self.p00[i]

    def box(self) -> Box:
        """x1, y1, x2, y2."""
        x, y, width, height = self.value
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2


@dataclass
class Track:
    """Something followed."""

    motion: Motion
    class_id: int
    hits: int = 1
    number: int = 0
    unseen_ns: int = 0
    seen: bool = True
    found: int = -1


def is_box(box: Floats) -> bool:
    """Finite, with a width, a height, and an area that float32 can hold."""
    if not np.isfinite(box).all() or not (box[2] > box[0] and box[3] > box[1]):
        return False
    with np.errstate(over="ignore"):
        area = (box[2] - box[0]) * (box[3] - box[1])
    return bool(np.isfinite(area) and area > 0)


def overlap(a: Box, b: Box) -> int:
    """Intersection over union, 0 to IOU_ONE."""
    left, top, right, bottom = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    if not (right > left and bottom > top):
        return 0
    inter = (right - left) * (bottom - top)
    area, other = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return min(int(inter / (area + other - inter) * IOU_ONE), IOU_ONE)


@dataclass
class Tracker:
    """One camera's frames in turn."""

    params: Params
    tracks: list[Track] = field(default_factory=list)
    last_number: int = 0
    last_ns: int | None = None

    def reset(self) -> None:
        """Forget the frames before; numbers go on."""
        self.tracks, self.last_ns = [], None

    def frame(self, boxes: Floats, scores: Floats, classes: Ints, captured_ns: int) -> Tracked:
        """One frame's detections: boxes `[n, 4]`, scores `[n]`, classes `[n]`."""
        first = self.last_ns is None
        gone = min(captured_ns - (self.last_ns or 0), LONGEST_NS)
        gone = 0 if first else gone if gone > 0 else FRAME_NS
        self.last_ns = captured_ns
        self._predict(gone)
        low, high = np.float32(self.params.low), np.float32(self.params.high)
        ranked = [
            i
            for i in range(len(scores))
            if np.isfinite(scores[i]) and scores[i] >= low and is_box(boxes[i])
        ]
        ranked = sorted(ranked, key=lambda i: -scores[i])[:MOST]
        self.boxes = [tuple(map(float, boxes[i])) for i in ranked]
        self.classes = [int(classes[i]) for i in ranked]
        n_high = sum(scores[i] >= high for i in ranked)
        strong, weak = list(range(n_high)), list(range(n_high, len(ranked)))
        self._associate([t for t in self.tracks if t.number], strong, 0.0)
        self._associate([t for t in self.tracks if t.number and t.seen], weak, 0.5)
        self._associate([t for t in self.tracks if not t.number], strong, 0.3)
        self._update()
        self._begin(
            [i for i in strong if scores[ranked[i]] >= np.float32(self.params.new_score)], first
        )
        shown = sorted((t for t in self.tracks if t.seen and t.number), key=lambda t: t.found)
        index = [ranked[t.found] for t in shown]
        filtered = [np.clip(t.motion.box(), -FLOAT_MAX, FLOAT_MAX) for t in shown]
        smooth = np.array(filtered, np.float32).reshape(-1, 4)
        return Tracked(
            smooth if self.params.smooth else boxes[index],
            scores[index],
            classes[index],
            np.array([t.number for t in shown], np.int32),
            index,
        )

    def _predict(self, gone: int) -> None:
        kept = []
        for track in self.tracks:
            track.unseen_ns += gone
            track.found = -1
            if track.seen or track.unseen_ns <= self.params.keep_ms * 10**6:
                track.motion.predict(min(gone, PREDICTED_NS) / FRAME_NS, track.seen)
                kept.append(track)
        self.tracks = kept

    def _associate(self, tracks: list[Track], ranks: list[int], least_iou: float) -> None:
        taken = {track.found for track in self.tracks}
        tracks = [track for track in tracks if track.found < 0]
        ranks = [i for i in ranks if i not in taken]
        least = int(max(float(np.float32(self.params.iou)), least_iou) * IOU_ONE)
        weights = []
        for track in tracks:
            box = track.motion.box()
            row = []
            for i in ranks:
                alike = self.params.across_classes or self.classes[i] == track.class_id
                share = overlap(box, self.boxes[i]) if alike else 0
                row.append(share - least + 1 if share and share >= least else 0)
            weights.append(row)
        for track, column in zip(tracks, assign(weights), strict=True):
            if column >= 0:
                track.found = ranks[column]

    def _update(self) -> None:
        for track in self.tracks:
            track.seen = track.found >= 0
            if track.seen:
                track.motion.update(self.boxes[track.found])
                track.class_id = self.classes[track.found]
                track.unseen_ns = 0
                track.hits += 1
        self.tracks = [track for track in self.tracks if track.seen or track.number]
        for track in self.tracks:
            self._confirm(track, at_once=False)

    def _confirm(self, track: Track, *, at_once: bool) -> None:
        if not track.number and (at_once or track.hits >= self.params.min_hits):
            self.last_number += 1
            track.number = self.last_number

    def _begin(self, ranks: list[int], first: bool) -> None:
        taken = {track.found for track in self.tracks}
        for i in ranks:
            if i in taken:
                continue
            track = Track(Motion(self.boxes[i]), self.classes[i], found=i)
            if len(self.tracks) < MOST:
                self.tracks.append(track)
            else:
                unseen = [t for t in range(MOST) if not self.tracks[t].seen]
                if not unseen:
                    return
                oldest = max(unseen, key=lambda t: self.tracks[t].unseen_ns)
                self.tracks[oldest] = track
            self._confirm(track, at_once=first)
