"""Frames from many cameras through shared lanes: each ends in one count, and in its order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import hostile
import test_memory
from sanderling import stages
from sanderling.camera import Camera
from sanderling.counts import Counts
from sanderling.errors import SourceError
from sanderling.look import Event, Look, Taken
from sanderling.modelthreads import ModelThreads
from sanderling.pool import Layout, Pool, layout
from sanderling.source import Stamp
from scripted import Scripted
from supervised import wait_until

WAIT_S = 60
ONE = Layout(1, 1)


def filled(value: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def numbered(count: int, *, first: int = 10) -> list[np.ndarray]:
    """Frames that a hostile guest finds harmless, each with a number."""
    return [filled(first + number % 200) for number in range(count)]


class Running:
    """Cameras on one pool."""

    def __init__(self, path: Path, shape: Layout) -> None:
        self.pool = Pool("test", stages.load(path, threads=1), shape)
        self.cameras: list[Camera] = []
        self.results: dict[str, list[tuple[int, dict]]] = {}
        self.events: list[Event] = []

    def add(
        self,
        name: str,
        source: Scripted,
        look: Look,
        before: Callable[[], None] = lambda: None,
        keep: bool = False,
    ) -> Camera:
        got: list[tuple[int, dict]] = []
        self.results[name] = got

        def publish(frame, result) -> None:
            before()
            got.append((frame.sequence, result.tensors))

        camera = Camera(
            name, source, self.pool, look, publish, on_event=self.events.append, keep=keep
        )
        self.cameras.append(camera)
        return camera

    def values(self, name: str) -> list[int]:
        return [int(next(iter(made.values()))[0]) for _, made in self.results[name]]

    def numbers(self, name: str) -> list[int]:
        return [sequence for sequence, _ in self.results[name]]

    def finish(self) -> None:
        for camera in self.cameras:
            camera.start()
        for camera in self.cameras:
            assert camera.ended.wait(WAIT_S)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def start(path: Path | None = None, shape: Layout = ONE) -> Running:
        if path is None:
            hostile.write(tmp_path)
            path = hostile.pipeline(tmp_path)
        made.append(Running(path, shape))
        return made[-1]

    yield start
    for running in made:
        for camera in running.cameras:
            if camera._thread.is_alive():
                camera.stop()
        running.pool.close()


BLOCK = Look("block")
MANY = [ONE, Layout(3, 1, 2)]


@pytest.mark.parametrize("shape", MANY)
def test_every_frame_is_processed_in_order(run, shape: Layout) -> None:
    going = run(shape=shape)
    frames = numbered(300)
    camera = going.add("a", Scripted(frames), BLOCK)
    going.finish()
    assert going.values("a") == [int(frame[0, 0, 0]) for frame in frames]
    assert going.numbers("a") == list(range(300))
    assert camera.counts() == Counts(300, 0, 300)


@pytest.mark.parametrize("shape", MANY)
def test_hostile_frames_are_counted_and_the_others_come_out_right(run, shape: Layout) -> None:
    rng = np.random.default_rng(7)
    values = rng.choice([hostile.TRAP, hostile.OWN_ERROR, hostile.TOO_LARGE, 50, 60, 70], 200)
    going = run(shape=shape)
    camera = going.add("a", Scripted([filled(int(value)) for value in values]), BLOCK)
    going.finish()
    assert going.values("a") == [value for value in values if value >= 50]
    found = camera.counts()
    assert found.agree
    assert found.failed == {
        ("hostile", "trap"): int((values == hostile.TRAP).sum()),
        ("hostile", "error"): int((values == hostile.OWN_ERROR).sum()),
        ("hostile", "violation"): int((values == hostile.TOO_LARGE).sum()),
    }
    assert sorted(event.kind for event in going.events) == ["error", "trap", "violation"]


def test_a_frame_is_decoded_straight_into_a_free_lane(run) -> None:
    going = run()
    source = Scripted([])
    idle = lambda: going.cameras[0]._turns.wait_idle(WAIT_S)  # noqa: E731
    source._script = iter([filled(10), idle, filled(11), idle, filled(12), idle])
    going.add("a", source, Look())
    going.finish()
    assert going.values("a") == [10, 11, 12]
    # The first has to wait until its size is known and lanes are made.
    assert source.decoded_straight == 2


def test_who_wants_the_pixels_gets_them_as_they_were(run) -> None:
    going = run()
    source = Scripted(numbered(5))
    seen = []
    camera = Camera(
        "a", source, going.pool, BLOCK,
        lambda frame, result: seen.append((frame.image[0, 0, 0], result.tensors["value"][0])),
        keep=True,
    )  # fmt: skip
    going.cameras.append(camera)
    going.finish()
    assert seen == [(10 + number, 10 + number) for number in range(5)]


def test_a_stale_frame_is_dropped_for_a_newer_one(run) -> None:
    going = run()
    first, free = threading.Event(), threading.Event()

    def hold() -> None:
        first.set()
        assert free.wait(WAIT_S)

    script = [filled(10), lambda: first.wait(WAIT_S), *numbered(5, first=20), free.set]
    camera = going.add("a", Scripted(script), Look("latest"), before=hold)
    going.finish()
    assert going.values("a") == [10, 24]
    assert camera.counts() == Counts(6, 0, 2, {"stale": 4})


def test_a_sample_that_waits_is_kept(run) -> None:
    going = run()
    first, free = threading.Event(), threading.Event()

    def hold() -> None:
        first.set()
        assert free.wait(WAIT_S)

    script = [filled(10), lambda: first.wait(WAIT_S), *numbered(5, first=20), free.set]
    camera = going.add("a", Scripted(script), Look("sample"), before=hold)
    going.finish()
    assert going.values("a") == [10, 20]
    assert camera.counts() == Counts(6, 0, 2, {"busy": 4})


def test_a_rate_is_kept_by_capture_time(run) -> None:
    going = run()
    source = Scripted(numbered(100), step_ns=10_000_000)  # 100 a second, for one second
    camera = going.add("a", source, Look("block", rate=20))
    going.finish()
    assert going.numbers("a") == list(range(0, 100, 5))
    assert camera.counts() == Counts(100, 0, 20, {"rate": 80})


@pytest.mark.parametrize("shape", MANY)
def test_cameras_take_fair_turns(run, shape: Layout) -> None:
    """Four that always have a frame get lanes as often as each other, whatever their speed."""
    going = run(shape=shape)
    order: list[str] = []
    together = threading.Barrier(4)

    def note(name: str) -> None:
        order.append(name)
        time.sleep(0.001)  # as a model does, let the other threads run

    for name in "abcd":
        script = [together.wait, *numbered(100)]
        going.add(name, Scripted(script), BLOCK, before=partial(note, name))
    going.finish()
    for name in "abcd":
        assert going.numbers(name) == list(range(100))
    while order[-1] == order[-2]:
        order.pop()  # at the end one is left alone
    halves = [order[:200].count(name) for name in "abcd"]
    assert max(halves) < 2 * min(halves), halves


@pytest.mark.parametrize("shape", MANY)
def test_each_camera_has_its_own_memory(run, tmp_path: Path, shape: Layout) -> None:
    going = run(test_memory.write(tmp_path, "count"), shape)
    for name in "abc":
        going.add(name, Scripted([filled(5)] * 50), BLOCK)
    going.finish()
    for name in "abc":
        assert going.values(name) == list(range(1, 51))


def test_a_source_that_begins_anew_makes_guests_forget(run, tmp_path: Path) -> None:
    going = run(test_memory.write(tmp_path, "count"), Layout(3, 1, 2))
    going.add("a", Scripted([filled(5)] * 9, restarts=[4, 7]), BLOCK)
    going.finish()
    assert going.values("a") == [1, 2, 3, 4, 1, 2, 3, 1, 2]


def test_frames_that_need_nothing_more_are_dropped_as_still(run, tmp_path: Path) -> None:
    going = run(test_memory.write(tmp_path, "count"), Layout(2, 1, 1))
    camera = going.add("a", Scripted([filled(5), filled(99), filled(99), filled(5)]), BLOCK)
    going.finish()
    assert going.numbers("a") == [0, 3]
    assert camera.counts() == Counts(4, 0, 2, {"still": 2})


def test_a_frame_that_cannot_be_read_is_a_failure_of_the_source(run) -> None:
    going = run()
    script = [filled(10), SourceError("b.png: cut off"), filled(12), filled(13)]
    script[2] = filled(12)
    camera = going.add("a", Scripted(script), BLOCK)
    going.finish()
    assert going.values("a") == [10, 12, 13]
    assert camera.counts() == Counts(4, 0, 3, {}, {("source", "unreadable"): 1})
    assert [event.text for event in going.events] == ["b.png: cut off"]


def test_a_resolution_that_changes_costs_no_frame(run) -> None:
    going = run(shape=Layout(2, 1, 1))
    sizes = [(8, 8), (4, 4), (16, 8), (8, 16), (2, 2), (16, 16)] * 3
    frames = [filled(20 + number, *size) for number, size in enumerate(sizes)]
    camera = going.add("a", Scripted(frames), BLOCK)
    going.finish()
    assert going.values("a") == [20 + number for number in range(18)]
    assert camera.counts().agree


def test_a_region_is_looked_at_alone_and_what_is_found_is_in_the_frame(run, tmp_path) -> None:
    image = filled(0, 20, 30)
    image[5, 7, 0] = 77  # the first byte of the region
    going = run()
    going.add("a", Scripted([image]), Look("block", roi=(7, 5, 20, 15)))
    going.finish()
    assert going.values("a") == [77]


def test_a_region_outside_the_frame_is_refused_once_and_the_rest_goes_on(run) -> None:
    going = run()
    bad = going.add("bad", Scripted(numbered(20)), Look("block", roi=(0, 0, 9, 8)))
    good = going.add("good", Scripted(numbered(20)), BLOCK)
    going.finish()
    assert bad.counts() == Counts(20, 0, 0, {}, {("plan", "refused"): 20})
    assert good.counts() == Counts(20, 0, 20)
    (event,) = going.events
    assert (event.camera, event.kind) == ("bad", "refused")
    assert "is not inside its frames of 8 x 8" in event.text


def test_what_is_painted_nobody_sees(run) -> None:
    going = run()
    going.add("a", Scripted(numbered(3)), Look("block", paint=lambda image: image.fill(200)))
    going.finish()
    assert going.values("a") == [200] * 3


def test_a_camera_that_is_stopped_drops_what_waits(run) -> None:
    going = run()
    first, free = threading.Event(), threading.Event()

    def hold() -> None:
        first.set()
        assert free.wait(WAIT_S)

    forever = (filled(10 + number % 100) for number in iter(int, 1))
    camera = going.add("a", Scripted(forever), BLOCK, before=hold)
    camera.start()
    assert first.wait(WAIT_S)
    stopper = threading.Thread(target=camera.stop, args=(WAIT_S,))
    stopper.start()
    free.set()
    stopper.join(WAIT_S)
    found = camera.counts()
    assert camera.ended.is_set()
    assert found.agree
    assert found.waiting == 0


def test_a_frame_that_is_grabbed_when_its_camera_is_stopped_is_dropped(run) -> None:
    going = run()
    grabbed, closed = threading.Event(), threading.Event()

    class Closing(Scripted):
        def retrieve(self, into=None):
            grabbed.set()
            assert closed.wait(WAIT_S)
            raise SourceError("there is no frame to retrieve")

        def close(self) -> None:
            closed.set()

    camera = going.add("a", Closing(numbered(1)), BLOCK)
    camera.start()
    assert grabbed.wait(WAIT_S)
    assert camera.stop(WAIT_S)
    assert camera.counts() == Counts(1, 0, 0, {"shutdown": 1})
    assert going.events == []


def test_who_asks_is_told_which_frames_are_lost_and_why(run) -> None:
    going = run()
    lost: list[tuple[int | None, str]] = []
    script = [filled(10), SourceError("b.png: cut off"), filled(hostile.TRAP), filled(13)]
    camera = Camera(
        "a", Scripted(script), going.pool, BLOCK, lambda frame, result: None,
        on_lost=lambda stamp, exc: lost.append((stamp and stamp.sequence, type(exc).__name__)),
    )  # fmt: skip
    going.cameras.append(camera)
    going.finish()
    assert lost == [(None, "SourceError"), (1, "GuestTrap")]
    assert camera.counts().agree


def test_the_sums_agree_at_every_moment(run) -> None:
    rng = np.random.default_rng(9)
    going = run(shape=Layout(3, 1, 2))
    values = rng.choice([hostile.TRAP, 50], 3000, p=[0.05, 0.95])
    cameras = [
        going.add(name, Scripted([filled(int(value)) for value in values]), Look(policy))
        for name, policy in [("a", "latest"), ("b", "block"), ("c", "sample")]
    ]
    for camera in cameras:
        camera.start()
    seen = 0
    while not all(camera.ended.is_set() for camera in cameras):
        for camera in cameras:
            found = camera.counts()
            assert found.agree, found
            seen += 1
    assert seen > 10
    for camera in cameras:
        assert camera.counts().captured == 3000
        assert camera.counts().waiting == 0


def test_a_pipeline_is_replaced_without_losing_a_frame(run, tmp_path: Path) -> None:
    going = run(shape=Layout(2, 1, 1))
    other = stages.load(going.pool.loaded.where and Path(going.pool.loaded.where), threads=1)
    replace = [lambda: going.pool.replace(going.pool.prepare(other))]
    script = [*numbered(50), *replace, *numbered(50, first=60)]
    one = going.add("a", Scripted(script), BLOCK)
    two = going.add("b", Scripted(numbered(100)), BLOCK)
    going.finish()
    for camera in (one, two):
        assert camera.counts() == Counts(100, 0, 100)
    assert going.numbers("a") == going.numbers("b") == list(range(100))
    assert going.pool.loaded is other
    assert not going.pool._old, "the old lanes are given back"


def test_a_fault_of_ours_costs_the_frame_not_the_camera(run) -> None:
    going = run()
    calls = iter(range(100))

    def break_once() -> None:
        if next(calls) == 1:
            raise RuntimeError("a fault")

    camera = going.add("a", Scripted(numbered(4)), BLOCK, before=break_once)
    going.finish()
    assert going.values("a") == [10, 12, 13]
    assert camera.counts() == Counts(4, 0, 3, {}, {("host", "internal"): 1})


def test_models_run_on_threads_of_their_own_so_many_at_a_time() -> None:
    inside, most, names, done = [], [], set(), []
    share = threading.Semaphore(2)
    models = ModelThreads(3, "test", share)

    def work(number: int) -> None:
        inside.append(None)
        most.append(len(inside))
        names.add(threading.current_thread().name)
        time.sleep(0)
        inside.pop()
        if number % 7 == 0:
            raise RuntimeError(f"the model failed at {number}")

    def go() -> None:
        run = models.entrance()
        failed = 0
        for number in range(200):
            try:
                run(partial(work, number))
            except RuntimeError as exc:
                failed += str(exc) == f"the model failed at {number}"
        done.append(failed)

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    models.close()
    assert done == [29] * 4, "each fails where it is waited for, and goes on"
    assert max(most) == 2
    assert names <= {f"test-model-{number}" for number in range(3)}


@pytest.mark.parametrize(
    ("mode", "cores", "given", "wanted"),
    [
        ("latency", 4, {}, Layout(1, 4)),
        ("latency", 4, {"threads": 2}, Layout(1, 2)),
        ("throughput", 4, {}, Layout(6, 1, 4)),
        ("throughput", 4, {"threads": 2}, Layout(4, 2, 2)),
        ("throughput", 4, {"threads": 3}, Layout(3, 3, 1)),
        ("throughput", 2, {"threads": 4}, Layout(3, 4, 1)),
        ("throughput", 1, {}, Layout(3, 1, 1)),
        ("throughput", 4, {"lanes": 2}, Layout(2, 1, 4)),
    ],
)
def test_what_a_mode_makes_of_the_cores(mode, cores: int, given: dict, wanted: Layout) -> None:
    assert layout(mode, cores, **given) == wanted


class Interrupted(Pool):
    """A pool in which something happens between the making of lanes and the waiting for one."""

    between: Callable[[], None] | None = None

    def make_room(self, height: int, width: int) -> None:
        super().make_room(height, width)
        between, self.between = self.between, None
        if between is not None:
            between()


def test_a_camera_that_is_moved_while_lanes_are_made_loses_nothing(tmp_path: Path) -> None:
    hostile.write(tmp_path)
    path = hostile.pipeline(tmp_path)
    old, new = (Interrupted(name, stages.load(path, threads=1), ONE) for name in ("old", "new"))
    values: list[int] = []
    camera = Camera(
        "a", Scripted(numbered(20)), old, BLOCK,
        lambda frame, result: values.append(int(result.tensors["value"][0])),
    )  # fmt: skip

    def change() -> None:
        camera.move(new)
        old.close()

    old.between = change
    camera.start()
    ended = camera.ended.wait(WAIT_S)
    camera.stop()
    new.close()
    assert ended, "it waits for a pool that is closed"
    assert values == [10 + number for number in range(20)]
    assert camera.counts() == Counts(20, 0, 20)


def test_a_frame_that_waits_moves_along(run, tmp_path: Path) -> None:
    going = run()
    new = Pool("new", stages.load(hostile.pipeline(tmp_path), threads=1), ONE)
    first, free = threading.Event(), threading.Event()

    def hold() -> None:
        first.set()
        assert free.wait(WAIT_S)

    moved = threading.Event()

    def move() -> None:
        assert first.wait(WAIT_S)  # the first frame is in the old lane, the second one waits
        other.move(new)
        moved.set()

    going.add("a", Scripted([filled(10)]), BLOCK, before=hold)
    other = going.add("b", Scripted([lambda: first.wait(WAIT_S), filled(20), move]), BLOCK)
    for camera in going.cameras:
        camera.start()
    assert moved.wait(WAIT_S)
    assert other.ended.wait(WAIT_S), "it waits for the lane that is held"
    free.set()
    assert going.cameras[0].ended.wait(WAIT_S)
    assert going.values("b") == [20]
    new.close()


def test_guests_that_remember_a_camera_are_given_back_where_it_has_gone(
    run, tmp_path: Path
) -> None:
    path = test_memory.write(tmp_path, "count")
    going = run(path)
    new = Pool("new", stages.load(path, threads=1), ONE)

    def move() -> None:
        assert camera._turns.wait_idle(WAIT_S)
        camera.move(new)

    script = [filled(5), filled(5), move, filled(5)]
    camera = going.add("a", Scripted(script), BLOCK)
    going.finish()
    assert going.values("a") == [1, 2, 1]
    wait_until(lambda: not going.pool._held, "the lane is not given back")
    assert going.pool._now is not None
    assert going.pool._now.memories == {}
    assert going.pool._leaving == set()
    camera.stop()
    new.close()


def test_a_camera_whose_frames_do_not_fit_those_of_another_loses_them_in_words(
    run, tmp_path: Path
) -> None:
    """A pipeline that takes one size only has lanes for the one or for the other."""
    going = run()
    camera = going.add("a", Scripted([filled(20, 8, 8)]), BLOCK)
    going.pool.make_room(4, 4)
    held = going.pool.take(camera, (4, 4, 3))
    assert held is not None
    with camera._changed:
        camera._account.capture()
        stamp = Stamp(0, 1, 1, name="scripted")
        camera._waiting = Taken(stamp, filled(20, 8, 8), BLOCK, camera._turns.draw())
    camera.serve(held)
    going.pool.give_back(held)
    assert camera.counts() == Counts(1, 0, 0, {}, {("plan", "refused"): 1})
    assert "give cameras of different sizes a [[pipeline]] each" in going.events[0].text


def test_a_frame_whose_source_is_closed_before_its_pixels_come_is_no_failure(run) -> None:
    going = run()
    inside, closed = threading.Event(), threading.Event()

    class Closing(Scripted):
        def retrieve(self, into: np.ndarray | None = None) -> np.ndarray:
            inside.set()
            assert closed.wait(WAIT_S)
            raise SourceError("scripted: it is closed")

        def close(self) -> None:
            super().close()
            closed.set()

    camera = going.add("a", Closing(numbered(1)), BLOCK)
    camera.start()
    assert inside.wait(WAIT_S)
    assert camera.stop(WAIT_S)
    assert camera.counts() == Counts(1, 0, 0, {"shutdown": 1})
    assert going.events == []


def test_a_source_that_gives_all_its_frames_rests_when_less_is_wanted(run) -> None:
    going = run()
    camera = going.add("a", Scripted(numbered(40), step_ns=2_000_000), BLOCK)
    source = camera._source
    source._script = iter([*numbered(20), lambda: camera.slow_down(0.25), *numbered(20)])
    waits: list[float] = []
    wait_for = camera._changed.wait_for

    def noted(condition: Callable[[], bool], timeout: float | None = None) -> bool:
        if timeout is not None:
            waits.append(timeout)
        return wait_for(condition, timeout)

    camera._changed.wait_for = noted  # type: ignore[method-assign]
    going.finish()
    assert camera.counts() == Counts(40, 0, 40), "none is left out"
    assert waits == pytest.approx([0.006] * 20)
