"""The outside of a WebAssembly file: its sections and imports, read without an engine.

A module is a magic number, a version and a list of sections (WebAssembly Core Specification 2.0,
section 5.5). All that is needed before a module is compiled is read here; the bytes are hostile.
"""

from __future__ import annotations

from dataclasses import dataclass

from sanderling.errors import ModuleError

MAGIC = b"\0asm\1\0\0\0"
_CUSTOM = 0
_IMPORTS = 2
_KINDS = ("function", "table", "memory", "global", "tag")
_MOST_IMPORTS = 1000


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a module.

    Attributes:
        ident: its number; 0 is a custom one.
        name: of a custom one, else empty.
        whole: where it begins, header included.
        start: where its content begins.
        end: where it ends.
    """

    ident: int
    name: str
    whole: int
    start: int
    end: int


def _cut(where: str) -> ModuleError:
    return ModuleError(f"{where}: the file ends in the middle of a section; it is cut off")


def _read_leb(wasm: bytes, at: int, end: int, where: str) -> tuple[int, int]:
    """An unsigned LEB128 number of up to 32 bits, and where the next thing begins."""
    value = 0
    for shift in range(0, 35, 7):
        if at >= end:
            raise _cut(where)
        byte = wasm[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise ModuleError(f"{where}: a number in it is malformed; the file is damaged")


def _read_name(wasm: bytes, at: int, end: int, where: str) -> tuple[str, int]:
    length, at = _read_leb(wasm, at, end, where)
    if at + length > end:
        raise _cut(where)
    return wasm[at : at + length].decode("utf-8", "replace"), at + length


def _leb(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def sections(wasm: bytes, where: str) -> list[Section]:
    """The sections of a module.

    Args:
        wasm: the file's bytes.
        where: its path, for messages.

    Raises:
        ModuleError: not a core module of version 1, or cut off.
    """
    if wasm[:4] != MAGIC[:4]:
        raise ModuleError(f"{where}: not a WebAssembly file (it does not begin with \\0asm)")
    if wasm[:8] != MAGIC:
        raise ModuleError(f"{where}: not a core WebAssembly module; components are not guests")
    found = []
    at = len(MAGIC)
    while at < len(wasm):
        whole, ident = at, wasm[at]
        size, at = _read_leb(wasm, at + 1, len(wasm), where)
        end = at + size
        if end > len(wasm):
            raise _cut(where)
        name = ""
        if ident == _CUSTOM:
            name, at = _read_name(wasm, at, end, where)
        found.append(Section(ident, name, whole, at, end))
        at = end
    return found


def imports(wasm: bytes, where: str) -> list[tuple[str, str, str]]:
    """Each import: module, name, and what it is (`function`, `memory`, ...).

    Reading stops behind the first import that is not a function: no guest may have one, so what
    follows does not matter.

    Raises:
        ModuleError: the module is damaged.
    """
    found: list[tuple[str, str, str]] = []
    for section in sections(wasm, where):
        if section.ident != _IMPORTS:
            continue
        count, at = _read_leb(wasm, section.start, section.end, where)
        for _ in range(min(count, _MOST_IMPORTS)):
            module, at = _read_name(wasm, at, section.end, where)
            name, at = _read_name(wasm, at, section.end, where)
            if at >= section.end:
                raise _cut(where)
            kind = wasm[at]
            if kind != 0:
                found.append((module, name, _KINDS[kind] if kind < len(_KINDS) else "thing"))
                return found
            found.append((module, name, "function"))
            _, at = _read_leb(wasm, at + 1, section.end, where)
    return found


def without_custom(wasm: bytes, name: str, where: str) -> bytes:
    """The module without its custom sections of this name."""
    kept = bytearray(MAGIC)
    for section in sections(wasm, where):
        if section.name != name:
            kept += wasm[section.whole : section.end]
    return bytes(kept)


def custom_section(name: str, content: bytes) -> bytes:
    """A custom section, to be put behind a module."""
    body = _leb(len(name.encode())) + name.encode() + content
    return bytes([_CUSTOM]) + _leb(len(body)) + body
