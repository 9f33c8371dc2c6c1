"""What comes out of a pipeline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sanderling.errors import ConfigError

if TYPE_CHECKING:
    import supervision

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]


_FOUND = frozenset({"boxes", "scores", "classes", "points", "ids"})
MAX_VALUES = 1000
"""Elements of a tensor that a JSON line gives one by one."""


def _label(labels: tuple[str, ...], index: int) -> str:
    return labels[index] if 0 <= index < len(labels) else str(index)


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Things found in a frame, best score first.

    Attributes:
        boxes: float32 `[n, 4]`: x1, y1, x2, y2 in pixels of the frame.
        scores: float32 `[n]`, 0 to 1.
        classes: int32 `[n]`.
        points: float32 `[n, points, 2]`: x, y in pixels of the frame; None when the model has none.
        labels: the names of the classes, in order; may be empty.
        ids: int32 `[n]`: the same number for the same thing from frame to frame; None without a
            tracker.
        attributes: what a second model says of each, a row for each of the first rows here; None
            without one.
    """

    boxes: Floats
    scores: Floats
    classes: Ints
    points: Floats | None = None
    labels: tuple[str, ...] = ()
    ids: Ints | None = None
    attributes: Classes | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def label(self, index: int) -> str:
        """The name of a detection's class; its number when it has no name."""
        return _label(self.labels, int(self.classes[index]))

    def to_supervision(self) -> supervision.Detections:
        """The same as the package `supervision` has it, to draw, count and filter with.

        Returns:
            `xyxy`, `confidence`, `class_id` and `tracker_id` are these boxes, scores, classes and
            ids themselves, not copies. `data` has `class_name`, a label for each, and `points`
            where there are some.

        Raises:
            ConfigError: supervision is not installed, or lacks something that it needs.
        """
        try:
            import supervision  # noqa: PLC0415 - an extra, and it takes most of a second
        except ImportError as exc:
            raise ConfigError(
                f"to_supervision: {exc}; install it: pip install 'sanderling[supervision]'"
            ) from exc
        labels = np.array([self.label(index) for index in range(len(self))], dtype=np.str_)
        points = {} if self.points is None else {"points": self.points}
        return supervision.Detections(
            xyxy=self.boxes,
            confidence=self.scores,
            class_id=self.classes,
            tracker_id=self.ids,
            data={"class_name": labels, **points},
        )

    def as_dicts(self) -> list[dict[str, object]]:
        """For JSON: box and points to 2 decimals of a pixel, score to 4."""
        found = []
        for index in range(len(self)):
            item: dict[str, object] = {
                "box": [round(float(value), 2) for value in self.boxes[index]],
                "score": round(float(self.scores[index]), 4),
                "class": int(self.classes[index]),
                "label": self.label(index),
            }
            if self.points is not None:
                item["points"] = [
                    [round(float(x), 2), round(float(y), 2)] for x, y in self.points[index]
                ]
            if self.ids is not None:
                item["id"] = int(self.ids[index])
            if self.attributes is not None and index < len(self.attributes):
                item["attributes"] = self.attributes.row(index).as_dicts()
            found.append(item)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """What a whole frame shows, or each thing in it, most probable first.

    Attributes:
        classes: int32 `[k]`; as the attributes of detections `[n, k]`.
        scores: float32 `[k]` or `[n, k]`, probabilities when a softmax was in the pipeline.
        labels: the names of the classes, in order; may be empty.
    """

    classes: Ints
    scores: Floats
    labels: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.classes)

    def row(self, index: int) -> Classes:
        """Of attributes: those of one detection, `[k]`."""
        return Classes(self.classes[index], self.scores[index], self.labels)

    def label(self, index: int) -> str:
        """The name of the class at this place; its number when it has no name."""
        return _label(self.labels, int(self.classes[index]))

    def as_dicts(self) -> list[dict[str, object]]:
        """For JSON: score to 4 decimals."""
        return [
            {
                "class": int(self.classes[index]),
                "label": self.label(index),
                "score": round(float(self.scores[index]), 4),
            }
            for index in range(len(self))
        ]


def _plain(value: npt.NDArray[np.generic]) -> object:
    """A tensor for JSON: its values, or what it is when they would fill a book."""
    if value.size <= MAX_VALUES:
        return value.tolist()
    return {"dtype": str(value.dtype), "shape": list(value.shape)}


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What a pipeline made of one frame.

    Attributes:
        sequence: the frame's number.
        captured_ns: its capture time, monotonic, in ns.
        source: where it came from.
        detections: what was found, for a detecting pipeline, else None.
        classes: what the frame shows, for a classifying pipeline, else None.
        tensors: the last stage's outputs by name, dequantized only if a guest did so; and the
            boxes, scores, classes and points of the stage that found something last.
        timings_ns: nanoseconds of each stage by name, in order.
        wall_ns: the frame's capture time by the wall clock, in ns since 1970; 0 when not known.
        skipped: the stage that said that the frame needs nothing more, such as a motion gate; then
            nothing was looked for. Empty otherwise.
    """

    sequence: int
    captured_ns: int
    source: str
    detections: Detections | None
    classes: Classes | None
    tensors: dict[str, npt.NDArray[np.generic]]
    timings_ns: dict[str, int]
    wall_ns: int = 0
    skipped: str = ""

    def moved(self, x: int, y: int) -> Result:
        """The same in pixels of a larger picture, in which this one begins at x, y."""
        if self.detections is None or not (x or y):
            return self
        found = self.detections
        by = np.array([x, y], np.float32)
        boxes = (found.boxes.reshape(-1, 2, 2) + by).reshape(-1, 4)
        points = None if found.points is None else found.points + by
        tensors = self.tensors | {"boxes": boxes} | ({} if points is None else {"points": points})
        detections = replace(found, boxes=boxes, points=points)
        return replace(self, detections=detections, tensors=tensors)

    def as_dict(self) -> dict[str, object]:
        """The line that `--json` writes."""
        line: dict[str, object] = {"frame": self.sequence, "source": self.source}
        if self.detections is not None:
            line["detections"] = self.detections.as_dicts()
        elif self.classes is not None:
            line["classes"] = self.classes.as_dicts()
        if self.skipped:
            line["skipped"] = self.skipped
        rest = {name: value for name, value in self.tensors.items() if name not in _FOUND}
        if rest or (self.detections is None and self.classes is None):
            line["tensors"] = {name: _plain(value) for name, value in rest.items()}
        line["timings_ms"] = {
            stage: round(spent / 1e6, 3) for stage, spent in self.timings_ns.items()
        }
        return line
