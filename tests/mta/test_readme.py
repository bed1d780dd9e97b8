"""The lines of the README, pasted: both mail servers at once, over one daemon without configuration."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mta import shipped
from tests.mta.exim import DebianExim
from tests.mta.harness import folder, free_port, greylist_headers, place
from tests.mta.postfix import Postfix
from tests.mta.shipped import client
from tests.support.daemon import Daemon

pytestmark = pytest.mark.mta

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
TEXT = "4.7.1 Greylisted, please try again later"
DELAY = 180
"""The default for clients without a name, as those of this test."""


def snippet(name: str) -> str:
    """The fenced block behind `<!-- snippet: NAME -->`."""
    found = re.search(rf"<!-- snippet: {name} -->\n```\n(.*?)```\n", README, re.DOTALL)
    assert found is not None
    return found[1]


@dataclass(frozen=True)
class Site:
    daemon: Daemon
    postfix: Postfix
    exim: DebianExim
    ports: dict[str, int]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Everything as the README says, on other ports than the default ones."""
    ports = {"10023": free_port(), "10024": free_port()}

    def moved(text: str) -> str:
        for default, ours in ports.items():
            assert f"127.0.0.1:{default}" in README
            text = text.replace(f"127.0.0.1:{default}", f"127.0.0.1:{ours}")
        return text

    with place() as directory:
        listen = moved(
            '[[listen]]\nprotocol = "postfix"\naddress = "tcp:127.0.0.1:10023"\n'
            '[[listen]]\nprotocol = "exim"\naddress = "tcp:127.0.0.1:10024"\n'
        )
        running = Daemon(
            folder(directory / "daemon"), f'state_dir = "{{dir}}/state"\n{listen}', user="nobody"
        )
        shipped.acl_files(directory, directory)
        macros = moved(snippet("exim")).replace("/etc/exim4/multigrey.", f"{directory}/multigrey.")
        with (
            running,
            Postfix(directory / "postfix", moved(snippet("postfix"))) as postfix,
            DebianExim(directory / "exim", macros, users=["bob"]) as exim,
        ):
            yield Site(running, postfix, exim, ports)


@pytest.mark.parametrize("name", ["postfix", "exim"])
def test_a_first_message_waits_and_is_delivered_three_minutes_later(site: Site, name: str) -> None:
    mta = getattr(site, name)
    address, sender = client(), f"{name}@sender.example"
    with mta.session(address) as session:
        (refused,) = session.send(sender, ["bob@test.example"], name).recipients
        assert refused.code in (450, 451)
        assert refused.text.endswith(TEXT.removeprefix("4.7.1 "))
        site.daemon.clock.advance(DELAY)
        assert session.send(sender, ["bob@test.example"], name).end.code == 250
        assert session.send(sender, ["bob@test.example"], f"{name} again").end.code == 250
    (message,) = mta.delivered(name, 1)
    assert greylist_headers(message)[0].startswith(f"delayed {DELAY} seconds")
    (message,) = mta.delivered(f"{name} again", 1)
    assert greylist_headers(message) == []


def test_what_one_server_learned_the_other_knows(site: Site) -> None:
    address = client()
    with site.postfix.session(address) as session:
        assert session.send("both@sender.example", ["bob@test.example"], "both").codes == [450]
    site.daemon.clock.advance(DELAY)
    with site.exim.session(address) as session:
        assert session.send("both@sender.example", ["bob@test.example"], "both").codes == [250]


def test_the_question_typed_by_hand(site: Site) -> None:
    """The printf line of the README, without nc."""
    question = re.search(r"printf '(request=[^']*)' \| nc", README)
    answer = re.search(r"```\n(action=DEFER[^\n]*)\n```", README)
    assert question is not None
    assert answer is not None
    with socket.create_connection(("127.0.0.1", site.ports["10023"]), 10) as sock:
        sock.sendall(question[1].replace("\\n", "\n").encode())
        sock.shutdown(socket.SHUT_WR)
        assert sock.makefile().read() == f"{answer[1]}\n\n"
