"""A daemon in this process, on a board that a test makes hot and with a clock that it turns."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hostile
from sanderling import board
from sanderling.daemon import Daemon
from supervised import wait_until

BOARDS = Path(__file__).parent / "boards"
ZONE = "sys/class/thermal/thermal_zone0/temp"
CHIP = "sys/class/hwmon/hwmon0/temp1_input"
LONGEST_S = 60


class Said:
    """What the supervisor is told, and what is logged."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.records: list[logging.LogRecord] = []

    def ready(self) -> None:
        self.words.append("ready")

    def beat(self) -> None:
        self.words.append("beat")

    def reloading(self) -> None:
        self.words.append("reloading")

    def status(self, text: str) -> None:
        self.words.append(text)

    def stopping(self) -> None:
        self.words.append("stopping")

    def all(self, event: str) -> list[str]:
        """What was said of an event, each time."""
        found = [one for one in self.records if getattr(one, "event", "") == event]
        return [one.getMessage() for one in found]


class _Collector(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self.emit = records.append  # type: ignore[method-assign]


class Running:
    """A daemon and the world that it sees.

    Args:
        folder: for its files; `daemon.toml` is there.
        name: the recorded board.
        resident_mb: what the daemon is told that it takes.
    """

    def __init__(
        self, folder: Path, name: str, resident_mb: Callable[[], float] | None = None
    ) -> None:
        self.folder = folder
        self.root = folder / "board"
        if not self.root.exists():
            shutil.copytree(BOARDS / name, self.root)
        self.said = Said()
        self.now_ns = 1_000_000_000
        self.daemon = Daemon(
            folder / "daemon.toml",
            self.said,
            board.read(self.root),
            clock_ns=lambda: self.now_ns,
            resident_mb=resident_mb or (lambda: 1.0),
        )

    def heat(self, celsius: float) -> None:
        """The board has this temperature from here on."""
        for place in (ZONE, CHIP):
            (self.root / place).write_text(f"{round(celsius * 1000)}\n")

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass, and let the daemon do what is due then."""
        self.now_ns += int(seconds * 1e9)
        self.daemon.look_around()
        assert self.daemon.wait(LONGEST_S)

    def counts(self, camera: str) -> dict:
        return self.daemon._deployment.counts()[camera]

    def processed(self, camera: str, more: int) -> None:
        """Wait until so many more frames of a camera have been processed."""
        least = self.counts(camera)["processed"] + more
        wait_until(lambda: self.counts(camera)["processed"] >= least, f"no {more} of {camera}")

    def wait_for(self, event: str) -> str:
        """Wait for an event; its message."""
        wait_until(lambda: bool(self.said.all(event)), f"no {event} in {self.events()}")
        return self.said.all(event)[0]

    def events(self) -> list[str]:
        return [getattr(record, "event", "?") for record in self.said.records]


@contextmanager
def running(
    folder: Path,
    name: str = "raspberry-pi-5",
    resident_mb: Callable[[], float] | None = None,
) -> Iterator[Running]:
    """Run the `daemon.toml` of a folder on a recorded board."""
    root, log = logging.getLogger(), logging.getLogger("sanderling.daemon")
    handlers, level = list(root.handlers), root.level
    going = Running(folder, name, resident_mb)
    collector = _Collector(going.said.records)
    log.addHandler(collector)
    try:
        going.daemon.begin()
        yield going
    finally:
        going.daemon.wait(LONGEST_S)
        going.daemon.end()
        log.removeHandler(collector)
        root.handlers[:] = handlers
        root.setLevel(level)


def write(folder: Path, text: str, **pipelines: str) -> Path:
    """Write `daemon.toml` and pipelines of a hostile guest.

    Args:
        folder: where.
        text: the configuration.
        pipelines: by name, what stands in the pipeline file besides the guest.
    """
    hostile.write(folder)
    for name, extra in pipelines.items():
        path = folder / f"{name}.toml"
        path.write_text(
            f'[pipeline]\nname = "{name}"\n{extra}\n[[stage]]\nguest = "hostile"\nname = "{name}"\n'
        )
    path = folder / "daemon.toml"
    path.write_text(text)
    return path
