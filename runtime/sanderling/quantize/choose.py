"""Choices that are made by trying: which ranges, and what stays float behind the last convolution.

All are tried with uint8 activations and judged by the outputs on held-out pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from sanderling.metadata import Quantization
from sanderling.quantize import joined, measure, qdq
from sanderling.quantize.statistics import CLIPPED, Ranges, Statistics
from sanderling.quantize.strip import strip

Real = NDArray[np.float32]
Candidate = tuple[onnx.ModelProto, dict[str, Quantization]]

LEAST_GAIN = 0.25  # a float tail must take this share of the error away,
LEAST_ERROR = 0.01  # and errors below this are not worth one


@dataclass(frozen=True, slots=True)
class Plan:
    """How to quantize.

    Attributes:
        ranges: of each tensor.
        stay_float: names of nodes.
        notes: what was chosen and why, by subject.
    """

    ranges: Ranges
    stay_float: frozenset[str] = frozenset()
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A prepared float model with what is needed to quantize it and to judge the result.

    Attributes:
        path: the model's, for messages.
        model: with shapes inferred.
        given: how its input is quantized.
        seen: on the calibration pictures.
        held_out: gives the held-out pictures as float inputs, anew at each call.
        wanted: the float model's outputs for them.
        keep_nodes: whether the outer nodes stay.
    """

    path: Path
    model: onnx.ModelProto
    given: qdq.InputRange
    seen: Statistics
    held_out: Callable[[], Iterable[Real]]
    wanted: list[dict[str, measure.Array]]
    keep_nodes: bool
    reduce_range: bool

    def quantize(self, plan: Plan, flavour: str = "u8s8") -> Candidate:
        """The model of one flavour, and scale and zero point of what is stored quantized.

        Raises:
            ModelError: it cannot be quantized.
        """
        model = qdq.to_qdq(
            self.model,
            plan.ranges,
            self.given,
            signed=flavour == "s8s8",
            reduce_range=self.reduce_range,
            stay_float=plan.stay_float,
            path=self.path,
        )
        qdq.correct_biases(model, self.model, self.seen)
        return model, {} if self.keep_nodes else strip(model)

    def agreement(self, candidate: Candidate) -> dict[str, float]:
        """How far each output agrees with the float model's, 0 to 1."""
        judge = measure.Agreement(*candidate)
        for batch, wanted in zip(self.held_out(), self.wanted, strict=True):
            judge.add(batch, wanted)
        return judge.result()


def choose(bench: Bench, tail: Literal["auto", "int8", "float"], tick: Callable[[], None]) -> Plan:
    """Decide on the ranges, then on the tails.

    Args:
        bench: the model.
        tail: what is asked for; `auto` decides for each output.
        tick: called after each thing tried, at most 3 times.
    """
    tails = {name: nodes for name, nodes in joined.tails(bench.model).items() if nodes}
    notes: dict[str, str] = {}
    stay: set[str] = set()
    if tail == "float":
        stay = {node for nodes in tails.values() for node in nodes}
    elif tail == "auto":
        for name, nodes in tails.items():
            ratio = joined.mixed(bench.model, name, bench.seen.whole)
            if ratio > 1:
                stay.update(nodes)
                notes[f"tail of {name}"] = f"float: it joins ranges that differ {ratio:.0f} times"
    plan, agreed = _choose_ranges(bench, Plan(bench.seen.whole, frozenset(stay), notes), tick)
    open_tails = {name: nodes for name, nodes in tails.items() if not stay.issuperset(nodes)}
    if tail != "auto":
        plan.notes.update({f"tail of {name}": f"{tail}, as asked" for name in tails})
        return plan
    return _choose_tails(bench, plan, agreed, open_tails, tick) if open_tails else plan


def _choose_ranges(
    bench: Bench, plan: Plan, tick: Callable[[], None]
) -> tuple[Plan, dict[str, float]]:
    """Whole ranges, or those without outliers for all tensors that a convolution takes in.

    Behind the last convolution outliers are what the model found, and are never clipped.
    """
    inner = joined.inner(bench.model)
    shorter = {
        name: bench.seen.clipped[name] if name in inner else whole
        for name, whole in plan.ranges.items()
    }
    tried: list[tuple[float, dict[str, float], Ranges]] = []
    for ranges in (plan.ranges, shorter):
        agreed = bench.agreement(bench.quantize(Plan(ranges, plan.stay_float)))
        tried.append((sum(agreed.values()) / len(agreed), agreed, ranges))
        tick()
    (whole, *_), (clipped, *_) = tried
    note = f"agreement {100 * whole:.1f}% with whole ranges, {100 * clipped:.1f}% without the"
    note += f" outermost {100 * CLIPPED:g}% of the values"
    best = tried[1] if clipped > whole else tried[0]
    note = f"{'clipped' if clipped > whole else 'whole'}: {note}"
    return Plan(best[2], plan.stay_float, {**plan.notes, "ranges": note}), best[1]


def _choose_tails(
    bench: Bench,
    plan: Plan,
    agreed: Mapping[str, float],
    tails: Mapping[str, list[str]],
    tick: Callable[[], None],
) -> Plan:
    """Float for those tails where that keeps measurably more."""
    every = plan.stay_float.union(*tails.values())
    floating = bench.agreement(bench.quantize(Plan(plan.ranges, every)))
    tick()
    notes = dict(plan.notes)
    stay = set(plan.stay_float)
    for name, nodes in tails.items():
        lost, kept = 1 - agreed[name], 1 - floating[name]
        gain = lost >= LEAST_ERROR and kept <= (1 - LEAST_GAIN) * lost
        notes[f"tail of {name}"] = (
            f"{'float' if gain else 'int8'}: error {100 * lost:.1f}% in int8,"
            f" {100 * kept:.1f}% in float"
        )
        if gain:
            stay.update(nodes)
    return Plan(plan.ranges, frozenset(stay), notes)
