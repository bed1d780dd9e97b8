"""Evidence for names: noted cheaply, taken in later, written, read back, and bounded."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
import trio
import trio.testing

from multigrey.codec import decode_names, encode_names
from multigrey.config.origin_lists import load_origins
from multigrey.errors import StoreError
from multigrey.evidence.name_ledger import FLUSH_EVERY, NameLedger, names_key
from multigrey.identity.host_names.name_evidence import NOTHING, RESOLVED_AFTER, REST, deferred
from multigrey.model import Attempt, Table
from multigrey.stores.meta import NAMES
from tests.support.clocks import START, FakeClock
from tests.support.engines import memory_store
from tests.support.stores import everything, put, running

SITE_KEY = bytes(range(32))
HOUR, DAY = 3600, 86_400
LATER = START + RESOLVED_AFTER
ATTEMPT = Attempt("test", None, None, "", "alice@example.com", "bob@example.net")


@pytest.fixture(scope="module")
def origins():
    return load_origins()


def host(number, name="x{}f3k2.isp.example", helo=None, **changes):
    """The host of this number, each in a block of its own."""
    told = name.format(number)
    address = ip_address(0xC6120000 + number * 16)
    return replace(ATTEMPT, client_address=address, client_name=told, helo=helo or told, **changes)


def noted(names, origins, attempts, now=START, back=0):
    for number, attempt in enumerate(attempts):
        names.note_deferred(origins, attempt, now)
        if number < back:
            names.note_returned(origins, attempt, now + 300, now, own=True)
    names.settle()
    return names


def doubted(origins, *, now=START, domain="isp.example"):
    """Names that know an access network."""
    bots = [host(number, f"x{{}}f3k2.{domain}", f"mail.bot{number}.example") for number in range(10)]
    return noted(NameLedger(SITE_KEY), origins, bots, now)


async def stored(store):
    rows = await everything(store, Table.META)
    return dict(decode_names(value) for key, value in rows.items() if key.startswith(NAMES.prefix))


def test_an_access_network_is_found_and_its_mail_hosts_are_not(origins):
    names = NameLedger(SITE_KEY)
    mail = [host(100 + number, "mta-{}.isp.example") for number in range(3)]
    noted(names, origins, mail, back=3)
    assert names.doubted == {}
    noted(names, origins, [host(n, helo=f"mail.bot{n}.example") for n in range(10)], START + 60)
    assert [*names.doubted] == ["isp.example"]
    assert names.demoted("isp.example", "*", START + 70) == START + 60
    assert names.demoted("isp.example", "mta-#", START + 70) == 0
    assert names.demoted("other.example", "*", START + 70) == 0
    assert names.demoted_for(origins, host(77), START + 70) == START + 60
    assert names.demoted_for(origins, mail[0], START + 70) == 0
    assert names.demoted_for(origins, replace(mail[0], client_name=None), START + 70) == 0


def test_nothing_counts_before_it_is_taken_in(origins):
    names = NameLedger(SITE_KEY)
    for number in range(10):
        names.note_deferred(origins, host(number, helo=f"mail.bot{number}.example"), START)
    assert names.figures("isp.example", START) == []
    names.settle()
    assert [judged.pattern for judged in names.figures("isp.example", START)] == ["*", REST]


def test_what_does_not_come_back(origins):
    names = noted(NameLedger(SITE_KEY), origins, map(host, range(10)))
    assert names.doubted == {}
    noted(names, origins, [host(10)], LATER)
    assert names.demoted_for(origins, host(1), LATER) == LATER
    judged = names.judged(origins, host(1), LATER)
    assert judged.pattern == "*"
    assert judged.doubt.since == LATER
    assert (judged.figures.resolved, judged.figures.returned) == (10, 0)


def test_the_learned_time_counts(origins):
    names = NameLedger(SITE_KEY)
    names.resolved_after = 5 * HOUR
    noted(names, origins, map(host, range(11)))
    noted(names, origins, [host(10)], START + 5 * HOUR)
    assert names.demoted_for(origins, host(1), START + 5 * HOUR)


def test_it_comes_back_when_most_came_back(origins):
    names = doubted(origins)
    for number in range(6):
        names.note_returned(origins, host(number), START + HOUR, START, own=False)
    names.settle()
    assert names.demoted_for(origins, host(1), START + HOUR)  # none is resolved yet
    noted(names, origins, [host(1)], LATER)
    assert names.doubted == {}


def test_what_kept_its_name_for_a_while_loses_it_only_from_then_on(origins):
    """The hosts of the group lost it earlier; mail hosts had it until what was known of them was too old."""
    names = [f"{letter}kqx.isp.example" for letter in "bcdfghjklmnpqrstvwxz"]
    bots = [host(n, name, f"mail.bot{n}.example") for n, name in enumerate(names)]
    mail = host(100, "mta-{}.isp.example")
    names = noted(NameLedger(SITE_KEY), origins, bots[:10])
    assert names.demoted_for(origins, mail, START) == START
    noted(names, origins, [mail], back=1)
    month = 30 * DAY + 300  # since mail came back
    noted(names, origins, bots[10:], START + month - DAY)
    assert names.demoted_for(origins, mail, START + month - 1) == 0
    assert names.demoted_for(origins, bots[0], START + month - 1) == START
    for later in (month, month + 1, month + DAY):
        names.settle()
        assert names.demoted_for(origins, mail, START + later) == START + month - 1 + FLUSH_EVERY
        assert names.demoted_for(origins, bots[0], START + later) == START


def test_what_is_remembered_of_kept_names_is_bounded(origins, monkeypatch):
    monkeypatch.setattr("multigrey.evidence.name_ledger._STOOD", 3)
    names = doubted(origins)
    for number in range(10):
        names.demoted("isp.example", f"{'abcdefghij'[number]}-#", START)
    assert 0 < len(names._stood) <= 3


def test_time_alone_gives_it_back(origins):
    names = doubted(origins)
    assert names.demoted_for(origins, host(1), START + DAY)
    names.settle()
    assert names.demoted_for(origins, host(1), START + 30 * DAY) == 0
    assert names.doubted == {}


PROTECTS = [
    # HELO ("": the name), passed by the client that was deferred, two sender domains, name kept?
    ("", True, True, True),
    ("", True, False, False),
    ("", False, True, False),
    ("mail.example.org", True, True, False),
]


@pytest.mark.parametrize(("helo", "own", "two", "kept"), PROTECTS)
def test_only_returns_under_the_name_protect_it(origins, helo, own, two, kept):
    names = NameLedger(SITE_KEY)
    for sender in ("alice@mail.example.com", "alice@example.org" if two else "alice@www.example.com"):
        attempt = host(3, helo=helo or None, sender=sender)
        names.note_returned(origins, attempt, START + 300, START + 7, own=own)
    noted(names, origins, [host(n, helo=f"mail.bot{n}.example") for n in range(10)], START + 310)
    assert (names.demoted_for(origins, host(1), START + 400) == 0) == kept


@pytest.mark.parametrize(("helo", "kept"), [("", True), ("mail.example.org", False)])
def test_what_is_known_since_it_came_back_protects_it_on(origins, helo, kept):
    names = NameLedger(SITE_KEY)
    two = [host(3, sender=sender) for sender in ("alice@example.com", "alice@example.org")]
    noted(names, origins, two, back=2)
    for day in range(1, 40):
        for attempt in two:
            names.note_known(origins, replace(attempt, helo=helo or attempt.helo), START + day * DAY)
        names.note_known(origins, host(3, "x{}f3k2.other.example"), START + day * DAY)
        names.settle()
    then = START + 40 * DAY
    noted(names, origins, [host(n, helo=f"mail.bot{n}.example") for n in range(10, 30)], then)
    assert names.demoted_for(origins, host(3), then + DAY) == (0 if kept else then)
    assert names.domains() == ["isp.example"]


def test_null_senders_protect_nothing(origins):
    names = NameLedger(SITE_KEY)
    for number in range(3):
        names.note_returned(origins, host(number, sender=""), START + 300, START, own=True)
    noted(names, origins, [host(n, helo=f"mail.bot{n}.example") for n in range(10)], START + 310)
    assert names.demoted_for(origins, host(1), START + 400)


UNHEARD = [
    host(1, "mail-ot{}-f45.google.com"),  # a provider
    host(1, "vmd{}.contaboserver.net"),  # a shared host
    replace(host(1), client_name=None),
    replace(host(1), client_address=None),
    host(1, "c-198-18-0-16.isp.example"),  # generated
    host(1, "c-198-18-0-16.isp.example", "mail.example.org"),
    host(1, "a{}.dsl.isp.example", "mail.example.org"),
    host(1, "co.uk"),
]


@pytest.mark.parametrize("attempt", UNHEARD, ids=lambda attempt: str(attempt.client_name))
def test_of_whom_nothing_is_noted(origins, attempt):
    names = NameLedger(SITE_KEY)
    names.note_deferred(origins, attempt, START)
    names.note_returned(origins, attempt, START + 300, START, own=True)
    names.settle()
    assert names.domains() == []
    assert names.judged(origins, attempt, START) is None
    assert names.demoted_for(origins, attempt, START) == 0


def test_nothing_is_noted_while_the_clock_is_not_believed(origins):
    names = NameLedger(SITE_KEY, believed=lambda: False)
    noted(names, origins, map(host, range(10)))
    assert names.domains() == []


def test_notes_are_bounded_and_a_part_of_a_flood_is_heard(origins):
    names = NameLedger(SITE_KEY)
    for number in range(200):
        names.note_deferred(origins, host(number), START)
    names.settle()
    assert names.figures("isp.example", START)[0].figures.clients == 16
    for number in range(3000):
        names.note_deferred(origins, host(number, "mail.isp{}.example"), START)
    names.settle()
    assert len(names.domains()) == 1 + 1024


def test_domains_are_bounded_and_those_in_doubt_stay(origins):
    names = NameLedger(SITE_KEY, most=20)
    noted(names, origins, [host(n, helo=f"mail.bot{n}.example") for n in range(10)])
    for sender in ("alice@example.com", "alice@example.org"):
        mta = host(1, "mta-{}.pool.example", sender=sender)
        names.note_deferred(origins, mta, START)
        names.note_returned(origins, mta, START + 300, START, own=True)
    names.settle()
    for number in range(100):
        noted(names, origins, [host(number, "mail.isp{}.example")], START + HOUR + number)
        assert len(names.domains()) <= 20
    assert {"isp.example", "pool.example", "isp99.example"} <= {*names.domains()}


async def test_it_is_written_and_read_back(origins):
    names = doubted(origins)
    async with running(memory_store()) as store:
        await names.flush(store)
        assert [*await stored(store)] == ["isp.example"]
        again = NameLedger(SITE_KEY)
        await again.begin(store, START)
    assert again.demoted_for(origins, host(1), START + 70) == START
    assert again.figures("isp.example", START + 70) == names.figures("isp.example", START + 70)


async def test_what_was_noted_before_reading_is_joined(origins):
    names = noted(NameLedger(SITE_KEY), origins, map(host, range(5)))
    async with running(memory_store()) as store:
        await names.flush(store)
        other = noted(NameLedger(SITE_KEY), origins, map(host, range(3, 8)))
        await other.begin(store, START)
        await other.flush(store)
        (evidence,) = (await stored(store)).values()
    assert other.figures("isp.example", START)[0].figures.clients == 8
    assert len(evidence.clients[0][1]) == 8


async def test_marks_are_keyed(origins):
    ours, theirs = (noted(NameLedger(key), origins, [host(1)]) for key in (SITE_KEY, b"another"))
    async with running(memory_store()) as one, running(memory_store()) as other:
        await ours.flush(one)
        await theirs.flush(other)
        assert await stored(one) != await stored(other)


async def test_what_cannot_be_read_is_left_alone(origins, caplog):
    async with running(memory_store()) as store:
        await put(store, (Table.META, NAMES.prefix + b"broken"), b"\xff", None)
        await put(store, (Table.META, b"nbefore"), b"\x00", None)
        await put(store, (Table.META, b"nzz"), b"\x00", None)
        await doubted(origins).flush(store)
        names = NameLedger(SITE_KEY)
        await names.begin(store, START)
        assert names.domains() == ["isp.example"]
        assert len(await everything(store, Table.META)) == 4
    assert [record.getMessage() for record in caplog.records] == [
        "evidence about host names: 1 row cannot be read"
    ]


async def test_what_is_old_is_dropped_and_its_row_too(origins):
    names = doubted(origins)
    async with running(memory_store()) as store:
        await names.flush(store)
        await names.begin(store, START + 30 * DAY)
        assert names.domains() == []
        assert names.doubted == {}
        await names.flush(store)
        assert await stored(store) == {}


class Failing:
    """A store that refuses everything so many times."""

    def __init__(self, store, failures):
        self._store = store
        self.failures = failures

    async def apply(self, keys, decide):
        self._fail()
        return await self._store.apply(keys, decide)

    async def scan(self, *arguments):
        self._fail()
        return await self._store.scan(*arguments)

    def _fail(self):
        if self.failures:
            self.failures -= 1
            raise StoreError("no space left on device")


async def test_what_cannot_be_written_waits(origins, caplog):
    names = NameLedger(SITE_KEY)
    async with running(memory_store()) as inner:
        store = Failing(inner, 2)
        await names.begin(store, START)
        noted(names, origins, [host(n, "mail.isp{}.example") for n in range(120)])
        await names.flush(store)
        assert await stored(inner) == {}
        assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
        await names.flush(store)
        assert len(await stored(inner)) == 120


async def test_what_changes_while_it_is_written_is_written_again(origins):
    names = doubted(origins)

    class Changing(Failing):
        async def apply(self, keys, decide):
            result = await super().apply(keys, decide)
            if self._store is not None and not names.figures("late.example", START):
                noted(names, origins, [host(50)], START + 9)
                noted(names, origins, [host(51, "mail.late.example")])
            return result

    async with running(memory_store()) as inner:
        await names.flush(Changing(inner, 0))
        written = await stored(inner)
        assert len(written["isp.example"].clients[0][1]) == 11
        assert "late.example" in written


async def test_it_runs_once_a_minute(origins, autojump_clock):
    names = NameLedger(SITE_KEY)
    clock = FakeClock()
    async with running(memory_store()) as store, trio.open_nursery() as nursery:
        nursery.start_soon(names.run, store, clock)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(50):
            names.note_deferred(origins, host(number, "mail.isp{}.example"), clock.now())
        await trio.sleep(FLUSH_EVERY + 1)
        assert len(await stored(store)) == 50
        clock.advance(31 * DAY)
        await trio.sleep(FLUSH_EVERY + 1)
        assert await stored(store) == {}
        nursery.cancel_scope.cancel()


def test_keys_of_rows():
    table, digest = names_key("isp.example")
    assert table is Table.META
    assert digest.startswith(NAMES.prefix)
    assert names_key("isp2.example") != (table, digest)
    assert names_key("\udcff") != (table, digest)


def test_stored_evidence_is_small():
    evidence = NOTHING
    for number in range(500):
        evidence = deferred(evidence, f"p{number % 12}", number.to_bytes(4, "big"), b"abcd", START)
    assert len(encode_names("isp.example", evidence)) < 8192
