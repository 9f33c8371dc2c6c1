"""The float graph in QDQ form, by onnxruntime's own quantizer, with its biases corrected."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import (
    CalibrationMethod,
    TensorData,
    TensorsData,
    save_tensors_data,
)

from sanderling.metadata import ImageInput, Quantization, Triple
from sanderling.quantize.load import translated
from sanderling.quantize.statistics import Ranges, Statistics


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
    given: InputRange,
    *,
    signed: bool,
    reduce_range: bool,
    stay_float: Collection[str],
    path: Path,
) -> onnx.ModelProto:
    """The model with QuantizeLinear and DequantizeLinear around its nodes.

    Args:
        model: the prepared float model.
        ranges: of its tensors.
        given: scale and zero point of the input.
        signed: int8 activations instead of uint8. Weights are int8 in both.
        reduce_range: weights of 7 bits.
        stay_float: names of nodes.
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
            nodes_to_exclude=sorted(stay_float),
            calibration_cache_path=cache,
            extra_options={"TensorQuantOverrides": {model.graph.input[0].name: [override]}},
        )
        made = onnx.load(out)
    _sum(made.graph)
    return made


def _sum(graph: onnx.GraphProto) -> None:
    """Call each Add between integers a Sum, which onnxruntime leaves in float32.

    Its integer Add (QLinearAdd) computes otherwise on Arm than on x86: one step apart in one of
    30,000 elements, which the layers behind make many. The sum in float32 is the same everywhere,
    for 5% of CenterFace's time. No other operator was found to differ.
    """
    maker = {name: node.op_type for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type == "Add" and {maker.get(name) for name in node.input} == {
            "DequantizeLinear"
        }:
            node.op_type = "Sum"


def correct_biases(quantized: onnx.ModelProto, model: onnx.ModelProto, seen: Statistics) -> int:
    """Take back the shift that rounding the weights gives each channel on average.

    The expected error of a channel is its weights' rounding error times the mean of its input, and
    goes into the int32 bias. Nagel et al., Data-Free Quantization Through Weight Equalization and
    Bias Correction (2019), section 4.2, with means measured instead of derived.

    Args:
        quantized: in QDQ form; its biases are changed.
        model: the float model it was made from.
        seen: of the float model.

    Returns:
        How many convolutions were corrected.
    """
    floats = {item.name: item for item in model.graph.initializer}
    before = {node.name: node for node in model.graph.node}
    stored = {item.name: item for item in quantized.graph.initializer}
    maker = {name: node for node in quantized.graph.node for name in node.output}
    corrected: set[str] = set()
    for node in quantized.graph.node:
        origin = before.get(node.name)
        if node.op_type != "Conv" or origin is None or len(node.input) < 3:
            continue
        weight, bias = maker.get(node.input[1]), maker.get(node.input[2])
        mean = seen.means.get(origin.input[0])
        if weight is None or bias is None or mean is None or origin.input[1] not in floats:
            continue
        if bias.input[0] in corrected:  # shared by several convolutions: it fits the first
            continue
        wanted = numpy_helper.to_array(floats[origin.input[1]]).astype(np.float64)
        levels = numpy_helper.to_array(stored[weight.input[0]]).astype(np.float64)
        steps = numpy_helper.to_array(stored[weight.input[1]]).astype(np.float64)
        error = (levels * steps.reshape(-1, 1, 1, 1) - wanted).sum(axis=(2, 3))
        # Output channel o of group g reads the input channels of g.
        outputs, inputs = error.shape
        groups = mean.size // inputs
        per_group = mean.reshape(groups, inputs).repeat(outputs // groups, axis=0)
        shift = (error * per_group).sum(axis=1)
        old = stored[bias.input[0]]
        step = numpy_helper.to_array(stored[bias.input[1]]).astype(np.float64)
        levels = np.rint(numpy_helper.to_array(old) - shift / step)
        limits = np.iinfo(np.int32)
        fixed = np.clip(levels, limits.min, limits.max).astype(np.int32)
        old.CopyFrom(numpy_helper.from_array(fixed, old.name))
        corrected.add(bias.input[0])
    return len(corrected)
