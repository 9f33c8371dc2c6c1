"""sl_simd.h: every operation gives the same bits in wasmtime and compiled for this machine.

The sanitizer build takes the portable loops, the optimized one the operations of the processor.
"""

from __future__ import annotations

import importlib.util
import itertools
import platform
import re
import subprocess
import sys

import numpy as np
import pytest
import wasmtime

import guestmachine

HEADER = guestmachine.GUESTS / "include" / "sl_simd.h"
COUNT = 4096  # pairs of vectors

BITWISE = ["and", "or", "xor", "andnot"]
BYTES = ["i8x16_add", "i8x16_sub", "i8x16_eq", "i8x16_gt", "i8x16_ge", "u8x16_gt", "u8x16_ge"]
BYTES += ["i8x16_min", "i8x16_max", "u8x16_min", "u8x16_max", "i8x16_swizzle"]
BYTES += ["i8x16_narrow_i16x8", "u8x16_narrow_i16x8"]
SHORTS = ["i16x8_add", "i16x8_sub", "i16x8_mul", "i16x8_gt", "i16x8_min", "i16x8_max"]
SHORTS += ["i16x8_q15mulr_sat", "i16x8_narrow_i32x4", "i32x4_dot_i16x8"]
INTS = ["i32x4_" + name for name in ["add", "sub", "mul", "eq", "gt", "lt", "min", "max"]]
FLOATS = ["f32x4_" + name for name in ["add", "sub", "mul", "div", "min", "max"]]
COMPARES = ["f32x4_" + name for name in ["eq", "ne", "lt", "le", "gt", "ge", "pmin", "pmax"]]
BINARY = BITWISE + BYTES + SHORTS + INTS + FLOATS + COMPARES
UNARY = ["not", "f32x4_abs", "f32x4_neg", "f32x4_convert_i32x4", "i32x4_trunc_sat_f32x4"]
UNARY += ["u16x8_extadd_pairwise_u8x16"]
UNARY += [
    f"{sign}{wide}_extend_{half}_{sign}{narrow}"
    for sign, half in itertools.product("iu", ["low", "high"])
    for wide, narrow in [("16x8", "8x16"), ("32x4", "16x8")]
]
SHIFTS = ["i16x8_shl", "i16x8_shr", "u16x8_shr", "i32x4_shl", "i32x4_shr"]
SHUFFLE = "15, 31, 0, 16, 7, 7, 30, 1, 2, 3, 17, 18, 29, 8, 9, 10"

# Each is an expression of the vectors a and b, and of the address of a as p.
EXPRESSIONS = {name: f"sl_{name}(a, b)" for name in BINARY}
EXPRESSIONS |= {name: f"sl_{name}(a)" for name in UNARY}
EXPRESSIONS |= {
    f"{name} {count}": f"sl_{name}(a, {count})"
    for name in SHIFTS
    for count in (0, 1, 7, 15, 16, 31, 33)
}
EXPRESSIONS |= {
    "bitselect": "sl_bitselect(a, b, sl_i8x16_gt(b, a))",
    "i8x16_shuffle": f"sl_i8x16_shuffle(a, b, {SHUFFLE})",
    "load32_zero": "sl_load32_zero(p)",
    "load64_zero": "sl_load64_zero(p)",
    "load32_lane": "sl_load32_lane(p, b, 2)",
    "load64_lane": "sl_load64_lane(p, b, 1)",
    "any_true": "sl_i32x4_splat(sl_any_true(a))",
    "i8x16_bitmask": "sl_i32x4_splat((int32_t)sl_i8x16_bitmask(a))",
    "i32x4_bitmask": "sl_i32x4_splat((int32_t)sl_i32x4_bitmask(a))",
    "i32x4_extract_lane": "sl_i32x4_splat(sl_i32x4_extract_lane(a, 3))",
    "f32x4_extract_lane": "sl_i32x4_splat(sl_f32x4_extract_lane(a, 1) > 0)",
    "i8x16_splat": "sl_i8x16_splat((int8_t)p[0])",
    "i16x8_splat": "sl_i16x8_splat((int16_t)(p[0] << 8 | p[1]))",
    "i32x4_splat": "sl_i32x4_splat((int32_t)(p[2] << 8 | p[1]))",
    "f32x4_splat": "sl_f32x4_splat(p[0] & 1 ? -0.0f : (float)p[1])",
    "store": "(sl_store(q, a), sl_store64_lane(q + 4, b, 1), sl_store32_lane(q, b, 3), sl_load(q))",
    "load": "sl_load(p)",
}
NOT_BY_NAME = {"store64_lane", "store32_lane"}  # under "store"


def source() -> str:
    lines = "\n".join(f"    sl_store(out, {text}); out += 16;" for text in EXPRESSIONS.values())
    return f"""
#include "sl_simd.h"
enum {{ COUNT = {COUNT} }};
static uint8_t in[32 * COUNT], out_of[16 * {len(EXPRESSIONS)} * COUNT];
static void all(const uint8_t *p, uint8_t *out) {{
    const sl_v128 a = sl_load(p), b = sl_load(p + 16);
    uint8_t q[16];
{lines}
}}
static void work(void) {{
    for (int i = 0; i < COUNT; i++) all(in + 32 * i, out_of + 16 * {len(EXPRESSIONS)} * i);
}}
#if defined(__wasm__)
#define EXPORT(name) __attribute__((export_name(#name)))
EXPORT(input) void *input(void) {{ return in; }}
EXPORT(output) void *output(void) {{ return out_of; }}
EXPORT(run) void run(void) {{ work(); }}
#else
#include <stdio.h>
int main(void) {{
    if (fread(in, sizeof in, 1, stdin) != 1) return 1;
    work();
    return fwrite(out_of, sizeof out_of, 1, stdout) != 1;
}}
#endif
"""


def vectors() -> bytes:
    """Random bits, small numbers, and the floats and integers at which things go wrong."""
    rng = np.random.default_rng(20240617)
    given = rng.integers(0, 2**32, (COUNT, 8), np.uint32)
    floats = [0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 1e-45, 3e38, 2.0**31, -(2.0**31)]
    floats += [2147483520.0, 0.5, 16777217.0]
    words = np.array(floats, np.float32).view(np.uint32).tolist()
    words += [0x80008000, 0x7FFF7FFF, 0x80808080, 0x7F7F7F7F, 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF]
    words += [0x0F100F10, 0x00FF0100, 0x8001FFFF]
    given[: COUNT // 2] = rng.choice(np.array(words, np.uint32), (COUNT // 2, 8))
    small = rng.normal(0, 100, (COUNT // 4, 8)).astype(np.float32)
    given[COUNT // 2 : COUNT // 2 + COUNT // 4] = small.view(np.uint32)
    return given.tobytes()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What wasmtime makes of the vectors: `[COUNT, operations, 4]` words."""
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("the probe needs a compiler for WebAssembly: pip install ziglang")
    folder = tmp_path_factory.mktemp("simd")
    (folder / "probe.c").write_text(source())
    flags = [flag for flag in guestmachine.build_script().FLAGS if not flag.startswith("-I")]
    command = [sys.executable, "-m", "ziglang", "cc", *flags, f"-I{HEADER.parent}", "probe.c"]
    subprocess.run([*command, "-o", "probe.wasm"], cwd=folder, check=True)
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    module = wasmtime.Module.from_file(engine, str(folder / "probe.wasm"))
    exports = wasmtime.Instance(store, module, []).exports(store)
    exports["memory"].write(store, vectors(), exports["input"](store))
    exports["run"](store)
    start = exports["output"](store)
    raw = exports["memory"].read(store, start, start + 16 * COUNT * len(EXPRESSIONS))
    store.close()
    return np.frombuffer(bytes(raw), np.uint32).reshape(COUNT, len(EXPRESSIONS), 4)


VARIANTS = {
    "plain": ["-O2"],
    "sanitized": ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "optimized": ["-O3"],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_same_bits(expected, variant, tmp_path):
    (tmp_path / "probe.c").write_text(source())
    flags = [*guestmachine.GCC_FLAGS, *VARIANTS[variant], f"-I{HEADER.parent}"]
    if variant != "plain" and platform.machine() == "x86_64":
        flags.append("-march=x86-64-v2")
    command = [guestmachine.compiler(), *flags, "probe.c", "-o", "probe"]
    subprocess.run(command, cwd=tmp_path, check=True)
    ran = subprocess.run([tmp_path / "probe"], input=vectors(), capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    found = np.frombuffer(ran.stdout, np.uint32).reshape(expected.shape)
    for index, name in enumerate(EXPRESSIONS):
        ours, theirs = found[:, index], expected[:, index]
        if name in FLOATS:  # which NaN comes out is left open
            both = np.isnan(ours.view(np.float32)) & np.isnan(theirs.view(np.float32))
            ours, theirs = np.where(both, 0, ours), np.where(both, 0, theirs)
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


def test_no_operation_is_left_out():
    """Of those that the header names for WebAssembly; and none of them is relaxed."""
    text = HEADER.read_text()
    named = set(re.findall(r"^#define sl_(\w+?)(?:\(.*?\))? wasm_", text, re.MULTILINE))
    assert len(named) > 80
    assert named == {name.split()[0] for name in EXPRESSIONS} | NOT_BY_NAME
    assert "relaxed_" not in text
