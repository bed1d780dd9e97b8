"""Where the control socket is, and opening it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from multigrey.config.defaults import SYSTEM_CONFIG, find_config, state_dir_default
from multigrey.config.load import Loaded, load
from multigrey.config.settings import Settings
from multigrey.config.tables.control import Control, NoEndpoint
from multigrey.config.values.types import UNIX_PATH_OCTETS, UnixEndpoint
from multigrey.errors import ListenerError
from multigrey.listeners.sockets import OpenSocket, open_endpoint

__all__ = ["SOCKET_NAME", "control_path", "load_as_daemon", "open_control", "socket_of", "system_state_dir"]

logger = logging.getLogger(__name__)

SOCKET_NAME = "control.sock"


def control_path(control: Control, state_dir: Path) -> Path | None:
    """Where the control socket is; None: there is none."""
    if isinstance(control.address, NoEndpoint):
        return None
    return state_dir / SOCKET_NAME if control.address is None else control.address.path


def open_control(settings: Settings, default_owner: tuple[int, int] = (-1, -1)) -> OpenSocket | None:
    """The listening control socket; None: there is to be none, or it cannot be at its usual place.

    With groups everybody may connect, and is let in or sent away by what the kernel says of them: a
    file has one group only, and the daemon could not give it one that it is not in.  Raises ListenerError
    for an address that somebody chose.
    """
    control = settings.control
    path = control_path(control, settings.state_dir)
    if path is None:
        return None
    mode = 0o666 if control.read_group or control.admin_group else 0o600
    try:
        return _opened(path, mode, default_owner)
    except ListenerError as error:
        if control.address is not None:
            raise
        logger.warning("no control socket: %s; expected [control] address", error)
        return None


def _opened(path: Path, mode: int, default_owner: tuple[int, int]) -> OpenSocket:
    if len(os.fsencode(path)) > UNIX_PATH_OCTETS:
        raise ListenerError(f"unix:{path}: longer than the {UNIX_PATH_OCTETS} octets a unix socket may have")
    (opened,) = open_endpoint(
        UnixEndpoint(path), mode=mode, owner=None, group=None, inherited={}, default_owner=default_owner
    )
    return opened


def load_as_daemon(config: Path | None, environ: Mapping[str, str]) -> Loaded:
    """A configuration (None: the one in use on this machine) as the daemon reads it.

    For the system's one, the system's places stand for what it leaves out, whoever asks.  Raises
    ConfigError.
    """
    path = find_config(environ, os.path.exists) if config is None else config
    loaded = load(path, environ)
    if path == SYSTEM_CONFIG and loaded.origin_of("state_dir") in {"default", "environment"}:
        loaded = load(path, environ, {"state_dir": str(system_state_dir())})
    return loaded


def system_state_dir() -> Path:
    """Where the daemon keeps its state when it is started for the whole machine."""
    found = state_dir_default({}, 0)
    assert found is not None
    return Path(found.value)


def socket_of(settings: Settings) -> Path | None:
    """The control socket; None: it is switched off."""
    return control_path(settings.control, settings.state_dir)
