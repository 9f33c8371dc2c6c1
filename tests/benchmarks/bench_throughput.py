"""Frames a second of the faces pipeline against bare `session.run` with the same threads.

    python tests/benchmarks/bench_throughput.py [--rounds 5] [--seconds 3] [--only TEXT]

Ours is all of it: a camera, lanes, letterbox of 1280x720 to 640x480, the model, decoding, NMS and
the result. The source costs nothing: it leaves the photograph in a lane's memory where it put it
once. The peer is a loop, or as many at a time as ours runs models, over `session.run` on the same
model with the same number of threads. They take turns; a ratio is that of two turns in a row, and
the table has medians. `cpu` is the processor time of a frame in ms, all threads together, and does
not depend on what else the machine does: where the models have every core, guests and host cannot
be hidden behind them, and the best ratio that there can be is that of these times.

Writes where the time went to `throughput.json` (Chrome trace) and draws a part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from sanderling import imaging, stages
from sanderling.camera import Camera
from sanderling.frame import Image
from sanderling.lane import WAIT
from sanderling.look import Look
from sanderling.pool import Layout, Pool, layout
from sanderling.source import Source, Stamp
from sanderling.trace import Trace

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "centerface-int8.onnx"
WARM = 5
"""Frames of a turn before the time is taken."""


@dataclass(frozen=True)
class Case:
    """How both use the cores."""

    name: str
    layout: Layout

    @property
    def loops(self) -> int:
        """Bare loops at a time."""
        return self.layout.models


def cases(cores: int) -> list[Case]:
    """Those that make sense on so many cores."""
    found = [Case("one model of 1 thread", Layout(3, 1, 1))]
    if cores > 1:
        found += [
            Case(f"one model of {cores} threads", layout("throughput", cores, threads=cores)),
            Case(f"{cores} models of 1 thread", layout("throughput", cores)),
        ]
    return found


class Still(Source):
    """Gives one photograph for ever, while its gate is open."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._there: set[int] = set()
        self._closed = False
        self._number = 0
        self.gate = threading.Event()

    def grab(self) -> Stamp | None:
        """At once, while the gate is open."""
        self.gate.wait()
        if self._closed:
            return None
        self._number += 1
        return Stamp.now(self._number - 1, "still")

    def retrieve(self, into: Image | None = None) -> Image:
        """The photograph; it is written once into each memory that it is wanted in."""
        if into is None or into.shape != self._image.shape:
            return self._image
        if into.ctypes.data not in self._there:
            np.copyto(into, self._image)
            self._there.add(into.ctypes.data)
        return into

    def close(self) -> None:
        """End it."""
        self._closed = True
        self.gate.set()


class Ours:
    """The faces pipeline, in turns."""

    def __init__(self, case: Case, image: Image, trace: Trace) -> None:
        loaded = stages.load(ROOT / "examples" / "faces.toml", threads=case.layout.threads)
        self.pool = Pool(case.name, loaded, case.layout, trace.lane)
        self.source = Still(image)
        self._times: list[float] = []
        self.camera = Camera("still", self.source, self.pool, Look("block"), self._publish)
        self.camera.start()

    def _publish(self, frame: object, result) -> None:
        assert len(result.detections) == 1
        self._times.append(time.perf_counter())

    def turn(self, seconds: float) -> tuple[float, float]:
        """Frames a second, and processor time of each in ms."""
        self._times = []
        cpu = time.process_time()
        self.source.gate.set()
        while len(self._times) < WARM or self._times[-1] - self._times[WARM - 1] < seconds:
            time.sleep(0.02)
        self.source.gate.clear()
        self.camera._turns.wait_idle(5)
        cpu = time.process_time() - cpu
        times = self._times[WARM - 1 :]
        time.sleep(0.1)  # threads of onnxruntime go on spinning for a moment
        return (len(times) - 1) / (times[-1] - times[0]), 1000 * cpu / len(self._times)

    def close(self) -> None:
        """End it."""
        self.camera.stop()
        self.pool.close()


class Bare:
    """Loops over `session.run`, in turns."""

    def __init__(self, case: Case) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = case.layout.threads
        self._session = ort.InferenceSession(
            str(MODEL), options, providers=["CPUExecutionProvider"]
        )
        port = self._session.get_inputs()[0]
        rng = np.random.default_rng(1)
        self._feed = {port.name: rng.integers(0, 256, port.shape, np.uint8)}
        self._loops = case.loops

    def turn(self, seconds: float) -> tuple[float, float]:
        """Runs a second, and processor time of each in ms."""
        rates: list[float] = []
        runs: list[int] = []
        cpu = time.process_time()
        end = time.perf_counter() + seconds

        def loop() -> None:
            run, feed, done, began = self._session.run, self._feed, 0, time.perf_counter()
            while (now := time.perf_counter()) < end:
                run(None, feed)
                done += 1
            rates.append(done / (now - began))
            runs.append(done)

        threads = [threading.Thread(target=loop) for _ in range(self._loops)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        cpu = time.process_time() - cpu
        time.sleep(0.1)
        return sum(rates), 1000 * cpu / sum(runs)


def measure(case: Case, image: Image, rounds: int, seconds: float, trace: Trace) -> dict:
    """Rates, and the ratios of turns that followed each other."""
    ours, bare = Ours(case, image, trace), Bare(case)
    try:
        ours.turn(seconds / 4)
        bare.turn(seconds / 4)
        pairs = []
        for number in range(rounds):
            # Who is first changes, for what else the machine does comes and goes.
            both = [ours.turn, bare.turn]
            made = [turn(seconds) for turn in (both if number % 2 else both[::-1])]
            pairs.append(tuple(made if number % 2 else made[::-1]))
        counts = ours.camera.counts()
        assert counts.agree, counts
    finally:
        ours.close()
    ours_fps, bare_fps, ours_cpu, bare_cpu = (
        statistics.median(turns[who][what] for turns in pairs) for what in (0, 1) for who in (0, 1)
    )
    ratios = sorted(one[0] / other[0] for one, other in pairs)
    return {
        "ours fps": ours_fps,
        "bare fps": bare_fps,
        "ratio": statistics.median(ratios),
        "least": ratios[0],
        "most": ratios[-1],
        "ours cpu": ours_cpu,
        "bare cpu": bare_cpu,
        "load": os.getloadavg()[0],
    }


def overlap(events: list[dict]) -> float:
    """Share of the guests' time in which models of other frames ran."""
    models = [one for one in events if one["name"] == MODEL.stem]
    guests = [one for one in events if one["name"] not in (MODEL.stem, WAIT)]
    beside = 0.0
    for guest in guests:
        at, end = guest["ts"], guest["ts"] + guest["dur"]
        for model in models:  # in the order of their ends; what two of them cover counts once
            if model["tid"] != guest["tid"] and model["ts"] < end:
                begins = max(at, model["ts"])
                ends = min(end, model["ts"] + model["dur"])
                beside += max(0.0, ends - begins)
                at = max(at, ends)
    return beside / sum(guest["dur"] for guest in guests)


def draw(events: list[dict], path: Path) -> None:
    """A row a lane, a bar a stage."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = sorted({one["name"] for one in events})
    begin = min(one["ts"] for one in events)
    figure, axis = plt.subplots(figsize=(11, 3.2), layout="constrained")
    for number, name in enumerate(names):
        for one in events:
            if one["name"] == name:
                bar = ((one["ts"] - begin) / 1000, one["dur"] / 1000)
                color = "0.85" if name == WAIT else f"C{number}"
                axis.broken_barh([bar], (one["tid"] - 0.4, 0.8), color=color, label=name)
    handles = {label: one for one, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    axis.legend(handles.values(), handles, ncols=len(handles), loc="upper center")
    rows = sorted({one["tid"] for one in events})
    axis.set_yticks(rows, [f"lane {number}" for number in range(len(rows))])
    axis.set_ylim(rows[0] - 0.6, rows[-1] + 1)
    axis.set_xlabel("ms")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> int:
    """Measure each case, print a table, check and draw the overlap."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one turn")
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    photo = imaging.read_image(ROOT / "examples" / "astronaut.png")
    image = np.zeros((720, 1280, 3), np.uint8)
    image[104:616, 384:896] = photo
    trace = Trace(4096)
    columns = ("ours fps", "bare fps", "ratio", "least", "most", "ours cpu", "bare cpu", "load")
    print(f"{'medians':24}" + "".join(f"{column:>10}" for column in columns))
    for case in cases(len(os.sched_getaffinity(0))):
        if args.only not in case.name:
            continue
        row = measure(case, image, args.rounds, args.seconds, trace)
        print(f"{case.name:24}" + "".join(f"{row[column]:10.3f}" for column in columns), flush=True)
    path = args.out / "throughput.json"
    trace.write(path)
    events = [one for one in json.loads(path.read_text())["traceEvents"] if one["ph"] == "X"]
    # The last turn of the last case: lanes of one pool.
    shown = [one for one in events[-1000:] if one["tid"] in {last["tid"] for last in events[-20:]}]
    share = overlap(shown)
    draw([one for one in shown if one["ts"] > shown[-48]["ts"]], args.out / "throughput.png")
    print(f"{case.name}: {share:.0%} of the guests' time ran beside the model of another frame")
    print(f"where the time went: {path}, drawn in {path.with_suffix('.png')}")
    return 0 if share > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
