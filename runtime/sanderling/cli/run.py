"""`sanderling run`: a pipeline on pictures, videos, cameras and streams."""

from __future__ import annotations

import math
import statistics
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sanderling import wholefile
from sanderling.cli.text import GivenPath, count, not_empty, table
from sanderling.errors import FrameError, OutputError, PlanError, SourceError
from sanderling.text import printable

if TYPE_CHECKING:
    import numpy as np

    from sanderling.detections import Result
    from sanderling.frame import Frame
    from sanderling.look import Policy
    from sanderling.persist import Change
    from sanderling.pipeline import Pipeline
    from sanderling.pool import Mode
    from sanderling.sinks import Sink
    from sanderling.source import Source, Stamp

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
@click.option(
    "--limit", type=click.IntRange(min=1), help="Stop after so many frames; of a camera, results."
)
@click.option(
    "--mode",
    type=click.Choice(["latency", "throughput"]),
    default="latency",
    show_default=True,
    help="One frame at a time on all cores, or several that overlap.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=0,
    metavar="FPS",
    help="Frames a second at the most; what comes faster is dropped.",
)
@click.option(
    "--policy",
    type=click.Choice(["latest", "block", "sample"]),
    help="What happens to frames that come while others are run: latest drops the older, sample the"
    " newer, block lets the source wait.  [default: latest for cameras and streams, else block]",
)
@click.option(
    "--trace",
    "trace_path",
    metavar="PATH",
    callback=not_empty,
    help="Write where the time went, as a Chrome trace (ui.perfetto.dev draws it).",
)
def command(
    pipeline: Path,
    source: str,
    json_path: str | None,
    annotate: str | None,
    limit: int | None,
    mode: Mode,
    rate: float,
    policy: Policy | None,
    trace_path: str | None,
) -> int:
    """Run PIPELINE on a picture, a folder of pictures, a video, a camera or a stream.

    A camera or a stream is run until Ctrl-C, or for --limit frames; when it is lost, it is opened
    again.
    """
    from sanderling import pipeline as pipelines  # noqa: PLC0415 - loads onnxruntime
    from sanderling import sources  # noqa: PLC0415 - loads cv2
    from sanderling.trace import Trace  # noqa: PLC0415 - only what is needed

    trace = Trace() if trace_path is not None else None
    with ExitStack() as stack:
        opened_source = sources.open_persistent(source, on_change=_tell, at_once=True)
        stack.callback(opened_source.close)
        opened = stack.enter_context(pipelines.open(pipeline, mode=mode, trace=trace))
        targets = _sinks(
            stack, [pipeline, Path(source)], opened_source, json_path, annotate, trace_path
        )
        run = _Run(opened, targets, quiet=json_path == "-")
        run.all(opened_source, limit, rate, policy)
        code = run.finish()
        if trace is not None and trace_path is not None:
            trace.write(Path(trace_path))
        return code


def _sinks(
    stack: ExitStack,
    inputs: list[Path],
    source: Source,
    json_path: str | None,
    annotate: str | None,
    trace_path: str | None,
) -> list[Sink]:
    """What takes the results; the stack takes away what is left unfinished.

    Raises:
        OutputError: a place cannot be written, or must not.
    """
    from sanderling import sinks  # noqa: PLC0415 - loads cv2

    made: list[Sink] = []
    written: dict[Path, str] = {}

    def claim(target: Path, option: str, read: list[Path]) -> None:
        if target in written:
            raise OutputError(f"{target}: {written[target]} and {option} both write it")
        sinks.check_target(target, read)
        written[target] = option

    def add(sink: Sink) -> None:
        made.append(sink)
        stack.callback(sink.discard)

    if trace_path is not None:
        wholefile.check_place(Path(trace_path))
        claim(Path(trace_path), "--trace", inputs)
    if json_path is not None:
        if json_path != "-":
            claim(Path(json_path), "--json", inputs)
        add(sinks.JsonLines(json_path))
    if annotate is not None:
        path = inputs[1]
        target = sinks.annotation_target(annotate, path, source)
        # Of a folder, the sink itself compares each picture with what it would replace.
        claim(target, "--annotate", inputs[:1] if path.is_dir() else inputs)
        add(sinks.annotated(target, path, source))
    return made


def _tell(change: Change) -> None:
    """Say that a camera is lost, and that it is back."""
    if change.state != "connected":
        click.echo(f"sanderling: {printable(change)}", err=True)


class _Enough(Exception):
    """So many frames as were asked for have been run."""


class _Run:
    """Counts what becomes of each frame."""

    def __init__(self, pipeline: Pipeline, sinks: list[Sink], *, quiet: bool) -> None:
        self._pipeline = pipeline
        self._sinks = sinks
        self._quiet = quiet
        self._lock = threading.Lock()
        self._limit: int | None = None
        self._progress: Callable[[int], object] = lambda frames: None
        self._processed = 0
        self._lost: Counter[str] = Counter()
        self._dropped: dict[str, int] = {}
        self._found: int | None = None
        self._timings: dict[str, list[int]] = {}

    @property
    def _full(self) -> bool:
        return self._limit is not None and self._processed + self._lost.total() >= self._limit

    def all(
        self, source: Source, limit: int | None, rate: float = 0.0, policy: Policy | None = None
    ) -> None:
        """Run every frame of the source."""
        from sanderling.source import Limited  # noqa: PLC0415 - loads numpy

        self._limit = limit
        total = min(source.count, limit) if limit and source.count else source.count or limit or 0
        hidden = total == 1 or not sys.stderr.isatty()
        with (
            click.progressbar(
                length=total, label="frames", file=sys.stderr, hidden=hidden or not total
            ) as bar,
            self._pipeline.watch(
                source if limit is None or source.live else Limited(source, limit),
                rate=rate,
                policy=policy,
                on_frame=self._one,
                on_lost=self._fail,
            ) as watch,
        ):
            self._progress = bar.update
            try:
                for _ in watch:
                    if self._full:
                        break
            except _Enough:
                pass
            except KeyboardInterrupt:
                # That is how the run of a camera ends. Half of a video is not what was asked for.
                if not (source.live and self._processed):
                    raise
        self._dropped = watch.counts.dropped

    def _one(self, frame: Frame, result: Result) -> None:
        with self._lock:
            if self._full:
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
            elif not self._quiet and self._processed == _SHOWN + 1:
                click.echo("... (frames from here on are in the sums alone, and in --json)")
            self._progress(1)

    def _fail(self, stamp: Stamp | None, exc: Exception) -> None:
        place = f"{stamp.name}: frame {stamp.sequence} failed: " if stamp is not None else ""
        with self._lock:
            if self._full:
                return
            if isinstance(exc, FrameError):
                self._lose(f"{exc.reason} in {exc.stage}", f"{place}stage {exc}")
            elif isinstance(exc, SourceError):
                self._lose("not readable", str(exc))
            elif isinstance(exc, PlanError) and self._processed:
                self._lose("not fitting", f"{place}{exc}")
            else:
                raise exc  # the pipeline itself, for all that is known, or a fault of ours
            self._progress(1)
            if self._full:
                raise _Enough

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
        if self._dropped:
            kinds = (f"{number} {kind}" for kind, number in sorted(self._dropped.items()))
            found += f"; dropped: {', '.join(kinds)}"
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
