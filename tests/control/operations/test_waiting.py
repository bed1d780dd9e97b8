"""The operation `waiting`: who waits, in which order, and within which bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from multigrey.codec import encode_record
from multigrey.control.operations.operation import OperationError
from multigrey.control.operations.waiting import operations
from multigrey.model import Change, Entry, Record, Table
from tests.support.clocks import START
from tests.support.control import answer, collected, parts
from tests.support.engines import DELAY, WINDOW


def record(age, name="a", **changes):
    values = {
        "first_seen": START - age,
        "last_seen": START - age,
        "delay": DELAY,
        "client": "192.0.2.1",
        "sender": f"{name}@example.org",
        "recipient": "b@example.net",
        "origin": "example.org",
    }
    return Record(**{**values, **changes})


async def asked(records, /, **options):
    async with parts() as (house, made):
        values = [each if isinstance(each, bytes) else encode_record(each) for each in records]
        puts = {
            (Table.RECORD, number.to_bytes(16)): Entry(value, None) for number, value in enumerate(values)
        }
        await house.store.apply(tuple(puts), lambda _: Change(None, puts, durable=True))
        return await answer(collected(operations, made), "waiting", **options)


def names(told):
    return [row["sender"].partition("@")[0] for row in told["waiting"]]


async def test_the_shortest_time_left_comes_first_and_then_who_may_come_back():
    told = await asked(
        [
            record(DELAY + 500, "long-ready"),
            record(10, "longest"),
            record(DELAY - 1, "nearly"),
            record(DELAY, "just-ready"),
            record(60, "middle"),
        ]
    )
    assert names(told) == ["nearly", "middle", "longest", "just-ready", "long-ready"]
    assert (told["delayed"], told["ready"], told["more"]) == (3, 2, False)
    assert told["waiting"][0]["ready"] == START + 1
    assert told["time"] == START


async def test_mail_that_is_likely_to_be_wanted_comes_first_if_asked():
    rows = [
        record(DELAY - 1, "bot", origin="192.0.2.0/24"),
        record(10, "named"),
        record(20, "tried", origin="192.0.2.0/24", attempts=2),
        record(10, "both", attempts=3),
        record(DELAY + 5, "ready", attempts=3),
    ]
    assert names(await asked(rows, order="wanted")) == ["both", "ready", "tried", "named", "bot"]
    assert names(await asked(rows, order="wanted", limit=1)) == ["both"]
    assert names(await asked(rows, order="left"))[0] == "bot"


async def test_only_those_that_wait():
    told = await asked(
        [
            record(10, "passed", passed_at=START),
            record(10, "observed", observed=True),
            record(WINDOW + 1, "lapsed"),
            record(WINDOW, "just"),
            b"rubbish",
        ]
    )
    assert names(told) == ["just"]
    assert (told["looked"], told["total"], told["complete"]) == (5, 5, True)


async def test_a_record_under_several_keys_is_told_once():
    home = bytes(16)  # the key of the first
    told = await asked(
        [record(10), replace(record(10), home=home), replace(record(10), home=home), record(11)]
    )
    assert (told["delayed"], len(told["waiting"])) == (2, 2)


async def test_no_more_than_asked_for_and_always_the_first():
    told = await asked([record(number % 97, f"s{number}") for number in range(1_000)], limit=3)
    assert {row["ready"] for row in told["waiting"]} == {START + DELAY - 96}
    assert (len(told["waiting"]), told["delayed"], told["more"]) == (3, 1_000, True)


async def test_a_walk_that_takes_too_long_ends_and_says_so(autojump_clock, monkeypatch):
    monkeypatch.setattr("multigrey.control.operations.waiting._BREATH", 20.0)
    told = await asked([record(10, f"s{number}") for number in range(1_000)], limit=5)
    assert (told["looked"], told["total"], told["complete"]) == (400, 1_000, False)
    assert (len(told["waiting"]), told["delayed"]) == (5, 400)


async def test_others_have_their_turn_between_two_slices(autojump_clock):
    turns = []

    async def count():
        while True:
            turns.append(1)
            await trio.sleep(0.0005)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await asked([record(10, f"s{number}") for number in range(2_000)])
        nursery.cancel_scope.cancel()
    assert len(turns) >= 10


async def test_two_who_ask_wait_for_each_other(autojump_clock, monkeypatch):
    monkeypatch.setattr("multigrey.control.operations.waiting._BREATH", 1.0)
    async with parts() as (house, made):
        puts = {
            (Table.RECORD, number.to_bytes(16)): Entry(encode_record(record(10, f"s{number}")), None)
            for number in range(1_000)
        }
        await house.store.apply(tuple(puts), lambda _: Change(None, puts, durable=True))
        found = collected(operations, made)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(answer, found, "waiting")
        assert trio.current_time() - began >= 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"limit": 0}, "limit: a number from 1 to 1000"),
        ({"order": "best"}, "order: expected one of left, wanted"),
        ({"limit": 1001}, "limit: a number from 1 to 1000"),
        ({"limit": True}, "limit: a number from 1 to 1000"),
        ({"state": "known"}, "unknown option 'state'"),
    ],
)
async def test_wrong_options(options, words):
    async with parts() as (_, made):
        with pytest.raises(OperationError, match=words):
            await answer(collected(operations, made), "waiting", **options)
