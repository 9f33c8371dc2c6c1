"""What a model file says of itself, beyond what ONNX has words for.

One JSON object under the key `sanderling.model` of the ONNX `metadata_props`. `sanderling model
quantize` writes it; a model without it runs too, the pipeline then says what the file does not.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from sanderling.errors import ModelError
from sanderling.schema import explain
from sanderling.text import printable

KEY = "sanderling.model"

# Bounds also keep out what is not finite: no comparison with it holds.
Positive = Annotated[float, msgspec.Meta(gt=0, le=3.4e38)]
Finite = Annotated[float, msgspec.Meta(ge=-3.4e38, le=3.4e38)]
Triple = tuple[Finite, Finite, Finite]


class ImageInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the model wants its picture. Its size and layout are read from the input's shape.

    Attributes:
        order: the order of the channels.
        mean: in pixel units (0 to 255), taken off each channel, in the order of `order`.
        std: in pixel units, each channel is divided by it after `mean`.
        fit: keep the aspect and pad, or stretch.
        align: where the content lies in a padded picture.
        pad: the pixel value of the padding.
    """

    order: Literal["bgr", "rgb", "grey"] = "rgb"
    mean: Triple = (0.0, 0.0, 0.0)
    std: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)
    fit: Literal["letterbox", "stretch"] = "letterbox"
    align: Literal["centre", "start"] = "centre"
    pad: Annotated[int, msgspec.Meta(ge=0, le=255)] = 114


class Quantization(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`real = scale * (stored - zero_point)` for one input or output."""

    scale: Positive
    zero_point: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


class ModelMetadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that a model says of itself.

    Attributes:
        name: for people.
        license: an SPDX identifier.
        source: where the weights come from.
        task: what comes out of it.
        image: how its picture is prepared, if its input is one.
        tensors: scale and zero point of each input and output that is stored quantized.
        outputs: an output's name in the graph, and the name that guests know it by.
        labels: the names of the classes, in order.
        notes: what quantize chose and why, for people.
    """

    version: Literal[1] = 1
    name: str = ""
    license: str = ""
    source: str = ""
    task: Literal["", "detect", "classify"] = ""
    image: ImageInput | None = None
    tensors: dict[str, Quantization] = {}
    outputs: dict[str, str] = {}
    labels: list[str] = []
    notes: dict[str, str] = {}


def parse(text: str, where: str) -> ModelMetadata:
    """Read the metadata of a model.

    Args:
        text: the JSON; empty when the model has none.
        where: the model's path, for messages.

    Raises:
        ModelError: it is not JSON, or not what this module describes.
    """
    if not text:
        return ModelMetadata()
    try:
        return msgspec.json.decode(text, type=ModelMetadata)
    except msgspec.ValidationError as exc:
        raise ModelError(f"{where}: the metadata {KEY}: {explain(exc, ModelMetadata)}") from exc
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as exc:
        raise ModelError(f"{where}: the metadata {KEY} is malformed: {printable(exc)}") from exc


def dump(metadata: ModelMetadata) -> str:
    """The metadata as it is stored in the model."""
    return msgspec.json.encode(metadata).decode()
