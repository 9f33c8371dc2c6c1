"""motion against its reference, and what a gate has to let through and what not."""

from __future__ import annotations

import struct
from dataclasses import asdict, replace

import numpy as np
import pytest

from guestkit import BACKENDS, GuestStatus, QTensor, load_reference, open_guest
from sanderling import abi
from sanderling.tensor import PixelFormat

reference = load_reference("motion")
pytestmark = pytest.mark.parametrize("backend", BACKENDS)

MS = 10**6
STILL = None
"""What `gate` gives for a frame that ends here."""


def gate(guest, picture, at_ns):
    """The share and the cells of a frame that passes, or STILL."""
    try:
        share, cells = guest.run([picture], captured_ns=at_ns)
    except GuestStatus as ended:
        if (ended.call, ended.code) != ("sl_run", abi.SKIP):
            raise
        return STILL
    return share.data, cells.data


def noise(rng, base, sigma=4.0):
    """A camera's picture of a scene that stays the same."""
    return np.clip(base + rng.normal(0, sigma, base.shape), 0, 255).astype(np.uint8)


def scene(rng, height=96, width=128):
    coarse = rng.integers(30, 220, (height // 8, width // 8, 3))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.float64)


def compare(guest, wanted, picture, at_ns, laid_out=None):
    passed, share, cells = wanted.frame(picture, at_ns)
    found = gate(guest, picture if laid_out is None else laid_out, at_ns)
    assert (found is not STILL) == passed
    if passed:
        np.testing.assert_array_equal(found[0], [share])
        np.testing.assert_array_equal(found[1], cells)
    return passed


# ---- numbers ------------------------------------------------------------------------------------

LAYOUTS = {
    "frame": lambda p: QTensor(p, format=PixelFormat.BGR),
    "stride": lambda p: QTensor(p, row_stride=p.shape[1] * p.shape[2] + 5),
    "nhwc": lambda p: QTensor(p[None], format=PixelFormat.BGR),
    "nchw": lambda p: QTensor(np.ascontiguousarray(p.transpose(2, 0, 1))[None]),
    "nchw-rgb": lambda p: QTensor(
        np.ascontiguousarray(p[..., ::-1].transpose(2, 0, 1))[None], format=PixelFormat.RGB
    ),
    "rgb": lambda p: QTensor(np.ascontiguousarray(p[..., ::-1]), format=PixelFormat.RGB),
}
SIZES = [(1, 1), (3, 5), (16, 16), (31, 33), (32, 48), (47, 100), (127, 9), (5, 200), (160, 130)]


@pytest.mark.parametrize(
    ("layout", "channels"),
    [(layout, 3) for layout in LAYOUTS] + [("frame", 1), ("stride", 1), ("nhwc", 1), ("nchw", 1)],
)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_equals_the_reference(backend, height, width, layout, channels):
    rng = np.random.default_rng([height, width, channels])
    params = reference.Params(cell=int(rng.choice([4, 7, 16])), hold_ms=40, refresh_ms=300)
    wanted = reference.Motion(params)
    base = rng.integers(0, 256, (height, width, channels)).astype(np.float64)
    passed = []
    at = -(10**9)
    with open_guest("motion", backend=backend) as guest:
        for index in range(40):
            at += int(rng.integers(1, 60 * MS))
            picture = noise(rng, base)
            if rng.random() < 0.2:  # something comes in
                y, x = int(rng.integers(0, height)), int(rng.integers(0, width))
                picture[y : y + 9, x : x + 9] = rng.integers(0, 256)
            laid_out = LAYOUTS[layout](picture)
            if channels == 1:
                laid_out = replace(laid_out, format=PixelFormat.NONE)
            if index == 0:
                guest.setup([laid_out], asdict(params))
            passed.append(compare(guest, wanted, picture, at, laid_out))
    assert all(passed[:8])


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_reference_with_random_parameters(backend, seed):
    rng = np.random.default_rng(seed)
    params = reference.Params(
        cell=int(rng.integers(4, 65)),
        area=float(np.float32(rng.choice([0.0, 0.01, 0.3, 1.0]))),
        threshold=float(np.float32(rng.uniform(0, 20))),
        adapt=float(np.float32(rng.choice([0.0, 0.01, 3.3, 255.0]))),
        hold_ms=int(rng.choice([0, 100, 86_400_000])),
        refresh_ms=int(rng.choice([0, 1, 250])),
    )
    wanted = reference.Motion(params)
    base = scene(rng, 120, 176)
    at = 0
    with open_guest("motion", backend=backend) as guest:
        guest.setup([noise(rng, base)], asdict(params))
        for _ in range(60):
            at += int(rng.choice([-(10**12), 0, 1, 10**6, 3 * 10**7, 3 * 10**9, 10**18]))
            at = max(-(2**63), min(at, 2**63 - 1))
            light = rng.choice([0, 0, 0, 25, -60])
            compare(guest, wanted, noise(rng, base + light, rng.choice([0.0, 2.0, 9.0])), at)


def test_extremes_of_the_clock(backend):
    rng = np.random.default_rng(1)
    params = reference.Params(hold_ms=10)
    wanted = reference.Motion(params)
    base = scene(rng)
    with open_guest("motion", backend=backend) as guest:
        guest.setup([noise(rng, base)], asdict(params))
        for at in [-(2**63), 2**63 - 1, -(2**63), 0, 0, 0, 2**62, -(2**62), 1, 2**63 - 1] * 3:
            compare(guest, wanted, noise(rng, base), at)


# ---- what a gate is for -------------------------------------------------------------------------


class Camera:
    """A scene, its noise, and a guest that looks at it, 30 frames a second."""

    def __init__(self, guest, seed=0, **params):
        self.guest, self.rng = guest, np.random.default_rng(seed)
        self.base = scene(self.rng)
        self.at = 10**12
        self.guest.setup([self.picture()], {"refresh_ms": 0} | params)

    def picture(self, light=0.0, gain=1.0, box=None, value=255.0):
        base = self.base * gain + light
        if box:
            x, y, width, height = box
            base[y : y + height, x : x + width] = value
        return noise(self.rng, base)

    def show(self, frames=1, step_ns=33 * MS, **what):
        """How many frames pass."""
        passed = 0
        for _ in range(frames):
            self.at += step_ns
            passed += gate(self.guest, self.picture(**what), self.at) is not STILL
        return passed

    def settle(self):
        assert self.show(8) == 8
        self.show(40)
        assert self.show(30) == 0


@pytest.fixture
def guest(backend):
    with open_guest("motion", backend=backend) as opened:
        yield opened


def test_the_first_frames_pass_and_then_a_still_picture_does_not(guest, backend):
    camera = Camera(guest)
    assert camera.show(8) == 8
    assert camera.show(200) == 0


def test_what_moves_passes_and_for_the_hold_after(guest, backend):
    camera = Camera(guest, hold_ms=500)
    camera.settle()
    for x in range(0, 90, 3):
        assert camera.show(box=(x, 30, 24, 40)) == 1
    after = camera.show(60)
    assert 15 <= after <= 15 + 25  # 500 ms are 15 frames; what was covered may take a moment more
    assert camera.show(60) == 0


def test_a_thing_smaller_than_the_area_does_not_count(guest, backend):
    camera = Camera(guest, area=0.05, hold_ms=0)
    camera.settle()
    assert camera.show(box=(32, 32, 16, 16)) == 0  # one cell of 48
    assert camera.show(box=(32, 32, 48, 16)) == 1  # three


def test_light_on_all_cells_is_no_movement(guest, backend):
    camera = Camera(guest, hold_ms=0)
    camera.settle()
    for light in (10, 20, 10, -5, -25, 0):
        assert camera.show(light=light) == 0
    assert camera.show(light=20, box=(30, 30, 30, 30)) == 1  # behind it movement is seen


def test_what_stays_becomes_background(guest, backend):
    camera = Camera(guest, hold_ms=0, adapt=20.0)
    camera.settle()
    new = {"box": (32, 32, 32, 32), "value": 90.0}
    assert camera.show(**new) == 1
    camera.show(400, **new)
    assert camera.show(50, **new) == 0
    assert camera.show() == 1  # it leaves


def test_dropped_frames_do_not_slow_the_background_down(backend):
    """It takes in what stays after the same time at 30 frames a second and at 5."""
    taken = []
    for step_ns in (33 * MS, 200 * MS):
        with open_guest("motion", backend=backend) as guest:
            camera = Camera(guest, hold_ms=0, adapt=10.0)
            camera.settle()
            began = camera.at
            while camera.show(step_ns=step_ns, box=(32, 32, 32, 32), value=200.0):
                assert camera.at < began + 60 * 10**9
            taken.append((camera.at - began) / 10**9)
    assert taken[0] > 1.0
    assert abs(taken[0] - taken[1]) < 0.25 * taken[0]


def test_noise_is_learnt_cell_by_cell(guest, backend):
    """Leaves in one corner stop counting, a person elsewhere does not."""
    camera = Camera(guest, hold_ms=0, adapt=20.0)
    camera.settle()

    def leaves():
        return {"box": (0, 0, 32, 32), "value": float(camera.rng.uniform(55, 75))}

    camera.base[:32, :32] = 65.0
    assert sum(camera.show(**leaves()) for _ in range(20)) >= 5
    for _ in range(300):
        camera.show(**leaves())
    assert sum(camera.show(**leaves()) for _ in range(60)) <= 3
    camera.base[64:96, 64:96] = 65.0
    assert camera.show(**leaves()) == 1


def test_refresh(guest, backend):
    camera = Camera(guest, hold_ms=0, refresh_ms=1000)
    assert camera.show(8) == 8
    passed = [camera.show() for _ in range(150)]
    assert sum(passed) == 4
    assert np.diff(np.flatnonzero(passed)).tolist() == [31] * 3  # 31 times 33 ms


def test_a_reset_forgets(guest, backend):
    camera = Camera(guest)
    camera.settle()
    guest.reset()
    assert camera.show(8) == 8
    assert camera.show(30) == 0


def test_a_clock_that_goes_back_or_stands_still(guest, backend):
    camera = Camera(guest, hold_ms=300)
    camera.settle()
    assert camera.show(box=(30, 30, 30, 40)) == 1
    camera.at -= 3600 * 10**9
    assert camera.show(60) <= 15
    assert camera.show(100) == 0
    assert camera.show(box=(30, 30, 30, 40)) == 1
    assert camera.show(60, step_ns=0) <= 15
    assert camera.show(100, step_ns=0) == 0


def test_another_size_begins_anew(guest, backend):
    camera = Camera(guest)
    camera.settle()
    whole = camera.base
    camera.base = whole[:64, :80]
    assert camera.show(8) == 8
    assert camera.show(30) == 0
    camera.base = whole
    assert camera.show(8) == 8


def test_the_map_says_where(guest, backend):
    camera = Camera(guest)
    camera.settle()
    picture = camera.picture(box=(32, 48, 16, 32), value=0.0)
    picture[48:80, 32:48] = 255 - picture[0, 0, 0]
    _, cells = gate(guest, picture, camera.at + 1)
    assert cells.shape == (6, 8)
    assert np.argwhere(cells).tolist() == [[3, 2], [4, 2]]


# ---- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((1, 3, 4, 0), np.uint8), "no pixels"),
        (np.zeros((4, 4), np.uint8), "rank 3 or 4"),
        (np.zeros((2, 3, 4, 4), np.uint8), "rank 3 or 4"),
        (np.zeros((4, 4, 2), np.uint8), "channels"),
        (np.zeros((4, 4, 3), np.float32), "channels"),
    ],
)
def test_bad_pictures(backend, picture, words):
    with (
        open_guest("motion", backend=backend) as guest,
        pytest.raises(GuestStatus, match=words) as caught,
    ):
        guest.setup([picture], {})
    assert (caught.value.call, caught.value.code) == ("sl_setup", abi.E_ARGUMENT)


@pytest.mark.parametrize(
    "scalars",
    [
        {0: 3}, {0: 65}, {0: -16}, {1: float("nan")}, {1: -0.1}, {1: 1.1}, {2: float("nan")},
        {2: 256.0}, {3: float("inf")}, {3: -1.0}, {4: -1}, {4: 86_400_001}, {5: -1}, {5: 2**31 - 1},
    ],
)  # fmt: skip
def test_hostile_params(backend, scalars):
    """What the host would never pack."""
    values = [16, 0.002, 6.0, 4.0, 1000, 0]
    for index, value in scalars.items():
        values[index] = value
    picture = np.zeros((32, 32, 3), np.uint8)
    for packed in (struct.pack("<i3f2i", *values), b"\0" * 20):
        with (
            open_guest("motion", backend=backend) as guest,
            pytest.raises(GuestStatus, match=r"needs|not the size"),
        ):
            guest.setup([picture], packed)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dims": (97, 128, 3)}, "larger than its buffer"),
        ({"dims": (0, 128, 3)}, "no pixels"),
        ({"dims": (2**31, 2**31, 3)}, "larger than its buffer"),
        ({"dims": (48, 256, 3)}, "planned for"),
        ({"dims": (192, 64, 3)}, "planned for"),
        ({"dims": (288, 128, 1)}, "planned for"),
        ({"row_stride": 383}, "row_stride"),
        ({"row_stride": 385}, "larger than its buffer"),
        ({"dtype": 8}, "channels"),
        ({"rank": 9}, "rank"),
    ],
)
def test_hostile_descriptors(backend, change, words):
    with open_guest("motion", backend=backend) as guest:
        guest.setup([np.zeros((96, 128, 3), np.uint8)], {})
        at = guest._inputs_at
        tensor = abi.Tensor.from_buffer_copy(guest.machine.read(at, abi.TENSOR_SIZE))
        for name, value in change.items():
            if name == "dims":
                tensor.dims[:3] = value
            else:
                setattr(tensor, name, value)
        guest.machine.write(at, bytes(tensor))
        assert guest.machine.run(guest.call)[0] == abi.E_ARGUMENT
        assert words in guest.machine.error()


@pytest.mark.parametrize("output", [0, 1])
def test_short_outputs(backend, output):
    with open_guest("motion", backend=backend) as guest:
        guest.setup([np.zeros((96, 128, 3), np.uint8)], {})
        at = guest._outputs_at + abi.TENSOR_SIZE * output
        tensor = abi.Tensor.from_buffer_copy(guest.machine.read(at, abi.TENSOR_SIZE))
        tensor.capacity -= 1
        guest.machine.write(at, bytes(tensor))
        assert guest.machine.run(guest.call)[0] == abi.E_CAPACITY
