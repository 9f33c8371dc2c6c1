"""Guests that behave as the first byte of the frame says, in the text format.

Byte 0 of the frame: 1 loops for ever, 2 traps, 3 stores outside its memory, 4 moves an output,
5 gives an output more rows than it declared, 6 returns an error of its own, 7 divides by zero,
8 recurses for ever; anything else is the result, as `value` i32 [1].
"""

from __future__ import annotations

from pathlib import Path

import wasmtime

from sanderling import manifest

LOOP, TRAP, OUTSIDE, MOVED, TOO_LARGE, OWN_ERROR, DIVIDE, RECURSE = range(1, 9)

MANIFEST = """
name = "{name}"
version = "1.0.0"
summary = "For tests."
[[input]]
name = "frame"
dtypes = ["u8"]
shapes = [["H", "W", 3]]
[[output]]
name = "value"
dtypes = ["i32"]
shapes = [["n"]]
[limits]
memory_mb = {memory_mb}
deadline_ms = {deadline_ms}
"""

_ALLOC = """
  (global $top (mut i32) (i32.const 1024))
  (func (export "sl_alloc") (param $size i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 63)) (i32.const -64)))
    (global.set $top (i32.add (local.get $at) (local.get $size)))
    (block $done (loop $grow
      (br_if $done (i32.le_u (global.get $top) (i32.shl (memory.size) (i32.const 16))))
      (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then (return (i32.const 0))))
      (br $grow)))
    (local.get $at))
"""
_VERSION = '(func (export "sl_abi_version") (result i32) (i32.const 65536))'
_SETUP = """
  (func (export "sl_setup") (param $call i32) (result i32) (local $out i32)
    (local.set $out (i32.load offset=16 (local.get $call)))
    (i32.store8 offset=8 (local.get $out) (i32.const 5))
    (i32.store8 offset=9 (local.get $out) (i32.const 1))
    (i32.store offset=16 (local.get $out) (i32.const 1))
    (i32.const 0))
"""
_RUN = """
  (func $recurse (param i32) (result i32)
    (i32.add (i32.const 1) (call $recurse (i32.add (local.get 0) (i32.const 1)))))
  (func (export "sl_run") (param $call i32) (result i32) (local $byte i32) (local $out i32)
    (local.set $out (i32.load offset=16 (local.get $call)))
    (i32.store offset=16 (local.get $out) (i32.const 1))
    (local.set $byte (i32.load8_u (i32.load (i32.load offset=12 (local.get $call)))))
    (if (i32.eq (local.get $byte) (i32.const 1)) (then (loop $ever (br $ever))))
    (if (i32.eq (local.get $byte) (i32.const 2)) (then unreachable))
    (if (i32.eq (local.get $byte) (i32.const 3))
      (then (i32.store (i32.const 0x7ffffff0) (i32.const 1))))
    (if (i32.eq (local.get $byte) (i32.const 4))
      (then (i32.store (local.get $out) (i32.const 256))))
    (if (i32.eq (local.get $byte) (i32.const 5))
      (then (i32.store offset=16 (local.get $out) (i32.const 100000))))
    (if (i32.eq (local.get $byte) (i32.const 6)) (then (return (i32.const 17))))
    (if (i32.eq (local.get $byte) (i32.const 7))
      (then (drop (i32.div_u (i32.const 1) (i32.const 0)))))
    (if (i32.eq (local.get $byte) (i32.const 8)) (then (drop (call $recurse (i32.const 0)))))
    (i32.store (i32.load (local.get $out)) (local.get $byte))
    (i32.const 0))
  (data (i32.const 64) "on purpose\\00")
  (func (export "sl_error") (result i32) (i32.const 64))
"""


def wat(
    *,
    memory: str = '(memory (export "memory") 2)',
    version: str = _VERSION,
    alloc: str = _ALLOC,
    setup: str = _SETUP,
    run: str = _RUN,
    imports: str = "",
) -> bytes:
    """A guest of these parts, compiled, without a manifest."""
    return bytes(wasmtime.wat2wasm(f"(module {imports} {memory} {version} {alloc} {setup} {run})"))


def write(
    folder: Path,
    name: str = "hostile",
    *,
    wasm: bytes | None = None,
    memory_mb: float = 16,
    deadline_ms: float = 50,
) -> Path:
    """Write a guest with a manifest; its path."""
    text = MANIFEST.format(name=name, memory_mb=memory_mb, deadline_ms=deadline_ms)
    read = manifest.parse_toml(text, "module.toml")
    path = folder / f"{name}.wasm"
    path.write_bytes(manifest.pack(wasm if wasm is not None else wat(), read, name))
    return path


def pipeline(folder: Path, stage: str = 'guest = "hostile"', extra: str = "") -> Path:
    """Write a pipeline file with one stage; its path."""
    path = folder / "pipeline.toml"
    path.write_text(f'[pipeline]\nname = "test"\n{extra}\n[[stage]]\n{stage}\n')
    return path
