"""`sanderling doctor`: what board this is, which profile it has, and what is wrong."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
from pathlib import Path

import click

from sanderling import board, checks, library, profile
from sanderling.board import Board
from sanderling.checks import Check
from sanderling.cli.text import GivenPath, count
from sanderling.errors import ConfigError
from sanderling.profile import Choice
from sanderling.text import printable

_MARKS = {"ok": "ok", "warning": "WARNING", "problem": "PROBLEM", "unknown": "?"}
INSTALLED = Path("etc/sanderling/daemon.toml")
"""Where `sanderling install` puts the daemon's configuration, below the root."""
_PACKAGES = {
    "numpy": ("numpy",),
    "onnxruntime": ("onnxruntime",),
    "wasmtime": ("wasmtime",),
    "cv2": ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless"),
}
"""Modules that are needed, and the packages that bring them."""


@click.command(epilog="Example: sanderling doctor --json")
@click.option(
    "--profile",
    "given",
    type=GivenPath(),
    metavar="PROFILE",
    help="A profile's file, or an installed one's name, in place of the board's.",
)
@click.option(
    "--root",
    type=GivenPath(),
    default=Path("/"),
    metavar="DIR",
    help="A folder of recorded files in place of this machine.",
)
@click.option(
    "--config",
    type=GivenPath(),
    metavar="FILE",
    help="The daemon's configuration, whose cameras are looked at; else the installed one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(given: Path | None, root: Path, config: Path | None, as_json: bool) -> int:
    """Say what board this is, which profile it has, and what is wrong with it.

    The cameras of the daemon's configuration are looked at too; none is opened.

    The exit code is 0 when nothing is a problem, else 2.
    """
    if not os.path.isdir(root):
        raise ConfigError(f"{root}: there is no such folder")
    seen = board.read(root)
    choice = choose(seen, given)
    bounds = profile.settle(choice.profile, seen.facts())
    found = checks.check(seen, choice.profile, bounds, packages() if seen.real else {})
    found += _configured(config, root)
    click.echo(_json(seen, choice, found) if as_json else _report(seen, choice, found))
    return 2 if any(item.state == "problem" for item in found) else 0


def _configured(config: Path | None, root: Path) -> list[Check]:
    """What is wrong with the cameras of the daemon; nothing where no daemon is configured."""
    if config is None:
        config = root / INSTALLED
        if not os.path.lexists(config):
            return []
    from sanderling import readable  # noqa: PLC0415 - loads numpy

    return readable.check(config, root)


def choose(seen: Board, given: Path | None) -> Choice:
    """The profile of a board, or the one that was named.

    Args:
        seen: the board.
        given: a path or a bare name; None for the one that fits best.

    Raises:
        ConfigError: it is not there, or wrong.
    """
    if given is not None:
        return Choice(profile.read(library.locate("profile", given)), "it was asked for")
    return profile.choose(map(profile.read, library.profiles()), seen.facts())


def packages() -> dict[str, str | None]:
    """The version of each library that is needed, None where it is missing; none is imported."""
    return {module: _version(module, names) for module, names in _PACKAGES.items()}


def _version(module: str, names: tuple[str, ...]) -> str | None:
    if importlib.util.find_spec(module) is None:
        return None
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "of unknown version"


def _about(seen: Board, choice: Choice) -> dict[str, str]:
    cpu = seen.cpu
    used = f", {cpu.usable} may be used" if cpu.usable != cpu.cores else ""
    title = f" ({choice.profile.title})" if choice.profile.title else ""
    about = {
        "board": seen.name or "unknown",
        "system": ", ".join(part for part in (seen.system, seen.kernel) if part) or "unknown",
        "processor": f"{cpu.model or 'unknown'}{used}",
        "profile": f"{choice.profile.name}{title}: {choice.why}",
    }
    preferred = choice.profile.preferred
    best = [preferred.model or preferred.variant, preferred.flavour, preferred.size, preferred.mode]
    if preferred.threads:
        best.append(count(preferred.threads, "thread"))
    if any(best):
        known = "runs best" if choice.profile.evidence is not None else "begin with"
        about[known] = ", ".join(part for part in best if part)
    return about


def _report(seen: Board, choice: Choice, found: list[Check]) -> str:
    about = _about(seen, choice)
    width = max(len(name) for name in (*about, *(item.name for item in found)))
    lines = [f"{name:{width}}  {printable(text)}" for name, text in about.items()]
    lines.append("")
    for item in found:
        lines.append(f"{item.name:{width}}  {_MARKS[item.state]:7}  {printable(item.found)}")
        if item.remedy:
            lines.append(f"{'':{width}}  {'':7}  -> {item.remedy}")
    wrong = [sum(item.state == state for item in found) for state in ("problem", "warning")]
    said = [count(number, what) for number, what in zip(wrong, ("problem", "warning"), strict=True)]
    lines += ["", f"{said[0]}, {said[1]}"]
    return "\n".join(lines)


def _json(seen: Board, choice: Choice, found: list[Check]) -> str:
    cpu, reading = seen.cpu, seen.reading
    power = reading.power
    return json.dumps(
        {
            "board": {
                "name": printable(seen.name),
                "compatible": [printable(word) for word in seen.compatible],
                "dmi": [printable(word) for word in seen.dmi],
                "system": printable(seen.system),
                "kernel": printable(seen.kernel),
                "processor": printable(cpu.model),
                "arch": cpu.arch,
                "bits": cpu.bits,
                "cores": cpu.cores,
                "usable_cores": cpu.usable,
                "mhz": cpu.mhz,
                "mhz_max": cpu.mhz_max,
                "governor": printable(cpu.governor),
                "memory_mb": reading.memory.total >> 20,
                "available_mb": reading.memory.available >> 20,
                "swap_used_mb": reading.memory.swap_used >> 20,
                "celsius": reading.celsius,
                "throttled": power.bits if power is not None else None,
                "clock_set": seen.clock_set,
            },
            "profile": {"name": choice.profile.name, "why": printable(choice.why)},
            "checks": checks.plain(found),
        }
    )
