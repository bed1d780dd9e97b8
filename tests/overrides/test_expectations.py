"""Mail that somebody waits for."""

from __future__ import annotations

from typing import Any

import pytest

from multigrey.codec import encode_text
from multigrey.errors import StoreError
from multigrey.identity.components import Recipient
from multigrey.model import Attempt, Change, Entry, Match, Table
from multigrey.overrides.expectations import MOST, ExpectationError, Expectations, TooManyExpectationsError
from tests.support.clocks import FakeClock
from tests.support.engines import memory_store
from tests.support.stores import running


def attempt(recipient: str = "bob@example.org", sender: str = "a@mail.example.net", **more: Any) -> Attempt:
    return Attempt("mx", None, None, "", sender, recipient, **more)


def matches(expectations: Expectations, *args: Any, **more: Any) -> bool:
    return expectations.match(attempt(*args, **more), Recipient("+")) is not None


@pytest.mark.parametrize(
    ("expected", "domain", "asked", "passes"),
    [
        ("bob@example.org", "", {}, True),
        ("Bob@EXAMPLE.org", "", {"recipient": "bOB@example.ORG"}, True),
        ("<bob@example.org>", "", {}, True),
        ("bob@example.org", "", {"recipient": "bob+code@example.org"}, True),
        ("bob+code@example.org", "", {"recipient": "bob+code@example.org"}, True),
        ("bob+code@example.org", "", {}, False),
        ("bob@example.org", "", {"recipient": "carol@example.org"}, False),
        ("bob@example.org", "", {"recipient": "bob@mail.example.org"}, False),
        ("bob@example.org", "", {"sender": ""}, True),
        ("bob@example.org", "example.net", {}, True),
        ("bob@example.org", "a@mail.example.net", {}, True),
        ("bob@example.org", "A@Mail.Example.NET", {}, True),
        ("bob@example.org", "a@mail.example.net", {"sender": "b@mail.example.net"}, False),
        ("bob@example.org", "a@mail.example.net", {"sender": "a@sub.mail.example.net"}, False),
        ("bob@example.org", "a@example.net", {}, False),
        ("bob@example.org", "@Example.Net.", {}, True),
        ("bob@example.org", ".example.net", {"sender": "a@example.net"}, True),
        ("bob@example.org", "mail.example.net", {"sender": "a@example.net"}, False),
        ("bob@example.org", "example.net", {"sender": "a@notexample.net"}, False),
        ("bob@example.org", "example.net", {"sender": ""}, False),
        ("bob@example.org", "example.net", {"sender": "prvs=1234abcdef=a@mail.example.net"}, True),
        ("bob@example.org", "example.net", {"sender": "srs0=hh=tt=example.net=a@forward.example"}, False),
        ("bob@example.org", "forward.example", {"sender": "srs0=hh=tt=example.net=a@forward.example"}, True),
        ("bob@example.org", "", {"raw": "bob@example.org"}, False),
    ],
)
async def test_whose_mail_passes(expected, domain, asked, passes):
    async with running(memory_store()) as store:
        expectations = Expectations(store, FakeClock().now)
        await expectations.add(expected, domain, 60, "root")
        assert matches(expectations, **asked) is passes


async def test_it_ends_by_itself_and_is_told_while_it_lasts():
    clock = FakeClock()
    async with running(memory_store()) as store:
        expectations = Expectations(store, clock.now)
        made = await expectations.add("bob@example.org", "", 60, "root (uid 0)", "a code")
        assert expectations.match(attempt(), Recipient("+")) == Match(
            "expect", "recipient=bob@example.org", "root (uid 0)"
        )
        clock.advance(59)
        assert matches(expectations)
        assert expectations.all() == [made]
        clock.advance(1)
        assert not matches(expectations)
        assert expectations.all() == []


async def test_the_same_once_more_replaces_it():
    clock = FakeClock()
    async with running(memory_store()) as store:
        expectations = Expectations(store, clock.now)
        await expectations.add("bob@example.org", "", 60, "root")
        again = await expectations.add("bob@example.org", "", 600, "joe")
        assert expectations.all() == [again]
        other = await expectations.add("bob@example.org", "example.net", 60, "joe")
        assert expectations.all() == [other, again]


async def test_a_restart_keeps_what_is_not_over(caplog):
    clock = FakeClock()
    async with running(memory_store()) as store:
        first = Expectations(store, clock.now)
        kept = await first.add("bob@example.org", "example.net", 600, "root", "why \ud800")
        await first.add("carol@example.org", "", 60, "root")
        bad = {
            (Table.META, b"expect/bad"): Entry(b"rubbish", None),
            (Table.META, b"expect/odd"): Entry(encode_text('{"recipient": 1}'), None),
            (Table.META, b"expecting"): Entry(encode_text("something else"), None),
        }
        await store.apply((), lambda _: Change(None, bad, durable=True))
        clock.advance(60)
        second = Expectations(store, clock.now)
        assert not matches(second)
        await second.load()
        assert second.all() == [kept]
        assert matches(second)
        assert caplog.text.count("cannot be read and is left out") == 2
        await second.cancel("bob@example.org", None, "root")
        third = Expectations(store, clock.now)
        await third.load()
        assert third.all() == []


async def test_who_asked_is_logged(caplog):
    caplog.set_level("INFO")
    async with running(memory_store()) as store:
        expectations = Expectations(store, FakeClock().now)
        await expectations.add("bob@example.org", "example.net", 60, "joe\n(uid 7)", "on the\x1b telephone")
        await expectations.cancel("bob@example.org", None, "root")
    made, gone = [record.getMessage() for record in caplog.records if "expected" in record.getMessage()]
    assert "recipient=bob@example.org from=example.net" in made
    assert r"joe\x0a(uid 7)" in made
    assert "\x1b" not in made
    assert gone.endswith("asked by root")


async def test_there_are_only_so_many(monkeypatch):
    monkeypatch.setattr("multigrey.overrides.expectations.MOST", 3)
    assert MOST == 1_000
    clock = FakeClock()
    async with running(memory_store()) as store:
        expectations = Expectations(store, clock.now)
        for number in range(3):
            await expectations.add(f"u{number}@example.org", "", 60, "root")
        with pytest.raises(TooManyExpectationsError, match="at most 3 expectations"):
            await expectations.add("more@example.org", "", 60, "root")
        await expectations.add("u1@example.org", "", 600, "root")  # once more is no more
        clock.advance(60)
        await expectations.add("more@example.org", "", 60, "root")
        assert len(expectations.all()) == 2


@pytest.mark.parametrize(
    ("recipient", "domain"),
    [("", ""), ("bob", ""), ("@example.org", ""), ("bob@", ""), ("b\x00b@example.org", ""), ("b@e e", "")]
    + [("bob@example.org", bad) for bad in ("a@", "a b@example.net", "a b", "x" * 400, "a\x00b")],
)
async def test_what_nobody_can_expect(recipient, domain):
    async with running(memory_store()) as store:
        with pytest.raises(ExpectationError):
            await Expectations(store, FakeClock().now).add(recipient, domain, 60, "root")


async def test_a_store_in_trouble_expects_nothing():
    class Broken:
        async def apply(self, keys: object, decide: object) -> None:
            raise StoreError("gone")

    expectations = Expectations(Broken(), FakeClock().now)  # type: ignore[arg-type]  (only apply is called)
    with pytest.raises(StoreError):
        await expectations.add("bob@example.org", "", 60, "root")
    assert expectations.all() == []
