"""Real Exim with integrations/exim: what is particular to it, and to Debian's configuration of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mta import shipped
from tests.mta.exim import DebianExim, PlainExim
from tests.mta.harness import greylist_headers, place
from tests.mta.shipped import DELAY, TEXT, World, client

pytestmark = pytest.mark.mta

RELAY = "198.51.100.200"
NAMED = "192.0.2.10"
HOSTS = {NAMED: "mail.sender.example"}


@pytest.fixture(scope="module")
def plain() -> Iterator[World[PlainExim]]:
    """A configuration that leaves it to our files to spare relaying hosts and logged-in clients."""
    with place() as directory, shipped.daemon(directory / "daemon", "exim/multigrey.toml") as daemon:
        files = shipped.acl_files(directory, daemon.directory)
        with PlainExim(directory / "exim", *files, relay=RELAY, hosts=HOSTS) as mta:
            yield World(daemon, mta)


def test_plain_exim_greylists(plain: World[PlainExim]) -> None:
    with plain.mta.session(client()) as session:
        new = session.send("plain@sender.example", ["bob@test.example"], "plain")
        plain.daemon.clock.advance(DELAY)
        retry = session.send("plain@sender.example", ["bob@test.example"], "plain")
    assert new.recipients == [(451, f"4.7.1 {TEXT}")]
    assert retry.codes == [250]
    assert len(greylist_headers(plain.mta.delivered("plain", 1)[0])) == 1


def test_the_log_leads_to_the_decision(plain: World[PlainExim]) -> None:
    with plain.mta.session(client()) as session:
        session.send("found@sender.example", ["bob@test.example"], "found")
    (decision,) = plain.decisions("found@sender.example", 1)
    (identifier,) = (word for word in decision.split() if word.startswith("id="))
    plain.mta.wait_for_log(f"temporarily rejected RCPT <bob@test.example>: multigrey new {identifier}\n")


def test_the_client_name_is_the_verified_one(plain: World[PlainExim]) -> None:
    with plain.mta.session(NAMED, helo="helo.example") as session:
        session.send("name@sender.example", ["bob@test.example"], "name")
    (line,) = plain.decisions("name@sender.example", 1)
    assert "mail.sender.example" in line


def test_ipv6(plain: World[PlainExim]) -> None:
    with plain.mta.session("2001:db8:1:2::25") as session:
        assert session.send("six@sender.example", ["bob@test.example"], "six").codes == [451]
    plain.daemon.clock.advance(DELAY)
    with plain.mta.session("2001:db8:1:2:aaaa::1") as session:
        assert session.send("six@sender.example", ["bob@test.example"], "six").codes == [250]


def test_logged_in_clients_are_not_asked_about(plain: World[PlainExim]) -> None:
    with plain.mta.session(client()) as session:
        assert session.log_in("joe").code == 235
        assert session.send("login@sender.example", ["bob@test.example"], "login").codes == [250]
        assert session.send("", ["bob@test.example"], "login bounce").end.code == 250
    with plain.mta.session(client()) as session:  # the same mail from anybody else
        assert session.send("login@sender.example", ["bob@test.example"], "login").codes == [451]
    assert len(plain.decisions("login@sender.example", 1)) == 1


def test_relaying_hosts_are_not_asked_about(plain: World[PlainExim]) -> None:
    with plain.mta.session(RELAY) as session:
        assert session.send("relay@sender.example", ["bob@test.example"], "relay").codes == [250]
        assert session.send("", ["bob@test.example"], "relay bounce").end.code == 250
    with plain.mta.session(client()) as session:  # the same mail from anybody else
        assert session.send("relay@sender.example", ["bob@test.example"], "relay").codes == [451]
    assert len(plain.decisions("relay@sender.example", 1)) == 1


def test_strict(plain: World[PlainExim]) -> None:
    """MULTIGREY_STRICT: without an answer mail waits; MULTIGREY_SOCKET says where to ask."""
    with place() as directory:
        files = shipped.acl_files(directory, directory)
        socket = plain.daemon.directory / "exim.sock"
        for path in files:  # as installed, so that only the macro leads to the daemon
            path.write_text((shipped.INTEGRATIONS / "exim" / path.name).read_text())
        macros = "MULTIGREY_STRICT = yes\nMULTIGREY_SOCKET = {}"
        with (
            PlainExim(directory / "right", *files, macros.format(socket)) as mta,
            mta.session(client()) as session,
        ):
            assert session.send("strict@sender.example", ["bob@test.example"], "strict").recipients == [
                (451, f"4.7.1 {TEXT}")
            ]
        trouble = (451, "4.3.0 Temporary local problem, please try again later")
        with PlainExim(directory / "wrong", *files, macros.format("/nonexistent/socket"), relay=RELAY) as mta:
            with mta.session(client()) as session:
                assert session.send("strict@sender.example", ["bob@test.example"], "s").recipients == [
                    trouble
                ]
                # a callout would have its answer
                bounce = session.send("", ["bob@test.example"], "strict")
                assert (bounce.codes, bounce.end) == ([250], trouble)
            with mta.session(RELAY) as session:
                assert session.send("strict@sender.example", ["bob@test.example"], "relay").codes == [250]
            mta.wait_for_log("temporarily rejected RCPT <bob@test.example>: multigrey did not answer")


def test_split_configuration() -> None:
    """Debian's split configuration takes the same macro lines in a file of its own."""
    with place() as directory, shipped.daemon(directory / "daemon", "exim/multigrey.toml") as daemon:
        shipped.acl_files(directory, daemon.directory)
        exim = DebianExim(
            directory / "exim", shipped.exim_macros(directory), split=True, users=["bob"], relay=RELAY
        )
        with exim as mta:
            with mta.session(RELAY) as session:
                assert session.send("split@sender.example", ["bob@test.example"], "relay").codes == [250]
            with mta.session(client()) as session:
                assert session.send("split@sender.example", ["bob@test.example"], "split").codes == [451]
        assert len(shipped.decisions(daemon, "split@sender.example", 1)) == 1


def test_debians_local_exceptions_hold() -> None:
    """Hosts that Debian's own list spares from denials are not greylisted either."""
    with place() as directory, shipped.daemon(directory / "daemon", "exim/multigrey.toml") as daemon:
        shipped.acl_files(directory, daemon.directory)
        exim = DebianExim(directory / "exim", shipped.exim_macros(directory), users=["bob"])
        address = client()
        (exim.etc / "local_host_whitelist").write_text(f"{address}\n")
        with exim as mta:
            with mta.session(address) as session:
                assert session.send("spared@sender.example", ["bob@test.example"], "spared").codes == [250]
            with mta.session(client()) as session:
                assert session.send("spared@sender.example", ["bob@test.example"], "spared").codes == [451]
        assert len(shipped.decisions(daemon, "spared@sender.example", 1)) == 1


def test_why_there_is_a_third_macro_line() -> None:
    """Without it, Debian's ACL refuses the eleventh deferred recipient of a message for good."""
    users = [f"u{number:02}" for number in range(12)]
    with place() as directory, shipped.daemon(directory / "daemon", "exim/multigrey.toml") as daemon:
        shipped.acl_files(directory, daemon.directory)
        lines = shipped.exim_macros(directory).splitlines(keepends=True)
        macros = "".join(
            line for line in lines if not line.startswith("CHECK_RCPT_NO_FAIL_TOO_MANY_BAD_RCPT")
        )
        exim = DebianExim(directory / "exim", macros, users=users)
        with exim as mta, mta.session(client()) as session:
            sent = session.send("many@sender.example", [f"{user}@test.example" for user in users], "many")
        assert sent.codes == [451] * 10 + [550] * 2
        assert sent.recipients[-1].text == "Rejected for too many bad recipients"


def test_troubles_are_in_the_man_page() -> None:
    with place() as directory:
        files = shipped.acl_files(directory, directory)
        with PlainExim(directory / "exim", *files) as mta:
            with mta.session(client()) as session:
                assert session.send("off@sender.example", ["bob@test.example"], "off").codes == [250]
            mta.wait_for_log("Warning: multigrey did not answer: action=none")
            question = f"${{readsocket{{{directory}/exim.sock}}{{multigrey/1\\n\\n}}}}"
            asked = mta.run(mta.binary, "-C", mta.configuration, "-be", question)
        assert asked.stdout == (
            f"Failed: failed to connect to socket {directory}/exim.sock: No such file or directory\n"
        )
        text = mta.configuration.read_text().replace("hostlist relay_from_hosts", "hostlist other_hosts")
        mta.configuration.write_text(text)
        with mta, mta.session(client()) as session:
            assert session.send("list@sender.example", ["bob@test.example"], "list").codes == [250]
            mta.wait_for_log('unknown named host list "+relay_from_hosts"')
        files[0].unlink()
        with pytest.raises(AssertionError, match="failed to open included configuration file"):
            mta.start()
    for said in (
        "Warning: multigrey did not answer: action=none",
        r"unknown named host list \(dq+relay_from_hosts\(dq",
        "failed to open included configuration file",
        "Rejected for too many bad recipients",
        "temporarily rejected RCPT <...>: multigrey new id=...",
        "temporarily rejected RCPT <...>: multigrey did not answer",
    ):
        assert shipped.diagnosed("multigrey-exim.7", said), said


@pytest.fixture(scope="module")
def greylistd() -> Iterator[World[DebianExim]]:
    """Debian's Exim as greylistd-setup-exim4 leaves it, with another path of the socket, asking us."""
    with (
        place() as directory,
        shipped.daemon(directory / "daemon", "exim/greylistd/multigrey.toml") as daemon,
    ):
        exim = DebianExim(directory / "exim", "", users=["bob", "carol"])
        exim.greylistd_setup(daemon.directory / "greylistd.sock")
        with exim as mta:
            yield World(daemon, mta)


def test_greylistds_acl(greylistd: World[DebianExim]) -> None:
    address, sender = client(), "drop.in@sender.example"
    refusal = (
        451,
        (
            f"{address} is not yet authorized to deliver mail from <{sender}> to <bob@test.example>. "
            "Please try later."
        ),
    )
    with greylistd.mta.session(address) as session:
        assert session.send(sender, ["bob@test.example"], "first").recipients == [refusal]
        greylistd.daemon.clock.advance(DELAY - 1)
        assert session.send(sender, ["bob@test.example"], "early").recipients == [refusal]
        greylistd.daemon.clock.advance(1)
        assert session.send(sender, ["bob@test.example"], "retry").codes == [250]
        assert session.send(sender, ["bob@test.example"], "known").codes == [250]
    greylistd.mta.delivered("retry", 1)
    greylistd.mta.delivered("known", 1)


def test_greylistds_acl_for_bounces(greylistd: World[DebianExim]) -> None:
    with greylistd.mta.session(client()) as session:
        assert session.send("", ["bob@test.example"], "bounce").end.code == 451
        greylistd.daemon.clock.advance(DELAY)
        assert session.send("", ["bob@test.example"], "bounce").end.code == 250


def test_greylistds_acl_while_the_daemon_is_stopped(greylistd: World[DebianExim]) -> None:
    """greylistd's own promise: mail flows."""
    greylistd.daemon.stop()
    try:
        with greylistd.mta.session(client()) as session:
            assert session.send("off@sender.example", ["bob@test.example"], "off").codes == [250]
    finally:
        greylistd.daemon.start()
