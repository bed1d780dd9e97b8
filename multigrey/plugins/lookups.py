"""What every slow source needs beside its look-up: a memory of answers, and when not to ask at all.

Part of the public contract: plugins that ask elsewhere (DNS, LDAP, …) use these.  No I/O and no
clock: the caller brings a monotonic time (`Clock.monotonic`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Breaker", "TtlCache"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TtlCache(Generic[K, V]):
    """Remembers values for as long as they may be believed.  Bounded: the oldest is dropped first."""

    def __init__(self, monotonic: Callable[[], float], size: int = 10_000) -> None:
        """`monotonic` gives the time in seconds; at most `size` values are remembered."""
        self._monotonic = monotonic
        self._size = size
        self._held: dict[K, tuple[float, V]] = {}

    def __len__(self) -> int:
        """How many values are held, those that are out of date included."""
        return len(self._held)

    def get(self, key: K) -> V | None:
        """What is remembered of `key`, if it may still be believed."""
        held = self._held.get(key)
        if held is None:
            return None
        until, value = held
        if self._monotonic() < until:
            return value
        del self._held[key]
        return None

    def put(self, key: K, value: V, ttl: float) -> None:
        """Remember `value` for `ttl` seconds; nothing is remembered for none."""
        self._held.pop(key, None)
        if ttl <= 0:
            return
        self._held[key] = (self._monotonic() + ttl, value)
        if len(self._held) > self._size:
            del self._held[next(iter(self._held))]


class Breaker:
    """Stops asking somebody who does not answer, and tries again after a pause that grows.

    While it is open nobody asks.  When the pause is over, one question goes through as a probe: if it
    is answered the breaker closes, else the next pause is twice as long.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        failures: int = 5,
        pause: float = 10.0,
        longest: float = 300.0,
    ) -> None:
        """Opens after `failures` in a row; pauses are seconds."""
        self._monotonic = monotonic
        self._allowed = failures
        self._first_pause = pause
        self._longest = longest
        self._failures = 0
        self._pause = pause
        self._probe_at = 0.0

    @property
    def open(self) -> bool:
        """Whether it keeps questions back at the moment (says so without letting a probe through)."""
        return self._failures >= self._allowed and self._monotonic() < self._probe_at

    def allows(self) -> bool:
        """Whether to ask now.  A probe that is let through keeps all others back for another pause."""
        if self._failures < self._allowed:
            return True
        now = self._monotonic()
        if now < self._probe_at:
            return False
        self._probe_at = now + self._pause
        return True

    def succeeded(self) -> None:
        """An answer came."""
        self._failures = 0
        self._pause = self._first_pause

    def failed(self) -> None:
        """No answer came (time-out, server failure); "there is no such name" is an answer."""
        self._failures += 1
        if self._failures < self._allowed:
            return
        if self._failures > self._allowed:
            self._pause = min(2 * self._pause, self._longest)
        self._probe_at = self._monotonic() + self._pause
