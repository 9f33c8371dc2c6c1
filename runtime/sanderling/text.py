"""Foreign text on its way to a person."""

from __future__ import annotations


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
