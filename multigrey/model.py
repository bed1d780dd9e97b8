"""The values every part of multigrey hands to the next (design words: attempt, record, verdict, …).

Plain, immutable data without behaviour beyond what follows from their own fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Generic, NamedTuple, Self, TypeVar, dataclass_transform

__all__ = [
    "DAY",
    "HOUR",
    "NO_ATTRIBUTES",
    "Action",
    "Address",
    "Attempt",
    "Change",
    "Command",
    "DecisionEvent",
    "Entry",
    "Findings",
    "Ignored",
    "Key",
    "Match",
    "MeantWord",
    "Origin",
    "OriginRecord",
    "Reason",
    "Record",
    "Reply",
    "Signal",
    "Stage",
    "Standing",
    "Table",
    "Times",
    "Verdict",
    "value",
]

T = TypeVar("T")

HOUR, DAY = 3600, 86_400
"""Seconds."""

Address = IPv4Address | IPv6Address
"""An IP address of either version."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """A value: slotted, compared by its fields, never changed (`dataclasses.replace` makes another).

    Type checkers see to the "never".  At run time `frozen=True` would cost a call for each field, a
    third of all the time a decision takes.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})


class _Word(Enum):
    """Members are singletons, so identity will do; Enum's own hash is a call into Python each time."""

    __hash__ = object.__hash__


class Action(_Word):
    """What the mail server is told to do with the recipient."""

    PASS = "pass"  # noqa: S105  (no password)
    DEFER = "defer"
    REJECT = "reject"


class MeantWord(_Word):
    """Words that stand in logs, each with a sentence for those who read them."""

    meaning: str

    def __new__(cls, word: str, meaning: str) -> Self:
        """A member of this word and meaning."""
        member = object.__new__(cls)
        member._value_ = word
        member.meaning = meaning
        return member


class Reason(MeantWord):
    """Why; the source of log words, metric labels, the header and the table in multigrey(8)."""

    NEW = (
        "new",
        "Nothing is known under any of the attempt's keys: the sender is asked to come back.",
    )
    EARLY = "early", "A retry before the delay was over; the time of the first attempt does not move."
    EXPIRED = "expired", "The record was too old (retry window or max age) and starts again."
    RETRY = "retry", "The first retry after the delay: the sender came back as asked."
    KNOWN = "known", "The triplet has passed before."
    SAME_MESSAGE = "same-message", "Another recipient of the same message passed, and carries this one."
    WHITELISTED = "whitelisted", "An entry of a whitelist matched; the log names the entry and its owner."
    AUTO_WHITELISTED = (
        "auto-whitelisted",
        "This origin has proved itself, for this sender domain or as a whole (detail: proven origin).",
    )
    AUTHENTICATED = "authenticated", "The client logged in or showed a verified certificate."
    RULE = "rule", "A rule of the administrator decided."
    OVER_LIMIT = (
        "over-limit",
        "Too many new records of this origin: a mark stands for the attempt, and only its own retry passes.",
    )
    PROVIDER = (
        "provider",
        "The client is a server of a provider that is known to retry; a delay would teach nothing.",
    )
    OWN_NETWORK = "own-network", "The client is this host itself, or in own_networks."
    NO_IDENTITY = (
        "no-identity",
        "The mail server did not know the client's address, so there is nothing to remember.",
    )
    NULL_SENDER = "null-sender", "A bounce or probe at RCPT; it is judged at DATA."
    PROBE = "probe", "Another mail server verifies an address at RCPT (double-bounce@); it is judged at DATA."
    MODE_OFF = "mode-off", "Greylisting is switched off."
    ERROR = "error", "The store failed or did not answer in time: answered by the listener's on_error."


class Stage(Enum):
    """The point of the SMTP dialogue at which the mail server asks."""

    RCPT = "rcpt"
    DATA = "data"


@value
class Attempt:
    """One recipient a mail server asks about.

    Addresses are as the server told them (case kept, undecodable bytes as surrogate escapes);
    `keys` makes key text of them.
    """

    listener: str
    """Name of the endpoint that was asked, for logs and rules."""
    client_address: Address | None
    """The peer's address after un-mapping (see `identity.addresses.parse_client_address`); None: unknown."""
    client_name: str | None
    """Verified (forward-confirmed) host name, None when unknown."""
    helo: str
    sender: str
    """Envelope sender; the null sender is the empty string."""
    recipient: str
    stage: Stage = Stage.RCPT
    message: str = ""
    """An id all recipients of one message share (Postfix: instance); empty: not told."""
    authenticated: str = ""
    """Login name or subject of a verified client certificate; empty: neither."""
    raw: str = ""
    """A key the asker made up itself instead of addresses (greylistd's free text); else empty."""
    attributes: Mapping[str, str] = field(default_factory=lambda: NO_ATTRIBUTES, compare=False)
    """Everything else the server told, under its own names."""


@value
class Command:
    """Something to do other than judging an attempt; answered by `engine.command()`."""

    word: str
    attempt: Attempt | None = None
    options: Mapping[str, str] = field(default_factory=lambda: NO_ATTRIBUTES)


@value
class Ignored:
    """A question that was answered without judging it (the dialogue has queued the answer).

    `hint` is what an administrator should know, said once per endpoint; empty: nothing to say.
    """

    hint: str = ""


class Signal(Enum):
    """What a dialogue says when it has no request to hand out."""

    NEED_DATA = "need data"
    CLOSED = "closed"


@value
class Origin:
    """Who is sending: a registered or SPF-authorised domain (named), else the client network."""

    text: str
    named: bool
    claimed: bool = False
    """A provider's name that nothing verifies: it groups records, but earns and uses no trust."""


@value
class Record:
    """What is known of one key.  Times are wall-clock seconds; `passed_at` 0 means never."""

    first_seen: int
    last_seen: int
    delay: int
    """Minimum age in seconds before a retry passes; fixed when the record is made."""
    attempts: int = 1
    early: int = 0
    """How many of the attempts were early retries."""
    passed_at: int = 0
    passes: int = 0
    """Passes on its own account, counted hourly; stays 0 if it only passed beside another recipient."""
    client: str = ""
    sender: str = ""
    recipient: str = ""
    origin: str = ""
    observed: bool = False
    """It was only watched: it passed although it would have been deferred, and never counts for trust."""

    @property
    def earned(self) -> bool:
        """Whether it passed after a real deferral (not together with another recipient)."""
        return self.passes > 0


@value
class OriginRecord:
    """What is known of (origin, sender domain): how often its deferred mail came back."""

    passes: int = 0
    last_counted: int = 0
    last_seen: int = 0
    first_key: bytes = b""
    """Digest of the first key counted, to tell whether a second one ever was."""
    several_keys: bool = False


@value
class Standing:
    """What is known of an origin as a whole: what it was asked to send again, and what came back."""

    days: tuple[tuple[int, int, int], ...] = ()
    """(day since 1970, deferred on it, of these returned), in order; what is older than two days."""
    domains: tuple[tuple[bytes, int], ...] = ()
    """(mark of a sender domain, last day on which mail from it returned), the latest last."""
    proven_at: int = 0
    """Since when it is no longer delayed; 0: it is."""
    last_seen: int = 0
    hours: tuple[tuple[int, int, int], ...] = ()
    """The same by hours since 1970, for the last two days."""
    ages: tuple[int, ...] = ()
    """How many returns took how long, by steps of time."""


@value
class Match:
    """A whitelist's vote: which entry of which source matched, and whose it is."""

    source: str
    entry: str
    owner: str = ""
    carries: bool = False
    """Whether it says something of the sender, so that other recipients of the message pass too."""


@value
class Findings:
    """What a slow source found out; every part may be missing."""

    match: Match | None = None
    origin: Origin | None = None
    traits: frozenset[str] = frozenset()
    unanswered: frozenset[str] = frozenset()
    """Traits nobody could tell: neither they nor their absence match in a rule."""
    own: bool = False
    """The sender's domain authorises the client as one of its own hosts, not as somebody's service."""
    listed_by: tuple[str, ...] = ()
    """Domains whose SPF records list the client, where the sender's domain includes them."""


@value
class Verdict:
    """The outcome for one attempt, with the numbers behind it (seconds)."""

    action: Action
    reason: Reason
    retry_after: int = 0
    """For DEFER: how long until a retry passes."""
    delay: int = 0
    age: int = 0
    """Time since the record's first attempt."""
    attempts: int = 0
    match: Match | None = None
    rule: str = ""
    """Name of the rule that decided or set the delay; empty: none."""
    text: str = ""
    """Reply text asked for by a rule; empty: the configured one."""
    code: str = ""
    """Enhanced status code (RFC 3463) asked for by a rule; empty: the usual one."""
    detail: str = ""
    """What else there is to say, for the log only; for `error`: what went wrong."""
    observed: bool = False
    carries: bool = False
    """Whether the record it passed by may let other new recipients of the message in."""
    from_home: bool = False
    """For `retry`: it came back from the network in which it was deferred."""


@value
class Reply:
    """A verdict ready for the wire."""

    action: Action
    reason: Reason
    id: str
    text: str
    """Reply text without status codes."""
    code: str = "4.7.1"
    """Enhanced status code (RFC 3463)."""
    retry_after: int = 0
    header: str = ""
    """A whole header line without line end, when one is due."""


@value
class DecisionEvent:
    """One decision as log, metrics and history see it."""

    time: int
    id: str
    attempt: Attempt
    verdict: Verdict
    origin: str = ""
    class_: str = ""
    """Name of the administrator's class it belongs to; empty: none."""


class Table(_Word):
    """The tables of a store; the values are on disk."""

    RECORD = b"r"
    ORIGIN = b"o"
    META = b"m"
    """Overrides, hit counts, and what the store knows of itself."""
    MARK = b"k"
    """Marks of attempts that may have no record (see `greylist.marks`)."""


Key = tuple[Table, bytes]
"""A table and a digest of 16 bytes (META: a short name)."""


class Entry(NamedTuple):
    """A stored value."""

    value: bytes
    keep_until: int | None
    """Wall-clock second before which it is never forgotten; None: never forgotten."""


@value
class Change(Generic[T]):
    """What a decision found, and what it wants written."""

    value: T
    puts: Mapping[Key, Entry | None]
    """None deletes."""
    durable: bool
    """Whether the answer has to wait until everything read and written is on disk."""


Times = tuple[int, int, int, int, int, int, int]
