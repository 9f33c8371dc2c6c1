"""letterbox against its reference and OpenCV, in wasmtime and native under the sanitizers."""

from __future__ import annotations

import platform
import struct
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest

from guestkit import (
    BACKENDS,
    GuestStatus,
    QTensor,
    load_reference,
    open_guest,
    run_frames,
    run_guest,
)
from sanderling import abi
from sanderling.tensor import PixelFormat

reference = load_reference("letterbox")
pytestmark = pytest.mark.parametrize("backend", BACKENDS)

NORMALISE = {"mean": (103.53, 116.28, 123.675), "std": (57.375, 57.12, 58.395)}
E_ARGUMENT, E_CAPACITY = -1, -3


def picture(rng, width, height, channels=3):
    return rng.integers(0, 256, (height, width, channels), np.uint8)


def guest_params(params):
    given = asdict(params)
    return given | {"mean": list(params.mean), "std": list(params.std)}


def check(outs, frame, params):
    image, geometry = outs
    wanted, place = reference.letterbox(frame, params)
    assert geometry.data.tolist() == place
    assert image.data.dtype == wanted.dtype
    np.testing.assert_array_equal(image.data, wanted, err_msg=f"{frame.shape} {params}")
    return image


def run(frame, params, backend, row_stride=0):
    outs = run_guest(
        "letterbox", [QTensor(frame, row_stride=row_stride)], guest_params(params), backend=backend
    )
    return check(outs, frame, params)


# ---- pixels -------------------------------------------------------------------------------------

SIZES = [  # frame, image: width and height
    ((1, 1), (1, 1)),
    ((1, 1), (7, 5)),
    ((1, 9), (13, 4)),
    ((9, 1), (4, 13)),
    ((2, 2), (17, 17)),
    ((5, 6), (16, 16)),
    ((16, 11), (33, 35)),
    ((31, 47), (64, 40)),  # up
    ((61, 35), (60, 34)),
    ((97, 53), (41, 23)),
    ((131, 77), (37, 30)),  # more than 3 times: gathered
    ((49, 64), (16, 20)),
    ((200, 3), (19, 2)),
    ((37, 23), (37, 23)),  # copied
    ((16, 8), (16, 8)),
    ((15, 8), (15, 8)),
    ((40, 24), (20, 12)),  # halved
    ((66, 34), (33, 17)),
    ((38, 20), (19, 10)),
    ((30, 20), (15, 10)),
    ((57, 33), (19, 11)),  # every third
    ((51, 3), (17, 1)),
    ((80, 48), (20, 12)),  # by 4: not a nearest
    ((95, 55), (19, 11)),
    ((3, 300), (8, 8)),  # a side of the content rounds to 0
]


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
@pytest.mark.parametrize(("size", "image"), SIZES)
def test_sizes(backend, size, image, fit, channels):
    rng = np.random.default_rng([*size, *image])
    frame = picture(rng, *size, channels)
    params = reference.Params(width=image[0], height=image[1], fit=fit)
    for layout, order in [("nchw", "rgb"), ("nhwc", "bgr"), ("nchw", "grey")]:
        run(frame, replace(params, layout=layout, order=order), backend)


@pytest.mark.parametrize("x", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("y", [1, 2, 3])
@pytest.mark.parametrize("width", [1, 15, 16, 17, 31])
def test_whole_factors(backend, width, x, y):
    """The short cuts are the formula, bit for bit."""
    rng = np.random.default_rng([width, x, y])
    frame = picture(rng, width * x, 6 * y)
    run(frame, reference.Params(width=width, height=6, fit="stretch"), backend)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("order", ["bgr", "rgb", "grey"])
@pytest.mark.parametrize("align", ["centre", "start"])
@pytest.mark.parametrize(
    "values",
    [
        {"dtype": "u8"},
        {"dtype": "u8", "std": (255.0,) * 3, "scale": 1 / 255},
        {"dtype": "u8", "scale": 0.0186, "zero_point": 114} | NORMALISE,
        {"dtype": "u8", "scale": 0.004} | NORMALISE,  # saturates at both ends
        {"dtype": "i8", "zero_point": -128},
        {"dtype": "i8", "scale": 2.0, "zero_point": -100},  # halves
        {"dtype": "i8", "scale": 0.0186, "zero_point": -14} | NORMALISE,
        {"dtype": "f32"},
        {"dtype": "f32"} | NORMALISE,
    ],
    ids=["u8", "u8-255", "u8-table", "u8-clamp", "flip", "half", "i8-table", "f32", "f32-std"],
)
def test_layout_order_values(backend, layout, order, align, values):
    rng = np.random.default_rng(7)
    for size in [(64, 27), (23, 40)]:
        for channels in (3, 1):
            params = reference.Params(
                width=37, height=29, layout=layout, order=order, align=align, pad=40, **values
            )
            image = run(picture(rng, *size, channels), params, backend)
            assert image.format == PixelFormat[order.upper()]
            quantized = params.dtype != "f32"
            assert image.scale == (np.float32(params.scale) if quantized else 0)
            assert image.zero_point == (params.zero_point if quantized else 0)


def test_random(backend):
    seed = 20240613
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    for _ in range(150):
        size, image = rng.integers(1, 120, 2).tolist(), rng.integers(1, 70, 2).tolist()
        channels = int(rng.choice([1, 3, 3]))
        params = reference.Params(
            width=image[0],
            height=image[1],
            fit=str(rng.choice(["letterbox", "stretch"])),
            align=str(rng.choice(["centre", "start"])),
            pad=int(rng.integers(0, 256)),
            layout=str(rng.choice(["nchw", "nhwc"])),
            order=str(rng.choice(["bgr", "rgb", "grey"])),
            dtype=str(rng.choice(["u8", "f32"])),
            **(NORMALISE if rng.random() < 0.5 else {}),
        )
        stride = int(rng.choice([0, size[0] * channels + rng.integers(0, 40)]))
        run(picture(rng, *size, channels), params, backend, stride)


@pytest.mark.parametrize("kind", ["noise", "steps", "white"])
@pytest.mark.parametrize(
    ("size", "image"),
    [
        ((320, 180), (143, 97)),
        ((160, 90), (640, 480)),
        ((255, 255), (64, 64)),
        ((640, 480), (333, 301)),
        ((120, 90), (40, 30)),
        ((120, 90), (120, 90)),
    ],
)
def test_near_opencv(backend, size, image, kind):
    rng = np.random.default_rng([*size, *image])
    frame = picture(rng, *size)
    if kind == "steps":
        frame = np.where(frame > 127, 255, 0).astype(np.uint8)
    elif kind == "white":
        frame[:] = 255
    params = reference.Params(
        width=image[0], height=image[1], fit="stretch", order="bgr", layout="nhwc"
    )
    ours, _ = run_guest("letterbox", [frame], guest_params(params), backend=backend)
    theirs = cv2.resize(frame, image, interpolation=cv2.INTER_LINEAR)
    apart = np.abs(ours.data[0].astype(int) - theirs)
    # OpenCV's own results on Arm are up to 1 from those on x86, ours are the same.
    assert apart.max() <= (1 if platform.machine() == "x86_64" else 2)
    assert kind != "white" or apart.max() == 0


def test_grey_is_opencv(backend):
    """All of one channel's values, and the corners of the cube."""
    values = np.stack(np.meshgrid(*[np.arange(0, 256, 15)] * 3), -1).reshape(1, -1, 3)
    frame = np.ascontiguousarray(values.astype(np.uint8))
    params = reference.Params(width=frame.shape[1], height=1, order="grey")
    (image, _) = run_guest("letterbox", [frame], guest_params(params), backend=backend)
    np.testing.assert_array_equal(image.data[0, 0], cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))


# ---- many frames --------------------------------------------------------------------------------


def test_frames_of_many_sizes(backend):
    """Wider and lower than the first within its capacity, grey between colour, padding anew."""
    rng = np.random.default_rng(3)
    params = reference.Params(width=48, height=32)
    sizes = [(80, 60, 3), (200, 24, 3), (24, 200, 3), (4800, 1, 3), (14400, 1, 1), (120, 120, 1)]
    sizes += [(80, 60, 3), (48, 32, 3), (1, 1, 3), (80, 60, 3), (80, 60, 1), (80, 60, 3)]
    frames = [picture(rng, *size) for size in sizes]
    outs = run_frames("letterbox", [[f] for f in frames], guest_params(params), backend=backend)
    for frame, out in zip(frames, outs, strict=True):
        check(out, frame, params)


def run_on(guest, frame):
    """A frame as on a device: what the image held before, it still holds."""
    guest._write_inputs([QTensor(frame)])
    assert guest.machine.run(guest.call)[0] == 0
    return [guest._result(0), guest._result(1)]


@pytest.mark.parametrize("dtype", ["u8", "i8", "f32"])
def test_padding_stays(backend, dtype):
    """It is written when the content has another place, or somebody wrote over it."""
    rng = np.random.default_rng(4)
    params = reference.Params(width=32, height=32, dtype=dtype, zero_point=-128 * (dtype == "i8"))
    sizes = [(80, 20), (80, 20), (20, 80), (20, 80), (40, 40), (80, 20), (80, 19), (81, 19), (7, 9)]
    with open_guest("letterbox", backend=backend) as guest:
        guest.setup([picture(rng, 80, 80)], guest_params(params))
        for size in sizes:
            frame = picture(rng, *size)
            check(run_on(guest, frame), frame, params)
        check(guest.run([frame]), frame, params)  # after the kit has filled the image


# ---- bad input ----------------------------------------------------------------------------------

GOOD = reference.Params(width=32, height=24)


def refused(frame, params, backend, words, call="sl_setup"):
    with pytest.raises(GuestStatus) as caught:
        run_guest("letterbox", [frame], params, backend=backend)
    assert (caught.value.call, caught.value.code) == (call, E_ARGUMENT)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 0, 3), np.uint8), "no pixels"),
        (np.zeros((4, 4, 4), np.uint8), "needs u8"),
        (np.zeros((4, 4), np.uint8), "needs u8"),
        (np.zeros((4, 4, 3), np.float32), "needs u8"),
        (QTensor(np.zeros((4, 4, 3), np.uint8), format=PixelFormat.RGB), "needs BGR"),
        (QTensor(np.zeros((4, 4, 1), np.uint8), format=PixelFormat.NV12), "needs BGR"),
    ],
)
def test_bad_frames(backend, frame, words):
    refused(frame, guest_params(GOOD), backend, words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"width": 0, "height": 24}, "width, height"),
        ({"width": 32}, "width, height"),
        ({"zero_point": -1}, "zero_point"),
        ({"dtype": "i8", "zero_point": 128}, "zero_point"),
        ({"mean": [3.4e38, 0.0, 0.0], "std": [1e-6] * 3}, None),
    ],
)
def test_bad_params(backend, given, words):
    frame = np.zeros((8, 8, 3), np.uint8)
    params = {"width": 32, "height": 24} | given
    if given.keys() == {"width"}:
        params["height"] = 0
    if words is None:  # far out, but defined: saturates
        (image, _) = run_guest("letterbox", [frame], params, backend=backend)
        assert not image.data[0, 0].any()
    else:
        refused(frame, params, backend, words)


@pytest.mark.parametrize(
    "scalars",
    [
        {0: -5}, {0: 8193}, {1: 2**31 - 1}, {2: 2}, {3: -1}, {4: 256}, {5: 9}, {6: 3}, {7: 3},
        {8: float("nan")}, {11: 0.0}, {12: -1.0}, {13: float("inf")}, {11: 1e-45}, {14: 0.0},
        {14: float("nan")}, {15: 256},
    ],
)  # fmt: skip
def test_hostile_params(backend, scalars):
    """What the host would never pack."""
    values = [32, 24, 0, 0, 114, 0, 1, 0, *[0.0] * 3, *[1.0] * 3, 1.0, 0]
    for index, value in scalars.items():
        values[index] = value
    frame = np.zeros((8, 8, 3), np.uint8)
    refused(frame, struct.pack("<8i7fi", *values), backend, ":")
    refused(frame, b"\0" * 60, backend, "parameters")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dims": (25, 40, 3)}, "larger than its buffer"),
        ({"dims": (24, 41, 3)}, "larger than its buffer"),
        ({"dims": (0, 40, 3)}, "no pixels"),
        ({"dims": (24, 0, 3)}, "no pixels"),
        ({"dims": (2**31, 2**31, 3)}, "larger than its buffer"),
        ({"dims": (2**32 - 1, 2**32 - 1, 1)}, "larger than its buffer"),
        ({"dims": (0x55555557, 1, 3)}, "larger than its buffer"),  # 3 (H - 1) wraps to 2
        ({"dims": (2**30 + 1, 1, 3), "row_stride": 4}, "larger than its buffer"),
        ({"dims": (24, 40, 2)}, "needs u8"),
        ({"rank": 2}, "needs u8"),
        ({"rank": 9}, "needs u8"),
        ({"dtype": 8}, "needs u8"),
        ({"row_stride": 119}, "row_stride"),
        ({"row_stride": 121}, "larger than its buffer"),
        ({"row_stride": 2**32 - 1}, "larger than its buffer"),
        ({"capacity": 2879}, "larger than its buffer"),
        ({"capacity": 0}, "larger than its buffer"),
        ({"format": 2}, "needs BGR"),
    ],
)
def test_hostile_descriptors(backend, change, words):
    """Refused in words in sl_run, and the next good frame is right."""
    rng = np.random.default_rng(5)
    frame = picture(rng, 40, 24)
    with open_guest("letterbox", backend=backend) as guest:
        guest.setup([frame], guest_params(GOOD))
        check(guest.run([frame]), frame, GOOD)
        at = guest._inputs_at
        tensor = abi.Tensor.from_buffer_copy(guest.machine.read(at, abi.TENSOR_SIZE))
        for name, value in change.items():
            if name == "dims":
                tensor.dims[:3] = value
            else:
                setattr(tensor, name, value)
        guest.machine.write(at, bytes(tensor))
        assert guest.machine.run(guest.call)[0] == E_ARGUMENT
        assert words in guest.machine.error()
        check(guest.run([frame]), frame, GOOD)


def test_rows_longer_than_the_scratch(backend):
    """A first frame tall enough gives capacity for rows that there is no scratch for."""
    tall = np.zeros((40_000, 1, 3), np.uint8)
    long = np.zeros((1, 40_000, 3), np.uint8)
    with open_guest("letterbox", backend=backend) as guest:
        guest.setup([tall], guest_params(GOOD))
        check(guest.run([tall]), tall, GOOD)
        with pytest.raises(GuestStatus, match="rows are longer"):
            guest.run([long])
        widest = long[:, :32_768]
        check(guest.run([widest]), widest, GOOD)


@pytest.mark.parametrize("output", [0, 1])
def test_short_outputs(backend, output):
    frame = np.zeros((24, 40, 3), np.uint8)
    with open_guest("letterbox", backend=backend) as guest:
        guest.setup([frame], guest_params(GOOD))
        at = guest._outputs_at + abi.TENSOR_SIZE * output
        tensor = abi.Tensor.from_buffer_copy(guest.machine.read(at, abi.TENSOR_SIZE))
        tensor.capacity -= 1
        guest.machine.write(at, bytes(tensor))
        assert guest.machine.run(guest.call)[0] == E_CAPACITY
