"""A second model on each thing that the first has found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

import sanderling
import tiny
from sanderling import imaging
from sanderling.metadata import ModelMetadata

ROOT = Path(__file__).resolve().parents[1]
PHOTO = imaging.read_image(ROOT / "examples" / "astronaut.png")
BOXES = np.float32([[0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16], [8, 8, 16, 16], [4, 4, 12, 12]])


def means(path: Path, batch: int | str) -> None:
    """A model of 4 x 4 pictures that gives the mean of each channel, red first."""
    nodes = [
        helper.make_node("Cast", ["picture"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["wide"], ["means"], axes=[2, 3], keepdims=0),
    ]
    into = helper.make_tensor_value_info("picture", TensorProto.UINT8, [batch, 3, 4, 4])
    out = helper.make_tensor_value_info("means", TensorProto.FLOAT, [batch, 3])
    graph = helper.make_graph(nodes, "means", [into], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    helper.set_model_props(
        model, {"sanderling.model": '{"version": 1, "labels": ["red", "green", "blue"]}'}
    )
    path.write_bytes(model.SerializeToString())


def write(folder: Path, *, score: float = 0.0, most: int = 8, batch: int | str = 1) -> Path:
    """A detector that always finds `BOXES`, and what says more of each."""
    tiny.constant_model(
        folder / "detector.onnx",
        {
            "boxes": BOXES,
            "scores": np.float32([0.9, 0.8, 0.7, 0.6, 0.5]),
            "classes": np.int32([0, 1, 0, 1, 0]),
        },
        input_shape=(1, 3, 16, 16),
        said=ModelMetadata(labels=["cat", "dog"]),
    )
    means(folder / "means.onnx", batch)
    path = folder / "p.toml"
    path.write_text(f"""
[pipeline]
name = "t"
[[stage]]
guest = "letterbox"
[[stage]]
model = "./detector.onnx"
[[stage]]
guest = "nms"
params = {{ score = {score}, iou = 1.0 }}
[[stage]]
guest = "crop"
params = {{ most = {most}, margin = 0.0, fit = "stretch" }}
[[stage]]
model = "./means.onnx"
[[stage]]
guest = "topk"
params = {{ k = 3 }}
""")
    return path


def coloured() -> np.ndarray:
    """Four squares: blue, green, red, and all of them."""
    image = np.zeros((16, 16, 3), np.uint8)
    image[:8, :8, 0] = image[:8, 8:, 1] = image[8:, :8, 2] = 200
    image[8:, 8:] = (30, 20, 10)
    return image


@pytest.mark.parametrize("batch", [1, "n"])
def test_each_thing_found_is_looked_at(tmp_path: Path, batch: int | str) -> None:
    with sanderling.open(write(tmp_path, batch=batch)) as cascade:
        found = cascade(coloured()).detections
        assert found is not None
        assert [found.label(index) for index in range(5)] == ["cat", "dog", "cat", "dog", "cat"]
        said = found.attributes
        assert said is not None
        firsts = [said.row(index).as_dicts()[0] for index in range(4)]
        assert firsts == [
            {"class": 2, "label": "blue", "score": 200.0},
            {"class": 1, "label": "green", "score": 200.0},
            {"class": 0, "label": "red", "score": 200.0},
            {"class": 2, "label": "blue", "score": 30.0},
        ]
        assert [item["label"] for item in found.as_dicts()[3]["attributes"]] == [
            "blue", "green", "red",
        ]  # fmt: skip
        line = cascade(coloured()).as_dict()
        assert "tensors" not in line, "nothing is said twice"


@pytest.mark.parametrize("batch", [1, "n"])
@pytest.mark.parametrize(
    ("score", "most", "rows"), [(0.0, 2, 2), (0.65, 8, 3), (0.85, 8, 1), (0.0, 1, 1), (0.95, 8, 0)]
)
def test_as_many_as_there_are(
    tmp_path: Path, batch: int | str, score: float, most: int, rows: int
) -> None:
    with sanderling.open(write(tmp_path, score=score, most=most, batch=batch)) as cascade:
        found = cascade(coloured()).detections
        assert found is not None
        assert len(found) == sum(np.float32([0.9, 0.8, 0.7, 0.6, 0.5]) > score)
        assert found.attributes is not None
        assert found.attributes.classes.shape == (rows, 3)
        assert [int(row[0]) for row in found.attributes.classes] == [2, 1, 0, 2, 2][:rows]


def test_a_batch_costs_the_model_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sanderling.model import Binding

    runs = []
    run = Binding.run
    monkeypatch.setattr(Binding, "run", lambda self: runs.append(self._stage) or run(self))
    for batch, wanted in ((1, 5), ("n", 1)):
        with sanderling.open(write(tmp_path, batch=batch)) as cascade:
            cascade(coloured())
        assert runs.count("means") == wanted
        runs.clear()


def test_frames_with_more_and_fewer_things(tmp_path: Path) -> None:
    recipe = (ROOT / "docs" / "pipeline.md").read_text().partition("### A cascade")[2]
    (tmp_path / "p.toml").write_text(recipe.partition("```toml")[2].partition("```")[0])
    two = np.concatenate([PHOTO[:, :400], PHOTO[:, :400]], axis=1)
    with sanderling.open(tmp_path / "p.toml") as cascade:
        for image, faces in [(PHOTO, 1), (np.zeros_like(two), 0), (two, 2), (PHOTO, 1), (two, 2)]:
            found = cascade(image).detections
            assert found is not None
            assert len(found) == faces
            assert found.attributes is not None
            assert found.attributes.scores.shape == (faces, 3)
            if faces:
                np.testing.assert_allclose(found.attributes.scores[0].sum(), 1, atol=0.2)
        explained = cascade.prepare(512, 800)
    assert [stage.rows for stage in explained.stages if stage.model] == ["", "each"]
