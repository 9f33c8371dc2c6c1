"""centerface_decode against its reference, in wasmtime and native under the sanitizers."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest

from guestkit import BACKENDS, GuestStatus, QTensor, load_reference, run_frames, run_guest

reference = load_reference("centerface_decode")

CHANNELS = (1, 2, 2, 10)
SIZES = [(1, 1), (1, 15), (3, 16), (5, 17), (24, 33), (16, 20)]
RANGES = ((0, 1), (-1, 4), (-0.6, 0.6), (-0.2, 1.2))  # of the four maps


def float_maps(size, rng, dense=0.1):
    """Four maps in which about that share of the cells is above a half."""
    maps = [
        rng.uniform(low, high, (1, channels, *size)).astype(np.float32)
        for channels, (low, high) in zip(CHANNELS, RANGES, strict=True)
    ]
    maps[0] = np.where(rng.random(maps[0].shape) < dense, 0.5, 0).astype(np.float32) + maps[0] / 2
    return maps


def quantize(values, dtype, low, high):
    scale = float(np.float32((high - low) / 255))
    info = np.iinfo(dtype)
    zero_point = int(np.clip(round(info.min - low / scale), info.min, info.max))
    stored = np.clip(np.round(values / scale) + zero_point, info.min, info.max).astype(dtype)
    return QTensor(stored, scale, zero_point)


def quantized_maps(size, rng, dtypes, dense=0.1):
    return [
        quantize(values, np.dtype(dtype), *limits) if dtype else values
        for values, dtype, limits in zip(float_maps(size, rng, dense), dtypes, RANGES, strict=True)
    ]


def expected(maps, score, most):
    maps = [
        reference.Map(item.data, item.scale, item.zero_point)
        if isinstance(item, QTensor)
        else reference.Map(item)
        for item in maps
    ]
    return reference.decode(*maps, float(np.float32(score)), most)


def check(outs, faces):
    boxes, scores, classes, points = (out.data for out in outs)
    count = len(faces)
    assert boxes.shape == (count, 4)
    assert points.shape == (count, 5, 2)
    np.testing.assert_array_equal(scores, np.array([face.score for face in faces], np.float32))
    np.testing.assert_array_equal(classes, np.zeros(count, np.int32))
    if count:
        # Pixels of pictures of hundreds of pixels, in float32.
        np.testing.assert_allclose(boxes, [face.box for face in faces], rtol=2e-6, atol=1e-4)
        np.testing.assert_allclose(points, [face.points for face in faces], rtol=2e-6, atol=1e-3)


def compare(maps, score=0.5, most=1000, *, backend):
    params = {"score": score, "max_candidates": most}
    faces = expected(maps, score, most)
    check(run_guest("centerface_decode", maps, params, backend=backend), faces)
    return faces


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dense", [0.0, 0.05, 1.0])
def test_float_maps(backend, size, dense):
    maps = float_maps(size, np.random.default_rng(size), dense)
    faces = compare(maps, backend=backend)
    if dense in (0.0, 1.0):
        assert len(faces) == dense * size[0] * size[1]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "dtypes", [["u1"] * 4, ["i1"] * 4, ["u1", "i1", "", "u1"], ["", "u1", "i1", ""]]
)
@pytest.mark.parametrize("score", [0.0, 0.4, 0.75])
def test_quantized_maps(backend, size, dtypes, score):
    compare(quantized_maps(size, np.random.default_rng(size), dtypes), score, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_a_quantized_threshold_is_exact(backend, dtype):
    """Every byte against scores at, just below and just above its real value."""
    rng = np.random.default_rng(3)
    maps = quantized_maps((16, 16), rng, ["u1"] * 4)
    stored = rng.permutation(256).astype(np.uint8).view(dtype).reshape(1, 1, 16, 16)
    for scale, zero_point in ((1 / 255, 0), (0.1, 100), (1 / 256, 20), (0.0078125, 5)):
        maps[0] = QTensor(stored, float(np.float32(scale)), zero_point)
        at = np.float32(maps[0].scale) * np.float32(7)
        for score in (at, np.nextafter(at, np.float32(0)), np.nextafter(at, np.float32(9)), 0.1):
            compare(maps, float(score), backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtypes", [[""] * 4, ["u1"] * 4, ["i1"] * 4])
@pytest.mark.parametrize("most", [1, 2, 7, 100, 527, 528, 529])
def test_the_best_are_kept_in_the_order_of_the_map(backend, dtypes, most):
    """Equal scores abound, at the cut too: there the first in the map win."""
    maps = quantized_maps((16, 33), np.random.default_rng(most), dtypes, 1.0)
    if isinstance(maps[0], QTensor):
        maps[0] = replace(maps[0], data=maps[0].data | maps[0].data.dtype.type(31))
    else:
        maps[0] = np.round(maps[0] * 8) / np.float32(8) + np.float32(0.25)
    faces = compare(maps, 0.0, most, backend=backend)
    assert len(faces) == min(most, 528)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("most", [3, 1000])
def test_what_is_not_finite_is_no_face(backend, most):
    rng = np.random.default_rng(9)
    maps = float_maps((12, 19), rng, 1.0)
    for values in maps:
        odd = rng.choice(np.float32([np.nan, np.inf, -np.inf, 3e38, -3e38]), values.shape)
        np.copyto(values, odd, where=rng.random(values.shape) < 0.04)
    params = {"score": 0.5, "max_candidates": most}
    outs = run_guest("centerface_decode", maps, params, backend=backend)
    faces = expected(maps, 0.5, most)
    assert 0 < len(faces) < 228
    check(outs, faces)
    assert all(np.isfinite(out.data).all() for out in outs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_faces_at_the_border_are_moved_in_and_cut(backend):
    """By hand, as the published decoder does it: x1, y1 are clipped before x2, y2 are made."""
    heatmap = np.zeros((1, 1, 8, 8), np.float32)
    heatmap[0, 0, 0, 0] = heatmap[0, 0, 7, 7] = 0.75
    scale = np.full((1, 2, 8, 8), np.log(4), np.float32)  # 16 by 16 pixels
    offset = np.zeros((1, 2, 8, 8), np.float32)
    landmarks = np.full((1, 10, 8, 8), 0.5, np.float32)
    landmarks[:, 1::2] = 0.25
    maps = [heatmap, scale, offset, landmarks]
    boxes, scores, _, points = run_guest("centerface_decode", maps, backend=backend)
    np.testing.assert_allclose(boxes.data, [[0, 0, 16, 16], [22, 22, 32, 32]], rtol=1e-6)
    np.testing.assert_array_equal(scores.data, [0.75, 0.75])
    np.testing.assert_allclose(points.data[:, 0], [[4, 8], [26, 30]], rtol=1e-6)
    compare(maps, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_centre_far_outside_gives_an_empty_box_on_the_border(backend):
    maps = float_maps((4, 4), np.random.default_rng(1), 1.0)
    maps[2][0, :, 0, 0] = 1000
    maps[2][0, :, 1, 1] = -1000
    compare(maps, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [(0, 0), (0, 5), (7, 0)])
@pytest.mark.parametrize("dtypes", [[""] * 4, ["u1"] * 4])
def test_empty_maps(backend, size, dtypes):
    compare(quantized_maps(size, np.random.default_rng(0), dtypes), backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_frames_of_other_sizes_and_counts(backend):
    rng = np.random.default_rng(11)
    sizes = [((9, 20), 1.0), ((9, 20), 0.0), ((3, 7), 0.5), ((20, 9), 0.4), ((9, 20), 1.0)]
    frames = [quantized_maps(size, rng, ["u1", "", "i1", "u1"], dense) for size, dense in sizes]
    outs = run_frames("centerface_decode", frames, {"max_candidates": 50}, backend=backend)
    for maps, out in zip(frames, outs, strict=True):
        check(out, expected(maps, 0.5, 50))


@pytest.mark.parametrize("dtypes", [[""] * 4, ["u1"] * 4])
def test_both_backends_give_the_same_bits(dtypes):
    maps = quantized_maps((24, 40), np.random.default_rng(12), dtypes, 0.5)
    first, *others = (
        run_guest("centerface_decode", maps, backend=name) for name in [*BACKENDS, "native-O3"]
    )
    for outs in others:
        for one, other in zip(first, outs, strict=True):
            np.testing.assert_array_equal(one.data, other.data)


def odd_maps(index, change):
    maps = float_maps((4, 5), np.random.default_rng(0))
    maps[index] = change(maps[index])
    return maps


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("index", "change", "message"),
    [
        (0, lambda x: x[0], "heatmap"),
        (0, lambda x: np.repeat(x, 2, axis=0), "heatmap"),
        (0, lambda x: x.astype(np.float64), "heatmap"),
        (1, lambda x: x[:, :1], "scale"),
        (2, lambda x: x[..., :4], "offset"),
        (3, lambda x: x[:, :, :3], "landmarks"),
        (3, lambda x: QTensor(x.astype(np.uint8), 1.0, 999), "landmarks"),
    ],
)
def test_maps_that_do_not_fit_are_refused(backend, index, change, message):
    with pytest.raises(GuestStatus, match=message) as caught:
        run_guest("centerface_decode", odd_maps(index, change), backend=backend)
    assert (caught.value.call, caught.value.code) == ("sl_setup", -1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("score", "most", "message"),
    [(np.nan, 10, "score"), (0.5, 0, "max_candidates"), (0.5, -5, "max_candidates")],
)
def test_params_that_cannot_be_are_refused(backend, score, most, message):
    maps = float_maps((4, 5), np.random.default_rng(0))
    with pytest.raises(GuestStatus, match=message):
        run_guest("centerface_decode", maps, struct.pack("<fi", score, most), backend=backend)
