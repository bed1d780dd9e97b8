"""Replaces values that identify a person by tokens: `[log] redact`.

A token is `h:` and 16 characters of base32, which are 80 bits of a hash under the site key.  With the key
one can check a guess; the value cannot be computed from the token.  Two installations have different tokens
for the same value.

    anna@example.org   h:k3v7...@example.org    the token is of the whole address, the domain stays
    192.0.2.10         h:ay4d...                client addresses, and client networks as origins
    mail.example.org   h:q2zr...                client names, HELO names, login names, raw keys
    example.org        example.org              named origins: an organisation, and decisions need them

So different senders stay distinguishable, mail can be counted and grouped by domain, and a filter may be
given in clear: `Redactor.text` returns what the log and the records show for it.
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
"""The attribute that holds the token of the client's address in a redacted decision."""

TOKEN = re.compile(r"h:[a-z2-7]{16}")
"""A token without a domain."""

_SHOWN = re.compile(rf"{TOKEN.pattern}(?:@.*)?", re.DOTALL)
_PURPOSE = b"multigrey-redact"
_BYTES = 10


def _remembered(make: Callable[[str], str]) -> Callable[[str], str]:
    """The same function with a cache, for the texts that repeat."""
    remembered = lru_cache(maxsize=4096)(make)
    return lambda text: remembered(text) if len(text) <= LONGEST_ADDRESS else make(text)


class Redactor:
    """Makes tokens with one site key."""

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
        """What is shown for a filter of an administrator: an address, a client, a domain or a token.

        Envelope addresses, client addresses and networks become tokens; everything else stays.  For a host
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
        """Every text that may be shown for `given`, including `given` itself and its token as a host name.

        A host name cannot be recognised by its form, so that token is always included.
        """
        return frozenset((given, self.text(given), self.name(given)))

    def field(self, name: str, value: str) -> str:
        """What the log shows for `value` under the key `name` (see multigrey(8))."""
        hide = self._fields.get(name)
        return value if hide is None else hide(value)

    def fields(self, shown: Mapping[str, str]) -> dict[str, str]:
        """The fields of a log line or of a stored decision, redacted."""
        return {name: self.field(name, value) for name, value in shown.items()}

    def origin(self, origin: Origin) -> str:
        """A named origin in clear; for an unnamed one, whose text is the client network, a token."""
        return origin.text if origin.named or not origin.text else self.token(origin.text)

    def address(self, address: str) -> str:
        """A token and the domain; the null sender (empty or `<>`) stays unchanged.

        Only a token if the address has no domain, or if the domain is an address literal.
        """
        if address in {"", "<>"}:
            return address
        text = address_text(address)
        domain = split_address(text)[1]
        token = self.token(text)
        return f"{token}@{domain}" if domain and not domain.startswith("[") else token

    def client(self, address: str) -> str:
        """A token for a client address; `unknown` and the empty text stay unchanged."""
        return address if address in {"", "unknown"} else self.token(address)

    def name(self, name: str) -> str:
        """A token for a host name; case and a trailing dot make no difference."""
        return self.token(name.lower().rstrip(".")) if name else name

    def token(self, text: str) -> str:
        """`h:` and 16 characters for exactly this text; the empty text stays empty."""
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
