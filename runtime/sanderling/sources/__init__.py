"""Where frames come from: a picture, a folder of pictures, a video."""

from __future__ import annotations

import re
from pathlib import Path

from sanderling import imaging
from sanderling.errors import SourceError
from sanderling.frame import Image
from sanderling.source import Source
from sanderling.sources.files import Pictures, VideoFile

_ELSEWHERE = "cameras and streams are read from Python (docs/python.md)"
_STREAM = re.compile(r"[a-z][a-z0-9+.-]*://|/dev/video", re.IGNORECASE)
_VIDEO_SUFFIXES = frozenset(
    {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
)


def read_image(path: Path) -> Image:
    """A picture as uint8 `[height, width, 3]`, BGR.

    Raises:
        SourceError: it is missing, is no picture, or is cut off.
    """
    return imaging.read_image(path)


def open_source(where: str) -> Source:
    """The source of this name.

    Args:
        where: the path of a picture, of a folder of pictures, or of a video.

    Raises:
        SourceError: there is nothing there, or nothing that can be read.
    """
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
        if _STREAM.match(where) or (where.isdecimal() and not path.exists()):
            raise SourceError(f"{where}: {_ELSEWHERE}")
        if path.exists() and not path.is_file():
            raise SourceError(f"{where}: not a file; {_ELSEWHERE}")
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
