"""Everything a decision depends on besides the store.

A `Setup` is immutable.  It is made from the configuration and from what administrators changed at run time,
and is replaced as a whole.  An attempt in flight ends with the one it began with.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

from multigrey.engine.stages import ENFORCE, STAGES, Decide
from multigrey.greylist.policy import Policy
from multigrey.identity.addresses import network_of
from multigrey.identity.components import Recipient
from multigrey.identity.keys import KeyScheme
from multigrey.identity.origin import Origins, origin_of
from multigrey.identity.redaction import Redactor
from multigrey.model import Address, Attempt, Findings, Match, Origin
from multigrey.rules.rules import Classes, Outcome, Rules

__all__ = ["LOOPBACK", "Setup", "SourceInfo"]

Networks = Mapping[int, Sequence[tuple[int, int]]]
"""By IP version, for each network: how many bits of an address it leaves free, and its other bits."""

LOOPBACK: Networks = MappingProxyType({4: ((24, 127),), 6: ((0, 1),)})
"""127.0.0.0/8 and ::1 (RFC 6890 sections 2.2.2 and 2.2.3)."""

_LONGEST_NAME = 253
"""Characters of a host name without the trailing dot (RFC 1035 section 2.3.4)."""


def _no_provider(attempt: Attempt) -> str:
    del attempt
    return ""


def _never(attempt: Attempt) -> bool:
    del attempt
    return False


def _no_domain(name: str) -> str | None:
    del name
    return None


def _no_provider_there(domain: str) -> str:
    del domain
    return ""


class SourceInfo(NamedTuple):
    """What explanations say of a whitelist source."""

    name: str
    path: str = ""
    owner: str = ""
    entries: int = 0
    """The number of entries in use."""
    every: Callable[[Attempt], Sequence[Match]] | None = None
    """All entries that match, the one that counts first; None: the source only reports that one."""
    why: Callable[[Match], str] | None = None
    """What its list says about an entry that matches: reason, ticket, dates; "" if nothing."""
    text_at: Callable[[str, int], str | None] | None = None
    """The conditions of the entry in this file, at this line, that is in use; None: there is none."""
    almost: Callable[[Attempt], Sequence[tuple[str, str]]] | None = None
    """Some entries that do not match, but nearly, and why they do not."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything a decision depends on besides the store; made from the configuration."""

    scheme: KeyScheme
    policy: Policy
    """For named origins."""
    unnamed_policy: Policy
    """For clients of which only the network is known."""
    text: str
    rules: Rules
    sources: tuple[Callable[[Attempt], Match | None], ...] = ()
    about_sources: tuple[SourceInfo, ...] = ()
    """One for each of `sources`, for explanations only."""
    ask: Callable[[Attempt], Awaitable[Findings]] | None = None
    """Asks every slow source within the budget; None: without slow sources."""
    recipient: Recipient = field(default_factory=Recipient)
    classes: Classes = field(default_factory=Classes)
    schemes: Mapping[tuple[str, ...], KeyScheme] = field(default_factory=lambda: MappingProxyType({}))
    """For rules that set a key of their own, by its components."""
    origin_of: Callable[[Attempt, str], Origin] = origin_of
    provider_of: Callable[[Attempt], str] = _no_provider
    origins: Origins | None = None
    """Explains why an origin is this one, for explanations only."""
    registered_domain: Callable[[str], str | None] = _no_domain
    """Of a name in the form `identity.addresses.host_name` gives; None if it has none."""
    retrying: frozenset[str] = frozenset()
    """Origins of providers that have servers which are known to retry."""
    provider_by_spf: Callable[[str], str] = _no_provider_there
    """The word of the provider whose own addresses the SPF record of a domain lists; "" if it does not."""
    retries: Callable[[Attempt], bool] = _never
    """Whether the client is, by its verified name, one of those servers."""
    providers_pass: bool = True
    """Whether such clients are not delayed."""
    own_networks: Networks = field(default_factory=lambda: LOOPBACK)
    """Clients that are not greylisted because they are the administrator's own."""
    mode: str = ENFORCE
    """One of `MODES`."""
    ipv4_prefix: int = 24
    ipv6_prefix: int = 64
    null_sender_at_data: bool = True
    message_pass: bool = True
    header: bool = True
    redactor: Redactor | None = None
    """Makes tokens of the senders, recipients and clients in records; None: records show them in clear."""
    blocked: Mapping[bytes, str] = field(default_factory=lambda: MappingProxyType({}))
    """What administrators have blocked: digests of keys, and the text that each stands for."""
    stages: tuple[Decide, ...] = field(init=False)
    """Those of `STAGES` that can decide anything under this setup."""
    stages_again: tuple[Decide, ...] = field(init=False)
    """Those of them that are asked again about a sender that was known a moment ago."""

    def __post_init__(self) -> None:
        stages = [stage for stage in STAGES if stage.matters(self)]
        object.__setattr__(self, "stages", tuple(stage.decide for stage in stages))
        object.__setattr__(self, "stages_again", tuple(stage.decide for stage in stages if stage.again))

    def network(self, attempt: Attempt) -> str:
        """The text of the client network; "" when the client's address is not known."""
        address = attempt.client_address
        return "" if address is None else network_of(address, self.ipv4_prefix, self.ipv6_prefix)

    # Shortcut of ipaddress.ip_network.
    def is_own(self, address: Address) -> bool:
        """Whether a client is this host or in `own_networks`."""
        number = int(address)
        for spare, bits in self.own_networks[address.version]:  # noqa: SIM110  (twice as fast as any)
            if number >> spare == bits:
                return True
        return False

    def mark_of_domain(self, domain: str) -> bytes:
        """The fingerprint that counts a sender's registered domain among those whose mail came back."""
        return self.scheme.domain_mark(self.registered_domain(domain) or domain)

    def announced_domain(self, helo: str, sender_domain: str) -> str:
        """The registered domain of the sender, if HELO lies in it; "" if it does not."""
        helo = helo.rstrip(".").lower()
        # A cheap test first: most HELO names do not even share the last letters.
        if helo[-4:] != sender_domain[-4:] or "." not in helo or len(helo) > _LONGEST_NAME:
            return ""
        domain = self.registered_domain(sender_domain) or ""
        return domain if domain and (helo == domain or helo.endswith(f".{domain}")) else ""

    def scheme_for(self, rule: Outcome | None) -> KeyScheme:
        """What makes the keys of an attempt under this rule; None: no rule said how to greylist."""
        return self.scheme if rule is None or rule.key is None else self.schemes[rule.key]

    def policy_for(self, origin: Origin, rule: Outcome | None) -> Policy:
        """The policy for an attempt of this origin under this rule."""
        policy = self.policy if origin.named else self.unnamed_policy
        if rule is None:
            return policy
        delay = rule.delay if origin.named or rule.unnamed_delay is None else rule.unnamed_delay
        return replace(
            policy,
            delay=policy.delay if delay is None else delay,
            retry_window=policy.retry_window if rule.retry_window is None else rule.retry_window,
            observe=policy.observe or rule.observe,
        )
