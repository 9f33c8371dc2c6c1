"""`Detections.to_supervision`, with the real package."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from conftest import EMULATED
from sanderling.detections import Detections
from sanderling.errors import ConfigError

if EMULATED:
    pytest.skip("what draws is not installed there", allow_module_level=True)

import supervision

FOUND = Detections(
    boxes=np.array([[10, 20, 60, 70], [1, 2, 9, 8], [30, 30, 50, 50]], np.float32),
    scores=np.array([0.9, 0.8, 0.3], np.float32),
    classes=np.array([1, 0, 7], np.int32),
    points=np.arange(12, dtype=np.float32).reshape(3, 2, 2),
    labels=("cat", "dog"),
    ids=np.array([5, 6, 7], np.int32),
)


def test_nothing_is_copied() -> None:
    made = FOUND.to_supervision()
    for theirs, ours in [
        (made.xyxy, FOUND.boxes),
        (made.confidence, FOUND.scores),
        (made.class_id, FOUND.classes),
        (made.tracker_id, FOUND.ids),
        (made.data["points"], FOUND.points),
    ]:
        assert np.shares_memory(theirs, ours)
        np.testing.assert_array_equal(theirs, ours)
    assert list(made.data["class_name"]) == ["dog", "cat", "7"]


def test_it_can_be_filtered_and_drawn() -> None:
    made = FOUND.to_supervision()
    sure = made[made.confidence > 0.5]
    assert (len(sure), list(sure["class_name"])) == (2, ["dog", "cat"])
    assert list(sure.tracker_id) == [5, 6]
    image = np.zeros((80, 80, 3), np.uint8)
    drawn = supervision.BoxAnnotator().annotate(image.copy(), sure)
    assert drawn.any()
    zone = supervision.PolygonZone(np.array([[0, 0], [40, 0], [40, 40], [0, 40]]))
    assert list(zone.trigger(made)) == [False, True, False]


def test_nothing_found_is_nothing_there_too() -> None:
    empty = Detections(
        np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32)
    ).to_supervision()
    assert len(empty) == 0
    assert empty.tracker_id is None
    assert len(empty[empty.confidence > 0.5]) == 0


def test_where_it_is_not_installed_one_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ConfigError, match=r"pip install 'sanderling\[supervision\]'"):
        FOUND.to_supervision()


def test_it_is_loaded_when_it_is_called_and_not_before() -> None:
    code = "import sys, sanderling.detections; print('supervision' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
