"""The supervisor, over real workers that crash, hang, refuse and ignore what they are told."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sanderling import statuspipe
from sanderling.child import Child, ended_in_words
from sanderling.supervisor import Limits, Pauses, Supervisor
from sanderling.systemd import Notifier
from supervised import Supervised, gone, wait_until

# A worker that is up, and ends when it is told to.
pytestmark = pytest.mark.process

GOOD = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
status.ready()
while True:
    status.beat()
    time.sleep(0.05)
"""


def test_the_pauses_double_and_a_sound_worker_ends_the_row() -> None:
    pauses = Pauses(Limits())
    row = [pauses.after(healthy) for healthy in [0.0, 1.0, 59.9, *[0.0] * 9]]
    assert row == [0, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert [pauses.after(60.0), pauses.after(0.0)] == [0, 0.25]
    for _ in range(2000):
        pauses.after(0.0)
    assert pauses.after(0.0) == 60


def test_all_that_stopping_may_take_is_under_two_seconds() -> None:
    assert Limits().stop_s + Limits().kill_s < 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_it_is_told_to(tmp_path: Path, number: signal.Signals) -> None:
    with Supervised(tmp_path, GOOD) as supervised:
        assert supervised.told("READY") == b"READY=1"
        worker = supervised.event("worker_ready")["pid"]
        supervised.signal(number)
        assert supervised.end() == 0
        assert gone(worker)
        assert supervised.told("STOPPING") == b"STOPPING=1"


def test_a_worker_that_will_not_stop_is_killed(tmp_path: Path) -> None:
    script = """
    signal.signal(signal.SIGTERM, lambda *_: status.stopping())
    status.ready()
    while True:
        time.sleep(60)
    """
    with Supervised(tmp_path, script, stop_s=0.3) as supervised:
        worker = supervised.event("worker_ready")["pid"]
        supervised.signal(signal.SIGTERM)
        supervised.event("worker_stopping")
        supervised.signal(signal.SIGTERM)  # once more makes no difference
        assert "SIGKILL" in supervised.event("stopped")["message"]
        assert supervised.end() == 1
        assert gone(worker)


def test_a_crash_starts_the_worker_again_at_once(tmp_path: Path) -> None:
    script = f"""
    import ctypes, faulthandler
    faulthandler.enable()
    if tries() == 1:
        status.ready()
        ctypes.string_at(0)
    {GOOD.replace(chr(10), chr(10) + "    ")}
    """
    with Supervised(tmp_path, script) as supervised:
        first = supervised.event("worker_ready")["pid"]
        died = supervised.event("worker_died")
        assert died["message"] == "the worker was killed by SIGSEGV (Segmentation fault)"
        assert died["next_try_s"] == 0
        assert 0 < died["uptime_s"] < 30
        assert supervised.event("worker_ready")["pid"] != first
        assert b"SIGSEGV" in supervised.told("STATUS")
        supervised.signal(signal.SIGTERM)
        assert supervised.end() == 0
        assert any("Fatal Python error" in line for line in supervised.lines)


def test_a_boot_loop_backs_off_and_leaves_nothing_behind(tmp_path: Path) -> None:
    script = """
    if 1 < tries() < 8:
        sys.exit(3)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    status.ready()
    time.sleep(60)
    """

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{supervised.pid}/fd"))

    limits = {"first_pause_s": 0.01, "longest_pause_s": 0.05}
    with Supervised(tmp_path, script, **limits) as supervised:
        supervised.told("READY")
        before = descriptors()
        supervised.signal(signal.SIGHUP)  # which this worker does not know
        assert "SIGHUP" in supervised.event("worker_died")["message"]
        died = [supervised.event("worker_died") for _ in range(6)]
        assert [one["next_try_s"] for one in died] == [0.01, 0.02, 0.04, 0.05, 0.05, 0.05]
        assert {one["message"] for one in died} == {"the worker ended with exit code 3"}
        worker = supervised.event("worker_ready")["pid"]
        supervised.told("READY")
        wait_until(lambda: descriptors() <= before, "a descriptor is left open")
        children = Path(f"/proc/{supervised.pid}/task/{supervised.pid}/children").read_text()
        assert children.split() == [str(worker)], "a zombie"
        supervised.signal(signal.SIGTERM)
        assert supervised.end() == 0


def test_what_the_first_worker_cannot_work_with_ends_it(tmp_path: Path) -> None:
    script = "status.status('daemon.toml: no camera'); print('why', file=sys.stderr); sys.exit(2)"
    with Supervised(tmp_path, script) as supervised:
        assert supervised.end() == 2
        assert "why" in supervised.lines
        assert not any("worker_died" in line for line in supervised.lines)
        assert supervised.told("STATUS") == b"STATUS=daemon.toml: no camera"


def test_later_on_a_bad_configuration_is_no_end(tmp_path: Path) -> None:
    script = """
    number = tries()
    if number == 2:
        sys.exit(2)
    status.ready()
    if number == 1:
        sys.exit(1)
    time.sleep(60)
    """
    with Supervised(tmp_path, script, first_pause_s=0.01) as supervised:
        supervised.event("worker_ready")
        supervised.event("worker_died")
        assert supervised.event("worker_died")["message"] == "the worker ended with exit code 2"
        supervised.event("worker_ready")


def test_a_worker_that_hangs_says_where_and_is_replaced(tmp_path: Path) -> None:
    script = """
    import faulthandler
    faulthandler.enable()
    def stuck_in_the_driver():
        time.sleep(600)
    status.ready()
    if tries() == 1:
        stuck_in_the_driver()
    time.sleep(0.2)
    """
    with Supervised(tmp_path, script, watchdog_s=0.2) as supervised:
        hung = supervised.event("worker_hung")
        assert hung["message"] == "no sign of life from the worker for 0.2 s"
        assert "SIGABRT" in supervised.event("worker_died")["message"]
        assert any("stuck_in_the_driver" in line for line in supervised.lines)
        supervised.event("worker_ready")


@pytest.mark.parametrize("where", ["before it is ready", "after"])
def test_a_worker_that_ignores_all_is_killed(tmp_path: Path, where: str) -> None:
    script = f"""
    if {where == "after"}:
        status.ready()
    while True:
        time.sleep(600)
    """
    limits = {"start_s": 60.0 if where == "after" else 0.5, "watchdog_s": 0.2, "abort_s": 0.1}
    with Supervised(tmp_path, script, deaf=True, **limits) as supervised:
        supervised.event("worker_hung")
        assert "SIGKILL" in supervised.event("worker_died")["message"]


def test_a_reload_is_passed_on_once_the_worker_can_take_it(tmp_path: Path) -> None:
    script = """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.mkfifo(here / "go")
    status.status("starting")
    (here / "go").read_text()  # any SIGHUP now would be the end
    def reload(*_):
        status.reloading()
        status.ready()
    signal.signal(signal.SIGHUP, reload)
    status.ready()
    while True:
        signal.pause()
    """
    with Supervised(tmp_path, script) as supervised:
        supervised.told("STATUS=starting")
        supervised.signal(signal.SIGHUP)
        (tmp_path / "go").write_text("")
        assert supervised.told("READY")
        assert b"MONOTONIC_USEC=" in supervised.told("RELOADING=1")
        assert supervised.told("READY")
        supervised.signal(signal.SIGHUP)
        assert supervised.told("RELOADING=1")
        assert supervised.told("READY")
        supervised.signal(signal.SIGTERM)
        assert supervised.end() == 0


def test_a_reload_ends_a_pause_and_so_does_a_stop(tmp_path: Path) -> None:
    limits = {"first_pause_s": 600.0, "longest_pause_s": 600.0}
    with Supervised(tmp_path, "sys.exit(1)", **limits) as supervised:
        supervised.event("worker_died")
        assert supervised.event("worker_died")["next_try_s"] == 600
        supervised.signal(signal.SIGHUP)
        assert supervised.event("worker_died")["next_try_s"] == 600
        supervised.signal(signal.SIGTERM)
        assert supervised.end() == 0


def test_the_worker_does_not_outlive_the_supervisor(tmp_path: Path) -> None:
    with Supervised(tmp_path, GOOD) as supervised:
        worker = supervised.event("worker_ready")["pid"]
        supervised.signal(signal.SIGKILL)
        wait_until(lambda: gone(worker), "it lives on")


def test_a_worker_that_comes_too_late_for_its_supervisor_ends() -> None:
    script = "from sanderling.statuspipe import StatusPipe; StatusPipe.attach(); print('on')"
    environ = os.environ | {statuspipe.PARENT: "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, b"")


def test_what_the_worker_started_goes_with_it(tmp_path: Path) -> None:
    script = """
    import subprocess
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    status.status(f"helper {helper.pid}")
    status.ready()
    os._exit(1)
    """
    with Supervised(tmp_path, script) as supervised:
        helper = int(supervised.told("STATUS=helper").split()[1])
        supervised.event("worker_died")
        wait_until(lambda: gone(helper), "it lives on")


def test_the_watchdog_is_told_while_the_worker_beats_or_is_awaited(tmp_path: Path) -> None:
    with Supervised(tmp_path, GOOD, manager_s=0.1) as supervised:
        supervised.told("READY")
        for _ in range(3):
            assert supervised.told("WATCHDOG") == b"WATCHDOG=1"


def test_a_worker_that_talks_nonsense_harms_nobody(tmp_path: Path) -> None:
    script = """
    pipe = status._descriptor
    os.set_blocking(pipe, True)
    for _ in range(20):
        os.write(pipe, os.urandom(50_000))
    os.write(pipe, b"\\nready\\nstopping\\nready" + b"y" * 100_000 + b"\\nstatus done\\n")
    os.close(pipe)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        time.sleep(60)
    """
    with Supervised(tmp_path, script) as supervised:
        supervised.event("worker_ready")
        assert supervised.told("STATUS=done") == b"STATUS=done"
        supervised.signal(signal.SIGTERM)
        assert supervised.end() == 0


class Heard(logging.Handler):
    """Keeps what happened: events, and what systemd is told, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.messages: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        name: str = record.event  # type: ignore[attr-defined]
        self.names.append(name)
        self.messages[name] = record.getMessage()


def supervise(
    script: str, limits: Limits | None, notify: Notifier, heard: Heard, python: str = sys.executable
) -> int:
    """In this process; returns the exit code."""
    log = logging.Logger("sanderling.test")
    log.addHandler(heard)
    return Supervisor([python, "-c", script], limits, notify=notify, log=log).run()


class StopsUs(Notifier):
    """Tells us to stop once the worker is ready, or waited for."""

    def __init__(self) -> None:
        super().__init__(None)

    def ready(self) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return True

    def status(self, text: str) -> bool:
        return self.ready()


class Watched(StopsUs):
    """A watchdog; stops us when the worker has died."""

    def __init__(self, heard: Heard) -> None:
        super().__init__()
        self.watchdog_s = 0.02
        self._heard = heard

    def ready(self) -> bool:
        return True

    def status(self, text: str) -> bool:
        return super().ready()

    def watchdog(self) -> bool:
        self._heard.names.append("told")
        return True


def test_the_watchdog_is_not_told_while_the_worker_hangs() -> None:
    script = (
        "import signal, time; from sanderling.statuspipe import StatusPipe;"
        "signal.signal(signal.SIGABRT, signal.SIG_IGN); StatusPipe.attach().ready();"
        "time.sleep(600)"
    )
    heard = Heard()
    supervise(script, Limits(watchdog_s=0.2, abort_s=0.2), Watched(heard), heard)
    hung, died = heard.names.index("worker_hung"), heard.names.index("worker_died")
    assert "told" in heard.names[:hung]
    assert died == hung + 1


def test_a_program_that_is_not_there_is_tried_again() -> None:
    before = signal.getsignal(signal.SIGTERM)
    heard = Heard()
    assert supervise("", None, StopsUs(), heard, python="/nowhere/python") == 0
    assert "cannot be started: No such file" in heard.messages["worker_died"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_worker_that_the_kernel_does_not_let_go_is_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A process in uninterruptible sleep, which is what a broken driver makes, cannot be had here:
    # the signals are held back instead.
    left: list[Child] = []
    monkeypatch.setattr(Child, "kill", lambda child: left.append(child))  # noqa: PLW0108
    script = (
        "import signal, time; from sanderling.statuspipe import StatusPipe;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); StatusPipe.attach().ready();"
        "time.sleep(600)"
    )
    heard = Heard()
    try:
        code = supervise(script, Limits(stop_s=0.05, kill_s=0.05), StopsUs(), heard)
    finally:
        os.kill(left[0].pid, signal.SIGKILL)
        left[0].wait()
    assert code == 1
    assert "cannot be killed" in heard.messages["stopped"]


def test_how_a_process_ended_in_words() -> None:
    assert ended_in_words(0) == "ended with exit code 0"
    assert ended_in_words(-9) == "was killed by SIGKILL (Killed)"
    assert ended_in_words(-40) == "was killed by signal 40"


def test_it_loads_nothing_but_the_standard_library() -> None:
    script = "import json, sys, sanderling.supervisor; print(json.dumps(sorted(sys.modules)))"
    # Coverage, where it is measured, loads itself into every process.
    environ = {key: value for key, value in os.environ.items() if "COVERAGE" not in key}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environ
    )
    roots = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert "sanderling" in roots
    foreign = {name for name in roots if not name.startswith("_")} - set(sys.stdlib_module_names)
    assert foreign <= {"sanderling", "sitecustomize"}
    assert not roots & {"asyncio", "ctypes", "argparse", "inspect", "pathlib"}, (
        "memory it can do without"
    )
