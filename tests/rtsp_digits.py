"""Digits in a real RTSP stream, read right while the server is killed and started again.

    make soak-rtsp                       # ten minutes, ten restarts
    python tests/rtsp_digits.py --minutes 2 --restarts 4

Each picture of the stream carries its number in a strip and one of five handwritten digits, which
follows from the number. The stream goes through H.264, RTSP, the source that comes back, a region
of interest and the digits pipeline; whatever comes out is compared with what the number says.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import rtsp
from sanderling import imaging, pattern, sources, stages
from sanderling.camera import Camera
from sanderling.counts import Counts
from sanderling.look import Event, Look, connection
from sanderling.pool import Pool, layout

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
DIGITS = (0, 2, 3, 6, 8)
WIDTH, HEIGHT, FPS = 320, 240, 15
ROI = (80, 60, 240, 220)
WAIT_S = 60.0


@dataclass
class Report:
    """What came out.

    Attributes:
        right: frames whose digit was the one that their number says.
        wrong: number, digit and score of the others.
        unreadable: frames whose number could not be read.
        events: how often the connection was made, lost and tried.
        restarts: how often the server was killed and started again.
        gaps: seconds from each start of the server to the first frame after it.
        counts: what became of all frames.
    """

    right: int = 0
    wrong: list[tuple[int, int, float]] = field(default_factory=list)
    unreadable: int = 0
    events: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    gaps: list[float] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)

    @property
    def good(self) -> bool:
        return not self.wrong and not self.unreadable and self.counts.agree


def pictures() -> Iterator[np.ndarray]:
    """The digit of each of `DIGITS`, as large as the region."""
    x1, y1, x2, y2 = ROI
    for digit in DIGITS:
        image = imaging.read_image(EXAMPLES / "digits" / f"{digit}.png")
        rows = np.arange(y2 - y1) * image.shape[0] // (y2 - y1)
        columns = np.arange(x2 - x1) * image.shape[1] // (x2 - x1)
        yield image[rows][:, columns]


def run(seconds: float, restarts: int, told: bool = False) -> Report:
    """Serve, watch, kill and start again.

    Args:
        seconds: how long, in all.
        restarts: how often the server is killed meanwhile, evenly.
        told: whether to print how it goes.
    """
    digits = list(pictures())
    x1, y1, x2, y2 = ROI
    report = Report()
    seen = threading.Event()

    def frame(number: int) -> np.ndarray:
        image = pattern.render(number, HEIGHT, WIDTH)
        image[y1:y2, x1:x2] = digits[number % len(DIGITS)]
        return image

    def publish(got, result) -> None:
        seen.set()
        number = pattern.read_number(got.image)
        if number is None:
            report.unreadable += 1
            return
        found, score = int(result.classes.classes[0]), float(result.classes.scores[0])
        if found == DIGITS[number % len(DIGITS)]:
            report.right += 1
        else:
            report.wrong.append((number, found, score))

    def on_event(event: Event) -> None:
        report.events[event.kind] += 1
        if told:
            print(f"{time.strftime('%H:%M:%S')} {event.kind}: {event.text}", flush=True)

    pool = Pool("digits", stages.load(EXAMPLES / "digits.toml", threads=1), layout("latency", 1))
    with rtsp.Server(frame, size=(WIDTH, HEIGHT), fps=FPS) as server:
        source = sources.open_persistent(
            server.url, stall_s=5, on_change=lambda change: on_event(connection("digits", change))
        )
        camera = Camera(
            "digits", source, pool, Look("latest", roi=ROI), publish, on_event=on_event, keep=True
        )
        camera.start()
        began = time.monotonic()
        for number in range(restarts + 1):
            assert seen.wait(WAIT_S), "no frame came"
            time.sleep(max(0.0, began + seconds * (number + 1) / (restarts + 1) - time.monotonic()))
            if number == restarts:
                break
            server.kill()
            time.sleep(1.0)
            seen.clear()
            server.start()
            started = time.monotonic()
            assert seen.wait(WAIT_S), "no frame came after the server was started again"
            report.gaps.append(time.monotonic() - started)
            report.restarts += 1
            if told:
                print(f"restart {report.restarts}: {report.right} right so far", flush=True)
        camera.stop()
    report.counts = camera.counts()
    pool.close()
    return report


def main() -> int:
    """Run it for long, and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--restarts", type=int, default=10)
    args = parser.parse_args()
    report = run(60 * args.minutes, args.restarts, told=True)
    print(f"right {report.right}, wrong {len(report.wrong)}, unreadable {report.unreadable}")
    gaps = ", ".join(f"{seconds:.1f} s" for seconds in report.gaps)
    print(f"restarts {report.restarts}, frames again after {gaps}")
    print(f"events {dict(report.events)}")
    print(f"counts {report.counts.as_dict()}")
    for number, found, score in report.wrong[:20]:
        wanted = DIGITS[number % len(DIGITS)]
        print(f"wrong: number {number} is {wanted}, read as {found} ({score:.2f})")
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
