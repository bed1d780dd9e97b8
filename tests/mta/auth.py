"""Just enough of Dovecot's authentication service for Postfix's AUTH: everybody may log in.

Protocol: Dovecot's "Authentication Protocol v1.2", of which Postfix's client uses the handshake and
AUTH PLAIN with an initial response.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from pathlib import Path
from typing import Self

_HELLO = (
    b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\n"
    b"COOKIE\t00112233445566778899aabbccddeeff\nDONE\n"
)


class AuthService:
    """Serves one unix socket from threads (a context manager)."""

    def __init__(self, path: Path) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        path.chmod(0o666)
        self._listening.listen()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread out of accept
        self._thread.join()
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def _serve(connection: socket.socket) -> None:
    with connection, connection.makefile("rb") as lines:
        connection.sendall(_HELLO)
        for line in lines:
            words = line.decode().rstrip("\n").split("\t")
            if words[0] == "AUTH":
                response = next(word for word in words if word.startswith("resp="))
                user = base64.b64decode(response.removeprefix("resp=")).split(b"\0")[1].decode()
                connection.sendall(f"OK\t{words[1]}\tuser={user}\n".encode())
