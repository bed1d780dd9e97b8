from __future__ import annotations

import os
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from multigrey.cli.probe import NotAllowedError, NotAnsweredError, probe
from multigrey.config.settings import Listen


@contextmanager
def answering(path: Path, answer: bytes):
    """A server that answers one connection; gives what it was asked."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            client, _ = server.accept()
            with client:
                asked.append(client.recv(4096))
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join(10)


def listen(protocol: str, path: Path, **others: object) -> Listen:
    return Listen(protocol=protocol, address=f"unix:{path}", name=protocol, **others)


@pytest.mark.parametrize(
    ("protocol", "answer", "trouble"),
    [
        ("exim", b"action=pass reason=known id=a\n", False),
        ("exim", b'action=defer reason=new retry_after=120 id=a message="x"\n', False),
        ("exim", b"action=pass reason=error id=a\n", True),
        ("exim", b"", True),
        ("exim", b"HTTP/1.0 400\r\n", True),
        ("postfix", b"action=DUNNO\n\n", False),
        ("postfix", b"action=DEFER_IF_PERMIT 4.7.1 Greylisted\n\n", False),
        ("postfix", b"action=DEFER_IF_PERMIT 4.3.0 Temporary problem\n\n", True),
        ("greylistd", b"white", False),
        ("greylistd", b"error: Out of order", True),
    ],
)
def test_judges_the_answer(short_directory, protocol, answer, trouble):
    with answering(short_directory / "s", answer) as asked:
        told = probe([listen(protocol, short_directory / "s")], 10)
    assert (told.listener, told.trouble) == (protocol, trouble)
    assert b"192.0.2.1" in asked[0]
    assert asked[0].count(b"check@multigrey.invalid") == 2


def test_asks_the_one_that_says_most(short_directory):
    listens = [listen(protocol, short_directory / protocol) for protocol in ("greylistd", "postfix", "exim")]
    with answering(short_directory / "exim", b"action=pass reason=known id=a\n"):
        assert probe(listens, 10).listener == "exim"


def test_nobody_there(short_directory):
    with pytest.raises(NotAnsweredError, match="exim does not answer: No such file"):
        probe([listen("exim", short_directory / "none")], 1)


def test_no_answer_in_time(short_directory):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(short_directory / "s"))
        server.listen()
        with pytest.raises(NotAnsweredError, match=r"exim did not answer within 0\.05 s"):
            probe([listen("exim", short_directory / "s")], 0.05)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may connect everywhere")
def test_one_that_is_not_ours_is_passed_over(short_directory):
    closed, usable = short_directory / "closed", short_directory / "open"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(closed))
        closed.chmod(0)
        server.listen()
        with pytest.raises(NotAllowedError, match=r"exim \(group mail\)"):
            probe([listen("exim", closed, group="mail")], 1)
        with answering(usable, b"action=DUNNO\n\n"):
            assert probe([listen("exim", closed), listen("postfix", usable)], 10).listener == "postfix"


def test_other_protocols_cannot_be_asked(short_directory):
    with pytest.raises(NotAllowedError, match="none of the listeners speaks exim, postfix, greylistd"):
        probe([listen("milter", short_directory / "s")], 1)


def test_a_socket_of_systemd_that_no_unit_makes():
    with pytest.raises(NotAnsweredError, match="nobody-makes-this"):
        probe([Listen(protocol="exim", address="systemd:nobody-makes-this", name="exim")], 1)
