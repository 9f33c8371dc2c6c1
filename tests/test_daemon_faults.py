"""A running daemon and what goes wrong around it: each costs itself and nothing else."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import daemonkit
from sanderling.daemon import WORK_S
from sanderling.detections import Result
from sanderling.errors import OutputError
from sanderling.lines import Line, LineSink
from sanderling.outlet import Outlet
from supervised import wait_until

CONFIG = """
[daemon]
report_s = 0
profile = "{profile}"
[[pipeline]]
name = "eyes"
file = "eyes.toml"
[[camera]]
name = "door"
source = "pattern:64x64@100"
pipeline = "eyes"
"""


def reload(going: daemonkit.Running) -> None:
    going.daemon._reload = True
    going.pass_time(1)


def test_a_profile_that_is_not_there_is_refused_and_told_to_be_over(tmp_path: Path) -> None:
    path = daemonkit.write(tmp_path, CONFIG.format(profile="auto"), eyes="")
    with daemonkit.running(tmp_path) as going:
        path.write_text(CONFIG.format(profile="nosuch") + "rate = 1.0\n")
        reload(going)
        (words,) = going.said.all("refused")
        assert "nosuch" in words
        assert "all goes on as it was" in words
        assert going.said.words[-1] == "ready", "systemd waits for it"
        assert going.said.all("fault") == []
        going.processed("door", 10)
        assert "rate" not in going.counts("door")["dropped"]


def test_a_file_that_is_broken_is_tried_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    daemonkit.write(tmp_path, CONFIG.format(profile="auto"), eyes="")
    pipeline = tmp_path / "eyes.toml"
    good = pipeline.read_text()
    with daemonkit.running(tmp_path) as going:
        pipeline.write_text("[pipeline")
        for _ in range(10):
            going.pass_time(2)
        assert len(going.said.all("refused")) == 1
        pipeline.write_text("[pipelines")
        for _ in range(10):
            going.pass_time(2)
        assert len(going.said.all("refused")) == 2
        pipeline.write_text(good + 'name = "other"\n'.replace("name", "# name"))
        for _ in range(5):
            going.pass_time(2)
        assert going.said.all("reloaded") == [""]
        going.processed("door", 10)


def test_a_file_that_is_still_being_written_is_left_until_it_stands(tmp_path: Path) -> None:
    daemonkit.write(tmp_path, CONFIG.format(profile="auto"), eyes="")
    pipeline = tmp_path / "eyes.toml"
    good = pipeline.read_text()
    with daemonkit.running(tmp_path) as going:
        going.pass_time(2)
        for length in range(1, 20):  # a part more at each look
            pipeline.write_text(good[:length])
            going.pass_time(2)
        pipeline.write_text(good + "# done\n")
        for _ in range(3):
            going.pass_time(2)
        assert going.said.all("refused") == []
        assert going.said.all("reloaded") == [""]


def test_a_change_that_never_ends_stops_the_beat(tmp_path: Path) -> None:
    daemonkit.write(tmp_path, CONFIG.format(profile="auto"), eyes="")
    free = threading.Event()
    with daemonkit.running(tmp_path) as going:
        going.daemon._start(lambda: free.wait(daemonkit.LONGEST_S) and None)
        going.daemon.look_around()
        beats = going.said.words.count("beat")
        assert beats
        going.now_ns += int((WORK_S + 1) * 1e9)
        going.daemon.look_around()
        free.set()
        assert going.said.words.count("beat") == beats
        assert going.said.all("work_stuck") == ["a change takes 601 s already"]


def test_a_fault_in_what_is_done_beside_is_logged(tmp_path: Path) -> None:
    daemonkit.write(tmp_path, CONFIG.format(profile="auto"), eyes="")

    def fail() -> None:
        raise RuntimeError("surprise")

    with daemonkit.running(tmp_path) as going:
        going.daemon._start(fail)
        assert going.daemon.wait(daemonkit.LONGEST_S)
        assert going.said.all("fault") == ["a fault of ours: RuntimeError('surprise')"]
        going.processed("door", 5)


def test_a_change_that_is_being_made_does_not_hold_up_the_end(tmp_path: Path) -> None:
    daemonkit.write(tmp_path, CONFIG.format(profile="auto"), eyes="")
    free = threading.Event()
    with daemonkit.running(tmp_path) as going:
        going.processed("door", 1)
        deployment = going.daemon._deployment

        def hold() -> None:
            with deployment._lock:
                free.wait(daemonkit.LONGEST_S)

        going.daemon._start(hold)
        wait_until(deployment._lock.locked, "it is not held")
        going.daemon.end()
        assert "not all came to its end" in going.said.all("stopped")[0]
        free.set()


class Sink(LineSink):
    """Takes a line when it may.

    Args:
        faults: what writing raises, line by line; None to take it.
    """

    def __init__(self, *faults: Exception | None) -> None:
        self.faults = list(faults)
        self.may = threading.Event()
        self.inside = threading.Event()
        self.lines: list[Line] = []
        self.closed = False

    def write(self, line: Line) -> None:
        self.inside.set()
        assert self.may.wait(daemonkit.LONGEST_S)
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault
        self.lines.append(line)

    def close(self) -> None:
        self.closed = True


LINE = Line("door", Result(0, 0, "", None, None, {"a": np.zeros(1)}, {}))


def test_a_sink_that_is_too_slow_is_told_once_and_every_result_is_counted() -> None:
    said: list[tuple[str, str, str]] = []
    sink = Sink()
    outlet = Outlet("log", sink, 2, lambda *words: said.append(words))
    outlet.offer(LINE)
    assert sink.inside.wait(daemonkit.LONGEST_S)
    offers = [threading.Thread(target=lambda: [outlet.offer(LINE) for _ in range(500)])
              for _ in range(4)]  # fmt: skip
    for thread in offers:
        thread.start()
    for thread in offers:
        thread.join()
    sink.may.set()
    assert outlet.close(daemonkit.LONGEST_S)
    assert (outlet.written, outlet.lost) == (3, 1998)
    assert [words[:2] for words in said] == [("sink_full", "log")]
    assert "lower the cameras' rate" in said[0][2]
    assert sink.closed


@pytest.mark.parametrize("fault", [OutputError("disk full"), TypeError("not JSON")])
def test_a_sink_survives_what_it_cannot_write(fault: Exception) -> None:
    said: list[str] = []
    sink = Sink(None, fault, fault, None)
    sink.may.set()
    outlet = Outlet("log", sink, 10, lambda kind, name, words: said.append(kind))
    for _ in range(4):
        outlet.offer(LINE)
    assert outlet.close(daemonkit.LONGEST_S)
    assert (outlet.written, outlet.lost) == (2, 2)
    assert said == ["sink_down", "sink_up"]


def test_a_sink_that_stands_still_takes_no_more_than_its_time() -> None:
    sink = Sink()
    outlet = Outlet("log", sink, 1, lambda *words: None)
    outlet.offer(LINE)
    assert sink.inside.wait(daemonkit.LONGEST_S)
    outlet.offer(LINE)
    assert not outlet.close(0.01)
    sink.may.set()


def test_a_sink_that_stands_still_does_not_keep_others_from_their_last_lines(
    tmp_path: Path,
) -> None:
    sinks = '[[sink]]\nname = "a"\npath = "a.jsonl"\n[[sink]]\nname = "b"\npath = "b.jsonl"\n'
    daemonkit.write(tmp_path, CONFIG.format(profile="auto") + sinks, eyes="")
    with daemonkit.running(tmp_path) as going:
        outlets = {name: one for name, (_, one) in going.daemon._deployment._outlets.items()}
        stuck, inner = Sink(), outlets["a"]._sink
        outlets["a"]._sink = stuck
        assert stuck.inside.wait(daemonkit.LONGEST_S)
        going.processed("door", 20)
        assert not going.daemon._deployment.stop(0.5)
        assert outlets["b"].written == going.counts("door")["processed"]
        stuck.may.set()
        inner.close()


def test_a_sink_that_is_replaced_loses_no_result(tmp_path: Path) -> None:
    """Until the old one is closed the cameras have the new one already."""
    sink = '[[sink]]\nname = "a"\npath = "{}.jsonl"\n'
    text = CONFIG.format(profile="auto")
    path = daemonkit.write(tmp_path, text + sink.format("x"), eyes="")
    with daemonkit.running(tmp_path) as going:
        for number in range(6):
            going.processed("door", 10)
            path.write_text(text + sink.format("xy"[number % 2]))
            reload(going)
    found = going.counts("door")["processed"]
    written = [(tmp_path / f"{name}.jsonl").read_text().count("\n") for name in "xy"]
    assert sum(written) == found


def test_a_lane_layout_that_changes_is_refused_where_the_frames_do_not_fit(tmp_path: Path) -> None:
    path = daemonkit.write(tmp_path, CONFIG.format(profile="auto"), eyes="", other="")
    (tmp_path / "other.toml").write_text(
        '[pipeline]\nname = "o"\n[[stage]]\nguest = "letterbox"\n'
        "params = { width = 1, height = 999999 }\n"
    )
    with daemonkit.running(tmp_path) as going:
        going.processed("door", 5)
        text = CONFIG.format(profile="auto").replace("eyes.toml", "other.toml")
        path.write_text(text.replace("[[camera]]", "lanes = 2\n[[camera]]"))
        reload(going)
        assert len(going.said.all("refused")) == 1
        going.processed("door", 5)
        assert going.counts("door")["failed"] == {}
