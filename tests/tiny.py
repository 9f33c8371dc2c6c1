"""Small ONNX models for tests, made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sanderling import metadata
from sanderling.metadata import ModelMetadata

Dims = Sequence[int | str]


def constant_model(
    path: Path,
    outputs: dict[str, np.ndarray],
    *,
    input_shape: Dims = (1, 3, 32, 32),
    input_type: int = TensorProto.UINT8,
    said: ModelMetadata | None = None,
    dynamic_outputs: bool = False,
) -> Path:
    """A model that takes a picture and always gives the same outputs."""
    nodes = [helper.make_node("Shape", ["picture"], ["unused"])]
    infos = []
    for name, value in outputs.items():
        nodes.append(
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
        )
        shape: Dims = [f"d{axis}" for axis in range(value.ndim)] if dynamic_outputs else value.shape
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        infos.append(helper.make_tensor_value_info(name, kind, shape))
    picture = helper.make_tensor_value_info("picture", input_type, list(input_shape))
    return _save(path, nodes, [picture], infos, said)


def identity_model(
    path: Path,
    *,
    shape: Dims = (1, 3, 32, 32),
    kind: int = TensorProto.UINT8,
    said: ModelMetadata | None = None,
) -> Path:
    """A model that gives back its picture."""
    nodes = [helper.make_node("Identity", ["picture"], ["same"])]
    into = helper.make_tensor_value_info("picture", kind, list(shape))
    out = helper.make_tensor_value_info("same", kind, list(shape))
    return _save(path, nodes, [into], [out], said)


def unknown_operator(path: Path) -> Path:
    """A model with an operator that onnxruntime lacks."""
    node = helper.make_node("Frobnicate", ["picture"], ["same"], domain="org.example")
    into = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, 32, 32])
    out = helper.make_tensor_value_info("same", TensorProto.FLOAT, [1, 3, 32, 32])
    return _save(path, [node], [into], [out], None, extra=[helper.make_opsetid("org.example", 1)])


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    said: ModelMetadata | None,
    extra: Sequence[onnx.OperatorSetIdProto] = (),
) -> Path:
    graph = helper.make_graph(nodes, "tiny", inputs, outputs)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), *extra], ir_version=10
    )
    if said is not None:
        helper.set_model_props(model, {metadata.KEY: metadata.dump(said)})
    path.write_bytes(model.SerializeToString())
    return path
