"""Variants of a model, told by their names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling import variants
from sanderling.variants import Variant

FACES = [
    *("faces", "faces-float", "faces-int8", "faces-s8s8", "faces-int8-320x240"),
    *("faces-int8-160x120", "faces-float-320x240", "faces-int8-large", "digits-int8"),
]


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("faces", ("faces",)),
        ("faces-int8", ("faces", "int8")),
        ("faces-u8s8-320x240", ("faces", "int8", "u8s8", (320, 240))),
        ("faces-int8-s8s8", ("faces", "int8", "s8s8")),
        ("faces-int8-320x240-s8s8", ("faces", "int8", "s8s8", (320, 240))),
        ("yolo-11n-640x640", ("yolo-11n", "", "", (640, 640))),
        ("faces-int8-large", ("faces-int8-large",)),
        ("int8", ("int8",)),
        ("-int8", ("-int8",)),
        ("a-int8-float", ("a-int8", "float")),
        ("a-1x2x3", ("a-1x2x3",)),
        ("faces-320x123456", ("faces-320x123456",)),
        ("", ("",)),
        ("a\nb-int8", ("a\nb", "int8")),
    ],
)
def test_a_name_says_what_the_model_is(name: str, rest: tuple[Any, ...]) -> None:
    assert variants.parse(name) == Variant(name, *rest)


def test_siblings_share_the_name_and_begin_with_the_model_itself() -> None:
    found = [variant.name for variant in variants.siblings("faces-int8", FACES)]
    assert found == ["faces-int8", "faces", "faces-float", "faces-float-320x240",
                     "faces-int8-160x120", "faces-int8-320x240", "faces-s8s8"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("faces-int8", "faces-int8-320x240"),
        ("faces-int8-320x240", "faces-int8-160x120"),
        ("faces-int8-160x120", None),
        ("faces-float", "faces-float-320x240"),
        ("faces-s8s8", "faces-int8-320x240"),
        ("digits-int8", None),
    ],
)
def test_the_smaller_variant_is_the_next_smaller_of_its_kind(name: str, found: str | None) -> None:
    assert variants.smaller(name, FACES) == found


def test_of_two_smaller_ones_that_of_the_same_flavour_is_taken() -> None:
    names = ["a-int8-320x240", "a-int8-320x240-s8s8", "a-u8s8-320x240"]
    assert variants.smaller("a-s8s8", names) == "a-int8-320x240-s8s8"
    assert variants.smaller("a-u8s8", names) == "a-u8s8-320x240"
    assert variants.smaller("a-int8", names) == "a-int8-320x240"


@given(st.text(max_size=40), st.lists(st.text(max_size=20), max_size=5))
def test_any_name_is_a_sibling_of_itself(name: str, names: list[str]) -> None:
    assert variants.siblings(name, names)[0].name == name
    assert variants.smaller(name, names) != name
