"""One connection and one endpoint, as `server` keeps them: plain data."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_address

import trio

from multigrey.contracts import Dialogue
from multigrey.engine.progress import Progress
from multigrey.model import Attempt, Command

__all__ = ["OWN_TASK", "Connection", "ConnectionLimits", "Listening", "Need", "admits"]


def admits(host: str, allow_from: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether a peer at this IP address may connect; without networks, every peer may."""
    if not allow_from:
        return True
    client = ip_address(host.partition("%")[0])
    client = getattr(client, "ipv4_mapped", None) or client
    return any(client in network for network in allow_from)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The values of `[limits]`, in seconds and numbers."""

    connections: int
    idle: float
    answer_within: float


@dataclass(slots=True)
class Listening:
    """One open endpoint, and how its connections are served."""

    name: str
    socket: socket.socket
    make_dialogue: Callable[[], Dialogue]
    """Replaced by a reload.  An open connection keeps the dialogue it began with."""
    on_error: str
    allow_from: Sequence[IPv4Network | IPv6Network] = ()

    def admits(self, host: str) -> bool:
        """Whether a peer at this IP address may connect."""
        return admits(host, self.allow_from)


class Need(Enum):
    """What a connection waits for before it can go on."""

    # The hash of Enum is a call into Python, and is needed for each request.
    __hash__ = object.__hash__

    READ = "bytes from the peer"
    WRITE = "room for our answer"
    DECISION = "the engine"
    COMMAND = "a command"
    TURN = "a turn, after other connections"
    NOTHING = "nothing: it has ended"


OWN_TASK = frozenset({Need.WRITE, Need.COMMAND, Need.DECISION})


class Connection:
    """The connection of one peer, and its state."""

    __slots__ = (
        "answered",
        "attempt",
        "began",
        "command",
        "dialogue",
        "listening",
        "overdue",
        "parked",
        "partial",
        "peer",
        "pending",
        "put_off",
        "rest",
        "scope",
        "silent",
        "since",
        "sock",
    )

    def __init__(self, sock: socket.socket, peer: str, listening: Listening, since: float) -> None:
        self.sock = sock
        self.peer = peer
        self.listening = listening
        self.dialogue = listening.make_dialogue()
        self.since = since
        """Time of the sweep's clock at which the present wait or decision began."""
        self.began = 0.0
        """When the request being answered was read, if that is measured; 0: it has been answered."""
        self.attempt: Attempt
        """The last attempt it brought."""
        self.put_off = False
        """Whether that attempt is still to be begun: there was no time for it."""
        self.pending: Progress | None = None
        """The attempt that is being decided, or waits for the disk."""
        self.command: Command | None = None
        self.rest = b""
        """The part of an answer the peer has not taken yet."""
        self.answered = False
        self.partial = False
        """Whether a request or an answer has begun, which must not take long to finish."""
        self.parked = False
        self.silent = False
        """Whether it is to be closed without a further answer (on_error = silent)."""
        self.overdue = False
        self.scope: trio.CancelScope | None = None
        """The scope of its task, while it has one."""

    @property
    def waits_for_disk(self) -> bool:
        """Whether its attempt is decided, and is answered as soon as the decision is on disk."""
        return self.pending is not None and self.pending.durability is not None
