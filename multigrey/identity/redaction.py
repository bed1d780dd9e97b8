"""Tokens in place of what names a person: `[log] redact`.

A token is `h:` and 16 signs of base32, 80 bits of a hash under the site key: who has the key can check
a guess, nobody can go back from the token, and two installations have nothing in common.

    anna@example.org   h:k3v7...@example.org    the token is of the whole address, the domain stays
    192.0.2.10         h:ay4d...                client addresses, and client networks as origins
    mail.example.org   h:q2zr...                client names, HELO names, login names, raw keys
    example.org        example.org              named origins: an organisation, and decisions need them

So mail can still be told apart, counted and grouped by domain, and a filter works that is given in
clear: `Redactor.text` gives what the log and the records show for it.
"""

from __future__ import annotations

import re
from base64 import b32encode
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import blake2b
from ipaddress import ip_network

from multigrey.errors import AddressError
from multigrey.identity.addresses import LONGEST_ADDRESS, parse_client_address, split_address
from multigrey.identity.envelope import address_text
from multigrey.model import Origin

__all__ = ["HIDDEN_CLIENT", "TOKEN", "Redactor"]

HIDDEN_CLIENT = "client_address"
"""The attribute that stands in for the client's address where decisions are redacted."""

TOKEN = re.compile(r"h:[a-z2-7]{16}")
"""A token alone."""

_SHOWN = re.compile(rf"{TOKEN.pattern}(?:@.*)?", re.DOTALL)
_PURPOSE = b"multigrey-redact"
_BYTES = 10


def _remembered(make: Callable[[str], str]) -> Callable[[str], str]:
    """The same, faster for the few texts that are shown again and again."""
    remembered = lru_cache(maxsize=4096)(make)
    return lambda text: remembered(text) if len(text) <= LONGEST_ADDRESS else make(text)


class Redactor:
    """Makes tokens under one site key."""

    def __init__(self, site_key: bytes) -> None:
        """`site_key` has 32 bytes."""
        self._hash = blake2b(digest_size=_BYTES, key=site_key, person=_PURPOSE)
        address, name = _remembered(self.address), _remembered(self.name)
        self._fields: Mapping[str, Callable[[str], str]] = {
            "client_address": _remembered(self.client),
            "client_name": name,
            "helo": name,
            "raw": self.token,
            "sender": address,
            "recipient": address,
            "origin": _remembered(self._network),
            "authenticated": _remembered(self.token),
        }

    def text(self, given: str) -> str:
        """What is shown for something an administrator filters by: an address, a client, a domain, a token.

        Everything is left as it is but envelope addresses, client addresses and networks.  For a host
        name see `name`.
        """
        if _SHOWN.fullmatch(given):
            return given
        if "@" in given:
            return self.address(given)
        try:
            address = parse_client_address(given)
        except AddressError:
            return self._network(given)
        return given if address is None else self.client(str(address))

    def matches(self, given: str) -> frozenset[str]:
        """Every text that may be shown for `given`, itself included: a host name has no form of its own."""
        return frozenset((given, self.text(given), self.name(given)))

    def field(self, name: str, value: str) -> str:
        """What the log shows under the key `name` (see multigrey(8))."""
        hide = self._fields.get(name)
        return value if hide is None else hide(value)

    def fields(self, shown: Mapping[str, str]) -> dict[str, str]:
        """Fields of a log line, of a decision remembered, redacted."""
        return {name: self.field(name, value) for name, value in shown.items()}

    def origin(self, origin: Origin) -> str:
        """A named origin in clear; for others, whose text is the client network, a token."""
        return origin.text if origin.named or not origin.text else self.token(origin.text)

    def address(self, address: str) -> str:
        """A token and the domain; the null sender (empty or `<>`) stays.

        Without a domain, or with an address literal for one, it is a token only.
        """
        if address in {"", "<>"}:
            return address
        text = address_text(address)
        domain = split_address(text)[1]
        token = self.token(text)
        return f"{token}@{domain}" if domain and not domain.startswith("[") else token

    def client(self, address: str) -> str:
        """A token for a client address; `unknown` and nothing stay."""
        return address if address in {"", "unknown"} else self.token(address)

    def name(self, name: str) -> str:
        """A token for a host name, whatever its case."""
        return self.token(name.lower().rstrip(".")) if name else name

    def token(self, text: str) -> str:
        """`h:` and 16 signs for exactly this text; nothing for an empty one."""
        if not text:
            return text
        keyed = self._hash.copy()
        keyed.update(text.encode("utf-8", "surrogatepass"))
        return "h:" + b32encode(keyed.digest()).decode().lower()

    def _network(self, text: str) -> str:
        """A token if the text is a client network; the text if it is a name."""
        if "/" not in text:
            return text
        try:
            ip_network(text)
        except ValueError:
            return text
        return self.token(text)
