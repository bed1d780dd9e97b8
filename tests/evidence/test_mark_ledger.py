"""What an engine knows of the marks in its store: whether there are any, and who made how many."""

from __future__ import annotations

from ipaddress import ip_address

from multigrey.evidence.mark_ledger import MarkLedger
from multigrey.greylist.marks import Mark, bucket_key, put
from multigrey.model import Change, Entry, Origin
from tests.support.engines import WINDOW, harness

NETWORK = Origin("192.0.2.0/24", named=False)
CLIENT = ip_address("192.0.2.7")
NOW = 1_000_000_000


async def write(store, digest, value):
    puts = {bucket_key(digest): Entry(value, NOW + WINDOW)}
    await store.apply(tuple(puts), lambda _: Change(None, puts, durable=True))


async def test_an_empty_store_has_none_until_somebody_makes_one():
    async with harness() as parts:
        marks = MarkLedger(b"key")
        assert marks.exist
        await marks.look(parts.store)
        assert not marks.exist
        place = marks.place_of(NETWORK, CLIENT)
        marks.note(place, NOW, WINDOW)
        assert marks.exist
        assert marks.weigh(place) == (1, 1, 1)


async def test_what_the_store_holds_is_counted_at_the_start_and_once():
    async with harness() as parts:
        marks = MarkLedger(b"key")
        place = marks.place_of(NETWORK, CLIENT)
        for number in range(3):
            digest = bytes([number, 0]) + bytes(14)
            await write(parts.store, digest, put(None, digest, Mark(NOW, 120), place, NOW, WINDOW))
        await marks.look(parts.store)
        await marks.look(parts.store)
        assert marks.weigh(place) == (3, 3, 3)
        marks.note(place, NOW, WINDOW)
        assert marks.weigh(place) == (4, 4, 4)


async def test_a_bucket_that_cannot_be_read_ends_nothing():
    async with harness() as parts:
        await write(parts.store, bytes(16), b"\x01nonsense")
        marks = MarkLedger(b"key")
        await marks.look(parts.store)
        assert marks.exist


def test_places_are_hashed_under_the_key():
    assert MarkLedger(b"one").place_of(NETWORK, CLIENT) != MarkLedger(b"other").place_of(NETWORK, CLIENT)
