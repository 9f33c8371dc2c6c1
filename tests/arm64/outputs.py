"""What the shipped models and pipelines compute, to compare one processor with another.

    python tests/arm64/outputs.py FILE.npz

writes it down. `make test-arm64` does so on x86-64, and test_bitexact.py compares.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort

import sanderling

ROOT = Path(__file__).resolve().parents[2]
MODELS = sorted((ROOT / "models").glob("*-int8*.onnx"))
PIPELINES = {"faces.toml": "astronaut.png", "digits.toml": "digits/*.png"}


def pictures(pattern: str) -> dict[str, np.ndarray]:
    """uint8 `[height, width, 3]`, the example pictures of this pattern, by name."""
    paths = sorted((ROOT / "examples").glob(pattern))
    return {path.stem: cv2.imread(str(path)) for path in paths}


def fit(picture: np.ndarray, shape: list[int]) -> np.ndarray:
    """A picture in the shape of a model's input, by nearest neighbour: integers all the way.

    Args:
        picture: uint8 `[height, width, 3]`.
        shape: of the input: NHWC or NCHW, with 1 or 3 channels.
    """
    channels_last = shape[-1] in (1, 3)
    height, width = shape[1:3] if channels_last else shape[2:]
    channels = shape[-1] if channels_last else shape[1]
    rows = np.arange(height) * picture.shape[0] // height
    columns = np.arange(width) * picture.shape[1] // width
    small = picture[rows][:, columns, :channels]
    return np.ascontiguousarray(small if channels_last else small.transpose(2, 0, 1))[None]


def compute() -> dict[str, np.ndarray]:
    """Each output of each model as it leaves onnxruntime, and each result of each pipeline."""
    made = {}
    # Noise reaches further than a photograph.
    noise = {"noise": np.random.default_rng(1).integers(0, 256, (99, 131, 3), np.uint8)}
    for path in MODELS:
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        shown = pictures("digits/*.png" if path.stem.startswith("digits") else "astronaut.png")
        for name, picture in (shown | noise).items():
            values = session.run(None, {given.name: fit(picture, given.shape)})
            for port, value in zip(session.get_outputs(), values, strict=True):
                made[f"{path.stem}/{name}/{port.name}"] = value
    for name, pattern in PIPELINES.items():
        with sanderling.open(ROOT / "examples" / name) as pipeline:
            for source, picture in pictures(pattern).items():
                for key, value in pipeline(picture).tensors.items():
                    made[f"{name}/{source}/{key}"] = np.array(value)
    return made


if __name__ == "__main__":
    np.savez(sys.argv[1], **compute())
