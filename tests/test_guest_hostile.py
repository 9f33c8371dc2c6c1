"""Guests that loop, trap and lie: each costs one frame and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hostile
import sanderling
from sanderling import guest
from sanderling.errors import (
    ConfigError,
    FrameError,
    GuestDeadline,
    GuestFailure,
    GuestTrap,
    GuestViolation,
    ModuleError,
    PlanError,
)
from sanderling.policy import Policy


def frame(byte: int, height: int = 4, width: int = 4) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[0, 0, 0] = byte
    return image


@pytest.mark.parametrize(
    ("byte", "kind", "words"),
    [
        (hostile.LOOP, GuestDeadline, "not done after 50 ms"),
        (hostile.TRAP, GuestTrap, "unreachable"),
        (hostile.OUTSIDE, GuestTrap, "outside its memory"),
        (hostile.MOVED, GuestViolation, "changed its address"),
        (hostile.TOO_LARGE, GuestViolation, "[100000], more than the [1]"),
        (hostile.OWN_ERROR, GuestFailure, "returned 17: on purpose"),
        (hostile.DIVIDE, GuestTrap, "divided by zero"),
        (hostile.RECURSE, GuestTrap, "stack overflowed"),
    ],
)
def test_a_bad_frame_costs_itself_alone(
    tmp_path: Path, byte: int, kind: type[FrameError], words: str
) -> None:
    hostile.write(tmp_path)
    with sanderling.open(hostile.pipeline(tmp_path)) as pipeline:
        assert pipeline(frame(100)).tensors["value"].tolist() == [100]
        with pytest.raises(kind, match="hostile") as caught:
            pipeline(frame(byte))
        assert words in str(caught.value)
        assert caught.value.stage == "hostile"
        assert pipeline(frame(200)).tensors["value"].tolist() == [200]


def test_a_hundred_hostile_frames_of_a_thousand_cost_a_hundred(tmp_path: Path) -> None:
    hostile.write(tmp_path, deadline_ms=5)
    kinds = [hostile.LOOP, hostile.TRAP, hostile.OUTSIDE, hostile.MOVED, hostile.TOO_LARGE]
    right = failed = 0
    reasons: dict[str, int] = {}
    with sanderling.open(hostile.pipeline(tmp_path)) as pipeline:
        for number in range(1000):
            bad = number % 10 == 3
            byte = kinds[number // 10 % len(kinds)] if bad else 10 + number % 200
            try:
                result = pipeline(frame(byte))
            except FrameError as exc:
                failed += 1 if bad else 1000
                reasons[exc.reason] = reasons.get(exc.reason, 0) + 1
            else:
                right += result.tensors["value"].tolist() == [byte]
    assert (right, failed) == (900, 100)
    assert reasons == {"deadline": 20, "trap": 40, "violation": 40}


def test_a_guest_that_only_fails_is_left_alone_for_a_while(tmp_path: Path) -> None:
    hostile.write(tmp_path)
    with sanderling.open(hostile.pipeline(tmp_path)) as pipeline:
        reasons = []
        for _ in range(52):
            with pytest.raises(FrameError) as caught:
                pipeline(frame(hostile.TRAP))
            reasons.append(caught.value.reason)
    assert reasons == ["trap"] * 50 + ["breaker"] * 2


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"version": ""}, "does not export sl_abi_version"),
        ({"memory": "(memory 2)"}, "does not export memory"),
        ({"version": '(func (export "sl_abi_version") (result i64) (i64.const 0))'}, "is () ->"),
        ({"imports": '(import "env" "puts" (func (param i32)))'}, "imports the function env.puts"),
        ({"imports": '(import "env" "m" (memory 1))', "memory": '(export "memory" (memory 0))'},
         "imports the memory env.m"),
        ({"imports": '(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32)'
                     " (result i32)))"}, "wasi = true"),
        ({"imports": '(import "wasi_snapshot_preview1" "path_open" (func))'},
         "which no guest may call"),
    ],
)  # fmt: skip
def test_what_is_not_let_in(tmp_path: Path, parts: dict[str, str], words: str) -> None:
    path = hostile.write(tmp_path, wasm=hostile.wat(**parts))
    with pytest.raises(ModuleError) as caught:
        guest.load(path, Policy())
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"memory": '(memory (export "memory") 1000)'},
         "within the 16 MiB that memory_mb allows: it begins with 62.5 MiB"),
        ({"version": '(func (export "sl_abi_version") (result i32) (i32.const 131072))'},
         "version 2 of the guest ABI"),
    ],
)  # fmt: skip
def test_what_cannot_be_started(tmp_path: Path, parts: dict[str, str], words: str) -> None:
    path = hostile.write(tmp_path, wasm=hostile.wat(**parts))
    with pytest.raises(ModuleError) as caught:
        guest.Instance(guest.load(path, Policy()), "stage")
    assert words in str(caught.value)


def test_relaxed_simd_is_refused(tmp_path: Path) -> None:
    relaxed = "(func (drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0))))"
    path = hostile.write(tmp_path, wasm=hostile.wat(imports=relaxed))
    with pytest.raises(ModuleError, match=r"cannot run here|relaxed"):
        guest.load(path, Policy())


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        ("(i32.const -1)", "refused to be set up"),
        ("(i32.const 0)", "did not declare its output value"),
        ("(loop (br 0)) (i32.const 0)", "not done after"),
        ("unreachable", "unreachable"),
        ("(i32.store8 offset=8 (i32.load offset=16 (local.get 0)) (i32.const 99)) (i32.const 0)",
         "dtype 99"),
        ("(i32.store8 offset=8 (i32.load offset=16 (local.get 0)) (i32.const 8))"
         "(i32.store8 offset=9 (i32.load offset=16 (local.get 0)) (i32.const 1)) (i32.const 0)",
         "its manifest says i32"),
        ("(i32.store8 offset=8 (i32.load offset=16 (local.get 0)) (i32.const 5))"
         "(i32.store8 offset=9 (i32.load offset=16 (local.get 0)) (i32.const 200)) (i32.const 0)",
         "rank 200"),
        ("(i32.store8 offset=8 (i32.load offset=16 (local.get 0)) (i32.const 5))"
         "(i32.store8 offset=9 (i32.load offset=16 (local.get 0)) (i32.const 1))"
         "(i32.store offset=16 (i32.load offset=16 (local.get 0)) (i32.const 50000000))"
         "(i32.const 0)", "no room for 200000000 bytes"),
    ],
)  # fmt: skip
def test_a_bad_set_up_is_refused_before_the_first_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setup: str, words: str
) -> None:
    monkeypatch.setattr(guest, "SETUP_DEADLINE_MS", 100)
    text = f'(func (export "sl_setup") (param i32) (result i32) {setup})'
    hostile.write(tmp_path, wasm=hostile.wat(setup=text))
    with (
        sanderling.open(hostile.pipeline(tmp_path)) as pipeline,
        pytest.raises(PlanError) as caught,
    ):
        pipeline.prepare(4, 4)
    assert words in str(caught.value)
    assert "pipeline.toml" in str(caught.value)


@pytest.mark.parametrize("address", ["0x7fffffc0", "1", "-64"])
def test_an_address_outside_its_memory_is_refused(tmp_path: Path, address: str) -> None:
    alloc = f'(func (export "sl_alloc") (param i32) (result i32) (i32.const {address}))'
    hostile.write(tmp_path, wasm=hostile.wat(alloc=alloc))
    with (
        sanderling.open(hostile.pipeline(tmp_path)) as pipeline,
        pytest.raises(PlanError, match="sl_alloc"),
    ):
        pipeline.prepare(4, 4)


def test_memory_never_grows_after_set_up(tmp_path: Path) -> None:
    run = """(func (export "sl_run") (param $call i32) (result i32)
      (i32.store (i32.load (i32.load offset=16 (local.get $call)))
        (memory.grow (i32.const 1)))
      (i32.const 0))"""
    hostile.write(tmp_path, wasm=hostile.wat(run=run))
    with sanderling.open(hostile.pipeline(tmp_path)) as pipeline:
        assert pipeline(frame(0)).tensors["value"].tolist() == [-1]


def test_more_memory_or_time_than_the_policy_allows_is_refused(tmp_path: Path) -> None:
    hostile.write(tmp_path, memory_mb=16, deadline_ms=50)
    for table, words in [
        ("memory_mb = 8", "asks for 16 MiB of memory, the policy allows 8"),
        ("deadline_ms = 10", "asks for 50 ms a call, the policy allows 10"),
        (f'digests = ["{64 * "0"}"]', "not among those let in (digests in [policy])"),
    ]:
        path = hostile.pipeline(tmp_path, extra=f"[policy]\n{table}")
        with pytest.raises(ModuleError) as caught:
            sanderling.open(path)
        assert words in str(caught.value)
        assert str(caught.value).startswith(f"{path}: stage hostile: ")
    path = hostile.pipeline(tmp_path, extra='[policy]\ndigests = ["abc"]')
    with pytest.raises(ConfigError, match=r"policy\.digests 1: must be 64 hexadecimal digits"):
        sanderling.open(path)


def test_frames_of_many_sizes_settle_on_one_plan(tmp_path: Path) -> None:
    hostile.write(tmp_path)
    with sanderling.open(hostile.pipeline(tmp_path)) as pipeline:
        pipeline(frame(20, 4, 8))
        first = pipeline.plan
        pipeline(frame(21, 8, 4))
        second = pipeline.plan
        assert first is not second
        for size in [(8, 8), (1, 1), (3, 7)]:
            assert pipeline(frame(22, *size)).tensors["value"].tolist() == [22]
            assert pipeline.plan is second


def test_a_view_of_a_picture_with_strides_is_taken_as_it_is(tmp_path: Path) -> None:
    hostile.write(tmp_path)
    image = np.zeros((8, 8, 3), np.uint8)
    image[1, 2, 2] = 77
    with sanderling.open(hostile.pipeline(tmp_path)) as pipeline:
        assert pipeline(image[1::2, 2::3, ::-1]).tensors["value"].tolist() == [77]
