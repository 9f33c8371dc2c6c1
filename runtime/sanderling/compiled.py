"""The cache of compiled guests: machine code that this machine made, for itself alone.

Machine code is not data: whoever can write it can run it. So the folder is ours (0700), the files
are ours (0600), each begins with the SHA-256 of the rest, and whatever does not look so is not
read. Code never comes from a release.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

_DIGEST = 32
_KEPT = 64
"""Files that the cache holds at most; there is a new one for each guest, wasmtime and CPU."""


def folder() -> Path | None:
    """Where compiled guests are kept, or None when this user has no place for them.

    Under `$SANDERLING_CACHE`, `$CACHE_DIRECTORY` (systemd) or the user's cache folder.
    """
    for variable in ("SANDERLING_CACHE", "CACHE_DIRECTORY"):
        if named := os.environ.get(variable):
            return Path(named) / "compiled"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(base).expanduser() / "sanderling" / "compiled"
    except RuntimeError:  # no $HOME, and the system does not know this user
        return None


def cpu_features() -> str:
    """What the kernel says this CPU can do; compiled code is only for such a CPU."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return ""
    for line in text.splitlines():
        if line.lower().startswith(("flags", "features")):
            return line.partition(":")[2].strip()
    return ""


def key(*parts: str) -> str:
    """A file name that stands for all of the parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def read(name: str) -> bytes | None:
    """The code kept under this name, or None when there is none that can be trusted."""
    target = folder()
    if target is None:
        return None
    path = target / name
    try:
        parent = path.parent.stat()
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        own = os.fstat(descriptor)
        for status in (parent, own):
            if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return None
        try:
            held = file.read()
        except OSError:
            return None
    code = held[_DIGEST:]
    return code if hashlib.sha256(code).digest() == held[:_DIGEST] else None


def write(name: str, code: bytes) -> None:
    """Keep code under this name. A cache that cannot be written is no error, only slower."""
    target = folder()
    if target is None:
        return
    with contextlib.suppress(OSError):
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target)  # made with mode 0600
        try:
            with open(descriptor, "wb") as file:
                file.write(hashlib.sha256(code).digest())
                file.write(code)
            os.replace(temporary, target / name)
        except OSError:
            os.unlink(temporary)
            raise
        _prune(target)


def _prune(target: Path) -> None:
    """Keep the files that were used last. Another process may do the same at this moment."""
    used: list[tuple[int, Path]] = []
    for path in target.iterdir():
        with contextlib.suppress(OSError):
            status = path.lstat()
            used.append((max(status.st_atime_ns, status.st_mtime_ns), path))
    for _, path in sorted(used, reverse=True)[_KEPT:]:
        with contextlib.suppress(OSError):
            path.unlink()


def drop(name: str) -> None:
    """Forget what is kept under this name."""
    target = folder()
    if target is not None:
        with contextlib.suppress(OSError):
            (target / name).unlink()
