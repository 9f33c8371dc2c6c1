"""A pipeline whose one number tells which model, guest and parameter made it.

`number` is what the model gives, plus the guest's parameter `tens`, plus 100 times the guest's own
version. So each of the three can be changed, and it shows which frames had which.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

import hostile
import tiny
from sanderling import manifest

MANIFEST = """
name = "adding"
version = "1.0.0"
summary = "For tests."
[[input]]
name = "number"
dtypes = ["i32"]
shapes = [[1]]
[[output]]
name = "sum"
dtypes = ["i32"]
shapes = [[1]]
[[param]]
name = "tens"
type = "i32"
default = 10
min = 0
max = 90
[limits]
memory_mb = 4
deadline_ms = 500
"""


def _run(version: int) -> str:
    return f"""
  (func (export "sl_run") (param $call i32) (result i32) (local $out i32)
    (local.set $out (i32.load (i32.load offset=16 (local.get $call))))
    (i32.store (local.get $out)
      (i32.add (i32.const {100 * version})
        (i32.add (i32.load (i32.load (i32.load offset=12 (local.get $call))))
                 (i32.load (i32.load offset=20 (local.get $call))))))
    (i32.const 0))"""


def put(path: Path, data: bytes) -> None:
    """Replace a file in one step, as whoever updates a device should."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def write_guest(folder: Path, version: int) -> None:
    read = manifest.parse_toml(MANIFEST, "module.toml")
    put(folder / "adding.wasm", manifest.pack(hostile.wat(run=_run(version)), read, "adding"))


def write_model(folder: Path, number: int) -> None:
    made = tiny.constant_model(folder / ".m.onnx", {"number": np.int32([number])})
    os.replace(made, folder / "m.onnx")


def write_pipeline(folder: Path, tens: int, name: str = "p.toml") -> Path:
    text = (
        '[pipeline]\nname = "adding"\n[[stage]]\nguest = "letterbox"\n'
        '[[stage]]\nmodel = "./m.onnx"\n'
        f'[[stage]]\nguest = "./adding.wasm"\nparams = {{ tens = {tens} }}\n'
    )
    put(folder / name, text.encode())
    return folder / name


def write_all(folder: Path) -> None:
    """Number 1, parameter 10, version 1: the sum is 111."""
    write_guest(folder, 1)
    write_model(folder, 1)
    write_pipeline(folder, 10)
