"""Who uses the pages, as the proxy in front of them names people, and what each may do.

A header is believed only if the proxy alone can have sent it: at a unix socket that others cannot open, or
with a secret that the proxy adds to each request.  Pure, apart from reading the secret at the start.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multigrey_web.words import visible

__all__ = ["ACTS", "PROXY_HEADER", "Logins", "User", "read_aliases", "read_secret"]

ACTS = ("expect", "pass", "mode")
"""What can be allowed: expecting mail, letting waiting mail pass, changing the mode for a while."""
PROXY_HEADER = "x-multigrey-proxy"
_LEAST = 16
_MOST = 1_000
_LONGEST_NAME = 80
_MOST_ADDRESSES = 100
_NOBODY = ""


@dataclass(frozen=True, slots=True)
class User:
    """A person at a browser."""

    name: str = _NOBODY
    """As the proxy names them; "": it does not."""
    may: frozenset[str] = frozenset()
    """Those of `ACTS` that are allowed."""
    may_read: bool = True
    """Whether the pages about all mail are for this user."""
    addresses: tuple[str, ...] = ()
    """The user's own mail addresses, for which they may expect mail."""


class Logins:
    """Takes users from headers."""

    def __init__(
        self,
        *,
        user_header: str = "",
        role_header: str = "",
        may: Collection[str] = (),
        roles: Mapping[str, Sequence[str]] | None = None,
        secret: bytes = b"",
        address_header: str = "",
        aliases: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`may`: what every user may do, or, with `roles`, the most that a role can allow.

        `aliases`: further addresses, by the name or an address of a user.
        """
        self._address_header = address_header.lower()
        self._aliases = aliases or {}
        self._user_header = user_header.lower()
        self._role_header = role_header.lower()
        self._may = frozenset(may)
        self._roles = roles or {}
        self._secret = secret
        self._key = os.urandom(32)

    @property
    def can_act(self) -> bool:
        """Whether users may do anything at all."""
        return bool(self._may or self._address_header)

    def is_from_proxy(self, headers: Mapping[str, str]) -> bool:
        """Whether a request has the proxy's secret, if there is one."""
        given = headers.get(PROXY_HEADER, "").encode("latin-1", "replace")
        return not self._secret or hmac.compare_digest(given, self._secret)

    def user(self, headers: Mapping[str, str]) -> User:
        """The user of a request that comes from the proxy; without a name, one who may do nothing."""
        given = headers.get(self._user_header, "") if self._user_header else ""
        name = visible(given.strip())[:_LONGEST_NAME]
        if not name:
            return User(may_read=not self._address_header)
        if not self._role_header:
            return User(name, self._may)
        roles = {role.strip() for role in headers.get(self._role_header, "").replace(";", ",").split(",")}
        allowed = {act for role in roles for act in self._roles.get(role, ())}
        known = bool(roles & self._roles.keys())
        own = self._own(name, headers)
        return User(name, self._may & allowed, known or not self._address_header, own)

    def _own(self, name: str, headers: Mapping[str, str]) -> tuple[str, ...]:
        """The addresses of a user: those that the proxy names, and their aliases."""
        if not self._address_header:
            return ()
        given = [text.strip().lower() for text in headers.get(self._address_header, "").split(",")]
        further = [alias.lower() for key in (name, *given) for alias in self._aliases.get(key.lower(), ())]
        found = dict.fromkeys(each for each in (*given, *further) if _is_address(each))
        return tuple(found)[:_MOST_ADDRESSES]

    def token(self, user: User, host: str) -> str:
        """What forms of this user's pages contain, which no other site can know.

        It holds until the service starts again.
        """
        text = f"{host}\0{user.name}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()

    def is_own(self, headers: Mapping[str, str], token: str, user: User) -> bool:
        """Whether a form was sent by a page of ours: by its token, and by what the browser says."""
        host = headers.get("host", "")
        site = headers.get("sec-fetch-site", "")
        origin = headers.get("origin", "")
        by_browser = site == "same-origin" or (not site and origin.partition("://")[2] == host != "")
        given = token.encode("utf-8", "replace")
        return by_browser and hmac.compare_digest(given, self.token(user, host).encode())


def _is_address(text: str) -> bool:
    local, _, domain = text.rpartition("@")
    return bool(local and domain) and visible(text) == text and " " not in text


def read_aliases(path: Path) -> dict[str, tuple[str, ...]]:
    """The further addresses of users, from a file of TOML: `"anna" = ["info@example.net"]`.

    Raises ValueError.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    for key, value in table.items():
        texts = value if isinstance(value, list) else [None]
        if not all(isinstance(each, str) and _is_address(each) for each in texts):
            raise ValueError(f'{path}: {key}: expected addresses, as in ["info@example.net"]')
    return {key.lower(): tuple(value) for key, value in table.items()}


def read_secret(path: Path) -> bytes:
    """The text that the proxy sends, from a file that others cannot read.  Raises ValueError."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(_MOST + 1).strip()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    if mode & 0o007:
        raise ValueError(f"{path}: other users can read it: chmod o= {path}")
    if not _LEAST <= len(text) <= _MOST or not text.isascii() or not text.decode().isprintable():
        raise ValueError(f"{path}: expected one line of {_LEAST} to {_MOST} characters")
    return text
