"""Four cameras at full speed, one that breaks off and one guest that traps: does it all add up?

    python tests/soak.py [--frames 1000000] [--out out]

What runs is what the daemon runs: a `Deployment` made of a configuration file. `steady` and
`flapping` go through a guest that reads the number in the test pattern and traps on one in 256 of
them; `digits` and `hurried` through a model. The first three have the policy `block`, so it follows
from the pattern what each of their frames must come to; `hurried` has `latest`.

Exit 1, and what is wrong in words, when a count does not add up, a result is not that of its frame,
or memory, descriptors or threads do not stay level.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec
import numpy as np

import hostile
import vitals
from sanderling import daemonfile, pattern
from sanderling.deployment import Deployment
from sanderling.profile import Preferred
from vitals import Vitals

ROOT = Path(__file__).resolve().parents[1]
FLAP = 1250
"""Frames of a connection before it breaks off."""
SALT = 0x9E3779B1
SEED = 0x5A17
LOOK_S = 0.25
WARM = 0.2
"""Share of the frames after which all that is ever needed is there."""
ROTATE_BYTES = 4 << 20
BESIDE = 2
"""Threads and descriptors that come and go: a connection is opened in a thread of its own."""

# Pixels in the middle of the blocks that carry the number, in a pattern 64 wide and at most 64
# high: a bit is at row 4 * (bit / 16) + 2 and column 4 * (bit % 16) + 2.
_READER = f"""
  (func (export "sl_run") (param $call i32) (result i32)
    (local $frame i32) (local $out i32) (local $bit i32) (local $number i32)
    (local.set $frame (i32.load (i32.load offset=12 (local.get $call))))
    (local.set $out (i32.load offset=16 (local.get $call)))
    (loop $bits
      (local.set $number (i32.or (local.get $number) (i32.shl
        (i32.shr_u
          (i32.load8_u (i32.add (local.get $frame) (i32.mul (i32.const 3) (i32.add
            (i32.mul (i32.const 64)
              (i32.add (i32.const 2)
                (i32.mul (i32.const 4) (i32.shr_u (local.get $bit) (i32.const 4)))))
            (i32.add (i32.const 2)
              (i32.mul (i32.const 4) (i32.and (local.get $bit) (i32.const 15))))))))
          (i32.const 7))
        (local.get $bit))))
      (local.set $bit (i32.add (local.get $bit) (i32.const 1)))
      (br_if $bits (i32.lt_u (local.get $bit) (i32.const 32))))
    (local.set $number (i32.shr_u (local.get $number) (i32.const 8)))
    (if (i32.eqz (i32.shr_u
          (i32.add (i32.mul (local.get $number) (i32.const {SALT})) (i32.const {SEED}))
          (i32.const 24)))
      (then unreachable))
    (i32.store offset=16 (local.get $out) (i32.const 1))
    (i32.store (i32.load (local.get $out)) (local.get $number))
    (i32.const 0))
"""

_CONFIG = """
[[pipeline]]
name = "reader"
file = "reader.toml"
mode = "throughput"
[[pipeline]]
name = "digits"
file = "{digits}"
mode = "throughput"
[[camera]]
name = "steady"
source = "pattern:64x32"
pipeline = "reader"
[[camera]]
name = "flapping"
source = "pattern:64x32?flap={flap}"
policy = "block"
pipeline = "reader"
[[camera]]
name = "digits"
source = "pattern:64x64"
pipeline = "digits"
[[camera]]
name = "hurried"
source = "pattern:64x64@100000"
policy = "latest"
pipeline = "digits"
[[sink]]
name = "results"
path = "results.jsonl"
queue = 1024
"""


def trapping(numbers: np.ndarray) -> np.ndarray:
    """Which of these numbers the guest traps on: the same sum as in the guest, in numpy."""
    mixed = numbers.astype(np.uint64) * np.uint64(SALT) + np.uint64(SEED)
    return (mixed & np.uint64(0xFFFFFFFF)) >> np.uint64(24) == 0


class _Line(msgspec.Struct):
    """What is checked of a line of the sink."""

    camera: str
    frame: int
    tensors: dict[str, list[int]] = {}


class Reader:
    """Reads what the sink wrote, and moves the file away before it is large, as logrotate does.

    Attributes:
        lines: of each camera.
        faults: in words, the first of each kind.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._aside = path.with_suffix(".1")
        self._decode = msgspec.json.Decoder(_Line).decode
        self._last: dict[str, int] = {}
        self._at = 0
        self.lines: Counter[str] = Counter()
        self.faults: dict[str, str] = {}

    def read(self, *, end: bool = False) -> None:
        """Take what is there now."""
        if self._aside.exists():
            # Whoever was writing into it as it was moved is done by now.
            self._take(self._aside)
            self._aside.unlink()
            self._at = 0
        if not self._path.exists():
            return
        self._take(self._path)
        if self._at > ROTATE_BYTES and not end:
            self._path.rename(self._aside)

    def _take(self, path: Path) -> None:
        with path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._at += whole
        for line in data[:whole].splitlines():
            self._check(self._decode(line))

    def _check(self, line: _Line) -> None:
        camera, sequence = line.camera, line.frame
        self.lines[camera] += 1
        if sequence <= self._last.get(camera, -1):
            self.faults.setdefault(
                f"{camera} order", f"{camera}: frame {sequence} after {self._last[camera]}"
            )
        self._last[camera] = sequence
        if camera in {"steady", "flapping"}:
            number = sequence % FLAP if camera == "flapping" else sequence
            if line.tensors.get("value") != [number % pattern.NUMBERS]:
                self.faults.setdefault(
                    f"{camera} value", f"{camera}: frame {sequence} came out as {line.tensors}"
                )


@dataclass(slots=True)
class Outcome:
    """What a soak came to.

    Attributes:
        seconds: it took.
        counts: of each camera at the end.
        samples: the process over the time.
        connections: how often the camera that breaks off was there.
        written: results in the sink.
        lost: results that it had no room for.
        left: threads that are still there, by name.
        faults: what is wrong, in words.
    """

    seconds: float = 0.0
    counts: dict[str, dict] = field(default_factory=dict)
    samples: list[Vitals] = field(default_factory=list)
    connections: int = 0
    written: int = 0
    lost: int = 0
    left: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def ended(counts: dict) -> int:
    """Frames of which is known what became of them."""
    failed = sum(sum(reasons.values()) for reasons in counts["failed"].values())
    return counts["processed"] + sum(counts["dropped"].values()) + failed


def captured(counts: dict[str, dict]) -> int:
    return sum(one["captured"] for one in counts.values())


def expected(name: str, counts: dict) -> Iterator[str]:
    """What a camera with the policy `block` should have come to, and has not."""
    # A camera that is stopped leaves out the frame that waits and the one that is being captured.
    stopped = counts["dropped"].get("shutdown", 0)
    if stopped > 2 or set(counts["dropped"]) - {"shutdown"}:
        yield f"{name}: dropped are {counts['dropped']}"
    numbers = np.arange(counts["captured"] - stopped)
    if name == "flapping":
        numbers %= FLAP
    traps = int(trapping(numbers).sum()) if name != "digits" else 0
    wanted = {"reader": {"trap": traps}} if traps else {}
    if counts["failed"] != wanted:
        yield f"{name}: failed are {counts['failed']}; by the pattern they are {wanted}"
    if counts["processed"] != len(numbers) - traps:
        yield f"{name}: {counts['processed']} processed of {len(numbers)} without {traps} traps"


class Soak:
    """One run.

    Args:
        folder: for its files.
        frames: of all cameras together, at the least; of each a quarter.
        show: whether to say on the terminal how far it is.
    """

    def __init__(self, folder: Path, frames: int, *, show: bool) -> None:
        self._each = frames // 4
        self._show = show
        self._folder = folder
        self._reader = Reader(folder / "results.jsonl")
        self.outcome = Outcome()
        wasm = hostile.wat(run=_READER)
        hostile.write(folder, "reader", wasm=wasm)
        text = '[pipeline]\nname = "reader"\n[[stage]]\nguest = "reader"\n'
        (folder / "reader.toml").write_text(text)
        config = _CONFIG.format(flap=FLAP, digits=ROOT / "examples" / "digits.toml")
        (folder / "daemon.toml").write_text(config)

    def run(self) -> Outcome:
        """Run it to its end."""
        out, where = self.outcome, self._folder / "daemon.toml"
        before = set(threading.enumerate())
        deployment = Deployment(where, 2, Preferred(), self._told)
        began = time.monotonic()
        deployment.apply(daemonfile.read(where))
        while True:
            time.sleep(LOOK_S)
            self._look(deployment, time.monotonic() - began)
            if all(one["captured"] >= self._each for one in out.counts.values()):
                break
        out.seconds = time.monotonic() - began
        ((_, outlet),) = deployment._outlets.values()
        if not deployment.stop(10):
            out.faults.append("it did not stop in 10 s")
        out.counts = deployment.counts()
        out.written, out.lost = outlet.written, outlet.lost
        self._reader.read(end=True)
        # The clock of deadlines stays for the next pipeline.
        out.left = sorted(
            thread.name
            for thread in set(threading.enumerate()) - before
            if thread.name != "sanderling-ticker"
        )
        self._judge()
        return out

    def _told(self, kind: str, of: str, text: str) -> None:
        if kind == "camera_connected":
            self.outcome.connections += of == "flapping"
        elif kind not in {"camera_lost", "camera_retrying", "camera_trap", "sink_full"}:
            self.outcome.faults.append(f"{of}: {kind}: {text}")

    def _look(self, deployment: Deployment, seconds: float) -> None:
        out = self.outcome
        out.counts = deployment.counts()
        self._reader.read()
        for name, one in out.counts.items():
            if one["captured"] != one["waiting"] + ended(one):
                out.faults.append(f"{name}: at {seconds:.1f} s the sums do not agree: {one}")
        now = vitals.read(captured(out.counts), seconds)
        out.samples.append(now)
        if self._show:
            each = ", ".join(f"{name} {one['captured']}" for name, one in out.counts.items())
            print(
                f"\r{seconds:6.0f} s {now.frames:9,} frames ({each}), {now.resident / 2**20:.1f}"
                f" MiB, {now.descriptors} descriptors, {now.threads} threads ",
                end="",
                flush=True,
            )

    def _judge(self) -> None:
        out = self.outcome
        for name, one in out.counts.items():
            if one["captured"] != ended(one):
                out.faults.append(f"{name}: at the end the sums do not agree: {one}")
            if name != "hurried":
                out.faults += expected(name, one)
            elif set(one["dropped"]) - {"stale", "shutdown"} or one["failed"]:
                out.faults.append(f"{name}: {one}")
        flapping = out.counts["flapping"]["captured"]
        if out.connections != -(-flapping // FLAP):
            out.faults.append(f"{out.connections} connections for {flapping} frames")
        processed = sum(one["processed"] for one in out.counts.values())
        if processed != out.written + out.lost or out.written != self._reader.lines.total():
            out.faults.append(
                f"of {processed} results {out.written} were written, {out.lost} had no room and"
                f" {self._reader.lines.total()} were read"
            )
        out.faults += self._reader.faults.values()
        if out.left:
            out.faults.append(f"threads are left: {', '.join(out.left)}")


def summary(out: Outcome) -> str:
    """The counts of each camera, as a table."""
    rows = [("", "captured", "processed", "dropped", "failed")]
    for name, one in out.counts.items():
        failed = sum(sum(reasons.values()) for reasons in one["failed"].values())
        dropped = sum(one["dropped"].values())
        rows.append((name, *map(str, (one["captured"], one["processed"], dropped, failed))))
    lines = [f"{row[0]:10}" + "".join(f"{value:>12}" for value in row[1:]) for row in rows]
    frames, warm = captured(out.counts), warmed(out)
    lines += [
        f"{frames:,} frames in {out.seconds:.0f} s, {frames / out.seconds:,.0f} a second;"
        f" {out.connections} connections of flapping; of the results {out.written:,} were"
        f" written, {out.lost:,} had no room",
        *(
            f"{what:16} {min(values):10.{digits}f} to {max(values):.{digits}f} after the warm-up"
            for what, digits, values in (
                ("resident, MiB", 2, [one.resident / 2**20 for one in warm]),
                ("addresses, MiB", 1, [one.size / 2**20 for one in warm]),
                ("descriptors", 0, [one.descriptors for one in warm]),
                ("threads", 0, [one.threads for one in warm]),
            )
        ),
    ]
    return "\n".join(lines)


def warmed(out: Outcome) -> list[Vitals]:
    """The samples from the end of the warm-up on."""
    first = WARM * out.samples[-1].frames
    return [one for one in out.samples if one.frames >= first]


def main() -> int:
    """Run it, print what became of the frames, and write that and a plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument(
        "--flat", type=float, default=2.0, help="per cent that memory may rise after the warm-up"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        out = Soak(Path(folder), args.frames, show=sys.stdout.isatty()).run()
    out.faults += vitals.faults(warmed(out), args.flat, beside=BESIDE)
    if sys.stdout.isatty():
        print()
    print(summary(out))
    (args.out / "soak.json").write_text(json.dumps(asdict(out), indent=1))
    title = f"{captured(out.counts):,} frames, {out.connections} connections of one of four cameras"
    vitals.draw(out.samples, warmed(out)[0].frames, title, args.out / "soak.png")
    for fault in out.faults:
        print(f"wrong: {fault}", file=sys.stderr)
    return 1 if out.faults else 0


if __name__ == "__main__":
    sys.exit(main())
