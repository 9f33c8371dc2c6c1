"""The cache of compiled guests is read only when it can be trusted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import hostile
from sanderling import compiled, guest
from sanderling.policy import Policy


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SANDERLING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "compiled"


def test_what_was_written_comes_back_and_is_ours_alone(cache: Path) -> None:
    compiled.write("a", b"code")
    assert compiled.read("a") == b"code"
    assert (cache / "a").stat().st_mode & 0o777 == 0o600
    assert cache.stat().st_mode & 0o777 == 0o700
    assert list(cache.iterdir()) == [cache / "a"]
    compiled.drop("a")
    assert compiled.read("a") is None


@pytest.mark.parametrize("damage", ["byte", "short", "empty", "mode", "link", "folder"])
def test_what_cannot_be_trusted_is_not_read(cache: Path, damage: str) -> None:
    compiled.write("a", b"code" * 100)
    path = cache / "a"
    data = path.read_bytes()
    if damage == "byte":
        path.write_bytes(data[:-1] + b"?")
    elif damage == "short":
        path.write_bytes(data[:50])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "mode":
        path.chmod(0o660)
    elif damage == "link":
        path.rename(cache / "b")
        path.symlink_to(cache / "b")
    else:
        cache.chmod(0o770)
    assert compiled.read("a") is None


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SANDERLING_CACHE", str(tmp_path / "file"))
    compiled.write("a", b"code")
    assert compiled.read("a") is None


def test_a_guest_is_compiled_once_and_again_when_the_cache_is_no_good(
    cache: Path, tmp_path: Path
) -> None:
    path = hostile.write(tmp_path)
    guest.load(path, Policy())
    (kept,) = cache.iterdir()
    made = kept.stat().st_mtime_ns
    guest.load(path, Policy())
    assert kept.stat().st_mtime_ns == made
    # Whole by its digest, but nothing that wasmtime takes: as after an upgrade that kept the key.
    compiled.write(kept.name, b"not machine code")
    module = guest.load(path, Policy())
    guest.Instance(module, "stage").close()
    assert compiled.read(kept.name) != b"not machine code"
    assert os.listdir(cache) == [kept.name]


def test_the_cache_keeps_what_was_used_last(cache: Path) -> None:
    for number in range(100):
        compiled.write(f"{number:03}", b"code")
        os.utime(cache / f"{number:03}", (number, number))
    os.utime(cache / "040", (1000, 40))  # read again since
    compiled.write("new", b"code")
    kept = sorted(entry.name for entry in cache.iterdir())
    assert len(kept) == 64
    assert {"new", "040", "099"} <= set(kept)
    assert "000" not in kept
    assert compiled.read("new") == b"code"


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SANDERLING_CACHE", "CACHE_DIRECTORY", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(_uid: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert compiled.folder() is None
    compiled.write("a", b"code")
    assert compiled.read("a") is None
    compiled.drop("a")
