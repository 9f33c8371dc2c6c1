"""yolo_decode against its scalar reference, against plain numpy, and at its edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guestkit import BACKENDS, GuestStatus, QTensor, load_reference, run_frames, run_guest

reference = load_reference("yolo_decode")
both = pytest.mark.parametrize("backend", BACKENDS)
DTYPES = {"f32": np.float32, "u8": np.uint8, "i8": np.int8}


def rows(rng, anchors, classes, version, high=0.6):
    """Boxes and scores as rows in float32; scores on a coarse grid, so that there are ties."""
    boxes = rng.uniform(0, 640, (anchors, 4))
    scores = rng.integers(0, 64, (anchors, classes + (version == "v5"))) / 64 * high
    return boxes.astype(np.float32), scores.astype(np.float32)


def arrange(version, *parts):
    """Rows as the model gives them: v5 as they are, v8 as columns; joined to one tensor."""
    joined = np.concatenate(parts, axis=1)
    return np.ascontiguousarray(joined.T if version == "v8" else joined)[None]


def quantize(real, dtype, scale, zero_point):
    if dtype == "f32":
        return QTensor(real)
    limits = np.iinfo(DTYPES[dtype])
    stored = np.clip(np.round(real / scale) + zero_point, limits.min, limits.max)
    return QTensor(stored.astype(DTYPES[dtype]), scale, zero_point)


def tensors(version, dtype, split, boxes, scores):
    """The guest's inputs. Joined and quantized, boxes are as small as scores."""
    low = -128 if dtype == "i8" else 0
    if split:
        return [
            quantize(arrange(version, boxes), dtype, 2.7, low + 3),
            quantize(arrange(version, scores), dtype, 0.0031, low + 1),
        ]
    scaled = boxes / 640 if dtype != "f32" else boxes
    return [quantize(arrange(version, scaled, scores), dtype, 0.0043, low + 11)]


def expected(version, inputs, **params):
    real = [reference.dequantize(item.data, item.scale, item.zero_point) for item in inputs]
    return reference.decode(version, *reference.rows_of(version, *real), **params)


def same(outputs, want):
    boxes, scores, classes = (output.data for output in outputs)
    np.testing.assert_array_equal(scores, want.scores)
    np.testing.assert_array_equal(classes, want.classes)
    np.testing.assert_array_equal(boxes, want.boxes)


SIZES = [(1, 1), (3, 2), (15, 5), (16, 4), (17, 3), (129, 80), (1023, 2), (1025, 6), (2052, 1)]


@both
@pytest.mark.parametrize("version", ["v5", "v8"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("split", [False, True], ids=["joined", "split"])
def test_equals_the_reference_bit_for_bit(backend, version, dtype, split):
    rng = np.random.default_rng(sum(map(ord, version + dtype)) + split)
    seen = 0
    for anchors, classes in SIZES:
        boxes, scores = rows(rng, anchors, classes, version, high=1.0)
        inputs = tensors(version, dtype, split, boxes, scores)
        params = {"version": version, "score": 0.45}
        want = expected(version, inputs, score=0.45)
        same(run_guest("yolo_decode", inputs, params, backend=backend), want)
        seen += want.scores.size
    assert seen > 1000


@both
@pytest.mark.parametrize("version", ["v5", "v8"])
def test_equals_plain_numpy_on_clean_input(backend, version):
    rng = np.random.default_rng(11)
    boxes = rng.uniform(0, 640, (2000, 4)).astype(np.float32)
    scores = rng.random((2000, 20 + (version == "v5"))).astype(np.float32)
    scores[:, -20:] **= 30
    classes = scores[:, :1] * scores[:, 1:] if version == "v5" else scores
    alive = classes.max(1) > 0.5
    half = boxes[alive, 2:] / 2
    found = run_guest(
        "yolo_decode", [arrange(version, boxes, scores)], {"score": 0.5}, backend=backend
    )
    np.testing.assert_allclose(found[0].data[:, :2], boxes[alive, :2] - half, rtol=1e-6)
    np.testing.assert_allclose(found[0].data[:, 2:], boxes[alive, :2] + half, rtol=1e-6)
    np.testing.assert_array_equal(found[1].data, classes[alive].max(1))
    np.testing.assert_array_equal(found[2].data, classes[alive].argmax(1))
    assert 0 < alive.sum() < 1000


@both
@pytest.mark.parametrize("version", ["v5", "v8"])
def test_not_a_number_and_infinity_yield_no_candidate(backend, version):
    rng = np.random.default_rng(5)
    boxes, scores = rows(rng, 523, 7, version, high=1.0)
    for part, share in ((boxes, 0.05), (scores, 0.1)):
        hit = rng.random(part.shape) < share
        part[hit] = rng.choice(np.float32([np.nan, np.inf, -np.inf, 3e38, -3e38]), hit.sum())
    found = run_guest(
        "yolo_decode", [arrange(version, boxes, scores)], {"version": version}, backend=backend
    )
    want = expected(version, [QTensor(arrange(version, boxes, scores))])
    same(found, want)
    assert want.scores.size > 20
    assert np.isfinite(found[0].data).all()
    assert np.isfinite(found[1].data).all()


@both
def test_not_a_number_in_one_class_leaves_the_others(backend):
    output = np.full((1, 7, 1), np.nan, np.float32)
    output[0, :4, 0] = [10, 10, 4, 2]
    output[0, 5, 0] = 0.7
    boxes, scores, classes = run_guest("yolo_decode", [output], {"version": "v8"}, backend=backend)
    assert boxes.data.tolist() == [[8, 9, 12, 11]]
    assert scores.data.tolist() == [np.float32(0.7)]
    assert classes.data.tolist() == [1]


@both
@pytest.mark.parametrize("version", ["v5", "v8"])
def test_a_score_has_to_be_above_the_threshold(backend, version):
    threshold = np.float32(0.3)
    values = [np.nextafter(threshold, np.float32(x)) for x in (0, 1)] + [threshold]
    scores = np.float32(values).reshape(3, 1)
    parts = (np.ones((3, 1), np.float32), scores) if version == "v5" else (scores,)
    output = arrange(version, np.ones((3, 4), np.float32), *parts)
    params = {"version": version, "score": float(threshold)}
    found = run_guest("yolo_decode", [output], params, backend=backend)
    assert found[1].data.tolist() == [values[1]]


@both
@pytest.mark.parametrize("dtype", ["u8", "i8"])
@pytest.mark.parametrize("version", ["v5", "v8"])
def test_every_byte_is_judged_by_its_real_value(backend, dtype, version):
    rng = np.random.default_rng(3)
    low = -128 if dtype == "i8" else 0
    for _ in range(6):
        scale = float(np.float32(rng.uniform(0.001, 0.02)))
        zero_point = int(rng.integers(low, low + 256))
        stored = np.arange(low, low + 256).astype(DTYPES[dtype]).reshape(256, 1)
        real = reference.dequantize(stored, scale, zero_point)[:, 0]
        positive = real[(real > 0) & (real <= 1)]
        # The very value of a byte: it must not pass, and the next one must.
        score = float(rng.choice(positive)) if positive.size else 0.5
        boxes = np.ones((256, 4), np.float32)
        scores = np.concatenate([stored, stored], axis=1) if version == "v5" else stored
        inputs = [arrange(version, boxes), QTensor(arrange(version, scores), scale, zero_point)]
        found = run_guest(
            "yolo_decode", inputs, {"version": version, "score": score}, backend=backend
        )
        above = real * real if version == "v5" else real
        want = above[(real > np.float32(score)) & (above > np.float32(score))]
        np.testing.assert_array_equal(found[1].data, want)


@both
def test_low_objectness_is_no_object_whatever_the_class(backend):
    output = np.float32([[[5, 5, 2, 2, 0.2, 0.1, 2.0], [5, 5, 2, 2, 0.3, 0.1, 2.0]]])
    params = {"version": "v5", "score": 0.25}
    _, scores, classes = run_guest("yolo_decode", [output], params, backend=backend)
    np.testing.assert_array_equal(scores.data, np.float32([0.3]) * np.float32(2))
    assert classes.data.tolist() == [1]


@both
def test_two_negative_factors_make_no_score(backend):
    stored = np.uint8([[[10, 10, 4, 4, 0, 0]]])  # all real values of the scores are -1
    found = run_guest("yolo_decode", [QTensor(stored, 0.1, 10)], {"version": "v5"}, backend=backend)
    assert found[1].data.size == 0


@both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("most", [1, 7, 100, 299, 300, 301])
def test_of_too_many_the_best_are_kept_in_order(backend, dtype, most):
    rng = np.random.default_rng(most)
    boxes, scores = rows(rng, 300, 1, "v8", high=0.7)  # 64 values: many ties
    scores = np.maximum(scores, np.float32(0.3))
    inputs = tensors("v8", dtype, True, boxes, scores)
    found = run_guest("yolo_decode", inputs, {"max_candidates": most}, backend=backend)
    assert found[0].data.shape == (min(most, 300), 4)
    same(found, expected("v8", inputs, max_candidates=most))


@both
def test_a_box_that_is_none_takes_no_place_among_the_best(backend):
    output = np.float32([[10, 10, 4, 4, 0.5], [np.inf, 10, 4, 4, 0.9], [3e38, 9, 3e38, 9, 0.8]])
    found = run_guest(
        "yolo_decode",
        [arrange("v8", output)],
        {"version": "v8", "max_candidates": 1},
        backend=backend,
    )
    assert found[1].data.tolist() == [0.5]


SHAPES = {  # output, class_scores, params -> classes of the one anchor with a score
    "v8 by size": ((1, 6, 50), None, {}, "v8"),
    "v5 by size": ((1, 50, 7), None, {}, "v5"),
    "v8, more channels than anchors, by classes": ((1, 50, 8), None, {"classes": 46}, "v8"),
    "v5, more channels than anchors, by classes": ((1, 8, 50), None, {"classes": 45}, "v5"),
    "v8 where both fit, by size": ((1, 10, 11), None, {"classes": 6}, "v8"),
    "v8, told, against the size": ((1, 50, 8), None, {"version": "v8"}, "v8"),
    "v5, told, against the size": ((1, 8, 50), None, {"version": "v5"}, "v5"),
    "v8 as v5 has no class": ((1, 30, 5), None, {}, "v8"),
    "v8 square, told": ((1, 9, 9), None, {"version": "v8"}, "v8"),
    "v8 square, by classes": ((1, 9, 9), None, {"classes": 5}, "v8"),
    "v5 square, by classes": ((1, 9, 9), None, {"classes": 4}, "v5"),
    "v8 split": ((1, 4, 9), (1, 3, 9), {}, "v8"),
    "v5 split": ((1, 9, 4), (1, 9, 3), {}, "v5"),
    "v8 split, four anchors, by classes": ((1, 4, 4), (1, 4, 4), {"classes": 4}, "v8"),
    "v5 split, four anchors, by classes": ((1, 4, 4), (1, 4, 4), {"classes": 3}, "v5"),
    "v5 split, four anchors, one way": ((1, 4, 4), (1, 4, 9), {}, "v5"),
}


@pytest.mark.parametrize("case", SHAPES)
def test_the_layout_follows_from_shape_version_and_classes(case):
    output, class_scores, params, version = SHAPES[case]
    parts = [np.zeros(shape, np.float32) for shape in (output, class_scores) if shape]
    last = parts[-1][0].T if version == "v8" else parts[-1][0]
    last[2, -1] = 0.5  # the last class of the third anchor
    if version == "v5":
        last[2, 0 if class_scores else 4] = 1
    _, scores, classes = run_guest("yolo_decode", parts, params, backend="wasm")
    assert scores.data.tolist() == [0.5]
    extra = (0 if class_scores else 4) + (version == "v5")
    assert classes.data.tolist() == [last.shape[1] - extra - 1]


REFUSED = {
    "too few channels": ((1, 4, 4), None, {}, "neither"),
    "classes that fit nothing": ((1, 84, 8400), None, {"classes": 3}, "neither"),
    "v5 told, classes say v8": ((1, 9, 50), None, {"version": "v5", "classes": 5}, "v5, but"),
    "v8 told, classes say v5": ((1, 50, 9), None, {"version": "v8", "classes": 4}, "v8, but"),
    "square": ((1, 9, 9), None, {}, "say version or classes"),
    "a batch": ((2, 9, 90), None, {}, "three dimensions"),
    "split, anchors differ": ((1, 4, 9), (1, 3, 8), {}, "neither"),
    "split, no class": ((1, 9, 4), (1, 9, 1), {}, "neither"),
    "split, either way": ((1, 4, 4), (1, 4, 4), {}, "say version or classes"),
    "split, told the other": ((1, 4, 9), (1, 3, 9), {"version": "v5"}, "v5, but"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_contradiction_is_refused_in_words(case):
    output, class_scores, params, words = REFUSED[case]
    parts = [np.zeros(shape, np.float32) for shape in (output, class_scores) if shape]
    with pytest.raises(GuestStatus, match=words) as caught:
        run_guest("yolo_decode", parts, params, backend="wasm")
    assert (caught.value.call, caught.value.code) == ("sl_setup", -1)


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"),
    [("u8", -0.1, 0), ("u8", np.nan, 0), ("u8", np.inf, 0), ("u8", 0.1, 256), ("i8", 0.1, 128)],
)
def test_an_impossible_quantization_is_refused(dtype, scale, zero_point):
    output = QTensor(np.zeros((1, 5, 20), DTYPES[dtype]), scale, zero_point)
    with pytest.raises(GuestStatus, match="scale above 0"):
        run_guest("yolo_decode", [output], backend="wasm")


@both
def test_frames_do_not_leak_into_each_other(backend):
    rng = np.random.default_rng(8)
    frames = [
        [arrange("v8", *rows(rng, anchors, 3, "v8", high=high))]
        for anchors, high in ((200, 0.9), (200, 0.1), (5, 0.9), (33, 0.4))
    ]
    found = run_frames("yolo_decode", frames, backend=backend)  # 5 anchors: still v8, as planned
    for outputs, inputs in zip(found, frames, strict=True):
        same(outputs, expected("v8", [QTensor(inputs[0])]))
    assert [len(outputs[1].data) for outputs in found][1] == 0


@both
def test_more_anchors_than_planned_are_refused(backend):
    small, large = np.zeros((1, 5, 10), np.float32), np.zeros((1, 5, 11), np.uint8)  # fits as bytes
    with pytest.raises(GuestStatus, match="more anchors"):
        run_frames("yolo_decode", [[large]], {"version": "v8"}, setup=[small], backend=backend)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    anchors=st.integers(1, 70),
    classes=st.integers(1, 12),
    version=st.sampled_from(["v5", "v8"]),
    dtype=st.sampled_from(["u8", "i8"]),
    score=st.floats(0, 1, width=32),
)
def test_quantized_is_dequantized_then_decoded(seed, anchors, classes, version, dtype, score):
    rng = np.random.default_rng(seed)
    inputs = tensors(version, dtype, False, *rows(rng, anchors, classes, version, high=1.2))
    real = [reference.dequantize(item.data, item.scale, item.zero_point) for item in inputs]
    params = {"version": version, "score": score}
    for backend in BACKENDS:
        raw = run_guest("yolo_decode", inputs, params, backend=backend)
        floats = run_guest("yolo_decode", real, params, backend=backend)
        for one, other in zip(raw, floats, strict=True):
            np.testing.assert_array_equal(one.data, other.data)
