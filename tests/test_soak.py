"""The soak in small, whether its judge sees what is wrong, and what a frame allocates."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import soak
import vitals
from sanderling import stages
from sanderling.camera import Camera
from sanderling.detections import Result
from sanderling.frame import Frame
from sanderling.look import Look, Policy
from sanderling.pool import Layout, Pool
from sanderling.sources import open_source
from vitals import Vitals

ROOT = Path(__file__).resolve().parents[1]
WAIT_S = 60


@pytest.mark.toolchain  # it draws, and measures the machine itself
def test_twenty_thousand_frames_add_up(tmp_path: Path) -> None:
    # Among other tests the machine is busy, and this short all is still warming up.
    command = [sys.executable, "tests/soak.py", "--frames", "20000", "--flat", "10"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    found = json.loads((tmp_path / "soak.json").read_text())
    counts = found["counts"]
    assert soak.captured(counts) >= 20_000
    assert min(one["captured"] for one in counts.values()) >= 5_000
    assert counts["steady"]["failed"]["reader"]["trap"] >= 15
    assert found["connections"] >= 4
    assert (tmp_path / "soak.png").stat().st_size > 10_000


def test_what_the_guest_traps_on_is_counted_as_it_does() -> None:
    numbers = np.arange(100_000)
    by_hand = [
        number for number in range(2000) if (number * soak.SALT + soak.SEED) >> 24 & 255 == 0
    ]
    assert np.flatnonzero(soak.trapping(numbers))[: len(by_hand)].tolist() == by_hand
    assert 300 < soak.trapping(numbers).sum() < 500


COUNTS = {"captured": 1000, "waiting": 0, "dropped": {}}
TRAPS = int(soak.trapping(np.arange(1000)).sum())


def test_counts_that_follow_from_the_pattern_pass() -> None:
    good = {**COUNTS, "processed": 1000 - TRAPS, "failed": {"reader": {"trap": TRAPS}}}
    assert not list(soak.expected("steady", good))
    assert soak.ended(good) == 1000


@pytest.mark.parametrize(
    "wrong",
    [
        {"processed": 1000, "failed": {}},
        {"processed": 999 - TRAPS, "failed": {"reader": {"trap": TRAPS + 1}}},
        {"processed": 999 - TRAPS, "failed": {"reader": {"trap": TRAPS}}},
        {"processed": 999 - TRAPS, "failed": {"reader": {"trap": TRAPS, "deadline": 1}}},
        {"processed": 997 - TRAPS, "failed": {"reader": {"trap": TRAPS}}, "dropped": {"stale": 3}},
    ],
)
def test_counts_that_do_not_follow_from_the_pattern_are_told(wrong: dict) -> None:
    assert list(soak.expected("steady", {**COUNTS, **wrong}))


def line(camera: str, frame: int, value: int) -> bytes:
    tensors = {"value": [value]}
    return json.dumps({"camera": camera, "frame": frame, "tensors": tensors}).encode() + b"\n"


def test_results_are_read_over_the_moved_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(soak, "ROTATE_BYTES", 10)
    path = tmp_path / "results.jsonl"
    reader = soak.Reader(path)
    path.write_bytes(line("steady", 0, 0) + line("flapping", soak.FLAP, 0)[:9])
    reader.read()
    moved = path.with_suffix(".1")
    with moved.open("ab") as file:  # whoever had it open as it was moved
        file.write(line("flapping", soak.FLAP, 0)[9:])
    path.write_bytes(line("steady", 1, 1))
    reader.read(end=True)
    assert reader.lines == {"steady": 2, "flapping": 1}
    assert not reader.faults
    assert not moved.exists()


@pytest.mark.parametrize(
    ("second", "fault"),
    [
        (line("steady", 4, 5), "steady: frame 4 came out as {'value': [5]}"),
        (line("steady", 3, 3), "steady: frame 3 after 3"),
        (line("steady", 2, 2), "steady: frame 2 after 3"),
    ],
)
def test_a_result_of_another_frame_is_told(tmp_path: Path, second: bytes, fault: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(line("steady", 3, 3) + second)
    reader = soak.Reader(path)
    reader.read(end=True)
    assert list(reader.faults.values()) == [fault]


def level(count: int = 30) -> list[Vitals]:
    return [Vitals(at, at / 10, 100 << 20, 50 << 30, 13, 17) for at in range(count)]


def test_what_stays_level_passes() -> None:
    samples = level()
    samples[7] = replace(samples[7], resident=101 << 20, threads=18, descriptors=14)
    assert not vitals.faults(samples, 2, beside=2)


@pytest.mark.parametrize(
    ("what", "step", "word"),
    [
        ("resident", 100_000, "resident memory rose by 2.8%"),
        ("size", 4 << 30, "address space rose by"),
        ("descriptors", 1, "descriptors went from 13 to 42"),
        ("threads", 1, "threads went from 17 to 46"),
    ],
)
def test_what_grows_is_told(what: str, step: int, word: str) -> None:
    samples = [
        replace(one, **{what: getattr(one, what) + number * step})
        for number, one in enumerate(level())
    ]
    (fault,) = vitals.faults(samples, 2, beside=2)
    assert word in fault


def test_the_process_itself_is_read() -> None:
    before = vitals.read(1, 0.0)
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    with Path(__file__).open("rb"):
        now = vitals.read(2, 0.5)
    stop.set()
    thread.join()
    assert (now.threads, now.descriptors) == (before.threads + 1, before.descriptors + 1)
    assert 0 < now.resident < now.size


SIZE = 480, 640, 3
FRAME_PAGES = math.prod(SIZE) // vitals.PAGE


def faults_a_frame(policy: Policy) -> float:
    """Pages that the kernel had to give for a frame that was processed, once all is warm."""
    pool = Pool("test", stages.load(ROOT / "examples/digits.toml", threads=1), Layout(3, 1, 2))
    faults: list[int] = []

    def publish(frame: Frame, result: Result) -> None:
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)

    source = open_source(f"pattern:{SIZE[1]}x{SIZE[0]}?frames=800")
    camera = Camera("a", source, pool, Look(policy), publish)
    camera.start()
    assert camera.ended.wait(WAIT_S)
    pool.close()
    assert camera.counts().agree
    warm = faults[len(faults) // 2 :]
    assert len(warm) > 20
    return (warm[-1] - warm[0]) / len(warm)


@pytest.mark.toolchain  # an emulator has page faults of its own
@pytest.mark.parametrize("policy", ["block", "latest"])
def test_no_frame_costs_an_allocation_of_its_size(policy: str) -> None:
    """Pixels go into memory that is there, in Python as in what it calls."""
    # Memory of this size and above is then taken from the kernel every time, and its pages with it.
    told = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072", "PYTHONPATH": str(ROOT / "tests")}
    code = f"import test_soak; print(test_soak.faults_a_frame({policy!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=told, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < FRAME_PAGES / 4
