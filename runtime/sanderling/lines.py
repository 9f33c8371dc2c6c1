"""The daemon's results as JSON Lines, added to a file."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sanderling.detections import Result
from sanderling.errors import OutputError


@dataclass(frozen=True, slots=True)
class Line:
    """A result of the daemon's.

    Attributes:
        camera: the camera's name.
        result: what its frame came to.
    """

    camera: str
    result: Result

    def as_dict(self) -> dict[str, object]:
        """The line that is written: camera and capture time, then what `--json` writes."""
        seconds, rest = divmod(self.result.wall_ns, 1_000_000_000)
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        return {
            "camera": self.camera,
            "time": f"{at}.{rest // 1_000_000:03d}Z",
            **self.result.as_dict(),
        }


class LineSink:
    """Adds a JSON object a line to a file, for months.

    A file that was moved away (by logrotate, say) is begun anew. What was written of a line when a
    disk was full is taken back, so that the file is lines and nothing else.

    Args:
        where: a path, or `-` for stdout.
    """

    def __init__(self, where: Path | None) -> None:
        self._path = where
        self._encoder = msgspec.json.Encoder()
        self._descriptor = -1 if where is not None else sys.stdout.fileno()

    def write(self, line: Line) -> None:
        """Add a line.

        Raises:
            OutputError: it cannot be written; the next one may.
        """
        data = self._encoder.encode(line.as_dict()) + b"\n"
        try:
            self._open()
            began = os.lseek(self._descriptor, 0, os.SEEK_END) if self._path is not None else 0
            written = os.write(self._descriptor, data)
            if written != len(data):
                if self._path is not None:
                    os.ftruncate(self._descriptor, began)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as exc:
            self._let_go()
            where = self._path or "stdout"
            raise OutputError(f"{where}: cannot be written: {exc.strerror or exc}") from exc

    def _open(self) -> None:
        if self._path is None:
            return
        if self._descriptor >= 0:
            try:
                there = os.stat(self._path)
                ours = os.fstat(self._descriptor)
                if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                    return
            except FileNotFoundError:
                pass
            self._let_go()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o644)

    def _let_go(self) -> None:
        if self._path is not None and self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def close(self) -> None:
        """Nothing more comes."""
        self._let_go()
