"""The daemon as it is started: two processes, a file that changes, signals, a crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import adding
import hostile
from sanderling.lane import WAIT

pytestmark = pytest.mark.process

WAIT_S = 60
COMMAND = [sys.executable, "-m", "sanderling", "daemon", "--config", "daemon.toml"]

FILE = """
[daemon]
log_format = "json"
report_s = 1
[[pipeline]]
name = "p"
file = "p.toml"
[[camera]]
name = "a"
source = "pattern:64x48@50"
pipeline = "p"
policy = "block"
[[camera]]
name = "b"
source = "pattern:64x32@50"
pipeline = "p"
policy = "block"
[[sink]]
name = "lines"
path = "lines.jsonl"
"""


class Running:
    """A daemon in a folder."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.folder = folder
        self._log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [*COMMAND, *args], cwd=folder, stderr=self._log, stdin=subprocess.DEVNULL
        )

    def log(self, *events: str) -> list[dict]:
        text = (self.folder / "log").read_text()
        found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return [line for line in found if not events or line["event"] in events]

    def lines(self, camera: str) -> list[dict]:
        path = self.folder / "lines.jsonl"
        text = path.read_text() if path.exists() else ""
        found = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return [line for line in found if line["camera"] == camera]

    def sums(self, camera: str) -> list[int]:
        return [line["tensors"]["sum"][0] for line in self.lines(camera)]

    def wait(self, for_what: Callable[[], object]) -> None:
        until = time.monotonic() + WAIT_S
        while not for_what():
            assert time.monotonic() < until, (self.folder / "log").read_text()[-4000:]
            assert self.process.poll() is None, (self.folder / "log").read_text()[-4000:]
            time.sleep(0.05)

    def grows(self, camera: str) -> None:
        before = len(self.lines(camera))
        self.wait(lambda: len(self.lines(camera)) > before + 3)

    def stop(self) -> int:
        self.process.terminate()
        try:
            code = self.process.wait(WAIT_S)
        finally:
            self.process.kill()
            self._log.close()
        return code


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    made: list[Running] = []
    adding.write_all(tmp_path)
    adding.put(tmp_path / "daemon.toml", FILE.encode())

    def start(*args: str) -> Running:
        made.append(Running(tmp_path, *args))
        return made[-1]

    yield start
    for running in made:
        if running.process.poll() is None:
            running.stop()


def last_counts(running: Running, camera: str) -> dict:
    found = [line["fields"] for line in running.log("counts")]
    return next((one for one in reversed(found) if one["camera"] == camera), {"captured": 0})


def test_everything_changes_while_it_runs_and_no_frame_of_the_others_is_lost(start) -> None:
    """A model, a guest, a threshold and a camera: issue by issue, on the running daemon."""
    going = start()
    folder = going.folder
    going.grows("a")
    adding.write_model(folder, 2)
    going.wait(lambda: 112 in going.sums("a"))
    adding.write_guest(folder, 2)
    going.wait(lambda: 212 in going.sums("a"))
    adding.write_pipeline(folder, 20)
    going.wait(lambda: 222 in going.sums("a"))
    changed = FILE.replace("pattern:64x32@50", "pattern:80x64@20").replace(
        'file = "p.toml"', 'file = "p.toml"\nparams = { adding = { tens = 40 } }'
    )
    adding.put(folder / "daemon.toml", changed.encode())
    going.wait(lambda: 242 in going.sums("b"))
    going.grows("a")
    assert going.stop() == 0

    assert len(going.log("worker_started")) == 1, "it was never started anew"
    sums = going.sums("a")
    assert sums == sorted(sums), "each change took over between two frames"
    assert set(sums) == {111, 112, 212, 222, 242}
    numbers = [line["frame"] for line in going.lines("a")]
    assert numbers == list(range(len(numbers)))
    found = last_counts(going, "a")
    assert (found["dropped"], found["failed"]) in {("", ""), ("shutdown=1", "")}
    assert found["captured"] - (found["dropped"] != "") == found["processed"] == len(numbers)


def test_a_bad_file_is_refused_and_a_good_one_taken(start) -> None:
    going = start()
    going.grows("a")
    for number, (text, words) in enumerate(
        [
            ("[[camera]", "not TOML"),
            (FILE.replace("rate", "rte").replace('name = "a"', 'name = "a"\nrte = 3'),
             "unknown key 'rte'"),
            (FILE.replace("p.toml", "q.toml"), "q.toml"),
            (FILE.replace('pipeline = "p"', 'pipeline = "nope"'), "there is no pipeline 'nope'"),
        ]
    ):  # fmt: skip
        adding.put(going.folder / "daemon.toml", text.encode())
        going.wait(lambda number=number: len(going.log("refused")) > number)
        message = going.log("refused")[-1]["message"]
        assert words in message
        assert message.endswith("all goes on as it was")
        going.grows("a")
    adding.put(going.folder / "daemon.toml", FILE.replace("64x32@50", "96x32@50").encode())
    going.wait(
        lambda: [line for line in going.log("applied") if "b: started anew" in line["message"]]
    )
    assert going.stop() == 0
    assert len(going.log("worker_started")) == 1


def test_sighup_reads_the_file_again(start) -> None:
    going = start()
    going.grows("a")
    going.process.send_signal(signal.SIGHUP)
    going.wait(lambda: going.log("reloaded"))
    assert going.log("reloaded")[0]["message"] == "nothing to change"
    going.grows("a")
    assert going.stop() == 0


def test_a_worker_that_crashes_is_replaced(start) -> None:
    going = start()
    going.grows("a")
    worker = going.log("worker_started")[0]["fields"]["pid"]
    os.kill(worker, signal.SIGSEGV)
    going.wait(lambda: len(going.log("worker_ready")) == 2)
    going.grows("a")
    going.grows("b")
    assert going.stop() == 0
    assert not Path(f"/proc/{worker}").exists()


def test_what_cannot_start_is_told_and_not_tried_for_ever(tmp_path: Path) -> None:
    (tmp_path / "daemon.toml").write_text(FILE)
    done = subprocess.run(
        COMMAND, cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert done.returncode == 2
    assert "p.toml: cannot be read: No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_hostile_things_cost_themselves_alone(start) -> None:
    """A guest that traps, a camera that breaks off, one that is not there: the rest goes on."""
    going = start()
    folder = going.folder
    going.grows("a")
    hostile.write(folder)
    hostile.pipeline(folder)
    more = FILE + (
        '[[pipeline]]\nname = "h"\nfile = "pipeline.toml"\n'
        '[[camera]]\nname = "h"\nsource = "pattern:64x32@50?flap=7"\npipeline = "h"\n'
        '[[camera]]\nname = "gone"\nsource = "gone.mp4"\npipeline = "p"\n'
        '[[camera]]\nname = "dead"\nsource = "rtsp://127.0.0.1:9/x"\npipeline = "p"\n'
    )
    adding.put(folder / "daemon.toml", more.encode())
    going.wait(lambda: len(going.log("camera_lost")) > 1 and going.log("camera_failed"))
    going.wait(lambda: last_counts(going, "h")["captured"] > 20)
    going.grows("a")
    going.grows("b")
    assert going.stop() == 0
    assert len(going.log("worker_started")) == 1
    numbers = [line["frame"] for line in going.lines("a")]
    assert numbers == list(range(len(numbers)))
    assert "gone.mp4: there is no such" in going.log("camera_failed")[0]["message"]


def test_a_trace_shows_where_the_time_went(start) -> None:
    going = start("--trace", "trace.json")
    going.grows("a")
    assert going.stop() == 0
    events = json.loads((going.folder / "trace.json").read_text())["traceEvents"]
    stages = {event["name"] for event in events if event["ph"] == "X"}
    assert stages - {WAIT} == {"letterbox", "m", "adding"}
    rows = {event["args"]["name"] for event in events if event["ph"] == "M"}
    assert rows == {"p, lane 0"}
