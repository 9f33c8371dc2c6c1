"""A pipeline of the daemon's configuration: its files, how it is loaded, what runs of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sanderling import config, library, stages
from sanderling.daemonfile import PipelineTable
from sanderling.pool import Layout, Mode, Pool, Prepared, layout
from sanderling.profile import Preferred
from sanderling.stages import Stages

Signature = tuple[tuple[int, int, int] | None, ...]


def signature(paths: Iterable[Path]) -> Signature:
    """What tells whether files have changed, without reading them."""
    return tuple(map(_stat, paths))


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@dataclass(slots=True)
class Running:
    """A pipeline that runs.

    Attributes:
        table: what the file says of it.
        layout: how it uses the cores.
        pool: its lanes.
        files: what it was made of.
        seen: how they were then.
        eased: whether its smaller version runs.
        refused: how the files were when they were refused.
        last: how they were at the last look.
    """

    table: PipelineTable
    layout: Layout
    pool: Pool
    files: tuple[Path, ...]
    seen: Signature
    eased: bool = False
    refused: Signature = ()
    last: Signature = ()


@dataclass(slots=True)
class Next:
    """A pipeline as it will be.

    Attributes:
        running: what it is made out of; None for a new one.
        prepared: lanes that take over in the pool there is.
        made: a pipeline with a pool of its own.
    """

    running: Running | None
    prepared: Prepared | None = None
    made: Running | None = None
    table: PipelineTable | None = None
    files: tuple[Path, ...] = ()
    seen: Signature = ()
    eased: bool = False


def layout_of(table: PipelineTable, cores: int, preferred: Preferred) -> Layout:
    """How a pipeline of the file uses the cores.

    Args:
        table: what the file says of it.
        cores: that all models together may use.
        preferred: what the device profile prefers, where the file leaves it open.
    """
    mode: Mode = table.mode or preferred.mode or "latency"
    threads = table.threads or preferred.threads
    return layout(mode, cores, lanes=table.lanes, threads=min(threads, cores))


def load(table: PipelineTable, path: Path, where: Path, shape: Layout) -> Stages:
    """Load a pipeline of the file, with the parameters that stand there.

    Args:
        table: what the file says of it.
        path: the pipeline file: the table's, or its smaller one.
        where: the configuration file, for messages.
        shape: how it uses the cores.

    Raises:
        InputError: it, or something that it names, is wrong.
    """
    return stages.load_file(read(table, path, where), path, threads=shape.threads)


def read(table: PipelineTable, path: Path, where: Path) -> config.PipelineFile:
    """Read a pipeline file with the parameters that the configuration has for it; see `load`."""
    place = f"{where}: pipeline {table.name}"
    return config.with_params(config.read(path), table.params, place, path)


def made_of(path: Path) -> tuple[tuple[Path, ...], Signature]:
    """The files that a pipeline is made of, and how they are before they are read.

    What is written while it is loaded then differs from this, and is seen at the next look.

    Raises:
        ConfigError: the pipeline file is wrong, or names what is not there.
    """
    own = signature([path])
    file = config.read(path)
    parts: dict[Path, None] = {}
    for stage, name in zip(file.stages, config.stage_names(file), strict=True):
        kind, wanted = ("guest", stage.guest) if stage.guest else ("model", stage.model)
        where = f"{path}: stage {name}"
        parts[library.find(kind, wanted or "", path.parent, where)] = None
    return (path, *parts), own + signature(parts)


def discard(one: Next) -> None:
    """It does not take over: give back what was made for it."""
    if one.prepared is not None:
        one.prepared.discard()
    if one.made is not None:
        one.made.pool.close()


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))
