"""What the daemon's worker tells its supervisor: short lines through a pipe.

The supervisor starts the worker with the writing end of a pipe and its number in
`$SANDERLING_STATUS_FD`. A line is one of `ready`, `beat`, `reloading`, `status TEXT` and
`stopping`, in ASCII or UTF-8. Nothing comes back that way: what the supervisor wants it says by
signals.

The worker holds decoders that read what cameras send, so the reader trusts no line: it bounds
lengths and passes over what it does not know.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, MutableMapping
from typing import Protocol

from sanderling.text import printable

VARIABLE = "SANDERLING_STATUS_FD"
PARENT = "SANDERLING_SUPERVISOR"
WORDS = ("ready", "beat", "reloading", "status", "stopping")

BEAT_S = 1.0
"""A beat is written at most this often, however often it is called."""
MAX_TEXT = 200
"""Characters of a status that are passed on."""
_MAX_LINE = 1024
_PR_SET_PDEATHSIG = 1


class Status(Protocol):
    """What the daemon says of itself while it runs. Each may be called from any thread."""

    def ready(self) -> None:
        """Everything is set up; said again when a reload is done."""

    def beat(self) -> None:
        """The main loop is going round. Cheap: call it as often as you like."""

    def reloading(self) -> None:
        """The configuration is being read again; `ready` follows, whatever comes of it."""

    def status(self, text: str) -> None:
        """One line for people, such as what `systemctl status` shows."""

    def stopping(self) -> None:
        """The last frames are being finished."""


class StatusPipe:
    """The worker's end.

    A line that cannot be written (a supervisor that is stopped, or gone) is dropped: frames do not
    wait for it.

    Args:
        descriptor: where to write; None for a worker that nobody supervises.
        clock: seconds, monotonic.
    """

    def __init__(self, descriptor: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._descriptor = descriptor
        self._clock = clock
        self._beaten = float("-inf")
        if descriptor is not None:
            os.set_blocking(descriptor, False)
            os.set_inheritable(descriptor, False)

    @classmethod
    def attach(cls, environ: MutableMapping[str, str] | None = None) -> StatusPipe:
        """The pipe of this process's supervisor, and the tie to it: call it first.

        From here on the kernel kills this process when its supervisor ends, however that ends. A
        supervisor cannot ask for this on the child's behalf without running Python between fork
        and exec, which is not safe; so the child asks, and then looks whether it was too late.

        Args:
            environ: the environment; what the supervisor put in is taken out, since it is not
                for the children of this process.
        """
        environ = os.environ if environ is None else environ
        descriptor = _number(environ.pop(VARIABLE, ""))
        parent = _number(environ.pop(PARENT, ""))
        if parent is not None:
            import ctypes  # noqa: PLC0415 - a megabyte that the supervisor can do without

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # it ended before the kernel knew
                os._exit(1)
        return cls(descriptor if descriptor is not None and _is_open(descriptor) else None)

    def ready(self) -> None:
        """See `Status`."""
        self._write("ready")

    def beat(self) -> None:
        """See `Status`; written at most every `BEAT_S`."""
        now = self._clock()
        if now - self._beaten >= BEAT_S:
            self._beaten = now
            self._write("beat")

    def reloading(self) -> None:
        """See `Status`."""
        self._write("reloading")

    def status(self, text: str) -> None:
        """See `Status`; cut to `MAX_TEXT` characters."""
        self._write(f"status {printable(text)[:MAX_TEXT]}")

    def stopping(self) -> None:
        """See `Status`."""
        self._write("stopping")

    def _write(self, line: str) -> None:
        if self._descriptor is None:
            return
        try:
            # Shorter than PIPE_BUF: all of it or nothing, never mixed with another thread's.
            os.write(self._descriptor, f"{line}\n".encode(errors="replace"))
        except BlockingIOError:
            return
        except OSError:
            self._descriptor = None


class Lines:
    """The supervisor's end: bytes as they come in, lines as they are complete."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[str, str]]:
        """The lines that are complete now: each a word of `WORDS`, and the text behind it.

        What is no such line, or longer than a line may be, is passed over.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[: _MAX_LINE + 1]  # keeps a line that is too long too long
        found = []
        for line in lines:
            word, _, text = line.decode(errors="replace").partition(" ")
            if len(line) <= _MAX_LINE and word in WORDS:
                found.append((word, printable(text)[:MAX_TEXT]))
        return found


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
