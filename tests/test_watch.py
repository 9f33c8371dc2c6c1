"""Results as they come: `Pipeline.watch`, also for async."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hostile
import sanderling
import test_memory
from sanderling.counts import Counts
from sanderling.errors import ConfigError, SourceError
from sanderling.lane import WAIT
from sanderling.look import Event
from sanderling.pipeline import Pipeline
from sanderling.trace import Trace
from scripted import Scripted

WAIT_S = 60


def filled(value: int) -> np.ndarray:
    return np.full((8, 8, 3), value, np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    hostile.write(tmp_path)
    return hostile.pipeline(tmp_path)


@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_every_result_of_a_file_in_its_order(path: Path, mode: str) -> None:
    with sanderling.open(path, mode=mode) as pipeline:
        watch = pipeline.watch(Scripted([filled(10 + number) for number in range(100)]))
        assert [int(result.tensors["value"][0]) for result in watch] == list(range(10, 110))
        assert watch.counts == Counts(100, 0, 100)
        assert next(watch, None) is None, "and nothing after the end"


def test_a_lost_frame_gives_no_result_and_is_told(path: Path) -> None:
    events: list[Event] = []
    script = [filled(10), filled(hostile.TRAP), SourceError("c.png: cut off"), filled(11)]
    with sanderling.open(path) as pipeline:
        watch = pipeline.watch(Scripted(script), on_event=events.append)
        assert [int(result.tensors["value"][0]) for result in watch] == [10, 11]
    assert watch.counts.failed == {("hostile", "trap"): 1, ("source", "unreadable"): 1}
    assert sorted(event.kind for event in events) == ["trap", "unreadable"]


def test_a_name_is_a_source(path: Path) -> None:
    with sanderling.open(path) as pipeline:
        assert sum(1 for _ in pipeline.watch("pattern:64x48?frames=20")) == 20
        with pytest.raises(SourceError, match="no such"):
            pipeline.watch("gone.mp4")


def test_for_async_others_go_on_meanwhile(path: Path) -> None:
    release = threading.Event()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while ticks < 5:
            ticks += 1
            await asyncio.sleep(0)
        release.set()

    async def main() -> list[int]:
        script = [filled(10), lambda: release.wait(60), filled(11)]
        other = asyncio.create_task(tick())
        async with pipeline.watch(Scripted(script)) as watch:
            found = [int(result.tensors["value"][0]) async for result in watch]
        await other
        return found

    with sanderling.open(path) as pipeline:
        assert asyncio.run(main()) == [10, 11]
    assert ticks == 5


def test_several_share_a_pipeline_and_not_what_it_remembers(tmp_path: Path) -> None:
    with sanderling.open(test_memory.write(tmp_path, "count"), mode="throughput") as pipeline:
        watches = [pipeline.watch(Scripted([filled(5)] * 20)) for _ in range(3)]
        for watch in watches:
            assert [int(result.tensors["count"][0]) for result in watch] == list(range(1, 21))


def test_whoever_stops_looking_leaves_nothing_behind(path: Path) -> None:
    before = threading.active_count()
    pipeline = sanderling.open(path)
    with pipeline.watch(Scripted(filled(10) for _ in iter(int, 1))) as watch:
        for _ in range(3):
            next(watch)
    assert next(watch, None) is None
    other = pipeline.watch(Scripted(filled(10) for _ in iter(int, 1)))
    next(other)
    pipeline.close()
    assert next(other, None) is None
    assert threading.active_count() == before
    for each in (watch, other):
        assert each.counts.agree
        assert each.counts.waiting == 0
    with pytest.raises(ConfigError, match="is closed"):
        pipeline.watch(Scripted([]))


def test_a_part_of_the_frame_and_a_mask(path: Path) -> None:
    image = filled(50)
    image[2, 3] = 77
    with sanderling.open(path) as pipeline:
        (result,) = pipeline.watch(Scripted([image]), roi=(3, 2, 8, 8))
        assert result.tensors["value"][0] == 77
        (result,) = pipeline.watch(Scripted([image]), mask=[[(0, 0), (2, 0), (2, 2), (0, 2)]])
        assert result.tensors["value"][0] == 0
        with pytest.raises(ConfigError, match="a polygon of 2 corners; it needs at least 3"):
            pipeline.watch(Scripted([image]), mask=[[(0, 0), (2, 0)]])
    assert image[0, 0, 0] == 50, "the picture is not ours to paint on"


def test_boxes_of_a_part_are_in_pixels_of_the_whole(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    photo = root / "examples" / "astronaut.png"
    with sanderling.open(root / "examples" / "faces.toml") as faces:
        (part,) = faces.watch(photo, roi=(100, 20, 420, 260))
        (whole,) = faces.watch(photo)
    np.testing.assert_allclose(part.detections.boxes, whole.detections.boxes, atol=6)
    np.testing.assert_allclose(part.detections.points, whole.detections.points, atol=6)
    np.testing.assert_array_equal(part.tensors["boxes"], part.detections.boxes)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Pipeline]:
    hostile.write(tmp_path)
    with sanderling.open(hostile.pipeline(tmp_path), threads=1) as made:
        yield made


def test_two_share_the_model_in_two_threads(opened: Pipeline) -> None:
    found: dict[int, list[int]] = {}

    def take(first: int) -> None:
        source = Scripted([filled(first + number) for number in range(50)])
        found[first] = [int(result.tensors["value"][0]) for result in opened.watch(source)]

    threads = [threading.Thread(target=take, args=(first,)) for first in (20, 120)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert found == {first: [first + number for number in range(50)] for first in (20, 120)}


def test_who_wants_the_pixels_gets_each_frame_before_its_result(opened: Pipeline) -> None:
    seen: list[int] = []
    source = Scripted([filled(10), filled(11)])
    watch = opened.watch(source, on_frame=lambda frame, result: seen.append(frame.image[0, 0, 0]))
    for number, result in enumerate(watch):
        assert len(seen) > number
        assert seen[number] == result.tensors["value"][0] == 10 + number


@pytest.mark.parametrize("byte", [10, hostile.TRAP], ids=["on_frame", "on_lost"])
def test_what_a_callback_raises_ends_it_and_comes_out(opened: Pipeline, byte: int) -> None:
    def refuse(*what: object) -> None:
        raise RuntimeError("the disk is full")

    forever = Scripted(filled(byte) for _ in iter(int, 1))
    watch = opened.watch(forever, on_frame=refuse, on_lost=refuse)
    with pytest.raises(RuntimeError, match="the disk is full"):
        next(watch)
    assert list(watch) == [], "it is over"
    assert watch.counts.agree


def test_what_cannot_be_watched_is_refused_and_nothing_is_left_open(opened: Pipeline) -> None:
    before = threading.active_count()
    with pytest.raises(SourceError, match="there is no such picture"):
        opened.watch("gone.mp4")
    with pytest.raises(ConfigError, match="it needs at least 3"):
        opened.watch("pattern:64x48", mask=[[(0, 0), (1, 1)]])
    assert threading.active_count() == before


def test_a_trace_shows_what_a_model_waits_for_apart(tmp_path: Path) -> None:
    trace = Trace()
    faces = Path(__file__).resolve().parents[1] / "examples" / "faces.toml"
    with sanderling.open(faces, threads=1, mode="throughput", trace=trace) as opened:
        assert sum(1 for _ in opened.watch("pattern:640x480?frames=12")) == 12
    stages = [stage for _, stage, _, _ in trace._events]
    assert stages.count("centerface-int8") == 12
    assert WAIT in stages
    for row in {row for row, *_ in trace._events}:
        bars = sorted((began, ended) for one, _, began, ended in trace._events if one == row)
        assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(bars))


def test_a_trace_has_each_stage_of_each_frame(tmp_path: Path) -> None:
    hostile.write(tmp_path)
    trace = Trace()
    with sanderling.open(hostile.pipeline(tmp_path), threads=1, trace=trace) as opened:
        assert len(list(opened.watch("pattern:64x48?frames=5"))) == 5
    assert [stage for _, stage, _, _ in trace._events] == ["hostile"] * 5
