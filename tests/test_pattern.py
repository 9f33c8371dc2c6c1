"""The test pattern: its number can be read again, whatever became of the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling import imaging, pattern
from sanderling.opencv import cv2
from sanderling.sources import open_source

NUMBERS = [0, 1, 2, 255, 256, 65535, 12_345_678, pattern.NUMBERS - 1]


@given(
    number=st.integers(0, pattern.NUMBERS - 1),
    height=st.integers(pattern.LEAST_HEIGHT, 200),
    width=st.integers(pattern.LEAST_WIDTH, 300),
)
def test_the_number_can_be_read_again(number: int, height: int, width: int) -> None:
    image = pattern.render(number, height, width)
    assert (image.shape, image.dtype) == ((height, width, 3), np.uint8)
    assert pattern.read_number(image) == number


def test_the_picture_follows_from_the_number_alone() -> None:
    into = np.full((240, 320, 3), 9, np.uint8)
    for number in (5, 900, 5, pattern.NUMBERS + 5):
        assert pattern.render(number, 240, 320, into) is into
        np.testing.assert_array_equal(into, pattern.render(number, 240, 320))
    np.testing.assert_array_equal(into, pattern.render(5, 240, 320))


def test_something_moves() -> None:
    for number in range(200):
        one, next_one = (pattern.render(n, 120, 160)[16:] for n in (number, number + 1))
        assert (one != next_one).any()
        top, left, side = pattern.square(number, 120, 160)
        block = pattern.render(number, 120, 160)[top : top + side, left : left + side]
        assert block.shape == (side, side, 3)
        assert (block == block[0, 0]).all()


@pytest.mark.parametrize("number", NUMBERS)
def test_the_number_outlives_a_resize_and_a_poor_jpeg(number: int) -> None:
    image = pattern.render(number, 240, 320)
    for size in ((640, 480), (200, 150), (1000, 333)):
        assert pattern.read_number(np.asarray(cv2.resize(image, size), np.uint8)) == number
    poor = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 5])[1].tobytes()
    assert pattern.read_number(imaging.decode_image(poor, "a")) == number


def test_the_numbers_outlive_a_video(tmp_path: Path) -> None:
    writer = imaging.VideoWriter(tmp_path / "a.mp4", 25, pattern.render(0, 240, 320))
    for number in range(40):
        writer.write(pattern.render(number, 240, 320))
    writer.close()
    frames = open_source(str(tmp_path / "a.mp4")).frames()
    assert [pattern.read_number(frame.image) for frame in frames] == list(range(40))


def test_what_is_no_pattern_has_no_number() -> None:
    assert pattern.read_number(np.zeros((240, 320, 3), np.uint8)) is None
    assert pattern.read_number(np.full((240, 320, 3), 255, np.uint8)) is None
    assert pattern.read_number(np.zeros((8, 8, 3), np.uint8)) is None
    random = np.random.default_rng(3)
    blocks = random.integers(0, 2, (1000, 2, 16), np.uint8) * np.uint8(255)
    taken = 0
    for block in blocks:
        image = np.zeros((240, 320, 3), np.uint8)
        image[:30] = block.repeat(15, axis=0).repeat(20, axis=1)[:, :, None]
        taken += pattern.read_number(image) is not None
    assert taken < 15, "eight bits let 1 in 256 pass"


def test_sizes_change_and_breaks_come_as_asked_for() -> None:
    source = open_source("pattern:64x48?size=64x48,80x60&every=2&frames=6&flap=4")
    shapes, restarted = [], []
    while True:
        try:
            stamp = source.grab()
        except imaging.SourceError:
            shapes.append("broke off")
            continue
        if stamp is None:
            break
        restarted.append(stamp.restarted)
        image = source.retrieve()
        assert pattern.read_number(image) == stamp.sequence
        shapes.append(image.shape[1])
    assert shapes == [64, 64, 80, 80, "broke off", 64, 64]
    assert restarted == [False] * 4 + [True, False]
