"""Finds and opens the control socket."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from multigrey.config.defaults import SYSTEM_CONFIG, find_config, state_dir_default
from multigrey.config.load import Loaded, load
from multigrey.config.settings import Settings
from multigrey.config.socket_units import enabled_names
from multigrey.config.tables.control import Control, NoEndpoint
from multigrey.config.values.types import UNIX_PATH_OCTETS, UnixEndpoint
from multigrey.errors import ListenerError
from multigrey.listeners.sockets import OpenSocket, open_endpoint

__all__ = ["SOCKET_NAME", "control_path", "load_as_daemon", "open_control", "socket_of", "system_state_dir"]

logger = logging.getLogger(__name__)

SOCKET_NAME = "control.sock"
_NOT_THE_FILE = frozenset({"default", "environment"})
"""Origins of values that the configuration file does not set (see `Loaded.origin_of`)."""


def control_path(control: Control, state_dir: Path) -> Path | None:
    """The path of the control socket; None: it is switched off."""
    if isinstance(control.address, NoEndpoint):
        return None
    return state_dir / SOCKET_NAME if control.address is None else control.address.path


def open_control(settings: Settings, default_owner: tuple[int, int] = (-1, -1)) -> OpenSocket | None:
    """The listening control socket; None: it is switched off, or cannot be opened at its default path.

    Raises ListenerError if the configuration sets an address that cannot be opened.
    """
    control = settings.control
    path = control_path(control, settings.state_dir)
    if path is None:
        return None
    # With groups every user may connect: the server decides by the uid that the kernel reports.  The file's
    # own group cannot do that: a file has only one, and the daemon could not give it a group it is not in.
    mode = 0o666 if control.read_group or control.operate_group or control.admin_group else 0o600
    try:
        return _opened(path, mode, default_owner)
    except ListenerError as error:
        if control.address is not None:
            raise
        logger.warning("no control socket: %s: choose another [control] address", error)
        return None


def _opened(path: Path, mode: int, default_owner: tuple[int, int]) -> OpenSocket:
    if len(os.fsencode(path)) > UNIX_PATH_OCTETS:
        raise ListenerError(f"unix:{path}: longer than the {UNIX_PATH_OCTETS} octets a unix socket may have")
    (opened,) = open_endpoint(
        UnixEndpoint(path), mode=mode, owner=None, group=None, inherited={}, default_owner=default_owner
    )
    return opened


def load_as_daemon(config: Path | None, environ: Mapping[str, str], state_dir: Path | None = None) -> Loaded:
    """A configuration (None: the one in use on this host) as the daemon reads it.

    `state_dir` replaces the configured one, as the daemon's own --state-dir does.

    For the system's configuration, paths that it leaves out are the system's, whichever user calls this, and
    sockets are those that systemd hands over to the daemon.  Raises ConfigError.
    """
    path = find_config(environ, os.path.exists) if config is None else config
    if state_dir is not None:
        return load(path, environ, {"state_dir": str(state_dir.absolute())})
    loaded = load(path, environ)
    if path == SYSTEM_CONFIG and loaded.origin_of("state_dir") in _NOT_THE_FILE:
        loaded = load(path, environ, {"state_dir": str(system_state_dir())})
    if loaded.settings.state_dir == system_state_dir() and loaded.origin_of("listen") in _NOT_THE_FILE:
        names = enabled_names()
        handed = {"LISTEN_FDS": str(len(names)), "LISTEN_FDNAMES": ":".join(names)}
        environ = {**environ, "LISTEN_PID": str(os.getpid()), **handed}
        loaded = load(path, environ, {"state_dir": str(system_state_dir())})
    return loaded


def system_state_dir() -> Path:
    """The state directory of a daemon that is started for the whole host."""
    found = state_dir_default({}, 0)
    assert found is not None
    return Path(found.value)


def socket_of(settings: Settings) -> Path | None:
    """The path of the control socket; None: it is switched off."""
    return control_path(settings.control, settings.state_dir)
