"""Lets a real mail server be a client from an address of the test's choice."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from tests.mta.harness import Server


@contextlib.contextmanager
def disguised(mta: Server, client: str) -> Iterator[int]:
    """A port whose clients talk with `mta`, which takes them for `client`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_accept, args=(listening, mta, client))
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)  # wakes the thread out of accept
            thread.join()


def _accept(listening: socket.socket, mta: Server, client: str) -> None:
    with contextlib.suppress(OSError):
        while True:
            caller, _ = listening.accept()
            threading.Thread(target=_connect, args=(caller, mta, client), daemon=True).start()


def _connect(caller: socket.socket, mta: Server, client: str) -> None:
    """The session begins after its EHLO: the caller gets a banner of ours and says its own EHLO."""
    with caller, mta.session(client, helo="probe.example") as session:
        session.pass_on(caller)
