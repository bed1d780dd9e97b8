"""Stores against a dictionary, in any order of calls, with the store opened again in between."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from multigrey.model import Change, Entry, Table
from tests.support.stores import MAKERS, key, options, running

KEYS = [key(number, table) for number in range(4) for table in Table]
keys = st.sampled_from(KEYS)
values = st.binary(max_size=4)
times = st.none() | st.integers(0, 20)
entries = st.builds(Entry, values, times)


class Running:
    """A store in a trio of its own, in another thread, for rules that cannot await."""

    def __init__(self, make) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main, make))
        self._thread.start()
        assert self._ready.wait(10)

    async def _main(self, make) -> None:
        self._stop = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        async with running(make()) as self._store:
            self._ready.set()
            await self._stop.wait()

    def __call__(self, name, *arguments):
        return trio.from_thread.run(getattr(self._store, name), *arguments, trio_token=self._token)

    def close(self) -> None:
        trio.from_thread.run_sync(self._stop.set, trio_token=self._token)
        self._thread.join(10)
        assert not self._thread.is_alive()


class StoreMachine(RuleBasedStateMachine):
    backend = ""
    survives = False

    def __init__(self):
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="multigrey-test-"))
        self.model = {}
        self.open()

    def open(self):
        self.store = Running(lambda: MAKERS[self.backend](options(self.directory)))

    def teardown(self):
        self.store.close()
        shutil.rmtree(self.directory)

    def value(self, where):
        return self.model[where].value if where in self.model else None

    def due(self, before):
        return [
            where
            for where, entry in self.model.items()
            if entry.keep_until is not None and entry.keep_until < before
        ]

    @rule(
        wanted=st.lists(keys, max_size=3),
        puts=st.dictionaries(keys, st.none() | entries, max_size=3),
        durable=st.booleans(),
    )
    def apply(self, wanted, puts, durable):
        seen = self.store("apply", wanted, lambda values: Change(list(values), puts, durable=durable))
        assert seen == [self.value(where) for where in wanted]
        for where, entry in puts.items():
            if entry is None:
                self.model.pop(where, None)
            else:
                self.model[where] = entry

    @rule(items=st.dictionaries(keys, entries, max_size=3))
    def load(self, items):
        changed = 0
        for where, item in items.items():
            old = self.model.get(where)
            until = item.keep_until
            if old is not None:
                until = None if None in (until, old.keep_until) else max(until, old.keep_until)
            new = Entry((old.value if old else b"") + item.value, until)
            changed += new != old
            self.model[where] = new
        assert self.store("load", items, lambda old, new: (old or b"") + new) == changed

    @rule(before=st.integers(0, 25), limit=st.integers(1, 5))
    def forget(self, before, limit):
        due = self.due(before)
        assert self.store("forget", before, limit) == min(limit, len(due))
        kept = dict(zip(KEYS, self.store("read", KEYS), strict=True))
        for where in due:
            if kept[where] is None:
                del self.model[where]
        assert len(self.due(before)) == len(due) - min(limit, len(due))

    @rule()
    def newest(self):
        times = [entry.keep_until or 0 for entry in self.model.values()]
        assert self.store("newest") == max(times, default=0)

    @rule(table=st.sampled_from(Table), limit=st.integers(1, 4))
    def scan(self, table, limit):
        self.store("forget", 0, 1)  # writes what is pending: a scan sees only that
        found, cursor = [], b""
        while True:
            rows, cursor = self.store("scan", table, cursor, limit)
            found += rows
            if not cursor:
                break
        expected = sorted((where[1], entry.value) for where, entry in self.model.items() if where[0] is table)
        assert found == expected

    @precondition(lambda self: self.survives)
    @rule()
    def reopen(self):
        self.store.close()
        self.open()

    @precondition(lambda self: self.survives)
    @rule()
    def compact(self):
        self.store("compact")

    @invariant()
    def same(self):
        assert list(self.store("read", KEYS)) == [self.value(where) for where in KEYS]


class MemoryMachine(StoreMachine):
    backend = "memory"


class LmdbMachine(StoreMachine):
    backend = "lmdb"
    survives = True


@pytest.mark.parametrize(("machine", "examples"), [(MemoryMachine, 60), (LmdbMachine, 25)])
def test_like_a_dictionary(machine, examples):
    if settings.default is not None and settings.default.max_examples > 100:
        examples = settings.default.max_examples
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=20))
