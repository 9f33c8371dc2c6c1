"""What a service tells systemd, as sd_notify(3) has it: datagrams to `$NOTIFY_SOCKET`.

Without that variable nothing is sent: the same program runs from a terminal or in a container.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping

from sanderling.text import printable

_SEND_S = 0.5
"""How long a send may wait for room in systemd's queue."""


def is_running(root: str = "/") -> bool:
    """Whether this machine was booted with systemd, as sd_booted(3) finds out."""
    return os.path.isdir(os.path.join(root, "run/systemd/system"))


class Notifier:
    """Tells systemd how the service is.

    Each call returns whether systemd was told (true also when there is none): a datagram that is
    lost is for the caller to note, not to fail on.

    Args:
        address: the socket: a path, or `@` and an abstract name; None sends nothing.
        watchdog_s: systemd kills the service when `watchdog` is not called for so long; 0 when it
            does not watch.
        clock_ns: nanoseconds, CLOCK_MONOTONIC.
    """

    def __init__(
        self,
        address: str | None,
        watchdog_s: float = 0.0,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._address = address
        self.watchdog_s = watchdog_s
        self._clock_ns = clock_ns

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Notifier:
        """The one that systemd's variables describe.

        `WATCHDOG_PID`, where it is given, must be this process; an address or a time that makes
        no sense is as good as none.
        """
        environ = os.environ if environ is None else environ
        address = environ.get("NOTIFY_SOCKET", "")
        if len(address) < 2 or address[0] not in "/@":
            return cls(None)
        usec = environ.get("WATCHDOG_USEC", "")
        watched = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        valid = watched and usec.isascii() and usec.isdecimal() and len(usec) < 16
        return cls(address, int(usec) / 1e6 if valid else 0.0)

    def ready(self) -> bool:
        """The service is up, or done with reloading."""
        return self._send("READY=1")

    def reloading(self) -> bool:
        """The service reads its configuration again; `ready` must follow."""
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={self._clock_ns() // 1000}")

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self._send(f"STATUS={printable(text)}")

    def watchdog(self) -> bool:
        """The service is alive."""
        return self._send("WATCHDOG=1")

    def stopping(self) -> bool:
        """The service is on its way down."""
        return self._send("STOPPING=1")

    def _send(self, message: str) -> bool:
        if self._address is None:
            return True
        abstract = self._address.startswith("@")
        target = "\0" + self._address[1:] if abstract else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_SEND_S)
                sender.sendto(message.encode(errors="replace"), target)
        except OSError:  # too long an address, nobody there, no room in time
            return False
        return True
