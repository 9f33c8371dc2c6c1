"""The C header and abi.py give every struct, field and number alike, on both compilers."""

from __future__ import annotations

import ctypes
import importlib.util
import struct
import subprocess
import sys

import pytest
import wasmtime

import guestmachine
from sanderling import abi
from sanderling.tensor import DType, PixelFormat

STRUCTS = {"sl_tensor": abi.Tensor, "sl_call": abi.Call}


def expected() -> dict[str, int]:
    """What abi.py and tensor.py say, under the C expression that should give the same."""
    table = {
        "SL_ABI_MAJOR": abi.MAJOR,
        "SL_ABI_MINOR": abi.MINOR,
        "SL_MAX_RANK": abi.MAX_RANK,
        "SL_ALIGN": abi.ALIGN,
        "SL_OK": abi.OK,
        "SL_E_ARGUMENT": abi.E_ARGUMENT,
        "SL_E_MEMORY": abi.E_MEMORY,
        "SL_E_CAPACITY": abi.E_CAPACITY,
        "SL_SKIP": abi.SKIP,
        "SL_NONE": 0,
        "sizeof(sl_tensor)": abi.TENSOR_SIZE,
        "sizeof(sl_call)": abi.CALL_SIZE,
    }
    for name, mirror in STRUCTS.items():
        for field, kind, *_ in mirror._fields_:
            table[f"offsetof({name}, {field})"] = getattr(mirror, field).offset
            table[f"sizeof((({name} *)0)->{field})"] = ctypes.sizeof(kind)
    for dtype in DType:
        table[f"SL_{dtype.name}"] = dtype
        table[f"sl_dtype_size(SL_{dtype.name})"] = dtype.itemsize
    table["sl_dtype_size(0)"] = 0
    table[f"sl_dtype_size({max(DType) + 1})"] = 0
    table.update({f"SL_FORMAT_{item.name}": item for item in PixelFormat})
    return table


def source(main: str) -> str:
    """A probe that fills a table with the value of each expression.

    The switches have no default: with -Werror=switch an enumerator that the header has and Python
    lacks does not compile.
    """
    known = {
        "sl_dtype": ["SL_NONE", *(f"SL_{item.name}" for item in DType)],
        "sl_format": [f"SL_FORMAT_{item.name}" for item in PixelFormat],
        "sl_status": ["SL_OK", "SL_E_ARGUMENT", "SL_E_MEMORY", "SL_E_CAPACITY", "SL_SKIP"],
    }
    switches = "\n".join(
        f"int know_{name}(enum {name} value) {{ switch (value) {{"
        + "".join(f" case {item}:" for item in items)
        + " return 1; } return 0; }"
        for name, items in known.items()
    )
    values = "\n".join(
        f"    table[{index}] = (int32_t)({expression});"
        for index, expression in enumerate(expected())
    )
    return f"""
#include "sanderling.h"
int32_t table[{len(expected())}];
{switches}
static void fill(void) {{
{values}
}}
{main}
"""


def test_the_mirror_has_no_holes():
    """Then equal offsets and sizes leave no room for a field that only the header has."""
    for mirror in STRUCTS.values():
        end = 0
        for name, kind, *_ in mirror._fields_:
            assert getattr(mirror, name).offset == end, name
            end += ctypes.sizeof(kind)
        assert end == ctypes.sizeof(mirror)


def compare(raw: bytes) -> None:
    table = expected()
    values = struct.unpack(f"<{len(table)}i", raw)
    assert dict(zip(table, values, strict=True)) == {key: int(item) for key, item in table.items()}


FLAGS = ["-Wall", "-Wextra", "-Werror", f"-I{guestmachine.GUESTS / 'include'}"]


def test_the_header_as_webassembly(tmp_path):
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("the probe needs a compiler for WebAssembly: pip install ziglang")
    main = """
__attribute__((export_name("probe"))) int32_t *probe(void) { fill(); return table; }
"""
    (tmp_path / "probe.c").write_text(source(main))
    flags = [*guestmachine.build_script().FLAGS, *FLAGS]
    command = [sys.executable, "-m", "ziglang", "cc", *flags, "probe.c", "-o", "probe.wasm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    store = wasmtime.Store()
    module = wasmtime.Module.from_file(store.engine, str(tmp_path / "probe.wasm"))
    exports = wasmtime.Instance(store, module, []).exports(store)
    start = exports["probe"](store)
    compare(bytes(exports["memory"].read(store, start, start + 4 * len(expected()))))


def test_the_header_on_this_machine(tmp_path):
    compiler = guestmachine.compiler()
    main = """
#include <stdio.h>
unsigned char *sl_host_arena;
int main(void) { fill(); return fwrite(table, sizeof table, 1, stdout) != 1; }
"""
    (tmp_path / "probe.c").write_text(source(main))
    subprocess.run([compiler, *FLAGS, "probe.c", "-o", "probe"], cwd=tmp_path, check=True)
    compare(subprocess.run([tmp_path / "probe"], capture_output=True, check=True).stdout)
