"""systemd's protocols for socket activation and for status notifications.

Sources: sd_listen_fds(3) (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES; descriptors begin at 3) and
sd_notify(3) (datagrams to NOTIFY_SOCKET; a leading @ means an abstract socket).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

from multigrey.config.defaults import handed_over

__all__ = ["Notifier", "inherited_sockets", "watchdog_seconds"]

_FIRST_FD = 3
_MICROSECONDS = 1_000_000

logger = logging.getLogger(__name__)


def inherited_sockets(environ: Mapping[str, str], pid: int) -> dict[str, list[int]]:
    """Return the file descriptors that systemd passed to this process, by name of the socket unit."""
    found: dict[str, list[int]] = {}
    for descriptor, name in enumerate(handed_over(environ, pid), _FIRST_FD):
        os.set_inheritable(descriptor, False)
        found.setdefault(name, []).append(descriptor)
    return found


def watchdog_seconds(environ: Mapping[str, str], pid: int) -> float | None:
    """Return the seconds between two watchdog notifications; None if systemd expects none.

    It is half of systemd's interval, as sd_watchdog_enabled(3) advises.
    """
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    try:
        interval = int(environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return interval / _MICROSECONDS / 2 if interval > 0 else None


class Notifier:
    """Notifies systemd of the daemon's state; does nothing if systemd did not start it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """The address comes from NOTIFY_SOCKET."""
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self, status: str) -> None:
        """Report that start or reload is complete."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self, monotonic: float) -> None:
        """Report that a reload began; `monotonic` is CLOCK_MONOTONIC in seconds, as systemd requires."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(monotonic * _MICROSECONDS)}")

    def starting(self, seconds: float, status: str) -> None:
        """Report that the start goes on, and may take that many seconds more."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * _MICROSECONDS)}\nSTATUS={status}")

    def stopping(self) -> None:
        """Report that the daemon is stopping."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Report that the daemon is alive."""
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.sendto(text.encode(), self._address)
        except OSError as error:
            logger.warning("cannot notify systemd: %s", error)
