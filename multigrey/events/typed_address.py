r"""Reads the envelope addresses in text that a person typed, or pasted from a log, a mail or a command.

    bob@example.net   <bob@example.net>   Bob B. <bob@example.net>   "B, Bob" <bob@example.net>   mailto:…
    to=<bob@example.net>,   from=<>   sender=<…>   F=<…>   RCPT TO:<bob@example.net>   recipient="j\xf6rg@…"
    several, with commas, semicolons, spaces, line ends or arrows between them

multigrey escapes what is not printable in its log, its JSON and its commands; here it is read back.  What is
not an address is an error, because a search for it would say that nothing is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from multigrey.errors import AddressError
from multigrey.events.line import unescaped
from multigrey.identity.addresses import host_name
from multigrey.identity.redaction import TOKEN

__all__ = ["NULL", "read_address", "read_address_or_domain", "read_addresses"]

NULL = "<>"
"""How a person writes the null sender."""

_MOST = 4_096
"""Characters of a text."""
_SHOWN = 80
_TOKENS = re.compile(
    r"(?P<end>,|;|\n|->)"
    r"|(?P<space>\s)"
    r"|(?P<label>(?:rcpt[ ]to|mail[ ]from|mailto|return-path|delivered-to|envelope-to|orig_to|to|from|cc)[=:]"
    r"|(?:sender|recipient|f)=)"
    r'|<(?P<mailbox>(?:"(?:[^"\\]|\\.)*"|[^<>"])*)>'
    r'|(?P<local>"(?:[^"\\]|\\.)*"@[^\s,;<>"]+)'
    r'|"(?P<quoted>(?:[^"\\]|\\.)*)"'
    r"|(?P<word>[^\s,;<>]+)",
    re.IGNORECASE | re.DOTALL,
)
_NAME = r"[\w\x80-\U0010ffff-]+(?:\.[\w\x80-\U0010ffff-]+)*\.?"
_DOMAIN = re.compile(rf"\[[0-9A-Za-z:.]+\]|{_NAME}")
_AROUND = "'\"()`.:"
"""Signs that a sentence or a shell puts around an address."""


def read_addresses(text: str) -> list[str]:
    """The addresses in a text, each once, in their order; `<>` is the null sender.

    Raises AddressError when it holds none, or a part that is not an address.
    """
    if len(text) > _MOST:
        raise AddressError(f"more than {_MOST} characters: paste the addresses alone")
    found: list[str] = []
    name, labelled = "", False
    for kind, part in _tokens(text):
        if kind == "end" and name:
            break
        if kind in {"mailbox", "local"} or (labelled and kind == "quoted"):
            found.append(_mailbox(part, is_marked=kind == "mailbox"))
            name, labelled = "", False
        elif kind == "word" and "@" in part and not name:
            found.append(_mailbox(part.strip(_AROUND)))
            labelled = False
        elif kind in {"word", "quoted"} and part.strip(_AROUND):
            name = name or part
        labelled = labelled or kind == "label"
    if name or not found:
        raise _not_an_address(name or text)
    return [*dict.fromkeys(found)]


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """The kind of each part of a text (a group of `_TOKENS`), and the part.  Raises AddressError."""
    at = 0
    while at < len(text):
        token = _TOKENS.match(text, at)
        if token is None or token.lastgroup is None:
            raise _not_an_address(text[at:])
        yield token.lastgroup, token[token.lastgroup]
        at = token.end()


def read_address(text: str) -> str:
    """The one address in a text.  Raises AddressError."""
    found = read_addresses(text)
    if len(found) > 1:
        raise AddressError(f"{len(found)} addresses ({', '.join(found)[:_SHOWN]}): give one")
    return found[0]


def read_address_or_domain(text: str) -> str:
    """The one address in a text, or a domain (also written .example.org or @example.org), without its sign.

    The token of a redacted address or name stays as it is.  Raises AddressError.
    """
    bare = text.strip()
    if TOKEN.fullmatch(bare):
        return bare
    domain = bare.lstrip("@.")
    if "@" in domain or "<" in domain:
        return read_address(bare)
    if not _DOMAIN.fullmatch(domain) or ("." not in domain and not bare.startswith(("@", "."))):
        raise AddressError(f"{_shown(text)} is neither an address nor a domain")
    return host_name(domain)


def _mailbox(text: str, *, is_marked: bool = False) -> str:
    """An address that was found; `is_marked`: between < and >, where it need not have a domain."""
    address = unescaped(text.strip())
    if is_marked and not address:
        return NULL
    local, at, domain = address.rpartition("@")
    if at and local and _DOMAIN.fullmatch(domain):
        return address
    if is_marked and not at and address.isprintable() and " " not in address:
        return address
    raise _not_an_address(address)


def _not_an_address(text: str) -> AddressError:
    return AddressError(f"{_shown(text)} is not an address, such as bob@example.net")


def _shown(text: str) -> str:
    return ascii(text.strip()[:_SHOWN])
