"""The pipeline file: what stages there are, in what order, with what parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from sanderling import tomlfile
from sanderling.errors import ConfigError
from sanderling.metadata import ImageInput, Quantization
from sanderling.policy import Policy

MAX_STAGES = 32
MAX_THREADS = 256

StageName = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9._#-]+\Z",
        description="letters, digits, '.', '_', '#' and '-' only",
    ),
]


FileName = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]


class PipelineTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table `[pipeline]`.

    Attributes:
        name: what it is called in results and metrics.
        threads: threads a model may use; 0 for one a core.
    """

    name: StageName
    threads: Annotated[int, msgspec.Meta(ge=0, le=MAX_THREADS)] = 0


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table `[[stage]]`: a guest or a model.

    Attributes:
        guest: a guest, as a path relative to the file or the bare name of an installed one.
        model: a model, likewise.
        name: what errors and timings call it; else the name of its guest or model.
        params: the guest's parameters.
        call: the bare export of a guest that does not speak the ABI.
        inputs: its input, and the tensor it takes: `"name"` or `"stage.name"`.
        outputs: of a model, an output in the graph and the name that guests know it by.
        image: of a model, how it wants its picture, where its metadata does not say so.
        labels: of a model, the names of its classes.
        tensors: of a model, scale and zero point of what is stored quantized.
    """

    guest: FileName | None = None
    model: FileName | None = None
    name: StageName | None = None
    params: dict[str, object] = {}
    call: str | None = None
    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}
    image: ImageInput | None = None
    labels: list[str] | None = None
    tensors: dict[str, Quantization] = {}


class PipelineFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole pipeline file.

    Attributes:
        pipeline: its name and threads.
        stages: what is done to a frame, in order.
        policy: what its guests may ask for.
    """

    pipeline: PipelineTable
    stages: list[Stage] = msgspec.field(name="stage")
    policy: Policy = Policy()


_GUEST_KEYS = {"guest", "name", "params", "call", "inputs"}
_MODEL_KEYS = {"model", "name", "inputs", "outputs", "image", "labels", "tensors"}


def read(path: Path) -> PipelineFile:
    """Read a pipeline file and check all that can be checked without its guests and models.

    Raises:
        ConfigError: names the file, the key, what was found and what would be accepted.
    """
    return parse(tomlfile.read(path, "a pipeline file"), str(path))


def parse(data: bytes, where: str) -> PipelineFile:
    """A pipeline file from its bytes.

    Args:
        data: TOML.
        where: its path, for messages.

    Raises:
        ConfigError: names the file, the key, what was found and what would be accepted.
    """
    file = tomlfile.decode(data, PipelineFile, where)
    if not 0 < len(file.stages) <= MAX_STAGES:
        raise ConfigError(
            f"{where}: {len(file.stages)} tables [[stage]]; a pipeline has 1 to {MAX_STAGES}"
        )
    for number, stage in enumerate(file.stages, 1):
        _check_stage(stage, f"{where}: [[stage]] {number}")
    names = [stage.name for stage in file.stages if stage.name]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where}: two stages are named {name!r}; each needs its own name")
    return file


def _check_stage(stage: Stage, where: str) -> None:
    if (stage.guest is None) == (stage.model is None):
        found = "neither" if stage.guest is None else "both"
        raise ConfigError(f"{where}: it has {found} of guest and model; a stage has one of them")
    kind, allowed = ("guest", _GUEST_KEYS) if stage.guest is not None else ("model", _MODEL_KEYS)
    empty = Stage()
    for key in stage.__struct_fields__:
        if key not in allowed and getattr(stage, key) != getattr(empty, key):
            raise ConfigError(
                f"{where}: the key {key!r} means nothing for a {kind}; known are"
                f" {', '.join(sorted(allowed))}"
            )
    if stage.call is not None and (stage.params or stage.inputs):
        raise ConfigError(
            f"{where}: a bare function (call) takes no params and no inputs; it works in place"
        )


def with_params(
    file: PipelineFile, params: Mapping[str, Mapping[str, object]], where: str, path: Path
) -> PipelineFile:
    """The file with parameters in place of its own.

    Args:
        file: what `path` holds.
        params: parameters by stage.
        where: what gives them, for messages.
        path: the pipeline file, likewise.

    Raises:
        ConfigError: it has no such stage.
    """
    names = stage_names(file)
    for name in params:
        if name not in names:
            raise ConfigError(
                f"{where}: params.{name}: {path} has no such stage; it has: {', '.join(names)}"
            )
    stages = [
        msgspec.structs.replace(stage, params={**stage.params, **params.get(name, {})})
        for stage, name in zip(file.stages, names, strict=True)
    ]
    return msgspec.structs.replace(file, stages=stages)


def stage_names(file: PipelineFile) -> list[str]:
    """The name of each stage: its own, else that of its guest or model, numbered where needed."""
    taken = {stage.name for stage in file.stages if stage.name}
    names: list[str] = []
    for stage in file.stages:
        name = stage.name
        if name is None:
            stem = Path(stage.guest or stage.model or "").stem or "stage"
            stem = re.sub(r"[^A-Za-z0-9._#-]", "-", stem)
            name = stem
            number = 2
            while name in taken:
                name = f"{stem}#{number}"
                number += 1
            taken.add(name)
        names.append(name)
    return names
