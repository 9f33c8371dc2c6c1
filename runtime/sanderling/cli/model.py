"""`sanderling model`: look at and quantize models."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from sanderling import library
from sanderling.cli.text import GivenPath, parse_size, table
from sanderling.errors import ConfigError
from sanderling.tensor import shape_text
from sanderling.text import printable

if TYPE_CHECKING:
    from sanderling.model import Model

_FILE = GivenPath()


@click.group(epilog="Example: sanderling model inspect centerface-int8")
def command() -> None:
    """Look at and quantize models."""


@command.command(
    short_help="Show a model's inputs and outputs.",
    epilog="Example: sanderling model inspect centerface-int8",
)
@click.argument("file", type=_FILE)
def inspect(file: Path) -> None:
    """Show the inputs and outputs of FILE, or of an installed model, by its bare name."""
    file = library.locate("model", file)
    from sanderling import model  # noqa: PLC0415 - loads onnxruntime

    click.echo(_describe(model.load(file), file))


def _describe(loaded: Model, file: Path) -> str:
    said = loaded.metadata
    lines = [f"{file}: {said.name or 'no name'}, {file.stat().st_size:,} bytes"]
    facts = {"task": said.task, "license": said.license, "source": said.source}
    lines += [f"{key}: {value}" for key, value in facts.items() if value]
    if said.labels:
        shown = ", ".join(said.labels[:10]) + (", ..." if len(said.labels) > 10 else "")
        lines.append(f"labels: {len(said.labels)}: {shown}")
    if said.image is not None:
        image = said.image
        lines.append(
            f"picture: {image.order}, {image.fit}, mean {image.mean}, std {image.std},"
            f" padded with {image.pad}"
        )
    rows = [["", "tensor", "dtype", "shape", "scale", "zero"]]
    for side, ports in (("in", loaded.inputs), ("out", loaded.outputs)):
        for port in ports:
            name = port.name if port.label == port.name else f"{port.name} as {port.label}"
            scale = [f"{port.scale:.6g}", str(port.zero_point)] if port.scale else ["", ""]
            rows.append([side, name, str(port.dtype), shape_text(port.shape), *scale])
    notes = [f"{subject}: {note}" for subject, note in said.notes.items()]
    return "\n".join(
        [*map(printable, lines), "", table(rows, right=(4, 5)), *map(printable, notes)]
    )


class _Bar:
    """One progress bar a stage on a terminal, nothing in a pipe."""

    def __init__(self) -> None:
        self._show = sys.stderr.isatty()
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        if not self._show:
            return
        if stage != self._stage and self._stage:
            click.echo(err=True)
        self._stage = stage
        filled = 30 * done // max(1, total)
        bar = "#" * filled + "." * (30 - filled)
        click.echo(f"\r{stage:24} [{bar}] {done}/{total}", nl=False, err=True)

    def done(self) -> None:
        """End the line."""
        if self._show and self._stage:
            click.echo(err=True)


def _triple(text: str | None, what: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ConfigError(f"{what}: {text!r} is not three numbers such as 123.7,116.3,103.5")
    return numbers


@command.command(
    short_help="Make a model of 8 bits out of a float one.",
    epilog="Example: sanderling model quantize yolov8n.onnx -o yolov8n-int8.onnx"
    " --calibrate photos --std 255,255,255",
)
@click.argument("file", type=_FILE, metavar="IN.onnx")
@click.option(
    "-o", "--output", required=True, type=_FILE, metavar="OUT.onnx", help="What to write."
)
@click.option(
    "--calibrate", required=True, type=_FILE, metavar="FOLDER", help="Pictures like the model's."
)
@click.option("--held-out", type=_FILE, metavar="FOLDER", help="Pictures to measure with instead.")
@click.option(
    "--input-size", metavar="WxH", help="Width and height of the input; else as the file says."
)
@click.option("--mean", metavar="R,G,B", help="Taken off the channels, in pixel units (0 to 255).")
@click.option("--std", metavar="R,G,B", help="The channels are divided by it, in pixel units.")
@click.option("--order", type=click.Choice(["rgb", "bgr", "grey"]), help="Order of the channels.")
@click.option("--fit", type=click.Choice(["letterbox", "stretch"]), help="Pad, or stretch.")
@click.option(
    "--flavour",
    type=click.Choice(["u8s8", "s8s8", "both"]),
    default="u8s8",
    show_default=True,
    help="Activations and weights; both are measured.",
)
@click.option("--full-range", is_flag=True, help="8-bit weights in place of 7: x86 may differ.")
@click.option("--keep-quantize-nodes", is_flag=True, help="The model takes and gives float32.")
def quantize(
    file: Path,
    output: Path,
    calibrate: Path,
    held_out: Path | None,
    input_size: str | None,
    mean: str | None,
    std: str | None,
    order: Literal["rgb", "bgr", "grey"] | None,
    fit: Literal["letterbox", "stretch"] | None,
    flavour: Literal["u8s8", "s8s8", "both"],
    full_range: bool,
    keep_quantize_nodes: bool,
) -> None:
    """Turn the float model IN.onnx into one of 8 bits, and say what that gained and cost."""
    from sanderling import quantize as quantizing  # noqa: PLC0415 - off the device only

    bar = _Bar()
    try:
        report = quantizing.quantize(
            file,
            output,
            calibrate,
            held_out=held_out,
            input_size=parse_size(input_size, "--input-size") if input_size else None,
            mean=_triple(mean, "--mean"),
            std=_triple(std, "--std"),
            order=order,
            fit=fit,
            flavour=flavour,
            reduce_range=not full_range,
            keep_quantize_nodes=keep_quantize_nodes,
            progress=bar,
        )
    finally:
        bar.done()
    for name in report.unreadable:
        click.echo(f"sanderling: {printable(name)}: not readable as a picture; left out", err=True)
    for subject, note in report.notes.items():
        click.echo(printable(f"{subject}: {note}"))
    click.echo()
    click.echo(report.table())
