"""What changes while a board runs: heat, power, memory, its clock."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sanderling.board.cpu import groups
from sanderling.board.files import Files, whole
from sanderling.thermal import plausible

UNDER_VOLTAGE, CAPPED, THROTTLED, SOFT_LIMIT = 1, 2, 4, 8
"""Bits of a Raspberry Pi's `get_throttled`: what holds now; shifted by 16, what did since boot."""
_ZONES = ("cpu", "soc", "core", "package", "pkg", "tj-", "k10temp")
"""Parts of the names of sensors that are in the processor; others (battery, disk) are not asked."""
_STA_UNSYNC = 0x40
_TIME_ERROR = 5


@dataclass(frozen=True, slots=True)
class Sensor:
    """A temperature sensor.

    Attributes:
        name: what the kernel calls it.
        place: the file with millidegrees.
        counts: whether it is in the processor.
    """

    name: str
    place: Path
    counts: bool


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory, in bytes; 0 where the board does not say.

    Attributes:
        total: what this process may use: the board's, or less by a control group.
        available: what is left of it without swapping.
        swap_used: how much lies in swap.
    """

    total: int
    available: int
    swap_used: int


def sensors(files: Files) -> tuple[Sensor, ...]:
    """The temperature sensors: thermal zones, then those of chips."""
    found = []
    for zone in files.glob("sys/class/thermal/thermal_zone*"):
        name = files.text(zone / "type") or zone.name
        found.append(_sensor(name, zone / "temp"))
    for chip in files.glob("sys/class/hwmon/hwmon*"):
        name = files.text(chip / "name") or chip.name
        for place in files.glob(f"{chip.relative_to(files.root)}/temp*_input"):
            label = files.text(place.with_name(place.name.replace("_input", "_label")))
            found.append(_sensor(f"{name} {label}".strip(), place))
    return tuple(found)


def _sensor(name: str, place: Path) -> Sensor:
    lower = name.lower()
    return Sensor(name, place, any(part in lower for part in _ZONES))


def celsius(files: Files, sensor: Sensor) -> float | None:
    """A temperature in degrees Celsius; None when it cannot be that of a running chip."""
    value = files.number(sensor.place)
    degrees = value / 1000 if value is not None else None
    return degrees if plausible(degrees) else None


def hottest(files: Files, which: tuple[Sensor, ...]) -> float | None:
    """The highest temperature in the processor, in degrees Celsius; of any sensor if none is."""
    for counting in (True, False):
        readings = [celsius(files, sensor) for sensor in which if sensor.counts is counting]
        known = [reading for reading in readings if reading is not None]
        if known:
            return max(known)
    return None


@dataclass(frozen=True, slots=True)
class PowerSource:
    """Where a Raspberry Pi says how its power and heat are: the first of these that is there.

    Attributes:
        firmware: the firmware's word, as bits.
        alarm: the kernel's alarm for under-voltage.
        command: `vcgencmd`.
    """

    firmware: Path | None = None
    alarm: Path | None = None
    command: str | None = None


def find_power(files: Files) -> PowerSource:
    """Where this board says how its power and heat are."""
    for place in files.glob("sys/devices/platform/soc*/*firmware/get_throttled"):
        return PowerSource(firmware=place)
    command = shutil.which("vcgencmd") if files.real else None
    if command:
        return PowerSource(command=command)
    for chip in files.glob("sys/class/hwmon/hwmon*"):
        if files.text(chip / "name") == "rpi_volt":
            return PowerSource(alarm=chip / "in0_lcrit_alarm")
    return PowerSource()


def power(files: Files, source: PowerSource) -> int | None:
    """A Raspberry Pi's word on its power and heat, as bits; None on other boards."""
    if source.firmware is not None:
        bits = files.number(source.firmware, 16)
    elif source.command is not None:
        bits = _vcgencmd(source.command)
    elif source.alarm is not None:
        bits = files.number(source.alarm)
        bits = UNDER_VOLTAGE if bits else bits
    else:
        bits = None
    return bits if bits is not None and 0 <= bits < 1 << 32 else None


def _vcgencmd(command: str) -> int | None:
    try:
        done = subprocess.run(
            [command, "get_throttled"], capture_output=True, timeout=2, check=False, text=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return whole(done.stdout.strip().removeprefix("throttled="), 16)


def memory(files: Files) -> Memory:
    """Memory and swap."""
    info = files.fields("proc/meminfo")
    total, available = _bytes(info, "MemTotal"), _bytes(info, "MemAvailable")
    for group in groups(files):
        most = files.number(f"{group}/memory.max")
        if most is None or not 0 < most < (total or 1 << 62):
            continue
        total = most
        used = files.number(f"{group}/memory.current") or 0
        available = min(available or most, max(0, most - used))
    swap = _bytes(info, "SwapTotal") - _bytes(info, "SwapFree")
    return Memory(total, available, max(0, swap))


def _bytes(info: dict[str, str], key: str) -> int:
    number, _, unit = info.get(key, "").partition(" ")
    value = whole(number)
    return value * 1024 if value is not None and unit == "kB" and 0 <= value < 1 << 50 else 0


class _Timex(ctypes.Structure):
    """`struct timex` of Linux as far as its status, with room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def clock_is_set(files: Files) -> bool | None:
    """Whether something keeps the clock right; None when the board does not say.

    The kernel knows, whatever the daemon that does it. A recording has systemd's mark, or not.
    """
    if files.real:
        timex = _Timex()
        try:
            state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
        except (OSError, AttributeError):
            state = -1
        if state >= 0:
            return state != _TIME_ERROR and not timex.status & _STA_UNSYNC
    if not os.path.isdir(files.path("run/systemd")):
        return None
    return os.path.exists(files.path("run/systemd/timesync/synchronized"))
