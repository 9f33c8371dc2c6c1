"""Files below a folder that stands for `/`: this machine's, or those of an image in the making."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path, PurePosixPath

from sanderling import wholefile
from sanderling.errors import OutputError
from sanderling.text import printable

_MAX_READ = 1 << 16


class Root:
    """Files of this machine or of an image, by their paths from `/` on.

    Args:
        folder: what stands for `/`. A link that leads out of it is not followed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def shown(self, path: str) -> str:
        """The path for a person."""
        return printable(self._folder / path.lstrip("/"))

    def _at(self, path: str) -> Path:
        if not path.startswith("/") or ".." in PurePosixPath(path).parts or "\0" in path:
            raise OutputError(f"{path!r}: is no path from / on")
        at = self._folder / path.lstrip("/")
        try:
            parent = at.parent.resolve()
        except (OSError, RuntimeError) as exc:
            raise OutputError(f"{printable(at)}: {exc}") from exc
        if not parent.is_relative_to(self._folder):
            raise OutputError(f"{printable(at)}: a link leads to {printable(parent)}, outside")
        return at

    def digest(self, path: str) -> str | None:
        """SHA-256 of a file; None when there is none."""
        try:
            return hashlib.sha256(self._at(path).read_bytes()).hexdigest()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise OutputError(f"{self.shown(path)}: {exc.strerror}") from exc

    def read(self, path: str) -> bytes | None:
        """A file's bytes, 64 KiB at most; None when there is none."""
        try:
            with self._at(path).open("rb") as file:
                return file.read(_MAX_READ)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise OutputError(f"{self.shown(path)}: {exc.strerror}") from exc

    def missing_folders(self, path: str) -> list[str]:
        """The folders above a path that are not there."""
        above = PurePosixPath(path).parents
        return [str(folder) for folder in above if not self._at(f"{folder}/x").parent.exists()]

    def write(self, path: str, text: str) -> None:
        """Write a file whole or not at all, readable by all; its folders are made."""
        at = self._at(path)
        try:
            at.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as exc:
            raise OutputError(f"{self.shown(path)}: cannot be written: {exc.strerror}") from exc
        wholefile.write(at, text.encode())

    def remove(self, path: str) -> None:
        """Remove a file, or a link itself."""
        try:
            self._at(path).unlink(missing_ok=True)
        except OSError as exc:
            raise OutputError(f"{self.shown(path)}: cannot be removed: {exc.strerror}") from exc

    def remove_tree(self, path: str) -> bool:
        """Remove a folder with all that is in it; whether there was one."""
        at = self._at(path)
        if not at.is_dir():
            return False
        try:
            shutil.rmtree(at)
        except OSError as exc:
            raise OutputError(f"{self.shown(path)}: cannot be removed: {exc.strerror}") from exc
        return True

    def remove_if_empty(self, path: str) -> None:
        """Remove a folder unless something is in it."""
        try:
            self._at(path).rmdir()
        except OSError:
            return  # something is, or it is gone already
