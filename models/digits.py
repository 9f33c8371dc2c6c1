"""A small classifier of handwritten digits, trained here on the pictures scikit-learn ships.

Two convolutions and one dense layer on 8 x 8 pixels. Plain numpy, so that the recipe needs no
training framework; it gives logits, so that the guest `softmax` has work.
"""

from __future__ import annotations

import gzip
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from common import Input, Made, Picture, save
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sanderling.imaging import encode_image
from sanderling.metadata import ModelMetadata
from sanderling.quantize import quantize

SAMPLES = Input(
    "scikit-learn",
    "1.9.1",
    "sklearn/datasets/data/digits.csv.gz",
    "CC-BY-4.0",  # as the UCI repository gives it
    "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
)
SEED = 20
HELD_OUT = 360  # of 1,797
WIDTHS = (16, 32)  # channels of the two convolutions
EPOCHS = 40
BATCH = 64
EXAMPLES = (0, 2, 3, 6, 8)  # digits that examples/digits shows

Real = NDArray[np.float32]
Labels = NDArray[np.int64]
Weights = dict[str, Real]


@dataclass(frozen=True, slots=True)
class Data:
    """Pictures `[n, 8, 8]` uint8 from 0 to 255, and the digit of each."""

    pictures: NDArray[np.uint8]
    labels: Labels

    @property
    def real(self) -> Real:
        """As the network takes them: `[n, 1, 8, 8]`, 0 to 1."""
        return self.pictures[:, None].astype(np.float32) / np.float32(255)


def load() -> tuple[Data, Data]:
    """The pictures to learn from, and the held-out ones."""
    with gzip.open(SAMPLES.open(), "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)
    order = np.random.default_rng(SEED).permutation(len(table))
    pictures = np.rint(table[order, :64].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = table[order, 64]
    return Data(pictures[HELD_OUT:], labels[HELD_OUT:]), Data(
        pictures[:HELD_OUT], labels[:HELD_OUT]
    )


def start(rng: np.random.Generator) -> Weights:
    """Weights to begin with (He et al., 2015)."""
    first, second = WIDTHS
    shapes = {"w1": (first, 1, 3, 3), "w2": (second, first, 3, 3), "w3": (10, second * 16)}
    weights: Weights = {}
    for name, shape in shapes.items():
        spread = np.sqrt(2 / np.prod(shape[1:]))
        weights[name] = rng.normal(0, spread, shape).astype(np.float32)
        weights[name.replace("w", "b")] = np.zeros(shape[0], np.float32)
    return weights


def patches(x: Real, stride: int) -> Real:
    """The 3 x 3 surroundings of each pixel, zeros beyond the edge: `[n, h, w, c * 9]`."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride].transpose(0, 2, 3, 1, 4, 5)
    return np.ascontiguousarray(windows).reshape(*windows.shape[:3], -1)


def forward(x: Real, w: Weights) -> tuple[Real, dict[str, Real]]:
    """Logits `[n, 10]`, and what `backward` needs."""
    seen1 = patches(x, 1)
    hidden1 = np.maximum(seen1 @ w["w1"].reshape(len(w["w1"]), -1).T + w["b1"], 0)
    seen2 = patches(hidden1.transpose(0, 3, 1, 2), 2)
    hidden2 = np.maximum(seen2 @ w["w2"].reshape(len(w["w2"]), -1).T + w["b2"], 0)
    flat = hidden2.transpose(0, 3, 1, 2).reshape(len(x), -1)
    logits = flat @ w["w3"].T + w["b3"]
    return logits, {"s1": seen1, "h1": hidden1, "s2": seen2, "h2": hidden2, "flat": flat}


def backward(logits: Real, labels: Labels, w: Weights, seen: dict[str, Real]) -> Weights:
    """Gradients of the mean cross-entropy."""
    n = len(labels)
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    share[np.arange(n), labels] -= 1
    share /= n
    found: Weights = {"w3": share.T @ seen["flat"], "b3": share.sum(axis=0)}
    below = (share @ w["w3"]).reshape(n, WIDTHS[1], 4, 4).transpose(0, 2, 3, 1)
    below = below * (seen["h2"] > 0)
    found["w2"] = np.einsum("nhwo,nhwi->oi", below, seen["s2"], optimize=True)
    found["w2"] = found["w2"].reshape(w["w2"].shape)
    found["b2"] = below.sum(axis=(0, 1, 2))
    parts = (below @ w["w2"].reshape(WIDTHS[1], -1)).reshape(n, 4, 4, WIDTHS[0], 3, 3)
    spread = np.zeros((n, 10, 10, WIDTHS[0]), np.float32)
    for row in range(3):
        for column in range(3):
            spread[:, row : row + 8 : 2, column : column + 8 : 2] += parts[..., row, column]
    under = spread[:, 1:9, 1:9] * (seen["h1"] > 0)
    found["w1"] = np.einsum("nhwo,nhwi->oi", under, seen["s1"], optimize=True)
    found["w1"] = found["w1"].reshape(w["w1"].shape)
    found["b1"] = under.sum(axis=(0, 1, 2))
    return found


def train(data: Data) -> Weights:
    """Adam (Kingma and Ba, 2015) with a falling rate, on pictures now and then moved by a pixel."""
    rng = np.random.default_rng(SEED)
    weights = start(rng)
    first = {name: np.zeros_like(value) for name, value in weights.items()}
    second = {name: np.zeros_like(value) for name, value in weights.items()}
    images, step = data.real, 0
    for epoch in range(EPOCHS):
        order = rng.permutation(len(images))
        rate = 2e-3 * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        for begin in range(0, len(order), BATCH):
            chosen = order[begin : begin + BATCH]
            padded = np.pad(images[chosen], ((0, 0), (0, 0), (1, 1), (1, 1)))
            down, right = rng.choice(3, 2, p=(0.15, 0.7, 0.15))
            batch = padded[:, :, down : down + 8, right : right + 8]
            logits, seen = forward(batch, weights)
            step += 1
            for name, slope in backward(logits, data.labels[chosen], weights, seen).items():
                first[name] = 0.9 * first[name] + 0.1 * slope
                second[name] = 0.999 * second[name] + 0.001 * slope**2
                size = np.sqrt(second[name] / (1 - 0.999**step)) + 1e-8
                move = rate * first[name] / (1 - 0.9**step) / size
                weights[name] = (weights[name] - move).astype(np.float32)
    return weights


def to_onnx(weights: Weights) -> onnx.ModelProto:
    """The network as a graph: `pixels` `[1, 1, 8, 8]` to `logits` `[1, 10]`."""
    conv = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["pixels", "w1", "b1"], ["c1"], **conv),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], strides=[2, 2], **conv),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Flatten", ["r2"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def accuracy(weights: Weights, data: Data) -> float:
    """The share of pictures whose greatest logit is that of their digit."""
    logits, _ = forward(data.real, weights)
    return float((logits.argmax(axis=1) == data.labels).mean())


def int8_accuracy(path: Path, data: Data) -> float:
    """The same of the quantized model, on the stored integers: one scale keeps their order."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    guesses = [
        session.run(None, {"pixels": each[None, None]})[0].argmax() for each in data.pictures
    ]
    return float((np.array(guesses) == data.labels).mean())


def coloured(pictures: NDArray[np.uint8], times: int = 1) -> list[Picture]:
    """Grey pictures as `[h, w, 3]`, each pixel a square of `times` x `times`."""
    large = pictures.repeat(times, axis=1).repeat(times, axis=2)
    return [np.repeat(picture[:, :, None], 3, axis=2) for picture in large]


def examples(folder: Path, held_out: Data) -> list[Path]:
    """Write held-out pictures for examples/, 64 x 64 pixels, one for each of `EXAMPLES`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for digit in EXAMPLES:
        index = int(np.flatnonzero(held_out.labels == digit)[0])
        picture = coloured(held_out.pictures[index : index + 1], 8)[0]
        paths.append(folder / f"{digit}.png")
        paths[-1].write_bytes(encode_image(picture, ".png"))
    return paths


def make(out: Path) -> Made:
    """Train and quantize the classifier.

    Args:
        out: the file to write.
    """
    learn, held_out = load()
    weights = train(learn)
    with tempfile.TemporaryDirectory(prefix="sanderling-") as name:
        folder = Path(name)
        onnx.save(to_onnx(weights), folder / "digits.onnx")
        some = {f"{n:03}": each for n, each in enumerate(coloured(learn.pictures[:200]))}
        others = {f"{n:03}": each for n, each in enumerate(coloured(held_out.pictures))}
        report = quantize(
            folder / "digits.onnx",
            out,
            save(some, folder / "calibrate"),
            held_out=save(others, folder / "held-out"),
            std=(255.0, 255.0, 255.0),
            order="grey",
            fit="stretch",
            about=ModelMetadata(
                name="Handwritten digits",
                license="Apache-2.0",
                source=f"trained on {SAMPLES.package}'s digits, sha256 {SAMPLES.sha256}",
                task="classify",
                labels=[str(digit) for digit in range(10)],
            ),
        )
    agreement = report.variant("u8s8").agreement["logits"]
    return Made(
        out,
        "Apache-2.0",
        (SAMPLES,),
        (f"{len(report.calibrated)} of {len(learn.labels)} training pictures",),
        (f"{len(held_out.labels)} pictures",),
        {
            "accuracy of the float model": f"{accuracy(weights, held_out):.4f}",
            "accuracy": f"{int8_accuracy(out, held_out):.4f}",
            "agreement of logits": f"{100 * agreement:.1f}%",
        },
        report.table(),
    )
