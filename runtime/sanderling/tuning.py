"""Ways to run a pipeline, measured against each other on the board itself."""

from __future__ import annotations

import contextlib
import itertools
import math
import statistics
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import msgspec

from sanderling import agreement, variants
from sanderling.candidates import Candidate, Opener
from sanderling.detections import Result
from sanderling.errors import FrameError, InputError, PlanError
from sanderling.frame import Image
from sanderling.pool import Mode
from sanderling.profile import Measured
from sanderling.variants import Variant

LEAST_AGREEMENT = 0.9
"""Share of what the reference finds that a faster variant must find too."""
_SLOW = 2.0
"""After the first round, what takes this many times as long as the fastest is left alone."""
_EVEN = 1.05
"""Medians this close are the same: the one with fewer threads leaves cores for others."""
_FRAMES_A_VISIT = 5
_MOST_FRAMES = 500

AIMS = ("auto", "latency", "throughput")
"""What may be wanted: the mode that suits the board, a short time for a frame, or many frames."""
WORTH = 1.2
"""How many times the frames a second make up for that each takes longer."""


@dataclass(slots=True)
class Trial:
    """What came of a candidate.

    Attributes:
        candidate: which.
        times_ms: of each frame from its capture to its result, in ms.
        seconds: how long those took together.
        results: of each picture, in order, from the first round.
        agreement: how far it finds what the reference finds, 0 to 1; None when not known.
        note: why it was not measured to the end, or not chosen; empty when nothing is to be said.
    """

    candidate: Candidate
    times_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0
    results: list[Result] = field(default_factory=list)
    agreement: float | None = None
    note: str = ""

    @property
    def median_ms(self) -> float:
        """The median, in ms; infinite before the first frame."""
        return statistics.median(self.times_ms) if self.times_ms else math.inf

    @property
    def p95_ms(self) -> float:
        """The 95th percentile, in ms."""
        return sorted(self.times_ms)[math.ceil(0.95 * len(self.times_ms)) - 1]

    @property
    def fps(self) -> float:
        """Frames a second; 0 before the first."""
        return len(self.times_ms) / self.seconds if self.seconds else 0.0

    @property
    def cost_ms(self) -> float:
        """What its mode is about, in ms: the time of a frame, or from one result to the next."""
        if self.candidate.mode == "latency":
            return self.median_ms
        return 1000 / self.fps if self.fps else math.inf

    def evidence(self) -> Measured:
        """For a profile."""
        known = Measured(
            model=self.candidate.model.stem,
            threads=self.candidate.threads,
            mode=self.candidate.mode,
            note=self.note,
        )
        if not self.times_ms:
            return known
        return msgspec.structs.replace(
            known,
            median_ms=round(self.median_ms, 3),
            p95_ms=round(self.p95_ms, 3),
            fps=round(self.fps, 2),
            frames=len(self.times_ms),
            found=sum(map(agreement.found, self.results)),
            agreement=None if self.agreement is None else round(self.agreement, 4),
        )


def measure(
    tried: Sequence[Candidate],
    open_candidate: Opener,
    pictures: Sequence[Image],
    budget_s: float,
    *,
    least_agreement: float = LEAST_AGREEMENT,
    clock_ns: Callable[[], int],
    progress: Callable[[float], None],
) -> list[Trial]:
    """Run the candidates in turns until the time is over.

    Only one is open at a time, since a small board has no memory for all. A round gives each a few
    frames, so that what slows the board down for a while slows all of them down. After the first
    round only those go on that may be chosen and are not much slower than the fastest of them.

    Args:
        tried: what to try; the first is how the pipeline runs now.
        open_candidate: opens one.
        pictures: uint8 `[height, width, 3]`, BGR; each candidate runs all of them once at least.
        budget_s: seconds.
        least_agreement: share of what the reference finds that a variant must find, 0 to 1.
        clock_ns: monotonic clock, in ns.
        progress: called with the seconds that have passed.

    Returns:
        In the order of the candidates; what the time did not suffice for has no times.

    Raises:
        InputError, FrameError: the first candidate does not run.
    """
    began = clock_ns()
    trials = [Trial(way) for way in tried]

    def is_over() -> bool:
        passed = (clock_ns() - began) / 1e9
        progress(min(passed, budget_s))
        return passed >= budget_s

    enough = max(len(pictures), _FRAMES_A_VISIT)
    for number, trial in enumerate(trials):
        if number and is_over():
            trial.note = "not measured: the time was over"
            continue
        try:
            _visit(trial, open_candidate, pictures, enough, clock_ns)
        except (InputError, FrameError) as exc:
            if not number:
                raise
            trial.times_ms.clear()
            trial.note = f"does not run: {exc}"
    alive = _fast(_compare(trials, least_agreement))
    while not is_over() and any(len(trial.times_ms) < _MOST_FRAMES for trial in alive):
        for trial in alive:
            if is_over():
                break
            try:
                _visit(trial, open_candidate, pictures, _FRAMES_A_VISIT, clock_ns)
            except (InputError, FrameError) as exc:
                if trial is trials[0]:
                    raise
                trial.note = f"stopped: {exc}"
        alive = [trial for trial in alive if not trial.note]
    return trials


def _visit(
    trial: Trial,
    open_candidate: Opener,
    pictures: Sequence[Image],
    frames: int,
    clock_ns: Callable[[], int],
) -> None:
    """Open a candidate, let it warm up, and run some frames, more where many are in flight."""
    lanes = trial.candidate.lanes
    wanted = frames * lanes
    first, done = not trial.results, len(trial.times_ms)
    given = itertools.islice(itertools.cycle(pictures), done, done + 2 * lanes + wanted)
    with (
        open_candidate(trial.candidate) as run,
        contextlib.closing(cast("Generator[Result]", run(given))) as results,
    ):
        began = 0
        for number, result in enumerate(itertools.islice(results, lanes + wanted)):
            now = clock_ns()
            if result.skipped:
                raise PlanError(f"{result.skipped} leaves out frames; measure without that stage")
            if first and number < len(pictures):
                trial.results.append(result)
            if number >= lanes:
                trial.times_ms.append((now - result.captured_ns) / 1e6)
                trial.seconds += (now - began) / 1e9
            began = now
    if len(trial.times_ms) < done + wanted:
        raise PlanError("a stage leaves out frames; measure without it")


def _fast(trials: Sequence[Trial]) -> list[Trial]:
    """Those that are not much slower than the fastest of their mode."""
    return [
        trial
        for trial in trials
        if trial.cost_ms
        <= _SLOW * min(one.cost_ms for one in trials if one.candidate.mode == trial.candidate.mode)
    ]


def _compare(trials: Sequence[Trial], least_agreement: float) -> list[Trial]:
    """Say how far each trial agrees, and give those that may be chosen; the others get a note."""
    own = trials[0].candidate.model
    ran = [trial for trial in trials if trial.times_ms]
    seen = {trial.candidate.model: trial.results for trial in reversed(ran)}
    against = seen[reference(trials)]
    agreed = {model: agreement.share(against, results) for model, results in seen.items()}
    eligible = []
    for trial in ran:
        share = trial.agreement = agreed[trial.candidate.model]
        if trial.candidate.model == own or (share is not None and share >= least_agreement):
            eligible.append(trial)
        elif share is None:
            trial.note = "nothing found to compare"
        else:
            trial.note = f"finds other things: {share:.0%} agree, {least_agreement:.0%} are wanted"
    return eligible


def best(trials: Sequence[Trial], aim: str = "auto") -> Trial:
    """The best of those that may be chosen; of equally good ones that with fewer threads.

    The pipeline's own model may always be chosen: whoever wrote the pipeline wanted it. Another
    must find what the reference finds: a faster model that finds nothing is no gain.

    Args:
        trials: from `measure`.
        aim: `latency`: the least time for a frame. `throughput`: the most frames a second. `auto`:
            the former, unless the latter gives 1.2 times as many frames a second.
    """
    by_mode = [best_of(trials, mode) for mode in ("latency", "throughput")]
    quick, many = by_mode
    assert quick is not None  # the first candidate is one
    if many is None or aim == "latency":
        return quick
    if aim == "throughput":
        return many if many.fps > quick.fps else quick
    return many if many.fps >= WORTH * quick.fps else quick


def best_of(trials: Sequence[Trial], mode: Mode) -> Trial | None:
    """The best of one mode; None where none was measured.

    Args:
        trials: from `measure`.
        mode: which.
    """
    own = trials[0].candidate.model
    eligible = [
        trial
        for trial in trials
        if trial.times_ms and not trial.note and trial.candidate.mode == mode
    ]
    fastest = min((trial.cost_ms for trial in eligible), default=0.0)
    return min(
        (trial for trial in eligible if trial.cost_ms <= _EVEN * fastest),
        key=lambda trial: (
            trial.candidate.threads,
            trial.candidate.model != own,
            trial.cost_ms,
        ),
        default=None,
    )


def gain(trials: Sequence[Trial]) -> str:
    """Whether int8 is faster than float on this board, in one sentence.

    Of each kind the fastest is taken, one frame at a time and with the same input, the largest that
    both have; whether it finds the same is another question.

    Args:
        trials: from `measure`.
    """
    fastest: dict[tuple[int, str], Trial] = {}
    for trial in trials:
        if trial.times_ms and trial.candidate.mode == "latency":
            said = variants.parse(trial.candidate.model.stem)
            # A name without a size is that of the full one.
            key = said.area or sys.maxsize, said.kind
            if key not in fastest or trial.median_ms < fastest[key].median_ms:
                fastest[key] = trial
    both = [area for area, kind in fastest if kind == "int8" and (area, "float") in fastest]
    if not both:
        stem = variants.parse(trials[0].candidate.model.stem).stem
        return (
            "whether int8 is faster than float on this board is not known: that takes both variants"
            f" of one size, such as {stem}-float.onnx and {stem}-int8.onnx"
        )
    int8, whole = fastest[max(both), "int8"], fastest[max(both), "float"]
    times = whole.median_ms / int8.median_ms
    words = f"int8 is {times:.1f} times as fast as float on this board"
    if 1 / _EVEN < times < _EVEN:
        words = "int8 is as fast as float on this board"
    elif times < 1:
        words = f"int8 is slower than float on this board, {1 / times:.1f} times"
    return (
        f"{words}: {int8.candidate.model.stem} {int8.median_ms:.2f} ms,"
        f" {whole.candidate.model.stem} {whole.median_ms:.2f} ms a frame"
    )


def found(trials: Sequence[Trial], model: Path) -> int:
    """How many things a model found in the pictures."""
    results = next(trial.results for trial in trials if trial.candidate.model == model)
    return sum(map(agreement.found, results))


def reference(trials: Sequence[Trial]) -> Path:
    """The model that others are compared with.

    The float variant with the largest input where one was measured, else the pipeline's own.
    """
    ran = {trial.candidate.model for trial in trials if trial.times_ms}
    parsed: list[tuple[Variant, Path]] = [(variants.parse(path.stem), path) for path in ran]
    # A name without a size is that of the full one.
    floats = [
        (-(variant.area or math.inf), path) for variant, path in parsed if variant.kind == "float"
    ]
    return min(floats)[1] if floats else trials[0].candidate.model
