"""The values that the parts of multigrey pass to each other: attempt, record, verdict and others.

Plain immutable data.  The only behaviour is what follows from a value's own fields.
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
    "Reputation",
    "Signal",
    "Stage",
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
    """Makes a class a value: slotted, compared by its fields, never changed.

    `dataclasses.replace` makes a changed copy.  Only type checkers enforce "never changed".
    """
    # Not `frozen=True`: it calls a function for each field of each new object, which would take a third of
    # the time of a decision.
    return dataclass(slots=True, unsafe_hash=True)(cls)


NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})


class _Word(Enum):
    """An enum with a fast hash."""

    # Members are singletons, so hashing by identity is enough.  Enum's own hash calls a Python function.
    __hash__ = object.__hash__


class Action(_Word):
    """What the mail server should do with the recipient."""

    PASS = "pass"  # noqa: S105  (no password)
    DEFER = "defer"
    REJECT = "reject"


class MeantWord(_Word):
    """Words that are written to the log, each with a sentence that explains it to the administrator."""

    meaning: str

    def __new__(cls, word: str, meaning: str) -> Self:
        """A member of this word and meaning."""
        member = object.__new__(cls)
        member._value_ = word
        member.meaning = meaning
        return member


class Reason(MeantWord):
    """Why a verdict was reached.

    The single source of the log words, the metric labels, the header and the table in multigrey(8).
    """

    NEW = (
        "new",
        "No record exists under any of the attempt's keys; the sender is asked to try again later.",
    )
    EARLY = "early", "A retry before the delay was over; the time of the first attempt does not change."
    EXPIRED = "expired", "The record was too old (retry window or max age); greylisting starts again."
    RETRY = "retry", "The first retry after the delay."
    KNOWN = "known", "The triplet has passed before."
    SAME_MESSAGE = "same-message", "Another recipient of the same message passed, so this one passes too."
    WHITELISTED = "whitelisted", "An entry of a whitelist matched; the log names the entry and its owner."
    AUTO_WHITELISTED = (
        "auto-whitelisted",
        "This origin is trusted, for this sender domain or as a whole (detail: proven origin).",
    )
    AUTHENTICATED = "authenticated", "The client logged in or presented a verified certificate."
    RULE = "rule", "A rule of the administrator decided."
    OVER_LIMIT = (
        "over-limit",
        "Too many new records of this origin, or the store is full: only a mark is kept; its retry passes.",
    )
    PROVIDER = (
        "provider",
        "The client is a server of a provider that is known to retry, so a delay would show nothing new.",
    )
    OWN_NETWORK = "own-network", "The client is this host itself, or in own_networks."
    NO_IDENTITY = (
        "no-identity",
        "The mail server did not know the client's address, so no record can be kept.",
    )
    NULL_SENDER = "null-sender", "A bounce or probe at RCPT; it is judged at DATA."
    PROBE = "probe", "Another mail server verifies an address at RCPT (double-bounce@); it is judged at DATA."
    MODE_OFF = "mode-off", "Greylisting is switched off."
    ERROR = "error", "The store failed or did not answer in time; the listener's on_error decided."


class Stage(Enum):
    """The point of the SMTP dialogue at which the mail server asks."""

    RCPT = "rcpt"
    DATA = "data"


@value
class Attempt:
    """One recipient that a mail server asks about.

    Addresses are as the mail server sent them: case kept, undecodable bytes as surrogate escapes.
    `identity.keys` turns them into key text.
    """

    listener: str
    """Name of the endpoint that received the request, for logs and rules."""
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
    """An id that all recipients of one message share (Postfix: instance); empty: not given."""
    authenticated: str = ""
    """Login name or subject of a verified client certificate; empty: neither."""
    raw: str = ""
    """A key that the client sends instead of addresses (greylistd's free text); else empty."""
    attributes: Mapping[str, str] = field(default_factory=lambda: NO_ATTRIBUTES, compare=False)
    """Everything else the mail server sent, under its own names."""


@value
class Command:
    """A request that is not an attempt; `engine.command()` answers it."""

    word: str
    attempt: Attempt | None = None
    options: Mapping[str, str] = field(default_factory=lambda: NO_ATTRIBUTES)


@value
class Ignored:
    """A request that was answered without a verdict; the dialogue has already queued the answer.

    `hint` is a message for the administrator, logged once per endpoint; empty: no message.
    """

    hint: str = ""


class Signal(Enum):
    """What a dialogue returns when it has no request."""

    NEED_DATA = "need data"
    CLOSED = "closed"


@value
class Origin:
    """Who is sending: a registered or SPF-authorised domain (named), else the client network."""

    text: str
    named: bool
    claimed: bool = False
    """Whether it is an unverified name of a provider.  It groups records, but gains and uses no trust."""


@value
class Record:
    """What is stored about one key.  Times are wall-clock seconds; `passed_at` 0 means never."""

    first_seen: int
    last_seen: int
    delay: int
    """Minimum age in seconds before a retry passes; fixed when the record is made."""
    attempts: int = 1
    early: int = 0
    """How many of the attempts were early retries."""
    passed_at: int = 0
    passes: int = 0
    """Passes by its own retry or record, at most one counted per hour; 0 if it only passed together with
    another recipient."""
    client: str = ""
    sender: str = ""
    recipient: str = ""
    origin: str = ""
    observed: bool = False
    """Whether it was only observed: it passed although it would have been deferred.  It never counts for
    trust."""
    home: bytes = b""
    """Digest of the key under which the same record shows sender and recipient; b"": under its own.  Only
    what is shown depends on it, never a decision."""

    @property
    def earned(self) -> bool:
        """Whether it passed after a real deferral (not together with another recipient)."""
        return self.passes > 0


@value
class OriginRecord:
    """What is stored about (origin, sender domain): how often its deferred mail came back."""

    passes: int = 0
    last_counted: int = 0
    last_seen: int = 0
    first_key: bytes = b""
    """Digest of the first key counted; a pass with another digest sets `several_keys`."""
    several_keys: bool = False


@value
class Reputation:
    """What is stored about an origin as a whole: how much of its mail was deferred, and how much returned."""

    days: tuple[tuple[int, int, int], ...] = ()
    """(day since 1970, number deferred on it, how many of these returned), in order.  Holds what is older
    than two days."""
    domains: tuple[tuple[bytes, int], ...] = ()
    """(mark of a sender domain, last day on which mail from it returned), the latest last."""
    proven_at: int = 0
    """Wall-clock second since which it is not delayed any more; 0: it is delayed."""
    last_seen: int = 0
    hours: tuple[tuple[int, int, int], ...] = ()
    """As `days`, by hours since 1970, for the last two days."""
    ages: tuple[int, ...] = ()
    """Number of returns by the time they took, in steps of time."""


@value
class Match:
    """A match of a whitelist: which entry of which source matched, and who owns it."""

    source: str
    entry: str
    owner: str = ""
    carries: bool = False
    """Whether the entry is about the sender, so that other recipients of the message pass too."""


@value
class Findings:
    """What a slow source found; every part may be missing."""

    match: Match | None = None
    origin: Origin | None = None
    traits: frozenset[str] = frozenset()
    unanswered: frozenset[str] = frozenset()
    """Traits that could not be determined.  In a rule neither the trait nor its absence matches."""
    own: bool = False
    """Whether the sender's domain authorises the client as one of its own hosts, not as a third party's."""
    listed_by: tuple[str, ...] = ()
    """Domains whose SPF records list the client, if the sender's domain includes them."""


@value
class Verdict:
    """The outcome for one attempt, with the numbers it is based on.  Times are in seconds."""

    action: Action
    reason: Reason
    retry_after: int = 0
    """For DEFER: seconds until a retry passes."""
    delay: int = 0
    age: int = 0
    """Time since the record's first attempt."""
    attempts: int = 0
    match: Match | None = None
    rule: str = ""
    """Name of the rule that decided or set the delay; empty: none."""
    text: str = ""
    """Reply text set by a rule; empty: the configured one."""
    code: str = ""
    """Enhanced status code (RFC 3463) set by a rule; empty: the default."""
    detail: str = ""
    """Further information, for the log only; for `error`: what went wrong."""
    observed: bool = False
    carries: bool = False
    """Whether other new recipients of the message may pass because of this record."""
    from_home: bool = False
    """For `retry`: whether the retry came from the network in which the attempt was deferred."""


@value
class Reply:
    """A verdict in the form in which a dialogue sends it."""

    action: Action
    reason: Reason
    id: str
    text: str
    """Reply text without status codes."""
    code: str = "4.7.1"
    """Enhanced status code (RFC 3463)."""
    retry_after: int = 0
    header: str = ""
    """A whole header line without line end; empty: no header is to be added."""


@value
class DecisionEvent:
    """One decision as log, metrics and history receive it."""

    time: int
    id: str
    attempt: Attempt
    verdict: Verdict
    origin: str = ""
    class_: str = ""
    """Name of the administrator's class to which it belongs; empty: none."""


class Table(_Word):
    """The tables of a store; the values are on disk."""

    RECORD = b"r"
    ORIGIN = b"o"
    META = b"m"
    """Overrides, hit counts, and the store's own data."""
    MARK = b"k"
    """Marks of attempts for which no record may be made (see `greylist.marks`)."""


Key = tuple[Table, bytes]
"""A table and a digest of 16 bytes (META: a short name)."""


class Entry(NamedTuple):
    """A stored value."""

    value: bytes
    keep_until: int | None
    """Wall-clock second before which it is never forgotten; None: it is never forgotten."""


@value
class Change(Generic[T]):
    """The result of a decision, and what the store is to write."""

    value: T
    puts: Mapping[Key, Entry | None]
    """What to write, by key; None deletes the entry."""
    durable: bool
    """Whether the answer has to wait until everything read and written is on disk."""


Times = tuple[int, int, int, int, int, int, int]
