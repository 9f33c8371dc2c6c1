"""The daemon's configuration file: cameras, pipelines, sinks and limits."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from sanderling import tomlfile
from sanderling.config import MAX_THREADS, FileName, StageName
from sanderling.errors import ConfigError
from sanderling.manifest import ParamValue
from sanderling.text import masked

MAX_SIDE = 1 << 14
_Pixel = Annotated[int, msgspec.Meta(ge=0, le=MAX_SIDE)]
_Corner = tuple[_Pixel, _Pixel]
_Polygon = Annotated[list[_Corner], msgspec.Meta(min_length=3, max_length=256)]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all tables of the file are like."""


class DaemonTable(_Table, frozen=True, kw_only=True):
    """The table `[daemon]`.

    Attributes:
        profile: a device profile: a bare name, a path, or `auto` for the one that fits the board.
        threads: threads that all models together may use; 0 for what the profile says.
        memory_mb: memory that the worker may have, in MiB; above it, it is started anew. 0 for what
            the profile says.
        log_format: lines for people, or JSON.
        log_level: the least that is logged.
        report_s: seconds from one line with each camera's counts to the next; 0 for none.
    """

    profile: FileName = "auto"
    threads: Annotated[int, msgspec.Meta(ge=0, le=MAX_THREADS)] = 0
    memory_mb: Annotated[int, msgspec.Meta(ge=0, le=1 << 24)] = 0
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    report_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 60.0


class PipelineTable(_Table, frozen=True, kw_only=True):
    """A table `[[pipeline]]`: a pipeline file, and how it runs here.

    Attributes:
        name: what cameras call it.
        file: the pipeline file, relative to this file.
        mode: `latency` gives one frame all cores, `throughput` overlaps frames; empty for what the
            profile prefers.
        threads: threads of one run of a model; 0 for what suits the mode.
        lanes: frames in flight; 0 for what suits the mode.
        params: parameters by stage, over those in the pipeline file.
        smaller: a pipeline file for when the board is too hot: the same with a smaller model.
    """

    name: StageName
    file: FileName
    mode: Literal["", "latency", "throughput"] = ""
    threads: Annotated[int, msgspec.Meta(ge=0, le=MAX_THREADS)] = 0
    lanes: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    params: dict[str, dict[str, ParamValue]] = {}
    smaller: FileName | None = None


class CameraTable(_Table, frozen=True, kw_only=True):
    """A table `[[camera]]`: a source of frames.

    Attributes:
        name: what results and logs call it.
        source: a camera, a stream, a file, a socket or a test pattern (docs/sources.md).
        pipeline: the name of the pipeline that its frames go through.
        rate: frames a second at the most; 0 for all.
        policy: what happens when frames come too fast; empty for `latest` where the source is live
            and `block` where it is not.
        roi: x1, y1, x2, y2 in pixels: only this part is looked at.
        mask: polygons in pixels of the frame; what is inside is blackened before anything sees it.
        stall_s: a live source that gives nothing for so long is opened again.
        enabled: whether it runs.
    """

    name: StageName
    source: FileName
    pipeline: StageName
    rate: Annotated[float, msgspec.Meta(ge=0, le=10_000)] = 0.0
    policy: Literal["", "latest", "block", "sample"] = ""
    roi: tuple[_Pixel, _Pixel, _Pixel, _Pixel] | None = None
    mask: Annotated[list[_Polygon], msgspec.Meta(max_length=64)] = []
    stall_s: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 10.0
    enabled: bool = True


class SinkTable(_Table, frozen=True, kw_only=True):
    """A table `[[sink]]`: where results go.

    Attributes:
        name: what logs call it.
        kind: `jsonl` adds a JSON object a line to a file.
        path: the file, relative to this file; `-` for stdout.
        cameras: those whose results it takes; none named: all.
        queue: results that may wait for it; more are left out and counted.
    """

    name: StageName
    kind: Literal["jsonl"] = "jsonl"
    path: FileName
    cameras: list[StageName] = []
    queue: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 256


class DaemonFile(_Table, frozen=True, kw_only=True):
    """The whole file.

    Attributes:
        daemon: what concerns all of it.
        pipelines: what is done with frames.
        cameras: where they come from.
        sinks: where results go.
    """

    daemon: DaemonTable = DaemonTable()
    pipelines: list[PipelineTable] = msgspec.field(name="pipeline", default_factory=list)
    cameras: list[CameraTable] = msgspec.field(name="camera", default_factory=list)
    sinks: list[SinkTable] = msgspec.field(name="sink", default_factory=list)


def read(path: Path) -> DaemonFile:
    """Read the file and check all that can be checked without the files that it names.

    Raises:
        ConfigError: names the file, the key, what was found and what would be accepted.
    """
    return parse(tomlfile.read(path, "a daemon's configuration"), str(path))


def parse(data: bytes, where: str) -> DaemonFile:
    """The file from its bytes; see `read`.

    Args:
        data: TOML.
        where: its path, for messages.
    """
    file = tomlfile.decode(data, DaemonFile, where)
    for problem in _misfits(file):
        raise ConfigError(f"{where}: {problem}")
    return file


def inspect_all(data: bytes, where: str) -> tuple[DaemonFile, list[str]]:
    """The file as far as it is right, and all that is wrong with it.

    A table with something wrong in it is left out, with the first of its faults; what names such a
    table is not blamed for it.

    Args:
        data: TOML.
        where: its path, for messages.

    Raises:
        ConfigError: it is not TOML.
    """
    given = tomlfile.table(data, where)
    problems: list[str] = []
    kept: dict[str, object] = {}
    broken: dict[str, set[str]] = {}
    for key, value in given.items():
        kind = _TABLES.get(key)
        if kind is None or not isinstance(value, list):
            try:
                tomlfile.fit({key: value}, DaemonFile, where)
            except ConfigError as exc:
                problems.append(str(exc))
            else:
                kept[key] = value
            continue
        good: list[object] = []
        for number, table in enumerate(value, 1):
            try:
                tomlfile.fit(table, kind, f"{where}: {key} {number}")
            except ConfigError as exc:
                problems.append(str(exc))
                name = table.get("name") if isinstance(table, dict) else None
                broken.setdefault(key, set()).add(str(name))
            else:
                good.append(table)
        kept[key] = good
    file = tomlfile.fit(kept, DaemonFile, where)
    problems += [f"{where}: {problem}" for problem in _misfits(file, broken)]
    return file, problems


_TABLES: dict[str, type[msgspec.Struct]] = {
    "pipeline": PipelineTable,
    "camera": CameraTable,
    "sink": SinkTable,
}


def _misfits(file: DaemonFile, broken: Mapping[str, Set[str]] | None = None) -> Iterator[str]:
    """What is wrong between the tables of a file, each of which is right.

    Args:
        file: the tables.
        broken: the names of tables that are left out, by kind.
    """
    broken = broken or {}
    for kind, tables in (
        ("pipeline", file.pipelines),
        ("camera", file.cameras),
        ("sink", file.sinks),
    ):
        names = Counter(table.name for table in tables)
        for name, times in names.items():
            if times > 1:
                yield f"two tables [[{kind}]] are named {name!r}"
    pipelines = [table.name for table in file.pipelines]
    cameras = [table.name for table in file.cameras]
    for camera in file.cameras:
        if camera.pipeline not in {*pipelines, *broken.get("pipeline", ())}:
            yield (
                f"camera {camera.name}: there is no pipeline {camera.pipeline!r}; there is:"
                f" {', '.join(pipelines) or 'none'}"
            )
        if camera.roi is not None and not (
            camera.roi[0] < camera.roi[2] and camera.roi[1] < camera.roi[3]
        ):
            yield f"camera {camera.name}: roi: x1 must be less than x2, and y1 less than y2"
    for sink in file.sinks:
        for name in sink.cameras:
            if name not in {*cameras, *broken.get("camera", ())}:
                yield (
                    f"sink {sink.name}: there is no camera {name!r}; there is:"
                    f" {', '.join(cameras) or 'none'}"
                )


def schema() -> dict[str, object]:
    """The JSON Schema of the file, for editors that check TOML while it is typed."""
    made = msgspec.json.schema(DaemonFile)
    for kind in (DaemonFile, DaemonTable, PipelineTable, CameraTable, SinkTable):
        described = made["$defs"][kind.__name__]
        described["description"], words = _described(kind)
        names = zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
        for field, key in names:
            described["properties"][key]["description"] = words[field]
    # Editors take patterns as JavaScript has them, which has no \\Z.
    text = msgspec.json.encode({"$schema": "https://json-schema.org/draft/2020-12/schema", **made})
    portable: dict[str, object] = msgspec.json.decode(text.replace(rb'\\Z"', b'$"'))
    return portable


def _described(kind: type) -> tuple[str, dict[str, str]]:
    """The first line of a class's docstring, and what it says of each attribute."""
    head, _, attributes = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    words: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \w)", attributes.rstrip()):
        name, _, text = entry.strip().partition(": ")
        words[name] = " ".join(text.split())
    return head.strip(), words


def shown(camera: CameraTable) -> str:
    """A camera's source without the password in it."""
    return masked(camera.source)
