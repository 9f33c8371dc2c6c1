"""Tests that need a program of the system: skipped without it, failed in CI."""

from __future__ import annotations

import pytest

import system


def test_what_is_there_is_found():
    assert system.require("env", "coreutils").endswith("/env")


def test_what_is_missing_is_skipped(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install a-package"):
        system.require("no-such-program", "a-package")


def test_what_is_missing_fails_in_ci(monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install a-package"):
        system.require("no-such-program", "a-package")
