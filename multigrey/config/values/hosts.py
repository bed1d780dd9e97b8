"""The names under which HTTP clients may reach a service.

A foreign web page can make its own name point to this host (DNS rebinding): the browser then lets it read
what a service here answers.  The request still carries the foreign name in its Host field, so a service only
answers names that it knows.  An address there is harmless: no stranger can make it point to another host.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Annotated

from multigrey.config.values.kind import Kind, shown

__all__ = ["LOOPBACK", "HostName", "host_of", "is_address"]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""What every host calls itself."""
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?|\[[0-9a-f:.]+\]")


def _read_host(value: object) -> str:
    if not isinstance(value, str) or not _HOST.fullmatch(value.lower()):
        raise ValueError(
            f"{shown(value)} is not a host name; expected one without a port, as in mx.example.org"
        )
    return value.lower()


HostName = Annotated[str, Kind("host name", _read_host)]
"""A host name or address without a port, in lower case; IPv6 addresses in brackets."""


def host_of(fields: Sequence[str]) -> str | None:
    """Return the host in a request's Host fields, without its port; None if there is not exactly one."""
    if len(fields) != 1:
        return None
    text = fields[0].lower()
    name, colon, port = text.rpartition(":")
    if colon and port.isdecimal():
        text = name
    return text.removesuffix(".") or None


def is_address(host: str) -> bool:
    """Whether a host (see `host_of`) is an IPv4 address, or an IPv6 address in brackets."""
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        return ip_address(host[1:-1] if bracketed else host).version == (6 if bracketed else 4)
    except ValueError:
        return False
