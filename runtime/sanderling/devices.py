"""The cameras of this machine, asked of the kernel and of libcamera."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SYSFS = Path("/sys/class/video4linux")
DEV = Path("/dev")

# VIDIOC_QUERYCAP and its answer, from linux/videodev2.h: driver, card, bus, version, capabilities
# of the device, capabilities of this node.
_QUERYCAP = struct.Struct("=16s32s32sIII12x")
_VIDIOC_QUERYCAP = 0x80685600
_CAN_CAPTURE = 0x0000_0001 | 0x0000_1000  # one plane or several
_NODES_DIFFER = 0x8000_0000

_LISTERS = ("rpicam-hello", "libcamera-hello", "cam")
_LISTER_S = 10.0
_LISTED = re.compile(
    r"\s*(\d{1,3})\s*:\s*(.{1,200}?)\s*(?:\[.{0,200}\]\s*)?\((/?[^()\s]{1,200})\)\s*"
)


@dataclass(frozen=True, slots=True)
class Device:
    """A camera, or a node of one.

    Attributes:
        where: what to write to use it; empty when it cannot be used.
        name: what it calls itself.
        driver: that of the kernel, or `libcamera`.
        note: why it cannot be used, or what else to know.
    """

    where: str
    name: str
    driver: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Capability:
    """What a V4L2 node says of itself.

    Attributes:
        driver: of the kernel.
        card: the camera's name.
        capture: pictures can be captured from it.
    """

    driver: str
    card: str
    capture: bool


def parse_capability(answer: bytes) -> Capability:
    """The answer to VIDIOC_QUERYCAP, 104 bytes."""
    driver, card, _, _, device, node = _QUERYCAP.unpack(answer)
    able = node if device & _NODES_DIFFER else device
    return Capability(_text(driver), _text(card), bool(able & _CAN_CAPTURE))


def query(path: Path) -> Capability:
    """Ask a V4L2 node.

    Raises:
        OSError: it cannot be opened, or is no such node.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return parse_capability(fcntl.ioctl(descriptor, _VIDIOC_QUERYCAP, bytes(_QUERYCAP.size)))
    finally:
        os.close(descriptor)


def cameras(
    sysfs: Path = SYSFS, dev: Path = DEV, ask: Callable[[Path], Capability] = query
) -> list[Device]:
    """The V4L2 nodes of this machine.

    Args:
        sysfs: where the kernel lists them.
        dev: where their nodes are.
        ask: asks one.
    """
    try:
        names = [entry.name for entry in sysfs.iterdir() if re.fullmatch(r"video\d+", entry.name)]
    except OSError:
        return []
    return [
        _node(sysfs / name, dev / name, ask)
        for name in sorted(names, key=lambda name: int(name[5:]))
    ]


def _node(listed: Path, node: Path, ask: Callable[[Path], Capability]) -> Device:
    name, driver = _line(listed / "name"), _driver(listed)
    try:
        found = ask(node)
    except PermissionError:
        note = "may not be read: add the user to the group video"
        return Device("", name or node.name, driver, f"{node}: {note}")
    except OSError as exc:
        return Device("", name or node.name, driver, f"{node}: cannot be asked: {exc.strerror}")
    name, driver = found.card or name, found.driver or driver
    if not found.capture:
        return Device("", name, driver, f"{node}: gives no pictures")
    return Device(str(node), name, driver)


def _driver(listed: Path) -> str:
    try:
        return (listed / "device" / "driver").resolve(strict=True).name
    except OSError:
        return ""


def _line(path: Path) -> str:
    try:
        return path.read_bytes()[:256].decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace").strip()


def libcamera_cameras(timeout_s: float = _LISTER_S) -> list[Device]:
    """The cameras that libcamera knows, if one of its programs is installed."""
    lister = next(filter(None, map(shutil.which, _LISTERS)), None)
    if lister is None:
        return []
    option = "-l" if Path(lister).name == "cam" else "--list-cameras"
    try:
        done = subprocess.run([lister, option], capture_output=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse_libcamera(done.stdout.decode("utf-8", "replace"))


def parse_libcamera(text: str) -> list[Device]:
    """What `rpicam-hello --list-cameras` or `cam -l` prints."""
    found = filter(None, map(_LISTED.fullmatch, text.splitlines()[:1000]))
    # picamera2 wants the place in the list, GStreamer the name in brackets; cam counts from 1.
    return [
        Device(f"libcamera:{place}", match[2].strip("'"), "libcamera", f"or libcamera:{match[3]}")
        for place, match in enumerate(found)
    ]
