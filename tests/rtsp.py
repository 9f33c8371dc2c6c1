"""A real RTSP server for tests: GStreamer's, serving pictures that the test makes.

    with rtsp.Server(lambda number: pattern.render(number, 240, 320), size=(320, 240)) as server:
        source = open_source(server.url)
        ...
        server.kill()
        server.start()  # on the same port

H.264 over RTP; the pictures come at `fps`, and what is sent while nobody looks is gone. GStreamer
and its Python bindings are Debian's, so the server is a script that Debian's Python runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np

import system
from sanderling.source import Source
from sanderling.sources.camera import Stream

PYTHON = "/usr/bin/python3"
PACKAGES = (
    "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-tools gstreamer1.0-plugins-base"
    " gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
)
_SCRIPT = Path(__file__).with_name("rtsp_server.py")
_SILENT_S = 3.0
_PROBE = (
    "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst;"
    " Gst.init(None);"
    " raise SystemExit(any(Gst.ElementFactory.find(n) is None for n in ('x264enc', 'rtph264pay')))"
)


def require() -> None:
    """Skip the test, or fail it when CI=true, where there is no such server."""
    system.require("gst-launch-1.0", PACKAGES)
    if subprocess.run([PYTHON, "-c", _PROBE], capture_output=True, check=False).returncode:
        system.lacking(f"this needs GStreamer's RTSP server: apt-get install {PACKAGES}")


def free_port() -> int:
    """A TCP port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def visit(url: str) -> Source:
    """The stream at this address of a `Server`.

    About two visitors in a thousand get nothing from GStreamer's server (1.22, on a busy machine).
    FFmpeg gives up waiting for their first picture after `_SILENT_S` and calls the stream open all
    the same; they come again.
    """
    for _ in range(3):
        begin = time.monotonic()
        source = Stream(url, read_s=_SILENT_S)
        if time.monotonic() - begin < _SILENT_S:
            break
        source.close()
    else:
        source = Stream(url)
    return source


class Server:
    """Serves pictures at `url`, from `start` (or `with`) on.

    Args:
        frames: the picture of each number from 0, or the pictures, which are repeated; uint8
            `[height, width, 3]`, BGR. The numbers go on over restarts.
        size: width and height, in pixels.
        fps: frames a second.
        port: where; a free one by default.
        user_password: what the server asks for.
    """

    def __init__(
        self,
        frames: Callable[[int], np.ndarray] | Sequence[np.ndarray],
        *,
        size: tuple[int, int],
        fps: int = 25,
        port: int = 0,
        user_password: tuple[str, str] | None = None,
    ) -> None:
        require()
        self._picture = frames if callable(frames) else lambda number: frames[number % len(frames)]
        self._size = size
        self._fps = fps
        self.port = port or free_port()
        self._auth = user_password
        self._child: subprocess.Popen[bytes] | None = None
        self._feeder: threading.Thread | None = None
        self._ended = threading.Event()
        self.sent = 0

    @property
    def url(self) -> str:
        user = f"{':'.join(self._auth)}@" if self._auth else ""
        return f"rtsp://{user}127.0.0.1:{self.port}/test"

    def start(self) -> None:
        """Start it, and wait until it can be connected to."""
        width, height = self._size
        self._ended = threading.Event()
        numbers = map(str, (self.port, width, height, self._fps))
        self._child = subprocess.Popen(
            [PYTHON, str(_SCRIPT), *numbers, *(self._auth or ())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._child.stdout is not None
        with self._child.stdout as said:
            if said.readline() != b"ready\n":
                self.kill()
                raise RuntimeError("the RTSP server did not start")
        self._feeder = threading.Thread(target=self._feed, args=(self._child, self._ended))
        self._feeder.start()

    def _feed(self, child: subprocess.Popen[bytes], ended: threading.Event) -> None:
        assert child.stdin is not None
        begin, first = time.monotonic(), self.sent
        with contextlib.suppress(BrokenPipeError):
            while not ended.wait(
                max(0.0, begin + (self.sent - first) / self._fps - time.monotonic())
            ):
                child.stdin.write(self._picture(self.sent).tobytes())
                child.stdin.flush()
                self.sent += 1
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()

    def pause(self) -> None:
        """Stop the process where it stands: connections stay open and nothing comes."""
        assert self._child is not None
        os.kill(self._child.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._child is not None
        os.kill(self._child.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it without a word, as a power cut would."""
        child, self._child = self._child, None
        if child is None:
            return
        self._ended.set()
        child.kill()
        child.wait()
        if self._feeder is not None:
            self._feeder.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
