"""Cameras and streams that OpenCV reads: V4L2, RTSP, HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from sanderling import capture
from sanderling.sources.captured import Captured
from sanderling.sources.options import Options
from sanderling.text import masked

OPEN_S = 10.0
READ_S = 10.0
_MOST_SIDE = 16_384


class Camera(Captured):
    """A V4L2 camera.

    Args:
        path: its device.
        width: in pixels; 0 leaves the choice to the camera, as do the others.
        height: in pixels.
        fps: frames a second.
        fourcc: the format in which it sends its pixels; USB cameras are fast with `MJPG` only.

    Raises:
        SourceError: there is no such camera, or it cannot be opened.
    """

    def __init__(
        self, path: str, *, width: int = 0, height: int = 0, fps: int = 0, fourcc: str = ""
    ) -> None:
        super().__init__(
            path,
            lambda: capture.camera(path, width=width, height=height, fps=fps, fourcc=fourcc),
            open_s=OPEN_S,
            hint="is it plugged in, is it in use elsewhere, and may you read it (group video)?"
            " `sanderling cameras` lists what is there",
        )


class Stream(Captured):
    """A stream of the network: `rtsp://`, `rtsps://`, `rtmp://`, `http://` or `https://`.

    Args:
        url: its address, with user and password where it needs them; messages and names leave the
            password out.
        open_s: how long connecting may take.
        read_s: how long the next frame may take.

    Raises:
        SourceError: it cannot be opened.
    """

    def __init__(self, url: str, *, open_s: float = OPEN_S, read_s: float = READ_S) -> None:
        name = masked(url)
        super().__init__(
            name,
            lambda: capture.stream(name, url, open_s=open_s, read_s=read_s),
            open_s=open_s,
            hint="is the address right, with user and password, and does the camera answer?",
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a V4L2 camera; see `Camera`."""

    path: str
    width: int
    height: int
    fps: int
    fourcc: str


def read_camera(where: str) -> Asked:
    """What is asked for by this name: `0`, `/dev/video0` or `/dev/video0?width=1280&height=720`.

    Raises:
        SourceError: an option is wrong.
    """
    path, _, query = where.partition("?")
    options = Options(where, query)
    width = options.integer("width", 1, _MOST_SIDE)
    height = options.integer("height", 1, _MOST_SIDE)
    fps = options.integer("fps", 1, 1000)
    fourcc = options.text("fourcc", r"[A-Za-z0-9]{4}", "MJPG or YUYV")
    options.done()
    device = f"/dev/video{int(path)}" if path.isdecimal() else path
    return Asked(device, width, height, fps, fourcc.upper())


def parse_camera(where: str) -> Camera:
    """The camera of this name; see `read_camera`.

    Raises:
        SourceError: an option is wrong, or it cannot be opened.
    """
    asked = read_camera(where)
    return Camera(
        asked.path, width=asked.width, height=asked.height, fps=asked.fps, fourcc=asked.fourcc
    )
