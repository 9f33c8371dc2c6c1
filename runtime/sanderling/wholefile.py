"""Write a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from sanderling.errors import OutputError


def is_device(path: Path) -> bool:
    """Whether this is a device, a pipe or a socket: it is written to, and never replaced.

    As root a rename onto `/dev/null` would leave a file there, for every program of the machine.
    """
    return path.exists() and not path.is_file() and not path.is_dir()


def check_place(path: Path) -> None:
    """Refuse a place that cannot be written before the work, not after it.

    Raises:
        OutputError: it cannot be written.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} is not writable")


def write(path: Path, data: bytes) -> None:
    """Replace a file in one step: after a crash there is the old one or the new one.

    A device or a pipe is written to as it is.

    Raises:
        OutputError: it cannot be written.
    """
    part: str | None = None
    try:
        if is_device(path):
            path.write_bytes(data)
            return
        handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)  # mkstemp gives 0600
            os.fsync(file.fileno())
        os.replace(part, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as exc:
        if part is not None:
            with suppress(OSError):
                os.unlink(part)
        raise OutputError(f"{path}: cannot be written: {exc.strerror}") from exc
