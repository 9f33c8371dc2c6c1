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
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from sanderling import board, daemonfile, library, logs, profile
from sanderling.board import Board
from sanderling.daemonfile import DaemonFile
from sanderling.deployment import Deployment, signature, usable_cores
from sanderling.errors import InputError, OutputError
from sanderling.logs import ERROR, INFO, WARNING, Field, event
from sanderling.profile import Bounds, Profile
from sanderling.statuspipe import Status
from sanderling.thermal import Governor
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
    """

    profile: Profile
    bounds: Bounds
    cores: int
    memory_mb: int


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
    bounds = profile.settle(chosen, seen.facts())
    cores = min(file.daemon.threads or bounds.threads, usable_cores())
    return Settings(chosen, bounds, max(1, cores), file.daemon.memory_mb or bounds.memory_mb)


class Daemon:
    """Runs a configuration file.

    Args:
        where: the file.
        status: what the supervisor is told.
        seen: the board.
        trace: where to write where the time went, when it ends.
    """

    def __init__(self, where: Path, status: Status, seen: Board, trace: Path | None = None) -> None:
        self._where = where
        self._status = status
        self._board = seen
        self._file = daemonfile.read(where)
        _configure(self._file)
        self._settings = settle(self._file, seen, where)
        self._trace_path = trace
        self._trace = Trace() if trace is not None else None
        self._deployment = Deployment(
            where,
            self._settings.cores,
            self._settings.profile.preferred,
            _tell,
            self._trace,
        )
        bounds = self._settings.bounds
        self._governor = Governor(bounds.limit_c, bounds.resume_c)
        self._wake = threading.Event()
        self._stopping = self._reload = False
        self._code = 0
        self._busy: threading.Thread | None = None
        self._seen = signature([where])
        self._standing = self._seen
        self._due: dict[str, float] = {}

    def run(self) -> int:
        """Run until told to stop; the exit code.

        Raises:
            InputError: the file cannot be run as it is.
        """
        signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.signal(number, self._on_signal) for number in signals}
        try:
            self._begin()
            while not self._stopping:
                self._wake.wait(LOOP_S)
                self._wake.clear()
                self._look_around()
        finally:
            self._end()
            for number, handler in before.items():
                signal.signal(number, handler)
        return self._code

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reload = True
        else:
            self._stopping = True
        self._wake.set()

    def _begin(self) -> None:
        settings = self._settings
        for warning in settings.bounds.warnings:
            event(_log, "profile_exceeds_board", warning, level=WARNING)
        words = self._deployment.apply(self._file)
        event(
            _log,
            "started",
            f"{len(self._file.cameras)} cameras, {len(self._file.pipelines)} pipelines",
            board=self._board.name or "unknown",
            profile=settings.profile.name,
            cores=settings.cores,
            memory_mb=settings.memory_mb,
        )
        for word in words:
            event(_log, "applied", word, key=word)
        self._status.ready()

    # ---- looking around ----

    def _look_around(self) -> None:
        if self._busy is not None and self._busy.is_alive():
            self._status.beat()  # a model that loads for long is no reason to be ended
            return
        stuck = self._deployment.stuck_s()
        if stuck < STUCK_S:
            self._status.beat()
        else:
            event(_log, "lane_stuck", f"a frame is in a lane for {stuck:.0f} s", level=ERROR)
        if self._reload or (self._is_due("files", FILES_S) and self._files_changed()):
            self._reload = False
            self._start(self._apply)
            return
        if self._is_due("board", BOARD_S):
            self._look_at_board()
        if self._is_due("help", HELP_S):
            self._start(self._deployment.look_after)
        if self._file.daemon.report_s and self._is_due("report", self._file.daemon.report_s):
            self._report()

    def _is_due(self, what: str, every_s: float) -> bool:
        now = time.monotonic()
        if now < self._due.setdefault(what, now + every_s):
            return False
        self._due[what] = now + every_s
        return True

    def _start(self, work: object) -> None:
        assert callable(work)
        self._busy = threading.Thread(target=work, name="sanderling-work", daemon=True)
        self._busy.start()

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
            words = self._deployment.apply(file)
        except InputError as exc:
            event(_log, "refused", f"{exc}; all goes on as it was", level=ERROR, key=str(exc))
            self._status.status(f"configuration refused: {exc}")
        except Exception as exc:  # noqa: BLE001 - what runs goes on, whatever a file led to
            event(_log, "refused", f"a fault of ours: {exc!r}", level=ERROR, exc_info=exc)
        else:
            self._file = file
            _configure(file)
            for word in words:
                event(_log, "applied", word, key=None)
            took = time.monotonic() - began
            event(_log, "reloaded", "nothing to change" if not words else "", seconds=took)
            if settle(file, self._board, self._where) != self._settings:
                event(_log, "restart_needed", "profile and threads hold from the next start on")
        self._status.ready()

    def _look_at_board(self) -> None:
        reading = self._board.sample()
        change = self._governor.update(reading.celsius, time.monotonic_ns())
        if change is not None:
            level = WARNING if change.hotter else INFO
            event(_log, "thermal", change.words, level=level, celsius=reading.celsius)
            try:
                self._deployment.ease(change.ease.rate, smaller=change.ease.smaller)
            except InputError as exc:
                event(_log, "smaller_refused", str(exc), level=ERROR)
        most, used = self._settings.memory_mb, _resident_mb()
        if most and used > most:
            event(
                _log,
                "memory_over_limit",
                f"the worker has {used:.0f} MiB of {most}; it is started anew",
                level=ERROR,
                key=None,
            )
            self._code, self._stopping = RESTART, True

    def _report(self) -> None:
        for name, found in self._deployment.counts().items():
            flat: dict[str, Field] = {
                key: value if isinstance(value, int) else _told(value)
                for key, value in found.items()
            }
            event(_log, "counts", "", level=INFO, key=None, exc_info=None, camera=name, **flat)
        event(_log, "memory", "", key=None, resident_mb=round(_resident_mb(), 1))

    def _end(self) -> None:
        self._status.stopping()
        if self._busy is not None:
            self._busy.join(DRAIN_S / 2)
        done = self._deployment.stop(DRAIN_S / 2)
        self._report()
        event(_log, "stopped", "" if done else "a frame in flight was left", key=None)
        if self._trace is not None and self._trace_path is not None:
            try:
                self._trace.write(self._trace_path)
            except OutputError as exc:
                event(_log, "trace_lost", str(exc), level=ERROR)


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
