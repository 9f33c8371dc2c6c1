"""Pictures, folders and videos in; pictures, videos and lines out."""

from __future__ import annotations

import json
import os
from collections import deque
from pathlib import Path

import numpy as np
import pytest

from sanderling import imaging, sinks, sources, wholefile
from sanderling.detections import Classes, Detections, Result
from sanderling.errors import OutputError, SourceError
from sanderling.frame import Frame, check_image


def picture(seed: int = 0, height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def smooth(number: int) -> np.ndarray:
    """A picture that survives a lossy codec."""
    return np.full((48, 64, 3), (number * 8 % 256, 80, 160), np.uint8)


def encoded(suffix: str) -> bytes:
    return imaging.encode_image(picture(), suffix)


def video(path: Path, frames: int = 30) -> Path:
    writer = imaging.VideoWriter(path, 25, smooth(0))
    for number in range(frames):
        writer.write(smooth(number))
    writer.close()
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm"])
def test_a_lossless_picture_comes_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(suffix))
    np.testing.assert_array_equal(imaging.read_image(path), picture())


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg", ".webp"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_picture_that_is_cut_off_is_refused(
    tmp_path: Path, suffix: str, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    data = encoded(suffix)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SourceError, match="cut off") as caught:
        imaging.read_image(path)
    assert str(path) in str(caught.value)
    assert capfd.readouterr() == ("", ""), "a decoder wrote to the terminal"


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "empty"), (b"hello, I am a text", "not a picture"), (bytes(100), "not a picture")],
)
def test_what_is_no_picture_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=words):
        imaging.read_image(path)


def test_a_jpeg_with_data_behind_its_end_is_whole() -> None:
    assert imaging.decode_image(encoded(".jpg") + b"trailer", "a").shape == (48, 64, 3)


def test_a_picture_in_grey_becomes_three_channels() -> None:
    grey = imaging.encode_image(picture()[:, :, :1], ".png")
    assert imaging.decode_image(grey, "a").shape == (48, 64, 3)


def test_a_header_that_claims_a_giant_picture_is_refused() -> None:
    png = bytearray(encoded(".png"))
    png[16:24] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises(SourceError):
        imaging.decode_image(bytes(png), "a")


@pytest.mark.parametrize(
    "image",
    [None, [[1]], np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_frame_is_refused(image: object) -> None:
    with pytest.raises(SourceError, match="instead of"):
        check_image(image)


def test_a_folder_gives_its_pictures_in_order_and_passes_over_bad_ones(tmp_path: Path) -> None:
    for name in ("c.png", "a.png", "notes.txt"):
        (tmp_path / name).write_bytes(encoded(".png"))
    (tmp_path / "b.png").write_bytes(b"no")
    source = sources.open_source(str(tmp_path))
    assert source.count == 3
    frames = source.frames()
    first = next(frames)
    with pytest.raises(SourceError, match=r"b\.png"):
        next(frames)
    last = next(frames)
    assert [first.sequence, last.sequence] == [0, 2]
    assert Path(last.source).name == "c.png"
    with pytest.raises(StopIteration):
        next(frames)


@pytest.mark.parametrize("name", ["gone.jpg", "gone", "empty"])
def test_a_source_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=name):
        sources.open_source(str(tmp_path / name))


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_video_gives_all_its_frames(tmp_path: Path, suffix: str) -> None:
    source = sources.open_source(str(video(tmp_path / f"a{suffix}")))
    frames = list(source.frames())
    source.close()
    assert [frame.sequence for frame in frames] == list(range(30))
    assert source.fps == pytest.approx(25, rel=0.01)
    for number, frame in enumerate(frames):
        assert abs(int(frame.image[24, 32, 0]) - number * 8) < 12


def test_a_video_that_ends_early_says_so(tmp_path: Path) -> None:
    path = video(tmp_path / "a.avi", 60)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    source = sources.open_source(str(path))
    frames = source.frames()
    assert next(frames).sequence == 0
    with pytest.raises(SourceError, match=r"ends early, after \d+ of 60 frames"):
        deque(frames)
    source.close()


@pytest.mark.parametrize("data", [b"", b"not a video"])
def test_what_is_no_video_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.mp4"):
        sources.open_source(str(path))


def result(source: str = "a.png") -> Result:
    found = Detections(
        boxes=np.array([[10, 12, 30, 40]], np.float32),
        scores=np.array([0.9], np.float32),
        classes=np.array([0], np.int32),
        points=np.array([[[15, 20], [25, 20]]], np.float32),
        labels=("face",),
    )
    return Result(7, 0, source, found, None, {}, {"nms": 1_500_000})


def test_the_line_is_as_documented() -> None:
    line = json.loads(json.dumps(result().as_dict()))
    assert line == {
        "frame": 7,
        "source": "a.png",
        "detections": [
            {"box": [10, 12, 30, 40], "score": 0.9, "class": 0, "label": "face",
             "points": [[15, 20], [25, 20]]}
        ],
        "timings_ms": {"nms": 1.5},
    }  # fmt: skip


def test_the_line_of_a_classifier() -> None:
    classes = Classes(np.array([3, 12], np.int32), np.array([0.98, 0.01], np.float32), ("a",) * 4)
    line = Result(0, 0, "a", None, classes, {}, {}).as_dict()
    assert line["classes"] == [
        {"class": 3, "label": "a", "score": 0.98},
        {"class": 12, "label": "12", "score": 0.01},
    ]


def test_lines_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.jsonl"
    sink = sinks.JsonLines(str(path))
    sink.write(Frame(picture()), result())
    assert not path.exists()
    sink.close()
    assert len(path.read_text().splitlines()) == 1
    sink = sinks.JsonLines(str(path))
    sink.write(Frame(picture()), result())
    sink.write(Frame(picture()), result())
    sink.discard()
    assert len(path.read_text().splitlines()) == 1, "the file of before is kept"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.jsonl"]


def test_what_was_found_is_drawn_where_it_is(tmp_path: Path) -> None:
    blank = np.zeros((60, 80, 3), np.uint8)
    drawn = imaging.annotate(blank, result())
    assert not blank.any(), "the picture itself is left alone"
    rows, columns = np.nonzero(drawn.max(axis=2) > 128)
    assert columns.min() <= 11
    assert columns.max() >= 29
    assert 39 <= rows.max() <= 42
    sink = sinks.Picture(tmp_path / "out" / "a.png")
    sink.write(Frame(blank), result())
    assert imaging.read_image(tmp_path / "out" / "a.png").any()


def test_a_picture_of_nothing_is_no_picture(tmp_path: Path) -> None:
    """A guest may make an empty one: what is drawn on is then the frame."""
    nothing = {"image": np.empty((0, 8, 3), np.uint8)}
    result = Result(0, 0, "a", None, None, nothing, {})
    np.testing.assert_array_equal(imaging.annotate(picture(), result), picture())
    with pytest.raises(OutputError, match=r"a picture of 8x0 pixels cannot be written as \.jpg"):
        imaging.encode_image(nothing["image"], ".jpg")


def test_originals_are_never_overwritten(tmp_path: Path) -> None:
    original = tmp_path / "a.jpg"
    original.write_bytes(encoded(".jpg"))
    before = original.read_bytes()
    with pytest.raises(OutputError, match="originals are here"):
        sinks.PictureFolder(tmp_path).write(Frame(picture(), source=str(original)), result())
    assert original.read_bytes() == before


def test_what_is_read_is_not_a_target_by_any_name(tmp_path: Path) -> None:
    original = tmp_path / "a.jpg"
    original.write_bytes(encoded(".jpg"))
    (tmp_path / "link.jpg").symlink_to(original)
    (tmp_path / "hard.jpg").hardlink_to(original)
    (tmp_path / "folder").symlink_to(tmp_path)
    for name in ("a.jpg", "link.jpg", "hard.jpg", "folder/a.jpg", "x/../a.jpg"):
        with pytest.raises(OutputError, match="read in this run"):
            sinks.check_target(tmp_path / name, [tmp_path / "p.toml", original])
    with pytest.raises(OutputError, match="read in this run"):
        sinks.check_target(original, [tmp_path / "folder"])
    sinks.check_target(tmp_path / "b.jpg", [tmp_path / "p.toml", original, tmp_path])
    sinks.check_target(tmp_path / "b.jsonl", [tmp_path / "p.toml", original, tmp_path])


@pytest.mark.parametrize("name", ["a.txt", "a", "a.mp4"])
def test_a_picture_cannot_be_written_under_any_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="is written as"):
        sinks.Picture(tmp_path / name)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        sinks.JsonLines(str(tmp_path / "file" / "a.jsonl"))


def test_an_annotated_video_has_all_frames(tmp_path: Path) -> None:
    sink = sinks.AnnotatedVideo(tmp_path / "out.mp4", 25)
    for number in range(10):
        sink.write(Frame(smooth(number)), result())
    assert not (tmp_path / "out.mp4").exists()
    sink.close()
    assert len(list(sources.open_source(str(tmp_path / "out.mp4")).frames())) == 10


def test_a_device_or_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """As root, a rename onto /dev/null would leave a file there for the whole machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        lines = sinks.JsonLines(str(pipe))
        lines.write(Frame(picture()), Result(0, 0, "a", None, None, {}, {}))
        lines.close()
        lines.discard()
        assert json.loads(os.read(reader, 1 << 16))["frame"] == 0
        wholefile.write(pipe, b"all of it")
        assert os.read(reader, 1 << 16) == b"all of it"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["pipe"]


def test_pictures_and_videos_want_a_file(tmp_path: Path) -> None:
    for name in ("a.png", "a.mp4"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(OutputError, match="is no file"):
        sinks.write_picture(tmp_path / "a.png", picture())
    with pytest.raises(OutputError, match="is no file"):
        sinks.AnnotatedVideo(tmp_path / "a.mp4", 25)
    assert all(entry.is_fifo() for entry in tmp_path.iterdir())
