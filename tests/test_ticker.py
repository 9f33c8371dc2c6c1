"""The clock for deadlines, and the breaker."""

from __future__ import annotations

import threading
import time

from sanderling.breaker import FAILURES, Breaker
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
    count = 0
    lock = threading.Lock()

    def tick() -> None:
        nonlocal count
        with lock:
            count += 1

    ticker = Ticker(tick)
    slot = ticker.slot()
    assert count == 0
    ticker.enter(slot)
    assert wait_for(lambda: count >= 3)
    slot.busy = False
    assert wait_for(lambda: ticker._asleep)
    asleep_at, wakes = count, ticker.wakes
    time.sleep(0.1)
    assert (count, ticker.wakes) == (asleep_at, wakes), "it woke though nobody was inside"
    ticker.enter(slot)
    assert wait_for(lambda: count > asleep_at)
    ticker.release(slot)


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
