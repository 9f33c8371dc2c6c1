"""Shapes and dtypes are settled, and buffers placed, before the first frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

import sanderling
import tiny
from sanderling.errors import ConfigError, InputError, ModelError, PlanError
from sanderling.metadata import ImageInput, ModelMetadata, Quantization
from sanderling.tensor import DType
from sanderling.wiring import FRAME

HEAD = '[pipeline]\nname = "t"\n'
LETTERBOX = '[[stage]]\nguest = "letterbox"\n'
MODEL = '[[stage]]\nmodel = "./m.onnx"\n'


def write(folder: Path, *stages: str) -> Path:
    path = folder / "p.toml"
    path.write_text(HEAD + "".join(stages))
    return path


def guest(name: str, params: str = "") -> str:
    return f'[[stage]]\nguest = "{name}"\n' + (f"params = {{ {params} }}\n" if params else "")


def maps(dtype: type[np.generic] = np.uint8, channels: tuple[int, ...] = (1, 2, 2, 10)) -> dict:
    names = ("heatmap", "scale", "offset", "landmarks")
    return {
        name: np.zeros((1, depth, 8, 8), dtype) for name, depth in zip(names, channels, strict=True)
    }


def failure(path: Path, kind: type[InputError] = PlanError) -> str:
    with pytest.raises(kind) as caught, sanderling.open(path) as pipeline:
        pipeline.prepare(48, 64)
    message = str(caught.value)
    assert message.startswith(str(path.parent)), message
    assert "\n" not in message
    return message


def test_a_detector_is_placed_without_a_copy_of_a_model_tensor(tmp_path: Path) -> None:
    tiny.constant_model(tmp_path / "m.onnx", maps())
    path = write(tmp_path, LETTERBOX, MODEL, guest("centerface_decode"), guest("nms"))
    with sanderling.open(path) as pipeline:
        plan = pipeline.prepare(48, 64)
        names = {tensor.name: tensor for tensor in plan.tensors}
        assert names["letterbox.image"].home == ("output", 0, 0)
        for index, name in enumerate(("heatmap", "scale", "offset", "landmarks")):
            assert names[f"m.{name}"].home == ("input", 2, index)
        copied = {name for name, tensor in names.items() if plan.copied_to(tensor)}
        assert copied == {
            "letterbox.geometry",
            *(f"centerface_decode.{name}" for name in ("boxes", "scores", "classes", "points")),
        }
        before = [tensor for tensor in plan.tensors if tensor.origin.stage in (FRAME, 0, 1)]
        assert all(tensor.type.dtype is not DType.F32 for tensor in before)


def test_the_model_really_reads_and_writes_guest_memory(tmp_path: Path) -> None:
    tiny.identity_model(tmp_path / "m.onnx", shape=(1, 3, 8, 8))
    path = write(tmp_path, LETTERBOX, MODEL)
    image = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    with sanderling.open(path) as pipeline:
        made = pipeline(image).tensors["same"]
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made[0], image[:, :, ::-1].transpose(2, 0, 1))


def test_what_follows_from_the_model_need_not_be_said(tmp_path: Path) -> None:
    said = ModelMetadata(
        image=ImageInput(order="bgr", fit="stretch", mean=(127.5,) * 3, std=(127.5,) * 3),
    )
    tiny.identity_model(
        tmp_path / "m.onnx", shape=(1, 16, 24, 3), kind=TensorProto.FLOAT, said=said
    )
    image = np.full((7, 9, 3), (0, 127, 255), np.uint8)
    with sanderling.open(write(tmp_path, LETTERBOX, MODEL)) as pipeline:
        made = pipeline(image).tensors["same"]
    assert made.shape == (1, 16, 24, 3)
    np.testing.assert_allclose(made[0, 3, 5], [-1, -0.5 / 127.5, 1], atol=1e-6)


def test_what_is_written_in_the_pipeline_wins(tmp_path: Path) -> None:
    said = ModelMetadata(image=ImageInput(order="bgr"))
    tiny.identity_model(tmp_path / "m.onnx", shape=(1, 3, 8, 8), said=said)
    image = np.full((8, 8, 3), (1, 2, 3), np.uint8)
    with sanderling.open(write(tmp_path, LETTERBOX, MODEL)) as pipeline:
        assert pipeline(image).tensors["same"][0, :, 0, 0].tolist() == [1, 2, 3]
    path = write(tmp_path, guest("letterbox", 'order = "rgb"'), MODEL)
    with sanderling.open(path) as pipeline:
        assert pipeline(image).tensors["same"][0, :, 0, 0].tolist() == [3, 2, 1]
    path = write(tmp_path, LETTERBOX, MODEL + 'image = { order = "rgb" }\n')
    with sanderling.open(path) as pipeline:
        assert pipeline(image).tensors["same"][0, :, 0, 0].tolist() == [3, 2, 1]


def test_a_model_of_any_size_is_fixed_by_the_pipeline(tmp_path: Path) -> None:
    tiny.identity_model(tmp_path / "m.onnx", shape=("batch", 3, "height", "width"))
    path = write(tmp_path, guest("letterbox", "width = 24, height = 16"), MODEL)
    with sanderling.open(path) as pipeline:
        assert pipeline(np.zeros((5, 5, 3), np.uint8)).tensors["same"].shape == (1, 3, 16, 24)
    message = failure(write(tmp_path, LETTERBOX, MODEL))
    assert "m takes pictures of any size: say which with params = { width" in message


def test_outputs_without_a_shape_are_measured(tmp_path: Path) -> None:
    tiny.constant_model(tmp_path / "m.onnx", maps(), dynamic_outputs=True)
    path = write(tmp_path, LETTERBOX, MODEL, guest("centerface_decode"), guest("nms"))
    with sanderling.open(path) as pipeline:
        plan = pipeline.prepare(48, 64)
        assert plan.stages[1].outputs[0] is not None
        assert plan.stages[1].outputs[0].type.shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("outputs", "decoder", "words"),
    [
        ({"output0": np.zeros((1, 84, 8400), np.float32)}, "centerface_decode",
         ["[1, 84, 8400]", "YOLOv8's shape [1, 4+80 classes, anchors]: use yolo_decode"]),
        ({"output0": np.zeros((1, 25200, 85), np.float32)}, "softmax + topk3",
         ["[1, 25200, 85]", "YOLOv5's shape", "use yolo_decode"]),
        (maps(), "yolo_decode",
         ["[1, 1, 8, 8]", "[1, 4+classes, anchors]", "use centerface_decode"]),
        ({"boxes": np.zeros((1, 99, 4), np.float32), "scores": np.zeros((1, 99, 91), np.float32)},
         "centerface_decode", ["[1, 99, 4]", "SSD-like"]),
        ({"boxes": np.zeros((1, 99, 4), np.float32), "scores": np.zeros((1, 99, 91), np.float32)},
         "yolo_decode", ["boxes without their scores", "boxes f32 [1, 99, 4]", "SSD-like"]),
        ({"logits": np.zeros((1, 1000), np.float32)}, "yolo_decode",
         ["[1, 1000]", "classifier with 1000 classes: use softmax and topk"]),
    ],
)  # fmt: skip
def test_a_decoder_that_does_not_fit_is_refused_with_both_shapes(
    tmp_path: Path, outputs: dict[str, np.ndarray], decoder: str, words: list[str]
) -> None:
    tiny.constant_model(tmp_path / "m.onnx", outputs)
    stages = [guest("topk" if "topk" in decoder else decoder)]
    message = failure(write(tmp_path, LETTERBOX, MODEL, *stages), InputError)
    for word in words:
        assert word in message, message


def test_a_model_that_takes_no_picture_is_not_said_to_take_any(tmp_path: Path) -> None:
    tiny.identity_model(tmp_path / "m.onnx", shape=(1, 7))
    assert "pictures of any size" not in failure(write(tmp_path, LETTERBOX, MODEL))


@pytest.mark.parametrize("threads", [-1, 257, 10**6])
def test_a_number_of_threads_that_cannot_be_is_refused(tmp_path: Path, threads: int) -> None:
    tiny.identity_model(tmp_path / "m.onnx")
    path = write(tmp_path, LETTERBOX, MODEL)
    with pytest.raises(ConfigError, match=r"must be 0 \(one a core\) to 256"):
        sanderling.open(path, threads=threads)


def test_a_guest_before_the_model_that_makes_the_wrong_thing_is_refused(tmp_path: Path) -> None:
    tiny.identity_model(tmp_path / "m.onnx")
    message = failure(write(tmp_path, guest("letterbox", 'layout = "nhwc"'), MODEL))
    assert "u8 [1, 3, 32, 32], but letterbox.image is u8 [1, 32, 32, 3]" in message
    message = failure(write(tmp_path, guest("letterbox", 'dtype = "f32"'), MODEL))
    assert "its input picture is u8" in message
    assert "letterbox.image is f32" in message


def test_a_scale_that_differs_is_refused(tmp_path: Path) -> None:
    said = ModelMetadata(tensors={"picture": Quantization(scale=0.5, zero_point=3)})
    tiny.identity_model(tmp_path / "m.onnx", said=said)
    with sanderling.open(write(tmp_path, LETTERBOX, MODEL)) as pipeline:
        pipeline.prepare(8, 8)
    message = failure(write(tmp_path, guest("letterbox", "scale = 0.25"), MODEL))
    assert "scale 0.5 and zero point 3, but letterbox.image with scale 0.25" in message


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([guest("letterbox", "widht = 3")], "has no such parameter; it has: width, height"),
        ([guest("letterbox", "width = 99999")], "99999 is not within 0 to 8192 pixels"),
        ([guest("letterbox", 'fit = "crop"')], "'crop' is not one of 'letterbox', 'stretch'"),
        ([guest("lettrbox")], "installed are centerface_decode, crop"),
        ([guest("./gone.wasm")], "there is no file"),
        ([LETTERBOX, '[[stage]]\nmodel = "gone"\n'], "not beside the pipeline file"),
        ([LETTERBOX, MODEL + 'outputs = { nope = "x" }\n'], "has no such tensor; it has: picture"),
    ],
)
def test_a_wrong_file_is_refused_before_anything_runs(
    tmp_path: Path, stages: list[str], words: str
) -> None:
    tiny.identity_model(tmp_path / "m.onnx")
    assert words in failure(write(tmp_path, *stages), ConfigError)


def test_models_that_cannot_be_loaded_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, LETTERBOX, MODEL)
    whole = tiny.identity_model(tmp_path / "m.onnx").read_bytes()
    for data in (b"", b"not onnx at all", whole[: len(whole) // 2]):
        (tmp_path / "m.onnx").write_bytes(data)
        with pytest.raises(ModelError) as caught:
            sanderling.open(path)
        assert str(tmp_path / "m.onnx") in str(caught.value)
    tiny.unknown_operator(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="Frobnicate"):
        sanderling.open(path)


def test_metadata_that_is_no_metadata_is_refused(tmp_path: Path) -> None:
    from onnx import helper, load

    path = tiny.identity_model(tmp_path / "m.onnx")
    model = load(path)
    helper.set_model_props(model, {"sanderling.model": '{"version": 1, "labls": []}'})
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="labls"):
        sanderling.open(write(tmp_path, LETTERBOX, MODEL))
