"""Frames that change their size, guests that are replaced, tensors that several stages read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import wasmtime
from onnx import TensorProto, helper

import hostile
import sanderling
import tiny
from sanderling import guest, imaging, manifest
from sanderling.errors import (
    ConfigError,
    FrameError,
    GuestTrap,
    GuestViolation,
    ModelError,
    ModelRunError,
    ModuleError,
    PlanError,
)
from sanderling.policy import Policy

# The picture as it came, u8 [H, W, 3]; traps when its first byte is 2. It also writes 9 over the
# first byte of its input, as a guest may: the memory is its own.
ECHO_MANIFEST = """
name = "echo"
version = "1.0.0"
summary = "For tests."
[[input]]
name = "frame"
dtypes = ["u8"]
shapes = [["H", "W", 3]]
[[output]]
name = "image"
dtypes = ["u8"]
shapes = [["H", "W", 3]]
[limits]
memory_mb = 4
deadline_ms = 500
"""
_COPY_DIMS = """
  (local.set $in (i32.load offset=12 (local.get $call)))
  (local.set $out (i32.load offset=16 (local.get $call)))
  (i32.store offset=16 (local.get $out) (i32.load offset=16 (local.get $in)))
  (i32.store offset=20 (local.get $out) (i32.load offset=20 (local.get $in)))
  (i32.store offset=24 (local.get $out) (i32.load offset=24 (local.get $in)))
"""
ECHO = {
    "setup": f"""(func (export "sl_setup") (param $call i32) (result i32)
      (local $in i32) (local $out i32) {_COPY_DIMS}
      (i32.store8 offset=8 (local.get $out) (i32.const 1))
      (i32.store8 offset=9 (local.get $out) (i32.const 3))
      (i32.const 0))""",
    "run": f"""(func (export "sl_run") (param $call i32) (result i32)
      (local $in i32) (local $out i32) {_COPY_DIMS}
      (if (i32.eq (i32.load8_u (i32.load (local.get $in))) (i32.const 2)) (then unreachable))
      (memory.copy (i32.load (local.get $out)) (i32.load (local.get $in))
        (i32.mul (i32.const 3) (i32.mul (i32.load offset=16 (local.get $in))
                                        (i32.load offset=20 (local.get $in)))))
      (i32.store8 (i32.load (local.get $in)) (i32.const 9))
      (i32.const 0))""",
}


def write_echo(folder: Path, name: str = "echo", **parts: str) -> None:
    read = manifest.parse_toml(ECHO_MANIFEST, "module.toml")
    wasm = hostile.wat(**(ECHO | parts))
    (folder / f"{name}.wasm").write_bytes(manifest.pack(wasm, read, name))


def write(folder: Path, *stages: str) -> Path:
    path = folder / "p.toml"
    tables = "".join(f"[[stage]]\n{stage}\n" for stage in stages)
    path.write_text(f'[pipeline]\nname = "t"\n{tables}')
    return path


def filled(height: int, width: int, value: int = 5) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def sum_model(path: Path, shape: list[int | str]) -> None:
    """Adds up all that it is given."""
    nodes = [
        helper.make_node("Cast", ["picture"], ["wide"], to=TensorProto.INT32),
        helper.make_node("ReduceSum", ["wide"], ["sum"], keepdims=0),
    ]
    into = helper.make_tensor_value_info("picture", TensorProto.UINT8, shape)
    out = helper.make_tensor_value_info("sum", TensorProto.INT32, [])
    graph = helper.make_graph(nodes, "sum", [into], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    path.write_bytes(model.SerializeToString())


def test_a_model_that_takes_the_frame_never_sees_the_frame_before(tmp_path: Path) -> None:
    sum_model(tmp_path / "m.onnx", ["h", "w", 3])
    with sanderling.open(write(tmp_path, 'model = "./m.onnx"')) as pipeline:
        for height, width in [(4, 4), (2, 2), (3, 5), (4, 4)]:
            total = pipeline(filled(height, width)).tensors["sum"]
            assert total.shape == ()
            assert total == 15 * height * width


def test_a_model_bound_to_more_than_a_guest_made_fails_that_frame(tmp_path: Path) -> None:
    write_echo(tmp_path)
    sum_model(tmp_path / "m.onnx", [4, 4, 3])
    path = write(tmp_path, 'guest = "echo"', 'model = "./m.onnx"')
    with sanderling.open(path) as pipeline:
        assert pipeline(filled(4, 4)).tensors["sum"] == 240
        with pytest.raises(ModelRunError, match=r"as \[4, 4, 3\], on this frame it is \[2, 2, 3\]"):
            pipeline(filled(2, 2))
        assert pipeline(filled(4, 4)).tensors["sum"] == 240


def test_every_guest_that_reads_the_frame_sees_it_as_it_is(tmp_path: Path) -> None:
    write_echo(tmp_path)
    path = write(
        tmp_path, 'guest = "echo"\nname = "a"', 'guest = "echo"\nname = "b"\ninputs.frame = "frame"'
    )
    with sanderling.open(path) as pipeline:
        pipeline.prepare(4, 4)
        for height, width in [(4, 4), (2, 2), (1, 3), (4, 4)]:
            image = filled(height, width, 7)
            np.testing.assert_array_equal(pipeline(image).tensors["image"], image)
        with pytest.raises(GuestTrap):
            pipeline(filled(2, 2, 2))
        np.testing.assert_array_equal(pipeline(filled(2, 3)).tensors["image"], filled(2, 3))


def test_a_guest_that_was_replaced_forgets_the_shape_of_before(tmp_path: Path) -> None:
    write_echo(tmp_path)
    with sanderling.open(write(tmp_path, 'guest = "echo"')) as pipeline:
        pipeline.prepare(4, 4)
        pipeline(filled(2, 2))
        with pytest.raises(GuestTrap):
            pipeline(filled(4, 4, 2))
        assert pipeline(filled(4, 4)).tensors["image"].shape == (4, 4, 3)


def test_a_function_behind_a_guest_works_on_what_there_is(tmp_path: Path) -> None:
    scores = np.array([[0.9, 0.1, 0.8]], np.float32)
    tiny.constant_model(tmp_path / "m.onnx", {"probabilities": scores})
    function = '(module (memory (export "memory") 1) (func (export "f") (param i32 i32)'
    (tmp_path / "f.wasm").write_bytes(
        bytes(wasmtime.wat2wasm(f"{function} (result i32) local.get 1))"))
    )
    path = write(
        tmp_path,
        'guest = "letterbox"',
        'model = "./m.onnx"',
        'guest = "topk"\nparams = { k = 3, score = 0.5 }',
        'guest = "./f.wasm"\ncall = "f"',
    )
    with sanderling.open(path) as pipeline:
        values = pipeline(filled(8, 8)).tensors["values"]
    np.testing.assert_allclose(values, [[0.9, 0.8]])


def test_what_several_read_is_not_changed_by_one_of_them(tmp_path: Path) -> None:
    logits = np.arange(12, dtype=np.float32).reshape(1, 12)
    tiny.constant_model(tmp_path / "m.onnx", {"logits": logits})
    tiny.identity_model(tmp_path / "n.onnx", shape=(1, 12), kind=TensorProto.FLOAT)
    function = (
        '(module (memory (export "memory") 1) (func (export "f") (param i32 i32) (result i32)'
        " (f32.store (local.get 0) (f32.const -1)) (local.get 1)))"
    )
    (tmp_path / "f.wasm").write_bytes(bytes(wasmtime.wat2wasm(function)))
    path = write(
        tmp_path,
        'guest = "letterbox"',
        'model = "./m.onnx"',
        'guest = "./f.wasm"\ncall = "f"',
        'model = "./n.onnx"\ninputs.picture = "m.logits"',
    )
    with sanderling.open(path) as pipeline:
        np.testing.assert_array_equal(pipeline(filled(8, 8)).tensors["same"], logits)


def test_a_guest_follows_the_model_that_it_feeds(tmp_path: Path) -> None:
    tiny.identity_model(tmp_path / "a.onnx", shape=(1, 3, 16, 16))
    tiny.identity_model(tmp_path / "b.onnx", shape=(1, 3, 8, 24))
    path = write(
        tmp_path,
        'guest = "letterbox"\nname = "la"',
        'guest = "letterbox"\nname = "lb"\ninputs.frame = "frame"',
        'model = "./a.onnx"\ninputs.picture = "la.image"',
        'model = "./b.onnx"\ninputs.picture = "lb.image"',
    )
    with sanderling.open(path) as pipeline:
        assert pipeline(filled(8, 8)).tensors["same"].shape == (1, 3, 8, 24)


def test_outputs_that_change_shape_with_the_data_are_refused(tmp_path: Path) -> None:
    node = helper.make_node("NonZero", ["picture"], ["found"])
    into = helper.make_tensor_value_info("picture", TensorProto.UINT8, [4, 4, 3])
    out = helper.make_tensor_value_info("found", TensorProto.INT64, [3, "n"])
    graph = helper.make_graph([node], "g", [into], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with (
        sanderling.open(write(tmp_path, 'model = "./m.onnx"')) as pipeline,
        pytest.raises(ModelError, match="changes its shape with the data"),
    ):
        pipeline.prepare(4, 4)


def test_results_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    outputs = {
        "boxes": np.zeros((5, 4), np.float32),
        "scores": np.zeros(1, np.float32),
        "classes": np.zeros(5, np.int32),
    }
    tiny.constant_model(tmp_path / "m.onnx", outputs, input_shape=(8, 8, 3))
    path = write(tmp_path, 'model = "./m.onnx"')
    with (
        sanderling.open(path) as pipeline,
        pytest.raises(GuestViolation, match=r"boxes \[5, 4\], scores \[1\]"),
    ):
        pipeline(filled(8, 8))


def test_a_closed_pipeline_says_so(tmp_path: Path) -> None:
    write_echo(tmp_path)
    pipeline = sanderling.open(write(tmp_path, 'guest = "echo"'))
    pipeline(filled(2, 2))
    pipeline.close()
    with pytest.raises(ConfigError, match="is closed"):
        pipeline(filled(2, 2))


def test_a_guest_that_only_returns_errors_is_left_alone_too(tmp_path: Path) -> None:
    hostile.write(tmp_path)
    reasons = []
    with sanderling.open(hostile.pipeline(tmp_path)) as pipeline:
        for _ in range(51):
            with pytest.raises(FrameError) as caught:
                pipeline(filled(2, 2, hostile.OWN_ERROR))
            reasons.append(caught.value.reason)
    assert reasons == ["error"] * 50 + ["breaker"]


def test_a_trap_while_it_says_what_went_wrong_replaces_the_guest(tmp_path: Path) -> None:
    run = """(func (export "sl_run") (param i32) (result i32) (i32.const 3))
      (func (export "sl_error") (result i32) unreachable)"""
    write_echo(tmp_path, run=run)
    with sanderling.open(write(tmp_path, 'guest = "echo"')) as pipeline:
        plan = pipeline.prepare(2, 2)
        with pytest.raises(GuestTrap):
            pipeline(filled(2, 2))
        assert plan.stages[0].step is not None
        plan.stages[0].step.ready()
        assert plan.stages[0].step.generation == 2


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("(f32.store offset=48 (local.get $out) (f32.const nan))", "the scale nan"),
        ("(f32.store offset=48 (local.get $out) (f32.const -1))", "the scale -1"),
        ("(i32.store offset=24 (local.get $out) (i32.const 4))", r"manifest says u8 \[H, W, 3\]"),
    ],
)  # fmt: skip
def test_what_a_guest_declares_is_held_against_its_manifest(
    tmp_path: Path, field: str, words: str
) -> None:
    write_echo(tmp_path, setup=ECHO["setup"].replace("(i32.const 0))", f"{field} (i32.const 0))"))
    with (
        sanderling.open(write(tmp_path, 'guest = "echo"')) as pipeline,
        pytest.raises(PlanError, match=words),
    ):
        pipeline.prepare(4, 4)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"imports": '(func (export "x") (param anyref))'}, "cannot run here|can run here"),
        ({"imports": '(func (export "_initialize") (result i64) (i64.const 0))'},
         r"its export _initialize is \(\) -> \(i64\)"),
        ({"imports": '(func (export "sl_reset") (result i32 i32) (i32.const 0) (i32.const 0))'},
         "its export sl_reset"),
        ({"imports": "".join(f'(func (export "e{n}"))' for n in range(1001))}, "exports"),
        ({"imports": "".join('(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))'
                             for n in range(1001))}, "1001 imports"),
        ({"imports": f"(func (local {'i64 ' * 5000}) {'(drop (i32.const 1))' * 2000})"},
         "too long to compile"),
    ],
)  # fmt: skip
def test_what_would_take_the_host_down_is_not_let_in(
    tmp_path: Path, parts: dict[str, str], words: str
) -> None:
    path = hostile.write(tmp_path, wasm=hostile.wat(**parts))
    with pytest.raises(ModuleError, match=words):
        guest.load(path, Policy(wasi=True))


def test_a_bare_function_is_checked_as_strictly(tmp_path: Path) -> None:
    text = '(module (memory (export "memory") 1)'
    text += ' (func (export "_initialize") (result i64) i64.const 0)'
    text += ' (func (export "f") (param i32 i32) (result i32) i32.const 0))'
    path = tmp_path / "f.wasm"
    path.write_bytes(bytes(wasmtime.wat2wasm(text)))
    with pytest.raises(ModuleError, match="_initialize"):
        guest.load(path, Policy(), function="f")


def test_a_module_of_nothing_but_sections_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.wasm"
    path.write_bytes(b"\0asm\1\0\0\0" + b"\0\1\0" * 2000)
    with pytest.raises(ModuleError, match="more than 1000 sections"):
        guest.load(path, Policy())


def maps() -> dict[str, np.ndarray]:
    """CenterFace's outputs with one face at cell (4, 3)."""
    heat = np.zeros((1, 1, 8, 8), np.float32)
    heat[0, 0, 4, 3] = 0.9
    return {
        "heatmap": heat,
        "scale": np.ones((1, 2, 8, 8), np.float32),
        "offset": np.zeros((1, 2, 8, 8), np.float32),
        "landmarks": np.zeros((1, 10, 8, 8), np.float32),
    }


def test_boxes_that_nobody_maps_back_to_the_frame_are_refused(tmp_path: Path) -> None:
    tiny.constant_model(tmp_path / "m.onnx", maps())
    path = write(
        tmp_path, 'guest = "letterbox"', 'model = "./m.onnx"', 'guest = "centerface_decode"'
    )
    with (
        sanderling.open(path) as pipeline,
        pytest.raises(PlanError, match="centerface_decode are in pixels of the model's input; put"),
    ):
        pipeline.prepare(64, 64)


def test_a_guest_behind_the_detector_does_not_hide_what_was_found(tmp_path: Path) -> None:
    tiny.constant_model(tmp_path / "m.onnx", maps())
    write_echo(tmp_path)
    path = write(
        tmp_path,
        'guest = "letterbox"',
        'model = "./m.onnx"',
        'guest = "centerface_decode"',
        'guest = "nms"',
        'guest = "echo"\ninputs.frame = "frame"',
    )
    with sanderling.open(path) as pipeline:
        result = pipeline(filled(64, 64))
    assert result.detections is not None
    assert len(result.detections) == 1
    np.testing.assert_array_equal(result.tensors["image"], filled(64, 64))
    line = result.as_dict()
    assert line["tensors"] == {"image": {"dtype": "uint8", "shape": [64, 64, 3]}}
    assert len(line["detections"]) == 1


def test_a_picture_that_a_pipeline_makes_is_the_one_that_is_drawn(tmp_path: Path) -> None:
    write_echo(tmp_path)
    with sanderling.open(write(tmp_path, 'guest = "echo"')) as pipeline:
        result = pipeline(filled(8, 8, 77))
    drawn = imaging.annotate(filled(8, 8, 5), result)
    np.testing.assert_array_equal(drawn, filled(8, 8, 77))
