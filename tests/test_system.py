"""Tests that need a program of the system: skipped without it, failed in CI."""

from __future__ import annotations

import pytest

import system


def test_what_is_there_is_found(monkeypatch, tmp_path):
    program = tmp_path / "a-program"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert system.require("a-program", "a-package") == str(program)


def test_what_is_missing_is_skipped(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install a-package"):
        system.require("no-such-program", "a-package")


def test_what_is_missing_fails_in_ci(monkeypatch):
    monkeypatch.setenv("CI", "true")
    monkeypatch.delenv("SANDERLING_EMULATED", raising=False)
    with pytest.raises(pytest.fail.Exception, match="apt-get install a-package"):
        system.require("no-such-program", "a-package")
