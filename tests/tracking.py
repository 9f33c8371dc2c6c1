"""Scenes for a tracker: what there is in each frame, and what a detector sees of it."""

from __future__ import annotations

import numpy as np

FRAME_NS = 33_333_333

Frame = dict[int, np.ndarray]
"""Boxes x1, y1, x2, y2 by the number of the object, or by the id of the track."""


def detections(boxes, scores, classes=None, points=None):
    count = len(scores)
    boxes = np.asarray(boxes, np.float32).reshape(count, 4)
    classes = np.zeros(count) if classes is None else classes
    inputs = [boxes, np.asarray(scores, np.float32), np.asarray(classes, np.int32)]
    return inputs if points is None else [*inputs, points]


def room(count, points=None):
    """Inputs to set up with, for so many detections."""
    marks = None if points is None else np.zeros((count, points, 2), np.float32)
    return detections(np.zeros((count, 4)), np.zeros(count), points=marks)


def follow(guest, frames, params=None, step_ns=FRAME_NS):
    """The boxes of each frame by id; None among the frames is one that was dropped."""
    guest.setup(room(max(len(frame[1]) for frame in frames if frame)), params or {})
    found = []
    for index, frame in enumerate(frames):
        if frame is None:
            continue
        boxes, _, _, _, ids = guest.run(frame, captured_ns=10**12 + index * step_ns)
        found.append(dict(zip(ids.data.tolist(), boxes.data, strict=True)))
    return found


def walk(start, way, frames, size=(40, 80)):
    """A box that moves steadily: `[frames, 4]`."""
    corner = np.array(start) + np.arange(frames)[:, None] * np.array(way)
    return np.c_[corner, corner + size]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(inter / (area - inter))


def seen_of(rng, truth, *, missed=0.05, faint=0.1, false=0.3, jitter=1.5):
    """What a detector sees of a scene: boxes shake, some are missed, hidden ones score low."""
    frames = []
    for there in truth:
        boxes, scores = [], []
        numbers = rng.permutation(sorted(there))
        for number in numbers:
            box = there[number]
            covered = max(
                (iou(box, there[o]) for o in there if o != number and there[o][3] > box[3]),
                default=0.0,
            )
            if rng.random() < missed or covered > 0.6:
                continue
            boxes.append(box + rng.normal(0, jitter, 4))
            low = covered > 0.25 or rng.random() < faint
            scores.append(rng.uniform(0.15, 0.45) if low else rng.uniform(0.65, 0.95))
        for _ in range(rng.poisson(false)):
            corner = rng.uniform(0, 900, 2)
            boxes.append([*corner, *(corner + rng.uniform(20, 80, 2))])
            scores.append(rng.uniform(0.1, 0.75))
        frames.append(detections(boxes, scores))
    return frames


def crossing(rng):
    """Ten that come from the left and ten from the right, on lanes that overlap."""
    truth = []
    for index in range(150):
        there = {}
        for number in range(20):
            lane, way = number // 2, 1 if number % 2 else -1
            x = 450 - way * (420 + 60 * (lane % 3)) + way * (5 + lane % 4) * index
            y = 40 + 70 * lane + 12 * (number % 2)
            if -40 < x < 900:
                there[number] = np.array([x, y, x + 36, y + 66.0])
        truth.append(there)
    return truth


def wandering(rng, slowest=0.008, fastest=0.03):
    """Twelve that go about on curves and meet."""
    phase, pace = rng.uniform(0, 6.28, (12, 2)), rng.uniform(slowest, fastest, (12, 2))
    size = rng.uniform(40, 90, (12, 2))
    truth = []
    for index in range(300):
        centre = 450 + 380 * np.sin(phase + pace * index)
        truth.append(
            {number: np.r_[centre[number] - size[number] / 2, centre[number] + size[number] / 2]
             for number in range(12)}
        )  # fmt: skip
    return truth


def with_gaps(rng):
    """Slower, each out of sight for 0.3 to 0.8 s now and then: the truth is missing there too."""
    truth = wandering(rng, 0.003, 0.012)
    for number in range(12):
        for start in range(20 + 5 * number, 280, 70):
            for index in range(start, min(300, start + int(rng.integers(9, 24)))):
                truth[index].pop(number)
    return truth


SCENES = {"crossing": crossing, "wandering": wandering, "gaps": with_gaps}
