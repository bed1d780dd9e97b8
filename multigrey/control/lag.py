"""How late the event loop is: whoever asks for a verdict waits at least that long."""

from __future__ import annotations

from collections import deque

import trio

__all__ = ["LoopLag"]

_EVERY = 0.25
_REMEMBERED = 240
"""Looks: one minute."""


class LoopLag:
    """Sleeps a little, again and again, and sees how much later it wakes up."""

    def __init__(self) -> None:
        """Nothing measured yet."""
        self._seen: deque[float] = deque(maxlen=_REMEMBERED)

    @property
    def latest(self) -> float:
        """Seconds, as of the last look."""
        return self._seen[-1] if self._seen else 0.0

    @property
    def worst(self) -> float:
        """The most seconds within the last minute."""
        return max(self._seen, default=0.0)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = trio.current_time() + _EVERY
            await trio.sleep_until(due)
            self._seen.append(max(0.0, trio.current_time() - due))
