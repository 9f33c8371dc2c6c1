"""`sanderling explain`: what a pipeline does to a frame, tensor by tensor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sanderling.cli.text import GivenPath, parse_size, table
from sanderling.tensor import DType, shape_text
from sanderling.text import printable
from sanderling.wiring import FRAME

if TYPE_CHECKING:
    from sanderling.plan import Plan, Tensor


@click.command(epilog="Example: sanderling explain faces.toml --frame 1920x1080")
@click.argument("pipeline", type=GivenPath())
@click.option("--frame", default="1280x720", show_default=True, help="Size of the frames, WxH.")
def command(pipeline: Path, frame: str) -> None:
    """Show each tensor of PIPELINE: dtype, shape, bytes, where it lives, what is copied."""
    width, height = parse_size(frame, "--frame")
    from sanderling import pipeline as pipelines  # noqa: PLC0415 - loads onnxruntime

    with pipelines.open(pipeline) as opened:
        plan = opened.prepare(height, width)
        click.echo(
            f"{printable(pipeline)}: pipeline {opened.name}, frames up to {width} x {height}\n"
        )
        click.echo(_stages(plan))
        click.echo()
        click.echo(_tensors(plan))
        click.echo()
        click.echo(_summary(plan))


def _stages(plan: Plan) -> str:
    rows = [["stage", "what", "memory", "deadline"]]
    for stage in plan.stages:
        if stage.step is not None:
            limits = stage.step.module.limits
            rows.append(
                [
                    stage.name,
                    f"guest {Path(stage.step.module.path).name}",
                    f"{stage.step.memory / (1 << 20):.1f} of {limits.memory_mb:g} MiB",
                    f"{limits.deadline_ms:g} ms",
                ]
            )
        elif stage.model is not None:
            rows.append([stage.name, f"model {Path(stage.model.path).name}", "", ""])
    return table(rows)


def _tensors(plan: Plan) -> str:
    rows = [["tensor", "dtype", "shape", "scale", "zero", "bytes", "lives in", "copied"]]
    for tensor in plan.tensors:
        kind = tensor.type
        rows.append(
            [
                tensor.name,
                str(kind.dtype),
                shape_text(kind.shape),
                f"{kind.scale:.6g}" if kind.scale else "",
                str(kind.zero_point) if kind.scale else "",
                f"{kind.nbytes:,}",
                _home(plan, tensor),
                _copied(plan, tensor),
            ]
        )
    return table(rows, right=(3, 4, 5))


def _home(plan: Plan, tensor: Tensor) -> str:
    if isinstance(tensor.home, tuple):
        return f"memory of {plan.stages[tensor.home[1]].name}"
    return "host"


def _copied(plan: Plan, tensor: Tensor) -> str:
    targets = ", ".join(plan.stages[stage].name for stage, _ in plan.copied_to(tensor))
    if tensor.origin.stage == FRAME:
        return f"once, into {_home(plan, tensor)}" + (f"; to {targets}" if targets else "")
    return f"to {targets}" if targets else ""


def _dense(plan: Plan) -> tuple[list[Tensor], list[Tensor]]:
    """The tensors from the camera to the last model's outputs, and those behind the decoder."""
    last = max(
        (index for index, stage in enumerate(plan.stages) if stage.model is not None), default=-1
    )
    before = [tensor for tensor in plan.tensors if tensor.origin.stage <= last]
    return before, [tensor for tensor in plan.tensors if tensor.origin.stage > last]


def _summary(plan: Plan) -> str:
    before, behind = _dense(plan)
    frame = plan.tensors[0]
    copies = 1 + sum(len(plan.copied_to(tensor)) for tensor in before if not _small(tensor))
    floats = [tensor.name for tensor in before if tensor.type.dtype is DType.F32]
    handed = sum(
        tensor.type.nbytes * len(plan.copied_to(tensor))
        for tensor in (*before, *behind)
        if tensor in behind or _small(tensor)
    )
    lines = [
        f"copies per frame: {copies} (the frame, {frame.type.nbytes:,} bytes, into the first stage)"
        if copies == 1
        else f"copies per frame: {copies} (one more for each further sandbox that reads a tensor)",
        f"float32 tensors between camera and detections: {printable(', '.join(floats)) or 'none'}"
        " (of the frame, its picture and the model's outputs)",
    ]
    if handed:
        lines.append(
            f"handed from sandbox to sandbox behind that: at most {handed:,} bytes, of what was"
            " found only the rows that are there"
        )
    return "\n".join(lines)


def _small(tensor: Tensor) -> bool:
    """A note that goes along with the picture, such as letterbox's geometry: 32 bytes."""
    return tensor.type.nbytes <= 64
