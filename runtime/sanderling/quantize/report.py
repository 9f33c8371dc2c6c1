"""What quantize chose, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


def _pictures(number: int) -> str:
    return f"{number} picture{'s' * (number != 1)}"


class Progress(Protocol):
    """Told how far the work is; called from the thread that called `quantize`."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` steps of the stage are done."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One model of the closing table.

    Attributes:
        name: `float`, `u8s8` or `s8s8`.
        bytes: size of the file.
        median_ms: time of one run on this machine in milliseconds, 0 when not timed.
        agreement: for each output, 1 - rms(int8 - float) / rms(float - its mean) over the held-out
            pictures, at least 0; 1 for the float model.
        path: where it was written, None where it was measured only.
    """

    name: str
    bytes: int
    median_ms: float
    agreement: dict[str, float]
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What came out of `quantize`.

    Attributes:
        variants: the float model, then each flavour.
        notes: what was chosen and why, by subject; also in the metadata of the files written.
        calibrated: the names of the pictures that gave the ranges.
        held_out: the names of those that measured the agreement.
        unreadable: files that look like pictures and could not be read.
    """

    variants: tuple[Variant, ...]
    notes: dict[str, str]
    calibrated: tuple[str, ...]
    held_out: tuple[str, ...]
    unreadable: tuple[str, ...] = field(default=())

    def variant(self, name: str) -> Variant:
        """The variant of this name.

        Raises:
            KeyError: there is none.
        """
        return {variant.name: variant for variant in self.variants}[name]

    def table(self) -> str:
        """Float against int8 as lines of text: size, time, and agreement of each output."""
        outputs = list(self.variants[0].agreement)
        head = ["model", "size", "time", *outputs, "written to"]
        rows = [head]
        for item in self.variants:
            rows.append(
                [
                    item.name,
                    f"{item.bytes / 1e6:.2f} MB",
                    f"{item.median_ms:.2f} ms" if item.median_ms else "-",
                    *(f"{100 * item.agreement[name]:.1f}%" for name in outputs),
                    str(item.path or "-"),
                ]
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines.insert(1, "-" * max(map(len, lines)))
        lines.append(
            f"Time: median on this machine, the models in turn. {', '.join(outputs)}: agreement"
            f" with the float model on {_pictures(len(self.held_out))} held out"
            f" ({len(self.calibrated)} calibrated)."
        )
        return "\n".join(lines)
