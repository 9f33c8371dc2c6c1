"""softmax against its reference, in wasmtime and native under the sanitizers."""

from __future__ import annotations

import numpy as np
import pytest

from guestkit import BACKENDS, GuestStatus, QTensor, load_reference, run_frames, run_guest

reference = load_reference("softmax")

SHAPES = [
    (1,),
    (3,),
    (4,),
    (5,),
    (10,),
    (257,),
    (1000,),
    (1, 10),
    (7, 13),
    (2, 3, 31),
    (3, 1),
    (9, 1027),
]


def softmax(logits, temperature=1.0, *, backend):
    (out,) = run_guest("softmax", [logits], {"temperature": temperature}, backend=backend)
    assert out.data.dtype == np.float32
    return out.data


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [1.0, 0.3, 25.0])
def test_float_logits(backend, shape, temperature):
    rng = np.random.default_rng([*shape])
    x = (rng.standard_normal(shape) * rng.choice([1, 8, 40])).astype(np.float32)
    # A distance from the maximum is rounded once more than in float64; exp makes that relative.
    np.testing.assert_allclose(
        softmax(x, temperature, backend=backend),
        reference.softmax(x.astype(np.float64), float(np.float32(temperature))),
        rtol=2e-5,
        atol=1e-44,
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"),
    [("u8", 0.11, 128), ("u8", 2.5, 0), ("i8", 0.05, -128), ("i8", 0.4, 3), ("i8", 0.0, 0)],
)
def test_quantized_logits(backend, shape, dtype, scale, zero_point):
    rng = np.random.default_rng([*shape])
    stored = rng.integers(0, 256, shape, np.uint8).view(np.dtype(dtype[0] + "1"))
    x = QTensor(stored, scale and float(np.float32(scale)), zero_point)
    np.testing.assert_allclose(
        softmax(x, 0.7, backend=backend),
        reference.softmax(x.real(), float(np.float32(0.7))),
        rtol=2e-5,
        atol=1e-44,
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_change_of_scale_between_frames_is_seen(backend):
    stored = np.array([0, 10, 20], np.uint8)
    frames = [[QTensor(stored, scale)] for scale in (0.125, 0.25, 0.125)]
    outs = [out.data for (out,) in run_frames("softmax", frames, backend=backend)]
    np.testing.assert_array_equal(outs[0], outs[2])
    for (x,), out in zip(frames, outs, strict=True):
        np.testing.assert_allclose(out, reference.softmax(x.real()), rtol=1e-6)


INF, NAN = np.inf, np.nan
ODD_ROWS = [
    ([0, INF, 3, -2, 1], [0, 1, 0, 0, 0]),
    ([INF, 1, 2, 3, INF, 5], [0.5, 0, 0, 0, 0.5, 0]),
    ([-INF, 0, -INF, 0, -INF], [0, 0.5, 0, 0.5, 0]),
    ([-INF] * 5, [0.2] * 5),
    ([INF] * 8, [0.125] * 8),
    ([-INF, INF], [0, 1]),
    ([1, 2, NAN, 4, 5], [NAN] * 5),
    ([NAN, INF, 2, 4], [NAN] * 4),
    ([2, INF, 2, 4, 1, 1, NAN], [NAN] * 7),
    ([NAN], [NAN]),
    ([3e38, -3e38, 0, 3e38], [0.5, 0, 0, 0.5]),
    ([-0.0, 0.0], [0.5, 0.5]),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("logits", "expected"), ODD_ROWS)
def test_infinities_and_nan(backend, logits, expected):
    x = np.array([logits, np.arange(len(logits))], np.float32)
    out = softmax(x, backend=backend)
    np.testing.assert_array_equal(out[0], np.array(expected, np.float32))
    np.testing.assert_array_equal(out[0], reference.softmax(x)[0].astype(np.float32))
    np.testing.assert_allclose(out[1], reference.softmax(x)[1], rtol=2e-6)  # untouched by row 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(0,), (0, 10), (5, 0), (2, 0, 3)])
def test_empty(backend, shape):
    assert softmax(np.zeros(shape, np.float32), backend=backend).shape == shape


@pytest.mark.parametrize("backend", BACKENDS)
def test_frames_of_other_sizes(backend):
    rng = np.random.default_rng(5)
    frames = [
        [rng.standard_normal(shape).astype(np.float32)]
        for shape in ((4, 9), (2, 3), (0, 9), (9, 4))
    ]
    for (x,), (out,) in zip(frames, run_frames("softmax", frames, backend=backend), strict=True):
        np.testing.assert_allclose(out.data, reference.softmax(x), rtol=2e-6)


def test_both_backends_give_the_same_bits():
    rng = np.random.default_rng(6)
    x = (rng.standard_normal((17, 301)) * 20).astype(np.float32)
    wasm, native, fast = (softmax(x, 1.7, backend=name) for name in [*BACKENDS, "native-O3"])
    np.testing.assert_array_equal(wasm, native)
    np.testing.assert_array_equal(wasm, fast)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (np.zeros((2, 2), np.int32), "f32, or u8 or i8"),
        (np.zeros((), np.float32), "1 to 8 dimensions"),
        (QTensor(np.zeros(3, np.uint8), -1.0), "scale"),
        (QTensor(np.zeros(3, np.uint8), NAN), "scale"),
        (QTensor(np.zeros(3, np.uint8), 1.0, 256), "zero point"),
        (QTensor(np.zeros(3, np.uint8), 1.0, -1), "zero point"),
        (QTensor(np.zeros(3, np.int8), 1.0, 128), "zero point"),
        (QTensor(np.zeros(3, np.int8), 1.0, -(2**31)), "zero point"),
    ],
)
def test_what_it_cannot_work_with_is_refused(backend, logits, message):
    with pytest.raises(GuestStatus, match=message) as caught:
        softmax(logits, backend=backend)
    assert (caught.value.call, caught.value.code) == ("sl_setup", -1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("temperature", [0.0, -1.0, NAN, INF])
def test_a_temperature_that_is_none_is_refused(backend, temperature):
    params = np.float32(temperature).tobytes()
    with pytest.raises(GuestStatus, match="temperature"):
        run_guest("softmax", [np.zeros(3, np.float32)], params, backend=backend)
