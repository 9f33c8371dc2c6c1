"""A daemon's configuration or a pipeline file, checked in full without running it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from sanderling import (
    daemon,
    daemonfile,
    deployed,
    plan,
    sources,
    stages,
    tomlfile,
)
from sanderling.board import Board
from sanderling.daemon import Settings
from sanderling.daemonfile import CameraTable, DaemonFile, PipelineTable, SinkTable
from sanderling.errors import ConfigError, InputError, OutputError
from sanderling.look import mask_of
from sanderling.pool import Layout
from sanderling.profile import Preferred
from sanderling.stages import Stages

Size = tuple[int, int]
"""Width and height, in pixels."""


@dataclass(slots=True)
class Report:
    """What a file would do, and what is wrong with it.

    Attributes:
        problems: a line each; none: it can be run.
        notes: what a person should know, though it keeps nothing from running.
        pipelines: each pipeline that was planned.
        cameras: each camera that was checked.
        sinks: each sink.
        settings: what holds for the whole process; None for a pipeline file, or when the profile
            is wrong.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pipelines: list[Checked] = field(default_factory=list)
    cameras: list[Seen] = field(default_factory=list)
    sinks: list[SinkTable] = field(default_factory=list)
    settings: Settings | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A pipeline that can be run.

    Attributes:
        name: the pipeline's.
        file: where it is from.
        sizes: the frames that it was planned for.
        stages: the names of its stages.
        layout: how it uses the cores; None for a pipeline file by itself.
    """

    name: str
    file: str
    sizes: tuple[Size, ...]
    stages: tuple[str, ...]
    layout: Layout | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A camera that can be run, as far as that can be told without it.

    Attributes:
        table: what the file says of it.
        size: of its frames; None where it is not known before it is opened.
        sinks: the names of those that take its results.
    """

    table: CameraTable
    size: Size | None
    sinks: tuple[str, ...]

    @property
    def part(self) -> Size | None:
        """Width and height of what is looked at."""
        if self.table.roi is None:
            return self.size
        x1, y1, x2, y2 = self.table.roi
        return x2 - x1, y2 - y1


def check(path: Path, seen: Board, usual: Size = (1280, 720)) -> Report:
    """Check a file, whichever of the two it is.

    Args:
        path: the file.
        seen: the board that it is checked for.
        usual: the size of frames where nothing says it.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    data = tomlfile.read(path, "a configuration")
    given = tomlfile.table(data, str(path))
    if "stage" in given or isinstance(given.get("pipeline"), dict):
        return _check_pipeline(path, usual)
    return _Check(path, seen, usual).run(data)


def _check_pipeline(path: Path, size: Size) -> Report:
    report = Report()
    try:
        loaded = stages.load(path)
        plan.make(loaded, size[1], size[0]).close()
    except InputError as exc:
        report.problems.append(str(exc))
    else:
        report.pipelines.append(_checked(loaded, str(path), [size]))
    return report


def _checked(
    loaded: Stages, file: str, sizes: list[Size], layout: Layout | None = None, name: str = ""
) -> Checked:
    names = tuple(stage.name for stage in loaded.stages)
    return Checked(name or loaded.name, file, tuple(sizes), names, layout)


class _Check:
    """Checks a daemon's configuration.

    Args: as for `check`.
    """

    def __init__(self, path: Path, seen: Board, usual: Size) -> None:
        self._path = path
        self._board = seen
        self._usual = usual
        self._report = Report()

    def run(self, data: bytes) -> Report:
        """Go through the file from top to bottom; what is wrong keeps nothing else unchecked."""
        report = self._report
        file, report.problems = daemonfile.inspect_all(data, str(self._path))
        try:
            report.settings = daemon.settle(file, self._board, self._path)
        except InputError as exc:
            report.problems.append(str(exc))
        else:
            report.notes += report.settings.warnings
        for camera in file.cameras:
            self._camera(camera, file.sinks)
        for pipeline in file.pipelines:
            self._pipeline(pipeline)
        for sink in file.sinks:
            self._sink(sink)
        self._note(file)
        return report

    def _camera(self, table: CameraTable, sinks: list[SinkTable]) -> None:
        place = f"{self._path}: camera {table.name}"
        where = table.source
        if sources.is_path(where):
            where = str(self._path.parent / where)
        try:
            size = sources.examine(where)
            mask_of(table.mask)
            if size is not None:
                _check_inside(table, size)
                self._check_allowed(table, size)
        except InputError as exc:
            self._report.problems.append(f"{place}: {exc}")
            return
        takers = [one.name for one in sinks if not one.cameras or table.name in one.cameras]
        self._report.cameras.append(Seen(table, size, tuple(takers)))

    def _check_allowed(self, table: CameraTable, size: Size) -> None:
        """Note a camera that the daemon will refuse: the other ones run all the same."""
        settings = self._report.settings
        most = settings.bounds.megapixels if settings is not None else 0.0
        if settings is not None and 0 < most < size[0] * size[1] / 1e6:
            self._report.notes.append(
                f"camera {table.name}: frames of {size[0]} x {size[1]} are more than the"
                f" {most:g} megapixels that the profile {settings.profile.name} allows:"
                " the daemon will refuse them"
            )

    def _pipeline(self, table: PipelineTable) -> None:
        settings = self._report.settings
        cores, preferred = 1, Preferred()
        if settings is not None:
            cores, preferred = settings.cores, settings.profile.preferred
        shape = deployed.layout_of(table, cores, preferred)
        cameras = [one for one in self._report.cameras if one.table.pipeline == table.name]
        sizes = list(dict.fromkeys(one.part or self._usual for one in cameras)) or [self._usual]
        for name in filter(None, (table.file, table.smaller)):
            try:
                loaded = deployed.load(table, self._path.parent / name, self._path, shape)
            except InputError as exc:
                self._report.problems.append(str(exc))
                continue
            planned = self._planned(table, loaded, sizes)
            if planned:
                self._report.pipelines.append(_checked(loaded, name, planned, shape, table.name))

    def _planned(self, table: PipelineTable, loaded: Stages, sizes: list[Size]) -> list[Size]:
        """The sizes that it can be planned for; the others are noted as problems."""
        good = []
        for width, height in sizes:
            try:
                plan.make(loaded, height, width).close()
            except InputError as exc:
                self._report.problems.append(
                    f"{self._path}: pipeline {table.name}: frames of {width} x {height}: {exc}"
                )
            else:
                good.append((width, height))
        return good

    def _sink(self, table: SinkTable) -> None:
        if table.path != "-":
            try:
                _check_writable(self._path.parent / table.path)
            except OutputError as exc:
                self._report.problems.append(f"{self._path}: sink {table.name}: {exc}")
                return
        self._report.sinks.append(table)

    def _note(self, file: DaemonFile) -> None:
        if self._report.problems:
            return  # a camera or a sink that could not be read may be the one that is missed here
        if not any(camera.enabled for camera in file.cameras):
            self._report.notes.append(f"{self._path}: no camera is enabled: nothing would run")
        used = {camera.pipeline for camera in file.cameras if camera.enabled}
        notes = [
            f"pipeline {table.name}: no camera uses it"
            for table in file.pipelines
            if table.name not in used
        ]
        notes += [
            f"camera {one.table.name}: no sink takes its results"
            for one in self._report.cameras
            if not one.sinks
        ]
        self._report.notes += notes


def _check_inside(table: CameraTable, size: Size) -> None:
    """Whether roi and mask are inside frames of a known size.

    Raises:
        ConfigError: the roi sticks out, or a polygon of the mask covers nothing.
    """
    width, height = size
    if table.roi is not None and (table.roi[2] > width or table.roi[3] > height):
        x1, y1, x2, y2 = table.roi
        raise ConfigError(
            f"roi: {x1}, {y1} to {x2}, {y2} is not inside its frames of {width} x {height}"
        )
    for polygon in table.mask:
        left, top = min(x for x, _ in polygon), min(y for _, y in polygon)
        if left >= width or top >= height:
            raise ConfigError(
                f"mask: the polygon from {left}, {top} on is outside of its frames of"
                f" {width} x {height}: it covers nothing"
            )


def _check_writable(path: Path) -> None:
    """Whether a file can be added to, or made with the folders that it needs.

    Raises:
        OutputError: it cannot, by this user.
    """
    try:
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; name a file in it")
        if path.exists():
            if not os.access(path, os.W_OK):
                raise OutputError(f"{path}: may not be written by this user")
            return
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir():
            raise OutputError(f"{path}: {folder} is no folder")
    except OSError as exc:
        raise OutputError(f"{path}: cannot be written: {exc.strerror}") from exc
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: {folder} may not be written by this user")
