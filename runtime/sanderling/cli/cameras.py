"""`sanderling cameras`: what is there, and what to write to use it."""

from __future__ import annotations

import click

from sanderling import devices
from sanderling.cli.text import table


@click.command(epilog="Example: sanderling run faces.toml --source /dev/video0")
def command() -> None:
    """List the cameras that are there, and what to write to use one."""
    found = [*devices.libcamera_cameras(), *devices.cameras()]
    if not found:
        click.echo(
            "no camera found: neither V4L2 (/dev/video*) nor libcamera has one; is it plugged in?"
        )
        return
    found.sort(key=lambda device: not device.where)
    rows = [["source", "camera", "driver", "note"]]
    rows += [[device.where or "-", device.name, device.driver, device.note] for device in found]
    click.echo(table(rows))
