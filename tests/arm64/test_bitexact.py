"""The shipped models and pipelines give the same bits on every processor.

`make test-arm64` names x86-64's outputs in SANDERLING_EXPECTED. Without it the comparison is with a
second run here: at least nothing depends on chance.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from arm64 import outputs


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    path = os.environ.get("SANDERLING_EXPECTED")
    if path is None:
        return outputs.compute()
    with np.load(path) as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def found() -> dict[str, np.ndarray]:
    return outputs.compute()


def test_there_is_something_to_compare(expected, found):
    assert len(outputs.MODELS) == 3
    assert found.keys() == expected.keys()
    names = {key.split("/")[0] for key in found}
    assert names == {path.stem for path in outputs.MODELS} | {"faces.toml", "digits.toml"}
    assert len(found["faces.toml/astronaut/boxes"]) == 1


def test_integers_are_equal_bit_for_bit(expected, found):
    whole = [key for key in expected if expected[key].dtype.kind in "iub"]
    assert any(key.startswith("centerface-int8/") for key in whole)
    for key in whole:
        assert found[key].dtype == expected[key].dtype, key
        np.testing.assert_array_equal(found[key], expected[key], err_msg=key)


def test_pipelines_of_integers_end_in_the_same_bits(expected, found):
    # Guests are WebAssembly, whose arithmetic is fixed to the bit, floats included.
    for key in expected:
        if key.startswith("faces.toml/"):
            assert found[key].tobytes() == expected[key].tobytes(), key


def test_floats_are_close(expected, found):
    # Those of onnxruntime, which adds in another order on another processor.
    for key in expected:
        if expected[key].dtype.kind == "f":
            np.testing.assert_allclose(found[key], expected[key], rtol=1e-3, atol=1e-3, err_msg=key)
