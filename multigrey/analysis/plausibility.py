"""Whether what a listener is told of clients can be true.

Everything greylisting does stands on the client's address, its name and its HELO.  A mail server behind
a NAT, a proxy or a load balancer tells the same of everybody, and a verdict on that means nothing.  For
each listener the latest attempts are looked at for what `Implausibility` lists.

An attempt that is made again (a retry, the probe of a monitor) counts once, attempts over the limit of
new records (a flood) do not count, and nothing is said of fewer than 200 attempts or of those of one or
two senders: so neither a quiet site nor a monitor, a newsletter or a flood looks like a proxy.  What is
over is no problem any more.  Pure: times are seconds of any clock that does not go back.
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

__all__ = ["ENOUGH", "Implausibility", "Implausible", "Plausibility"]

ENOUGH = 200
"""Different attempts from which on something can be said."""

_MOST = 1_000
"""Different attempts that are looked at."""
_LATEST = 20
"""What half of these contradict is over."""
_NEARLY_ALL = 0.95
_OWN = 0.8
_SEVERAL = 5
"""Different HELOs, senders or domains from which on it is not one sender's own traffic."""
_MANY_NETWORKS = 20
_LONGEST = 100
"""Characters of a text that are compared."""
_CHECK = "check@multigrey.invalid"
"""Who asks for `multigrey check`."""

_HIDING = "a NAT (the network of a container), a proxy or a load balancer stands in front of the mail server"
_SHOWING = (
    "let it see the real addresses: the host's network for a container; for a proxy the PROXY protocol "
    "(Postfix: postscreen_upstream_proxy_protocol, smtpd_upstream_proxy_protocol; Exim: hosts_proxy) or "
    "XCLIENT (Postfix: smtpd_authorized_xclient_hosts)"
)
_LOOKING_UP = (
    "let it look them up (Postfix: smtpd_peername_lookup = yes; Exim: host_lookup = *), and see to its "
    "resolver; until then every sender is known by its network only"
)
_HANDING_ON = (
    "let it hand on what clients announce (Postfix: XCLIENT with HELO, smtpd_authorized_xclient_hosts), or "
    "ask multigrey where clients connect"
)


class Implausibility(Enum):
    """What cannot be true, with the usual cause and the remedy."""

    meaning: str
    cause: str
    remedy: str

    def __new__(cls, word: str, meaning: str, cause: str, remedy: str) -> Self:
        """A member of this word."""
        member = object.__new__(cls)
        member._value_ = word
        member.meaning = meaning
        member.cause = cause
        member.remedy = remedy
        return member

    OWN_CLIENTS = (
        "own-clients",
        "More than 80 % of the last 200 attempts come from own clients, who always pass.",
        f"{_HIDING}, so that everybody has an own address, or [origin] own_networks is too wide",
        f"{_SHOWING}; and name only own networks in [origin] own_networks",
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
        "the mail server looks up no names, its resolver does not answer, or a proxy hands on addresses only",
        _LOOKING_UP,
    )
    ONE_HELO = (
        "one-helo",
        "For an hour all clients have announced the same HELO.",
        "a proxy or a content filter speaks to the mail server in the place of all clients",
        _HANDING_ON,
    )


@value
class Implausible:
    """One problem of one listener."""

    listener: str
    problem: Implausibility
    what: str
    """What was seen, as a sentence without its end."""

    @property
    def text(self) -> str:
        """All of it in one line."""
        problem = self.problem
        return f"{self.what}; usually {problem.cause}: {problem.remedy}"

    def as_mapping(self) -> Mapping[str, str]:
        """As JSON can hold it."""
        problem = self.problem
        told = {"listener": self.listener, "problem": problem.value, "what": self.what}
        return {**told, "cause": problem.cause, "remedy": problem.remedy}


class _Kind(NamedTuple):
    """What makes an attempt a different one."""

    client: str | Address
    helo: str
    sender: str
    recipient: str


class _Seen(NamedTuple):
    """What else is looked at."""

    own: bool
    public: bool
    named: bool


class _Same:
    """A text, and for how long nothing else was seen, from one attempt to the latest."""

    __slots__ = ("latest", "since", "text")

    def __init__(self) -> None:
        self.text: str | None = None
        self.since = self.latest = 0.0

    def note(self, text: str, now: float) -> None:
        """See one more."""
        if text != self.text:
            self.text, self.since = text, now
        self.latest = now

    @property
    def held(self) -> bool:
        """Whether that was an hour."""
        return self.latest - self.since >= HOUR


class _Listener:
    """What was seen at one listener."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._seen: OrderedDict[_Kind, _Seen] = OrderedDict()
        self._nameless, self._helo, self._public_helo = _Same(), _Same(), _Same()

    def note(self, event: DecisionEvent, now: float) -> None:
        """See an attempt."""
        attempt = event.attempt
        address = attempt.client_address
        public = address is None or _is_public(address)  # one that is hidden is taken for one
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
        """Of how many latest attempts how many came from own clients."""
        latest = list(islice(reversed(self._seen.values()), ENOUGH))
        return len(latest), sum(seen.own for seen in latest)

    def problems(self, *, told: bool) -> Iterator[Implausible]:
        """What cannot be true; `told`: whether names and HELOs come along at all."""
        looked, own = self.own()
        if looked < ENOUGH:
            return
        if own > _OWN * looked and len({kind[1:3] for kind in self._latest_own()}) >= _SEVERAL:
            yield self._problem(
                Implausibility.OWN_CLIENTS, f"{own} of the last {looked} attempts come from own clients"
            )
        address = self._one_address()
        if address:
            what = (
                f"the last {len(self._seen)} attempts come from one address that is no public one, {address}"
            )
            yield self._problem(Implausibility.ONE_ADDRESS, what)
        if not told:
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
        """The private address that nearly all come from, be it from several senders; "" if there is none."""
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
        """Whether no public client has had a name for an hour, be they of many networks."""
        latest = self._public() if self._nameless.held else ()
        if len(latest) < ENOUGH or any(seen.named for _, seen in latest):
            return False
        return len({_network(kind.client) for kind, _ in latest}) >= _MANY_NETWORKS

    def _one_helo(self) -> str | None:
        """The HELO that all announce, for an hour, be it to several domains' mail; None if there is none."""
        public = [kind for kind, _ in self._public()]
        enough = len(public) == ENOUGH
        same = self._public_helo if enough else self._helo
        latest = public if enough else list(islice(reversed(self._seen), ENOUGH))
        domains = {sender_domain(kind.sender) for kind in latest}
        if not same.held or len(domains) < _SEVERAL or len({kind.helo.lower() for kind in latest}) > 1:
            return None
        return same.text


class Plausibility:
    """Hears of decisions, listener by listener."""

    def __init__(self, untold: frozenset[str] = frozenset()) -> None:
        """`untold`: listeners whose protocol tells neither names nor HELOs."""
        self._untold = untold
        self._listeners: dict[str, _Listener] = {}

    def note(self, event: DecisionEvent, now: float) -> None:
        """See a decision.  Two microseconds or three."""
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
        """What cannot be true now."""
        return [
            problem
            for name, listener in self._listeners.items()
            for problem in listener.problems(told=name not in self._untold)
        ]

    def own_share(self) -> Mapping[str, float]:
        """By listener, the share of the latest attempts that came from own clients."""
        shares = {name: listener.own() for name, listener in self._listeners.items()}
        return {name: own / looked for name, (looked, own) in shares.items() if looked}


def _is_public(address: Address) -> bool:
    """Whether it is neither private (RFC 1918, 4193, 6598), nor of a link (RFC 3927, 4291), nor loopback."""
    number = int(address)
    if address.version == 4:
        private = number >> 24 in {10, 127} or number >> 16 in {0xC0A8, 0xA9FE}
        return not (private or number >> 20 == 0xAC1 or number >> 22 == 0x191)
    return number != 1 and number >> 121 != 0x7E and number >> 118 != 0x3FA


def _network(client: str | Address) -> object:
    """The /24 or /64; of a hidden address itself."""
    if isinstance(client, str):
        return client
    return int(client) >> (8 if client.version == 4 else 64)
