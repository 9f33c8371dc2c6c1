"""`sanderling doctor`, on recorded boards and on this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from commandline import refused, run
from sanderling import board, checks, library, profile, readable
from sanderling.board import Board
from sanderling.checks import Check
from sanderling.errors import ConfigError
from sanderling.profile import Limits, Profile

pytestmark = pytest.mark.process

BOARDS = Path(__file__).parent / "boards"


def examined(seen: Board, fitting: Profile | None = None) -> dict[str, Check]:
    known = [profile.read(path) for path in library.profiles()]
    chosen = fitting or profile.choose(known, seen.facts()).profile
    found = checks.check(seen, chosen, profile.settle(chosen, seen.facts()), {})
    return {item.name: item for item in found}


# What is not in order on each board; all else is.
WRONG = {
    "intel-n100": {},
    "jetson-orin-nano": {},
    "raspberry-pi-3b-plus": {"int8": "warning"},
    "raspberry-pi-4b": {"int8": "warning"},
    "raspberry-pi-4b-32bit": {"system": "problem", "int8": "warning"},
    "raspberry-pi-4b-throttled": {"int8": "warning", "power": "problem", "throttling": "problem"},
    "raspberry-pi-5": {},
    "raspberry-pi-5-hot": {"throttling": "problem", "temperature": "problem"},
    "raspberry-pi-cm4": {"int8": "warning"},
    "raspberry-pi-zero-2-w": {"int8": "warning"},
    "rock-5b": {},
    "unknown-pc": {
        "int8": "warning", "clock rate": "warning", "swap": "warning", "clock": "warning"},
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_recorded_board_is_found(name: str) -> None:
    found = examined(board.read(BOARDS / name))
    assert {key: item.state for key, item in found.items() if item.state != "ok"} == WRONG[name]
    for item in found.values():
        assert bool(item.remedy) == (item.state in ("warning", "problem"))
        assert item.found


def test_every_recorded_board_is_in_the_table() -> None:
    assert set(WRONG) == {path.name for path in BOARDS.iterdir()}


def changed(tmp_path: Path, files: dict[str, str | None], name: str = "raspberry-pi-5") -> Board:
    root = shutil.copytree(BOARDS / name, tmp_path / "root")
    for place, text in files.items():
        if text is None:
            (root / place).unlink()
        else:
            (root / place).write_text(text)
    return board.read(root)


FIRMWARE = "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"
ZONE, CHIP = "sys/class/thermal/thermal_zone0/temp", "sys/class/hwmon/hwmon0/temp1_input"
MEMORY = "MemTotal: 1000000 kB\nMemAvailable: {} kB\n"


@pytest.mark.parametrize(
    ("files", "name", "state", "words"),
    [
        ({FIRMWARE: "10000\n"}, "power", "warning", "under-voltage since the board started"),
        ({FIRMWARE: "40000\n"}, "throttling", "warning", "throttled since the board started"),
        ({FIRMWARE: "1\n"}, "power", "problem", "under-voltage now"),
        ({ZONE: "78000\n"}, "temperature", "problem", "78.0 °C, at or above the limit of 78 °C"),
        ({ZONE: "75000\n"}, "temperature", "warning", "75.0 °C, close to the limit"),
        ({ZONE: "-1", CHIP: "5000000"}, "temperature", "ok", "-0.0 °C"),
        ({ZONE: "x", CHIP: "5000000"}, "temperature", "unknown", "no sensor"),
        ({"proc/meminfo": MEMORY.format(150_000)}, "memory", "warning", "146 of 976 MiB"),
        ({"proc/meminfo": MEMORY.format(50_000)}, "memory", "problem", "48 of 976 MiB"),
        ({"proc/meminfo": ""}, "memory", "unknown", "does not say"),
        ({"proc/meminfo": MEMORY.format(300_000)}, "limits", "ok",
         "4 threads, 512 MiB, frames up to 8.3 megapixels, less from 78 °C on"),
        ({"proc/meminfo": "MemTotal: 500000 kB"}, "limits", "warning", "366 are used"),
        ({"proc/self/status": "Cpus_allowed_list: 0-1"}, "limits", "warning", "2 are used"),
        ({"run/systemd/timesync/synchronized": None}, "clock", "warning", "not synchronised"),
        ({"proc/sys/kernel/osrelease": "3.10.105"}, "kernel", "problem", "3.10.105"),
        ({"proc/sys/kernel/osrelease": "x"}, "kernel", "unknown", "x"),
        ({"proc/cpuinfo": "processor: 0\nFeatures: fp asimd\nCPU part: 0xd0b\n"},
         "int8", "warning", "asimddp missing, which this board has"),
        ({"proc/cpuinfo": "", "usr/bin/env": ""}, "system", "unknown", "does not say"),
        ({"proc/cpuinfo": ""}, "int8", "unknown", "not known"),
        ({"sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "powersave\n"},
         "clock rate", "warning", "always the lowest"),
        ({"sys/devices/system/cpu/cpufreq/policy0/scaling_governor": None},
         "clock rate", "unknown", "does not say"),
    ],
)  # fmt: skip
def test_each_fault_is_told_with_what_was_found(
    tmp_path: Path, files: dict[str, str | None], name: str, state: str, words: str
) -> None:
    item = examined(changed(tmp_path, files))[name]
    assert item.state == state
    assert words in item.found


def test_a_camera_that_may_not_be_opened_names_the_group() -> None:
    seen = board.read(BOARDS / "raspberry-pi-4b", may_use=lambda path: False)
    item = examined(seen)["camera"]
    assert item.state == "problem"
    assert item.found == "/dev/video0 (USB Camera: USB Camera) may not be opened"
    assert "usermod -aG video" in item.remedy


def test_a_profile_that_asks_for_too_much_is_a_warning() -> None:
    greedy = Profile(name="greedy", limits=Limits(threads=64))
    item = examined(board.read(BOARDS / "rock-5b"), greedy)["limits"]
    assert item.state == "warning"
    assert "limits.threads is 64, and 8 may be used here" in item.found


def test_a_missing_library_is_a_problem() -> None:
    seen = board.read(BOARDS / "rock-5b")
    generic = Profile(name="x")
    bounds = profile.settle(generic, seen.facts())
    found = checks.check(seen, generic, bounds, {"numpy": "2.4", "wasmtime": None})
    assert [(item.state, item.found) for item in found if item.name == "library"] == [
        ("problem", "wasmtime is missing"), ("ok", "numpy 2.4")]  # fmt: skip


def test_another_processor_is_a_problem() -> None:
    seen = board.read(BOARDS / "rock-5b")
    other = replace(seen, cpu=replace(seen.cpu, arch="riscv64", features=frozenset()))
    assert examined(other)["system"].state == "problem"


def test_the_report_says_what_it_is_and_what_to_do() -> None:
    done = run("doctor", "--root", BOARDS / "raspberry-pi-4b-throttled", code=2)
    assert "board        Raspberry Pi 4 Model B Rev 1.4\n" in done.stdout
    assert "the device tree says raspberrypi,4-model-b\n" in done.stdout
    assert "begin with   int8, s8s8, latency\n" in done.stdout
    assert "power        PROBLEM  under-voltage now\n" in done.stdout
    assert "-> use the board's own power supply" in done.stdout
    assert done.stdout.endswith("\n2 problems, 1 warning\n")
    assert done.stderr == ""


def test_json_says_the_same() -> None:
    done = run("doctor", "--json", "--root", BOARDS / "raspberry-pi-5-hot", code=2)
    said = json.loads(done.stdout)
    assert said["board"]["throttled"] == 0xE000E
    assert said["board"]["celsius"] == 86.2
    assert said["profile"]["name"] == "raspberry-pi-5"
    states = {item["name"]: item["state"] for item in said["checks"]}
    assert states["throttling"] == states["temperature"] == "problem"


def test_this_machine_can_be_examined() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from sanderling.cli import main; main()", "doctor", "--json"],
        capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode in (0, 2), done.stderr
    said = json.loads(done.stdout)
    problems = [item for item in said["checks"] if item["state"] == "problem"]
    assert done.returncode == (2 if problems else 0)
    libraries = [item for item in said["checks"] if item["name"] == "library"]
    assert [item["state"] for item in libraries] == ["ok"]
    assert "onnxruntime 1." in libraries[0]["found"]


def test_another_profile_can_be_asked_for(tmp_path: Path) -> None:
    root = BOARDS / "raspberry-pi-zero-2-w"
    done = run("doctor", "--root", root, "--profile", "jetson-orin-nano")
    assert "limits.threads is 6, and 4 may be used here; 4 are used" in done.stdout
    own = tmp_path / "own.toml"
    own.write_text('name = "own"\n[limits]\nthreads = 2\n')
    assert "own: it was asked for" in run("doctor", "--root", root, "--profile", own).stdout
    assert "no profile of that name" in refused("doctor", "--profile", "nosuch")
    own.write_text('name = "own"\nlimit = 1')
    assert "unknown key 'limit'" in refused("doctor", "--profile", own)


def test_what_a_board_says_is_made_printable(tmp_path: Path) -> None:
    root = shutil.copytree(BOARDS / "raspberry-pi-5", tmp_path / "root")
    (root / "proc/device-tree/model").write_bytes(b"\x1b[2JPi\0")
    assert "?[2JPi" in run("doctor", "--root", root).stdout
    assert json.loads(run("doctor", "--json", "--root", root).stdout)["board"]["name"] == "?[2JPi"


def test_what_was_measured_runs_best_and_what_was_not_is_to_begin_with(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    text = 'name = "own"\n[preferred]\nmode = "throughput"\nthreads = 1\n'
    own.write_text(text)
    root = BOARDS / "rock-5b"
    done = run("doctor", "--root", root, "--profile", own)
    assert "begin with   throughput, 1 thread\n" in done.stdout
    own.write_text(text + '[evidence]\ndate = "2026-01-01T00:00:00Z"\n')
    done = run("doctor", "--root", root, "--profile", own)
    assert "runs best    throughput, 1 thread\n" in done.stdout


CONFIG = """
[[pipeline]]
name = "eyes"
file = "eyes.toml"
"""
CAMERA = '[[camera]]\nname = "c{}"\npipeline = "eyes"\nsource = "{}"\n'
IN_ORDER = [
    "/dev/video0?width=1280", "0", "pattern:640x480@30", "film.mp4", ".", "rtsp://192.0.2.7/x",
    "rtsp://me:geheim@door.example:554/x", "http://[2001:db8::1]:8080/video",
    "unix:/run/sanderling/door.sock", "unix:/run/door.sock"]  # fmt: skip
FAULTY = {
    "/dev/video7": ("problem", "c0: /dev/video7: No such file or directory"),
    "7": ("problem", "c0: 7 (/dev/video7): No such file or directory"),
    "pattern:640": ("problem", "c0: pattern:640: a pattern is written such as"),
    "nosuch.mp4": ("problem", "c0: nosuch.mp4: there is no "),
    "rtps://192.0.2.7/x": ("problem", "streams are http://, https://, rtmp://, rtsp://, rtsps://"),
    "rtsp:///stream": ("problem", "no host in it"),
    "rtsp://a b/stream": ("problem", "that is no host"),
    "rtsp://me:ge/heim@192.0.2.7/x": ("problem", "host and port cannot be told apart"),
    "rtsp://192.0.2.7:99999/x": ("problem", "host and port cannot be told apart"),
    "rtsp://192.0.2.7:0/x": ("problem", "0 is no port"),
    "unix:door.sock": ("problem", "not a whole path"),
    "unix:/run/nosuch/door.sock": ("warning", "there is no folder /run/nosuch"),
    "libcamera:": ("unknown", "libcamera is not asked here"),
}


def configured(tmp_path: Path, *sources: str) -> tuple[Path, Path]:
    """A recorded board and a configuration on it with cameras of these sources."""
    root = shutil.copytree(BOARDS / "raspberry-pi-4b", tmp_path / "root")
    config = root / "etc" / "sanderling" / "daemon.toml"
    config.parent.mkdir()
    (config.parent / "film.mp4").touch()
    cameras = [CAMERA.format(number, source) for number, source in enumerate(sources)]
    config.write_text(CONFIG + "".join(cameras))
    return root, config


def test_the_cameras_of_the_daemon_are_looked_at_and_none_is_opened(tmp_path: Path) -> None:
    root, config = configured(tmp_path, *IN_ORDER)
    found = readable.check(config, root)
    assert {item.state for item in found} == {"ok"}, found
    assert found[0].found == f"{config}: {len(IN_ORDER)} cameras"
    assert found[1].found == "c0: /dev/video0?width=1280: may be opened"
    assert found[7].found.startswith("c6: rtsp://me:***@door.example:554/x: written as an address")
    assert "geheim" not in str(found)


@pytest.mark.parametrize("source", FAULTY)
def test_a_camera_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path, source: str) -> None:
    root, config = configured(tmp_path, source)
    state, words = FAULTY[source]
    item = readable.check(config, root)[1]
    assert item.state == state
    assert words in item.found
    assert "heim@" not in item.found
    assert item.remedy


def test_a_camera_that_is_off_is_not_looked_at(tmp_path: Path) -> None:
    _, config = configured(tmp_path, "/dev/video7")
    with config.open("a") as file:
        file.write("enabled = false\n")
    assert [item.found for item in readable.check(config)] == [f"{config}: 0 cameras"]


def test_what_this_user_may_not_open_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = ("/dev/video0", "film.mp4", ".", "unix:/run/door.sock")
    root, config = configured(tmp_path, *sources)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    found = [item.found for item in readable.check(config, root)[1:]]
    folder = config.parent
    assert found == [
        "c0: /dev/video0: may not be opened",
        f"c1: film.mp4: {folder / 'film.mp4'} may not be read",
        f"c2: .: {folder} may not be read",
        "c3: unix:/run/door.sock: this user may not listen in /run",
    ]
    config.chmod(0)
    monkeypatch.setattr("sanderling.daemonfile.read", _forbidden)
    (item,) = readable.check(config, root)
    assert (item.state, item.found) == ("unknown", f"{config}: may not be read by this user")


def _forbidden(path: Path) -> object:
    raise ConfigError(f"{path}: cannot be read: Permission denied")


def test_the_installed_configuration_is_found_by_itself_and_another_can_be_named(
    tmp_path: Path,
) -> None:
    root, _ = configured(tmp_path, "/dev/video7")
    done = run("doctor", "--root", root, code=2)
    assert "camera       PROBLEM  c0: /dev/video7: No such file" in done.stdout
    assert "-> plug it in; sanderling cameras lists what is there" in done.stdout
    other = tmp_path / "other.toml"
    other.write_text(CONFIG + CAMERA.format(0, "pattern:"))
    done = run("doctor", "--root", root, "--config", other)
    assert f"config       ok       {other}: 1 camera\n" in done.stdout
    other.write_text("[[camer]]")
    done = run("doctor", "--root", root, "--config", other, code=2)
    assert "config       PROBLEM  " in done.stdout
    assert "unknown key 'camer'" in done.stdout
    done = run("doctor", "--config", tmp_path / "no.toml", code=2)
    assert "no.toml: cannot be read" in done.stdout


def test_a_root_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "there is no such folder" in refused("doctor", "--root", tmp_path / "no")


def test_no_library_is_loaded_to_examine_a_board() -> None:
    script = (
        "import sys, sanderling.cli.doctor as d; d.packages();"
        "print({'cv2', 'onnxruntime', 'wasmtime', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
