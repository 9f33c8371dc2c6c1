"""`sanderling tune`, on real pipelines."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import tinymodels
from commandline import COMMAND, refused, run
from sanderling import board, imaging, profile
from sanderling.cli import tune
from sanderling.deployed import usable_cores

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[1]
FACES = ROOT / "examples" / "faces.toml"
DIGITS = ROOT / "examples" / "digits.toml"
PHOTO = ROOT / "examples" / "astronaut.png"


def test_the_variants_of_a_model_are_measured_and_the_choice_is_kept(tmp_path: Path) -> None:
    pipeline, out = tmp_path / "faces.toml", tmp_path / "tuned.toml"
    shutil.copy(FACES, pipeline)
    done = run("tune", pipeline, "--source", PHOTO, "--budget", 1, "-o", out)
    assert done.stderr == ""
    assert f"written: {out}" in done.stdout
    tuned = profile.read(out)
    assert tuned.evidence is not None
    own = tuned.evidence.candidates[0]
    assert {item.model for item in tuned.evidence.candidates} == {
        "centerface-int8",
        "centerface-int8-320x240",
    }
    assert own.frames >= 5
    assert 0 < own.median_ms <= own.p95_ms
    assert (own.found, own.agreement) == (1, 1)
    assert tuned.preferred.model in ("centerface-int8", "centerface-int8-320x240")
    assert tuned.preferred.variant == "int8"
    assert tuned.preferred.threads >= 1
    assert tuned.preferred.mode in ("latency", "throughput")
    chosen = {"model", "variant", "mode", "threads", "size"}
    assert set(tuned.preferred.sources) <= chosen
    assert own.fps > 0
    modes = {item.mode for item in tuned.evidence.candidates}
    assert modes == ({"latency", "throughput"} if usable_cores() > 1 else {"latency"})
    assert tuned.evidence.int8.startswith("whether int8 is faster than float on this board is not")
    assert tuned.evidence.reference == "centerface-int8"
    assert "only 1 found in the pictures" in tuned.evidence.warnings[0]
    assert "onnxruntime" in tuned.evidence.versions
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "faces.toml", "tuned.toml"]  # fmt: skip


def test_a_classifier_is_compared_by_its_first_class() -> None:
    done = run("tune", DIGITS, "--source", ROOT / "examples" / "digits", "--budget", 1)
    assert "100%" in done.stdout
    assert "chosen: " in done.stdout
    assert ": digits-int8 with" in done.stdout
    assert "nothing was written" in done.stdout


def test_what_is_wanted_can_be_said() -> None:
    done = run("tune", DIGITS, "--budget", 1, "--aim", "latency")
    assert "chosen: one frame at a time: digits-int8 with" in done.stdout
    assert "is not one of" in refused("tune", DIGITS, "--aim", "speed")


def test_help_says_that_only_the_first_model_is_varied() -> None:
    words = " ".join(run("tune", "--help").stdout.split())
    assert "Of a pipeline with several models only the first is varied." in words


def test_both_flavours_and_float_are_measured_and_the_board_s_answer_is_one_sentence(
    tmp_path: Path,
) -> None:
    """From a float model to the choice: quantize both flavours, then tune."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(6):
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
        image = coarse.repeat(12, axis=0).repeat(12, axis=1)
        (photos / f"{seed}.png").write_bytes(imaging.encode_image(image, ".png"))
    model = tinymodels.yolo(np.random.default_rng(5))
    onnx.save(model, tmp_path / "tiny-float.onnx")
    run("model", "quantize", tmp_path / "tiny-float.onnx", "-o", tmp_path / "tiny-int8.onnx",
        "--calibrate", photos, "--std", "255,255,255", "--flavour", "both")  # fmt: skip
    pipeline, out = tmp_path / "p.toml", tmp_path / "tuned.toml"
    pipeline.write_text(
        '[pipeline]\nname = "t"\n[[stage]]\nguest = "letterbox"\n'
        'params = { order = "rgb", std = [255, 255, 255] }\n'
        '[[stage]]\nmodel = "./tiny-int8.onnx"\n'
        '[[stage]]\nguest = "yolo_decode"\nparams = { score = 0.5 }\n[[stage]]\nguest = "nms"\n'
    )
    done = run("tune", pipeline, "--source", photos, "--budget", 3, "-o", out)
    evidence = profile.read(out).evidence
    assert evidence is not None
    assert evidence.reference == "tiny-float"
    names = ["tiny-int8", "tiny-float", "tiny-int8-s8s8"]
    assert list(dict.fromkeys(item.model for item in evidence.candidates)) == names
    first = evidence.candidates[:3]
    assert [item.note.startswith("does not run") for item in first] == [False] * 3
    assert first[1].agreement == 1
    for item in (first[0], first[2]):
        assert item.agreement is not None
        assert item.agreement > 0.5
    (sentence,) = [line for line in done.stdout.splitlines() if line.startswith("int8 is ")]
    assert sentence == evidence.int8
    assert "float on this board" in sentence
    assert "tiny-float " in sentence


def test_without_pictures_only_threads_are_tried(tmp_path: Path) -> None:
    done = run("tune", FACES, "--budget", 1)
    assert "made up, 1280 x 720" in done.stdout
    assert "nothing was found in the pictures" in done.stdout
    assert "chosen: " in done.stdout
    assert "to run centerface-int8-320x240" not in done.stdout


def test_a_profile_to_begin_with_is_kept(tmp_path: Path) -> None:
    own, out = tmp_path / "own.toml", tmp_path / "out.toml"
    own.write_text(
        'name = "own"\n[limits]\nthreads = 1\nlimit_c = 60\nresume_c = 50\n[limits.sources]\n'
        'limit_c = "the case is sealed"\n'
    )
    run("tune", DIGITS, "--budget", 1, "--profile", own, "-o", out)
    begun, tuned = profile.read(own), profile.read(out)
    assert (tuned.name, tuned.limits) == (begun.name, begun.limits)
    assert tuned.evidence is not None
    assert [(item.threads, item.mode) for item in tuned.evidence.candidates] == [(1, "latency")]


def test_what_puts_the_figures_in_doubt_is_said() -> None:
    hot = board.read(ROOT / "tests" / "boards" / "raspberry-pi-5-hot")
    bounds = profile.settle(profile.Profile(name="x"), hot.facts())
    cool = replace(hot.reading, celsius=50.0, power=None)
    assert tune._doubts(hot, cool, bounds) == [
        "too hot after measuring: 86.2 °C",
        "throttled or short of voltage after measuring",
    ]
    pc = board.read(ROOT / "tests" / "boards" / "unknown-pc")
    empty = replace(pc.reading, memory=replace(pc.reading.memory, swap_used=0))
    assert tune._doubts(pc, empty, bounds) == ["memory was swapped out while measuring"]
    assert tune._doubts(pc, pc.reading, bounds) == []


def test_a_terminal_gets_a_progress_bar() -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*COMMAND, "tune", str(DIGITS), "--budget", "1"],
            stdout=subprocess.PIPE,
            stderr=theirs,
            timeout=120,
            check=True,
        )
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
    finally:
        os.close(ours)
    assert b"measuring" in shown
    assert b": digits-int8 with" in done.stdout


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # what Linux says when the other end is closed
        return b""


def test_what_cannot_be_tuned_is_refused_before_the_work(tmp_path: Path) -> None:
    assert "there is no folder" in refused("tune", FACES, "-o", tmp_path / "no" / "p.toml")
    assert "cannot be read" in refused("tune", tmp_path / "no.toml")
    assert "no such picture" in refused("tune", FACES, "--source", tmp_path / "no.png")
    (tmp_path / "bad.png").write_bytes(PHOTO.read_bytes()[:100])
    done = run("tune", FACES, "--source", tmp_path, "--budget", 1, code=2)
    assert "no picture in it can be read" in done.stderr
    assert "budget" in refused("tune", FACES, "--budget", 0)
    assert list(tmp_path.iterdir()) == [tmp_path / "bad.png"]
