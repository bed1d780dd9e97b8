"""Bounces, callouts and address probes at every door: what ends after RCPT is let be, no mail slips in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count

import pytest

from multigrey.contracts import Dialogue
from multigrey.model import Attempt
from multigrey.protocols.exim import EximDialogue
from multigrey.protocols.greylistd import GreylistdDialogue
from multigrey.protocols.postfix import PostfixDialogue
from multigrey.whitelists import role_addresses
from tests.support.engines import DELAY, Harness, harness
from tests.support.feeding import options

SENDERS = ["", "double-bounce@partner.example", "double-bounce-7k2m9x@partner.example"]
every_sender = pytest.mark.parametrize("sender", SENDERS)


class MailServer:
    """A mail server that receives a message and asks as the real one does; subclasses know the words."""

    make: Callable[..., Dialogue]
    asks_at_rcpt = True

    def __init__(self, parts: Harness, *, message_ids: bool = True) -> None:
        self._parts = parts
        self._ids = (f"id{number}" if message_ids else "" for number in count())

    def rcpt(self, sender: str, recipient: str, message: str) -> str:
        raise NotImplementedError

    def data(self, sender: str, recipients: Sequence[str], message: str) -> str:
        raise NotImplementedError

    async def receive(self, sender: str, recipients: Sequence[str]) -> tuple[list[str], list[str]]:
        """Whom it accepted at RCPT, and to whom it delivers in the end."""
        message = next(self._ids)
        accepted = [
            recipient
            for recipient in recipients
            if not self.asks_at_rcpt or await self._lets(self.rcpt(sender, recipient, message))
        ]
        delivers = accepted and await self._lets(self.data(sender, accepted, message))
        return accepted, accepted if delivers else []

    async def _lets(self, question: str) -> bool:
        dialogue = type(self).make(options())
        dialogue.receive(question.encode())
        dialogue.receive(b"")
        request = dialogue.next_request()
        if isinstance(request, Attempt):
            dialogue.answer(request, await self._parts.engine.judge(request, "pass"))
        answer = dialogue.data_to_send()
        assert answer
        return answer.startswith((b"action=pass", b"action=DUNNO", b"action=PREPEND", b"white"))


class Postfix(MailServer):
    make = PostfixDialogue

    def rcpt(self, sender: str, recipient: str, message: str) -> str:
        return self._question("RCPT", sender, recipient, {"recipient_count": "0", "instance": message})

    def data(self, sender: str, recipients: Sequence[str], message: str) -> str:
        told = recipients[0] if len(recipients) == 1 else ""
        others = {"recipient_count": str(len(recipients)), "instance": message}
        return self._question("DATA", sender, told, others)

    def _question(self, state: str, sender: str, recipient: str, others: Mapping[str, str]) -> str:
        told = {"client_address": "192.0.2.1", "sender": sender, "recipient": recipient, **others}
        lines = [f"{name}={value}\n" for name, value in told.items()]
        return f"request=smtpd_access_policy\nprotocol_state={state}\n{''.join(lines)}\n"


class Exim(MailServer):
    make = EximDialogue
    tells_count, tells_list = True, False

    def rcpt(self, sender: str, recipient: str, message: str) -> str:
        return self._question("rcpt", sender, recipient, {"message": message})

    def data(self, sender: str, recipients: Sequence[str], message: str) -> str:
        told = ", ".join(recipients) if self.tells_list or len(recipients) == 1 else ""
        others = {"recipient_count": str(len(recipients))} if self.tells_count else {}
        return self._question("data", sender, told, {**others, "message": message})

    def _question(self, stage: str, sender: str, recipient: str, others: Mapping[str, str]) -> str:
        told = {"stage": stage, "client_address": "192.0.2.1", "sender": sender, "recipient": recipient}
        return "multigrey/1\n" + "".join(f"{name}={value}\n" for name, value in {**told, **others}.items())


class EximWithList(Exim):
    """Statements of somebody's own: no count."""

    tells_count, tells_list = False, True


class EximOfOld(Exim):
    """Statements that never ask about such a sender at RCPT."""

    asks_at_rcpt, tells_list = False, True


class DebianEximWithGreylistd(MailServer):
    """As greylistd-setup-exim4 has it: about the null sender it asks at DATA only."""

    make = GreylistdDialogue
    asks_at_rcpt = False

    def data(self, sender: str, recipients: Sequence[str], message: str) -> str:
        return f"192.0.2.1 {sender} {', '.join(recipients)}"


DOORS = [Postfix, Exim, EximWithList, EximOfOld, DebianEximWithGreylistd]
every_door = pytest.mark.parametrize("door", DOORS)


def recipients(number: int, first: str = "r0@example.net") -> list[str]:
    return [first, *(f"r{other}@example.net" for other in range(1, number))]


@every_door
@every_sender
@pytest.mark.parametrize("number", [1, 2, 50])
@pytest.mark.parametrize("message_ids", [True, False])
async def test_no_stranger_delivers_at_once(door, sender: str, number: int, message_ids: bool):
    async with harness() as parts:
        server = door(parts, message_ids=message_ids)
        for _ in range(3):
            assert (await server.receive(sender, recipients(number)))[1] == []


@pytest.mark.parametrize("door", [Exim, EximOfOld, DebianEximWithGreylistd, Postfix])
@every_sender
async def test_an_address_that_is_never_greylisted_opens_no_door_for_others(door, sender: str):
    """postmaster@ is on a list by itself; as the first of many it must not stand for them."""
    async with harness(sources=(role_addresses().match,)) as parts:
        _, delivered = await door(parts).receive(sender, recipients(50, "postmaster@example.net"))
        assert delivered in ([], ["postmaster@example.net"])


@pytest.mark.parametrize("door", [Postfix, Exim, EximWithList])
@every_sender
async def test_whoever_asks_about_one_address_is_told_at_once(door, sender: str):
    async with harness() as parts:
        server = door(parts)
        for number in range(5):
            accepted, _ = await server.receive(sender, [f"r{number}@example.net"])
            assert accepted == [f"r{number}@example.net"]


@every_door
@every_sender
@pytest.mark.parametrize("number", [1, 2])
async def test_an_honest_one_is_delivered_when_it_comes_back(door, sender: str, number: int):
    async with harness() as parts:
        server = door(parts)
        assert (await server.receive(sender, recipients(number)))[1] == []
        parts.clock.advance(DELAY)
        assert (await server.receive(sender, recipients(number)))[1] == recipients(number)
        assert (await server.receive(sender, recipients(number)))[1] == recipients(number)
