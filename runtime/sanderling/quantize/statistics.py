"""What the calibration pictures say of each tensor of the float model, in one pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from sanderling.errors import ModelError
from sanderling.quantize.load import session, translated

Real = NDArray[np.float32]
Ranges = dict[str, tuple[float, float]]

CLIPPED = 1e-4  # share of a picture's values that a clipped range leaves out at each end


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of the float tensors, by name.

    Attributes:
        whole: least and greatest value.
        clipped: the same without the outermost values of each picture (`CLIPPED`): rare outliers
            cost all others resolution.
        means: of each channel, for inputs of convolutions: `[c]`.
    """

    whole: Ranges
    clipped: Ranges
    means: dict[str, NDArray[np.float64]]


def collect(
    model: onnx.ModelProto, batches: Iterable[Real], path: Path, tick: Callable[[], None]
) -> Statistics:
    """Run the model on all batches and look at every tensor.

    Args:
        model: the prepared float model, with shapes inferred.
        batches: inputs of the model, each one picture.
        path: the model's, for messages.
        tick: called after each batch.

    Raises:
        ModelError: the model fails, or computes what is not finite.
    """
    name = model.graph.input[0].name
    taken = {node.input[0] for node in model.graph.node if node.op_type == "Conv"}
    found = Statistics({}, {}, {})
    count = 0
    with translated(f"{path}: fails on a calibration picture"):
        opened = onnx.ModelProto()
        opened.CopyFrom(model)
        known = {item.name for item in opened.graph.output}
        opened.graph.output.extend(
            item
            for item in model.graph.value_info
            if item.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and item.name not in known
        )
        loaded = session(opened)
        floats = [item.name for item in loaded.get_outputs() if item.type == "tensor(float)"]
        for batch in batches:
            values = dict(zip(floats, loaded.run(floats, {name: batch}), strict=True))
            for tensor, value in (values | {name: batch}).items():
                if value.size:
                    _widen(found, tensor, value, path)
                if tensor in taken and value.ndim == 4:
                    found.means[tensor] = found.means.get(tensor, 0.0) + value.mean(
                        axis=(0, 2, 3), dtype=np.float64
                    )
            count += 1
            tick()
    for tensor in found.means:
        found.means[tensor] /= count
    return found


def _widen(found: Statistics, tensor: str, value: Real, path: Path) -> None:
    """Take the values of one tensor on one picture in."""
    flat = value.reshape(-1)
    beyond = int(flat.size * CLIPPED)
    ends = sorted({0, beyond, flat.size - 1 - beyond, flat.size - 1})
    ordered = np.partition(flat, ends)  # NaN sorts last
    for ranges, skip in ((found.whole, 0), (found.clipped, beyond)):
        low, high = float(ordered[skip]), float(ordered[-1 - skip])
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ModelError(f"{path}: tensor {tensor} is not finite on the calibration pictures")
        with contextlib.suppress(KeyError):
            low, high = min(low, ranges[tensor][0]), max(high, ranges[tensor][1])
        ranges[tensor] = (low, high)
