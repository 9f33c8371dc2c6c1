"""track against its reference, and what a tracker has to do."""

from __future__ import annotations

import struct
from dataclasses import asdict

import numpy as np
import pytest

from guestkit import BACKENDS, GuestStatus, load_reference, open_guest
from sanderling import abi
from tracking import FRAME_NS, detections, follow, room, walk

reference = load_reference("track")
both = pytest.mark.parametrize("backend", BACKENDS)

MOST = 256


@pytest.fixture
def guest(backend):
    with open_guest("track", backend=backend) as opened:
        yield opened


def compare(guest, wanted, frame, at_ns):
    boxes, scores, classes, points, ids = guest.run(frame, captured_ns=at_ns)
    want = wanted.frame(*frame[:3], at_ns)
    np.testing.assert_array_equal(ids.data, want.ids)
    np.testing.assert_array_equal(boxes.data, want.boxes)
    np.testing.assert_array_equal(scores.data, want.scores)
    np.testing.assert_array_equal(classes.data, want.classes)
    assert (points is None) == (len(frame) == 3)
    if points is not None:
        np.testing.assert_array_equal(points.data, frame[3][want.index])
    return ids.data


def crowd(rng, frames, things, *, points=0, kinds=3):
    """Frames of detections of things that wander about, some missed, some false, few levels."""
    place, way = rng.uniform(0, 600, (things, 2)), rng.normal(0, 5, (things, 2))
    half, kind = rng.uniform(8, 50, (things, 2)), rng.integers(0, kinds, things)
    for _ in range(frames):
        place += way + rng.normal(0, 1.5, place.shape)
        shown = np.flatnonzero(rng.random(things) < 0.85)
        false = rng.uniform(0, 600, (int(rng.integers(0, 4)), 4)) * [1, 1, 0, 0]
        false[:, 2:] = false[:, :2] + rng.uniform(1, 80, (len(false), 2))
        boxes = np.concatenate([np.c_[place - half, place + half][shown], false])
        scores = rng.integers(0, 21, len(boxes)) / 20
        classes = np.concatenate([kind[shown], rng.integers(0, kinds, len(false))])
        order = rng.permutation(len(boxes))
        marks = rng.normal(0, 9, (len(boxes), points, 2)).astype(np.float32) if points else None
        yield detections(boxes[order], scores[order], classes[order], marks)


# ---- numbers ------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("seed", range(12))
def test_equals_the_reference_bit_for_bit(backend, seed):
    rng = np.random.default_rng(seed)
    params = reference.Params(
        high=float(np.float32(rng.choice([0.2, 0.5, 0.7]))),
        low=float(np.float32(rng.choice([0.0, 0.1]))),
        new_score=float(np.float32(rng.choice([0.1, 0.6]))),
        iou=float(np.float32(rng.choice([0.0, 0.2, 0.6]))),
        keep_ms=int(rng.choice([0, 100, 1000, 60_000])),
        min_hits=int(rng.choice([1, 2, 4])),
        across_classes=bool(rng.integers(0, 2)),
        smooth=bool(rng.integers(0, 2)),
    )
    points = int(rng.choice([0, 0, 1, 5]))
    wanted, at, seen = reference.Tracker(params), 10**9, set()
    things = int(rng.choice([1, 5, 30]))
    with open_guest("track", backend=backend) as guest:
        guest.setup(room(things + 4, points or None), asdict(params))
        for frame in crowd(rng, 60, things, points=points):
            at += int(rng.choice([FRAME_NS, FRAME_NS, 3 * FRAME_NS, 0, -(10**8), 12345]))
            seen |= set(compare(guest, wanted, frame, at).tolist())
            if rng.random() < 0.03:
                guest.reset()
                wanted.reset()
    assert len(seen) >= 1


@both
def test_the_most_and_more(backend):
    """300 a frame, of which the best 256 count; then others, for which the lost give way."""
    rng = np.random.default_rng(3)
    params = reference.Params(min_hits=1, low=0.0, high=0.01, new_score=0.01)
    wanted = reference.Tracker(params)
    corner = np.stack(np.meshgrid(np.arange(20), np.arange(15)), -1).reshape(-1, 2) * 30.0
    with open_guest("track", backend=backend) as guest:
        guest.setup(room(300), asdict(params))
        for index in range(5):
            move = rng.normal(0, 1, corner.shape) + (1e4 if index in (3, 4) else 0)
            boxes = np.c_[corner + move, corner + move + 25]
            frame = detections(boxes, rng.uniform(0.01, 1, 300))
            ids = compare(guest, wanted, frame, index * FRAME_NS)
            if index in (0, 3):
                assert len(ids) == MOST
        assert set(ids.tolist()) & set(range(257, 600))


@both
def test_not_a_number_and_infinity_are_no_detection(backend):
    rng = np.random.default_rng(4)
    params = reference.Params(min_hits=1)
    wanted, shown = reference.Tracker(params), 0
    with open_guest("track", backend=backend) as guest:
        guest.setup(room(24), asdict(params))
        for index, frame in enumerate(crowd(rng, 40, 20)):
            for part, share in ((frame[0], 0.05), (frame[1], 0.1)):
                hit = rng.random(part.shape) < share
                part[hit] = rng.choice(np.float32([np.nan, np.inf, -np.inf]), hit.sum())
            shown += len(compare(guest, wanted, frame, index * FRAME_NS))
    assert shown > 100


@both
@pytest.mark.parametrize("smooth", [False, True])
def test_the_largest_and_the_smallest_boxes(backend, smooth):
    params = reference.Params(min_hits=1, iou=0.0, keep_ms=60_000, smooth=smooth)
    wanted = reference.Tracker(params)
    shapes = [
        [-1.8e19, 0, 1.8e19, 9], [3e38, 3e38, 3.4e38, 3.0000001e38], [0, 0, 1e-20, 1e-20],
        [-3.4e38, 0, 3.4e38, 1e-3], [0, -3.4e38, 0.4, 3.4e38], [1e30, 1e30, 1.1e30, 1.00001e30],
        [0, 0, 0, 5], [5, 5, 2, 9],
    ]  # fmt: skip
    rng = np.random.default_rng(5)
    with open_guest("track", backend=backend) as guest:
        guest.setup(room(len(shapes)), asdict(params))
        for _ in range(60):
            boxes = np.float32(shapes) * np.float32(rng.uniform(0.9, 1, (len(shapes), 1)))
            frame = detections(boxes, np.full(len(shapes), 0.9))
            ids = compare(guest, wanted, frame, int(rng.integers(-(2**63), 2**63 - 1)))
    assert len(ids) >= 2


@both
def test_none_and_then_some(backend):
    with open_guest("track", backend=backend) as guest:
        guest.setup(room(3), {})
        wanted = reference.Tracker(reference.Params())
        boxes = [[0, 0, 10, 10], [50, 0, 60, 10], [0, 50, 9, 60]]
        for index, count in enumerate([0, 3, 0, 2, 1, 3, 3]):
            frame = detections(boxes[:count], [0.9] * count)
            ids = compare(guest, wanted, frame, index * FRAME_NS)
        assert ids.tolist() == [1, 2, 3]


@pytest.mark.parametrize("seed", range(30))
def test_the_assignment_is_the_best_there_is(seed):
    optimize = pytest.importorskip("scipy.optimize", reason="scipy comes with the group models")
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(1, 12, 2)
    weights = rng.integers(0, rng.choice([3, 50, 10**6]), (rows, columns))
    weights[rng.random(weights.shape) < 0.4] = 0
    found = reference.assign(weights.tolist())
    taken = [(i, j) for i, j in enumerate(found) if j >= 0]
    assert len({j for _, j in taken}) == len(taken)
    assert all(weights[pair] > 0 for pair in taken)
    best = weights[optimize.linear_sum_assignment(weights, maximize=True)].sum()
    assert sum(weights[pair] for pair in taken) == best


# ---- bad input ----------------------------------------------------------------------------------


REFUSED = {
    "boxes": (0, np.zeros((5, 5), np.float32)),
    "scores": (1, np.zeros(4, np.float32)),
    "classes": (2, np.zeros(5, np.float32)),
    "points": (3, np.zeros((4, 5, 2), np.float32)),
}


@both
@pytest.mark.parametrize("name", REFUSED)
def test_inputs_that_do_not_go_together_are_refused_by_name(guest, backend, name):
    inputs = room(5, 5)
    at, inputs[at] = REFUSED[name][0], REFUSED[name][1]
    with pytest.raises(GuestStatus, match=f"{name}: needs") as caught:
        guest.setup(inputs, {})
    assert (caught.value.call, caught.value.code) == ("sl_setup", abi.E_ARGUMENT)


@both
@pytest.mark.parametrize(
    "scalars",
    [
        {0: 0.05}, {0: 1.5}, {0: float("nan")}, {1: -0.1}, {1: float("nan")}, {2: 2.0}, {3: -1.0},
        {3: float("nan")}, {4: -1}, {4: 60_001}, {5: 0}, {5: 101},
    ],
)  # fmt: skip
def test_hostile_params(backend, scalars):
    """What the host would never pack."""
    values = [0.5, 0.1, 0.6, 0.2, 1000, 2, 0, 0]
    for index, value in scalars.items():
        values[index] = value
    for packed in (struct.pack("<4f4i", *values), b"\0" * 28):
        with (
            open_guest("track", backend=backend) as guest,
            pytest.raises(GuestStatus, match=r"needs|not the size"),
        ):
            guest.setup(room(4), packed)


@both
def test_more_than_at_set_up_is_refused(guest, backend):
    guest.setup(room(4), {})
    at = guest._inputs_at
    for index in range(3):
        tensor = abi.Tensor.from_buffer_copy(
            guest.machine.read(at + index * abi.TENSOR_SIZE, abi.TENSOR_SIZE)
        )
        tensor.dims[0] = 5
        guest.machine.write(at + index * abi.TENSOR_SIZE, bytes(tensor))
    assert guest.machine.run(guest.call)[0] == abi.E_ARGUMENT
    assert "larger than its buffer" in guest.machine.error()


@both
@pytest.mark.parametrize("output", range(5))
def test_short_outputs(guest, backend, output):
    guest.setup(room(4, 2), {})
    at = guest._outputs_at + abi.TENSOR_SIZE * output
    tensor = abi.Tensor.from_buffer_copy(guest.machine.read(at, abi.TENSOR_SIZE))
    tensor.capacity -= 1
    guest.machine.write(at, bytes(tensor))
    assert guest.machine.run(guest.call)[0] == abi.E_CAPACITY


# ---- what a tracker is for ----------------------------------------------------------------------


@both
@pytest.mark.parametrize(("gap", "stays"), [(5, True), (25, True), (35, False), (90, False)])
def test_an_id_outlives_a_gap_shorter_than_keep_ms(guest, backend, gap, stays):
    way = walk((0, 0), (3, 1), 60 + gap)
    frames = [
        detections([box], [0.9]) if index < 30 or index >= 30 + gap else detections([], [])
        for index, box in enumerate(way)
    ]
    found = follow(guest, frames, {"keep_ms": 1000})
    assert set(found[29]) == {1}
    assert set(found[-1]) == ({1} if stays else {2})
    assert not any(found[30 : 30 + gap])


@both
@pytest.mark.parametrize(("dropped", "ids"), [(20, {1, 2}), (40, {1, 3})])
def test_frames_that_never_came_are_a_gap_too(guest, backend, dropped, ids):
    """One that was out of sight before them is gone after them."""
    here, other = [0, 0, 40, 80], [200, 0, 240, 80]
    pair, one = detections([here, other], [0.9, 0.8]), detections([here], [0.9])
    found = follow(guest, [pair] * 5 + [one] + [None] * dropped + [pair] * 3, {"keep_ms": 1000})
    assert set(found[-1]) == ids


@both
def test_a_slow_camera_has_tracks_too(guest, backend):
    """One frame in 5 s, which is longer than keep_ms."""
    frames = [detections([box], [0.9]) for box in walk((0, 0), (3, 2), 12)]
    found = follow(guest, frames, {"keep_ms": 1000}, step_ns=5 * 10**9)
    assert [set(frame) for frame in found] == [{1}] * 12


@both
def test_time_counts_and_not_frames(guest, backend):
    """Something fast, of which every third frame comes: the time says where it is."""
    frames = [detections([box], [0.9]) for box in walk((0, 0), (12, 0), 90)]
    dropped = [
        frame if index < 10 or index % 3 == 0 else None for index, frame in enumerate(frames)
    ]
    assert {number for frame in follow(guest, dropped) for number in frame} == {1}


@both
def test_a_low_score_goes_on_and_begins_nothing(guest, backend):
    faint = detections([[0, 0, 40, 80], [200, 0, 240, 80]], [0.9, 0.2])
    hidden = detections([[0, 0, 40, 80], [200, 0, 240, 80]], [0.2, 0.2])
    found = follow(guest, [faint] * 5 + [hidden] * 50 + [faint])
    assert all(set(frame) == {1} for frame in found)


@both
def test_a_false_alarm_gets_no_id(guest, backend):
    still, alarm = [0, 0, 40, 80], [300, 0, 340, 80]
    one, two = detections([still], [0.9]), detections([still, alarm], [0.9, 0.8])
    found = follow(guest, [one, one, two, one, two, one, two, two, two], {"min_hits": 3})
    assert [set(frame) for frame in found] == [{1}] * 8 + [{1, 2}]


@both
def test_classes_are_kept_apart_unless_told_otherwise(backend):
    frames = [detections([[0, 0, 40, 80]], [0.9], [index // 4]) for index in range(8)]
    for across, ids in ((False, {1, 2}), (True, {1})):
        with open_guest("track", backend=backend) as guest:
            found = follow(guest, frames, {"across_classes": across})
            assert {number for frame in found for number in frame} == ids


@both
def test_smooth_boxes_shake_less(backend):
    rng = np.random.default_rng(0)
    truth = walk((0, 0), (2, 1), 120)
    frames = [detections([box + rng.normal(0, 2, 4)], [0.9]) for box in truth]
    errors = []
    for smooth in (False, True):
        with open_guest("track", backend=backend) as guest:
            found = follow(guest, frames, {"smooth": smooth})
            boxes = np.array([frame[1] for frame in found])
            errors.append(np.abs(boxes - truth)[20:].mean())
    assert errors[1] < 0.8 * errors[0]


@both
def test_a_reset_forgets_and_no_id_comes_twice(guest, backend):
    frame = detections([[0, 0, 40, 80], [100, 0, 140, 80]], [0.9, 0.8])
    guest.setup(frame, {})
    seen = []
    for index in range(9):
        if index % 3 == 0:
            guest.reset()
        seen.append(guest.run(frame, captured_ns=index * FRAME_NS)[4].data.tolist())
    assert seen == [[1, 2]] * 3 + [[3, 4]] * 3 + [[5, 6]] * 3
