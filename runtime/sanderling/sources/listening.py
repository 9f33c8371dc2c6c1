"""Frames that another process pushes, through shared memory and a Unix socket (docs/push.md)."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import socket
import stat
import struct
import time
from pathlib import Path

import numpy as np

from sanderling import push
from sanderling.errors import SourceError
from sanderling.frame import Image
from sanderling.source import Stamp, put
from sanderling.sources.waiting import Waiting

_MOST_SIDE = 16_384
_OLDEST_NS = 60 * 10**9
"""A capture time that is further back is not believed."""
_BACKLOG = 16
_CREDENTIALS = struct.Struct("iII")


class _RejectedError(Exception):
    """A pusher does what it must not."""


class _Pusher:
    """One that is connected: its socket, its memory, and the slots it may not touch."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.memory: mmap.mmap | None = None
        self.slots = 0
        self.slot_bytes = 0
        self.held: set[int] = set()
        self.sequence = -1

    def hello(self) -> None:
        """Receive its memory and map it, once all is known to be as it must."""
        said, descriptors, flags, _ = socket.recv_fds(
            self.connection, push.HELLO.size + 1, 1, socket.MSG_CMSG_CLOEXEC
        )
        try:
            if not said:
                raise ConnectionResetError
            if len(said) != push.HELLO.size or len(descriptors) != 1 or flags & socket.MSG_CTRUNC:
                raise _RejectedError("it does not begin with its memory")
            magic, slots, slot_bytes = push.HELLO.unpack(said)
            if magic != push.MAGIC:
                raise _RejectedError("it speaks something else, or another version")
            if not 1 <= slots <= push.MOST_SLOTS or not 3 <= slots * slot_bytes <= push.MOST_BYTES:
                raise _RejectedError(f"{slots} slots of {slot_bytes} bytes")
            self.memory = _mapped(descriptors[0], slots * slot_bytes)
            self.slots, self.slot_bytes = slots, slot_bytes
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def frame(self) -> tuple[int, int, int, int]:
        """Receive a frame: its slot, height, width, and capture time in ns."""
        said = self.connection.recv(push.FRAME.size + 1)
        if not said:
            raise ConnectionResetError
        if len(said) != push.FRAME.size:
            raise _RejectedError(f"a message of {len(said)} bytes")
        kind, slot, height, width, sequence, captured_ns = push.FRAME.unpack(said)
        if kind != push.IS_FRAME:
            raise _RejectedError(f"a message of kind {kind}")
        if slot >= self.slots or slot in self.held:
            raise _RejectedError(f"slot {slot}, which is not its own")
        if not (0 < height <= _MOST_SIDE and 0 < width <= _MOST_SIDE):
            raise _RejectedError(f"a frame of {width}x{height}")
        if 3 * height * width > self.slot_bytes:
            raise _RejectedError(
                f"a frame of {width}x{height} in a slot of {self.slot_bytes} bytes"
            )
        if sequence <= self.sequence:
            raise _RejectedError(f"frame {sequence} after frame {self.sequence}")
        self.sequence = sequence
        self.held.add(slot)
        return slot, height, width, captured_ns

    def give_back(self, slot: int) -> None:
        """The slot is its own again. One that does not listen will find all slots in use."""
        self.held.discard(slot)
        with contextlib.suppress(OSError):
            self.connection.send(push.BACK.pack(push.IS_BACK, slot))

    def close(self) -> None:
        self.connection.close()
        if self.memory is not None:
            self.memory.close()


def _mapped(descriptor: int, size: int) -> mmap.mmap:
    """The memory, if it can't be made smaller any more: reading past its end kills a process."""
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        if seals & push.SEALS != push.SEALS:
            raise _RejectedError("its memory is not sealed")
        if os.fstat(descriptor).st_size < size:
            raise _RejectedError("its memory is smaller than it says")
        return mmap.mmap(descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ)
    except (OSError, ValueError) as exc:
        raise _RejectedError(f"its memory cannot be used: {exc}") from exc


class Listening(Waiting):
    """A Unix socket to which one process at a time pushes frames; a new one takes its place.

    Args:
        path: where to listen. Only processes of our own user or of root may push.

    Raises:
        SourceError: the path cannot be used, or somebody listens there already.
    """

    live = True

    def __init__(self, path: Path) -> None:
        super().__init__(f"unix:{path}")
        self._path = path
        self._pusher: _Pusher | None = None
        self._arriving: _Pusher | None = None
        self._current: tuple[int, int, int] | None = None
        self._turn = 0
        """Which of those that are ready: the first, 0, or the last, -1."""
        self._sequence = 0
        self._last_ns = 0
        self._restarted = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            _make_room(path, self.name)
            os.fchmod(self._listener.fileno(), 0o600)
            self._listener.bind(str(path))
            self._listener.listen(_BACKLOG)
            self._made = os.stat(path)
        except (OSError, ValueError) as exc:
            self._listener.close()
            self.wake.close()
            said = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
            raise SourceError(f"{self.name}: cannot listen there: {said}") from exc
        except SourceError:
            self._listener.close()
            self.wake.close()
            raise

    def next_frame(self) -> Stamp | None:
        """Wait for a pusher, and for its next frame.

        Raises:
            SourceError: a pusher was sent away; says what it did.
        """
        self._give_back()
        while True:
            there = {
                pusher.connection.fileno(): pusher
                for pusher in (self._arriving, self._pusher)
                if pusher is not None
            }
            ready = self.wake.wait(self._listener.fileno(), *there)
            if not ready:
                return None
            # Whoever pushes and whoever knocks take turns, so that neither can shut the other out.
            self._turn = ~self._turn
            pusher = there.get(ready[self._turn])
            try:
                if pusher is None:
                    self._accept()
                elif pusher.memory is None:
                    pusher.hello()
                    self._take(pusher)
                else:
                    return self._stamp(*pusher.frame())
            except BlockingIOError:
                continue
            except _RejectedError as exc:
                self._drop(pusher)
                raise SourceError(f"{self.name}: a pusher was sent away: {exc}") from exc
            except OSError:  # it has left
                self._drop(pusher)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        _, user, _ = _CREDENTIALS.unpack(
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        if user not in {0, os.geteuid()}:
            connection.close()
            raise _RejectedError(f"it runs as user {user}")
        # Whoever connects and says nothing makes room for the next, not for the one that pushes.
        self._drop(self._arriving)
        self._arriving = _Pusher(connection)

    def _take(self, pusher: _Pusher) -> None:
        """This one pushes from now on."""
        self._arriving = None
        self._drop(self._pusher)
        self._pusher = pusher
        self._restarted = self._sequence > 0

    def _drop(self, pusher: _Pusher | None) -> None:
        if pusher is None:
            return
        pusher.close()
        if pusher is self._pusher:
            self._pusher = self._current = None
        elif pusher is self._arriving:
            self._arriving = None

    def _stamp(self, slot: int, height: int, width: int, captured_ns: int) -> Stamp:
        self._current = slot, height, width
        now, wall = time.monotonic_ns(), time.time_ns()
        if not now - _OLDEST_NS <= captured_ns <= now:
            captured_ns = now
        captured_ns = self._last_ns = max(captured_ns, self._last_ns)
        stamp = Stamp(
            self._sequence, captured_ns, wall - (now - captured_ns), self._restarted, self.name
        )
        self._restarted = False
        self._sequence += 1
        return stamp

    def pixels(self, into: Image | None) -> Image:
        """Copy it, and give the slot back."""
        pusher = self._pusher
        if self._current is None or pusher is None or pusher.memory is None:
            raise SourceError(f"{self.name}: there is no frame to retrieve")
        slot, height, width = self._current
        shape = (height, width, 3)
        size = 3 * height * width
        place = np.frombuffer(pusher.memory, np.uint8, size, slot * pusher.slot_bytes)
        image = put(place.reshape(shape), into)
        if image is not into:
            image = image.copy()
        del place  # or the memory could not be unmapped
        self._give_back()
        return image

    def _give_back(self) -> None:
        current, self._current = self._current, None
        if current is not None and self._pusher is not None:
            self._pusher.give_back(current[0])

    def release(self) -> None:
        """Stop listening, and take the socket away if it is still ours."""
        self._drop(self._arriving)
        self._drop(self._pusher)
        self._listener.close()
        with contextlib.suppress(OSError):
            there = os.stat(self._path)
            if (there.st_dev, there.st_ino) == (self._made.st_dev, self._made.st_ino):
                self._path.unlink()


def _make_room(path: Path, name: str) -> None:
    """Remove the socket of one that has died; nothing else.

    Raises:
        SourceError: there is something else, or somebody who listens.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SourceError(f"{name}: there is a file of that name; it is left alone")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as exc:
            raise SourceError(f"{name}: in use: {exc.strerror}") from exc
    raise SourceError(f"{name}: somebody listens there already; stop that, or take another path")


def read(where: str) -> Path:
    """The path of the socket of this name: `unix:/run/sanderling/door.sock`.

    Raises:
        SourceError: it is not a whole path.
    """
    path = where.removeprefix("unix:")
    if not path.startswith("/"):
        raise SourceError(f"{where}: write the whole path, such as unix:/run/sanderling/door.sock")
    return Path(path)


def parse(where: str) -> Listening:
    """The socket of this name; see `read`.

    Raises:
        SourceError: the path is empty or cannot be used.
    """
    return Listening(read(where))
