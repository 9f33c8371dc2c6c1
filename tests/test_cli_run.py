"""`sanderling run` on what goes on by itself: cameras and streams, modes, rates, traces, Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import hostile
import test_memory
from commandline import COMMAND, refused, run
from sanderling import imaging
from source_suite import until

pytestmark = pytest.mark.process

WAIT_S = 60


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    hostile.write(tmp_path)
    return hostile.pipeline(tmp_path)


@contextmanager
def started(*args: object) -> Iterator[subprocess.Popen[str]]:
    """The command, running."""
    with subprocess.Popen(
        [*COMMAND, "run", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def numbers(lines: str) -> list[int]:
    return [json.loads(line)["frame"] for line in lines.splitlines()]


def pictures(folder: Path, values: list[int]) -> Path:
    folder.mkdir()
    for number, value in enumerate(values):
        image = np.full((8, 8, 3), value, np.uint8)
        (folder / f"{number:02}.png").write_bytes(imaging.encode_image(image, ".png"))
    return folder


@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_a_limit_is_kept_to_the_frame(pipeline: Path, mode: str) -> None:
    source = "pattern:64x48?frames=50"
    done = run("run", pipeline, "--source", source, "--json", "-", "--limit", 7, "--mode", mode)
    assert numbers(done.stdout) == list(range(7))
    live = "pattern:64x48@200"
    done = run("run", pipeline, "--source", live, "--json", "-", "--limit", 7, "--mode", mode)
    found = numbers(done.stdout)
    assert len(found) == 7
    assert found == sorted(set(found))


def test_frames_that_fail_count_for_the_limit(pipeline: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", [100, hostile.TRAP, 101, hostile.TRAP, 102])
    for mode in ("latency", "throughput"):
        done = run(
            "run", pipeline, "--source", folder, "--json", "-", "--limit", 4, "--mode", mode, code=2
        )
        assert numbers(done.stdout) == [0, 2]
        assert done.stderr.splitlines()[-1].startswith("sanderling: 2 of 4 frames failed")


def test_what_is_dropped_is_told(pipeline: Path, tmp_path: Path) -> None:
    source = "pattern:64x48@50?frames=20"
    done = run("run", pipeline, "--source", source, "--rate", 10, "--policy", "block")
    assert "4 frames processed; dropped: 16 rate. " in done.stdout
    (tmp_path / "still").mkdir()
    still = test_memory.write(tmp_path / "still", "count")
    folder = pictures(tmp_path / "in", [5, 99, 99, 6])
    done = run("run", still, "--source", folder)
    assert "2 frames processed; dropped: 2 still. " in done.stdout


def test_a_trace_shows_frames_that_overlap(pipeline: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    source = "pattern:640x480?frames=40"
    run("run", pipeline, "--source", source, "--mode", "throughput", "--trace", trace)
    events = json.loads(trace.read_text())["traceEvents"]
    rows = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    assert len(rows) >= 2
    assert set(rows.values()) == {f"test, lane {number}" for number in range(len(rows))}
    stages = [event for event in events if event["ph"] == "X"]
    assert len(stages) == 40
    assert {event["name"] for event in stages} == {"hostile"}
    assert len({event["tid"] for event in stages}) >= 2


def test_a_trace_goes_where_nothing_else_goes(pipeline: Path, tmp_path: Path) -> None:
    source = "pattern:64x48?frames=1"
    same = tmp_path / "same"
    line = refused("run", pipeline, "--source", source, "--json", same, "--trace", same)
    assert "--trace and --json both write it" in line
    assert "is read in this run" in refused(
        "run", pipeline, "--source", source, "--trace", pipeline
    )
    assert "there is no folder" in refused(
        "run", pipeline, "--source", source, "--trace", tmp_path / "no" / "t.json"
    )


def test_a_camera_that_is_lost_is_opened_again(pipeline: Path) -> None:
    source = "pattern:64x48@100?flap=5"
    done = run(
        "run", pipeline, "--source", source, "--policy", "block", "--json", "-", "--limit", 12
    )
    assert numbers(done.stdout) == list(range(12))
    assert done.stderr.count("lost") == 2


def test_ctrl_c_ends_a_camera_and_keeps_what_there_is(pipeline: Path, tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    with started(pipeline, "--source", "pattern:64x48@50", "--json", lines) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    assert err == ""
    assert "processed" in out
    assert numbers(lines.read_text())


def test_ctrl_c_before_the_first_frame_is_no_result(pipeline: Path, tmp_path: Path) -> None:
    socket, lines = tmp_path / "door.sock", tmp_path / "lines.jsonl"
    with started(pipeline, "--source", f"unix:{socket}", "--json", lines) as process:
        until(lambda: list(tmp_path.glob(".lines.*")), "it has begun")
        time.sleep(0.2)  # to the wait for the first frame
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out, err.strip()) == (130, "", "sanderling: stopped")
    assert not list(tmp_path.glob("*lines*"))


def test_half_of_a_video_is_no_result(pipeline: Path, tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    with started(pipeline, "--source", "pattern:64x48", "--json", lines) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, err.strip()) == (130, "sanderling: stopped")
    assert not list(tmp_path.glob("*lines*"))
