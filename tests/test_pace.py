"""Which frames are due, and who goes first."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling.counts import Account, Counts
from sanderling.pace import Pace
from sanderling.turns import Turns

SECOND = 1_000_000_000


def let_through(pace: Pace, times: list[int]) -> list[int]:
    return [at for at in times if pace.due(at)]


@pytest.mark.parametrize("fps", [15, 29.97, 30, 60, 1000])
@pytest.mark.parametrize("rate", [1, 5, 10, 12.5])
def test_a_rate_is_kept_over_time(fps: float, rate: float) -> None:
    times = [SECOND + round(number * SECOND / fps) for number in range(int(20 * fps))]
    assert len(let_through(Pace(rate), times)) == pytest.approx(20 * rate, abs=1 + rate / 10)


def test_a_camera_slower_than_its_rate_loses_nothing() -> None:
    times = [SECOND + number * SECOND // 5 for number in range(50)]
    assert let_through(Pace(10), times) == times
    assert let_through(Pace(0), times) == times


def test_jitter_costs_no_frame() -> None:
    early = [0, 2, -2, 1, -1, 2, 0, -2, 1, 0] * 5
    times = [SECOND + (100 * n + late) * 1_000_000 for n, late in enumerate(early)]
    assert let_through(Pace(10), times) == times


def test_a_share_is_one_of_what_was_run_not_of_what_came() -> None:
    """30 frames a second come and 5 find a lane: half of the work is 2.5, not 15."""
    pace = Pace()
    times = [SECOND + number * SECOND // 30 for number in range(900)]
    for number, at in enumerate(times[:300]):
        assert pace.due(at)
        if number % 6 == 0:
            pace.ran(at)
    pace.factor = 0.5
    for at in let_through(pace, times[300:]):
        pace.ran(at)  # what is run while less is wanted does not make it less still
    assert len(let_through(pace, [20 * SECOND + at for at in times[300:]])) in (49, 50, 51)
    pace.factor = 1.0
    assert len(let_through(pace, [40 * SECOND + at for at in times])) == 900


def test_a_share_of_a_rate_that_the_camera_does_not_reach() -> None:
    pace = Pace(10)
    times = [SECOND + number * SECOND // 5 for number in range(300)]
    assert let_through(pace, times[:100]) == times[:100]
    pace.factor = 0.5
    assert len(let_through(pace, times[100:])) == pytest.approx(100, abs=1)


def test_an_hour_without_a_frame_does_not_make_a_camera_slow() -> None:
    pace = Pace()
    times = [SECOND + number * SECOND // 30 for number in range(300)]
    let_through(pace, times)
    times = [3600 * SECOND + at for at in times]
    pace.factor = 0.5
    assert len(let_through(pace, times)) == pytest.approx(150, abs=10)


def test_what_may_leave_out_nothing_rests() -> None:
    pace = Pace()
    for number in range(50):
        pace.ran(SECOND + number * 100_000_000)
    assert pace.rest_ns == 0
    pace.factor = 0.25
    assert pace.rest_ns == 300_000_000
    assert all(pace.due(100 * SECOND + number, eased=False) for number in range(50))


def test_a_share_of_a_camera_without_a_rate_is_a_share_of_its_own() -> None:
    pace = Pace()
    times = [SECOND + number * SECOND // 30 for number in range(300)]
    assert let_through(pace, times[:100]) == times[:100]
    pace.factor = 0.5
    assert len(let_through(pace, times[100:])) == pytest.approx(100, abs=2)
    pace.factor = 1.0
    assert let_through(pace, [10 * SECOND + at for at in times]) == [
        10 * SECOND + at for at in times
    ]


@given(st.lists(st.integers(0, 10**15), max_size=60), st.floats(0.1, 1000))
def test_a_clock_that_jumps_never_stops_the_frames(times: list[int], rate: float) -> None:
    pace = Pace(rate)
    for at in times:
        pace.due(at)
    period = round(SECOND / rate)
    last = times[-1] if times else 0
    assert any(pace.due(last + number * period) for number in range(1, 5))


def test_whoever_is_in_front_goes_first() -> None:
    turns = Turns()
    tickets = [turns.draw() for _ in range(5)]
    passed: list[int] = []

    def go(ticket: int) -> None:
        with turns.at("point", ticket):
            passed.append(ticket)
        turns.leave(ticket)

    threads = [threading.Thread(target=go, args=(ticket,)) for ticket in reversed(tickets[1:])]
    for thread in threads:
        thread.start()
    assert not turns.wait_idle(0.05)
    assert passed == []
    turns.leave(tickets[0])
    assert turns.wait_idle(30)
    assert passed == tickets[1:]
    for thread in threads:
        thread.join()


def test_a_point_is_left_also_by_an_error() -> None:
    turns = Turns()
    first, second = turns.draw(), turns.draw()
    with pytest.raises(ValueError, match="x"), turns.at("a", first):
        raise ValueError("x")
    with turns.at("a", second):
        pass
    turns.leave(first)
    turns.leave(second)
    assert turns.wait_idle(0)


def test_counts_of_an_account() -> None:
    account = Account()
    for _ in range(5):
        account.capture()
    account.process()
    account.drop("stale")
    account.fail("nms", "trap")
    found = account.counts()
    assert found == Counts(5, 2, 1, {"stale": 1}, {("nms", "trap"): 1})
    assert found.agree
    assert not Counts(5, 2, 1).agree
    assert found.as_dict()["failed"] == {"nms": {"trap": 1}}
