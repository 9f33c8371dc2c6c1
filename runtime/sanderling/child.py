"""The supervisor's worker as the operating system has it: a process group and a pipe."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from sanderling.statuspipe import PARENT, VARIABLE, Lines

_CHUNK = 1 << 16
_NOT_FOR_CHILDREN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""systemd listens to the supervisor alone."""


class Child:
    """A worker that was started; it must be waited for.

    It leads a process group of its own, so that what it started is killed with it and a Ctrl-C in
    a terminal comes to the supervisor alone. It reads nothing from stdin; stdout and stderr are the
    supervisor's.

    Args:
        command: program and arguments.
        started: when, in seconds of the caller's clock.

    Attributes:
        pid: of the process, and of its group.
        pipe: to be watched for reading; None once the other end is closed.
        ready: when it first said so, in seconds of the caller's clock.

    Raises:
        OSError: no pipe, no process, no such program.
    """

    def __init__(self, command: Sequence[str], started: float) -> None:
        self.started = started
        self.ready: float | None = None
        self._lines = Lines()
        reader, writer = os.pipe()
        environ = {key: value for key, value in os.environ.items() if key not in _NOT_FOR_CHILDREN}
        environ |= {VARIABLE: str(writer), PARENT: str(os.getpid())}
        try:
            os.set_blocking(reader, False)
            self._process = subprocess.Popen(
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                pass_fds=(writer,),
                process_group=0,
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        self.pid = self._process.pid
        self.pipe: int | None = reader

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone.

        Until it is waited for, its number is its own, also after its end.
        """
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process and whatever it started, but for what left its group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def read(self) -> tuple[list[tuple[str, str]], bool]:
        """What it has said since, see `statuspipe.Lines`, and whether it will say nothing more."""
        if self.pipe is None:
            return [], True
        try:
            data = os.read(self.pipe, _CHUNK)
        except BlockingIOError:
            return [], False
        return self._lines.feed(data), not data

    def close_pipe(self) -> None:
        """Listen no longer."""
        if self.pipe is not None:
            os.close(self.pipe)
            self.pipe = None

    def wait(self) -> int:
        """Wait for its end.

        Returns:
            Its exit code, or a signal's number below zero.
        """
        return self._process.wait()


def ended_in_words(code: int) -> str:
    """How a process ended, for people.

    Args:
        code: as `Child.wait` returns it.
    """
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        return f"was killed by signal {-code}"
    return f"was killed by {name} ({signal.strsignal(-code)})"
