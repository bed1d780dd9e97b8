"""A cache of the origins and keys that were worked out for attempts of known senders.

The origin and the keys follow from the attempt and the setup alone, and most attempts at a mail server are
by senders that were known before.  So they are worked out once, and found again by what the client sent.
The cache decides nothing: whether a sender is known is read from the store each time.
"""

from __future__ import annotations

from multigrey.engine.setup import Setup
from multigrey.identity.addresses import LONGEST_ADDRESS
from multigrey.identity.sender import is_probe
from multigrey.model import DAY, Attempt, Key, Origin, Times

__all__ = ["MOST", "KnownSender", "KnownSenders"]

MOST = 2048
"""Attempts remembered; each takes a kilobyte."""
_TOGETHER = DAY
"""Seconds for which all records of a known sender count as written together."""

_Whose = tuple[type, int, str | None, str, str, str]


class KnownSender:
    """One attempt of a known sender."""

    __slots__ = (
        *("first", "keys", "network", "origin", "plain", "provider", "setup", "times", "together"),
        "values",
    )

    def __init__(
        self, setup: Setup, network: str, origin: Origin, keys: tuple[Key, ...], *, provider: bool = False
    ) -> None:
        self.setup = setup
        """The setup under which everything else holds."""
        self.network = network
        self.origin = origin
        self.keys = keys
        self.first = keys[:1]
        self.provider = provider
        """Whether it passes as mail of a provider when it is not known any more."""
        self.plain = False
        """Whether it is greylisted at every stage, in every message: neither null sender nor probe."""
        self.together = -_TOGETHER
        """When the sender was last seen to be known under every key.  For a day the first key is enough."""
        self.values: object = None
        """The stored values seen last; `times` is what they mean."""
        self.times: tuple[Times, ...] | None = None

    def keys_for(self, now: int) -> tuple[Key, ...]:
        """The keys to look at: all of them once a day, else the first."""
        return self.first if 0 <= now - self.together < _TOGETHER else self.keys


class KnownSenders:
    """The attempts of known senders seen last."""

    __slots__ = ("_most", "_seen", "_setup")

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._setup: Setup | None = None
        self._seen: dict[_Whose, KnownSender] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def find(self, attempt: Attempt, setup: Setup) -> KnownSender | None:
        """What is remembered of such an attempt under this setup; None: nothing."""
        if setup is not self._setup:
            self._begin(setup)
        address = attempt.client_address
        if address is None:
            return None
        # The number, not the address itself: an address is hashed and compared in Python, which is slow.
        seen = self._seen.get(
            (
                address.__class__,
                int(address),
                attempt.client_name,
                attempt.helo,
                attempt.sender,
                attempt.recipient,
            )
        )
        # Identity of the setup is enough: every change makes a new one, and comparing two takes long.
        return seen if seen is not None and seen.setup is setup and not attempt.raw else None

    def note(self, attempt: Attempt, seen: KnownSender) -> None:
        """Remember an attempt of a known sender, unless its keys depend on more than `find` looks at."""
        address = attempt.client_address
        if address is None or attempt.raw or not seen.setup.scheme.follows_from_envelope:
            return
        texts = (attempt.client_name, attempt.helo, attempt.sender, attempt.recipient)
        if max(len(text or "") for text in texts) > LONGEST_ADDRESS:
            return
        if seen.setup is not self._setup:
            self._begin(seen.setup)
        seen.plain = bool(attempt.sender) and not is_probe(attempt.sender)
        self._seen[(address.__class__, int(address), *texts)] = seen
        if len(self._seen) > self._most:
            del self._seen[next(iter(self._seen))]

    def _begin(self, setup: Setup) -> None:
        """Forget what was worked out under another setup: it is of no use, and keeps its lists in memory."""
        self._seen.clear()
        self._setup = setup
