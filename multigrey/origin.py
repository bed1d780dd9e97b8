"""Who is sending: the origin of an attempt.

A *named* origin is the registered domain of the client's verified name, or the word of a provider.
Everybody else is *unnamed*: the client network.  The rules, in this order:

1. Without a verified client name nobody is named: a reverse name that is not confirmed, or a HELO
   alone, earns nothing.
2. The longest suffix of the name that the tables of providers and shared hosts know decides.  A
   provider's word stands for all of its servers, whatever they say in HELO.  Hosts below a shared
   suffix belong to different customers and are unnamed.
3. A name that is a public suffix, or lies below none that is known, has no registered domain.
4. A *generated* name is unnamed.  It holds three octets of the client's own address next to each
   other, in order or reversed: as decimal numbers (zero-padded or not, or run together as three
   digits each), or as hex digits run together, six of them with a letter among them or all of the
   address; of an IPv6 address three groups.  Or one of its words, digits at the ends aside and
   outside the registered domain, stands in `POOL_WORDS`.  One or two octets, digits alone, `static`
   and `host` generate nothing.
5. The HELO must lie in the same registered domain.

A registered domain has a dot in it, a network a slash, an origin that SPF found a colon; a
provider's word has none of them.  So no origin can pretend to be one of another kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv4Address
from typing import NamedTuple

from multigrey.addresses import client_text, host_name, network_of, parse_client_address
from multigrey.errors import AddressError
from multigrey.model import Address, Attempt, MeantWord, Origin, value

__all__ = [
    "POOL_WORDS",
    "Explained",
    "GeneratedName",
    "HeloIsAddress",
    "HeloMismatch",
    "Naming",
    "Origins",
    "Provider",
    "SharedHost",
    "origin_of",
    "trust_text",
]

POOL_WORDS = frozenset(
    [
        *[
            "adsl",
            "dsl",
            "sdsl",
            "vdsl",
            "xdsl",
            "isdn",
            "catv",
            "cable",
            "cablemodem",
            "docsis",
            "modem",
            "broadband",
            "hsd",
        ],
        *["fttb", "fttc", "ftth", "fttp", "fttx", "gpon", "gprs", "lte", "umts", "wimax", "hotspot"],
        *["dial", "dialin", "dialip", "dialup", "dialups", "dyn", "dynamic", "dynamicip", "dynip", "dhcp"],
        *["ppp", "pppoa", "pppoe", "ipoe", "cgn", "cgnat", "pool", "pools"],
        *["abo", "cpe", "cust", "customer", "customers", "subscriber", "subscribers", "residential"],
    ]
)
"""Words by which access providers mark the addresses they hand out to homes and travellers."""

_SITE_IPV6 = 64
_CACHED = 512
_CACHED_LENGTH = 512
"""Characters; longer names are not worth memory and cannot be host names."""
_LONGEST_NAME = 253
"""Characters of a host name without the trailing dot (RFC 1035 section 2.3.4)."""
_HOST_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"[0-9]+")
_TOKEN = re.compile(r"[a-z0-9]+")
_HEX_LETTER = re.compile(r"[a-f]")
_HEX_RUN = re.compile(r"[0-9a-f]{6}")
_LONG_HEX_RUN = re.compile(r"[0-9a-f]{12}")
_SEPARATORS = str.maketrans("", "", ".-_")
_BYTE = 256
_DIGITS = "0123456789"


def origin_of(attempt: Attempt, network: str) -> Origin:
    """The unnamed origin, for whoever has no `Origins` at hand.

    `network` is the text of the client network; "" (nobody) when the client's address is not known.
    """
    del attempt
    return Origin(network, named=False)


def trust_text(origin: Origin, client_address: Address | None) -> str:
    """The text under which trust is counted for this origin.

    A named origin stands for itself; an unnamed client only for its exact IPv4 address or its /64,
    so that nobody earns trust for a neighbour in the same network.
    """
    if origin.named or client_address is None:
        return origin.text
    if client_address.version == 4:
        return f"{client_text(client_address)}/32"
    return network_of(client_address, 32, _SITE_IPV6)


class Naming(MeantWord):
    """Why an origin is named or not; `meaning` is a sentence for `explain` and the manual page."""

    NAMED = "named", "The client name is verified, not generated, and HELO lies in its registered domain."
    PROVIDER = "provider", "The client name is verified and belongs to a provider of the list."
    NO_NAME = "no-name", "The client has no verified name."
    NO_ADDRESS = "no-address", "The mail server did not tell the client's address."
    ODD_NAME = "odd-name", "The client name is no host name."
    SHARED = "shared-host", "Hosts below this suffix belong to different customers."
    NO_DOMAIN = "no-domain", "The client name is a public suffix or lies below none that is known."
    GENERATED = "generated", "The client name is made from the client's address or from words for pools."
    HELO_ELSEWHERE = "helo-elsewhere", "HELO does not lie in the registered domain of the client name."


@value
class Provider:
    """Whose servers have verified names below a suffix that nobody else can obtain."""

    origin: str
    """A word of lower-case letters, digits and hyphens: without dot, slash and colon."""
    reason: str = ""
    source: str = ""


@value
class SharedHost:
    """A suffix whose hosts belong to different customers; or one below it that is exempt."""

    reason: str = ""
    source: str = ""
    exempt: bool = False
    """Whether the ordinary rules hold for names below the suffix after all."""


class Explained(NamedTuple):
    """An origin and why it is this one."""

    origin: Origin
    naming: Naming
    detail: str
    """What decided, in a few words; empty when `naming` says it all."""


@value
class _Judged:
    """What is known of a verified client name in the mouth of a client with this address and HELO."""

    naming: Naming
    named: Origin | None = None
    provider: str = ""
    detail: str = ""
    generated: bool = False
    mismatch: bool = False


_UNKNOWN = _Judged(Naming.NO_NAME)


class Origins:
    """Finds origins; immutable but for the memory of the names seen last."""

    __slots__ = ("_judged", "_named", "_unnamed")

    def __init__(
        self,
        registered_domain: Callable[[str], str | None],
        providers: Mapping[str, Provider],
        shared: Mapping[str, SharedHost],
    ) -> None:
        """`registered_domain`: of a name in the form `addresses.host_name` gives, None if it has none.

        `providers` and `shared` are by suffix, in the same form; where both hold the same one, it is shared.
        """
        judge = _Judge(registered_domain, {**providers, **shared})
        self._named: Callable[[str, str, int, type], Origin | None] = lru_cache(maxsize=_CACHED)(judge.named)
        self._judged: Callable[[str, str, int, type], _Judged] = lru_cache(maxsize=_CACHED)(judge.judge)
        self._unnamed: Callable[[str], Origin] = lru_cache(maxsize=_CACHED)(_unnamed)

    def of(self, attempt: Attempt, network: str) -> Origin:
        """Who is sending; `network` is the text of the client network, "" when it is not known."""
        name, address = attempt.client_name, attempt.client_address
        if not name or len(name) > _CACHED_LENGTH or address is None:
            return self._unnamed(network)
        helo = attempt.helo
        if len(helo) > _CACHED_LENGTH:
            helo = ""
        # Not the address itself: its hash and comparison are calls into Python.
        named = self._named(name, helo, int(address), type(address))
        return self._unnamed(network) if named is None else named

    def explained(self, attempt: Attempt, network: str) -> Explained:
        """What `of` says, and why."""
        judged = self._look_up(attempt)
        origin = judged.named or self._unnamed(network)
        return Explained(origin, judged.naming, judged.detail)

    def provider_of(self, attempt: Attempt) -> str:
        """The word of the provider the client belongs to; "" if it belongs to none."""
        return self._look_up(attempt).provider

    def generated(self, attempt: Attempt) -> bool:
        """Whether the client's verified name is generated (and not that of a provider's server)."""
        return self._look_up(attempt).generated

    def helo_mismatch(self, attempt: Attempt) -> bool:
        """Whether HELO lies outside the registered domain of the verified name; False without a name."""
        return self._look_up(attempt).mismatch

    def _look_up(self, attempt: Attempt) -> _Judged:
        name, helo, address = attempt.client_name, attempt.helo, attempt.client_address
        if not name:
            return _UNKNOWN
        if len(name) > _CACHED_LENGTH:
            return _Judged(Naming.ODD_NAME, mismatch=True)
        if len(helo) > _CACHED_LENGTH:
            helo = ""
        return self._judged(name, helo, -1 if address is None else int(address), type(address))


def _unnamed(network: str) -> Origin:
    return Origin(network, named=False)


class _Judge:
    """Judges names; where the rules at the top of this file stand in code."""

    def __init__(
        self,
        registered_domain: Callable[[str], str | None],
        suffixes: Mapping[str, Provider | SharedHost],
    ) -> None:
        self._registered_domain = registered_domain
        self._suffixes = suffixes

    def named(self, told: str, helo: str, number: int, kind: Callable[..., Address]) -> Origin | None:
        """The origin `judge` finds, without the reasons: what is quick comes first."""
        if (name := _host(told)) is None:
            return None
        entry, _ = self._entry(name)
        if isinstance(entry, Provider):
            return Origin(entry.origin, named=True)
        domain = self._registered_domain(name)
        if domain is None or (entry is not None and not entry.exempt):
            return None
        greeting = name if helo == told else _host(helo)
        if greeting != name and (greeting is None or self._home(greeting) != domain):
            return None
        return None if _evidence(name, domain, kind(number)) else Origin(domain, named=True)

    def judge(self, told: str, helo: str, number: int, kind: Callable[..., Address]) -> _Judged:
        """`number` and `kind` make the client's address; a negative number says that it is not known."""
        name, greeting = _host(told), _host(helo)
        if name is None:
            return _Judged(Naming.ODD_NAME, mismatch=True)
        domain = self._registered_domain(name)
        home = domain or name
        mismatch = greeting != name and (greeting is None or self._home(greeting) != home)
        address = None if number < 0 else kind(number)
        entry, suffix = self._entry(name)
        if isinstance(entry, Provider):
            if address is None:
                return _Judged(Naming.NO_ADDRESS, provider=entry.origin, mismatch=mismatch)
            origin = Origin(entry.origin, named=True)
            return _Judged(Naming.PROVIDER, origin, entry.origin, suffix, mismatch=mismatch)
        evidence = _evidence(name, domain, address)
        naming, detail = Naming.NAMED, ""
        if address is None:
            naming = Naming.NO_ADDRESS
        elif entry is not None and not entry.exempt:
            naming, detail = Naming.SHARED, suffix
        elif domain is None:
            naming = Naming.NO_DOMAIN
        elif evidence:
            naming, detail = Naming.GENERATED, evidence
        elif mismatch:
            naming, detail = Naming.HELO_ELSEWHERE, greeting or ""
        named = Origin(home, named=True) if naming is Naming.NAMED else None
        return _Judged(naming, named, "", detail, bool(evidence), mismatch)

    def _home(self, name: str) -> str:
        return self._registered_domain(name) or name

    def _entry(self, name: str) -> tuple[Provider | SharedHost | None, str]:
        """The entry of the longest suffix that is the name or a parent of it, and that suffix."""
        while name:
            entry = self._suffixes.get(name)
            if entry is not None:
                return entry, name
            name = name.partition(".")[2]
        return None, ""


def _host(told: str) -> str | None:
    """A host name in the form `addresses.host_name` gives; None if it cannot be one."""
    bare = told.rstrip(".")
    if len(bare) > _LONGEST_NAME:
        return None
    name = host_name(bare)
    return name if len(name) <= _LONGEST_NAME and _HOST_NAME.fullmatch(name) else None


# --- generated names ---


def _evidence(name: str, domain: str | None, address: Address | None) -> str:
    """What shows that a name is generated, in a few words; "" if nothing does."""
    own = name.removesuffix(domain).rstrip(".") if domain else name
    for label in own.split("."):
        if label.startswith("xn--"):
            continue  # an A-label spells other letters than it seems to
        for token in _TOKEN.findall(label):
            word = token.strip(_DIGITS)
            if word in POOL_WORDS:
                return f"the word {word}"
    if isinstance(address, IPv4Address):
        return "octets of the address" if _holds_octets(name, int(address)) else ""
    if address is not None:
        return "groups of the address" if _holds_groups(name, int(address)) else ""
    return ""


def _holds_octets(name: str, number: int) -> bool:
    """Whether three octets of an IPv4 address stand in a name."""
    runs = _NUMBER.findall(name)
    long_run = _HEX_RUN.search(name) is not None
    if len(runs) < 3 and not long_run:
        return False
    triples = {*_triples(tuple(number.to_bytes(4, "big")))}
    numbers = [int(run) if len(run) <= 3 else _BYTE for run in runs]
    if any(triple in triples for triple in zip(numbers, numbers[1:], numbers[2:], strict=False)):
        return True
    if not long_run:
        return False
    padded = [f"{first:03}{second:03}{third:03}" for first, second, third in triples]
    return any(text in name for text in (*padded, *_hex_texts(number, triples)))


def _triples(parts: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """Every three parts next to each other, in order and reversed."""
    for first, second, third in zip(parts, parts[1:], parts[2:], strict=False):
        yield first, second, third
        yield third, second, first


def _hex_texts(number: int, triples: set[tuple[int, int, int]]) -> Iterator[str]:
    """An IPv4 address and its parts in hex; six digits without a letter are just a number."""
    for whole in (number, int.from_bytes(number.to_bytes(4, "little"), "big")):
        yield f"{whole:08x}"
        if 0 < whole >> 24 < 16:
            yield f"{whole:x}"  # seven digits
    for first, second, third in triples:
        text = f"{first:02x}{second:02x}{third:02x}"
        if _HEX_LETTER.search(text):
            yield text


def _holds_groups(name: str, number: int) -> bool:
    """Whether three groups of an IPv6 address stand in a name.

    With separators between the groups (with or without leading zeros, with the zero groups left
    out), run together, or digit by digit, as in ip6.arpa.  At least two of the three are not zero.
    """
    tokens = [_group(token) for token in _TOKEN.findall(name)]
    found = [triple for triple in zip(tokens, tokens[1:], tokens[2:], strict=False) if min(triple) >= 0]
    squeezed = name.translate(_SEPARATORS)
    long_run = _LONG_HEX_RUN.search(squeezed) is not None
    if not found and not long_run:
        return False
    groups = tuple(number >> shift & 0xFFFF for shift in range(112, -1, -16))
    triples = {triple for triple in _triples(groups) if triple.count(0) < 2}
    written = triples | {*_triples(tuple(filter(None, groups)))}
    if not written.isdisjoint(found):
        return True
    if not long_run:
        return False
    texts = [f"{first:04x}{second:04x}{third:04x}" for first, second, third in triples]
    return any(text in squeezed or text[::-1] in squeezed for text in texts)


def _group(token: str) -> int:
    """A group of an IPv6 address; -1 if the token is none."""
    try:
        return int(token, 16) if len(token) <= 4 else -1
    except ValueError:
        return -1


# --- traits ---


@value
class GeneratedName:
    """`generated-name`: the client's verified name is made from its address or from words for pools."""

    origins: Origins

    def holds(self, attempt: Attempt) -> bool:
        """See `Trait.holds`."""
        return self.origins.generated(attempt)


@value
class HeloMismatch:
    """`helo-mismatch`: HELO lies outside the registered domain of the client's verified name."""

    origins: Origins

    def holds(self, attempt: Attempt) -> bool:
        """See `Trait.holds`."""
        return self.origins.helo_mismatch(attempt)


class HeloIsAddress:
    """`helo-is-address`: HELO is an address literal (RFC 5321 section 4.1.3) or a bare IP address."""

    def holds(self, attempt: Attempt) -> bool:
        """See `Trait.holds`."""
        helo = attempt.helo.strip(" \t").rstrip(".")
        if helo.startswith("["):
            return True
        if helo[-1:] not in _DIGITS and ":" not in helo:
            return False
        try:
            return parse_client_address(helo) is not None
        except AddressError:
            return False
