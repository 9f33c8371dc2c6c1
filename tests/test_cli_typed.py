"""What a person types: bare names, empty paths, folders with a slash, words that are not there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hostile
import tiny
from commandline import refused, run
from sanderling import imaging, manifest

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[1]
FACES = ROOT / "examples" / "faces.toml"
PHOTO = ROOT / "examples" / "astronaut.png"


def test_a_bare_name_is_an_installed_one(tmp_path: Path) -> None:
    assert "nms 1." in run("module", "inspect", "nms", cwd=tmp_path).stdout
    assert "good" in run("module", "check", "nms", cwd=tmp_path).stdout
    assert "heatmap" in run("model", "inspect", "centerface-int8", cwd=tmp_path).stdout


def test_a_bare_name_that_is_not_installed_says_what_is(tmp_path: Path) -> None:
    line = refused("module", "inspect", "mns", cwd=tmp_path)
    assert "mns: no such file" in line
    assert "nms" in line.partition("installed are")[2]
    assert "centerface-int8" in refused("model", "inspect", "centerfaces", cwd=tmp_path)


def test_a_file_here_comes_before_an_installed_one(tmp_path: Path) -> None:
    (tmp_path / "nms").write_bytes(b"not wasm")
    assert "not a WebAssembly file" in refused("module", "inspect", "nms", cwd=tmp_path)


@pytest.mark.parametrize(
    "args",
    [
        ["run", "", "--source", PHOTO],
        ["run", FACES, "--source", ""],
        ["run", FACES, "--source", PHOTO, "--json", ""],
        ["run", FACES, "--source", PHOTO, "--annotate", ""],
        ["explain", ""],
        ["module", "check", ""],
        ["model", "inspect", ""],
    ],
)
def test_an_empty_path_is_refused(tmp_path: Path, args: list[object]) -> None:
    assert "the path is empty" in refused(*args, cwd=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "words", "see"),
    [
        (["run", FACES], "Missing option '--source'", "sanderling run --help"),
        (["explian"], "No such command 'explian'", "sanderling --help"),
        (["model", "inspect", "--frob", "x"], "No such option", "sanderling model inspect --help"),
        (["run", FACES, "--source", PHOTO, "--limit", "0"], "--limit", "sanderling run --help"),
    ],
)
def test_a_command_that_is_not_one_costs_one_line(args: list[object], words: str, see: str) -> None:
    line = refused(*args)
    assert words in line
    assert line.endswith(f"; see {see}")


@pytest.mark.parametrize("given", ["0", "rtsp://127.0.0.1/x", "http://127.0.0.1/x", "/dev/null"])
def test_a_camera_that_is_not_there_is_not_taken_for_a_broken_video(given: str) -> None:
    assert "cannot be opened; is" in refused("run", FACES, "--source", given)


def test_what_is_neither_picture_nor_video_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    line = refused("run", FACES, "--source", "notes.txt", cwd=tmp_path)
    assert "neither a picture nor a video" in line


def test_one_picture_goes_into_a_folder_under_its_own_name(tmp_path: Path) -> None:
    run("run", FACES, "--source", PHOTO, "--annotate", f"{tmp_path}/drawn/")
    assert [entry.name for entry in (tmp_path / "drawn").iterdir()] == [PHOTO.name]


def test_a_video_goes_into_a_folder_under_its_own_name(tmp_path: Path) -> None:
    photo = imaging.read_image(PHOTO)
    writer = imaging.VideoWriter(tmp_path / "walk.avi", 25, photo)
    for _ in range(3):
        writer.write(photo)
    writer.close()
    (tmp_path / "drawn").mkdir()
    run("run", FACES, "--source", "walk.avi", "--annotate", "drawn", cwd=tmp_path)
    assert [entry.name for entry in (tmp_path / "drawn").iterdir()] == ["walk.mp4"]


def test_many_pictures_do_not_go_into_one(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    shutil.copy(PHOTO, tmp_path / "photos")
    line = refused("run", FACES, "--source", "photos", "--annotate", "a.jpg", cwd=tmp_path)
    assert "name a folder" in line
    assert [entry.name for entry in tmp_path.iterdir()] == ["photos"]


def test_failures_that_are_alike_are_summed(tmp_path: Path) -> None:
    hostile.write(tmp_path)
    path = hostile.pipeline(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, byte in enumerate([100, hostile.TRAP, hostile.DIVIDE] * 4):
        image = np.full((8, 8, 3), byte, np.uint8)
        (photos / f"{number:02}.png").write_bytes(imaging.encode_image(image, ".png"))
    (photos / "99.png").write_text("no picture")
    done = run("run", path, "--source", photos, code=2)
    *told, sums = done.stderr.splitlines()
    assert sums == "sanderling: 9 of 13 frames failed: 8 trap in hostile, 1 not readable"
    assert len(told) == 4, "three of a kind and the one of the other"
    assert "4 frames processed. " in done.stdout
    assert ": value [100]" in done.stdout, "a small tensor is told itself"


def test_check_sets_the_guest_up(tmp_path: Path) -> None:
    (tmp_path / "module.toml").write_text(
        hostile.MANIFEST.format(name="mine", memory_mb=4, deadline_ms=10)
    )
    (tmp_path / "mine.wasm").write_bytes(hostile.wat())
    run("module", "pack", "mine.wasm", cwd=tmp_path)
    told = run("module", "check", "mine.wasm", cwd=tmp_path).stdout
    assert "set-up with default parameters: value i32 [1]" in told
    # The same with a manifest that does not say what the guest declares.
    lying = (tmp_path / "module.toml").read_text().replace('dtypes = ["i32"]', 'dtypes = ["f32"]')
    (tmp_path / "module.toml").write_text(lying)
    run("module", "pack", "mine.wasm", cwd=tmp_path)
    assert "its manifest says f32" in refused("module", "check", "mine.wasm", cwd=tmp_path)


@pytest.mark.parametrize("path", sorted((ROOT / "wasm_modules" / "dist").glob("*.wasm")))
def test_every_shipped_guest_can_be_checked(path: Path) -> None:
    told = run("module", "check", path).stdout
    assert "good" in told
    assert "started; " in told


def test_a_guest_without_a_manifest_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "bare.wasm").write_bytes(hostile.wat())
    for command in ("inspect", "check"):
        assert "sanderling module pack" in refused("module", command, "bare.wasm", cwd=tmp_path)
    told = run("module", "inspect", "bare.wasm", "--call", "sl_alloc", cwd=tmp_path, code=2).stderr
    assert "(i32, i32) -> (i32)" in told
    assert "no module.toml to pack" in refused("module", "pack", "bare.wasm", cwd=tmp_path)


@pytest.mark.parametrize("size", ["0x4", "640x99999"])
def test_a_size_out_of_range_says_the_range(size: str) -> None:
    assert "each side must be 1 to 16384" in refused("explain", FACES, "--frame", size)


def test_what_finds_nothing_tells_no_number(tmp_path: Path) -> None:
    tiny.identity_model(tmp_path / "m.onnx", shape=(1, 3, 8, 8))
    (tmp_path / "p.toml").write_text(
        '[pipeline]\nname = "t"\n[[stage]]\nguest = "letterbox"\n[[stage]]\nmodel = "./m.onnx"\n'
    )
    done = run("run", "p.toml", "--source", PHOTO, "--json", "l", cwd=tmp_path)
    assert "1 frame processed. Time of the first frame, cold:" in done.stdout
    (line,) = map(json.loads, (tmp_path / "l").read_text().splitlines())
    assert np.shape(line["tensors"]["same"]) == (1, 3, 8, 8)


def test_the_installed_guests_are_the_ones_in_the_repository() -> None:
    for path in (ROOT / "wasm_modules" / "dist").glob("*.wasm"):
        said = manifest.read_manifest(path.read_bytes(), str(path))
        assert said.name == path.stem


def test_what_is_said_while_a_picture_is_decoded_is_not_lost(tmp_path: Path) -> None:
    """Descriptor 2 leads elsewhere meanwhile, so that the decoder's complaints are heard."""
    script = tmp_path / "say.py"
    script.write_text(
        "import os, sys\n"
        "from pathlib import Path\n"
        "from sanderling import cli, imaging, opencv\n"
        "cli._speak_for_ourselves()\n"
        "decode = opencv.cv2.imdecode\n"
        "def say(*args):\n"
        "    print('said meanwhile', file=sys.stderr)\n"
        "    assert os.fstat(2).st_ino != os.fstat(sys.stderr.fileno()).st_ino\n"
        "    return decode(*args)\n"
        "opencv.cv2.imdecode = say\n"
        "imaging.decode_image(Path(sys.argv[1]).read_bytes(), 'x')\n"
        "print(os.fstat(2).st_ino == os.fstat(sys.stderr.fileno()).st_ino)\n"
    )
    (tmp_path / "a.png").write_bytes(imaging.encode_image(np.zeros((64, 64, 3), np.uint8), ".png"))
    done = subprocess.run(
        [sys.executable, script, tmp_path / "a.png"], capture_output=True, text=True, check=True
    )
    assert done.stderr == "said meanwhile\n"
    assert done.stdout == "True\n"
