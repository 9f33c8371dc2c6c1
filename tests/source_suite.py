"""What every source promises, as tests to run over each kind.

    class TestMine(source_suite.Suite):
        @pytest.fixture
        def kind(self) -> Iterator[source_suite.Kind]:
            yield source_suite.Kind(open=..., name="what errors call it")

A kind says how to open a source that gives at least `FRAMES` frames.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest

from sanderling.errors import SourceError
from sanderling.source import Source, Stamp

FRAMES = 6
SOON_S = 5.0


@dataclass
class Kind:
    """A kind of source.

    Attributes:
        open: opens one.
        name: stands in its stamps and its errors.
        ends: after how many frames it ends; 0 for one that goes on.
    """

    open: Callable[[], Source]
    name: str
    ends: int = 0


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def until(true: Callable[[], bool], what: str, seconds: float = SOON_S) -> None:
    """Wait for something that happens elsewhere."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"after {seconds} s still not: {what}"
        time.sleep(0.01)


def grabbed(source: Source) -> Stamp:
    stamp = source.grab()
    assert stamp is not None, "it has ended"
    return stamp


@contextmanager
def closing(source: Source) -> Iterator[Source]:
    try:
        yield source
    finally:
        source.close()


def wakes(source: Source) -> None:
    """A grab that waits, or is called over and over, ends when another thread closes."""
    got: list[Stamp | None] = []

    def take() -> None:
        while (stamp := source.grab()) is not None:
            got.append(stamp)
        got.append(None)

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    thread.join(0.1)  # so that it waits, most likely; right either way
    source.close()
    thread.join(SOON_S)
    assert not thread.is_alive(), "a grab still waits after close"
    assert got[-1] is None
    assert source.grab() is None


class Suite:
    def test_frames_come_in_order_with_their_times(self, kind: Kind) -> None:
        before, wall_before = time.monotonic_ns(), time.time_ns()
        with closing(kind.open()) as source:
            stamps = [grabbed(source) for _ in range(FRAMES)]
        assert [stamp.sequence for stamp in stamps] == list(range(FRAMES))
        times = [stamp.captured_ns for stamp in stamps]
        assert times == sorted(times)
        assert before <= times[0] <= times[-1] <= time.monotonic_ns()
        for stamp in stamps:
            # Both clocks tell the same moment, but for what adjusting the wall clock does.
            apart = (stamp.wall_ns - wall_before) - (stamp.captured_ns - before)
            assert abs(apart) < 10**9
            assert kind.name in stamp.name
            assert not stamp.restarted

    def test_pixels_are_bgr(self, kind: Kind) -> None:
        with closing(kind.open()) as source:
            grabbed(source)
            image = source.retrieve()
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert image.flags.c_contiguous
        assert len(np.unique(image)) > 1

    def test_a_buffer_that_fits_is_filled(self, kind: Kind) -> None:
        with closing(kind.open()) as source:
            grabbed(source)
            given = np.full_like(source.retrieve(), 77)
            grabbed(source)
            assert source.retrieve(given) is given
        assert (given != 77).mean() > 0.5

    def test_a_buffer_that_does_not_fit_is_left_alone(self, kind: Kind) -> None:
        with closing(kind.open()) as source:
            grabbed(source)
            first = source.retrieve()
            height, width, _ = first.shape
            read_only = np.full_like(first, 77)
            read_only.flags.writeable = False
            for given in (
                np.full((height - 1, width, 3), 77, np.uint8),
                np.full((height, width), 77, np.uint8),
                np.full((height, width, 3), 77, np.float32),
                np.full((height, 2 * width, 3), 77, np.uint8)[:, ::2],
                read_only,
            ):
                grabbed(source)
                image = source.retrieve(given)
                assert not np.shares_memory(image, given)
                assert image.shape == first.shape
                assert (given == 77).all()

    def test_pixels_are_given_once_for_each_frame(self, kind: Kind) -> None:
        with closing(kind.open()) as source:
            with pytest.raises(SourceError) as caught:
                source.retrieve()
            assert kind.name in str(caught.value)
            grabbed(source)
            grabbed(source)  # the one before is passed over
            source.retrieve()
            with pytest.raises(SourceError):
                source.retrieve()
            grabbed(source)

    def test_closing_ends_it_for_ever(self, kind: Kind) -> None:
        source = kind.open()
        grabbed(source)
        source.close()
        source.close()
        assert source.grab() is None
        assert source.grab() is None
        with pytest.raises(SourceError, match=r".") as caught:
            source.retrieve()
        assert kind.name in str(caught.value)

    def test_closing_from_another_thread_ends_a_grab(self, kind: Kind) -> None:
        wakes(kind.open())

    def test_the_end_is_the_end(self, kind: Kind) -> None:
        with closing(kind.open()) as source:
            if not kind.ends:
                assert source.count == 0
                return
            assert source.count in {0, kind.ends}
            assert len(list(source.frames())) == kind.ends
            assert source.grab() is None
            assert source.grab() is None

    def test_frames_are_stamp_and_pixels(self, kind: Kind) -> None:
        with closing(kind.open()) as source:
            frame = next(source.frames())
            assert frame.sequence == 0
            assert kind.name in frame.source
            assert min(frame.captured_ns, frame.wall_ns) > 0
            assert frame.image.size

    def test_nothing_is_left_open(self, kind: Kind) -> None:
        before = 0
        for turn in range(3):
            with closing(kind.open()) as source:
                grabbed(source)
                source.retrieve()
            if turn == 0:  # what a library opens once and keeps
                before = descriptors()
        until(lambda: descriptors() <= before, "all descriptors closed")
