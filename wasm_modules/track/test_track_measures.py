"""track by the usual measures: the least that a sound tracker reaches and a broken one does not."""

from __future__ import annotations

import numpy as np
import pytest

from guestkit import BACKENDS, open_guest
from tracking import FRAME_NS, SCENES, follow, seen_of

mot = pytest.importorskip("mot", reason="scipy comes with the group models", exc_type=ImportError)

LEAST = {  # MOTA, IDF1; then the most switches and fragments
    "crossing": (0.90, 0.94, 12, 150),
    "wandering": (0.92, 0.82, 9, 155),
    "gaps": (0.89, 0.77, 9, 145),
}


def made(name, dropped=0.0):
    """A scene and what a detector sees of it; None for frames that were dropped."""
    rng = np.random.default_rng(20240711)
    truth = SCENES[name](rng)
    frames = seen_of(rng, truth)
    kept = rng.random(len(frames)) >= dropped
    frames = [frame if keep else None for frame, keep in zip(frames, kept, strict=True)]
    return [there for there, keep in zip(truth, kept, strict=True) if keep], frames


def good_enough(name, measures):
    mota, idf1, switches, fragments = LEAST[name]
    return (
        measures.mota >= mota
        and measures.idf1 >= idf1
        and measures.switches <= switches
        and measures.fragments <= fragments
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dropped", [0.0, 0.3])
@pytest.mark.parametrize("name", SCENES)
def test_measures(backend, name, dropped):
    truth, frames = made(name, dropped)
    with open_guest("track", backend=backend) as guest:
        measures = mot.measure(truth, follow(guest, frames))
    assert good_enough(name, measures), measures


BROKEN = {
    "no low scores": ({"low": 0.5}, FRAME_NS),
    "no memory": ({"keep_ms": 0}, FRAME_NS),
    "no time goes by, so nothing is predicted": ({}, 1),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_the_measures_find_a_broken_tracker(broken):
    params, step_ns = BROKEN[broken]
    good = []
    for name in SCENES:
        truth, frames = made(name)
        with open_guest("track", backend="wasm") as guest:
            measures = mot.measure(truth, follow(guest, frames, params, step_ns))
        good.append(good_enough(name, measures))
    assert not any(good)


@pytest.mark.parametrize("name", SCENES)
def test_the_measures_find_ids_that_are_places_in_a_list(name):
    truth, frames = made(name)
    found = [dict(enumerate(frame[0][frame[1] >= 0.5])) for frame in frames]
    measures = mot.measure(truth, found)
    assert not good_enough(name, measures)
