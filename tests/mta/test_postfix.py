"""Real Postfix with integrations/postfix: what is particular to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.mta import shipped
from tests.mta.harness import place
from tests.mta.postfix import Postfix
from tests.mta.shipped import DELAY, World, client

pytestmark = pytest.mark.mta

RELAY = "198.51.100.200"


@pytest.fixture(scope="module")
def world() -> Iterator[World[Postfix]]:
    with (
        place() as directory,
        shipped.daemon(directory / "daemon", "postfix/multigrey.toml") as daemon,
        Postfix(
            directory / "postfix",
            shipped.text("postfix/main.cf.multigrey", daemon.directory),
            relay_networks=[RELAY],
        ) as mta,
    ):
        yield World(daemon, mta)


def test_the_snippet_is_understood_as_written(world: World[Postfix]) -> None:
    """postconf(1) finds nothing to warn about, and the braces reach Postfix whole."""
    said = world.mta.postconf("-n", "smtpd_recipient_restrictions", "smtpd_data_restrictions")
    assert "warning" not in said
    assert said.count("timeout=5s, default_action=DUNNO }") == 2


def test_logged_in_clients_are_not_asked_about(world: World[Postfix]) -> None:
    with world.mta.session(client()) as session:
        assert session.log_in("joe").code == 235
        assert session.send("login@sender.example", ["bob@test.example"], "login").codes == [250]
        assert session.send("", ["bob@test.example"], "login bounce").end.code == 250
    with world.mta.session(client()) as session:  # the same mail from anybody else
        assert session.send("login@sender.example", ["bob@test.example"], "login").codes == [450]
    assert len(world.decisions("login@sender.example", 1)) == 1


def test_relaying_hosts_are_not_asked_about(world: World[Postfix]) -> None:
    with world.mta.session(RELAY) as session:
        assert session.send("relay@sender.example", ["bob@test.example"], "relay").codes == [250]
        assert session.send("", ["bob@test.example"], "relay bounce").end.code == 250
    with world.mta.session(client()) as session:  # the same mail from anybody else
        assert session.send("relay@sender.example", ["bob@test.example"], "relay").codes == [450]
    assert len(world.decisions("relay@sender.example", 1)) == 1


def test_what_is_refused_for_good_is_not_asked_about(world: World[Postfix]) -> None:
    with world.mta.session(client()) as session:
        recipients = ["bob@elsewhere.example", "bob@test.example"]
        assert session.send("reject@sender.example", recipients, "reject").codes == [554, 450]
    (line,) = world.decisions("reject@sender.example", 1)
    assert "bob@test.example" in line


def test_a_later_permanent_refusal_wins() -> None:
    """Our answer is DEFER_IF_PERMIT: Postfix goes on, and 5xx beats 4xx."""
    with place() as directory, shipped.daemon(directory / "daemon", "postfix/multigrey.toml") as daemon:
        lines = shipped.text("postfix/main.cf.multigrey", daemon.directory)
        lines = lines.replace("default_action=DUNNO }\n\n", "default_action=DUNNO }, reject\n\n")
        with Postfix(directory / "postfix", lines) as mta, mta.session(client()) as session:
            assert session.send("later@sender.example", ["bob@test.example"], "later").codes == [554]
        assert len(shipped.decisions(daemon, "later@sender.example", 1)) == 1


def test_the_log_names_the_client(world: World[Postfix]) -> None:
    address = client()
    with world.mta.session(address, name="mail.sender.example", helo="helo.example") as session:
        session.send("name@sender.example", ["bob@test.example"], "name")
    (line,) = world.decisions("name@sender.example", 1)
    assert address in line
    assert "mail.sender.example" in line


def test_ipv6(world: World[Postfix]) -> None:
    with world.mta.session("2001:db8:1:2::25") as session:
        assert session.send("six@sender.example", ["bob@test.example"], "six").codes == [450]
    world.daemon.clock.advance(DELAY)
    with world.mta.session("2001:DB8:1:2:aaaa::1") as session:
        assert session.send("six@sender.example", ["bob@test.example"], "six").codes == [250]


def test_for_old_postfix() -> None:
    """The lines for Postfix 2 greylist too, but while the daemon is away all mail waits, as they say."""
    with place() as directory, shipped.daemon(directory / "daemon", "postfix/multigrey.toml") as daemon:
        lines = shipped.text("postfix/main.cf.postfix2", daemon.directory)
        with Postfix(directory / "postfix", lines) as mta:
            address = client()
            with mta.session(address) as session:
                assert session.send("old@sender.example", ["bob@test.example"], "old").codes == [450]
                daemon.clock.advance(DELAY)
                assert session.send("old@sender.example", ["bob@test.example"], "old").codes == [250]
            daemon.stop()
            with mta.session(address) as session:
                assert session.send("old@sender.example", ["bob@test.example"], "old").recipients == [
                    (
                        451,
                        "4.3.5 <bob@test.example>: Recipient address rejected: Server configuration problem",
                    )
                ]
            mta.wait_for_log("warning: problem talking to server")
    assert shipped.diagnosed("multigrey-postfix.7", "451 4.3.5 ... Server configuration problem")


def test_troubles_are_in_the_man_page() -> None:
    """What Postfix logs while it cannot ask; each question takes it a second (retry_delay)."""
    with place() as directory, shipped.daemon(directory / "daemon", "postfix/multigrey.toml") as daemon:
        lines = shipped.text("postfix/main.cf.multigrey", daemon.directory)
        socket = daemon.directory / "policy.sock"

        def kill() -> None:
            socket.chmod(0o666)
            daemon.kill()

        troubles: dict[str, Callable[[], None]] = {
            "Permission denied": lambda: socket.chmod(0),
            "Connection refused": kill,
            "No such file or directory": socket.unlink,
        }
        with Postfix(directory / "postfix", lines) as mta:
            for trouble, happen in troubles.items():
                happen()
                with mta.session(client()) as session:
                    assert session.mail("trouble@sender.example").code == 250
                    assert session.rcpt("bob@test.example").code == 250
                said = f"warning: connect to SOCKET: {trouble}"
                mta.wait_for_log(said.replace("SOCKET", str(socket)))
                assert shipped.diagnosed("multigrey-postfix.7", said), said


def test_why_try_limit_is_not_one() -> None:
    """With it a session that saw the daemon restart is never asked about again, as the man page says."""
    with place() as directory, shipped.daemon(directory / "daemon", "postfix/multigrey.toml") as daemon:
        lines = shipped.text("postfix/main.cf.multigrey", daemon.directory)
        lines = lines.replace("default_action=DUNNO", "default_action=DUNNO, try_limit=1")
        with Postfix(directory / "postfix", lines) as mta, mta.session(client()) as session:
            assert session.mail("once@sender.example").code == 250
            assert session.rcpt("u1@test.example").code == 450
            daemon.stop()
            daemon.start()
            assert [session.rcpt(f"u{number}@test.example").code for number in (2, 3, 4)] == [250] * 3
            said = "warning: problem talking to server SOCKET: Application error"
            mta.wait_for_log(said.replace("SOCKET", str(daemon.directory / "policy.sock")))
            assert shipped.diagnosed("multigrey-postfix.7", said)
