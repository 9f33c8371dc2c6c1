"""The plan: every shape and dtype known, every buffer placed, before the first frame.

A tensor between a guest and a model lives in the guest's memory and the model is bound to it; only
what goes from one sandbox to another is copied, since two guests share no memory.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from sanderling.errors import GuestError, PlanError
from sanderling.families import suggest
from sanderling.manifest import Manifest, TensorSpec, leading, pack_params, unify
from sanderling.model import Model, Port
from sanderling.stages import AnyStage, GuestStage, ModelStage, Stages
from sanderling.step import AbiStep, FunctionStep, Step
from sanderling.tensor import DType, PixelFormat, TensorType, shape_text
from sanderling.wiring import FRAME, Origin

FOUND = frozenset({"scores", "classes"})
"""A stage that makes these has found something; with boxes, where it is."""
HANDED = ("boxes", "scores", "classes", "points", "ids")
"""What is handed out of the stage that found something."""


class HostBuffer:
    """Memory of the host, 64-byte aligned, for what no guest reads or writes."""

    def __init__(self, size: int) -> None:
        self._keep = np.zeros(max(1, size) + 63, np.uint8)
        self.address = -(-self._keep.ctypes.data // 64) * 64


@dataclass(slots=True, eq=False)
class Tensor:
    """A tensor of the plan.

    Attributes:
        name: the stage that makes it, and its label there.
        label: what guests and results call it.
        origin: the stage that makes it (`FRAME` for the frame) and the index there.
        type: its greatest type.
        readers: stage and index of each input that takes it.
        home: where its data lies first: a stage's output or input, or the host.
        rows: its first dimension counts things found in the frame, as many as there happen to be.
    """

    name: str
    label: str
    origin: Origin
    type: TensorType
    readers: list[tuple[int, int]] = field(default_factory=list)
    home: HostBuffer | tuple[str, int, int] | None = None
    rows: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """A stage of the plan: a guest's step, or a model with fixed shapes.

    Attributes:
        name: the stage's.
        step: of a guest. One that is stateful is a pattern: each camera has its own clone.
        model: of a model.
        inputs: what it takes.
        outputs: what it makes.
        rows: of a model behind a guest that makes one picture for each thing found: `batch` when it
            takes all at once, `each` when it takes one after the other.
    """

    name: str
    step: Step | None
    model: Model | None
    inputs: list[Tensor | None]
    outputs: list[Tensor | None]
    rows: Literal["", "batch", "each"] = ""

    @property
    def stateful(self) -> bool:
        """Whether it is a guest that remembers earlier frames."""
        return self.step is not None and self.step.stateful


@dataclass(slots=True, eq=False)
class Plan:
    """A pipeline, checked and placed for frames up to one size.

    Attributes:
        stages: in order.
        tensors: the frame first, then in the order in which they are made.
        frame: the type of the greatest frame.
        results: what is handed out after a frame, by name: the last stage's outputs, and what was
            found where an earlier stage found it.
        found_by: the stage that found something last; -1 when none does.
        attributes_by: the stage that says more of each thing found, a row for each; -1 when none
            does. Its outputs are results under `attributes.scores` and `attributes.classes`.
    """

    stages: list[Placed]
    tensors: list[Tensor]
    frame: TensorType
    results: dict[str, Tensor] = field(default_factory=dict)
    found_by: int = -1
    attributes_by: int = -1

    def address(self, tensor: Tensor) -> int:
        """The host address of a tensor's home, as the guests are now."""
        home = tensor.home
        if isinstance(home, HostBuffer):
            return home.address
        assert home is not None  # make() gave every tensor one
        side, stage, index = home
        step = self.stages[stage].step
        assert step is not None
        return step.output_address(index) if side == "output" else step.input_address(index)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether there is room for a frame of this shape, `[height, width, 3]`."""
        most = self.frame.shape
        if shape == most:
            return True
        return not self.exact and shape[0] <= most[0] and shape[1] <= most[1]

    @property
    def exact(self) -> bool:
        """Whether frames must have just the planned size: a model takes them as they are."""
        readers = self.tensors[0].readers
        return any(self.stages[stage].model is not None for stage, _ in readers)

    def copied_to(self, tensor: Tensor) -> list[tuple[int, int]]:
        """The guest inputs that a tensor is copied into on every frame."""
        return [
            (stage, index)
            for stage, index in tensor.readers
            if self.stages[stage].step is not None and tensor.home != ("input", stage, index)
        ]

    def close(self) -> None:
        """Give back every guest."""
        for stage in self.stages:
            if stage.step is not None:
                stage.step.close()


def make(loaded: Stages, height: int, width: int) -> Plan:
    """Plan a pipeline for frames of up to this size.

    Args:
        loaded: the pipeline.
        height: of the greatest frame, in pixels.
        width: likewise.

    Raises:
        PlanError: a stage does not fit the one before it; names both shapes, and what would fit.
        ConfigError: a parameter is out of range.
        ModuleError, ModelError: a guest cannot be set up, or a model not run with these shapes.
    """
    frame = TensorType(DType.U8, (height, width, 3), format=PixelFormat.BGR)
    maker = _Maker(loaded, frame)
    try:
        for index in range(len(loaded.stages)):
            maker.place(index)
    except BaseException:
        maker.plan.close()
        raise
    try:
        maker.settle()
    except BaseException:
        maker.plan.close()
        raise
    return maker.plan


class _Maker:
    def __init__(self, loaded: Stages, frame: TensorType) -> None:
        self._loaded = loaded
        first = Tensor("frame", "frame", Origin(FRAME, 0), frame)
        self.plan = Plan([], [first], frame)
        self._made: dict[Origin, Tensor] = {Origin(FRAME, 0): first}

    def place(self, index: int) -> None:
        """Check a stage against what feeds it, and set it up."""
        stage = self._loaded.stages[index]
        inputs: list[Tensor | None] = []
        for position, origin in enumerate(self._loaded.origins[index]):
            tensor = self._made.get(origin) if origin is not None else None
            if origin is not None and tensor is None and not self._optional(stage, position):
                raise PlanError(
                    f"{self._where(stage)}: its input {position + 1} comes from an optional output"
                    f" that {self._loaded.stages[origin.stage].name} leaves out here"
                )
            if tensor is not None:
                tensor.readers.append((index, position))
            inputs.append(tensor)
        if isinstance(stage, GuestStage):
            placed, kinds = self._place_guest(stage, index, inputs)
            names = list(stage.output_names)
        else:
            placed, kinds = self._place_model(stage, inputs)
            names = [port.label for port in stage.outputs]
        self.plan.stages.append(placed)
        for port, (name, kind) in enumerate(zip(names, kinds, strict=True)):
            tensor = None
            if kind is not None:
                origin = Origin(index, port)
                rows = self._counts_things(stage, port, kind, inputs)
                tensor = Tensor(f"{stage.name}.{name}", name, origin, kind, rows=rows)
                self._made[origin] = tensor
                self.plan.tensors.append(tensor)
            placed.outputs.append(tensor)

    @staticmethod
    def _counts_things(
        stage: AnyStage, port: int, kind: TensorType, inputs: list[Tensor | None]
    ) -> bool:
        """Whether an output has a row for each thing found: of its own, or as an input has."""
        if isinstance(stage, ModelStage):
            return bool(_rows(stage, inputs))
        lead = leading(stage.outputs[port], kind.shape)
        if isinstance(lead, int):
            return False
        led = [
            tensor.rows
            for spec, tensor in zip(stage.inputs, inputs, strict=True)
            if tensor is not None and leading(spec, tensor.type.shape) == lead
        ]
        return all(led)

    def settle(self) -> None:
        """Give each tensor its home: the guest that writes it, else the first that reads it."""
        for tensor in self.plan.tensors:
            stage, port = tensor.origin.stage, tensor.origin.port
            guests = [at for at in tensor.readers if self._takes(at, tensor)]
            placed = self.plan.stages[stage] if stage != FRAME else None
            if placed is not None and placed.step is not None and not placed.stateful:
                tensor.home = ("output", stage, port)
            elif guests and (len(tensor.readers) == 1 or self._early(tensor, guests)):
                tensor.home = ("input", *guests[0])
            else:
                tensor.home = HostBuffer(tensor.type.nbytes)
        self._find()
        self.plan.results.update(self._results())
        self._check_mapped()

    def _takes(self, reader: tuple[int, int], tensor: Tensor) -> bool:
        """Whether a reader is a guest whose input has the very bytes of the tensor.

        A stateful guest has as many inputs as there are cameras, so none of them can be a home.
        """
        stage = self.plan.stages[reader[0]]
        kind = stage.step.inputs[reader[1]] if stage.step is not None else None
        return kind is not None and kind.dtype is tensor.type.dtype and not stage.stateful

    def _outputs(self, stage: int) -> dict[str, Tensor]:
        return {tensor.label: tensor for tensor in self.plan.stages[stage].outputs if tensor}

    def _find(self) -> None:
        """Who found something last, and who says more of each thing that was found."""
        finders = [
            index for index in range(len(self.plan.stages)) if self._outputs(index).keys() >= FOUND
        ]
        boxed = [index for index in finders if "boxes" in self._outputs(index)]
        if not finders:
            return
        last = finders[-1]
        classes = self._outputs(last)["classes"]
        if boxed and boxed[-1] < last and classes.rows and len(classes.type.shape) == 2:
            self.plan.found_by, self.plan.attributes_by = boxed[-1], last
        else:
            self.plan.found_by = last

    def _results(self) -> dict[str, Tensor]:
        """The last stage's outputs; and the detections or classes, whoever made them last."""
        plan = self.plan
        results = self._outputs(len(plan.stages) - 1)
        if plan.attributes_by >= 0:
            made = self._outputs(plan.attributes_by)
            if plan.attributes_by == len(plan.stages) - 1:
                results = {name: made[name] for name in made if name not in FOUND}
            results |= {f"attributes.{name}": made[name] for name in FOUND}
        if plan.found_by >= 0:
            made = self._outputs(plan.found_by)
            results = {name: made[name] for name in HANDED if name in made} | results
        return results

    def _check_mapped(self) -> None:
        """Boxes that leave a pipeline are in pixels of the frame: somebody must have mapped them.

        Raises:
            PlanError: letterbox says what it did to the picture, and nobody reads it.
        """
        labels = self.plan.results
        unread = [
            tensor
            for tensor in self.plan.tensors
            if tensor.label == "geometry" and not tensor.readers
        ]
        if "boxes" in labels and labels.keys() >= FOUND and unread:
            stage = self.plan.stages[labels["boxes"].origin.stage].name
            raise PlanError(
                f"{self._loaded.where}: the boxes of stage {stage} are in pixels of the model's"
                f" input; put nms behind it, which reads {unread[0].name} and maps them back"
            )

    @staticmethod
    def _early(tensor: Tensor, guests: list[tuple[int, int]]) -> bool:
        """Whether all who read it get their copy before the first of them may write on it.

        A guest's input is its own memory: what lies there may be gone once the guest has run. The
        frame is copied to all its guests before any runs; all else that several read is kept by
        the host.
        """
        return tensor.origin.stage == FRAME and len(guests) == len(tensor.readers)

    def _where(self, stage: AnyStage) -> str:
        return f"{self._loaded.where}: stage {stage.name}"

    @staticmethod
    def _optional(stage: AnyStage, position: int) -> bool:
        return isinstance(stage, GuestStage) and stage.inputs[position].optional

    # ---- guests ----

    def _place_guest(
        self, stage: GuestStage, index: int, inputs: list[Tensor | None]
    ) -> tuple[Placed, list[TensorType | None]]:
        where = self._where(stage)
        self._check_inputs(stage, inputs)
        kinds = [tensor.type if tensor else None for tensor in inputs]
        step: Step
        if stage.function:
            assert inputs[0] is not None  # wired: it is not optional
            step = FunctionStep(
                stage.module, stage.function, stage.name, self._as_float(stage, inputs[0])
            )
        else:
            assert stage.module.manifest is not None
            params = self._params(stage, stage.module.manifest, index)
            packed = pack_params(stage.module.manifest, params, f"{where}: params")
            step = AbiStep(stage.module, stage.name, packed, kinds)
        try:
            step.open()
        except PlanError as exc:
            hint = self._size_hint(stage, index) or self._decoder_hint(inputs)
            raise PlanError(f"{self._loaded.where}: {exc}{hint}") from exc
        except GuestError as exc:
            raise PlanError(f"{self._loaded.where}: stage {exc}") from exc
        if step.stateful:
            step.close()  # it has told its outputs; each camera makes its own
        return Placed(stage.name, step, None, inputs, []), step.outputs

    def _as_float(self, stage: GuestStage, tensor: Tensor) -> TensorType:
        """What a bare function works on: float32, whatever the tensor is stored as."""
        kind = tensor.type
        if kind.dtype is not DType.F32 and not kind.scale:
            raise PlanError(
                f"{self._where(stage)}: {tensor.name} is {kind} without a scale; a bare function"
                " works on float32, or on what is quantized"
            )
        return TensorType(DType.F32, kind.shape)

    def _neighbours(self, index: int) -> dict[str, ModelStage | None]:
        """The model that a guest works for, and the one whose outputs it sees."""
        return {"next": self._follow(index, +1), "previous": self._follow(index, -1)}

    def _follow(self, index: int, way: int) -> ModelStage | None:
        """The nearest model along the wires; where they lead to none, in the order of the file."""
        stages, origins = self._loaded.stages, self._loaded.origins
        edges = [
            (origin.stage, reader) if way > 0 else (reader, origin.stage)
            for reader, feeds in enumerate(origins)
            for origin in feeds
            if origin is not None and origin.stage != FRAME
        ]
        reached, seen = [index], {index}
        for at in reached:
            for _, target in sorted(
                edge for edge in edges if edge[0] == at and edge[1] not in seen
            ):
                stage = stages[target]
                if isinstance(stage, ModelStage):
                    return stage
                seen.add(target)
                reached.append(target)
        rest = stages[index + 1 :] if way > 0 else stages[:index][::-1]
        return next((stage for stage in rest if isinstance(stage, ModelStage)), None)

    def _params(self, stage: GuestStage, manifest: Manifest, index: int) -> dict[str, object]:
        """The parameters: what the file says, else what follows from the model."""
        values: dict[str, object] = {}
        neighbours = self._neighbours(index)
        for param in manifest.params:
            side, _, fact = param.source.partition(".")
            model = neighbours.get(side)
            if model is not None:
                facts = model.facts() | {"classes": len(model.labels)}
                if fact in facts:
                    values[param.name] = facts[fact]
        return values | stage.params

    def _size_hint(self, stage: GuestStage, index: int) -> str:
        """What to write when a model takes pictures of any size."""
        follower = self._neighbours(index)["next"]
        wants = stage.module.manifest.param("width") if stage.module.manifest else None
        if follower is None or wants is None or follower.picture() is None:
            return ""
        if "width" in follower.facts():
            return ""
        return (
            f"; {follower.name} takes pictures of any size: say which with"
            " params = { width = ..., height = ... }"
        )

    def _decoder_hint(self, inputs: list[Tensor | None]) -> str:
        """What the model before a guest that refuses it makes, and which decoder would fit."""
        for tensor in inputs:
            origin = tensor.origin.stage if tensor else FRAME
            if origin != FRAME and isinstance(self._loaded.stages[origin], ModelStage):
                made = [made for made in self.plan.stages[origin].outputs if made]
                text = ", ".join(
                    f"{one.label} {one.type.dtype} {shape_text(one.type.shape)}" for one in made
                )
                hint = suggest([one.type.shape for one in made])
                return f"; {self.plan.stages[origin].name} makes {text}" + (hint and f"; {hint}")
        return ""

    def _check_inputs(self, stage: GuestStage, inputs: list[Tensor | None]) -> None:
        fed = [
            (spec, tensor)
            for spec, tensor in zip(stage.inputs, inputs, strict=True)
            if tensor is not None
        ]
        for spec, tensor in fed:
            if str(tensor.type.dtype) not in spec.dtypes:
                raise PlanError(self._misfit(stage, spec, tensor))
        fitting = unify([(spec.shapes, tensor.type.shape) for spec, tensor in fed])
        if fitting < len(fed):
            raise PlanError(self._misfit(stage, *fed[fitting]))

    def _misfit(self, stage: GuestStage, spec: TensorSpec, tensor: Tensor) -> str:
        """One sentence with both shapes, and which decoder would fit."""
        text = (
            f"{self._where(stage)}: its input {spec.name} must be {spec.kinds}, but {tensor.name}"
            f" is {tensor.type.dtype} {shape_text(tensor.type.shape)}"
        )
        origin = tensor.origin.stage
        if origin != FRAME and isinstance(self._loaded.stages[origin], ModelStage):
            made = [made.type.shape for made in self.plan.stages[origin].outputs if made]
            if hint := suggest(made):
                text += f"; {hint}"
        return text

    # ---- models ----

    def _place_model(
        self, stage: ModelStage, inputs: list[Tensor | None]
    ) -> tuple[Placed, list[TensorType | None]]:
        free = {}
        rows = _rows(stage, inputs)
        for port, tensor in zip(stage.inputs, inputs, strict=True):
            assert tensor is not None  # a model's inputs are never optional
            kind = tensor.type
            if rows == "each":
                kind = replace(kind, shape=(1, *kind.shape[1:]))
            self._check_model_input(stage, port, tensor, kind)
            if not port.fixed:
                free[port.name] = kind.shape
        model = stage.model
        if free or not all(port.fixed for port in stage.outputs):
            model = model.fixed(free, rows=rows == "batch")
        kinds: list[TensorType | None] = []
        for port, fixed in zip(stage.outputs, model.outputs, strict=True):
            kind = port.typed(fixed.typed().shape)
            if rows == "each":
                assert inputs[0] is not None
                kind = replace(kind, shape=(inputs[0].type.shape[0], *kind.shape[1:]))
            kinds.append(kind)
        return Placed(stage.name, None, model, inputs, [], rows), kinds

    def _check_model_input(
        self, stage: ModelStage, port: Port, tensor: Tensor, kind: TensorType
    ) -> None:
        fits = len(port.shape) == len(kind.shape) and all(
            isinstance(dim, str) or dim == size
            for dim, size in zip(port.shape, kind.shape, strict=True)
        )
        if not fits or port.dtype != kind.dtype:
            raise PlanError(
                f"{self._where(stage)}: its input {port.label} is {port.dtype}"
                f" {shape_text(port.shape)}, but {tensor.name} is {kind.dtype}"
                f" {shape_text(kind.shape)}"
            )
        if port.scale and not _same_scale(port, kind):
            raise PlanError(
                f"{self._where(stage)}: its input {port.label} is stored with scale"
                f" {port.scale:.6g} and zero point {port.zero_point}, but {tensor.name} with scale"
                f" {kind.scale:.6g} and zero point {kind.zero_point}"
            )


def _rows(stage: ModelStage, inputs: list[Tensor | None]) -> Literal["", "batch", "each"]:
    """How a model takes what a guest makes once for each thing found.

    Its leading dimension counts the things. A model whose own is free, in every input and output,
    takes them as a batch; one that is made for a batch of one takes one after the other.
    """
    if not all(tensor is not None and tensor.rows for tensor in inputs):
        return ""
    if len({tensor.type.shape[0] for tensor in inputs if tensor}) > 1:
        return ""
    firsts = {port.shape[0] if port.shape else 0 for port in (*stage.inputs, *stage.outputs)}
    if all(isinstance(dim, str) for dim in firsts):
        return "batch"
    return "each" if firsts == {1} else ""


def _same_scale(port: Port, kind: TensorType) -> bool:
    """Whether the two agree as float32, which is what the ABI carries."""
    return (
        ctypes.c_float(port.scale).value == ctypes.c_float(kind.scale).value
        and port.zero_point == kind.zero_point
    )
