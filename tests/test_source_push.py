"""Frames pushed from Python and from other processes, well and badly behaved."""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import source_suite
import streams
import system
from sanderling import pattern, push
from sanderling.errors import OutputError, SourceError
from sanderling.push import Pusher
from sanderling.source import Source
from sanderling.sources import open_source
from sanderling.sources.pushed import Pushed
from source_suite import grabbed

pytestmark = pytest.mark.process
"""And qemu 7.2 does not hand on two descriptors in one message: a reader waits for ever."""

SLOT = 16384
MINUTE_NS = 60 * 10**9


def picture(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    return pattern.render(number, height, width)


def number_of(source: Source) -> int | None:
    return pattern.read_number(source.retrieve())


def test_what_python_pushes_comes_in_order_as_it_is() -> None:
    source = Pushed("door", room=3)
    images = [picture(number) for number in range(5)]
    assert [source.push(image) for image in images] == [True, True, True, False, False]
    for image in images[:3]:
        assert grabbed(source).name == "door"
        assert source.retrieve() is image
    assert source.push(images[3], captured_ns=12345)
    stamp = grabbed(source)
    assert (stamp.sequence, stamp.captured_ns) == (3, 12345)
    assert abs((time.time_ns() - stamp.wall_ns) - (time.monotonic_ns() - 12345)) < 10**9
    source.push(images[4])
    source.finish()
    assert not source.push(images[4])
    assert grabbed(source).sequence == 4
    assert source.grab() is None
    with pytest.raises(SourceError, match="door: list instead of"):
        source.push([1, 2, 3])  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="1 or more"):
        Pushed(room=0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture
def source(path: Path) -> Iterator[Source]:
    with source_suite.closing(open_source(f"unix:{path}")) as opened:
        yield opened


def test_a_pushed_frame_arrives_with_its_time(path: Path, source: Source) -> None:
    with Pusher(path) as pusher:
        before = time.monotonic_ns()
        assert pusher.push(picture(7), captured_ns=before - 1000)
        stamp = grabbed(source)
        assert stamp.captured_ns == before - 1000
        assert number_of(source) == 7
        assert source.live


@pytest.mark.parametrize("captured_ns", [0, -1, -(2**63), 2**63 - 1])
def test_a_capture_time_that_cannot_be_is_that_of_arrival(
    path: Path, source: Source, captured_ns: int
) -> None:
    with Pusher(path) as pusher:
        before = time.monotonic_ns()
        pusher.push(picture(0), captured_ns=captured_ns)
        assert before <= grabbed(source).captured_ns <= time.monotonic_ns()


def test_capture_times_never_go_back(path: Path, source: Source) -> None:
    with Pusher(path) as pusher:
        now = time.monotonic_ns()
        for ago in (0, 10**9, 5):
            pusher.push(picture(0), captured_ns=now - ago)
        assert [grabbed(source).captured_ns for _ in range(3)] == [now] * 3


def test_slots_come_back_and_bound_what_is_on_its_way(path: Path, source: Source) -> None:
    with Pusher(path, slots=2) as pusher:
        assert [pusher.push(picture(number)) for number in range(3)] == [True, True, False]
        grabbed(source)
        assert number_of(source) == 0
        assert pusher.push(picture(3), wait_s=source_suite.SOON_S)
        for number in (1, 3):
            grabbed(source)
            assert number_of(source) == number
        for number in range(4, 9):  # passed over without being retrieved
            assert pusher.push(picture(number), wait_s=source_suite.SOON_S)
            grabbed(source)


def test_what_was_sent_arrives_after_the_pusher_left(path: Path, source: Source) -> None:
    with Pusher(path) as pusher:
        for number in range(3):
            assert pusher.push(picture(number))
        grabbed(source)
        source.retrieve()  # and a slot comes back that nobody takes
    for number in (1, 2):
        grabbed(source)
        assert number_of(source) == number


def test_a_larger_frame_makes_larger_slots(path: Path, source: Source) -> None:
    with Pusher(path) as pusher:
        pusher.push(picture(0))
        assert grabbed(source).restarted is False
        assert pusher.push(picture(1, 480, 640))
        stamp = grabbed(source)
        assert (stamp.sequence, stamp.restarted) == (1, True)
        assert number_of(source) == 1
        assert pusher.push(picture(2))
        assert grabbed(source).restarted is False
        assert number_of(source) == 2


def test_a_pusher_without_a_listener_drops_its_frames_and_finds_it_later(path: Path) -> None:
    with Pusher(path) as pusher:
        assert not pusher.push(picture(0))
        for _ in range(2):
            with source_suite.closing(open_source(f"unix:{path}")) as source:
                source_suite.until(lambda: pusher.push(picture(1)), "a frame is taken")
                grabbed(source)
                assert number_of(source) == 1
            assert not path.exists()
            source_suite.until(lambda: not pusher.push(picture(2)), "it notices")
    with pytest.raises(OutputError, match="1 to 64"):
        Pusher(path, slots=65)


def test_pushers_that_are_killed_or_stopped_make_room(path: Path, source: Source) -> None:
    with streams.pushing(path) as first:
        for _ in range(20):
            grabbed(source)
        first.kill()
        with streams.pushing(path) as second:
            while not grabbed(source).restarted:
                pass
            assert number_of(source) is not None
            os.kill(second.pid, signal.SIGSTOP)
            with streams.pushing(path):
                while not grabbed(source).restarted:
                    pass
                for _ in range(20):
                    grabbed(source)
                    assert number_of(source) is not None


def test_a_pusher_of_another_user_is_sent_away() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    script = (
        "import os, socket, sys\n"
        "try:\n    os.setuid(65534)\n"
        "except OSError:\n    sys.exit(77)\n"
        "socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect(sys.argv[1])\n"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)  # pytest's are closed to others
        path = Path(folder) / "s"
        with source_suite.closing(open_source(f"unix:{path}")) as source:
            path.chmod(0o777)
            done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
            if done.returncode == 77:
                pytest.skip("this root has no other users: it is alone in its namespace")
            assert done.returncode == 0
            with pytest.raises(SourceError, match="sent away: it runs as user 65534"):
                source.grab()


def test_the_socket_is_for_its_owner(path: Path, source: Source) -> None:
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_path_in_use_is_left_alone_and_a_dead_one_taken(path: Path) -> None:
    with source_suite.closing(open_source(f"unix:{path}")):
        with pytest.raises(SourceError, match="somebody listens there already"):
            open_source(f"unix:{path}")
        assert path.is_socket()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(path))
    with source_suite.closing(open_source(f"unix:{path}")) as source, Pusher(path) as pusher:
        assert pusher.push(picture(0))
        grabbed(source)
    path.write_text("mine")
    with pytest.raises(SourceError, match="a file of that name; it is left alone"):
        open_source(f"unix:{path}")
    assert path.read_text() == "mine"


def test_closing_leaves_the_socket_of_another_alone(path: Path) -> None:
    first = open_source(f"unix:{path}")
    path.unlink()
    with source_suite.closing(open_source(f"unix:{path}")):
        first.close()
        assert path.is_socket()


class Peer:
    """One that speaks to the socket by hand."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(source_suite.SOON_S)
        self.socket.connect(str(path))

    def hello(
        self,
        *,
        magic: bytes = push.MAGIC,
        slots: int = 2,
        slot_bytes: int = SLOT,
        size: int | None = None,
        seals: int = push.SEALS,
        memories: int = 1,
    ) -> None:
        found = []
        for _ in range(memories):
            found.append(os.memfd_create("test", os.MFD_ALLOW_SEALING))
            os.ftruncate(found[-1], 2 * SLOT if size is None else size)
            fcntl.fcntl(found[-1], fcntl.F_ADD_SEALS, seals)
        said = push.HELLO.pack(magic, slots, slot_bytes)
        socket.send_fds(self.socket, [said], found)
        for memory in found:
            os.close(memory)

    def frame(
        self,
        *,
        kind: int = push.IS_FRAME,
        slot: int = 0,
        height: int = 48,
        width: int = 64,
        sequence: int = 0,
    ) -> None:
        self.socket.send(push.FRAME.pack(kind, slot, height, width, sequence, 0))


def no_memory(peer: Peer) -> None:
    peer.socket.send(push.HELLO.pack(push.MAGIC, 2, SLOT))


def a_pipe(peer: Peer) -> None:
    ends = os.pipe()
    socket.send_fds(peer.socket, [push.HELLO.pack(push.MAGIC, 2, SLOT)], [ends[0]])
    for end in ends:
        os.close(end)


def after_hello(*frames: dict[str, int]) -> Callable[[Peer], None]:
    def send(peer: Peer) -> None:
        peer.hello()
        for frame in frames:
            peer.frame(**frame)

    return send


BAD: dict[str, tuple[Callable[[Peer], object], str]] = {
    "no memory": (no_memory, "does not begin with its memory"),
    "text": (lambda peer: peer.socket.send(b"GET / HTTP/1.0\r\n"), "does not begin with"),
    "a frame first": (lambda peer: peer.frame(), "does not begin with"),
    "two memories": (lambda peer: peer.hello(memories=2), "does not begin with"),
    "a pipe as memory": (a_pipe, "cannot be used"),
    "not sealed": (lambda peer: peer.hello(seals=0), "not sealed"),
    "sealed by half": (lambda peer: peer.hello(seals=fcntl.F_SEAL_GROW), "not sealed"),
    "too little memory": (lambda peer: peer.hello(size=2 * SLOT - 1), "smaller than it says"),
    "no slots": (lambda peer: peer.hello(slots=0), "0 slots"),
    "many slots": (lambda peer: peer.hello(slots=65, slot_bytes=1), "65 slots"),
    "giant slots": (lambda peer: peer.hello(slots=64, slot_bytes=2**32 - 1), "64 slots"),
    "another version": (lambda peer: peer.hello(magic=b"SLPUSH\0\2"), "another version"),
    "a slot that is none": (after_hello({"slot": 2}), "slot 2"),
    "a giant slot": (after_hello({"slot": 2**32 - 1}), "slot 4294967295"),
    "a frame too large": (after_hello({"height": 128}), "64x128 in a slot"),
    "a frame of nothing": (after_hello({"width": 0}), "0x48"),
    "sides that overflow": (after_hello({"height": 2**31, "width": 2}), "2x2147483648"),
    "another kind": (after_hello({"kind": 9}), "kind 9"),
    "numbers that go back": (
        after_hello({"sequence": 5}, {"slot": 1, "sequence": 5}),
        "frame 5 after frame 5",
    ),
}


def take_all(source: Source) -> None:
    while source.grab():
        pass


@pytest.mark.parametrize("case", BAD)
def test_a_pusher_that_breaks_the_rules_is_sent_away_and_the_next_one_welcome(
    path: Path, source: Source, case: str
) -> None:
    act, words = BAD[case]
    before = source_suite.descriptors()
    peer = Peer(path)
    act(peer)
    with pytest.raises(SourceError, match=rf"{path}: a pusher was sent away: .*{words}"):
        take_all(source)
    with peer.socket:
        while peer.socket.recv(64):  # slots that came back
            pass
    with Pusher(path) as pusher:
        assert pusher.push(picture(3))
        grabbed(source)
        assert number_of(source) == 3
    with pytest.raises(SourceError, match="no frame"):
        source.retrieve()
    assert source_suite.descriptors() <= before + 2, "the connection of the last, and its memory"


def test_a_slot_that_is_sent_while_it_is_read_is_refused(path: Path, source: Source) -> None:
    peer = Peer(path)
    peer.hello()
    peer.frame(slot=1, sequence=0)
    grabbed(source)
    peer.frame(slot=1, sequence=1)
    # The first is given back by the second grab, before the second is read: no harm in that.
    assert grabbed(source).sequence == 1
    peer.socket.close()


def test_noise_beside_a_good_pusher_costs_the_good_one_nothing(path: Path, source: Source) -> None:
    with Pusher(path, slots=8) as pusher:
        pusher.push(picture(0))
        assert number_of_next(source) == 0
        for number in range(1, 6):
            silent, loud = Peer(path), Peer(path)
            loud.socket.send(b"noise")
            assert pusher.push(picture(number), wait_s=source_suite.SOON_S)
            assert number_of_next(source) == number
            silent.socket.close()
            loud.socket.close()


def number_of_next(source: Source) -> int | None:
    while True:
        try:
            assert not grabbed(source).restarted
        except SourceError:
            continue
        return number_of(source)


def test_one_that_never_takes_its_slots_back_harms_nobody(path: Path, source: Source) -> None:
    peer = Peer(path)
    peer.hello()
    for sequence in range(2000):
        peer.frame(slot=sequence % 2, sequence=sequence)
        assert grabbed(source).sequence == sequence
        source.retrieve()
    peer.socket.close()
    with Pusher(path) as pusher:
        assert pusher.push(picture(1))
        assert grabbed(source).restarted


def test_memory_cannot_be_taken_from_under_the_reader(path: Path, source: Source) -> None:
    memory = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, 2 * SLOT)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, push.SEALS)
    peer = Peer(path)
    socket.send_fds(peer.socket, [push.HELLO.pack(push.MAGIC, 2, SLOT)], [memory])
    peer.frame()
    grabbed(source)
    with pytest.raises(PermissionError):
        os.ftruncate(memory, 0)
    with mmap.mmap(memory, 2 * SLOT) as mapped:
        mapped[:] = b"\5" * (2 * SLOT)
    assert (source.retrieve() == 5).all()
    os.close(memory)
    peer.socket.close()


@pytest.mark.toolchain
def test_the_program_in_the_document_pushes_what_it_says(
    tmp_path: Path, path: Path, source: Source
) -> None:
    gcc = system.require("gcc", "gcc libc6-dev")
    text = (Path(__file__).parents[1] / "docs/push.md").read_text()
    (program,) = re.findall(r"```c\n(.*?)```", text, re.DOTALL)
    (tmp_path / "push.c").write_text(program)
    subprocess.run(
        [gcc, "-Wall", "-Wextra", "-Werror", "-o", tmp_path / "push", tmp_path / "push.c"],
        check=True,
    )
    with subprocess.Popen([tmp_path / "push", path]) as child:
        for number in range(10):
            assert grabbed(source).sequence == number
            image = source.retrieve()
            assert image.shape == (48, 64, 3)
            assert (image == 20 * number).all()
    assert child.returncode == 0


def test_the_document_has_the_sizes_of_the_messages() -> None:
    assert (push.HELLO.size, push.FRAME.size, push.BACK.size) == (16, 32, 8)
    assert (push.MAGIC, push.IS_FRAME, push.IS_BACK) == (b"SLPUSH\0\1", 1, 2)
    assert (push.MOST_SLOTS, push.MOST_BYTES) == (64, 1 << 30)
