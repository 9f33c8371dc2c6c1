"""What letterbox costs: in the sandbox, native, and against OpenCV.

    python tests/benchmarks/bench_letterbox.py [--rounds 40] [--only TEXT] [--json PATH]

Every round times each contender for some milliseconds, in turn, so that a busy or slow machine is
so for all of them. Times are medians over the rounds in microseconds a frame; ratios are medians of
the ratios within a round, and below 1 where the sandbox is faster. One thread each.

`wasm` runs as on a device: deadline, epoch checks, unchecked call. `native` is the same source, gcc
-O3, 128-bit vectors. `cv2` is what a careful program does with OpenCV: buffers made beforehand,
cv2.resize INTER_LINEAR straight into the padded picture where it lies in one piece, cv2.split into
the planes. `cv2-128` is the same in a process limited to the vectors that a Raspberry Pi has.
OpenCV takes a short cut at exactly one half (INTER_AREA, 2 x 2).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter_ns

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

SEED = 20240611
TURN_NS = 8_000_000
LIMITED = {
    "OPENCV_CPU_DISABLE": "AVX,FP16,AVX2,AVX512-SKX",
    "OPENCV_IPP": "disabled",  # an x86 library, with vectors of its own
    "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512_SKX X86_V3 X86_V4",
}
MEAN, STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)


@dataclass(frozen=True)
class Case:
    """A frame size and what is made of it."""

    name: str
    frame: tuple[int, int]  # width, height
    image: tuple[int, int]
    layout: str = "nchw"
    order: str = "rgb"
    dtype: str = "u8"
    fit: str = "letterbox"
    channels: int = 3
    normalise: bool = False

    def params(self) -> dict[str, object]:
        """As the guest takes them."""
        given: dict[str, object] = {
            "width": self.image[0], "height": self.image[1], "layout": self.layout,
            "order": self.order, "dtype": self.dtype, "fit": self.fit,
        }  # fmt: skip
        if self.normalise:
            given |= {"mean": [*MEAN], "std": [*STD]}
            if self.dtype == "u8":
                given |= {"scale": 0.0186, "zero_point": 114}
        return given

    def pixels(self) -> np.ndarray:
        """A picture with shapes and noise."""
        rng = np.random.default_rng(SEED)
        width, height = self.frame
        coarse = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, self.channels), np.uint8)
        smooth = np.kron(coarse, np.ones((16, 16, 1), np.uint8))[:height, :width]
        return smooth ^ rng.integers(0, 16, smooth.shape, np.uint8)


HD, FULL, MODEL = (1280, 720), (1920, 1080), (640, 480)
CASES = [
    Case("720p u8 planes", HD, MODEL),
    Case("720p u8 pixels", HD, MODEL, layout="nhwc", order="bgr"),
    Case("1080p u8 planes", FULL, MODEL),
    Case("1080p u8 pixels", FULL, MODEL, layout="nhwc", order="bgr"),
    Case("720p u8 planes, stretched", HD, MODEL, fit="stretch"),
    Case("1080p u8 planes, stretched", FULL, MODEL, fit="stretch"),
    Case("1296x972 u8 planes", (1296, 972), MODEL),
    Case("4K u8 planes 640x640", (3840, 2160), (640, 640)),
    Case("480p u8 planes 320x240", (640, 480), (320, 240)),
    Case("480p u8 planes, same size", (640, 480), MODEL),
    Case("240p u8 planes, up", (320, 240), MODEL),
    Case("720p grey u8", HD, MODEL, channels=1, order="grey", fit="stretch"),
    Case("720p f32 planes, mean std", HD, MODEL, dtype="f32", normalise=True),
    Case("1080p f32 planes, mean std", FULL, MODEL, dtype="f32", normalise=True),
    Case("720p f32 planes, stretched", HD, MODEL, dtype="f32", normalise=True, fit="stretch"),
    Case("720p u8 quantized planes", HD, MODEL, normalise=True),
]


def opencv(case: Case) -> Callable[[], object]:
    """The peer: one call makes one image."""
    import cv2

    cv2.setNumThreads(1)
    frame, (width, height) = case.pixels(), case.image
    scale = min(width / frame.shape[1], height / frame.shape[0])
    content = [round(frame.shape[1] * scale), round(frame.shape[0] * scale)]
    if case.fit == "stretch":
        content = [width, height]
    x, y = (width - content[0]) // 2, (height - content[1]) // 2
    canvas = np.full((height, width, case.channels), 114, np.uint8)
    target = canvas[y : y + content[1], x : x + content[0]]
    planes = np.empty((case.channels, height, width), np.uint8)
    to = [*planes[::-1]] if case.order == "rgb" else [*planes]
    floats = np.empty(planes.shape, np.float32)
    mean = np.array(MEAN, np.float32)[:, None, None]
    inverse = 1 / np.array(STD, np.float32)[:, None, None]
    table = np.arange(256, dtype=np.uint8)[::-1].copy()

    def run() -> object:
        if target.flags.c_contiguous:
            cv2.resize(frame, content, dst=target, interpolation=cv2.INTER_LINEAR)
        else:
            target[:] = cv2.resize(frame, content, interpolation=cv2.INTER_LINEAR).reshape(
                target.shape
            )
        if case.layout == "nhwc" or case.channels == 1:
            return canvas
        cv2.split(canvas, to)
        if case.dtype == "f32":
            np.subtract(planes, mean, out=floats)
            return np.multiply(floats, inverse, out=floats)
        return cv2.LUT(planes, table, dst=planes) if case.normalise else planes

    return run


def serve() -> None:
    """In a child: time what the parent asks for, line by line."""
    calls = [opencv(case) for case in CASES]
    for line in sys.stdin:
        index, times = map(int, line.split())
        start = perf_counter_ns()
        for _ in range(times):
            calls[index]()
        print(perf_counter_ns() - start, flush=True)


class Child:
    """A process that runs the peer."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )

    def time_ns(self, index: int, times: int) -> int:
        """What so many frames of a case take."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(index, times, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(index: int, children: dict[str, Child], rounds: int) -> dict[str, list[float]]:
    """Microseconds a frame of every contender, round by round."""
    from bench_decoders import HostMachine

    from guestkit import Guest, open_guest
    from guestmachine import wasm_path

    case = CASES[index]
    with ExitStack() as stack:
        machine = HostMachine(wasm_path("letterbox"))
        stack.callback(machine.close)
        assert machine.module.manifest is not None
        native = stack.enter_context(open_guest("letterbox", backend="native-O3"))
        contenders: dict[str, Callable[[int], int]] = {}
        images: list[np.ndarray] = []
        for name, guest in (
            ("wasm", Guest("letterbox", machine, machine.module.manifest)),
            ("native", native),
        ):
            guest.setup([case.pixels()], case.params())
            image = guest.run([case.pixels()])[0]
            assert image is not None
            images.append(image.data)
            contenders[name] = guest.time_ns
        np.testing.assert_array_equal(*images)
        for name, child in children.items():
            contenders[name] = lambda times, child=child: child.time_ns(index, times)
        times = {}
        for name, run in contenders.items():
            run(3)
            times[name] = max(1, TURN_NS // (run(3) // 3 + 1))
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, run in contenders.items():
                taken[name].append(run(times[name]) / times[name] / 1000)
    return taken


def main() -> None:
    """Measure the cases and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve()
        return
    results = []
    print(f"seed {SEED}, {args.rounds} rounds, us a frame; / x: time of wasm over that of x")
    print("| case | wasm | native | cv2 | cv2-128 | / native | / cv2 | / cv2-128 |")
    print("|---|" + "---:|" * 7)
    with ExitStack() as stack:
        children = {"cv2": Child({}), "cv2-128": Child(LIMITED)}
        for child in children.values():
            stack.callback(child.close)
        for index, case in enumerate(CASES):
            if args.only not in case.name:
                continue
            taken = measure(index, children, args.rounds)
            medians = {name: statistics.median(values) for name, values in taken.items()}
            ratios = {
                name: statistics.median(a / b for a, b in zip(taken["wasm"], values, strict=True))
                for name, values in taken.items()
                if name != "wasm"
            }
            cells = [f"{value:7.0f}" for value in medians.values()]
            cells += [f"{value:5.2f}" for value in ratios.values()]
            print(f"| {case.name:28} | {' | '.join(cells)} |", flush=True)
            results.append({"case": asdict(case), "us": medians, "wasm_over": ratios})
    if args.json:
        args.json.write_text(json.dumps({"seed": SEED, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
