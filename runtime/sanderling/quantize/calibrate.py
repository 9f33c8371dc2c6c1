"""Ranges from pictures, and the graph in QDQ form, both by onnxruntime's own quantizer."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import (
    CalibrationDataReader,
    CalibrationMethod,
    TensorData,
    TensorsData,
    create_calibrator,
    save_tensors_data,
)

from sanderling.errors import ModelError
from sanderling.metadata import ImageInput, Quantization, Triple
from sanderling.quantize.joined import Ranges
from sanderling.quantize.load import translated

Real = NDArray[np.float32]


class _One(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """One batch, as onnxruntime reads them."""

    def __init__(self, name: str, batch: Real) -> None:
        self._next: dict[str, Real] | None = {name: batch}

    def get_next(self) -> dict[str, Real] | None:
        """The batch, then None."""
        batch, self._next = self._next, None
        return batch


def collect(
    model: onnx.ModelProto, name: str, batches: Iterable[Real], path: Path, tick: Callable[[], None]
) -> Ranges:
    """The least and the greatest value of each float tensor over all batches.

    Args:
        model: the prepared float model.
        name: of its input.
        batches: inputs of the model.
        path: the model's, for messages.
        tick: called after each batch.

    Raises:
        ModelError: the model fails, or computes what is not finite.
    """
    with (
        translated(f"{path}: fails on a calibration picture"),
        tempfile.TemporaryDirectory(prefix="sanderling-") as folder,
    ):
        source = Path(folder, "float.onnx")
        onnx.save(model, source)
        calibrator = create_calibrator(
            source, None, augmented_model_path=str(Path(folder, "augmented.onnx"))
        )
        for batch in batches:
            calibrator.collect_data(_One(name, batch))
            tick()
        data = calibrator.compute_data()
    ranges = {}
    for tensor, item in sorted(data.items()):
        low, high = (float(np.min(bound)) for bound in item.range_value)
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ModelError(f"{path}: tensor {tensor} is not finite on the calibration pictures")
        ranges[tensor] = (low, high)
    return ranges


@dataclass(frozen=True, slots=True)
class InputRange:
    """How the input is quantized.

    Attributes:
        scale: of one step.
        zero_point: among 0 to 255; 128 less for int8.
        image: the same with the mean that the integers stand for.
        folded: whether a pixel is its own quantized value.
        why: for people.
    """

    scale: float
    zero_point: int
    image: ImageInput
    folded: bool
    why: str

    def quantization(self, *, signed: bool) -> Quantization:
        """As the metadata has it."""
        return Quantization(scale=self.scale, zero_point=self.zero_point - 128 * signed)


def input_range(image: ImageInput, channels: int) -> InputRange:
    """Scale and zero point of the input, from the normalisation and not from pictures.

    With one std, and means that round to one pixel value, `scale = 1 / std` and
    `zero point = mean`: (pixel - mean) / std = scale * (pixel - zero point), so that the pixel is
    the quantized input. Otherwise the least and greatest values any pixel can give.
    """
    mean, std = image.mean[:channels], image.std[:channels]
    whole = {math.floor(value + 0.5) for value in mean}
    level = whole.pop()
    if not whole and len(set(std)) == 1 and 0 <= level <= 255:
        why = "raw pixels: 1 / std is the scale and mean the zero point"
        if any(value != level for value in mean):
            why += f" (mean {', '.join(f'{value:g}' for value in mean)} taken as {level})"
        means: Triple = (float(level),) * 3
        scale = float(np.float32(1.0 / std[0]))
        fixed = ImageInput(
            order=image.order,
            mean=means,
            std=(std[0],) * 3,
            fit=image.fit,
            align=image.align,
            pad=image.pad,
        )
        return InputRange(scale, level, fixed, folded=True, why=why)
    low = min(0.0, *((0.0 - m) / s for m, s in zip(mean, std, strict=True)))
    high = max(0.0, *((255.0 - m) / s for m, s in zip(mean, std, strict=True)))
    scale = float(np.float32((high - low) / 255.0))
    why = "the guest normalises: mean or std differ over the channels, one scale cannot hold them"
    return InputRange(scale, round(-low / scale), image, folded=False, why=why)


def to_qdq(
    model: onnx.ModelProto,
    ranges: Ranges,
    name: str,
    given: InputRange,
    *,
    signed: bool,
    reduce_range: bool,
    exclude: Collection[str],
    path: Path,
) -> onnx.ModelProto:
    """The model with QuantizeLinear and DequantizeLinear around its nodes.

    Args:
        model: the prepared float model.
        ranges: of its tensors.
        name: of its input.
        given: scale and zero point of the input.
        signed: int8 activations instead of uint8. Weights are int8 in both.
        reduce_range: weights of 7 bits.
        exclude: names of nodes that stay float.
        path: the model's, for messages.

    Raises:
        ModelError: it cannot be quantized.
    """
    kind = QuantType.QInt8 if signed else QuantType.QUInt8
    exact = given.quantization(signed=signed)
    override = {
        "quant_type": kind,
        "scale": np.array(exact.scale, np.float32),
        "zero_point": np.array(exact.zero_point, np.int8 if signed else np.uint8),
    }
    with (
        translated(f"{path}: cannot be quantized"),
        tempfile.TemporaryDirectory(prefix="sanderling-") as folder,
    ):
        cache, source, out = (Path(folder, part) for part in ("ranges", "in.onnx", "out.onnx"))
        found = {
            tensor: TensorData(lowest=np.float32(low), highest=np.float32(high))
            for tensor, (low, high) in ranges.items()
        }
        save_tensors_data(TensorsData(CalibrationMethod.MinMax, found), cache)
        onnx.save(model, source)
        quantize_static(
            source,
            out,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=kind,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=sorted(exclude),
            calibration_cache_path=cache,
            extra_options={"TensorQuantOverrides": {name: [override]}},
        )
        return onnx.load(out)
