"""Opens all endpoints of a configuration, before the daemon gives up its rights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from multigrey.config.settings import Listen, Settings
from multigrey.errors import MultigreyError
from multigrey.listeners.sockets import OpenSocket, open_endpoint

__all__ = ["OpenEndpoint", "open_all"]


@dataclass(frozen=True, slots=True)
class OpenEndpoint:
    """One `[[listen]]` and a socket opened for it."""

    listen: Listen
    open: OpenSocket


def open_all(
    settings: Settings, inherited: Mapping[str, list[int]], default_owner: tuple[int, int] = (-1, -1)
) -> list[OpenEndpoint]:
    """Open every endpoint of the configuration, or none (see `open_endpoint`).  Raises ListenerError."""
    if settings.metrics.address is not None:
        # Now, because later the daemon may not have the right to read the modules that it imports.
        import_module("multigrey.metrics.service")
    opened: list[OpenEndpoint] = []
    try:
        for listen in settings.listen:
            sockets = open_endpoint(
                listen.address,
                mode=listen.mode,
                owner=listen.owner,
                group=listen.group,
                inherited=inherited,
                default_owner=default_owner,
            )
            opened += [OpenEndpoint(listen, sock) for sock in sockets]
    except MultigreyError:
        for endpoint in opened:
            endpoint.open.close()
        raise
    return opened
