"""Foreign text: on its way in, and on its way to a person."""

from __future__ import annotations

import re

MAX_KEY_PARTS = 64
_DEEP_KEY = re.compile(
    rb"""(?<![\w-])(?:(?:[\w-]+|"(?:\\.|[^"\\\n]){0,100}"|'[^'\n]*')[ \t]*\.[ \t]*){%d}"""
    % MAX_KEY_PARTS
)


def has_deep_key(toml: bytes) -> bool:
    """Whether a dotted key has more than `MAX_KEY_PARTS` parts.

    Ask before the TOML reader is asked: its time goes with the square of their number.
    """
    return _DEEP_KEY.search(toml) is not None


def printable(text: object) -> str:
    """The text on one line, with nothing in it that a terminal would act upon.

    Whatever a guest, a model or a file name says of itself may hold escape sequences, line ends,
    marks that turn the writing round, or bytes that are no text. Each such character becomes `?`.

    Args:
        text: a string, or an error whose message is meant.
    """
    said = str(text)
    if said.isprintable():
        return said
    return "".join(char if char.isprintable() else "?" for char in said)
