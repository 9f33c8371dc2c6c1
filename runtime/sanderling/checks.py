"""What is wrong with a board, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from sanderling.board import Board, Reading
from sanderling.profile import Bounds, Profile
from sanderling.text import printable

OLDEST_KERNEL = (3, 17)
"""The first with memory files that can be sealed; timer descriptors are older."""
_LITTLE_MB = 160
_VERY_LITTLE_MB = 80
"""The faces example takes 128 MiB on x86-64, of which libraries that others use too are a third."""
_SWAP_MB = 16
_OWN_GOVERNOR = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")
"""Drivers whose `powersave` means "as fast as needed"."""
_LEAST_MHZ = 0.75

State = Literal["ok", "warning", "problem", "unknown"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        state: how it is; `unknown` where the board does not say.
        found: what was found, for people.
        remedy: what to do; empty when there is nothing to do.
    """

    name: str
    state: State
    found: str
    remedy: str = ""


def check(
    board: Board, profile: Profile, bounds: Bounds, packages: Mapping[str, str | None]
) -> list[Check]:
    """Look at everything that makes pipelines slow, or keeps them from running.

    Args:
        board: the board.
        profile: its profile.
        bounds: what the profile allows on it.
        packages: the version of each library that is needed, None where it is missing; empty when
            the board is a recording.
    """
    return [
        _system(board),
        _kernel(board),
        _profile(bounds),
        _int8(board, profile),
        *_power(board.reading),
        _heat(board.reading, bounds),
        _clock_rate(board),
        _memory(board),
        _swap(board),
        _clock(board),
        *_cameras(board),
        *_packages(packages),
    ]


def _system(board: Board) -> Check:
    bits, arch = board.cpu.bits, board.cpu.arch
    if not bits and not arch:
        return Check("system", "unknown", "the board does not say")
    if bits == 32 or (not bits and arch in ("arm", "x86")):
        return Check(
            "system",
            "problem",
            f"32 bits ({arch or 'unknown processor'})",
            "install the 64-bit edition of the system: guests and models need it",
        )
    if arch not in ("aarch64", "x86_64", ""):
        return Check("system", "problem", arch, "use a board with aarch64 or x86_64")
    return Check("system", "ok", f"{bits or 64} bits, {arch or 'unknown processor'}")


def _kernel(board: Board) -> Check:
    match = re.match(r"(\d{1,4})\.(\d{1,4})", board.kernel)
    if match is None:
        return Check("kernel", "unknown", board.kernel or "the board does not say")
    if (int(match[1]), int(match[2])) < OLDEST_KERNEL:
        least = ".".join(map(str, OLDEST_KERNEL))
        return Check("kernel", "problem", board.kernel, f"upgrade to Linux {least} or later")
    return Check("kernel", "ok", board.kernel)


def _profile(bounds: Bounds) -> Check:
    if bounds.warnings:
        return Check(
            "limits",
            "warning",
            "; ".join(bounds.warnings),
            "lower the limits in the profile, or use the profile of this board",
        )
    memory = f"{bounds.memory_mb} MiB" if bounds.memory_mb else "memory without a limit"
    threads = "1 thread" if bounds.threads == 1 else f"{bounds.threads} threads"
    size = f", frames up to {bounds.megapixels:g} megapixels" if bounds.megapixels else ""
    return Check("limits", "ok", f"{threads}, {memory}{size}, less from {bounds.limit_c:g} °C on")


def _int8(board: Board, profile: Profile) -> Check:
    cpu = board.cpu
    missing = [name for name in profile.board.features if name not in cpu.features]
    if cpu.has_int8 is None:
        return Check("int8", "unknown", "the processor's features are not known")
    if missing and cpu.features:
        return Check(
            "int8",
            "warning",
            f"{cpu.model}: {', '.join(missing)} missing, which this board has",
            "update the kernel; an emulator or virtual machine may hide it",
        )
    if cpu.has_int8:
        known = ("i8mm", "asimddp", "avx512_vnni", "avx_vnni", "avx2")
        return Check("int8", "ok", ", ".join(name for name in known if name in cpu.features))
    return Check(
        "int8",
        "warning",
        f"{cpu.model}: no {'AVX2' if cpu.arch.startswith('x86') else 'dot-product instructions'}",
        "int8 saves memory here, and little or no time: measure float against it with"
        " `sanderling tune`, or take the model with the smaller input",
    )


_SUPPLY = "use the board's own power supply and a short cable, and power USB devices separately"
_COOL = "cool it: a heat sink, a fan, more air around the case"


def _power(reading: Reading) -> Iterator[Check]:
    power = reading.power
    if power is None:
        return
    if power.under_voltage:
        yield Check("power", "problem", "under-voltage now", _SUPPLY)
    elif power.was_under_voltage:
        yield Check("power", "warning", "under-voltage since the board started", _SUPPLY)
    else:
        yield Check("power", "ok", "no under-voltage since the board started")
    remedy = _SUPPLY if power.under_voltage else _COOL
    if power.throttled:
        yield Check("throttling", "problem", "throttled now", remedy)
    elif power.was_throttled:
        yield Check("throttling", "warning", "throttled since the board started", remedy)
    else:
        yield Check("throttling", "ok", "not throttled since the board started")


def _heat(reading: Reading, bounds: Bounds) -> Check:
    if reading.celsius is None:
        return Check(
            "temperature", "unknown", "no sensor that makes sense: nobody watches the heat"
        )
    found = f"{reading.celsius:.1f} °C"
    if reading.celsius >= bounds.limit_c:
        found += f", at or above the limit of {bounds.limit_c:g} °C: the daemon does less"
        return Check("temperature", "problem", found, _COOL)
    if reading.celsius > bounds.resume_c:
        return Check(
            "temperature", "warning", f"{found}, close to the limit of {bounds.limit_c:g} °C", _COOL
        )
    return Check("temperature", "ok", found)


def _clock_rate(board: Board) -> Check:
    cpu = board.cpu
    if not cpu.governor:
        return Check("clock rate", "unknown", "the board does not say")
    found = f"{cpu.mhz} of {cpu.mhz_max} MHz, governor {cpu.governor}"
    if cpu.governor == "powersave" and cpu.driver not in _OWN_GOVERNOR:
        return Check(
            "clock rate",
            "warning",
            f"{found}: always the lowest",
            "choose another, until the next boot: echo schedutil | sudo tee"
            " /sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
        )
    return Check("clock rate", "ok", found)


def _memory(board: Board) -> Check:
    memory = board.reading.memory
    if not memory.total:
        return Check("memory", "unknown", "the board does not say")
    available = memory.available >> 20
    found = f"{available} of {memory.total >> 20} MiB available"
    remedy = "stop other programs, run without a desktop, or take the smaller model"
    if available < _VERY_LITTLE_MB:
        return Check("memory", "problem", found, remedy)
    if available < _LITTLE_MB:
        return Check("memory", "warning", found, remedy)
    return Check("memory", "ok", found)


def _swap(board: Board) -> Check:
    used = board.reading.memory.swap_used >> 20
    if used >= _SWAP_MB:
        return Check(
            "swap",
            "warning",
            f"{used} MiB in use",
            "free memory: a model that is swapped out stalls frames, and swap wears out SD cards",
        )
    return Check("swap", "ok", f"{used} MiB in use" if used else "not in use")


def _clock(board: Board) -> Check:
    if board.clock_set is None:
        return Check("clock", "unknown", "the board does not say")
    if board.clock_set:
        return Check("clock", "ok", "synchronised")
    return Check(
        "clock",
        "warning",
        "not synchronised",
        "set up time synchronisation (timedatectl set-ntp true), or times in results may be wrong;"
        " in a container or a virtual machine look at its host's clock",
    )


def _cameras(board: Board) -> Iterator[Check]:
    if not board.cameras:
        yield Check("camera", "ok", "no /dev/video* here; streams and files need none")
        return
    denied = [camera for camera in board.cameras if not camera.readable]
    for camera in denied:
        yield Check(
            "camera",
            "problem",
            f"{camera.device} ({camera.name or 'no name'}) may not be opened",
            "add the user to the group video (sudo usermod -aG video $USER) and log in again",
        )
    if not denied:
        names = [f"{camera.device} ({camera.name or 'no name'})" for camera in board.cameras]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield Check("camera", "ok", ", ".join(names[:3]) + more)


def _packages(packages: Mapping[str, str | None]) -> Iterator[Check]:
    for name, version in packages.items():
        if version is None:
            yield Check(
                "library",
                "problem",
                f"{name} is missing",
                "install sanderling again: it brings all it needs",
            )
    there = [f"{name} {version}" for name, version in packages.items() if version is not None]
    if there:
        yield Check("library", "ok", ", ".join(there))


def plain(checks: list[Check]) -> list[dict[str, str]]:
    """The checks as tables of text, for JSON."""
    return [
        {
            "name": item.name,
            "state": item.state,
            "found": printable(item.found),
            "remedy": item.remedy,
        }
        for item in checks
    ]
