"""Outputs that join unlike things, and the nodes behind the last convolution.

One scale for boxes up to 640 and scores up to 1 has steps of 2.5: every score is lost. Where such
parts meet in a Concat at the very end they become outputs of their own; where they meet earlier
the nodes behind the last convolution stay float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from sanderling.quantize.load import drop_dead, rename_tensor
from sanderling.quantize.statistics import Ranges

MOST_RATIO = 8.0  # of the ranges of parts that still share a scale: the smaller keeps 5 bits
HEAVY_OPS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
SHAPE_OPS = frozenset(
    {"Concat", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)


@dataclass(frozen=True, slots=True)
class Split:
    """An output taken apart.

    Attributes:
        output: its name; it is no output any more.
        parts: the names of the outputs in its place.
        ratio: of the greatest range of a part to the least.
        guest: names that the decoder knows the parts by, where they are YOLO's.
    """

    output: str
    parts: tuple[str, ...]
    ratio: float
    guest: Mapping[str, str]


def extent(name: str, ranges: Ranges) -> float:
    """The greatest magnitude of a tensor in the calibration pictures."""
    low, high = ranges[name]
    return max(abs(low), abs(high), 1e-30)


def split_joined(model: onnx.ModelProto, ranges: Ranges, path: Path) -> list[Split]:
    """Take apart each output that ends in a Concat of parts whose ranges differ too much.

    Neighbours with like ranges stay together. A Transpose or Identity behind the Concat is
    repeated behind each part.

    Args:
        model: it is changed: outputs, and nodes that nothing needs any more.
        ranges: least and greatest value of each tensor; those of new tensors are added.
        path: the model's, for messages.
    """
    done = []
    for output in [item.name for item in model.graph.output]:
        split = _split(model.graph, output, ranges, path)
        if split:
            done.append(split)
    if done:
        drop_dead(model.graph)
    return done


def _split(graph: onnx.GraphProto, output: str, ranges: Ranges, path: Path) -> Split | None:
    maker = {name: node for node in graph.node for name in node.output}
    behind: list[onnx.NodeProto] = []  # what follows the Concat, last first
    node = maker.get(output)
    while node is not None and node.op_type in ("Transpose", "Identity"):
        behind.append(node)
        node = maker.get(node.input[0])
    if node is None or node.op_type != "Concat" or any(name not in ranges for name in node.input):
        return None
    groups: list[list[str]] = []
    for name in node.input:
        sizes = [extent(each, ranges) for each in (*(groups[-1] if groups else ()), name)]
        if groups and max(sizes) <= MOST_RATIO * min(sizes):
            groups[-1].append(name)
        else:
            groups.append([name])
    if len(groups) == 1:
        return None
    extents = [max(extent(name, ranges) for name in group) for group in groups]

    shapes = _shapes(graph)
    axis = next(item.i for item in node.attribute if item.name == "axis")
    yolo = len(groups) == 2 and sum(shapes.get(n, {}).get(axis, 0) for n in groups[0]) == 4
    names = ["boxes", "class_scores"] if yolo else [f"{output}_{n}" for n in range(len(groups))]
    if yolo and any(name in maker for name in names):
        names = [f"{output}_{name}" for name in names]
    guest = dict(zip(names, ("output", "class_scores"), strict=True)) if yolo else {}
    for group, name in zip(groups, names, strict=True):
        _add_part(graph, node, group, list(reversed(behind)), name, ranges, path)
    position = next(i for i, item in enumerate(graph.output) if item.name == output)
    old = graph.output[position]
    parts = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names]
    after = list(graph.output[position + 1 :])
    del graph.output[position:]
    graph.output.extend([*parts, *after])
    return Split(old.name, tuple(names), max(extents) / min(extents), guest)


def _add_part(
    graph: onnx.GraphProto,
    concat: onnx.NodeProto,
    group: list[str],
    behind: list[onnx.NodeProto],
    name: str,
    ranges: Ranges,
    path: Path,
) -> None:
    """One output: the group's tensors joined, then what followed the Concat."""
    span = (min(ranges[each][0] for each in group), max(ranges[each][1] for each in group))
    steps = [onnx.NodeProto(), *behind] if len(group) > 1 else behind
    current = group[0]
    for number, step in enumerate(steps):
        copy = onnx.NodeProto()
        copy.CopyFrom(concat if len(group) > 1 and number == 0 else step)
        copy.name = f"{copy.op_type}_{name}_{number}"
        source = group if len(group) > 1 and number == 0 else [current]
        current = f"{name}_step{number}"
        del copy.input[:], copy.output[:]
        copy.input.extend(source)
        copy.output.append(current)
        graph.node.append(copy)
    used_twice = any(item.name == current for item in graph.output)
    if used_twice:  # the part is an output by itself as well
        graph.node.append(onnx.helper.make_node("Identity", [current], [name], f"Identity_{name}"))
    else:
        rename_tensor(graph, current, name, path)
        ranges.pop(current, None)
    ranges[name] = span


def _shapes(graph: onnx.GraphProto) -> dict[str, dict[int, int]]:
    """For each tensor of known rank its dimensions, by index and by negative index."""
    found: dict[str, dict[int, int]] = {}
    for item in (*graph.value_info, *graph.input, *graph.output):
        dims = [dim.dim_value for dim in item.type.tensor_type.shape.dim]
        found[item.name] = dict(enumerate(dims)) | {
            index - len(dims): dim for index, dim in enumerate(dims)
        }
    return found


def mixed(model: onnx.ModelProto, output: str, ranges: Ranges) -> float:
    """How many times the ranges of what an output joins differ, looking through Reshape and such.

    Returns:
        1 when it joins nothing, or what it joins is alike.
    """
    maker = {name: node for node in model.graph.node for name in node.output}
    leaves: list[float] = []
    waiting = [output]
    while waiting:
        name = waiting.pop()
        node = maker.get(name)
        if node is not None and node.op_type in SHAPE_OPS:
            waiting.extend(node.input if node.op_type == "Concat" else node.input[:1])
        elif name in ranges:
            leaves.append(extent(name, ranges))
    ratio = max(leaves) / min(leaves) if leaves else 1.0
    return ratio if ratio > MOST_RATIO else 1.0


def inner(model: onnx.ModelProto) -> set[str]:
    """The tensors that some convolution still takes in, directly or through other nodes."""
    found: set[str] = set()
    for node in reversed(model.graph.node):
        if node.op_type in HEAVY_OPS or found.intersection(node.output):
            found.update(node.input)
    return found


def tails(model: onnx.ModelProto) -> dict[str, list[str]]:
    """For each output the names of the nodes behind the last convolution that lead to it.

    An output whose tail only moves numbers about has none: float would keep nothing there.
    """
    before = inner(model)
    light = [
        node
        for node in reversed(model.graph.node)
        if node.op_type not in HEAVY_OPS and not before.intersection(node.output)
    ]
    found: dict[str, list[str]] = {}
    for item in model.graph.output:
        needed = {item.name}
        mine = []
        for node in light:  # last first
            if needed.intersection(node.output):
                mine.append(node)
                needed.update(node.input)
        busy = any(node.op_type not in SHAPE_OPS for node in mine)
        found[item.name] = [node.name for node in mine] if busy else []
    return found
