"""Web pages that show what multigrey does.

With a table `[plugins.web]` the plugin registers
    a service    `web`, which serves the pages and asks the daemon over its control socket
The same pages can be served by a separate process: `multigrey-web`.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from multigrey.api import Registry, UnixEndpoint, hookimpl
from multigrey_web.settings import WebSettings

__all__ = ["multigrey_register", "multigrey_settings"]


@hookimpl
def multigrey_settings() -> tuple[str, type[BaseModel]]:
    """The plugin's table is `[plugins.web]`."""
    return "web", WebSettings


@hookimpl
def multigrey_register(registry: Registry, settings: Mapping[str, BaseModel]) -> None:
    """Register the service if an address is configured."""
    wanted = settings.get("web")
    if not isinstance(wanted, WebSettings):
        return
    from multigrey_web.service import Page  # noqa: PLC0415  (loads a web server, so only if it is needed)

    address = getattr(settings.get("control"), "address", None)
    found = address.path if isinstance(address, UnixEndpoint) else None
    redact = getattr(settings.get("log"), "redact", False)
    registry.service("web", Page(wanted, wanted.socket(found), redact=redact))
