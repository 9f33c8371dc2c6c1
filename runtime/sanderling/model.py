"""Models: the only module that imports onnxruntime.

A `Model` knows every input and output with dtype, shape, scale and zero point. `bind` gives a
`Binding` that reads and writes memory the caller names, without a copy.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from sanderling import metadata
from sanderling.errors import ModelError, ModelRunError
from sanderling.metadata import ModelMetadata
from sanderling.tensor import DType, TensorType, shape_text

ERRORS: tuple[type[Exception], ...] = (
    *(
        kind
        for kind in vars(state).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ),
    RuntimeError,
    ValueError,
)
"""What onnxruntime raises: its exceptions have no common root, and some calls raise plain ones."""

_DTYPES = {
    "tensor(uint8)": DType.U8,
    "tensor(int8)": DType.I8,
    "tensor(uint16)": DType.U16,
    "tensor(int16)": DType.I16,
    "tensor(int32)": DType.I32,
    "tensor(int64)": DType.I64,
    "tensor(float16)": DType.F16,
    "tensor(float)": DType.F32,
    "tensor(double)": DType.F64,
    "tensor(bool)": DType.BOOL,
}

ort.set_default_logger_severity(4)  # what matters is raised; the rest is noise on a terminal


@dataclass(frozen=True, slots=True)
class Port:
    """An input or an output as the file has it.

    Attributes:
        name: its name in the graph.
        label: the name that guests know it by; the metadata may rename an output.
        dtype: its element type.
        shape: a number for each fixed dimension, a name or "?" for each that is not.
        scale: where stored quantized, else 0.
        zero_point: where stored quantized.
    """

    name: str
    label: str
    dtype: DType
    shape: tuple[int | str, ...]
    scale: float
    zero_point: int

    @property
    def fixed(self) -> bool:
        """Whether every dimension is a number."""
        return all(isinstance(dim, int) for dim in self.shape)

    def typed(self, shape: Sequence[int] | None = None) -> TensorType:
        """The tensor type with this shape, or with its own when that is fixed."""
        dims = tuple(shape) if shape is not None else tuple(int(dim) for dim in self.shape)
        return TensorType(self.dtype, dims, self.scale, self.zero_point)

    def __str__(self) -> str:
        text = f"{self.dtype} {shape_text(self.shape)}"
        if self.scale:
            text += f" scale {self.scale:.6g} zero point {self.zero_point}"
        return text


class Model:
    """An ONNX model, loaded.

    Attributes:
        path: where it was read.
        metadata: what it says of itself.
        inputs: its inputs in the order of the graph.
        outputs: its outputs in the order of the graph.
    """

    def __init__(self, path: str, session: ort.InferenceSession, options: _Options) -> None:
        self.path = path
        self._session = session
        self._options = options
        try:
            props = session.get_modelmeta().custom_metadata_map
            self.metadata: ModelMetadata = metadata.parse(props.get(metadata.KEY, ""), path)
            self.inputs = tuple(self._port(arg) for arg in session.get_inputs())
            self.outputs = tuple(self._port(arg) for arg in session.get_outputs())
        except ERRORS as exc:  # a name that is not text
            raise ModelError(f"{path}: the model is damaged: {_words(exc)}") from exc

    def _port(self, arg: ort.NodeArg) -> Port:
        dtype = _DTYPES.get(arg.type)
        if dtype is None:
            known = ", ".join(map(str, _DTYPES.values()))
            found = arg.type.removeprefix("tensor(").removesuffix(")")
            raise ModelError(f"{self.path}: {arg.name} is {found}; supported are {known}")
        stored = self.metadata.tensors.get(arg.name)
        return Port(
            name=arg.name,
            label=self.metadata.outputs.get(arg.name, arg.name),
            dtype=dtype,
            shape=tuple(dim if isinstance(dim, int) else dim or "?" for dim in arg.shape),
            scale=stored.scale if stored else 0.0,
            zero_point=stored.zero_point if stored else 0,
        )

    def fixed(self, shapes: Mapping[str, tuple[int, ...]], *, rows: bool = False) -> Model:
        """The same model with its free dimensions fixed.

        Args:
            shapes: the shape of each input that has free dimensions.
            rows: leave each input's first dimension free: the shapes say how many rows there are at
                the most.

        Raises:
            ModelError: a shape does not fit, or the model cannot run with it.
        """
        free: dict[str, int] = {}
        kept = {port.shape[0] for port in self.inputs if rows and port.shape}
        for port in self.inputs:
            given = shapes.get(port.name)
            if given is None:
                continue
            if not _fits(port.shape, given):
                raise ModelError(
                    f"{self.path}: its input {port.name} is {shape_text(port.shape)};"
                    f" {shape_text(given)} does not fit"
                )
            for dim, size in zip(port.shape, given, strict=True):
                named = isinstance(dim, str) and dim != "?"
                if named and dim not in kept and free.setdefault(str(dim), size) != size:
                    raise ModelError(
                        f"{self.path}: the dimension {dim} would be {free[str(dim)]} and {size}"
                    )
        model = (
            load(Path(self.path), threads=self._options.threads, free=free)
            if free
            else Model(self.path, self._session, self._options)
        )
        model.inputs = tuple(
            replace(port, shape=shapes.get(port.name, port.shape)) for port in model.inputs
        )
        if not all(port.fixed for port in model.outputs):
            model.outputs = model._measured()
        return model

    def _measured(self) -> tuple[Port, ...]:
        """The outputs' shapes as two runs show them, on zeros and on ones."""
        zeros, ones = self._shapes(0), self._shapes(1)
        for port, zero, one in zip(self.outputs, zeros, ones, strict=True):
            if zero != one:
                raise ModelError(
                    f"{self.path}: its output {port.name} changes its shape with the data"
                    f" ({shape_text(zero)}, {shape_text(one)}); cut the model before that"
                )
        return tuple(
            replace(port, shape=shape) for port, shape in zip(self.outputs, zeros, strict=True)
        )

    def _shapes(self, fill: int) -> list[tuple[int, ...]]:
        """The outputs' shapes when every input element is `fill`."""
        feed = {
            port.name: np.full(port.typed().shape, fill, port.dtype.numpy) for port in self.inputs
        }
        try:
            made = self._session.run(None, feed)
        except ERRORS as exc:
            raise ModelError(
                f"{self.path}: it cannot run with these shapes: {_words(exc)}"
            ) from exc
        return [tuple(value.shape) for value in made]

    def bind(
        self,
        stage: str,
        inputs: Sequence[tuple[TensorType, int]],
        outputs: Sequence[tuple[TensorType, int]],
    ) -> Binding:
        """Tie each input and output to memory.

        Args:
            stage: the name that errors carry.
            inputs: type and host address of each input, in the order of the graph.
            outputs: type and host address of each output, in the order of the graph.

        Raises:
            ModelError: onnxruntime does not take one of them.
        """
        binding = self._session.io_binding()
        try:
            for port, (kind, address) in zip(self.inputs, inputs, strict=True):
                binding.bind_input(
                    port.name, "cpu", 0, kind.dtype.numpy.type, list(kind.shape), address
                )
            for port, (kind, address) in zip(self.outputs, outputs, strict=True):
                binding.bind_output(
                    port.name, "cpu", 0, kind.dtype.numpy.type, list(kind.shape), address
                )
        except ERRORS as exc:
            raise ModelError(f"{self.path}: cannot bind its tensors: {_words(exc)}") from exc
        return Binding(stage, self._session, binding)

    def run(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run on arrays, with copies: for tools and tests.

        Raises:
            ModelRunError: onnxruntime failed.
        """
        try:
            made = self._session.run(None, dict(feed))
        except ERRORS as exc:
            raise ModelRunError(self.path, _words(exc)) from exc
        return {port.name: value for port, value in zip(self.outputs, made, strict=True)}


class Binding:
    """A model tied to memory."""

    def __init__(self, stage: str, session: ort.InferenceSession, binding: ort.IOBinding) -> None:
        self._stage = stage
        # The wrappers in Python check and copy options on every call; these are what they call.
        self._run = session._sess.run_with_iobinding
        self._binding = binding._iobinding
        self._session = session
        self._keep = binding

    def run(self) -> None:
        """Run once on what lies in the inputs' memory.

        Raises:
            ModelRunError: onnxruntime failed.
        """
        try:
            self._run(self._binding, None)
        except ERRORS as exc:
            raise ModelRunError(self._stage, _words(exc)) from exc


@dataclass(frozen=True, slots=True)
class _Options:
    threads: int


_load_lock = threading.Lock()


def load(path: Path, *, threads: int = 0, free: Mapping[str, int] | None = None) -> Model:
    """Load a model.

    Args:
        path: the `.onnx` file.
        threads: threads that one run may use; 0 for one a core.
        free: what the free dimensions of the graph are fixed to, by name.

    Raises:
        ModelError: missing, not ONNX, cut off, or with an operator that is not there.
    """
    if not path.is_file():
        raise ModelError(f"{path}: there is no such model")
    if not path.stat().st_size:
        raise ModelError(f"{path}: the file is empty")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    for name, size in (free or {}).items():
        options.add_free_dimension_override_by_name(name, size)
    try:
        session = ort.InferenceSession(
            str(path),
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,  # it would print, and try the same once more
        )
    except (state.InvalidProtobuf, state.NoModel) as exc:
        raise ModelError(f"{path}: not an ONNX model, or cut off") from exc
    except ERRORS as exc:
        raise ModelError(
            f"{path}: onnxruntime {ort.__version__} cannot run it: {_words(exc)}"
        ) from exc
    return Model(str(path), session, _Options(threads))


def _fits(shape: tuple[int | str, ...], given: tuple[int, ...]) -> bool:
    return len(shape) == len(given) and all(
        isinstance(dim, str) or dim == size for dim, size in zip(shape, given, strict=True)
    )


def _words(exc: Exception) -> str:
    """The part of onnxruntime's message that is about the model, without its source lines."""
    text = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
    text = text.replace("[ONNXRuntimeError] : ", "").split(" : ", 2)[-1]
    return re.sub(r"^Load model from .* failed:(Fatal error: )?", "", text)[:400]
