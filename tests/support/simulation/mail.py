"""What a simulated sender is, and what becomes of its mail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import NamedTuple

from multigrey.model import NO_ATTRIBUTES, Address, Attempt, Reason
from tests.support.simulation.schedules import PERSON, Schedule

START = 1_700_000_000
"""When every simulation begins."""


class Role(Enum):
    """What a class of senders is there for."""

    WANTED = "wanted"
    """In all goals."""
    HOPELESS = "wanted, hopeless"
    """Wanted, but its own schedule cannot keep its deadline, or it never retries: shown, in no goal."""
    ONE_SHOT = "one-shot spam"
    OPAQUE = "opaque bots"
    """Of one access provider, under names that do not give their address away."""
    EAGER = "eager spam"
    RETRYING = "retrying spam"
    """Spam that comes back, or uses servers that do: greylisting cannot stop it.  Shown, in no goal."""


WANTED = (Role.WANTED, Role.HOPELESS)


class Client(NamedTuple):
    """What a mail server sees of the host that asks it."""

    address: Address
    name: str | None
    """Verified."""
    helo: str
    sender: str | None = None
    """An envelope sender made for this try; None: that of the message."""
    attributes: Mapping[str, str] = NO_ATTRIBUTES


class Letter(NamedTuple):
    """One message as its author wrote it."""

    sender: str
    recipients: tuple[str, ...]
    organisation: str = ""
    """Who sends, for those who have hosts of their own."""
    who: str = ""
    """The author, where the envelope sender is another one each time; else the sender."""


@dataclass(slots=True)
class Delivery:
    """One message to one recipient, and what became of it."""

    kind: str
    number: int
    recipient: str
    born: int
    follow_up: bool = False
    """Author and recipient have exchanged mail in the last four weeks."""
    shown: int = 0
    """How often its organisation had come back with other mail by then (at most counted once an hour)."""
    beside_known: bool = False
    """Another recipient of the same message was known for this author, and came before."""
    asked_for: int = 0
    """Age at which the first deferral said a retry would pass."""
    tries: int = 0
    rounds: int = 0
    late_rounds: int = 0
    """Rounds after that age which did not deliver."""
    lost: int = 0
    """Rounds in which it was accepted, but the session was closed before DATA."""
    refused: list[int] = field(default_factory=list)
    """Seconds after its birth at which it was deferred."""
    delivered: int | None = None
    """Seconds after its birth; None: never."""
    first_reason: Reason | None = None
    last_reason: Reason | None = None

    @property
    def delayed(self) -> bool:
        """Whether it did not get through at the first try."""
        return self.delivered != 0


class Message:
    """One message on its way."""

    __slots__ = ("born", "deliveries", "kind", "letter", "number", "random", "rounds", "waits")

    def __init__(self, kind: Kind, number: int, born: int, seed: int) -> None:
        self.kind = kind
        self.number = number
        self.born = born
        self.random = Random(f"{seed}/{kind.name}/{number}")  # nobody else's mail changes what it does
        self.letter = kind.letter(self.random, number)
        self.deliveries = [Delivery(kind.name, number, to, born) for to in self.letter.recipients]
        self.waits: Iterator[int] = kind.schedule(self.random)
        self.rounds = 0

    @property
    def sender(self) -> str:
        """The envelope sender."""
        return self.letter.sender

    @property
    def open(self) -> list[Delivery]:
        """What is still to be delivered."""
        return [delivery for delivery in self.deliveries if delivery.delivered is None]


MakeClient = Callable[[Random, Message, int], Client]
"""From the message and the number of the round."""
MakeLetter = Callable[[Random, int], Letter]

BOTH = ("mx1", "mx2")
"""After a deferral the other mail server is tried within seconds (RFC 5321 section 5.1; Postfix does)."""


@dataclass(frozen=True)
class Kind:
    """A class of senders."""

    name: str
    per_day: float
    schedule: Schedule
    client: MakeClient
    letter: MakeLetter
    role: Role = Role.WANTED
    deadline: int = PERSON
    pool: bool = False
    """Many hosts, any of which makes the next try."""
    provider: str = ""
    """Its word in the table of providers, if the name is verified."""
    organisations: bool = False
    """Organisations that send from hosts of their own."""
    isp: str = ""
    """An access provider: its infected customers, or its own mail hosts."""
    mx: tuple[str, ...] = ("mx1",)
    """The mail servers tried in one round, in this order."""
    data: bool = True
    """Whether it sends anything once a recipient is accepted."""
    total: int = 0
    """Messages altogether, instead of `per_day`."""
    batch: int = 1
    """How many messages are sent at the same moment."""
    since: int = 0
    """Seconds after the start at which its mail begins ..."""
    lasting: int = 0
    """... and for how long it goes on; 0: to the end."""


@dataclass(frozen=True)
class Flood:
    """One-shot attempts in great number: too many to remember each."""

    name: str
    since: int
    """Seconds after the start."""
    lasting: int
    attempt: Callable[[Random, int], Attempt]


@dataclass
class Flooded:
    """What became of a flood."""

    sent: int = 0
    passed: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    """Keys and values in the store."""


@dataclass
class Outcome:
    """What became of all mail of one run."""

    days: int
    deliveries: list[Delivery]
    floods: dict[str, Flooded]
    kinds: Sequence[Kind]
