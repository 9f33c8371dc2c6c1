"""Small float models for the tests of quantize, each with what one of its promises is about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 32
Shape = Sequence[int | str | None]


def weights(rng: np.random.Generator, **shapes: tuple[int, ...]) -> list[onnx.TensorProto]:
    """Normal weights of a size that keeps activations near 1."""
    return [
        numpy_helper.from_array(
            rng.normal(0, (2 / max(1, int(np.prod(shape[1:])))) ** 0.5, shape).astype(np.float32),
            name,
        )
        for name, shape in shapes.items()
    ]


def build(
    nodes: list[onnx.NodeProto],
    tensors: list[onnx.TensorProto],
    outputs: dict[str, Shape | None],
    *,
    shape: Shape = (1, 3, SIDE, SIDE),
    opset: int = 17,
    ir_version: int = 8,
    kind: int = TensorProto.FLOAT,
    inputs: Sequence[str] = ("images",),
) -> onnx.ModelProto:
    """A model of these nodes with inputs of one shape."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name in inputs],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        tensors,
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version
    )


def conv(source: str, out: str, number: int, stride: int = 1) -> onnx.NodeProto:
    """A 3 x 3 convolution with weight `w<number>` and bias `b<number>`."""
    return helper.make_node(
        "Conv",
        [source, f"w{number}", f"b{number}"],
        [out],
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
        strides=[stride, stride],
    )


def plain(rng: np.random.Generator, channels: int = 3, **options: object) -> onnx.ModelProto:
    """Two convolutions; output `map`."""
    options.setdefault("shape", (1, channels, SIDE, SIDE))
    nodes = [
        conv("images", "c1", 1, 2),
        helper.make_node("Relu", ["c1"], ["r1"]),
        conv("r1", "map", 2),
    ]
    tensors = weights(rng, w1=(8, channels, 3, 3), b1=(8,), w2=(4, 8, 3, 3), b2=(4,))
    return build(nodes, tensors, {"map": None}, **options)  # type: ignore[arg-type]


def nhwc(rng: np.random.Generator) -> onnx.ModelProto:
    """The same with the channels last."""
    model = plain(rng, shape=(1, SIDE, SIDE, 3))
    model.graph.node[0].input[0] = "planes"
    model.graph.node.insert(
        0, helper.make_node("Transpose", ["images"], ["planes"], perm=[0, 3, 1, 2])
    )
    return model


def old(rng: np.random.Generator) -> onnx.ModelProto:
    """Opset 9, IR 3: weights are inputs too, an unused one among them; BatchNormalization."""
    nodes = [
        conv("images", "c1", 1, 2),
        helper.make_node("BatchNormalization", ["c1", "g", "h", "m", "v"], ["n1"]),
        helper.make_node("Relu", ["n1"], ["r1"]),
        helper.make_node("Upsample", ["r1", "times"], ["u1"], mode="nearest"),
        conv("u1", "537", 2),
    ]
    tensors = weights(rng, w1=(8, 3, 3, 3), b1=(8,), w2=(4, 8, 3, 3), b2=(4,), g=(8,), h=(8,))
    tensors += [
        numpy_helper.from_array(np.full(8, 0.2, np.float32), "m"),
        numpy_helper.from_array(np.full(8, 2.0, np.float32), "v"),
        numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "times"),
        numpy_helper.from_array(np.array(3, np.int64), "unused"),
    ]
    model = build(
        nodes, tensors, {"537": (10, 4, 8, 8)}, shape=(10, 3, 8, 8), opset=9, ir_version=3
    )
    model.graph.input.extend(
        helper.make_tensor_value_info(item.name, item.data_type, list(item.dims))
        for item in tensors
    )
    return model


def yolo(rng: np.random.Generator, *, rows_last: bool = False) -> onnx.ModelProto:
    """YOLOv8's end: boxes in pixels and scores in one output `[1, 4 + 3, anchors]`."""
    cells = (SIDE // 2) ** 2
    end = "joined" if rows_last else "output0"
    nodes = [
        conv("images", "c1", 1, 2),
        helper.make_node("Relu", ["c1"], ["r1"]),
        conv("r1", "c2", 2),
        helper.make_node("Reshape", ["c2", "flat"], ["cells"]),
        helper.make_node("Split", ["cells", "parts"], ["box", "class"], axis=1),
        helper.make_node("Sigmoid", ["box"], ["unit"]),
        helper.make_node("Mul", ["unit", "size"], ["xywh"]),
        helper.make_node("Sigmoid", ["class"], ["probability"]),
        helper.make_node("Concat", ["xywh", "probability"], [end], axis=1),
    ]
    if rows_last:
        nodes.append(helper.make_node("Transpose", [end], ["output0"], perm=[0, 2, 1]))
    tensors = [
        *weights(rng, w1=(8, 3, 3, 3), b1=(8,), w2=(7, 8, 3, 3), b2=(7,)),
        numpy_helper.from_array(np.array([1, 7, cells], np.int64), "flat"),
        numpy_helper.from_array(np.array([4, 3], np.int64), "parts"),
        numpy_helper.from_array(np.array(640, np.float32), "size"),
    ]
    return build(nodes, tensors, {"output0": None})


def yolo_v5(rng: np.random.Generator) -> onnx.ModelProto:
    """The same joined before a Reshape, where nothing can be taken apart."""
    model = yolo(rng)
    model.graph.node[-1].output[0] = "joined"
    model.graph.node.append(helper.make_node("Reshape", ["joined", "rows"], ["output0"]))
    model.graph.initializer.append(
        numpy_helper.from_array(np.array([1, 1, 7, -1], np.int64), "rows")
    )
    return model


def up_and_down(rng: np.random.Generator) -> onnx.ModelProto:
    """A tail that adds 100 and takes it off again: eight bits of 100 leave nothing of 1."""
    model = plain(rng)
    model.graph.node[-1].output[0] = "c2"
    model.graph.node.extend(
        [
            helper.make_node("Add", ["c2", "much"], ["sum"]),
            helper.make_node("Sub", ["sum", "much"], ["map"]),
        ]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(100, np.float32), "much"))
    return model


def of_any_length(rng: np.random.Generator) -> onnx.ModelProto:
    """As many outputs as there are positive numbers: the end of a model with its NMS inside."""
    model = plain(rng)
    model.graph.node.extend(
        [
            helper.make_node("Relu", ["map"], ["positive"]),
            helper.make_node("NonZero", ["positive"], ["where"]),
            helper.make_node("Cast", ["where"], ["found"], to=TensorProto.FLOAT),
        ]
    )
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("found", TensorProto.FLOAT, [4, "n"])
    )
    return model
