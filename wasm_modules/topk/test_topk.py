"""topk against its reference, in wasmtime and native under the sanitizers."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from guestkit import BACKENDS, GuestStatus, QTensor, load_reference, run_frames, run_guest

reference = load_reference("topk")

SHAPES = [
    (1,),
    (5,),
    (15,),
    (16,),
    (17,),
    (33,),
    (1000,),
    (1001,),
    (1, 40),
    (3, 17),
    (4, 1000),
    (2, 1),
]
LOW = -3e38


def compare(x, k, score, *, backend):
    scores, classes = run_guest("topk", [x], {"k": k, "score": score}, backend=backend)
    stored, scale, zero_point = (
        (x.data, x.scale, x.zero_point) if isinstance(x, QTensor) else (x, 0, 0)
    )
    expected = reference.topk(
        stored, k, float(np.float32(score)), scale=scale, zero_point=zero_point
    )
    np.testing.assert_array_equal(classes.data, expected[1])
    np.testing.assert_array_equal(scores.data, expected[0])
    assert (scores.data.dtype, classes.data.dtype) == (np.float32, np.int32)
    assert scores.data.shape == expected[0].shape
    return scores.data, classes.data


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [1, 5, 16, 1000])
@pytest.mark.parametrize("score", [LOW, 0.0, 0.7])
def test_float_values_with_ties_nan_and_infinities(backend, shape, k, score):
    rng = np.random.default_rng([*shape, k])
    x = rng.choice(np.linspace(-1, 1, 201, dtype=np.float32), shape)
    special = rng.choice(np.float32([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45]), shape)
    compare(np.where(rng.random(shape) < 0.1, special, x), k, score, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"),
    [("u8", 1 / 256, 0), ("u8", 0.1, 128), ("i8", 1 / 256, -128), ("i8", 0.03, 0), ("i8", 0, 0)],
)
@pytest.mark.parametrize(("k", "score"), [(1, LOW), (5, 0.0), (7, 0.6), (1000, 0.3)])
def test_quantized_values(backend, shape, dtype, scale, zero_point, k, score):
    rng = np.random.default_rng([*shape, k])
    stored = rng.integers(0, 256, shape, np.uint8).view(np.dtype(dtype[0] + "1"))
    x = QTensor(stored, float(np.float32(scale)), zero_point)
    compare(x, k, score, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("order", ["rising", "falling", "equal"])
@pytest.mark.parametrize("k", [1, 3, 64, 1000])
def test_orders_that_are_hard_on_a_heap(backend, order, k):
    x = {
        "rising": np.arange(1000, dtype=np.float32),
        "falling": -np.arange(1000, dtype=np.float32),
        "equal": np.full(1000, 0.25, np.float32),
    }[order]
    _, classes = compare(x, k, LOW, backend=backend)
    first = 999 - np.arange(k) if order == "rising" else np.arange(k)
    np.testing.assert_array_equal(classes, first)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("score", [1.1, 0.1, 0.3])
def test_the_score_cuts_exactly_between_bytes(backend, score):
    """float32 0.1 is above 1/10, so a scale of float32 0.1 times 1 is at, not below, that score."""
    x = QTensor(np.arange(40, dtype=np.uint8), float(np.float32(0.1)), 0)
    compare(x, 1000, score, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_zeros_tie_whatever_their_sign(backend):
    scores, classes = compare(np.float32([-0.0, 0.0, -0.0, 0.0]), 3, 0.0, backend=backend)
    np.testing.assert_array_equal(classes, [0, 1, 2])
    assert list(np.signbit(scores)) == [True, False, True]


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_is_never_returned(backend):
    x = np.full((3, 20), np.nan, np.float32)
    x[1, 4], x[2, 19] = 0.5, -np.inf
    scores, classes = compare(x, 2, 0.0, backend=backend)
    np.testing.assert_array_equal(classes, [[-1, -1], [4, -1], [19, -1]])
    assert not np.isnan(scores).any()
    assert compare(x[0], 2, 0.0, backend=backend)[0].shape == (0,)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(0,), (1, 0), (0, 7), (3, 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_empty(backend, shape, dtype):
    compare(np.zeros(shape, dtype), 5, 0.0, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_shrink_and_come_back(backend):
    frames = [
        [np.float32([0.1, 0.9, 0.6, 0.3])],
        [np.float32([0.1, 0.1, 0.1, 0.1])],
        [np.float32([0.8, 0.7])],
        [np.float32([0.9, 0.8, 0.7, 0.6])],
    ]
    outs = run_frames("topk", frames, {"k": 3, "score": 0.5}, backend=backend)
    assert [list(classes.data) for _, classes in outs] == [[1, 2], [], [0, 1], [0, 1, 2]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_batches_of_other_sizes(backend):
    rng = np.random.default_rng(4)
    shapes = [(6, 20), (2, 3), (1, 20), (0, 20), (4, 60), (6, 20)]
    frames = [[rng.random(shape, np.float32)] for shape in shapes]
    outs = run_frames(
        "topk", frames, {"k": 4}, backend=backend, setup=[np.zeros((6, 40), np.float32)]
    )
    for (x,), (scores, classes) in zip(frames, outs, strict=True):
        expected = reference.topk(x, 4)
        np.testing.assert_array_equal(scores.data, expected[0])
        np.testing.assert_array_equal(classes.data, expected[1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_more_rows_than_at_setup_are_refused(backend):
    frames = [[np.zeros((2, 8), np.float32)], [np.zeros((4, 4), np.float32)]]
    with pytest.raises(GuestStatus, match="larger") as caught:
        run_frames("topk", frames, {"k": 3}, backend=backend)
    assert (caught.value.call, caught.value.code) == ("sl_run", -3)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("x", "k", "message"),
    [
        (np.zeros(3, np.float64), 1, "probabilities"),
        (np.zeros((1, 1, 3), np.float32), 1, "probabilities"),
        (QTensor(np.zeros(3, np.uint8), 1.0, 300), 1, "zero point"),
        (np.zeros(3, np.float32), 0, "k: "),
        (np.zeros(3, np.float32), 1001, "k: "),
    ],
)
def test_what_it_cannot_work_with_is_refused(backend, x, k, message):
    with pytest.raises(GuestStatus, match=message) as caught:
        run_guest("topk", [x], struct.pack("<if", k, 0.0), backend=backend)
    assert (caught.value.call, caught.value.code) == ("sl_setup", -1)
