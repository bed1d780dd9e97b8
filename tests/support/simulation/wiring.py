"""The engine of the simulation: put together as the daemon does, with default settings.

The one module that knows how an engine is made; everything else asks `Site.judge`.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.resources import files
from tempfile import TemporaryDirectory

import trio

from multigrey.background.eviction import Eviction
from multigrey.clock import GuardedClock
from multigrey.config.load import load
from multigrey.daemon.assembly import assemble
from multigrey.engine.engine import Engine
from multigrey.evidence.name_ledger import NameLedger
from multigrey.greylist.quota import NewRecordLimits, NewRecordQuota
from multigrey.identity.addresses import split_address
from multigrey.identity.origin import Origins
from multigrey.model import Attempt, Findings, Origin, Reply, Table
from tests.support.clocks import FakeClock
from tests.support.engines import SITE_KEY, memory_store
from tests.support.simulation.dns import Spf, authorised

__all__ = ["Site", "opened", "retrying_providers"]

_SLICE = 500


class Site:
    """A mail server with greylisting, in a world with a clock and SPF records."""

    def __init__(self, clock: FakeClock, directory: str, spf: Mapping[str, Spf] | None) -> None:
        """`spf` None: no slow source, as without any plugin."""
        self.clock = clock
        self.store = memory_store()
        assembly = assemble(load(None, {"STATE_DIRECTORY": directory}), SITE_KEY, clock)
        self._settings = assembly.settings
        self._setup = assembly.setup
        if spf is not None:
            assert self._setup.origins is not None
            self._setup = replace(self._setup, ask=_Source(spf, self._setup.origins).ask)
        self._ids = (str(number) for number in itertools.count())

    async def restart(self) -> None:
        """Begin, or begin again with the same store, as a daemon does."""
        limits = self._settings.limits
        newest = await self.store.newest()
        self._clock = GuardedClock(self.clock)
        self._clock.compare(newest, self._settings.greylist.max_age)
        self._bounding = Eviction(self._clock, self.store, limits.max_records, breath=0)
        self._engine = Engine(
            clock=self._clock,
            store=self.store,
            setup=self._setup,
            ids=self._ids,
            host="mx.example.net",
            version="0",
            quota=NewRecordQuota(NewRecordLimits(limits.new_records, limits.new_records_named), key=SITE_KEY),
            is_full=lambda: self._bounding.full,
            mark_key=SITE_KEY,
            clock_believed=self._clock.believed,
            set_back=self._clock.set_back,
            names=NameLedger(SITE_KEY, believed=self._clock.believed),
        )
        await self._engine.knowledge.begin(self.store, self._clock.now())

    async def judge(self, attempt: Attempt) -> Reply:
        """What the mail server is told."""
        self._engine.knowledge.go_on(self._clock.now())
        reply = await self._engine.judge(attempt, "pass")
        assert reply is not None
        return reply

    async def upkeep(self) -> None:
        """What the daemon does beside the answers: forget what is due, and keep the store bounded."""
        while (now := self._clock.now()) and self._clock.believed():
            if await self.store.forget(now, _SLICE) < _SLICE:
                break
        await self._bounding.bound()
        await self._engine.knowledge.marks.look(self.store)

    async def size(self) -> int:
        """Octets of all keys and values in the store."""
        octets = 0
        for table in Table:
            cursor = b""
            while True:
                rows, cursor = await self.store.scan(table, cursor, 10_000)
                octets += sum(len(digest) + len(value) for digest, value in rows)
                if not cursor:
                    break
        return octets


@asynccontextmanager
async def opened(clock: FakeClock, spf: Mapping[str, Spf] | None) -> AsyncIterator[Site]:
    """A site that runs."""
    with TemporaryDirectory() as directory:
        site = Site(clock, directory, spf)
        async with trio.open_nursery() as nursery:
            await nursery.start(site.store.run)
            await site.restart()
            yield site
            nursery.cancel_scope.cancel()


def retrying_providers() -> frozenset[str]:
    """The words of the providers that are not delayed at all (`retries = true` in the table)."""
    table = tomllib.loads(files("multigrey.data").joinpath("providers.toml").read_text("utf-8"))
    return frozenset(entry["origin"] for entry in table["provider"] if entry.get("retries"))


class _Source:
    """The slow source."""

    def __init__(self, spf: Mapping[str, Spf], origins: Origins) -> None:
        self._spf = spf
        self._origins = origins

    async def ask(self, attempt: Attempt) -> Findings:
        """What the shipped plugin would find."""
        if attempt.client_address is None:
            return Findings()
        domain = (split_address(attempt.sender)[1] if attempt.sender else attempt.helo).lower()
        found = authorised(self._spf, domain, attempt.client_address)
        if found is None:
            return _NOTHING
        listed_by = (found.include,) if found.include else ()
        return Findings(
            origin=Origin(f"spf:{domain}", named=True), traits=_PASS, own=found.own, listed_by=listed_by
        )


_NOTHING = Findings(traits=frozenset({"spf:none"}))
_PASS = frozenset({"spf:pass"})
