"""Few descriptors, taken by peers that say nothing: who speaks is served, and nothing is lost."""

from __future__ import annotations

import contextlib
import re
import socket
from pathlib import Path

from multigrey.control.protocol import question, read_answer_line
from tests.daemon.test_daemon import eventually
from tests.faults.figures import figures
from tests.faults.witness import CONFIG, DELAY, Witness
from tests.support.daemon import Daemon

ASKED = b"request=smtpd_access_policy\nprotocol_state=CONNECT\n\n"
FEW = ("/bin/sh", "-c", 'ulimit -n 64; exec "$@"', "sh")


def test_idle_peers_leave_room(short_directory: Path):
    with (
        Daemon(short_directory, CONFIG, user="nobody", wrapper=FEW) as daemon,
        contextlib.ExitStack() as peers,
    ):
        witness = Witness(daemon)
        assert daemon.process is not None
        before = figures(daemon.process.pid, short_directory / "state")
        witness.attempts(50)
        _take_all(peers, short_directory / "state" / "postfix.sock")
        # Those of the queue go before any other, and wait until the idle ones have gone.
        eventually(lambda: figures(daemon.process.pid, short_directory / "state").descriptors > 30, "peers")
        peers.close()
        daemon.clock.advance(DELAY)
        assert "error" not in witness.attempts(100)
        most = before.descriptors + 4
        eventually(
            lambda: figures(daemon.process.pid, short_directory / "state").descriptors <= most, "the end"
        )
        daemon.kill()
        daemon.start()
        assert witness.lost() == []
        assert witness.odd_lines() == []


def test_a_listener_that_cannot_accept_says_so_as_long_as_that_lasts(short_directory: Path):
    state = short_directory / "state"
    with (
        Daemon(short_directory, CONFIG, user="nobody", wrapper=FEW) as daemon,
        _connected(state / "control.sock") as control,
        contextlib.ExitStack() as peers,
    ):
        assert _troubles(control) == {"exim": "", "postfix": ""}
        _take_all(peers, state / "postfix.sock")
        eventually(lambda: "connections are in use; new ones wait" in daemon.stderr(), "the log")
        told = _troubles(control)
        assert told["exim"] == ""
        assert re.fullmatch(r"all \d+ connections are in use", told["postfix"])
        peers.close()
        with _connected(state / "postfix.sock") as peer:
            peer.sendall(ASKED)
            assert peer.recv(100).startswith(b"action=")
        assert _troubles(control) == {"exim": "", "postfix": ""}


def _take_all(peers: contextlib.ExitStack, path: Path) -> None:
    """Connect more peers than there are descriptors."""
    for _ in range(80):
        sock = peers.enter_context(socket.socket(socket.AF_UNIX))
        sock.settimeout(0)
        # A peer that finds the queue full as well is none.
        with contextlib.suppress(BlockingIOError):
            sock.connect(str(path))


def _connected(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(str(path))
    return sock


def _troubles(control: socket.socket) -> dict[str, str]:
    """What is wrong with each listener; asked at a connection that is open, for no other could be made."""
    control.sendall(question("status", {}))
    with control.makefile("rb") as lines:
        told = read_answer_line(lines.readline().rstrip(b"\n"))
    assert told.value is not None
    return {row["name"]: row["trouble"] for row in told.value["listeners"]}
