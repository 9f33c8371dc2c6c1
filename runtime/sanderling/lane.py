"""A lane: one plan in motion, so that one frame can be in flight in it."""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sanderling.errors import ModelRunError
from sanderling.frame import Image
from sanderling.model import Binding
from sanderling.plan import Plan, Tensor
from sanderling.step import Step
from sanderling.tensor import shape_text
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


def _nothing() -> None:
    """What a stage without a model runs."""


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


class Lane:
    """Runs a plan.

    Args:
        plan: what to run; the lane owns it from here on.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._steps = [stage.step for stage in plan.stages if stage.step is not None]
        self._generations: list[int] = []
        self._disturbed = False
        self._shape: tuple[int, ...] = ()
        self._frame: Array = np.empty(0, np.uint8)
        self._frame_copies: list[Callable[[], None]] = []
        self._results: list[tuple[str, Callable[[], tuple[int, ...]], Array]] = []
        self._work: list[tuple[str, list[Callable[[], None]], Step | None, Callable[[], None]]] = []
        self._arrange()

    def _arrange(self) -> None:
        """Look up every address anew: at first, and when a guest was replaced."""
        plan = self.plan
        self._work = []
        for index, stage in enumerate(plan.stages):
            copies = [
                _hand_over(plan, tensor, reader, self._shape_of(tensor))
                for tensor in plan.tensors[1:]
                for reader in plan.copied_to(tensor)
                if reader[0] == index
            ]
            run = _nothing if stage.model is None else self._model(index)
            self._work.append((stage.name, copies, stage.step, run))
        frame = plan.tensors[0]
        self._frame_copies = [
            _hand_over(plan, frame, reader, self._shape_of(frame))
            for reader in plan.copied_to(frame)
        ]
        self._results = [
            (
                tensor.label,
                self._shape_of(tensor),
                _flat(plan.address(tensor), tensor).reshape(tensor.type.shape),
            )
            for tensor in plan.results
        ]
        self._generations = [step.generation for step in self._steps]
        self._shape = ()

    def _shape_of(self, tensor: Tensor) -> Callable[[], tuple[int, ...]]:
        """What tells a tensor's shape on this frame."""
        stage, port = tensor.origin.stage, tensor.origin.port
        if stage == FRAME:
            return lambda: self._shape
        step = self.plan.stages[stage].step
        if step is not None:
            return lambda: step.shapes[port]
        return lambda: tensor.type.shape

    def _model(self, index: int) -> Callable[[], None]:
        """Run the model, unless a guest made less than what it is bound to."""
        stage = self.plan.stages[index]
        run = self._bind(index).run
        checks = [
            (tensor, self._shape_of(tensor))
            for tensor in stage.inputs
            if tensor is not None and tensor.origin.stage != FRAME
        ]

        def checked() -> None:
            for tensor, shape in checks:
                if shape() != tensor.type.shape:
                    raise ModelRunError(
                        stage.name,
                        f"it takes {tensor.name} as {shape_text(tensor.type.shape)}, on this frame"
                        f" it is {shape_text(shape())}",
                    )
            run()

        return checked

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
        if isinstance(frame.home, tuple):
            _, stage, index = frame.home
            reader = self.plan.stages[stage].step
            assert reader is not None  # a frame's home is with one who reads it
            reader.set_input_shape(index, shape)
        self._shape = shape

    def fits(self, image: Image) -> bool:
        """Whether the plan has room for this picture."""
        most = self.plan.frame.shape
        if self.plan.exact:
            return image.shape == most
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
        if self._disturbed:
            self._recover()
        if image.shape != self._shape:
            self._reshape(image.shape)
        self._disturbed = True  # until the frame is through
        timings: dict[str, int] = {}
        began = time.perf_counter_ns()
        np.copyto(self._frame, image)
        for copy in self._frame_copies:
            copy()
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
        self._disturbed = False
        return timings

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

    def reset(self) -> None:
        """A new source begins: guests with memory forget."""
        self._disturbed = True
        for step in self._steps:
            step.reset()

    def close(self) -> None:
        """Give back every guest."""
        self._work = []
        self._results = []
        self._frame = np.empty(0, np.uint8)
        self.plan.close()
