"""What all tests share: reproducible randomness, and which of them need a compiler."""

from __future__ import annotations

import os

import hypothesis
import pytest
import wasmtime

EMULATED = os.environ.get("SANDERLING_EMULATED", "")
"""The processor that tests/arm64/run.py emulates; empty on a machine of its own kind."""

# The same examples everywhere and every time. To look for others: HYPOTHESIS_PROFILE=explore;
# what it finds is printed so that it can be repeated.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None, print_blob=True)
hypothesis.settings.register_profile(
    "emulated", hypothesis.settings.get_profile("fixed"), max_examples=20
)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or ("emulated" if EMULATED else "fixed")
hypothesis.settings.load_profile(PROFILE)


def reserve_little() -> None:
    """Let a guest's memory reserve less addresses than 4 GiB with a guard.

    Debian's qemu (7.2) keeps a record of each page ever reserved: 24 MB and 30 ms an instance.
    """
    make = wasmtime.Engine.__init__

    def init(self: wasmtime.Engine, config: wasmtime.Config | None = None) -> None:
        # Where an engine lets memory move, as it does by default, a small one can grow.
        little = (256 if config else 4) << 20
        config = config or wasmtime.Config()
        config.memory_reservation = config.memory_reservation_for_growth = little
        config.memory_guard_size = 1 << 16
        make(self, config)

    wasmtime.Engine.__init__ = init


if EMULATED:
    reserve_little()


def pytest_report_header() -> str:
    """Where random numbers come from, and the processor when it is not this machine's."""
    processor = f"; emulated processor: {EMULATED}" if EMULATED else ""
    return f"hypothesis profile: {PROFILE}; other seeds are in the tests{processor}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what compiles a guest for the machine itself (guestkit's native backends)."""
    for item in items:
        params = getattr(item, "callspec", None)
        if params and str(params.params.get("backend", "")).startswith("native"):
            item.add_marker(pytest.mark.toolchain)
