"""Default locations of the configuration file, the state directory and the listeners.

Every function depends only on its arguments: the environment variables, the user id and the process id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "SYSTEM_CONFIG",
    "Default",
    "config_homes",
    "find_config",
    "handed_over",
    "listen_default",
    "state_dir_default",
]

SYSTEM_CONFIG = Path("/etc/multigrey/multigrey.toml")

_SYSTEM_STATE = Path("/var/lib/multigrey")
_BESIDE_POSTGREY = (("postfix", 10_023), ("exim", 10_024))
"""Protocols and their loopback ports.  10023 is postgrey's port, so that its users change nothing."""


@dataclass(frozen=True, slots=True)
class Default:
    """A default value in the form it has in the file, and where it comes from."""

    value: Any
    origin: str
    """"default" or "environment"."""


def find_config(
    environ: Mapping[str, str], exists: Callable[[Path], bool], system: Path = SYSTEM_CONFIG
) -> Path | None:
    """Return the configuration file to use when none is named: the system's, else the user's, else None.

    A file that exists is returned even if it cannot be read: to continue without it would run a
    different configuration from the one the administrator wrote.
    """
    candidates = [home / SYSTEM_CONFIG.name for home in config_homes(environ, system.parent)]
    return next(filter(exists, candidates), None)


def config_homes(environ: Mapping[str, str], system: Path = SYSTEM_CONFIG.parent) -> list[Path]:
    """The directories that may hold the configuration: the system's, then the user's if there is one."""
    own = _home_directory(environ, "XDG_CONFIG_HOME", ".config")
    return [system] if own is None else [system, own / "multigrey"]


def state_dir_default(environ: Mapping[str, str], uid: int) -> Default | None:
    """The state directory for a process started by `uid`; None if the environment does not name one."""
    if given := _first_directory(environ, "STATE_DIRECTORY"):
        return Default(str(given), "environment")
    if uid == 0:
        return Default(str(_SYSTEM_STATE), "default")
    own = _home_directory(environ, "XDG_STATE_HOME", ".local/state")
    return None if own is None else Default(str(own / "multigrey"), "environment")


def handed_over(environ: Mapping[str, str], pid: int) -> list[str]:
    """The names of the sockets that systemd hands over to the process `pid`, in the order of descriptors.

    Source: sd_listen_fds(3).
    """
    if environ.get("LISTEN_PID") != str(pid):
        return []
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    count = int(environ.get("LISTEN_FDS", "0"))
    return [names[index] if index < len(names) and names[index] else "unknown" for index in range(count)]


def listen_default(environ: Mapping[str, str], state_dir: Path, names: Iterable[str] = ()) -> Default:
    """The listeners when the configuration has none.

    They are the sockets that systemd hands over, whose `names` are those of their protocols; without any,
    both protocols on loopback TCP and unix sockets.
    """
    if handed := [{"protocol": name, "address": f"systemd:{name}"} for name in dict.fromkeys(names)]:
        return Default(handed, "environment")
    runtime = _first_directory(environ, "RUNTIME_DIRECTORY")
    sockets = runtime or state_dir / "run"
    tables = [
        {"protocol": protocol, "address": f"tcp:127.0.0.1:{port}"} for protocol, port in _BESIDE_POSTGREY
    ]
    tables += [
        {"protocol": protocol, "address": f"unix:{sockets}/{protocol}.sock"}
        for protocol, _ in _BESIDE_POSTGREY
    ]
    return Default(tables, "environment" if runtime else "default")


def _first_directory(environ: Mapping[str, str], name: str) -> Path | None:
    """The first of systemd's colon-separated directories (systemd.exec(5), RuntimeDirectory=)."""
    first = environ.get(name, "").partition(":")[0]
    return Path(first) if first.startswith("/") else None


def _home_directory(environ: Mapping[str, str], name: str, below_home: str) -> Path | None:
    """A base directory of the XDG specification, which says that relative paths must be ignored."""
    given = environ.get(name, "")
    if given.startswith("/"):
        return Path(given)
    home = environ.get("HOME", "")
    return Path(home) / below_home if home.startswith("/") else None
