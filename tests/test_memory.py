"""Guests that remember earlier frames, and guests that say that a frame needs nothing more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hostile
import sanderling
from sanderling import manifest, pipeline, plan, stages
from sanderling.errors import GuestTrap
from sanderling.lane import Job, Lane
from sanderling.memory import Memory

MANIFEST = """
name = "counter"
version = "1.0.0"
summary = "How many frames it has seen. Byte 0 of the frame: 2 traps, 99 says: nothing more."
[[input]]
name = "frame"
dtypes = ["u8"]
shapes = [["H", "W", 3]]
[[output]]
name = "count"
dtypes = ["i32"]
shapes = [["n"]]
[limits]
memory_mb = 4
deadline_ms = 500
"""
RUN = """
  (global $seen (mut i32) (i32.const 0))
  (func (export "sl_reset") (result i32) (global.set $seen (i32.const 0)) (i32.const 0))
  (func (export "sl_run") (param $call i32) (result i32) (local $byte i32) (local $out i32)
    (local.set $out (i32.load offset=16 (local.get $call)))
    (local.set $byte (i32.load8_u (i32.load (i32.load offset=12 (local.get $call)))))
    (if (i32.eq (local.get $byte) (i32.const 2)) (then unreachable))
    (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
    (i32.store (i32.load (local.get $out)) (global.get $seen))
    (if (result i32) (i32.eq (local.get $byte) (i32.const 99))
      (then (i32.const -100)) (else (i32.const 0))))
"""


def write(folder: Path, *names: str) -> Path:
    read = manifest.parse_toml(MANIFEST, "module.toml")
    wasm = manifest.pack(hostile.wat(run=RUN), read, "counter")
    (folder / "counter.wasm").write_bytes(wasm)
    tables = "".join(f'[[stage]]\nguest = "./counter.wasm"\nname = "{name}"\n'
                     'inputs = { frame = "frame" }\n' for name in names)  # fmt: skip
    path = folder / "p.toml"
    path.write_text(f'[pipeline]\nname = "t"\n{tables}')
    return path


def filled(value: int, side: int = 4) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


def test_a_guest_remembers_until_it_is_told_to_forget(tmp_path: Path) -> None:
    with sanderling.open(write(tmp_path, "a")) as opened:
        assert [int(opened(filled(5)).tensors["count"][0]) for _ in range(3)] == [1, 2, 3]
        opened.reset()
        assert opened(filled(5)).tensors["count"][0] == 1


def test_a_trap_costs_the_frame_and_the_memory(tmp_path: Path) -> None:
    with sanderling.open(write(tmp_path, "a")) as opened:
        opened(filled(5))
        with pytest.raises(GuestTrap):
            opened(filled(2))
        assert opened(filled(5)).tensors["count"][0] == 1


def test_a_frame_that_needs_nothing_more_ends_there(tmp_path: Path) -> None:
    with sanderling.open(write(tmp_path, "a", "b")) as opened:
        whole = opened(filled(5))
        assert whole.skipped == ""
        assert list(whole.timings_ns) == ["a", "b"]
        still = opened(filled(99))
        assert still.skipped == "a"
        assert list(still.timings_ns) == ["a"]
        assert not still.tensors
        assert still.as_dict()["skipped"] == "a"
        # The second guest has not seen the frame that ended at the first.
        assert opened(filled(5)).tensors["count"][0] == 2


def test_the_last_stage_may_say_so_too(tmp_path: Path) -> None:
    with sanderling.open(write(tmp_path, "a")) as opened:
        assert opened(filled(99)).skipped == "a"


def test_cameras_that_share_a_lane_do_not_share_memory(tmp_path: Path) -> None:
    lane = Lane(plan.make(stages.load(write(tmp_path, "a")), 4, 4))
    one, other = Memory(lane.plan), Memory(lane.plan)
    seen = []
    for memory in (one, one, other, one, other):
        lane.run(filled(5), Job(0, 0, memory))
        seen.append(int(lane.results()["count"][0]))
    assert seen == [1, 2, 1, 3, 2]
    one.reset()
    lane.run(filled(5), Job(0, 0, one))
    assert lane.results()["count"][0] == 1
    lane.run(filled(5), Job(0, 0, other))
    assert lane.results()["count"][0] == 3
    one.close()
    other.close()
    lane.close()


def test_a_camera_s_memory_follows_it_from_lane_to_lane(tmp_path: Path) -> None:
    loaded = stages.load(write(tmp_path, "a"))
    lanes = [Lane(plan.make(loaded, 4, 4)) for _ in range(2)]
    memory = Memory(lanes[0].plan)
    seen = []
    for lane in (lanes[0], lanes[1], lanes[1], lanes[0]):
        lane.run(filled(5), Job(0, 0, memory))
        seen.append(int(lane.results()["count"][0]))
    assert seen == [1, 2, 3, 4]
    for lane in lanes:
        lane.close()
    memory.close()


def test_memory_holds_over_a_larger_frame_only_as_a_new_plan(tmp_path: Path) -> None:
    with pipeline.open(write(tmp_path, "a")) as opened:
        opened(filled(5, 8))
        assert opened(filled(5, 4)).tensors["count"][0] == 2
        assert opened(filled(5, 16)).tensors["count"][0] == 1, "a new plan begins anew"
