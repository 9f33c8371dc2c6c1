"""The examples, run as a person runs them."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import rtsp
from commandline import COMMAND, run
from sanderling import imaging

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
PHOTO = EXAMPLES / "astronaut.png"
PATTERN = "pattern:640x480@50?frames=5"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))
WAIT_S = 120


def script(name: str, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_is_short_and_says_how_to_run_it(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    code = text.split('"""', 2)[2]
    assert 10 <= len([line for line in code.splitlines() if line.strip()]) <= 25
    assert f"python examples/{name} " in text
    assert f"[{name}]({name})" in (EXAMPLES / "README.md").read_text()


@pytest.mark.parametrize("name", ["usb_camera.py", "rtsp_stream.py", "asyncio_watch.py"])
def test_a_camera_that_ends_ends_the_example(name: str) -> None:
    done = script(name, PATTERN)
    assert "frame 0: 0 faces" in done.stdout or name == "rtsp_stream.py"


def test_a_camera_s_faces_are_found() -> None:
    done = script("usb_camera.py", PHOTO)
    assert re.search(r"^frame 0: 1 faces \[\[17\d, 5\d, 27\d, 17\d\]\]$", done.stdout, re.MULTILINE)
    assert "captured=1, waiting=0, processed=1" in done.stdout
    assert done.stderr == ""


def test_a_stream_s_faces_are_found_until_ctrl_c() -> None:
    photo = imaging.read_image(PHOTO)
    with (
        rtsp.Server([photo], size=(512, 512), fps=10) as server,
        subprocess.Popen(
            [sys.executable, str(EXAMPLES / "rtsp_stream.py"), server.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            assert re.fullmatch(r"\d\d:\d\d:\d\d: 1 faces\n", process.stdout.readline())
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert "connected" in err


def test_a_folder_s_faces_are_counted_in_order(tmp_path: Path) -> None:
    for name in "ac":
        shutil.copy(PHOTO, tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(PHOTO.read_bytes()[:5000])
    shutil.copy(EXAMPLES / "digits" / "0.png", tmp_path / "d.png")
    done = script("folder.py", tmp_path)
    assert done.stdout.splitlines()[1:] == ["a.png,1,0.91", "c.png,1,0.91", "d.png,0,0.00"]
    assert "b.png: the picture is cut off" in done.stderr


def test_two_cameras_share_a_model() -> None:
    lines = script("two_cameras.py", PHOTO, "pattern:640x480?frames=5").stdout.splitlines()
    assert f"{PHOTO}: frame 0: 1 faces" in lines
    assert "pattern:640x480?frames=5: frame 0: 0 faces" in lines
    (counts,) = [line for line in lines if line.startswith("pattern:640x480?frames=5: Counts")]
    assert "captured=5, waiting=0" in counts


def test_a_cascade_says_more_of_what_it_found() -> None:
    assert re.fullmatch(
        r"face 0\.\d\d, most like a \d 0\.\d\d\n", script("cascade.py", PHOTO).stdout
    )


def test_the_cascade_is_the_one_in_the_documents() -> None:
    recipe = (ROOT / "docs" / "pipeline.md").read_text().partition("### A cascade\n")[2]
    shown = recipe.partition("```toml\n")[2].partition("```")[0]
    assert (EXAMPLES / "cascade.toml").read_text().endswith(shown)


def test_the_daemon_runs_two_cameras(tmp_path: Path) -> None:
    path = EXAMPLES / "two_cameras.toml"
    assert "good; 2 cameras would run" in run("config", "check", path).stdout
    text = path.read_text().replace('"faces.toml"', f'"{EXAMPLES}/faces.toml"')
    text = text.replace("/dev/video0", "pattern:640x480@30")
    text = text.replace("rtsp://192.0.2.7/stream", "pattern:320x240@30")
    (tmp_path / "daemon.toml").write_text(text)
    command = [*COMMAND, "daemon", "--config", str(tmp_path / "daemon.toml")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            cameras: set[str] = set()
            while cameras != {"door", "yard"}:
                cameras.add(json.loads(process.stdout.readline())["camera"])
            process.terminate()
            process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    assert process.returncode == 0


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "usb_camera.py"])
def test_an_example_without_an_argument_says_how_to_run_it(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"python examples/{name} " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["cascade.py", "folder.py"])
def test_what_is_not_there_costs_an_example_one_line(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), "nope.png"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    (line,) = done.stderr.splitlines()
    assert line == f"{name}: nope.png: there is no such picture, folder or video"
    assert done.stdout == ""
