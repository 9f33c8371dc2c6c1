"""What is wrong with a file, in the words of the file: which key, and what would be accepted."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from sanderling.text import printable

_AT = re.compile(r"^(?P<what>.*?)(?: - at (?:`key` in )?`\$(?P<path>[^`]*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`")
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_WORD = re.compile(r"Invalid enum value (.*)", re.DOTALL)
_TYPE = re.compile(r"Expected `([^`]*)`, got `([^`]*)`$")
_BOUND = re.compile(r"Expected `[^`]*` (of length )?(<=|>=|<|>) ([-+.\deE]+)$")
_LENGTH = re.compile(r"Expected `array` of length (\d+), got (\d+)$")
_PATTERN = re.compile(r"Expected `str` matching regex ")
_LINE = re.compile(r"\(at line (\d+), column \d+\)")
_SIGNS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_KINDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "a table",
    "array": "a list",
    "null": "nothing",
}


def explain(exc: msgspec.ValidationError, root: type[msgspec.Struct]) -> str:
    """What a file that holds a `root` has wrong.

    Args:
        exc: what msgspec said of it.
        root: the type it was read as.

    Returns:
        One printable line: the key's place, what was found, and what would be accepted.
    """
    match = _AT.match(str(exc))
    what = match["what"] if match else str(exc)
    path = (match["path"] or "").lstrip(".") if match else ""
    place = re.sub(r"\[(\d+)\]", lambda index: f" {int(index[1]) + 1}", path).replace("[...]", "")
    said = _sentence(what, path, _hint_at(root, path))
    return printable(f"{place}: {said}" if place else said)


def explain_toml(exc: Exception, text: bytes) -> str:
    """Why a text is no TOML, with the line where the reader stopped.

    Returns:
        One printable line.
    """
    said = str(exc)
    match = _LINE.search(said)
    lines = text.splitlines()
    if match and 0 < int(match[1]) <= len(lines):
        line = lines[int(match[1]) - 1].decode(errors="replace").strip()
        said += f": {line if len(line) <= 80 else line[:77] + '...'}"
    return printable(said)


def did_you_mean(word: str, known: list[str]) -> str:
    """`; did you mean 'guest'?` where one of the known words is close, else nothing."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _sentence(what: str, path: str, hint: object) -> str:
    if match := _UNKNOWN.match(what):
        known = list(struct.__struct_encode_fields__) if (struct := _struct(hint)) else []
        listed = f"; known are {', '.join(known)}" if known else ""
        return f"unknown key {match[1]!r}{listed}{did_you_mean(match[1], known)}"
    if match := _MISSING.match(what):
        return "missing " + _written(match[1], _step(hint, match[1]))
    if match := _TYPE.match(what):
        return _wrong_type(match[1], match[2], path, hint)
    if match := _WORD.match(what):
        words = [word for part in _parts(hint) if get_origin(part) is Literal
                 for word in get_args(part)]  # fmt: skip
        return f"{match[1]} is not one of {', '.join(map(repr, words))}"
    if match := _BOUND.match(what):
        length = "its length " if match[1] else ""
        return f"{length}must be {_SIGNS[match[2]]} {float(match[3]):g}"
    if match := _LENGTH.match(what):
        return f"must be a list of {match[1]}, not of {match[2]}"
    if _PATTERN.match(what):
        metas = [part for part in _parts(hint) if isinstance(part, msgspec.Meta)]
        return next((f"must be {meta.description}" for meta in metas if meta.description), "") or (
            "is not written as it must be"
        )
    return what.replace("`", "'")


def _wrong_type(wanted: str, got: str, path: str, hint: object) -> str:
    name = re.sub(r"\[.*", "", path.rpartition(".")[2])
    if _struct(hint) and not path.endswith("]"):
        if (wanted, got) == ("array", "object"):
            return f"write [[{name}]], with two brackets"
        if (wanted, got) == ("object", "array"):
            return f"write [{name}], with one bracket"
    kinds = [_KINDS.get(kind, kind) for kind in wanted.split(" | ") if kind != "null"]
    return f"must be {' or '.join(kinds)}, not {_KINDS.get(got, got)}"


def _written(name: str, hint: object) -> str:
    """How a person writes what is missing."""
    if _struct(hint):
        is_list = any(get_origin(part) is list for part in _parts(hint))
        return f"[[{name}]]" if is_list else f"the table [{name}]"
    return f"the key {name!r}"


def _parts(hint: object) -> Iterator[object]:
    """The hint and all that it is made of."""
    yield hint
    if get_origin(hint) is Literal:
        return
    for part in get_args(hint):
        yield from _parts(part)


def _struct(hint: object) -> type[msgspec.Struct] | None:
    for part in _parts(hint):
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            return part
    return None


def _step(hint: object, key: str) -> object:
    """The hint of a struct's key, as written in the file."""
    struct = _struct(hint)
    if struct is None:
        return None
    names = dict(zip(struct.__struct_encode_fields__, struct.__struct_fields__, strict=True))
    hints: dict[str, Any] = get_type_hints(struct, include_extras=True)
    return hints.get(names.get(key, ""))


def _hint_at(root: type[msgspec.Struct], path: str) -> object:
    """The hint at a path such as `stage[0].image`; of a list or dict, its elements' too."""
    hint: object = root
    for part in re.findall(r"[^.\[\]]+", path.replace("[...]", "")):
        if not part.isdigit():
            hint = _step(hint, part)
    return hint
