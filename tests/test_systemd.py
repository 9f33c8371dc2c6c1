"""What systemd is told, read from a socket as systemd reads it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sanderling import systemd
from sanderling.systemd import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """The socket of a service manager, in the file system or in the abstract namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        abstract = f"\0sanderling-test-{os.getpid()}"
        listening.bind(str(tmp_path / "notify") if request.param == "path" else abstract)
        listening.settimeout(10)
        yield listening


def address(manager: socket.socket) -> str:
    name = manager.getsockname()
    return name if isinstance(name, str) else "@" + os.fsdecode(name[1:])


def test_each_state_is_one_datagram(manager: socket.socket) -> None:
    notify = Notifier(address(manager), clock_ns=lambda: 1_234_567_890)
    for call in (notify.ready, notify.reloading, notify.watchdog, notify.stopping):
        assert call()
    assert notify.status("4 cameras\nREADY=1")
    assert [manager.recv(4096) for _ in range(5)] == [
        b"READY=1",
        b"RELOADING=1\nMONOTONIC_USEC=1234567",
        b"WATCHDOG=1",
        b"STOPPING=1",
        b"STATUS=4 cameras?READY=1",  # nothing is smuggled in by a line end
    ]


def test_the_environment_says_where_and_how_often(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": address(manager), "WATCHDOG_USEC": "30000000"}
    for pid, seconds in ((None, 30), (os.getpid(), 30), (1, 0)):
        if pid is not None:
            environ["WATCHDOG_PID"] = str(pid)
        notify = Notifier.from_environment(environ)
        assert notify.watchdog_s == seconds
        assert notify.ready()
        assert manager.recv(4096) == b"READY=1"


@pytest.mark.parametrize("usec", ["", "x", "-5", "1e6", "9" * 40])
def test_a_time_that_is_none_is_no_watchdog(usec: str) -> None:
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": usec}
    assert Notifier.from_environment(environ).watchdog_s == 0


@pytest.mark.parametrize("address", [None, "", "/", "@", "vsock:2:1", "relative"])
def test_without_systemd_nothing_is_sent(address: str | None) -> None:
    environ = {"WATCHDOG_USEC": "1000000"}
    notify = Notifier.from_environment(environ | ({"NOTIFY_SOCKET": address} if address else {}))
    assert notify.watchdog_s == 0
    assert notify.ready()


@pytest.mark.parametrize("address", ["/nowhere/notify", "/" + "x" * 300, "@nobody-listens-here"])
def test_a_socket_that_nobody_reads_is_said_not_raised(address: str) -> None:
    assert not Notifier(address).ready()


def test_whether_systemd_runs(tmp_path: Path) -> None:
    assert not systemd.is_running(str(tmp_path))
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert systemd.is_running(str(tmp_path))
