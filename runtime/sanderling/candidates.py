"""Ways to run a pipeline: which there are, and how each is opened."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from sanderling import config, library, stages, variants
from sanderling.detections import Result
from sanderling.errors import ConfigError, PlanError
from sanderling.frame import Frame, Image
from sanderling.pipeline import Pipeline
from sanderling.pool import Mode, layout
from sanderling.source import Source, Stamp

Runner = Callable[[Iterable[Image]], Iterator[Result]]
"""Runs pictures through all stages; the results come in their order, as they are taken.

A result's `captured_ns` is when its picture was taken, by the clock that measures.
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to run a pipeline.

    Attributes:
        model: the model's file.
        threads: threads that one run of it may use.
        mode: `latency`: one frame at a time; `throughput`: stages of several overlap.
        lanes: frames that are in flight.
    """

    model: Path
    threads: int
    mode: Mode = "latency"
    lanes: int = 1


Opener = Callable[[Candidate], AbstractContextManager[Runner]]
"""Opens a pipeline as a candidate says."""


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


def opener(of: Subject, cores: int, clock_ns: Callable[[], int]) -> Opener:
    """How a candidate's pipeline is opened: as the file says, but for the model and its threads.

    Args:
        of: the pipeline.
        cores: that models may use.
        clock_ns: monotonic clock, in ns.
    """

    @contextmanager
    def open_candidate(candidate: Candidate) -> Iterator[Runner]:
        file = config.read(of.path)
        if candidate.model != of.model:
            given = list(file.stages)
            model = str(candidate.model.resolve())
            given[of.stage] = msgspec.structs.replace(given[of.stage], model=model)
            file = msgspec.structs.replace(file, stages=given)
        loaded = stages.load_file(file, of.path, threads=candidate.threads)
        shape = layout(candidate.mode, cores, threads=candidate.threads)
        with Pipeline(loaded, shape) as pipeline:
            run = _one_by_one if candidate.mode == "latency" else _overlapping
            yield partial(run, pipeline, clock_ns)

    return open_candidate


def _one_by_one(
    pipeline: Pipeline, clock_ns: Callable[[], int], pictures: Iterable[Image]
) -> Iterator[Result]:
    for number, picture in enumerate(pictures):
        pipeline.reset()  # a motion gate would spare the model a picture that it knows
        yield pipeline.run(Frame(picture, number, clock_ns()))


def _overlapping(
    pipeline: Pipeline, clock_ns: Callable[[], int], pictures: Iterable[Image]
) -> Iterator[Result]:
    lost: list[str] = []
    source = _Given(pictures, clock_ns, lost)
    with pipeline.watch(
        source, policy="block", on_event=lambda event: lost.append(event.text)
    ) as watch:
        yield from watch
    if lost:
        raise PlanError(lost[0])


class _Given(Source):
    """Gives pictures as fast as they are taken, and costs nothing.

    Args:
        pictures: what it gives.
        clock_ns: monotonic clock, in ns.
        lost: it ends when something stands there.
    """

    def __init__(
        self, pictures: Iterable[Image], clock_ns: Callable[[], int], lost: Sequence[str]
    ) -> None:
        self._pictures = iter(pictures)
        self._clock_ns = clock_ns
        self._lost = lost
        self._number = 0
        self._picture: Image | None = None
        self._closed = False

    def grab(self) -> Stamp | None:
        """The next one; guests that remember earlier ones forget them."""
        self._picture = None if self._closed or self._lost else next(self._pictures, None)
        if self._picture is None:
            return None
        self._number += 1
        now = self._clock_ns()
        return Stamp(self._number - 1, now, now, restarted=True, name="tune")

    def retrieve(self, into: Image | None = None) -> Image:
        """The picture itself."""
        assert self._picture is not None
        return self._picture

    def close(self) -> None:
        """End it."""
        self._closed = True


def thread_counts(cores: int) -> list[int]:
    """The thread counts to try, the greatest first: each up to 4, then the half and the whole."""
    return sorted({*range(1, min(cores, 4) + 1), cores // 2, cores} - {0}, reverse=True)


def ways(cores: int) -> list[tuple[Mode, int, int]]:
    """Mode, threads and lanes to try, those that matter most first.

    When stages overlap, threads of one run that leave no core over: all of them for one run, half
    for each of two, and so on to one each.

    Args:
        cores: that models may use.
    """
    first: list[tuple[Mode, int, int]] = [("latency", one, 1) for one in thread_counts(cores)]
    counts = sorted({cores // runs for runs in range(1, cores + 1)}) if cores > 1 else []
    then: list[tuple[Mode, int, int]] = [
        ("throughput", one, layout("throughput", cores, threads=one).lanes) for one in counts
    ]
    pairs = itertools.zip_longest(first, then)
    return [way for pair in pairs for way in pair if way is not None]


def candidates(models: Sequence[Path], cores: int) -> list[Candidate]:
    """All ways to run; those that matter most with every model first, for a short budget.

    Args:
        models: the pipeline's own first.
        cores: that models may use.
    """
    return [
        Candidate(model, threads, mode, lanes)
        for mode, threads, lanes in ways(cores)
        for model in models
    ]
