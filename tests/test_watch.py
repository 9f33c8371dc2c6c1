"""`Pipeline.watch`: results as they come, whoever takes them, and what ends it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hostile
import sanderling
from sanderling.errors import ConfigError, SourceError
from sanderling.pipeline import Pipeline
from sanderling.trace import Trace
from scripted import Scripted

WAIT_S = 60


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Pipeline]:
    hostile.write(tmp_path)
    with sanderling.open(hostile.pipeline(tmp_path), threads=1) as made:
        yield made


def filled(value: int) -> np.ndarray:
    return np.full((8, 8, 3), value, np.uint8)


def values(results) -> list[int]:
    return [int(result.tensors["value"][0]) for result in results]


def test_results_come_in_order_and_counts_have_the_others(opened: Pipeline) -> None:
    script = [filled(10), filled(hostile.TRAP), filled(11), SourceError("cut off"), filled(12)]
    with opened.watch(Scripted(script)) as watch:
        assert values(watch) == [10, 11, 12]
        found = watch.counts
    assert (found.captured, found.processed) == (5, 3)
    assert found.failed == {("hostile", "trap"): 1, ("source", "unreadable"): 1}


def test_two_share_the_model_in_two_threads(opened: Pipeline) -> None:
    found: dict[int, list[int]] = {}

    def take(first: int) -> None:
        source = Scripted([filled(first + number) for number in range(50)])
        found[first] = values(opened.watch(source))

    threads = [threading.Thread(target=take, args=(first,)) for first in (20, 120)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert found == {first: [first + number for number in range(50)] for first in (20, 120)}


def test_other_tasks_go_on_meanwhile(opened: Pipeline) -> None:
    async def take(source: Scripted) -> list[int]:
        found = []
        async with opened.watch(source) as watch:
            async for result in watch:
                found.append(result)
        return values(found)

    async def both() -> list[list[int]]:
        scripts = ([filled(20), filled(21)], [filled(30)])
        return await asyncio.gather(*(take(Scripted(script)) for script in scripts))

    assert asyncio.run(both()) == [[20, 21], [30]]


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


def test_closing_the_pipeline_ends_it(opened: Pipeline) -> None:
    watch = opened.watch("pattern:64x48@100")
    next(watch)
    opened.close()
    assert list(watch) == []
    assert watch.counts.agree
    assert watch.counts.waiting == 0
    with pytest.raises(ConfigError, match="the pipeline is closed"):
        opened.watch("pattern:64x48@100")


def test_what_cannot_be_watched_is_refused_and_nothing_is_left_open(opened: Pipeline) -> None:
    before = threading.active_count()
    with pytest.raises(SourceError, match="there is no such picture"):
        opened.watch("gone.mp4")
    with pytest.raises(ConfigError, match="it needs at least 3"):
        opened.watch("pattern:64x48", mask=[[(0, 0), (1, 1)]])
    assert threading.active_count() == before


def test_a_trace_has_each_stage_of_each_frame(tmp_path: Path) -> None:
    hostile.write(tmp_path)
    trace = Trace()
    with sanderling.open(hostile.pipeline(tmp_path), threads=1, trace=trace) as opened:
        assert len(list(opened.watch("pattern:64x48?frames=5"))) == 5
    assert [stage for _, stage, _, _ in trace._events] == ["hostile"] * 5
