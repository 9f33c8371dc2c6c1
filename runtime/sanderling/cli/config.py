"""`sanderling config`: check a configuration, and describe it for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sanderling.cli.text import GivenPath, count, parse_size, table
from sanderling.text import printable

if TYPE_CHECKING:
    from sanderling.preflight import Checked, Report, Seen


@click.group(epilog="Example: sanderling config check daemon.toml")
def command() -> None:
    """Check a configuration, and describe it for editors."""


@command.command(
    short_help="Say what a daemon's configuration or a pipeline would run, or what is wrong.",
    epilog="Example: sanderling config check daemon.toml",
)
@click.argument("file", type=GivenPath())
@click.option(
    "--frame",
    default="1280x720",
    show_default=True,
    help="Size of the frames, WxH, where nothing says it.",
)
def check(file: Path, frame: str) -> int:
    """Check FILE, a daemon's configuration or a pipeline, without running it.

    Guests and models are loaded, and everything is planned; no camera and no stream is opened. Each
    problem is a line, and the exit code 2.
    """
    size = parse_size(frame, "--frame")
    from sanderling import board, preflight  # noqa: PLC0415 - loads onnxruntime

    report = preflight.check(file, board.read(), size)
    for note in report.notes:
        click.echo(printable(f"note: {note}"), err=True)
    for problem in report.problems:
        click.echo(printable(f"sanderling: {problem}"), err=True)
    if report.problems:
        return 2
    click.echo(_told(file, report))
    return 0


@command.command(
    short_help="Print the JSON Schema of a daemon's configuration.",
    epilog="Example: sanderling config schema > daemon.schema.json",
)
def schema() -> None:
    """Print the JSON Schema of a daemon's configuration, for editors that know TOML."""
    from sanderling import daemonfile  # noqa: PLC0415 - only what is needed

    click.echo(json.dumps(daemonfile.schema(), indent=2))


def _told(file: Path, report: Report) -> str:
    """What would run, for a person."""
    parts = [_pipelines(report.pipelines)] if report.pipelines else []
    settings = report.settings
    if settings is None:
        return "\n".join([*parts, "", printable(f"{file}: good")])
    if report.cameras:
        parts.append(_cameras(report.cameras))
    if report.sinks:
        rows = [["sink", "kind", "path"]]
        parts.append(table(rows + [[one.name, one.kind, one.path] for one in report.sinks]))
    memory = f"{settings.memory_mb} MiB" if settings.memory_mb else "no limit of memory"
    cores = count(settings.cores, "core")
    parts.append(printable(f"profile {settings.profile.name}: {cores}, {memory}"))
    running = [one for one in report.cameras if one.table.enabled]
    parts.append(printable(f"{file}: good; {count(len(running), 'camera')} would run"))
    return "\n\n".join(parts)


def _pipelines(checked: list[Checked]) -> str:
    rows = [["pipeline", "file", "frames", "lanes", "threads", "stages"]]
    for one in checked:
        sizes = ", ".join(f"{width}x{height}" for width, height in one.sizes)
        layout = one.layout
        # By itself, a pipeline file does not say how many lanes it is given.
        cores = [str(layout.lanes), str(layout.threads)] if layout else ["-", "-"]
        rows.append([one.name, one.file, sizes, *cores, ", ".join(one.stages)])
    return table(rows, right=(3, 4))


def _cameras(cameras: list[Seen]) -> str:
    from sanderling import daemonfile  # noqa: PLC0415 - only what is needed

    rows = [["camera", "source", "frames", "pipeline", "rate", "sinks"]]
    for one in cameras:
        camera = one.table
        rows.append(
            [
                camera.name,
                daemonfile.shown(camera),
                "x".join(map(str, one.size)) if one.size else "not known",
                camera.pipeline if camera.enabled else "off",
                f"{camera.rate:g}" if camera.rate else "all",
                ", ".join(one.sinks) or "none",
            ]
        )
    return table(rows)
