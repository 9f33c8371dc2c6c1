"""The processor: what it is, what it can, and how much of it this process may use."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass

from sanderling.board.files import Files, whole

_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd40": "Neoverse-V1",
    "0xd0c": "Neoverse-N1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd4d": "Cortex-A715",
    "0xd80": "Cortex-A520",
    "0xd81": "Cortex-A720",
}
"""Arm's part numbers, from its Technical Reference Manuals (MIDR_EL1)."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processor.

    Attributes:
        arch: `aarch64`, `arm`, `x86_64`, `x86`; empty when the board does not say.
        bits: of the programs here: 32 or 64; 0 when not known.
        names: model names and Arm part numbers of its cores, each once.
        model: the cores, for people.
        cores: cores that are there.
        usable: cores that this process may use, by affinity and control group; at least 1.
        features: what all cores can, as in `/proc/cpuinfo`.
        mhz: clock now, in MHz, of the fastest core; 0 when not known.
        mhz_max: highest clock, in MHz; 0 when not known.
        governor: what sets the clock, such as `ondemand`; empty when not known.
        driver: what carries that out, such as `intel_pstate`; empty when not known.
    """

    arch: str
    bits: int
    names: tuple[str, ...]
    model: str
    cores: int
    usable: int
    features: frozenset[str]
    mhz: int
    mhz_max: int
    governor: str
    driver: str

    @property
    def has_int8(self) -> bool | None:
        """Whether it multiplies bytes faster than floats; None when the board does not say."""
        if self.arch in ("aarch64", "arm"):
            return bool(self.features & {"asimddp", "i8mm"}) if self.features else None
        if self.arch in ("x86_64", "x86"):
            return bool(self.features & {"avx2", "avx512_vnni", "avx_vnni"})
        return None


def read(files: Files) -> Cpu:
    """The processor of this board."""
    blocks = _blocks(files.text("proc/cpuinfo"))
    said = [
        frozenset((block.get("Features") or block.get("flags", "")).split()) for block in blocks
    ]
    said = [features for features in said if features]
    features = frozenset.intersection(*said) if said else frozenset()
    names = _names(blocks)
    online = _listed(files.text("sys/devices/system/cpu/online")) or len(blocks) or 1
    policy = _fastest(files)
    return Cpu(
        arch=_arch(files, features),
        bits=_bits(files),
        names=names,
        model=_model(blocks, names),
        cores=online,
        usable=_usable(files, online),
        features=features,
        mhz=_mhz(files, policy, "scaling_cur_freq"),
        mhz_max=_mhz(files, policy, "cpuinfo_max_freq"),
        governor=files.text(f"{policy}/scaling_governor"),
        driver=files.text(f"{policy}/scaling_driver"),
    )


def _blocks(text: str) -> list[dict[str, str]]:
    """What `/proc/cpuinfo` says of each core. Behind the last one, some kernels add the board."""
    blocks = []
    for part in text.split("\n\n"):
        pairs = (line.partition(":") for line in part.splitlines())
        block = {key.strip(): value.strip() for key, colon, value in pairs if colon}
        if "processor" in block:
            blocks.append(block)
    return blocks


def _names(blocks: list[dict[str, str]]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for block in blocks:
        name = block.get("CPU part", "").lower() or block.get("model name", "")
        if name:
            found.setdefault(name)
    return tuple(found)


def _model(blocks: list[dict[str, str]], names: tuple[str, ...]) -> str:
    counts = {
        name: sum(
            name in (block.get("CPU part", "").lower(), block.get("model name")) for block in blocks
        )
        for name in names
    }
    return " and ".join(f"{count} x {_PARTS.get(name, name)}" for name, count in counts.items())


def _arch(files: Files, features: frozenset[str]) -> str:
    if files.real:
        machine = os.uname().machine
        return {"i686": "x86", "i386": "x86"}.get(
            machine, "arm" if machine[:4] == "armv" else machine
        )
    if features & {"asimd", "fp"} and "fpu" not in features:
        return "aarch64"
    if features & {"neon", "vfpv3", "vfpv4", "half"}:
        return "arm"
    if "fpu" in features:
        return "x86_64" if "lm" in features else "x86"
    return ""


def _bits(files: Files) -> int:
    """Of 32 or 64 bits: this process, or a program of the recording; 0 when not known."""
    if files.real:
        return 64 if sys.maxsize > 2**32 else 32
    for place in ("usr/bin/env", "bin/sh"):
        head = files.data(place)[:5]
        if head[:4] == b"\x7fELF":
            return {1: 32, 2: 64}.get(head[4] if len(head) > 4 else 0, 0)
    return 0


def _listed(text: str) -> int:
    """How many numbers a list such as `0-3,8` holds; 0 when it is none."""
    count = 0
    for part in text.split(","):
        first, dash, last = part.partition("-")
        low = whole(first)
        high = whole(last) if dash else low
        if low is None or high is None or not 0 <= low <= high < 1 << 16:
            return 0
        count += high - low + 1
    return count


def _usable(files: Files, online: int) -> int:
    """The cores of the affinity mask, or fewer where a control group gives less time than that."""
    allowed = _listed(files.fields("proc/self/status").get("Cpus_allowed_list", ""))
    usable = min(allowed or online, online)
    for group in groups(files):
        quota, _, period = files.text(f"{group}/cpu.max").partition(" ")
        most, each = whole(quota), whole(period)
        if most and each and most > 0 and each > 0:
            usable = min(usable, math.floor(most / each))
    return max(1, usable)


def groups(files: Files) -> list[str]:
    """The folders of this process's control group (version 2) and of those above it."""
    lines = files.text("proc/self/cgroup").splitlines()
    own = next((line[3:].strip("/") for line in lines if line.startswith("0::")), "")
    parts = [part for part in own.split("/") if part and part != ".."][:32]
    base = "sys/fs/cgroup"
    return ["/".join([base, *parts[:length]]) for length in range(len(parts), -1, -1)]


def _fastest(files: Files) -> str:
    """The folder of the fastest cores' clock."""
    places = [*files.glob("sys/devices/system/cpu/cpufreq/policy*")]
    places += files.glob("sys/devices/system/cpu/cpu0/cpufreq")
    best = max(
        places, key=lambda place: files.number(place / "cpuinfo_max_freq") or 0, default=None
    )
    return str(best) if best is not None else "sys/devices/system/cpu/cpu0/cpufreq"


def _mhz(files: Files, policy: str, what: str) -> int:
    """A clock in MHz; the kernel gives kHz."""
    khz = files.number(f"{policy}/{what}") or 0
    return khz // 1000 if 0 < khz < 100_000_000 else 0
