"""A live source that comes back: what is told, how long it waits, what closing ends."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

import source_suite
from sanderling import detached
from sanderling.errors import SourceError
from sanderling.persist import Backoff, Change, Persistent, patience
from sanderling.source import Source
from sanderling.sources import comes_back, open_persistent, open_source
from sanderling.sources.pattern import parse


class Scene:
    """A source in a scene with a clock of its own: waiting moves it on."""

    def __init__(self, *script: str | Callable[[], Source], most_waits: int = 100) -> None:
        self.now = 100.0
        self.waits: list[float] = []
        self.told: list[Change] = []
        self.opened = 0
        self._script = list(script)
        self._most_waits = most_waits
        self.source = Persistent(
            self._open,
            name="door",
            backoff=Backoff(random=lambda: 1.0),
            clock=lambda: self.now,
            wait=self._wait,
            on_change=self.told.append,
        )

    def _open(self) -> Source:
        step = self._script[min(self.opened, len(self._script) - 1)]
        self.opened += 1
        if isinstance(step, str) and step.startswith("pattern:"):
            return parse(step)
        if isinstance(step, str):
            raise SourceError(step)
        return step()

    def _wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        if len(self.waits) >= self._most_waits:
            self.source.close()
        return False

    def states(self) -> list[str]:
        return [change.state for change in self.told]


def test_waits_double_up_to_half_a_minute_and_one_event_tells_of_them() -> None:
    scene = Scene("no route", most_waits=12)
    assert scene.source.grab() is None
    assert scene.waits == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30]
    # 180 seconds: lost, then retrying, and that again once a minute.
    assert scene.states() == ["lost", "retrying", "retrying", "retrying"]
    assert str(scene.told[0]) == "door: lost: no route"
    assert str(scene.told[1]) == "door: retrying in 0.5 s: no route"


def test_waits_have_full_jitter() -> None:
    backoff = Backoff(random=random.Random(7).random)
    waits = [backoff.wait(10) for _ in range(1000)]
    assert 0 <= min(waits) < 1
    assert 29 < max(waits) <= 30
    assert 14 < sum(waits) / len(waits) < 16


def test_numbers_go_on_over_a_reconnect_and_the_first_frame_says_so() -> None:
    scene = Scene("pattern:64x48?flap=3")
    stamps = [source_suite.grabbed(scene.source) for _ in range(8)]
    assert [stamp.sequence for stamp in stamps] == list(range(8))
    assert [stamp.restarted for stamp in stamps] == [n in {3, 6} for n in range(8)]
    assert scene.states() == ["connected", "lost", "connected", "lost", "connected"]
    assert "breaks off" in scene.told[1].reason
    assert scene.source.retrieve().shape == (48, 64, 3)


def test_what_breaks_at_once_every_time_is_left_alone_for_longer_and_longer() -> None:
    scene = Scene("pattern:64x48?flap=1", most_waits=9)
    while scene.source.grab():
        pass
    assert scene.waits == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]


def test_a_connection_that_lasts_makes_good_for_what_was() -> None:
    scene = Scene("away", "away", "pattern:64x48?flap=3", "away")
    source_suite.grabbed(scene.source)
    scene.now += 60
    source_suite.grabbed(scene.source)
    source_suite.grabbed(scene.source)
    assert scene.waits == [0.25, 0.5]
    scene.source._open = lambda: parse("pattern:64x48")
    source_suite.grabbed(scene.source)
    assert scene.waits == [0.25, 0.5, 0.25], "the next wait is the shortest again"


def test_a_stream_that_ends_is_lost_and_one_that_knows_its_length_is_over() -> None:
    scene = Scene("pattern:64x48?frames=4")
    assert len(list(scene.source.frames())) == 4
    assert scene.states() == ["connected"]

    def short() -> Source:
        source = parse("pattern:64x48?frames=4")
        source.count = 0
        return source

    scene = Scene(short)
    for _ in range(6):
        source_suite.grabbed(scene.source)
    assert scene.told[1].reason == "it ended"


def test_one_that_gives_nothing_is_closed_and_opened_again() -> None:
    told: list[Change] = []
    source = Persistent(
        lambda: parse("pattern:64x48?stall=2"),
        name="door",
        stall_s=0.3,
        backoff=Backoff(first_s=0.001),
        on_change=told.append,
    )
    stamps = [source_suite.grabbed(source) for _ in range(5)]
    source.close()
    assert [stamp.restarted for stamp in stamps] == [False, False, True, False, True]
    assert told[1] == Change("lost", "door", "nothing came for 0.3 s", told[1].retry_s)


def test_opening_that_hangs_is_left_behind_and_closed_when_it_returns() -> None:
    goes_on, made = threading.Event(), []

    def hang() -> Source:
        goes_on.wait()
        made.append(open_source("pattern:64x48"))
        return made[-1]

    scene: list[Change] = []
    source = Persistent(hang, name="door", stall_s=0.01, on_change=scene.append)
    taker = threading.Thread(target=source.grab)
    taker.start()
    source_suite.until(lambda: len(scene) > 0, "an event")
    assert scene[0].reason == "opening it took more than 0.01 s"
    assert detached.left_behind() >= 1
    source.close()
    taker.join(source_suite.SOON_S)
    assert not taker.is_alive()
    goes_on.set()
    source_suite.until(lambda: detached.left_behind() == 0, "no thread hangs")
    assert all(inner.grab() is None for inner in made), "what was opened too late is closed"


def test_threads_left_behind_have_an_end() -> None:
    goes_on = threading.Event()
    hanging = [detached.Detached("camera") for _ in range(detached.MOST_LEFT_BEHIND)]
    for thread in hanging:
        with pytest.raises(detached.Left):
            thread.call(goes_on.wait, timeout_s=0.001)
        threading.Thread(target=thread.close, args=(goes_on.wait,)).start()
    source_suite.until(lambda: detached.left_behind() == len(hanging), "all count as hanging")
    with pytest.raises(SourceError, match="16 calls to cameras hang"):
        detached.Detached("camera")
    goes_on.set()
    source_suite.until(lambda: detached.left_behind() == 0, "no thread hangs")
    detached.Detached("camera").close(goes_on.set)


def test_a_call_that_writes_into_foreign_memory_is_waited_for() -> None:
    goes_on, begun, ended = threading.Event(), threading.Event(), threading.Event()

    def write() -> str:
        begun.set()
        goes_on.wait()
        return "written"

    worker = detached.Detached("camera")
    results: list[str] = []
    caller = threading.Thread(target=lambda: results.append(worker.call(write, must_end=True)))
    caller.start()
    begun.wait()
    worker.close(ended.set)
    assert caller.is_alive()
    assert not ended.is_set()
    goes_on.set()
    caller.join(source_suite.SOON_S)
    assert results == ["written"]
    assert ended.wait(source_suite.SOON_S)
    with pytest.raises(detached.Left):
        worker.call(write)


@pytest.mark.parametrize(
    ("where", "back"),
    [
        ("rtsp://127.0.0.1/x", True),
        ("http://127.0.0.1/x", True),
        ("/dev/video9?width=640", True),
        ("7", True),
        ("libcamera:", True),
        ("pattern:64x48@30", True),
        ("pattern:64x48?flap=3", True),
        ("pattern:64x48", False),
        ("unix:/run/x.sock", False),
        ("/tmp", False),
        ("photo.jpg", False),
    ],
)
def test_only_what_can_come_back_is_waited_for(where: str, back: bool) -> None:
    assert comes_back(where) is back


def test_opening_a_persistent_source_waits_for_nothing() -> None:
    source = open_persistent("rtsp://me:secret@192.0.2.1/x")
    assert isinstance(source, Persistent)
    assert source.name == "rtsp://me:***@192.0.2.1/x"
    source.close()
    assert source.grab() is None
    assert not isinstance(open_persistent("pattern:64x48"), Persistent)


def test_one_that_says_how_slowly_it_gives_frames_is_waited_for() -> None:
    """A camera of 0.1 frames a second is not gone because nothing came for 10 s."""
    assert patience(parse("pattern:64x48@0.1"), 10.0) == 30.0
    assert patience(parse("pattern:64x48@30"), 10.0) == 10.0
    assert patience(parse("pattern:64x48"), 10.0) == 10.0
    told: list[Change] = []
    source = Persistent(
        lambda: parse("pattern:64x48@2"), name="door", stall_s=0.1, on_change=told.append
    )
    stamps = [source_suite.grabbed(source) for _ in range(3)]
    source.close()
    assert [stamp.sequence for stamp in stamps] == [0, 1, 2]
    assert [change.state for change in told] == ["connected"]
