"""A pipeline: frames in, results out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from sanderling import plan as planning
from sanderling import stages
from sanderling.detections import Classes, Detections, Result
from sanderling.errors import ConfigError, GuestViolation
from sanderling.frame import Frame, Image, check_image
from sanderling.lane import Lane
from sanderling.plan import Plan
from sanderling.stages import Stages


class Pipeline:
    """A pipeline that is ready to run. Use it as a context manager, and from one thread at a time.

    Args:
        loaded: the pipeline file with its guests and models.

    Example:
        with sanderling.open("faces.toml") as faces:
            result = faces(image)
    """

    def __init__(self, loaded: Stages) -> None:
        self._loaded = loaded
        self._labels = loaded.labels()
        self._lane: Lane | None = None
        self._sequence = 0
        self._closed = False

    @property
    def name(self) -> str:
        """The name in the pipeline file."""
        return self._loaded.name

    @property
    def plan(self) -> Plan | None:
        """The plan in use; None before the first frame or `prepare`."""
        return self._lane.plan if self._lane is not None else None

    def prepare(self, height: int, width: int) -> Plan:
        """Plan for frames of up to this size, so that the first frame is as fast as the next.

        Args:
            height: in pixels.
            width: in pixels.

        Raises:
            PlanError: a stage does not fit the one before it.
            ConfigError: a parameter is out of range.
            ModuleError, ModelError: a guest or a model cannot be set up.
        """
        if self._closed:
            raise ConfigError(f"{self._loaded.where}: the pipeline is closed; open it again")
        if self._lane is not None and not self._lane.plan.exact:
            most = self._lane.plan.frame.shape
            if height <= most[0] and width <= most[1]:
                return self._lane.plan
            # Both sides only ever grow, so that a folder of mixed pictures settles on one plan.
            height, width = max(height, most[0]), max(width, most[1])
        lane = Lane(planning.make(self._loaded, height, width))
        if self._lane is not None:
            self._lane.close()
        self._lane = lane
        return lane.plan

    def __call__(self, image: Image) -> Result:
        """Run one picture; see `run`."""
        return self.run(Frame(image, self._sequence))

    def run(self, frame: Frame) -> Result:
        """Run one frame.

        Args:
            frame: its picture may be of any size; a larger one than before makes a new plan.

        Returns:
            What was found, in pixels of this frame.

        Raises:
            FrameError: this frame is lost, the next may go on.
            SourceError: it is not a picture.
            PlanError: the pipeline cannot take frames of this size.
        """
        image = check_image(frame.image, frame.source or "the image")
        if self._lane is None or not self._lane.fits(image):
            self.prepare(image.shape[0], image.shape[1])
        assert self._lane is not None
        self._sequence = frame.sequence + 1
        timings = self._lane.run(image, frame.sequence, frame.captured_ns)
        made = self._lane.results()
        return self._result(frame, made, timings)

    def map(self, frames: Iterator[Frame]) -> Iterator[Result]:
        """Run frames as they come; see `run`."""
        for frame in frames:
            yield self.run(frame)

    def reset(self) -> None:
        """A new source begins: guests with memory of earlier frames forget them."""
        if self._lane is not None:
            self._lane.reset()

    def _result(
        self, frame: Frame, made: dict[str, npt.NDArray[np.generic]], timings: dict[str, int]
    ) -> Result:
        detections = classes = None
        scores, numbers = _as(made, "scores", np.float32), _as(made, "classes", np.int32)
        if scores is not None and numbers is not None:
            boxes = _as(made, "boxes", np.float32)
            if boxes is not None:
                _check_rows(made, self._loaded.stages[-1].name)
                points = _as(made, "points", np.float32)
                detections = Detections(boxes, scores, numbers, points, self._labels)
            else:
                classes = Classes(numbers.reshape(-1), scores.reshape(-1), self._labels)
        return Result(
            sequence=frame.sequence,
            captured_ns=frame.captured_ns,
            source=frame.source,
            detections=detections,
            classes=classes,
            tensors=made,
            timings_ns=timings,
        )

    def close(self) -> None:
        """Give back the guests' memory; the pipeline cannot be used any more."""
        self._closed = True
        if self._lane is not None:
            self._lane.close()
            self._lane = None

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _check_rows(made: dict[str, npt.NDArray[np.generic]], stage: str) -> None:
    """Whether boxes, scores, classes and points belong together, row by row.

    Raises:
        GuestViolation: they do not.
    """
    shapes = {
        name: made[name].shape for name in ("boxes", "scores", "classes", "points") if name in made
    }
    rows = shapes["scores"]
    points = shapes.get("points", (*rows, 0, 2))
    if (
        len(rows) != 1
        or shapes["boxes"] != (*rows, 4)
        or shapes["classes"] != rows
        or len(points) != 3
        or points[::2] != (*rows, 2)
    ):
        given = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise GuestViolation(stage, f"its results do not belong together: {given}")


_Scalar = TypeVar("_Scalar", np.float32, np.int32)


def _as(
    made: dict[str, npt.NDArray[np.generic]], name: str, dtype: type[_Scalar]
) -> npt.NDArray[_Scalar] | None:
    """The tensor of this name in this dtype; None when there is none."""
    value = made.get(name)
    if value is None or value.dtype == dtype:
        return cast("npt.NDArray[_Scalar] | None", value)
    return value.astype(dtype)


def open(path: str | Path, *, threads: int | None = None) -> Pipeline:
    """Open a pipeline file.

    Args:
        path: the TOML file.
        threads: threads a model may use, in place of what the file says; 0 for one a core.

    Raises:
        InputError: the file, or something that it names, is wrong.
    """
    return Pipeline(stages.load(Path(path), threads=threads))
