"""Which decoder is named for which outputs."""

from __future__ import annotations

import pytest

from sanderling.families import suggest


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ([(1, 84, 8400)], "YOLOv8's shape [1, 4+80 classes, anchors]: use yolo_decode"),
        ([(1, 25200, 85)], "YOLOv5's shape [1, anchors, 5+80 classes]: use yolo_decode"),
        ([(1, 4, 8400), (1, 80, 8400)], "use yolo_decode"),
        ([(1, 1, 120, 160), (1, 2, 120, 160), (1, 2, 120, 160), (1, 10, 120, 160)],
         "use centerface_decode"),
        ([(1, 80, 128, 128), (1, 2, 128, 128), (1, 2, 128, 128)], "heatmap"),
        ([(1, 1917, 4), (1, 1917, 91)], "SSD-like"),
        ([(1, 10)], "a classifier with 10 classes: use softmax and topk"),
        ([(7,)], ""),
        ([], ""),
    ],
)  # fmt: skip
def test_the_decoder_that_fits_is_named(shapes: list[tuple[int, ...]], words: str) -> None:
    assert words in suggest(shapes)
    assert bool(words) == bool(suggest(shapes))
