"""Helpers for slow sources: a cache of answers with expiry, and a circuit breaker.

They are part of the public contract, for plugins that query other services (DNS, LDAP, …).  They do
no I/O and have no clock: the caller passes a monotonic time (`Clock.monotonic`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Breaker", "TtlCache"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TtlCache(Generic[K, V]):
    """A cache whose values expire.  Its size is bounded: the oldest value is dropped first."""

    def __init__(self, monotonic: Callable[[], float], size: int = 10_000) -> None:
        """`monotonic` returns the time in seconds; at most `size` values are kept."""
        self._monotonic = monotonic
        self._size = size
        self._held: dict[K, tuple[float, V]] = {}

    def __len__(self) -> int:
        """The number of values held, expired ones included."""
        return len(self._held)

    def get(self, key: K) -> V | None:
        """Return the value of `key`; None if there is none or it has expired."""
        held = self._held.get(key)
        if held is None:
            return None
        until, value = held
        if self._monotonic() < until:
            return value
        del self._held[key]
        return None

    def put(self, key: K, value: V, ttl: float) -> None:
        """Keep `value` for `ttl` seconds; with `ttl` 0 or less, only remove the previous value of `key`."""
        self._held.pop(key, None)
        if ttl <= 0:
            return
        self._held[key] = (self._monotonic() + ttl, value)
        if len(self._held) > self._size:
            del self._held[next(iter(self._held))]


class Breaker:
    """A circuit breaker: stops calls to a service that does not answer, and tries again after a pause.

    While it is open, no calls are made.  When the pause is over, one call is let through as a probe: if
    it is answered, the breaker closes; else the next pause is twice as long.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        failures: int = 5,
        pause: float = 10.0,
        longest: float = 300.0,
    ) -> None:
        """It opens after `failures` in a row.  `pause` (the first) and `longest` are in seconds."""
        self._monotonic = monotonic
        self._allowed = failures
        self._first_pause = pause
        self._longest = longest
        self._failures = 0
        self._pause = pause
        self._probe_at = 0.0

    @property
    def open(self) -> bool:
        """Whether it blocks calls at the moment; reading this does not let a probe through."""
        return self._failures >= self._allowed and self._monotonic() < self._probe_at

    def allows(self) -> bool:
        """Whether to call now.  A probe that is let through blocks all other calls for another pause."""
        if self._failures < self._allowed:
            return True
        now = self._monotonic()
        if now < self._probe_at:
            return False
        self._probe_at = now + self._pause
        return True

    def succeeded(self) -> None:
        """Record that an answer came."""
        self._failures = 0
        self._pause = self._first_pause

    def failed(self) -> None:
        """Record that no answer came (time-out, server failure); "this name does not exist" is an answer."""
        self._failures += 1
        if self._failures < self._allowed:
            return
        if self._failures > self._allowed:
            self._pause = min(2 * self._pause, self._longest)
        self._probe_at = self._monotonic() + self._pause
