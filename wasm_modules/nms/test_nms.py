"""nms against its scalar reference, against OpenCV, and the properties it has to have."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guestkit import BACKENDS, GuestStatus, load_reference, run_frames, run_guest

reference = load_reference("nms")
both = pytest.mark.parametrize("backend", BACKENDS)
GEOMETRY = np.int32([1280, 720, 640, 640, 640, 360, 0, 140])


def candidates(rng, count, *, classes=3, points=0, objects=None, levels=50):
    """Boxes in clusters, scores in few levels so that there are ties, labels, points."""
    objects = objects or max(1, count // 8)
    which = rng.integers(0, objects, count)
    centre = rng.uniform(0, 640, (objects, 2))[which] + rng.normal(0, 6, (count, 2))
    half = rng.uniform(5, 80, (objects, 2))[which] * rng.uniform(0.7, 1.3, (count, 2))
    boxes = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
    scores = (rng.integers(1, levels + 1, count) / levels).astype(np.float32)
    labels = rng.integers(0, classes, count).astype(np.int32)
    marks = rng.uniform(-20, 660, (count, points, 2)).astype(np.float32) if points else None
    return boxes, scores, labels, marks


def same(outputs, want):
    boxes, scores, classes, points = (output and output.data for output in outputs)
    np.testing.assert_array_equal(scores, want.scores)
    np.testing.assert_array_equal(classes, want.classes)
    np.testing.assert_array_equal(boxes, want.boxes)
    assert (points is None) == (want.points is None)
    if points is not None:
        np.testing.assert_array_equal(points, want.points)


@both
@pytest.mark.parametrize("across", [False, True], ids=["per_class", "across"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 17, 63, 64, 300, 1021])
def test_equals_the_reference_bit_for_bit(backend, across, count):
    rng = np.random.default_rng(count)
    for points, geometry in ((0, None), (5, GEOMETRY), (0, GEOMETRY), (1, None)):
        inputs = (*candidates(rng, count, points=points), geometry)
        params = {"iou": 0.4, "score": 0.1, "across_classes": across}
        want = reference.nms(*inputs, **params)
        same(run_guest("nms", inputs, params, backend=backend), want)


@both
@pytest.mark.parametrize("most", [1, 2, 4, 5, 37, 10000])
def test_keeps_no_more_than_the_most(backend, most):
    rng = np.random.default_rng(most)
    inputs = candidates(rng, 400, points=2, objects=200)
    found = run_guest("nms", inputs, {"max_detections": most}, backend=backend)
    same(found, reference.nms(*inputs, max_detections=most))
    assert len(found[1].data) == most or (most == 10000 and len(found[1].data) > 100)


@both
@pytest.mark.parametrize("across", [False, True])
def test_all_of_many_that_do_not_overlap_are_kept(backend, across):
    x, y = np.meshgrid(np.arange(60), np.arange(50))
    corner = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32) * 10
    boxes = np.concatenate([corner, corner + 10], axis=1)  # they touch
    scores = np.random.default_rng(1).permutation(3000).astype(np.float32) + 1
    inputs = (boxes, scores, np.zeros(3000, np.int32))
    params = {"iou": 0.0, "max_detections": 3000, "across_classes": across}
    found = run_guest("nms", inputs, params, backend=backend)
    np.testing.assert_array_equal(found[1].data, np.arange(3000, 0, -1))
    np.testing.assert_array_equal(found[0].data, boxes[np.argsort(-scores)])


@both
def test_agrees_with_opencv(backend):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        boxes, scores, _, _ = candidates(rng, 500, levels=10**9)
        xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        peer = np.asarray(cv2.dnn.NMSBoxes(xywh, scores, 0.2, 0.45)).ravel()
        labels = np.zeros(500, np.int32)
        params = {"iou": 0.45, "score": 0.2, "max_detections": 500}
        found = run_guest("nms", [boxes, scores, labels], params, backend=backend)
        np.testing.assert_array_equal(found[1].data, scores[peer])
        np.testing.assert_array_equal(found[0].data, boxes[peer])


@both
def test_not_a_number_and_infinity_are_no_detection(backend):
    rng = np.random.default_rng(9)
    for geometry in (None, GEOMETRY):
        boxes, scores, labels, points = candidates(rng, 333, points=3)
        for part, share in ((boxes, 0.1), (scores, 0.1), (points, 0.03)):
            hit = rng.random(part.shape) < share
            part[hit] = rng.choice(np.float32([np.nan, np.inf, -np.inf]), hit.sum())
        inputs = (boxes, scores, labels, points, geometry)
        found = run_guest("nms", inputs, backend=backend)
        same(found, reference.nms(*inputs))
        assert len(found[1].data) > 10
        assert all(np.isfinite(output.data).all() for output in found)


@both
def test_boxes_without_an_area_are_no_detection_and_suppress_nothing(backend):
    boxes = np.float32(
        [
            [10, 10, 10, 50],  # no width
            [50, 50, 10, 90],  # the wrong way round
            [-3e38, -3e38, 3e38, 3e38],  # its area is no float32
            [0, 0, 1e-30, 1e-30],  # nor is this
            [10, 10, 50, 50],
        ]
    )
    scores, labels = np.float32([0.9, 0.8, 0.7, 0.6, 0.5]), np.zeros(5, np.int32)
    found = run_guest("nms", [boxes, scores, labels], {"iou": 0.0}, backend=backend)
    assert found[1].data.tolist() == [0.5]


@both
def test_a_box_outside_the_frame_is_no_detection_and_suppresses_nothing(backend):
    # The content is 140 to 500; the first box is in the padding above it.
    boxes = np.float32([[0, 100, 100, 140], [0, 100, 100, 150], [500, 480, 700, 540]])
    scores, labels = np.float32([0.9, 0.8, 0.7]), np.zeros(3, np.int32)
    params = {"iou": 0.3}
    found = run_guest("nms", [boxes, scores, labels, None, GEOMETRY], params, backend=backend)
    assert found[0].data.tolist() == [[0, 0, 200, 20], [1000, 680, 1280, 720]]
    found = run_guest("nms", [boxes, scores, labels], params, backend=backend)
    np.testing.assert_array_equal(found[0].data, boxes[[0, 2]])


@both
def test_points_are_mapped_and_not_clipped(backend):
    boxes, scores, labels = np.float32([[10, 150, 30, 170]]), np.float32([1]), np.int32([0])
    points = np.float32([[[20, 160], [-10, 100], [700, 600]]])
    found = run_guest("nms", [boxes, scores, labels, points, GEOMETRY], backend=backend)
    assert found[3].data.tolist() == [[[40, 40], [-20, -80], [1400, 920]]]


@both
def test_a_picture_that_was_not_resized_gets_its_boxes_back_exactly(backend):
    rng = np.random.default_rng(2)
    boxes = rng.uniform(0, 333, (200, 4)).astype(np.float32)
    boxes[:, 2:] = boxes[:, :2] + rng.uniform(1, 3, (200, 2)).astype(np.float32)
    inputs = [boxes, np.float32(np.linspace(1, 0.5, 200)), np.arange(200, dtype=np.int32)]
    geometry = np.int32([337, 337, 640, 640, 337, 337, 0, 0])
    found = run_guest("nms", [*inputs, None, geometry], backend=backend)
    np.testing.assert_array_equal(found[0].data, boxes)


@both
def test_only_more_than_iou_suppresses(backend):
    boxes = np.float32([[0, 0, 10, 10], [0, 0, 10, 5]])  # they overlap by exactly 1/2
    scores, labels = np.float32([0.9, 0.8]), np.zeros(2, np.int32)
    for iou, kept in ((0.5, 2), (float(np.nextafter(np.float32(0.5), np.float32(0))), 1), (1, 2)):
        found = run_guest("nms", [boxes, scores, labels], {"iou": iou}, backend=backend)
        assert len(found[1].data) == kept


@both
def test_equal_scores_go_by_index_and_the_threshold_is_not_above_itself(backend):
    boxes = np.float32([[0, 0, 4, 4], [1, 0, 5, 4], [20, 0, 24, 4], [40, 0, 44, 4]])
    scores, labels = np.float32([0.5, 0.5, 0.7, 0.25]), np.zeros(4, np.int32)
    params = {"iou": 0.3, "score": 0.25}
    found = run_guest("nms", [boxes, scores, labels], params, backend=backend)
    np.testing.assert_array_equal(found[0].data, boxes[[2, 0]])


@both
def test_frames_of_any_number_down_to_none(backend):
    rng = np.random.default_rng(4)
    frames = [(*candidates(rng, n, points=5), GEOMETRY) for n in (200, 0, 1, 199, 3, 200)]
    params = {"max_detections": 50, "across_classes": True}
    for outputs, inputs in zip(
        run_frames("nms", frames, params, backend=backend), frames, strict=True
    ):
        same(outputs, reference.nms(*inputs, **params))


@both
def test_a_box_of_the_last_frame_suppresses_nothing(backend):
    here, there = np.float32([0, 0, 10, 10]), np.float32([50, 50, 60, 60])
    labels = np.zeros(2, np.int32)
    frames = [
        [np.stack([here, there]), np.float32([0.9, 0.8]), labels],
        [np.stack([here + 100, there]), np.float32([0.9, 0.8]), labels],
        [np.stack([there, here]), np.float32([0.9, 0.8]), labels],
    ]
    found = run_frames("nms", frames, backend=backend)
    assert [len(outputs[1].data) for outputs in found] == [2, 2, 2]


@both
@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("value", [0, -5])
def test_a_geometry_without_a_size_is_refused(backend, at, value):
    geometry = GEOMETRY.copy()
    geometry[at] = value
    inputs = [*candidates(np.random.default_rng(0), 3), geometry]
    with pytest.raises(GuestStatus, match="not above 0") as caught:
        run_guest("nms", inputs, backend=backend)
    assert (caught.value.call, caught.value.code) == ("sl_run", -1)


REFUSED = {
    "boxes": (0, np.zeros((5, 5), np.float32)),
    "scores": (1, np.zeros(4, np.float32)),
    "classes": (2, np.zeros(5, np.float32)),
    "points": (3, np.zeros((4, 5, 2), np.float32)),
    "geometry": (4, np.ones(6, np.int32)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_inputs_that_do_not_go_together_are_refused_by_name(name):
    inputs = [*candidates(np.random.default_rng(0), 5, points=5), GEOMETRY]
    at, inputs_at = REFUSED[name]
    inputs[at] = inputs_at
    with pytest.raises(GuestStatus, match=f"{name}: needs") as caught:
        run_guest("nms", inputs, backend="wasm")
    assert (caught.value.call, caught.value.code) == ("sl_setup", -1)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 120),
    iou=st.floats(0, 1, width=32),
    across=st.booleans(),
    mapped=st.booleans(),
)
def test_what_is_kept_and_what_is_not(seed, count, iou, across, mapped):
    rng = np.random.default_rng(seed)
    boxes, scores, labels, _ = candidates(rng, count, objects=max(1, count // 20))
    boxes += 1000 * rng.integers(0, 2)  # far from the origin too
    params = {"iou": iou, "max_detections": count, "across_classes": across}
    geometry = np.int32([4000, 4000, 2000, 2000, 2000, 2000, 0, 0]) if mapped else None
    for backend in BACKENDS:
        inputs = [boxes, scores, labels, None, geometry]
        found = run_guest("nms", inputs, params, backend=backend)
        kept, kept_scores, kept_labels = (output.data for output in found[:3])
        raw = np.clip(boxes, 0, 2000) * 2 if mapped else boxes
        inside = (raw[:, 2] > raw[:, 0]) & (raw[:, 3] > raw[:, 1])
        assert inside.any() == (len(kept) > 0)
        assert (np.diff(kept_scores) <= 0).all()
        if inside.any():
            best = np.flatnonzero(inside & (scores == scores[inside].max()))[0]
            np.testing.assert_array_equal(kept[0], raw[best])
        if mapped:
            continue  # clipping changes how much they overlap
        for i in range(len(kept)):
            for j in range(i):
                if across or kept_labels[i] == kept_labels[j]:
                    assert not reference.overlaps(kept[i], kept[j], np.float32(iou))
        # Each one dropped overlaps a better one that is kept.
        held = {tuple(box) for box in kept}
        for box, score, label in zip(boxes, scores, labels, strict=True):
            assert tuple(box) in held or any(
                reference.overlaps(box, other, np.float32(iou))
                for other, better, its in zip(kept, kept_scores, kept_labels, strict=True)
                if better >= score and (across or its == label)
            )
