"""The byte layout of the guest ABI, version 1: the mirror of `wasm_modules/include/sanderling.h`.

A test compiles a probe from the header and compares every offset, size and number with this file.
docs/abi.md explains the life of a call.
"""

from __future__ import annotations

import ctypes

MAJOR = 1
MINOR = 1
MAX_RANK = 8
ALIGN = 64
PAGE = 65536
"""Bytes of a page of WebAssembly memory."""

OK = 0
E_ARGUMENT = -1
E_MEMORY = -2
E_CAPACITY = -3
SKIP = -100
"""No error: the frame needs nothing more; no further stage runs, it counts as dropped (still)."""

STATUS_TEXT = {
    E_ARGUMENT: "it cannot work with an input or a parameter",
    E_MEMORY: "it ran out of memory (memory_mb in its module.toml is the most it may have)",
    E_CAPACITY: "an output does not fit its buffer",
}


class Tensor(ctypes.LittleEndianStructure):
    """`sl_tensor`: where a tensor lies in the guest's memory, and what it is."""

    _fields_ = [
        ("data", ctypes.c_uint32),
        ("capacity", ctypes.c_uint32),
        ("dtype", ctypes.c_uint8),
        ("rank", ctypes.c_uint8),
        ("format", ctypes.c_uint8),
        ("reserved0", ctypes.c_uint8),
        ("row_stride", ctypes.c_uint32),
        ("dims", ctypes.c_uint32 * MAX_RANK),
        ("scale", ctypes.c_float),
        ("zero_point", ctypes.c_int32),
        ("reserved1", ctypes.c_uint32 * 2),
    ]


class Call(ctypes.LittleEndianStructure):
    """`sl_call`: what one call of a guest works on."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("n_inputs", ctypes.c_uint32),
        ("n_outputs", ctypes.c_uint32),
        ("inputs", ctypes.c_uint32),
        ("outputs", ctypes.c_uint32),
        ("params", ctypes.c_uint32),
        ("params_len", ctypes.c_uint32),
        ("reserved0", ctypes.c_uint32),
        ("sequence", ctypes.c_uint64),
        ("captured_ns", ctypes.c_int64),
        ("reserved1", ctypes.c_uint32 * 4),
    ]


TENSOR_SIZE = ctypes.sizeof(Tensor)
CALL_SIZE = ctypes.sizeof(Call)

REQUIRED_EXPORTS = ("memory", "sl_abi_version", "sl_alloc", "sl_setup", "sl_run")
OPTIONAL_EXPORTS = ("sl_error", "sl_reset", "_initialize")
