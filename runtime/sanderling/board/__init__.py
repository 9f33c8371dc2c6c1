"""The board this runs on, as it describes itself in `/proc`, `/sys` and its device tree.

Nothing raises because of a file that is missing or makes no sense: what the board does not say is
empty, 0 or None. With another root, a folder of recorded files is read in place of this machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sanderling.board import cpu, state
from sanderling.board.cpu import Cpu
from sanderling.board.files import Files
from sanderling.board.state import Memory, PowerSource, Sensor
from sanderling.profile import Facts

__all__ = ["Board", "Camera", "Cpu", "Memory", "Power", "Reading", "read"]

_BLANK = ("", "default string", "to be filled by o.e.m.", "system manufacturer", "none", "n/a",
          "system product name", "not specified", "not applicable", "unknown")  # fmt: skip
"""What a PC's firmware says when nobody filled it in."""


@dataclass(frozen=True, slots=True)
class Power:
    """A Raspberry Pi's word on its power and heat.

    Attributes:
        bits: as the firmware gives them.
    """

    bits: int

    @property
    def under_voltage(self) -> bool:
        """The supply's voltage is too low now."""
        return bool(self.bits & state.UNDER_VOLTAGE)

    @property
    def throttled(self) -> bool:
        """It runs slower now than it would."""
        return bool(self.bits & (state.CAPPED | state.THROTTLED | state.SOFT_LIMIT))

    @property
    def was_under_voltage(self) -> bool:
        """The voltage was too low since the board started."""
        return Power(self.bits >> 16).under_voltage

    @property
    def was_throttled(self) -> bool:
        """It ran slower since the board started."""
        return Power(self.bits >> 16).throttled


@dataclass(frozen=True, slots=True)
class Camera:
    """A video device.

    Attributes:
        device: such as `/dev/video0`.
        name: what its driver calls it.
        readable: whether this process may open it.
    """

    device: str
    name: str
    readable: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """What changes from minute to minute.

    Attributes:
        celsius: the hottest sensor in the processor, in degrees Celsius; None when there is none.
        power: a Raspberry Pi's word; None on other boards.
        memory: how much is left.
    """

    celsius: float | None
    power: Power | None
    memory: Memory


@dataclass(frozen=True, slots=True)
class Board:
    """A board.

    Attributes:
        name: for people; empty when it says nothing of itself.
        compatible: of the device tree, the most specific first; empty on a PC.
        dmi: what a PC's firmware calls it: vendor and product, then the main board.
        system: the operating system, for people.
        kernel: its version, such as `6.6.31+rpt-rpi-v8`.
        cpu: the processor.
        temperatures: degrees Celsius by sensor, those that make sense.
        clock_set: whether something keeps the clock right; None when not known.
        cameras: the video devices.
        reading: what changes, as it was when the board was read.
        real: whether it is this machine, and not a recording.
    """

    name: str
    compatible: tuple[str, ...]
    dmi: tuple[str, ...]
    system: str
    kernel: str
    cpu: Cpu
    temperatures: dict[str, float]
    clock_set: bool | None
    cameras: tuple[Camera, ...]
    reading: Reading
    real: bool
    _files: Files = field(repr=False, compare=False)
    _sensors: tuple[Sensor, ...] = field(repr=False, compare=False)
    _power: PowerSource = field(repr=False, compare=False)

    def sample(self) -> Reading:
        """Look again at what changes: a few small files, no search for them."""
        return _sample(self._files, self._sensors, self._power)

    def facts(self) -> Facts:
        """What profiles ask of a board."""
        return Facts(
            compatible=self.compatible,
            dmi=self.dmi,
            cpus=self.cpu.names,
            cores=self.cpu.usable,
            memory_mb=self.reading.memory.total >> 20,
        )


def _may_use(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


def read(root: Path = Path("/"), may_use: Callable[[Path], bool] = _may_use) -> Board:
    """Look at the board.

    Args:
        root: `/`, or a folder of recorded files.
        may_use: whether this process may open a device.
    """
    files = Files(root)
    found, power = state.sensors(files), state.find_power(files)
    readings = ((sensor.name, state.celsius(files, sensor)) for sensor in found)
    compatible = files.words("proc/device-tree/compatible") or files.words(
        "sys/firmware/devicetree/base/compatible"
    )
    processor = cpu.read(files)
    dmi = _dmi(files)
    tree = files.text("proc/device-tree/model") or files.text("sys/firmware/devicetree/base/model")
    return Board(
        name=tree or (dmi[0] if dmi else "") or processor.model,
        compatible=compatible,
        dmi=dmi,
        system=_system(files),
        kernel=files.text("proc/sys/kernel/osrelease"),
        cpu=processor,
        temperatures={name: value for name, value in readings if value is not None},
        clock_set=state.clock_is_set(files),
        cameras=_cameras(files, may_use),
        reading=_sample(files, found, power),
        real=files.real,
        _files=files,
        _sensors=found,
        _power=power,
    )


def _sample(files: Files, sensors: tuple[Sensor, ...], power: PowerSource) -> Reading:
    bits = state.power(files, power)
    return Reading(
        celsius=state.hottest(files, sensors),
        power=Power(bits) if bits is not None else None,
        memory=state.memory(files),
    )


def _dmi(files: Files) -> tuple[str, ...]:
    names = []
    for vendor, product in (("sys_vendor", "product_name"), ("board_vendor", "board_name")):
        said = [files.text(f"sys/class/dmi/id/{key}") for key in (vendor, product)]
        if said[1].lower() not in _BLANK:
            names.append(" ".join(word for word in said if word.lower() not in _BLANK))
    return tuple(dict.fromkeys(names))


def _system(files: Files) -> str:
    for line in files.text("etc/os-release").splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip("\"'")
    return ""


def _cameras(files: Files, may_use: Callable[[Path], bool]) -> tuple[Camera, ...]:
    found = []
    for entry in files.glob("sys/class/video4linux/video*"):
        device = files.path(f"dev/{entry.name}")
        found.append(Camera(f"/dev/{entry.name}", files.text(entry / "name"), may_use(device)))
    return tuple(found)
