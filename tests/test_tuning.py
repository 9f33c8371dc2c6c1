"""Candidates measured against each other, by an injected clock."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hostile
import tiny
from sanderling import agreement, candidates, imaging, tuning
from sanderling.candidates import Candidate, Runner
from sanderling.detections import Classes, Detections, Result
from sanderling.errors import ConfigError, FrameError, ModelError, PlanError
from sanderling.frame import Image
from sanderling.tuning import Trial

ROOT = Path(__file__).resolve().parents[1]
MS = 1_000_000
OWN, FLOAT, SMALL = Path("a-int8.onnx"), Path("a-float.onnx"), Path("a-int8-32x32.onnx")
PICTURES = [np.full((2, 2, 3), value, np.uint8) for value in range(3)]


def result(
    boxes: list[list[float]] | None = None,
    classes: list[int] | None = None,
    tops: list[int] | None = None,
) -> Result:
    found = best = None
    if boxes is not None:
        count = len(boxes)
        kinds = np.array(classes or [0] * count, np.int32)
        found = Detections(
            np.array(boxes, np.float32).reshape(count, 4), np.ones(count, np.float32), kinds
        )
    if tops is not None:
        best = Classes(np.array(tops, np.int32), np.ones(len(tops), np.float32))
    return Result(0, 0, "", found, best, {}, {})


class Bench:
    """A board on which each candidate takes as long as the table says.

    Where a way has a rate, so many results come a second, each after its time.
    """

    def __init__(self, ms: dict[tuple[Path, int], float]) -> None:
        self.ms = ms
        self.fps: dict[Candidate, float] = {}
        self.now = 0
        self.found: dict[Path, list[list[float]]] = {}
        self.broken: dict[Path, Exception] = {}
        self.fails_after: dict[Path, int] = {}
        self.skips: set[str] = set()
        self.leaves_out: set[str] = set()
        self.open: list[Candidate] = []
        self.runs: list[Path] = []

    @contextmanager
    def __call__(self, candidate: Candidate) -> Iterator[Runner]:
        assert not self.open, "two at a time need twice the memory"
        if candidate.model in self.broken:
            raise self.broken[candidate.model]
        self.open.append(candidate)

        def run(pictures: Iterable[Image]) -> Iterator[Result]:
            for number, _ in enumerate(pictures):
                self.runs.append(candidate.model)
                if self.runs.count(candidate.model) > self.fails_after.get(
                    candidate.model, 1 << 30
                ):
                    raise FrameError("model", "it broke")
                if candidate.mode in self.leaves_out and number % 2:
                    continue
                took = int(self.ms[candidate.model, candidate.threads] * MS)
                self.now += int(1000 * MS / self.fps[candidate]) if candidate in self.fps else took
                one = result(self.found.get(candidate.model, [[0, 0, 10, 10]]))
                skipped = "gate" if candidate.mode in self.skips else ""
                yield replace(one, captured_ns=self.now - took, skipped=skipped)

        try:
            yield run
        finally:
            self.open.pop()

    def measure(
        self, models: list[Path], threads: list[int], budget_s: float, modes: str = "latency"
    ) -> list[Trial]:
        ways = [
            Candidate(model, count, mode, 1 if mode == "latency" else 3)
            for count in threads
            for mode in modes.split()
            for model in models
        ]
        return self.measure_all(ways, budget_s)

    def measure_all(self, ways: list[Candidate], budget_s: float) -> list[Trial]:
        self.passed: list[float] = []
        return tuning.measure(
            ways, self, PICTURES, budget_s,
            clock_ns=lambda: self.now, progress=self.passed.append)  # fmt: skip


def test_thread_counts() -> None:
    assert candidates.thread_counts(1) == [1]
    assert candidates.thread_counts(2) == [2, 1]
    assert candidates.thread_counts(4) == [4, 3, 2, 1]
    assert candidates.thread_counts(6) == [6, 4, 3, 2, 1]
    assert candidates.thread_counts(16) == [16, 8, 4, 3, 2, 1]


def test_candidates_begin_with_the_pipelines_own_way() -> None:
    found = candidates.candidates([OWN, FLOAT], 2)
    assert found[:4] == [
        Candidate(OWN, 2), Candidate(FLOAT, 2),
        Candidate(OWN, 1, "throughput", 4), Candidate(FLOAT, 1, "throughput", 4)]  # fmt: skip
    assert len(set(found)) == len(found) == 8


@pytest.mark.parametrize(
    ("cores", "overlapping"),
    [
        (1, []),
        (2, [(1, 4), (2, 3)]),
        (4, [(1, 6), (2, 4), (4, 3)]),
        (6, [(1, 8), (2, 5), (3, 4), (6, 3)]),
    ],
)
def test_threads_that_leave_no_core_over_are_tried_where_stages_overlap(
    cores: int, overlapping: list[tuple[int, int]]
) -> None:
    ways = candidates.ways(cores)
    assert [(one, lanes) for mode, one, lanes in ways if mode == "throughput"] == overlapping
    latency = [one for mode, one, lanes in ways if mode == "latency"]
    assert latency == candidates.thread_counts(cores)


MANY = Candidate(OWN, 1, "throughput", 3)
QUICK = Candidate(OWN, 2)


@pytest.mark.parametrize(
    ("fps", "aim", "chosen"),
    [
        (119, "auto", QUICK),
        (121, "auto", MANY),
        (121, "latency", QUICK),
        (105, "throughput", MANY),
        (90, "throughput", QUICK),
    ],
)
def test_the_mode_is_chosen_by_what_is_wanted(fps: float, aim: str, chosen: Candidate) -> None:
    bench = Bench({(OWN, 2): 10, (OWN, 1): 25})
    bench.fps[MANY] = fps
    trials = bench.measure_all([QUICK, MANY], 3)
    best = tuning.best(trials, aim)
    assert best.candidate == chosen
    assert trials[0].fps == pytest.approx(100)
    assert trials[1].fps == pytest.approx(fps, rel=1e-3)
    assert (trials[1].median_ms, trials[1].evidence().mode) == (25, "throughput")
    assert trials[1].evidence().fps == pytest.approx(fps, abs=0.1)
    assert len(trials[1].times_ms) >= 15, "as many as it takes with three in flight"


def test_a_slow_way_of_one_mode_is_not_measured_against_the_other_mode() -> None:
    bench = Bench({(OWN, 2): 10, (OWN, 1): 500})
    bench.fps[MANY] = 90
    trials = bench.measure_all([QUICK, MANY, Candidate(OWN, 1)], 5)
    assert len(trials[1].times_ms) > 15, "500 ms, but 90 a second"
    assert len(trials[2].times_ms) == 5


def test_a_stage_that_leaves_out_frames_is_named() -> None:
    bench = Bench({(OWN, 1): 10})
    bench.skips = {"latency"}
    with pytest.raises(PlanError, match="gate leaves out frames; measure without that stage"):
        bench.measure([OWN], [1], 1)
    bench.skips = set()
    bench.leaves_out = {"throughput"}
    trials = bench.measure([OWN], [1], 1, "latency throughput")
    assert trials[1].note == "does not run: a stage leaves out frames; measure without it"
    assert tuning.best(trials) is trials[0]


S8S8, NO_SIZE = Path("a-s8s8.onnx"), Path("a-float-32x32.onnx")


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        ({OWN: 10, FLOAT: 21}, "int8 is 2.1 times as fast as float on this board: a-int8 10.00 ms,"
         " a-float 21.00 ms a frame"),
        ({OWN: 10, S8S8: 8, FLOAT: 20}, "int8 is 2.5 times as fast as float on this board: a-s8s8"
         " 8.00 ms, a-float 20.00 ms a frame"),
        ({OWN: 10, FLOAT: 10.3}, "int8 is as fast as float on this board: a-int8 10.00 ms, a-float"
         " 10.30 ms a frame"),
        ({OWN: 18, FLOAT: 12}, "int8 is slower than float on this board, 1.5 times: a-int8 18.00"
         " ms, a-float 12.00 ms a frame"),
        ({OWN: 10, SMALL: 2, NO_SIZE: 6}, "int8 is 3.0 times as fast as float on this board:"
         " a-int8-32x32 2.00 ms, a-float-32x32 6.00 ms a frame"),
        ({OWN: 10, NO_SIZE: 6}, "whether int8 is faster than float on this board is not known: that"
         " takes both variants of one size, such as a-float.onnx and a-int8.onnx"),
    ],
)  # fmt: skip
def test_whether_int8_is_faster_is_said_in_one_sentence(ms: dict[Path, float], words: str) -> None:
    bench = Bench({(model, 1): value for model, value in ms.items()})
    assert tuning.gain(bench.measure(list(ms), [1], 1)) == words


def test_the_fastest_that_agrees_is_chosen() -> None:
    bench = Bench({(OWN, 2): 20, (OWN, 1): 30, (SMALL, 2): 5, (SMALL, 1): 8})
    trials = bench.measure([OWN, SMALL], [2, 1], 3)
    chosen = tuning.best(trials)
    assert chosen.candidate == Candidate(SMALL, 2)
    assert (chosen.median_ms, chosen.p95_ms, chosen.agreement) == (5, 5, 1)
    assert len(trials[0].times_ms) == 5, "too slow to go on"
    assert len(trials[1].times_ms) > 50
    assert bench.passed[-1] == 3
    assert bench.passed == sorted(bench.passed)
    assert tuning.found(trials, OWN) == 3


def test_a_faster_model_that_finds_nothing_is_no_gain() -> None:
    bench = Bench({(OWN, 1): 20, (SMALL, 1): 5})
    bench.found[SMALL] = []
    trials = bench.measure([OWN, SMALL], [1], 5)
    assert tuning.best(trials) is trials[0]
    assert trials[1].note == "finds other things: 0% agree, 90% are wanted"
    assert len(trials[0].times_ms) > 50, "the time goes to what may be chosen"
    assert len(trials[1].times_ms) == 5


def test_where_nothing_is_found_the_own_model_stays() -> None:
    bench = Bench({(OWN, 1): 20, (SMALL, 1): 5})
    bench.found = {OWN: [], SMALL: []}
    trials = bench.measure([OWN, SMALL], [1], 1)
    assert tuning.best(trials) is trials[0]
    assert trials[1].note == "nothing found to compare"
    assert trials[1].evidence().agreement is None


def test_a_float_variant_is_what_others_are_compared_with() -> None:
    bench = Bench({(OWN, 1): 10, (FLOAT, 1): 20, (SMALL, 1): 5})
    bench.found = {OWN: [[0, 0, 10, 9]], FLOAT: [[0, 0, 10, 10]], SMALL: [[50, 50, 60, 60]]}
    trials = bench.measure([OWN, FLOAT, SMALL], [1], 1)
    assert tuning.reference(trials) == FLOAT
    assert [trial.agreement for trial in trials] == [1, 1, 0]
    assert tuning.best(trials) is trials[0]


def test_the_reference_is_the_float_variant_with_the_largest_input() -> None:
    names = ["a-int8.onnx", "a-float-32x32.onnx", "a-float.onnx", "a-float-64x64.onnx"]
    trials = [Trial(Candidate(Path(name), 1), times_ms=[1.0]) for name in names]
    assert tuning.reference(trials) == FLOAT
    assert tuning.reference([*trials[:2], trials[3]]) == Path("a-float-64x64.onnx")
    assert tuning.reference(trials[:1]) == OWN


def test_of_even_ones_that_with_fewer_threads_is_chosen() -> None:
    bench = Bench({(OWN, 4): 10, (OWN, 2): 10.4, (OWN, 1): 18})
    assert tuning.best(bench.measure([OWN], [4, 2, 1], 2)).candidate.threads == 2


def test_a_variant_that_does_not_run_is_noted() -> None:
    bench = Bench({(OWN, 1): 10})
    bench.broken = {FLOAT: ModelError("a-float.onnx: cut off")}
    trials = bench.measure([OWN, FLOAT], [1], 1)
    assert trials[1].note == "does not run: a-float.onnx: cut off"
    assert trials[1].evidence().frames == 0
    assert tuning.best(trials) is trials[0]


@pytest.mark.parametrize("after", [0, 3])
def test_a_pipeline_that_does_not_run_at_all_is_an_error(after: int) -> None:
    bench = Bench({(OWN, 1): 10, (SMALL, 1): 10})
    bench.fails_after = {OWN: after}
    with pytest.raises(FrameError, match="it broke"):
        bench.measure([OWN, SMALL], [1], 1)


def test_a_variant_that_fails_later_is_not_chosen() -> None:
    bench = Bench({(OWN, 1): 10, (SMALL, 1): 6})
    bench.fails_after = {SMALL: 10}
    trials = bench.measure([OWN, SMALL], [1], 2)
    assert trials[1].note == "stopped: model: it broke"
    assert tuning.best(trials) is trials[0]
    bench.fails_after = {OWN: 40, SMALL: 10}
    bench.runs.clear()
    with pytest.raises(FrameError):
        bench.measure([OWN, SMALL], [1], 2)


def test_a_short_budget_measures_the_own_way_and_says_what_it_left_out() -> None:
    bench = Bench({(OWN, 2): 400, (OWN, 1): 700})
    trials = bench.measure([OWN], [2, 1], 1)
    assert tuning.best(trials) is trials[0]
    assert trials[1].note == "not measured: the time was over"


def test_it_ends_before_its_time_when_all_is_known() -> None:
    bench = Bench({(OWN, 1): 0.5})
    (trial,) = bench.measure([OWN], [1], 3600)
    assert len(trial.times_ms) == 500


BOX = [0.0, 0.0, 10.0, 10.0]


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ([result([BOX])], [result([BOX])], 1),
        ([result([BOX])], [result([])], 0),
        ([result([])], [result([BOX])], 0),
        ([result([])], [result([])], None),
        ([result([BOX])], [result([[0, 0, 10, 5]])], 1),
        ([result([BOX])], [result([[0, 0, 10, 4.9]])], 0),
        ([result([BOX])], [result([BOX], [1])], 0),
        ([result([BOX, BOX])], [result([BOX])], 2 / 3),
        ([result([BOX, [20, 20, 30, 30]])], [result([[20, 20, 30, 30], BOX])], 1),
        ([result([[0, 0, 0, 0]])], [result([[0, 0, 0, 0]])], 0),
        ([result([BOX]), result([])], [result([BOX]), result([BOX])], 2 / 3),
        ([result(tops=[3, 1])], [result(tops=[3])], 1),
        ([result(tops=[3, 1])], [result(tops=[1, 3])], 0),
        ([result(tops=[])], [result(tops=[1])], 0),
        ([result()], [result()], None),
    ],
)
def test_agreement(one: list[Result], other: list[Result], share: float | None) -> None:
    assert agreement.share(one, other) == share


def test_a_real_pipeline_is_measured_with_each_of_its_variants(tmp_path: Path) -> None:
    path = tmp_path / "faces.toml"
    shutil.copy(ROOT / "examples" / "faces.toml", path)
    (tmp_path / "centerface-float.onnx").write_bytes(b"no model")
    of = candidates.subject(path)
    assert [model.stem for model in of.models] == [
        "centerface-int8", "centerface-float", "centerface-int8-320x240"]  # fmt: skip
    ticks = itertools.count(0, MS)
    trials = tuning.measure(
        [
            Candidate(model, 1, mode, lanes)
            for mode, lanes in (("latency", 1), ("throughput", 2))
            for model in of.models
        ],
        candidates.opener(of, 1, lambda: next(ticks)),
        [imaging.read_image(ROOT / "examples" / "astronaut.png")],
        0.1,
        clock_ns=lambda: next(ticks),
        progress=lambda passed: None,
    )
    for own, broken, small in (trials[:3], trials[3:]):
        assert broken.note.startswith("does not run: ")
        for trial in (own, small):
            assert len(trial.times_ms) >= 5 * trial.candidate.lanes
            assert trial.fps > 0
            assert (len(trial.results), trial.agreement, trial.note) == (1, 1, "")
            assert trial.evidence().found == 1
    assert set(trials[0].times_ms) == {1.0}


def test_a_pipeline_that_loses_its_frames_is_an_error_in_both_modes(tmp_path: Path) -> None:
    hostile.write(tmp_path)
    model = tiny.constant_model(tmp_path / "a.onnx", {"scores": np.zeros((1, 4), np.float32)})
    path = tmp_path / "p.toml"
    path.write_text(
        '[pipeline]\nname = "p"\n[[stage]]\nguest = "letterbox"\n[[stage]]\nmodel = "./a.onnx"\n'
        '[[stage]]\nguest = "./hostile.wasm"\ninputs = { frame = "frame" }\n'
    )
    of = candidates.subject(path)
    assert of.model == model
    bad = np.full((8, 8, 3), hostile.TRAP, np.uint8)
    opened = candidates.opener(of, 2, time.perf_counter_ns)
    for way in (Candidate(model, 1), Candidate(model, 1, "throughput", 3)):
        with opened(way) as run, pytest.raises((FrameError, PlanError), match="hostile: "):
            list(run([bad] * 50))


def test_a_pipeline_without_a_model_has_nothing_to_tune(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('[pipeline]\nname = "p"\n[[stage]]\nguest = "nms"\n')
    with pytest.raises(ConfigError, match="it has no model, and so nothing to tune"):
        candidates.subject(path)
