"""Senders that real mail servers use to verify addresses: `<>` and double-bounce@, honest and forged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mta.both import MANY, SERVERS, Asked, asked
from tests.mta.disguise import disguised
from tests.mta.harness import place
from tests.mta.postfix import Postfix
from tests.mta.shipped import DELAY, WHITELISTED_RECIPIENT, client

pytestmark = pytest.mark.mta

BOB, CAROL = "bob@test.example", "carol@test.example"
SENDERS = ["", "double-bounce@sender.example", "double-bounce-11DTH8@sender.example"]


@pytest.fixture(scope="module", params=SERVERS)
def world(request: pytest.FixtureRequest) -> Iterator[Asked]:
    with asked(request.param) as made:
        yield made


def arrived(world: Asked, subject: str) -> int:
    """How many messages with this subject are in the maildirs; another one is waited for before."""
    with world.mta.session(client()) as session:
        assert session.send("", [WHITELISTED_RECIPIENT], f"after {subject}").end.code == 250
    world.mta.delivered(f"after {subject}", 1)
    return sum(message["Subject"] == subject for message in world.mta.messages())


@pytest.mark.parametrize("sender", SENDERS)
def test_a_callout_gets_its_answer_at_once(world: Asked, sender: str) -> None:
    with world.mta.session(client()) as session:
        assert session.mail(sender).code == 250
        assert session.rcpt(BOB).code == 250
        assert session.command("RSET").code == 250
        # the next one too, although it is the same session
        assert session.mail(sender).code == 250
        assert session.rcpt(CAROL).code == 250


@pytest.mark.parametrize("count", [1, 2, 50])
@pytest.mark.parametrize("sender", SENDERS)
def test_nothing_passes_that_does_not_come_back(world: Asked, sender: str, count: int) -> None:
    subject = f"{count} of {sender.partition('@')[0]}"
    recipients = [BOB, CAROL] if count == 2 else MANY[:count]
    with world.mta.session(client()) as session:
        sent = session.send(sender, recipients, subject)
    hung_up = count == 50 and world.mta.name == "Postfix"  # after 20 refusals
    assert sent.recipients[0].code == 250
    assert sent.recipients[1:] == [world.refusal(each) for each in recipients[1 : 21 if hung_up else 50]]
    if not hung_up:
        assert sent.end == world.late_refusal()
    assert arrived(world, subject) == 0


@pytest.mark.parametrize("sender", SENDERS)
def test_several_that_are_let_in_are_judged_by_the_first(world: Asked, sender: str) -> None:
    subject = f"several of {sender.partition('@')[0]}"
    with world.mta.session(client()) as session:
        for chunked in (False, True):
            sent = session.send(sender, [BOB, WHITELISTED_RECIPIENT], subject, chunked=chunked)
            assert (sent.codes, sent.end) == ([250, 250], world.late_refusal())
    assert arrived(world, subject) == 0


@pytest.mark.parametrize("sender", SENDERS)
def test_a_bounce_to_two_that_comes_back_is_delivered(world: Asked, sender: str) -> None:
    """No honest one has two recipients; still nothing is lost."""
    subject = f"returned {sender.partition('@')[0]}"
    with world.mta.session(client()) as session:
        first = session.send(sender, [BOB, CAROL], subject)
        world.daemon.clock.advance(DELAY)
        second = session.send(sender, [BOB, CAROL], subject)
    assert (first.codes, first.end) == ([250, world.code], world.late_refusal())
    assert (second.codes, second.end.code) == ([250, 250], 250)
    world.mta.delivered(subject, 2)


@pytest.mark.parametrize("lines", ["", "address_verify_sender_ttl = 36h"], ids=["fixed", "with a token"])
def test_a_real_postfix_that_verifies_senders(world: Asked, lines: str) -> None:
    """`reject_unverified_sender` elsewhere: mail from here to there is taken at the first attempt."""
    address = client()
    with place() as directory, disguised(world.mta, address) as port:
        elsewhere = Postfix(
            directory / "elsewhere",
            "virtual_mailbox_domains = elsewhere.example\n"
            "myhostname = mx.elsewhere.example\n"
            "myorigin = elsewhere.example\n"
            f"transport_maps = inline:{{test.example=smtp:[127.0.0.1]:{port}}}\n"
            "smtpd_recipient_restrictions = reject_unauth_destination, reject_unverified_sender\n"
            "address_verify_map =\n"
            f"address_verify_poll_delay = 1s\n{lines}\n",
        )
        with elsewhere as mta, mta.session("198.51.100.9") as session:
            assert session.send(BOB, ["alice@elsewhere.example"], "verified").end.code == 250
    (line,) = world.decisions(address, 1)
    assert "reason=probe" in line
    assert "sender=double-bounce" in line
