"""`sanderling install` and `uninstall`: the daemon as a systemd service."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from sanderling import board, daemonfile, profile, service, systemd
from sanderling.cli.doctor import choose
from sanderling.cli.text import GivenPath, not_empty
from sanderling.errors import ConfigError, OutputError

_ROOT = click.option(
    "--root",
    type=GivenPath(),
    default="/",
    metavar="DIR",
    help="An image's folder in place of this machine; nothing else is touched.",
)


@click.command("install", epilog="Example: sudo /opt/sanderling/bin/sanderling install")
@_ROOT
@click.option(
    "--user", default=service.NAME, show_default=True, help="Whom it runs as; made if missing."
)
@click.option(
    "--config",
    default=service.CONFIG,
    show_default=True,
    metavar="FILE",
    callback=not_empty,
    help="The configuration; an example is written if there is none.",
)
@click.option(
    "--program",
    metavar="PATH",
    callback=not_empty,
    help="The sanderling that the service runs, if not this one.",
)
@click.option(
    "--profile",
    "given",
    type=GivenPath(),
    metavar="PROFILE",
    help="Whose memory limit it gets, in place of the board's profile.",
)
@click.option("--now", is_flag=True, help="Start it as well.")
def install(
    root: Path, user: str, config: str, program: str | None, given: Path | None, now: bool
) -> None:
    """Put the daemon in place as a systemd service.

    What is there already is left: do it again after an upgrade.
    """
    root = _checked(root, "install")
    live = root == Path("/")
    wanted = service.Service(
        root, program if program is not None else service.this_program(), config, user
    )
    wanted = replace(wanted, memory=_memory(wanted, given))
    wanted.check()
    if now and not (live and systemd.is_running()):
        raise OutputError("--now: there is no systemd running here to start it")
    fresh = service.install(wanted, click.echo)
    if now and not fresh:
        service.start()
        click.echo("\nIt is starting. How it is: systemctl status sanderling")
    else:
        click.echo(f"\nNext:\n{_next(wanted, fresh)}")


def _memory(wanted: service.Service, given: Path | None) -> service.Memory | None:
    """What the worker will allow itself; None where nothing says so.

    An image may come to any board: without a profile it has per cent.
    """
    place = wanted.root / wanted.config.lstrip("/")
    try:
        asked = daemonfile.read(place).daemon
    except ConfigError:  # it is not there yet, or the daemon will refuse it
        asked = daemonfile.DaemonTable()
    if asked.memory_mb:
        return service.Memory(asked.memory_mb, f"{wanted.config} (daemon.memory_mb)")
    if given is None and not wanted.live:
        return None
    seen = board.read()
    chosen = choose(seen, given).profile
    if not chosen.limits.memory_mb:
        return None
    mb = profile.settle(chosen, seen.facts()).memory_mb if wanted.live else chosen.limits.memory_mb
    return service.Memory(mb, f"The profile {chosen.name}")


def _next(wanted: service.Service, fresh: bool) -> str:
    """What a person has to do now."""
    steps = []
    if fresh:
        at = wanted.root / wanted.config.lstrip("/")
        steps.append(f"write your cameras into {at}")
    if not wanted.live:
        steps.append(f"systemctl --root={wanted.root} enable {service.NAME}")
        steps.append(f"systemd-sysusers --root={wanted.root}")
        if not (wanted.root / wanted.program.lstrip("/")).is_file():
            steps.append(f"put Sanderling into the image, so that {wanted.program} is there")
    elif systemd.is_running():
        steps.append(f"systemctl restart {service.NAME}; systemctl status {service.NAME}")
    else:
        steps.append(f"when systemd runs: systemctl enable --now {service.NAME}")
    return "\n".join(f"  {step}" for step in steps)


@click.command("uninstall", epilog="Example: sudo /opt/sanderling/bin/sanderling uninstall")
@_ROOT
@click.option("--purge", is_flag=True, help="Remove configuration, data and user as well.")
def uninstall(root: Path, purge: bool) -> None:
    """Take away what install put in place.

    Configuration and data stay, and what was changed by hand, unless --purge is given.
    """
    root = _checked(root, "uninstall")
    if not service.uninstall(root, click.echo, purge=purge):
        click.echo("Nothing is installed here.")


def _checked(root: Path, command: str) -> Path:
    """The folder that stands for `/`, when this user may write there."""
    if not root.is_dir():
        raise OutputError(f"--root {root}: is no folder")
    root = root.resolve()
    if root == Path("/") and os.geteuid() != 0:
        program = Path(sys.executable).parent / service.NAME
        raise OutputError(f"{command}: only root may do this: sudo {program} {command}")
    return root
