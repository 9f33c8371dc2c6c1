"""Quantizing: what comes out computes what went in, and bad input is refused in words."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest

import tinymodels
from guestkit import run_guest
from sanderling import metadata
from sanderling.errors import InputError, ModelError, OutputError, SourceError
from sanderling.metadata import ImageInput, ModelMetadata
from sanderling.quantize import Report, load, pictures, qdq, quantize, statistics

SEED = 5
SIDE = tinymodels.SIDE


@pytest.fixture
def rng() -> np.random.Generator:
    print(f"seed {SEED}")
    return np.random.default_rng(SEED)


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Ten pictures with structure: noise alone has no range to speak of after a convolution."""
    place = tmp_path / "pictures"
    place.mkdir()
    for number in range(10):
        coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
        size = (int(rng.integers(30, 90)), int(rng.integers(30, 90)))
        cv2.imwrite(str(place / f"{number}.png"), cv2.resize(coarse, size))
    return place


def make(
    tmp_path: Path, folder: Path, model: onnx.ModelProto, **options: object
) -> tuple[Report, Path]:
    """Quantize without timing; the report and the file."""
    source, out = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    onnx.save(model, source)
    options = {"timing_rounds": 0, **options}
    return quantize(source, out, folder, **options), out  # type: ignore[arg-type]


def about(path: Path) -> ModelMetadata:
    props = {item.key: item.value for item in onnx.load(path).metadata_props}
    return metadata.parse(props[metadata.KEY], str(path))


def opened(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_int8(path: Path, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Feed stored pixels, dequantize by the metadata."""
    session, known = opened(path), about(path).tensors
    names = [item.name for item in session.get_outputs()]
    stored = session.run(names, {session.get_inputs()[0].name: pixels})
    return {
        name: (value.astype(np.float32) - known[name].zero_point) * np.float32(known[name].scale)
        if name in known
        else value
        for name, value in zip(names, stored, strict=True)
    }


def some_pixels(folder: Path) -> np.ndarray:
    image = cv2.imread(str(folder / "3.png"))
    return pictures.compose(image, SIDE, SIDE, ImageInput(fit="stretch"))


def test_pixels_go_in_as_they_are_and_integers_come_out(tmp_path, folder, rng) -> None:
    model = tinymodels.plain(rng)
    report, out = make(tmp_path, folder, model, std=(255, 255, 255), fit="stretch")
    (item,), (result,) = opened(out).get_inputs(), opened(out).get_outputs()
    assert (item.type, item.shape) == ("tensor(uint8)", [1, 3, SIDE, SIDE])
    assert (result.type, result.shape) == ("tensor(uint8)", [1, 4, SIDE // 2, SIDE // 2])
    pixels = some_pixels(folder).transpose(2, 0, 1)[None]
    wanted = opened(tmp_path / "float.onnx").run(None, {"images": pixels.astype("f4") / 255})[0]
    found = run_int8(out, pixels)["map"]
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.05 * wanted.std()
    assert report.variant("u8s8").agreement["map"] > 0.95
    assert not any(
        node.op_type == "QuantizeLinear" and "images" in node.input
        for node in onnx.load(out).graph.node
    )


@pytest.mark.parametrize("flavour", ["u8s8", "s8s8"])
@pytest.mark.parametrize(
    ("mean", "std", "level"),
    [((0, 0, 0), (1, 1, 1), 0), ((0, 0, 0), (255, 255, 255), 0), ((127.5,) * 3, (127.5,) * 3, 128)],
)
def test_normalisation_folds_into_scale_and_zero_point(
    tmp_path, folder, rng, flavour, mean, std, level
) -> None:
    model = tinymodels.plain(rng)
    _, out = make(tmp_path, folder, model, mean=mean, std=std, flavour=flavour, fit="stretch")
    said = about(out)
    shift = 128 if flavour == "s8s8" else 0
    assert said.tensors["images"].zero_point == level - shift
    assert said.tensors["images"].scale == pytest.approx(1 / std[0])
    # A guest that follows the metadata to the letter writes the pixel itself.
    assert said.image is not None
    every = np.arange(256, dtype=np.float32)
    real = (every - said.image.mean[0]) / said.image.std[0]
    stored = np.rint(real / np.float32(said.tensors["images"].scale)) + level - shift
    assert np.array_equal(stored, every - shift)

    pixels = some_pixels(folder).transpose(2, 0, 1)[None]
    dtype = np.int8 if shift else np.uint8
    found = run_int8(out, (pixels.astype(int) - shift).astype(dtype))["map"]
    batch = (pixels.astype("f4") - np.float32(mean[0])) / np.float32(std[0])
    wanted = opened(tmp_path / "float.onnx").run(None, {"images": batch})[0]
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.06 * wanted.std()


def test_unlike_channels_are_left_to_the_guest(tmp_path, folder, rng) -> None:
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    report, out = make(tmp_path, folder, tinymodels.plain(rng), mean=mean, std=std)
    said = about(out)
    assert said.image is not None
    assert (said.image.mean, said.image.std) == (mean, std)
    low, high = min(-m / s for m, s in zip(mean, std, strict=True)), (255 - 103.53) / 57.375
    assert said.tensors["images"].scale == pytest.approx((high - low) / 255)
    assert "guest normalises" in report.notes["input images"]
    assert report.variant("u8s8").agreement["map"] > 0.9


@pytest.mark.parametrize("build", [tinymodels.nhwc, lambda rng: tinymodels.plain(rng, channels=1)])
def test_other_layouts(tmp_path, folder, rng, build) -> None:
    report, out = make(tmp_path, folder, build(rng), std=(255, 255, 255))
    wanted = [1, 1, SIDE, SIDE] if build is not tinymodels.nhwc else [1, SIDE, SIDE, 3]
    assert opened(out).get_inputs()[0].shape == wanted
    assert about(out).image.order == ("rgb" if build is tinymodels.nhwc else "grey")
    assert report.variant("u8s8").agreement["map"] > 0.9


def test_old_model_is_raised_fixed_and_renamed(tmp_path, folder, rng) -> None:
    model = tinymodels.old(rng)
    report, out = make(
        tmp_path, folder, model, input_size=(48, 32), std=(255,) * 3, rename={"537": "map"}
    )
    raised = onnx.load(out)
    onnx.checker.check_model(raised, full_check=True)
    assert [item.version for item in raised.opset_import if item.domain == ""] == [13]
    assert [item.name for item in raised.graph.input] == ["images"]
    assert opened(out).get_inputs()[0].shape == [1, 3, 32, 48]
    assert [(o.name, o.shape) for o in opened(out).get_outputs()] == [("map", [1, 4, 32, 48])]
    assert report.variant("u8s8").agreement["map"] > 0.9


def test_open_dimensions_need_a_size(tmp_path, folder, rng) -> None:
    model = tinymodels.plain(rng, shape=("batch", 3, "height", "width"))
    with pytest.raises(InputError, match=r"float\.onnx.*--input-size"):
        make(tmp_path, folder, model)
    _, out = make(tmp_path, folder, model, input_size=(64, 32))
    assert opened(out).get_inputs()[0].shape == [1, 3, 32, 64]
    assert opened(out).get_outputs()[0].shape == [1, 4, 16, 32]


@pytest.mark.parametrize("rows_last", [False, True])
def test_joined_output_is_taken_apart(tmp_path, folder, rng, rows_last) -> None:
    model = tinymodels.yolo(rng, rows_last=rows_last)
    report, out = make(tmp_path, folder, model, std=(255,) * 3, fit="stretch", tail="int8")
    said = about(out)
    cells = (SIDE // 2) ** 2
    assert [(o.name, o.shape, o.type) for o in opened(out).get_outputs()] == [
        ("boxes", [1, cells, 4] if rows_last else [1, 4, cells], "tensor(uint8)"),
        ("class_scores", [1, cells, 3] if rows_last else [1, 3, cells], "tensor(uint8)"),
    ]
    assert said.outputs == {"boxes": "output", "class_scores": "class_scores"}
    assert said.tensors["boxes"].scale > 1
    assert said.tensors["class_scores"].scale < 0.005
    assert "taken apart" in report.notes["output output0"]
    pixels = some_pixels(folder).transpose(2, 0, 1)[None]
    wanted = opened(tmp_path / "float.onnx").run(None, {"images": pixels.astype("f4") / 255})[0]
    boxes, scores = np.split(wanted, [4], axis=2 if rows_last else 1)
    found = run_int8(out, pixels)
    assert np.abs(found["class_scores"] - scores).max() < 0.1
    assert np.abs(found["boxes"] - boxes).max() < 0.1 * 640


def test_left_joined_the_tail_stays_float(tmp_path, folder, rng) -> None:
    options = {"std": (255,) * 3, "fit": "stretch"}
    for model, extra in (
        (tinymodels.yolo(rng), {"split": False}),
        (tinymodels.yolo_v5(rng), {}),
    ):
        report, out = make(tmp_path, folder, model, **options, **extra)
        assert [(o.name, o.type) for o in opened(out).get_outputs()] == [
            ("output0", "tensor(float)")
        ]
        assert report.notes["tail of output0"].startswith("float: it joins ranges that differ")
        pixels = some_pixels(folder).transpose(2, 0, 1)[None]
        batch = {"images": pixels.astype("f4") / 255}
        wanted = opened(tmp_path / "float.onnx").run(None, batch)[0]
        scores = run_int8(out, pixels)["output0"].reshape(7, -1)[4:]
        assert np.abs(scores - wanted.reshape(7, -1)[4:]).max() < 0.1


def test_tail_stays_float_where_that_keeps_more(tmp_path, folder, rng) -> None:
    kinds = {}
    agreed = {}
    for tail in ("auto", "int8", "float"):
        report, out = make(tmp_path, folder, tinymodels.up_and_down(rng), std=(255,) * 3, tail=tail)
        kinds[tail] = opened(out).get_outputs()[0].type
        agreed[tail] = report.variant("u8s8").agreement["map"]
        if tail == "auto":
            assert report.notes["tail of map"].startswith("float: error ")
        else:
            assert report.notes["tail of map"] == f"{tail}, as asked"
    assert kinds["auto"] == kinds["float"] == "tensor(float)"
    assert min(agreed["auto"], agreed["float"]) > 0.95 > agreed["int8"]


def test_outer_nodes_are_kept_on_request(tmp_path, folder, rng) -> None:
    model = tinymodels.plain(rng)
    options = {"keep_quantize_nodes": True, "mean": (127.5,) * 3, "std": (127.5,) * 3}
    report, out = make(tmp_path, folder, model, **options)
    session = opened(out)
    assert session.get_inputs()[0].type == session.get_outputs()[0].type == "tensor(float)"
    assert about(out).tensors == {}
    assert about(out).image.mean == (127.5,) * 3
    assert report.variant("u8s8").agreement["map"] > 0.9


def test_both_flavours_are_measured_and_written_on_request(tmp_path, folder, rng) -> None:
    seen: list[tuple[str, int, int]] = []
    report, out = make(
        tmp_path,
        folder,
        tinymodels.plain(rng),
        flavour="both",
        timing_rounds=2,
        progress=lambda stage, done, total: seen.append((stage, done, total)),
    )
    beside = tmp_path / "int8-s8s8.onnx"
    assert [item.path for item in report.variants] == [None, out, beside]
    assert opened(beside).get_inputs()[0].type == "tensor(int8)"
    assert about(beside).notes["flavour"] == "s8s8"
    assert all(item.median_ms > 0 for item in report.variants)
    words = ("float", "u8s8", "s8s8", "map", "100.0%", "ms", "MB", "2 pictures held", "8 calibr")
    for word in words:
        assert word in report.table()
    stages = {stage for stage, *_ in seen}
    assert {"prepare", "calibrate", "choose", "quantize", "time"} <= stages
    for stage in stages:
        steps = [(done, total) for name, done, total in seen if name == stage]
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1]


def test_same_bytes_every_time(tmp_path, folder, rng) -> None:
    model = tinymodels.yolo(rng)
    _, out = make(tmp_path, folder, model)
    first = out.read_bytes()
    _, out = make(tmp_path, folder, model)
    assert out.read_bytes() == first
    assert str(tmp_path).encode() not in first


def test_weights_have_seven_bits_unless_told_otherwise(tmp_path, folder, rng) -> None:
    for reduce_range, limit in ((True, 64), (False, 127)):
        _, out = make(tmp_path, folder, tinymodels.plain(rng), reduce_range=reduce_range)
        kernels = [
            onnx.numpy_helper.to_array(item)
            for item in onnx.load(out).graph.initializer
            if item.data_type == onnx.TensorProto.INT8 and len(item.dims) == 4
        ]
        assert len(kernels) == 2
        assert max(int(np.abs(item.astype(int)).max()) for item in kernels) == limit


def test_a_residual_is_added_in_float32(tmp_path, folder, rng) -> None:
    """onnxruntime's integer Add gives other integers on Arm than on x86."""
    nodes = [
        tinymodels.conv("images", "a", 0),
        tinymodels.conv("a", "b", 1),
        onnx.helper.make_node("Add", ["a", "b"], ["c"]),
        tinymodels.conv("c", "map", 2),
    ]
    tensors = tinymodels.weights(
        rng, w0=(4, 3, 3, 3), b0=(4,), w1=(4, 4, 3, 3), b1=(4,), w2=(4, 4, 3, 3), b2=(4,)
    )
    shape = (1, 4, SIDE, SIDE)
    model = tinymodels.build(nodes, tensors, {"map": shape}, shape=(1, 3, SIDE, SIDE))
    _, out = make(tmp_path, folder, model)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(out, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    assert kinds.count("QLinearConv") == 3
    assert "QLinearAdd" not in kinds


def test_corrected_biases_take_the_mean_error_away(tmp_path, rng) -> None:
    model = tinymodels.plain(rng)
    picture = load.picture_input(model, Path("m"))
    ready = load.prepare(model, picture, {}, Path("m"))
    batches = [rng.uniform(0, 1, (1, 3, SIDE, SIDE)).astype("f4") for _ in range(4)]
    seen = statistics.collect(ready, batches, Path("m"), lambda: None)
    given = qdq.input_range(ImageInput(std=(255.0,) * 3), 3)
    wanted = np.stack([load.session(ready).run(None, {"images": b})[0] for b in batches])
    shifts = []
    for correct in (False, True):
        made = qdq.to_qdq(
            ready, seen.whole, given, signed=False, reduce_range=True, stay_float=(), path=Path("m")
        )
        if correct:
            assert qdq.correct_biases(made, ready, seen) == 2
        found = np.stack([load.session(made).run(None, {"images": b})[0] for b in batches])
        shifts.append(np.abs((found - wanted).mean(axis=(0, 1, 3, 4))).mean())
    assert shifts[1] < 0.6 * shifts[0]


def test_metadata_of_the_float_model_is_used(tmp_path, folder, rng) -> None:
    model = tinymodels.yolo(rng)
    props = {"author": "Ultralytics", "names": "{0: 'cat', 1: 'dog', 2: 'owl'}", "task": "detect"}
    onnx.helper.set_model_props(model, props)
    _, out = make(tmp_path, folder, model, align="start")
    said = about(out)
    assert (said.labels, said.task) == (["cat", "dog", "owl"], "detect")
    assert said.image == ImageInput(order="rgb", std=(255.0,) * 3, align="start")
    assert said.tensors["images"].scale == pytest.approx(1 / 255)


def test_what_is_asked_wins_over_metadata(tmp_path, folder, rng) -> None:
    model = tinymodels.plain(rng)
    mine = ModelMetadata(name="first", labels=["a"], image=ImageInput(std=(2.0,) * 3, order="bgr"))
    onnx.helper.set_model_props(model, {metadata.KEY: metadata.dump(mine), "other": "stays"})
    _, out = make(tmp_path, folder, model, std=(4, 4, 4), about=ModelMetadata(name="second"))
    said = about(out)
    assert (said.name, said.labels, said.image.order) == ("second", [], "bgr")
    assert said.image.std == (4.0,) * 3
    assert {item.key for item in onnx.load(out).metadata_props} == {"other", metadata.KEY}


def _two_inputs(rng: np.random.Generator) -> onnx.ModelProto:
    model = tinymodels.plain(rng, inputs=("images", "more"))
    model.graph.node.insert(0, onnx.helper.make_node("Add", ["images", "more"], ["sum"]))
    model.graph.node[1].input[0] = "sum"
    return model


def _unknown_operator(rng: np.random.Generator) -> onnx.ModelProto:
    model = tinymodels.plain(rng)
    model.graph.node[1].op_type = "Frobnicate"
    return model


def _not_finite(rng: np.random.Generator) -> onnx.ModelProto:
    model = tinymodels.plain(rng)
    model.graph.node[1].op_type = "Log"
    return model


BAD_MODELS: dict[str, tuple[Callable[[np.random.Generator], onnx.ModelProto], str]] = {
    "two inputs": (_two_inputs, "one input is needed.*images, more"),
    "no picture": (
        lambda rng: tinymodels.plain(rng, shape=(1, 5, SIDE, SIDE)),
        r"images is \[1, 5, 32, 32\]; a picture is",
    ),
    "not float32": (
        lambda rng: tinymodels.plain(rng, kind=onnx.TensorProto.FLOAT16),
        "images is float16; only a model that takes float32",
    ),
    "operator": (_unknown_operator, "does not run with an input of 32x32.*Frobnicate"),
    "open result": (tinymodels.of_any_length, "size of output found depends on the picture"),
    "infinite": (_not_finite, "is not finite on the calibration pictures"),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_models_that_cannot_be_quantized(tmp_path, folder, rng, name) -> None:
    build, message = BAD_MODELS[name]
    (tmp_path / "int8.onnx").write_bytes(b"the last good one")
    with pytest.raises(ModelError, match=rf"(?s)float\.onnx: .*{message}"):
        make(tmp_path, folder, build(rng))
    assert (tmp_path / "int8.onnx").read_bytes() == b"the last good one"
    assert sorted(os.listdir(tmp_path)) == ["float.onnx", "int8.onnx", "pictures"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"", "no graph"), (b"\x89PNG nonsense", "not an ONNX model")],
)
def test_files_that_are_no_models(tmp_path, folder, content, message) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"model\.onnx: .*{message}"):
        quantize(path, tmp_path / "out.onnx", folder)


def test_truncated_model(tmp_path, folder, rng) -> None:
    data = tinymodels.plain(rng).SerializeToString()
    (tmp_path / "model.onnx").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match=r"model\.onnx"):
        quantize(tmp_path / "model.onnx", tmp_path / "out.onnx", folder)


def test_quantized_model_is_refused(tmp_path, folder, rng) -> None:
    _, out = make(tmp_path, folder, tinymodels.plain(rng))
    with pytest.raises(ModelError, match=r"int8\.onnx: is quantized already"):
        quantize(out, tmp_path / "again.onnx", folder)


BAD_ARGUMENTS = {
    "size": ({"input_size": (0, 32)}, "input size 0x32"),
    "std": ({"std": (0, 1, 1)}, "std"),
    "mean": ({"mean": (1, 2)}, "mean"),
    "order": ({"order": "grey"}, "order grey does not go with an input of 3 channels"),
    "rename": ({"rename": {"nothing": "x"}}, "no output nothing to rename; it has map"),
    "taken": ({"rename": {"map": "images"}}, "another tensor has that name"),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_wrong_arguments(tmp_path, folder, rng, name) -> None:
    options, message = BAD_ARGUMENTS[name]
    with pytest.raises(InputError, match=message):
        make(tmp_path, folder, tinymodels.plain(rng), **options)


def test_size_that_does_not_fit_the_graph(tmp_path, folder, rng) -> None:
    with pytest.raises(
        ModelError, match=r"float\.onnx: does not run with an input of 30x32 \(.*32"
    ):
        make(tmp_path, folder, tinymodels.yolo(rng), input_size=(30, 32))


def test_folders_without_enough_pictures(tmp_path, rng) -> None:
    model = tinymodels.plain(rng)
    with pytest.raises(SourceError, match="no such folder"):
        make(tmp_path, tmp_path / "nowhere", model)
    place = tmp_path / "few"
    place.mkdir()
    (place / "notes.txt").write_text("no picture")
    (place / "broken.jpg").write_bytes(b"\xff\xd8 cut off")
    for number in range(3):
        cv2.imwrite(str(place / f"{number}.png"), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(SourceError, match=r"few: has 3 .*at least 4.*not readable: broken\.jpg$"):
        make(tmp_path, place, model)


def test_unreadable_pictures_are_reported_and_left_out(tmp_path, folder, rng) -> None:
    (folder / "broken.jpg").write_bytes(b"nonsense")
    report, _ = make(tmp_path, folder, tinymodels.plain(rng))
    assert report.unreadable == ("broken.jpg",)
    assert len(report.calibrated) == 8
    assert set(report.calibrated).isdisjoint(report.held_out)


def test_places_that_cannot_be_written(tmp_path, folder, rng, monkeypatch) -> None:
    source = tmp_path / "float.onnx"
    onnx.save(tinymodels.plain(rng), source)
    for out, message in (
        (tmp_path / "missing" / "x.onnx", "no folder"),
        (folder, "is a folder"),
        (source, "is the float model itself"),
    ):
        with pytest.raises(OutputError, match=message):
            quantize(source, out, folder)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"out\.onnx: cannot be written: No space left"):
        quantize(source, tmp_path / "out.onnx", folder, timing_rounds=0)
    assert sorted(os.listdir(tmp_path)) == ["float.onnx", "pictures"]


def test_without_onnx_one_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'sanderling\[quantize\]'"):
        quantize(tmp_path / "a.onnx", tmp_path / "b.onnx", tmp_path)


def test_resize_agrees_with_opencv(rng) -> None:
    for _ in range(40):
        high, wide, height, width = (int(n) for n in rng.integers(1, 90, 4))
        picture = rng.integers(0, 256, (high, wide, 3), np.uint8)
        found = pictures.resize(picture, width, height).astype(int)
        wanted = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
        assert np.abs(found - wanted.reshape(found.shape)).max() <= 1


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
@pytest.mark.parametrize("order", ["rgb", "bgr", "grey"])
@pytest.mark.parametrize("align", ["centre", "start"])
def test_pictures_are_prepared_as_the_guest_does(rng, fit, order, align) -> None:
    for _ in range(8):
        high, wide, height, width = (int(n) for n in rng.integers(9, 300, 4))
        frame = rng.integers(0, 256, (high, wide, 3), np.uint8)
        image = ImageInput(order=order, fit=fit, align=align, pad=9)
        params = {"width": width, "height": height, "layout": "nhwc", "dtype": "u8", "pad": 9}
        params |= {"order": order, "fit": fit, "align": align}
        guest = run_guest("letterbox", [frame], params, backend="wasm")[0].data
        ours = pictures.compose(frame, width, height, image)
        assert np.abs(guest.reshape(ours.shape).astype(int) - ours).max() <= 1


@pytest.mark.parametrize(("align", "left", "top"), [("centre", 0, 12), ("start", 0, 0)])
def test_letterbox_keeps_the_aspect_and_pads(align, left, top) -> None:
    white = np.full((50, 100, 3), 255, np.uint8)
    canvas = pictures.compose(white, 48, 48, ImageInput(align=align, pad=7))
    inside = np.zeros((48, 48), bool)
    inside[top : top + 24, left : left + 48] = True
    assert (canvas[inside] == 255).all()
    assert (canvas[~inside] == 7).all()


def test_orders() -> None:
    blue = np.zeros((2, 2, 3), np.uint8)
    blue[:, :, 0] = 200
    for order, wanted in (("bgr", [200, 0, 0]), ("rgb", [0, 0, 200]), ("grey", [23])):
        canvas = pictures.compose(blue, 2, 2, ImageInput(order=order))
        assert canvas[0, 0].tolist() == wanted
