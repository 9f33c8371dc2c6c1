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


_PASSWORD = re.compile(r"(?<=://)([^/?#\s:@]*):[^/?#\s]*@")
# One with a slash in it, which no parser accepts: that is when the address is shown.
_ODD_PASSWORD = re.compile(r"(?<=://)([^/?#\s:@]*):(?!\*\*\*@|\d{1,5}(?:[/?#]|$))\S*@")
_SECRETS = re.compile(
    r"([?&#;][a-z_-]*(?:pass|password|passwd|pwd|token|secret|key|auth|signature)=)[^&#;\s]*",
    re.IGNORECASE,
)


def masked(address: str) -> str:
    """The address without its passwords, for messages, names and logs.

    Args:
        address: a URL, or a text with URLs in it.
    """
    address = _PASSWORD.sub(r"\1:***@", address)
    return _SECRETS.sub(r"\1***", _ODD_PASSWORD.sub(r"\1:***@", address))


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
