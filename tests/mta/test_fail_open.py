"""While nobody answers, mail is delivered: through the final dot, and nothing strange is left anywhere.

Exim from 4.94 on breaks its own session after it could not connect to a unix socket (multigrey-exim(7),
CAVEATS), but not in any configuration: the number of the descriptor that was not connected has to be free
when Exim opens its main log.  With Debian's configuration that is so when nothing was logged before
in the session, hence clients with a name here: Exim logs that an address has none.
"""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.mta import doors, shipped
from tests.mta.doors import Door, Teller
from tests.mta.exim import HEAVY, LIGHT, DebianExim, PlainExim
from tests.mta.harness import Server, folder, free_port, greylist_headers, place, until
from tests.mta.postfix import Postfix, settings
from tests.mta.smtp import NOT_SENT, Reply, Sent
from tests.support.daemon import Daemon

pytestmark = pytest.mark.mta

BOB, CAROL = "bob@test.example", "carol@test.example"
PROBES = ["", "double-bounce@sender.example", "Double-Bounce-11dth8@sender.example"]
CLIENT, NEIGHBOUR = "192.0.2.10", "127.0.0.9"
HOSTS = {CLIENT: "mail.sender.example", NEIGHBOUR: "mail.sender.example"}
AWAY = Reply(451, "4.3.0 Temporary local problem, please try again later")
TROUBLE = "4.3.0 Temporary problem, please try again later"

_DEFER = b'action=defer reason=new retry_after=120 id=7f3k2q message="Greylisted, please try again later"\n'
SLOW: dict[str, Callable[[], Door]] = {"full": lambda: doors.full, "deaf": lambda: doors.deaf}
"""Doors at which a mail server waits for its timeout."""
QUICK: dict[str, Callable[[], Door]] = {
    "missing": lambda: doors.missing,
    "refused": lambda: doors.refused,
    "no right": lambda: doors.no_right,
    "dies after connect": lambda: Teller(b"", read=0),
    "dies in the question": lambda: Teller(b"", read=10),
    "dies before the answer": lambda: Teller(b""),
    "dies in the answer": lambda: Teller(_DEFER[:40]),
    "greylistd's answer": lambda: Teller(b"grey"),
    "an HTTP server's": lambda: Teller(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
}
EXIMS_DOORS = {
    **QUICK,
    "dies before the line's end": lambda: Teller(_DEFER[:-1]),
    "Postfix's answer": lambda: Teller(b"action=DEFER_IF_PERMIT 4.7.1 Greylisted\n\n"),
}
GREYLISTDS_DOORS = {"dies in the answer": lambda: Teller(b"tru")}
POSTFIXES_DOORS = {
    **QUICK,
    **SLOW,
    "Exim's answer": lambda: Teller(_DEFER),
    "half an answer": lambda: Teller(b"action=DEFER_IF_PERMIT 4.7.1 Greyl"),
    "no empty line": lambda: Teller(b"action=DEFER_IF_PERMIT 4.7.1 Greylisted\n"),
}
ON_ERROR = ("pass", "defer", "silent")


@dataclass(frozen=True)
class Stand:
    """A mail server that looks for the daemon at `socket`, where nobody is."""

    mta: Server
    socket: Path
    client: str = CLIENT

    def send(self, sender: str, recipients: Sequence[str], subject: str, *, chunked: bool = False) -> Sent:
        """One message in a session of its own."""
        with self.mta.session(self.client) as session:
            return session.send(sender, recipients, subject, chunked=chunked)

    def send_in_one(self, senders: Sequence[str], subject: str) -> list[Sent]:
        """Messages to both in one session."""
        with self.mta.session(self.client) as session:
            return [session.send(sender, [BOB, CAROL], subject) for sender in senders]


# --- Exim ------------------------------------------------------------------------------------------


def _debian(
    directory: Path, *, split: bool = False, package: str = HEAVY, suite: str = "", patience: int = 5
) -> DebianExim:
    """`patience`: seconds that the ACL files wait for an answer; 5 as shipped."""
    for path in shipped.acl_files(directory, directory):
        text = path.read_text()
        assert text.count("{5s}") == 2
        path.write_text(text.replace("{5s}", f"{{{patience}s}}"))
    macros = shipped.exim_macros(directory)
    return DebianExim(
        directory / "exim",
        macros,
        split=split,
        users=["bob", "carol"],
        hosts=HOSTS,
        package=package,
        suite=suite,
    )


def _plain(directory: Path, macros: str = "") -> PlainExim:
    files = shipped.acl_files(directory, directory)
    return PlainExim(directory / "exim", *files, macros, hosts=HOSTS)


LIGHT_ONES = {"debian-light", "bullseye", "trixie", "hasty"}
"""Exims that know no PROXY line."""

_EXIMS: dict[str, Callable[[Path], Server]] = {
    "debian": _debian,
    "debian-split": partial(_debian, split=True),
    "debian-light": partial(_debian, package=LIGHT),
    "bullseye": partial(_debian, package=LIGHT, suite="bullseye"),
    "trixie": partial(_debian, package=LIGHT, suite="trixie"),
    "plain": _plain,
    "strict": partial(_plain, macros="MULTIGREY_STRICT = yes"),
    "hasty": partial(_debian, package=LIGHT, patience=1),
}


@contextmanager
def stand(kind: str) -> Iterator[Stand]:
    with place() as directory, _EXIMS[kind](directory) as mta:
        yield Stand(mta, directory / "exim.sock", NEIGHBOUR if kind in LIGHT_ONES else CLIENT)


@pytest.fixture(
    scope="module", params=["debian", "debian-split", "debian-light", "bullseye", "trixie", "plain"]
)
def exim(request: pytest.FixtureRequest) -> Iterator[Stand]:
    with stand(request.param) as made:
        yield made


@pytest.fixture(scope="module")
def strict() -> Iterator[Stand]:
    with stand("strict") as made:
        yield made


@pytest.fixture(scope="module")
def greylistd() -> Iterator[Stand]:
    """Debian's Exim with the ACL for greylistd, as `multigrey snippet greylistd` leaves it."""
    with place() as directory:
        exim = DebianExim(directory / "exim", "", users=["bob", "carol"], hosts=HOSTS)
        exim.greylistd_setup(directory / "greylistd.sock")
        with exim as mta:
            yield Stand(mta, directory / "greylistd.sock")


def strange(mta: Server) -> list[str]:
    """What has no place in Exim's logs and spool once everything is delivered."""
    lines = (mta.log_directory / "mainlog").read_text().splitlines()
    found = [line for line in lines if not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line)]
    found += [line for line in lines if "rejected" in line or "fail" in line]
    for path in mta.log_directory.iterdir():
        found += path.read_text().splitlines() if path.name != "mainlog" else []
    spool = mta.directory / "spool"
    until(lambda: not list(spool.glob("input/*")) and not list(spool.glob("msglog/*")), "an empty spool")
    return found


def delivers(exim: Stand, subject: str) -> None:
    """One and two recipients, by DATA and by BDAT, null sender too, in new sessions and in one."""
    with ThreadPoolExecutor() as side_by_side:
        alone = [
            side_by_side.submit(exim.send, "a@sender.example", [BOB], subject),
            side_by_side.submit(exim.send, "a@sender.example", [BOB, CAROL], subject),
            side_by_side.submit(exim.send, "a@sender.example", [BOB, CAROL], subject, chunked=True),
            side_by_side.submit(exim.send, "", [BOB, CAROL], subject, chunked=True),
        ]
        together = side_by_side.submit(exim.send_in_one, ["a@sender.example", ""], subject)
    sent = [*(each.result() for each in alone), *together.result()]
    assert [(each.codes, each.end.code) for each in sent] == [
        ([250], 250), *[([250, 250], 250)] * 5
    ]  # fmt: skip
    exim.mta.delivered(subject, 11)
    assert strange(exim.mta) == []


@pytest.mark.parametrize("trouble", EXIMS_DOORS)
def test_exim_delivers(exim: Stand, trouble: str) -> None:
    with EXIMS_DOORS[trouble]()(exim.socket):
        delivers(exim, trouble)
    exim.mta.wait_for_log("Warning: multigrey did not answer: action=none")


@pytest.mark.parametrize("trouble", EXIMS_DOORS)
def test_exim_delivers_with_greylistds_acl(greylistd: Stand, trouble: str) -> None:
    with {**EXIMS_DOORS, **GREYLISTDS_DOORS}[trouble]()(greylistd.socket):
        delivers(greylistd, trouble)


@pytest.mark.parametrize("trouble", SLOW)
def test_exim_delivers_in_time(trouble: str) -> None:
    with stand("hasty") as exim, SLOW[trouble]()(exim.socket):
        delivers(exim, trouble)


@pytest.mark.parametrize("trouble", EXIMS_DOORS)
def test_exim_waits_with_strict(strict: Stand, trouble: str) -> None:
    """Mail waits; a callout or probe, which never gets to the data, is told what it wants to know."""
    with EXIMS_DOORS[trouble]()(strict.socket):
        assert strict.send("a@sender.example", [BOB, CAROL], trouble) == Sent([AWAY, AWAY], NOT_SENT)
        for sender in PROBES:
            sent = strict.send(sender, [BOB, CAROL], trouble)
            assert (sent.codes, sent.end) == ([250, 250], AWAY)
    assert not (strict.mta.log_directory / "paniclog").exists()


@pytest.mark.parametrize("kind", ["debian", "debian-light", "bullseye", "trixie"])
def test_why_exim_asks_twice(kind: str) -> None:
    """With a plain question Exim ends in 421 or at once, so the tests above mean something."""
    asked = re.compile(r"\$\{if def:acl_m_multigrey_away .*?\{readsocket\{(.*?)\}.*?\{1s\}[{}]*\n", re.DOTALL)
    with place() as directory:
        exim = _EXIMS[kind](directory)
        for path in directory.glob("*.acl"):
            text, count = asked.subn(r"${readsocket{\1}{$acl_m_multigrey}{5s}{}{}}\n", path.read_text())
            assert count == 2
            path.write_text(text)
        with exim as mta:
            asking = Stand(mta, directory / "exim.sock", NEIGHBOUR if kind in LIGHT_ONES else CLIENT)
            for recipients in ([BOB], [BOB, CAROL]):
                sent = asking.send("a@sender.example", recipients, "plainly")
                if sent.end.code == 250:
                    pytest.skip("this Exim has mended lookups/readsock.c: say so in multigrey-exim(7)")
                assert sent.end.code in {421, 0}
            assert "\nstage=rcpt\n" in (mta.log_directory / "mainlog").read_text()


def test_every_exim_reads_the_answer(exim: Stand) -> None:
    said = {
        _DEFER: "4.7.1 Greylisted, please try again later",
        b'action=defer reason=error id=7f3k2q code=4.3.0 message="a \\"b\\" c"\n': '4.3.0 a "b" c',
        b'action=reject reason=rule id=7f3k2q message="No"\n': "5.7.1 No",
    }
    for line, text in said.items():
        with Teller(line)(exim.socket):
            code = 550 if b"=reject" in line else 451
            assert exim.send("a@sender.example", [BOB], "read") == Sent([Reply(code, text)], NOT_SENT)
    for sender in ("a@sender.example", ""):
        with Teller(b'action=pass reason=retry id=7f3k2q header="X-Greylist: delayed 9 s"\n')(exim.socket):
            assert exim.send(sender, [BOB], f"read {sender}").end.code == 250
        (message,) = exim.mta.delivered(f"read {sender}", 1)
        assert set(greylist_headers(message)) == {"delayed 9 s"}


def test_an_answered_question_is_one_connection(exim: Stand) -> None:
    teller = Teller(b"action=pass reason=known id=7f3k2q\n")
    with teller(exim.socket):
        assert exim.send("a@sender.example", [BOB, CAROL], "asked").end.code == 250
        assert teller.connections == 2
        assert exim.send("", [BOB, CAROL], "asked").end.code == 250
        assert teller.connections == 5
    exim.mta.delivered("asked", 4)


def test_who_does_not_answer_is_not_asked_again_during_the_message(exim: Stand) -> None:
    teller = Teller(b"")
    with teller(exim.socket):
        assert exim.send("", [BOB, CAROL], "silent").end.code == 250
        assert teller.connections == 1
        assert exim.send("", [BOB, CAROL], "silent").end.code == 250
        assert teller.connections == 2
    exim.mta.delivered("silent", 4)


# --- Postfix ---------------------------------------------------------------------------------------


def _restrictions(directory: Path, patience: int = 5) -> dict[str, str]:
    """The shipped parameters, asking at `directory`; `patience`: seconds, 5 as shipped."""
    text = shipped.text("postfix/main.cf.multigrey", directory)
    assert text.count("timeout=5s") == 2
    return dict(settings(text.replace("timeout=5s", f"timeout={patience}s")))


@pytest.fixture(scope="module")
def through_postfix(broken: Path) -> Iterator[dict[str, Sent]]:
    """What became of a message at each door, the doors of a broken daemon included; all side by side,
    since Postfix asks again after a second, about the recipient and at the data."""
    found: dict[str, Door] = {name: make() for name, make in POSTFIXES_DOORS.items()}
    found |= {f"on_error {word}": _leading_to(broken / f"postfix-{word}.sock") for word in ON_ERROR}
    ports = {name: free_port() for name in found}
    with place() as directory, ExitStack() as stack:
        places = {name: folder(directory / str(port)) for name, port in ports.items()}
        more = [(ports[name], _restrictions(places[name], 1 if name in SLOW else 5)) for name in found]
        mta = stack.enter_context(Postfix(directory / "postfix", more=more))
        for name, door in found.items():
            stack.enter_context(door(places[name] / "policy.sock"))

        def send(name: str) -> Sent:
            with mta.session("198.18.0.1", port=ports[name]) as session:
                return session.send("a@sender.example", [BOB], name)

        with ThreadPoolExecutor(len(found)) as side_by_side:
            sent = dict(zip(found, side_by_side.map(send, found), strict=True))
        for name, each in sent.items():
            if each.end.code == 250:
                mta.delivered(name, 1)
        yield sent


@pytest.mark.parametrize("trouble", [*POSTFIXES_DOORS, "on_error pass", "on_error silent"])
def test_postfix_delivers(through_postfix: dict[str, Sent], trouble: str) -> None:
    sent = through_postfix[trouble]
    assert (sent.codes, sent.end.code) == ([250], 250)


def test_postfix_passes_the_trouble_on(through_postfix: dict[str, Sent]) -> None:
    ((code, text),) = through_postfix["on_error defer"].recipients
    assert (code, text) == (450, TROUBLE.replace("4.3.0", f"4.3.0 <{BOB}>: Recipient address rejected:"))


def test_postfix_delivers_to_several_and_in_chunks() -> None:
    with place() as directory:
        lines = "".join(f"{name} = {value}\n" for name, value in _restrictions(directory).items())
        with Postfix(directory / "postfix", lines) as mta, ThreadPoolExecutor() as side_by_side:
            asking = Stand(mta, directory / "policy.sock", "198.18.0.1")
            sent = [
                side_by_side.submit(asking.send, sender, [BOB, CAROL], "several", chunked=chunked)
                for sender, chunked in (("a@sender.example", False), ("", True))
            ]
            assert [(each.result().codes, each.result().end.code) for each in sent] == [([250, 250], 250)] * 2
            mta.delivered("several", 4)


# --- a daemon that cannot write ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def broken() -> Iterator[Path]:
    """The directory of a daemon on a full disk: the socket PROTOCOL-ON_ERROR.sock for each."""
    listen = "".join(
        f'[[listen]]\nprotocol = "{protocol}"\naddress = "unix:{{dir}}/{protocol}-{word}.sock"\n'
        f'mode = "0666"\non_error = "{word}"\n'
        for protocol in ("exim", "postfix")
        for word in ON_ERROR
    )
    site = {"PYTHONPATH": str(Path(__file__).with_name("full_disk"))}
    with place() as directory:
        home = folder(directory / "daemon")
        with Daemon(home, f'state_dir = "{{dir}}/state"\n{listen}', user="nobody", env=site) as daemon:
            daemon.send(signal.SIGWINCH)
            until(lambda: b"reason=error" in _ask(home / "exim-pass.sock"), "the disk is full")
            yield home


def _ask(path: Path) -> bytes:
    question = (
        b"multigrey/1\nclient_address=198.18.9.9\nsender=a@sender.example\nrecipient=bob@test.example\n\n"
    )
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(question)
        return sock.makefile("rb").read()


def _leading_to(target: Path) -> Door:
    @contextmanager
    def door(path: Path) -> Iterator[None]:
        path.symlink_to(target)
        yield
        path.unlink()

    return door


def test_exim_does_as_on_error_says(broken: Path, strict: Stand) -> None:
    with stand("debian") as exim:
        for word in ("pass", "silent"):
            with _leading_to(broken / f"exim-{word}.sock")(exim.socket):
                sent = exim.send("a@sender.example", [BOB, CAROL], f"on_error {word}")
            assert (sent.codes, sent.end.code) == ([250, 250], 250)
            exim.mta.delivered(f"on_error {word}", 2)
        assert strange(exim.mta) == []
        with _leading_to(broken / "exim-defer.sock")(exim.socket):
            sent = exim.send("a@sender.example", [BOB, CAROL], "on_error defer")
    assert sent == Sent([Reply(451, TROUBLE)] * 2, NOT_SENT)
    ends = {"pass": 250, "defer": 0, "silent": 0}
    said = {"pass": "Accepted", "defer": TROUBLE, "silent": AWAY[1]}
    for word, end in ends.items():
        with _leading_to(broken / f"exim-{word}.sock")(strict.socket):
            sent = strict.send("a@sender.example", [BOB], f"strict {word}")
        assert (sent.recipients[0].text, sent.end.code) == (said[word], end)
