"""Questions that tell nothing but an address (filters for OpenSMTPD) are attempts of that client."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from multigrey.codec import decode_event, encode_event
from multigrey.events.query import Query
from multigrey.listeners.commands import Commands
from multigrey.model import Attempt, Command, Findings, Match, Reason
from multigrey.protocols.greylistd import GreylistdDialogue
from tests.support.engines import DELAY, MAX_AGE, Harness, harness
from tests.support.feeding import options

LISTED = ip_network("198.51.100.0/24")


class Door:
    """A daemon's door for greylistd's words, as far as one question after another goes."""

    def __init__(self, parts: Harness) -> None:
        async def reload() -> None:
            return

        self._engine = parts.engine
        self._commands = Commands(parts.engine, parts.blocks, host="mx.example.org", reload=reload)

    async def ask(self, text: str) -> str:
        dialogue = GreylistdDialogue(options(administer=True))
        dialogue.receive(text.encode())
        dialogue.receive(b"")  # as patience has it
        request = dialogue.next_request()
        if isinstance(request, Attempt):
            dialogue.answer(request, await self._engine.judge(request, "pass"))
        elif isinstance(request, Command):
            dialogue.answer(request, await self._commands.run(request))
        return dialogue.data_to_send().decode()


def whitelist(attempt: Attempt) -> Match | None:
    listed = attempt.client_address is not None and attempt.client_address in LISTED
    return Match("list", str(LISTED)) if listed else None


async def test_a_whitelisted_network_is_white():
    async with harness(sources=(whitelist,)) as parts:
        assert await Door(parts).ask("update 198.51.100.7") == "white"
        assert await Door(parts).ask("update 192.0.2.10") == "grey"
        assert parts.events[0].verdict.reason is Reason.WHITELISTED


@pytest.mark.parametrize(
    ("first", "neighbour", "stranger"),
    [
        ("192.0.2.10", "192.0.2.77", "192.0.3.10"),
        ("2001:db8:1:2::10", "2001:db8:1:2:3::77", "2001:db8:1:3::10"),
        ("192.0.2.10/24", "::ffff:192.0.2.77", "192.0.3.10/24"),
    ],
)
async def test_the_neighbour_in_the_network_joins(first: str, neighbour: str, stranger: str):
    async with harness() as parts:
        door = Door(parts)
        assert await door.ask(f"update {first}") == "grey"
        parts.clock.advance(DELAY - 1)
        assert await door.ask(f"update {neighbour}") == "grey"
        parts.clock.advance(1)
        assert await door.ask(f"update {neighbour}") == "white"
        assert await door.ask(first) == "white"
        assert await door.ask(f"update {stranger}") == "grey"
        reasons = [event.verdict.reason for event in parts.events]
        assert reasons == [Reason.NEW, Reason.EARLY, Reason.RETRY, Reason.KNOWN, Reason.NEW]


async def test_every_word_speaks_of_the_same_record():
    async with harness() as parts:
        door = Door(parts)
        assert await door.ask("check 192.0.2.10") == "grey"
        assert await door.ask("status 192.0.2.10") == "unseen"
        await door.ask("update 192.0.2.10")
        assert await door.ask("status 192.0.2.11") == "grey"
        assert "  192.0.2.10\n" in await door.ask("list")
        assert await door.ask("add --white 192.0.2.11") == "Added to whitelist"
        assert await door.ask("update 192.0.2.10") == "white"
        assert await door.ask("delete 192.0.2.10") == "Removed from whitelist"
        assert await door.ask("status 192.0.2.10") == "unseen"
        assert await door.ask("add --black 192.0.2.10") == "Added to blacklist"
        assert await door.ask("--black 192.0.2.10") == "true"
        assert await door.ask("update 192.0.2.10") == "black"


async def test_an_address_alone_shares_no_record_with_a_bounce_from_there():
    async with harness() as parts:
        door = Door(parts)
        await door.ask("update 192.0.2.10")
        parts.clock.advance(DELAY)
        assert await door.ask("update 192.0.2.10") == "white"
        assert await door.ask("update 192.0.2.10 bob@example.net") == "grey"
        assert await door.ask("update 192.0.2.10 alice@example.org bob@example.net") == "grey"


async def test_look_ups_that_take_long_are_made():
    asked = []

    async def ask(attempt: Attempt) -> Findings:
        asked.append(attempt.client_address)
        return Findings(match=Match("dnswl", "yes"))

    async with harness(ask=ask) as parts:
        assert await Door(parts).ask("update 192.0.2.10") == "white"
        assert asked == [ip_address("192.0.2.10")]


@pytest.mark.parametrize(
    "words", [{"client": "192.0.2.10"}, {"client": "192.0.2.0/24"}, {"about": "192.0.2.10"}]
)
async def test_history_finds_the_client(words: dict[str, str]):
    async with harness() as parts:
        await Door(parts).ask("update 192.0.2.10")
        (event,) = map(decode_event, map(encode_event, parts.events))
        assert Query.of(words).fits(event)
        assert not Query.of({"client": "192.0.3.0/24"}).fits(event)


@pytest.mark.parametrize("sender", ["", "double-bounce@partner.example"])
@pytest.mark.parametrize("number", [1, 2, 50])
async def test_no_bounce_and_no_probe_passes_at_once_whatever_its_recipients(sender: str, number: int):
    """There is no other question at this door."""
    recipients = ", ".join(f"r{n}@example.net" for n in range(number))
    async with harness() as parts:
        door = Door(parts)
        assert await door.ask(f"update 192.0.2.10 {sender} {recipients}") == "grey"
        parts.clock.advance(DELAY)
        assert await door.ask(f"update 192.0.2.10 {sender} {recipients}") == "white"
        parts.clock.advance(MAX_AGE + 1)
        assert await door.ask(f"update 192.0.2.10 {sender} {recipients}") == "grey"
