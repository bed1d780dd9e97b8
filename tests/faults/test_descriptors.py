"""Few descriptors, taken by peers that say nothing: who speaks is served, and nothing is lost."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from tests.daemon.test_daemon import eventually
from tests.faults.figures import figures
from tests.faults.witness import CONFIG, DELAY, Witness
from tests.support.daemon import Daemon

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
        for _ in range(80):
            sock = peers.enter_context(socket.socket(socket.AF_UNIX))
            sock.settimeout(0)
            # A peer that finds the queue full as well is none.
            with contextlib.suppress(BlockingIOError):
                sock.connect(str(short_directory / "state" / "postfix.sock"))
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
