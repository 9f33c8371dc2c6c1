"""Cameras of boards, by libcamera: through picamera2 where that is, else through GStreamer."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
import struct
import subprocess
import termios
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sanderling.errors import SourceError
from sanderling.frame import Image, check_image
from sanderling.source import Source, Stamp, put, usable
from sanderling.sources.captured import Captured
from sanderling.sources.options import Options
from sanderling.sources.waiting import Waiting
from sanderling.text import printable

_OPEN_S = 10.0
_FRAME_S = 5.0
"""How long the rest of a frame may take once it has begun to come."""
_END_S = 1.0
_MOST_SIDE = 16_384
_PIPE_BYTES = 1 << 20
_LAUNCH = "gst-launch-1.0"
_INSTALL = (
    "install python3-picamera2 (Raspberry Pi OS), or gstreamer1.0-tools,"
    " gstreamer1.0-plugins-base and gstreamer1.0-libcamera"
)
# No space and no exclamation mark: it stands in a pipeline of GStreamer.
_NAME = re.compile(r"[A-Za-z0-9_./\\:@-]{0,200}")


class Launched(Waiting):
    """The frames of a GStreamer element, from a child process, as raw BGR through a pipe.

    Args:
        name: what it is called.
        element: the element and its properties, each an argument of `gst-launch-1.0`.
        width: in pixels.
        height: in pixels.
        fps: frames a second.

    Raises:
        SourceError: GStreamer's launcher is not installed.
    """

    live = True

    def __init__(
        self, name: str, element: Sequence[str], *, width: int, height: int, fps: int
    ) -> None:
        launch = shutil.which(_LAUNCH)
        if launch is None:
            raise SourceError(f"{name}: {_LAUNCH} is not there; {_INSTALL}")
        super().__init__(name)
        self.fps = float(fps)
        self._shape = (height, width, 3)
        # GStreamer begins each row of BGR at a multiple of four bytes.
        self._stride = (3 * width + 3) & ~3
        self._left = 0
        self._sequence = 0
        caps = f"video/x-raw,width={width},height={height},framerate={fps}/1"
        self._pipe, theirs = os.pipe2(os.O_CLOEXEC)
        self._said = os.memfd_create("gstreamer")
        os.set_blocking(self._pipe, False)
        try:
            self._child = subprocess.Popen(
                [
                    *(launch, "-q", *element, "!", caps),
                    # Frames that nobody has read are dropped here, not piled up.
                    *("!", "queue", "leaky=downstream", "max-size-buffers=1"),
                    *("!", "videoconvert", "!", "video/x-raw,format=BGR"),
                    *("!", "fdsink", f"fd={theirs}", "sync=false"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                pass_fds=(theirs,),
                start_new_session=True,
            )
        except OSError as exc:
            os.close(self._pipe)
            os.close(self._said)
            self.wake.close()
            raise SourceError(f"{name}: {launch} cannot be started: {exc.strerror}") from exc
        finally:
            os.close(theirs)
        with contextlib.suppress(OSError):  # a limit of the system's for users
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def next_frame(self) -> Stamp | None:
        """Wait for the first bytes of the next frame, past what is left of the one before."""
        scrap = memoryview(bytearray(min(self._left, 1 << 16)))
        while self._left:
            if not self._read(scrap[: self._left], timeout_s=None):
                return None
        if not self.wake.wait(self._pipe):
            return None
        if not self._readable():
            raise self._ended()
        self._left = self._stride * self._shape[0]
        self._sequence += 1
        return Stamp.now(self._sequence - 1, self.name)

    def pixels(self, into: Image | None) -> Image:
        """Read it, where the rows are as they should be, straight to its place."""
        height, width, _ = self._shape
        if self._left != self._stride * height:
            raise SourceError(f"{self.name}: there is no frame to retrieve")
        into = usable(into)
        if into is None or into.shape != self._shape:
            into = np.empty(self._shape, np.uint8)
        packed = self._stride == 3 * width
        rows = into.reshape(height, -1) if packed else np.empty((height, self._stride), np.uint8)
        view = memoryview(rows.data).cast("B")
        while self._left:
            got = self._read(view[len(view) - self._left :], timeout_s=_FRAME_S)
            if not got:
                raise SourceError(f"{self.name}: a frame did not come to its end")
        if not packed:
            into[:] = rows[:, : 3 * width].reshape(self._shape)
        return into

    def _read(self, place: memoryview, timeout_s: float | None) -> int:
        """How many bytes of the frame came; 0 when the wait was ended or took too long."""
        if not self.wake.wait(self._pipe, timeout_s=timeout_s):
            return 0
        got = os.readv(self._pipe, [place])
        if not got:
            raise self._ended()
        self._left -= got
        return got

    def _readable(self) -> int:
        return int(struct.unpack("i", fcntl.ioctl(self._pipe, termios.FIONREAD, b"\0" * 4))[0])

    def _ended(self) -> SourceError:
        """Why the child has ended."""
        self.end()
        self._stop()
        said = os.pread(self._said, 1 << 16, 0).decode("utf-8", "replace").splitlines()
        reason = next(
            (line for line in said if "ERROR" in line or "no element" in line), "it ended"
        )
        hint = f"; {_INSTALL}" if "no element" in reason else ""
        return SourceError(f"{self.name}: {_LAUNCH}: {printable(reason.strip())}{hint}")

    def _stop(self) -> None:
        try:
            self._child.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def release(self) -> None:
        """End the child."""
        os.close(self._pipe)
        self._child.terminate()
        self._stop()
        os.close(self._said)


class _Picamera:
    """picamera2, as `Captured` takes it. Its `RGB888` is BGR in memory."""

    open = True

    def __init__(self, name: str, index: int, width: int, height: int, fps: int) -> None:
        import picamera2  # noqa: PLC0415 - there on Raspberry Pi OS only

        self._name = name
        self.fps = float(fps)
        self._request: Any = None
        try:
            self._camera: Any = picamera2.Picamera2(index)
            self._camera.configure(
                self._camera.create_video_configuration(
                    main={"format": "RGB888", "size": (width, height)},
                    controls={"FrameRate": fps},
                )
            )
            self._camera.start()
        except Exception as exc:  # its bindings raise whatever C++ threw
            raise SourceError(f"{name}: cannot be opened: {printable(exc)}") from exc

    def grab(self) -> bool:
        self._give_back()
        try:
            self._request = self._camera.capture_request()
        except Exception as exc:
            raise SourceError(f"{self._name}: cannot be read: {printable(exc)}") from exc
        return True

    def retrieve(self, into: Image | None = None) -> Image:
        if self._request is None:
            raise SourceError(f"{self._name}: there is no frame to retrieve")
        try:
            image = check_image(self._request.make_array("main"), self._name)
            return put(image, into)
        finally:
            self._give_back()

    def release(self) -> None:
        self._give_back()
        self._camera.close()

    def _give_back(self) -> None:
        # The camera has few buffers: one that is kept is missing.
        request, self._request = self._request, None
        if request is not None:
            request.release()


def has_picamera2() -> bool:
    """Whether picamera2 is installed."""
    return importlib.util.find_spec("picamera2") is not None


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a libcamera camera: its number or name, pixels and frames a second."""

    name: str
    width: int
    height: int
    fps: int


def read(where: str) -> Asked:
    """What is asked for by this name; see `parse`.

    Raises:
        SourceError: it is written wrongly.
    """
    head, _, query = where.removeprefix("libcamera:").partition("?")
    options = Options(where, query)
    width = options.integer("width", 16, _MOST_SIDE, default=1280)
    height = options.integer("height", 16, _MOST_SIDE, default=720)
    fps = options.integer("fps", 1, 1000, default=30)
    options.done()
    if not _NAME.fullmatch(head):
        raise SourceError(
            f"{where}: not the number or the name of a camera, as `sanderling cameras` lists them"
        )
    return Asked(head, width, height, fps)


def parse(where: str) -> Source:
    """The camera of this name.

    Args:
        where: `libcamera:`, with a number or a name behind it where there are more, and
            `?width=1280&height=720&fps=30`.

    Raises:
        SourceError: it is written wrongly, cannot be opened, or nothing is installed that could.
    """
    asked = read(where)
    head, width, height, fps = asked.name, asked.width, asked.height, asked.fps
    if has_picamera2() and (not head or head.isdecimal()):
        return Captured(
            where,
            lambda: _Picamera(where, int(head or 0), width, height, fps),
            open_s=_OPEN_S,
            hint="is the ribbon cable in place, and is the camera in use elsewhere?",
        )
    if head.isdecimal() and int(head):
        raise SourceError(
            f"{where}: GStreamer wants the camera's name; `sanderling cameras` lists them"
        )
    element = ["libcamerasrc"]
    if head and not head.isdecimal():
        element.append(f"camera-name={head}")
    return Launched(where, element, width=width, height=height, fps=fps)
