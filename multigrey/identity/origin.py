"""Finds the origin of an attempt: who is sending.

A *named* origin is the registered domain of the client's verified name, the word of a provider, or a
folded name.  Every other origin is *unnamed*: its text is the client network.  The rules, in this order:

1. A client without a verified name has no named origin: an unconfirmed reverse name, or a HELO alone, proves
   nothing.  If both lie below suffixes of one provider, the provider's word with a question mark *groups*
   the records of its servers while names cannot be verified.  No attempt passes because of such a group.
2. The tables of providers and shared hosts decide, if the name is in them
   (`identity.host_names.host_table` says which of several entries counts).  A provider's word stands for all
   of its servers, with any HELO.  Hosts below a shared suffix belong to different customers and are unnamed.
3. A name that is itself a public suffix (or has one label) has no registered domain and is unnamed.
4. The HELO must lie in the same registered domain.
5. A *generated* name (see `identity.host_names.generated_names`) is unnamed, with one exception: it holds
   the client's address and no word for pools, and the sender's domain also lies in its registered domain.
   Then the *folded* name, without the address, is an origin of its own.  It gains its own trust and does not
   share that of the domain.

A registered domain contains a dot, a network a slash, an origin found by SPF a colon, a folded name a `#`,
a claimed provider a `?`; a provider's word contains none of them.  So origins of different kinds can never
have the same text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

from multigrey.identity.addresses import (
    client_text,
    host_name,
    network_of,
    normalise_address,
    split_address,
)
from multigrey.identity.host_names.generated_names import evidence, holds_address
from multigrey.identity.host_names.host_pattern import folded_name
from multigrey.identity.host_names.host_table import HostTable, is_pattern, tail_of
from multigrey.model import Address, Attempt, MeantWord, Origin, value

__all__ = ["ExplainedOrigin", "Naming", "Origins", "Provider", "SharedHost", "origin_of", "trust_text"]

_SITE_IPV6 = 64
_CACHED = 512
_CACHED_LENGTH = 512
"""Characters; longer names are not cached, because they cannot be host names."""
_LONGEST_NAME = 253
"""Characters of a host name without the trailing dot (RFC 1035 section 2.3.4)."""
_HOST_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_ENDING = 6
"""Characters at the end of a name that suffice to rule out nearly every name that is not a provider's."""
_REVERSE_NAME = "reverse_client_name"
"""Postfix's attribute for an unconfirmed client name (SMTPD_POLICY_README)."""


def origin_of(attempt: Attempt, network: str) -> Origin:
    """The unnamed origin, for callers without an `Origins` object.

    `network` is the text of the client network; "" when the client's address is not known.
    """
    del attempt
    return Origin(network, named=False)


def trust_text(origin: Origin, client_address: Address | None) -> str:
    """The text under which trust is counted for this origin.

    For a named origin this is its text.  For an unnamed client it is only its exact IPv4 address or its
    /64, so that one client does not gain trust for a neighbour in the same network.
    """
    if origin.named or client_address is None:
        return origin.text
    if client_address.version == 4:
        return f"{client_text(client_address)}/32"
    return network_of(client_address, 32, _SITE_IPV6)


class Naming(MeantWord):
    """Why an origin is named or unnamed; `meaning` is a sentence for `explain` and the manual page."""

    NAMED = "named", "The client name is verified, not generated, and HELO lies in its registered domain."
    PROVIDER = "provider", "The client name is verified and belongs to a provider in the list."
    NO_NAME = "no-name", "The client has no verified name."
    NO_ADDRESS = "no-address", "The mail server did not send the client's address."
    ODD_NAME = "odd-name", "The client name is not a valid host name."
    SHARED = "shared-host", "Hosts below this suffix belong to different customers."
    NO_DOMAIN = "no-domain", "The client name is itself a public suffix, or has a single label."
    GENERATED = "generated", "The client name is made from the client's address or from words for pools."
    FOLDED = "folded", "The name holds the client's address; HELO and sender lie in its registered domain."
    CLAIMED = "claimed", "Reverse name and HELO lie below suffixes of one provider; neither is verified."
    HELO_ELSEWHERE = "helo-elsewhere", "HELO does not lie in the registered domain of the client name."


@value
class Provider:
    """A provider whose servers have verified names below a suffix that only it can use."""

    origin: str
    """A word of lower-case letters, digits and hyphens, without dot, slash and colon."""
    reason: str = ""
    source: str = ""
    retries: bool = False
    """Whether it is known to retry for days, so that a delay would show nothing new."""
    spf: tuple[str, ...] = ()
    """Domains whose SPF records list the addresses of this provider and of no other."""


@value
class SharedHost:
    """A suffix whose hosts belong to different customers, or a suffix below it that is exempt."""

    reason: str = ""
    source: str = ""
    exempt: bool = False
    """Whether the ordinary rules apply to names below this suffix."""


class ExplainedOrigin(NamedTuple):
    """An origin and the reason for it."""

    origin: Origin
    naming: Naming
    detail: str
    """What decided, in a few words; empty when `naming` is sufficient."""


Site = tuple[str, bool, str]
"""Registered domain of a verified name, whether HELO lies elsewhere, and HELO's registered domain or ""."""

_NO_SITE: Site = ("", False, "")


class _Known(NamedTuple):
    """What every decision needs to know about a client name, without reasons."""

    origin: Origin | None = None
    """None: unnamed, unless the sender turns it into a folded name (see `foldable`)."""
    provider: Provider | None = None
    site: Site = _NO_SITE
    foldable: str = ""
    """The registered domain of a generated name that may have an origin of its own."""


_NOBODY = _Known()


@value
class _Judged:
    """The full result for a verified client name, from a client with a given address and HELO."""

    naming: Naming
    named: Origin | None = None
    provider: str = ""
    detail: str = ""
    generated: bool = False
    mismatch: bool = False


_UNKNOWN = _Judged(Naming.NO_NAME)


class Origins:
    """Finds origins; immutable except for its caches of recent names."""

    def __init__(
        self,
        registered_domain: Callable[[str], str | None],
        providers: Mapping[str, Provider],
        shared: Mapping[str, SharedHost],
    ) -> None:
        """`registered_domain` takes a name in the form `host_name` returns; None if the name has none.

        The keys of `providers` and `shared` are suffixes or patterns, in the same form (see
        `identity.host_names.host_table`).  A key that is in both counts as shared.
        """
        judge = _Judge(registered_domain, HostTable({**providers, **shared}))
        self._named: Callable[[str, str, int, type], _Known] = lru_cache(maxsize=_CACHED)(judge.named)
        self._judged: Callable[[str, str, int, type], _Judged] = lru_cache(maxsize=_CACHED)(judge.judge)
        self._unnamed: Callable[[str], Origin] = lru_cache(maxsize=_CACHED)(_unnamed)
        self._home: Callable[[str], str] = lru_cache(maxsize=_CACHED)(judge.home_of)
        self._folded: Callable[[str, str, int, type], Origin | None] = lru_cache(maxsize=_CACHED)(_folded)
        self._claimed: Callable[[str, str], Origin | None] = lru_cache(maxsize=_CACHED)(judge.claimed)
        tails = [tail_of(key) if is_pattern(key) else key for key in providers]
        self._ending = min([_ENDING, *map(len, tails)])
        self._endings = frozenset(tail[-self._ending :] for tail in tails)
        self.retrying = frozenset(entry.origin for entry in providers.values() if entry.retries)
        """Origins of the providers of which some servers are known to retry."""
        self._by_spf = {domain: entry for entry in providers.values() for domain in entry.spf}

    def of(self, attempt: Attempt, network: str) -> Origin:
        """The origin of an attempt; `network` is the text of the client network, "" when it is not known."""
        if not attempt.client_name:
            # Check HELO first: reading an attribute may need the attributes to be parsed.
            if attempt.helo[-self._ending :].lower() not in self._endings:
                return self._unnamed(network)
            return self._claim(attempt) or self._unnamed(network)
        known = self._known(attempt)
        if known.origin is not None:
            return known.origin
        return (known.foldable and self._fold(attempt, known.foldable)) or self._unnamed(network)

    def explained(self, attempt: Attempt, network: str) -> ExplainedOrigin:
        """What `of` returns, and why."""
        judged = self._look_up(attempt)
        if judged.named is not None:
            return ExplainedOrigin(judged.named, judged.naming, judged.detail)
        if (claimed := self._claim(attempt)) is not None:
            return ExplainedOrigin(claimed, Naming.CLAIMED, "")
        domain = self._known(attempt).foldable
        if domain and (folded := self._fold(attempt, domain)) is not None:
            return ExplainedOrigin(folded, Naming.FOLDED, judged.detail)
        return ExplainedOrigin(self._unnamed(network), judged.naming, judged.detail)

    def provider_of(self, attempt: Attempt) -> str:
        """The word of the provider to which the client belongs; "" if it belongs to none."""
        return self._look_up(attempt).provider

    def provider_entry(self, attempt: Attempt) -> Provider | None:
        """The table's entry of the provider to which the client's verified name belongs; None for others."""
        return self._known(attempt).provider

    def retries(self, attempt: Attempt) -> bool:
        """Whether the client is, by its verified name, a server of a provider that is known to retry."""
        provider = self.provider_entry(attempt)
        return provider is not None and provider.retries

    def word_by_spf(self, domain: str) -> str:
        """The word of the provider that `provider_by_spf` returns; "" if there is none."""
        provider = self.provider_by_spf(domain)
        return "" if provider is None else provider.origin

    def provider_by_spf(self, domain: str) -> Provider | None:
        """The provider if the SPF record of this domain lists its addresses and no others; else None.

        `domain` is in the form that `identity.addresses.host_name` returns.
        """
        return self._by_spf.get(domain)

    def judged_domain(self, attempt: Attempt) -> Site:
        """The registered domains of client and HELO, if the verified name is neither a provider's nor shared.

        Returns the registered domain of the name ("" for other names), whether HELO lies in another domain,
        and HELO's registered domain ("" if it has none).  A generated name must not count as evidence about
        its domain: if HELO lies in the same domain, "" is returned for it; if not, the caller has to check
        `generated` too.
        """
        return self._known(attempt).site

    def home_of(self, sender: str) -> str:
        """The registered domain of an envelope sender; "" if it has none."""
        return self._home(sender) if len(sender) <= _CACHED_LENGTH else ""

    def generated(self, attempt: Attempt) -> bool:
        """Whether the client's verified name is generated (and is not that of a provider's server)."""
        return self._look_up(attempt).generated

    def helo_mismatch(self, attempt: Attempt) -> bool:
        """Whether HELO lies outside the registered domain of the verified name; False without a name."""
        return self._look_up(attempt).mismatch

    def _known(self, attempt: Attempt) -> _Known:
        name, helo, address = attempt.client_name, attempt.helo, attempt.client_address
        if not name or len(name) > _CACHED_LENGTH or address is None:
            return _NOBODY
        if len(helo) > _CACHED_LENGTH:
            helo = ""
        # Not the address itself as cache key: its hash and comparison are Python functions, which are slow.
        return self._named(name, helo, int(address), type(address))

    def _look_up(self, attempt: Attempt) -> _Judged:
        name, helo, address = attempt.client_name, attempt.helo, attempt.client_address
        if not name:
            return _UNKNOWN
        if len(name) > _CACHED_LENGTH:
            return _Judged(Naming.ODD_NAME, mismatch=True)
        if len(helo) > _CACHED_LENGTH:
            helo = ""
        return self._judged(name, helo, -1 if address is None else int(address), type(address))

    def _claim(self, attempt: Attempt) -> Origin | None:
        """The claimed origin if the unverified reverse name and HELO both name one provider; else None."""
        helo = attempt.helo
        if attempt.client_name or attempt.client_address is None or len(helo) > _CACHED_LENGTH:
            return None
        reverse = attempt.attributes.get(_REVERSE_NAME, "")
        return self._claimed(reverse, helo) if 0 < len(reverse) <= _CACHED_LENGTH else None

    def _fold(self, attempt: Attempt, domain: str) -> Origin | None:
        """The folded origin if the sender lies in the registered domain of the generated name; else None."""
        name, address = attempt.client_name, attempt.client_address
        if name is None or address is None or self.home_of(attempt.sender) != domain:
            return None
        return self._folded(name, domain, int(address), type(address))


def _unnamed(network: str) -> Origin:
    return Origin(network, named=False)


def _folded(told: str, domain: str, number: int, kind: Callable[..., Address]) -> Origin | None:
    """The folded origin; None if the address is in the registered domain itself, as each customer has one."""
    name, address = _host(told) or "", kind(number)
    if not holds_address(name.removesuffix(domain), address):
        return None
    text = folded_name(name, domain, address)
    return Origin(text, named=True) if text else None


class _Judge:
    """Applies the rules at the top of this file to names."""

    def __init__(
        self, registered_domain: Callable[[str], str | None], table: HostTable[Provider | SharedHost]
    ) -> None:
        self._registered_domain = registered_domain
        self._table = table

    def named(self, told: str, helo: str, number: int, kind: Callable[..., Address]) -> _Known:
        """The origin that `judge` finds, without the reasons.

        The quick tests come first, so their order differs from that in `judge`.
        """
        if (name := _host(told)) is None:
            return _NOBODY
        entry, _ = self._table.find(name)
        if isinstance(entry, Provider):
            return _Known(Origin(entry.origin, named=True), entry)
        domain = self._registered_domain(name)
        if domain is None or (entry is not None and not entry.exempt):
            return _NOBODY
        greeting = name if helo == told else _host(helo)
        if greeting != name:
            home = None if greeting is None else self._registered_domain(greeting)
            if home != domain:
                return _Known(site=(domain, True, home or ""))
        shown = evidence(name, domain, kind(number))
        if shown:
            return _NOBODY if shown.startswith("the word") else _Known(foldable=domain)
        return _Known(Origin(domain, named=True), site=(domain, False, domain))

    def judge(self, told: str, helo: str, number: int, kind: Callable[..., Address]) -> _Judged:
        """The origin of a client name with all reasons.

        `kind(number)` is the client's address; a negative number means that it is not known.
        """
        name, greeting = _host(told), _host(helo)
        if name is None:
            return _Judged(Naming.ODD_NAME, mismatch=True)
        domain = self._registered_domain(name)
        home = domain or name
        mismatch = greeting != name and (greeting is None or self._home(greeting) != home)
        address = None if number < 0 else kind(number)
        entry, suffix = self._table.find(name)
        if isinstance(entry, Provider):
            if address is None:
                return _Judged(Naming.NO_ADDRESS, provider=entry.origin, mismatch=mismatch)
            origin = Origin(entry.origin, named=True)
            return _Judged(Naming.PROVIDER, origin, entry.origin, suffix, mismatch=mismatch)
        shown = evidence(name, domain, address)
        naming, detail = Naming.NAMED, ""
        if address is None:
            naming = Naming.NO_ADDRESS
        elif entry is not None and not entry.exempt:
            naming, detail = Naming.SHARED, suffix
        elif domain is None:
            naming = Naming.NO_DOMAIN
        elif shown:
            naming, detail = Naming.GENERATED, shown
        elif mismatch:
            naming, detail = Naming.HELO_ELSEWHERE, greeting or ""
        named = Origin(home, named=True) if naming is Naming.NAMED else None
        return _Judged(naming, named, "", detail, bool(shown), mismatch)

    def claimed(self, reverse: str, helo: str) -> Origin | None:
        """The claimed origin if both names lie below suffixes of one provider; else None."""
        words = []
        for told in (reverse, helo):
            name = _host(told)
            entry = None if name is None else self._table.find(name)[0]
            if not isinstance(entry, Provider):
                return None
            words.append(entry.origin)
        return Origin(f"{words[0]}?", named=True, claimed=True) if words[0] == words[1] else None

    def home_of(self, sender: str) -> str:
        """The registered domain of an envelope sender; "" if it has none."""
        domain = _host(split_address(normalise_address(sender))[1])
        return (domain and self._registered_domain(domain)) or ""

    def _home(self, name: str) -> str:
        return self._registered_domain(name) or name


def _host(told: str) -> str | None:
    """A host name in the form `identity.addresses.host_name` returns; None if the text cannot be one."""
    bare = told.rstrip(".")
    if len(bare) > _LONGEST_NAME:
        return None
    name = host_name(bare)
    return name if len(name) <= _LONGEST_NAME and _HOST_NAME.fullmatch(name) else None
