"""Structured logs: their two forms, their limit, and what they survive."""

from __future__ import annotations

import io
import json
import logging
import os
from pathlib import Path

import pytest

from sanderling import logs
from sanderling.logs import ERROR, EVERY_S, WARNING, Handler, Limiter, event

AT = 1_767_225_600_123_456_789  # 2026-01-01, with a fraction


def logger(stream: io.TextIOBase, form: str = "json", **options: object) -> logging.Logger:
    made = logging.Logger("sanderling.test")
    made.addHandler(Handler(stream, form, wall_ns=lambda: AT, **options))  # type: ignore[arg-type]
    return made


def test_a_line_of_json_has_the_time_the_event_and_its_fields() -> None:
    out = io.StringIO()
    event(
        logger(out),
        "camera_lost",
        "no frame",
        level=WARNING,
        camera="door",
        tries=3,
        x=float("nan"),
    )
    assert json.loads(out.getvalue()) == {
        "ts": "2026-01-01T00:00:00.123Z",
        "level": "warning",
        "event": "camera_lost",
        "message": "no frame",
        "fields": {"camera": "door", "tries": 3, "x": "nan"},
    }
    assert out.getvalue().endswith("}\n")


def test_a_line_of_text_is_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    out = io.StringIO()
    log = logger(out, "text")
    event(log, "camera_lost", "no frame for 5 s", level=WARNING, camera="the door", fps=29.97002997)
    event(log, "camera_found", camera="")
    assert [line.partition(" ")[2].partition(" ")[2] for line in out.getvalue().splitlines()] == [
        'warning camera_lost: no frame for 5 s camera="the door" fps=29.97',
        'info camera_found camera=""',
    ]


@pytest.mark.parametrize("form", logs.FORMATS)
def test_foreign_text_stays_on_its_line(form: str) -> None:
    out = io.StringIO()
    event(logger(out, form), "lost", "\x1b[2J\nINFO all is well", camera='a"b\r\n\u202e')
    (line,) = out.getvalue().splitlines()
    assert line.isprintable()
    if form == "json":
        assert json.loads(line)["fields"] == {"camera": 'a"b\r\n\u202e'}


def test_the_journal_gets_priorities_and_keeps_the_time_itself() -> None:
    out = io.StringIO()
    log = logger(out, "text", journal=True)
    for level in (logging.DEBUG, logging.INFO, WARNING, ERROR, logging.CRITICAL):
        event(log, "x", level=level)
    assert out.getvalue().splitlines() == ["<7>x", "<6>x", "<4>x", "<3>x", "<2>x"]


@pytest.mark.parametrize("form", logs.FORMATS)
def test_a_fault_of_ours_comes_with_its_traceback(form: str) -> None:
    out = io.StringIO()
    try:
        raise ValueError("two\nlines")
    except ValueError as exc:
        event(logger(out, form, journal=True), "fault", level=ERROR, exc_info=exc)
    lines = out.getvalue().splitlines()
    assert all(line.startswith("<3>") for line in lines)
    assert "test_logs.py" in out.getvalue()
    assert len(lines) == 1 if form == "json" else len(lines) > 3


def test_other_libraries_are_written_too() -> None:
    out = io.StringIO()
    logger(out).error("%d of %s", 3, "cameras")
    line = json.loads(out.getvalue())
    assert (line["event"], line["message"], line["fields"]) == (
        "sanderling.test",
        "3 of cameras",
        {},
    )


def test_what_comes_again_and_again_is_written_rarely_and_counted() -> None:
    now = [0.0]
    out = io.StringIO()
    log = logger(out, clock=lambda: now[0])
    for second in range(101):
        now[0] = second
        event(log, "lost", "no frame", camera="door", key="door")
    messages = [json.loads(line)["message"] for line in out.getvalue().splitlines()]
    # Five at once; a token has come back at 30, 60 and 90 s.
    assert messages == [
        *["no frame"] * 5,
        "no frame (25 more like this)",
        *["no frame (29 more like this)"] * 2,
    ]


def test_the_limit_is_for_each_event_and_key() -> None:
    out = io.StringIO()
    log = logger(out, clock=lambda: 0.0)
    for _ in range(20):
        event(log, "lost", key="door")
        event(log, "lost", key="yard")
        event(log, "found", key="door")
        event(log, "died", key=None)  # never left out
        log.warning("of another library")
    names = [json.loads(line)["event"] for line in out.getvalue().splitlines()]
    counts = {name: names.count(name) for name in names}
    assert counts == {"lost": 10, "found": 5, "died": 20, "sanderling.test": 5}


def test_after_a_long_quiet_it_starts_anew() -> None:
    now = [0.0]
    limiter = Limiter(lambda: now[0])
    assert [limiter.admit("a", "") for _ in range(7)] == [0, 0, 0, 0, 0, None, None]
    now[0] = 10 * EVERY_S
    assert [limiter.admit("a", "") for _ in range(6)] == [2, 0, 0, 0, 0, None]
    now[0] = 0.0  # a clock that goes back gives nothing and breaks nothing
    assert limiter.admit("a", "") is None


def test_kinds_without_end_take_no_memory() -> None:
    limiter = Limiter(lambda: 0.0)
    for number in range(5000):
        limiter.admit("lost", str(number))
    assert len(limiter._kinds) == 1024
    assert limiter.admit("lost", "4999") == 0


class Unsayable:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_a_call_never_raises() -> None:
    log = logger(io.StringIO(), "text")
    event(log, "x", value=Unsayable())  # type: ignore[arg-type]
    event(log, "x", value=10**5000)
    closed = io.StringIO()
    closed.close()
    other = logger(closed)
    event(other, "x")
    other.error("%d", "no number")
    lost = [handler.lost for made in (log, other) for handler in made.handlers]  # type: ignore[attr-defined]
    assert lost == [2, 2]


def test_a_reader_that_is_gone_costs_the_line() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    out = os.fdopen(writer, "w", buffering=1)
    log = logger(out)
    event(log, "x")
    assert log.handlers[0].lost == 1  # type: ignore[attr-defined]
    with pytest.raises(BrokenPipeError):
        out.close()


def test_fields_that_are_too_long_are_cut() -> None:
    out = io.StringIO()
    event(logger(out), "x", path="y" * 100_000)
    assert len(out.getvalue()) < 2000


def test_stderr_is_the_journal_when_the_variable_names_it(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as out:
        status = os.fstat(out.fileno())
        named = f"{status.st_dev}:{status.st_ino}"
        assert logs.is_journal(out, {"JOURNAL_STREAM": named})
        for other in ("", "1:2", named + "0"):
            assert not logs.is_journal(out, {"JOURNAL_STREAM": other})
    assert not logs.is_journal(out, {"JOURNAL_STREAM": named}), "closed"
    assert not logs.is_journal(io.StringIO(), {"JOURNAL_STREAM": named})


def test_to_configure_again_replaces_what_was_before(capfd: pytest.CaptureFixture[str]) -> None:
    log = logging.Logger("sanderling.test")
    logs.configure("text", "debug", logger=log, stream=io.StringIO())
    logs.configure("json", "warning", logger=log)
    event(log, "quiet")
    event(log, "loud", level=WARNING)
    (line,) = capfd.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "loud"
