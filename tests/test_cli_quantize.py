"""`sanderling model quantize`, and a pipeline that runs what it made: from float to detections."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import sanderling
import tinymodels
from sanderling import imaging

pytestmark = pytest.mark.process

COMMAND = [sys.executable, "-c", "from sanderling.cli import main; main()", "model", "quantize"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(8):
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
        image = coarse.repeat(12, axis=0).repeat(12, axis=1)
        (folder / f"{seed}.png").write_bytes(imaging.encode_image(image, ".png"))
    return folder


def quantize(*args: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *map(str, args)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_a_yolo_like_model_goes_from_float_to_detections(tmp_path: Path, photos: Path) -> None:
    model = tinymodels.yolo(np.random.default_rng(5))
    onnx.save(model, tmp_path / "float.onnx")
    out = tmp_path / "int8.onnx"
    done = quantize(
        tmp_path / "float.onnx", "-o", out, "--calibrate", photos, "--std", "255,255,255"
    )
    assert done.stderr == "", "quiet in a pipe"
    for word in ("float", "u8s8", "s8s8", "raw pixels", "taken apart"):
        assert word in done.stdout.lower(), done.stdout
    (tmp_path / "p.toml").write_text(
        '[pipeline]\nname = "t"\n[[stage]]\nguest = "letterbox"\n[[stage]]\nmodel = "./int8.onnx"\n'
        '[[stage]]\nguest = "yolo_decode"\nparams = { score = 0.01 }\n[[stage]]\nguest = "nms"\n'
    )
    with sanderling.open(tmp_path / "p.toml") as pipeline:
        image = imaging.read_image(photos / "0.png")
        found = pipeline(image).detections
        assert found is not None
        kinds = {tensor.name: str(tensor.type.dtype) for tensor in pipeline.plan.tensors}
    assert kinds["letterbox.image"] == "u8"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--mean", "1,2"], "--mean: '1,2' is not three numbers"),
        (["--mean", "a,b,c"], "not three numbers"),
        (["--input-size", "640"], "'640' is not a size such as 640x480"),
        (["--std", "0,1,1"], "std 1: must be more than 0"),
    ],
)
def test_a_wrong_option_costs_one_line(
    tmp_path: Path, photos: Path, args: list[str], words: str
) -> None:
    onnx.save(tinymodels.plain(np.random.default_rng(5)), tmp_path / "float.onnx")
    out = tmp_path / "int8.onnx"
    done = quantize(tmp_path / "float.onnx", "-o", out, "--calibrate", photos, *args, code=2)
    (line,) = done.stderr.splitlines()
    assert words in line
    assert not out.exists()
    assert "Traceback" not in line
