"""The governor: less is done when it is too hot, and all of it again when it has cooled down."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling.thermal import STEPS, Change, Governor, plausible

SECOND = 1_000_000_000
DWELL_S = 30

READINGS = st.one_of(
    st.floats(20, 110), st.none(), st.sampled_from([math.nan, math.inf, -273.0, 5000.0, -1e9])
)
STEPS_OF_TIME = st.integers(0, 40 * SECOND)
RUNS = st.lists(st.tuples(STEPS_OF_TIME, READINGS), max_size=60)


def governor(*, has_smaller: bool = True) -> Governor:
    return Governor(80, 70, dwell_s=DWELL_S, has_smaller=has_smaller)


def feed(thermal: Governor, celsius: float | None, seconds: range) -> list[tuple[int, Change]]:
    found = [(second, thermal.update(celsius, second * SECOND)) for second in seconds]
    return [(second, change) for second, change in found if change is not None]


def test_it_slows_down_step_by_step_and_comes_back() -> None:
    thermal = governor()
    down = feed(thermal, 85.04, range(0, 300))
    assert [(second, change.ease) for second, change in down] == [
        (0, STEPS[1]), (30, STEPS[2]), (60, STEPS[3]), (90, STEPS[4])]  # fmt: skip
    assert [change.words for _, change in down] == [
        "too hot: 85.0 °C, limit 80 °C: frame rate down to 75%",
        "too hot: 85.0 °C, limit 80 °C: frame rate down to 50%",
        "too hot: 85.0 °C, limit 80 °C: frame rate down to 25%",
        "too hot: 85.0 °C, limit 80 °C: the smaller model runs",
    ]
    assert feed(thermal, 75, range(300, 1000)) == []
    up = feed(thermal, 70, range(1000, 2000))
    assert [second for second, _ in up] == [1030, 1060, 1090, 1120]
    assert [change.words.rpartition(": ")[2] for _, change in up] == [
        "the full model runs again",
        "frame rate up to 50%",
        "frame rate up to 75%",
        "the full frame rate again",
    ]
    assert [change.hotter for _, change in down + up] == [True] * 4 + [False] * 4
    assert thermal.ease == STEPS[0]


def test_without_a_smaller_variant_the_rate_is_all_there_is() -> None:
    thermal = governor(has_smaller=False)
    feed(thermal, 95, range(1000))
    assert thermal.ease == STEPS[3]


def test_a_warm_spell_starts_the_wait_anew() -> None:
    thermal = governor()
    thermal.update(80, 0)
    assert feed(thermal, 60, range(1, 25)) == []
    thermal.update(71, 25 * SECOND)
    assert [second for second, _ in feed(thermal, 60, range(26, 100))] == [56]


@pytest.mark.parametrize("reading", [None, math.nan, math.inf, -math.inf, -273.0, 5000.0, -40.5])
def test_what_cannot_be_changes_nothing(reading: float | None) -> None:
    assert not plausible(reading)
    thermal = governor()
    assert feed(thermal, reading, range(0, 600)) == []
    thermal.update(90, 600 * SECOND)
    slowed = thermal.ease
    assert slowed != STEPS[0]
    assert feed(thermal, reading, range(601, 2000)) == []
    assert thermal.ease == slowed


def test_a_clock_that_steps_back_shortens_nothing() -> None:
    thermal = governor()
    thermal.update(90, 100 * SECOND)
    assert thermal.update(90, 0) is None
    assert thermal.update(90, 129 * SECOND) is None
    assert thermal.update(90, 130 * SECOND) is not None


@pytest.mark.parametrize(
    ("limit_c", "resume_c", "dwell_s"),
    [(80, 80, 30), (70, 80, 30), (math.nan, 70, 30), (80, 70, 0), (80, 70, math.nan)],
)
def test_limits_that_cannot_work_are_refused(
    limit_c: float, resume_c: float, dwell_s: float
) -> None:
    with pytest.raises(ValueError, match=r"resume_c|dwell_s"):
        Governor(limit_c, resume_c, dwell_s=dwell_s)


@given(RUNS, st.booleans())
def test_changes_are_a_dwell_time_apart_and_one_step_each(
    run: list[tuple[int, float | None]], has_smaller: bool
) -> None:
    thermal = governor(has_smaller=has_smaller)
    now = 0
    last: int | None = None
    for passed, reading in run:
        now += passed
        before = STEPS.index(thermal.ease)
        change = thermal.update(reading, now)
        after = STEPS.index(thermal.ease)
        assert (change is not None) == (before != after)
        if change is None:
            continue
        assert change.ease == thermal.ease
        assert abs(after - before) == 1
        assert change.hotter == (after > before)
        assert plausible(reading)
        assert reading >= 80 if change.hotter else reading <= 70
        assert last is None or now - last >= DWELL_S * SECOND
        last = now


@given(RUNS, st.lists(st.sampled_from([None, math.nan, 5000.0, 20.0, 69.9]), max_size=40))
def test_it_always_returns_to_normal_when_it_stays_cool(
    run: list[tuple[int, float | None]], between: list[float | None]
) -> None:
    thermal = governor()
    now = 0
    for passed, reading in run:
        now += passed
        thermal.update(reading, now)
    for second in range((len(STEPS) + 1) * DWELL_S):
        # A sensor that drops out now and then only delays, since it proves nothing.
        broken = between[second] if second < len(between) else 50.0
        thermal.update(broken, now + second * SECOND)
    thermal.update(50.0, now + 2 * len(STEPS) * DWELL_S * SECOND)
    assert thermal.ease == STEPS[0]
