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
_EXPORTS = 7
_CODE = 10

MAX_SECTIONS = 1000
MAX_IMPORTS = 1000
MAX_EXPORTS = 1000
MAX_FUNCTIONS = 50_000
MIN_LOCALS = 64
MAX_WORK = 1 << 24
"""Bytes of a function times its locals (and `MIN_LOCALS`, for short lists)."""


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
    if not wasm:
        raise ModuleError(f"{where}: the file is empty")
    if wasm[:4] != MAGIC[:4]:
        raise ModuleError(f"{where}: not a WebAssembly file (it does not begin with \\0asm)")
    if wasm[:8] != MAGIC:
        raise ModuleError(f"{where}: not a core WebAssembly module; components are not guests")
    found: list[Section] = []
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
        if len(found) == MAX_SECTIONS:
            raise ModuleError(f"{where}: more than {MAX_SECTIONS} sections; not a guest")
        found.append(Section(ident, name, whole, at, end))
        at = end
    return found


@dataclass(frozen=True, slots=True)
class Outline:
    """What can be said of a module before it is compiled.

    Attributes:
        imports: each import: module, name, and what it is (`function`, `memory`, ...). Reading
            stops behind the first that is not a function: no guest may have one.
    """

    imports: list[tuple[str, str, str]]


def outline(wasm: bytes, where: str) -> Outline:
    """Read the outside of a module, and refuse what would take too long to compile.

    A compiler's time and memory grow with the number of a function's locals times its length: 300
    KB of code that somebody thought about took half a minute and 3 GB.

    Args:
        wasm: the file's bytes.
        where: its path, for messages.

    Raises:
        ModuleError: the module is damaged, or larger than a guest has reason to be.
    """
    found: list[tuple[str, str, str]] = []
    for section in sections(wasm, where):
        if section.ident == _IMPORTS:
            found = _imports(wasm, section, where)
        elif section.ident == _EXPORTS:
            count, _ = _read_leb(wasm, section.start, section.end, where)
            if count > MAX_EXPORTS:
                raise ModuleError(f"{where}: {count} exports; a guest has at most {MAX_EXPORTS}")
        elif section.ident == _CODE:
            _check_code(wasm, section, where)
    return Outline(found)


def _imports(wasm: bytes, section: Section, where: str) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    count, at = _read_leb(wasm, section.start, section.end, where)
    if count > MAX_IMPORTS:
        raise ModuleError(f"{where}: {count} imports; a guest has at most {MAX_IMPORTS}")
    for _ in range(count):
        module, at = _read_name(wasm, at, section.end, where)
        name, at = _read_name(wasm, at, section.end, where)
        if at >= section.end:
            raise _cut(where)
        kind = wasm[at]
        if kind != 0:
            found.append((module, name, _KINDS[kind] if kind < len(_KINDS) else "thing"))
            break
        found.append((module, name, "function"))
        _, at = _read_leb(wasm, at + 1, section.end, where)
    return found


def _check_code(wasm: bytes, section: Section, where: str) -> None:
    count, at = _read_leb(wasm, section.start, section.end, where)
    if count > MAX_FUNCTIONS:
        raise ModuleError(f"{where}: {count} functions; a guest has at most {MAX_FUNCTIONS}")
    for number in range(count):
        size, at = _read_leb(wasm, at, section.end, where)
        end = at + size
        groups, inside = _read_leb(wasm, at, section.end, where)
        locals_ = 0
        for _ in range(min(groups, size)):
            some, inside = _read_leb(wasm, inside, section.end, where)
            locals_ += some
            inside += 1  # the type; one byte for numbers and vectors
        if size * (locals_ + MIN_LOCALS) > MAX_WORK:
            raise ModuleError(
                f"{where}: function {number} is {size} bytes long with {locals_} locals; such a"
                " function takes too long to compile"
            )
        at = end


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
