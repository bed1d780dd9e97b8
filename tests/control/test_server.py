"""The control socket: who is let in, what a connection may do, and that nobody holds up anybody."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
import trio.testing

from multigrey.control import server as server_module
from multigrey.control.operations.operation import BY, Level, Operation, OperationError, Operations
from multigrey.control.peers import Groups
from multigrey.control.server import ControlLimits, ControlServer
from multigrey.errors import StoreError


class House:
    """A server with operations for trying it."""

    def __init__(self, path: str, limits: ControlLimits) -> None:
        self.path = path
        self.redact = False
        self.closed = trio.Event()
        self.release = trio.Event()
        operations = Operations()
        for name in ("echo", "wait", "refuse", "fail", "break", "unspeakable"):
            operations.add(Operation(name, Level.READ, answer=getattr(self, f"_{name}")))
        operations.add(Operation("change", Level.ADMIN, answer=self._echo))
        operations.add(Operation("search", Level.READ, answer=self._echo, is_search=True))
        allowed = lambda options: "" if "one" in options else "one"  # noqa: E731  (one line)
        let_in = Operation("let-in", Level.OPERATE, answer=self._echo, not_for_operators=allowed)
        operations.add(let_in)
        for name in ("count", "flood", "halt"):
            operations.add(Operation(name, Level.READ, stream=getattr(self, f"_{name}")))
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(path)
        self._listening.listen()
        self._listening.setblocking(False)
        self.server = ControlServer(self._listening, operations, Groups("readers", "admins"), limits)
        self.server.hides_people = lambda: self.redact

    def close(self) -> None:
        self._listening.close()

    async def ask(self, *lines: bytes, end: bool = True) -> list[dict]:
        """Everything that is said to these lines until the server closes."""
        async with await trio.open_unix_socket(self.path) as stream:
            await stream.send_all(b"".join(lines))
            if end:
                await stream.send_eof()
            return await _read(stream)

    async def _echo(self, options):
        return dict(options)

    async def _wait(self, options):
        await self.release.wait()
        return {}

    async def _refuse(self, options):
        raise OperationError("not like that")

    async def _fail(self, options):
        raise StoreError("disk full")

    async def _break(self, options):
        raise ZeroDivisionError("a bug")

    async def _unspeakable(self, options):
        return {"x": object()}

    async def _count(self, options):
        for number in range(options["to"]):
            yield {"n": number}
            await trio.lowlevel.checkpoint()

    async def _flood(self, options):
        try:
            while True:
                yield {"x": "x" * 100_000}
        finally:
            self.closed.set()

    async def _halt(self, options):
        try:
            yield {}
            await trio.sleep_forever()
        finally:
            self.closed.set()


async def _read(stream: trio.SocketStream) -> list[dict]:
    data = b""
    async for piece in stream:
        data += piece
    return [json.loads(line) for line in data.splitlines()]


async def _receive_line(stream: trio.SocketStream) -> dict:
    data = b""
    while not data.endswith(b"\n"):
        data += await stream.receive_some(1)
    return json.loads(data)


def _line(ask: str, id_: int = 1, **options: object) -> bytes:
    return json.dumps({"multigrey": 1, "id": id_, "ask": ask, "with": options}).encode() + b"\n"


@asynccontextmanager
async def _house(tmp_path, **limits: float) -> AsyncIterator[House]:
    house = House(str(tmp_path / "s"), ControlLimits(**limits))
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(house.server.run)
            with trio.fail_after(20):
                yield house
            nursery.cancel_scope.cancel()
    finally:
        house.close()


@pytest.fixture
def level(monkeypatch):
    """Makes everybody who connects be of this level."""

    def set_level(level: Level | None) -> None:
        monkeypatch.setattr(server_module, "level_of", lambda *_: level)

    return set_level


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (_line("refuse"), {"id": 1, "error": "not like that", "code": "refused"}),
        (_line("fail"), {"id": 1, "error": "disk full", "code": "refused"}),
        (_line("nope"), {"id": 1, "error": "unknown operation 'nope'", "code": "refused"}),
        (_line("break"), {"id": 1, "error": "internal error; the daemon's log has more", "code": "internal"}),
        (
            _line("unspeakable"),
            {"id": 1, "error": "internal error; the daemon's log has more", "code": "internal"},
        ),
    ],
)
async def test_errors_cost_an_answer_and_nothing_else(tmp_path, line, said):
    async with _house(tmp_path) as house:
        assert await house.ask(line) == [said]
        assert await house.ask(line, _line("count", 2, to=0)) in (
            [said, {"id": 2, "end": True}],
            [{"id": 2, "end": True}, said],
        )
        assert house.server.figures() == {
            "connections": 0,
            "questions": 3,
            "errors": 2,
            "refused": 0,
            "dropped": 0,
        }


async def test_items_come_in_order_and_end(tmp_path):
    async with _house(tmp_path) as house:
        said = await house.ask(_line("count", to=3))
        assert said == [*({"id": 1, "item": {"n": n}} for n in range(3)), {"id": 1, "end": True}]


async def test_answers_do_not_wait_for_each_other(tmp_path):
    async with _house(tmp_path) as house, await trio.open_unix_socket(house.path) as stream:
        await stream.send_all(_line("wait", 1) + _line("echo", 2))
        assert (await _receive_line(stream))["id"] == 2
        house.release.set()
        assert await _receive_line(stream) == {"id": 1, "answer": {}}


async def test_who_asks_cannot_be_claimed(tmp_path):
    async with _house(tmp_path) as house:
        ((answer),) = await house.ask(_line("echo", **{BY: "somebody else"}))
        assert "uid" in answer["answer"][BY]


async def test_too_many_questions_at_a_time(tmp_path):
    async with _house(tmp_path) as house, await trio.open_unix_socket(house.path) as stream:
        await stream.send_all(b"".join(_line("wait", number) for number in range(17)))
        assert (await _receive_line(stream))["code"] == "busy"
        house.release.set()
        assert {(await _receive_line(stream))["id"] for _ in range(16)} == {*range(16)}


@pytest.mark.parametrize("line", [b"\x00\xff" * 50_000 + b"\n", b"x" * 300_000, b"{" * 200_000 + b"\n"])
async def test_rubbish_ends_in_an_error(tmp_path, line):
    async with _house(tmp_path) as house:
        said = await house.ask(line)
        assert [message["code"] for message in said] == ["wrong"]
        assert [message["id"] for message in await house.ask(_line("echo", 5))] == [5]


async def test_a_stranger_is_told_why_and_sent_away(tmp_path, level, caplog):
    level(None)
    async with _house(tmp_path) as house:
        (said,) = await house.ask(end=False)
        assert said["code"] == "not-allowed"
        assert "group admins (admin) and group readers (read)" in said["error"]
        assert house.server.figures()["refused"] == 1
    assert "is refused" in caplog.text


async def test_readers_may_read(tmp_path, level):
    level(Level.READ)
    async with _house(tmp_path) as house:
        (said,) = await house.ask(_line("echo"))
        assert "answer" in said
        (said,) = await house.ask(_line("change"))
        assert said["code"] == "not-allowed"
        assert "may read, but not use change" in said["error"]
        assert "group admins (admin)" in said["error"]
        (said,) = await house.ask(_line("let-in", one=1))
        assert said["code"] == "not-allowed"


async def test_operators_may_let_in_one_and_nothing_more(tmp_path, level, caplog):
    caplog.set_level("INFO")
    level(Level.OPERATE)
    async with _house(tmp_path) as house:
        for line in (_line("echo"), _line("let-in", one=1)):
            (said,) = await house.ask(line)
            assert "answer" in said
        (said,) = await house.ask(_line("let-in"))
        assert said["code"] == "not-allowed"
        assert "may operate, but not use let-in without one" in said["error"]
        (said,) = await house.ask(_line("change"))
        assert said["code"] == "not-allowed"
    assert "let-in one=1" in caplog.text


async def test_changes_are_logged_with_who_asked(tmp_path, caplog):
    caplog.set_level("INFO")
    async with _house(tmp_path) as house:
        await house.ask(_line("change", what="this\nand that"), _line("echo", 2, quiet=1))
    (record,) = [record for record in caplog.records if "change" in record.getMessage()]
    assert "uid" in record.getMessage()
    assert "what=this\\x0aand that" in record.getMessage()
    assert "quiet" not in caplog.text


async def test_searches_are_logged_with_who_asked_once_a_minute(tmp_path, caplog):
    caplog.set_level("INFO")
    async with _house(tmp_path) as house:
        for _ in range(3):
            await house.ask(_line("search", about="a@example.org"))
        await house.ask(_line("search", about="b@example.org"), _line("echo", 2, about="c@example.org"))
        house.redact = True
        await house.ask(_line("search", about="d@example.org"))
    said = [record.getMessage() for record in caplog.records if "search" in record.getMessage()]
    assert [text.partition("search")[2] for text in said] == [
        " about=a@example.org",
        " about=b@example.org",
        " about=(redacted)",
    ]
    assert all(f"(uid {os.getuid()})" in text for text in said)
    assert "c@example.org" not in caplog.text


async def test_a_stranger_who_comes_again_and_again_is_looked_up_and_told_of_once(
    tmp_path, monkeypatch, caplog
):
    looked = []

    def nobody(*arguments):
        looked.append(arguments)

    monkeypatch.setattr(server_module, "level_of", nobody)
    async with _house(tmp_path, strangers=60.0) as house:
        for _ in range(30):
            (said,) = await house.ask(end=False)
            assert said["code"] == "not-allowed"
        assert house.server.figures()["refused"] == 30
    assert len(looked) == 1
    assert caplog.text.count("is refused") == 1


async def test_a_stranger_who_was_added_to_a_group_is_let_in(tmp_path, level):
    level(None)
    async with _house(tmp_path, strangers=0.0) as house:
        (said,) = await house.ask(end=False)
        assert said["code"] == "not-allowed"
        level(Level.READ)
        (said,) = await house.ask(_line("echo"))
        assert "answer" in said


async def test_only_so_many_are_looked_up_at_a_time(tmp_path, monkeypatch):
    """The others wait in the kernel, and take no descriptor from mail servers."""
    looking, go_on = [], threading.Event()

    def slow(*arguments):
        looking.append(arguments)
        go_on.wait(20)
        return Level.ADMIN

    monkeypatch.setattr(server_module, "level_of", slow)
    async with _house(tmp_path, arriving=2) as house, AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(await trio.open_unix_socket(house.path)) for _ in range(5)]
        while len(looking) < 2:
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert len(looking) == 2
        go_on.set()
        for stream in streams:
            await stream.send_all(_line("echo"))
            assert "answer" in await _receive_line(stream)


@pytest.mark.parametrize("other", [Level.READ, Level.OPERATE])
async def test_readers_leave_room_for_administrators(tmp_path, level, other):
    async with _house(tmp_path, connections=3, readers=1) as house:
        level(other)
        async with await trio.open_unix_socket(house.path) as first:
            await first.send_all(_line("echo"))
            await _receive_line(first)
            (said,) = await house.ask(end=False)
            assert said["code"] == "busy"
            level(Level.ADMIN)
            (said,) = await house.ask(_line("echo"))
            assert "answer" in said


async def test_no_more_connections_than_there_may_be(tmp_path):
    async with _house(tmp_path, connections=1) as house, await trio.open_unix_socket(house.path) as first:
        await first.send_all(_line("echo"))
        await _receive_line(first)
        (said,) = await house.ask(end=False)
        assert said["code"] == "busy"


async def test_a_reader_who_does_not_read_is_dropped_and_nobody_waits(tmp_path, caplog):
    async with _house(tmp_path, reading=0.05) as house, await trio.open_unix_socket(house.path) as stream:
        await stream.send_all(_line("flood"))
        assert "answer" in (await house.ask(_line("echo")))[0]
        await house.closed.wait()
        while house.server.figures()["connections"]:
            await trio.lowlevel.checkpoint()
        assert house.server.figures()["dropped"] == 1
    assert "dropped" in caplog.text


@pytest.mark.parametrize("half", [True, False])
async def test_who_goes_away_ends_what_they_asked_for(tmp_path, half):
    async with _house(tmp_path) as house:
        async with await trio.open_unix_socket(house.path) as stream:
            await stream.send_all(_line("halt"))
            await _receive_line(stream)
            if half:
                await stream.send_eof()
        await house.closed.wait()


async def test_who_only_ends_their_own_direction_gets_every_answer(tmp_path):
    async with _house(tmp_path) as house, trio.open_nursery() as nursery:
        said: list[dict] = []

        async def ask() -> None:
            said.extend(await house.ask(_line("wait")))

        nursery.start_soon(ask)
        while not house.server.figures()["questions"]:
            await trio.lowlevel.checkpoint()
        house.release.set()
        while not said:
            await trio.lowlevel.checkpoint()
        assert said == [{"id": 1, "answer": {}}]


async def test_who_asks_nothing_is_sent_away(tmp_path):
    async with _house(tmp_path, idle=0.01) as house:
        assert await house.ask(end=False) == []


async def test_who_waits_for_an_answer_is_not(tmp_path):
    async with _house(tmp_path, idle=0.01) as house, await trio.open_unix_socket(house.path) as stream:
        await stream.send_all(_line("halt"))
        await _receive_line(stream)
        await stream.send_all(_line("echo", 2))
        assert (await _receive_line(stream))["id"] == 2
