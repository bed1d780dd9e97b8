"""Accepts connections: from permitted peers, while there is room."""

from __future__ import annotations

import errno
import logging
import socket

import trio

from multigrey.listeners.connection import Listening
from multigrey.listeners.server import Server
from multigrey.throttle import Throttle

__all__ = ["accept_all"]

logger = logging.getLogger(__name__)

_BURST = 64
"""Connections accepted before other tasks have a turn."""
_PAUSE = 0.25
_VANISHED = {
    *(errno.ECONNABORTED, errno.EPROTO, errno.ENOPROTOOPT, errno.EOPNOTSUPP),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENONET),
}
"""Errors of one connection, whose peer went away: accept(2).  Any other is one of this host's."""


async def accept_all(server: Server, listening: Listening) -> None:
    """Accept on one endpoint until cancelled, and hand permitted peers to `server`."""
    seldom = Throttle()
    while True:
        await trio.lowlevel.wait_readable(listening.socket)
        if server.room <= 0:
            limit = server.limits.connections
            server.not_accepting[listening.name] = f"all {limit} connections are in use"
            if seldom.due("room", trio.current_time()):
                logger.warning("%s: all %d connections are in use; new ones wait", listening.name, limit)
            while server.room <= 0:
                await server.one_to_leave()
        try:
            accepted = _accept_some(listening, min(_BURST, server.room))
        except OSError as error:
            if error.errno not in _VANISHED:
                await _pause(server, listening, error, seldom)
            continue
        server.not_accepting.pop(listening.name, None)
        admitted = []
        for sock, host, peer in accepted:
            if not host or listening.admits(host):
                admitted.append((sock, peer))
                continue
            sock.close()
            if seldom.due(host, trio.current_time()):
                logger.warning("%s: %s is not in allow_from", listening.name, peer)
        server.welcome(admitted, listening)


def _accept_some(listening: Listening, most: int) -> list[tuple[socket.socket, str, str]]:
    """The peers that want to connect now: socket, IP address ("": a unix socket) and name for logs.

    Raises OSError if none could be accepted.
    """
    accepted: list[tuple[socket.socket, str, str]] = []
    try:
        for _ in range(most):
            sock, address = listening.socket.accept()
            sock.setblocking(False)
            if isinstance(address, tuple):
                accepted.append((sock, address[0], f"{address[0]} port {address[1]}"))
            else:
                accepted.append((sock, "", listening.name))
    except BlockingIOError:
        pass
    except OSError:
        if not accepted:
            raise
    return accepted


async def _pause(server: Server, listening: Listening, error: OSError, seldom: Throttle) -> None:
    """Wait until descriptors, memory or whatever is missing may be there again."""
    reason = server.not_accepting[listening.name] = error.strerror or str(error)
    if seldom.due("accept", trio.current_time()):
        logger.error("%s: cannot accept: %s", listening.name, reason)
    await trio.sleep(_PAUSE)
