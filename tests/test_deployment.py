"""From one configuration to another while cameras run: what changes, and that nothing is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import adding
import hostile
from sanderling import daemonfile, stages
from sanderling.deployment import Deployment
from sanderling.errors import ConfigError, InputError
from sanderling.profile import Preferred

WAIT_S = 40

BASE = """
[[pipeline]]
name = "p"
file = "p.toml"
[[camera]]
name = "a"
source = "pattern:64x48@100"
pipeline = "p"
policy = "block"
[[camera]]
name = "b"
source = "pattern:64x32@100"
pipeline = "p"
policy = "block"
[[sink]]
name = "lines"
path = "out/lines.jsonl"
"""


class Site:
    """A deployment in a folder, and what it has written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[tuple[str, str, str]] = []
        self.deployment = Deployment(
            folder / "daemon.toml", 2, Preferred(), lambda *what: self.told.append(what)
        )

    def apply(self, text: str) -> list[str]:
        return self.deployment.apply(daemonfile.parse(text.encode(), "daemon.toml"))

    def lines(self, camera: str) -> list[dict]:
        path = self.folder / "out" / "lines.jsonl"
        text = path.read_text() if path.exists() else ""
        found = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return [line for line in found if line["camera"] == camera]

    def sums(self, camera: str) -> list[int]:
        return [line["tensors"]["sum"][0] for line in self.lines(camera)]

    def wait(self, for_what: Callable[[], object]) -> None:
        until = time.monotonic() + WAIT_S
        while not for_what():
            assert time.monotonic() < until, self.told
            time.sleep(0.01)

    def grows(self, camera: str, by: int = 5) -> None:
        before = len(self.lines(camera))
        self.wait(lambda: len(self.lines(camera)) >= before + by)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    adding.write_all(tmp_path)
    made = Site(tmp_path)
    yield made
    assert made.deployment.stop(WAIT_S)


def whole(site: Site, camera: str) -> None:
    """Nothing of the camera's was lost, from the first frame to the last."""
    numbers = [line["frame"] for line in site.lines(camera)]
    assert numbers == list(range(len(numbers)))
    counts = site.deployment.counts()[camera]
    assert counts["dropped"] == counts["failed"] == {}


def test_results_of_all_cameras_are_written(site: Site) -> None:
    words = site.apply(BASE)
    assert words == ["sink lines: started", "pipeline p: started", "camera a: started",
                     "camera b: started"]  # fmt: skip
    site.grows("a")
    site.grows("b")
    assert set(site.sums("a") + site.sums("b")) == {111}
    line = site.lines("a")[0]
    assert list(line)[:3] == ["camera", "time", "frame"]
    assert line["time"].endswith("Z")


def test_the_same_file_again_changes_nothing(site: Site) -> None:
    site.apply(BASE)
    assert site.apply(BASE) == []
    assert not site.deployment.changed()


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda folder: adding.write_model(folder, 2), 112),
        (lambda folder: adding.write_guest(folder, 2), 211),
        (lambda folder: adding.write_pipeline(folder, 20), 121),
    ],
    ids=["model", "guest", "threshold"],
)
def test_a_changed_part_takes_over_between_two_frames(
    site: Site, change: Callable[[Path], object], wanted: int
) -> None:
    site.apply(BASE)
    site.grows("a")
    assert not site.deployment.changed()
    change(site.folder)
    assert not site.deployment.changed(), "it may be half a file"
    assert site.deployment.changed()
    assert site.apply(BASE) == ["pipeline p: changed"]
    site.wait(lambda: wanted in site.sums("a") and wanted in site.sums("b"))
    for camera in ("a", "b"):
        sums = site.sums(camera)
        assert sums == sorted(sums, key=[111, wanted].index), "old ones, then new ones"
        whole(site, camera)


def test_a_part_that_is_written_while_it_is_read_is_seen(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = stages.load_file

    def meanwhile(*args: object, **named: object) -> object:
        loaded = load(*args, **named)
        adding.write_model(site.folder, 3)
        return loaded

    monkeypatch.setattr(stages, "load_file", meanwhile)
    site.apply(BASE)
    monkeypatch.undo()
    site.deployment.changed()
    assert site.deployment.changed(), "what runs is the model of before"
    site.apply(BASE)
    site.wait(lambda: 113 in site.sums("a"))
    assert not any(site.deployment.changed() for _ in range(3))


def test_a_parameter_in_the_daemon_s_file_wins(site: Site) -> None:
    site.apply(BASE)
    site.grows("a")
    over = BASE.replace('file = "p.toml"', 'file = "p.toml"\nparams = { adding = { tens = 70 } }')
    assert site.apply(over) == ["pipeline p: changed"]
    site.wait(lambda: 171 in site.sums("a"))
    whole(site, "a")
    with pytest.raises(ConfigError, match=r"params\.nope: .* has no such stage; it has: letterbox"):
        site.apply(over.replace("adding =", "nope ="))


def test_a_camera_that_changes_leaves_the_others_alone(site: Site) -> None:
    site.apply(BASE)
    site.grows("a")
    other = BASE.replace("pattern:64x32@100", "pattern:80x48@50")
    assert site.apply(other) == ["camera b: started anew"]
    site.grows("b")
    slower = other.replace('name = "b"', 'name = "b"\nrate = 10\nroi = [0, 0, 16, 16]')
    assert site.apply(slower) == ["camera b: changed"]
    site.wait(lambda: site.deployment.counts()["b"]["dropped"])
    gone = BASE[: BASE.index('[[camera]]\nname = "b"')] + BASE[BASE.index("[[sink]]") :]
    assert site.apply(gone) == ["camera b: stopped"]
    assert "b" not in site.deployment.counts()
    off = BASE.replace('name = "b"', 'name = "b"\nenabled = false')
    assert site.apply(off) == []
    assert site.apply(BASE) == ["camera b: started"]
    site.grows("a")
    whole(site, "a")


def test_a_mode_that_changes_moves_the_cameras_to_other_lanes(site: Site) -> None:
    site.apply(BASE)
    site.grows("a")
    other = BASE.replace('file = "p.toml"', 'file = "p.toml"\nmode = "throughput"')
    assert site.apply(other) == ["pipeline p: changed"]
    site.grows("a")
    site.grows("b")
    for camera in ("a", "b"):
        whole(site, camera)


def test_a_camera_goes_over_to_another_pipeline(site: Site) -> None:
    adding.write_pipeline(site.folder, 50, "q.toml")
    site.apply(BASE)
    site.grows("a")
    two = '[[pipeline]]\nname = "q"\nfile = "q.toml"\n' + BASE
    moved = two.replace('@100"\npipeline = "p"', '@100"\npipeline = "q"', 1)
    assert site.apply(moved) == ["pipeline q: started", "camera a: changed"]
    site.wait(lambda: 151 in site.sums("a"))
    site.grows("b")
    whole(site, "a")
    whole(site, "b")
    assert set(site.sums("b")) == {111}
    assert site.apply(BASE) == ["camera a: changed", "pipeline q: taken away"]
    site.grows("a")
    whole(site, "a")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: adding.put(folder / "p.toml", b"[pipeline"), "not TOML"),
        (lambda folder: adding.put(folder / "m.onnx", b"junk"), "not an ONNX model"),
        (lambda folder: adding.put(folder / "adding.wasm", b"junk"), "not a WebAssembly file"),
        (lambda folder: (folder / "p.toml").unlink(), "cannot be read"),
        (lambda folder: adding.write_pipeline(folder, 99), "params.tens"),
    ],
)
def test_what_cannot_run_is_refused_and_all_goes_on(
    site: Site, spoil: Callable[[Path], object], words: str
) -> None:
    site.apply(BASE)
    site.grows("a")
    spoil(site.folder)
    # Together with a change that could be made, which then must not be.
    other = BASE.replace("pattern:64x32@100", "pattern:80x48@50")
    with pytest.raises(InputError) as caught:
        site.apply(other)
    assert words in str(caught.value)
    assert not any(site.deployment.changed() for _ in range(3)), "it is refused once"
    site.grows("a")
    site.grows("b")
    for camera in ("a", "b"):
        whole(site, camera)
        assert set(site.sums(camera)) == {111}
    adding.write_all(site.folder)
    adding.write_pipeline(site.folder, 30)
    assert site.apply(other) == ["pipeline p: changed", "camera b: started anew"]
    site.wait(lambda: 131 in site.sums("a"))
    whole(site, "a")


def test_a_camera_that_is_not_there_keeps_nobody_from_running(site: Site) -> None:
    text = BASE.replace("pattern:64x32@100", "later.mp4")
    site.apply(text)
    site.grows("a")
    (told,) = site.told[-1:] if site.told[-1][0] == "camera_failed" else site.told[:1]
    assert told[:2] == ("camera_failed", "b")
    assert "later.mp4" in told[2]
    assert "no such" in told[2]
    assert "b" not in site.deployment.counts()
    from sanderling import imaging

    frame = hostile_frame()
    writer = imaging.VideoWriter(site.folder / "later.mp4", 25, frame)
    for _ in range(10):
        writer.write(frame)
    writer.close()
    site.deployment.look_after()
    site.wait(lambda: len(site.lines("b")) == 10)
    site.wait(lambda: site.deployment.look_after() or site.told[-1][0] == "camera_ended")
    assert site.told[-1][:2] == ("camera_ended", "b")
    site.deployment.look_after()
    assert [told[0] for told in site.told].count("camera_ended") == 1
    whole(site, "a")


def hostile_frame():
    import numpy as np

    return np.full((48, 64, 3), 90, np.uint8)


def test_a_source_that_breaks_off_is_told_and_comes_back(site: Site) -> None:
    site.apply(BASE.replace("pattern:64x32@100", "pattern:64x32@100?flap=20"))
    site.wait(lambda: [told[0] for told in site.told].count("camera_connected") >= 4)
    kinds = [told[0] for told in site.told if told[1] == "b"]
    assert "camera_lost" in kinds
    site.grows("a")
    whole(site, "a")


def test_a_guest_that_traps_costs_its_frames_alone(site: Site, tmp_path: Path) -> None:
    hostile.write(tmp_path)
    hostile.pipeline(tmp_path)
    text = '[[pipeline]]\nname = "h"\nfile = "pipeline.toml"\n' + BASE
    text = text.replace('pattern:64x32@100"\npipeline = "p"', 'pattern:64x32@100"\npipeline = "h"')
    site.apply(text)
    site.grows("a")
    site.wait(lambda: site.deployment.counts()["b"]["captured"] > 20)
    whole(site, "a")


def test_less_is_asked_of_the_board_and_all_again(site: Site) -> None:
    adding.write_pipeline(site.folder, 90, "small.toml")
    text = BASE.replace('file = "p.toml"', 'file = "p.toml"\nsmaller = "small.toml"')
    site.apply(text)
    assert site.deployment.has_smaller
    site.grows("a")
    site.deployment.ease(0.5, smaller=False)
    site.wait(lambda: site.deployment.counts()["a"]["dropped"].get("rate", 0) > 5)
    site.deployment.ease(0.25, smaller=True)
    site.wait(lambda: 191 in site.sums("a"))
    assert not site.deployment.changed()
    assert site.apply(text) == [], "a reload while it is hot leaves the smaller one"
    site.deployment.ease(1.0, smaller=False)
    before = len(site.sums("a"))
    site.wait(lambda: 111 in site.sums("a")[before:])
    assert site.deployment.counts()["a"]["failed"] == {}


def test_a_sink_that_is_down_costs_no_frame(site: Site) -> None:
    (site.folder / "out").write_text("a file where the folder should be")
    site.apply(BASE)
    site.wait(lambda: site.deployment.counts()["a"]["processed"] > 20)
    assert [told for told in site.told if told[0] == "sink_down"] == [
        ("sink_down", "lines", f"{site.folder}/out/lines.jsonl: cannot be written: File exists")
    ]
    (site.folder / "out").unlink()
    site.grows("a")
    assert ("sink_up", "lines", "it takes results again") in site.told
    counts = site.deployment.counts()["a"]
    assert counts["dropped"] == counts["failed"] == {}


def test_a_file_that_was_moved_away_is_begun_anew(site: Site) -> None:
    site.apply(BASE)
    site.grows("a")
    path = site.folder / "out" / "lines.jsonl"
    path.rename(site.folder / "old.jsonl")
    site.wait(path.exists)
    site.grows("a")
    lines = (site.folder / "old.jsonl").read_text() + path.read_text()
    numbers = [
        line["frame"] for line in map(json.loads, lines.splitlines()) if line["camera"] == "a"
    ]
    assert numbers == list(range(len(numbers)))


def test_what_goes_leaves_its_last_counts(site: Site) -> None:
    last: list[tuple[str, str, dict]] = []
    site.deployment._last = lambda *what: last.append(what)
    site.apply(BASE)
    site.grows("a")
    other = BASE.replace("64x48@100", "80x48@100").replace("lines.jsonl", "more.jsonl")
    site.apply(other)
    assert [(kind, name) for kind, name, _ in last] == [("camera", "a"), ("sink", "lines")]
    counts, written = last[0][2], last[1][2]
    assert counts["waiting"] == 0
    assert counts["captured"] == counts["processed"] + sum(counts["dropped"].values())
    assert written["written"] >= counts["processed"]
    assert written["lost"] == 0


def test_a_camera_that_cannot_be_opened_is_told_once(site: Site) -> None:
    site.apply(BASE.replace("pattern:64x32@100", "gone.mp4"))
    for _ in range(3):
        site.deployment.look_after()
    assert [told[0] for told in site.told].count("camera_failed") == 1
