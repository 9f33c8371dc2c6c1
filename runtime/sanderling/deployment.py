"""What the daemon runs: pipelines, cameras and sinks, and how it goes from one file to another.

A change is prepared in full (files read, models loaded, lanes built) before anything is touched.
What cannot be prepared is refused, and all goes on as it was; only what changed is started anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sanderling import daemonfile, sources
from sanderling.camera import Camera
from sanderling.cores import Cores
from sanderling.daemonfile import CameraTable, DaemonFile, PipelineTable, SinkTable
from sanderling.deployed import (
    Next,
    Running,
    discard,
    layout_of,
    load,
    made_of,
    read,
    signature,
)
from sanderling.detections import Result
from sanderling.errors import InputError
from sanderling.frame import Frame
from sanderling.limited import Limited
from sanderling.lines import Line, LineSink
from sanderling.look import Event, Look, connection, mask_of
from sanderling.outlet import Outlet
from sanderling.pool import Layout, Pool
from sanderling.profile import Preferred
from sanderling.stages import Stages
from sanderling.trace import Trace

_GRACE_S = 0.05
"""What a thread may take beyond its time to say that it did."""
Tell = Callable[[str, str, str], None]
"""Told what happened: one word, of what (a camera, a pipeline, a sink), and in words."""
Last = Callable[[str, str, dict[str, object]], None]
"""Told counts: `camera` or `sink`, its name, and what was counted."""


@dataclass(frozen=True, slots=True)
class Largest:
    """The greatest frame that cameras may give.

    Attributes:
        megapixels: millions of pixels; 0 for any.
        profile: the name of the profile that says so.
    """

    megapixels: float
    profile: str


@dataclass(slots=True)
class _Watched:
    """A camera that runs, or that could not be opened.

    Attributes:
        table: what the file says of it.
        camera: None when its source is not there.
        told: it was said that it has ended.
        why: why it could not be opened, as it was said.
    """

    table: CameraTable
    camera: Camera | None = None
    told: bool = False
    why: str = ""


class Deployment:
    """Cameras, pipelines and sinks that run. Its methods may be called from several threads.

    Args:
        where: the configuration file; paths in it are relative to its folder.
        cores: that all models together may use.
        preferred: what the device profile prefers.
        tell: told what happened.
        trace: collects where the time goes.
        largest: the greatest frame that cameras may give.
        last: told the last counts of a camera or a sink that goes, or begins anew.
    """

    def __init__(
        self,
        where: Path,
        cores: int,
        preferred: Preferred,
        tell: Tell,
        trace: Trace | None = None,
        largest: Largest | None = None,
        last: Last = lambda kind, name, found: None,
    ) -> None:
        self._last = last
        self._where = where
        self._cores = Cores(cores)
        self._preferred = preferred
        self._tell = tell
        self._trace = trace
        self._largest = largest
        self._lock = threading.Lock()
        self._pipelines: dict[str, Running] = {}
        self._cameras: dict[str, _Watched] = {}
        self._outlets: dict[str, tuple[SinkTable, Outlet]] = {}
        self._readers: dict[str, tuple[Outlet, ...]] = {}
        self._pace = 1.0
        self._smaller = False

    # ---- from one file to another ----

    def apply(self, file: DaemonFile) -> list[str]:
        """Make what runs what the file says.

        Returns:
            What was changed, in words.

        Raises:
            InputError: it cannot be; all goes on as it was.
        """
        with self._lock:
            try:
                pipelines = self._prepare(file)
            except InputError:
                for running in self._pipelines.values():
                    running.refused = signature(running.files)
                raise
            return self._commit(file, pipelines)

    def _prepare(self, file: DaemonFile) -> dict[str, Next]:
        """The pipelines as they will be; what runs is as it was."""
        pipelines: dict[str, Next] = {}
        try:
            for table in file.pipelines:
                pipelines[table.name] = self._next(table)
            for camera in file.cameras:
                mask_of(camera.mask)
        except BaseException:
            for one in pipelines.values():
                discard(one)
            raise
        return pipelines

    def _next(self, table: PipelineTable) -> Next:
        running = self._pipelines.get(table.name)
        eased = self._smaller and table.smaller is not None
        paths = self._files(table, eased=eased)
        if running is not None and running.table == table and signature(paths) == running.seen:
            return Next(running)
        shape = self._layout(table)
        if table.smaller is not None and not eased:
            read(table, self._path(table.smaller), self._where)  # when it is hot is too late
        files, seen = made_of(paths[0])
        loaded = self._load(table, shape, eased=eased)
        if running is not None and running.layout == shape:
            prepared = running.pool.prepare(loaded)
            return Next(running, prepared, None, table, files, seen, eased)
        trace = self._trace.lane if self._trace is not None else None
        pool = Pool(table.name, loaded, shape, trace, self._cores.share(shape.threads))
        made = Running(table, shape, pool, files, seen, eased)
        if running is not None and (size := running.pool.size) is not None:
            try:
                pool.make_room(*size)
            except BaseException:
                pool.close()
                raise
        return Next(running, None, made)

    def _files(self, table: PipelineTable, *, eased: bool) -> tuple[Path, ...]:
        running = self._pipelines.get(table.name)
        if running is not None and running.table == table and running.eased == eased:
            return running.files
        return (self._path(table.smaller if eased and table.smaller else table.file),)

    def _path(self, name: str) -> Path:
        return self._where.parent / name

    def _layout(self, table: PipelineTable) -> Layout:
        return layout_of(table, self._cores.count, self._preferred)

    def _load(self, table: PipelineTable, shape: Layout, *, eased: bool) -> Stages:
        name = table.smaller if eased and table.smaller else table.file
        return load(table, self._path(name), self._where, shape)

    def _commit(self, file: DaemonFile, pipelines: dict[str, Next]) -> list[str]:
        words, gone = self._set_sinks(file.sinks)
        tables = {table.name: table for table in file.cameras if table.enabled}
        for name in [name for name in self._cameras if name not in tables]:
            self._stop(name)
            words.append(f"camera {name}: stopped")
        old: list[Pool] = []
        for name, one in pipelines.items():
            words += self._set_pipeline(name, one, old)
        self._connect(file)
        for table in tables.values():
            words += self._set_camera(table)
        for name in [name for name in self._pipelines if name not in pipelines]:
            old.append(self._pipelines.pop(name).pool)
            words.append(f"pipeline {name}: taken away")
        for outlet in gone:  # from here on no result goes there
            outlet.close()
            self._last("sink", outlet.name, {"written": outlet.written, "lost": outlet.lost})
        for pool in old:
            pool.close()
        return words

    def _set_pipeline(self, name: str, one: Next, old: list[Pool]) -> list[str]:
        if one.made is not None:
            if one.running is not None:
                old.append(one.running.pool)
                for watched in self._cameras.values():
                    if watched.table.pipeline == name and watched.camera is not None:
                        watched.camera.move(one.made.pool)
            self._pipelines[name] = one.made
            return [f"pipeline {name}: {'changed' if one.running else 'started'}"]
        if one.prepared is None:
            return []
        assert one.running is not None
        assert one.table is not None
        one.running.pool.replace(one.prepared)
        one.running.table, one.running.files = one.table, one.files
        one.running.seen, one.running.eased = one.seen, one.eased
        return [f"pipeline {name}: changed"]

    # ---- sinks ----

    def _set_sinks(self, tables: list[SinkTable]) -> tuple[list[str], list[Outlet]]:
        """What was changed, in words, and the sinks that are to be closed."""
        words, gone = [], []
        wanted = {table.name: table for table in tables}
        for name, (table, outlet) in list(self._outlets.items()):
            if wanted.get(name) != table:
                del self._outlets[name]
                gone.append(outlet)
                words.append(f"sink {name}: stopped")
        for name, table in wanted.items():
            if name not in self._outlets:
                path = None if table.path == "-" else self._path(table.path)
                outlet = Outlet(name, LineSink(path), table.queue, self._tell)
                self._outlets[name] = (table, outlet)
                words.append(f"sink {name}: started")
        return words, gone

    def _connect(self, file: DaemonFile) -> None:
        """Say which sinks take a camera's results."""
        self._readers = {
            camera.name: tuple(
                outlet
                for table, outlet in self._outlets.values()
                if not table.cameras or camera.name in table.cameras
            )
            for camera in file.cameras
        }

    def _publish(self, camera: str, result: Result) -> None:
        for outlet in self._readers.get(camera, ()):
            outlet.offer(Line(camera, result))

    # ---- cameras ----

    def _set_camera(self, table: CameraTable) -> list[str]:
        watched = self._cameras.get(table.name)
        if watched is not None and watched.table == table:
            return []
        if watched is not None and watched.camera is not None:
            same = ("source", "stall_s")
            if all(getattr(watched.table, key) == getattr(table, key) for key in same):
                watched.camera.change(self._look(table, watched.camera.live))
                watched.camera.move(self._pipelines[table.pipeline].pool)
                watched.table = table
                return [f"camera {table.name}: changed"]
        if watched is not None:
            self._stop(table.name)
        self._start(table)
        return [f"camera {table.name}: {'started' if watched is None else 'started anew'}"]

    @staticmethod
    def _look(table: CameraTable, live: bool) -> Look:
        policy = table.policy or ("latest" if live else "block")
        return Look(policy, table.rate, table.roi, mask_of(table.mask))

    def _start(self, table: CameraTable) -> None:
        name = table.name
        before = self._cameras.get(name)
        watched = self._cameras[name] = _Watched(table, why=before.why if before else "")

        def on_event(event: Event) -> None:
            self._tell(f"camera_{event.kind}", event.camera, event.text)

        def publish(frame: Frame, result: Result) -> None:
            self._publish(name, result)

        try:
            source = sources.open_persistent(
                self._source(table.source),
                stall_s=table.stall_s,
                on_change=lambda change: on_event(connection(name, change)),
            )
        except InputError as exc:
            # A camera that is not there must not keep the others from running.
            if str(exc) != watched.why:
                watched.why = str(exc)
                self._tell("camera_failed", name, watched.why)
            return
        if self._largest is not None and self._largest.megapixels:
            source = Limited(source, self._largest.profile, self._largest.megapixels)
        pool = self._pipelines[table.pipeline].pool
        look = self._look(table, source.live)
        watched.camera = Camera(name, source, pool, look, publish, on_event=on_event)
        watched.camera.slow_down(self._pace)
        watched.camera.start()

    def _source(self, where: str) -> str:
        """Paths are relative to the file; addresses are what they are."""
        if sources.is_path(where):
            return str(self._path(where))
        return where

    def _stop(self, name: str) -> None:
        camera = self._cameras.pop(name).camera
        if camera is None:
            return
        if not camera.stop():
            self._tell("camera_stuck", name, "its source does not let go; it is left behind")
        self._last("camera", name, camera.counts().as_dict())

    def look_after(self) -> None:
        """Say which cameras have ended; open those again that could not be, or that crashed."""
        with self._lock:
            for name, watched in list(self._cameras.items()):
                camera = watched.camera
                if camera is None or (camera.ended.is_set() and camera.crashed):
                    if camera is not None:
                        self._stop(name)
                    self._start(watched.table)
                elif camera.ended.is_set() and not watched.told:
                    watched.told = True
                    self._tell(
                        "camera_ended", name, f"the end of {daemonfile.shown(watched.table)}"
                    )

    # ---- while it runs ----

    def changed(self) -> bool:
        """Whether a file that a pipeline was made of is another one now.

        It must have been so at the last look too: who writes a file in two steps must not have
        the first half read. What was refused is not news until it changes again.
        """
        found = False
        with self._lock:
            for one in self._pipelines.values():
                now = signature(one.files)
                found |= now == one.last and now not in (one.seen, one.refused)
                one.last = now
        return found

    def ease(self, rate: float, *, smaller: bool) -> None:
        """Ask less of the board, or all again.

        Args:
            rate: share of the work that is to be done.
            smaller: whether pipelines that have a smaller version run that.

        Raises:
            InputError: a smaller version cannot be loaded; all else holds all the same.
        """
        refused: list[InputError] = []
        with self._lock:
            self._pace, self._smaller = rate, smaller
            for watched in self._cameras.values():
                if watched.camera is not None:
                    watched.camera.slow_down(rate)
            for running in self._pipelines.values():
                if running.table.smaller is None or running.eased == smaller:
                    continue
                try:
                    self._switch(running, smaller=smaller)
                except InputError as exc:
                    refused.append(exc)
        if refused:
            raise refused[0]

    def _switch(self, running: Running, *, smaller: bool) -> None:
        """Go over to the smaller version of a pipeline, or back."""
        name = running.table.smaller if smaller else running.table.file
        assert name is not None
        files, seen = made_of(self._path(name))
        loaded = self._load(running.table, running.layout, eased=smaller)
        running.pool.replace(running.pool.prepare(loaded))
        running.files, running.seen, running.eased = files, seen, smaller

    @property
    def has_smaller(self) -> bool:
        """Whether any pipeline has a smaller version."""
        return any(one.table.smaller is not None for one in list(self._pipelines.values()))

    def counts(self) -> dict[str, dict[str, object]]:
        """What became of each camera's frames, by its name; waits for nothing."""
        return {
            name: watched.camera.counts().as_dict()
            for name, watched in list(self._cameras.items())
            if watched.camera is not None
        }

    def sinks(self) -> dict[str, tuple[int, int]]:
        """Results that each sink took and that it did not, by its name; waits for nothing."""
        return {
            name: (outlet.written, outlet.lost) for name, (_, outlet) in list(self._outlets.items())
        }

    def stuck_s(self) -> float:
        """How long a frame has been in a lane, at the most, in seconds."""
        return max((one.pool.longest_s() for one in list(self._pipelines.values())), default=0.0)

    def stop(self, timeout_s: float) -> bool:
        """End all: frames in a lane are finished, and their results written.

        Args:
            timeout_s: how long that may take, half of it for the frames.

        Returns:
            Whether it came about in time.
        """
        until = time.monotonic() + timeout_s
        if not self._lock.acquire(timeout=timeout_s / 2):
            return False  # a change is being made, and it takes long
        try:
            cameras = [one.camera for one in self._cameras.values() if one.camera is not None]
            done = _all_at_once([camera.stop for camera in cameras], timeout_s / 2)
            outlets = [outlet for _, outlet in self._outlets.values()]
            rest = max(0.0, until - time.monotonic())
            done = _all_at_once([outlet.close for outlet in outlets], rest) and done
            if all(camera.ended.is_set() for camera in cameras):
                for running in self._pipelines.values():
                    running.pool.close()
            return done
        finally:
            self._lock.release()


def _all_at_once(work: Sequence[Callable[[float], bool]], timeout_s: float) -> bool:
    """Call each with the time there is, in a thread of its own; whether all came about in time."""
    done: list[bool] = []
    threads = [
        threading.Thread(target=lambda one=one: done.append(one(timeout_s)), daemon=True)
        for one in work
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + timeout_s
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()) + _GRACE_S)
    return done.count(True) == len(threads)
