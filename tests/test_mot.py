"""The measures of tracking give what their papers say, on scenes that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy comes with the group models")

import mot

HERE, THERE = np.array([0.0, 0, 10, 10]), np.array([50.0, 0, 60, 10])
TRUTH = [{1: HERE, 2: THERE}] * 10


def test_a_perfect_tracker():
    found = [{7: HERE, 9: THERE}] * 10
    assert mot.measure(TRUTH, found) == mot.Measures(20, 0, 0, 0, 0, 1.0)
    assert mot.measure(TRUTH, found).mota == 1.0


def test_ids_that_change_places():
    found = [{7: HERE, 9: THERE}] * 5 + [{9: HERE, 7: THERE}] * 5
    assert mot.measure(TRUTH, found) == mot.Measures(20, 0, 0, 2, 0, 0.5)
    assert mot.measure(TRUTH, found).mota == 0.9


def test_a_gap_is_a_fragment_and_its_frames_are_missed():
    found = [{7: HERE, 9: THERE}] * 4 + [{7: HERE}] * 2 + [{7: HERE, 9: THERE}] * 4
    assert mot.measure(TRUTH, found) == mot.Measures(20, 2, 0, 0, 1, 2 * 18 / 38)


def test_a_false_box_and_nothing_at_all():
    found = [{7: HERE, 9: THERE, 3: HERE + 200}] * 10
    assert mot.measure(TRUTH, found) == mot.Measures(20, 0, 10, 0, 0, 2 * 20 / 50)
    assert mot.measure(TRUTH, [{}] * 10) == mot.Measures(20, 20, 0, 0, 0, 0.0)


def test_a_match_stays_while_it_overlaps_by_half():
    near = HERE + np.array([2.0, 0, 2, 0])
    found = [{7: HERE}] * 5 + [{7: near, 8: HERE}] * 5
    assert mot.measure([{1: HERE}] * 10, found).switches == 0
    far = HERE + np.array([8.0, 0, 8, 0])
    found = [{7: HERE}] * 5 + [{7: far, 8: HERE}] * 5
    assert mot.measure([{1: HERE}] * 10, found).switches == 1


def test_a_track_is_matched_once():
    """Two objects in turn had the same track, and then come together."""
    found = [{7: HERE}] * 3
    assert mot.measure([{1: HERE}, {2: HERE}, {1: HERE, 2: HERE}], found).missed == 1
