"""Operations on records: listed once, chosen by what they show, forgotten and let in under every key."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest

from multigrey.codec import decode_record, encode_origin, encode_record, encode_reputation
from multigrey.control.operations import records, removal
from multigrey.control.operations.operation import OperationError
from multigrey.errors import CommandError, MultigreyError
from multigrey.identity.components import ClientNetwork, OriginText, Recipient, Sender
from multigrey.identity.keys import ORIGIN_KEY, KeyScheme
from multigrey.identity.redaction import Redactor
from multigrey.model import (
    Action,
    Attempt,
    Change,
    Entry,
    Origin,
    OriginRecord,
    Reason,
    Reputation,
    Stage,
    Table,
)
from tests.support.clocks import START
from tests.support.control import answer, collected, parts
from tests.support.engines import DELAY, MAX_AGE, SITE_KEY, WINDOW
from tests.support.stores import everything

NETWORK = ClientNetwork(24, 64)
BY_ORIGIN = KeyScheme(SITE_KEY, ORIGIN_KEY, (OriginText(), Sender(), Recipient("+")), NETWORK, Recipient("+"))


def named(attempt, network):
    """Clients with a name belong to its last two labels."""
    name = attempt.client_name
    return Origin(".".join(name.split(".")[-2:]), named=True) if name else Origin(network, named=False)


def attempt(sender="a@example.org", recipient="b@example.net", client="192.0.2.10", name=None, **more):
    return Attempt("smtp", ip_address(client), name, "", sender, recipient, **more)


def operations(made):
    return [*records.operations(made), *removal.operations(made)]


@asynccontextmanager
async def site(**changes):
    async with parts(**changes) as (house, made):
        house.engine.setup = replace(house.engine.setup, scheme=BY_ORIGIN, origin_of=named)
        yield house, collected(operations, made)


async def pages_of(ops, **options):
    """(`items` has a `limit` of its own)"""
    async with aclosing(ops.get("records.list").stream(options)) as rows:
        return [row async for row in rows]


async def listed(ops, **options):
    *pages, end = await pages_of(ops, **options)
    rows = [row for page in pages for row in page["records"]]
    assert end["found"] == len(rows)
    return rows


async def recipients(ops, **options):
    return sorted(row["recipient"].partition("@")[0] for row in await listed(ops, **options))


async def judge(house, *attempts):
    return [(await house.engine.judge(each, "pass")).reason for each in attempts]


async def test_a_record_is_listed_once_however_many_keys_it_has():
    async with site() as (house, ops):
        await judge(house, attempt(name="mx1.example.org"))
        assert len(await everything(house.store)) == 2
        (row,) = await listed(ops)
        assert row["state"] == "waiting"
        assert (row["client"], row["sender"], row["recipient"]) == (
            "192.0.2.10",
            "a@example.org",
            "b@example.net",
        )
        assert (row["origin"], row["named"]) == ("example.org", True)
        assert (row["first_seen"], row["ready"], row["until"]) == (START, START + DELAY, START + WINDOW)
        assert len(await listed(ops, every_key=True)) == 2
        house.clock.advance(DELAY)
        assert await judge(house, attempt(name="mx2.example.org", client="198.51.100.7")) == [Reason.RETRY]
        assert len(await everything(house.store)) == 3
        assert [row["state"] for row in await listed(ops)] == ["known"]
        assert await listed(ops, state="waiting") == [], "what is left under the first network speaks no more"
        assert (await answer(ops, "records.pass", sender="example.org"))["keys"] == 0


@pytest.mark.parametrize(
    "chosen",
    [
        {"sender": "x" * 100 + "@example.org"},
        {"sender": "example.org"},
        {"recipient": "y" * 100 + "@" + "z" * 60 + ".example.net"},
        {"recipient": "z" * 60 + ".example.net"},
    ],
)
async def test_long_addresses_are_chosen_by_what_they_were(chosen):
    async with site() as (house, ops):
        recipient = "y" * 100 + "@" + "z" * 60 + ".example.net"
        long = attempt("x" * 100 + "@example.org", recipient, name="mx1.example.org")
        await judge(house, long, attempt("a@example.com", "b@example.com"))
        (row,) = await listed(ops, **chosen)
        assert len(row["sender"]) <= 80
        assert len(await listed(ops, every_key=True, **chosen)) == 2
        assert (await answer(ops, "records.show", key=row["key"]))["record"]["sender"] == row["sender"]
        told = await answer(ops, "records.forget", **chosen)
        assert (told["records"], told["keys"]) == (1, 2)
        assert await judge(house, long) == [Reason.NEW]


async def test_the_listed_key_stands_for_all_keys_of_a_record():
    async with site() as (house, ops):
        await judge(house, attempt(name="mx1.example.org"), attempt(recipient="other@example.net"))
        (row,) = await listed(ops, recipient="b@example.net")
        (other,) = {row["key"] for row in await listed(ops, key=row["key"], every_key=True)} - {row["key"]}
        told = await answer(ops, "records.show", key=other)
        assert told["record"]["recipient"] == "b@example.net"
        assert {one["key"] for one in told["keys"]} == {row["key"], other}
        assert (await answer(ops, "records.forget", key=row["key"]))["keys"] == 2
        assert await recipients(ops, every_key=True) == ["other"]


async def test_records_are_chosen_by_everything_they_show():
    async with site() as (house, ops):
        await judge(
            house,
            attempt(recipient="one@example.net", name="mx.example.org"),
            attempt("x@mail.example.org", "two@example.net"),
            attempt("", "three@example.net", "2001:db8::1", stage=Stage.DATA),
        )
        house.clock.advance(DELAY)
        await judge(
            house,
            attempt(recipient="one@example.net", name="mx.example.org"),
            attempt(recipient="four@example.com"),
        )
        assert await recipients(ops, sender="a@example.org") == ["four", "one"]
        assert await recipients(ops, sender="A@EXAMPLE.org") == ["four", "one"]
        assert await recipients(ops, sender="example.org") == ["four", "one", "two"]
        assert await recipients(ops, sender="mail.example.org") == ["two"]
        assert await recipients(ops, sender="<>") == ["three"]
        assert await recipients(ops, recipient="two@example.net") == ["two"]
        assert await recipients(ops, recipient="example.com", sender="example.org") == ["four"]
        assert await recipients(ops, client="192.0.2.10") == ["four", "one", "two"]
        assert await recipients(ops, client="2001:db8::/32") == ["three"]
        assert await recipients(ops, origin="example.org") == ["one"]
        assert await recipients(ops, origin="192.0.2.0/24") == ["four", "two"]
        assert await recipients(ops, state="known") == ["one"]
        assert await recipients(ops, state="waiting") == ["four", "three", "two"]
        assert await recipients(ops, state="observed") == []
        assert await recipients(ops, older=DELAY) == ["one", "three", "two"]
        assert await recipients(ops, younger=DELAY) == ["four"]
        (row,) = await listed(ops, recipient="two@example.net")
        assert await recipients(ops, key=row["key"][:12]) == ["two"]
        house.clock.advance(WINDOW + 1)
        assert await recipients(ops, state="expired") == ["four", "three", "two"]
        assert await recipients(ops, state="known") == ["one"]
        house.clock.advance(MAX_AGE)
        assert len(await listed(ops, state="expired")) == 4


async def test_a_limit_is_kept_and_told():
    async with site() as (house, ops):
        await judge(house, *(attempt(recipient=f"r{number}@example.net") for number in range(450)))
        *pages, end = await pages_of(ops, limit=250)
        assert [len(page["records"]) for page in pages] == [100, 100, 50]
        assert (end["found"], end["more"]) == (250, True)
        *pages, end = await pages_of(ops, limit=450)
        assert (sum(len(page["records"]) for page in pages), end["more"]) == (450, False)


@pytest.mark.parametrize(
    "options",
    [
        {"nonsense": "x"},
        {"state": "grey"},
        {"older": "2d"},
        {"older": -1},
        {"younger": True},
        {"key": "xyzxyz"},
        {"key": "12345"},
        {"client": "nobody"},
        {"client": "1.2.3.4/99"},
        {"sender": 5},
        {"sender": ["a@example.org"]},
        {"limit": 0},
        {"limit": "5"},
        {"every_key": "yes"},
    ],
)
async def test_options_that_mean_nothing_are_refused(options):
    async with site() as (house, ops):
        await judge(house, attempt())
        with pytest.raises((OperationError, CommandError)):
            await pages_of(ops, **options)
        for name in ("records.forget", "records.pass"):
            if set(options) - {"limit", "every_key"}:
                with pytest.raises((OperationError, CommandError)):
                    await answer(ops, name, **options)
        assert len(await everything(house.store)) == 1


async def test_nobody_changes_everything_by_accident():
    async with site() as (_, ops):
        for name in ("records.forget", "records.pass"):
            with pytest.raises(OperationError, match="no records are chosen"):
                await answer(ops, name, by="root", dry_run=False)
        with pytest.raises(OperationError, match="cannot be combined"):
            await answer(ops, "records.forget", all=True, sender="example.org")


async def test_show_an_attempt():
    async with site() as (house, ops):
        who = {
            "client_address": "192.0.2.10",
            "client_name": "mx1.example.org",
            "sender": "a@example.org",
            "recipient": "b@example.net",
        }
        told = await answer(ops, "records.show", **who)
        assert told["record"] is None
        await judge(house, attempt(name="mx1.example.org"))
        told = await answer(ops, "records.show", **who)
        assert told["record"]["state"] == "waiting"
        assert [key["record"] is not None for key in told["keys"]] == [True, True]
        assert told["trust"]["origin"] == "example.org"
        with pytest.raises(OperationError, match="expected a client address and a recipient"):
            await answer(ops, "records.show", sender="a@example.org")
        with pytest.raises(OperationError):
            await answer(ops, "records.show", client_address="x", recipient="b@example.net")
        with pytest.raises(OperationError):
            await answer(ops, "records.show", nonsense="x")


async def test_show_a_key():
    async with site() as (house, ops):
        await judge(house, attempt(name="mx1.example.org"))
        for row in await listed(ops, every_key=True):
            told = await answer(ops, "records.show", key=row["key"][:8])
            assert told["record"]["recipient"] == "b@example.net"
            assert {key["key"] for key in told["keys"] if key["record"]} == {
                digest.hex() for digest in await everything(house.store)
            }
        with pytest.raises(OperationError, match="no record"):
            await answer(ops, "records.show", key="00" * 16)


async def test_a_whole_key_is_looked_up_without_a_walk(monkeypatch):
    async with site() as (house, ops):
        await judge(house, attempt(name="mx1.example.org"))
        row, *_ = await listed(ops, every_key=True)

        async def walks(*_):
            raise AssertionError("the store is walked")

        monkeypatch.setattr(house.store, "scan", walks)
        told = await answer(ops, "records.show", key=row["key"])
        assert row["key"] in {key["key"] for key in told["keys"] if key["record"]}
        assert told["record"]["sender"] == row["sender"]


async def test_forgetting_takes_every_key_and_nothing_else():
    async with site() as (house, ops):
        bob = attempt(recipient="bob@example.net", name="mx1.example.org")
        eve = attempt(recipient="eve@example.net", name="mx1.example.org")
        await judge(house, bob, eve)
        house.clock.advance(DELAY)
        elsewhere = replace(bob, client_address=ip_address("198.51.100.7"))
        assert await judge(house, elsewhere, eve) == [Reason.RETRY, Reason.RETRY]
        dry = await answer(ops, "records.forget", recipient="bob@example.net", dry_run=True)
        assert (dry["records"], dry["keys"]) == (1, 3)
        told = await answer(ops, "records.forget", recipient="bob@example.net", by="root")
        assert (told["records"], told["keys"], told["trust"], told["decisions"]) == (1, 3, 0, None)
        assert await recipients(ops) == ["eve"]
        assert await judge(house, bob, elsewhere, eve) == [Reason.NEW, Reason.EARLY, Reason.KNOWN]


@pytest.mark.parametrize("name", [None, "mx1.example.org"])
async def test_marks_are_forgotten_by_whole_attempts(name):
    async with site() as (house, ops):
        house.engine.shared._is_full = lambda: True
        bob, eve = attempt(name=name), attempt(recipient="eve@example.net", name=name)
        assert await judge(house, bob, eve) == [Reason.OVER_LIMIT] * 2
        whose = {"client": "192.0.2.10", "sender": "a@example.org", "recipient": "b@example.net"}
        for less in ("client", "sender", "recipient"):
            options = {key: value for key, value in whose.items() if key != less}
            assert (await answer(ops, "records.forget", **options))["marks"] == 0
        if name:
            assert (await answer(ops, "records.forget", **whose))["marks"] == 0
            whose["origin"] = "example.org"
        assert (await answer(ops, "records.forget", **whose, dry_run=True))["marks"] == 1
        assert (await answer(ops, "records.forget", **whose))["marks"] == 1
        assert (await answer(ops, "records.forget", **whose))["marks"] == 0
        house.clock.advance(DELAY)
        assert await judge(house, bob, eve) == [Reason.OVER_LIMIT, Reason.RETRY]


async def test_all_marks_are_forgotten_with_all_records():
    async with site() as (house, ops):
        house.engine.shared._is_full = lambda: True
        bob, eve = attempt(), attempt(recipient="eve@example.net", name="mx1.example.org")
        await judge(house, bob, eve)
        assert (await answer(ops, "records.forget", all=True, dry_run=True))["marks"] == 2
        assert (await answer(ops, "records.forget", all=True))["marks"] == 2
        assert await everything(house.store, Table.MARK) == {}


async def trust(house, domain):
    """As if it had been earned."""
    key = house.engine.setup.scheme.origin_key("example.org", domain)
    entry = Entry(encode_origin(OriginRecord(9, START, START, b"", True)), START + MAX_AGE)
    await house.store.apply((key,), lambda _: Change(None, {key: entry}, durable=True))
    return key


async def test_forgetting_a_sender_takes_its_trust_but_not_its_origins_good_name():
    async with site() as (house, ops):
        own, other = await trust(house, "example.org"), await trust(house, "example.com")
        standing = house.engine.setup.scheme.standing_key("example.org")
        entry = Entry(encode_reputation(Reputation(last_seen=START)), START + MAX_AGE)
        await house.store.apply((standing,), lambda _: Change(None, {standing: entry}, durable=True))
        house.engine.setup = replace(
            house.engine.setup, policy=replace(house.engine.setup.policy, auto_whitelist_after=0)
        )
        mine = attempt(name="mx1.example.org")
        await judge(house, mine)
        assert (await answer(ops, "records.forget", recipient="b@example.net"))["trust"] == 0
        await judge(house, mine)
        assert (await answer(ops, "records.forget", sender="a@example.org", dry_run=True))["trust"] == 1
        assert (await answer(ops, "records.forget", sender="a@example.org"))["trust"] == 1
        assert [value is None for value in await house.store.read((own, other, standing))] == [
            True,
            False,
            False,
        ]
        told = await answer(ops, "records.forget", all=True)
        assert told["trust"] == 2
        assert await everything(house.store, Table.ORIGIN) == {}


class Remembered:
    """Decisions that note what is to be forgotten."""

    def __init__(self):
        self.forgotten = []
        self.compacted = 0

    async def forget(self, words):
        self.forgotten.append(dict(words))
        return 7

    async def compact(self):
        self.compacted += 1


async def test_forgetting_takes_the_history_where_that_can_be_told_apart():
    decisions = Remembered()
    async with site(decisions=decisions) as (house, ops):
        await judge(house, attempt())
        assert (await answer(ops, "records.forget", sender="a@example.org", dry_run=True))[
            "decisions"
        ] is None
        assert (await answer(ops, "records.forget", state="waiting", sender="a@example.org"))[
            "decisions"
        ] is None
        assert decisions.forgotten == []
        assert (await answer(ops, "records.forget", sender="a@example.org", client="192.0.2.0/24"))[
            "decisions"
        ] == 7
        assert (await answer(ops, "records.forget", all=True, scrub=True))["decisions"] == 7
        assert decisions.forgotten == [{"sender": "a@example.org", "client": "192.0.2.0/24"}, {}]
        assert decisions.compacted == 1


async def test_whoever_waits_can_be_let_in():
    async with site() as (house, ops):
        mine, other = attempt(name="mx1.example.org"), attempt(recipient="other@example.net")
        await judge(house, mine, other)
        assert (await answer(ops, "records.pass", sender="a@example.org", dry_run=True))["keys"] == 3
        assert await recipients(ops, state="known") == []
        told = await answer(ops, "records.pass", recipient="b@example.net", by="root")
        assert (told["records"], told["keys"]) == (1, 2)
        assert await judge(house, mine, other) == [Reason.KNOWN, Reason.EARLY]
        (row,) = await listed(ops, state="known")
        assert (row["passes"], row["passed_at"], row["until"]) == (0, START, START + MAX_AGE)
        assert (await answer(ops, "records.pass", recipient="b@example.net"))["keys"] == 0
        assert await everything(house.store, Table.ORIGIN) == {}, "nobody earns trust by it"


async def test_rows_nobody_can_read_harm_nobody():
    async with site() as (house, ops):
        await judge(house, attempt())
        bad = (Table.RECORD, b"\xff" * 16)
        await house.store.apply((bad,), lambda _: Change(None, {bad: Entry(b"\x91\x63", None)}, durable=True))
        assert await recipients(ops) == ["b"]
        assert (await answer(ops, "records.forget", all=True))["keys"] == 1


async def test_raw_keys_and_redacted_records_are_shown():
    async with site() as (house, ops):
        await judge(house, Attempt("g", None, None, "", "", "", raw="anything at all"))
        token = (Table.RECORD, b"\x01" * 16)
        (value,) = (await everything(house.store)).values()
        hidden = replace(decode_record(value), client="h:abcdefghijklmnop", sender="h:x@example.org")
        entry = Entry(encode_record(hidden), START + WINDOW)
        await house.store.apply((token,), lambda _: Change(None, {token: entry}, durable=True))
        assert sorted(row["client"] for row in await listed(ops)) == ["", "h:abcdefghijklmnop"]
        assert len(await listed(ops, sender="example.org")) == 1
        assert await listed(ops, client="192.0.2.0/24") == []
        assert (await answer(ops, "records.show", key="010101"))["record"] is not None
        assert (await answer(ops, "records.forget", sender="h:x@example.org"))["keys"] == 1


async def test_what_came_back_meanwhile_is_judged_again():
    """A row that does not fit any more when it is to be written stays as it is."""
    async with site() as (house, ops):
        await judge(house, attempt())
        scan = house.store.scan

        async def slow_scan(*arguments):
            found = await scan(*arguments)
            house.clock.advance(DELAY)
            assert await judge(house, attempt()) in ([Reason.RETRY], [Reason.KNOWN])
            return found

        house.store.scan = slow_scan
        assert (await answer(ops, "records.forget", state="waiting"))["keys"] == 0
        assert (await house.engine.judge(attempt(), "pass")).action is Action.PASS


async def test_redacted_records_are_chosen_by_whom_they_are_about():
    redactor = Redactor(SITE_KEY)
    async with site() as (house, ops):
        house.engine.setup = replace(house.engine.setup, redactor=redactor)
        await judge(
            house, attempt(name="mx1.example.org"), attempt("x@example.com", "c@example.net", "198.51.100.1")
        )
        rows = await listed(ops)
        assert len(rows) == 2
        assert "192.0.2.10" not in str(rows)
        assert {row["origin"]: row["named"] for row in rows} == {
            "example.org": True,
            redactor.token("198.51.100.0/24"): False,
        }
        for words in (
            {"sender": "a@example.org"},
            {"sender": "example.org"},
            {"client": "192.0.2.10"},
            {"recipient": "b@example.net", "origin": "example.org"},
            {"client": redactor.client("192.0.2.10")},
        ):
            assert [row["origin"] for row in await listed(ops, **words)] == ["example.org"], words
        assert len(await listed(ops, origin="198.51.100.0/24")) == 1
        assert (await answer(ops, "records.forget", recipient="b@example.net"))["keys"] == 2
        assert len(await listed(ops)) == 1


def test_errors_are_for_whoever_asked():
    assert issubclass(OperationError, MultigreyError)
    assert issubclass(CommandError, MultigreyError)
