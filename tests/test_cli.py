"""The command line, run as a person runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hostile
import sanderling
import tiny
from commandline import COMMAND, refused, run
from sanderling import imaging, sinks, sources
from sanderling.cli import run as cli_run
from sanderling.detections import Detections, Result
from sanderling.errors import OutputError
from sanderling.metadata import ModelMetadata
from sanderling.sources import open_source

ROOT = Path(__file__).resolve().parents[1]
FACES = ROOT / "examples" / "faces.toml"
PHOTO = ROOT / "examples" / "astronaut.png"


def centre(box: list[float]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def test_the_photograph_holds_one_face_and_it_is_found(tmp_path: Path) -> None:
    lines, drawn = tmp_path / "faces.jsonl", tmp_path / "faces.jpg"
    done = run("run", FACES, "--source", PHOTO, "--json", lines, "--annotate", drawn)
    assert "face 0." in done.stdout
    assert done.stderr == ""
    (line,) = map(json.loads, lines.read_text().splitlines())
    (face,) = line["detections"]
    assert face["label"] == "face"
    x, y = centre(face["box"])
    assert 200 < x < 250, face
    assert 90 < y < 140, face
    assert len(face["points"]) == 5
    assert all(face["box"][0] < px < face["box"][2] for px, _ in face["points"])
    assert list(line["timings_ms"]) == ["letterbox", "centerface-int8", "centerface_decode", "nms"]
    assert imaging.read_image(drawn).shape == (512, 512, 3)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["faces.jpg", "faces.jsonl"]


def test_lines_on_stdout_are_nothing_but_lines() -> None:
    done = run("run", FACES, "--source", PHOTO, "--json", "-")
    (line,) = map(json.loads, done.stdout.splitlines())
    assert line["frame"] == 0
    assert line["source"] == str(PHOTO)


def test_a_classifier_reads_digits(tmp_path: Path) -> None:
    folder = ROOT / "examples" / "digits"
    done = run("run", ROOT / "examples/digits.toml", "--source", folder, "--json", "-")
    lines = list(map(json.loads, done.stdout.splitlines()))
    assert len(lines) == len(list(folder.glob("*.png")))
    for line in lines:
        assert len(line["classes"]) == 3
        assert set(line["classes"][0]) == {"class", "label", "score"}
        scores = [item["score"] for item in line["classes"]]
        assert scores == sorted(scores, reverse=True)
        assert 0 < sum(scores) <= 1.001
    wrong = [line for line in lines if line["classes"][0]["label"] != Path(line["source"]).stem]
    assert wrong == []


def test_a_folder_is_done_in_order_and_bad_pictures_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(PHOTO, folder / "a.png")
    (folder / "b.png").write_bytes(PHOTO.read_bytes()[:5000])
    shutil.copy(PHOTO, folder / "c.png")
    out = tmp_path / "out"
    lines = tmp_path / "l.jsonl"
    done = run("run", FACES, "--source", folder, "--json", lines, "--annotate", out, code=2)
    assert [json.loads(line)["frame"] for line in lines.read_text().splitlines()] == [0, 2]
    assert sorted(entry.name for entry in out.iterdir()) == ["a.png", "c.png"]
    first, last = done.stderr.splitlines()
    assert "b.png: the picture is cut off" in first
    assert last == "sanderling: 1 of 3 frames failed"


def test_a_video_is_annotated_and_limited(tmp_path: Path) -> None:
    photo = imaging.read_image(PHOTO)
    writer = imaging.VideoWriter(tmp_path / "in.mp4", 10, photo)
    for _ in range(6):
        writer.write(photo)
    writer.close()
    out = tmp_path / "out.mp4"
    done = run(
        "run", FACES, "--source", tmp_path / "in.mp4", "--annotate", out, "--json", "-",
        "--limit", 4,
    )  # fmt: skip
    lines = list(map(json.loads, done.stdout.splitlines()))
    assert [line["frame"] for line in lines] == [0, 1, 2, 3]
    assert all(len(line["detections"]) == 1 for line in lines)
    assert len(list(open_source(str(out)).frames())) == 4


def test_explain_shows_one_copy_and_no_float_on_the_way() -> None:
    done = run("explain", FACES)
    assert "copies per frame: 1 (the frame, 2,764,800 bytes" in done.stdout
    assert "float32 tensors between camera and detections: none" in done.stdout
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert "u8" in rows["letterbox.image"]
    assert "memory of letterbox" in rows["letterbox.image"]
    assert "memory of centerface_decode" in rows["centerface-int8.heatmap"]


@pytest.mark.parametrize("args", [[], ["run"], ["module"], ["model", "quantize"], ["explain"]])
def test_every_command_has_help_with_an_example(args: list[str]) -> None:
    assert "Example: sanderling " in run(*args, "--help").stdout


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("gone.jpg", "there is no such picture"),
        ("cut.png", "cut off"),
        ("text.png", "not a picture"),
        ("text.mp4", "not a video"),
        ("empty", "no pictures in this folder"),
    ],
)
def test_a_bad_source_costs_one_line(tmp_path: Path, source: str, words: str) -> None:
    (tmp_path / "cut.png").write_bytes(PHOTO.read_bytes()[:9000])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "empty").mkdir()
    out = tmp_path / "o"
    line = refused(
        "run",
        FACES,
        "--source",
        tmp_path / source,
        "--json",
        out / "l",
        "--annotate",
        out / "a.jpg",
    )
    assert words in line
    assert source in line
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize(
    ("byte", "words"),
    [
        (hostile.LOOP, "not done after 50 ms"),
        (hostile.TRAP, "trapped"),
        (hostile.TOO_LARGE, "more than the [1] it declared"),
    ],
)
def test_a_hostile_guest_costs_one_line(tmp_path: Path, byte: int, words: str) -> None:
    hostile.write(tmp_path)
    image = np.zeros((4, 4, 3), np.uint8)
    image[0, 0, 0] = byte
    (tmp_path / "a.png").write_bytes(imaging.encode_image(image, ".png"))
    out = tmp_path / "out" / "l.jsonl"
    line = refused("run", hostile.pipeline(tmp_path), "--source", tmp_path / "a.png", "--json", out)
    assert words in line
    assert "a.png: frame 0 failed: stage hostile" in line
    assert not list(out.parent.iterdir())


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    own = tmp_path / "own.png"
    shutil.copy(PHOTO, own)
    clip = tmp_path / "own.mp4"
    writer = imaging.VideoWriter(clip, 10, imaging.read_image(PHOTO))
    writer.write(imaging.read_image(PHOTO))
    writer.close()
    pipeline = tmp_path / "p.toml"
    shutil.copy(FACES, pipeline)
    files = {path: path.read_bytes() for path in (own, clip, pipeline)}
    for source, option, target in [
        (own, "--annotate", own),
        (own, "--json", own),
        (clip, "--annotate", clip),
        (tmp_path, "--json", own),
        (own, "--json", pipeline),
    ]:
        line = refused("run", pipeline, "--source", source, option, target)
        assert "it is read in this run" in line
    assert "both" in refused(
        "run", pipeline, "--source", own, "--json", tmp_path / "a.png",
        "--annotate", tmp_path / "a.png",
    )  # fmt: skip
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_an_output_that_cannot_be_leaves_nothing_of_the_others(tmp_path: Path) -> None:
    out = tmp_path / "o"
    line = refused(
        "run", FACES, "--source", PHOTO, "--json", out / "f.jsonl", "--annotate", out / "x.xyz"
    )
    assert "x.xyz" in line
    assert list(out.iterdir()) == []


def test_an_output_that_fails_at_the_end_keeps_the_others(tmp_path: Path) -> None:
    lines = sinks.JsonLines(str(tmp_path / "l.jsonl"))
    video = sinks.AnnotatedVideo(tmp_path / "out.mp4", 10)
    (tmp_path / "l.jsonl").mkdir()  # meanwhile
    with sanderling.open(FACES) as faces:
        going = cli_run._Run(faces, [lines, video], quiet=True)
        going.all(sources.open_source(str(PHOTO)), None)
        with pytest.raises(OutputError, match=r"l\.jsonl: cannot be written"):
            going.finish()
    lines.discard()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["l.jsonl", "out.mp4"]


def test_a_folder_is_no_file_for_lines(tmp_path: Path) -> None:
    words = refused("run", FACES, "--source", PHOTO, "--json", tmp_path)
    assert "is a folder; name a file in it" in words


def test_a_picture_that_is_too_large_costs_one_frame(tmp_path: Path) -> None:
    hostile.write(tmp_path, memory_mb=1)
    folder = tmp_path / "in"
    folder.mkdir()
    for name, side in (("a", 8), ("b", 2000), ("c", 8)):
        image = np.full((side, side, 3), 99, np.uint8)
        (folder / f"{name}.png").write_bytes(imaging.encode_image(image, ".png"))
    pipeline, lines = hostile.pipeline(tmp_path), tmp_path / "l.jsonl"
    done = run("run", pipeline, "--source", folder, "--json", lines, code=2)
    assert [json.loads(line)["frame"] for line in lines.read_text().splitlines()] == [0, 2]
    first, last = done.stderr.splitlines()
    assert "b.png: frame 1 failed: " in first
    assert last == "sanderling: 1 of 3 frames failed"
    (folder / "a.png").unlink()
    refused("run", pipeline, "--source", folder, "--json", tmp_path / "m.jsonl")
    assert not (tmp_path / "m.jsonl").exists()


def test_what_files_say_of_themselves_moves_no_cursor(tmp_path: Path) -> None:
    text = hostile.MANIFEST.format(name="mine", memory_mb=4, deadline_ms=10)
    evil = "\x1b[2J\nsanderling: all is well"
    quoted = json.dumps(evil)
    text = text.replace('"For tests."', quoted).replace("[limits]", f"help = {quoted}\n[limits]")
    (tmp_path / "module.toml").write_text(text.replace('"1.0.0"', quoted))
    (tmp_path / "mine.wasm").write_bytes(hostile.wat())
    told = run("module", "pack", "mine.wasm", cwd=tmp_path).stdout
    told += run("module", "inspect", "mine.wasm", cwd=tmp_path).stdout
    assert evil not in told
    assert "\x1b" not in told
    assert not [line for line in told.splitlines() if line.startswith("sanderling:")]
    assert "?[2J?sanderling" in told
    (tmp_path / "x\x1b[2J\n.wasm").write_bytes(b"junk")
    assert "x?[2J?.wasm" in refused("module", "inspect", tmp_path / "x\x1b[2J\n.wasm")


def test_what_a_model_says_of_itself_moves_no_cursor(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    evil = "\x1b[2Jhi\nsanderling: all is well"
    said = ModelMetadata(name=evil, labels=[evil], notes={evil: evil}, source=evil)
    tiny.identity_model(path, said=said)
    told = run("model", "inspect", path).stdout
    assert told.count("?[2Jhi?sanderling") == 5
    assert "\x1b" not in told
    assert not [line for line in told.splitlines() if line.startswith("sanderling:")]


def test_a_line_of_odd_numbers_and_labels_is_one_line() -> None:
    odd = np.array([[np.nan, np.inf, -np.inf, 1e30], [1, 2, 3, 4]], np.float32)
    found = Detections(odd, odd[:, 0], np.array([0, 1], np.int32), labels=("a\x1b[2J", "b"))
    line = cli_run._line(Result(0, 0, "a", found, None, {}, {}))
    assert "(nan, inf) to (-inf, 1" in line
    assert "(1, 2) to (3, 4)" in line


def test_a_bad_guest_file_costs_one_line(tmp_path: Path) -> None:
    path = hostile.pipeline(tmp_path)
    for data, words in [
        (b"not wasm", "not a WebAssembly file"),
        (hostile.wat(), "no manifest in it"),
        (hostile.wat()[:60], "cut off"),
    ]:
        (tmp_path / "hostile.wasm").write_bytes(data)
        for command in (["run", path, "--source", PHOTO], ["explain", path]):
            assert words in refused(*command)
        if words != "no manifest in it":
            assert words in refused("module", "inspect", tmp_path / "hostile.wasm")


def test_a_bad_model_costs_one_line(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(
        '[pipeline]\nname = "t"\n[[stage]]\nguest = "letterbox"\n[[stage]]\nmodel = "./m.onnx"\n'
    )
    (tmp_path / "m.onnx").write_bytes(b"junk")
    assert "not an ONNX model" in refused("run", path, "--source", PHOTO)
    assert "not an ONNX model" in refused("model", "inspect", tmp_path / "m.onnx")
    tiny.unknown_operator(tmp_path / "m.onnx")
    assert "Frobnicate" in refused("run", path, "--source", PHOTO)
    assert "no such model" in refused("model", "inspect", tmp_path / "gone.onnx")


def test_pack_inspect_and_check(tmp_path: Path) -> None:
    (tmp_path / "mine.wasm").write_bytes(hostile.wat())
    (tmp_path / "module.toml").write_text(
        hostile.MANIFEST.format(name="mine", memory_mb=4, deadline_ms=10)
    )
    assert "mine 1.0.0" in run("module", "pack", "mine.wasm", cwd=tmp_path).stdout
    told = run("module", "inspect", "mine.wasm", cwd=tmp_path).stdout
    assert "[H, W, 3]" in told
    assert "memory up to 4 MiB, 10 ms a call" in told
    assert "good" in run("module", "check", "mine.wasm", cwd=tmp_path).stdout
    assert "cannot be read" in refused("module", "pack", "gone.wasm", cwd=tmp_path)


def test_model_inspect_shows_what_the_file_says_of_itself() -> None:
    told = run("model", "inspect", ROOT / "models" / "centerface-int8.onnx").stdout
    assert "license: MIT" in told
    assert "[1, 3, 480, 640]" in told
    assert "heatmap" in told


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    for number in range(3):
        shutil.copy(PHOTO, tmp_path / f"{number}.png")
    command = [*COMMAND, "run", str(FACES), "--source", str(tmp_path), "--json", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_help_and_version_load_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['sanderling', '--version']\n"
        "import sanderling.cli as c\n"
        "try:\n    c.main()\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('cv2', 'onnxruntime', 'wasmtime', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
