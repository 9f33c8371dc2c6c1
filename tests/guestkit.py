"""Run a guest in a test, as the host does by docs/abi.md: in wasmtime, or native under sanitizers.

    import numpy as np
    import pytest
    from guestkit import BACKENDS, GuestStatus, QTensor, load_reference, run_frames, run_guest

    reference = load_reference("softmax")          # wasm_modules/softmax/reference.py

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_it(backend):
        x = np.zeros((2, 10), np.float32)
        (out,) = run_guest("softmax", [x], {"temperature": 2.0}, backend=backend)
        np.testing.assert_allclose(out.data, reference.softmax(x, 2.0))

Inputs are numpy arrays, a `QTensor` (an array with scale and zero point, pixel format or row
stride), or None for an optional input that is not connected. A tuple or a shorter list is filled up
with None. Outputs are `QTensor`s with the shape the guest left in the descriptor, or None where it
left the dtype 0. Params go by name, checked and packed from module.toml; bytes go in as they are.

A status other than 0 raises `GuestStatus` with `call` ("sl_setup", "sl_run" or "sl_reset"), `code`,
`message`; so does a frame that the guest skips (`abi.SKIP`).
A trap, a sanitizer report, or a broken rule of the ABI raises `GuestFault` with the whole text:
never expect one in a test. Rules checked: descriptors of inputs, and inputs, are not written to;
outputs stay within their capacity, at their address, with the dtype and rank of sl_setup; a NULL or
misaligned sl_alloc is an error; memory does not grow in sl_run. Outputs are filled with 0xCD before
each sl_run, so an element that the guest forgot is not 0 by luck.

    outs = run_frames("nms", [[boxes, scores, classes], [fewer, ...]], {}, backend=backend)

sets up with the first list and runs all of them in turn in one instance: the first must be the
largest, unless `setup=[...]` gives other inputs to set up with.

For more control (calling sl_setup only, benchmarks):

    with open_guest("nms", backend="native-O3") as guest:
        guest.setup([boxes, scores, classes], {"iou": 0.5})
        outs = guest.run([boxes, scores, classes])
        ns = guest.time_ns(100)                    # of 100 more sl_run on the same input

`scratch_guest` makes a guest for one test file, to try a header or a fault.

Backends: "wasm" (compiled afresh when ziglang is installed and the sources have changed, else
wasm_modules/dist), "native" (gcc, -O1, address and undefined-behaviour sanitizers, poisoned gaps
between allocations), "native-O3" (gcc, no sanitizers, for benchmarks). Compiled files are kept in
.cache/guestkit, by digest of everything they are made of.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import guestmachine
from guestmachine import GuestFault, Machine, NativeMachine, WasmMachine, load_file
from sanderling import abi, manifest
from sanderling.tensor import DType, PixelFormat

BACKENDS = ["wasm", "native"]


@dataclass(frozen=True)
class QTensor:
    """An array with what its descriptor says beyond dtype and shape.

    Attributes:
        data: the elements as stored.
        scale: where quantized, `real = scale * (stored - zero_point)`; else 0.
        zero_point: the stored value that stands for 0.
        format: for a picture, how its pixels are stored.
        row_stride: as an input, bytes from row to row of a picture `[H, W, C]`: rows are laid out
            that far apart with rubbish between them; 0 for packed rows.
    """

    data: np.ndarray
    scale: float = 0.0
    zero_point: int = 0
    format: PixelFormat = PixelFormat.NONE
    row_stride: int = 0

    def real(self) -> np.ndarray:
        """The values that the elements stand for, in float64."""
        values = self.data.astype(np.float64)
        return self.scale * (values - self.zero_point) if self.scale else values

    def stored(self) -> bytes:
        """The bytes in memory, padding of rows included."""
        data = np.ascontiguousarray(self.data)
        if not self.row_stride:
            return data.tobytes()
        rows = data.reshape(data.shape[0], -1).view(np.uint8)
        padded = np.full((rows.shape[0], self.row_stride), 0xA5, np.uint8)
        padded[:, : rows.shape[1]] = rows
        return padded.tobytes()


Input = np.ndarray | QTensor | None
Params = dict[str, object] | bytes


class GuestStatus(Exception):
    """The guest returned something else than 0."""

    def __init__(self, call: str, code: int, message: str) -> None:
        super().__init__(f"{call} returned {code}: {message}")
        self.call = call
        self.code = code
        self.message = message


def load_reference(name: str) -> ModuleType:
    """`wasm_modules/NAME/reference.py` as a module."""
    return load_file(guestmachine.GUESTS / name / "reference.py", f"sanderling_reference_{name}")


# ---- the host's part ----------------------------------------------------------------------------


@dataclass
class _Buffer:
    address: int
    capacity: int
    dtype: int
    rank: int


class Guest:
    """One instance of a guest, driven as the host drives it."""

    def __init__(self, name: str, machine: Machine, read: manifest.Manifest) -> None:
        self.name = name
        self.machine = machine
        self.manifest = read
        self.call = 0
        self.sequence = 0
        self._inputs_at = self._outputs_at = 0
        self._inputs: list[_Buffer | None] = []
        self._outputs: list[_Buffer | None] = []

    def _alloc(self, size: int) -> int:
        address = self.machine.alloc(size)
        if not address or address % abi.ALIGN:
            raise GuestFault(f"{self.name}: sl_alloc({size}) gave address {address}")
        return address

    def _inputs_of(self, inputs: Sequence[Input]) -> list[QTensor | None]:
        wanted = len(self.manifest.inputs)
        assert len(inputs) <= wanted, f"{self.name} has {wanted} inputs"
        tensors = [QTensor(item) if isinstance(item, np.ndarray) else item for item in inputs]
        return tensors + [None] * (wanted - len(tensors))

    def setup(self, inputs: Sequence[Input], params: Params | None = None) -> None:
        """Place the inputs, call sl_setup, place the outputs, freeze the memory.

        Raises:
            GuestStatus: sl_setup refused.
        """
        tensors = self._inputs_of(inputs)
        packed = (
            params
            if isinstance(params, bytes)
            else manifest.pack_params(self.manifest, params or {}, self.name)
        )
        n_outputs = len(self.manifest.outputs)
        self.call = self._alloc(abi.CALL_SIZE)
        self._inputs_at = self._alloc(abi.TENSOR_SIZE * len(tensors))
        self._outputs_at = self._alloc(abi.TENSOR_SIZE * n_outputs)
        params_at = self._alloc(len(packed)) if packed else 0
        if packed:
            self.machine.write(params_at, packed)
        self._inputs = []
        for tensor in tensors:
            stored = len(tensor.stored()) if tensor else 0
            buffer = _Buffer(self._alloc(stored), stored, 0, 0) if tensor else None
            self._inputs.append(buffer)
        self._write_inputs(tensors)
        self.machine.write(self._outputs_at, bytes(abi.TENSOR_SIZE * n_outputs))
        self._block = abi.Call(
            size=abi.CALL_SIZE,
            n_inputs=len(tensors),
            n_outputs=n_outputs,
            inputs=self._inputs_at,
            outputs=self._outputs_at,
            params=params_at,
            params_len=len(packed),
        )
        self._write_call()
        self._check("sl_setup", self.machine.setup(self.call))
        self._outputs = [self._place(index) for index in range(n_outputs)]
        self.machine.freeze()

    def _place(self, index: int) -> _Buffer | None:
        """Give an output the buffer that its greatest shape needs."""
        spec = self.manifest.outputs[index]
        tensor = self._output(index)
        if tensor.dtype == 0:
            assert spec.optional, f"{self.name}: output {spec.name} has no dtype"
            return None
        shape = tuple(tensor.dims[: tensor.rank])
        dtype = str(DType(tensor.dtype))
        self._rule(tensor.rank <= abi.MAX_RANK, f"output {spec.name} has rank {tensor.rank}")
        self._rule(dtype in spec.dtypes, f"output {spec.name} is {dtype}")
        fits = any(manifest.match_shape(pattern, shape, {}) is not None for pattern in spec.shapes)
        self._rule(fits, f"output {spec.name} has shape {shape}")
        capacity = DType(tensor.dtype).itemsize * int(np.prod(shape, dtype=np.int64))
        tensor.data, tensor.capacity = self._alloc(capacity), capacity
        self.machine.write(self._outputs_at + abi.TENSOR_SIZE * index, bytes(tensor))
        return _Buffer(tensor.data, capacity, tensor.dtype, tensor.rank)

    def run(self, inputs: Sequence[Input], captured_ns: int | None = None) -> list[QTensor | None]:
        """One frame.

        Args:
            inputs: with dims within the capacity of those of `setup`, same dtypes.
            captured_ns: its capture time; 33 ms after the one before when not given.

        Raises:
            GuestStatus: sl_run refused, or skipped the frame (`abi.SKIP`).
        """
        tensors = self._inputs_of(inputs)
        self._write_inputs(tensors)
        for buffer in self._outputs:
            if buffer:
                self.machine.fill(buffer.address, buffer.capacity)
        self.sequence += 1
        self._write_call(captured_ns)
        before = self.machine.read(self._inputs_at, abi.TENSOR_SIZE * len(tensors))
        status, _ = self.machine.run(self.call)
        after = self.machine.read(self._inputs_at, abi.TENSOR_SIZE * len(tensors))
        self._rule(before == after, "it wrote to the descriptors of its inputs")
        if status != abi.SKIP:
            self._check("sl_run", status)
        for spec, tensor, buffer in zip(self.manifest.inputs, tensors, self._inputs, strict=True):
            if tensor and buffer:
                stored = tensor.stored()
                same = self.machine.read(buffer.address, len(stored)) == stored
                self._rule(same, f"it wrote to its input {spec.name}")
        self._check("sl_run", status)
        return [self._result(index) for index in range(len(self._outputs))]

    def reset(self) -> None:
        """Have it forget earlier frames, if it remembers any.

        Raises:
            GuestStatus: sl_reset refused.
        """
        self._check("sl_reset", self.machine.reset())

    def time_ns(self, times: int) -> int:
        """Nanoseconds that so many calls of sl_run take in all, on the inputs of the last `run`."""
        status, elapsed = self.machine.run(self.call, times)
        self._check("sl_run", status)
        return elapsed

    def _result(self, index: int) -> QTensor | None:
        buffer, spec = self._outputs[index], self.manifest.outputs[index]
        tensor = self._output(index)
        if buffer is None:
            self._rule(tensor.dtype == 0, f"output {spec.name} came to be in sl_run")
            return None
        where = f"output {spec.name}"
        self._rule(tensor.data == buffer.address, f"{where} moved")
        self._rule(tensor.capacity == buffer.capacity, f"{where}: capacity was changed")
        self._rule(tensor.dtype == buffer.dtype, f"{where}: dtype was changed")
        self._rule(tensor.rank == buffer.rank, f"{where}: rank was changed")
        self._rule(not any(tensor.reserved1) and not tensor.reserved0, f"{where}: reserved fields")
        shape = tuple(tensor.dims[: tensor.rank])
        dtype = DType(tensor.dtype)
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        self._rule(size <= buffer.capacity, f"{where}: {shape} does not fit its buffer")
        raw = self.machine.read(buffer.address, size) if size else b""
        return QTensor(
            np.frombuffer(raw, dtype.numpy).reshape(shape),
            scale=tensor.scale,
            zero_point=tensor.zero_point,
            format=PixelFormat(tensor.format),
            row_stride=tensor.row_stride,
        )

    def _write_inputs(self, tensors: Sequence[QTensor | None]) -> None:
        block = b""
        for tensor, buffer in zip(tensors, self._inputs, strict=True):
            assert (tensor is None) == (buffer is None), "connected in setup, or never"
            if tensor is None or buffer is None:
                block += bytes(abi.TENSOR_SIZE)
                continue
            stored = tensor.stored()
            assert len(stored) <= buffer.capacity, "larger than what it was set up with"
            if stored:
                self.machine.write(buffer.address, stored)
            shape = tensor.data.shape
            block += bytes(
                abi.Tensor(
                    data=buffer.address,
                    capacity=buffer.capacity,
                    dtype=DType.of(tensor.data.dtype),
                    rank=len(shape),
                    format=tensor.format,
                    row_stride=tensor.row_stride,
                    dims=(ctypes.c_uint32 * abi.MAX_RANK)(*shape),
                    scale=tensor.scale,
                    zero_point=tensor.zero_point,
                )
            )
        self.machine.write(self._inputs_at, block)

    def _write_call(self, captured_ns: int | None = None) -> None:
        self._block.sequence = self.sequence
        if captured_ns is None:
            captured_ns = 33_000_000 * self.sequence
        self._block.captured_ns = captured_ns
        self.machine.write(self.call, bytes(self._block))

    def _output(self, index: int) -> abi.Tensor:
        at = self._outputs_at + abi.TENSOR_SIZE * index
        return abi.Tensor.from_buffer_copy(self.machine.read(at, abi.TENSOR_SIZE))

    def _check(self, call: str, status: int) -> None:
        if status:
            raise GuestStatus(call, status, self.machine.error())

    def _rule(self, kept: bool, text: str) -> None:
        if not kept:
            raise GuestFault(f"{self.name}: {text}")


@functools.cache
def _manifest(name: str) -> manifest.Manifest:
    path = guestmachine.GUESTS / name / "module.toml"
    return manifest.parse_toml(path.read_text(), str(path))


@contextlib.contextmanager
def scratch_guest(folder: Path, name: str, toml: str, source: str) -> Iterator[None]:
    """A guest that only a test has, in a tree of its own: inside, no other guest is found.

    Args:
        folder: an empty folder for the tree, which may be used again for the same guest.
        name: unlike that of any other guest.
    """
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("making a guest needs a compiler for WebAssembly: pip install ziglang")
    kept = guestmachine.GUESTS
    if not (folder / name).exists():
        shutil.copytree(kept / "include", folder / "include")
        shutil.copy(kept / "build.py", folder)
        (folder / name).mkdir()
        (folder / name / "module.toml").write_text(toml)
        (folder / name / f"{name}.c").write_text(source)
    guestmachine.GUESTS = folder
    try:
        yield
    finally:
        guestmachine.GUESTS = kept


@contextlib.contextmanager
def open_guest(name: str, *, backend: str) -> Iterator[Guest]:
    """A fresh instance of a guest; see the top of this file for the backends."""
    read = _manifest(name)
    limit = int(read.limits.memory_mb * 2**20)
    machine: WasmMachine | NativeMachine = (
        WasmMachine(name, limit) if backend == "wasm" else NativeMachine(name, backend, limit)
    )
    try:
        if machine.version != abi.MAJOR << 16 | abi.MINOR:
            raise GuestFault(f"{name}: sl_abi_version gave {machine.version:#x}")
        yield Guest(name, machine, read)
    finally:
        machine.close()


def run_guest(
    name: str, inputs: Sequence[Input], params: Params | None = None, *, backend: str
) -> list[QTensor | None]:
    """Set a guest up and run it on one frame, in a fresh instance.

    Raises:
        GuestStatus: it refused, in sl_setup or in sl_run.
        GuestFault: it trapped, a sanitizer stopped it, or it broke the ABI.
    """
    return run_frames(name, [inputs], params, backend=backend)[0]


def run_frames(
    name: str,
    frames: Sequence[Sequence[Input]],
    params: Params | None = None,
    *,
    backend: str,
    setup: Sequence[Input] | None = None,
) -> list[list[QTensor | None]]:
    """Set a guest up and run it on several frames in turn, in one instance.

    Args:
        frames: inputs of each; those after the first no larger than `setup`.
        setup: inputs to set up with; those of the first frame when not given.
    """
    with open_guest(name, backend=backend) as guest:
        guest.setup(frames[0] if setup is None else setup, params)
        return [guest.run(inputs) for inputs in frames]
