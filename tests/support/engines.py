"""An engine over the memory store, put together by hand for tests."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import trio

from multigrey.contracts import Store, StoreOptions
from multigrey.engine.engine import Engine
from multigrey.engine.setup import Setup
from multigrey.greylist.policy import Policy
from multigrey.identity.components import ClientNetwork, Recipient, Sender
from multigrey.identity.keys import NETWORK_KEY, KeyScheme
from multigrey.model import Attempt, DecisionEvent
from multigrey.overrides.blocks import Blocks
from multigrey.rules.rules import Rules
from multigrey.stores.memory import MemoryStore
from tests.support.clocks import FakeClock

SITE_KEY = bytes(range(32))
DELAY = 120
WINDOW = 2 * 86400
MAX_AGE = 36 * 86400


def scheme(*, recipient: str = "+") -> KeyScheme:
    network = ClientNetwork(24, 64)
    components = (network, Sender(), Recipient(recipient))
    return KeyScheme(SITE_KEY, NETWORK_KEY, components, network, Recipient(recipient))


def setup(**changes: object) -> Setup:
    values: dict[str, object] = {
        "scheme": scheme(),
        "policy": Policy(DELAY, WINDOW, MAX_AGE, 5),
        "unnamed_policy": Policy(DELAY, WINDOW, MAX_AGE, 5),
        "text": "Greylisted, please try again later",
        "rules": Rules((), {}),
    }
    return Setup(**{**values, **changes})  # type: ignore[arg-type]


class Harness:
    """An engine, its clock, its store and what it reported."""

    def __init__(self, store: Store, **changes: object) -> None:
        self.clock = FakeClock()
        self.store = store
        self.events: list[DecisionEvent] = []
        self.engine = Engine(
            clock=self.clock,
            store=store,
            setup=setup(**changes),
            ids=(f"id{number:04}" for number in itertools.count()),
            host="mx.example.org",
            version="0",
            subscribers=(self.events.append,),
        )
        self.blocks = Blocks(store, self._apply)

    def _apply(self) -> None:
        self.engine.setup = self.blocks.joined(self.engine.setup)

    def block(self, attempt: Attempt) -> None:
        """Block an attempt, whoever wrote it down."""
        digest = self.engine.progress(attempt).keys[0][1]
        self.engine.setup = replace(self.engine.setup, blocked={digest: "192.0.2.1 a b"})


def memory_store() -> MemoryStore:
    return MemoryStore(StoreOptions(Path("/nonexistent"), 0))


@asynccontextmanager
async def harness(store: Store | None = None, **changes: object) -> AsyncIterator[Harness]:
    """A harness whose store runs."""
    store = memory_store() if store is None else store
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        yield Harness(store, **changes)
        nursery.cancel_scope.cancel()
