"""Commands on a live engine: what greylistd's words ask for."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from multigrey.errors import CommandError
from multigrey.listeners.commands import Commands
from multigrey.model import Action, Attempt, Command, Origin, Reason
from multigrey.overrides.blocks import Blocks
from tests.support.engines import DELAY, MAX_AGE, Harness, harness


def attempt(recipient: str = "bob@example.net", **changes: object) -> Attempt:
    address = ip_address("192.0.2.10")
    return Attempt("greylistd", address, None, "", "a@example.org", recipient, **changes)


def commands(parts: Harness) -> Commands:
    async def reload() -> None:
        parts.reloaded = True

    return Commands(parts.engine, parts.blocks, host="mx.example.org", reload=reload)


async def run(parts: Harness, word: str, one: Attempt | None = None, **options: str):
    return await commands(parts).run(Command(word, one, options))


async def state(parts: Harness, one: Attempt) -> str:
    return (await run(parts, "state", one))["state"]


async def test_state_follows_the_life_of_a_record_and_writes_nothing():
    async with harness() as parts:
        assert await state(parts, attempt()) == "unseen"
        await parts.engine.judge(attempt(), "pass")
        assert await state(parts, attempt()) == "grey"
        parts.clock.advance(DELAY)
        assert await state(parts, attempt()) == "grey", "status does not promote"
        assert (await run(parts, "check", attempt()))["state"] == "white"
        assert await state(parts, attempt()) == "grey", "check does not write"
        await parts.engine.judge(attempt(), "pass")
        assert await state(parts, attempt()) == "white"
        parts.clock.advance(MAX_AGE + 1)
        assert await state(parts, attempt()) == "unseen"


async def test_check_of_the_unknown_is_grey_and_leaves_no_record():
    async with harness() as parts:
        assert (await run(parts, "check", attempt()))["state"] == "grey"
        assert await state(parts, attempt()) == "unseen"


@pytest.mark.parametrize(
    ("name", "action", "reason"),
    [
        ("white", Action.PASS, Reason.KNOWN),
        ("grey", Action.DEFER, Reason.EARLY),
        ("black", Action.REJECT, Reason.RULE),
    ],
)
async def test_add_puts_a_key_on_a_list(name, action, reason):
    async with harness() as parts:
        assert await run(parts, "add", attempt(), list=name) == {"list": name}
        assert await state(parts, attempt()) == name
        assert (await run(parts, "check", attempt()))["state"] == name
        reply = await parts.engine.judge(attempt(), "pass")
        assert (reply.action, reply.reason) == (action, reason)
        assert await run(parts, "delete", attempt()) == {"list": name}
        assert await state(parts, attempt()) == "unseen"
        assert await run(parts, "delete", attempt()) == {"list": ""}


async def test_an_administrators_white_entry_earns_no_trust():
    async with harness() as parts:
        await run(parts, "add", attempt(), list="white")
        for _ in range(10):
            parts.clock.advance(3601)
            await parts.engine.judge(attempt(), "pass")
        reply = await parts.engine.judge(attempt("new@example.net"), "pass")
        assert reply.reason is Reason.NEW


async def test_white_takes_a_key_off_the_black_list():
    async with harness() as parts:
        await run(parts, "add", attempt(), list="black")
        await run(parts, "add", attempt(), list="white")
        assert await state(parts, attempt()) == "white"
        assert parts.engine.setup.blocked == {}


async def test_blocked_keys_survive_a_restart():
    async with harness() as parts:
        await run(parts, "add", attempt(), list="black")
        parts.blocks = Blocks(parts.store, parts._apply)
        parts._apply()
        assert await state(parts, attempt()) != "black"
        await parts.blocks.load()
        assert await state(parts, attempt()) == "black"


async def test_stats_count_what_is_there_and_what_was_decided():
    async with harness() as parts:
        await parts.engine.judge(attempt("a@example.net"), "pass")
        await parts.engine.judge(attempt("b@example.net"), "pass")
        parts.clock.advance(DELAY)
        await parts.engine.judge(attempt("a@example.net"), "pass")
        await run(parts, "add", attempt("c@example.net"), list="black")
        await parts.engine.judge(attempt("c@example.net"), "pass")
        figures = await run(parts, "stats")
        assert {key: figures[key] for key in ("white", "grey", "black")} == {
            "white": 1,
            "grey": 1,
            "black": 1,
        }
        assert (figures["passed"], figures["deferred"], figures["rejected"]) == (1, 2, 1)
        assert figures["host"] == "mx.example.org"


async def test_list_shows_rows_and_can_be_limited_to_one_list():
    async with harness() as parts:
        await parts.engine.judge(attempt("a@example.net"), "pass")
        await run(parts, "add", attempt("b@example.net"), list="white")
        await run(parts, "add", attempt("c@example.net"), list="black")
        rows = (await run(parts, "list"))["rows"]
        assert sorted(row[0] for row in rows) == ["black", "grey", "white"]
        (row,) = (await run(parts, "list", list="grey"))["rows"]
        assert row == ["grey", parts.clock.now(), 1, "192.0.2.10 a@example.org a@example.net"]


@pytest.mark.parametrize("name", ["", "white", "grey", "black"])
async def test_clear(name):
    async with harness() as parts:
        everything = {"white": "w@example.net", "grey": "g@example.net", "black": "b@example.net"}
        for kind, recipient in everything.items():
            await run(parts, "add", attempt(recipient), list=kind)
        await run(parts, "clear", **({"list": name} if name else {}))
        for kind, recipient in everything.items():
            assert await state(parts, attempt(recipient)) == ("unseen" if name in ("", kind) else kind)


async def test_clear_forgets_origins_and_begins_to_count_anew():
    async with harness() as parts:
        carry_out = commands(parts).run
        for number in range(6):
            await parts.engine.judge(attempt(f"r{number}@example.net"), "pass")
        for number in range(5):
            parts.clock.advance(3600)
            await parts.engine.judge(attempt(f"r{number}@example.net"), "pass")
        reply = await parts.engine.judge(attempt("new@example.net"), "pass")
        assert reply.reason is Reason.AUTO_WHITELISTED
        await carry_out(Command("clear", None, {"list": "white"}))
        assert (await carry_out(Command("stats")))["passed"] == 6, "one list is not everything"
        assert (await parts.engine.judge(attempt("new@example.net"), "pass")).action is Action.PASS
        await carry_out(Command("clear"))
        figures = await carry_out(Command("stats"))
        assert (figures["passed"], figures["deferred"], figures["since"]) == (0, 0, parts.clock.now())
        reply = await parts.engine.judge(attempt("new@example.net"), "pass")
        assert reply.reason is Reason.NEW
        assert (await carry_out(Command("stats")))["deferred"] == 1


async def test_clear_goes_on_past_the_first_piece():
    async with harness() as parts:
        for number in range(450):
            await parts.engine.judge(attempt(f"r{number}@example.net"), "pass")
        await run(parts, "clear")
        assert (await run(parts, "list"))["rows"] == []


async def test_save_and_reload_answer():
    async with harness() as parts:
        assert await run(parts, "save") == {}
        assert await run(parts, "reload") == {}
        assert parts.reloaded


@pytest.mark.parametrize("word", ["nonsense", "state"])
async def test_what_cannot_be_done_is_said(word):
    async with harness() as parts:
        with pytest.raises(CommandError):
            await run(parts, word)


async def test_what_is_deleted_is_forgotten_under_the_name_of_the_sender_too():
    """Who speaks greylistd's words tells no client name."""
    named = replace(attempt(), client_name="mx1.example.org", helo="mx1.example.org")
    async with harness(origin_of=named_origin) as parts:
        for wait in (0, DELAY):
            parts.clock.advance(wait)
            await parts.engine.judge(named, "pass")
        assert await state(parts, attempt()) == "white"
        await run(parts, "delete", attempt())
        assert await state(parts, attempt()) == "unseen"
        assert (await parts.engine.judge(named, "pass")).reason is Reason.NEW


def named_origin(one: Attempt, network: str) -> Origin:
    return Origin("example.org", named=True) if one.client_name else Origin(network, named=False)
