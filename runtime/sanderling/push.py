"""Frames pushed from another process: the client, and the wire format (docs/push.md).

from sanderling.push import Pusher

with Pusher("/run/sanderling/door.sock") as door:
    door.push(image)  # uint8 [height, width, 3], BGR
"""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import socket
import struct
import time
from typing import Self

import numpy as np

from sanderling.errors import OutputError
from sanderling.frame import Image, check_image

MAGIC = b"SLPUSH\0\1"
HELLO = struct.Struct("<8sII")
"""Magic, number of slots, bytes of a slot; the memfd comes with it."""
FRAME = struct.Struct("<IIIIQq")
"""`IS_FRAME`, slot, height, width, sequence, captured_ns."""
BACK = struct.Struct("<II")
"""`IS_BACK`, slot."""
IS_FRAME = 1
IS_BACK = 2
MOST_SLOTS = 64
MOST_BYTES = 1 << 30
"""Of all slots together."""
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW

_RETRY_S = 0.25


class Pusher:
    """Pushes frames to a source `unix:PATH`.

    It connects when a frame is pushed, and again after the other side was gone; meanwhile frames
    are dropped. Not for use by several threads at once.

    Args:
        path: the socket on which the source listens.
        slots: how many frames may be on their way, 1 to `MOST_SLOTS`.
    """

    def __init__(self, path: str | os.PathLike[str], *, slots: int = 4) -> None:
        self._path = os.fspath(path)
        if not 1 <= slots <= MOST_SLOTS:
            raise OutputError(f"{self._path}: {slots} slots; there can be 1 to {MOST_SLOTS}")
        self._slots = slots
        self._slot_bytes = 0
        self._socket: socket.socket | None = None
        self._memory: mmap.mmap | None = None
        self._free: list[int] = []
        self._sequence = 0
        self._next_try = 0.0

    def push(self, image: Image, captured_ns: int | None = None, *, wait_s: float = 0.0) -> bool:
        """Hand over a copy of a frame.

        Args:
            image: uint8 `[height, width, 3]`, BGR.
            captured_ns: when it was captured, monotonic clock; now, if it is not given.
            wait_s: how long to wait for a free slot.

        Returns:
            Whether it was sent: not when nobody listens, or all slots are in use.

        Raises:
            SourceError: it is no such image.
        """
        check_image(image, self._path)
        if captured_ns is None:
            captured_ns = time.monotonic_ns()
        if self._slot_bytes and image.nbytes > self._slot_bytes:
            self._drop()
            self._next_try = 0.0
        if self._socket is None and not self._connect(image.nbytes):
            return False
        self._take_back(wait_s)
        if self._socket is None or self._memory is None or not self._free:
            return False
        slot = self._free.pop()
        height, width, _ = image.shape
        place = np.frombuffer(
            self._memory, np.uint8, image.nbytes, slot * self._slot_bytes
        ).reshape(image.shape)
        np.copyto(place, image)
        del place  # or the memory could not be unmapped
        said = FRAME.pack(IS_FRAME, slot, height, width, self._sequence, captured_ns)
        try:
            self._socket.send(said)
        except OSError:
            self._drop()
            return False
        self._sequence += 1
        return True

    def _connect(self, size: int) -> bool:
        """Connect and hand over the memory, not more often than makes sense."""
        now = time.monotonic()
        if now < self._next_try:
            return False
        self._next_try = now + _RETRY_S
        if size > MOST_BYTES // self._slots - mmap.PAGESIZE:
            raise OutputError(
                f"{self._path}: {self._slots} slots for frames of {size} bytes are more than"
                f" {MOST_BYTES} bytes; take fewer"
            )
        self._slot_bytes = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = os.memfd_create("sanderling", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(memory, self._slots * self._slot_bytes)
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, SEALS)
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._socket.setblocking(False)
            self._socket.connect(self._path)
            said = HELLO.pack(MAGIC, self._slots, self._slot_bytes)
            socket.send_fds(self._socket, [said], [memory])
            self._memory = mmap.mmap(memory, self._slots * self._slot_bytes)
        except OSError:
            self._drop()
            return False
        finally:
            os.close(memory)
        self._free = list(range(self._slots))
        self._sequence = 0
        return True

    def _take_back(self, wait_s: float) -> None:
        """Take the slots that came back; wait for one if there is none."""
        until = time.monotonic() + wait_s
        while self._socket is not None:
            try:
                said = self._socket.recv(BACK.size)
            except BlockingIOError:
                rest = until - time.monotonic()
                if self._free or rest <= 0:
                    return
                poll = select.poll()
                poll.register(self._socket, select.POLLIN)
                poll.poll(1000 * rest)
                continue
            except OSError:
                said = b""
            if len(said) != BACK.size:
                self._drop()  # it has ended, or speaks otherwise
                return
            kind, slot = BACK.unpack(said)
            if kind == IS_BACK and slot < self._slots and slot not in self._free:
                self._free.append(slot)

    def _drop(self) -> None:
        """Let go of the connection and the memory."""
        if self._socket is not None:
            self._socket.close()
        if self._memory is not None:
            self._memory.close()
        self._socket = self._memory = None
        self._slot_bytes = 0

    def close(self) -> None:
        """Disconnect."""
        self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
