"""`sanderling daemon` up to the supervisor, which tests/test_supervisor.py has."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from commandline import COMMAND, refused, run
from sanderling.cli.daemon import _log_settings

pytestmark = pytest.mark.process


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", ("text", "info")),
        ('[daemon]\nlog_format = "json"\nlog_level = "debug"', ("json", "debug")),
        ('[daemon]\nlog_format = "json"', ("json", "info")),
        ('[daemon]\nlog_format = "xml"\nlog_level = 7', ("text", "info")),
        ('[daemon]\nlog_format = ["json"]\nlog_level = { a = 1 }', ("text", "info")),
        ('[[daemon]]\nlog_format = "json"', ("text", "info")),
        ("daemon = 1", ("text", "info")),
        ("[daemon", ("text", "info")),
        ("\xff", ("text", "info")),
        ("a." * 5000 + "b = 1", ("text", "info")),
        ("a = " + "[" * 50_000, ("text", "info")),
    ],
)
def test_the_log_is_as_the_file_wants_it_or_as_usual(
    tmp_path: Path, text: str, settings: tuple[str, str]
) -> None:
    path = tmp_path / "daemon.toml"
    path.write_bytes(text.encode("latin-1"))
    assert _log_settings(path) == settings


def test_a_file_that_cannot_be_read_is_for_the_worker_to_tell(tmp_path: Path) -> None:
    assert _log_settings(tmp_path / "missing") == ("text", "info")
    assert _log_settings(tmp_path) == ("text", "info")


def test_the_command_becomes_the_supervisor(tmp_path: Path) -> None:
    (tmp_path / "daemon.toml").write_text('[daemon]\nlog_format = "json"\n')
    # Where it is started there lies a module that must not be taken for ours.
    (tmp_path / "sanderling.py").write_text("raise SystemExit('the wrong one')")
    environ = os.environ | {"PYTHONSAFEPATH": "1"}
    with subprocess.Popen(
        [*COMMAND, "daemon", "--config", "daemon.toml"],
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=environ,
    ) as process:
        assert process.stderr is not None
        try:
            line = json.loads(process.stderr.readline())
            words = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode().split("\0")
        finally:
            process.kill()
    assert line["event"] == "worker_started"
    python = words[words.index("-P") - 1]  # an emulator has words of its own before it
    assert words[words.index("-P") : -1] == [
        *["-P", "-m", "sanderling.supervisor", "json", "info"],
        *[python, "-P", "-m", "sanderling", "daemon"],
        *["--config", str(tmp_path / "daemon.toml"), "--worker"],
    ]


def test_help_says_nothing_of_the_worker() -> None:
    assert "--worker" not in run("daemon", "--help").stdout
    assert "--config" in refused("daemon")
