"""A page for the browser that shows what multigrey does.

Registers, with a table `[plugins.web]`,
    a service    `web`, which serves the page and asks the daemon over its control socket
The same page runs as a process of its own: `multigrey-web`.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from multigrey.api import Registry, UnixEndpoint, hookimpl
from multigrey_web.settings import WebSettings

__all__ = ["multigrey_register", "multigrey_settings"]


@hookimpl
def multigrey_settings() -> tuple[str, type[BaseModel]]:
    """Ours is the table `[plugins.web]`."""
    return "web", WebSettings


@hookimpl
def multigrey_register(registry: Registry, settings: Mapping[str, BaseModel]) -> None:
    """Register the page if an address is configured."""
    wanted = settings.get("web")
    if not isinstance(wanted, WebSettings):
        return
    from multigrey_web.service import Page  # noqa: PLC0415  (whoever has no page need not load a web server)

    address = getattr(settings.get("control"), "address", None)
    found = address.path if isinstance(address, UnixEndpoint) else None
    registry.service("web", Page(wanted, wanted.socket(found)))
