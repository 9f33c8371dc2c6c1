"""What cameras are there: by sysfs, by the kernel's answer, by the programs of libcamera."""

from __future__ import annotations

import errno
import os
import stat
import struct
from pathlib import Path

import pytest

from commandline import run
from sanderling import devices
from sanderling.devices import Capability, Device


def listed(root: Path, name: str, title: str, driver: str = "") -> None:
    node = root / "sys" / name
    (node / "device").mkdir(parents=True)
    (node / "name").write_text(title + "\n")
    if driver:
        (root / "drivers" / driver).mkdir(parents=True, exist_ok=True)
        (node / "device" / "driver").symlink_to(root / "drivers" / driver)


def answer(driver: bytes, card: bytes, device: int, node: int = 0) -> bytes:
    """struct v4l2_capability, as linux/videodev2.h has it."""
    return struct.pack("=16s32s32sIII12s", driver, card, b"usb-1", 0x060100, device, node, b"")


def test_cameras_are_listed_with_what_to_write(tmp_path: Path) -> None:
    listed(tmp_path, "video10", "bcm2835-codec-decode", "bcm2835-codec")
    listed(tmp_path, "video0", "HD Webcam", "uvcvideo")
    listed(tmp_path, "video1", "HD Webcam", "uvcvideo")
    listed(tmp_path, "video2", "Gone")
    listed(tmp_path, "v4l-subdev0", "imx219")
    (tmp_path / "sys" / "video3").mkdir()

    def ask(path: Path) -> Capability:
        if path.name == "video0":
            return Capability("uvcvideo", "HD Webcam: HD Webcam", True)
        if path.name == "video1":
            return Capability("uvcvideo", "HD Webcam: HD Webcam", False)
        if path.name == "video10":
            raise PermissionError(errno.EACCES, "Permission denied")
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    dev = tmp_path / "dev"
    assert devices.cameras(tmp_path / "sys", dev, ask) == [
        Device(f"{dev}/video0", "HD Webcam: HD Webcam", "uvcvideo"),
        Device("", "HD Webcam: HD Webcam", "uvcvideo", f"{dev}/video1: gives no pictures"),
        Device("", "Gone", "", f"{dev}/video2: cannot be asked: No such file or directory"),
        Device("", "video3", "", f"{dev}/video3: cannot be asked: No such file or directory"),
        Device(
            *("", "bcm2835-codec-decode", "bcm2835-codec"),
            f"{dev}/video10: may not be read: add the user to the group video",
        ),
    ]
    assert devices.cameras(tmp_path / "nothing") == []


def test_a_node_that_is_no_camera_is_an_error_and_is_closed_again(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "video0").touch()
    for path in (tmp_path / "video0", tmp_path / "video1", Path("/dev/null")):
        with pytest.raises(OSError, match=r"."):
            devices.query(path)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("device", "node", "capture"),
    [
        (0x8420_0001, 0x0420_0001, True),  # a webcam's pictures
        (0x84A0_0001, 0x04A0_0000, False),  # its second node, for metadata
        (0x0000_0001, 0, True),  # a driver that knows no nodes
        (0x8420_1000, 0x0420_1000, True),  # several planes
        (0x8420_4000, 0x0420_4000, False),  # a codec
    ],
)
def test_the_answer_of_the_kernel(device: int, node: int, capture: bool) -> None:
    said = answer(b"uvcvideo", b"HD \xff Webcam", device, node)
    assert devices.parse_capability(said) == Capability("uvcvideo", "HD \ufffd Webcam", capture)


RPICAM = """\
Available cameras
-----------------
0 : imx219 [3280x2464 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx219@10)
    Modes: 'SRGGB10_CSI2P' : 640x480 [206.65 fps - (1000, 752)/1280x960 crop]
                             1640x1232 [41.85 fps - (0, 0)/3280x2464 crop]
1 : ov5647 [2592x1944] (/base/axi/pcie@120000/rp1/i2c@88000/ov5647@36)
"""
CAM = """\
Available cameras:
1: 'imx219' (/base/soc/i2c0mux/i2c@1/imx219@10)
2: Internal front camera (\\_SB_.PCI0.I2C2.CAM0)
"""


def test_what_the_programs_of_libcamera_print() -> None:
    assert devices.parse_libcamera(RPICAM) == [
        Device(
            *("libcamera:0", "imx219", "libcamera"),
            "or libcamera:/base/soc/i2c0mux/i2c@1/imx219@10",
        ),
        Device(
            *("libcamera:1", "ov5647", "libcamera"),
            "or libcamera:/base/axi/pcie@120000/rp1/i2c@88000/ov5647@36",
        ),
    ]
    assert [device.where for device in devices.parse_libcamera(CAM)] == [
        *("libcamera:0", "libcamera:1")
    ]
    for nothing in ("", "No cameras available!\n", "1: \n", "1 : (" * 10_000):
        assert devices.parse_libcamera(nothing) == []


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_libcamera_is_asked_through_a_program_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_ = tmp_path / "bin"
    monkeypatch.setenv("PATH", f"{bin_}:/usr/bin:/bin")
    program(bin_, "cam", f"[ $1 = -l ] && cat {tmp_path}/said")
    (tmp_path / "said").write_text(CAM)
    assert len(devices.libcamera_cameras()) == 2
    done = run("cameras")
    assert "libcamera:0  imx219" in done.stdout
    program(bin_, "rpicam-hello", "exec sleep 60")
    assert devices.libcamera_cameras(timeout_s=0.1) == []


def test_a_machine_without_a_camera_says_so(tmp_path: Path) -> None:
    if devices.cameras():
        pytest.skip("this machine has a camera")
    done = run("cameras")
    assert "no camera found" in done.stdout
