"""A board as it describes itself: recorded ones, garbage, and this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling import board, library, profile
from sanderling.board import Board, Power, state
from sanderling.board.files import Files

BOARDS = Path(__file__).parent / "boards"
NAMES = sorted(path.name for path in BOARDS.iterdir())
PROFILES = [profile.read(path) for path in library.profiles()]


def recorded(name: str) -> Board:
    return board.read(BOARDS / name)


# The name, the cores, how many may be used, bits, int8, MHz now and at most, degrees, MiB, profile.
EXPECTED = {
    "intel-n100": ("4 x Intel(R) N100", "4 x Intel(R) N100", 4, 64, True,
                   (1900, 3400), 46.0, 15741, "intel-n100"),
    "jetson-orin-nano": ("NVIDIA Jetson Orin Nano Developer Kit", "6 x Cortex-A78AE", 6, 64, True,
                         (729, 1510), 48.312, 7619, "jetson-orin-nano"),
    "raspberry-pi-3b-plus": ("Raspberry Pi 3 Model B Plus Rev 1.3", "4 x Cortex-A53", 4, 64, False,
                             (1400, 1400), 58.0, 923, "raspberry-pi-3b-plus"),
    "raspberry-pi-4b": ("Raspberry Pi 4 Model B Rev 1.4", "4 x Cortex-A72", 4, 64, False,
                        (1500, 1800), 51.121, 3793, "raspberry-pi-4b"),
    "raspberry-pi-4b-32bit": ("Raspberry Pi 4 Model B Rev 1.4", "4 x Cortex-A72", 4, 32, False,
                              (1500, 1800), 51.121, 3838, "raspberry-pi-4b"),
    "raspberry-pi-4b-throttled": ("Raspberry Pi 4 Model B Rev 1.4", "4 x Cortex-A72", 4, 64, False,
                                  (600, 1800), 51.121, 3793, "raspberry-pi-4b"),
    "raspberry-pi-5": ("Raspberry Pi 5 Model B Rev 1.0", "4 x Cortex-A76", 4, 64, True,
                       (1500, 2400), 48.5, 8052, "raspberry-pi-5"),
    "raspberry-pi-5-hot": ("Raspberry Pi 5 Model B Rev 1.0", "4 x Cortex-A76", 4, 64, True,
                           (1500, 2400), 86.2, 8052, "raspberry-pi-5"),
    "raspberry-pi-cm4": ("Raspberry Pi Compute Module 4 Rev 1.1", "4 x Cortex-A72", 4, 64, False,
                         (1500, 1500), 45.277, 1857, "raspberry-pi-cm4"),
    "raspberry-pi-zero-2-w": ("Raspberry Pi Zero 2 W Rev 1.0", "4 x Cortex-A53", 4, 64, False,
                              (600, 1000), 42.932, 415, "raspberry-pi-zero-2-w"),
    "rock-5b": ("Radxa ROCK 5B", "4 x Cortex-A55 and 4 x Cortex-A76", 8, 64, True,
                (1200, 2400), 44.384, 15816, "rock-5b"),
    "unknown-pc": ("Acme Q1900-X", "4 x Intel(R) Celeron(R) CPU  J1900  @ 1.99GHz", 2, 64, False,
                   (1332, 2415), 52.0, 1024, "generic"),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_board_is_read(name: str) -> None:
    seen = recorded(name)
    cpu, reading = seen.cpu, seen.reading
    chosen = profile.choose(PROFILES, seen.facts()).profile.name
    assert EXPECTED[name] == (
        seen.name, cpu.model, cpu.usable, cpu.bits, cpu.has_int8, (cpu.mhz, cpu.mhz_max),
        reading.celsius, reading.memory.total >> 20, chosen)  # fmt: skip
    assert not seen.real
    assert seen.sample() == reading
    assert (BOARDS / name / "SOURCE").read_text().count("omposed") >= 1


def test_a_raspberry_pi_says_how_its_power_is() -> None:
    words = {name: recorded(name).reading.power for name in NAMES}
    assert {name for name, power in words.items() if power} == {
        name for name in NAMES if name.startswith("raspberry")
    }
    for name, bits in [("raspberry-pi-5", 0), ("raspberry-pi-4b-throttled", 0x50005)]:
        assert words[name] == Power(bits)


@pytest.mark.parametrize(
    ("bits", "now", "before"),
    [
        (0, (False, False), (False, False)),
        (0x50005, (True, True), (True, True)),
        (0xE000E, (False, True), (False, True)),
        (0x10000, (False, False), (True, False)),
        (0x2, (False, True), (False, False)),
    ],
)
def test_the_bits_of_power(bits: int, now: tuple[bool, bool], before: tuple[bool, bool]) -> None:
    power = Power(bits)
    assert (power.under_voltage, power.throttled) == now
    assert (power.was_under_voltage, power.was_throttled) == before


def copied(name: str, into: Path) -> Path:
    shutil.copytree(BOARDS / name, into / "root")
    return into / "root"


def test_without_the_firmwares_word_the_kernels_alarm_counts(tmp_path: Path) -> None:
    root = copied("raspberry-pi-4b-throttled", tmp_path)
    for place in root.glob("sys/devices/platform/**/get_throttled"):
        place.unlink()
    assert board.read(root).reading.power == Power(state.UNDER_VOLTAGE)


@pytest.mark.parametrize(
    ("said", "bits"),
    [
        ("echo throttled=0x50005", 0x50005),
        ("echo throttled=0x0", 0),
        ('echo error=1 error_msg="Command not registered"', None),
        ("printf '\\377\\376'", None),
        ("echo throttled=-0x1", None),
        ("exit 1", None),
    ],
)
def test_vcgencmd_is_asked_where_it_is_all_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, bits: int | None
) -> None:
    command = tmp_path / "vcgencmd"
    command.write_text(f'#!/bin/sh\n[ "$1" = get_throttled ] || exit 9\n{said}\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    source = state.find_power(Files(tmp_path))
    assert source == state.PowerSource(), "a recording has no commands"
    assert state.power(Files(tmp_path), state.PowerSource(command=str(command))) == bits
    assert state.power(Files(tmp_path), state.PowerSource(command=str(tmp_path / "no"))) is None


def test_a_sample_is_of_now(tmp_path: Path) -> None:
    root = copied("raspberry-pi-5", tmp_path)
    seen = board.read(root)
    (root / "sys/class/thermal/thermal_zone0/temp").write_text("90000\n")
    (root / "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled").write_text(
        "20002\n"
    )
    now = seen.sample()
    assert (now.celsius, now.power) == (90.0, Power(0x20002))
    (root / "sys/class/thermal/thermal_zone0/temp").write_text("-273000\n")
    (root / "sys/class/hwmon/hwmon0/temp1_input").write_text("5000000\n")
    assert seen.sample().celsius is None


def test_the_processors_sensors_count_before_others() -> None:
    n100 = recorded("intel-n100")
    assert n100.temperatures["nvme Composite"] == 52.85
    assert n100.temperatures["acpitz"] == 27.8
    assert n100.reading.celsius == 46.0


def test_a_control_group_bounds_cores_and_memory() -> None:
    pc = recorded("unknown-pc")
    assert (pc.cpu.cores, pc.cpu.usable) == (4, 2)
    assert pc.reading.memory.total == 1 << 30
    assert pc.reading.memory.available == 180000 * 1024
    assert pc.reading.memory.swap_used == 917504 * 1024


def test_the_affinity_bounds_the_cores(tmp_path: Path) -> None:
    root = copied("rock-5b", tmp_path)
    (root / "proc/self/status").write_text("Cpus_allowed_list:\t4-5,7\n")
    assert board.read(root).cpu.usable == 3


def test_cameras_are_listed_with_whether_they_can_be_opened() -> None:
    seen = board.read(BOARDS / "raspberry-pi-4b", may_use=lambda path: False)
    (camera,) = seen.cameras
    assert (camera.device, camera.name, camera.readable) == (
        "/dev/video0", "USB Camera: USB Camera", False)  # fmt: skip
    assert recorded("raspberry-pi-4b").cameras[0].readable
    assert recorded("raspberry-pi-cm4").cameras == ()


def test_nothing_is_known_of_an_empty_root(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "missing"):
        seen = board.read(root)
        assert (seen.name, seen.compatible, seen.dmi, seen.kernel) == ("", (), (), "")
        assert (seen.cpu.usable, seen.cpu.bits, seen.cpu.has_int8) == (1, 0, None)
        assert seen.clock_set is None
        assert seen.reading.celsius is None
        assert seen.reading.memory.total == 0
        assert profile.choose(PROFILES, seen.facts()).profile.name == profile.GENERIC


FILES = sorted({path.relative_to(BOARDS / name) for name in NAMES
                for path in (BOARDS / name).rglob("*") if path.is_file()})  # fmt: skip
GARBAGE = st.one_of(
    st.binary(max_size=64),
    st.sampled_from(
        [b"", b"\xff" * 5000, b"9" * 5000, b"-1", b"nan", b"0-99999999999", b"0x", b":::",
         b"processor: 0\nFeatures", b"max", b"0 0", b"MemTotal: -5 kB\nSwapFree: 9 kB",
         b"0::/../../../etc\n", b"Cpus_allowed_list: 9-1,a-b"]
    ),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(FILES), GARBAGE, max_size=12), st.sampled_from(NAMES))
def test_garbage_never_raises(
    tmp_path_factory: pytest.TempPathFactory, files: dict[Path, bytes], name: str
) -> None:
    root = tmp_path_factory.mktemp("board")
    for place, data in files.items():
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    seen = board.read(root)
    seen.sample()
    assert seen.cpu.usable >= 1
    assert seen.reading.memory.total >= 0
    profile.settle(profile.choose(PROFILES, seen.facts()).profile, seen.facts())
    shutil.rmtree(root)


def test_folders_pipes_and_circles_in_place_of_files_are_nothing(tmp_path: Path) -> None:
    (tmp_path / "proc/cpuinfo").mkdir(parents=True)
    os.mkfifo(tmp_path / "proc/meminfo")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").symlink_to("os-release")
    seen = board.read(tmp_path)
    assert (seen.cpu.model, seen.reading.memory.total, seen.system) == ("", 0, "")


def test_numbers_in_names_are_in_order(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        (tmp_path / f"cpu{number}").mkdir()
    assert [path.name for path in Files(tmp_path).glob("cpu*")] == ["cpu1", "cpu2", "cpu10"]


def test_this_machine_is_read_as_the_system_calls_tell_it() -> None:
    here = board.read()
    assert here.real
    assert here.cpu.arch == os.uname().machine
    assert here.kernel == os.uname().release
    assert here.cpu.bits == 64
    assert 1 <= here.cpu.usable <= len(os.sched_getaffinity(0))
    assert here.reading.memory.total >= here.reading.memory.available > 0
    assert here.clock_set in (True, False)
