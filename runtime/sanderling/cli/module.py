"""`sanderling module`: look at, check and pack guests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sanderling import abi, library, manifest, wholefile
from sanderling.cli.text import GivenPath, table
from sanderling.errors import ModuleError, PlanError
from sanderling.manifest import Manifest, Param, TensorSpec
from sanderling.policy import Policy
from sanderling.tensor import DType, PixelFormat, TensorType, shape_text
from sanderling.text import printable

if TYPE_CHECKING:
    from sanderling.guest import Module

_SIDE = 32
"""What a name in a shape stands for when inputs are made up."""
_FILE = GivenPath()


@click.group(epilog="Example: sanderling module inspect nms")
def command() -> None:
    """Look at, check and pack guests."""


_CALL = click.option(
    "--call", default="", help="The bare export of a guest that does not speak the ABI."
)


@command.command(
    short_help="Show a guest's inputs, outputs and parameters.",
    epilog="Example: sanderling module inspect nms",
)
@click.argument("file", type=_FILE)
@_CALL
def inspect(file: Path, call: str) -> None:
    """Show what FILE, or an installed guest, says of itself: inputs, outputs, parameters, limits.

    With --call, of a guest that says nothing of itself: its exports.
    """
    from sanderling import guest  # noqa: PLC0415 - loads wasmtime

    file = library.locate("guest", file)
    if call:
        exports = guest.load(file, Policy(), function=call).exports()
        click.echo(printable(f"{file}: a bare function, {call}"))
        click.echo(table([["export", "type"], *([name, kind] for name, kind in exports.items())]))
        return
    wasm = guest.read_file(file)
    _needs_manifest(wasm, file)
    click.echo(_describe(manifest.read_manifest(wasm, str(file)), file, len(wasm)))


@command.command(
    short_help="Check that a guest can be started here.",
    epilog="Example: sanderling module check nms --wasi",
)
@click.argument("file", type=_FILE)
@click.option("--wasi", is_flag=True, help="Allow the WASI calls that language runtimes need.")
@_CALL
def check(file: Path, wasi: bool, call: str) -> None:
    """Check that FILE, or an installed guest, can be let in, compiled, started and set up here.

    It is set up with its default parameters and small inputs that are made up. A guest may refuse
    those and be good; one that traps, hangs or breaks the ABI is not.
    """
    from sanderling import guest  # noqa: PLC0415 - loads wasmtime

    file = library.locate("guest", file)
    if not call:
        _needs_manifest(guest.read_file(file), file)
    module = guest.load(file, Policy(wasi=wasi), function=call)
    instance = guest.Instance(module, file.name)
    size = instance.size
    instance.close()
    tried = "started" if module.manifest is None or call else _set_up(module, file.stem)
    optional = [name for name in abi.OPTIONAL_EXPORTS if name in module.exports()]
    click.echo(
        f"{printable(file)}: good: {len(module.exports())} exports"
        f"{' (with ' + ', '.join(optional) + ')' if optional else ''}, {size >> 10} KiB at start,"
        f" sha256 {module.digest}"
    )
    click.echo(printable(tried))


def _set_up(module: Module, name: str) -> str:
    """Set the guest up with what is made up, and say what became of it.

    Raises:
        GuestError: it trapped, hung or broke the ABI.
    """
    from sanderling.step import AbiStep  # noqa: PLC0415 - loads wasmtime

    said = module.manifest
    assert said is not None
    inputs: list[TensorType | None] = [_made_up(spec) for spec in said.inputs]
    step = AbiStep(module, name, manifest.pack_params(said, {}, name), inputs)
    try:
        step.open()
        return f"started; set-up with default parameters: {_named(said.outputs, step.outputs)}"
    except PlanError as exc:
        return f"started; refused to be set up with inputs of {_named(said.inputs, inputs)}: {exc}"
    finally:
        step.close()


def _made_up(spec: TensorSpec) -> TensorType:
    """A small tensor of the first kind that an input takes; each name in it stands for 32."""
    shape = []
    for dim in spec.shapes[0]:
        if isinstance(dim, int):
            shape.append(dim)
        elif dim != "...":
            least, plus, _ = dim.rpartition("+")
            shape.append(_SIDE + (int(least) if plus else 0))
    kind = next(kind for kind in DType if str(kind) == spec.dtypes[0])
    if kind is DType.U8 and len(shape) == 3 and shape[2] in (1, 3):
        pixels = PixelFormat.BGR if shape[2] == 3 else PixelFormat.GREY
        return TensorType(kind, tuple(shape), format=pixels)
    scale = 1 / 256 if kind in (DType.U8, DType.I8) else 0.0
    return TensorType(kind, tuple(shape) or (1,), scale)


def _named(specs: list[TensorSpec], kinds: list[TensorType | None]) -> str:
    pairs = zip(specs, kinds, strict=True)
    return ", ".join(f"{spec.name} {kind}" for spec, kind in pairs if kind is not None)


def _needs_manifest(wasm: bytes, file: Path) -> None:
    if manifest.read_section(wasm, str(file)) is None:
        raise ModuleError(
            f"{file}: no manifest in it; put one in with `sanderling module pack`, or, for a bare"
            " function, name it with --call"
        )


@command.command(
    short_help="Put a manifest into a guest.",
    epilog="Example: sanderling module pack mine.wasm --manifest module.toml",
)
@click.argument("file", type=_FILE)
@click.option("--manifest", "toml", type=_FILE, help="The module.toml; else the one beside FILE.")
@click.option("-o", "--output", type=_FILE, help="Where to write; else FILE itself.")
def pack(file: Path, toml: Path | None, output: Path | None) -> None:
    """Put the manifest (module.toml) into the WebAssembly FILE."""
    source = toml or file.parent / "module.toml"
    if toml is None and file.is_file() and not source.is_file():
        raise ModuleError(
            f"{file}: there is no module.toml to pack; write one beside it (docs/abi.md) or give"
            " --manifest"
        )
    try:
        text = source.read_text(encoding="utf-8")
        wasm = file.read_bytes()
    except OSError as exc:
        raise ModuleError(f"{exc.filename}: cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ModuleError(f"{source}: not text in UTF-8") from exc
    read = manifest.parse_toml(text, str(source))
    packed = manifest.pack(wasm, read, str(file))
    target = output or file
    wholefile.write(target, packed)
    click.echo(printable(f"{target}: {read.name} {read.version}, {len(packed):,} bytes"))


def _describe(read: Manifest, file: Path, size: int) -> str:
    lines = [
        printable(f"{file}: {read.name} {read.version}, {size:,} bytes, ABI {read.abi}"),
        printable(read.summary),
        f"memory up to {read.limits.memory_mb:g} MiB, {read.limits.deadline_ms:g} ms a call",
        "",
    ]
    rows = [["", "tensor", "dtypes", "shapes", "help"]]
    for side, specs in (("in", read.inputs), ("out", read.outputs)):
        for spec in specs:
            shapes = " or ".join(shape_text(tuple(shape)) for shape in spec.shapes)
            name = spec.name + (" (optional)" if spec.optional else "")
            rows.append([side, name, ", ".join(spec.dtypes), shapes, spec.help])
    lines.append(table(rows))
    if read.params:
        rows = [["parameter", "type", "default", "range", "follows", "help"]]
        rows += [_param(param) for param in read.params]
        lines += ["", table(rows)]
    return "\n".join(lines)


def _param(param: Param) -> list[str]:
    if param.choices:
        span = ", ".join(param.choices)
    elif param.min is None and param.max is None:
        span = ""
    else:
        low = "" if param.min is None else f"{param.min:g}"
        high = "" if param.max is None else f"{param.max:g}"
        span = f"{low} to {high}" if low and high else f"from {low}" if low else f"up to {high}"
    if param.unit:
        span = f"{span} {param.unit}".strip()
    default = str(param.default).lower() if param.type == "bool" else str(param.default)
    return [param.name, param.type, default, span, param.source, param.help]
