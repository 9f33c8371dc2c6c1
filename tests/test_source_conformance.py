"""Every kind of source keeps every promise of the interface."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import rtsp
import source_suite
import streams
import system
from sanderling import imaging, pattern
from sanderling.persist import Persistent
from sanderling.source import Source
from sanderling.sources import open_source
from sanderling.sources.libcamera import Launched
from sanderling.sources.pattern import parse
from sanderling.sources.pushed import Pushed
from source_suite import Kind

FRAMES = 8


@pytest.fixture(scope="module")
def rtsp_url() -> Iterator[str]:
    with rtsp.Server(
        lambda number: pattern.render(number, 120, 160), size=(160, 120), fps=25
    ) as server:
        yield server.url


def fed() -> Source:
    """A source to which a thread pushes until it is closed."""
    source = Pushed("door")

    def feed() -> None:
        number = 0
        while not source.closed:
            number += source.push(pattern.render(number, 48, 64))

    threading.Thread(target=feed).start()
    return source


class TestConformance(source_suite.Suite):
    @pytest.fixture(
        params=[
            *("folder", "video", "pattern", "live pattern", "pushed", "unix", "launched", "http"),
            *("rtsp", "persistent pattern", "persistent rtsp"),
        ]
    )
    def kind(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kind]:
        with contextlib.ExitStack() as stack:
            name = str(request.param).replace(" ", "_")
            yield getattr(self, f"_{name}")(request, tmp_path, stack)

    def _folder(self, request, tmp_path, stack) -> Kind:
        for number in range(FRAMES):
            image = pattern.render(number, 48, 64)
            (tmp_path / f"{number}.png").write_bytes(imaging.encode_image(image, ".png"))
        return Kind(lambda: open_source(str(tmp_path)), str(tmp_path), FRAMES)

    def _video(self, request, tmp_path, stack) -> Kind:
        path = tmp_path / "a.mp4"
        writer = imaging.VideoWriter(path, 25, pattern.render(0, 48, 64))
        for number in range(FRAMES):
            writer.write(pattern.render(number, 48, 64))
        writer.close()
        return Kind(lambda: open_source(str(path)), str(path), FRAMES)

    def _pattern(self, request, tmp_path, stack) -> Kind:
        where = f"pattern:64x48?frames={FRAMES}"
        return Kind(lambda: open_source(where), where, FRAMES)

    def _live_pattern(self, request, tmp_path, stack) -> Kind:
        return Kind(lambda: open_source("pattern:64x48@200"), "pattern:64x48@200")

    def _pushed(self, request, tmp_path, stack) -> Kind:
        return Kind(fed, "door")

    def _unix(self, request, tmp_path, stack) -> Kind:
        path = tmp_path / "s"
        stack.enter_context(streams.pushing(path))
        return Kind(lambda: open_source(f"unix:{path}"), str(path))

    def _launched(self, request, tmp_path, stack) -> Kind:
        system.require("gst-launch-1.0", rtsp.PACKAGES)
        # 65 pixels: rows with padding
        return Kind(
            lambda: Launched(
                "libcamera:", ["videotestsrc", "is-live=true"], width=65, height=48, fps=60
            ),
            "libcamera:",
        )

    def _http(self, request, tmp_path, stack) -> Kind:
        # One visitor a server: each opening is a new one.
        return Kind(
            lambda: open_source(stack.enter_context(streams.mjpeg_by_ffmpeg())), "http://127.0.0.1"
        )

    def _rtsp(self, request, tmp_path, stack) -> Kind:
        url = request.getfixturevalue("rtsp_url")
        return Kind(lambda: rtsp.visit(url), url)

    def _persistent_pattern(self, request, tmp_path, stack) -> Kind:
        where = f"pattern:64x48@200?frames={FRAMES}"
        return Kind(lambda: Persistent(lambda: parse(where), name=where), where, FRAMES)

    def _persistent_rtsp(self, request, tmp_path, stack) -> Kind:
        url = request.getfixturevalue("rtsp_url")
        return Kind(lambda: Persistent(lambda: rtsp.visit(url), name=url), url)


def test_a_source_that_gives_nothing_ends_when_it_is_closed(tmp_path: Path) -> None:
    source_suite.wakes(Pushed("door"))
    source_suite.wakes(open_source(f"unix:{tmp_path}/s"))
    source_suite.wakes(open_source("pattern:64x48@0.1"))
    source_suite.wakes(open_source("pattern:64x48?stall=2"))
    source_suite.wakes(Persistent(lambda: open_source("/nowhere"), name="nowhere"))


def test_a_stream_that_gives_nothing_ends_when_it_is_closed() -> None:
    with rtsp.Server(lambda number: pattern.render(number, 120, 160), size=(160, 120)) as server:
        source = rtsp.visit(server.url)
        source_suite.grabbed(source)
        server.pause()
        source_suite.wakes(source)
        server.resume()


def test_gstreamer_without_a_camera_says_what_to_install() -> None:
    system.require("gst-launch-1.0", rtsp.PACKAGES)
    source = Launched("libcamera:", ["nosuchsrc"], width=64, height=48, fps=10)
    with pytest.raises(source_suite.SourceError, match=r"no element.*install.*gstreamer1.0-libcam"):
        source.grab()
    assert source.grab() is None
    source.close()


def test_gstreamer_that_ends_is_a_source_that_is_lost() -> None:
    system.require("gst-launch-1.0", rtsp.PACKAGES)
    source = Launched("libcamera:", ["videotestsrc", "num-buffers=3"], width=64, height=48, fps=10)
    with pytest.raises(source_suite.SourceError, match=r"libcamera:: gst-launch-1\.0: it ended"):
        list(source.frames())
    assert source.grab() is None
    source.close()
