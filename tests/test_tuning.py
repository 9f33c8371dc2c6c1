"""Candidates measured against each other, by an injected clock."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from sanderling import imaging, tuning
from sanderling.detections import Classes, Detections, Result
from sanderling.errors import ConfigError, FrameError, ModelError
from sanderling.frame import Image
from sanderling.tuning import Candidate, Runner, Trial

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
    """A board on which each candidate takes as long as the table says."""

    def __init__(self, ms: dict[tuple[Path, int], float]) -> None:
        self.ms = ms
        self.now = 0
        self.found: dict[Path, list[list[float]]] = {}
        self.broken: dict[Path, Exception] = {}
        self.fails_after: dict[Path, int] = {}
        self.open: list[Candidate] = []
        self.runs: list[Path] = []

    @contextmanager
    def __call__(self, candidate: Candidate) -> Iterator[Runner]:
        assert not self.open, "two at a time need twice the memory"
        if candidate.model in self.broken:
            raise self.broken[candidate.model]
        self.open.append(candidate)

        def run(image: Image) -> Result:
            self.runs.append(candidate.model)
            if self.runs.count(candidate.model) > self.fails_after.get(candidate.model, 1 << 30):
                raise FrameError("model", "it broke")
            self.now += int(self.ms[candidate.model, candidate.threads] * MS)
            return result(self.found.get(candidate.model, [[0, 0, 10, 10]]))

        try:
            yield run
        finally:
            self.open.pop()

    def measure(self, models: list[Path], threads: list[int], budget_s: float) -> list[Trial]:
        self.passed: list[float] = []
        return tuning.measure(
            tuning.candidates(models, threads), self, PICTURES, budget_s,
            clock_ns=lambda: self.now, progress=self.passed.append)  # fmt: skip


def test_thread_counts() -> None:
    assert tuning.thread_counts(1) == [1]
    assert tuning.thread_counts(2) == [2, 1]
    assert tuning.thread_counts(4) == [4, 3, 2, 1]
    assert tuning.thread_counts(6) == [6, 4, 3, 2, 1]
    assert tuning.thread_counts(16) == [16, 8, 4, 3, 2, 1]


def test_candidates_begin_with_the_pipelines_own_way() -> None:
    ways = tuning.candidates([OWN, FLOAT], [2, 1], ["latency", "throughput"])
    assert ways[0] == Candidate(OWN, 2)
    assert ways[1] == Candidate(FLOAT, 2)
    assert len(set(ways)) == 8
    assert {way.threads for way in ways[:4]} == {2}


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
    assert tuning.agreement(one, other) == share


def test_a_real_pipeline_is_measured_with_each_of_its_variants(tmp_path: Path) -> None:
    path = tmp_path / "faces.toml"
    shutil.copy(ROOT / "examples" / "faces.toml", path)
    (tmp_path / "centerface-float.onnx").write_bytes(b"no model")
    of = tuning.subject(path)
    assert [model.stem for model in of.models] == [
        "centerface-int8", "centerface-float", "centerface-int8-320x240"]  # fmt: skip
    ticks = itertools.count(0, MS)
    trials = tuning.measure(
        tuning.candidates(of.models, [1]),
        tuning.opener(of),
        [imaging.read_image(ROOT / "examples" / "astronaut.png")],
        0.02,
        clock_ns=lambda: next(ticks),
        progress=lambda passed: None,
    )
    own, broken, small = trials
    assert broken.note.startswith("does not run: ")
    for trial in (own, small):
        assert set(trial.times_ms) == {1.0}
        assert (len(trial.results), trial.agreement, trial.note) == (1, 1, "")
        assert trial.evidence().found == 1
    assert len(own.times_ms) == len(small.times_ms) == 5


def test_a_pipeline_without_a_model_has_nothing_to_tune(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('[pipeline]\nname = "p"\n[[stage]]\nguest = "nms"\n')
    with pytest.raises(ConfigError, match="it has no model, and so nothing to tune"):
        tuning.subject(path)
