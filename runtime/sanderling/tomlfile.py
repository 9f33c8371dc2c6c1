"""TOML files: read against a type, with what is wrong in the file's own words; and written."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from sanderling.errors import ConfigError
from sanderling.schema import explain, explain_toml
from sanderling.text import MAX_KEY_PARTS, has_deep_key

_MAX_BYTES = 1 << 20
_TIMES = (datetime.datetime, datetime.date, datetime.time)
"""What TOML has as it is, and JSON has not."""
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_Kind = TypeVar("_Kind", bound=msgspec.Struct)


def read(path: Path, what: str) -> bytes:
    """The bytes of a TOML file.

    Args:
        path: the file.
        what: what it should be, such as "a pipeline file".

    Raises:
        ConfigError: it cannot be read, or is too large to be one.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than {_MAX_BYTES >> 20} MiB; not {what}")
    return data


def decode(data: bytes, kind: type[_Kind], where: str) -> _Kind:
    """What a TOML file holds.

    Args:
        data: its bytes.
        kind: the type of the whole file.
        where: its path, for messages.

    Raises:
        ConfigError: names the file, the key, what was found and what would be accepted.
    """
    return fit(table(data, where), kind, where)


def table(data: bytes, where: str) -> dict[str, object]:
    """What a TOML file holds, whatever it is.

    Args:
        data: its bytes.
        where: its path, for messages.

    Raises:
        ConfigError: it is not TOML; says where it stops being so.
    """
    if has_deep_key(data):
        raise ConfigError(f"{where}: a key of more than {MAX_KEY_PARTS} parts")
    try:
        return msgspec.toml.decode(data, type=dict[str, object])
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as exc:
        raise ConfigError(f"{where}: not TOML: {explain_toml(exc, data)}") from exc


def fit(found: object, kind: type[_Kind], where: str) -> _Kind:
    """A table of a TOML file as what it should be.

    Args:
        found: the table.
        kind: its type.
        where: the file and its place there, for messages.

    Raises:
        ConfigError: names the key, what was found and what would be accepted.
    """
    try:
        return msgspec.convert(found, kind, builtin_types=_TIMES, str_keys=True)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{where}: {explain(exc, kind)}") from exc


def dump(table: Mapping[str, object]) -> str:
    """A table as TOML: plain values first, then tables, then lists of tables.

    Args:
        table: text, numbers, booleans, lists of them, tables, and lists of tables.

    Raises:
        TypeError: a value is something else.
    """
    return "\n".join(_lines(table, ())).lstrip("\n") + "\n"


def _lines(table: Mapping[str, object], path: tuple[str, ...]) -> list[str]:
    plain = {key: value for key, value in table.items() if not _is_table(value)}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in table.items():
        if isinstance(value, Mapping):
            inner = (*path, key)
            lines += ["", f"[{'.'.join(map(_key, inner))}]", *_lines(value, inner)]
    for key, value in table.items():
        if _is_table(value) and not isinstance(value, Mapping):
            inner = (*path, key)
            assert isinstance(value, Sequence)
            for item in value:
                lines += ["", f"[[{'.'.join(map(_key, inner))}]]", *_lines(item, inner)]
    return lines


def _is_table(value: object) -> bool:
    if isinstance(value, Mapping):
        return True
    listed = isinstance(value, list | tuple) and bool(value)
    return listed and all(isinstance(item, Mapping) for item in value)  # type: ignore[attr-defined]


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    raise TypeError(f"{type(value).__name__} has no form in TOML")


def _text(text: str) -> str:
    return '"' + "".join(map(_character, text)) + '"'


def _character(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    code = ord(char)
    if 0xD800 <= code <= 0xDFFF:
        return "?"  # half a character, out of a file name that is not text
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
