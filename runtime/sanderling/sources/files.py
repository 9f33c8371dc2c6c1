"""Pictures and video files."""

from __future__ import annotations

import threading
from pathlib import Path

from sanderling import capture, imaging
from sanderling.errors import SourceError
from sanderling.frame import Image
from sanderling.source import Source, Stamp, put

_USUAL_FPS = 25.0


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
        if not path.is_file():
            raise SourceError(f"{path}: there is no such file")
        if not path.stat().st_size:
            raise SourceError(f"{path}: the file is empty")
        self._video = capture.file(path)
        if not self._video.open:
            self._video.release()
            raise SourceError(f"{path}: not a video that can be decoded; it may be cut off")
        self._lock = threading.Lock()
        self._seen = 0
        self._over = False
        self.count = self._video.count
        self.fps = self._video.fps or _USUAL_FPS

    def grab(self) -> Stamp | None:
        """Read the next frame.

        Raises:
            SourceError: it holds none, or fewer than its header says (allowing for a rounding).
        """
        with self._lock:
            if self._over:
                return None
            self._over = True  # unless the next frame is there, also when that fails
            self._over = not self._video.grab()
        if not self._over:
            self._seen += 1
            return Stamp.now(self._seen - 1, self._name)
        if self._seen == 0:
            raise SourceError(f"{self._name}: the video holds no frame that can be decoded")
        if self._seen < self.count - max(2, self.count // 100):
            raise SourceError(
                f"{self._name}: the video ends early, after {self._seen} of {self.count} frames;"
                " it is cut off or damaged"
            )
        return None

    def retrieve(self, into: Image | None = None) -> Image:
        """Decode it."""
        with self._lock:
            return self._video.retrieve(into)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._over = True
            self._video.release()
