"""What a guest says of itself: the manifest in its custom section `sanderling.manifest`.

The section is JSON; beside the source the same is written as `module.toml`. Reading and writing the
section needs no WebAssembly engine.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Annotated, Literal

import msgspec

from sanderling import wasmfile
from sanderling.errors import ConfigError, ModuleError
from sanderling.schema import explain, explain_toml
from sanderling.tensor import DType, shape_text
from sanderling.text import MAX_KEY_PARTS, has_deep_key, printable

SECTION = "sanderling.manifest"
MAX_TRIES = 10_000
"""Choices of patterns that are tried: a manifest may offer more than can be gone through."""
MAX_TENSORS = 32
"""The most inputs, and the most outputs, that a manifest may have."""
MAX_PARAMS = 64
_DIM = re.compile(r"(?:([0-9]{1,9})\+)?([A-Za-z_][A-Za-z0-9_]{0,63})\Z")
_I32 = (-(2**31), 2**31 - 1)
_F32_MAX = (2 - 2**-23) * 2.0**127

Dim = int | str
"""A dimension in a pattern: a number, a name (`"W"`), a number and a name (`"4+C"`), or `"..."`,
which stands for any number of leading dimensions."""
ParamValue = int | float | bool | str | list[int | float]
Name = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z][a-z0-9_]{0,63}\Z",
        description="1 to 64 lower-case letters, digits and '_', a letter first",
    ),
]
ParamType = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(bool|enum|(i32|f32)(\[[1-9][0-9]?\])?)\Z",
        description="bool, enum, i32, f32, or an array such as f32[3]",
    ),
]


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An input or an output as the manifest gives it.

    Attributes:
        name: what it is called in pipeline files.
        dtypes: the element types it may have, such as `["u8", "f32"]`.
        shapes: the patterns it may have; see `Dim`.
        optional: whether the guest also works without it.
        aside: of an output: it is a note that only a reader by its name gets; by order, the stage
            behind takes what an earlier stage makes.
        source: of an input: `frame` when it takes the frame itself, wherever the guest stands.
        help: one line for people.
    """

    name: Name
    dtypes: list[str]
    shapes: list[list[Dim]]
    optional: bool = False
    aside: bool = False
    source: Literal["", "frame"] = msgspec.field(name="from", default="")
    help: str = ""

    @property
    def kinds(self) -> str:
        """Its dtypes and shapes, in words."""
        shapes = " or ".join(shape_text(tuple(shape)) for shape in self.shapes)
        return f"{' or '.join(self.dtypes)} {shapes}"


class Param(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A parameter. In the packed struct each scalar is four bytes, `bool` and `enum` as i32.

    Attributes:
        type: `i32`, `f32`, `bool`, `enum` or an array such as `f32[3]`.
        default: its value when neither the pipeline nor the model says one.
        min: the least value; of each element of an array.
        max: the greatest value.
        choices: for an `enum`, its words; the guest sees the index.
        unit: such as `pixels`.
        help: one line for people.
        source: the fact of the neighbouring model it follows, such as `next.width`.
    """

    name: Name
    type: ParamType
    default: ParamValue
    min: float | None = None
    max: float | None = None
    choices: list[str] = []
    unit: str = ""
    help: str = ""
    source: str = msgspec.field(name="from", default="")

    @property
    def length(self) -> int:
        """How many scalars it has."""
        return int(self.type[4:-1]) if self.type.endswith("]") else 1


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a guest needs.

    Attributes:
        memory_mb: the most memory it takes in all, in MiB, buffers included.
        deadline_ms: the time after which a call counts as stuck, in ms.
    """

    memory_mb: Annotated[float, msgspec.Meta(gt=0, le=4096)]
    deadline_ms: Annotated[float, msgspec.Meta(gt=0, le=60_000)]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that a guest says of itself."""

    abi: Literal[1] = 1
    name: Name
    version: str
    summary: str
    license: str = ""
    inputs: list[TensorSpec] = msgspec.field(name="input")
    outputs: list[TensorSpec] = msgspec.field(name="output")
    params: list[Param] = msgspec.field(name="param", default_factory=list)
    limits: Limits

    def param(self, name: str) -> Param | None:
        """The parameter of this name, if there is one."""
        return next((param for param in self.params if param.name == name), None)


def parse_toml(text: str, where: str) -> Manifest:
    """Read a `module.toml`.

    Args:
        text: its content.
        where: its path, for messages.

    Raises:
        ModuleError: it is not TOML, or not a manifest.
    """
    if has_deep_key(text.encode(errors="replace")):
        raise ModuleError(f"{where}: a key of more than {MAX_KEY_PARTS} parts")
    try:
        manifest = msgspec.toml.decode(text, type=Manifest)
    except msgspec.ValidationError as exc:
        raise ModuleError(f"{where}: {explain(exc, Manifest)}") from exc
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as exc:
        raise ModuleError(
            f"{where}: not TOML: {explain_toml(exc, text.encode(errors='replace'))}"
        ) from exc
    _check(manifest, where)
    return manifest


def parse_json(data: bytes, where: str) -> Manifest:
    """Read the content of a manifest section.

    Raises:
        ModuleError: it is not JSON, or not a manifest.
    """
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.ValidationError as exc:
        raise ModuleError(f"{where}: its section {SECTION}: {explain(exc, Manifest)}") from exc
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as exc:
        raise ModuleError(
            f"{where}: the section {SECTION} is not a manifest: {printable(exc)}"
        ) from exc
    _check(manifest, where)
    return manifest


def _check(manifest: Manifest, where: str) -> None:
    """What the types of the fields cannot say."""
    for kind, specs in (("input", manifest.inputs), ("output", manifest.outputs)):
        if not specs:
            raise ModuleError(f"{where}: the manifest has no {kind}; it needs at least one")
        if len(specs) > MAX_TENSORS:
            raise ModuleError(f"{where}: {len(specs)} {kind}s; at most {MAX_TENSORS} are possible")
        names = [spec.name for spec in specs]
        if len(set(names)) != len(names):
            raise ModuleError(f"{where}: two {kind}s have one name: {', '.join(names)}")
        for spec in specs:
            _check_tensor(spec, f"{where}: {kind} {spec.name}")
            if (spec.aside and kind == "input") or (spec.source and kind == "output"):
                key, right = ("aside", "output") if spec.aside else ("from", "input")
                raise ModuleError(f"{where}: {kind} {spec.name}: {key} is for an {right}")
    if len(manifest.params) > MAX_PARAMS:
        raise ModuleError(
            f"{where}: {len(manifest.params)} parameters; at most {MAX_PARAMS} are possible"
        )
    names = [param.name for param in manifest.params]
    if len(set(names)) != len(names):
        raise ModuleError(f"{where}: two parameters have one name: {', '.join(names)}")
    for param in manifest.params:
        if param.type == "enum" and not param.choices:
            raise ModuleError(f"{where}: parameter {param.name} is an enum without choices")
        try:
            _check_range(param)
            param_scalars(param, param.default, "default")
        except ConfigError as exc:
            raise ModuleError(f"{where}: parameter {param.name}: {exc}") from exc


def _check_range(param: Param) -> None:
    low, high = _type_range(param)
    for name, bound in (("min", param.min), ("max", param.max)):
        if bound is not None and not low <= bound <= high:
            raise ConfigError(f"{name}: {bound:g} is not within {low:g} to {high:g}")
    if param.min is not None and param.max is not None and param.min > param.max:
        raise ConfigError(f"min {param.min:g} is greater than max {param.max:g}")


def _type_range(param: Param) -> tuple[float, float]:
    return _I32 if not param.type.startswith("f32") else (-_F32_MAX, _F32_MAX)


def _check_tensor(spec: TensorSpec, where: str) -> None:
    known = [str(dtype) for dtype in DType]
    for dtype in spec.dtypes:
        if dtype not in known:
            raise ModuleError(f"{where}: dtype {dtype!r}; known are {', '.join(known)}")
    if not spec.dtypes or not spec.shapes:
        raise ModuleError(f"{where}: it needs at least one dtype and one shape")
    for shape in spec.shapes:
        if len(shape) > 8:
            raise ModuleError(f"{where}: {len(shape)} dimensions; at most 8 are possible")
        for index, dim in enumerate(shape):
            good = (
                0 < dim < 2**31
                if isinstance(dim, int)
                else bool(_DIM.match(dim)) or (dim == "..." and index == 0)
            )
            if not good:
                raise ModuleError(
                    f"{where}: dimension {_shown(dim)};"
                    ' write a number, a name, "4+C", or "..." first'
                )


# ---- the custom section -------------------------------------------------------------------------


def read_section(wasm: bytes, where: str) -> bytes | None:
    """The content of the manifest section, or None when the module has none.

    Raises:
        ModuleError: the bytes are not a WebAssembly module, or are cut off, or hold two manifests.
    """
    held = [
        wasm[part.start : part.end]
        for part in wasmfile.sections(wasm, where)
        if part.name == SECTION
    ]
    if len(held) > 1:
        raise ModuleError(f"{where}: it has {len(held)} sections {SECTION}; pack it again")
    return held[0] if held else None


def read_manifest(wasm: bytes, where: str) -> Manifest:
    """The manifest of a packed module.

    Raises:
        ModuleError: the bytes are not a module, or hold no manifest.
    """
    section = read_section(wasm, where)
    if section is None:
        raise ModuleError(
            f"{where}: no manifest in it; write a module.toml and run"
            f" `sanderling module pack {where} --manifest module.toml`"
        )
    return parse_json(section, where)


def pack(wasm: bytes, manifest: Manifest, where: str) -> bytes:
    """The module with this manifest in it, in place of one it may have had.

    Raises:
        ModuleError: the bytes are not a WebAssembly module.
    """
    kept = wasmfile.without_custom(wasm, SECTION, where)
    return kept + wasmfile.custom_section(SECTION, msgspec.json.encode(manifest))


# ---- parameters ---------------------------------------------------------------------------------


def param_scalars(param: Param, value: object, where: str) -> list[int | float]:
    """A parameter's value as the scalars that are packed, checked.

    Raises:
        ConfigError: of the wrong type, or out of range; says what would be accepted.
    """
    if param.type == "enum":
        if not isinstance(value, str) or value not in param.choices:
            raise ConfigError(
                f"{where}: {_shown(value)} is not one of {', '.join(map(repr, param.choices))}"
            )
        return [param.choices.index(value)]
    if param.type == "bool":
        if not isinstance(value, bool):
            raise ConfigError(f"{where}: {_shown(value)} is not true or false")
        return [int(value)]
    values = value if isinstance(value, list | tuple) else [value]
    if isinstance(value, list | tuple) != param.type.endswith("]") or len(values) != param.length:
        wanted = f"a list of {param.length} numbers" if param.type.endswith("]") else "a number"
        raise ConfigError(f"{where}: {_shown(value)} is not {wanted}")
    return [_scalar(param, item, where) for item in values]


def _scalar(param: Param, value: object, where: str) -> int | float:
    integral = param.type.startswith("i32")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{where}: {_shown(value)} is not a number")
    # A float only: an int can be too large to become one.
    if isinstance(value, float) and not (value.is_integer() if integral else math.isfinite(value)):
        raise ConfigError(
            f"{where}: {value!r} is not {'a whole' if integral else 'a finite'} number"
        )
    low, high = _type_range(param)
    low = low if param.min is None else max(low, param.min)
    high = high if param.max is None else min(high, param.max)
    if not low <= value <= high:
        unit = f" {printable(param.unit)}" if param.unit else ""
        raise ConfigError(f"{where}: {_shown(value)} is not within {low:g} to {high:g}{unit}")
    return int(value) if integral else float(value)


def _shown(value: object) -> str:
    """The value in a message: one line that is not too long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python prints no int of more than 4,300 digits
        return f"this long {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def pack_params(manifest: Manifest, values: dict[str, object], where: str) -> bytes:
    """The parameters as the C struct that the guest reads: four bytes a scalar, in order.

    Args:
        manifest: says which parameters there are.
        values: those that do not have their default.
        where: what the messages begin with.

    Raises:
        ConfigError: an unknown parameter, a wrong type, or a value out of range.
    """
    for name in values:
        if manifest.param(name) is None:
            known = ", ".join(param.name for param in manifest.params) or "none"
            raise ConfigError(
                f"{where}: {manifest.name} has no parameter {name!r}; it has: {known}"
            )
    packed = b""
    for param in manifest.params:
        value = values.get(param.name, param.default)
        for scalar in param_scalars(param, value, f"{where}.{param.name}"):
            packed += struct.pack("<f" if param.type.startswith("f32") else "<i", scalar)
    return packed


# ---- shape patterns -----------------------------------------------------------------------------


def leading(spec: TensorSpec, shape: tuple[int, ...]) -> Dim:
    """The first dimension as the pattern that a shape has writes it; 1 when none fits."""
    fitting = (one for one in spec.shapes if match_shape(one, shape, {}) is not None)
    pattern = next(fitting, [])
    return pattern[0] if pattern else 1


def match_shape(
    pattern: list[Dim], shape: tuple[int, ...], bound: dict[str, int]
) -> dict[str, int] | None:
    """Unify a pattern with a shape.

    Args:
        pattern: dimensions as a manifest has them; see `Dim`.
        shape: a concrete shape.
        bound: what the names stand for so far.

    Returns:
        The names and what they stand for now, or None when the shape does not fit.
    """
    names = dict(bound)
    if pattern and pattern[0] == "...":
        pattern = pattern[1:]
        if len(shape) < len(pattern):
            return None
        shape = shape[len(shape) - len(pattern) :]
    if len(pattern) != len(shape):
        return None
    for dim, size in zip(pattern, shape, strict=True):
        if isinstance(dim, int):
            if dim != size:
                return None
            continue
        match = _DIM.match(dim)
        if match is None:
            return None
        rest = size - int(match[1] or 0)
        if rest < (1 if match[1] else 0) or names.setdefault(match[2], rest) != rest:
            return None
    return names


def unify(inputs: list[tuple[list[list[Dim]], tuple[int, ...]]]) -> int:
    """Whether one pattern each can be chosen so that every name stands for one size.

    Args:
        inputs: of each input, the patterns it may have and its shape.

    Returns:
        How many of the inputs fit together, from the first on, at the best choice; all of them
        when it is their number.
    """
    tries = 0
    best = 0

    def fits(position: int, bound: dict[str, int]) -> bool:
        nonlocal tries, best
        best = max(best, position)
        if position == len(inputs):
            return True
        patterns, shape = inputs[position]
        for pattern in patterns:
            tries += 1
            names = match_shape(pattern, shape, bound)
            if names is not None and tries < MAX_TRIES and fits(position + 1, names):
                return True
        return False

    fits(0, {})
    return best
