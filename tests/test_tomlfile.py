"""TOML as we write it is what the standard library reads."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling import tomlfile

KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
PLAIN = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
)
VALUES = st.one_of(PLAIN, st.lists(PLAIN, max_size=4))
TABLES = st.recursive(
    st.dictionaries(KEYS, VALUES, max_size=4),
    lambda inner: st.dictionaries(
        KEYS, st.one_of(VALUES, inner, st.lists(inner, min_size=1, max_size=3)), max_size=4
    ),
    max_leaves=10,
)


@given(TABLES)
def test_what_is_written_is_read_back(table: dict[str, object]) -> None:
    assert tomllib.loads(tomlfile.dump(table)) == table


def test_it_reads_as_a_person_would_write_it() -> None:
    table = {
        "sizes": [1, 2],
        "limits": {"limit_c": 80.5, "sources": {"limit_c": 'a "page"'}},
        "evidence": {"candidate": [{"ms": 1}, {"ms": 2}]},
        "name": "x",
    }
    assert tomlfile.dump(table) == (
        'sizes = [1, 2]\nname = "x"\n\n[limits]\nlimit_c = 80.5\n\n[limits.sources]\n'
        'limit_c = "a \\"page\\""\n\n[evidence]\n\n[[evidence.candidate]]\nms = 1\n\n'
        "[[evidence.candidate]]\nms = 2\n"
    )


def test_half_a_character_becomes_a_question_mark() -> None:
    assert tomlfile.dump({"path": "a\udcff"}) == 'path = "a?"\n'


def test_what_toml_has_no_form_for_is_refused() -> None:
    with pytest.raises(TypeError, match="NoneType has no form"):
        tomlfile.dump({"x": None})
