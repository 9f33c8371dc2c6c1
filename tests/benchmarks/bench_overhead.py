"""What a frame costs the host beyond its guests and its model.

    python tests/benchmarks/bench_overhead.py [--frames 200] [--json PATH]

The peer is a loop of bare `session.run` on the same model with the same number of threads, in turns
with our frames: `beyond` is the frame's time less its guests' and that loop's, of pairs. `host` is
stricter: what is left of a frame's time when every call that leaves Python (guests, model, the one
copy of the frame) is taken off. It is Python's own work, most of it on caches that the model left
cold; on the digits, whose model is tiny, the same code is warm.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

import sanderling
from sanderling import imaging, lane
from sanderling.guest import Instance
from sanderling.model import Binding

ROOT = Path(__file__).resolve().parents[2]


class Native:
    """Sums up the time spent in calls that leave Python."""

    def __init__(self) -> None:
        self.guests = self.model = self.copy = 0
        call, run, copyto = Instance.call, Binding.run, lane.np.copyto

        def timed_call(instance: Instance, name: str, *args: int, **named: object) -> int:
            began = time.perf_counter_ns()
            try:
                return call(instance, name, *args, **named)
            finally:
                self.guests += time.perf_counter_ns() - began

        def timed_run(binding: Binding) -> None:
            began = time.perf_counter_ns()
            try:
                run(binding)
            finally:
                self.model += time.perf_counter_ns() - began

        def timed_copy(*args: object) -> None:
            began = time.perf_counter_ns()
            copyto(*args)
            self.copy += time.perf_counter_ns() - began

        Instance.call, Binding.run = timed_call, timed_run  # type: ignore[method-assign]
        lane.np = _Numpy(timed_copy)  # type: ignore[assignment]

    def take(self) -> tuple[int, int, int]:
        """Nanoseconds in guests, model and copy since the last time."""
        taken = self.guests, self.model, self.copy
        self.guests = self.model = self.copy = 0
        return taken


class _Numpy:
    """numpy, but for copyto."""

    def __init__(self, copyto: object) -> None:
        self.copyto = copyto

    def __getattr__(self, name: str) -> object:
        return getattr(np, name)


def measure(pipeline_file: Path, model_file: Path, image: np.ndarray, frames: int) -> dict:
    """Medians in microseconds."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(model_file), options, providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]
    feed = {port.name: np.zeros(port.shape, np.uint8)}
    native = Native()
    rows = {name: [] for name in ("whole", "guests", "model", "copy", "host", "bare", "beyond")}
    with sanderling.open(pipeline_file, threads=1) as pipeline:
        for _ in range(10):
            pipeline(image)
            session.run(None, feed)
        native.take()
        for _ in range(frames):
            began = time.perf_counter_ns()
            pipeline(image)
            whole = time.perf_counter_ns() - began
            guests, model, copy = native.take()
            began = time.perf_counter_ns()
            session.run(None, feed)
            bare = time.perf_counter_ns() - began
            host = whole - guests - model - copy
            values = (whole, guests, model, copy, host, bare, whole - guests - bare)
            for name, value in zip(rows, values, strict=True):
                rows[name].append(value / 1000)
    return {name: statistics.median(values) for name, values in rows.items()}


def main() -> None:
    """Measure both pipelines and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    photo = imaging.read_image(ROOT / "examples/astronaut.png")
    cases = {
        "faces 640x480": ("faces.toml", "centerface-int8.onnx", photo),
        "digits": ("digits.toml", "digits-int8.onnx", photo[:64, :64].copy()),
    }
    found = {}
    for name, (pipeline, model, image) in cases.items():
        found[name] = measure(
            ROOT / "examples" / pipeline, ROOT / "models" / model, image, args.frames
        )
    columns = ("whole", "guests", "model", "copy", "host", "bare", "beyond")
    print(f"{'us a frame, medians':20}" + "".join(f"{column:>9}" for column in columns))
    for name, row in found.items():
        print(f"{name:20}" + "".join(f"{row[column]:9.0f}" for column in columns))
    if args.json:
        args.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
