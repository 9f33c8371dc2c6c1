"""Ways to run a pipeline, measured against each other on the board itself."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from sanderling import config, library, stages, variants
from sanderling.detections import Classes, Detections, Result
from sanderling.errors import ConfigError, FrameError, InputError
from sanderling.frame import Image
from sanderling.pipeline import Pipeline
from sanderling.profile import Measured
from sanderling.variants import Variant

LEAST_AGREEMENT = 0.9
"""Share of what the reference finds that a faster variant must find too."""
_SAME_BOX = 0.5
_SLOW = 2.0
"""After the first round, what takes this many times as long as the fastest is left alone."""
_EVEN = 1.05
"""Medians this close are the same: the one with fewer threads leaves cores for others."""
_FRAMES_A_VISIT = 5
_MOST_FRAMES = 500

Runner = Callable[[Image], Result]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to run a pipeline.

    Attributes:
        model: the model's file.
        threads: threads that it may use.
        mode: how stages are run.
    """

    model: Path
    threads: int
    mode: str = "latency"


Opener = Callable[[Candidate], AbstractContextManager[Runner]]
"""Opens a pipeline as a candidate says; what it gives runs one picture through all stages."""


@dataclass(slots=True)
class Trial:
    """What came of a candidate.

    Attributes:
        candidate: which.
        times_ms: of each frame, in ms.
        results: of each picture, in order, from the first round.
        agreement: how far it finds what the reference finds, 0 to 1; None when not known.
        note: why it was not measured to the end, or not chosen; empty when nothing is to be said.
    """

    candidate: Candidate
    times_ms: list[float] = field(default_factory=list)
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
            frames=len(self.times_ms),
            found=sum(map(_found, self.results)),
            agreement=None if self.agreement is None else round(self.agreement, 4),
        )


@dataclass(frozen=True, slots=True)
class Subject:
    """The pipeline that is tuned.

    Attributes:
        path: its file.
        stage: the place of its first model among its stages.
        model: that model's file.
        models: the files of its variants, itself first.
    """

    path: Path
    stage: int
    model: Path
    models: tuple[Path, ...]


def subject(path: Path) -> Subject:
    """Find the model of a pipeline, and its variants beside it and among those installed.

    Raises:
        ConfigError: the file is wrong, or has no model.
    """
    file = config.read(path)
    for place, stage in enumerate(file.stages):
        if stage.model is not None:
            where = f"{path}: stage {config.stage_names(file)[place]}"
            own = library.find("model", stage.model, path.parent, where)
            known = library.models(path.parent, own.parent) | {own.stem: own}
            named = [known[variant.name] for variant in variants.siblings(own.stem, known)]
            return Subject(path, place, own, tuple(named))
    raise ConfigError(f"{path}: it has no model, and so nothing to tune")


def opener(of: Subject) -> Opener:
    """How a candidate's pipeline is opened: as the file says, but for the model and its threads."""

    @contextmanager
    def open_candidate(candidate: Candidate) -> Iterator[Runner]:
        file = config.read(of.path)
        if candidate.model != of.model:
            given = list(file.stages)
            model = str(candidate.model.resolve())
            given[of.stage] = msgspec.structs.replace(given[of.stage], model=model)
            file = msgspec.structs.replace(file, stages=given)
        with Pipeline(stages.load_file(file, of.path, threads=candidate.threads)) as pipeline:
            yield pipeline

    return open_candidate


def thread_counts(cores: int) -> list[int]:
    """The thread counts to try, the greatest first: each up to 4, then the half and the whole."""
    return sorted({*range(1, min(cores, 4) + 1), cores // 2, cores} - {0}, reverse=True)


def candidates(
    models: Sequence[Path], threads: Sequence[int], modes: Sequence[str] = ("latency",)
) -> list[Candidate]:
    """All ways to run: each model with the most threads first, so that a short budget sees all."""
    return [
        Candidate(model, count, mode) for count in threads for mode in modes for model in models
    ]


def measure(
    ways: Sequence[Candidate],
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
        ways: what to try; the first is how the pipeline runs now.
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
    trials = [Trial(way) for way in ways]

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
    alive = _compare(trials, least_agreement)
    fastest = min(trial.median_ms for trial in alive)
    alive = [trial for trial in alive if trial.median_ms <= _SLOW * fastest]
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
    """Open a candidate, let it warm up, and run some frames."""
    first = not trial.results
    done = len(trial.times_ms)
    with open_candidate(trial.candidate) as run:
        run(pictures[done % len(pictures)])
        for number in range(done, done + frames):
            picture = pictures[number % len(pictures)]
            before = clock_ns()
            result = run(picture)
            trial.times_ms.append((clock_ns() - before) / 1e6)
            if first and number < len(pictures):
                trial.results.append(result)


def _compare(trials: Sequence[Trial], least_agreement: float) -> list[Trial]:
    """Say how far each trial agrees, and give those that may be chosen; the others get a note."""
    own = trials[0].candidate.model
    ran = [trial for trial in trials if trial.times_ms]
    seen = {trial.candidate.model: trial.results for trial in reversed(ran)}
    against = seen[reference(trials)]
    agreed = {model: agreement(against, results) for model, results in seen.items()}
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


def best(trials: Sequence[Trial]) -> Trial:
    """The fastest of those that may be chosen; of equally fast ones that with fewer threads.

    The pipeline's own model may always be chosen: whoever wrote the pipeline wanted it. Another
    must find what the reference finds: a faster model that finds nothing is no gain.

    Args:
        trials: from `measure`.
    """
    own = trials[0].candidate.model
    eligible = [trial for trial in trials if trial.times_ms and not trial.note]
    fastest = min(trial.median_ms for trial in eligible)
    return min(
        (trial for trial in eligible if trial.median_ms <= _EVEN * fastest),
        key=lambda trial: (
            trial.candidate.threads,
            trial.candidate.model != own,
            trial.median_ms,
        ),
    )


def found(trials: Sequence[Trial], model: Path) -> int:
    """How many things a model found in the pictures."""
    results = next(trial.results for trial in trials if trial.candidate.model == model)
    return sum(map(_found, results))


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


def agreement(reference: Sequence[Result], others: Sequence[Result]) -> float | None:
    """How far two variants find the same in the same pictures.

    Of detections the share of both sides' boxes that have a partner of the same class at IoU 0.5
    (the F1 score); of classes the share of pictures with the same first one.

    Returns:
        0 to 1; None when there is nothing to compare.
    """
    matched = total = 0
    for one, other in zip(reference, others, strict=True):
        if one.detections is not None and other.detections is not None:
            matched += 2 * _matched(one.detections, other.detections)
            total += len(one.detections) + len(other.detections)
        elif one.classes is not None and other.classes is not None:
            matched += int(_first(one.classes) == _first(other.classes))
            total += 1
    return matched / total if total else None


def _matched(one: Detections, other: Detections) -> int:
    """Pairs of boxes, the best of `one` first, each with the box of `other` that fits it best."""
    free = np.ones(len(other), bool)
    pairs = 0
    for index in range(len(one)):
        overlap = _iou(one.boxes[index], other.boxes)
        overlap[~free | (other.classes != one.classes[index])] = 0.0
        if len(overlap) and overlap.max() >= _SAME_BOX:
            free[int(overlap.argmax())] = False
            pairs += 1
    return pairs


def _iou(
    box: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    boxes: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Intersection over union of a box `[4]` with boxes `[n, 4]`, float32 `[n]`."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    overlap: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = shared / np.maximum(
        areas - shared, np.float32(1e-9)
    )
    return overlap


def _first(classes: Classes) -> int | None:
    return int(classes.classes[0]) if len(classes) else None


def _found(result: Result) -> int:
    if result.detections is not None:
        return len(result.detections)
    return 1 if result.classes is not None and len(result.classes) else 0
