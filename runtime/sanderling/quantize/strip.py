"""Take off the outer QuantizeLinear and DequantizeLinear nodes, and write down what they knew."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from sanderling.metadata import Quantization
from sanderling.quantize.load import drop_dead


def strip(model: onnx.ModelProto) -> dict[str, Quantization]:
    """Let the graph's input and outputs be the integers themselves.

    Args:
        model: in QDQ form, one input; it is changed.

    Returns:
        Scale and zero point of each input and output that is stored quantized now. Those that
        nodes in float32 make or take keep their type and are not in it.
    """
    graph = model.graph
    found = {}
    for item in graph.input:
        params = _strip_input(graph, item)
        if params is not None:
            found[item.name] = params
    for item in graph.output:
        params = _strip_output(graph, item)
        if params is not None:
            found[item.name] = params
    drop_dead(graph)
    return found


def _strip_input(graph: onnx.GraphProto, item: onnx.ValueInfoProto) -> Quantization | None:
    users = [node for node in graph.node if item.name in node.input]
    if not users or any(node.op_type != "QuantizeLinear" for node in users):
        return None
    known = {_params(graph, node) for node in users}
    if len(known) != 1:
        return None
    scale, zero, kind = known.pop()
    replaced = {node.output[0] for node in users}
    if replaced & {output.name for output in graph.output}:
        return None
    for node in users:
        graph.node.remove(node)
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in replaced:
                node.input[index] = item.name
    item.type.tensor_type.elem_type = kind
    return Quantization(scale=scale, zero_point=zero)


def _strip_output(graph: onnx.GraphProto, item: onnx.ValueInfoProto) -> Quantization | None:
    last = next((node for node in graph.node if item.name in node.output), None)
    if last is None or last.op_type != "DequantizeLinear":
        return None
    inner = last.input[0]
    outside = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    if inner in outside:
        return None
    scale, zero, kind = _params(graph, last)
    float_name = f"{item.name}_float"  # for nodes that go on from the output, if there are any
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == item.name:
                    names[index] = float_name
                elif name == inner:
                    names[index] = item.name
    if not any(float_name in node.input for node in graph.node):
        graph.node.remove(last)
    item.type.tensor_type.elem_type = kind
    return Quantization(scale=scale, zero_point=zero)


def _params(graph: onnx.GraphProto, node: onnx.NodeProto) -> tuple[float, int, int]:
    """Scale, zero point and element type of a QuantizeLinear or DequantizeLinear node."""
    weights = {item.name: item for item in graph.initializer}
    scale = numpy_helper.to_array(weights[node.input[1]])
    zero = weights[node.input[2]]
    return float(scale), int(numpy_helper.to_array(zero)), zero.data_type
