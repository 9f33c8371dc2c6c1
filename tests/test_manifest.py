"""Manifests, parameters, shape patterns, and the section they travel in."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hostile
from sanderling import manifest, wasmfile
from sanderling.errors import ConfigError, ModuleError
from sanderling.manifest import Manifest, Param

TEXT = hostile.MANIFEST.format(name="a", memory_mb=1, deadline_ms=1)


def parsed(extra: str = "") -> Manifest:
    return manifest.parse_toml(TEXT + extra, "module.toml")


def test_a_packed_manifest_comes_back() -> None:
    raw = hostile.wat()
    once = manifest.pack(raw, parsed(), "a")
    assert manifest.read_manifest(once, "a") == parsed()
    assert manifest.pack(once, parsed(), "a") == once, "packing again changes nothing"
    assert manifest.read_section(raw, "a") is None


def test_a_module_without_a_manifest_says_what_to_do() -> None:
    with pytest.raises(ModuleError, match="sanderling module pack"):
        manifest.read_manifest(hostile.wat(), "a.wasm")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"GIF89a", "not a WebAssembly file"),
        (b"\0asm\x0d\0\1\0", "components are not guests"),
        (b"\0asm\1\0\0\0\x01\x05", "cut off"),
        (b"\0asm\1\0\0\0\x01\xff\xff\xff\xff\xff\xff", "malformed"),
        (b"\0asm\1\0\0\0\x00\x02\x05a", "cut off"),
    ],
)
def test_what_is_not_a_module_is_named(data: bytes, words: str) -> None:
    with pytest.raises(ModuleError) as caught:
        manifest.read_section(data, "a.wasm")
    assert words in str(caught.value)
    assert str(caught.value).startswith("a.wasm: ")


@given(cut=st.integers(0, 2000), junk=st.binary(max_size=8))
def test_a_damaged_module_never_raises_anything_else(cut: int, junk: bytes) -> None:
    whole = manifest.pack(hostile.wat(), parsed(), "a")
    damaged = whole[: cut % len(whole)] + junk + whole[cut % len(whole) + len(junk) :]
    for read in (manifest.read_manifest, wasmfile.outline):
        with contextlib.suppress(ModuleError):
            read(damaged, "a")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "a"', 'name = "A b"', "name: must be 1 to 64 lower-case letters"),
        ('dtypes = ["u8"]', 'dtypes = ["u9"]', "dtype 'u9'"),
        ('[["n"]]', '[["n", 0]]', "dimension 0"),
        ('[["n"]]', '[["n", "..."]]', "dimension '...'"),
        ('[["n"]]', "[[1,1,1,1,1,1,1,1,1]]", "at most 8"),
        ("memory_mb = 1", "memory_mb = 0", "memory_mb"),
        ("deadline_ms = 1", "deadline_ms = 1e9", "deadline_ms"),
        ("[limits]", "[limts]", "did you mean 'limits'?"),
        ("[limits]", '"a\\u001b[2J" = 1\n[limits]', "unknown key 'a\\x1b[2J'"),
        ('name = "a"', 'name = "a\\n"', "name: must be 1 to 64 lower-case letters"),
        ('[["n"]]', '[["n\\n"]]', "dimension 'n\\n'"),
        ('[["n"]]', f'[["{"9" * 5000}+n"]]', "dimension '999"),
        ('[["n"]]', f"[[{'9' * 5000}]]", "not TOML"),
        ('[["n"]]', f"[[0x{'9' * 5000}]]", "dimension this long int"),
        ("memory_mb = 1", f"memory_mb = {'9' * 400}", "limits.memory_mb: "),
        ("[[output]]", "[output]", "output: write [[output]], with two brackets"),
        (
            "[limits]",
            '[[param]]\nname = "k"\ntype = "f64"\ndefault = 1\n[limits]',
            "param 1.type: must be bool, enum, i32, f32, or an array",
        ),
        ("[limits]", "[limits\n", ": [limits"),
        ("[limits]", f"{'a.' * 20_000}a = 1\n[limits]", "a key of more than 64 parts"),
    ],
)
def test_a_wrong_manifest_is_refused(old: str, new: str, words: str) -> None:
    assert old in TEXT
    with pytest.raises(ModuleError) as caught:
        manifest.parse_toml(TEXT.replace(old, new), "module.toml")
    assert words in str(caught.value)
    assert str(caught.value).startswith("module.toml")


PARAMS = """
[[param]]
name = "k"
type = "i32"
default = 5
min = 1
max = 10
unit = "rows"
[[param]]
name = "mean"
type = "f32[3]"
default = [0.0, 0.5, 1.0]
max = 2.0
[[param]]
name = "mode"
type = "enum"
default = "b"
choices = ["a", "b"]
[[param]]
name = "on"
type = "bool"
default = true
"""


def test_parameters_are_packed_as_a_c_struct() -> None:
    packed = manifest.pack_params(parsed(PARAMS), {"k": 7, "mode": "a"}, "p")
    assert packed == struct.pack("<i3fii", 7, 0.0, 0.5, 1.0, 0, 1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"q": 1}, "no parameter 'q'; it has: k, mean, mode, on"),
        ({"k": 11}, "p.k: 11 is not within 1 to 10 rows"),
        ({"k": 1.5}, "not a whole number"),
        ({"k": True}, "not a number"),
        ({"k": "3"}, "not a number"),
        ({"k": [3]}, "not a number"),
        ({"mean": [1, 2]}, "not a list of 3 numbers"),
        ({"mean": [1, 2, 3]}, "3 is not within"),
        ({"mean": [1, 2, float("nan")]}, "not a finite number"),
        ({"mode": "c"}, "'c' is not one of 'a', 'b'"),
        ({"on": 1}, "1 is not true or false"),
    ],
)
def test_a_parameter_that_does_not_fit_says_what_would(
    values: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        manifest.pack_params(parsed(PARAMS), values, "p")
    assert words in str(caught.value)


@pytest.mark.parametrize("huge", [10**400, 16**5000, -(10**400)], ids=["a", "b", "c"])
@pytest.mark.parametrize("name", ["k", "wide", "mode", "on"])
def test_a_number_that_python_cannot_print_is_refused(name: str, huge: int) -> None:
    wide = '[[param]]\nname = "wide"\ntype = "f32"\ndefault = 1'
    with pytest.raises(ConfigError) as caught:
        manifest.pack_params(parsed(PARAMS + wide), {name: huge}, "p")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("kind", "limits", "words"),
    [
        ("i32", "default = 4e9\nmax = 1e12", "max: 1e+12 is not within"),
        ("i32", "default = 1\nmin = -1e12", "min: -1e+12 is not within"),
        ("i32", "default = 4000000000", "default: 4000000000 is not within"),
        ("f32", "default = 1e200\nmax = 1e300", "max: 1e+300 is not within"),
        ("f32", "default = 1e200", "default: 1e+200 is not within"),
        ("f32", "default = 1\nmax = nan", "max: nan is not within"),
        ("f32", "default = 1\nmax = inf", "max: inf is not within"),
        ("f32[2]", "default = [1, 1]\nmin = 3\nmax = 2", "min 3 is greater than max 2"),
    ],
)
def test_a_range_is_one_that_the_type_holds(kind: str, limits: str, words: str) -> None:
    with pytest.raises(ModuleError) as caught:
        parsed(f'[[param]]\nname = "m"\ntype = "{kind}"\n{limits}')
    assert words in str(caught.value)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_ends_of_a_type_are_packed(sign: int) -> None:
    ends = {
        "i32": 2**31 - 1 if sign > 0 else -(2**31),
        "f32": sign * struct.unpack("<f", b"\xff\xff\x7f\x7f")[0],
    }
    for kind, end in ends.items():
        read = parsed(f'[[param]]\nname = "m"\ntype = "{kind}"\ndefault = 0')
        packed = manifest.pack_params(read, {"m": end}, "p")
        assert struct.unpack("<i" if kind == "i32" else "<f", packed) == (end,)


@pytest.mark.parametrize(
    ("kind", "fields", "most"),
    [
        ("input", 'dtypes = ["u8"]\nshapes = [["n"]]', manifest.MAX_TENSORS - 1),
        ("output", 'dtypes = ["u8"]\nshapes = [["n"]]', manifest.MAX_TENSORS - 1),
        ("param", 'type = "i32"\ndefault = 0', manifest.MAX_PARAMS),
    ],
)
def test_a_manifest_has_no_more_parts_than_are_possible(kind: str, fields: str, most: int) -> None:
    parts = [f'[[{kind}]]\nname = "p{number}"\n{fields}\n' for number in range(most + 1)]
    parsed("".join(parts[:most]))
    with pytest.raises(ModuleError, match="are possible"):
        parsed("".join(parts))


def test_a_default_out_of_range_is_the_guests_mistake() -> None:
    with pytest.raises(ModuleError, match="parameter k"):
        parsed(PARAMS.replace("default = 5", "default = 50"))
    with pytest.raises(ModuleError, match="enum without choices"):
        parsed('[[param]]\nname = "m"\ntype = "enum"\ndefault = "x"')


def test_arrays_know_their_length() -> None:
    assert Param(name="a", type="f32[16]", default=[0.0] * 16).length == 16
    assert Param(name="a", type="i32", default=0).length == 1


@pytest.mark.parametrize(
    ("pattern", "shape", "names"),
    [
        (["H", "W", 3], (4, 5, 3), {"H": 4, "W": 5}),
        (["H", "W", 3], (4, 5, 1), None),
        (["H", "W", 3], (4, 5), None),
        (["n", "n"], (4, 4), {"n": 4}),
        (["n", "n"], (4, 5), None),
        ([1, "4+C", "N"], (1, 84, 8400), {"C": 80, "N": 8400}),
        ([1, "4+C", "N"], (1, 4, 8400), None),
        (["...", "K"], (2, 3, 7), {"K": 7}),
        (["...", "K"], (), None),
        (["n"], (0,), {"n": 0}),
    ],
)
def test_shapes_unify(
    pattern: list[int | str], shape: tuple[int, ...], names: dict[str, int] | None
) -> None:
    assert manifest.match_shape(pattern, shape, {}) == names


def test_a_later_input_decides_between_the_patterns_of_an_earlier_one() -> None:
    # Boxes of 256 anchors look like 4 anchors of 251 classes, until the scores are seen.
    boxes = [[1, "anchors", "5+classes"], [1, 4, "anchors"]]
    scores = [[1, "classes", "anchors"]]
    assert manifest.unify([(boxes, (1, 4, 256)), (scores, (1, 3, 256))]) == 2
    assert manifest.unify([(boxes, (1, 4, 256)), (scores, (1, 3, 255))]) == 1
    assert manifest.unify([(boxes, (1, 5, 5)), (scores, (1, 3, 256))]) == 0


def test_names_bound_before_hold() -> None:
    assert manifest.match_shape(["h"], (3,), {"h": 3}) == {"h": 3}
    assert manifest.match_shape(["h"], (3,), {"h": 4}) is None


def test_a_manifest_with_endless_choices_is_given_up() -> None:
    patterns = [[f"a{number}"] for number in range(20)]
    endless = [(patterns, (5,)) for _ in range(20)] + [([[1]], (2,))]
    assert manifest.unify(endless) == 20
