"""An SMTP client for tests: one session, as whatever client address and name the test wants.

Unlike smtplib it pipelines (RFC 2920), speaks BDAT (RFC 3030) and never says QUIT, which costs 0.2 s
with Exim.  Every answer is a Reply; nothing raises for a 4xx or 5xx.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Sequence
from typing import NamedTuple, Self

_TIMEOUT = 30


class Reply(NamedTuple):
    """One SMTP reply; lines joined by a space.  Code 0: the server closed instead."""

    code: int
    text: str


NOT_SENT = Reply(0, "no recipient was accepted")


class Sent(NamedTuple):
    """What became of one message."""

    recipients: list[Reply]
    """One per RCPT, fewer when the server closed."""
    end: Reply
    """The reply to the message itself, NOT_SENT when no recipient was accepted."""

    @property
    def codes(self) -> list[int]:
        return [reply.code for reply in self.recipients]


class Session:
    """A connected SMTP session after EHLO."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._file = sock.makefile("rb")

    @classmethod
    def through_proxy(cls, port: int, client: str, helo: str) -> Self:
        """A session with a server that takes the client's address from a PROXY line (Exim: hosts_proxy)."""
        session = cls(socket.create_connection(("127.0.0.1", port), _TIMEOUT))
        family, server = ("TCP6", "::1") if ":" in client else ("TCP4", "127.0.0.1")
        session._send(f"PROXY {family} {client} {server} 4711 25")
        return session._greeted(helo)

    @classmethod
    def direct(cls, port: int, client: str, helo: str) -> Self:
        """A session from another address of this host (127.0.0.0/8), where the server knows no PROXY line."""
        return cls(socket.create_connection(("127.0.0.1", port), _TIMEOUT, (client, 0)))._greeted(helo)

    @classmethod
    def through_xclient(cls, port: int, client: str, name: str, helo: str) -> Self:
        """A session with a Postfix that believes our XCLIENT; `name` is the verified name, "" for none."""
        session = cls(socket.create_connection(("127.0.0.1", port), _TIMEOUT))
        session._greeted("harness.example")
        address = f"IPV6:{client}" if ":" in client else client
        known = name or "[UNAVAILABLE]"
        reply = session.command(f"XCLIENT ADDR={address} NAME={known} REVERSE_NAME={known}")
        assert reply.code == 220, reply
        assert session.command(f"EHLO {helo}").code == 250
        return session

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
        self._sock.close()

    def command(self, line: str) -> Reply:
        """Send one command and read its reply."""
        self._send(line)
        return self._read()

    def log_in(self, user: str) -> Reply:
        """AUTH PLAIN with any password."""
        secret = base64.b64encode(f"\0{user}\0secret".encode()).decode()
        return self.command(f"AUTH PLAIN {secret}")

    def mail(self, sender: str) -> Reply:
        return self.command(f"MAIL FROM:<{sender}>")

    def rcpt(self, recipient: str) -> Reply:
        return self.command(f"RCPT TO:<{recipient}>")

    def rcpts(self, recipients: Sequence[str]) -> list[Reply]:
        """All at once (pipelined); ends early when the server hangs up."""
        self._send("\r\n".join(f"RCPT TO:<{recipient}>" for recipient in recipients))
        replies: list[Reply] = []
        for _ in recipients:
            reply = self._read()
            if reply.code in {0, 421}:
                break
            replies.append(reply)
        return replies

    def data(self, subject: str) -> Reply:
        """DATA and a small message."""
        reply = self.command("DATA")
        if reply.code != 354:
            return reply
        self._sock.sendall(message(subject) + b".\r\n")
        return self._read()

    def bdat(self, subject: str) -> Reply:
        """The same message as one chunk."""
        body = message(subject)
        self._sock.sendall(b"BDAT %d LAST\r\n" % len(body) + body)
        return self._read()

    def send(self, sender: str, recipients: Sequence[str], subject: str, *, chunked: bool = False) -> Sent:
        """A whole transaction; the message follows if any recipient was accepted, else RSET."""
        mailed = self.mail(sender)
        assert mailed.code == 250, mailed
        replies = self.rcpts(recipients)
        if len(replies) < len(recipients):
            return Sent(replies, NOT_SENT)
        end = NOT_SENT
        if any(reply.code == 250 for reply in replies):
            end = self.bdat(subject) if chunked else self.data(subject)
        if end.code != 250:
            self.command("RSET")
        return Sent(replies, end)

    def pass_on(self, caller: socket.socket) -> None:
        """Give somebody else this session, with a banner; returns when either side closes."""
        caller.sendall(b"220 mx.test.example ESMTP\r\n")
        back = threading.Thread(target=_copy, args=(self._sock, caller), daemon=True)
        back.start()
        _copy(caller, self._sock)
        back.join()

    def _greeted(self, helo: str) -> Self:
        assert self._read().code == 220
        assert self.command(f"EHLO {helo}").code == 250
        return self

    def _send(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # the server closed: the reply tells
            self._sock.sendall(text.encode() + b"\r\n")

    def _read(self) -> Reply:
        lines = []
        with contextlib.suppress(ConnectionResetError):
            while line := self._file.readline():
                lines.append(line[4:].decode(errors="replace").rstrip("\r\n"))
                if line[3:4] != b"-":
                    return Reply(int(line[:3]), " ".join(lines))
        return Reply(0, "connection closed")


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Everything until the end of file, and that too."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def message(subject: str) -> bytes:
    """A message without its final dot."""
    return (
        "From: Alice <alice@sender.example>\r\n"
        "To: Bob <bob@test.example>\r\n"
        f"Subject: {subject}\r\n"
        "Date: Sun, 09 Sep 2001 01:46:40 +0000\r\n"
        f"Message-ID: <{subject.replace(' ', '.')}@sender.example>\r\n"
        "\r\n"
        "Hello\r\n"
    ).encode()
