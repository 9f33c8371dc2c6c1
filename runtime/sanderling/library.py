"""Where guests, models and device profiles are found by their bare name."""

from __future__ import annotations

import os
from pathlib import Path

from sanderling.errors import ConfigError
from sanderling.text import printable

_SUFFIX = {"guest": ".wasm", "model": ".onnx", "profile": ".toml"}
_TREE = {"guest": "wasm_modules/dist", "model": "models", "profile": "device_profiles"}


def folders(kind: str) -> list[Path]:
    """Where installed ones of this kind (`guest`, `model`, `profile`) lie, first match first.

    `$SANDERLING_PATH` (folders, with colons between) comes first, then what the package brings:
    beside its modules when installed, in the source tree when run from there.
    """
    named = [Path(part) for part in os.environ.get("SANDERLING_PATH", "").split(":") if part]
    return [*named, *_bundled(kind)]


def _bundled(kind: str) -> list[Path]:
    package = Path(__file__).resolve().parent
    places = (package / "_bundled" / f"{kind}s", package.parents[1] / _TREE[kind])
    return [folder for folder in places if folder.is_dir()]


def profiles() -> list[Path]:
    """The device profiles that the package brings, by name.

    Those of `$SANDERLING_PATH` are not among them: a board is told from these, and any other
    profile is named by who wants it.
    """
    return sorted(path for folder in _bundled("profile")[:1] for path in folder.glob("*.toml"))


def models(*near: Path) -> dict[str, Path]:
    """The models there are, by bare name.

    Args:
        near: folders that come before those of installed models.
    """
    found: dict[str, Path] = {}
    for folder in (*near, *folders("model")):
        for path in sorted(folder.glob("*.onnx")):
            found.setdefault(path.stem, path)
    return found


def find(kind: str, name: str, near: Path, where: str) -> Path:
    """The file of a guest or model.

    Args:
        kind: `guest` or `model`.
        name: a path relative to `near`, or the bare name of an installed one.
        near: the folder of the pipeline file.
        where: what the message begins with.

    Raises:
        ConfigError: there is none; says where was looked and what is installed.
    """
    suffix = _SUFFIX[kind]
    if "/" in name or name.endswith(suffix):
        path = near / name
        if _is_file(path):
            return path
        raise ConfigError(f"{where}: {kind} {name!r}: there is no file {printable(path)}")
    for folder in (near, *folders(kind)):
        path = folder / f"{name}{suffix}"
        if _is_file(path):
            return path
    raise ConfigError(
        f"{where}: {kind} {name!r}: not beside the pipeline file, and not installed;"
        f" installed are {_installed(kind)}"
    )


def locate(kind: str, given: Path) -> Path:
    """The file that a person means on the command line: a path, or an installed one's bare name.

    Args:
        kind: `guest`, `model` or `profile`.
        given: what was written.

    Raises:
        ConfigError: a bare name that is not installed; says what is.
    """
    suffix = _SUFFIX[kind]
    if len(given.parts) != 1 or given.suffix == suffix or _exists(given):
        return given
    for folder in folders(kind):
        path = folder / f"{given}{suffix}"
        if _is_file(path):
            return path
    raise ConfigError(
        f"{given}: no such file, and no {kind} of that name is installed; installed are"
        f" {_installed(kind)}"
    )


def _installed(kind: str) -> str:
    suffix = _SUFFIX[kind]
    names = {path.stem for folder in folders(kind) for path in folder.glob(f"*{suffix}")}
    return printable(", ".join(sorted(names))) or "none"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        return False
