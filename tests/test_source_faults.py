"""Streams and cameras that vanish, hang, send garbage, or change in mid-stream."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import rtsp
import source_suite
import streams
from sanderling import capture, imaging, pattern
from sanderling.errors import SourceError
from sanderling.persist import Backoff, Change
from sanderling.source import Source
from sanderling.sources import open_persistent, open_source
from sanderling.sources.camera import Stream, parse_camera
from sanderling.sources.pattern import Pattern
from sanderling.text import masked


def quick() -> Backoff:
    return Backoff(first_s=0.05, most_s=0.2)


def number_of(source: Source) -> int | None:
    return pattern.read_number(source.retrieve())


def test_an_rtsp_server_that_dies_and_comes_back_is_found_again() -> None:
    told: list[Change] = []
    server = rtsp.Server(lambda number: pattern.render(number, 240, 320), size=(320, 240), fps=30)
    with (
        server,
        source_suite.closing(
            open_persistent(server.url, backoff=quick(), on_change=told.append)
        ) as source,
    ):
        last, sequence = -1, -1
        for life in range(3):
            seen = 0
            while seen < 10:
                stamp = source_suite.grabbed(source)
                assert stamp.sequence == sequence + 1
                sequence = stamp.sequence
                number = number_of(source)
                assert number is not None, "the number did not survive H.264"
                assert number > last
                last = number
                if seen or stamp.restarted or life == 0:  # else still of the life before
                    seen += 1
            if life < 2:
                server.kill()
                server.start()
    assert [change.state for change in told if change.state != "retrying"] == [
        *("connected", "lost", "connected", "lost", "connected")
    ]


def test_an_rtsp_server_that_stands_still_is_found_out() -> None:
    told: list[Change] = []
    server = rtsp.Server(lambda number: pattern.render(number, 120, 160), size=(160, 120), fps=30)
    with (
        server,
        source_suite.closing(
            open_persistent(server.url, stall_s=2.0, backoff=quick(), on_change=told.append)
        ) as source,
    ):
        for _ in range(5):
            source_suite.grabbed(source)
        server.pause()
        waker = threading.Timer(3.0, server.resume)
        waker.start()
        sequences = []
        while not (sequences and sequences[-1].restarted):
            sequences.append(source_suite.grabbed(source))
        waker.join()
    assert [stamp.sequence for stamp in sequences] == list(range(5, 5 + len(sequences)))
    assert told[1].reason == "nothing came for 2 s"
    assert told[-1].state == "connected"


def test_a_stream_that_asks_for_a_password_gets_it_and_nobody_else_does() -> None:
    with rtsp.Server(
        lambda number: pattern.render(number, 120, 160),
        size=(160, 120),
        user_password=("me", "s3cret"),
    ) as server:
        with source_suite.closing(rtsp.visit(server.url)) as source:
            assert source_suite.grabbed(source).name == server.url.replace("s3cret", "***")
        with pytest.raises(SourceError, match=r"me:\*\*\*@127.*cannot be opened") as caught:
            open_source(server.url.replace("s3cret", "wr0ng"))
        assert "wr0ng" not in str(caught.value)


def test_a_stream_that_changes_its_resolution_goes_on_in_its_first() -> None:
    sizes = [(240, 320), (480, 640), (120, 160)]

    def write(send: Callable[[bytes], object]) -> None:
        for number in itertools.count():
            image = pattern.render(number, *sizes[number // 10 % 3])
            send(streams.part(imaging.encode_image(image, ".jpg")))

    with streams.http(write) as url, source_suite.closing(open_source(url)) as source:
        given = np.empty((240, 320, 3), np.uint8)
        for number in range(60):
            source_suite.grabbed(source)
            assert source.retrieve(given) is given, "OpenCV fits it to the first"
            assert pattern.read_number(given) == number


def test_a_stream_that_breaks_off_is_an_error_and_then_the_end() -> None:
    def write(send: Callable[[bytes], object]) -> None:
        for number in range(30):
            send(streams.part(imaging.encode_image(pattern.render(number, 48, 64), ".jpg")))

    with streams.http(write) as url, source_suite.closing(open_source(url)) as source:
        with pytest.raises(SourceError, match=r"127.*broke off, after \d+ frames"):
            list(source.frames())
        assert source.grab() is None


@contextlib.contextmanager
def server(answer: bytes) -> Iterator[str]:
    """A TCP server that says the same to everybody, and then listens for ever; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    kept.append(connection)
                    if answer:
                        connection.sendall(answer)
                        connection.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}/x"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()


GARBAGE = np.random.default_rng(1).bytes(100_000)


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
@pytest.mark.parametrize(
    "answer",
    [
        b"\0",
        GARBAGE,
        b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n\r\n" + GARBAGE,
        b"HTTP/1.0 404 Not Found\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 99999999999\r\n\r\nv=0",
    ],
    ids=["a byte", "noise", "noise over HTTP", "not found", "a length that lies"],
)
def test_garbage_instead_of_a_stream_is_an_error(scheme: str, answer: bytes) -> None:
    with server(answer) as address, pytest.raises(SourceError, match=r"127\.0\.0\.1.*cannot"):
        Stream(f"{scheme}://{address}", open_s=1, read_s=1)


def test_a_server_that_says_nothing_costs_no_more_than_the_limit() -> None:
    with server(b"") as address, pytest.raises(SourceError, match=r"127.*(answer|opened)"):
        Stream(f"rtsp://{address}", open_s=0.3, read_s=0.3)


@pytest.mark.parametrize(
    "where",
    [
        *("/dev/video99", "99", "99?width=640&fourcc=MJPG", "rtsp://me:pw@127.0.0.1:1/x"),
        *(
            "http://127.0.0.1:1/",
            "gopher://x",
            "ftp://me:pw@x/",
            "/dev/null",
            "/dev/video0?depth=3",
        ),
        *("0?width=0", "0?width=99999", "0?fps=x", "0?fourcc=MJPEG", "0?width", "0?fps=1&fps=2"),
        *("/dev/video0?depth=3", "pattern:8x8"),
        *("pattern:640", "pattern:640x480@x", "pattern:640x480?flip=3", "pattern:99999x99999"),
        *("pattern:640x480@999999", "pattern:640x480?size=64", "pattern:640x480?frames=0"),
        *("unix:", "unix:s.sock", "unix:/nowhere/s.sock", "unix:/" + 200 * "x", "unix:/tmp"),
        *("libcamera:a!b", "libcamera:?width=1", "libcamera:1?fps=0"),
    ],
)
def test_what_is_written_wrongly_or_not_there_is_named(where: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(where)
    said = str(caught.value)
    assert said.startswith((masked(where.partition("?")[0]), "/dev/video99"))
    assert "pw" not in said


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://me:pw@host:554/x", "rtsp://me:***@host:554/x"),
        ("rtsp://me:p@w@host/x", "rtsp://me:***@host/x"),
        ("rtsp://me:p/w@host/x", "rtsp://me:***@host/x"),
        ("rtsp://:pw@host", "rtsp://:***@host"),
        ("rtsp://me@host/x", "rtsp://me@host/x"),
        ("rtsp://host:554/a@b", "rtsp://host:554/a@b"),
        ("http://h/x?user=me&pwd=pw&a=1", "http://h/x?user=me&pwd=***&a=1"),
        ("http://h/x?PASSWORD=pw#k", "http://h/x?PASSWORD=***#k"),
        ("http://h/x?access_token=pw", "http://h/x?access_token=***"),
        ("http://h/x?keyframe=1", "http://h/x?keyframe=1"),
        ("two: rtsp://a:b@c and http://d:e@f", "two: rtsp://a:***@c and http://d:***@f"),
    ],
)
def test_passwords_are_not_shown(address: str, shown: str) -> None:
    assert masked(address) == shown


def test_a_video_of_length_zero_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.touch()
    with pytest.raises(SourceError, match=r"a\.mp4"):
        open_source(str(path))


class Driver:
    """A V4L2 driver for want of a real one, at OpenCV's edge: what it is told, what it gives."""

    def __init__(self, frames: list[object]) -> None:
        self.frames = frames
        self.asked: dict[int, float] = {}
        self.released = 0
        self.current: object = None

    def __call__(self, address: str, backend: int, params: list[int]) -> Driver:
        self.address, self.backend = address, backend
        return self

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def get(self, key: int) -> float:
        return {capture.cv2.CAP_PROP_FPS: 30.0}.get(key, -1.0)

    def set(self, key: int, value: float) -> bool:
        self.asked[key] = value
        return False

    def grab(self) -> bool:
        if not self.frames:
            return False
        self.current = self.frames.pop(0)
        if isinstance(self.current, threading.Event):
            self.current.wait()
        return True

    def retrieve(self, into: object) -> tuple[bool, object]:
        if isinstance(self.current, Exception):
            raise self.current
        return self.current is not None, self.current

    def release(self) -> None:
        self.released += 1


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver([])
    monkeypatch.setattr(capture.cv2, "VideoCapture", made)
    return made


def test_a_camera_is_asked_for_what_was_written_the_format_first(driver: Driver) -> None:
    cv2 = capture.cv2
    parse_camera("2?width=1280&height=720&fps=30&fourcc=mjpg").close()
    assert (driver.address, driver.backend) == ("/dev/video2", cv2.CAP_V4L2)
    keys = [
        *(cv2.CAP_PROP_FOURCC, cv2.CAP_PROP_BUFFERSIZE),
        *(cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS),
    ]
    assert list(driver.asked) == keys
    assert list(driver.asked.values()) == [cv2.VideoWriter.fourcc(*"MJPG"), 2, 1280, 720, 30]
    assert driver.released == 1


def test_a_camera_that_is_unplugged_is_an_error_and_then_the_end(driver: Driver) -> None:
    driver.frames = [pattern.render(0, 48, 64)]
    camera = parse_camera("/dev/video0")
    assert source_suite.grabbed(camera).name == "/dev/video0"
    assert camera.retrieve().shape == (48, 64, 3)
    with pytest.raises(SourceError, match="/dev/video0: it broke off, after 1 frames"):
        camera.grab()
    assert camera.grab() is None
    source_suite.until(lambda: driver.released == 1, "the camera is released")


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (None, "cannot be decoded"),
        (capture.cv2.error("broken"), "cannot be decoded"),
        (np.empty((0, 0, 3), np.uint8), "cannot be decoded"),
        (np.zeros((48, 64), np.uint8), r"uint8 \[48, 64\] instead of"),
        (np.zeros((48, 64, 3), np.float32), "float32"),
    ],
    ids=["nothing", "an exception", "empty", "grey", "floats"],
)
def test_a_frame_that_is_garbage_costs_that_frame(
    driver: Driver, frame: object, words: str
) -> None:
    driver.frames = [frame, pattern.render(1, 48, 64)]
    with source_suite.closing(parse_camera("/dev/video0")) as camera:
        source_suite.grabbed(camera)
        with pytest.raises(SourceError, match=f"/dev/video0: .*{words}"):
            camera.retrieve()
        assert source_suite.grabbed(camera).sequence == 1
        assert number_of(camera) == 1


def test_a_camera_that_hangs_is_left_to_its_driver_until_it_returns(driver: Driver) -> None:
    hang = threading.Event()
    driver.frames = [hang]
    camera = parse_camera("/dev/video0")
    source_suite.wakes(camera)
    assert driver.released == 0, "it would be pulled from under the driver"
    hang.set()
    source_suite.until(lambda: driver.released == 1, "the camera is released")


class Time:
    """A clock that waiting moves on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def wait(self, seconds: float | None) -> bool:
        assert seconds is not None
        self.waits.append(seconds)
        self.now += seconds
        return False


@pytest.mark.parametrize("where", ["/dev/video0?x=1", "libcamera:?x=1", "pattern:64x48?x=1"])
def test_the_document_has_every_option(where: str) -> None:
    text = (Path(__file__).parents[1] / "docs/sources.md").read_text()
    with pytest.raises(SourceError, match="there is no option x; options here: ") as caught:
        open_source(where)
    options = str(caught.value).partition("options here: ")[2].split(", ")
    assert len(options) >= 3
    for option in options:
        assert re.search(rf"`{option}[`=]", text), f"docs/sources.md lacks {option}"


PICAMERA2 = """
import numpy as np

held = []

class Request:
    def __init__(self):
        held.append(self)
    def make_array(self, name):
        assert name == "main"
        return np.full((48, 64, 3), 9, np.uint8)
    def release(self):
        held.remove(self)

class Picamera2:
    def __init__(self, index):
        if index:
            raise IndexError("list index out of range")
    def create_video_configuration(self, main, controls):
        return main, controls
    def configure(self, configuration):
        main, controls = configuration
        assert main == {"format": "RGB888", "size": (64, 48)}
        assert controls == {"FrameRate": 15}
    def start(self):
        held.append(self)
    def capture_request(self):
        assert len(held) == 1, "a buffer was kept"
        return Request()
    def close(self):
        held.remove(self)
"""


def test_picamera2_gets_every_buffer_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "picamera2.py").write_text(PICAMERA2)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "picamera2", raising=False)
    where = "libcamera:?width=64&height=48&fps=15"
    with source_suite.closing(open_source(where)) as camera:
        for number in range(4):
            assert source_suite.grabbed(camera).sequence == number
            if number % 2:
                assert (camera.retrieve() == 9).all()
    assert sys.modules["picamera2"].held == []
    with pytest.raises(SourceError, match=r"libcamera:1.*: cannot be opened: list index"):
        open_source(where.replace(":", ":1"))
    monkeypatch.delitem(sys.modules, "picamera2")


@pytest.mark.parametrize("fps", [0.1, 1000.0])
def test_a_slow_and_a_fast_pattern_keep_their_times(fps: float) -> None:
    time = Time()
    source = Pattern("pattern:", fps, clock=lambda: time.now, wait=time.wait)
    for number in range(50):
        assert source_suite.grabbed(source).sequence == number
        assert number_of(source) == number
        time.now += 0.3 / fps  # what the caller takes for itself
    assert time.now == pytest.approx(50.3 / fps)
    time.now += 10 / fps
    source_suite.grabbed(source)
    assert time.waits[-1] == 0.0
    source_suite.grabbed(source)
    assert time.waits[-1] == pytest.approx(1 / fps), "the frames that were missed do not come"


def test_a_pattern_at_a_thousand_frames_a_second_loses_none() -> None:
    with source_suite.closing(open_source("pattern:64x48@1000?frames=300")) as source:
        assert [pattern.read_number(frame.image) for frame in source.frames()] == list(range(300))


def test_descriptors_do_not_pile_up_while_nothing_can_be_opened() -> None:
    wheres = ["rtsp://127.0.0.1:1/x", "http://127.0.0.1:1/", "/dev/video99", "unix:/nowhere/x"]
    before = 0
    for turn in range(4):
        for where in wheres:
            with pytest.raises(SourceError):
                open_source(where)
        if turn == 0:
            before = source_suite.descriptors()
    source_suite.until(lambda: source_suite.descriptors() <= before, "all descriptors closed")
    assert not [thread for thread in threading.enumerate() if "detached" in thread.name]


def test_a_stopped_source_leaves_no_child(tmp_path: Path) -> None:
    rtsp.system.require("gst-launch-1.0", rtsp.PACKAGES)
    from sanderling.sources.libcamera import Launched

    source = Launched("libcamera:", ["videotestsrc", "is-live=true"], width=64, height=48, fps=10)
    source_suite.grabbed(source)
    child = source._child.pid
    source.close()
    assert not os.path.exists(f"/proc/{child}")
