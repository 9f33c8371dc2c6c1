"""Turn a float ONNX model into one of eight bits. Off the device only.

    report = quantize("yolov8n.onnx", "yolov8n-int8.onnx", "photos/", std=(255.0, 255.0, 255.0))
    print(report.table())

What comes out takes the pixels as the guest before writes them and gives integers that the guest
after compares as they are: the outer QuantizeLinear and DequantizeLinear nodes are gone, and scale
and zero point stand in the model's metadata (`sanderling.metadata`).

This package and the models' recipes are the only ones that import `onnx`; it comes with the extra
`quantize`, and importing this module works without it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from sanderling.errors import InputError
from sanderling.metadata import ModelMetadata
from sanderling.quantize.report import Progress, Report, Variant

__all__ = ["Progress", "Report", "Variant", "quantize"]


def quantize(
    model_path: str | Path,
    out_path: str | Path,
    calibration: str | Path,
    *,
    held_out: str | Path | None = None,
    input_size: tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    order: Literal["bgr", "rgb", "grey"] | None = None,
    fit: Literal["letterbox", "stretch"] | None = None,
    align: Literal["centre", "start"] | None = None,
    pad: int | None = None,
    flavour: Literal["u8s8", "s8s8", "both"] = "u8s8",
    reduce_range: bool = True,
    split: bool = True,
    tail: Literal["auto", "int8", "float"] = "auto",
    keep_quantize_nodes: bool = False,
    rename: Mapping[str, str] | None = None,
    about: ModelMetadata | None = None,
    timing_rounds: int = 20,
    progress: Progress | None = None,
) -> Report:
    """Quantize a model of one picture input, statically, in QDQ form, per channel.

    An old opset is raised to 13, dynamic dimensions are fixed, initializers leave the graph's
    inputs. Ranges are the least and greatest values seen in the calibration pictures; the input's
    range follows from `mean` and `std`. Nothing is written unless all of it went well.

    Args:
        model_path: the float model; one input of 4 dimensions, NCHW or NHWC, 1 or 3 channels.
        out_path: the file to write; replaced in one step when it exists.
        calibration: a folder with at least 4 pictures like those the model will see.
        held_out: a folder with pictures to measure with; without it every fifth of `calibration`
            is kept for that.
        input_size: width and height in pixels; needed when the model leaves them open.
        mean: three numbers in pixel units (0 to 255) taken off the channels, in the order `order`.
        std: three numbers in pixel units the channels are divided by, after `mean`.
        order: the channels the model wants.
        fit: keep a picture's aspect and pad it, or stretch it.
        align: where the content lies in a padded picture.
        pad: pixel value of the padding.
            What is None of these six is taken from the model's metadata (ours or Ultralytics'),
            else it is `ImageInput`'s default.
        flavour: types of activations and weights of the file written; `both` writes U8S8 to
            `out_path` and S8S8 beside it with `-s8s8` in its name. Both are always measured.
        reduce_range: weights of 7 bits. With 8, x86 processors without VNNI saturate and compute
            something else than all others.
        split: take an output apart at its last Concat when one scale cannot fit the parts.
        tail: what becomes of the nodes behind the last convolution. `auto`: float where that
            keeps measurably more.
        keep_quantize_nodes: leave the outer nodes in, so that the model takes and gives float32.
        rename: an output's name in the model, and the name it is to have.
        about: name, license, source, task, labels to write into the metadata; the rest is filled
            in.
        timing_rounds: how often each model is timed; 0 for not at all.
        progress: called with a stage's name, and how much of how much of it is done.

    Returns:
        What was chosen and why, and float against int8.

    Raises:
        ModelError: the model is missing, is not ONNX, or is not one that can be quantized.
        SourceError: the pictures are missing, too few or unreadable.
        OutputError: `out_path` cannot be written.
        InputError: an argument is wrong, or the extra `quantize` is not installed.
    """
    if importlib.util.find_spec("onnx") is None:
        raise InputError("quantizing needs the package onnx: pip install 'sanderling[quantize]'")
    from sanderling.quantize.run import Job, run  # noqa: PLC0415, onnx may be missing

    given = {"mean": mean, "std": std, "order": order, "fit": fit, "align": align, "pad": pad}
    job = Job(
        model=Path(model_path),
        out=Path(out_path),
        calibration=Path(calibration),
        held_out=None if held_out is None else Path(held_out),
        input_size=input_size,
        image={key: value for key, value in given.items() if value is not None},
        flavour=flavour,
        reduce_range=reduce_range,
        split=split,
        tail=tail,
        keep_quantize_nodes=keep_quantize_nodes,
        rename=dict(rename or {}),
        about=about,
        timing_rounds=timing_rounds,
        progress=progress or (lambda stage, done, total: None),
    )
    return run(job)
