"""Programs of the system that a test needs, by the Debian packages that bring them.

    gcc = system.require("gcc", "gcc libc6-dev")

A developer's machine may lack one: the test is skipped, with the command that installs it. CI may
not (the environment has `CI=true`): a test that never runs there proves nothing. Under emulation
(tests/arm64) there are none: they would be the host's.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def require(command: str, package: str) -> str:
    """The path of a program; skips the test where there is none, or fails it when CI=true.

    Args:
        command: as it would be typed.
        package: what to install, one or more Debian packages.
    """
    return shutil.which(command) or lacking(f"this needs {command}: apt-get install {package}")


def lacking(hint: str) -> NoReturn:
    """Skip the test for want of something, or fail it when CI=true.

    Args:
        hint: what is missing and how to get it.
    """
    if os.environ.get("CI") == "true" and not os.environ.get("SANDERLING_EMULATED"):
        pytest.fail(hint)
    pytest.skip(hint)
