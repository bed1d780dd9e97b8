"""Finds out which program listens on a port, and the next port on which none does."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from multigrey.config.values.types import TcpEndpoint

__all__ = ["free_port", "is_free", "port_holder"]

_TRIES = 100
_LISTENS = "0A"
"""State of a listening socket in /proc/net/tcp (TCP_LISTEN)."""
_STATE, _INODE = 3, 9
"""Fields of a line there."""


def free_port(endpoint: TcpEndpoint, taken: Iterable[int]) -> TcpEndpoint | None:
    """The same address with the next port that is free and not in `taken`; None: none is near."""
    left_out = {*taken}
    for port in range(endpoint.port + 1, min(endpoint.port + _TRIES, 65_536)):
        candidate = TcpEndpoint(endpoint.host, port)
        if port not in left_out and is_free(candidate):
            return candidate
    return None


def is_free(endpoint: TcpEndpoint) -> bool:
    """Whether no program listens there; an address that cannot be used at all counts as free."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(address)
                sock.listen(1)
            except OSError as error:
                return error.errno != errno.EADDRINUSE
    except OSError:
        return True
    return True


def port_holder(port: int, proc: Path = Path("/proc")) -> str:
    """The program that listens on a TCP port, as in `postgrey (pid 812)`; "": it cannot be seen."""
    links = {f"socket:[{inode}]" for inode in _inodes(port, proc)}
    for descriptor in proc.glob("[0-9]*/fd/*") if links else ():
        with suppress(OSError):
            if str(descriptor.readlink()) in links:
                process = descriptor.parents[1]
                return f"{(process / 'comm').read_text(errors='replace').strip()} (pid {process.name})"
    return ""


def _inodes(port: int, proc: Path) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / "net" / name).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[_STATE] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[_INODE]
