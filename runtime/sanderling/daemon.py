"""The daemon's worker: reads the configuration, runs it, follows its changes, ends in time.

The supervisor watches this process (docs/adr/0008-two-processes.md). The main thread only looks
around: at signals, at files that have changed, at the temperature, at cameras that need help. What
may take long (loading a model) is done in a thread beside it, so that it never stands still without
cause; when a lane does, it stops beating, and the supervisor ends it all.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType

import msgspec

from sanderling import board, daemonfile, library, logs, profile
from sanderling.board import Board
from sanderling.daemonfile import DaemonFile
from sanderling.deployed import signature, usable_cores
from sanderling.deployment import Deployment, Largest
from sanderling.errors import InputError, OutputError
from sanderling.logs import ERROR, INFO, WARNING, Field, event
from sanderling.profile import Bounds, Profile
from sanderling.statuspipe import Status
from sanderling.thermal import Ease, Governor
from sanderling.trace import Trace

LOOP_S = 0.25
"""How often the main thread looks around."""
FILES_S = 1.0
"""How often it looks whether a file has changed; a change is taken when it stands so long."""
BOARD_S = 2.0
"""How often it looks at temperature and memory."""
HELP_S = 5.0
"""How often it looks after cameras that are not there."""
STUCK_S = 60.0
"""A frame that is in a lane so long will not come out: no guest may take longer."""
WORK_S = 600.0
"""A change that takes so long will not come about: no model loads for longer."""
DRAIN_S = 1.2
"""How long frames in flight and their results have when it ends; the supervisor gives 1.5 s."""
RESTART = 3
"""Exit code of a worker that wants to be started anew."""

_LEVELS = {
    "camera_lost": WARNING,
    "camera_retrying": WARNING,
    "camera_failed": ERROR,
    "camera_crashed": ERROR,
    "camera_stuck": ERROR,
    "camera_unreadable": WARNING,
    "camera_refused": ERROR,
    "sink_down": ERROR,
    "sink_full": WARNING,
}
_log = logging.getLogger("sanderling.daemon")


def _tell(kind: str, of: str, text: str) -> None:
    what = "sink" if kind.startswith("sink") else "camera"
    level = _LEVELS.get(kind, WARNING if kind.startswith("camera_") else INFO)
    if kind in ("camera_connected", "camera_ended", "sink_up"):
        level = INFO
    fields: dict[str, Field] = {what: of}
    event(_log, kind, text, level=level, key=of, exc_info=None, **fields)


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for the whole process.

    Attributes:
        profile: of the board.
        bounds: what it allows here.
        cores: that models may use.
        memory_mb: that the worker may have, in MiB; 0 for no limit.
        warnings: what is asked for and the board has not, for people.
    """

    profile: Profile
    bounds: Bounds
    cores: int
    memory_mb: int
    warnings: tuple[str, ...]


def settle(file: DaemonFile, seen: Board, where: Path) -> Settings:
    """Choose the profile and work out the limits.

    Raises:
        ConfigError: a profile is not there, or wrong.
    """
    wanted = file.daemon.profile
    if wanted == "auto":
        profiles = [profile.read(path) for path in library.profiles()]
        chosen = profile.choose(profiles, seen.facts()).profile
    else:
        path = library.find("profile", wanted, where.parent, f"{where}: daemon.profile")
        chosen = profile.read(path)
    facts = seen.facts()
    # Both are for the board as it is: a card that is moved to a smaller one must still run.
    facts = replace(facts, cores=max(1, min(facts.cores, usable_cores())))
    bounds = profile.settle(chosen, facts)
    asked = profile.settle(_asked(file, chosen), facts, f"{where}: daemon")
    warnings = [*bounds.warnings, *asked.warnings]
    cores = asked.threads if file.daemon.threads else bounds.threads
    memory_mb = asked.memory_mb if file.daemon.memory_mb else bounds.memory_mb
    return Settings(chosen, bounds, cores, memory_mb, tuple(warnings))


def _asked(file: DaemonFile, chosen: Profile) -> Profile:
    """What the file itself asks for, as a profile."""
    asked = msgspec.structs.replace(
        chosen.limits, threads=file.daemon.threads, memory_mb=file.daemon.memory_mb
    )
    return msgspec.structs.replace(chosen, limits=asked)


class Daemon:
    """Runs a configuration file.

    `run` is all that a process needs; it calls `begin`, then `look_around` again and again, then
    `end`.

    Args:
        where: the file.
        status: what the supervisor is told.
        seen: the board.
        trace: where to write where the time went, when it ends.
        clock_ns: monotonic clock, in ns; says when to look at what.
        resident_mb: memory of this process that is in RAM, in MiB.
    """

    def __init__(
        self,
        where: Path,
        status: Status,
        seen: Board,
        trace: Path | None = None,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        resident_mb: Callable[[], float] | None = None,
    ) -> None:
        self._where = where
        self._status = status
        self._board = seen
        self._clock_ns = clock_ns
        self._resident_mb = resident_mb or _resident_mb
        self._file = daemonfile.read(where)
        _configure(self._file)
        self._settings = settle(self._file, seen, where)
        self._trace_path = trace
        self._trace = Trace() if trace is not None else None
        bounds = self._settings.bounds
        self._deployment = Deployment(
            where,
            self._settings.cores,
            self._settings.profile.preferred,
            _tell,
            self._trace,
            Largest(bounds.megapixels, self._settings.profile.name),
            self._count,
        )
        self._governor = Governor(bounds.limit_c, bounds.resume_c, has_smaller=False)
        self._wake = threading.Event()
        self._stopping = self._reload = False
        self._code = 0
        self._busy: threading.Thread | None = None
        self._busy_since_ns = 0
        self._seen = signature([where])
        self._standing = self._seen
        self._due: dict[str, int] = {}

    def run(self) -> int:
        """Run until told to stop; the exit code.

        Raises:
            InputError: the file cannot be run as it is.
        """
        signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.signal(number, self._on_signal) for number in signals}
        try:
            self.begin()
            while not self._stopping:
                self._wake.wait(LOOP_S)
                self._wake.clear()
                self.look_around()
        finally:
            self.end()
            for number, handler in before.items():
                signal.signal(number, handler)
        return self._code

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reload = True
        else:
            self._stopping = True
        self._wake.set()

    def begin(self) -> None:
        """Set all up.

        Raises:
            InputError: the file cannot be run as it is.
        """
        settings = self._settings
        for warning in settings.warnings:
            event(_log, "profile_exceeds_board", warning, level=WARNING, key=warning)
        words = self._deployment.apply(self._file)
        self._governor.has_smaller = self._deployment.has_smaller
        event(
            _log,
            "started",
            f"cameras: {len(self._file.cameras)}, pipelines: {len(self._file.pipelines)}",
            board=self._board.name or "unknown",
            profile=settings.profile.name,
            cores=settings.cores,
            memory_mb=settings.memory_mb,
        )
        for word in words:
            event(_log, "applied", word, key=word)
        self._status.ready()

    # ---- looking around ----

    def look_around(self) -> None:
        """Do what is due. It takes no time worth speaking of."""
        busy = self._busy is not None and self._busy.is_alive()
        self._beat(busy_s=(self._clock_ns() - self._busy_since_ns) / 1e9 if busy else 0.0)
        if busy or self._stopping:
            return
        if self._reload or (self._is_due("files", FILES_S) and self._files_changed()):
            self._reload = False
            self._start(self._apply)
            return
        if self._file.daemon.report_s and self._is_due("report", self._file.daemon.report_s):
            self._report()
        if self._is_due("board", BOARD_S) and (ease := self._look_at_board()) is not None:
            self._start(partial(self._ease, ease))
        elif self._is_due("help", HELP_S):
            self._start(self._deployment.look_after)

    def _beat(self, busy_s: float) -> None:
        """Say that all is well, unless something does not come to its end."""
        stuck = self._deployment.stuck_s()
        if stuck >= STUCK_S:
            event(_log, "lane_stuck", f"a frame is in a lane for {stuck:.0f} s", level=ERROR)
        elif busy_s >= WORK_S:
            event(_log, "work_stuck", f"a change takes {busy_s:.0f} s already", level=ERROR)
        else:
            self._status.beat()

    def _is_due(self, what: str, every_s: float) -> bool:
        now = self._clock_ns()
        if now < self._due.setdefault(what, now + int(every_s * 1e9)):
            return False
        self._due[what] = now + int(every_s * 1e9)
        return True

    def _start(self, work: Callable[[], None]) -> None:
        """Do in a thread what may take long; one thing at a time."""

        def guarded() -> None:
            try:
                work()
            except Exception as exc:  # noqa: BLE001 - what runs goes on
                event(_log, "fault", f"a fault of ours: {exc!r}", level=ERROR, exc_info=exc)

        self._busy_since_ns = self._clock_ns()
        self._busy = threading.Thread(target=guarded, name="sanderling-work", daemon=True)
        self._busy.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until what was begun in a thread is done; whether that came about in time."""
        if self._busy is not None:
            self._busy.join(timeout_s)
            return not self._busy.is_alive()
        return True

    def _files_changed(self) -> bool:
        """Whether something has changed, and has stood since the last look.

        Who writes a file in two steps must not have the first half read.
        """
        now = signature([self._where])
        stands, self._standing = now == self._standing, now
        return (now != self._seen and stands) or self._deployment.changed()

    def _apply(self) -> None:
        """Read the file again and go over to what it says; refuse it whole when it is wrong."""
        self._status.reloading()
        began = time.monotonic()
        self._seen = signature([self._where])
        try:
            file = daemonfile.read(self._where)
            settings = settle(file, self._board, self._where)
            words = self._deployment.apply(file)
        except InputError as exc:
            event(_log, "refused", f"{exc}; all goes on as it was", level=ERROR, key=str(exc))
            self._status.status(f"configuration refused: {exc}")
        except Exception as exc:  # noqa: BLE001 - what runs goes on, whatever a file led to
            event(_log, "refused", f"a fault of ours: {exc!r}", level=ERROR, exc_info=exc)
        else:
            self._file = file
            _configure(file)
            self._governor.has_smaller = self._deployment.has_smaller
            for word in words:
                event(_log, "applied", word, key=None)
            took = time.monotonic() - began
            event(_log, "reloaded", "nothing to change" if not words else "", seconds=took)
            if settings != self._settings:
                event(_log, "restart_needed", "profile and limits hold from the next start on")
        self._status.ready()

    def _look_at_board(self) -> Ease | None:
        """Look at heat and memory; what is asked of the board from here on, where that changes."""
        reading = self._board.sample()
        change = self._governor.update(reading.celsius, self._clock_ns())
        if change is not None:
            level = WARNING if change.hotter else INFO
            event(_log, "thermal", change.words, level=level, key=None, celsius=reading.celsius)
        most, used = self._settings.memory_mb, self._resident_mb()
        if most and used > most:
            event(
                _log,
                "memory_over_limit",
                f"the worker has {used:.0f} MiB of {most}; it is started anew. If that comes again"
                " and again: fewer lanes, a smaller model, smaller frames, or raise memory_mb",
                level=ERROR,
                key=None,
            )
            self._code, self._stopping = RESTART, True
        return change.ease if change is not None else None

    def _ease(self, ease: Ease) -> None:
        try:
            self._deployment.ease(ease.rate, smaller=ease.smaller)
        except InputError as exc:
            event(_log, "smaller_refused", str(exc), level=ERROR, key=str(exc))

    def _report(self) -> None:
        for name, found in self._deployment.counts().items():
            self._count("camera", name, found)
        for name, (written, lost) in self._deployment.sinks().items():
            self._count("sink", name, {"written": written, "lost": lost})
        event(_log, "memory", "", key=None, resident_mb=round(self._resident_mb(), 1))

    @staticmethod
    def _count(kind: str, name: str, found: dict[str, object]) -> None:
        """One line with what was counted of a camera or a sink."""
        flat: dict[str, Field] = {kind: name}
        for key, value in found.items():
            flat[key] = value if isinstance(value, int) else _told(value)
        if kind == "camera":
            event(_log, "counts", "", level=INFO, key=None, exc_info=None, **flat)
        else:
            event(_log, "results", "", level=INFO, key=None, exc_info=None, **flat)

    def end(self) -> int:
        """Finish the last frames; the exit code."""
        self._status.stopping()
        until = time.monotonic() + DRAIN_S
        self.wait(DRAIN_S / 3)
        done = self._deployment.stop(max(0.0, until - time.monotonic()))
        self._report()
        said = "" if done else "not all came to its end in time: frames or results were left"
        event(_log, "stopped", said, key=None)
        if self._trace is not None and self._trace_path is not None:
            try:
                self._trace.write(self._trace_path)
            except OutputError as exc:
                event(_log, "trace_lost", str(exc), level=ERROR)
        return self._code


def _told(counted: object) -> str:
    """`stale=3 rate=10`, or `nms: trap=2`."""
    assert isinstance(counted, dict)
    return " ".join(
        f"{name}: {_told(value)}" if isinstance(value, dict) else f"{name}={value}"
        for name, value in counted.items()
    )


def _resident_mb() -> float:
    """Memory of this process that is in RAM, in MiB."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _configure(file: DaemonFile) -> None:
    logs.configure(file.daemon.log_format, file.daemon.log_level)


def run(where: Path, status: Status, trace: Path | None = None) -> int:
    """Run a configuration file until told to stop.

    Args:
        where: the file.
        status: what the supervisor is told.
        trace: where to write where the time went, when it ends.

    Returns:
        0, or `RESTART` when the worker is to be started anew.

    Raises:
        InputError: the file cannot be run as it is.
    """
    return Daemon(where, status, board.read(), trace).run()
