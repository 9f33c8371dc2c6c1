"""Which tensor goes where."""

from __future__ import annotations

import pytest

from sanderling.errors import ConfigError
from sanderling.wiring import FRAME, Ends, Origin, wire

LETTERBOX = Ends("letterbox", (("frame", False),), ("image", "geometry"))
MODEL = Ends("model", (("input", False),), ("output0",))
DECODE = Ends("decode", (("output", False), ("class_scores", True)), ("boxes", "scores", "classes"))
NMS = Ends(
    "nms",
    (("boxes", False), ("scores", False), ("classes", False), ("points", True), ("geometry", True)),
    ("boxes", "scores", "classes", "points"),
)


def test_a_detector_wires_itself() -> None:
    found = wire([LETTERBOX, MODEL, DECODE, NMS], "p")
    assert found == [
        [Origin(FRAME, 0)],
        [Origin(0, 0)],
        [Origin(1, 0), None],
        [Origin(2, 0), Origin(2, 1), Origin(2, 2), None, Origin(0, 1)],
    ]


def test_names_win_over_order() -> None:
    model = Ends("model", (("input", False),), ("scale", "heatmap"))
    decode = Ends("decode", (("heatmap", False), ("scale", False)), ("boxes",))
    assert wire([LETTERBOX, model, decode], "p")[2] == [Origin(1, 1), Origin(1, 0)]


def test_the_nearest_of_two_of_one_name_is_taken() -> None:
    first = Ends("a", (("frame", False),), ("boxes",))
    second = Ends("b", (("boxes", False),), ("boxes",))
    third = Ends("c", (("boxes", False),), ("boxes",))
    assert wire([first, second, third], "p")[2] == [Origin(1, 0)]


def test_a_stage_of_notes_is_looked_through() -> None:
    gate = Ends("gate", (("image", False),), ("motion",), aside=frozenset({"motion"}))
    assert wire([LETTERBOX, gate, MODEL], "p")[1:] == [[Origin(0, 0)], [Origin(0, 0)]]
    assert wire([gate, LETTERBOX, MODEL], "p")[:2] == [[Origin(FRAME, 0)], [Origin(FRAME, 0)]]


def test_a_guest_may_take_the_frame_wherever_it_stands() -> None:
    crop = Ends("crop", (("frame", False), ("boxes", False)), (), from_frame=frozenset({"frame"}))
    assert wire([LETTERBOX, MODEL, DECODE, NMS, crop], "p")[4] == [Origin(FRAME, 0), Origin(3, 0)]
    named = Ends("crop", crop.inputs, (), {"frame": "image"}, from_frame=crop.from_frame)
    assert wire([LETTERBOX, MODEL, DECODE, NMS, named], "p")[4][0] == Origin(0, 0)


@pytest.mark.parametrize(
    ("wanted", "origin"),
    [("frame", Origin(FRAME, 0)), ("a.boxes", Origin(0, 0)), ("boxes", Origin(1, 0))],
)
def test_the_file_has_the_last_word(wanted: str, origin: Origin) -> None:
    first = Ends("a", (("frame", False),), ("boxes",))
    second = Ends("b", (("boxes", False),), ("boxes",))
    third = Ends("c", (("boxes", False),), ("x",), {"boxes": wanted})
    assert wire([first, second, third], "p")[2] == [origin]


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([Ends("a", (("x", False), ("y", False)), ("z",))], "'y' is not fed"),
        ([MODEL, NMS], "nothing before it makes its input scores; model makes output0"),
        ([MODEL, Ends("d", (("x", False),), (), {"x": "nope"})], "there is: frame, model.output0"),
        ([MODEL, Ends("d", (("x", False),), (), {"q": "frame"})], "has no input 'q'; it has: x"),
    ],
)
def test_what_is_not_fed_is_named(stages: list[Ends], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        wire(stages, "p.toml")
    assert words in str(caught.value)
    assert str(caught.value).startswith("p.toml: stage ")
