"""Read a float model and make it one that can be quantized: opset, shapes, names."""

from __future__ import annotations

import ast
import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from sanderling import metadata
from sanderling.errors import InputError, ModelError
from sanderling.metadata import ImageInput, ModelMetadata
from sanderling.tensor import shape_text

LEAST_OPSET = 13  # the first whose QuantizeLinear takes a scale for each channel
QUANTIZED_OPS = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger"})


@dataclass(frozen=True, slots=True)
class PictureInput:
    """The one input of a model.

    Attributes:
        layout: `nchw` or `nhwc`.
        channels: 1 or 3.
        width: in pixels, 0 where the model leaves it open.
        height: in pixels, 0 where the model leaves it open.
    """

    name: str
    layout: str
    channels: int
    width: int
    height: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The whole shape, with a batch of 1."""
        if self.layout == "nchw":
            return (1, self.channels, self.height, self.width)
        return (1, self.height, self.width, self.channels)


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Whatever onnx and onnxruntime raise in here becomes a ModelError that starts with `what`."""
    try:
        yield
    except InputError:
        raise
    except Exception as exc:  # their C++ bindings raise a dozen types that share no other base
        lines = str(exc).strip().splitlines() or [type(exc).__name__]
        raise ModelError(f"{what}: {lines[0]}") from exc


def load(path: Path) -> onnx.ModelProto:
    """Read a model with its weights.

    Raises:
        ModelError: there is none, or it is not a float ONNX model.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as exc:
        raise ModelError(f"{path}: no such file") from exc
    except IsADirectoryError as exc:
        raise ModelError(f"{path}: is a folder, not an ONNX model") from exc
    except OSError as exc:
        raise ModelError(f"{path}: cannot be read: {exc.strerror}") from exc
    with translated(f"{path}: not an ONNX model"):
        model = onnx.load_model_from_string(data)
    with translated(f"{path}: its external weights cannot be read"):
        onnx.load_external_data_for_model(model, str(path.parent))
    if not model.graph.node or not model.opset_import:
        raise ModelError(f"{path}: not an ONNX model: it has no graph")
    if any(node.op_type in QUANTIZED_OPS for node in model.graph.node):
        raise ModelError(f"{path}: is quantized already; give the float model")
    return model


def picture_input(model: onnx.ModelProto, path: Path) -> PictureInput:
    """The model's one input, which must be a picture.

    Raises:
        ModelError: it is something else.
    """
    known = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in known]
    if len(inputs) != 1:
        names = ", ".join(item.name for item in inputs) or "none"
        raise ModelError(f"{path}: one input is needed, a picture; the model has: {names}")
    tensor = inputs[0].type.tensor_type
    dims = [dim.dim_value for dim in tensor.shape.dim]
    where = f"{path}: input {inputs[0].name}"
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise ModelError(f"{where} is {kind}; only a model that takes float32 can be quantized")
    if len(dims) == 4 and dims[1] in (1, 3):
        return PictureInput(inputs[0].name, "nchw", dims[1], width=dims[3], height=dims[2])
    if len(dims) == 4 and dims[3] in (1, 3):
        return PictureInput(inputs[0].name, "nhwc", dims[3], width=dims[2], height=dims[1])
    shown = shape_text(tuple(dim.dim_value or dim.dim_param or "?" for dim in tensor.shape.dim))
    raise ModelError(
        f"{where} is {shown}; a picture is [1, C, height, width] or [1, height, width, C], C 1 or 3"
    )


def with_size(found: PictureInput, wanted: tuple[int, int] | None, path: Path) -> PictureInput:
    """The input with its size fixed.

    Args:
        found: what the model says.
        wanted: width and height in pixels, None for what the model says.
        path: the model's, for messages.

    Raises:
        InputError: nobody says a size, or it cannot be one.
    """
    width, height = wanted or (found.width, found.height)
    if wanted is None and not (width and height):
        raise InputError(f"{path}: the model leaves its input size open; give one (--input-size)")
    if not (1 <= width <= 8192 and 1 <= height <= 8192):
        raise InputError(f"input size {width}x{height}: each must be 1 to 8192 pixels")
    return PictureInput(found.name, found.layout, found.channels, width, height)


def does_not_run(path: Path, picture: PictureInput) -> str:
    """How the message begins when the model fails with this size."""
    text = f"{path}: does not run with an input of {picture.width}x{picture.height}"
    if picture.width % 32 or picture.height % 32:
        text += " (most models that look for things need multiples of 32)"
    return text


def prepare(
    model: onnx.ModelProto, picture: PictureInput, rename: Mapping[str, str], path: Path
) -> onnx.ModelProto:
    """Raise the opset, fix every shape, fold what is constant, name every node.

    Args:
        model: as loaded; it is changed.
        picture: the input with its size.
        rename: names of outputs, and those they are to have.
        path: the model's, for messages.

    Raises:
        ModelError: one of these failed.
        InputError: `rename` names no output, or a name that is taken.
    """
    graph = model.graph
    weights = {item.name for item in graph.initializer}
    kept = [item for item in graph.input if item.name not in weights]
    del graph.input[:]
    graph.input.extend(kept)
    # From IR 4 on weights need not be inputs; after 10 the oldest onnxruntime we take gives up.
    model.ir_version = min(max(model.ir_version, 8), 10)
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    if opset < LEAST_OPSET:
        with translated(f"{path}: its opset {opset} cannot be raised to {LEAST_OPSET}"):
            model = onnx.version_converter.convert_version(model, LEAST_OPSET)
    _fix_input(model, picture)
    drop_dead(model.graph)
    with translated(does_not_run(path, picture)):
        model = _optimized(model)
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
    for old, new in rename.items():
        rename_output(model.graph, old, new, path)
    return model


def _optimized(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constants folded, BatchNormalization merged, shapes inferred.

    What `quant_pre_process` of onnxruntime does, which logs its failures and goes on.
    """
    with tempfile.TemporaryDirectory(prefix="sanderling-") as folder:
        out = Path(folder, "optimized.onnx")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(out)
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        model = onnx.shape_inference.infer_shapes(onnx.load(out), data_prop=True)
    add_pre_process_metadata(model)
    return model


def _fix_input(model: onnx.ModelProto, picture: PictureInput) -> None:
    """Give the input its shape, and forget every other: they follow from it."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for dim, size in zip(dims, picture.shape, strict=True):
        dim.dim_value = size
    del model.graph.value_info[:]
    for item in model.graph.output:
        item.type.tensor_type.ClearField("shape")


def rename_output(graph: onnx.GraphProto, old: str, new: str, path: Path) -> None:
    """Give an output of the graph another name.

    Raises:
        InputError: there is no such output, or the name is taken.
    """
    outputs = [item.name for item in graph.output]
    if old not in outputs:
        raise InputError(f"{path}: has no output {old} to rename; it has {', '.join(outputs)}")
    rename_tensor(graph, old, new, path)
    for item in graph.output:
        if item.name == old:
            item.name = new


def rename_tensor(graph: onnx.GraphProto, old: str, new: str, path: Path) -> None:
    """Give a tensor another name wherever nodes make or take it.

    Raises:
        InputError: the name is taken.
    """
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    if new != old and new in taken:
        raise InputError(f"{path}: {old} cannot be named {new}, another tensor has that name")
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
    for item in graph.value_info:
        if item.name == old:
            item.name = new


def drop_dead(graph: onnx.GraphProto) -> None:
    """Take out nodes and weights that no output needs."""
    needed = {item.name for item in graph.output}
    kept: list[onnx.NodeProto] = []
    # Nodes come in topological order, but those appended last may feed nothing before them.
    for node in reversed(list(graph.node)):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    kept.reverse()
    del graph.node[:]
    graph.node.extend(kept)
    weights = [item for item in graph.initializer if item.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(weights)


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session on the CPU, with onnxruntime's own messages off: errors come as exceptions."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def described(model: onnx.ModelProto, path: Path) -> ModelMetadata:
    """What the model file says of itself: our metadata, else what Ultralytics exports.

    Raises:
        ModelError: our metadata is malformed.
    """
    props = {item.key: item.value for item in model.metadata_props}
    if metadata.KEY in props:
        return metadata.parse(props[metadata.KEY], str(path))
    if "Ultralytics" not in props.get("author", "") + props.get("description", ""):
        return ModelMetadata()
    labels: list[str] = []
    with contextlib.suppress(ValueError, SyntaxError):
        names = ast.literal_eval(props.get("names", ""))
        if isinstance(names, dict) and list(names) == list(range(len(names))):
            labels = [str(name) for name in names.values()]
    task = props.get("task", "")
    return ModelMetadata(
        name=props.get("description", ""),
        license=props.get("license", "").partition(" ")[0],
        task="detect" if task == "detect" else "classify" if task == "classify" else "",
        image=ImageInput(order="rgb", std=(255.0, 255.0, 255.0)),
        labels=labels,
    )
