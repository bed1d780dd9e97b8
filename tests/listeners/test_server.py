"""The hot loop against real sockets on loopback: many peers, and each kind of trouble from one of them."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields
from functools import partial
from ipaddress import ip_network
from time import perf_counter

import pytest
import trio
import trio.testing

from multigrey.contracts import DialogueOptions, Submitted
from multigrey.errors import ProtocolError, StoreError
from multigrey.listeners.accept import accept_all
from multigrey.listeners.commands import Commands
from multigrey.listeners.connection import ConnectionLimits, Listening
from multigrey.listeners.server import REQUEST_TIME, Server
from multigrey.model import Action, Reason, Verdict
from multigrey.protocols.exim import EximDialogue
from multigrey.protocols.greylistd import GreylistdDialogue
from multigrey.protocols.postfix import PostfixDialogue
from tests.support.engines import DELAY, Harness, harness

QUESTION = (
    b"request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.%d\n"
    b"sender=a@example.org\nrecipient=b@example.net\n\n"
)
DEFERRED = b"action=DEFER_IF_PERMIT 4.7.1 Greylisted, please try again later\n\n"
DUNNO = b"action=DUNNO\n\n"


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    """Time jumps when nothing has happened for a while: real sockets need a moment."""
    return trio.testing.MockClock(autojump_threshold=0.002)


class Bench:
    """A server on one loopback port per protocol."""

    def __init__(self, parts: Harness, server: Server, ports: dict[str, int]) -> None:
        self.engine = parts.engine
        self.events = parts.events
        self.clock = parts.clock
        self.server = server
        self._ports = ports
        self.listening: dict[str, Listening] = {}

    async def connect(self, protocol: str = "postfix") -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self._ports[protocol])


@asynccontextmanager
async def bench(
    *,
    limits: ConnectionLimits | None = None,
    on_error: str = "pass",
    allow: str = "",
    now: Callable[[], float] = perf_counter,
    **changes: object,
) -> AsyncIterator[Bench]:
    async with harness(**changes) as parts, AsyncExitStack() as stack, trio.open_nursery() as nursery:

        async def reload() -> None:
            return

        commands = Commands(parts.engine, parts.blocks, host="mx", reload=reload)
        server = Server(parts.engine, commands, limits or ConnectionLimits(100, 3600, 3), now)
        await nursery.start(server.run)
        ports = {}
        listenings = {}
        kinds: dict[str, Callable] = {
            "postfix": PostfixDialogue,
            "exim": EximDialogue,
            "greylistd": GreylistdDialogue,
        }
        for name, make in kinds.items():
            sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            sock.setblocking(False)
            ports[name] = sock.getsockname()[1]
            options = DialogueOptions(name, 65536, administer=True)
            allowed = [ip_network(allow)] if allow else []
            listening = Listening(name, sock, partial(make, options), on_error, allowed)
            listenings[name] = listening
            nursery.start_soon(accept_all, server, listening)
        made = Bench(parts, server, ports)
        made.listening = listenings
        yield made
        nursery.cancel_scope.cancel()


async def ask(stream: trio.SocketStream, question: bytes, answers: int = 1) -> bytes:
    await stream.send_all(question)
    return await read_answers(stream, answers)


async def read_answers(stream: trio.SocketStream, answers: int) -> bytes:
    data = b""
    while data.count(b"\n\n") < answers:
        chunk = await stream.receive_some()
        if not chunk:
            break
        data += chunk
    return data


async def read_all(stream: trio.SocketStream) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def test_a_connection_is_kept_and_each_question_answered_in_turn():
    async with bench() as b, await b.connect() as stream:
        assert await ask(stream, QUESTION % 1) == DEFERRED
        b.clock.advance(DELAY - 1)
        assert await ask(stream, QUESTION % 1) == DEFERRED
        b.clock.advance(1)
        assert (await ask(stream, QUESTION % 1)).startswith(b"action=PREPEND X-Greylist: delayed 120 seconds")
        assert await ask(stream, QUESTION % 1) == DUNNO


async def test_pipelined_questions_are_answered_in_order():
    async with bench() as b, await b.connect() as stream:
        questions = b"".join(QUESTION % number for number in (1, 1, 2)) * 40
        data = await ask(stream, questions, answers=120)
        assert data == DEFERRED * 120
        reasons = [event.verdict.reason for event in b.events]
        assert reasons[:3] == [Reason.NEW, Reason.EARLY, Reason.EARLY]


async def test_one_shot_question_is_answered_after_the_half_close():
    async with bench() as b, await b.connect("exim") as stream:
        await stream.send_all(
            b"multigrey/1\nclient_address=192.0.2.1\nsender=a@example.org\nrecipient=b@example.net\n"
        )
        await stream.send_eof()
        assert (await read_all(stream)).startswith(b"action=defer reason=new retry_after=120 id=id0000 ")


async def test_a_slow_writer_is_read_piece_by_piece():
    async with bench() as b, await b.connect() as stream:
        for byte in QUESTION % 1:
            await stream.send_all(bytes([byte]))
        assert await read_answers(stream, 1) == DEFERRED


async def test_binary_noise_ends_its_connection_and_no_other():
    async with bench() as b, await b.connect() as good, await b.connect() as bad:
        assert await ask(good, QUESTION % 1) == DEFERRED
        with pytest.raises(trio.BrokenResourceError):
            await bad.send_all(b"\x00\xff\x16\x03\x01" * 4_000_000)
        assert await ask(good, QUESTION % 1) == DEFERRED


async def test_a_bug_of_ours_ends_its_connection_and_is_counted(caplog: pytest.LogCaptureFixture):
    async with bench() as b, await b.connect() as good, await b.connect() as bad:

        class Broken:
            def __call__(self, attempt):
                raise RuntimeError("bug")

        whole = b.engine.setup
        b.engine.setup = type(whole)(**{**_fields(whole), "sources": (Broken(),)})
        assert await ask(bad, QUESTION % 1) == b""
        b.engine.setup = whole
        assert await ask(good, QUESTION % 1) == DEFERRED
        assert b.server.internal_errors == 1
        assert "internal error" in caplog.text


def _fields(setup):
    return {field.name: getattr(setup, field.name) for field in fields(setup) if field.init}


@pytest.mark.parametrize(
    ("on_error", "answer"),
    [
        ("pass", DUNNO),
        ("defer", b"action=DEFER_IF_PERMIT 4.3.0 Temporary problem, please try again later\n\n"),
        ("silent", b""),
    ],
)
async def test_a_failing_store_is_answered_as_the_listener_wants(on_error: str, answer: bytes):
    async with bench(on_error=on_error) as b, await b.connect() as stream:

        def submit(keys, decide, seen=()):
            raise StoreError("disk full")

        b.engine.store.submit = submit
        assert await ask(stream, QUESTION % 1) == answer
        assert b.events[0].verdict.reason is Reason.ERROR
        assert b.events[0].verdict.detail == "disk full"


class Never:
    """A disk that hangs."""

    async def committed(self):
        await trio.sleep_forever()


def hanging(store, durable: bool):
    """What `submit` says when the disk hangs, or when `apply` has to be awaited and hangs."""
    if durable:
        return Submitted(Verdict(Action.DEFER, Reason.NEW), Never())

    async def apply(keys, decide):
        await trio.sleep_forever()

    store.apply = apply
    return None


@pytest.mark.parametrize("durable", [True, False])
async def test_an_overdue_decision_is_answered_and_the_connection_goes_on(autojump_clock, durable: bool):
    async with bench() as b, await b.connect() as stream:
        real = b.engine.store.submit
        b.engine.store.submit = lambda *_: hanging(b.engine.store, durable)
        assert await ask(stream, QUESTION % 1) == DUNNO
        b.engine.store.submit = real
        assert await ask(stream, QUESTION % 1) == DEFERRED
        assert [event.verdict.reason for event in b.events] == [Reason.ERROR, Reason.NEW]
        assert "3 s" in b.events[0].verdict.detail


async def test_a_stall_does_not_count_as_a_slow_decision():
    stopped = trio.testing.MockClock()  # it runs only when the test lets it
    at_disk = trio.Event()
    written = trio.Event()

    class Slow:
        async def committed(self):
            at_disk.set()
            await written.wait()

    async def main() -> None:
        async with bench() as b, await b.connect() as stream:
            b.engine.store.submit = lambda *_: Submitted(Verdict(Action.DEFER, Reason.NEW), Slow())
            await stream.send_all(QUESTION % 1)
            await at_disk.wait()
            for _ in range(3):
                stopped.jump(60)
                await trio.testing.wait_all_tasks_blocked(0.01)
            written.set()
            assert await read_answers(stream, 1) == DEFERRED
            assert [event.verdict.reason for event in b.events] == [Reason.NEW]

    await trio.to_thread.run_sync(partial(trio.run, main, clock=stopped))


async def test_a_silent_peer_is_cut_after_a_while(autojump_clock):
    async with bench() as b, await b.connect() as stream:
        before = trio.current_time()
        assert await read_all(stream) == b""
        assert REQUEST_TIME <= trio.current_time() - before < REQUEST_TIME + 1


async def test_an_unfinished_question_is_cut_however_slowly_it_grows(autojump_clock):
    async with bench() as b, await b.connect() as stream:
        assert await ask(stream, QUESTION % 1) == DEFERRED
        before = trio.current_time()

        async def drip() -> None:
            while True:
                await stream.send_all(b"x")
                await trio.sleep(1)

        with pytest.raises(trio.BrokenResourceError):
            await drip()
        assert trio.current_time() - before < REQUEST_TIME + 3


async def test_a_client_that_never_ends_its_request_is_answered_after_a_silence(autojump_clock):
    """Debian's own greylist program sends neither a line end nor an end of file."""
    async with bench() as b, await b.connect("greylistd") as stream:
        await stream.send_all(b"--grey 192.0.2.1 a@example.org")
        await stream.send_all(b" b@example.net")
        assert await read_all(stream) == b"true"


async def test_an_idle_connection_is_kept_for_as_long_as_configured(autojump_clock):
    async with bench(limits=ConnectionLimits(10, 60, 3)) as b, await b.connect() as stream:
        assert await ask(stream, QUESTION % 1) == DEFERRED
        await trio.sleep(50)
        assert await ask(stream, QUESTION % 1) == DEFERRED
        before = trio.current_time()
        assert await read_all(stream) == b""
        assert 60 <= trio.current_time() - before < 61


async def test_connections_over_the_limit_wait_for_room():
    async with bench(limits=ConnectionLimits(2, 3600, 3)) as b:
        first, second = await b.connect(), await b.connect()
        assert await ask(first, QUESTION % 1) == DEFERRED
        assert await ask(second, QUESTION % 1) == DEFERRED
        async with await b.connect() as third:
            await third.send_all(QUESTION % 1)
            await trio.testing.wait_all_tasks_blocked()
            assert b.server.connections == 2
            await first.aclose()
            assert await read_answers(third, 1) == DEFERRED
        await second.aclose()


async def test_a_peer_outside_allow_from_is_closed_unheard():
    async with bench(allow="192.0.2.0/24") as b, await b.connect() as stream:
        assert await read_all(stream) == b""
        assert b.events == []


async def test_a_peer_inside_allow_from_is_heard():
    async with bench(allow="127.0.0.0/8") as b, await b.connect() as stream:
        assert await ask(stream, QUESTION % 1) == DEFERRED


async def test_drain_answers_what_is_being_decided_and_closes_the_rest():
    async with bench() as b, await b.connect() as idle, await b.connect() as busy:
        assert await ask(idle, QUESTION % 1) == DEFERRED
        go_on = trio.Event()
        real = b.engine.store.apply

        async def wait(keys, decide):
            await go_on.wait()
            return await real(keys, decide)

        b.engine.store.submit = lambda *_: None
        b.engine.store.apply = wait
        await busy.send_all(QUESTION % 2)
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.server.drain, 5)
            assert await read_all(idle) == b""
            go_on.set()
            assert await read_all(busy) == DEFERRED
        assert b.server.connections == 0


@pytest.mark.parametrize("durable", [True, False])
async def test_drain_gives_up_after_its_deadline(autojump_clock, durable: bool):
    async with bench() as b, await b.connect() as stream:
        b.engine.store.submit = lambda *_: hanging(b.engine.store, durable)
        await stream.send_all(QUESTION % 1)
        await trio.testing.wait_all_tasks_blocked()
        before = trio.current_time()
        await b.server.drain(2)
        assert trio.current_time() - before == 2
        assert await read_all(stream) == b""


async def test_a_wrong_list_is_named_once(caplog: pytest.LogCaptureFixture):
    async with bench() as b, await b.connect() as stream:
        for _ in range(3):
            assert (
                await ask(stream, b"request=smtpd_access_policy\nprotocol_state=MAIL\nsender=a@b.example\n\n")
                == DUNNO
            )
        assert caplog.text.count("smtpd_sender_restrictions") == 1
        assert b.events == []


async def test_commands_reach_the_engine_and_their_errors_come_back():
    async with bench() as b:
        async with await b.connect("greylistd") as stream:
            await stream.send_all(b"192.0.2.1 a@example.org b@example.net\n")
            assert await read_all(stream) == b"grey"
        async with await b.connect("greylistd") as stream:
            await stream.send_all(b"status 192.0.2.1 a@example.org b@example.net\n")
            assert await read_all(stream) == b"grey"
        async with await b.connect("greylistd") as stream:
            await stream.send_all(b"add --white nonsense key\n")
            assert b"white" in await read_all(stream)
        async with await b.connect("greylistd") as stream:
            await stream.send_all(b"nonsense key\n")
            assert await read_all(stream) == b"white"
        assert [event.verdict.action for event in b.events] == [Action.DEFER, Action.PASS]


async def test_a_listener_that_fails_harms_no_answer_and_no_other_listener(caplog: pytest.LogCaptureFixture):
    async with bench() as b, await b.connect() as stream:

        def broken(event):
            raise RuntimeError("cannot write that")

        b.engine.subscribers = (broken, *b.engine.subscribers)
        assert await ask(stream, QUESTION % 1) == DEFERRED
        assert await ask(stream, QUESTION % 1) == DEFERRED
        assert [event.verdict.reason for event in b.events] == [Reason.NEW, Reason.EARLY]
        assert "cannot write that" in caplog.text


async def test_a_dialogue_that_cannot_be_made_ends_its_connection_only(caplog: pytest.LogCaptureFixture):
    async with bench() as b, await b.connect() as good:

        def broken():
            raise RuntimeError("no dialogue today")

        real, b.listening["exim"].make_dialogue = b.listening["exim"].make_dialogue, broken
        async with await b.connect("exim") as bad:
            assert await read_all(bad) == b""
        b.listening["exim"].make_dialogue = real
        assert await ask(good, QUESTION % 1) == DEFERRED
        assert b.server.internal_errors == 1
        assert "no dialogue today" in caplog.text


async def test_a_dialogue_that_breaks_when_patience_ends_harms_nobody_else(autojump_clock):
    class Breaks(GreylistdDialogue):
        def receive(self, data):
            if not data:
                raise ProtocolError("not like that", b"error: sorry")
            super().receive(data)

    async with bench() as b, await b.connect() as good:
        options = DialogueOptions("greylistd", 65536, administer=True)
        b.listening["greylistd"].make_dialogue = partial(Breaks, options)
        async with await b.connect("greylistd") as stream:
            await stream.send_all(b"--grey 192.0.2.1 a@example.org b@example.net")
            assert await read_all(stream) == b"error: sorry"
        assert await ask(good, QUESTION % 1) == DEFERRED


async def test_a_peer_that_cannot_be_watched_is_closed(monkeypatch: pytest.MonkeyPatch):
    async with bench() as b, await b.connect() as good:
        assert await ask(good, QUESTION % 1) == DEFERRED
        while not b.server._parked:  # its answer leaves before it is watched
            await trio.lowlevel.checkpoint()

        class Full:
            def __init__(self, real):
                self._real = real

            def register(self, *arguments):
                raise OSError(28, "No space left on device")

            def __getattr__(self, name):
                return getattr(self._real, name)

        monkeypatch.setattr(b.server, "_poll", Full(b.server._poll))
        async with await b.connect() as bad:
            assert await read_all(bad) == b""
        assert await ask(good, QUESTION % 1) == DEFERRED


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EBADF])
async def test_a_listener_that_cannot_accept_says_so_until_it_can(
    autojump_clock, caplog: pytest.LogCaptureFixture, number: int
):
    async with bench() as b:
        listening = b.listening["postfix"]
        real = listening.socket

        class Refusing:
            fileno = real.fileno

            def accept(self):
                raise OSError(number, os.strerror(number))

        listening.socket = Refusing()
        async with await b.connect() as waiting:
            await trio.sleep(1)  # of the test's clock: everything else has had its turn
            assert b.server.not_accepting == {"postfix": os.strerror(number)}
            assert caplog.messages == [f"postfix: cannot accept: {os.strerror(number)}"]
            listening.socket = real
            assert await ask(waiting, QUESTION % 1) == DEFERRED
            assert b.server.not_accepting == {}


async def test_a_peer_that_goes_before_it_is_accepted_is_no_trouble(caplog: pytest.LogCaptureFixture):
    async with bench() as b:
        listening = b.listening["postfix"]
        real, gone = listening.socket, iter([errno.ECONNABORTED, errno.ENETDOWN])

        class Fickle:
            fileno = real.fileno

            def accept(self):
                for number in gone:
                    raise OSError(number, os.strerror(number))
                return real.accept()

        listening.socket = Fickle()
        async with await b.connect() as stream:
            assert await ask(stream, QUESTION % 1) == DEFERRED
        assert (b.server.not_accepting, caplog.messages) == ({}, [])


async def test_a_bug_that_meets_a_whole_round_ends_its_connections_and_nothing_else():
    async with bench() as b, await b.connect() as bad:
        whole = b.engine.store

        class Broken:
            def peek(self, keys):
                raise RuntimeError("bug")

        b.engine.store = Broken()
        assert await ask(bad, QUESTION % 1) == b""
        assert b.server.internal_errors == 1
        b.engine.store = whole
        async with await b.connect() as good:
            assert await ask(good, QUESTION % 1) == DEFERRED


async def test_questions_nobody_judges_are_answered_and_give_way():
    async with bench() as b, await b.connect() as stream:
        ignored = b"request=smtpd_access_policy\nprotocol_state=VRFY\nrecipient=b@example.net\n\n"
        data = await ask(stream, ignored * 40 + QUESTION % 1, answers=41)
        assert data == DUNNO * 40 + DEFERRED


async def test_a_peer_cannot_fill_the_log_and_the_memory_with_hints(caplog: pytest.LogCaptureFixture):
    async with bench() as b, await b.connect() as stream:
        ignored = b"request=any%d\nprotocol_state=RCPT\nrecipient=b@example.net\n\n"
        for first in range(0, 1000, 50):
            questions = b"".join(ignored % number for number in range(first, first + 50))
            await ask(stream, questions, answers=50)
        logged = [record.message for record in caplog.records]
        assert sum("request=any" in message or "'any" in message for message in logged) == 20, logged[:3]
        assert sum("further hints" in message for message in logged) == 1


async def test_a_dialogue_that_breaks_while_it_breaks_off_harms_nobody_else():
    class Breaks(PostfixDialogue):
        broken = False

        def receive(self, data):
            self.broken = True
            raise ProtocolError("not like that")

        def data_to_send(self):
            if self.broken:
                raise RuntimeError("nor like this")
            return b""

    async with bench() as b, await b.connect("exim") as good:
        b.listening["postfix"].make_dialogue = partial(Breaks, DialogueOptions("postfix", 65536))
        async with await b.connect() as bad:
            assert await ask(bad, QUESTION % 1) == b""
        assert b.server.internal_errors >= 1
        await good.send_all(b"multigrey/1\nclient_address=192.0.2.1\nrecipient=b@example.net\n\n")
        assert (await read_all(good)).startswith(b"action=")
