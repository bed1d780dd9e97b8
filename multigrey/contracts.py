"""The contracts between parts, and between multigrey and its plugins.

Typing protocols only: whatever has these methods fits.  The hot path calls these objects directly;
pluggy is only asked at start-up and reload (see `hookspecs`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from multigrey.model import (
    Attempt,
    Change,
    Command,
    Entry,
    Findings,
    Ignored,
    Key,
    Match,
    Origin,
    Reply,
    Signal,
    Table,
)

if TYPE_CHECKING:
    from trio import TaskStatus

__all__ = [
    "Dialogue",
    "DialogueOptions",
    "Durability",
    "KeyComponent",
    "LocalStore",
    "MakeDialogue",
    "MakeSource",
    "MakeStore",
    "Registry",
    "Service",
    "SlowSource",
    "SourceOptions",
    "Store",
    "StoreOptions",
    "Submitted",
    "Trait",
    "WhitelistSource",
]

T = TypeVar("T")


class Durability(Protocol):
    """The way to the disk of something decided; many decisions may share one."""

    async def committed(self) -> None:
        """Wait until it is on disk.  Raises StoreError when it never will be."""


class Submitted(NamedTuple, Generic[T]):
    """What was decided, and what has to be waited for before anybody may be told."""

    value: T
    durability: Durability | None
    """None: nothing."""


class Store(Protocol):
    """Where records live: dumb, atomic per key, without codec or clock.

    Every method raises StoreError, and nothing else, when it cannot do its work.
    """

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Open, report started, commit until cancelled, then flush what is pending."""

    async def apply(self, keys: Sequence[Key], decide: Callable[[Sequence[bytes | None]], Change[T]]) -> T:
        """Read `keys`, let `decide` judge, write what it asks for; all of it as one step.

        `decide` gets one value or None per key, in order.  It must be pure: it may be called again.
        With `Change.durable` the call returns only when everything read and written is on disk.
        """

    def peek(self, keys: Sequence[Key]) -> Sequence[bytes | None] | None:
        """What `read` would give, if that takes no waiting; None: ask `read`."""

    def submit(
        self,
        keys: Sequence[Key],
        decide: Callable[[Sequence[bytes | None]], Change[T]],
        seen: Sequence[bytes | None] = (),
    ) -> Submitted[T] | None:
        """What `apply` would do up to the waiting; None: nothing was done, call `apply`.

        `seen`: what `peek` gave for the first of `keys` in this turn of the event loop.  A store need not
        read again what was not submitted since.
        """

    async def read(self, keys: Sequence[Key]) -> Sequence[bytes | None]:
        """The same view `apply` would decide on, without writing."""

    async def scan(
        self, table: Table, cursor: bytes, limit: int
    ) -> tuple[Sequence[tuple[bytes, bytes]], bytes]:
        """Up to `limit` committed (digest, value) pairs after `cursor` (b"" to begin) and the next cursor.

        The next cursor is b"" when the end was reached.
        """

    async def load(self, items: Mapping[Key, Entry], merge: Callable[[bytes | None, bytes], bytes]) -> int:
        """Write many entries at once, each merged with what is there; returns how many changed."""

    async def forget(self, before: int, limit: int) -> int:
        """Delete up to `limit` entries whose `keep_until` lies before `before`; returns how many.

        The store has no clock: the caller says what time it is, and asks in small slices.
        """

    async def newest(self) -> int:
        """The latest `keep_until` of any entry, 0 if there is none (guards against a jumped clock)."""

    async def health(self) -> Mapping[str, int | float | str]:
        """Figures for `status` and metrics; at least `backend`, `records`, `origins`, `marks`, `pending`.

        `records`, `origins` and `marks` are rows of their tables: of marks, buckets that hold any.
        """


@runtime_checkable
class LocalStore(Store, Protocol):
    """A store whose file is ours."""

    async def backup(self, path: str) -> None:
        """A consistent copy while running."""

    async def compact(self) -> None:
        """Give free pages back to the file system."""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """What a store is made from."""

    state_dir: Path
    map_size: int
    """Bytes of address space (LMDB); other stores may ignore it."""


@dataclass(frozen=True, slots=True)
class DialogueOptions:
    """What a dialogue is made from."""

    listener: str
    request_size: int
    """Most bytes one request may take before it is complete."""
    administer: bool = False
    """Whether words that change the store are allowed (unix sockets only)."""


class Dialogue(Protocol):
    """One connection's protocol, without I/O.

    The caller feeds bytes, takes requests one at a time and answers each before taking the next.
    Only ProtocolError may leave `receive` and `next_request`; after it the dialogue is closed.
    """

    @property
    def patience(self) -> float | None:
        """Seconds of silence after which what has arrived is the whole request; None: wait on.

        The caller then says `receive(b"")` on the peer's behalf.
        """

    def receive(self, data: bytes) -> None:
        """Bytes from the peer; b"" is its end of file (it may still read: half-close)."""

    def next_request(self) -> Attempt | Command | Ignored | Signal:
        """The next thing to do; Signal.NEED_DATA or Signal.CLOSED when there is none."""

    def answer(self, request: Attempt | Command, reply: Reply | Mapping[str, Any] | str) -> None:
        """Queue the answer: a Reply to an Attempt, a mapping or an error text to a Command."""

    def data_to_send(self) -> bytes:
        """Take everything queued for the peer (may be empty)."""


class KeyComponent(Protocol):
    """One part of a key."""

    def text(self, attempt: Attempt) -> str | None:
        """Its normalised text; None when the attempt has no such value (the network stands in)."""


class WhitelistSource(Protocol):
    """A whitelist in memory; asked for every attempt, so microseconds count."""

    def match(self, attempt: Attempt) -> Match | None:
        """The entry that lets this attempt pass, if any."""


class Trait(Protocol):
    """A yes/no property of an attempt that rules can ask for."""

    def holds(self, attempt: Attempt) -> bool:
        """Whether the attempt has it."""


class SlowSource(Protocol):
    """Somebody who must ask elsewhere (DNS, LDAP); only asked when the attempt would be deferred."""

    traits: frozenset[str]
    """Names of the traits it may find; unknown until it was asked."""

    async def ask(self, attempt: Attempt) -> Findings:
        """What it found; cancelled when the budget is over."""


class Service(Protocol):
    """Something a plugin runs in the background; restarted with back-off when it ends or fails."""

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Work until cancelled."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """One `[[whitelist]]` table of the configuration."""

    path: Path | None
    owner: str = ""
    now: Callable[[], int] = lambda: 0
    """The wall clock in seconds, for entries that expire; without one nothing does."""
    origin_of: Callable[[Attempt], Origin] = lambda _attempt: Origin("", named=False)
    """Who is sending, for entries that name an origin; nobody by default."""


MakeSource = Callable[[SourceOptions], WhitelistSource]
"""Builds a whitelist source; runs off the event loop, may read files, raises ConfigError."""
MakeStore = Callable[[StoreOptions], Store]
"""Builds a store, which opens its files only in `run`; raises ConfigError."""
MakeDialogue = Callable[[DialogueOptions], Dialogue]
"""Builds the dialogue of one connection."""


class Registry(Protocol):
    """What a plugin adds things to in `multigrey_register`.

    Every method raises PluginError when the name is taken or the object does not fit the contract.
    """

    def key_component(self, name: str, component: KeyComponent) -> None:
        """A word for `[greylist] key`."""

    def whitelist_source(self, name: str, make: MakeSource) -> None:
        """A word for `[[whitelist]] source`."""

    def trait(self, name: str, trait: Trait) -> None:
        """A word for the `traits` of a rule."""

    def slow_source(self, name: str, source: SlowSource) -> None:
        """Somebody to ask before deferring."""

    def store(self, name: str, make: MakeStore) -> None:
        """A word for `[store] backend`."""

    def protocol(self, name: str, make: MakeDialogue) -> None:
        """A word for `[[listen]] protocol`."""

    def service(self, name: str, service: Service) -> None:
        """A background task."""
