"""`sanderling run`: a pipeline on pictures, videos, cameras and streams."""

from __future__ import annotations

import math
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sanderling.cli.text import GivenPath, count, not_empty, table
from sanderling.errors import FrameError, OutputError, PlanError, SourceError
from sanderling.text import printable

if TYPE_CHECKING:
    import numpy as np

    from sanderling.detections import Result
    from sanderling.frame import Frame
    from sanderling.pipeline import Pipeline
    from sanderling.sinks import Sink
    from sanderling.source import Source

_ALIKE = 3
"""Failures of one stage for one reason that are told one by one; the sum counts the others."""
_SHOWN = 20
"""Frames that are listed one by one for a person; of a longer run only the sums."""


@click.command(epilog="Example: sanderling run faces.toml --source photo.jpg --annotate out.jpg")
@click.argument("pipeline", type=GivenPath())
@click.option(
    "--source",
    required=True,
    metavar="SOURCE",
    callback=not_empty,
    help="A picture, a folder, a video, a camera or the address of a stream.",
)
@click.option(
    "--json",
    "json_path",
    metavar="PATH",
    callback=not_empty,
    help="Write one JSON object a frame; - is stdout.",
)
@click.option(
    "--annotate",
    metavar="PATH",
    callback=not_empty,
    help="Write the pictures with what was found drawn in; or those that the pipeline makes.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many frames.")
def command(
    pipeline: Path, source: str, json_path: str | None, annotate: str | None, limit: int | None
) -> int:
    """Run PIPELINE on a picture, a folder of pictures, a video, a camera or a stream."""
    from sanderling import pipeline as pipelines  # noqa: PLC0415 - loads onnxruntime
    from sanderling import sinks, sources  # noqa: PLC0415 - loads cv2

    inputs = [pipeline, Path(source)]
    with ExitStack() as stack:
        opened_source = sources.open_source(source)
        stack.callback(opened_source.close)
        opened = stack.enter_context(pipelines.open(pipeline))
        targets: list[Sink] = []
        if json_path is not None:
            if json_path != "-":
                sinks.check_target(Path(json_path), inputs)
            targets.append(sinks.JsonLines(json_path))
            stack.callback(targets[-1].discard)
        if annotate is not None:
            target = sinks.annotation_target(annotate, Path(source), opened_source)
            if json_path is not None and target == Path(json_path):
                raise OutputError(f"{target}: --json and --annotate both write it")
            # Of a folder, the sink itself compares each picture with what it would replace.
            sinks.check_target(target, inputs[:1] if Path(source).is_dir() else inputs)
            targets.append(sinks.annotated(target, Path(source), opened_source))
            stack.callback(targets[-1].discard)
        run = _Run(opened, targets, quiet=json_path == "-")
        run.all(opened_source, limit)
        return run.finish()


class _Run:
    """Counts what becomes of each frame."""

    def __init__(self, pipeline: Pipeline, sinks: list[Sink], *, quiet: bool) -> None:
        self._pipeline = pipeline
        self._sinks = sinks
        self._quiet = quiet
        self._processed = 0
        self._lost: Counter[str] = Counter()
        self._found: int | None = None
        self._timings: dict[str, list[int]] = {}

    def all(self, source: Source, limit: int | None) -> None:
        """Run every frame of the source."""
        total = min(source.count, limit) if limit and source.count else source.count or limit
        many = total is None or total > 1
        with click.progressbar(
            length=total or 0,
            label="frames",
            file=sys.stderr,
            hidden=not (many and sys.stderr.isatty()),
        ) as bar:
            for frame in self._frames(source.frames()):
                self._one(frame)
                bar.update(1)
                if limit is not None and self._processed + self._lost.total() >= limit:
                    break

    def _frames(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The frames that can be read; the others are noted and passed over."""
        while True:
            try:
                yield next(frames)
            except StopIteration:
                return
            except SourceError as exc:
                self._lose("not readable", str(exc))

    def _one(self, frame: Frame) -> None:
        try:
            result = self._pipeline.run(frame)
        except FrameError as exc:
            self._lose(
                f"{exc.reason} in {exc.stage}",
                f"{frame.source}: frame {frame.sequence} failed: stage {exc}",
            )
            return
        except PlanError as exc:
            if not self._processed:
                raise  # the pipeline itself, for all that is known
            self._lose("not fitting", f"{frame.source}: frame {frame.sequence} failed: {exc}")
            return
        for sink in self._sinks:
            sink.write(frame, result)
        self._processed += 1
        for stage, spent in result.timings_ns.items():
            self._timings.setdefault(stage, []).append(spent)
        if result.detections is not None:
            self._found = (self._found or 0) + len(result.detections)
        if not self._quiet and self._processed <= _SHOWN:
            click.echo(printable(_line(result)))

    def _lose(self, kind: str, message: str) -> None:
        self._lost[kind] += 1
        if self._lost[kind] <= _ALIKE:
            click.echo(f"sanderling: {printable(message)}", err=True)

    def finish(self) -> int:
        """Close the outputs, print the sums, return the exit code."""
        if self._processed:
            with ExitStack() as closing:  # closes all, also when one of them fails
                for sink in self._sinks:
                    closing.callback(sink.close)
        if self._processed and not self._quiet:
            click.echo(self._sums())
        lost = self._lost.total()
        total = self._processed + lost
        if lost and total > 1:
            said = f"sanderling: {lost} of {count(total, 'frame')} failed"
            if lost > 1:
                kinds = (f"{number} {kind}" for kind, number in self._lost.most_common())
                said += f": {', '.join(kinds)}"
            click.echo(printable(said), err=True)
        return 2 if self._lost else 0

    def _sums(self) -> str:
        medians = {stage: statistics.median(spent) / 1e6 for stage, spent in self._timings.items()}
        whole = sum(medians.values()) or 1.0
        rows = [["stage", "ms", "share"]]
        rows += [[stage, f"{ms:.2f}", f"{100 * ms / whole:.0f} %"] for stage, ms in medians.items()]
        rows.append(["all", f"{whole:.2f}", ""])
        found = "" if self._found is None else f", {self._found} found"
        what = "Time a frame, median" if self._processed > 1 else "Time of the first frame, cold"
        return f"\n{count(self._processed, 'frame')} processed{found}. {what}:\n" + table(
            rows, right=(1, 2)
        )


_NUMBERS = 16
"""Elements of a tensor up to which they are shown themselves."""


def _pixel(value: float) -> str:
    return str(round(float(value))) if math.isfinite(value) else str(float(value))


def _line(result: Result) -> str:
    """What was found in a frame, for a person."""
    head = f"{result.source} #{result.sequence}: "
    if result.detections is not None:
        found = result.detections
        if not len(found):
            return head + "nothing found"
        parts = []
        for index in range(len(found)):
            x1, y1, x2, y2 = map(_pixel, found.boxes[index])
            parts.append(
                f"{found.label(index)} {found.scores[index]:.2f} at ({x1}, {y1}) to ({x2}, {y2})"
            )
        return head + "; ".join(parts)
    if result.classes is not None:
        classes = result.classes
        return head + ", ".join(
            f"{classes.label(index)} {classes.scores[index]:.2f}" for index in range(len(classes))
        )
    return head + "; ".join(f"{name} {_told(value)}" for name, value in result.tensors.items())


def _told(value: np.ndarray) -> str:
    """The numbers of a small tensor, dtype and shape of a large one."""
    if value.size > _NUMBERS:
        return f"{value.dtype} {list(value.shape)}"
    numbers = [f"{number:g}" if value.dtype.kind == "f" else str(number) for number in value.flat]
    return f"[{', '.join(numbers)}]"
