"""Structured logs: events with fields, as text for people or as JSON lines for programs.

    log = logging.getLogger("sanderling.cameras")
    event(log, "camera_lost", "no frame for 5 s", level=WARNING, camera="door")

An event of one kind that comes again and again is written five times, then once in 30 seconds,
with how many it stands for.

A call never raises: what cannot be written is counted in `Handler.lost`. Writing is the standard
library's: under a lock, to a blocking stream. So when whoever reads stderr stands still and the
pipe is full (64 KiB), the call waits for it; when the reader is gone, the line is lost.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal, TextIO

from sanderling.text import printable

DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR
LEVELS = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR}
FORMATS = ("text", "json")

Format = Literal["text", "json"]
Field = str | int | float | bool | None

BURST = 5
"""Events of one kind that are written in a row."""
EVERY_S = 30.0
"""After that, one in so many seconds."""
_MAX_KINDS = 1024
"""Kinds that are told apart; beyond, the one that was quiet longest is forgotten."""
_MAX_FIELD = 1000
"""Characters of one value."""


def event(
    log: logging.Logger,
    name: str,
    message: str = "",
    /,
    *,
    level: int = INFO,
    key: str | None = "",
    exc_info: BaseException | None = None,
    **fields: Field,
) -> None:
    """Log that something happened.

    Args:
        log: whose event it is.
        name: what kind of event: `camera_lost`.
        message: one sentence for people; may be left out where the fields say it all.
        level: `DEBUG`, `INFO`, `WARNING` or `ERROR`.
        key: events of the same name are limited by key, such as the camera's name; None for one
            that must never be left out.
        exc_info: an error whose traceback is wanted, for faults of ours.
        fields: what a program may want to read: numbers, names, reasons.
    """
    with suppress(Exception):  # a full disk, a signal's error, a field that cannot be formatted
        if log.isEnabledFor(level):
            extra = {"event": name, "key": key, "fields": fields}
            log.log(level, "%s", message, extra=extra, exc_info=exc_info)


class Limiter:
    """Lets `BURST` of a kind through, then one every `EVERY_S`; counts the others.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}

    def admit(self, name: str, key: str) -> int | None:
        """Whether this one is written.

        Returns:
            How many like it were left out since the last that was written; None when this one is
            left out too.
        """
        now = self._clock()
        # Each that is written moves `free`, when the kind would be as if new, by `EVERY_S`. What
        # was used last stands at the end.
        free, left_out = self._kinds.pop((name, key), (now, 0))
        free = max(free, now)
        admitted = free - now <= (BURST - 1) * EVERY_S
        self._kinds[name, key] = (free + EVERY_S, 0) if admitted else (free, left_out + 1)
        if len(self._kinds) > _MAX_KINDS:
            del self._kinds[next(iter(self._kinds))]
        return left_out if admitted else None


class Handler(logging.StreamHandler[TextIO]):
    """Writes events, each on a line of its own.

    Args:
        stream: where to.
        form: `text` or `json`.
        journal: each line begins with its priority, which the journal takes off again.
        clock: seconds, monotonic; for the limit.
        wall_ns: nanoseconds since 1970, for the lines.

    Attributes:
        lost: lines that could not be written.
    """

    def __init__(
        self,
        stream: TextIO,
        form: Format = "text",
        *,
        journal: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(stream)
        self.lost = 0
        self._json = form == "json"
        self._journal = journal
        self._wall_ns = wall_ns
        self._limiter = Limiter(clock)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless there were too many like it.

        A record that is no event, from another library, is limited by its unformatted message.
        """
        name, key = getattr(record, "event", record.name), getattr(record, "key", record.msg)
        left_out = 0 if key is None else self._limiter.admit(str(name), str(key))
        if left_out is not None:
            record.left_out = left_out
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Count it: there is nowhere to complain."""
        self.lost += 1

    def format(self, record: logging.LogRecord) -> str:
        """The record's line, or lines where a traceback belongs to it."""
        message = record.getMessage()
        if left_out := getattr(record, "left_out", 0):
            message = f"{message} ({left_out} more like this)".lstrip()
        trace = ""
        if record.exc_info and record.exc_info[1] is not None:
            trace = "".join(traceback.format_exception(record.exc_info[1]))
        lines = [
            self._as_json(record, message, trace) if self._json else self._text(record, message)
        ]
        if not self._json:
            lines += [f"  {printable(line)}" for line in trace.splitlines()]
        start = f"<{_priority(record.levelno)}>" if self._journal else ""
        return "\n".join(start + line for line in lines)

    def _text(self, record: logging.LogRecord, message: str) -> str:
        name = getattr(record, "event", record.name)
        said = [f"{name}: {printable(message)}" if message else str(name)]
        said += [f"{key}={_quoted(value)}" for key, value in _fields(record).items()]
        if self._journal:  # which keeps time and level itself
            return " ".join(said)
        seconds = self._wall_ns() // 1_000_000_000
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
        return " ".join([at, record.levelname.lower(), *said])

    def _as_json(self, record: logging.LogRecord, message: str, trace: str) -> str:
        seconds, rest = divmod(self._wall_ns(), 1_000_000_000)
        line: dict[str, object] = {
            "ts": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
            + f".{rest // 1_000_000:03d}Z",
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            "message": message,
            "fields": _fields(record),
        }
        if trace:
            line["traceback"] = trace
        # In ASCII, with NaN as text (see _fields): any JSON reader takes it.
        return json.dumps(line, allow_nan=False)


def _fields(record: logging.LogRecord) -> dict[str, Field]:
    fields: Mapping[str, Field] = getattr(record, "fields", {})
    return {key: _plain(value) for key, value in fields.items()}


def _plain(value: object) -> Field:
    """The value as JSON has it: foreign text cut, numbers that JSON has no words for as text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # NaN and infinity are not
    return str(value)[:_MAX_FIELD]


def _quoted(value: Field) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = printable(value)
    plain = text and not any(char in text for char in " \"='")
    return text if plain else json.dumps(text, ensure_ascii=False)


def _priority(level: int) -> int:
    """The journal's word for a level: 7 debug, 6 info, 4 warning, 3 error, 2 critical."""
    steps = ((logging.CRITICAL, 2), (ERROR, 3), (WARNING, 4), (INFO, 6))
    return next((priority for least, priority in steps if level >= least), 7)


def is_journal(stream: TextIO, environ: Mapping[str, str] | None = None) -> bool:
    """Whether what is written to a stream goes to the journal, as `$JOURNAL_STREAM` says."""
    environ = os.environ if environ is None else environ
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def configure(
    form: Format = "text",
    level: str = "info",
    *,
    stream: TextIO | None = None,
    logger: logging.Logger | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Handler:
    """Send the events of this process to stderr; called again, it replaces what was set before.

    Args:
        form: one of `FORMATS`.
        level: one of `LEVELS`; what is below is not written.
        stream: instead of stderr.
        logger: instead of the root, which other libraries log through too.
        clock: seconds, monotonic.
    """
    stream = sys.stderr if stream is None else stream
    logger = logging.getLogger() if logger is None else logger
    handler = Handler(stream, form, journal=is_journal(stream), clock=clock)
    logger.handlers[:] = [handler]
    logger.setLevel(LEVELS[level])
    return handler
