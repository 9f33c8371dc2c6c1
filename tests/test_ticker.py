"""The clock for deadlines, and the breaker."""

from __future__ import annotations

import threading
import time

import pytest

from sanderling.breaker import FAILURES, Breaker
from sanderling.errors import SanderlingError
from sanderling.ticker import Ticker, ticks


def wait_for(condition: object, seconds: float = 10.0) -> bool:
    assert callable(condition)
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.001)
    return True


def test_it_ticks_while_somebody_is_inside_and_sleeps_otherwise() -> None:
    seen: list[int] = []
    ticker = Ticker(lambda: seen.append(42))
    assert not ticker.running
    ticker.enter()
    ticker.enter()
    assert wait_for(lambda: len(seen) >= 3)
    ticker.leave()
    so_far = len(seen)
    assert wait_for(lambda: len(seen) > so_far), "one is still inside"
    ticker.leave()
    assert not ticker.running
    time.sleep(0.05)  # a tick may have been under way
    so_far = len(seen)
    time.sleep(0.1)
    assert len(seen) == so_far, "it ticked though nobody was inside"


def test_without_a_thread_there_is_no_ticker(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(SanderlingError, match="no thread for deadlines"):
        Ticker(lambda: None)


def test_deadlines_in_ticks_never_come_early() -> None:
    # The tick under way when a call begins may be over at once.
    assert [ticks(ms) for ms in (0.1, 5, 5.1, 50)] == [2, 2, 3, 11]


def test_the_breaker_opens_pauses_longer_and_closes() -> None:
    now = [0.0]
    breaker = Breaker(lambda: now[0])
    for _ in range(FAILURES - 1):
        breaker.failure()
    assert breaker.wait() == 0
    pauses = []
    for _ in range(8):
        breaker.failure()
        pauses.append(breaker.wait())
        now[0] += breaker.wait()
        assert breaker.wait() == 0, "one try is let through after the pause"
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    breaker.success()
    breaker.failure()
    assert breaker.wait() == 0
