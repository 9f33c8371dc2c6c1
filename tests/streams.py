"""Things that give frames to a source under test: real files, servers, and other processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import rtsp
import system
from source_suite import until

PUSH = """
import sys, time
import numpy as np
from sanderling import pattern
from sanderling.push import Pusher

with Pusher(sys.argv[1]) as pusher:
    number = 0
    while True:
        image = pattern.render(number, 48, 64)
        if pusher.push(image, wait_s=1.0):
            number += 1
        else:
            time.sleep(0.005)
"""


@contextlib.contextmanager
def running(*command: object, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A child process that is killed at the end."""
    child = subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **options,
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGCONT)
        child.kill()
        child.wait()


@contextlib.contextmanager
def pushing(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that pushes the test pattern, 64x48, as fast as it is taken."""
    with running(sys.executable, "-c", PUSH, path) as child:
        yield child


def listens(port: int) -> bool:
    """Whether somebody listens at this port: asked of the kernel, some serve one visitor only."""
    mine = f":{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(row[1].endswith(mine) and row[3] == "0A" for row in rows)


@contextlib.contextmanager
def mjpeg_by_ffmpeg() -> Iterator[str]:
    """An MJPEG stream over HTTP from ffmpeg, 64x48 at 25 fps, for one visitor; its address."""
    ffmpeg = system.require("ffmpeg", "ffmpeg")
    port = rtsp.free_port()
    url = f"http://127.0.0.1:{port}/"
    with running(
        *(ffmpeg, "-re", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=25"),
        *("-c:v", "mjpeg", "-f", "mpjpeg", "-listen", "1"),
        *("-content_type", "multipart/x-mixed-replace;boundary=ffmpeg", url),
    ):
        until(lambda: listens(port), "ffmpeg listens")
        yield url


@contextlib.contextmanager
def http(write: Callable[[Callable[[bytes], object]], None]) -> Iterator[str]:
    """An HTTP server that sends what a test writes as multipart MJPEG; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace;boundary=b")
            self.end_headers()
            with contextlib.suppress(OSError):
                write(self.wfile.write)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def part(jpeg: bytes) -> bytes:
    """A JPEG as a part of a multipart stream."""
    head = f"--b\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
    return head.encode() + jpeg + b"\r\n"
