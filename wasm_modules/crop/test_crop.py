"""crop against letterbox's reference on the part of the frame that each box is given."""

from __future__ import annotations

import struct
from dataclasses import asdict, replace

import numpy as np
import pytest

from guestkit import BACKENDS, GuestStatus, QTensor, load_reference, open_guest, run_guest
from sanderling import abi
from sanderling.tensor import PixelFormat

reference = load_reference("crop")
letterbox = load_reference("letterbox")
pytestmark = pytest.mark.parametrize("backend", BACKENDS)

NAN, INF = float("nan"), float("inf")
PARAMS = letterbox.Params(width=32, height=24)
NOTHING = [
    [NAN, 0, 9, 9], [0, 0, INF, 9], [0, -INF, 9, 9], [5, 5, 5, 9], [5, 5, 2, 9], [9, 9, 9, 9],
    [-30, 0, -20, 9], [0, 500, 9, 600], [-3e38, -3e38, 3e38, 3e38], [0, 0, 1e-30, 1e-30],
]  # fmt: skip
"""Boxes that are none, or of which nothing lies in a frame of up to 400 pixels."""


def picture(rng, width, height, channels=3):
    return rng.integers(0, 256, (height, width, channels), np.uint8)


def guest_params(params, **more):
    given = asdict(params)
    return given | {"mean": list(params.mean), "std": list(params.std)} | more


def wanted(frame, boxes, params, most=8, margin=0.1):
    """The pictures `[n, ...]`."""
    made = []
    for box in boxes[:most]:
        part = reference.part(frame, box, margin)
        if part.size == 0:
            part = np.full((params.height, params.width, frame.shape[2]), params.pad, np.uint8)
            if params.order == "grey":
                part = part[..., :1]
        made.append(letterbox.letterbox(part, params)[0][0])
    return made


def check(image, frame, boxes, params, **more):
    want = wanted(frame, boxes, params, **more)
    assert len(image.data) == len(want)
    for index, picture_of_box in enumerate(want):
        np.testing.assert_array_equal(
            image.data[index], picture_of_box, err_msg=f"{frame.shape} {boxes[index]} {params}"
        )


def some_boxes(rng, count, width, height):
    """All sizes, some over the edges, some not there."""
    centre = rng.uniform(-0.1, 1.1, (count, 2)) * [width, height]
    half = rng.uniform(0, 0.5, (count, 2)) ** 2 * [width, height]
    boxes = np.float32(np.c_[centre - half, centre + half])
    for index in np.flatnonzero(rng.random(count) < 0.15):
        boxes[index] = NOTHING[rng.integers(len(NOTHING))]
    return boxes


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("order", ["bgr", "rgb", "grey"])
@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
@pytest.mark.parametrize(
    "values",
    [
        {"dtype": "u8"},
        {"dtype": "i8", "zero_point": -128},
        {"dtype": "u8", "scale": 0.0186, "zero_point": 114, "mean": (103.5, 116.3, 123.7),
         "std": (57.4, 57.1, 58.4)},
        {"dtype": "f32", "std": (255.0,) * 3},
    ],
    ids=["u8", "flip", "table", "f32"],
)  # fmt: skip
def test_equals_letterbox_on_the_part(backend, values, fit, order, layout, channels):
    rng = np.random.default_rng([len(order), len(layout), channels])
    for width, height in [(61, 47), (200, 130)]:
        frame, boxes = picture(rng, width, height, channels), some_boxes(rng, 9, width, height)
        params = replace(PARAMS, width=21, height=19, fit=fit, order=order, layout=layout, **values)
        (image,) = run_guest("crop", [frame, boxes], guest_params(params, most=9), backend=backend)
        check(image, frame, boxes, params, most=9)
        assert image.format == PixelFormat[order.upper()]
        quantized = params.dtype != "f32"
        assert image.scale == (np.float32(params.scale) if quantized else 0)
        assert image.zero_point == (params.zero_point if quantized else 0)


def test_random(backend):
    rng = np.random.default_rng(20240802)
    for _ in range(80):
        width, height = rng.integers(1, 180, 2).tolist()
        channels = int(rng.choice([1, 3, 3]))
        frame = picture(rng, width, height, channels)
        boxes = some_boxes(rng, int(rng.integers(1, 20)), width, height)
        params = replace(
            PARAMS,
            width=int(rng.integers(1, 60)),
            height=int(rng.integers(1, 60)),
            align=str(rng.choice(["centre", "start"])),
            pad=int(rng.integers(0, 256)),
            fit=str(rng.choice(["letterbox", "stretch"])),
        )
        more = {
            "most": int(rng.integers(1, 13)),
            "margin": float(np.float32(rng.choice([0, 0.1, 0.5, 10]))),
        }
        stride = int(rng.choice([0, width * channels + rng.integers(0, 9)]))
        laid_out = QTensor(frame, row_stride=stride)
        (image,) = run_guest(
            "crop", [laid_out, boxes], guest_params(params, **more), backend=backend
        )
        check(image, frame, boxes, params, **more)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_whole_factors_in_the_corners_of_the_frame(backend, factor):
    """The short cuts read no more of a row than there is."""
    rng = np.random.default_rng(factor)
    params = replace(PARAMS, width=17, height=5)
    wide, high = 17 * factor, 5 * factor
    for channels in (3, 1):
        frame = picture(rng, wide + 30, high + 30, channels)
        corners = [(x, y) for x in (0, 30) for y in (0, 30)]
        boxes = np.float32([[x, y, x + wide, y + high] for x, y in corners])
        given = guest_params(params, margin=0.0)
        (image,) = run_guest("crop", [frame, boxes], given, backend=backend)
        check(image, frame, boxes, params, margin=0.0)


def test_boxes_that_are_none_get_padding(backend):
    boxes = np.float32(NOTHING)
    frame = picture(np.random.default_rng(0), 400, 300)
    given = guest_params(PARAMS, most=64)
    (image,) = run_guest("crop", [frame, boxes], given, backend=backend)
    assert image.data.shape == (len(NOTHING), 3, 24, 32)
    assert (image.data == 114).all()


def test_the_whole_frame_is_what_letterbox_makes_of_it(backend):
    frame = picture(np.random.default_rng(0), 90, 71)
    (image,) = run_guest(
        "crop", [frame, np.float32([[0, 0, 90, 71]])], guest_params(PARAMS), backend=backend
    )
    (whole, _) = run_guest("letterbox", [frame], guest_params(PARAMS), backend=backend)
    np.testing.assert_array_equal(image.data, whole.data)


def test_frames_with_any_number_of_boxes(backend):
    rng = np.random.default_rng(3)
    frame = picture(rng, 120, 90)
    with open_guest("crop", backend=backend) as guest:
        guest.setup([frame, np.zeros((12, 4), np.float32)], guest_params(PARAMS, most=5))
        for count, size in [
            (12, (120, 90)),
            (0, (120, 90)),
            (3, (60, 40)),
            (5, (90, 120)),
            (1, (7, 9)),
        ]:
            frame, boxes = picture(rng, *size), some_boxes(rng, count, *size)
            (image,) = guest.run([frame, boxes])
            assert image.data.shape == (min(count, 5), 3, 24, 32)
            check(image, frame, boxes, PARAMS, most=5)


# ---- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "boxes", "words"),
    [
        (np.zeros((0, 4, 3), np.uint8), np.zeros((2, 4), np.float32), "no pixels"),
        (np.zeros((4, 4, 4), np.uint8), np.zeros((2, 4), np.float32), "needs u8"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((2, 5), np.float32), "boxes: needs f32"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((2, 4), np.float64), "boxes: needs f32"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros(4, np.float32), "boxes: needs f32"),
    ],
)
def test_bad_inputs(backend, frame, boxes, words):
    with pytest.raises(GuestStatus, match=words) as caught:
        run_guest("crop", [frame, boxes], guest_params(PARAMS), backend=backend)
    assert (caught.value.call, caught.value.code) == ("sl_setup", abi.E_ARGUMENT)


@pytest.mark.parametrize(
    "scalars",
    [
        {0: 0}, {1: 8193}, {2: 2}, {5: 2}, {6: 3}, {11: 0.0}, {14: NAN}, {15: 256}, {16: 0},
        {16: 65}, {16: -1}, {17: NAN}, {17: -0.1}, {17: 11.0},
    ],
)  # fmt: skip
def test_hostile_params(backend, scalars):
    """What the host would never pack."""
    values = [32, 24, 0, 0, 114, 0, 1, 0, *[0.0] * 3, *[1.0] * 3, 1.0, 0, 8, 0.1]
    for index, value in scalars.items():
        values[index] = value
    inputs = [np.zeros((8, 8, 3), np.uint8), np.zeros((2, 4), np.float32)]
    for packed in (struct.pack("<8i7f2if", *values), b"\0" * 64):
        with pytest.raises(GuestStatus, match=r":|parameters"):
            run_guest("crop", inputs, packed, backend=backend)


@pytest.mark.parametrize(
    ("which", "change", "words"),
    [
        (0, {"dims": (25, 40, 3)}, "larger than its buffer"),
        (0, {"dims": (2**31, 2**31, 3)}, "larger than its buffer"),
        (0, {"row_stride": 119}, "row_stride"),
        (1, {"dims": (5, 4)}, "larger than their buffer"),
        (1, {"dims": (2**30, 4)}, "larger than their buffer"),
        (1, {"dims": (4, 5)}, "boxes: needs"),
        (1, {"rank": 3}, "boxes: needs"),
    ],
)
def test_hostile_descriptors(backend, which, change, words):
    with open_guest("crop", backend=backend) as guest:
        guest.setup(
            [np.zeros((24, 40, 3), np.uint8), np.zeros((4, 4), np.float32)], guest_params(PARAMS)
        )
        at = guest._inputs_at + which * abi.TENSOR_SIZE
        tensor = abi.Tensor.from_buffer_copy(guest.machine.read(at, abi.TENSOR_SIZE))
        for name, value in change.items():
            if name == "dims":
                tensor.dims[: len(value)] = value
            else:
                setattr(tensor, name, value)
        guest.machine.write(at, bytes(tensor))
        assert guest.machine.run(guest.call)[0] == abi.E_ARGUMENT
        assert words in guest.machine.error()


def test_a_short_output(backend):
    with open_guest("crop", backend=backend) as guest:
        guest.setup(
            [np.zeros((24, 40, 3), np.uint8), np.zeros((8, 4), np.float32)], guest_params(PARAMS)
        )
        tensor = abi.Tensor.from_buffer_copy(guest.machine.read(guest._outputs_at, abi.TENSOR_SIZE))
        tensor.capacity -= 1
        guest.machine.write(guest._outputs_at, bytes(tensor))
        assert guest.machine.run(guest.call)[0] == abi.E_CAPACITY
