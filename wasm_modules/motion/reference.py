"""What motion computes, in whole numbers: the reference that its tests compare it with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

FIRST_FRAMES = 8
FRAME_NS = 33_333_333
SECOND_NS = 10**9
DAY_NS = 86_400 * SECOND_NS


@dataclass(frozen=True, kw_only=True)
class Params:
    """The guest's parameters, with the defaults of its manifest."""

    cell: int = 16
    area: float = 0.002
    threshold: float = 6.0
    adapt: float = 4.0
    hold_ms: int = 1000
    refresh_ms: int = 10_000


def cell_ends(pixels: int, cell: int) -> list[int]:
    """Where the cells of an axis end: the last takes what is left over."""
    count = max(1, pixels // cell)
    return [*range(cell, cell * count, cell), pixels]


def means(picture: Bytes, cell: int) -> Ints:
    """The mean luma of each cell of a picture `[H, W, C]` in BGR or grey, times 256."""
    weights = [3735, 19235, 9798] if picture.shape[2] == 3 else [1 << 15]
    weighted = picture.astype(np.int64) @ np.array(weights)
    rows = []
    top = 0
    for bottom in cell_ends(picture.shape[0], cell):
        row = []
        left = 0
        for right in cell_ends(picture.shape[1], cell):
            part = weighted[top:bottom, left:right]
            row.append((int(part.sum()) + (part.size << 6)) // (part.size << 7))
            left = right
        rows.append(row)
        top = bottom
    return np.array(rows)


@dataclass
class Motion:
    """One camera's frames in turn."""

    params: Params
    background: Ints = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    noise: Ints = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    size: tuple[int, ...] = ()
    last_ns: int = 0

    def reset(self) -> None:
        """Forget the frames before."""
        self.size = ()

    def _begin(self, picture: Bytes, luma: Ints, captured_ns: int) -> None:
        self.size = picture.shape[:2]
        self.background, self.noise = luma.copy(), np.zeros_like(luma)
        self.frames, self.rest = 0, 0
        self.moved_ns, self.passed_ns = DAY_NS, 0
        self.last_ns = captured_ns

    def frame(self, picture: Bytes, captured_ns: int) -> tuple[bool, np.float32, Bytes]:
        """Whether a frame `[H, W, C]` is passed on, the share that changed, and where."""
        luma = means(picture, self.params.cell)
        changed = np.zeros(luma.shape, np.uint8)
        gone = 0
        if self.size != picture.shape[:2]:
            self._begin(picture, luma, captured_ns)
        else:
            gone = min(captured_ns - self.last_ns, DAY_NS)
            gone = gone if gone > 0 else FRAME_NS
            self.last_ns = captured_ns
            changed = self._compare(luma, gone)
        share = np.float32(changed.sum()) / np.float32(changed.size)
        moving = bool(share > np.float32(self.params.area))
        self.moved_ns = 0 if moving else min(self.moved_ns + gone, DAY_NS)
        self.passed_ns = min(self.passed_ns + gone, DAY_NS)
        refresh = self.params.refresh_ms * 10**6
        passed = (
            moving
            or self.frames < FIRST_FRAMES
            or self.moved_ns < self.params.hold_ms * 10**6
            or (refresh > 0 and self.passed_ns >= refresh)
        )
        self.frames += 1
        if passed:
            self.passed_ns = 0
        return passed, share, changed

    def _compare(self, luma: Ints, gone: int) -> Bytes:
        way = int(np.float32(self.params.adapt) * 256) * min(gone, SECOND_NS) + self.rest
        step, self.rest = divmod(way, SECOND_NS)
        difference = luma - self.background
        light = np.sort(difference, axis=None)[(difference.size - 1) // 2]
        apart = np.abs(difference - light)
        changed = apart > np.maximum(self.noise, int(np.float32(self.params.threshold) * 256))
        before = np.clip(self.background + light, 0, 255 << 8)
        self.background = np.clip(luma, before - step, before + step)
        noise = np.clip(np.clip(4 * apart, self.noise - step, self.noise + step), 0, 16 << 8)
        self.noise = np.where(apart == 0, self.noise, noise)
        return changed.astype(np.uint8)
