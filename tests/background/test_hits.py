"""Hits: counted from decisions, added up in the store, read back by whoever looks at lists."""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import trio
import trio.testing

from multigrey.background.hits import FLUSH_EVERY, HitCounter, hit_key, read_hits
from multigrey.codec import Hits, decode_hits, decode_text, encode_hits
from multigrey.contracts import StoreOptions
from multigrey.errors import StoreError
from multigrey.model import Action, Attempt, DecisionEvent, Match, Reason, Table, Verdict
from multigrey.stores.lmdb.store import LmdbStore
from multigrey.stores.meta import HITS
from tests.support.clocks import START, FakeClock
from tests.support.engines import memory_store
from tests.support.stores import everything, put, running

ROOT = Path(__file__).resolve().parents[2]
ATTEMPT = Attempt("test", None, None, "", "a@example.org", "b@example.org")


def event(match, time=START):
    verdict = Verdict(Action.PASS, Reason.WHITELISTED, match=match)
    return DecisionEvent(time, "id", ATTEMPT, verdict)


def entry(line=1, text="client=mx.example.org", file="a.toml"):
    return Match("list", f"{file}:{line} {text}", "owner")


async def stored(store):
    rows = await everything(store, Table.META)
    found = [decode_hits(value) for key, value in rows.items() if key.startswith(HITS.prefix)]
    return {(hits.source, hits.entry): (hits.number, hits.first, hits.last) for hits in found}


async def test_hits_are_summed_and_added():
    counter = HitCounter()
    async with running(memory_store()) as store:
        counter(event(None))
        counter(event(entry()))
        counter(event(entry(), START + 5))
        counter(event(entry(line=9), START + 7))  # the same entry, after a reload of an edited file
        counter(event(Match("postgrey-clients", "example.net")))
        assert await stored(store) == {}
        await counter.flush(store)
        expected = {
            ("list", "a.toml client=mx.example.org"): (3, START, START + 7),
            ("postgrey-clients", "example.net"): (1, START, START),
        }
        assert await stored(store) == expected
        await counter.flush(store)
        assert await stored(store) == expected
        counter(event(entry(), START + 60))
        await counter.flush(store)
        assert (await stored(store))["list", "a.toml client=mx.example.org"] == (4, START, START + 60)


async def test_a_clock_that_was_wrong_is_put_right():
    counter = HitCounter()
    async with running(memory_store()) as store:
        for time in (START + 10**9, START):
            counter(event(entry(), time))
            await counter.flush(store)
        assert await stored(store) == {("list", "a.toml client=mx.example.org"): (2, START, START)}


async def test_lists_and_entries_are_told_apart():
    counter = HitCounter()
    async with running(memory_store()) as store:
        for match in (entry(), entry(file="b.toml"), entry(text="client=.example.org"), Match("other", "x")):
            counter(event(match))
        await counter.flush(store)
        assert len(await stored(store)) == 4
    assert hit_key("a", "bc") != hit_key("ab", "c")


class Failing:
    """A store that refuses the first writes."""

    def __init__(self, store, failures):
        self._store = store
        self.failures = failures

    async def apply(self, keys, decide):
        if self.failures:
            self.failures -= 1
            raise StoreError("no space left on device")
        return await self._store.apply(keys, decide)

    async def scan(self, *arguments):
        return await self._store.scan(*arguments)


async def test_what_cannot_be_written_waits(caplog):
    counter = HitCounter()
    async with running(memory_store()) as inner:
        store = Failing(inner, 2)
        for number in range(450):
            counter(event(entry(text=f"client=mx{number}.example.org")))
        await counter.flush(store)
        counter(event(entry(text="client=mx7.example.org"), START + 60))
        await counter.flush(store)
        assert await stored(inner) == {}
        assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
        await counter.flush(store)
        found = await stored(inner)
    assert len(found) == 450
    assert found["list", "a.toml client=mx7.example.org"] == (2, START, START + 60)


async def test_a_cancelled_write_loses_nothing(autojump_clock):
    counter = HitCounter()
    async with running(memory_store()) as store:

        class Slow(Failing):
            async def apply(self, keys, decide):
                await trio.sleep_forever()

        counter(event(entry()))
        with trio.move_on_after(1):
            await counter.flush(Slow(store, 0))
        await counter.flush(store)
        assert (await stored(store))["list", "a.toml client=mx.example.org"][0] == 1


async def test_the_number_of_counted_entries_is_bounded(caplog):
    counter = HitCounter(most=3)
    async with running(memory_store()) as store:
        for number in range(5):
            counter(event(entry(text=f"client=mx{number}.example.org")))
        await counter.flush(store)
        assert len(await stored(store)) == 3
        for number in range(2, 5):
            counter(event(entry(text=f"client=mx{number}.example.org")))
        await counter.flush(store)
        assert len(await stored(store)) == 3
        assert (await stored(store))["list", "a.toml client=mx2.example.org"][0] == 2
        assert len(caplog.records) == 1
        after = HitCounter(most=3)  # after a restart
        await after.begin(store, START)
        after(event(entry(text="client=another.example.org")))
        after(event(entry(text="client=mx0.example.org")))
        await after.flush(store)
        assert len(await stored(store)) == 3
        assert (await stored(store))["list", "a.toml client=mx0.example.org"][0] == 2


async def test_a_row_nobody_can_read_is_left_alone():
    counter = HitCounter()
    key = hit_key("list", "a.toml client=mx.example.org")
    newer = b"\x97\x63" + encode_hits(Hits(1, 1, 1, "a", "b"))[2:]
    async with running(memory_store()) as store:
        await put(store, key, newer, None)
        counter(event(entry()))
        counter(event(entry(text="client=b.org")))
        await counter.flush(store)
        rows = await everything(store, Table.META)
    assert rows[key[1]] == newer
    assert decode_hits(rows[hit_key("list", "a.toml client=b.org")[1]]).number == 1


async def test_it_writes_once_a_minute(autojump_clock):
    counter, clock = HitCounter(), FakeClock()
    async with running(memory_store()) as store, trio.open_nursery() as nursery:
        nursery.start_soon(counter.run, store, clock)
        counter(event(entry()))
        await trio.sleep(FLUSH_EVERY - 1)
        assert await stored(store) == {}
        await trio.sleep(2)
        assert len(await stored(store)) == 1
        counter(event(entry()))
        await trio.sleep(FLUSH_EVERY)
        assert [*(await stored(store)).values()] == [(2, START, START)]
        nursery.cancel_scope.cancel()


async def test_the_time_counting_began_is_kept():
    async with running(memory_store()) as store:
        await HitCounter().begin(store, START)
        await HitCounter().begin(store, START + 100)
        assert decode_text((await everything(store, Table.META))[b"hits-since"]) == str(START)


async def test_a_store_that_cannot_be_read_stops_nothing(caplog):
    counter = HitCounter()
    async with running(memory_store()) as store:
        await counter.begin(Failing(store, 1), START)
        counter(event(entry()))
        await counter.flush(store)
        assert len(await stored(store)) == 1
    assert "cannot be read" in caplog.text


# --- reading ---------------------------------------------------------------------------------------


@asynccontextmanager
async def filled(directory):
    store = LmdbStore(StoreOptions(directory, 1 << 20))
    async with running(store):
        counter = HitCounter()
        await counter.begin(store, START)
        counter(event(entry()))
        await counter.flush(store)
        yield store


EXPECTED = Hits(1, START, START, "list", "a.toml client=mx.example.org")


async def test_reading_a_stopped_store(tmp_path):
    async with filled(tmp_path):
        pass
    (tmp_path / "store.mdb-lock").unlink(missing_ok=True)
    before = sorted(path.name for path in tmp_path.iterdir())
    records = read_hits(tmp_path)
    assert records.since == START
    assert records.by_entry == {("list", "a.toml client=mx.example.org"): EXPECTED}
    assert sorted(path.name for path in tmp_path.iterdir()) == before


READ = """
import json, sys
from pathlib import Path
from multigrey.background.hits import read_hits
records = read_hits(Path(sys.argv[1]))
json.dump([records.since, list(records.by_entry.values())], sys.stdout)
"""


async def test_reading_beside_a_running_daemon(tmp_path):
    """In a process of its own, as always: LMDB does not open a file twice in one."""
    async with filled(tmp_path):
        pass
    async with running(LmdbStore(StoreOptions(tmp_path, 1 << 20))) as store:
        command = [sys.executable, "-c", READ, str(tmp_path)]
        done = await trio.run_process(command, capture_stdout=True, cwd=ROOT)
        assert json.loads(done.stdout) == [START, [list(EXPECTED)]]
        assert len(await stored(store)) == 1


async def test_a_store_that_never_counted(tmp_path):
    async with running(LmdbStore(StoreOptions(tmp_path, 1 << 20))):
        pass
    assert read_hits(tmp_path) is None


@pytest.mark.parametrize("content", [None, b"", b"x" * 8192])
def test_what_is_no_store(tmp_path, content):
    if content is not None:
        (tmp_path / "store.mdb").write_bytes(content)
    with pytest.raises(StoreError, match=r"store\.mdb"):
        read_hits(tmp_path)


async def test_many_entries_are_taken_in_slices():
    counter = HitCounter()
    async with running(memory_store()) as store:
        for line in range(1000):
            counter(event(entry(text=f"client=mx{line}.example.org")))
        waiting = []

        class Turns(trio.abc.Instrument):
            def before_io_wait(self, timeout):
                waiting.append(len(counter._counts))

        trio.lowlevel.add_instrument(Turns())
        await counter.flush(store)
        assert len(await stored(store)) == 1000
        assert max(before - after for before, after in pairwise([1000, *waiting])) <= 200
