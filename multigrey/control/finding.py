"""Where the control socket of a configuration is, for whoever is not the daemon itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from multigrey.config.defaults import SYSTEM_CONFIG, find_config, state_dir_default
from multigrey.config.load import Loaded, load
from multigrey.config.settings import Settings
from multigrey.control.endpoint import control_path

__all__ = ["load_as_daemon", "socket_of", "system_state_dir"]


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
