"""A name server on loopback, over UDP and TCP, that does what the first label of a name says.

good-…        authorises 192.0.2.0/24, as an honest domain would
silent-…      never answers            garbage-…    answers with noise
endless-…     includes another name, which includes another, …
huge-…        60 texts of 255 octets, over TCP      hanging-…    says "over TCP", and is silent there
stranger-…    answers another question's number     loop-…       an alias of itself
pointing-…    names that point to themselves
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["KINDS", "hostile_dns"]

KINDS = ("silent", "garbage", "endless", "huge", "hanging", "stranger", "loop", "pointing")
_TXT = 16
_HEAD = struct.Struct("!HHHHHH")
_TRUNCATED = 0x8380
_ANSWER = 0x8180
_TO_THE_NAME = b"\xc0\x0c"


def _asked(query: bytes) -> tuple[str, int, bytes]:
    """The name, the type, and the octets of a question."""
    labels, at = [], _HEAD.size
    while size := query[at]:
        labels.append(query[at + 1 : at + 1 + size].decode("latin-1").lower())
        at += 1 + size
    kind = int.from_bytes(query[at + 1 : at + 3], "big")
    return ".".join(labels), kind, query[_HEAD.size : at + 5]


def _record(kind: int, data: bytes, name: bytes = _TO_THE_NAME) -> bytes:
    return name + struct.pack("!HHIH", kind, 1, 60, len(data)) + data


def _text(text: bytes) -> bytes:
    pieces = [text[at : at + 255] for at in range(0, len(text), 255)]
    return b"".join(bytes([len(piece)]) + piece for piece in pieces)


def _reply(query: bytes, *, tcp: bool) -> bytes | None:
    """The answer to a query; None: silence."""
    number = int.from_bytes(query[:2], "big")
    name, kind, question = _asked(query)
    first, _, rest = name.partition(".")
    word = first.partition("-")[0]

    def answer(*records: bytes, flags: int = _ANSWER, number: int = number) -> bytes:
        return _HEAD.pack(number, flags, 1, len(records), 0, 0) + question + b"".join(records)

    if word == "silent" or (word == "hanging" and tcp):
        return None
    if word == "garbage":
        return query[:2] + random.Random(number).randbytes(200)
    if word in {"hanging", "huge"} and not tcp:
        return answer(flags=_TRUNCATED)
    if word == "loop":
        return answer(_record(5, _TO_THE_NAME))
    if word == "pointing":
        return answer(_record(kind, b"\xc0\xff", name=b"\xc0" + bytes([_HEAD.size + len(question)])))
    if kind != _TXT:
        return answer()
    texts = {
        "good": [b"v=spf1 ip4:192.0.2.0/24 -all"],
        "endless": [f"v=spf1 include:endless-{random.randrange(1 << 30)}.{rest} -all".encode()],
        "huge": [b"v=spf1 " + b"ip4:198.51.100.0/24 " * 700 + b"-all"],
        "stranger": [b"v=spf1 ip4:0.0.0.0/1 -all"],
    }.get(word, [])
    return answer(*(_record(_TXT, _text(text)) for text in texts), number=number ^ (word == "stranger"))


def _over_udp(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while (found := sock.recvfrom(4096))[0]:
            query, peer = found
            if (reply := _reply(query, tcp=False)) is not None:
                sock.sendto(reply, peer)


def _over_tcp(sock: socket.socket) -> None:
    # Whoever hangs hangs for as long as the server lives.
    with contextlib.ExitStack() as kept, contextlib.suppress(OSError):
        while True:
            peer = kept.enter_context(sock.accept()[0])
            peer.settimeout(1)
            with contextlib.suppress(OSError, IndexError):
                size = int.from_bytes(peer.recv(2), "big")
                if (reply := _reply(peer.recv(size), tcp=True)) is not None:
                    peer.sendall(struct.pack("!H", len(reply)) + reply)


@contextmanager
def hostile_dns() -> Iterator[int]:
    """The server while the block runs; gives its port."""
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen(100)
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        threads = [
            threading.Thread(target=run, args=(sock,)) for run, sock in ((_over_udp, udp), (_over_tcp, tcp))
        ]
        for thread in threads:
            thread.start()
        try:
            yield port
        finally:
            for sock in (udp, tcp):  # (a thread that waits in recv or accept is not woken by close)
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
