"""Where results go: JSON Lines, annotated pictures, an annotated video.

What is written to a path appears there whole at the end, by a rename, or not at all.
"""

from __future__ import annotations

import contextlib
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

import msgspec

from sanderling import imaging, wholefile
from sanderling.detections import Result
from sanderling.errors import OutputError
from sanderling.frame import Frame, Image
from sanderling.source import Source

_USUAL_FPS = 25.0


class Sink(ABC):
    """Something that takes results."""

    @abstractmethod
    def write(self, frame: Frame, result: Result) -> None:
        """Take the result of a frame.

        Raises:
            OutputError: it cannot be written.
        """

    @abstractmethod
    def close(self) -> None:
        """All was written: put it in its place."""

    @abstractmethod
    def discard(self) -> None:
        """Leave nothing unfinished behind. After `close` there is nothing to do."""


def _beside(path: Path) -> Path:
    """The temporary name, with the suffix that the format is chosen by."""
    return path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")


def check_target(target: Path, inputs: Iterable[Path]) -> None:
    """Whether this can be written without losing what is read.

    Args:
        target: what will be replaced.
        inputs: files, and folders of pictures.

    Raises:
        OutputError: it is one of them, by whatever name, or a picture in such a folder.
    """
    for given in inputs:
        picture = target.suffix.lower() in imaging.IMAGE_SUFFIXES and given.is_dir()
        if _same(target, given) or (picture and target.exists() and _same(target.parent, given)):
            raise OutputError(f"{target}: it is read in this run; choose another name")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.resolve() == other.resolve() or one.samefile(other)
    except (OSError, RuntimeError):  # one is not there yet; a circle of links
        return False


def _refuse(path: Path, exc: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be written: {exc.strerror or exc}")


class JsonLines(Sink):
    """One JSON object a line.

    Args:
        where: a path, or `-` for stdout.

    Raises:
        OutputError: it cannot be written there.
    """

    def __init__(self, where: str) -> None:
        self._path = None if where == "-" else Path(where)
        self._encoder = msgspec.json.Encoder()
        if self._path is None:
            self._file = sys.stdout.buffer
            return
        if self._path.is_dir():
            raise OutputError(f"{where}: is a folder; name a file in it")
        # A device or a pipe is written to as it is, and not replaced by a file.
        self._partial = None if wholefile.is_device(self._path) else _beside(self._path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = (self._partial or self._path).open("wb")
        except OSError as exc:
            raise _refuse(self._path, exc) from exc

    def write(self, frame: Frame, result: Result) -> None:
        """Add a line."""
        try:
            self._file.write(self._encoder.encode(result.as_dict()) + b"\n")
            if self._path is None:
                self._file.flush()  # whoever reads the pipe wants the frame now
        except BrokenPipeError:
            raise
        except OSError as exc:
            raise _refuse(self._path or Path("stdout"), exc) from exc

    def close(self) -> None:
        """Put the file in its place."""
        if self._path is None:
            return
        try:
            self._file.close()
            if self._partial is not None:
                os.replace(self._partial, self._path)
        except OSError as exc:
            raise _refuse(self._path, exc) from exc

    def discard(self) -> None:
        """Take the unfinished file away."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._file.close()
                if self._partial is not None:
                    self._partial.unlink()


class Picture(Sink):
    """One annotated picture."""

    def __init__(self, path: Path) -> None:
        self._path = path
        imaging.check_suffix(path)

    def write(self, frame: Frame, result: Result) -> None:
        """Write the picture."""
        write_picture(self._path, imaging.annotate(frame.image, result))

    def close(self) -> None:
        """Nothing is left to do."""

    def discard(self) -> None:
        """Nothing was written."""


class PictureFolder(Sink):
    """Annotated pictures in a folder, under the names of the originals."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, frame: Frame, result: Result) -> None:
        """Write the picture."""
        name = _picture_name(Path(frame.source))
        if _same(self._folder / name, Path(frame.source)):
            raise OutputError(f"{self._folder}: the originals are here; choose another folder")
        write_picture(self._folder / name, imaging.annotate(frame.image, result))

    def close(self) -> None:
        """Nothing is left to do."""

    def discard(self) -> None:
        """Nothing was written."""


class AnnotatedVideo(Sink):
    """An annotated video."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path = path
        self._partial = _beside(path)
        self._fps = fps
        self._writer: imaging.VideoWriter | None = None
        imaging.check_suffix(path, video=True)
        if wholefile.is_device(path):
            raise OutputError(f"{path}: is no file; give the name of one")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise _refuse(path, exc) from exc

    def write(self, frame: Frame, result: Result) -> None:
        """Add a picture."""
        canvas = imaging.annotate(frame.image, result)
        if self._writer is None:
            self._writer = imaging.VideoWriter(self._partial, self._fps, canvas)
        self._writer.write(canvas)

    def close(self) -> None:
        """Finish the video and put it in its place."""
        if self._writer is not None:
            self._writer.close()
            try:
                os.replace(self._partial, self._path)
            except OSError as exc:
                raise _refuse(self._path, exc) from exc

    def discard(self) -> None:
        """Take the unfinished video away."""
        if self._writer is not None:
            self._writer.close()
        with contextlib.suppress(OSError):
            self._partial.unlink()


def write_picture(path: Path, image: Image) -> None:
    """Write a picture whole or not at all.

    Raises:
        OutputError: it cannot be written there.
    """
    if wholefile.is_device(path):
        raise OutputError(f"{path}: is no file; give the name of one")
    data = imaging.encode_image(image, path.suffix)
    partial = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        os.replace(partial, path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise _refuse(path, exc) from exc


def annotation_target(given: str, source_path: Path, source: Source) -> Path:
    """Where the annotated pictures of a source go.

    Args:
        given: a file, or a folder; a slash at its end makes it one that need not be there yet.
        source_path: the picture, folder or video that is read.
        source: the same, opened.

    Raises:
        OutputError: it names one file, and the source is a folder.
    """
    path = Path(given)
    folder = path.is_dir() or given.endswith(os.sep)
    if source_path.is_dir():
        if not folder and path.suffix.lower() in imaging.IMAGE_SUFFIXES:
            raise OutputError(
                f"{given}: one picture, but the source is a folder of them; name a folder"
            )
        return path
    if not folder:
        return path
    if source.live:  # its name is an address, perhaps with a password
        return path / "camera.mp4"
    if _moves(source):
        return path / f"{source_path.stem}.mp4"
    return path / _picture_name(source_path)


def _picture_name(source: Path) -> str:
    return source.name if imaging.writable(source.name) else f"{source.name}.jpg"


def annotated(path: Path, source_path: Path, source: Source) -> Sink:
    """The sink that suits a source: a picture, a folder of pictures, or a video.

    Raises:
        OutputError: nothing can be written there.
    """
    if source_path.is_dir():
        return PictureFolder(path)
    if _moves(source):
        return AnnotatedVideo(path, source.fps or _USUAL_FPS)
    return Picture(path)


def _moves(source: Source) -> bool:
    """Whether it gives more than one picture."""
    return source.live or source.fps > 0 or source.count != 1
