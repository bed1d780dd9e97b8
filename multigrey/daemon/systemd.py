"""systemd's protocols for socket activation and for status notifications, and the installed service unit.

Sources: sd_listen_fds(3) (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES; descriptors begin at 3) and
sd_notify(3) (datagrams to NOTIFY_SOCKET; a leading @ means an abstract socket).
"""

from __future__ import annotations

import logging
import os
import shlex
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from multigrey.config.defaults import SYSTEM_CONFIG, handed_over
from multigrey.config.socket_units import DIRECTORIES, unit_options

__all__ = ["Notifier", "Unit", "find_unit", "inherited_sockets", "watchdog_seconds"]

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


_NAME = "multigrey.service"
_OWN = {
    "StateDirectory": "/var/lib",
    "LogsDirectory": "/var/log",
    "CacheDirectory": "/var/cache",
    "RuntimeDirectory": "/run",
}
"""Directories that systemd makes for the service, by option: their parents."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One service unit."""

    path: Path
    user: str | None
    """The user that the daemon runs as; None: root, who has to become another one."""
    config: Path
    """The configuration file that the daemon is started with."""
    writable: tuple[Path, ...] | None
    """Where the service may write; None: wherever its user may."""
    made: tuple[Path, ...]
    """Directories that systemd makes, so that they need not be there."""


def find_unit(directories: Iterable[Path] = DIRECTORIES) -> Unit | None:
    """The installed unit; None: there is none.  What cannot be read counts as missing."""
    places = list(directories)
    path = next((each / _NAME for each in places if (each / _NAME).is_file()), None)
    if path is None:
        return None
    drop_ins = [file for each in places for file in sorted((each / f"{_NAME}.d").glob("*.conf"))]
    return _read(path, [pair for file in (path, *drop_ins) for pair in unit_options(file)])


def _read(path: Path, options: Iterable[tuple[str, str]]) -> Unit:
    single: dict[str, str] = {}
    paths: list[Path] = []
    made: list[Path] = []
    for key, value in options:
        single[key] = value
        if key in _OWN:
            made += [Path(_OWN[key]) / name.partition(":")[0] for name in value.split()]
        elif key == "ReadWritePaths":
            paths += [Path(name.lstrip("-+")) for name in value.split()]
    strict = single.get("ProtectSystem") == "strict"
    temporary = [Path("/tmp"), Path("/var/tmp")] if single.get("PrivateTmp") == "yes" else []  # noqa: S108  (compared only)
    return Unit(
        path,
        single.get("User") or None,
        _config_in(single.get("ExecStart", "")),
        (*made, *paths, *temporary, Path("/dev"), Path("/proc")) if strict else None,
        tuple(made),
    )


def _config_in(command: str) -> Path:
    """The file after --config or -c in a command."""
    try:
        words = shlex.split(command)
    except ValueError:
        return SYSTEM_CONFIG
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in {"--config", "-c"} and following:
            return Path(following)
        if word.startswith("--config="):
            return Path(word.removeprefix("--config="))
    return SYSTEM_CONFIG
