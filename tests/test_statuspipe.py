"""The lines from the worker to its supervisor, written and read."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from sanderling.statuspipe import PARENT, VARIABLE, Lines, StatusPipe


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue  # the test closed it


def test_each_call_is_a_line(pipe: tuple[int, int]) -> None:
    status = StatusPipe(pipe[1])
    status.ready()
    status.status("4 cameras\nready \x1b[31m")
    status.reloading()
    status.stopping()
    lines = Lines()
    assert lines.feed(os.read(pipe[0], 4096)) == [
        ("ready", ""),
        ("status", "4 cameras?ready ?[31m"),
        ("reloading", ""),
        ("stopping", ""),
    ]


def test_beats_are_written_once_a_second(pipe: tuple[int, int]) -> None:
    now = [0.0]
    status = StatusPipe(pipe[1], lambda: now[0])
    for tenth in range(26):
        now[0] = tenth / 10
        status.beat()
    assert os.read(pipe[0], 4096) == b"beat\n" * 3


def test_nobody_waits_for_a_supervisor_that_does_not_read(pipe: tuple[int, int]) -> None:
    status = StatusPipe(pipe[1])
    for _ in range(20_000):  # 120,000 bytes, twice what a pipe holds
        status.ready()
    held = os.read(pipe[0], 1 << 20)
    assert 0 < len(held) < 120_000
    assert not held.replace(b"ready\n", b""), "a part of a line was written"
    status.ready()
    assert os.read(pipe[0], 100) == b"ready\n"


def test_a_supervisor_that_is_gone_is_no_error(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    status = StatusPipe(pipe[1])
    status.ready()
    status.beat()


def test_attaching_takes_the_pipe_out_of_the_environment(pipe: tuple[int, int]) -> None:
    os.set_inheritable(pipe[1], True)
    environ = {VARIABLE: str(pipe[1]), "HOME": "/"}
    StatusPipe.attach(environ).ready()
    assert environ == {"HOME": "/"}
    assert not os.get_inheritable(pipe[1]), "children of the worker must not hold it open"
    assert os.read(pipe[0], 100) == b"ready\n"


@pytest.mark.parametrize("value", [None, "", "x", "-1", "٣", "999999", "9" * 30])
def test_without_a_pipe_nothing_is_said(value: str | None) -> None:
    status = StatusPipe.attach({} if value is None else {VARIABLE: value, PARENT: ""})
    status.ready()
    status.status("x")


def test_lines_come_in_any_pieces() -> None:
    lines = Lines()
    found = [line for byte in b"ready\nstatus a b\nbeat\n" for line in lines.feed(bytes([byte]))]
    assert found == [("ready", ""), ("status", "a b"), ("beat", "")]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"reboot",
        b"READY",
        b" ready",
        b"ready\r",
        b"\xff\xfe",
        b"\0" * 100,
        b"status " + b"x" * 2000,
    ],
)
def test_what_is_no_line_is_passed_over(line: bytes) -> None:
    assert Lines().feed(line + b"\nbeat\n") == [("beat", "")]


def test_a_line_without_an_end_takes_no_memory() -> None:
    lines = Lines()
    for _ in range(100):
        assert lines.feed(b"status " * 1000) == []
    assert len(lines._rest) < 2000
    assert lines.feed(b"\nready\n") == [("ready", "")]


def test_a_status_is_one_short_printable_line() -> None:
    ((_, text),) = Lines().feed(b"status \x1b]0;\xe2\x80\xae" + b"y" * 500 + b"\n")
    assert text.isprintable()
    assert len(text) == 200
