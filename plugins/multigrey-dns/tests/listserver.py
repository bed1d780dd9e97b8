"""A name server on loopback, UDP and TCP, that answers as a test wants, and remembers the questions.

What it says about a name is a function from the question to the datagrams that go back (over TCP: the
messages); the functions below make such functions.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
import trio

Query = dns.message.Message
Behaviour = Callable[[Query, bool], Sequence[bytes]]
"""Of the question and whether it came over TCP."""

SOA = "ns.example.org. hostmaster.example.org. 1 3600 600 86400"


def _name(query: Query) -> dns.name.Name:
    return query.question[0].name


def _response(query: Query, addresses: Sequence[str] = (), ttl: int = 300, owner=None):
    response = dns.message.make_response(query)
    if addresses:
        owner = _name(query) if owner is None else owner
        response.answer.append(dns.rrset.from_text_list(owner, ttl, "IN", "A", addresses))
    return response


def listed(*codes: str, ttl: int = 300) -> Behaviour:
    return lambda query, tcp: [_response(query, codes, ttl).to_wire()]


def unlisted(minimum: int = 300, soa_ttl: int = 3600) -> Behaviour:
    """No such name, with the SOA that says for how long."""

    def answer(query: Query, tcp: bool) -> Sequence[bytes]:
        response = _response(query)
        response.set_rcode(dns.rcode.NXDOMAIN)
        zone = dns.name.from_text("example.org.")
        response.authority.append(dns.rrset.from_text(zone, soa_ttl, "IN", "SOA", f"{SOA} {minimum}"))
        return [response.to_wire()]

    return answer


def no_address(query: Query, tcp: bool) -> Sequence[bytes]:
    """The name exists, but has no A record."""
    return [_response(query).to_wire()]


def fails(rcode: str = "SERVFAIL") -> Behaviour:
    def answer(query: Query, tcp: bool) -> Sequence[bytes]:
        response = _response(query)
        response.set_rcode(dns.rcode.from_text(rcode))
        return [response.to_wire()]

    return answer


def silent(query: Query, tcp: bool) -> Sequence[bytes]:
    return []


def garbage(query: Query, tcp: bool) -> Sequence[bytes]:
    return [b"\x00\x01garbage"]


def alias(target: str, *codes: str) -> Behaviour:
    """A CNAME, and the addresses of what it leads to."""

    def answer(query: Query, tcp: bool) -> Sequence[bytes]:
        response = dns.message.make_response(query)
        response.answer.append(dns.rrset.from_text(_name(query), 300, "IN", "CNAME", target))
        response.answer.append(dns.rrset.from_text_list(target, 300, "IN", "A", codes))
        return [response.to_wire()]

    return answer


def only_over_tcp(*codes: str) -> Behaviour:
    """Over UDP the answer does not fit and is cut off."""

    def answer(query: Query, tcp: bool) -> Sequence[bytes]:
        response = _response(query, codes if tcp else ())
        if not tcp:
            response.flags |= dns.flags.TC
        return [response.to_wire()]

    return answer


def truncated(query: Query, tcp: bool) -> Sequence[bytes]:
    response = _response(query)
    response.flags |= dns.flags.TC
    return [response.to_wire()]


def forged(change: Callable[[dns.message.Message], None], *after: Behaviour) -> Behaviour:
    """An answer that says "listed" but does not fit the question; then the `after` ones."""

    def answer(query: Query, tcp: bool) -> Sequence[bytes]:
        response = _response(query, ["127.0.0.2"])
        change(response)
        return [response.to_wire(), *(data for one in after for data in one(query, tcp))]

    return answer


def wrong_id(response: dns.message.Message) -> None:
    response.id ^= 1


def wrong_question(response: dns.message.Message) -> None:
    other = dns.name.from_text("other.example.org.")
    response.question = [dns.rrset.from_text(other, 0, "IN", "A")]
    response.answer = [dns.rrset.from_text(other, 300, "IN", "A", "127.0.0.2")]


def wrong_owner(response: dns.message.Message) -> None:
    response.answer = [dns.rrset.from_text("other.example.org.", 300, "IN", "A", "127.0.0.2")]


def no_response(response: dns.message.Message) -> None:
    response.flags &= ~dns.flags.QR


class ListServer:
    """Answers until cancelled; `names` says how, every other name does not exist."""

    def __init__(self) -> None:
        self.names: dict[str, Behaviour] = {}
        self.default: Behaviour = unlisted()
        self.questions: list[str] = []
        self.over_tcp: list[str] = []
        self.port = 0
        self._news = trio.Event()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def sound(self, *zones: str) -> None:
        """These zones have the test entry they should have."""
        for zone in zones:
            self.names[f"2.0.0.127.{zone}"] = listed("127.0.0.2")
            self.names[f"test.{zone}"] = listed("127.0.0.2")

    def asked_since(self, number: int) -> list[str]:
        return sorted(self.questions[number:])

    async def heard(self, number: int) -> None:
        """So many questions have come over UDP."""
        with trio.fail_after(5):
            while len(self.questions) < number:
                self._news = trio.Event()
                await self._news.wait()

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED) -> None:
        udp, (listener,) = await self._sockets()
        with udp:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._datagrams, udp)
                nursery.start_soon(trio.serve_listeners, self._stream, [listener])
                task_status.started()

    async def _sockets(self):
        """A port that is free for both."""
        while True:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            self.port = listeners[0].socket.getsockname()[1]
            udp = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
            try:
                await udp.bind(("127.0.0.1", self.port))
            except OSError:
                udp.close()
                await listeners[0].aclose()
                continue
            return udp, listeners

    def _answers(self, wire: bytes, *, tcp: bool) -> Sequence[bytes]:
        query = dns.message.from_wire(wire)
        name = _name(query).to_text(omit_final_dot=True)
        assert query.question[0].rdtype == dns.rdatatype.A, "only A records are asked for"
        (self.over_tcp if tcp else self.questions).append(name)
        self._news.set()
        return self.names.get(name, self.default)(query, tcp)

    async def _datagrams(self, udp) -> None:
        while True:
            wire, sender = await udp.recvfrom(65535)
            for data in self._answers(wire, tcp=False):
                await udp.sendto(data, sender)

    async def _stream(self, stream: trio.SocketStream) -> None:
        async with stream:
            (length,) = struct.unpack("!H", await stream.receive_some(2))
            for data in self._answers(await stream.receive_some(length), tcp=True):
                await stream.send_all(struct.pack("!H", len(data)) + data)
