"""A DNS server on loopback, over UDP and TCP, that gives the answers that a test sets."""

from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import trio

SOA = "ns.example.org. root.example.org. 1 7200 3600 604800 {minimum}"


class DnsServer:
    """`zone` maps (name, type) to lines like "300 IN A 192.0.2.1", or to a function of the query.

    A function gets (query, tcp) and returns a message, bytes, or None for silence.
    """

    def __init__(self, zone):
        self.zone = zone
        self.asked = []
        """(name, type, "udp" or "tcp")"""
        self.silent = trio.Event()

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as udp:
            await udp.bind(("127.0.0.1", self.port))
            async with trio.open_nursery() as nursery:
                await nursery.start(trio.serve_listeners, self._tcp, listeners)
                task_status.started()
                while True:
                    data, peer = await udp.recvfrom(65535)
                    if (answer := self._answer(data, "udp")) is not None:
                        await udp.sendto(answer, peer)

    async def _tcp(self, stream):
        async with stream:
            (size,) = struct.unpack("!H", await exactly(stream, 2))
            answer = self._answer(await exactly(stream, size), "tcp")
            if answer is not None:
                await stream.send_all(struct.pack("!H", len(answer)) + answer)

    def _answer(self, data, how):
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text().lower().rstrip("."), question.rdtype.name
        self.asked.append((name, kind, how))
        entry = self.zone.get((name, kind), ())
        if callable(entry):
            answer = entry(query, how == "tcp")
        else:
            answer = reply(query, *entry)
            if not any(name == known for known, _ in self.zone):
                answer.set_rcode(dns.rcode.NXDOMAIN)
        if answer is None:
            self.silent.set()
            return None
        return answer if isinstance(answer, bytes) else answer.to_wire()


async def exactly(stream, count):
    data = b""
    while len(data) < count and (more := await stream.receive_some(count - len(data))):
        data += more
    return data


def reply(query, *lines, minimum=None):
    """An answer of records for the name that was asked; "name: ttl class type data" for another one."""
    answer = dns.message.make_response(query)
    for line in lines:
        name, colon, rest = line.partition(": ")
        if not colon:
            name, rest = query.question[0].name.to_text(), line
        ttl, rdclass, kind, data = rest.split(" ", 3)
        answer.answer.append(dns.rrset.from_text(name, int(ttl), rdclass, kind, data))
    if minimum is not None:
        soa = SOA.format(minimum=minimum)
        answer.authority.append(dns.rrset.from_text("example.org.", 7200, "IN", "SOA", soa))
    return answer


def failing(rcode, minimum=None):
    """Answers with a response code."""

    def answer(query, tcp):
        message = reply(query, minimum=minimum)
        message.set_rcode(rcode)
        return message

    return answer


def truncated(*lines):
    """Says "too long" over UDP, and everything over TCP."""

    def answer(query, tcp):
        if tcp:
            return reply(query, *lines)
        message = reply(query)
        message.flags |= dns.flags.TC
        return message

    return answer


def silent(query, tcp):
    """Never answers."""


def wrong_id(*lines):
    """Answers a question with another number."""

    def answer(query, tcp):
        message = reply(query, *lines)
        message.id ^= 1
        return message

    return answer


def wrong_question(*lines):
    """Answers a question that was not asked."""

    def answer(query, tcp):
        other = dns.message.make_query("other.example.", query.question[0].rdtype)
        other.id = query.id
        return reply(other, *lines)

    return answer
