"""Whether the cameras of a daemon's configuration are there and may be read; none is opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from sanderling import daemonfile, sources
from sanderling.checks import Check
from sanderling.daemonfile import CameraTable
from sanderling.errors import ConfigError, SourceError
from sanderling.sources import pattern

_RUNTIME = Path("/run/sanderling")
_GROUP = (
    "add the user to the group video (sudo usermod -aG video $USER) and log in again; the service"
    " has it already: sudo -u sanderling sanderling doctor"
)


def check(config: Path, root: Path = Path("/")) -> list[Check]:
    """Look at what each camera that runs is read from.

    Args:
        config: the daemon's configuration.
        root: the folder that stands for `/`.
    """
    try:
        file = daemonfile.read(config)
    except ConfigError as exc:
        if os.path.exists(config) and not os.access(config, os.R_OK):
            remedy = "ask as root, or as the user of the service: sudo -u sanderling"
            return [Check("config", "unknown", f"{config}: may not be read by this user", remedy)]
        return [Check("config", "problem", str(exc), "the daemon refuses it like this: mend it")]
    running = [camera for camera in file.cameras if camera.enabled]
    shown = "1 camera" if len(running) == 1 else f"{len(running)} cameras"
    found = [Check("config", "ok", f"{config}: {shown}")]
    found += [_camera(camera, config.parent, root) for camera in running]
    return found


def _camera(camera: CameraTable, folder: Path, root: Path) -> Check:
    """One camera."""
    shown = f"{camera.name}: {daemonfile.shown(camera)}"
    where = camera.source
    if where.startswith("pattern:"):
        try:
            pattern.parse(where)
        except SourceError as exc:
            return Check("camera", "problem", f"{camera.name}: {exc}", "write it like that")
        return Check("camera", "ok", shown)
    if where.startswith("unix:"):
        return _socket(shown, Path(where.removeprefix("unix:")), root)
    if where.startswith("libcamera:"):
        return Check("camera", "unknown", f"{shown}: libcamera is not asked here",
                     "sanderling cameras lists what it has")  # fmt: skip
    if "://" in where:
        return _address(shown, where)
    if sources.is_path(where):
        return _path(shown, folder / where)
    name = where.partition("?")[0]
    return _device(shown, Path(f"/dev/video{int(name)}" if name.isdecimal() else name), root)


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/") if path.is_absolute() else path


def _device(shown: str, device: Path, root: Path) -> Check:
    place = _below(root, device)
    shown += "" if str(device) in shown else f" ({device})"
    try:
        found = place.stat()
    except OSError as exc:
        return Check(
            "camera",
            "problem",
            f"{shown}: {exc.strerror}",
            "plug it in; sanderling cameras lists what is there. After a restart numbers may have"
            " changed: /dev/v4l/by-id/ has names that stay",
        )
    if root == Path("/") and not stat.S_ISCHR(found.st_mode):
        return Check("camera", "problem", f"{shown}: no device", "name the camera's")
    if not os.access(place, os.R_OK | os.W_OK):
        return Check("camera", "problem", f"{shown}: may not be opened", _GROUP)
    return Check("camera", "ok", f"{shown}: may be opened")


def _path(shown: str, path: Path) -> Check:
    if not path.exists():
        return Check("camera", "problem", f"{shown}: there is no {path}", "mend the path")
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        return Check("camera", "problem", f"{shown}: {path} may not be read",
                     "let the user of the service read it (group sanderling)")  # fmt: skip
    return Check("camera", "ok", f"{shown}: may be read")


def _socket(shown: str, path: Path, root: Path) -> Check:
    if not path.is_absolute():
        return Check("camera", "problem", f"{shown}: not a whole path",
                     "write it from / on, such as unix:/run/sanderling/door.sock")  # fmt: skip
    folder = _below(root, path.parent)
    if not folder.is_dir():
        if path.parent == _RUNTIME:
            return Check("camera", "ok", f"{shown}: the service makes the folder when it starts")
        return Check(
            "camera",
            "warning",
            f"{shown}: there is no folder {path.parent}",
            f"take {_RUNTIME}, which the service makes for itself, or make it",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        return Check(
            "camera",
            "warning",
            f"{shown}: this user may not listen in {path.parent}",
            "ask as the user of the service: sudo -u sanderling sanderling doctor",
        )
    return Check("camera", "ok", f"{shown}: may listen there")


def _address(shown: str, where: str) -> Check:
    for wrong in _faults(where):
        return Check("camera", "problem", f"{shown}: {wrong}",
                     "write it like rtsp://user:password@192.0.2.7:554/stream; of a password, write"
                     " / @ : ? # as %2F %40 %3A %3F %23")  # fmt: skip
    return Check("camera", "ok", f"{shown}: written as an address is; not asked")


def _faults(where: str) -> Iterator[str]:
    try:
        sources.examine(where)
    except SourceError as exc:
        yield str(exc).rpartition(": ")[2]
    try:
        parts = urlsplit(where)
        host, port = parts.hostname, parts.port
    except ValueError:
        yield "host and port cannot be told apart"
        return
    if not host:
        yield "no host in it"
    elif not host.isascii() or not all(char.isalnum() or char in "-._:%" for char in host):
        yield "that is no host"
    if port == 0:
        yield "0 is no port"
