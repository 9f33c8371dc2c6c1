"""What yolo_decode and nms cost: in the sandbox, native, and against numpy and OpenCV.

    python tests/benchmarks/bench_decoders.py [--rounds 30]

Every round times each contender once, in turn, so that a busy or slow machine is so for all of
them. Times are medians over the rounds in microseconds a frame, ratios are medians of the ratios
within a round. `wasm` runs as on a device: deadline, epoch checks, unchecked call. `native` is the
same source, gcc -O3, 128-bit vectors. Limit the peers to 128 bits as well, as a Raspberry Pi has,
with NPY_DISABLE_CPU_FEATURES and OPENCV_CPU_DISABLE.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter_ns

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from guestkit import Guest, Input, QTensor, open_guest
from guestmachine import wasm_path
from sanderling.guest import Instance, load
from sanderling.policy import Policy

SEED = 20240607
ANCHORS, CLASSES = 8400, 80
SURVIVORS = (20, 500)
Contender = Callable[[int], int]


class HostMachine:
    """A guest as the runtime runs it: with a deadline, epoch checks and the unchecked call."""

    def __init__(self, path: Path) -> None:
        self.module = load(path, Policy())
        self.instance = Instance(self.module, path.stem)

    def alloc(self, size: int) -> int:
        return self.instance.alloc(size)

    def write(self, address: int, data: bytes) -> None:
        ctypes.memmove(self.instance.base + address, data, len(data))

    def read(self, address: int, size: int) -> bytes:
        return ctypes.string_at(self.instance.base + address, size)

    def fill(self, address: int, size: int) -> None:
        ctypes.memset(self.instance.base + address, 0xCD, size)

    def setup(self, call: int) -> int:
        return self.instance.call("sl_setup", call, setup=True)

    def run(self, call: int, times: int = 1) -> tuple[int, int]:
        status, start = 0, perf_counter_ns()
        for _ in range(times):
            status = status or self.instance.call("sl_run", call)
        return status, perf_counter_ns() - start

    def reset(self) -> int:
        return 0

    def error(self) -> str:
        return self.instance.error_text()

    def freeze(self) -> None:
        self.instance.freeze()

    def close(self) -> None:
        self.instance.close()


def yolo_output(rng: np.random.Generator, survivors: int, version: str) -> np.ndarray:
    """A joined float output with so many anchors above 0.25, in clusters as objects make them."""
    anchors = ANCHORS if version == "v8" else 25200
    rows = np.empty((anchors, 4 + CLASSES), np.float32)
    rows[:, :2] = rng.uniform(0, 640, (anchors, 2))
    rows[:, 2:4] = rng.uniform(10, 200, (anchors, 2))
    rows[:, 4:] = rng.beta(0.5, 40, (anchors, CLASSES)).clip(0, 0.2)
    groups = max(1, survivors // 5)
    first = rng.choice(anchors // 5, groups, replace=False) * 5
    for start, class_id in zip(first, rng.integers(0, CLASSES, groups), strict=True):
        rows[start : start + 5, 4 + class_id] = rng.uniform(0.3, 0.95, 5)
    if version == "v8":
        return np.ascontiguousarray(rows.T)[None]
    objectness = np.where(rows[:, 4:].max(1) > 0.25, 0.95, 0.01).astype(np.float32)
    return np.concatenate([rows[:, :4], objectness[:, None], rows[:, 4:]], axis=1)[None]


def numpy_v8(output: np.ndarray, threshold: float) -> object:
    """What a careful numpy program does with it."""
    boxes, scores = output[0, :4], output[0, 4:]
    alive = np.flatnonzero(scores.max(0) > threshold)
    columns = scores[:, alive]
    classes = columns.argmax(0)
    best = columns[classes, np.arange(alive.size)]
    centre, half = boxes[:2, alive], boxes[2:, alive] / 2
    return np.concatenate([centre - half, centre + half]).T, best, classes


def numpy_v5(output: np.ndarray, threshold: float) -> object:
    """The same for rows with objectness."""
    alive = output[0][output[0, :, 4] > threshold]
    classes = alive[:, 5:].argmax(1)
    best = alive[:, 4] * alive[np.arange(len(alive)), 5 + classes]
    half = alive[:, 2:4] / 2
    return np.concatenate([alive[:, :2] - half, alive[:, :2] + half], axis=1), best, classes


def candidates(rng: np.random.Generator, count: int, classes: int) -> list[np.ndarray]:
    """Clusters of boxes around objects, as a decoder leaves them."""
    objects = max(1, count // 20)
    which = rng.integers(0, objects, count)
    centre = rng.uniform(0, 640, (objects, 2))[which] + rng.normal(0, 4, (count, 2))
    half = rng.uniform(10, 60, (objects, 2))[which] * rng.uniform(0.9, 1.1, (count, 2))
    boxes = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
    labels = rng.integers(0, classes, objects)[which].astype(np.int32)
    return [boxes, rng.uniform(0.26, 0.98, count).astype(np.float32), labels]


def python_call(call: Callable[[], object]) -> Contender:
    """A contender in Python."""

    def run(times: int) -> int:
        start = perf_counter_ns()
        for _ in range(times):
            call()
        return perf_counter_ns() - start

    return run


def measure(
    title: str,
    guest: str,
    inputs: list[Input],
    peer: Callable[[], object],
    peer_name: str,
    rounds: int,
) -> None:
    """Print one row of the table."""
    with ExitStack() as stack:
        contenders: dict[str, Contender] = {}
        machine = HostMachine(wasm_path(guest))
        stack.callback(machine.close)
        assert machine.module.manifest is not None
        native = stack.enter_context(open_guest(guest, backend="native-O3"))
        for name, opened in (
            ("wasm", Guest(guest, machine, machine.module.manifest)),
            ("native", native),
        ):
            opened.setup(inputs)
            opened.run(inputs)
            contenders[name] = opened.time_ns
        contenders[peer_name] = python_call(peer)
        times = {}
        for name, run in contenders.items():
            run(3)
            times[name] = max(1, int(20_000_000 / (run(3) / 3 + 1)))  # 20 ms a turn
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, run in contenders.items():
                taken[name].append(run(times[name]) / times[name] / 1000)
    wasm = taken["wasm"]
    cells = [f"{statistics.median(wasm):8.1f}"]
    for values in list(taken.values())[1:]:
        ratio = statistics.median(a / b for a, b in zip(wasm, values, strict=True))
        cells += [f"{statistics.median(values):8.1f}", f"{ratio:6.3f}"]
    print(f"| {title:36} | {' | '.join(cells)} | {peer_name} |", flush=True)


def main() -> None:
    """Measure everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    cv2.setNumThreads(1)
    rng = np.random.default_rng(SEED)
    print(f"seed {SEED}, {rounds} rounds, us a frame; wasm / x is the time of wasm over that of x")
    print("| case | wasm | native | wasm / native | peer | wasm / peer | peer |")
    print("|---|---:|---:|---:|---:|---:|---|")
    for survivors in SURVIVORS:
        floats = yolo_output(rng, survivors, "v8")
        rows = yolo_output(rng, survivors, "v5")
        bytes_ = (floats[:, 4:] * 255).round().astype(np.uint8)
        boxes = (floats[:, :4] / 3).round().clip(0, 255).astype(np.uint8)
        split: list[Input] = [QTensor(boxes, 3.0), QTensor(bytes_, 1 / 255)]
        joined = np.concatenate([boxes, bytes_], axis=1)
        name = f"{survivors} survivors"
        measure(f"v8 f32 84x8400, {name}", "yolo_decode", [floats],
                lambda x=floats: numpy_v8(x, 0.25), "numpy", rounds)  # fmt: skip
        measure(f"v8 u8 split 4+80x8400, {name}", "yolo_decode", split,
                lambda x=joined: numpy_v8(x, 63), "numpy, not dequantized", rounds)  # fmt: skip
        measure(f"v5 f32 25200x85, {name}", "yolo_decode", [rows],
                lambda x=rows: numpy_v5(x, 0.25), "numpy", rounds)  # fmt: skip
    for count, classes in ((100, 80), (1000, 1), (1000, 80), (30000, 80)):
        inputs = candidates(rng, count, classes)
        corners, scores, labels = inputs
        xywh = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        measure(f"nms {count} boxes, {classes} classes", "nms", list(inputs),
                lambda b=xywh, s=scores, c=labels: cv2.dnn.NMSBoxesBatched(b, s, c, 0.0, 0.45),
                "cv2.dnn.NMSBoxesBatched", rounds)  # fmt: skip


if __name__ == "__main__":
    main()
