"""`sanderling config`: what a file would run, all that is wrong with it, and its schema."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

import adding
import hostile
from commandline import refused, run
from sanderling import board, daemonfile, preflight
from sanderling.errors import ConfigError, OutputError

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "deploy" / "daemon.toml"
SCHEMA = ROOT / "docs" / "daemon.schema.json"

GOOD = """
[daemon]
profile = "generic"
threads = 1

[[pipeline]]
name = "p"
file = "p.toml"
smaller = "q.toml"
params = { adding = { tens = 20 } }

[[camera]]
name = "door"
source = "pattern:64x48@10"
pipeline = "p"
rate = 5
roi = [8, 8, 40, 48]
mask = [[[0, 0], [9, 0], [0, 9]]]

[[camera]]
name = "yard"
source = "rtsp://me:secret@192.0.2.7/stream"
pipeline = "p"
enabled = false

[[sink]]
name = "lines"
path = "out/deep/lines.jsonl"
cameras = ["door"]
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    adding.write_all(tmp_path)
    adding.write_pipeline(tmp_path, 30, "q.toml")
    (tmp_path / "daemon.toml").write_text(GOOD)
    return tmp_path


def uncommented() -> str:
    """The example with its tables in force: what looks like TOML behind a mark is taken for it."""
    mark = re.compile(r"^# (?=\[\[|[a-z_]+ +=)", re.MULTILINE)
    return mark.sub("", EXAMPLE.read_text())


def test_a_good_file_is_shown_as_it_would_run(site: Path) -> None:
    done = run("config", "check", "daemon.toml", cwd=site)
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert "q.toml" in rows["p"], "the smaller one is planned too"
    assert "32x40, 1280x720" in rows["p"], "what is looked at, and what is not known"
    assert "letterbox, m, adding" in rows["p"]
    assert re.search(r"pattern:64x48@10 +64x48 +p +5 +lines", rows["door"])
    assert re.search(r"me:\*\*\*@192.0.2.7/stream +not known +off +all +none", rows["yard"])
    assert "out/deep/lines.jsonl" in rows["lines"]
    assert rows["daemon.toml:"] == "daemon.toml: good; 1 camera would run"
    assert "secret" not in done.stdout + done.stderr
    assert "note: camera yard: no sink takes its results" in done.stderr
    assert not (site / "out").exists(), "nothing is made"


def test_all_that_is_wrong_is_told_at_once(site: Path) -> None:
    (site / "file").write_text("")
    (site / "bad.toml").write_text('[pipeline]\nname = "b"\n[[stage]]\nguest = "mns"\n')
    text = (
        GOOD.replace('profile = "generic"', 'profile = "pie"')
        .replace("rate = 5", "rate = -5")
        .replace("tens = 20", "tens = 91")
        .replace('cameras = ["door"]', 'cameras = ["door", "dor"]')
        .replace("out/deep", "file")
    )
    text += """
[[pipeline]]
name = "bad"
file = "bad.toml"
[[pipeline]]
name = "gone"
file = "gone.toml"
params = { nms = { iou = 1 } }
[[camera]]
name = "a"
source = "pattern:64x48@10"
pipeline = "p"
roi = [8, 8, 65, 48]
[[camera]]
name = "b"
source = "walk.mp4"
pipeline = "pp"
[[camera]]
name = "c"
source = "/dev/video0?widht=640"
pipeline = "p"
[[camera]]
name = "d"
source = "ftp://x/y"
pipeline = "p"
[[camera]]
name = "e"
source = "pattern:64x48@10"
pipeline = "p"
mask = [[[64, 0], [70, 0], [70, 20]]]
[camara]
name = "f"
"""
    (site / "daemon.toml").write_text(text)
    done = run("config", "check", site / "daemon.toml", code=2)
    assert done.stdout == ""
    told = [line for line in done.stderr.splitlines() if line.startswith("sanderling: ")]
    wanted = [
        "daemon.toml: camera 1: rate: must be at least 0",
        "unknown key 'camara'; known are daemon, pipeline, camera, sink; did you mean 'camera'?",
        "camera b: there is no pipeline 'pp'; there is: p, bad, gone",
        "sink lines: there is no camera 'dor'; there is: yard, a, b, c, d, e",
        "daemon.profile: profile 'pie'",
        "camera a: roi: 8, 8 to 65, 48 is not inside its frames of 64 x 48",
        "camera b: ",
        "there is no option widht",
        "camera d: ftp://x/y: streams are http://",
        "camera e: mask: the polygon from 64, 0 on is outside of its frames of 64 x 48",
        "params.tens: 91",
        "guest 'mns'",
        "gone.toml: cannot be read",
        "sink lines: ",
    ]
    for words in wanted:
        assert any(words in line for line in told), (words, told)
    assert "door" not in "".join(told), "what names a broken table is not blamed"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[daemon", "not TOML"),
        ("[camera]\nname = 'a'", "camera: write [[camera]], with two brackets"),
        ("[[daemon]]", "daemon: write [daemon], with one bracket"),
        ("pipeline = 1", "pipeline: must be a list, not a whole number"),
        ("camera = [1]", "camera 1: must be a table, not a whole number"),
        ("a." * 5000 + "b = 1", "more than 64 parts"),
        ("[[camera]]\nname = 'a'\nname = 'b'", "not TOML"),
        ("[daemon]\nprofile = 1979-05-27", "must be a text"),
    ],
)
def test_what_is_no_configuration_costs_a_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "d.toml").write_text(text)
    assert words in refused("config", "check", "d.toml", cwd=tmp_path)


def test_a_file_that_is_not_there_costs_a_line(tmp_path: Path) -> None:
    assert "cannot be read" in refused("config", "check", tmp_path / "gone.toml")
    assert "cannot be read" in refused("config", "check", tmp_path)


def test_a_frame_that_a_pipeline_cannot_take_is_a_problem(site: Path) -> None:
    hostile.write(site, memory_mb=1)
    hostile.pipeline(site).replace(site / "p.toml")
    text = GOOD.replace("64x48@10", "64x48@10?size=64x48,2000x1000")
    for line in (
        'smaller = "q.toml"',
        "params = { adding = { tens = 20 } }",
        "roi = [8, 8, 40, 48]",
    ):
        text = text.replace(f"{line}\n", "")
    (site / "daemon.toml").write_text(text)
    done = run("config", "check", "daemon.toml", cwd=site, code=2)
    assert "pipeline p: frames of 2000 x 1000: " in done.stderr


def test_a_sink_that_may_not_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    (tmp_path / "lines").touch(mode=0o400)
    root = os.getuid() == 0
    if root:
        preflight._check_writable(tmp_path / "out" / "lines")  # root may write everywhere
        os.setresuid(65534, 0, 0)  # it is the real user who is asked about
    try:
        for path in (tmp_path / "out" / "deep" / "lines", tmp_path / "lines"):
            with pytest.raises(OutputError, match="may not be written by this user"):
                preflight._check_writable(path)
    finally:
        if root:
            os.setresuid(0, 0, 0)


def test_a_pipeline_file_is_checked_too(site: Path) -> None:
    told = run("config", "check", "p.toml", "--frame", "320x240", cwd=site).stdout
    assert re.search(r"^adding +p.toml +320x240", told, re.MULTILINE)
    assert told.endswith("p.toml: good\n")
    (site / "p.toml").write_text('[[stage]]\nguest = "letterbox"\n')
    assert "missing the table [pipeline]" in refused("config", "check", site / "p.toml")
    assert "--frame" in refused("config", "check", site / "p.toml", "--frame", "big")


def test_the_example_that_is_installed_is_good() -> None:
    told = run("config", "check", EXAMPLE).stdout
    assert told.endswith("good; 0 cameras would run\n")


def test_the_example_s_tables_are_right_once_they_are_in_force(tmp_path: Path) -> None:
    file = daemonfile.parse(uncommented().encode(), "daemon.toml")
    assert [camera.name for camera in file.cameras] == ["door"]
    assert [pipeline.name for pipeline in file.pipelines] == ["faces"]
    assert [sink.name for sink in file.sinks] == ["log"]
    (tmp_path / "daemon.toml").write_text(
        uncommented().replace("/etc/sanderling/faces.toml", str(ROOT / "examples" / "faces.toml"))
    )
    report = preflight.check(tmp_path / "daemon.toml", board.read())
    assert report.problems == []


def test_what_is_told_of_the_whole_is_what_the_daemon_tells(site: Path) -> None:
    """The daemon stops at the first fault; the check tells the same one, and others."""
    path = site / "daemon.toml"
    for old, new in [
        ('pipeline = "p"\nrate', 'pipeline = "q"\nrate'),
        ("[8, 8, 40, 48]", "[8, 8, 8, 48]"),
        ('name = "yard"', 'name = "door"'),
    ]:
        data = GOOD.replace(old, new).encode()
        with pytest.raises(ConfigError) as caught:
            daemonfile.parse(data, str(path))
        assert daemonfile.inspect_all(data, str(path))[1] == [str(caught.value)]


def test_the_schema_in_the_documents_is_the_one_that_is_printed() -> None:
    assert run("config", "schema").stdout == SCHEMA.read_text()


def test_editors_accept_what_is_right_and_mark_what_is_wrong() -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    judge = jsonschema.Draft202012Validator(schema)
    for text in (GOOD, EXAMPLE.read_text(), uncommented()):
        assert list(judge.iter_errors(tomllib.loads(text))) == []
    for old, new in [
        ("rate = 5", "rate = -5"),
        ("rate = 5", "speed = 5"),
        ('name = "door"', 'name = "front door"'),
        ('name = "door"\n', ""),
        ("[8, 8, 40, 48]", "[8, 8, 40]"),
        ("[daemon]", "[deamon]"),
        ("[daemon]", '[daemon]\nlog_format = "xml"'),
    ]:
        assert list(judge.iter_errors(tomllib.loads(GOOD.replace(old, new)))), new


def test_every_key_is_described_for_editors() -> None:
    for table in json.loads(SCHEMA.read_text())["$defs"].values():
        assert table["description"]
        for key, said in table["properties"].items():
            assert said["description"], key


def test_a_configuration_that_runs_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "daemon.toml").write_text("[daemon]\n")
    done = run("config", "check", "daemon.toml", cwd=tmp_path)
    assert "no camera is enabled: nothing would run" in done.stderr


def test_a_table_that_cannot_be_read_lets_no_other_look_unused(tmp_path: Path) -> None:
    (tmp_path / "daemon.toml").write_text(
        '[[pipeline]]\nname = "p"\nfile = "p.toml"\n[[camera]]\nname = "a"\nrate = -1\n'
        'source = "pattern:64x48"\npipeline = "p"\n'
    )
    adding.write_all(tmp_path)
    done = run("config", "check", "daemon.toml", cwd=tmp_path, code=2)
    assert "no camera uses it" not in done.stderr
    assert "rate: must be at least 0" in done.stderr
