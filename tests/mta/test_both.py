"""What both mail servers do with the shipped files: the same, in their own words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mta import shipped
from tests.mta.both import MANY, SERVERS, USERS, Asked, asked
from tests.mta.exim import DebianExim
from tests.mta.harness import greylist_headers, place
from tests.mta.postfix import Postfix
from tests.mta.shipped import DELAY, client

pytestmark = pytest.mark.mta

HOUR = 3600


@pytest.fixture(scope="module", params=SERVERS)
def world(request: pytest.FixtureRequest) -> Iterator[Asked]:
    with asked(request.param) as made:
        yield made


def test_new_early_retry_known(world: Asked) -> None:
    recipients = ["bob@test.example", "carol@test.example"]
    refusals = [world.refusal(recipient) for recipient in recipients]
    address, sender = client(), "journey@sender.example"
    with world.mta.session(address) as session:
        assert session.send(sender, recipients, "first").recipients == refusals
        world.daemon.clock.advance(DELAY - 1)
        assert session.send(sender, recipients, "second").recipients == refusals
    world.daemon.clock.advance(1)
    with world.mta.session(address) as session:
        third = session.send(sender, recipients, "third")
        fourth = session.send(sender, recipients, "fourth")
    assert third.codes == fourth.codes == [250, 250]
    assert (third.end.code, fourth.end.code) == (250, 250)
    for message in world.mta.delivered("third", 2):
        (header,) = greylist_headers(message)
        assert header.startswith(f"delayed {DELAY} seconds by ")
    for message in world.mta.delivered("fourth", 2):
        assert not greylist_headers(message)


def test_a_neighbour_of_the_client_may_retry(world: Asked) -> None:
    address = client()
    with world.mta.session(address) as session:
        assert session.send("pool@sender.example", ["bob@test.example"], "pool").codes == [world.code]
    world.daemon.clock.advance(DELAY)
    with world.mta.session(address.replace(".25", ".77")) as session:
        assert session.send("pool@sender.example", ["bob@test.example"], "pool").codes == [250]


def test_messages_of_one_session_are_told_apart(world: Asked) -> None:
    with world.mta.session(client()) as session:
        session.send("one@sender.example", ["bob@test.example"], "one")
        world.daemon.clock.advance(DELAY)
        # who came back a moment ago carries one other recipient and no more ...
        soon = session.send(
            "one@sender.example", ["bob@test.example", "carol@test.example", "u02@test.example"], "one"
        )
        world.daemon.clock.advance(HOUR)
        # ... an hour later a new recipient passes with the known one ...
        both = session.send("one@sender.example", ["bob@test.example", "u01@test.example"], "one")
        # ... but none of the next message, for everybody may write to abuse
        other = session.send("one@sender.example", ["abuse@test.example", "u00@test.example"], "other")
    assert soon.codes == [250, 250, world.code]
    assert both.codes == [250, 250]
    assert other.codes == [250, world.code]


def test_whitelisted_client(world: Asked) -> None:
    with world.mta.session(shipped.WHITELISTED_CLIENT) as session:
        assert session.send("wc@sender.example", ["bob@test.example"], "wc").codes == [250]
    assert "reason=whitelisted" in world.decisions("wc@sender.example", 1)[0]


@pytest.mark.parametrize(
    "recipient", [shipped.WHITELISTED_RECIPIENT, "abuse@test.example", "postmaster@test.example"]
)
def test_whitelisted_recipient(world: Asked, recipient: str) -> None:
    with world.mta.session(client()) as session:
        assert session.send("wr@sender.example", [recipient], "wr").codes == [250]


def test_fifty_new_recipients(world: Asked) -> None:
    """Two rounds with Exim; Postfix hangs up after 20 refusals (smtpd_hard_error_limit)."""
    rounds: list[list[int]] = []
    address = client()
    while [250] * 50 not in rounds and len(rounds) < 5:
        with world.mta.session(address) as session:
            rounds.append(session.send("list@sender.example", MANY, "fifty").codes)
        world.daemon.clock.advance(DELAY)
    later = [world.code]
    if world.mta.name == "Postfix":
        assert rounds == [later * 20, [250] * 40 + later * 10, [250] * 50]
    else:
        assert rounds == [later * 50, [250] * 50]
    world.mta.delivered("fifty", 50)


@pytest.mark.parametrize("chunked", [False, True], ids=["data", "bdat"])
def test_bounce(world: Asked, *, chunked: bool) -> None:
    """The null sender is judged after RCPT, whether the message comes with DATA or with BDAT."""
    subject = f"bounce by {'bdat' if chunked else 'data'}"
    with world.mta.session(client()) as session:
        new = session.send("", ["bob@test.example"], subject, chunked=chunked)
        assert (new.codes, new.end) == ([250], world.late_refusal())
        world.daemon.clock.advance(DELAY - 1)
        early = session.send("", ["bob@test.example"], subject, chunked=chunked)
        assert (early.codes, early.end) == ([250], world.late_refusal())
        world.daemon.clock.advance(1)
        retry = session.send("", ["bob@test.example"], subject, chunked=chunked)
        assert (retry.codes, retry.end.code) == ([250], 250)
        known = session.send("", ["bob@test.example"], subject, chunked=chunked)
        assert (known.codes, known.end.code) == ([250], 250)
    delivered = world.mta.delivered(subject, 2)
    assert sorted(len(greylist_headers(message)) for message in delivered) == [0, 1]


def test_a_message_in_chunks(world: Asked) -> None:
    with world.mta.session(client()) as session:
        new = session.send("bdat@sender.example", ["bob@test.example"], "bdat", chunked=True)
        world.daemon.clock.advance(DELAY)
        retry = session.send("bdat@sender.example", ["bob@test.example"], "bdat", chunked=True)
    assert (new.codes, retry.codes, retry.end.code) == ([world.code], [250], 250)
    assert len(greylist_headers(world.mta.delivered("bdat", 1)[0])) == 1


def test_odd_addresses_survive_the_way(world: Asked) -> None:
    """Blanks and equals signs in a local part are not taken for attributes."""
    sender = '"x action=pass"@sender.example'
    with world.mta.session(client()) as session:
        assert session.send(sender, ["bob@test.example"], "odd").codes == [world.code]
        world.daemon.clock.advance(DELAY)
        assert session.send(sender, ["bob@test.example"], "odd").codes == [250]


def test_killed_in_the_middle_of_a_session(world: Asked) -> None:
    """What was answered "come back" is remembered across kill -9."""
    sender, recipient = "kill@sender.example", "bob@test.example"
    with world.mta.session(client()) as session:
        assert session.mail(sender).code == 250
        assert session.rcpt(recipient) == world.refusal(recipient)
        world.daemon.kill()
        world.daemon.clock.advance(DELAY - 1)
        world.daemon.start()
        assert session.rcpt(recipient) == world.refusal(recipient)
        # had the first attempt been forgotten, its delay would begin only now
        world.daemon.clock.advance(1)
        assert session.rcpt(recipient).code == 250


def test_a_flood_around_the_client(world: Asked) -> None:
    """A mark is as good as a record, across kill -9 too, and for nobody else."""
    address, sender = client(), "flooded@sender.example"
    network = address.removesuffix("25")
    recipients = ["bob@test.example", "carol@test.example"]
    world.flood(network, 1_100)
    with world.mta.session(address) as session:
        assert session.send(sender, recipients, "flooded").codes == [world.code] * 2
    for line in world.decisions(sender, 2):
        assert "reason=over-limit" in line
    world.daemon.kill()
    world.daemon.clock.advance(DELAY)
    world.daemon.start()
    with world.mta.session(network + "26") as session:
        assert session.send("other@sender.example", recipients, "other").codes == [world.code] * 2
    with world.mta.session(address) as session:
        retry = session.send(sender, recipients, "flooded")
        known = session.send(sender, recipients, "known")
    assert (retry.codes, retry.end.code) == (known.codes, known.end.code) == ([250, 250], 250)
    for message in world.mta.delivered("flooded", 2):
        (header,) = greylist_headers(message)
        assert header.startswith(f"delayed {DELAY} seconds by ")
    world.mta.delivered("known", 2)


def test_stopped(world: Asked) -> None:
    """Both snippets promise that mail flows while the daemon is away, and that the log says so."""
    said = {"Postfix": "warning: problem talking to server", "Exim": "multigrey did not answer"}
    world.daemon.stop()
    try:
        with world.mta.session(client()) as session:
            sent = session.send("stopped@sender.example", ["bob@test.example"], "stopped")
    finally:
        world.daemon.start()
    assert (sent.codes, sent.end.code) == ([250], 250)
    world.mta.delivered("stopped", 1)
    world.mta.wait_for_log(said[world.mta.name])


def test_two_servers_share_a_record() -> None:
    """One door hears the first attempt, the other the retry; both know the sender afterwards."""
    with (
        place() as directory,
        shipped.daemon(directory / "daemon", "postfix/multigrey.toml", "exim/multigrey.toml") as daemon,
        Postfix(
            directory / "postfix", shipped.text("postfix/main.cf.multigrey", daemon.directory)
        ) as postfix,
    ):
        shipped.acl_files(directory, daemon.directory)
        address, recipients = client(), ["bob@test.example"]
        with DebianExim(directory / "exim", shipped.exim_macros(directory), users=USERS) as exim:
            with postfix.session(address) as session:
                assert session.send("Both@Sender.Example", recipients, "both").codes == [450]
            daemon.clock.advance(DELAY - 1)
            with exim.session(address) as session:
                assert session.send("both@sender.example", recipients, "both").codes == [451]
            daemon.clock.advance(1)
            with exim.session(address) as session:
                assert session.send("both@sender.example", recipients, "both").codes == [250]
            with postfix.session(address) as session:
                assert session.send("both@sender.example", recipients, "both").codes == [250]
            assert len(greylist_headers(exim.delivered("both", 1)[0])) == 1
            assert not greylist_headers(postfix.delivered("both", 1)[0])
