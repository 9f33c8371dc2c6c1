"""Small files that a kernel writes, read from a root that may be a folder of recordings."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MAX_BYTES = 1 << 20
_DIGITS = re.compile(r"([0-9]+)")


class Files:
    """Files below a root. Nothing here raises: what cannot be read is not there.

    Args:
        root: `/`, or a folder with recorded files in the same places.

    Attributes:
        root: the root, absolute.
        real: whether it is this machine's own root, so that system calls tell the same story.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))
        self.real = os.path.realpath(root) == "/"

    def path(self, place: str | Path) -> Path:
        """Where a place of the board, such as `proc/cpuinfo`, is."""
        return self.root / place

    def data(self, place: str | Path) -> bytes:
        """The first MiB of a file; nothing when it cannot be read."""
        try:
            # A recording may hold a pipe: not to wait for a writer, who may never come.
            handle = os.open(self.path(place), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return b""
        try:
            with os.fdopen(handle, "rb") as file:
                return file.read(_MAX_BYTES) or b""
        except OSError:  # a folder; a sensor that is switched off
            return b""

    def text(self, place: str | Path) -> str:
        """A file as text, without what surrounds it; a NUL at the end is not part of it."""
        return self.data(place).decode(errors="replace").strip("\0 \t\r\n")

    def words(self, place: str | Path) -> tuple[str, ...]:
        """A list with NULs between, as the device tree has them."""
        return tuple(word for word in self.text(place).split("\0") if word)

    def number(self, place: str | Path, base: int = 10) -> int | None:
        """A whole number; None when the file holds none."""
        return whole(self.text(place), base)

    def fields(self, place: str | Path) -> dict[str, str]:
        """Lines such as `MemTotal:  1024 kB` by what stands before the colon."""
        pairs = (line.partition(":") for line in self.text(place).splitlines())
        return {key.strip(): value.strip() for key, colon, value in pairs if colon}

    def glob(self, pattern: str) -> list[Path]:
        """The paths below the root that fit, in order, numbers by their value."""
        try:
            return sorted(self.root.glob(pattern), key=_by_number)
        except (OSError, ValueError):
            return []


def whole(text: str, base: int = 10) -> int | None:
    """A whole number out of foreign text; None when it is none, or has no sensible length."""
    if len(text) > 40:
        return None
    try:
        return int(text, base)
    except ValueError:
        return None


def _by_number(path: Path) -> list[tuple[int, str]]:
    """So that `cpu2` comes before `cpu10`."""
    return [
        (int(part) if part.isascii() and part.isdigit() else -1, part)
        for part in _DIGITS.split(str(path))
    ]
