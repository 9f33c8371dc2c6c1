"""Tables and sizes for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from sanderling.errors import ConfigError
from sanderling.text import printable

_MAX_SIDE = 1 << 14


class GivenPath(click.Path):
    """A path that somebody gave; an empty one is an unset variable in a script, not this folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """The path, unless it is empty."""
        if not str(value):
            self.fail("the path is empty", param, ctx)
        return Path(str(value))


def not_empty(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """For a path whose writing matters: a slash at its end, a lone `-`."""
    if value == "":
        raise click.BadParameter("the path is empty", ctx, param)
    return value


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns side by side, the first row as head; each cell is made printable.

    Args:
        rows: equally long rows of cells.
        right: the columns that are aligned to the right.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def count(number: int, one: str, many: str = "") -> str:
    """`1 frame`, `2 frames`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def parse_size(text: str, what: str) -> tuple[int, int]:
    """Width and height out of `WxH`.

    Raises:
        ConfigError: it is something else.
    """
    width, cross, height = text.lower().partition("x")
    if cross and len(text) < 20 and width.isdecimal() and height.isdecimal():
        size = int(width), int(height)
        if all(0 < side <= _MAX_SIDE for side in size):
            return size
        raise ConfigError(f"{what}: {text!r}: each side must be 1 to {_MAX_SIDE} pixels")
    raise ConfigError(f"{what}: {text!r} is not a size such as 640x480")
