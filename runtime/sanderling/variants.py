"""Variants of one model, told by their file names: other numbers inside, or another input size.

    NAME.onnx  NAME-float.onnx  NAME-int8.onnx  NAME-s8s8.onnx  NAME-u8s8.onnx
    each also with an input size behind it: NAME-int8-320x240.onnx

Files of the same NAME are variants of each other: in one pipeline each can stand for the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

KINDS = ("float", "int8", "s8s8", "u8s8")
"""What a name says of a model's numbers; `s8s8` and `u8s8` are int8 of a given flavour."""

_NAME = re.compile(
    rf"(?P<stem>.+?)(?:-(?P<kind>{'|'.join(KINDS)}))?(?:-(?P<width>\d{{1,5}})x(?P<height>\d{{1,5}}))?",
)


@dataclass(frozen=True, slots=True)
class Variant:
    """What a model's file name says.

    Attributes:
        name: the whole name, without `.onnx`.
        stem: the part that variants share.
        kind: one of `KINDS`; empty when the name does not say.
        size: width and height of its input in pixels; None when the name does not say.
    """

    name: str
    stem: str
    kind: str = ""
    size: tuple[int, int] | None = None

    @property
    def area(self) -> int:
        """Pixels of the input; 0 when the name does not say."""
        return self.size[0] * self.size[1] if self.size else 0


def parse(name: str) -> Variant:
    """What a model's name says, as `centerface-int8-320x240` does."""
    match = _NAME.fullmatch(name)
    if match is None:
        return Variant(name, name)
    size = (int(match["width"]), int(match["height"])) if match["width"] else None
    return Variant(name, match["stem"], match["kind"] or "", size)


def siblings(name: str, names: Iterable[str]) -> list[Variant]:
    """The variants of a model among these names, itself first, then by name."""
    own = parse(name)
    others = {other for other in names if parse(other).stem == own.stem and other != name}
    return [own, *map(parse, sorted(others))]


def smaller(name: str, names: Iterable[str]) -> str | None:
    """The variant to run when a board is too hot.

    Args:
        name: the model that runs.
        names: the models there are.

    Returns:
        The greatest of the same kind whose input is smaller; a name without a size counts as larger
        than any with one. None when there is none.
    """
    own = parse(name)
    found = [
        other
        for other in siblings(name, names)[1:]
        if other.kind == own.kind and other.area and (not own.area or other.area < own.area)
    ]
    return max(found, key=lambda other: (other.area, other.name)).name if found else None
