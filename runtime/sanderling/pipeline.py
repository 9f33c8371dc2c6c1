"""A pipeline: frames in, results out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from sanderling import config, sources, stages
from sanderling import plan as planning
from sanderling.assembler import Assembler
from sanderling.detections import Result
from sanderling.errors import ConfigError
from sanderling.frame import Frame, Image, check_image
from sanderling.lane import Job, Lane
from sanderling.look import Event, Look, Policy, connection, mask_of
from sanderling.memory import Memory
from sanderling.plan import Plan
from sanderling.pool import Layout, Mode, Pool, layout
from sanderling.source import Source, Stamp
from sanderling.stages import Stages
from sanderling.trace import Trace
from sanderling.watch import Watch


class Pipeline:
    """A pipeline that is ready to run. Use it as a context manager, and from one thread at a time.

    Args:
        loaded: the pipeline file with its guests and models.
        layout: how `watch` uses the cores.
        trace: is told where the time of `watch` goes.

    Example:
        with sanderling.open("faces.toml") as faces:
            result = faces(image)
    """

    def __init__(
        self, loaded: Stages, layout: Layout | None = None, trace: Trace | None = None
    ) -> None:
        self._loaded = loaded
        self._trace = trace
        self._layout = layout or Layout()
        self._pool: Pool | None = None
        self._watches: list[Watch] = []
        self._lane: Lane | None = None
        self._memory: Memory | None = None
        self._assembler: Assembler | None = None
        self._sequence = 0
        self._closed = False

    @property
    def name(self) -> str:
        """The name in the pipeline file."""
        return self._loaded.name

    @property
    def plan(self) -> Plan | None:
        """The plan in use; None before the first frame or `prepare`."""
        return self._lane.plan if self._lane is not None else None

    def prepare(self, height: int, width: int) -> Plan:
        """Plan for frames of up to this size, so that the first frame is as fast as the next.

        Args:
            height: in pixels.
            width: in pixels.

        Raises:
            PlanError: a stage does not fit the one before it.
            ConfigError: a parameter is out of range.
            ModuleError, ModelError: a guest or a model cannot be set up.
        """
        self._check_open()
        if self._lane is not None and not self._lane.plan.exact:
            if self._lane.plan.fits((height, width, 3)):
                return self._lane.plan
            # Both sides only ever grow, so that a folder of mixed pictures settles on one plan.
            most = self._lane.plan.frame.shape
            height, width = max(height, most[0]), max(width, most[1])
        lane = Lane(planning.make(self._loaded, height, width))
        self._drop()
        self._lane, self._memory = lane, Memory(lane.plan)
        self._assembler = Assembler(self._loaded, lane.plan)
        return lane.plan

    def __call__(self, image: Image) -> Result:
        """Run one picture; see `run`."""
        return self.run(Frame(image, self._sequence))

    def run(self, frame: Frame) -> Result:
        """Run one frame.

        Args:
            frame: its picture may be of any size; a larger one than before makes a new plan.

        Returns:
            What was found, in pixels of this frame.

        Raises:
            FrameError: this frame is lost, the next may go on.
            SourceError: it is not a picture.
            PlanError: the pipeline cannot take frames of this size.
        """
        image = check_image(frame.image, frame.source or "the image")
        if self._lane is None or not self._lane.plan.fits(image.shape):
            self.prepare(image.shape[0], image.shape[1])
        assert self._lane is not None
        assert self._memory is not None
        assert self._assembler is not None
        self._sequence = frame.sequence + 1
        job = Job(frame.sequence, frame.captured_ns, self._memory)
        timings = self._lane.run(image, job)
        return self._assembler.result(frame, self._lane, timings)

    def watch(
        self,
        source: str | Path | Source,
        *,
        rate: float = 0.0,
        policy: Policy | None = None,
        roi: tuple[int, int, int, int] | None = None,
        mask: Sequence[Sequence[tuple[int, int]]] = (),
        stall_s: float = 10.0,
        on_event: Callable[[Event], None] = lambda event: None,
        on_frame: Callable[[Frame, Result], None] | None = None,
        on_lost: Callable[[Stamp | None, Exception], None] | None = None,
    ) -> Watch:
        """The results of a source as they come, for ever where it is a camera.

        Args:
            source: what `sanderling run --source` takes, the address of a stream, or a camera. A
                live one that is lost is opened again.
            rate: frames a second at the most; 0 for all.
            policy: what happens when frames come faster than they can be processed: `latest`,
                `block` or `sample`; without one `latest` for what is live, else `block`.
            roi: x1, y1, x2, y2 in pixels: only this part is looked at.
            mask: polygons in pixels of the frame; what is inside them is blackened.
            stall_s: a live source that gives nothing for so long is opened again, in seconds.
            on_event: told of what a person may want to know: lost frames, a camera that is gone.
            on_frame: takes each frame with its result, in a thread of the pipeline's, before the
                result comes out here. The pixels are only there during the call.
            on_lost: told of each frame that is lost, with its stamp where it has one, and why;
                likewise in a thread of the pipeline's. What either of the two raises ends it all,
                and is raised where the results are taken.

        Returns:
            An iterator, also for `async for`, with `counts` and `close`. Several at a time share
            the model.

        Raises:
            SourceError: there is no such source.
            ConfigError: the pipeline is closed, or an argument makes no sense.
        """
        self._check_open()
        paint = mask_of(mask)
        if isinstance(source, Source):
            opened = source
        else:
            opened = sources.open_persistent(
                str(source),
                stall_s=stall_s,
                on_change=lambda change: on_event(connection("watch", change)),
            )
        try:
            look = Look(policy or ("latest" if opened.live else "block"), rate, roi, paint)
            if self._pool is None:
                lane = self._trace.lane if self._trace is not None else None
                self._pool = Pool(self.name, self._loaded, self._layout, lane)
            watch = Watch(
                opened, self._pool, look, on_event=on_event, on_frame=on_frame, on_lost=on_lost
            )
        except BaseException:
            opened.close()
            raise
        self._watches.append(watch)
        return watch

    def map(self, frames: Iterator[Frame]) -> Iterator[Result]:
        """Run frames as they come; see `run`."""
        for frame in frames:
            yield self.run(frame)

    def reset(self) -> None:
        """A new source begins: guests with memory of earlier frames forget them."""
        if self._memory is not None:
            self._memory.reset()

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigError(f"{self._loaded.where}: the pipeline is closed; open it again")

    def close(self) -> None:
        """Give back the guests' memory; the pipeline cannot be used any more."""
        self._closed = True
        for watch in self._watches:
            watch.close()
        self._watches = []
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        self._drop()

    def _drop(self) -> None:
        if self._lane is not None:
            self._lane.close()
        if self._memory is not None:
            self._memory.close()
        self._lane = self._memory = self._assembler = None

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open(
    path: str | Path,
    *,
    threads: int | None = None,
    mode: Mode = "latency",
    lanes: int = 0,
    trace: Trace | None = None,
) -> Pipeline:
    """Open a pipeline file.

    Args:
        path: the TOML file.
        threads: threads a model may use, in place of what the file says; 0 for one a core.
        mode: how `watch` uses the cores: `latency` gives one frame all of them, `throughput` lets
            stages of different frames overlap, with one thread a model where none are said.
        lanes: frames that `watch` may have in flight; 0 for what suits the mode.
        trace: is told where the time of `watch` goes.

    Raises:
        InputError: the file, or something that it names, is wrong.
    """
    file = config.read(Path(path))
    if threads is None:
        threads = file.pipeline.threads
    shape = layout(mode, len(os.sched_getaffinity(0)), lanes=lanes, threads=threads)
    if mode == "throughput":
        threads = shape.threads
    return Pipeline(stages.load_file(file, Path(path), threads=threads), shape, trace)
