"""An attempt on its way through the engine: what is known of it so far, and what may become of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from multigrey.contracts import Durability
from multigrey.errors import CodecError, StoreError
from multigrey.judging import Setup, trouble
from multigrey.model import Attempt, Key, Origin, Reply, Verdict, value
from multigrey.question import Question
from multigrey.recent import Seen
from multigrey.rules import Outcome

__all__ = ["Begun", "OnError", "Pending", "Waiting", "Way", "each"]

OnError = str
"""`pass`, `defer` or `silent`."""


@value
class Pending:
    """An attempt on its way to the store, with what it began with."""

    setup: Setup
    attempt: Attempt
    now: int
    network: str
    """Text of the client network; "" when the client is not known."""
    keys: tuple[Key, ...]
    origin: Origin
    rule: Outcome | None
    """A rule that only says how to greylist."""
    looked_up: bool = False
    """Whether the origin was found by a slow source: whoever owns a domain can have any number of those."""

    @property
    def counted(self) -> Origin:
        """The origin whose new records are limited, and that a coarse record is kept under."""
        return Origin(self.network, named=False) if self.looked_up else self.origin


@value
class Waiting:
    """An attempt that is decided, and may be answered once the decision is on disk."""

    pending: Pending
    verdict: Verdict
    durability: Durability


Begun = Reply | Waiting | Pending | None
"""What becomes of an attempt at once (see `Engine.begin`)."""


class Way:
    """One attempt, and how far `Engine.begin_all` is with it."""

    __slots__ = (
        "attempt",
        "begun",
        "keys",
        "network",
        "now",
        "on_error",
        "origin",
        "pending",
        "question",
        "rule",
        "seen",
        "setup",
        "values",
        "verdict",
    )

    def __init__(self, setup: Setup, now: int, attempt: Attempt, on_error: OnError) -> None:
        self.setup = setup
        self.now = now
        self.attempt = attempt
        self.on_error = on_error
        self.begun: Begun | Exception = None
        self.verdict: Verdict | None = None
        """To be answered at once."""
        self.network: str
        self.origin: Origin
        self.rule: Outcome | None
        """A rule that only says how to greylist."""
        self.seen: Seen | None = None
        """What was worked out when it was known a moment ago."""
        self.keys: tuple[Key, ...]
        """To be looked at next."""
        self.values: Sequence[bytes | None] | None
        """What the store has under them; None: nothing that could be seen at once."""
        self.pending: Pending
        self.question: Question


def each(ways: Iterable[Way], step: Callable[[Way], bool]) -> list[Way]:
    """Make one step of each way; returns those that want the next one.

    What goes wrong with one has no part in the others.
    """
    more = []
    for way in ways:
        try:
            if step(way):
                more.append(way)
        except (StoreError, CodecError) as error:
            way.verdict = trouble(way.on_error, str(error))
        except Exception as error:  # noqa: BLE001  (it belongs to the connection that brought the attempt)
            way.begun, way.verdict = error, None
    return more
