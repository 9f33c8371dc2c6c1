"""Which decoder fits what a model puts out, judged by shapes alone. Pure."""

from __future__ import annotations

Shapes = list[tuple[int, ...]]

_CELLS = 64  # fewer anchors or cells than this are no dense detector


def suggest(shapes: Shapes) -> str:
    """What outputs of these shapes look like and the stages that read them; empty if unknown.

    Args:
        shapes: of a model's outputs, in order.
    """
    for family in (_heatmap, _yolo_joined, _yolo_split, _ssd, _classifier):
        if text := family(shapes):
            return text
    return ""


def _heatmap(shapes: Shapes) -> str:
    maps = [shape for shape in shapes if len(shape) == 4 and shape[0] == 1]
    grids = {shape[2:] for shape in maps}
    if len(maps) != len(shapes) or len(maps) < 3 or len(grids) != 1:
        return ""
    channels = [shape[1] for shape in maps]
    if channels == [1, 2, 2, 10]:
        return "these are CenterFace's heatmap, scale, offset and landmarks: use centerface_decode"
    return (
        "these look like a heatmap with its offset maps; centerface_decode reads such a model with"
        " 1, 2, 2 and 10 channels"
    )


def _yolo_joined(shapes: Shapes) -> str:
    shape = shapes[0] if shapes else ()
    if len(shape) != 3 or shape[0] != 1:
        return ""
    _, rows, columns = shape
    if columns > rows >= 5 and columns >= _CELLS:
        return f"this is YOLOv8's shape [1, 4+{rows - 4} classes, anchors]: use yolo_decode"
    if rows > columns >= 6 and rows >= _CELLS and len(shapes) == 1:
        return f"this is YOLOv5's shape [1, anchors, 5+{columns - 5} classes]: use yolo_decode"
    return ""


def _yolo_split(shapes: Shapes) -> str:
    if len(shapes) != 2 or any(len(shape) != 3 for shape in shapes):
        return ""
    (_, four, anchors), (_, _, other) = shapes
    if four == 4 and anchors == other and anchors >= _CELLS:
        return "this is YOLOv8's output with boxes and scores apart: use yolo_decode"
    return ""


def _ssd(shapes: Shapes) -> str:
    boxes = [shape for shape in shapes if len(shape) >= 2 and shape[-1] == 4]
    if len(shapes) >= 2 and boxes:
        return (
            "this is SSD-like (boxes [1, anchors, 4] and scores apart, often decoded already);"
            " no decoder for it is installed, docs/abi.md says how to write one"
        )
    return ""


def _classifier(shapes: Shapes) -> str:
    if len(shapes) == 1 and len(shapes[0]) == 2 and shapes[0][0] == 1:
        return f"this is a classifier with {shapes[0][1]} classes: use softmax and topk"
    return ""
