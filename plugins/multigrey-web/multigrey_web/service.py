"""The service that serves the pages, in the daemon or in a separate process."""

from __future__ import annotations

import logging
import socket
from functools import partial
from pathlib import Path

import trio

from multigrey.api import LOOPBACK, TcpEndpoint, UnixEndpoint
from multigrey_web.answers import Answers
from multigrey_web.app import FORMS, Site, make_app
from multigrey_web.guard import Guard
from multigrey_web.logins import Logins, read_aliases, read_secret
from multigrey_web.serving import Server, config_of, open_socket
from multigrey_web.settings import WebSettings
from multigrey_web.source import acting, asking

__all__ = ["Page", "hosts_of", "logins_of"]

logger = logging.getLogger("multigrey.web")  # the daemon logs notes of its own loggers only

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""Seconds between two tries to open the address."""


def hosts_of(settings: WebSettings) -> frozenset[str] | None:
    """The allowed host names; None: all."""
    address = settings.address
    if isinstance(address, UnixEndpoint):
        return frozenset(settings.hosts) or None
    assert isinstance(address, TcpEndpoint)
    own = f"[{address.host}]" if ":" in address.host else address.host.lower()
    return LOOPBACK | {own, *settings.hosts}


def logins_of(settings: WebSettings) -> Logins:
    """Who is believed to be whom.  Raises ValueError if the secret or the aliases cannot be read."""
    try:
        secret = b"" if settings.proxy_secret is None else read_secret(settings.proxy_secret)
    except ValueError as error:
        raise ValueError(f"[plugins.web] proxy_secret: {error}") from None
    try:
        aliases = {} if settings.aliases is None else read_aliases(settings.aliases)
    except ValueError as error:
        raise ValueError(f"[plugins.web] aliases: {error}") from None
    return Logins(
        address_header=settings.address_header or "",
        aliases=aliases,
        user_header=settings.user_header or "",
        role_header=settings.role_header or "",
        may=settings.may,
        roles=settings.roles,
        secret=secret,
    )


class Page:
    """The service `web`."""

    def __init__(self, settings: WebSettings, control: Path | None, *, redact: bool = False) -> None:
        """`control`: the control socket to ask; None: the daemon has none, which the pages then show.

        `redact`: whether logs must not hold addresses.
        """
        self._logins = logins_of(settings)
        self._redact = redact
        self._settings = settings
        self._control = control

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        settings = self._settings
        answers = Answers(asking(self._control), settings.refresh)
        host = socket.gethostname()
        act = acting(self._control)
        make = partial(Site, answers, settings, host=host, redact=self._redact, logins=self._logins, act=act)
        site = await trio.to_thread.run_sync(make)
        guard = Guard(
            make_app(site),
            hosts_of(settings),
            forms=FORMS if self._logins.can_act else (),
            is_from_proxy=self._logins.is_from_proxy,
        )
        sock = await self._opened()
        async with trio.open_nursery() as nursery:
            await nursery.start(answers.run)
            server = Server(guard, config_of(), settings.connections)
            logger.info("[plugins.web]: serving at %s", settings.address)
            await server.run(sock, task_status=task_status)

    async def _opened(self) -> socket.socket:
        """A listening socket; tries again until it can be opened."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return open_socket(self._settings)
            except OSError as error:
                logger.error("[plugins.web]: %s: %s", self._settings.address, error.strerror or error)  # noqa: TRY400  (no bug)
                await trio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
