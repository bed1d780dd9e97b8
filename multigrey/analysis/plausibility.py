"""Detects mail servers whose requests carry wrong client data, for example behind a NAT or proxy.

Greylisting depends on the client's address, its name and its HELO.  A mail server behind a NAT, a proxy or a
load balancer may report the same data for every client, and then verdicts are useless.  For each listener the
latest attempts are checked for the problems in `Implausibility`.

An attempt that is made again (a retry, the probe of a monitor) counts once.  Attempts over the limit of new
records (a flood) do not count.  Fewer than 200 attempts, and attempts of only one or two senders, are never
reported.  So a quiet site, a monitor, a newsletter or a flood is not taken for a proxy.  A problem that is
over is not reported any more.  Pure: times are seconds of a monotonic clock.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from itertools import islice
from typing import NamedTuple, Self

from multigrey.identity.redaction import HIDDEN_CLIENT
from multigrey.identity.sender import sender_domain
from multigrey.model import HOUR, Address, DecisionEvent, Reason, value
from multigrey.text import counted

__all__ = ["ENOUGH", "Implausibility", "Implausible", "Plausibility"]

ENOUGH = 200
"""Least number of different attempts for a report."""

_MOST = 1_000
"""Number of latest different attempts that are kept."""
_LATEST = 20
"""Number of latest attempts; a problem is over if half of them contradict it."""
_NEARLY_ALL = 0.95
_OWN = 0.8
_SEVERAL = 5
"""Least number of different HELOs, senders or domains; with fewer it may be the traffic of one sender."""
_MANY_NETWORKS = 20
_LONGEST = 100
"""Characters of a text that are compared."""
_CHECK = "check@multigrey.invalid"
"""The sender of the attempts that `multigrey check` makes."""

_HIDING = "a NAT (the network of a container), a proxy or a load balancer stands in front of the mail server"
_SHOWING = (
    "make the real addresses visible to the mail server: use the host's network for a container; for a proxy "
    "use the PROXY protocol (Postfix: postscreen_upstream_proxy_protocol, smtpd_upstream_proxy_protocol; "
    "Exim: hosts_proxy) or XCLIENT (Postfix: smtpd_authorized_xclient_hosts)"
)
_LOOKING_UP = (
    "enable the lookup of client names (Postfix: smtpd_peername_lookup = yes; Exim: host_lookup = *), and "
    "check the resolver; until then every sender is known only by its network"
)
_HANDING_ON = (
    "make the proxy pass on the HELO of clients (Postfix: XCLIENT with HELO, "
    "smtpd_authorized_xclient_hosts), or query multigrey from the server to which clients connect"
)


class Implausibility(Enum):
    """The problems that are detected, each with the usual cause and the remedy."""

    meaning: str
    cause: str
    remedy: str

    def __new__(cls, word: str, meaning: str, cause: str, remedy: str) -> Self:
        """A member with this word and these texts."""
        member = object.__new__(cls)
        member._value_ = word
        member.meaning = meaning
        member.cause = cause
        member.remedy = remedy
        return member

    OWN_CLIENTS = (
        "own-clients",
        "More than 80 % of the last 200 attempts come from own clients, which always pass.",
        f"{_HIDING}, so that every client has an own address, or [origin] own_networks is too wide",
        f"{_SHOWING}; and list only your own networks in [origin] own_networks",
    )
    ONE_ADDRESS = (
        "one-address",
        "All clients have one private (RFC 1918, 4193, 6598), link-local or loopback address.",
        _HIDING,
        _SHOWING,
    )
    NO_NAMES = (
        "no-names",
        "For an hour no client with a public address has had a name.",
        "the mail server does not look up names, its resolver fails, or a proxy passes on only addresses",
        _LOOKING_UP,
    )
    ONE_HELO = (
        "one-helo",
        "For an hour all clients have announced the same HELO.",
        "a proxy or a content filter connects to the mail server instead of the clients",
        _HANDING_ON,
    )


@value
class Implausible:
    """A problem of a listener."""

    listener: str
    problem: Implausibility
    what: str
    """What was observed, as a sentence without a full stop."""

    @property
    def text(self) -> str:
        """Observation, usual cause and remedy in one line."""
        problem = self.problem
        return f"{self.what}; usually {problem.cause}: {problem.remedy}"

    def as_mapping(self) -> Mapping[str, str]:
        """The problem as JSON values."""
        problem = self.problem
        told = {"listener": self.listener, "problem": problem.value, "what": self.what}
        return {**told, "cause": problem.cause, "remedy": problem.remedy}


class _Kind(NamedTuple):
    """The parts of an attempt by which two attempts count as different."""

    client: str | Address
    helo: str
    sender: str
    recipient: str


class _Seen(NamedTuple):
    """The other properties of an attempt that are checked."""

    own: bool
    public: bool
    named: bool


class _Same:
    """The text of the latest attempts, and since when all attempts had the same text."""

    __slots__ = ("latest", "since", "text")

    def __init__(self) -> None:
        self.text: str | None = None
        self.since = self.latest = 0.0

    def note(self, text: str, now: float) -> None:
        """Note the text of an attempt."""
        if text != self.text:
            self.text, self.since = text, now
        self.latest = now

    @property
    def held(self) -> bool:
        """Whether all attempts of an hour or more had the same text."""
        return self.latest - self.since >= HOUR


class _Listener:
    """The latest attempts of one listener."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._seen: OrderedDict[_Kind, _Seen] = OrderedDict()
        self._nameless, self._helo, self._public_helo = _Same(), _Same(), _Same()

    def note(self, event: DecisionEvent, now: float) -> None:
        """Note an attempt."""
        attempt = event.attempt
        address = attempt.client_address
        public = address is None or _is_public(address)  # a redacted address counts as public
        client = attempt.attributes.get(HIDDEN_CLIENT, "") if address is None else address
        kind = _Kind(client, attempt.helo[:_LONGEST], attempt.sender[:_LONGEST], attempt.recipient[:_LONGEST])
        named = attempt.client_name is not None
        self._seen[kind] = _Seen(event.verdict.reason is Reason.OWN_NETWORK, public, named)
        self._seen.move_to_end(kind)
        if len(self._seen) > _MOST:
            self._seen.popitem(last=False)
        helo = kind.helo.lower()
        self._helo.note(helo, now)
        if public:
            self._public_helo.note(helo, now)
            self._nameless.note("named" if named else "", now)

    def own(self) -> tuple[int, int]:
        """The number of latest attempts, at most `ENOUGH`, and how many of them came from own clients."""
        latest = list(islice(reversed(self._seen.values()), ENOUGH))
        return len(latest), sum(seen.own for seen in latest)

    def problems(self, *, has_names: bool) -> Iterator[Implausible]:
        """The problems of this listener; `has_names`: whether its protocol carries names and HELOs."""
        looked, own = self.own()
        if looked < ENOUGH:
            return
        if own > _OWN * looked and len({kind[1:3] for kind in self._latest_own()}) >= _SEVERAL:
            yield self._problem(
                Implausibility.OWN_CLIENTS,
                f"{own:,} of the last {counted(looked, 'attempt')} come from own clients",
            )
        address = self._one_address()
        if address:
            last = f"the last {counted(len(self._seen), 'attempt')}"
            what = f"{last} come from one address that is not public, {address}"
            yield self._problem(Implausibility.ONE_ADDRESS, what)
        if not has_names:
            return
        if not address and self._no_names():
            what = "no client with a public address has a name, for an hour or more"
            yield self._problem(Implausibility.NO_NAMES, what)
        if (helo := self._one_helo()) is not None:
            shown = f"announced as {helo!a}" if helo else "without a HELO"
            yield self._problem(Implausibility.ONE_HELO, f"all clients come {shown}, for an hour or more")

    def _problem(self, problem: Implausibility, what: str) -> Implausible:
        return Implausible(self.name, problem, f"listener {self.name}: {what}")

    def _latest_own(self) -> Iterable[_Kind]:
        latest = islice(reversed(self._seen.items()), ENOUGH)
        return (kind for kind, seen in latest if seen.own)

    def _one_address(self) -> str:
        """The private address of nearly all attempts, if they have several senders; else ""."""
        counts = Counter(kind.client for kind in self._seen)
        client, number = counts.most_common(1)[0]
        if isinstance(client, str) or _is_public(client) or number < _NEARLY_ALL * len(self._seen):
            return ""
        latest = [kind.client for kind in islice(reversed(self._seen), _LATEST)]
        theirs = [kind for kind in self._seen if kind.client == client]
        several = max(
            len({kind.helo for kind in theirs}), len({sender_domain(kind.sender) for kind in theirs})
        )
        return str(client) if 2 * latest.count(client) > len(latest) and several >= _SEVERAL else ""

    def _public(self) -> Sequence[tuple[_Kind, _Seen]]:
        """The latest attempts from public addresses."""
        public = (each for each in reversed(self._seen.items()) if each[1].public)
        return list(islice(public, ENOUGH))

    def _no_names(self) -> bool:
        """Whether for an hour no public client has had a name, and the clients are in many networks."""
        latest = self._public() if self._nameless.held else ()
        if len(latest) < ENOUGH or any(seen.named for _, seen in latest):
            return False
        return len({_network(kind.client) for kind, _ in latest}) >= _MANY_NETWORKS

    def _one_helo(self) -> str | None:
        """The HELO of all attempts for an hour, if they are of several sender domains; else None."""
        public = [kind for kind, _ in self._public()]
        enough = len(public) == ENOUGH
        same = self._public_helo if enough else self._helo
        latest = public if enough else list(islice(reversed(self._seen), ENOUGH))
        domains = {sender_domain(kind.sender) for kind in latest}
        if not same.held or len(domains) < _SEVERAL or len({kind.helo.lower() for kind in latest}) > 1:
            return None
        return same.text


class Plausibility:
    """Collects decisions by listener and detects problems."""

    def __init__(self, untold: frozenset[str] = frozenset()) -> None:
        """`untold`: listeners whose protocol carries neither names nor HELOs."""
        self._untold = untold
        self._listeners: dict[str, _Listener] = {}

    def note(self, event: DecisionEvent, now: float) -> None:
        """Note a decision.  Takes two or three microseconds."""
        attempt = event.attempt
        if attempt.raw or attempt.sender == _CHECK:
            return
        address = attempt.client_address
        if address is None and HIDDEN_CLIENT not in attempt.attributes:
            return
        if event.verdict.reason is Reason.OVER_LIMIT and (address is None or _is_public(address)):
            return
        listener = self._listeners.get(attempt.listener)
        if listener is None:
            listener = self._listeners[attempt.listener] = _Listener(attempt.listener)
        listener.note(event, now)

    def problems(self) -> list[Implausible]:
        """The present problems of all listeners."""
        return [
            problem
            for name, listener in self._listeners.items()
            for problem in listener.problems(has_names=name not in self._untold)
        ]

    def own_share(self) -> Mapping[str, float]:
        """The share of the latest attempts that came from own clients, by listener."""
        shares = {name: listener.own() for name, listener in self._listeners.items()}
        return {name: own / looked for name, (looked, own) in shares.items() if looked}


def _is_public(address: Address) -> bool:
    """Whether it is neither private (RFC 1918, 4193, 6598), link-local (RFC 3927, 4291) nor loopback."""
    number = int(address)
    if address.version == 4:
        private = number >> 24 in {10, 127} or number >> 16 in {0xC0A8, 0xA9FE}
        return not (private or number >> 20 == 0xAC1 or number >> 22 == 0x191)
    return number != 1 and number >> 121 != 0x7E and number >> 118 != 0x3FA


def _network(client: str | Address) -> object:
    """The number of the /24 or /64 of a client; for a redacted address its token."""
    if isinstance(client, str):
        return client
    return int(client) >> (8 if client.version == 4 else 64)
