"""The interfaces between the parts of multigrey, and between multigrey and its plugins.

They are typing protocols: any object with these methods fits.  multigrey calls these objects directly
for each attempt; it calls pluggy only at start and reload (see `plugins.hookspecs`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

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
    "BackupPart",
    "Dialogue",
    "DialogueOptions",
    "Durability",
    "FileStore",
    "KeyComponent",
    "LocalStore",
    "LongList",
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
    """The pending write of a decision to the disk; many decisions may share one."""

    async def committed(self) -> None:
        """Wait until it is on disk.  Raises StoreError when it cannot be written any more."""


class Submitted(NamedTuple, Generic[T]):
    """A decision, and what the caller has to wait for before it may answer."""

    value: T
    durability: Durability | None
    """None: the caller may answer at once."""


class Store(Protocol):
    """Keeps entries (bytes) by key: atomic per key, without knowledge of their format and without a clock.

    Every method raises StoreError, and no other exception, when it cannot do its work.
    """

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Open the store, report that it has started, commit until cancelled, then write what is pending."""

    async def apply(self, keys: Sequence[Key], decide: Callable[[Sequence[bytes | None]], Change[T]]) -> T:
        """Read `keys`, call `decide`, write what it returns, all in one atomic step.

        `decide` receives one value or None per key, in order.  It must be pure: the store may call it again.
        With `Change.durable` this returns only when everything read and written is on disk.
        """

    def peek(self, keys: Sequence[Key]) -> Sequence[bytes | None] | None:
        """What `read` would return, if that needs no waiting; None: call `read`."""

    def submit(
        self,
        keys: Sequence[Key],
        decide: Callable[[Sequence[bytes | None]], Change[T]],
        seen: Sequence[bytes | None] = (),
    ) -> Submitted[T] | None:
        """What `apply` does, without the waiting; None: nothing was done, call `apply`.

        `seen`: what `peek` returned for the first of `keys` in this turn of the event loop.  A store need not
        read these again unless something was submitted since.
        """

    async def read(self, keys: Sequence[Key]) -> Sequence[bytes | None]:
        """The values that `apply` would give to `decide`, without writing."""

    async def scan(
        self, table: Table, cursor: bytes, limit: int
    ) -> tuple[Sequence[tuple[bytes, bytes]], bytes]:
        """Up to `limit` committed (digest, value) pairs after `cursor` (b"" to begin) and the next cursor.

        The next cursor is b"" when the end was reached.
        """

    async def load(self, items: Mapping[Key, Entry], merge: Callable[[bytes | None, bytes], bytes]) -> int:
        """Write many entries at once, each merged with the stored one; return how many changed."""

    async def forget(self, before: int, limit: int) -> int:
        """Delete up to `limit` entries whose `keep_until` lies before `before`; return how many.

        The store has no clock: the caller gives the time, and deletes in small steps.
        """

    async def newest(self) -> int:
        """The latest `keep_until` of all entries, 0 if there is none (used to detect a wrong clock)."""

    @property
    def records(self) -> int:
        """About how many records there are; rather too many, while some are on their way to the disk."""

    @property
    def lags(self) -> bool:
        """Whether the disk does not keep up: then only marks should be made."""

    def has_room(self, *, for_marks: bool = False) -> bool:
        """Whether new entries may be made, or only new marks.

        False keeps what room is left for marks, and then for rewriting entries that exist.
        """

    async def health(self) -> Mapping[str, int | float | str]:
        """Figures for `status` and metrics; at least `backend`, `records`, `origins`, `marks`, `pending`.

        A store of limited size adds `used` and `capacity`, in octets: beyond `capacity` it has no room.

        `records`, `origins` and `marks` are numbers of rows in these tables; a row of marks is a bucket that
        holds at least one.
        """


class BackupPart(NamedTuple):
    """One file of a backup."""

    name: str
    """Its name in the state directory."""
    file: BinaryIO
    """An open file at its beginning, whose content no longer changes; the receiver closes it."""


@runtime_checkable
class LocalStore(Store, Protocol):
    """A store that has a file of its own on this host."""

    def backup(self) -> AsyncIterator[BackupPart]:
        """Yield the files from which a state directory can be made that holds the store as it is now.

        The store goes on meanwhile.  What was answered before the call is in them.  Raises StoreError.
        """

    async def compact(self) -> None:
        """Return free pages to the file system."""

    async def walk(self) -> None:
        """Have every row read where damage of the file does no harm.  Raises StoreError when there is any."""


_MARKS = 48 << 20
"""Bytes that all marks fit in."""


@runtime_checkable
class FileStore(Protocol):
    """A store that can find out whether its open files still stand under their names."""

    def astray(self) -> Sequence[Path]:
        """The names that do not: the file was removed, renamed or mounted over.  Blocks; from any thread."""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """The options from which a store is made."""

    state_dir: Path
    map_size: int
    """Bytes of address space (LMDB); other stores may ignore it."""

    @property
    def capacity(self) -> int:
        """The bytes up to which new entries are taken.

        Half of the rest is for marks, the other half for rewriting what exists: together 1/20, or twice what
        all marks take if that is more, but at most a quarter.
        """
        return self.map_size - max(self.map_size // 20, min(self.map_size // 4, 2 * _MARKS))


@dataclass(frozen=True, slots=True)
class DialogueOptions:
    """The options from which a dialogue is made."""

    listener: str
    request_size: int
    """Largest size of one request, in bytes."""
    administer: bool = False
    """Whether commands that change the store are allowed (unix sockets only)."""


class Dialogue(Protocol):
    """The protocol of one connection, without I/O.

    The caller passes in bytes, takes requests one at a time and answers each before it takes the next.
    `receive` and `next_request` may raise only ProtocolError; after it the dialogue is closed.
    """

    @property
    def patience(self) -> float | None:
        """Seconds of silence after which the received bytes are the whole request; None: wait on.

        After that time the caller calls `receive(b"")` in place of the peer.
        """

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer; b"" is its end of file (it may still read: half-close)."""

    def next_request(self) -> Attempt | Command | Ignored | Signal:
        """The next request; Signal.NEED_DATA or Signal.CLOSED when there is none."""

    def answer(self, request: Attempt | Command, reply: Reply | Mapping[str, Any] | str) -> None:
        """Queue the answer: a Reply to an Attempt, a mapping or an error text to a Command."""

    def data_to_send(self) -> bytes:
        """Return and remove everything that is queued for the peer (may be empty)."""


class KeyComponent(Protocol):
    """One part of a key."""

    def text(self, attempt: Attempt) -> str | None:
        """Its normalised text; None when the attempt has no such value (the client network replaces it)."""


class WhitelistSource(Protocol):
    """A whitelist in memory; `match` is called for every attempt, so it must take microseconds."""

    def match(self, attempt: Attempt) -> Match | None:
        """The entry that lets this attempt pass, if any."""


class Trait(Protocol):
    """A yes/no property of an attempt that rules can test."""

    def holds(self, attempt: Attempt) -> bool:
        """Whether the attempt has it."""


class LongList(Protocol):
    """A whitelist of ours that may have very many entries."""

    def parts(self) -> list[dict[Any, Any]]:
        """The mappings with its entries, for the one who frees it piece by piece."""


class SlowSource(Protocol):
    """A source that must ask another service (DNS, LDAP); called only when the attempt would be deferred."""

    traits: frozenset[str]
    """Names of the traits it may find; they are unknown until `ask` has returned."""

    async def ask(self, attempt: Attempt) -> Findings:
        """What it found; cancelled when the time limit is over, and left behind if it ignores that."""


class Service(Protocol):
    """A background task of a plugin; restarted with back-off when it ends or fails."""

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Work until cancelled; the daemon ends without a service that ignores that."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """One `[[whitelist]]` table of the configuration."""

    path: Path | None
    owner: str = ""
    now: Callable[[], int] = lambda: 0
    """The wall clock in seconds, for entries that expire; with the default no entry expires."""
    origin_of: Callable[[Attempt], Origin] = lambda _attempt: Origin("", named=False)
    """The origin of an attempt, for entries that name an origin; by default no origin."""


MakeSource = Callable[[SourceOptions], WhitelistSource]
"""Builds a whitelist source; runs outside the event loop, may read files, raises ConfigError."""
MakeStore = Callable[[StoreOptions], Store]
"""Builds a store, which opens its files only in `run`; raises ConfigError."""
MakeDialogue = Callable[[DialogueOptions], Dialogue]
"""Builds the dialogue of one connection."""


class Registry(Protocol):
    """The registry to which a plugin adds its objects in `multigrey_register`.

    Every method raises PluginError when the name is taken or the object does not fit the contract.
    """

    def key_component(self, name: str, component: KeyComponent) -> None:
        """A word for `[greylist] key`."""

    def whitelist_source(self, name: str, make: MakeSource) -> None:
        """A word for `[[whitelist]] source`."""

    def trait(self, name: str, trait: Trait) -> None:
        """A word for the `traits` of a rule."""

    def slow_source(self, name: str, source: SlowSource) -> None:
        """A source to ask before an attempt is deferred."""

    def store(self, name: str, make: MakeStore) -> None:
        """A word for `[store] backend`."""

    def protocol(self, name: str, make: MakeDialogue) -> None:
        """A word for `[[listen]] protocol`."""

    def service(self, name: str, service: Service) -> None:
        """A background task."""
