"""Foreign text stays on its line and tells the terminal nothing."""

from __future__ import annotations

import pytest

from sanderling.text import printable


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("stage nms: 3 × 4, größer, 猫", "stage nms: 3 × 4, größer, 猫"),
        ("a\x1b[2Jb", "a?[2Jb"),
        ("a\nsanderling: all is well\r", "a?sanderling: all is well?"),
        ("a\x9b31mb\x7f", "a?31mb?"),
        ("gpj.\u202eexe", "gpj.?exe"),
        ("\udcff.jpg", "?.jpg"),
        (ValueError("a\tb"), "a?b"),
    ],
)
def test_what_a_terminal_would_act_upon_is_replaced(said: object, shown: str) -> None:
    assert printable(said) == shown
    printable(said).encode()
