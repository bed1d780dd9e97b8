"""The health check: decides a test attempt like any other, and writes a small row to the store.

The attempt is from a listener that cannot be configured, and from an address for documentation
(RFC 5737).  It is only decided: nothing is recorded, counted or logged, and no slow source is asked.
The row is written because a full disk is noticed only by writing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from time import perf_counter

import trio

from multigrey.engine.engine import Engine
from multigrey.engine.stages import precheck
from multigrey.errors import CodecError, StoreError
from multigrey.model import Attempt, Change, Entry, Key
from multigrey.stores.meta import HEALTH_CHECK

__all__ = ["LISTENER", "Health", "Probe"]

LISTENER = '"health check"'
"""The name of the attempt's listener.  A [[listen]] cannot have this name, because of the quotes."""

_ATTEMPT = Attempt(
    listener=LISTENER,
    client_address=IPv4Address("192.0.2.1"),
    client_name=None,
    helo="health.example.org",
    sender="health@example.org",
    recipient="health@example.net",
)
_KEY: Key = HEALTH_CHECK.key()
_FRESH = 1.0
"""Seconds for which a result is returned again, so that frequent requests do not keep the disk busy."""


@dataclass(frozen=True, slots=True)
class Health:
    """The result of a health check; times in seconds."""

    trouble: str
    """What is wrong; "" if nothing is."""
    read: float = 0.0
    """The time for the decision, including the read from the store."""
    commit: float = 0.0
    """The time for the write to the store."""

    @property
    def text(self) -> str:
        """The result as one line."""
        if self.trouble:
            return f"not well: {self.trouble}\n"
        return f"ok read={self.read:.6f} commit={self.commit:.6f}\n"


class Probe:
    """Checks on request; concurrent requests share one check and its result."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._looking = trio.Lock()
        self._found = Health("not looked at yet")
        self._until = -1.0

    async def health(self, within: float) -> Health:
        """Return whether an attempt can be decided and a row written within `within` seconds together."""
        async with self._looking:
            if trio.current_time() >= self._until:
                self._found = await self._look(within)
                self._until = trio.current_time() + _FRESH
            return self._found

    async def _look(self, within: float) -> Health:
        doing = "read"
        with trio.move_on_after(within):
            try:
                began = perf_counter()
                await self._judge()
                read = perf_counter() - began
                doing = "written"
                await self._write()
                return Health("", read, perf_counter() - began - read)
            except (StoreError, CodecError) as error:
                return Health(f"the store cannot be {doing}: {error}")
        return Health(f"the store was not {doing} within {within:g} s")

    async def _judge(self) -> None:
        """Process the test attempt up to the verdict, without recording it."""
        engine = self._engine
        progress = engine.progress(_ATTEMPT)
        precheck(progress)
        decision = engine.shared.decision(progress)
        decision(await engine.store.read(decision.keys))

    async def _write(self) -> None:
        engine = self._engine
        entry = Entry(HEALTH_CHECK.coder.encode(engine.clock.now()), None)

        def decide(values: Sequence[bytes | None]) -> Change[None]:
            del values
            return Change(None, {_KEY: entry}, durable=True)

        await engine.store.apply((_KEY,), decide)
