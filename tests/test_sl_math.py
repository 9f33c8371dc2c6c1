"""sl_math.h: the exponential function against float64's, rounded."""

from __future__ import annotations

import numpy as np
import pytest

from guestkit import BACKENDS, run_guest, scratch_guest

TOML = """
name = "exponential"
version = "1.0.0"
summary = "e to the x, four at a time and one at a time."

[[input]]
name = "x"
dtypes = ["f32"]
shapes = [["n"]]

[[output]]
name = "lanes"
dtypes = ["f32"]
shapes = [["n"]]

[[output]]
name = "single"
dtypes = ["f32"]
shapes = [["n"]]

[limits]
memory_mb = 64
deadline_ms = 1000
"""

SOURCE = """
#include "sl_guest.h"
#include "sl_math.h"

SL_EXPORT(sl_setup) int32_t sl_setup(sl_addr address) {
    sl_call *call = sl_call_at(address);
    const uint32_t *dims = sl_input(call, 0)->dims;
    for (uint32_t i = 0; i < 2; i++) sl_declare(sl_output(call, i), SL_F32, 1, dims);
    return SL_OK;
}

SL_EXPORT(sl_run) int32_t sl_run(sl_addr address) {
    sl_call *call = sl_call_at(address);
    const float *x = sl_ptr(sl_input(call, 0)->data);
    float *lanes = sl_ptr(sl_output(call, 0)->data), *single = sl_ptr(sl_output(call, 1)->data);
    for (uint32_t i = 0; i < sl_input(call, 0)->dims[0]; i += 4) {
        sl_store(lanes + i, sl_exp_f32x4(sl_load(x + i)));
        for (uint32_t j = i; j < i + 4; j++) single[j] = sl_exp(x[j]);
    }
    return SL_OK;
}
"""


@pytest.fixture(autouse=True)
def _exponential(tmp_path_factory):
    with scratch_guest(tmp_path_factory.getbasetemp() / "math_guests", "exponential", TOML, SOURCE):
        yield


def exponential(x, backend):
    lanes, single = (out.data for out in run_guest("exponential", [x], backend=backend))
    np.testing.assert_array_equal(lanes, single)
    return lanes


def rounded(x):
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.exp(x.astype(np.float64)).astype(np.float32)


@pytest.mark.parametrize("backend", BACKENDS)
def test_within_one_ulp_of_the_rounded_value(backend):
    seed = 20
    rng = np.random.default_rng(seed)
    ranges = [
        (-87.3, 88.72),
        (-1, 1),
        (-1e-3, 1e-3),
        (-104, -87),
    ]  # the last one: subnormal results
    x = np.concatenate([rng.uniform(*limits, 40_000) for limits in ranges]).astype(np.float32)
    got, want = exponential(x, backend), rounded(x)
    apart = np.abs(got.view(np.int32).astype(np.int64) - want.view(np.int32))
    print(f"seed {seed}: differs in {np.mean(apart > 0):.2%}, by {apart.max()} ulp at most")
    assert apart.max() <= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_ends_and_what_is_no_number(backend):
    x = np.float32(
        [0, -0.0, np.inf, -np.inf, np.nan, 88.72, 88.73, 89, 3e38, -103.9, -104, -105, -3e38]
    )
    x = np.append(x, np.float32([1e-45, -1e-45, 1e-8]))
    np.testing.assert_array_equal(exponential(x, backend), rounded(x))
