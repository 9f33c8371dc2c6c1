"""`sanderling module`: look at, check and pack guests."""

from __future__ import annotations

import os
from pathlib import Path

import click

from sanderling import abi, manifest
from sanderling.cli.text import table
from sanderling.errors import ModuleError, OutputError
from sanderling.manifest import Manifest, Param
from sanderling.policy import Policy
from sanderling.tensor import shape_text
from sanderling.text import printable

_FILE = click.Path(path_type=Path)


@click.group(epilog="Example: sanderling module inspect nms.wasm")
def command() -> None:
    """Look at, check and pack guests."""


@command.command(epilog="Example: sanderling module inspect nms.wasm")
@click.argument("file", type=_FILE)
def inspect(file: Path) -> None:
    """Show what FILE says of itself: inputs, outputs, parameters, limits."""
    from sanderling import guest  # noqa: PLC0415 - loads wasmtime

    wasm = guest.read_file(file)
    click.echo(_describe(manifest.read_manifest(wasm, str(file)), file, len(wasm)))


@command.command(epilog="Example: sanderling module check nms.wasm --wasi")
@click.argument("file", type=_FILE)
@click.option("--wasi", is_flag=True, help="Allow the WASI calls that language runtimes need.")
@click.option("--call", default="", help="The bare export of a guest that does not speak the ABI.")
def check(file: Path, wasi: bool, call: str) -> None:
    """Check that FILE can be let in, compiled and started here."""
    from sanderling import guest  # noqa: PLC0415 - loads wasmtime

    module = guest.load(file, Policy(wasi=wasi), function=call)
    instance = guest.Instance(module, file.name)
    size = instance.size
    instance.close()
    optional = [name for name in abi.OPTIONAL_EXPORTS if name in module.exports()]
    click.echo(
        f"{printable(file)}: good: {len(module.exports())} exports"
        f"{' (with ' + ', '.join(optional) + ')' if optional else ''}, {size >> 10} KiB at start,"
        f" sha256 {module.digest}"
    )


@command.command(epilog="Example: sanderling module pack mine.wasm --manifest module.toml")
@click.argument("file", type=_FILE)
@click.option("--manifest", "toml", type=_FILE, help="The module.toml; else the one beside FILE.")
@click.option("-o", "--output", type=_FILE, help="Where to write; else FILE itself.")
def pack(file: Path, toml: Path | None, output: Path | None) -> None:
    """Put the manifest (module.toml) into the WebAssembly FILE."""
    source = toml or file.parent / "module.toml"
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
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(packed)
        os.replace(partial, target)
    except OSError as exc:
        raise OutputError(f"{target}: cannot be written: {exc.strerror}") from exc
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
    return [param.name, param.type, str(param.default), span, param.source, param.help]
