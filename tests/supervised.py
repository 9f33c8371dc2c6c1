"""A supervisor in a process of its own, over workers that are small scripts."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LONGEST_S = 30
"""Something that does not happen in this time will not happen."""

_RUN = """
import json, os, signal, sys
if os.environ.get("DEAF"):
    signal.signal(signal.SIGABRT, signal.SIG_IGN)
from sanderling import logs, supervisor, systemd
logs.configure("json", "debug")
limits = supervisor.Limits(**json.loads(sys.argv[1]))
notify = systemd.Notifier.from_environment()
sys.exit(supervisor.Supervisor(sys.argv[2:], limits, notify=notify).run())
"""

_WORKER = """
import os, signal, sys, time
from pathlib import Path
from sanderling.statuspipe import StatusPipe
status = StatusPipe.attach()
here = Path(sys.argv[1])
def tries():
    "How often a worker was started here, this one included."
    with open(here / "tries", "a+") as file:
        file.write("x")
        file.flush()
        return file.tell()
"""


class Supervised:
    """Start a supervisor; use it in a `with` statement.

    Args:
        folder: where the worker's script and what it keeps is.
        script: the worker's; `status` is its pipe, `here` the folder, `tries()` counts its starts.
        limits: in place of the supervisor's own.
        deaf: the worker ignores SIGABRT from its first moment on.
        manager_s: of the service manager's watchdog; 0 without one.
    """

    def __init__(
        self,
        folder: Path,
        script: str,
        *,
        deaf: bool = False,
        manager_s: float = 0,
        **limits: float,
    ) -> None:
        path = folder / "worker.py"
        path.write_text(_WORKER + textwrap.dedent(script))
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(folder / "notify"))
        self.manager.settimeout(LONGEST_S)
        environ = os.environ | {"NOTIFY_SOCKET": str(folder / "notify")}
        if deaf:
            environ["DEAF"] = "1"  # what the supervisor ignores, so does what it starts
        if manager_s:
            environ["WATCHDOG_USEC"] = str(round(manager_s * 1e6))
        worker = [sys.executable, str(path), str(folder)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _RUN, json.dumps(limits), *worker],
            stderr=subprocess.PIPE,
            env=environ,
        )
        self.pid = self._process.pid
        self.lines: list[str] = []
        self._rest = b""

    def __enter__(self) -> Supervised:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # and the kernel the worker
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()
        self.manager.close()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def event(self, name: str) -> dict[str, Any]:
        """Wait for an event; its fields, and its message."""
        while True:
            line = self._line()
            assert line is not None, f"no {name} in {self.lines}"
            # The worker writes there too, and not always whole lines.
            _, found, rest = line.partition('{"ts"')
            if found:
                read = json.loads(found + rest)
                if read["event"] == name:
                    return read["fields"] | {"message": read["message"]}

    def told(self, state: str) -> bytes:
        """Wait for what the service manager is told; the first datagram that begins so."""
        while True:
            message = self.manager.recv(4096)
            if message.startswith(state.encode()):
                return message

    def end(self) -> int:
        """Wait for the end; all lines are there, and the exit code is returned."""
        while self._line() is not None:
            pass
        return self._process.wait(LONGEST_S)

    def _line(self) -> str | None:
        assert self._process.stderr is not None
        descriptor = self._process.stderr.fileno()
        until = time.monotonic() + LONGEST_S
        while b"\n" not in self._rest:
            ready, _, _ = select.select([descriptor], [], [], max(0, until - time.monotonic()))
            assert ready, f"nothing more after {self.lines}"
            data = os.read(descriptor, 1 << 16)
            if not data:
                return None
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        self.lines.append(line.decode())
        return self.lines[-1]


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait for what nothing announces."""
    until = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < until, otherwise
        time.sleep(0.005)


def gone(pid: int) -> bool:
    """Whether it has ended; one that only waits to be reaped has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in {"Z", "X"}
