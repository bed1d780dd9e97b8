"""Evaluates one SPF check (RFC 7208) with pyspf, and records by which terms a client passed.

pyspf is synchronous, so a check runs in a thread.  Its only access to the DNS is the method `dns`, which
is overridden.  The module global with which pyspf would otherwise look names up is left alone, because
other code in the same process may use it.

It is not enough to know that a client passed: the record of a domain may let every client pass.  pyspf
reports the matching term for the first record only, so `Check` overrides the methods that all terms use:

    a mx ip4 ip6   `cidrmatch`, with the prefix length, after `dns_a` or `dns_mx` with the name
    exists         `dns_a` that finds something, without `cidrmatch` after it
    ptr            `validated_ptrs`
    all            nothing
    include, redirect  `check1`, with the domain

`expand` makes names from domain specifications, so it sees the macros in them.

These methods also show whether the client may be one of the domain's own hosts; `own_hosts` counts how
many own hosts there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from ipaddress import ip_network
from typing import Any

import spf  # type: ignore[import-untyped]  # (pyspf has no types)

from multigrey.api import Address, host_name
from multigrey_spf.dnslookup import Asked, Known, Value

__all__ = [
    "LOCAL",
    "RESULTS",
    "Check",
    "IsOwn",
    "Outcome",
    "Question",
    "Session",
    "Way",
    "evaluate",
    "is_local",
    "nobodys",
    "strangers",
]

RESULTS = ("pass", "fail", "softfail", "neutral", "none", "temperror", "permerror")
"""RFC 7208 section 2.6."""

_WIDEST = {4: 16, 6: 32}
"""The shortest prefixes that still distinguish clients; a wider network authorises too many."""
_MOST_QUESTIONS = 50
"""For one check.  RFC 7208 section 4.6.4 would allow more than a hundred (ten `mx` of ten hosts)."""
_MOST_OCTETS = 4096
"""Most octets of one record; RFC 7208 sections 3.3 and 3.4 want it to fit one DNS packet."""
_LONGEST_TERM = 512
"""Octets; names have at most 253.  pyspf's patterns take quadratic time for each term."""
_LONGEST_NAME = 253
_MACRO = re.compile(r"%\{([A-Za-z])")
_SENDERS_CHOICE = frozenset("lshp")
"""Macros that the client chooses: local part, sender, HELO, reverse name."""

LOCAL = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.168.0.0/16", "224.0.0.0/3", "::/8", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    )
)
"""Private, link-local, multicast or reserved networks: records do not authorise these."""

IsOwn = Callable[[str], bool]
"""Returns whether a name is in the registered domain of the domain that is checked."""


def nobodys(name: str) -> bool:
    """An `IsOwn` for checks that do not look for own hosts: always False."""
    del name
    return False


@dataclass(frozen=True, slots=True)
class Question:
    """The question whether `domain` authorises `client`."""

    client: Address
    domain: str
    """Lower case, A-labels, no trailing dot."""
    local: str
    """Local part of the sender, in ASCII."""
    helo: str
    home: str = ""
    """Registered domain of `domain`; "" to not look for own hosts."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a check."""

    result: str
    """One of RESULTS."""
    authorised: bool
    """Whether the client passed by a term that does not let every client pass."""
    until: float
    """Monotonic time until which all answers that it depends on are valid."""
    reusable: bool
    """Whether it would be the same for every local part and HELO."""
    own: bool = False
    """Whether it passed as one of the domain's own hosts; `evaluate` does not check if these are few."""
    listed_by: tuple[str, ...] = ()
    """Domains whose records list the client, from the one with the matching term to the one checked."""


@dataclass(frozen=True, slots=True)
class Way:
    """The terms by which a client passed."""

    prefix: int | None
    """Prefix length of the network; None: by `exists`."""
    macros: frozenset[str] = frozenset()
    """Letters of the macros in the domain specifications of these terms."""
    own: bool = False
    """Whether all names in these terms are the domain's own."""
    records: tuple[str, ...] = ()
    """Domains of the records of these terms, the innermost first."""


class Session:
    """The DNS for one check, used from its thread."""

    def __init__(self, ask: Callable[[str, str], Known]) -> None:
        """`ask` waits for the answer; an exception from it ends the check."""
        self._ask = ask
        self._memo: dict[Asked, Known] = {}
        self.until = float("inf")
        self.pending: Asked | None = None
        """The question that waits for its answer at the moment."""

    def look_up(self, name: str, kind: str) -> tuple[Value, ...]:
        """Return the values of a name.  Raises TempError without an answer, or after too many questions."""
        asked = (name, kind)
        known = self._memo.get(asked)
        if known is None:
            if len(self._memo) >= _MOST_QUESTIONS:
                raise spf.TempError("too many DNS questions")
            self.pending = asked
            known = self._ask(name, kind)
            self.pending = None
            self._memo[asked] = known
            self.until = min(self.until, known.until)
        if known.values is None:
            raise spf.TempError("no answer from the DNS")
        return known.values


class Check(spf.query):  # type: ignore[misc]  # (see the import)
    """pyspf's evaluation with a session for the DNS; it records by which terms the client passed."""

    def __init__(self, question: Question, session: Session, is_own: IsOwn = nobodys) -> None:
        """Only prepare the evaluation; `check` does it."""
        super().__init__(
            i=str(question.client), s=f"{question.local}@{question.domain}", h=question.helo, strict=True
        )
        self.l, self.o = question.local, question.domain  # pyspf splits at the first "@"
        self.d = self.o
        self._session = session
        self._is_own = is_own
        self._macros_in: dict[str, frozenset[str]] = {}
        self._asked = ""
        """The name that `a` or `mx` has looked up."""
        self.way: Way | None = None
        """After a pass by a network or `exists`: the terms; None after a pass by `all` or `ptr`."""
        self.personal = False
        """Whether a term depends on the local part or the HELO."""

    def check(self, spf: str | None = None) -> tuple[str, int, str]:
        """Return result, SMTP code and explanation.  Raises only what `Session.look_up` passes on."""
        self.way = None
        found: tuple[str, int, str] = super().check(spf)
        return found

    def dns(self, name: Any, qtype: str, cnames: Any = None, ignore_void: bool = False) -> list[Value]:  # noqa: ARG002  (aliases are the resolver's business)
        """Return the values of a name; count names that do not exist (RFC 7208 section 4.6.4)."""
        text = str(name).removesuffix(".").lower()
        if not text.isascii() or len(text) > _LONGEST_NAME:
            return []
        if not all(0 < len(label) < 64 for label in text.split(".")):
            return []
        values = list(self._session.look_up(text, qtype))
        if not values and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                raise spf.PermError(f"Void lookup limit of {spf.MAX_VOID_LOOKUPS} exceeded")
        return values

    def dns_spf(self, domain: str) -> str | None:
        """Return the record of a domain.  Raises PermError if it is too long."""
        record: str | None = super().dns_spf(domain)
        if record is not None and (
            len(record) > _MOST_OCTETS or any(len(term) > _LONGEST_TERM for term in record.split(" "))
        ):
            raise spf.PermError("SPF record too long")
        return record

    def get_explanation(self, spec: str) -> str | None:  # noqa: ARG002  (see below)
        """Return None: the explanation is never used, and a stranger would choose its text."""
        return None

    def expand(self, s: str, stripdot: bool = True) -> str:
        """Return a text with its macros expanded, and note which macros made a name."""
        text: str = super().expand(s, stripdot)
        while stripdot and len(text) > _LONGEST_NAME and "." in text:  # pyspf drops only one label
            text = text.partition(".")[2]
        macros = frozenset(letter.lower() for letter in _MACRO.findall(s))
        if macros:
            self._macros_in[text] = self._macros_of(text) | macros
            self.personal = self.personal or not macros.isdisjoint("lsh")
        return text

    def _macros_of(self, name: str) -> frozenset[str]:
        return self._macros_in.get(name, frozenset())

    def check0(self, spf: str | None, recursion: int) -> tuple[str, int, str]:
        """Evaluate one record.  If it does not pass, its terms do not count for an including record."""
        self._forget()
        found: tuple[str, int, str] = super().check0(spf, recursion)
        if found[0] != "pass":
            self._forget()
        return found

    def check1(self, spf: str | None, domain: str, recursion: int) -> tuple[str, int, str]:
        """Evaluate the record of a domain that a term names (`include`, `redirect`)."""
        found: tuple[str, int, str] = super().check1(spf, domain, recursion)
        if self.way is not None:
            way, name = self.way, host_name(domain)
            self.way = replace(
                way,
                macros=way.macros | self._macros_of(domain),
                own=way.own and self._is_own(name),
                records=(*way.records, name),
            )
        return found

    def _forget(self) -> None:
        self.way = None
        self._asked = ""

    def dns_a(self, domainname: str, A: str = "A") -> list[Value]:  # noqa: N803  (pyspf's)
        """Return the addresses of a name.  If no `cidrmatch` follows, `exists` looked them up."""
        addresses: list[Value] = super().dns_a(domainname, A)
        self._forget()
        if addresses:
            self._asked = domainname
            self.way = Way(None, self._macros_of(domainname))
        return addresses

    def dns_mx(self, domainname: str) -> list[Value]:
        """Return the addresses of a domain's mail servers."""
        addresses: list[Value] = super().dns_mx(domainname)
        self._asked = domainname
        return addresses

    def cidrmatch(self, ipaddrs: list[Any], n: int) -> bool:
        """Whether the client is in one of these networks."""
        name = self._asked
        self._forget()
        matched = bool(super().cidrmatch(ipaddrs, n))
        if matched:
            self.way = (
                Way(n, self._macros_of(name), own=self._is_own(host_name(name))) if name else Way(n, own=True)
            )
        return matched

    def validated_ptrs(self) -> list[str]:
        """Return the client's reverse names; these never count as a way (RFC 7208 section 5.5)."""
        names: list[str] = super().validated_ptrs()
        self._forget()
        return names


def evaluate(question: Question, session: Session, is_own: IsOwn = nobodys) -> Outcome:
    """Do the whole check.  It waits for the DNS, so call it in a thread."""
    first = Check(question, session, is_own)
    result = first.check()[0]
    way = first.way
    if result != "pass" or way is None or not _says_who(way, question, session):
        return Outcome(result, authorised=False, until=session.until, reusable=not first.personal)
    return Outcome(
        result,
        authorised=True,
        until=session.until,
        reusable=not first.personal,
        own=way.own and way.prefix is not None and not way.macros,
        listed_by=way.records,
    )


def _says_who(way: Way, question: Question, session: Session) -> bool:
    """Whether these terms authorise some clients only, not every client."""
    if way.macros & _SENDERS_CHOICE:
        return False
    if way.prefix is not None and way.prefix < _WIDEST[question.client.version]:
        return False
    if way.prefix is not None and "i" not in way.macros:
        return True
    # With `exists` or `%{i}` the DNS answers for each client separately, but it may answer the same for
    # all of them (a wildcard, or a name that contains the address): check whether two others would pass.
    results = [
        Check(replace(question, client=other), session).check()[0] for other in strangers(question.client)
    ]
    return not {"pass", "temperror"}.intersection(results)


def is_local(address: Address) -> bool:
    """Whether an address is private, link-local, multicast or reserved: records do not authorise these."""
    return any(address in network for network in LOCAL if network.version == address.version)


def strangers(client: Address) -> tuple[Address, Address]:
    """Return two addresses that have no relation to a client: one near to it, one far away.

    They are always the same for one client, so that the DNS answers about them can be cached.
    """
    near, far = (8, 0) if client.version == 4 else (16, 3)
    return _stranger(client, near), _stranger(client, far)


def _stranger(client: Address, common: int) -> Address:
    """An address that shares `common` leading bits with the client, but is not in its network."""
    spare = client.max_prefixlen - common
    network = client.max_prefixlen - _WIDEST[client.version]
    for number in _numbers(client, common):
        other = type(client)(int(client) >> spare << spare | number % (1 << spare))
        if int(other) >> network != int(client) >> network and not is_local(other):
            return other
    raise AssertionError("unreachable: _numbers never ends")


def _numbers(client: Address, common: int) -> Iterator[int]:
    count = 0
    while True:
        yield int.from_bytes(blake2b(client.packed + bytes([common]) + count.to_bytes(4)).digest()[:16])
        count += 1
