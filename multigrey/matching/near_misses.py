"""Near misses: attempts that differ from a given one in one thing, for which an entry of a list may be meant.

Lists compare exactly: an entry for `outlook.com` is about the host of that name, not about its hosts.  An
entry that matches such another attempt is therefore probably meant for the given one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from multigrey.identity.addresses import host_name, split_address
from multigrey.identity.envelope import address_text
from multigrey.model import Attempt
from multigrey.text import printable

__all__ = ["near_attempts"]

_MOST = 8
"""Parents of a name that are tried; names of real hosts have fewer."""


def near_attempts(attempt: Attempt) -> Iterator[tuple[Attempt, str]]:
    """Yield each such attempt, and why an entry that matches it does not match the given one."""
    if attempt.raw:
        return
    if attempt.client_name:
        for name in _parents(host_name(attempt.client_name)):
            yield (
                replace(attempt, client_name=name),
                f"covers only the host {name}; write .{name} for its hosts",
            )
    elif attempt.helo and "." in attempt.helo.strip("."):
        name = host_name(attempt.helo)
        if not name.startswith("["):
            why = f"the client says HELO {name}, but has no verified name; list its address instead"
            yield replace(attempt, client_name=name), printable(why)
    local, domain = split_address(address_text(attempt.sender))
    for name in _parents(domain):
        yield replace(attempt, sender=f"{local}@{name}"), _domain_only(name)
    local, domain = split_address(address_text(attempt.recipient))
    for name in _parents(domain):
        yield replace(attempt, recipient=f"{local}@{name}"), _domain_only(name)


def _domain_only(name: str) -> str:
    return printable(f"covers only the domain {name}; write .{name} for its sub-domains")


def _parents(name: str) -> Iterator[str]:
    """The names above a name that have at least two labels, the nearest first."""
    labels = name.split(".") if len(name) < 256 else []
    for place in range(max(1, len(labels) - 1 - _MOST), len(labels) - 1):
        yield ".".join(labels[place:])
