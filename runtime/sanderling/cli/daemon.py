"""`sanderling daemon`: the supervisor, and with `--worker` the process that it watches."""

from __future__ import annotations

import faulthandler
import os
import sys
import tomllib
from pathlib import Path

import click

from sanderling.cli.text import GivenPath
from sanderling.errors import InputError
from sanderling.logs import FORMATS, LEVELS
from sanderling.statuspipe import StatusPipe
from sanderling.text import has_deep_key

_MAX_CONFIG = 1 << 20
"""Bytes that are looked through for the log's format; the worker says what is wrong with more."""


@click.command(epilog="Example: sanderling daemon --config /etc/sanderling/daemon.toml")
@click.option("--config", required=True, type=GivenPath(), help="The daemon's configuration.")
@click.option(
    "--trace", type=GivenPath(), help="When it ends, write where the time went (Chrome trace)."
)
@click.option("--worker", is_flag=True, hidden=True)
def command(config: Path, trace: Path | None, worker: bool) -> int:
    """Run cameras through pipelines until told to stop.

    SIGTERM stops it, SIGHUP reads the configuration again.
    """
    config = config.absolute()
    if worker:
        return _work(config, trace)
    # Not -m alone: the folder of the day must not be a place to import from.
    python = [sys.executable, "-P", "-m"]
    supervise = [*python, "sanderling.supervisor", *_log_settings(config)]
    work = [*python, "sanderling", "daemon", "--config", str(config), "--worker"]
    if trace is not None:
        work += ["--trace", str(trace.absolute())]
    # The supervisor takes this process's place, number and all, without what the command line
    # has loaded: systemd sees one process, and months of it are cheaper.
    os.execv(sys.executable, [*supervise, *work])  # noqa: S606 - no shell is wanted
    raise AssertionError("unreachable")


def _log_settings(config: Path) -> tuple[str, str]:
    """`log_format` and `log_level` of the file, for the supervisor's own few lines.

    Whatever is wrong with the file is for the worker to say; until then, text and info.
    """
    try:
        with config.open("rb") as file:
            data = file.read(_MAX_CONFIG)
        table = {} if has_deep_key(data) else tomllib.loads(data.decode()).get("daemon", {})
    except (OSError, ValueError, RecursionError):
        table = {}
    said = table if isinstance(table, dict) else {}
    form, level = said.get("log_format"), said.get("log_level")
    return (
        form if isinstance(form, str) and form in FORMATS else "text",
        level if isinstance(level, str) and level in LEVELS else "info",
    )


def _work(config: Path, trace: Path | None) -> int:
    status = StatusPipe.attach()
    faulthandler.enable()  # upon SIGABRT, the watchdog's, it says where each thread is
    from sanderling import daemon  # noqa: PLC0415 - loads all that runs

    try:
        return daemon.run(config, status, trace)
    except InputError as exc:
        status.status(str(exc))
        raise
