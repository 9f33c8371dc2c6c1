"""motion, track and crop in pipelines: what is wired to what, and what comes out."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

import sanderling
from sanderling import imaging
from sanderling.frame import Frame

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "pipeline.md").read_text()
PHOTO = imaging.read_image(ROOT / "examples" / "astronaut.png")

HEAD = '[pipeline]\nname = "t"\n'
DETECTOR = """
[[stage]]
guest = "letterbox"
[[stage]]
model = "centerface-int8"
[[stage]]
guest = "centerface_decode"
[[stage]]
guest = "nms"
"""


def recipe() -> str:
    found = re.search(r"### A camera: movement and tracks\n.*?```toml\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def write(folder: Path, text: str) -> Path:
    path = folder / "pipeline.toml"
    path.write_text(text)
    return path


def test_the_recipe_in_the_page_tracks_a_face(tmp_path):
    with sanderling.open(write(tmp_path, recipe())) as faces:
        first, second = faces(PHOTO), faces(np.roll(PHOTO, 4, axis=1))
    assert first.detections is not None
    assert second.detections is not None
    for result in (first, second):
        assert result.detections.ids.tolist() == [1]
        assert len(result.detections) == 1
    np.testing.assert_allclose(first.detections.boxes[0], [176, 56, 272, 178], atol=3)
    np.testing.assert_allclose(
        second.detections.boxes[0] - first.detections.boxes[0], [4, 0, 4, 0], atol=3
    )


def test_a_still_frame_ends_at_the_gate_and_costs_no_model(tmp_path):
    text = recipe().replace("hold_ms = 2000", "hold_ms = 0, refresh_ms = 0")
    with sanderling.open(write(tmp_path, text)) as faces:
        ended = [faces.run(Frame(PHOTO, number, number * 10**9)).skipped for number in range(20)]
        moved = faces.run(Frame(np.roll(PHOTO, 99, axis=1), 20, 20 * 10**9))
    assert ended[:8] == [""] * 8, "the background is not known yet"
    assert ended[-5:] == ["motion"] * 5
    assert moved.skipped == ""


def test_motion_may_come_first(tmp_path):
    text = HEAD + '[[stage]]\nguest = "motion"\n' + DETECTOR
    with (
        sanderling.open(write(tmp_path, text)) as gated,
        sanderling.open(ROOT / "examples" / "faces.toml") as plain,
    ):
        found, wanted = gated(PHOTO).detections, plain(PHOTO).detections
    assert found is not None
    assert wanted is not None
    np.testing.assert_array_equal(found.boxes, wanted.boxes)


CROP = """
[[stage]]
guest  = "crop"
params = { most = 1, margin = 0.0, fit = "stretch" }
[[stage]]
model = "digits-int8"
"""


def test_crop_makes_what_letterbox_makes_of_the_part(tmp_path):
    """A model for greyscale pictures behind it, whose size, order and scale it follows."""
    with sanderling.open(write(tmp_path, HEAD + DETECTOR + CROP)) as cascade:
        found = cascade(PHOTO)
    assert found.detections is not None
    x1, y1, x2, y2 = found.detections.boxes[0]
    part = PHOTO[int(np.floor(y1)) : int(np.ceil(y2)), int(np.floor(x1)) : int(np.ceil(x2))]
    alone = HEAD + (
        '[[stage]]\nguest = "letterbox"\nparams = { fit = "stretch" }\n'
        '[[stage]]\nmodel = "digits-int8"\n'
    )
    with sanderling.open(write(tmp_path, alone)) as digits:
        wanted = digits(np.ascontiguousarray(part))
    np.testing.assert_array_equal(found.tensors["logits"], wanted.tensors["logits"])
