"""The kit that the guests' tests stand on finds the faults it promises to find."""

from __future__ import annotations

import numpy as np
import pytest

import guestmachine
from guestkit import (
    BACKENDS,
    GuestFault,
    GuestStatus,
    QTensor,
    open_guest,
    run_frames,
    run_guest,
    scratch_guest,
)

TOML = """
name = "probe"
version = "1.0.0"
summary = "Double the input, or do what is wrong."

[[input]]
name = "x"
dtypes = ["f32"]
shapes = [["n"], ["h", "w", 1]]

[[input]]
name = "extra"
dtypes = ["f32"]
shapes = [["n"]]
optional = true

[[output]]
name = "y"
dtypes = ["f32"]
shapes = [["n"]]

[[output]]
name = "z"
dtypes = ["f32"]
shapes = [["n"]]
optional = true

[[param]]
name = "fault"
type = "enum"
default = "none"
choices = ["none", "setup", "run", "read", "write", "far", "overflow", "scribble", "grow", "move",
  "large", "trap"]

[limits]
memory_mb = 4
deadline_ms = 100
"""


SOURCE = """
#include "sl_guest.h"
enum { NONE, SETUP, RUN, READ, WRITE, FAR, OVERFLOW, SCRIBBLE, GROW, MOVE, LARGE, TRAP };
static int calls;

SL_EXPORT(sl_setup) int32_t sl_setup(sl_addr address) {
    sl_call *call = sl_call_at(address);
    const int32_t *fault = sl_params(call, 4);
    if (!fault) return sl_fail(SL_E_ARGUMENT, "params");
    if (*fault == SETUP) return sl_fail(SL_E_ARGUMENT, "no good");
    const sl_tensor *x = sl_input(call, 0);
    sl_declare(sl_output(call, 0), SL_F32, 1, x->dims);
    if (sl_connected(sl_input(call, 1))) sl_declare(sl_output(call, 1), SL_F32, 1, x->dims);
    return SL_OK;
}

SL_EXPORT(sl_run) int32_t sl_run(sl_addr address) {
    sl_call *call = sl_call_at(address);
    int32_t fault = *(const int32_t *)sl_params(call, 4);
    sl_tensor *x = sl_input(call, 0), *y = sl_output(call, 0), *z = sl_output(call, 1);
    float *from = sl_ptr(x->data), *to = sl_ptr(y->data);
    uint32_t n = x->dims[0];
    calls++;
    y->dims[0] = n;
    for (uint32_t i = 0; i < n; i++) to[i] = 2 * from[i];
    if (sl_connected(z)) {
        z->dims[0] = n;
        for (uint32_t i = 0; i < n; i++) ((float *)sl_ptr(z->data))[i] = (float)calls;
    }
    volatile float *out = to, *in = from;
    volatile int32_t large = INT32_MAX;
    switch (fault) {
    case RUN: return sl_fail(7, "seven");
    case READ: to[0] = in[n]; break;
    case WRITE: out[n] = 1; break;
    case FAR: out[1 << 20] = 1; break;
    case OVERFLOW: to[0] = (float)(large + (int32_t)n); break;
    case SCRIBBLE: from[0] = 5; break;
    case GROW: return sl_alloc(3 << 20) ? SL_OK : sl_fail(SL_E_MEMORY, "cannot grow");
    case MOVE: y->data += 4; break;
    case LARGE: y->dims[0] = n + 1; break;
    case TRAP: __builtin_trap();
    }
    return SL_OK;
}
"""


@pytest.fixture(autouse=True)
def _probe(tmp_path_factory):
    with scratch_guest(tmp_path_factory.getbasetemp() / "kit_guests", "probe", TOML, SOURCE):
        yield


X = np.arange(5, dtype=np.float32)


@pytest.mark.parametrize("backend", [*BACKENDS, "native-O3"])
def test_outputs_come_back_and_absent_ones_do_not(backend):
    y, z = run_guest("probe", [X], backend=backend)
    np.testing.assert_array_equal(y.data, 2 * X)
    assert z is None
    _, z = run_guest("probe", [X, X], backend=backend)
    np.testing.assert_array_equal(z.data, np.ones(5))


@pytest.mark.parametrize("backend", BACKENDS)
def test_frames_share_an_instance_and_cases_do_not(backend):
    for _ in range(2):
        first, second, third = run_frames(
            "probe", [[X, X], [X[:0], X], [X[:3], X]], backend=backend
        )
        assert [out[0].data.shape for out in (first, second, third)] == [(5,), (0,), (3,)]
        np.testing.assert_array_equal(third[1].data, [3, 3, 3])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("fault", "call", "code", "message"),
    [
        ("setup", "sl_setup", -1, "no good"),
        ("run", "sl_run", 7, "seven"),
        ("grow", "sl_run", -2, "cannot grow"),
    ],
)
def test_a_status_carries_call_code_and_message(backend, fault, call, code, message):
    with pytest.raises(GuestStatus) as caught:
        run_guest("probe", [X], {"fault": fault}, backend=backend)
    assert (caught.value.call, caught.value.code) == (call, code)
    assert caught.value.message == message


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("scribble", "wrote to its input x"),
        ("move", "moved"),
        ("large", "does not fit its buffer"),
    ],
)
def test_a_broken_rule_is_a_fault(backend, fault, message):
    with pytest.raises(GuestFault, match=message):
        run_guest("probe", [X], {"fault": fault}, backend=backend)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("read", "AddressSanitizer: use-after-poison"),
        ("write", "AddressSanitizer: use-after-poison"),
        ("far", "AddressSanitizer: SEGV"),
        ("overflow", "runtime error: signed integer overflow"),
        ("trap", "wait status"),
    ],
)
def test_a_sanitizer_report_is_a_fault_and_the_next_case_runs(fault, message):
    with pytest.raises(GuestFault, match=message):
        run_guest("probe", [X], {"fault": fault}, backend="native")
    y, _ = run_guest("probe", [X], backend="native")
    np.testing.assert_array_equal(y.data, 2 * X)


def test_a_trap_in_wasm_is_a_fault():
    with pytest.raises(GuestFault, match="unreachable"):
        run_guest("probe", [X], {"fault": "trap"}, backend="wasm")


@pytest.mark.parametrize("backend", BACKENDS)
def test_raw_params_reach_the_guest(backend):
    with pytest.raises(GuestStatus, match="params"):
        run_guest("probe", [X], b"12345678", backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_time_is_taken(backend):
    with open_guest("probe", backend=backend) as guest:
        guest.setup([X])
        guest.run([X])
        assert guest.time_ns(3) > 0


def test_padded_rows_hold_rubbish_between_them():
    picture = QTensor(np.arange(6, dtype=np.uint8).reshape(2, 3, 1), row_stride=5)
    assert picture.stored() == b"\0\1\2\xa5\xa5\3\4\5\xa5\xa5"


def test_real_values_follow_scale_and_zero_point():
    np.testing.assert_array_equal(QTensor(np.array([1, 3], np.uint8), 0.5, 1).real(), [0, 1])
    np.testing.assert_array_equal(QTensor(np.array([1, 3], np.uint8)).real(), [1, 3])


def test_without_a_compiler_the_native_backend_is_skipped_except_in_ci(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install gcc"):
        guestmachine.native_path("probe", "native")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install gcc"):
        guestmachine.native_path("probe", "native")
