"""Limits of the board's profile, as the daemon enforces them: threads, memory, size of frames."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import daemonkit
from commandline import COMMAND
from sanderling import board, daemonfile, preflight, profile
from sanderling.cores import Cores
from sanderling.daemon import RESTART, settle
from sanderling.deployed import usable_cores
from sanderling.errors import ConfigError
from sanderling.limited import AGAIN_S, Limited
from sanderling.source import Source, Stamp
from scripted import Scripted
from supervised import LONGEST_S, wait_until

TWO = """
[daemon]
report_s = 0
profile = "own.toml"
[[pipeline]]
name = "eyes"
file = "eyes.toml"
[[camera]]
name = "small"
source = "pattern:64x64@50"
pipeline = "eyes"
[[camera]]
name = "large"
source = "pattern:320x240@50"
pipeline = "eyes"
"""


def test_a_camera_whose_frames_are_too_large_is_refused_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    daemonkit.write(tmp_path, TWO, eyes="")
    (tmp_path / "own.toml").write_text('name = "own"\n[limits]\nmegapixels = 0.05\n')
    with daemonkit.running(tmp_path) as going:
        going.wait_for("camera_refused")
        going.processed("small", 20)
        assert going.counts("small")["failed"] == {}
        wait_until(lambda: going.counts("large")["captured"] > 10, "no frames")
        found = going.counts("large")
        assert found["processed"] == 0
        assert set(found["failed"]) == {"plan"}
        (words,) = going.said.all("camera_refused")
    assert words.startswith("pattern:320x240@50: its frames of 320 x 240 are 0.1 megapixels")
    assert "the profile own allows 0.05 (limits.megapixels): let the camera" in words


def test_frames_that_will_be_too_large_are_noted_before_it_runs(tmp_path: Path) -> None:
    path = daemonkit.write(tmp_path, TWO, eyes="")
    (tmp_path / "own.toml").write_text('name = "own"\n[limits]\nmegapixels = 0.05\n')
    report = preflight.check(path, board.read(daemonkit.BOARDS / "raspberry-pi-5"))
    assert report.problems == []
    (note,) = [one for one in report.notes if "megapixels" in one]
    assert note.startswith("camera large: frames of 320 x 240 are more than the 0.05 megapixels")


class Counting(Scripted):
    """Counts the frames that were decoded."""

    decoded = 0

    def retrieve(self, into: np.ndarray | None = None) -> np.ndarray:
        self.decoded += 1
        return super().retrieve(into)


def frames(*sides: int) -> Iterator[np.ndarray]:
    return (np.zeros((side, side, 3), np.uint8) for side in sides)


def taken(source: Source) -> bool:
    """Whether the next frame is given; it must not be the end."""
    assert isinstance(source.grab(), Stamp)
    try:
        source.retrieve()
    except ConfigError:
        return False
    return True


def test_frames_that_are_too_large_are_not_even_decoded_until_it_is_looked_again() -> None:
    now = 0.0
    inner = Counting(frames(10, 11, 10, 10, 10), restarts=[4])
    source = Limited(inner, "own", 100 / 1e6, clock=lambda: now)
    assert [taken(source), taken(source), taken(source)] == [True, False, False]
    assert inner.decoded == 2
    now = AGAIN_S
    assert taken(source)
    assert inner.decoded == 3
    assert source.live == inner.live
    source.close()
    assert source.grab() is None


def test_a_camera_that_comes_back_with_smaller_frames_does_not_wait() -> None:
    source = Limited(Scripted(frames(11, 11, 10), restarts=[2]), "own", 1e-4, clock=lambda: 0.0)
    assert [taken(source), taken(source), taken(source)] == [False, False, True]


CONFIG = '[daemon]\nreport_s = 0\n{}\n[[pipeline]]\nname = "eyes"\nfile = "eyes.toml"\n'


def test_what_is_more_than_the_board_has_is_cut_down_and_said_once(tmp_path: Path) -> None:
    daemonkit.write(tmp_path, CONFIG.format('profile = "own.toml"'), eyes="")
    (tmp_path / "own.toml").write_text(
        'name = "own"\n[limits]\nthreads = 900\nmemory_mb = 16000000\n'
    )
    with daemonkit.running(tmp_path, "raspberry-pi-zero-2-w") as going:
        settings = going.daemon._settings
        for _ in range(3):
            going.pass_time(31)
        threads, memory = going.said.all("profile_exceeds_board")
        (started,) = [one for one in going.said.records if getattr(one, "event", "") == "started"]
    cores = min(4, usable_cores())
    assert f"own: limits.threads is 900, and {cores} may be used here" in threads
    assert "own: limits.memory_mb is 16000000" in memory
    assert settings.cores == cores
    assert 0 < settings.memory_mb < 512
    assert started.fields["cores"] == cores


@pytest.mark.parametrize(
    ("daemon", "cores", "memory_mb", "words"),
    [
        ("", 2, 300, []),
        ("threads = 1\nmemory_mb = 100", 1, 100, []),
        ("threads = 3", 3, 300, []),
        ("threads = 200", 4, 300, ["daemon.threads is 200, and 4 may be used here; 4 are used"]),
        ("memory_mb = 99999", 2, 2844, ["daemon.memory_mb is 99999, and there are 3793 MiB here"]),
    ],
)
def test_the_file_may_ask_for_other_limits_than_the_profile_but_not_for_more_than_there_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    daemon: str,
    cores: int,
    memory_mb: int,
    words: list[str],
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(4)))
    (tmp_path / "own.toml").write_text('name = "own"\n[limits]\nthreads = 2\nmemory_mb = 300\n')
    where = tmp_path / "daemon.toml"
    file = daemonfile.parse(f'[daemon]\nprofile = "own.toml"\n{daemon}\n'.encode(), str(where))
    found = settle(file, board.read(daemonkit.BOARDS / "raspberry-pi-4b"), where)
    assert (found.cores, found.memory_mb) == (cores, memory_mb)
    assert len(found.warnings) == len(words)
    assert all(word in said for word, said in zip(words, found.warnings, strict=True))


def test_a_worker_that_takes_too_much_memory_wants_to_be_started_anew(tmp_path: Path) -> None:
    daemonkit.write(tmp_path, CONFIG.format("memory_mb = 100"), eyes="")
    used = 100.0
    with daemonkit.running(tmp_path, resident_mb=lambda: used) as going:
        for _ in range(3):
            going.pass_time(3)
        assert going.said.all("memory_over_limit") == []
        used = 100.6
        going.pass_time(3)
        (words,) = going.said.all("memory_over_limit")
        assert going.daemon._stopping
    assert words.startswith("the worker has 101 MiB of 100; it is started anew.")
    assert "fewer lanes" in words
    assert going.daemon._code == RESTART


def test_the_supervisor_starts_a_worker_that_takes_too_much_anew_and_backs_off(
    tmp_path: Path,
) -> None:
    daemonkit.write(tmp_path, CONFIG.format('memory_mb = 1\nlog_format = "json"'), eyes="")
    deaths = []
    with subprocess.Popen(
        [*COMMAND, "daemon", "--config", str(tmp_path / "daemon.toml")],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        guard = threading.Timer(2 * LONGEST_S, process.kill)
        guard.start()
        try:
            lines = map(json.loads, process.stderr)
            over = 0
            while len(deaths) < 2:
                line = next(lines)
                over += line["event"] == "memory_over_limit"
                if line["event"] == "worker_died":
                    deaths.append((line["message"], line["fields"]["next_try_s"]))
            process.terminate()
            assert process.wait(LONGEST_S) == 0
        finally:
            guard.cancel()
            process.kill()
    assert over == 2
    assert deaths == [(f"the worker ended with exit code {RESTART}", pause) for pause in (0, 0.25)]


def test_models_of_all_pipelines_share_the_cores() -> None:
    cores = Cores(4)
    most = busy = 0
    lock = threading.Lock()
    together = threading.Barrier(6)

    def run(threads: int) -> None:
        nonlocal most, busy
        share = cores.share(threads)
        together.wait(LONGEST_S)
        for _ in range(200):
            with share:
                with lock:
                    busy += threads
                    most = max(most, busy)
                with lock:
                    busy -= threads

    runners = [threading.Thread(target=run, args=(count,)) for count in (1, 1, 2, 2, 3, 4)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join(LONGEST_S)
        assert not runner.is_alive()
    assert most <= 4
    assert busy == 0


def test_who_came_first_goes_first_however_many_cores_he_wants() -> None:
    cores = Cores(4)
    order: list[str] = []
    little, whole = cores.share(1), cores.share(0)

    def run(name: str, share: object) -> None:
        with share:  # type: ignore[attr-defined]
            order.append(name)

    with little:
        first = threading.Thread(target=run, args=("whole", whole))
        first.start()
        wait_until(lambda: len(cores._line) == 1, "it does not wait")
        second = threading.Thread(target=run, args=("little", little))
        second.start()
        wait_until(lambda: len(cores._line) == 2, "a little one got by")
        assert order == []
    first.join(LONGEST_S)
    second.join(LONGEST_S)
    assert order == ["whole", "little"]


def test_more_threads_than_there_are_cores_are_all_of_them() -> None:
    cores = Cores(2)
    with cores.share(8):
        assert cores._free == 0
    assert cores._free == 2


def test_pipelines_of_a_daemon_have_the_same_cores(tmp_path: Path) -> None:
    text = "[daemon]\nthreads = 1\n" + "".join(
        f'[[pipeline]]\nname = "{name}"\nfile = "eyes.toml"\nmode = "throughput"\nthreads = 8\n'
        for name in "ab"
    )
    daemonkit.write(tmp_path, text, eyes="")
    with daemonkit.running(tmp_path) as going:
        pools = [one.pool for one in going.daemon._deployment._pipelines.values()]
        assert [pool.layout.threads for pool in pools] == [1, 1]
        assert pools[0]._share is not None
        assert pools[0]._share._cores is pools[1]._share._cores  # type: ignore[attr-defined]


def test_profiles_that_come_with_the_package_ask_for_no_more_than_their_boards_have() -> None:
    for root in sorted(daemonkit.BOARDS.iterdir()):
        seen = board.read(root)
        chosen = profile.choose(map(profile.read, _installed()), seen.facts()).profile
        assert profile.settle(chosen, seen.facts()).warnings == (), root.name


def _installed() -> list[Path]:
    return sorted((Path(__file__).parents[1] / "device_profiles").glob("*.toml"))
