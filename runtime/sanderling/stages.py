"""The stages of a pipeline file with their guests and models loaded, before anything is placed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sanderling import config, guest, library, model
from sanderling.config import PipelineFile, Stage
from sanderling.errors import ConfigError, ModuleError
from sanderling.families import suggest
from sanderling.guest import Module
from sanderling.manifest import Manifest, ParamValue, TensorSpec, param_scalars
from sanderling.metadata import ImageInput
from sanderling.model import Model, Port
from sanderling.tensor import DType, shape_text
from sanderling.wiring import Ends, Origin, wire

FUNCTION_INPUT = TensorSpec(
    name="values",
    dtypes=["f32", "u8", "i8"],
    shapes=[["..."]],
    help="float32; quantized values are turned into it on the way",
)
FUNCTION_OUTPUT = TensorSpec(name="values", dtypes=["f32"], shapes=[["..."]])


@dataclass(frozen=True, slots=True)
class GuestStage:
    """A guest of a pipeline.

    Attributes:
        name: the stage's.
        module: the guest.
        params: what the pipeline file says.
        function: the bare export to call; empty for a guest that speaks the ABI.
    """

    name: str
    module: Module
    params: dict[str, object]
    function: str

    @property
    def inputs(self) -> list[TensorSpec]:
        """What it takes."""
        manifest = self.module.manifest
        return list(manifest.inputs) if manifest else [FUNCTION_INPUT]

    @property
    def outputs(self) -> list[TensorSpec]:
        """What it makes."""
        manifest = self.module.manifest
        return list(manifest.outputs) if manifest else [FUNCTION_OUTPUT]

    @property
    def output_names(self) -> tuple[str, ...]:
        """What it makes, by name."""
        return tuple(spec.name for spec in self.outputs)


@dataclass(frozen=True, slots=True)
class ModelStage:
    """A model of a pipeline, with what the pipeline file says over what its metadata says.

    Attributes:
        name: the stage's.
        model: the model.
        inputs: its inputs.
        outputs: its outputs.
        image: how it wants its picture.
        labels: the names of its classes.
    """

    name: str
    model: Model
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    image: ImageInput
    labels: tuple[str, ...]

    def picture(self) -> Port | None:
        """The input that takes a picture: the first of rank 4."""
        return next((port for port in self.inputs if len(port.shape) == 4), None)

    def facts(self) -> dict[str, ParamValue]:
        """What guests before it follow: `next.width` and so on."""
        port = self.picture()
        if port is None:
            return {}
        _, *dims = port.shape
        layout = "nhwc" if dims[2] in (1, 3) and dims[0] not in (1, 3) else "nchw"
        height, width = dims[1:] if layout == "nchw" else dims[:2]
        channels = dims[0] if layout == "nchw" else dims[2]
        known: dict[str, ParamValue] = {
            "layout": layout,
            "order": "grey" if channels == 1 else self.image.order,
            "mean": list(self.image.mean),
            "std": list(self.image.std),
            "fit": self.image.fit,
            "align": self.image.align,
            "pad": self.image.pad,
        }
        if isinstance(height, int) and isinstance(width, int):
            known |= {"width": width, "height": height}
        if port.dtype in (DType.U8, DType.I8, DType.F32):
            known["dtype"] = str(port.dtype)
        if port.scale:
            known |= {"scale": port.scale, "zero_point": port.zero_point}
        return known


AnyStage = GuestStage | ModelStage


@dataclass(frozen=True, slots=True)
class Stages:
    """A pipeline file, loaded.

    Attributes:
        name: the pipeline's.
        where: the file, for messages.
        stages: in order.
        origins: where each input of each stage comes from.
    """

    name: str
    where: str
    stages: tuple[AnyStage, ...]
    origins: list[list[Origin | None]]

    def labels(self, before: int | None = None) -> tuple[str, ...]:
        """The names of the classes: those of the last model that has some.

        Args:
            before: only models before this stage; None for all.
        """
        for stage in reversed(self.stages[:before]):
            if isinstance(stage, ModelStage) and stage.labels:
                return stage.labels
        return ()


def load(path: Path, *, threads: int | None = None) -> Stages:
    """Read a pipeline file and load its guests and models.

    Args:
        path: the file.
        threads: threads a model may use, in place of what the file says.

    Raises:
        ConfigError: the file is wrong, or names what is not there.
        ModuleError: a guest is damaged or refused.
        ModelError: a model cannot be loaded.
    """
    return load_file(config.read(path), path, threads=threads)


def load_file(file: PipelineFile, path: Path, *, threads: int | None = None) -> Stages:
    """Load the guests and models of a pipeline file that was read already; see `load`."""
    stages: list[AnyStage] = []
    count = file.pipeline.threads if threads is None else threads
    if not 0 <= count <= config.MAX_THREADS:
        raise ConfigError(
            f"{path}: threads: {count}: must be 0 (one a core) to {config.MAX_THREADS}"
        )
    for stage, name in zip(file.stages, config.stage_names(file), strict=True):
        where = f"{path}: stage {name}"
        if stage.guest is not None:
            stages.append(_load_guest(file, stage, name, path))
        else:
            stages.append(_load_model(stage, name, path, where, count))
    origins = wire(
        [_ends(stage, given) for stage, given in zip(stages, file.stages, strict=True)], str(path)
    )
    return Stages(file.pipeline.name, str(path), tuple(stages), origins)


def _ends(stage: AnyStage, given: Stage) -> Ends:
    if isinstance(stage, GuestStage):
        return Ends(
            name=stage.name,
            inputs=tuple((spec.name, spec.optional) for spec in stage.inputs),
            outputs=stage.output_names,
            explicit=given.inputs,
            kinds={spec.name: spec.kinds for spec in stage.inputs},
            from_frame=frozenset(spec.name for spec in stage.inputs if spec.source),
            aside=frozenset(spec.name for spec in stage.outputs if spec.aside),
        )
    fixed = [port.typed().shape for port in stage.outputs if port.fixed]
    return Ends(
        name=stage.name,
        inputs=tuple((port.label, False) for port in stage.inputs),
        outputs=tuple(port.label for port in stage.outputs),
        explicit=given.inputs,
        kinds={port.label: f"{port.dtype} {shape_text(port.shape)}" for port in stage.outputs},
        hint=suggest(fixed),
    )


def _load_guest(file: PipelineFile, stage: Stage, name: str, path: Path) -> GuestStage:
    where = f"{path}: stage {name}"
    found = library.find("guest", stage.guest or "", path.parent, where)
    try:
        module = guest.load(found, file.policy, function=stage.call or "")
    except ModuleError as exc:
        raise ModuleError(f"{where}: {exc}") from exc
    if module.manifest is not None:
        _check_params(module.manifest, stage.params, where)
    return GuestStage(name, module, stage.params, stage.call or "")


def _check_params(manifest: Manifest, params: dict[str, object], where: str) -> None:
    for name, value in params.items():
        param = manifest.param(name)
        if param is None:
            known = ", ".join(one.name for one in manifest.params) or "none"
            raise ConfigError(
                f"{where}: params.{name}: {manifest.name} has no such parameter; it has: {known}"
            )
        param_scalars(param, value, f"{where}: params.{name}")


def _load_model(stage: Stage, name: str, path: Path, where: str, threads: int) -> ModelStage:
    found = library.find("model", stage.model or "", path.parent, where)
    loaded = model.load(found, threads=threads)
    names = [port.name for port in (*loaded.inputs, *loaded.outputs)]
    for table in ("outputs", "tensors"):
        for key in getattr(stage, table):
            if key not in names:
                raise ConfigError(
                    f"{where}: {table}.{key}: {found} has no such tensor; it has:"
                    f" {', '.join(names)}"
                )

    def over(port: Port) -> Port:
        stored = stage.tensors.get(port.name)
        if stored is not None:
            port = replace(port, scale=stored.scale, zero_point=stored.zero_point)
        return replace(port, label=stage.outputs.get(port.name, port.label))

    said = loaded.metadata
    return ModelStage(
        name=name,
        model=loaded,
        inputs=tuple(over(port) for port in loaded.inputs),
        outputs=tuple(over(port) for port in loaded.outputs),
        image=stage.image or said.image or ImageInput(),
        labels=tuple(said.labels if stage.labels is None else stage.labels),
    )
