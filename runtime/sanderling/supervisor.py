"""The daemon's first process: starts the worker, watches it, and starts it again.

The worker holds the cameras, the models and the guests. A decoder that crashes takes the worker
along, but not this process, which loads nothing but the standard library. One loop, one thread, no
waiting that a signal does not end (docs/adr/0008-two-processes.md).

| phase | ends when | and then |
|---|---|---|
| starting | the worker says `ready` | running |
| | `start_s` have passed | aborting |
| running | `watchdog_s` have passed without a `beat` | aborting |
| aborting | `abort_s` have passed, in which the worker writes where its threads are | killing |
| stopping | `stop_s` have passed | killing |
| killing | `kill_s` have passed, when the service stops | the end, without the worker |
| waiting | the pause is over, or somebody asks for a reload | starting |

The worker's death leads from every phase to waiting; when the service stops, to the end.
"""

from __future__ import annotations

import logging
import math
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import NamedTuple

from sanderling.child import Child, ended_in_words
from sanderling.logs import ERROR, INFO, configure, event
from sanderling.systemd import Notifier

_REFUSED = 2
"""The exit code of a worker that cannot do what it was configured to."""


class Limits(NamedTuple):  # a dataclass would cost the process a megabyte: it loads inspect
    """How long the supervisor waits for what, in seconds.

    Attributes:
        start_s: from the worker's start to its first `ready`.
        watchdog_s: from one beat to the next.
        stop_s: from SIGTERM to the worker's end.
        abort_s: from SIGABRT to SIGKILL.
        kill_s: from SIGKILL to giving up, when the service stops.
        healthy_s: a worker that was ready for so long was sound.
        first_pause_s: the pause after the second death in a row; after the first there is none.
        longest_pause_s: the pauses double up to this.
    """

    start_s: float = 60.0
    watchdog_s: float = 10.0
    stop_s: float = 1.5
    abort_s: float = 1.0
    kill_s: float = 0.3
    healthy_s: float = 60.0
    first_pause_s: float = 0.25
    longest_pause_s: float = 60.0


class Pauses:
    """How long to wait before the next try: not at all, then longer with each death in a row.

    Args:
        limits: the first pause, the longest, and what ends a row.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._deaths = 0

    def after(self, healthy_s: float) -> float:
        """The pause after a death, in seconds.

        Args:
            healthy_s: how long the worker had been ready.
        """
        if healthy_s >= self._limits.healthy_s:
            self._deaths = 0
        self._deaths += 1
        if self._deaths == 1:
            return 0.0
        doubled = self._limits.first_pause_s * 2.0 ** min(self._deaths - 2, 30)
        return min(doubled, self._limits.longest_pause_s)


class Phase(Enum):
    """Where the supervisor is; see the table above."""

    STARTING = "starting"
    RUNNING = "running"
    ABORTING = "aborting"
    STOPPING = "stopping"
    KILLING = "killing"
    WAITING = "waiting"


_ALIVE = {Phase.STARTING, Phase.RUNNING}
_LOST = {Phase.ABORTING, Phase.KILLING}
"""The worker does not answer: systemd's watchdog is not told otherwise."""


class Supervisor:
    """Keeps one worker running until it is told to stop.

    SIGTERM and SIGINT stop it. SIGHUP is passed on to the worker; one that comes before the worker
    is ready waits until it is.

    Args:
        command: the worker's program and arguments.
        limits: how long to wait for what.
        clock: seconds, monotonic.
        notify: systemd, or nobody.
        log: where its events go.
    """

    def __init__(
        self,
        command: Sequence[str],
        limits: Limits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        notify: Notifier | None = None,
        log: logging.Logger | None = None,
    ) -> None:
        self._command = list(command)
        self._limits = limits or Limits()
        self._clock = clock
        self._notify = notify or Notifier(None)
        self._log = log or logging.getLogger("sanderling.supervisor")
        self._pauses = Pauses(self._limits)
        self._selector = selectors.DefaultSelector()
        self._worker: Child | None = None
        self._phase = Phase.WAITING
        self._until = clock()
        """When the phase is over by itself."""
        self._next_ping = clock()
        self._ever_ready = False
        self._reload = False
        self._stop = False
        self._code: int | None = None
        """The loop ends when it is known."""

    def run(self) -> int:
        """Supervise until the end. Call it once, in the main thread.

        Returns:
            The exit code: 0 when the worker ended well, 2 when the first one could not work with
            its configuration, 1 when it had to be killed or ended badly.
        """
        with self._signals() as signals:
            try:
                while self._code is None:
                    self._turn(signals)
            finally:
                self._abandon()
        return self._code

    @contextmanager
    def _signals(self) -> Iterator[int]:
        """Signals come as bytes through a pipe, whose reading end is given: none at a bad time."""
        reader, writer = os.pipe()
        for end in (reader, writer):
            os.set_blocking(end, False)
        self._selector.register(reader, selectors.EVENT_READ)
        wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        before = [(number, signal.signal(number, lambda *_: None)) for number in numbers]
        try:
            yield reader
        finally:
            for number, handler in before:
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)
            self._selector.close()
            os.close(reader)
            os.close(writer)

    def _turn(self, signals: int) -> None:
        """Wait for something to happen, and act on it."""
        next_due = self._until
        if self._pings:
            next_due = min(next_due, self._next_ping)
        timeout = None if math.isinf(next_due) else max(0.0, next_due - self._clock())
        for key, _ in self._selector.select(timeout):
            if key.fd == signals:
                for number in os.read(signals, 4096):
                    self._signalled(number)
        # Also when the pipe was not among what happened: after a standstill of the whole machine
        # the deadline has passed and the beat is there, and then the beat counts.
        self._listen()
        self._reap()
        if self._code is None and self._clock() >= self._until:
            self._late()
        if self._pings and self._clock() >= self._next_ping:
            self._next_ping = self._clock() + self._notify.watchdog_s / 2
            self._tell(self._notify.watchdog())

    @property
    def _pings(self) -> bool:
        return self._notify.watchdog_s > 0 and self._phase not in _LOST

    def _enter(self, phase: Phase, longest_s: float) -> None:
        self._phase = phase
        self._until = self._clock() + longest_s

    def _tell(self, told: bool) -> None:
        if not told:
            event(self._log, "notify_failed", "systemd could not be told", level=ERROR)

    # What happens.

    def _signalled(self, number: int) -> None:
        if number in {signal.SIGTERM, signal.SIGINT}:
            self._begin_stop(signal.Signals(number))
        elif number == signal.SIGHUP:
            self._reload = True
            if self._phase is Phase.WAITING:
                self._until = self._clock()  # whoever asks has mended something
            self._pass_on_reload()

    def _begin_stop(self, number: signal.Signals) -> None:
        if self._stop:
            return
        self._stop = True
        event(self._log, "stopping", f"got {number.name}", key=None)
        self._tell(self._notify.stopping())
        if self._worker is None:
            self._code = 0
        elif self._phase in _ALIVE:
            self._worker.signal(signal.SIGTERM)
            self._enter(Phase.STOPPING, self._limits.stop_s)
        else:
            self._kill()

    def _pass_on_reload(self) -> None:
        # Before it is ready the worker may not have its handler yet, and would die of the signal.
        if self._reload and self._phase is Phase.RUNNING and self._worker is not None:
            self._reload = False
            self._worker.signal(signal.SIGHUP)

    def _listen(self) -> None:
        if self._worker is None:
            return
        lines, ended = self._worker.read()
        if ended:
            self._close_pipe()
        for word, text in lines:
            self._said(word, text)

    def _said(self, word: str, text: str) -> None:
        """A line of the worker's. One that means nothing in this phase is passed over."""
        if word == "ready" and self._phase in _ALIVE:
            if self._phase is Phase.STARTING:
                self._is_ready()
            self._tell(self._notify.ready())
        elif word == "reloading" and self._phase is Phase.RUNNING:
            self._tell(self._notify.reloading())
        elif word == "status":
            self._tell(self._notify.status(text))
        elif word == "stopping":
            event(self._log, "worker_stopping", "it finishes the last frames")
        if word in {"ready", "beat"} and self._phase is Phase.RUNNING:
            self._enter(Phase.RUNNING, self._limits.watchdog_s)

    def _is_ready(self) -> None:
        assert self._worker is not None
        self._worker.ready = self._clock()
        self._ever_ready = True
        self._enter(Phase.RUNNING, self._limits.watchdog_s)
        took = round(self._worker.ready - self._worker.started, 3)
        event(self._log, "worker_ready", key=None, pid=self._worker.pid, took_s=took)
        self._pass_on_reload()

    def _reap(self) -> None:
        """Take note of children that ended.

        That is the worker; in a container, whose first process inherits orphans, also others.
        """
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            if self._worker is not None and ended.si_pid == self._worker.pid:
                self._ended(self._worker)
            else:
                os.waitpid(ended.si_pid, 0)

    def _ended(self, worker: Child) -> None:
        self._listen()  # its last words
        self._abandon()
        code = worker.wait()
        how = ended_in_words(code)
        now = self._clock()
        uptime = round(now - worker.started, 3)
        if self._stop:
            well = code in {0, -signal.SIGTERM}  # of the signal: it had no handler for it yet
            self._code = 0 if well else 1
            said, level = f"the worker {how}", INFO if well else ERROR
            event(self._log, "stopped", said, level=level, key=None, uptime_s=uptime)
        elif code == _REFUSED and not self._ever_ready:
            self._code = _REFUSED
            said = "the worker cannot work with what it was given; its own message says why"
            event(self._log, "worker_refused", said, level=ERROR, key=None)
        else:
            healthy = 0.0 if worker.ready is None else now - worker.ready
            self._died(f"the worker {how}", uptime, healthy)

    # What follows.

    def _died(self, how: str, uptime: float, healthy: float) -> None:
        pause = self._pauses.after(healthy)
        self._enter(Phase.WAITING, pause)
        event(
            self._log, "worker_died", how, level=ERROR, key=None, uptime_s=uptime, next_try_s=pause
        )
        self._tell(self._notify.status(f"{how}; next try in {pause:g} s"))

    def _late(self) -> None:
        """The time of the phase is over."""
        if self._phase is Phase.WAITING:
            self._start()
        elif self._phase in _ALIVE:
            self._abort()
        elif self._phase is Phase.KILLING:
            said = "the worker cannot be killed: the kernel holds it, most likely in a driver"
            event(self._log, "stopped", said, level=ERROR, key=None)
            self._abandon()
            self._code = 1
        else:
            self._kill()

    def _start(self) -> None:
        self._reload = False  # a new worker reads its configuration anyway
        try:
            self._worker = Child(self._command, self._clock())
        except OSError as exc:
            self._died(f"the worker cannot be started: {exc.strerror or exc}", 0.0, 0.0)
            return
        assert self._worker.pipe is not None
        self._selector.register(self._worker.pipe, selectors.EVENT_READ)
        self._enter(Phase.STARTING, self._limits.start_s)
        event(self._log, "worker_started", key=None, pid=self._worker.pid)

    def _abort(self) -> None:
        assert self._worker is not None
        if self._phase is Phase.STARTING:
            said = f"the worker was not ready after {self._limits.start_s:g} s"
        else:
            said = f"no sign of life from the worker for {self._limits.watchdog_s:g} s"
        event(self._log, "worker_hung", said, level=ERROR, key=None, pid=self._worker.pid)
        self._worker.signal(signal.SIGABRT)
        self._enter(Phase.ABORTING, self._limits.abort_s)

    def _kill(self) -> None:
        assert self._worker is not None
        self._worker.kill()
        self._enter(Phase.KILLING, self._limits.kill_s if self._stop else math.inf)

    def _abandon(self) -> None:
        """Kill the worker, if there is one, and whatever it started; wait for nothing."""
        if self._worker is not None:
            self._worker.kill()
            self._close_pipe()
            self._worker = None

    def _close_pipe(self) -> None:
        if self._worker is not None and self._worker.pipe is not None:
            self._selector.unregister(self._worker.pipe)
            self._worker.close_pipe()


def main() -> None:
    """`python -m sanderling.supervisor FORMAT LEVEL COMMAND...`: `sanderling daemon` becomes it."""
    form, level, *command = sys.argv[1:]
    configure("json" if form == "json" else "text", level)
    sys.exit(Supervisor(command, notify=Notifier.from_environment()).run())


if __name__ == "__main__":
    main()
