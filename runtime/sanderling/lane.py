"""A lane: one plan in motion, so that one frame can be in flight in it."""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt

from sanderling.errors import ModelRunError
from sanderling.frame import Image
from sanderling.memory import Memory
from sanderling.model import Binding
from sanderling.modelthreads import RunModel
from sanderling.plan import Placed, Plan, Tensor
from sanderling.step import Moment, Step
from sanderling.tensor import TensorType, shape_text
from sanderling.wiring import FRAME

Array = npt.NDArray[np.generic]


def _flat(address: int, tensor: Tensor) -> Array:
    """A tensor's memory as a flat array, without a copy.

    Made once per plan and cut to shape per frame: ctypes makes a new type for every length.
    """
    if not tensor.type.nbytes:
        return np.empty(0, tensor.type.dtype.numpy)
    memory = np.ctypeslib.as_array((ctypes.c_uint8 * tensor.type.nbytes).from_address(address))
    return memory.view(tensor.type.dtype.numpy)


class _HandOver:
    """A copy from one sandbox to the next: the rows that are there, not the whole buffer.

    Args:
        plan: the plan.
        tensor: what is copied.
        reader: the stage and input that it goes to.
        shape: the shape it has on this frame.
    """

    def __init__(
        self,
        plan: Plan,
        tensor: Tensor,
        reader: tuple[int, int],
        shape: Callable[[], tuple[int, ...]],
    ) -> None:
        target = plan.stages[reader[0]].step
        assert target is not None
        self._target: Step = target
        self._index = reader[1]
        self._to = target.input_address(self._index)
        self._from = plan.address(tensor)
        self._itemsize = tensor.type.dtype.itemsize
        self._shape = shape
        self._last: tuple[int, ...] | None = None
        self._size = 0

    def __call__(self) -> None:
        shape = self._shape()
        if shape != self._last:
            size = self._itemsize
            for dim in shape:
                size *= dim
            self._size = size
            self._target.set_input_shape(self._index, shape)
            self._last = shape
        ctypes.memmove(self._to, self._from, self._size)


class _Dequantize:
    """A copy that turns quantized values into float32, for a bare function.

    Args: as for `_HandOver`.
    """

    def __init__(
        self,
        plan: Plan,
        tensor: Tensor,
        reader: tuple[int, int],
        shape: Callable[[], tuple[int, ...]],
    ) -> None:
        step = plan.stages[reader[0]].step
        assert step is not None
        self._step, self._index = step, reader[1]
        self._from = _flat(plan.address(tensor), tensor)
        memory = (ctypes.c_float * self._from.size).from_address(step.input_address(self._index))
        self._to = np.ctypeslib.as_array(memory)
        self._scale, self._zero_point = np.float32(tensor.type.scale), tensor.type.zero_point
        self._shape = shape

    def __call__(self) -> None:
        shape = self._shape()
        size = math.prod(shape)
        to = self._to[:size]
        np.subtract(self._from[:size], self._zero_point, out=to, dtype=np.float32)
        np.multiply(to, self._scale, out=to)
        self._step.set_input_shape(self._index, shape)


def _hand_over(
    plan: Plan, tensor: Tensor, reader: tuple[int, int], shape: Callable[[], tuple[int, ...]]
) -> Callable[[], None]:
    """What brings a tensor to a reader on every frame."""
    step = plan.stages[reader[0]].step
    kind = step.inputs[reader[1]] if step is not None else None
    same = kind is None or kind.dtype is tensor.type.dtype
    return (_HandOver if same else _Dequantize)(plan, tensor, reader, shape)


Shape = Callable[[], tuple[int, ...]]
Trace = Callable[[str, int, int], None]
"""Told of each stage: its name, when it began and when it ended, by `time.perf_counter_ns`."""
_AT_ONCE_NS = 100_000
"""A turn that comes within this was not waited for."""
WAIT = "(waits for its turn)"
"""What a trace calls the time in which the models of other frames run."""


@dataclass(slots=True)
class Job(Moment):
    """One frame on its way through a lane.

    Attributes:
        memory: the camera's guests that remember earlier frames.
        turn: held around each such guest, so that it sees the frames of its camera in their order.
    """

    memory: Memory
    turn: Callable[[int], AbstractContextManager[object]] = lambda stage: nullcontext()


class _RememberingWork:
    """Runs a guest that each camera has for itself: what it reads and makes is copied.

    Attributes:
        shapes: the shape of each output after the last run.
    """

    def __init__(self, plan: Plan, index: int, shape_of: Callable[[Tensor], Shape]) -> None:
        stage = plan.stages[index]
        self._index = index
        self._takes = [
            (port, plan.address(tensor), tensor.type.dtype.itemsize, shape_of(tensor))
            for port, tensor in enumerate(stage.inputs)
            if tensor is not None
        ]
        self._makes = [
            (port, plan.address(tensor), tensor.type.dtype.itemsize)
            for port, tensor in enumerate(stage.outputs)
            if tensor is not None
        ]
        self.shapes = [tensor.type.shape if tensor else () for tensor in stage.outputs]

    def __call__(self, job: Job) -> bool:
        with job.turn(self._index):
            step = job.memory.step(self._index)
            step.ready()
            for port, address, itemsize, shape in self._takes:
                dims = shape()
                step.set_input_shape(port, dims)
                ctypes.memmove(step.input_address(port), address, math.prod(dims) * itemsize)
            wanted = step.run(job)
            self.shapes = step.shapes
            for port, address, itemsize in self._makes:
                size = math.prod(self.shapes[port]) * itemsize
                ctypes.memmove(address, step.output_address(port), size)
        return wanted


class _ModelWork:
    """Runs a model, unless a guest made something else than what it is bound to.

    Attributes:
        entered_ns: when its turn came for the last time, by `time.perf_counter_ns`; 0 where it
            never waits for one.
    """

    entered_ns = 0

    def __init__(
        self,
        plan: Plan,
        stage: Placed,
        shape_of: Callable[[Tensor], Shape],
        run_model: RunModel | None,
    ) -> None:
        assert stage.model is not None
        self._plan, self._model, self._run_model = plan, stage.model, run_model
        self.name = stage.name
        self._inputs = [tensor for tensor in stage.inputs if tensor is not None]
        self._outputs = [tensor for tensor in stage.outputs if tensor is not None]
        self._checks = [
            (tensor, shape_of(tensor)) for tensor in self._inputs if tensor.origin.stage != FRAME
        ]
        self._prepare(stage)

    def _prepare(self, stage: Placed) -> None:
        self._checked = [(shape, tensor.type.shape) for tensor, shape in self._checks]
        self._run = self._model.bind(
            self.name,
            [(tensor.type, self._plan.address(tensor)) for tensor in self._inputs],
            [(tensor.type, self._plan.address(tensor)) for tensor in self._outputs],
        ).run

    def __call__(self, job: Job) -> bool:
        for shape, bound in self._checked:
            if shape() != bound:
                raise self._misfit()
        if self._run_model is None:
            self._run()
        else:
            self._run_model(self._enter)
        return True

    def _enter(self) -> None:
        self.entered_ns = time.perf_counter_ns()
        self._run()

    def _misfit(self) -> ModelRunError:
        """Which input is not what it was bound to."""
        given = ", ".join(
            f"{tensor.name} as {shape_text(tensor.type.shape)}, on this frame it is"
            f" {shape_text(shape())}"
            for tensor, shape in self._checks
        )
        return ModelRunError(self.name, f"it takes {given}")


class _RowsWork(_ModelWork):
    """Runs a model on as many rows as there are, all at once or one by one.

    Attributes:
        count: how many there were on the last frame.
    """

    def _prepare(self, stage: Placed) -> None:
        self._batch = stage.rows == "batch"
        self.count = self._outputs[0].type.shape[0]
        self._readers = [
            (reader, tensor.home[2], tensor)
            for tensor in self._outputs
            if isinstance(tensor.home, tuple)
            and (reader := self._plan.stages[tensor.home[1]].step) is not None
        ]
        self._bound: dict[tuple[int, int], Binding] = {}

    def _part(self, tensor: Tensor, first: int, count: int) -> tuple[TensorType, int]:
        kind = tensor.type
        row = kind.nbytes // kind.shape[0]
        part = replace(kind, shape=(count, *kind.shape[1:]))
        return part, self._plan.address(tensor) + first * row

    def _binding(self, first: int, count: int) -> Binding:
        """The model on some rows; made once for each place and number."""
        binding = self._bound.get((first, count))
        if binding is None:
            binding = self._bound[first, count] = self._model.bind(
                self.name,
                [self._part(tensor, first, count) for tensor in self._inputs],
                [self._part(tensor, first, count) for tensor in self._outputs],
            )
        return binding

    def __call__(self, job: Job) -> bool:
        shapes = [(shape(), tensor.type.shape) for tensor, shape in self._checks]
        count = shapes[0][0][0]
        if any(now[0] != count or now[1:] != bound[1:] for now, bound in shapes):
            raise self._misfit()
        at_once = count if self._batch else 1
        for first in range(0, count, max(1, at_once)):
            run = self._binding(first, at_once).run
            if self._run_model is None:
                run()
            else:
                self._run_model(run)
        if count != self.count:
            self.count = count
            for reader, port, tensor in self._readers:
                reader.set_input_shape(port, (count, *tensor.type.shape[1:]))
        return True


class Lane:
    """Runs a plan.

    Args:
        plan: what to run; the lane owns it from here on.
        run_model: runs a model: where, and how many at a time, is decided outside. None: here.
        trace: told of each stage.

    Attributes:
        skipped: the stage that said of the last frame that it needs nothing more, or empty.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        run_model: RunModel | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.plan = plan
        self._run_model = run_model
        self._trace = trace
        self._steps = [
            stage.step for stage in plan.stages if stage.step is not None and not stage.stateful
        ]
        self._generations: list[int] = []
        self._disturbed = False
        self.skipped = ""
        self._shape: tuple[int, ...] = ()
        self._frame: Array = np.empty(0, np.uint8)
        self._frame_copies: list[Callable[[], None]] = []
        self._results: list[tuple[str, Shape, Array]] = []
        self._work: list[tuple[str, list[Callable[[], None]], Callable[[Job], bool]]] = []
        self._shapes: dict[int, _RememberingWork | _RowsWork] = {}
        self._arrange()

    def _arrange(self) -> None:
        """Look up every address anew: at first, and when a guest was replaced."""
        plan = self.plan
        self._work, self._shapes = [], {}
        for index, stage in enumerate(plan.stages):
            copies = [
                _hand_over(plan, tensor, reader, self._shape_of(tensor))
                for tensor in plan.tensors[1:]
                for reader in plan.copied_to(tensor)
                if reader[0] == index and not stage.stateful
            ]
            self._work.append((stage.name, copies, self._worker(index, stage)))
        frame = plan.tensors[0]
        self._frame_copies = [
            _hand_over(plan, frame, reader, self._shape_of(frame))
            for reader in plan.copied_to(frame)
            if not plan.stages[reader[0]].stateful
        ]
        self._results = [
            (
                name,
                self._shape_of(tensor),
                _flat(plan.address(tensor), tensor).reshape(tensor.type.shape),
            )
            for name, tensor in plan.results.items()
        ]
        self._generations = [step.generation for step in self._steps]
        self._shape = ()

    def _worker(self, index: int, stage: Placed) -> Callable[[Job], bool]:
        if stage.stateful:
            self._shapes[index] = remembering = _RememberingWork(self.plan, index, self._shape_of)
            return remembering
        if stage.step is not None:
            return stage.step.run
        if stage.rows:
            self._shapes[index] = rows = _RowsWork(
                self.plan, stage, self._shape_of, self._run_model
            )
            return rows
        return _ModelWork(self.plan, stage, self._shape_of, self._run_model)

    def _shape_of(self, tensor: Tensor) -> Shape:
        """What tells a tensor's shape on this frame."""
        stage, port = tensor.origin.stage, tensor.origin.port
        if stage == FRAME:
            return lambda: self._shape
        work = self._shapes.get(stage)
        if isinstance(work, _RememberingWork):
            return lambda: work.shapes[port]
        if isinstance(work, _RowsWork):
            rest = tensor.type.shape[1:]
            return lambda: (work.count, *rest)
        step = self.plan.stages[stage].step
        if step is not None:
            return lambda: step.shapes[port]
        return lambda: tensor.type.shape

    def room(self, shape: tuple[int, ...]) -> Image | None:
        """Where the pixels of the next frame go, so that a source can decode straight into it.

        Args:
            shape: of the frame.

        Returns:
            uint8 of that shape, in the memory of the first guest; None when the plan has no room.

        Raises:
            FrameError: a guest that was lost cannot be replaced.
        """
        if shape == self._shape and not self._disturbed:
            return cast("Image", self._frame)
        if not self.plan.fits(shape):
            return None
        if self._disturbed:
            self._recover()
        if shape != self._shape:
            self._reshape(shape)
        return cast("Image", self._frame)

    def _reshape(self, shape: tuple[int, ...]) -> None:
        """Frames of another size come from here on."""
        frame = self.plan.tensors[0]
        size = shape[0] * shape[1] * shape[2]
        self._frame = _flat(self.plan.address(frame), frame)[:size].reshape(shape)
        if isinstance(frame.home, tuple):
            _, stage, index = frame.home
            reader = self.plan.stages[stage].step
            assert reader is not None  # a frame's home is with one who reads it
            reader.set_input_shape(index, shape)
        self._shape = shape

    def run(self, image: Image, job: Job) -> dict[str, int]:
        """Run one frame through all stages.

        Args:
            image: uint8 `[height, width, 3]`, BGR; copied into the first guest, unless it is what
                `room` gave.
            job: its number and time, and its camera's memory.

        Returns:
            Nanoseconds of each stage that ran, by name.

        Raises:
            FrameError: the frame is lost; the next one finds every guest standing again.
        """
        began = time.perf_counter_ns()
        if image is not self._frame:
            room = self.room(image.shape)
            assert room is not None  # whoever calls has seen to it
            np.copyto(room, image)
        self._disturbed = True  # until the frame is through
        self.skipped = ""
        timings: dict[str, int] = {}
        for copy in self._frame_copies:
            copy()
        for name, copies, work in self._work:
            for copy in copies:
                copy()
            wanted = work(job)
            now = time.perf_counter_ns()
            timings[name] = now - began
            if self._trace is not None:
                self._tell(name, work, began, now)
            began = now
            if not wanted:
                self.skipped = name
                break
        self._disturbed = False
        return timings

    def _tell(self, name: str, work: object, began: int, ended: int) -> None:
        """Trace a stage; what a model waited for its turn is shown apart."""
        assert self._trace is not None
        entered = work.entered_ns if isinstance(work, _ModelWork) else 0
        if entered - began > _AT_ONCE_NS:
            self._trace(WAIT, began, entered)
            began = entered
        self._trace(name, began, ended)

    def _recover(self) -> None:
        """The frame before was lost: see that every guest stands, and where."""
        for step in self._steps:
            step.ready()
        if [step.generation for step in self._steps] != self._generations:
            self._arrange()
        self._disturbed = False

    def results(self) -> dict[str, Array]:
        """The plan's results by name, copied out: they outlive the next frame."""
        found = {}
        for name, current, whole in self._results:
            shape = current()
            if shape == whole.shape:
                found[name] = whole.copy()
            elif shape[1:] == whole.shape[1:]:
                found[name] = whole[: shape[0]].copy()
            else:
                found[name] = whole.reshape(-1)[: math.prod(shape)].reshape(shape).copy()
        return found

    def close(self) -> None:
        """Give back every guest."""
        self._work = []
        self._results = []
        self._frame = np.empty(0, np.uint8)
        self.plan.close()
