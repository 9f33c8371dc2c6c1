"""Pictures and video files."""

from __future__ import annotations

from pathlib import Path

from sanderling import imaging
from sanderling.errors import SourceError
from sanderling.frame import Image
from sanderling.source import Source, Stamp, put


class Pictures(Source):
    """One picture or more, each a file."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._next = 0
        self._image: Image | None = None
        self._closed = False
        self.count = len(paths)

    def grab(self) -> Stamp | None:
        """Read and decode the next picture: only its decoder knows whether it is whole."""
        self._image = None
        if self._closed or self._next >= len(self._paths):
            return None
        path = self._paths[self._next]
        self._next += 1
        self._image = imaging.read_image(path)
        return Stamp.now(self._next - 1, str(path))

    def retrieve(self, into: Image | None = None) -> Image:
        """The picture."""
        image, self._image = self._image, None
        if image is None:
            raise SourceError(f"{self._paths[0]}: no picture was grabbed")
        return put(image, into)

    def close(self) -> None:
        """End it."""
        self._closed = True


class VideoFile(Source):
    """A video file.

    Raises:
        SourceError: it is missing, or is no video.
    """

    def __init__(self, path: Path) -> None:
        self._name = str(path)
        self._video = imaging.Video(path)
        self._sequence = 0
        self.count = self._video.count
        self.fps = self._video.fps

    def grab(self) -> Stamp | None:
        """Read the next frame."""
        if not self._video.grab():
            return None
        self._sequence += 1
        return Stamp.now(self._sequence - 1, self._name)

    def retrieve(self, into: Image | None = None) -> Image:
        """Decode it."""
        return self._video.retrieve(into)

    def close(self) -> None:
        """Close the file."""
        self._video.close()
