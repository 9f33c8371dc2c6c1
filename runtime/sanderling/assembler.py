"""From the tensors that a lane hands out to a `Result`."""

from __future__ import annotations

from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from sanderling.detections import Classes, Detections, Result
from sanderling.errors import GuestViolation
from sanderling.frame import Frame
from sanderling.lane import Lane
from sanderling.plan import Plan
from sanderling.stages import Stages

Made = dict[str, npt.NDArray[np.generic]]
_ATTRIBUTES = ("attributes.scores", "attributes.classes")


class Assembler:
    """Knows what each tensor of a plan's results means.

    Args:
        loaded: the pipeline, for the names of the classes.
        plan: its plan.
    """

    def __init__(self, loaded: Stages, plan: Plan) -> None:
        self._found_by = plan.stages[plan.found_by].name if plan.found_by >= 0 else ""
        self._labels = loaded.labels(plan.found_by if plan.found_by >= 0 else None)
        self._said_by = plan.stages[plan.attributes_by].name if plan.attributes_by >= 0 else ""
        self._attribute_labels = loaded.labels(plan.attributes_by) if self._said_by else ()

    def result(self, frame: Frame, lane: Lane, timings: dict[str, int]) -> Result:
        """What a frame came to.

        Args:
            frame: the frame that the lane ran last.
            lane: the lane.
            timings: what its `run` returned.

        Raises:
            GuestViolation: what was found does not belong together, row by row.
        """
        made: Made = {} if lane.skipped else lane.results()
        found = self._found(made)
        return Result(
            sequence=frame.sequence,
            captured_ns=frame.captured_ns,
            source=frame.source,
            detections=found if isinstance(found, Detections) else None,
            classes=found if isinstance(found, Classes) else None,
            tensors={name: value for name, value in made.items() if name not in _ATTRIBUTES},
            timings_ns=timings,
            wall_ns=frame.wall_ns,
            skipped=lane.skipped,
        )

    def _found(self, made: Made) -> Detections | Classes | None:
        scores, numbers = _as(made, "scores", np.float32), _as(made, "classes", np.int32)
        if scores is None or numbers is None:
            return None
        boxes = _as(made, "boxes", np.float32)
        if boxes is None:
            return Classes(numbers.reshape(-1), scores.reshape(-1), self._labels)
        _check_rows(made, self._found_by)
        return Detections(
            boxes,
            scores,
            numbers,
            points=_as(made, "points", np.float32),
            labels=self._labels,
            ids=_as(made, "ids", np.int32),
            attributes=self._attributes(made, len(boxes)),
        )

    def _attributes(self, made: Made, count: int) -> Classes | None:
        if not self._said_by:
            return None
        scores, numbers = (
            _as(made, _ATTRIBUTES[0], np.float32),
            _as(made, _ATTRIBUTES[1], np.int32),
        )
        assert scores is not None
        assert numbers is not None
        if scores.shape != numbers.shape or len(scores) > count:
            raise GuestViolation(
                self._said_by,
                f"of {count} things found it has scores {list(scores.shape)} and classes"
                f" {list(numbers.shape)}",
            )
        return Classes(numbers, scores, self._attribute_labels)


def _check_rows(made: Made, stage: str) -> None:
    """Whether boxes, scores, classes, points and ids belong together, row by row.

    Raises:
        GuestViolation: they do not.
    """
    names = ("boxes", "scores", "classes", "points", "ids")
    shapes = {name: made[name].shape for name in names if name in made}
    rows = shapes["scores"]
    points = shapes.get("points", (*rows, 0, 2))
    if (
        len(rows) != 1
        or shapes["boxes"] != (*rows, 4)
        or shapes["classes"] != rows
        or shapes.get("ids", rows) != rows
        or len(points) != 3
        or points[::2] != (*rows, 2)
    ):
        given = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise GuestViolation(stage, f"its results do not belong together: {given}")


_Scalar = TypeVar("_Scalar", np.float32, np.int32)


def _as(made: Made, name: str, dtype: type[_Scalar]) -> npt.NDArray[_Scalar] | None:
    """The tensor of this name in this dtype; None when there is none."""
    value = made.get(name)
    if value is None or value.dtype == dtype:
        return cast("npt.NDArray[_Scalar] | None", value)
    return value.astype(dtype)
