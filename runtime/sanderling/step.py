"""A guest bound to its tensors: what a lane calls once a frame.

A `Step` owns an instance and the buffers in its memory. After a trap, a missed deadline or a breach
of the ABI the instance is thrown away and a fresh one stands in its place before the next frame;
`generation` tells those who hold addresses that they have moved.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from sanderling import abi
from sanderling.breaker import Breaker
from sanderling.errors import (
    GuestBroken,
    GuestError,
    GuestFailure,
    GuestViolation,
    ModuleError,
    PlanError,
)
from sanderling.guest import Instance, Module
from sanderling.manifest import match_shape
from sanderling.tensor import DType, PixelFormat, TensorType, shape_text

MAX_ELEMENTS = 1 << 31


@dataclass(slots=True)
class Moment:
    """Which frame it is.

    Attributes:
        sequence: the frame's number.
        captured_ns: its capture time, monotonic, in ns.
    """

    sequence: int
    captured_ns: int


class Step(ABC):
    """One guest in one lane.

    Attributes:
        name: the stage's name.
        inputs: the type of each input, None where an optional one is not connected.
        outputs: the greatest type of each output, None where the guest leaves it out.
        shapes: the shape of each output after the last run.
        generation: raised whenever the addresses change.
        memory: bytes of an instance's memory; 0 before the first was made.
    """

    def __init__(self, module: Module, name: str, inputs: list[TensorType | None]) -> None:
        self.module = module
        self.name = name
        self.inputs = inputs
        self.outputs: list[TensorType | None] = []
        self.shapes: list[tuple[int, ...]] = []
        self.generation = 0
        self._breaker = Breaker()
        self._instance: Instance | None = None
        self.memory = 0

    @abstractmethod
    def _build(self, instance: Instance) -> list[TensorType | None]:
        """Place the buffers, set the guest up, and return what it says of its outputs."""

    @abstractmethod
    def _call(self, instance: Instance, moment: Moment) -> bool:
        """Run the guest once and update `shapes`; False when it says that the frame is done."""

    @abstractmethod
    def clone(self) -> Step:
        """Another of the same guest with the same inputs and parameters, not yet open.

        It declares the outputs of this one: a guest that then declares others is refused.
        """

    @abstractmethod
    def input_address(self, index: int) -> int:
        """The host address of an input's buffer."""

    @abstractmethod
    def output_address(self, index: int) -> int:
        """The host address of an output's buffer."""

    @abstractmethod
    def set_input_shape(self, index: int, shape: tuple[int, ...]) -> None:
        """Say what shape the input has on this frame; it must fit the buffer."""

    @property
    def stateful(self) -> bool:
        """Whether the guest remembers earlier frames: then each camera needs one of its own."""
        return self.module.stateful

    def open(self) -> None:
        """Make the first instance.

        Raises:
            ModuleError: the guest cannot be instantiated.
            GuestError: it trapped, hung or broke the ABI while it was set up.
            PlanError: it refuses its inputs or parameters.
        """
        self.outputs = self._fresh()

    def _fresh(self) -> list[TensorType | None]:
        instance = Instance(self.module, self.name)
        try:
            outputs = self._build(instance)
        except BaseException:
            instance.close()
            raise
        self._instance = instance
        self.memory = instance.size
        self.generation += 1
        self.shapes = [output.shape if output else () for output in outputs]
        return outputs

    def ready(self) -> None:
        """See to it that an instance stands ready; called before a frame goes in.

        Raises:
            GuestBroken: it failed so often that it is left alone for now.
            GuestError: the fresh instance failed as well.
        """
        if self._breaker.failures and (wait := self._breaker.wait()):
            raise GuestBroken(
                self.name, f"it failed too often in a row; next try in {wait:.0f} s at the latest"
            )
        if self._instance is not None:
            return
        try:
            outputs = self._fresh()
        except (GuestError, ModuleError, PlanError) as exc:
            self._breaker.failure()
            raise GuestViolation(self.name, f"it cannot be started again: {exc}") from exc
        if outputs != self.outputs:
            self._breaker.failure()
            self._drop()
            raise GuestViolation(
                self.name, "a fresh instance declares other outputs than the first"
            )

    def run(self, moment: Moment) -> bool:
        """Call the guest on what lies in its inputs; `ready` was called before.

        Args:
            moment: which frame it is.

        Returns:
            Whether to go on; False when the guest says that this frame needs nothing more.

        Raises:
            GuestError: the frame is lost. After all but `GuestFailure` the instance was replaced.
        """
        assert self._instance is not None  # ready() saw to it
        try:
            wanted = self._call(self._instance, moment)
        except GuestFailure:
            self._breaker.failure()
            raise
        except GuestError:
            self._breaker.failure()
            self._drop()
            # The fresh one is made now, so that the next frame does not wait for it. Where that
            # fails as well, the next frame says so.
            with contextlib.suppress(GuestError):
                self.ready()
            raise
        if self._breaker.failures:
            self._breaker.success()
        return wanted

    def reset(self) -> None:
        """Let a guest with memory forget earlier frames: a new source begins."""
        if self._instance is not None:
            try:
                self._instance.reset()
            except GuestError:
                self._drop()

    def _drop(self) -> None:
        if self._instance is not None:
            self._instance.close()
            self._instance = None

    def close(self) -> None:
        """Give the instance back."""
        self._drop()


class AbiStep(Step):
    """A guest that speaks the ABI of DESIGN section 3.

    Args:
        module: the guest.
        name: the stage's name.
        params: the packed parameters.
        inputs: the greatest type of each input in the order of the manifest.
    """

    def __init__(
        self, module: Module, name: str, params: bytes, inputs: list[TensorType | None]
    ) -> None:
        super().__init__(module, name, inputs)
        assert module.manifest is not None
        self._params = params
        self._n_outputs = len(module.manifest.outputs)
        self._specs = module.manifest.outputs
        self._at_inputs: list[int] = []
        self._at_outputs: list[int] = []

    def _build(self, instance: Instance) -> list[TensorType | None]:
        n_inputs, n_outputs = len(self.inputs), self._n_outputs
        inputs_at = abi.CALL_SIZE
        outputs_at = inputs_at + n_inputs * abi.TENSOR_SIZE
        params_at = outputs_at + n_outputs * abi.TENSOR_SIZE
        block = instance.alloc(params_at + max(len(self._params), 1))
        at_inputs = [instance.alloc(max(1, kind.nbytes)) if kind else 0 for kind in self.inputs]

        base = instance.base
        ctypes.memset(base + block, 0, params_at)
        ctypes.memmove(base + block + params_at, self._params, len(self._params))
        call = abi.Call.from_address(base + block)
        call.size = abi.CALL_SIZE
        call.n_inputs, call.n_outputs = n_inputs, n_outputs
        call.inputs, call.outputs = block + inputs_at, block + outputs_at
        call.params, call.params_len = block + params_at, len(self._params)
        descriptors = (abi.Tensor * n_inputs).from_address(base + block + inputs_at)
        for descriptor, kind, address in zip(descriptors, self.inputs, at_inputs, strict=True):
            if kind is not None:
                _describe(descriptor, kind, address)

        status = instance.call("sl_setup", block, setup=True)
        if status != abi.OK:
            text = instance.error_text() or abi.STATUS_TEXT.get(status, f"error {status}")
            raise PlanError(f"stage {self.name}: the guest refused to be set up: {text}")
        given = (abi.Tensor * n_outputs).from_address(base + block + outputs_at)
        types = [self._declared(index, given[index]) for index in range(n_outputs)]
        at_outputs = [instance.alloc(max(1, kind.nbytes)) if kind else 0 for kind in types]
        for descriptor, kind, address in zip(given, types, at_outputs, strict=True):
            if kind is not None:
                _describe(descriptor, kind, address)
        instance.freeze()

        self._block = block
        self._call_struct = call
        self._input_structs = descriptors
        self._outputs_host = base + block + outputs_at
        self._outputs_bytes = n_outputs * abi.TENSOR_SIZE
        self._static = ctypes.string_at(self._outputs_host, self._outputs_bytes)
        self._seen = self._static
        self._at_inputs = [base + address for address in at_inputs]
        self._at_outputs = [base + address for address in at_outputs]
        return types

    def _declared(self, index: int, given: abi.Tensor) -> TensorType | None:
        """What the guest wrote into an output's descriptor, checked."""
        spec = self._specs[index]
        what = f"its output {spec.name}"
        if given.dtype == 0:
            if not spec.optional:
                raise GuestViolation(self.name, f"sl_setup did not declare {what}")
            return None
        try:
            dtype = DType(given.dtype)
        except ValueError:
            raise GuestViolation(
                self.name, f"{what} has dtype {given.dtype}; 1 to {max(DType)} are known"
            ) from None
        try:
            pixels = PixelFormat(given.format)
        except ValueError:
            raise GuestViolation(
                self.name, f"{what} has format {given.format}; 0 to {max(PixelFormat)} are known"
            ) from None
        if str(dtype) not in spec.dtypes:
            raise GuestViolation(
                self.name, f"{what} is {dtype}; its manifest says {', '.join(spec.dtypes)}"
            )
        if not (math.isfinite(given.scale) and given.scale >= 0):
            raise GuestViolation(self.name, f"{what} has the scale {given.scale}")
        shape = tuple(given.dims[: given.rank]) if given.rank <= abi.MAX_RANK else ()
        kind = TensorType(dtype, shape, float(given.scale), int(given.zero_point), pixels)
        if not shape or kind.elements > MAX_ELEMENTS:
            raise GuestViolation(
                self.name,
                f"{what} has the shape {shape_text(shape)} of rank {given.rank}; a rank of 1 to"
                f" {abi.MAX_RANK} and at most {MAX_ELEMENTS} elements are possible",
            )
        if all(match_shape(pattern, shape, {}) is None for pattern in spec.shapes):
            raise GuestViolation(self.name, f"{what} is {kind}; its manifest says {spec.kinds}")
        return kind

    def _call(self, instance: Instance, moment: Moment) -> bool:
        call = self._call_struct
        call.sequence = moment.sequence
        call.captured_ns = moment.captured_ns
        status = instance.call("sl_run", self._block)
        if status not in (abi.OK, abi.SKIP):
            text = instance.error_text() or abi.STATUS_TEXT.get(status, "an error of its own")
            raise GuestFailure(self.name, f"the guest returned {status}: {text}", status)
        raw = ctypes.string_at(self._outputs_host, self._outputs_bytes)
        if raw != self._seen:
            self.shapes = self._checked(raw)
            self._seen = raw
        return bool(status == abi.OK)

    def clone(self) -> Step:
        """Another of the same."""
        assert self.module.manifest is not None
        other = AbiStep(self.module, self.name, self._params, self.inputs)
        other.outputs = self.outputs
        return other

    def _checked(self, raw: bytes) -> list[tuple[int, ...]]:
        """The shapes of the outputs. Only dims may have changed, and only within the buffer."""
        shapes: list[tuple[int, ...]] = []
        now = (abi.Tensor * self._n_outputs).from_buffer_copy(raw)
        then = (abi.Tensor * self._n_outputs).from_buffer_copy(self._static)
        for index, (new, old) in enumerate(zip(now, then, strict=True)):
            what = f"its output {self._specs[index].name}"
            if (new.data, new.capacity, new.dtype, new.rank, new.scale, new.zero_point) != (
                old.data,
                old.capacity,
                old.dtype,
                old.rank,
                old.scale,
                old.zero_point,
            ):
                raise GuestViolation(
                    self.name, f"{what} changed its address or type; only dims may change"
                )
            kind = self.outputs[index]
            if kind is None:
                shapes.append(())
                continue
            shape = tuple(new.dims[: new.rank])
            if any(dim > most for dim, most in zip(shape, kind.shape, strict=True)):
                raise GuestViolation(
                    self.name,
                    f"{what} has the shape {shape_text(shape)}, more than the"
                    f" {shape_text(kind.shape)} it declared",
                )
            shapes.append(shape)
        return shapes

    def input_address(self, index: int) -> int:
        """The host address of an input's buffer."""
        return self._at_inputs[index]

    def output_address(self, index: int) -> int:
        """The host address of an output's buffer."""
        return self._at_outputs[index]

    def set_input_shape(self, index: int, shape: tuple[int, ...]) -> None:
        """Say what shape the input has on this frame."""
        dims = self._input_structs[index].dims
        for axis, dim in enumerate(shape):
            dims[axis] = dim


def _describe(descriptor: abi.Tensor, kind: TensorType, address: int) -> None:
    """Fill a descriptor."""
    descriptor.data = address
    descriptor.capacity = kind.nbytes
    descriptor.dtype = int(kind.dtype)
    descriptor.rank = len(kind.shape)
    descriptor.format = int(kind.format)
    descriptor.row_stride = 0
    for axis in range(abi.MAX_RANK):
        descriptor.dims[axis] = kind.shape[axis] if axis < len(kind.shape) else 0
    descriptor.scale = kind.scale
    descriptor.zero_point = kind.zero_point


class FunctionStep(Step):
    """The oldest convention: a bare export `f(ptr, len) -> len`, in place on float32.

    `len` counts floats; the guest returns how many of them are the result. The buffer is memory
    behind the guest's own, so a module without an allocator works as well.

    Args:
        module: the guest, which may lack a manifest.
        function: the export to call.
        name: the stage's name.
        kind: the type of the one input, float32.
    """

    def __init__(self, module: Module, function: str, name: str, kind: TensorType) -> None:
        super().__init__(module, name, [kind])
        self._function = function
        self._kind = kind
        self._shape = kind.shape
        self._length = kind.elements

    def _build(self, instance: Instance) -> list[TensorType | None]:
        self._at = instance.grow(max(4, self._kind.nbytes))
        instance.freeze()
        self._host = instance.base + self._at
        return [self._kind]

    def _call(self, instance: Instance, moment: Moment) -> bool:
        length = instance.call(self._function, self._at, self._length)
        if not 0 <= length <= self._length:
            raise GuestViolation(
                self.name,
                f"{self._function} returned {length}; a length from 0 to {self._length} was due",
            )
        if length != self._length:
            self.shapes = [(length,)]
        else:
            self.shapes = [self._shape]
        return True

    def clone(self) -> Step:
        """Another of the same."""
        other = FunctionStep(self.module, self._function, self.name, self._kind)
        other.outputs = self.outputs
        return other

    def input_address(self, index: int) -> int:
        """The host address of an input's buffer."""
        return self._host

    def output_address(self, index: int) -> int:
        """The host address of an output's buffer."""
        return self._host

    def set_input_shape(self, index: int, shape: tuple[int, ...]) -> None:
        """Say how many floats there are on this frame."""
        self._shape = shape
        self._length = math.prod(shape)
