"""Searches for decisions in the history: the marks by which they are found, and the test of each.

A mark is a number of 32 bits that stands for a word: an address, a domain or a domain above it, a client,
its network, an id.  The history keeps the marks of each piece.  So a search unpacks only pieces that probably
hold a match; `Query.fits` then tests the decision itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from zlib import crc32

from multigrey.errors import AddressError, CommandError
from multigrey.identity.addresses import host_name, network_of, parse_client_address, split_address
from multigrey.identity.envelope import address_text
from multigrey.identity.redaction import HIDDEN_CLIENT, TOKEN
from multigrey.model import Address, Attempt, DecisionEvent

__all__ = [
    "WORDS",
    "Network",
    "Query",
    "client_network",
    "mark",
    "marks_of",
    "matches_address",
    "matches_host",
]

WORDS = ("about", "sender", "recipient", "client", "origin", "id")
"""The kinds of search words; `about` stands for any of the others except id."""

_MOST_LABELS = 6
"""A name is found by itself and by its domains of at most this many labels."""
_NETWORKS = ((24, 64), (16, 32))
"""Prefixes (IPv4, IPv6) by which clients are found, besides their exact addresses."""

Network = IPv4Network | IPv6Network


def mark(kind: str, word: str) -> int:
    """The mark of a word of a kind."""
    return crc32(f"{kind}:{word}".encode("utf-8", "surrogateescape"))


def marks_of(event: DecisionEvent) -> set[int]:
    """All marks by which a decision is found."""
    attempt = event.attempt
    found = {mark("id", event.id)}
    names = {host_name(attempt.client_name or ""), event.origin}
    for text in (attempt.sender, attempt.recipient):
        address = address_text(text)
        found.add(mark("address", address))
        names.add(split_address(address)[1])
    if attempt.raw:
        found.add(mark("address", attempt.raw))
    for name in names:
        found.update(mark("name", domain) for domain in _with_parents(name))
    if attempt.client_address is None:
        if HIDDEN_CLIENT in attempt.attributes:
            found.add(mark("client", attempt.attributes[HIDDEN_CLIENT]))
    else:
        found.add(mark("client", str(attempt.client_address)))
        found.update(_network_mark(attempt.client_address, *prefixes) for prefixes in _NETWORKS)
    return found


def _with_parents(name: str) -> Iterator[str]:
    if name:
        labels = name.split(".")
        for number in range(1, min(len(labels), _MOST_LABELS) + 1):
            yield ".".join(labels[-number:])
        if len(labels) > _MOST_LABELS:
            yield name


def _network_mark(address: Address, ipv4_prefix: int, ipv6_prefix: int) -> int:
    return mark("client", network_of(address, ipv4_prefix, ipv6_prefix))


def client_network(text: str) -> Network:
    """The network of a client address or network that an administrator typed.  Raises CommandError."""
    try:
        if "/" in text:
            return ip_network(text.strip(), strict=False)
        address = parse_client_address(text)
    except (AddressError, ValueError) as error:
        raise CommandError(f"{text[:80]!a} is not an address or network of a client") from error
    if address is None:
        raise CommandError("client: empty or unknown: give an address or a network")
    return ip_network(address)


def matches_address(wanted: str, address: str) -> bool:
    """Whether an envelope address (key text) is the wanted one, or lies in the wanted domain.

    `<>` stands for the null sender.  A word without "@" is a domain and stands for all domains below it, too.
    """
    if wanted == "<>":
        return not address
    if "@" in wanted:
        return address == wanted
    return matches_host(wanted, split_address(address)[1])


def matches_host(wanted: str, name: str) -> bool:
    """Whether a name is the wanted one or lies below it."""
    return bool(name) and (name == wanted or name.endswith("." + wanted))


Test = Callable[[DecisionEvent], bool]


@dataclass(frozen=True)
class Query:
    """The conditions of a search: a decision must have one mark of each group, and pass every test."""

    marks: tuple[frozenset[int], ...]
    tests: tuple[Test, ...]
    since: int = 0
    until: int = 0
    """Later decisions do not match; 0: all of them may."""

    @classmethod
    def of(
        cls, words: Mapping[str, str], since: int = 0, shown_as: Callable[[str], Iterable[str]] | None = None
    ) -> Query:
        """A query for words by kind (see `WORDS`).  Raises CommandError for a word that cannot be searched.

        `shown_as` returns other texts that may stand for a word (see `identity.redaction.Redactor.matches`).
        """
        groups: list[frozenset[int]] = []
        tests: list[Test] = []
        for kind, text in words.items():
            if kind not in WORDS:
                raise CommandError(f"decisions cannot be searched by {kind!r}: use one of {', '.join(WORDS)}")
            if not text:
                raise CommandError(f"{kind}: empty: give a value to search for")
            found = [_KINDS[kind](text)]
            for other in () if shown_as is None else {*shown_as(text)} - {text}:
                with suppress(CommandError):
                    found.append(_KINDS[kind](other))
            groups.append(frozenset(mark for marks, _ in found for mark in marks))
            tests.append(_any([test for _, test in found]))
        return cls(tuple(groups), tuple(tests), since)

    def may_have(self, oldest: int, latest: int) -> bool:
        """Whether decisions between these times may match."""
        return latest >= self.since and (not self.until or oldest <= self.until)

    def fits(self, event: DecisionEvent) -> bool:
        """Whether this decision is a match."""
        return self.may_have(event.time, event.time) and all(test(event) for test in self.tests)


_Kind = tuple[list[int], Test]
"""Marks of which a decision must have one, and the test that it must pass."""


def _any(tests: Sequence[Test]) -> Test:
    return tests[0] if len(tests) == 1 else lambda event: any(test(event) for test in tests)


def _about(text: str) -> _Kind:
    """The search for a text of any kind: its form shows whether it is an address, a client or a name."""
    text = text.strip()
    if TOKEN.fullmatch(text):
        return _token(text)
    if text == "<>" or text.find("@") > 0:
        found, sends = _sender(text)
        receives = _recipient(text)[1]
        wanted = address_text(text)
        return found, lambda event: sends(event) or receives(event) or event.attempt.raw == wanted
    if "/" in text or ":" in text or text.replace(".", "").strip("[]").isdecimal():
        return _client(text)
    name = host_name(text.lstrip("@."))
    if "." not in name:
        raise CommandError(f"{text[:80]!a} is not an address, a domain or a client")
    tests = [_sender(name)[1], _recipient(name)[1], _origin(name)[1]]

    def test(event: DecisionEvent) -> bool:
        return _is_client(name, event.attempt) or any(test(event) for test in tests)

    return [mark("name", name)], test


def _token(token: str) -> _Kind:
    """The search for the token of a redacted client, name or network."""

    def test(event: DecisionEvent) -> bool:
        attempt = event.attempt
        return token in {attempt.client_name, attempt.raw, event.origin, _hidden_client(attempt)}

    return [mark(kind, token) for kind in ("client", "name", "address")], test


def _hidden_client(attempt: Attempt) -> str:
    return attempt.attributes.get(HIDDEN_CLIENT, "") if attempt.client_address is None else ""


def _is_client(name: str, attempt: Attempt) -> bool:
    return matches_host(name, host_name(attempt.client_name or ""))


def _address(text: str) -> tuple[list[int], str]:
    text = text.strip()
    if text == "<>":
        return [mark("address", "")], text
    if text.find("@") > 0:
        wanted = address_text(text)
        return [mark("address", wanted)], wanted
    name = host_name(text.lstrip("@."))
    return [mark("name", name)], name


def _sender(text: str) -> _Kind:
    marks, wanted = _address(text)
    return marks, lambda event: matches_address(wanted, address_text(event.attempt.sender))


def _recipient(text: str) -> _Kind:
    marks, wanted = _address(text)
    return marks, lambda event: matches_address(wanted, address_text(event.attempt.recipient))


def _client(text: str) -> _Kind:
    if TOKEN.fullmatch(text):
        return [mark("client", text)], lambda event: _hidden_client(event.attempt) == text
    network = client_network(text)

    def test(event: DecisionEvent) -> bool:
        address = event.attempt.client_address
        return address is not None and address in network

    if network.num_addresses == 1:
        return [mark("client", str(network.network_address))], test
    for prefixes in _NETWORKS:
        if network.prefixlen >= prefixes[network.version == 6]:
            return [_network_mark(network.network_address, *prefixes)], test
    wide = "/16" if network.version == 4 else "/32"
    raise CommandError(f"{network} is too wide to search: use {wide} or a narrower network")


def _origin(text: str) -> _Kind:
    """The search for exactly this origin: a name, or a client network as in the log."""
    wanted = text.strip().lower()
    if "/" not in wanted:
        return [mark("name", wanted)], lambda event: event.origin == wanted
    marks, _ = _client(wanted)
    return marks, lambda event: event.origin == wanted


def _id(text: str) -> _Kind:
    return [mark("id", text)], lambda event: event.id == text


_KINDS: Mapping[str, Callable[[str], _Kind]] = {
    "about": _about,
    "sender": _sender,
    "recipient": _recipient,
    "client": _client,
    "origin": _origin,
    "id": _id,
}
