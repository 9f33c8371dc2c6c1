"""A lane: one plan in motion, so that one frame can be in flight in it."""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sanderling.frame import Image
from sanderling.model import Binding
from sanderling.plan import Plan, Tensor
from sanderling.step import Step
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
    """A copy from one sandbox to the next: the rows that are there, not the whole buffer."""

    def __init__(self, plan: Plan, tensor: Tensor, reader: tuple[int, int]) -> None:
        target = plan.stages[reader[0]].step
        assert target is not None
        self._target: Step = target
        self._index = reader[1]
        self._to = target.input_address(self._index)
        self._from = plan.address(tensor)
        self._itemsize = tensor.type.dtype.itemsize
        self._fixed = tensor.type.shape
        stage = tensor.origin.stage
        self._source = plan.stages[stage].step if stage != FRAME else None
        self._port = tensor.origin.port
        self._last: tuple[int, ...] | None = None
        self._size = 0

    def __call__(self) -> None:
        shape = self._source.shapes[self._port] if self._source is not None else self._fixed
        if shape != self._last:
            size = self._itemsize
            for dim in shape:
                size *= dim
            self._size = size
            self._target.set_input_shape(self._index, shape)
            self._last = shape
        ctypes.memmove(self._to, self._from, self._size)


class Lane:
    """Runs a plan.

    Args:
        plan: what to run; the lane owns it from here on.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._steps = [stage.step for stage in plan.stages if stage.step is not None]
        self._last = plan.stages[-1]
        self._generations: list[int] = []
        self._shape: tuple[int, ...] = ()
        self._frame: Array = np.empty(0, np.uint8)
        self._results: list[tuple[str, int, Array]] = []
        self._work: list[tuple[str, list[_HandOver], Step | None, Callable[[], None]]] = []
        self._arrange()

    def _arrange(self) -> None:
        """Look up every address anew: at first, and when a guest was replaced."""
        plan = self.plan
        self._work = []
        for index, stage in enumerate(plan.stages):
            copies = [
                _HandOver(plan, tensor, reader)
                for tensor in plan.tensors
                for reader in plan.copied_to(tensor)
                if reader[0] == index
            ]
            run = (lambda: None) if stage.model is None else self._bind(index).run
            self._work.append((stage.name, copies, stage.step, run))
        self._results = [
            (tensor.label, index, _flat(plan.address(tensor), tensor).reshape(tensor.type.shape))
            for index, tensor in enumerate(self._last.outputs)
            if tensor is not None
        ]
        self._generations = [step.generation for step in self._steps]
        self._shape = ()

    def _bind(self, index: int) -> Binding:
        stage = self.plan.stages[index]
        assert stage.model is not None
        return stage.model.bind(
            stage.name,
            [(tensor.type, self.plan.address(tensor)) for tensor in stage.inputs if tensor],
            [(tensor.type, self.plan.address(tensor)) for tensor in stage.outputs if tensor],
        )

    def _reshape(self, shape: tuple[int, ...]) -> None:
        """Frames of another size come from here on."""
        frame = self.plan.tensors[0]
        size = shape[0] * shape[1] * shape[2]
        self._frame = _flat(self.plan.address(frame), frame)[:size].reshape(shape)
        for stage, index in frame.readers:
            reader = self.plan.stages[stage].step
            if reader is not None:
                reader.set_input_shape(index, shape)
        self._shape = shape

    def fits(self, image: Image) -> bool:
        """Whether the plan has room for this picture."""
        most = self.plan.frame.shape
        return bool(image.shape[0] <= most[0] and image.shape[1] <= most[1])

    def run(self, image: Image, sequence: int, captured_ns: int) -> dict[str, int]:
        """Run one frame through all stages.

        Args:
            image: uint8 `[height, width, 3]`, BGR; copied once, into the first guest.
            sequence: its number.
            captured_ns: its capture time, monotonic, in ns.

        Returns:
            Nanoseconds of each stage, by name.

        Raises:
            FrameError: the frame is lost; the next one finds every guest standing again.
        """
        for ready in self._steps:
            ready.ready()
        if [step.generation for step in self._steps] != self._generations:
            self._arrange()
        if image.shape != self._shape:
            self._reshape(image.shape)
        timings: dict[str, int] = {}
        began = time.perf_counter_ns()
        np.copyto(self._frame, image)
        for name, copies, step, run in self._work:
            for copy in copies:
                copy()
            if step is not None:
                step.run(sequence, captured_ns)
            else:
                run()
            now = time.perf_counter_ns()
            timings[name] = now - began
            began = now
        return timings

    def results(self) -> dict[str, Array]:
        """The last stage's outputs by name, copied out: they outlive the next frame."""
        step = self._last.step
        found = {}
        for name, index, whole in self._results:
            shape = step.shapes[index] if step is not None else whole.shape
            if shape[1:] == whole.shape[1:]:
                found[name] = whole[: shape[0]].copy()
            else:
                found[name] = whole.reshape(-1)[: math.prod(shape)].reshape(shape).copy()
        return found

    def reset(self) -> None:
        """A new source begins: guests with memory forget."""
        for step in self._steps:
            step.reset()

    def close(self) -> None:
        """Give back every guest."""
        self._work = []
        self._results = []
        self._frame = np.empty(0, np.uint8)
        self.plan.close()
