"""Variants of one model, told by their file names: other numbers inside, or another input size.

    NAME.onnx  NAME-float.onnx  NAME-int8.onnx  NAME-s8s8.onnx  NAME-int8-s8s8.onnx
    each also with an input size: NAME-int8-320x240.onnx

Behind the NAME stand a kind, a flavour of int8 and a size, each at most once and in any order.
Files of the same NAME are variants of each other: in one pipeline each can stand for the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

KINDS = ("float", "int8")
FLAVOURS = ("s8s8", "u8s8")
"""Types of the activations and of the weights of an int8 model."""

_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Variant:
    """What a model's file name says.

    Attributes:
        name: the whole name, without `.onnx`.
        stem: the part that variants share.
        kind: one of `KINDS`; empty when the name does not say.
        flavour: one of `FLAVOURS`; empty when the name does not say.
        size: width and height of its input in pixels; None when the name does not say.
    """

    name: str
    stem: str
    kind: str = ""
    flavour: str = ""
    size: tuple[int, int] | None = None

    @property
    def area(self) -> int:
        """Pixels of the input; 0 when the name does not say."""
        return self.size[0] * self.size[1] if self.size else 0


def parse(name: str) -> Variant:
    """What a model's name says, as `centerface-int8-320x240` does."""
    stem, kind, flavour, size = name, "", "", None
    while True:
        rest, dash, word = stem.rpartition("-")
        if not dash or not rest:
            break
        match = _SIZE.fullmatch(word)
        if word in KINDS and not kind:
            kind = word
        elif word in FLAVOURS and not flavour:
            flavour = word
        elif match and size is None:
            size = int(match[1]), int(match[2])
        else:
            break
        stem = rest
    return Variant(name, stem, kind or ("int8" if flavour else ""), flavour, size)


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
        The greatest of the same kind whose input is smaller, of the same flavour if there are two;
        a name without a size counts as larger than any with one. None when there is none.
    """
    own = parse(name)
    found = [
        other
        for other in siblings(name, names)[1:]
        if other.kind == own.kind and other.area and (not own.area or other.area < own.area)
    ]
    return max(
        (other.name for other in found),
        key=lambda other: (parse(other).area, parse(other).flavour == own.flavour, other),
        default=None,
    )
