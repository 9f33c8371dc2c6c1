"""Where frames come from: pictures, videos, cameras, streams, other processes (docs/sources.md)."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from pathlib import Path

from sanderling.errors import SourceError
from sanderling.frame import Image
from sanderling.persist import Backoff, Change, Persistent
from sanderling.source import Source
from sanderling.text import masked

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
STREAMS = ("http", "https", "rtmp", "rtsp", "rtsps")
"""What the address of a stream may begin with, before `://`."""
_DEVICE = re.compile(r"/dev/(video|v4l/)[^?]*")
_VIDEO_SUFFIXES = frozenset(
    {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
)


def read_image(path: Path) -> Image:
    """A picture as uint8 `[height, width, 3]`, BGR.

    Raises:
        SourceError: it is missing, is no picture, or is cut off.
    """
    from sanderling import imaging  # noqa: PLC0415 - loads cv2

    return imaging.read_image(path)


def open_source(where: str) -> Source:
    """The source of this name.

    Args:
        where: the path of a picture, of a folder of pictures, or of a video; a camera (`0`,
            `/dev/video0`, `libcamera:`); the address of a stream (`rtsp://`, `http://`); a socket
            to which frames are pushed (`unix:/run/door.sock`); a test pattern
            (`pattern:640x480@30`). docs/sources.md has their options.

    Raises:
        SourceError: there is nothing there, or nothing that can be read.
    """
    if where.startswith("pattern:"):
        from sanderling.sources import pattern  # noqa: PLC0415 - only what is needed

        return pattern.parse(where)
    if where.startswith("unix:"):
        from sanderling.sources import listening  # noqa: PLC0415 - only what is needed

        return listening.parse(where)
    if where.startswith("libcamera:"):
        from sanderling.sources import libcamera  # noqa: PLC0415 - only what is needed

        return libcamera.parse(where)
    if _is_stream(where):
        from sanderling.sources import camera  # noqa: PLC0415 - loads cv2

        return camera.Stream(where)
    if _is_camera(where):
        from sanderling.sources import camera  # noqa: PLC0415 - loads cv2

        return camera.parse_camera(where)
    return _open_file(where)


def open_persistent(
    where: str,
    *,
    stall_s: float = 10.0,
    backoff: Backoff | None = None,
    on_change: Callable[[Change], None] | None = None,
    at_once: bool = False,
) -> Source:
    """The source of this name; a camera or a stream is opened again whenever it is lost.

    Nothing is opened before the first `grab` of such a source, unless that is asked for. Files end,
    and sockets wait by themselves for whoever pushes: those are as from `open_source`.

    Args:
        where: as for `open_source`.
        stall_s: a camera or stream that gives nothing for so long is opened again.
        backoff: how long to wait before each attempt.
        on_change: is told when the connection is there, is lost, and is tried again.
        at_once: open it now, so that what cannot be opened at all is an error.

    Raises:
        SourceError: there is nothing there, and coming back makes no sense.
    """
    if not comes_back(where):
        return open_source(where)
    if where.startswith("pattern:"):
        open_source(where).close()  # one that is written wrongly never comes
    return Persistent(
        lambda: open_source(where),
        name=masked(where),
        stall_s=stall_s,
        backoff=backoff,
        on_change=on_change,
        first=open_source(where) if at_once else None,
    )


def examine(where: str) -> tuple[int, int] | None:
    """Check how a source is written, as far as that goes without a camera or a network.

    Args:
        where: as for `open_source`.

    Returns:
        Width and height up to which its frames go, in pixels; None where that is not known before
        it is opened.

    Raises:
        SourceError: it is written wrongly, or names a file that is not there.
    """
    if where.startswith("pattern:"):
        from sanderling.sources import pattern  # noqa: PLC0415 - only what is needed

        return pattern.parse(where).size
    if where.startswith("unix:"):
        from sanderling.sources import listening  # noqa: PLC0415 - only what is needed

        listening.read(where)
        return None
    if where.startswith("libcamera:"):
        from sanderling.sources import libcamera  # noqa: PLC0415 - only what is needed

        asked = libcamera.read(where)
        return asked.width, asked.height
    if _is_stream(where):
        return None
    if _is_camera(where):
        from sanderling.sources import camera  # noqa: PLC0415 - loads cv2

        wanted = camera.read_camera(where)
        return (wanted.width, wanted.height) if wanted.width and wanted.height else None
    return _first_size(_open_file(where))


def _first_size(source: Source) -> tuple[int, int] | None:
    try:
        if source.grab() is None:
            return None
        height, width = source.retrieve().shape[:2]
    except SourceError:  # one bad picture is no fault of the configuration
        return None
    finally:
        source.close()
    return width, height


def comes_back(where: str) -> bool:
    """Whether a source of this name is one to open again when it is lost."""
    if where.startswith("pattern:"):
        return bool(re.search(r"@|[?&](flap|stall)=", where))
    if where.startswith("libcamera:"):
        return True
    scheme = _SCHEME.match(where)
    return scheme[1].lower() in STREAMS if scheme else _is_camera(where)


def is_path(where: str) -> bool:
    """Whether this names a file or a folder, and no camera, stream, socket or pattern."""
    prefixes = ("pattern:", "unix:", "libcamera:")
    return not (where.startswith(prefixes) or _SCHEME.match(where) or _is_camera(where))


def _is_stream(where: str) -> bool:
    scheme = _SCHEME.match(where)
    if scheme and scheme[1].lower() not in STREAMS:
        known = ", ".join(f"{name}://" for name in STREAMS)
        raise SourceError(f"{masked(where)}: streams are {known}")
    return scheme is not None


def _is_camera(where: str) -> bool:
    path = where.partition("?")[0]
    if _DEVICE.fullmatch(path):
        return True
    if path.isdecimal() and path.isascii() and len(path) <= 3:
        return not Path(path).exists()
    try:
        return path.startswith("/dev/") and stat.S_ISCHR(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return False


def _open_file(where: str) -> Source:
    from sanderling import imaging  # noqa: PLC0415 - loads cv2
    from sanderling.sources.files import Pictures, VideoFile  # noqa: PLC0415 - loads cv2

    path = Path(where)
    try:
        if path.is_dir():
            found = sorted(
                entry
                for entry in path.iterdir()
                if entry.suffix.lower() in imaging.IMAGE_SUFFIXES and entry.is_file()
            )
            if not found:
                known = ", ".join(sorted(imaging.IMAGE_SUFFIXES))
                raise SourceError(f"{where}: no pictures in this folder ({known})")
            return Pictures(found)
        if path.exists() and not path.is_file():
            raise SourceError(f"{where}: not a file, and no camera either")
        if not path.exists():
            raise SourceError(f"{where}: there is no such picture, folder or video")
    except OSError as exc:
        raise SourceError(f"{where}: cannot be read: {exc.strerror}") from exc
    if path.suffix.lower() in imaging.IMAGE_SUFFIXES:
        return Pictures([path])
    try:
        return VideoFile(path)
    except SourceError as exc:
        if path.suffix.lower() in _VIDEO_SUFFIXES:
            raise
        raise SourceError(f"{where}: neither a picture nor a video that can be decoded") from exc
