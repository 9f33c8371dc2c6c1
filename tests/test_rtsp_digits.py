"""The digits of a real RTSP stream; `make soak-rtsp` is the same for ten minutes."""

from __future__ import annotations

import pytest

import rtsp_digits


@pytest.mark.toolchain
def test_the_digits_of_a_stream_come_out_right_though_the_server_is_killed() -> None:
    report = rtsp_digits.run(12, restarts=2)
    assert report.good, report
    assert report.right > 60
    assert report.events["connected"] == 3
    assert report.events["lost"] == 2
