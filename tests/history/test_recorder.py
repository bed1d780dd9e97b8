"""The history: what is kept, found, bounded and forgotten, and what its file's troubles do."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager

import pytest
import trio

from multigrey.config.tables.history import History as HistorySettings
from multigrey.errors import CommandError, StoreError
from multigrey.events.query import Query
from multigrey.history import recorder as module
from multigrey.history.file import NAME, HistoryEntry, HistoryFile
from multigrey.history.reader import PastHistory
from multigrey.history.recorder import MOST_A_SECOND, HistoryRecorder
from multigrey.identity.redaction import Redactor
from multigrey.model import HOUR, Reason
from multigrey.stores.work_thread import WorkThread
from tests.support.clocks import START, FakeClock
from tests.support.decisions import decision

DAY = 86_400


@pytest.fixture
def clock():
    return FakeClock()


def make(directory, clock, **settings):
    return HistoryRecorder(directory, HistorySettings(**settings), clock)


async def until(condition):
    """A thread is at work: nothing tells when it is done."""
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110  (see above)
            await trio.sleep(0.001)


@asynccontextmanager
async def running(history):
    """The history while its `run` runs; its file is open, and nobody else's time passes."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(history.run)
        await until(lambda: history._file is not None)
        yield history
        with trio.move_on_after(5):
            await history.flush()
        nursery.cancel_scope.cancel()


async def ids(history, limit=10_000, **words):
    return [found["id"] for found in await history.about(words, limit)]


async def test_decisions_are_found_by_everything_that_concerns_them(tmp_path, clock):
    async with running(make(tmp_path, clock)) as history:
        history(decision(decision_id="one"))
        history(decision(Reason.RETRY, START + 200, "two", client="192.0.2.77"))
        history(
            decision(
                decision_id="other",
                sender="x@example.com",
                recipient="y@example.com",
                client="2001:db8::1",
                origin="2001:db8::/64",
                client_name=None,
            )
        )
        assert await ids(history, about="a@example.org") == ["one", "two"]
        assert await ids(history, about="192.0.2.77") == ["two"]
        assert await ids(history, about="example.com") == ["other"]
        assert await ids(history, sender="example.org", client="192.0.2.0/28") == ["one"]
        assert await ids(history, 1, about="example.org") == ["two"]
        found = await history.find("two")
        assert (found["reason"], found["client_address"], found["time"]) == (
            "retry",
            "192.0.2.77",
            START + 200,
        )
        assert await history.find("none") is None
        assert await history.since() == START
        with pytest.raises(CommandError):
            await history.about({"about": "nonsense"}, 1)


async def test_they_outlive_the_daemon_and_are_there_without_it(tmp_path, clock):
    async with running(make(tmp_path, clock)) as history:
        history(decision(decision_id="one"))
    past = PastHistory(tmp_path, 1 << 24)
    assert await ids(past, about="example.org") == ["one"]
    past.close()
    async with running(make(tmp_path, clock)) as history:
        assert await ids(history, about="example.org") == ["one"]


async def test_without_a_file_nothing_is_found(tmp_path):
    with pytest.raises(StoreError, match=NAME):
        await PastHistory(tmp_path, 1 << 24).find("one")
    assert list(tmp_path.iterdir()) == []


async def test_what_a_stopped_daemon_remembers_can_be_forgotten(tmp_path, clock):
    past = PastHistory(tmp_path, 1 << 24)
    assert await past.forget({"about": "example.org"}) == 0
    await past.compact()
    assert list(tmp_path.iterdir()) == []
    async with running(make(tmp_path, clock)) as history:
        history(decision(decision_id="one"))
        history(decision(decision_id="two", recipient="c@example.net"))
    assert await ids(past, about="example.org") == ["one", "two"]
    assert await past.forget({"recipient": "b@example.net"}) == 1
    await past.compact()
    assert await ids(past, about="example.org") == ["two"]
    past.close()


async def test_search_goes_on_where_the_limit_was(tmp_path, clock):
    async with running(make(tmp_path, clock)) as history:
        for number in range(700):
            history(decision(decision_id=f"id{number}", time=START + number * 60))
            if number % 100 == 0:
                await history.flush()
        everything, more = await history.search(Query.of({"about": "example.org"}), 1000)
        assert [event.id for event in everything] == [f"id{number}" for number in reversed(range(700))]
        assert not more
        some, more = await history.search(Query.of({"about": "example.org"}, START + 690 * 60), 1000)
        assert (len(some), more) == (10, False)
        some, more = await history.search(Query.of({"about": "example.org"}), 699)
        assert (len(some), more) == (699, True)


async def test_a_flood_of_one_reason_hides_no_other(tmp_path, clock):
    async with running(make(tmp_path, clock)) as history:
        for number in range(MOST_A_SECOND + 50):
            history(decision(decision_id=f"new{number}"))
        history(decision(Reason.RETRY, decision_id="back"))
        assert history.lost == 50
        assert await ids(history, id="back") == ["back"]
        history(decision(decision_id="later"))
        assert await ids(history, id="later") == ["later"]
        assert history.health() == {"decisions": MOST_A_SECOND + 2, "lost": 50, "trouble": ""}


async def test_how_many_were_lost_is_known_by_the_hour(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(module, "MOST_A_SECOND", 0)
    monkeypatch.setattr(module, "_LOST_HOURS", 2)
    history = make(tmp_path, clock)
    assert history.gap() == ""
    hours = START - START % HOUR
    for hour in (0, 1, 1, 2):
        history(decision(time=hours + hour * HOUR))
    assert [history.lost_since(hours + since) for since in (0, HOUR, 2 * HOUR, 3 * HOUR - 1, 3 * HOUR)] == [
        *(3, 3, 1, 1, 0)  # the first hour is forgotten
    ]
    assert history.gap(hours + 2 * HOUR).startswith("not recorded: 1 decision of the time looked at (")
    assert history.lost == 4


async def test_the_number_is_bounded(tmp_path, clock):
    async with running(make(tmp_path, clock, max_entries=1000)) as history:
        for number in range(4000):
            history(decision(decision_id=f"id{number}"))
            if number % 200 == 199:
                await history.flush()
        await history._do(lambda file: history._tidy(file, is_time=False))
        assert 800 <= history.health()["decisions"] <= 1000
        assert await ids(history, id="id3999") == ["id3999"]
        assert await ids(history, id="id10") == []


async def tidy(history):
    await history._do(lambda file: history._tidy(file, is_time=True))


async def test_the_age_is_bounded(tmp_path, clock):
    async with running(make(tmp_path, clock, max_age="10d")) as history:
        history(decision(decision_id="old"))
        await history.flush()
        clock.advance(9 * DAY)
        history(decision(time=clock.now(), decision_id="new"))
        await tidy(history)
        assert await ids(history, about="example.org") == ["old", "new"]
        clock.advance(DAY + 1)
        await tidy(history)
        assert await ids(history, about="example.org") == ["new"]
        history.settings = HistorySettings(max_age="1h")
        clock.advance(3601)
        await tidy(history)
        assert await ids(history, about="example.org") == []


async def test_a_clock_that_jumps_forgets_nothing_for_a_day(tmp_path, clock):
    async with running(make(tmp_path, clock)) as history:
        history(decision(decision_id="one"))
        await history.flush()
        clock.step(400 * DAY)
        await tidy(history)
        assert await ids(history, about="example.org") == ["one"]
        clock.advance(DAY + 1)
        await tidy(history)
        assert await ids(history, about="example.org") == []


async def test_a_start_with_a_wrong_clock_forgets_nothing(tmp_path, clock):
    async with running(make(tmp_path, clock)) as history:
        history(decision(decision_id="one"))
    clock.step(400 * DAY)
    async with running(make(tmp_path, clock)) as history:
        await tidy(history)
        assert await ids(history, about="example.org") == ["one"]


@pytest.mark.parametrize("wrong", [-20_000 * DAY + 86_400, 3000 * DAY])
async def test_what_was_decided_while_the_clock_was_wrong(tmp_path, clock, wrong):
    """In the past or in the future: it harms nobody, and goes in its time."""
    now = 20_000 * DAY
    clock.step(now - START)
    async with running(make(tmp_path, clock, max_age="10d")) as history:
        for name, time in (("before", now), ("wrong", now + wrong), ("after", now + 60)):
            history(decision(decision_id=name, time=time))
            await history.flush()
        await tidy(history)
        expected = ["before", "after"] if wrong < 0 else ["before", "wrong", "after"]
        assert await ids(history, about="example.org") == expected
        clock.advance(10 * DAY + 61)
        await tidy(history)
        assert await ids(history, about="example.org") == []


async def test_forgetting_an_address(tmp_path, clock):
    async with running(make(tmp_path, clock)) as history:
        for number in range(300):
            who = "bob" if number % 3 == 0 else "eve"
            history(decision(decision_id=f"{who}{number}", recipient=f"{who}@example.net"))
            if number % 100 == 99:
                await history.flush()
        assert await history.forget({"recipient": "bob@example.net"}) == 100
        assert await ids(history, about="bob@example.net") == []
        assert len(await ids(history, about="eve@example.net")) == 200
        assert await ids(history, id="bob0") == []
        history(decision(decision_id="again", recipient="bob@example.net"))
        assert await ids(history, about="bob@example.net") == ["again"]
        await history.compact()
        assert len(await ids(history, about="example.net")) == 201
        assert await history.forget({}) == 201
        assert history.health()["decisions"] == 0


async def test_nothing_of_it_is_left_after_compacting(tmp_path, clock):
    async with running(make(tmp_path, clock)) as history:
        history(decision(recipient="somebody.secret@example.net", time=START))
        history(decision(recipient="other@example.net", time=START + DAY))
        await history.forget({"about": "somebody.secret@example.net"})
        await history.compact()
        history(decision(decision_id="goes on", time=START + DAY))
        assert await ids(history, id="goes on") == ["goes on"]
    assert b"somebody.secret" not in (tmp_path / NAME).read_bytes()


async def test_compacting_between_two_steps_of_a_flush_loses_nothing(tmp_path, clock, monkeypatch):
    async with running(make(tmp_path, clock)) as history:
        real = history._in_thread
        steps = []

        async def in_thread(work):
            steps.append(work)
            if len(steps) == 2:  # the decisions are encoded; queued to be written, they wait for this
                await real(lambda: history._compact(history._file))
            return await real(work)

        history(decision(decision_id="in between"))
        async with history._writing:  # the flush of `run` waits here
            monkeypatch.setattr(history, "_in_thread", in_thread)
        await history.flush()
        monkeypatch.undo()
        assert len(steps) >= 2  # (the flush of `run` may come in between)
        assert await ids(history, id="in between") == ["in between"]
        assert history.lost == 0


async def test_a_file_that_cannot_be_read_is_moved_aside(tmp_path, clock, caplog):
    (tmp_path / NAME).write_bytes(b"nonsense" * 999)
    async with running(make(tmp_path, clock)) as history:
        history(decision(decision_id="one"))
        assert await ids(history, about="example.org") == ["one"]
    assert (tmp_path / f"{NAME}.bad").read_bytes() == b"nonsense" * 999
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert f"{NAME}.bad" in record.getMessage()


async def test_trouble_with_the_file_is_said_once_and_passes(tmp_path, clock, caplog, monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    full = True
    append = HistoryFile.append

    def failing(self, entries):
        if full:
            raise StoreError("the disk is full")
        append(self, entries)

    monkeypatch.setattr(HistoryFile, "append", failing)
    async with running(make(tmp_path, clock)) as history:
        for number in range(1, 4):
            history(decision(decision_id=f"lost{number}"))
            await until(lambda number=number: history.lost == number and history.trouble)
        assert history.health()["trouble"] == "the disk is full"
        full = False
        history(decision(decision_id="kept"))
        await until(lambda: not history.trouble)
        assert await ids(history, about="example.org") == ["kept"]
        assert history.health() == {"decisions": 1, "lost": 3, "trouble": ""}
    assert [
        record.getMessage() for record in caplog.records if "the disk is full" in record.getMessage()
    ] == ["history: the disk is full: decisions are made as usual, but not kept"]


async def test_a_directory_that_is_not_there_harms_nobody(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    history = make(tmp_path / "later", clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(history.run)
        await until(lambda: history.trouble)
        history(decision(decision_id="one"))
        with pytest.raises(StoreError, match="later"):
            await history.find("one")
        (tmp_path / "later").mkdir()
        await until(lambda: history._file is not None)
        assert await ids(history, about="example.org") == ["one"]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "words",
    [
        {"about": "anna@example.org"},
        {"about": "example.org"},
        {"about": "mx1.example.org"},
        {"about": "192.0.2.10"},
        {"about": "192.0.2.0/24"},
        {"client": "192.0.2.10", "sender": "Anna@example.org"},
        {"origin": "192.0.2.0/24"},
        {"sender": "example.org"},
    ],
)
async def test_redacted_decisions_are_found_by_whom_they_are_about(tmp_path, clock, words):
    redactor = Redactor(bytes(32))
    history = HistoryRecorder(tmp_path, HistorySettings(), clock, redactor, redact=True)
    who = {"sender": "anna@example.org", "origin": "192.0.2.0/24", "attributes": {"sasl_username": "anna"}}
    other = {"client": "198.51.100.1", "client_name": None, "origin": "198.51.100.0/24"}
    async with running(history):
        history(decision(decision_id="hidden", **who))
        history(decision(decision_id="other", sender="x@example.com", **other))
        await history.flush()
        history.redact = False
        history(decision(decision_id="clear", **who))
        assert await ids(history, **words) == ["hidden", "clear"]
        found = await history.find("hidden")
        assert not {"anna@example.org", "192.0.2.10", "mx1.example.org"} & set(map(str, found.values()))
        assert found["attributes"] == {"client_address": found["client_address"]}
        assert found["client_address"] == redactor.client("192.0.2.10")
        for token in (found["client_address"], found["sender"], found["client_name"], found["origin"]):
            assert await ids(history, about=token) == ["hidden"], token
        assert await history.forget(words) == 2
        assert await ids(history, id="other") == ["other"]


async def test_a_redacted_raw_key_is_found_by_its_token(tmp_path, clock):
    redactor = Redactor(bytes(32))
    raw = {"sender": "", "recipient": "", "client_address": None, "client_name": None, "origin": ""}
    async with running(HistoryRecorder(tmp_path, HistorySettings(), clock, redactor, redact=True)) as history:
        history(decision(decision_id="raw", raw="some key", **raw))
        assert await ids(history, about=redactor.token("some key")) == ["raw"]
        assert (await history.find("raw"))["client_address"] is None


async def test_it_writes_by_itself_once_a_second(tmp_path, clock):
    async with running(make(tmp_path, clock)) as history:
        history(decision(decision_id="one"))
        await until(lambda: history.health()["decisions"] == 1)


async def test_a_piece_that_is_damaged_is_passed_over(tmp_path, clock, caplog):
    async with running(make(tmp_path, clock)) as history:
        for number in range(3):
            history(decision(decision_id=f"id{number}", time=START + number * 5000))
        await history.flush()

        def spoil(file):
            with file._env.begin(write=True) as txn:
                txn.put((2).to_bytes(8), b"spoilt", db=file._pieces)

        await history._do(spoil)
        assert await ids(history, about="example.org") == ["id0", "id2"]
        assert await history.forget({"about": "example.org"}) == 2
    assert "is skipped" in caplog.text


async def test_a_decision_of_a_later_version_is_passed_over(tmp_path, clock):
    async with running(make(tmp_path, clock)) as history:
        history(decision(decision_id="one"))
        later = HistoryEntry(START, Query.of({"about": "example.org"}).marks[0], b"\x91\x63")
        await history._do(lambda file: file.append([later]))
        assert await ids(history, about="example.org") == ["one"]


async def test_it_is_not_open_before_and_after(tmp_path, clock):
    history = make(tmp_path, clock)
    with pytest.raises(StoreError, match="not open"):
        await history.find("one")
    assert history.health()["trouble"] == ""
    async with running(history):
        await history.flush()
    assert history.health()["trouble"] == "not open"
    with pytest.raises(StoreError, match="not open"):
        await history.find("one")
    history(decision())
    await history.flush()


async def test_text_that_cannot_be_stored_costs_only_itself(tmp_path, clock):
    async with running(make(tmp_path, clock)) as history:
        history(decision(decision_id="odd", helo="\ud800"))
        history(decision(decision_id="eight-bit", helo="\udcff"))
        assert await ids(history, about="example.org") == ["eight-bit"]
        assert history.lost == 1


async def test_a_thread_that_hangs_keeps_nobody(tmp_path, clock, monkeypatch):
    """The end of the daemon waits for the file two seconds, no more."""
    monkeypatch.setattr(module, "_CLOSING", 0.01)
    history = make(tmp_path, clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(history.run)
        await until(lambda: history._file is not None)
        thread = history._thread
        assert isinstance(thread, WorkThread)
        monkeypatch.setattr(thread, "run", hang)
        nursery.cancel_scope.cancel()
    thread.stop()


async def hang(work):
    await trio.sleep_forever()
