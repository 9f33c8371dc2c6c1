"""What a process takes of its machine while it runs, and whether that stays level."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Vitals:
    """A process at one moment.

    Attributes:
        frames: that it had captured.
        seconds: since it began.
        resident: bytes that are in RAM.
        size: bytes of its address space.
        descriptors: that are open.
        threads: that it has.
    """

    frames: int
    seconds: float
    resident: int
    size: int
    descriptors: int
    threads: int


def read(frames: int, seconds: float) -> Vitals:
    """This process now."""
    size, resident = map(int, Path("/proc/self/statm").read_text().split()[:2])
    return Vitals(
        frames=frames,
        seconds=seconds,
        resident=resident * PAGE,
        size=size * PAGE,
        # The folder itself is open while it is listed.
        descriptors=len(os.listdir("/proc/self/fd")) - 1,
        threads=len(os.listdir("/proc/self/task")),
    )


def spread(values: Sequence[int]) -> float:
    """How far the highest is above the first, in per cent of it."""
    return 100 * (max(values) - values[0]) / values[0]


def faults(samples: Sequence[Vitals], flat: float, beside: int) -> list[str]:
    """What does not stay level, in words.

    Args:
        samples: from the end of the warm-up on.
        flat: per cent by which memory may rise above its first value.
        beside: threads, and descriptors, that may be there for a moment: a connection is opened in
            a thread of its own.
    """
    found = []
    for what, values in (
        ("resident memory", [one.resident for one in samples]),
        ("address space", [one.size for one in samples]),
    ):
        if (rise := spread(values)) > flat:
            found.append(
                f"{what} rose by {rise:.1f}% from {values[0] / 2**20:.1f} MiB;"
                f" {flat:g}% are allowed"
            )
    for what, values in (
        ("descriptors", [one.descriptors for one in samples]),
        ("threads", [one.threads for one in samples]),
    ):
        third = max(1, len(values) // 3)
        # What is there for a moment comes and goes: the least of each part tells a leak.
        if min(values[-third:]) > min(values[:third]) or max(values) > min(values) + beside:
            found.append(f"{what} went from {values[0]} to {values[-1]}, at most {max(values)}")
    return found


def draw(samples: Sequence[Vitals], warm: int, title: str, path: Path) -> None:
    """Draw them over the frames, with a line at the frame that ends the warm-up."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows: list[tuple[str, dict[str, list[float]]]] = [
        ("MiB", {"resident": [one.resident / 2**20 for one in samples]}),
        ("GiB", {"address space": [one.size / 2**30 for one in samples]}),
        (
            "number",
            {
                "descriptors": [one.descriptors for one in samples],
                "threads": [one.threads for one in samples],
            },
        ),
    ]
    figure, axes = plt.subplots(len(rows), 1, sharex=True, figsize=(9, 8), layout="constrained")
    for axis, (unit, curves) in zip(axes, rows, strict=True):
        for name, values in curves.items():
            axis.plot([one.frames for one in samples], values, label=name)
        axis.set_ylabel(unit)
        axis.set_ylim(0, 1.15 * max(max(values) for values in curves.values()))
        axis.axvline(warm, color="grey", linestyle=":")
        axis.legend(loc="lower right")
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("frames captured; dotted: the end of the warm-up")
    figure.suptitle(title)
    figure.savefig(path, dpi=100)
    plt.close(figure)
