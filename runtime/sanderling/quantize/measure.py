"""Float against int8: how far the outputs agree, and how long a run takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from sanderling.errors import ModelError
from sanderling.metadata import Quantization
from sanderling.quantize.load import PictureInput, does_not_run, session, translated

Array = NDArray[np.generic]
Real = NDArray[np.float32]


def run(model: onnxruntime.InferenceSession, batch: Array) -> dict[str, Array]:
    """All outputs of one run, by name."""
    names = [item.name for item in model.get_outputs()]
    return dict(zip(names, model.run(names, {model.get_inputs()[0].name: batch}), strict=True))


def store(real: Real, params: Quantization, *, signed: bool) -> Array:
    """The stored integers of real values: divided, rounded half to even, saturated."""
    levels: Real = np.rint(real / np.float32(params.scale)) + np.float32(params.zero_point)
    stored: Array = levels.clip(-128, 127).astype(np.int8)
    return stored if signed else levels.clip(0, 255).astype(np.uint8)


def real(stored: Array, params: Quantization | None) -> Real:
    """What stored integers stand for; floats as they are."""
    if params is None:
        return stored.astype(np.float32)
    return (stored.astype(np.float32) - params.zero_point) * np.float32(params.scale)


class Agreement:
    """The agreement of one model with the float model, over pictures.

    For each output 1 - rms(error) / rms(float - its mean), at least 0.
    """

    def __init__(self, model: onnx.ModelProto, tensors: Mapping[str, Quantization]) -> None:
        self._session = session(model)
        self._input = self._session.get_inputs()[0].name
        self._tensors = tensors
        self._sums: dict[str, list[float]] = {}  # of squared errors, of values, of squares, count

    def add(self, batch: Real, wanted: Mapping[str, Array]) -> None:
        """Take one picture in.

        Args:
            batch: the float input.
            wanted: the outputs of the float model.
        """
        params = self._tensors.get(self._input)
        fed: Array = batch
        if params is not None:
            kind = self._session.get_inputs()[0].type
            fed = store(batch, params, signed=kind == "tensor(int8)")
        for name, stored in run(self._session, fed).items():
            target = wanted[name].astype(np.float64)
            error = real(stored, self._tensors.get(name)) - target
            sums = self._sums.setdefault(name, [0.0, 0.0, 0.0, 0.0])
            parts = ((error**2).sum(), target.sum(), (target**2).sum(), float(target.size))
            for index, part in enumerate(parts):
                sums[index] += float(part)

    def result(self) -> dict[str, float]:
        """By output."""
        found = {}
        for name, (errors, total, squares, count) in self._sums.items():
            spread = max(squares / count - (total / count) ** 2, 1e-24)
            found[name] = max(0.0, 1.0 - (errors / count / spread) ** 0.5)
        return found


def medians_ms(
    models: Sequence[onnx.ModelProto], rounds: int, tick: Callable[[], None]
) -> list[float]:
    """The median time of one run of each model, the models taking turns.

    Args:
        models: each with one input of fixed shape.
        rounds: how often each runs; 0 gives zeros.
        tick: called after each round.

    Returns:
        Milliseconds.
    """
    if rounds == 0:
        return [0.0] * len(models)
    sessions = [session(model) for model in models]
    feeds = []
    for each in sessions:
        item = each.get_inputs()[0]
        dtype = {"tensor(uint8)": np.uint8, "tensor(int8)": np.int8}.get(item.type, np.float32)
        feeds.append({item.name: np.zeros(item.shape, dtype)})
    times: list[list[float]] = [[] for _ in models]
    for number in range(rounds + 2):
        for index, (each, feed) in enumerate(zip(sessions, feeds, strict=True)):
            began = time.perf_counter_ns()
            each.run(None, feed)
            if number >= 2:  # the first two warm up
                times[index].append((time.perf_counter_ns() - began) / 1e6)
        tick()
    return [statistics.median(item) for item in times]


def fix_outputs(
    model: onnx.ModelProto, batches: Sequence[Real], picture: PictureInput, path: Path
) -> None:
    """Write the shape of each output into the model.

    Args:
        model: the prepared float model; it is changed.
        batches: at least two different inputs.
        picture: the model's input, for messages.
        path: the model's, for messages.

    Raises:
        ModelError: it does not run, or the size of an output depends on the picture.
    """
    with translated(does_not_run(path, picture)):
        loaded = session(model)
        shapes = [{k: v.shape for k, v in run(loaded, batch).items()} for batch in batches]
    for item in model.graph.output:
        known = {shape[item.name] for shape in shapes}
        if len(known) != 1:
            raise ModelError(
                f"{path}: the size of output {item.name} depends on the picture; export the model"
                " without its last step (NMS or the like), a guest does that"
            )
        kind = item.type.tensor_type.elem_type
        item.CopyFrom(onnx.helper.make_tensor_value_info(item.name, kind, known.pop()))
