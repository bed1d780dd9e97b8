"""The conversations of tests/dialogues: against the pure stack, and against a running daemon."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from multigrey.contracts import Dialogue
from multigrey.errors import MultigreyError, ProtocolError
from multigrey.listeners.commands import Commands
from multigrey.model import Attempt, Command, Ignored, Signal
from multigrey.protocols.exim import EximDialogue
from multigrey.protocols.greylistd import GreylistdDialogue
from multigrey.protocols.postfix import PostfixDialogue
from multigrey.whitelists import role_addresses
from tests.support.daemon import Daemon
from tests.support.dialogues import Peer, play, read_file, read_text
from tests.support.engines import Harness, harness
from tests.support.feeding import options

FOLDER = Path(__file__).parent / "dialogues"
FILES = sorted(FOLDER.glob("*/*.dlg"))
DOORS = {"postfix": PostfixDialogue, "exim": EximDialogue, "greylistd": GreylistdDialogue}
PIECES: dict[str, Callable[[bytes], list[bytes]]] = {
    "whole": lambda data: [data],
    "byte by byte": lambda data: [data[i : i + 1] for i in range(len(data))],
}

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")


# --- the pure stack: dialogue, engine, memory store, a clock that stands still ---


class PurePeer:
    """One dialogue, driven as a listener drives it."""

    def __init__(self, world: PureWorld, dialogue: Dialogue) -> None:
        self._world = world
        self._dialogue = dialogue
        self._received = b""
        self._closed = False

    async def send(self, data: bytes) -> None:
        for piece in self._world.pieces(data):
            await self._receive(piece)

    async def end(self) -> None:
        await self._receive(b"")

    async def line(self) -> bytes:
        head, newline, self._received = self._received.partition(b"\n")
        return head + newline

    async def rest(self) -> bytes:
        assert self._closed, f"still open, after {self._received!r}"
        taken, self._received = self._received, b""
        return taken

    async def _receive(self, data: bytes) -> None:
        if self._closed:
            return
        try:
            self._dialogue.receive(data)
            while not isinstance(request := self._dialogue.next_request(), Signal):
                await self._answer(request)
                self._received += self._dialogue.data_to_send()
            self._closed = request is Signal.CLOSED
        except ProtocolError as error:
            self._received += self._dialogue.data_to_send() + (error.reply or b"")
            self._closed = True

    async def _answer(self, request: Attempt | Command | Ignored) -> None:
        if isinstance(request, Attempt):
            reply = await self._world.parts.engine.judge(request, "pass")
            assert reply is not None
            self._dialogue.answer(request, reply)
        elif isinstance(request, Command):
            try:
                self._dialogue.answer(request, await self._world.commands.run(request))
            except MultigreyError as error:
                self._dialogue.answer(request, str(error))


class PureWorld:
    def __init__(self, parts: Harness, pieces: Callable[[bytes], list[bytes]]) -> None:
        async def reload() -> None:
            return

        self.parts = parts
        self.pieces = pieces
        self.commands = Commands(parts.engine, parts.blocks, host="mx.example.org", reload=reload)

    async def connect(self, door: str) -> Peer:
        return PurePeer(self, DOORS[door](options(administer=True)))

    def pass_time(self, seconds: int) -> None:
        self.parts.clock.advance(seconds)


@every_file
@pytest.mark.parametrize("pieces", PIECES)
async def test_pure(path: Path, pieces: str):
    async with harness(sources=(role_addresses().match,)) as parts:
        await play(read_file(path), PureWorld(parts, PIECES[pieces]))


# --- a daemon in a process of its own ---

CONFIG = 'state_dir = "{dir}/state"\n[greylist]\nunnamed_delay = "2m"\n' + "".join(
    f'[[listen]]\nprotocol = "{door}"\naddress = "unix:{{dir}}/state/{door}.sock"\n' for door in DOORS
)
CLEARED = list(read_text("door greylistd\nc> clear\ns- cleared: data and statistics", "clear"))
DEADLINE = 10


class SocketPeer:
    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._received = b""

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def end(self) -> None:
        await self._stream.send_eof()

    async def line(self) -> bytes:
        while b"\n" not in self._received and await self._more():
            pass
        head, newline, self._received = self._received.partition(b"\n")
        return head + newline

    async def rest(self) -> bytes:
        while await self._more():
            pass
        taken, self._received = self._received, b""
        return taken

    async def _more(self) -> bool:
        try:
            with trio.fail_after(DEADLINE):
                chunk = await self._stream.receive_some()
        except trio.BrokenResourceError:  # closed before it had read everything
            chunk = b""
        self._received += chunk
        return bool(chunk)


class DaemonWorld:
    def __init__(self, daemon: Daemon, connections: AsyncExitStack) -> None:
        self._daemon = daemon
        self._connections = connections

    async def connect(self, door: str) -> Peer:
        path = self._daemon.directory / "state" / f"{door}.sock"
        stream = await trio.open_unix_socket(path)
        return SocketPeer(await self._connections.enter_async_context(stream))

    def pass_time(self, seconds: int) -> None:
        self._daemon.clock.advance(seconds)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One for all files; each begins by having everything forgotten."""
    with tempfile.TemporaryDirectory(prefix="mg-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        with Daemon(Path(name), CONFIG, user="nobody") as daemon:
            yield daemon


@every_file
async def test_live(path: Path, daemon: Daemon):
    await play_live(path, daemon)


async def play_live(path: Path, daemon: Daemon) -> None:
    async with AsyncExitStack() as connections:
        world = DaemonWorld(daemon, connections)
        await play(CLEARED, world)
        await play(read_file(path), world)


async def test_nothing_is_imported_while_serving(short_directory: Path):
    """Whoever serves as another user than it started as may not be able to read modules any more."""
    with Daemon(short_directory, CONFIG, user="nobody", env={"PYTHONPROFILEIMPORTTIME": "1"}) as daemon:
        for path in FILES:
            await play_live(path, daemon)
    before, serving, after = daemon.stderr().partition(" ready: ")
    assert "import time: " in before
    assert serving
    assert [line for line in after.splitlines() if line.startswith("import time: ")] == []


# --- a file can fail ---


def test_every_door_and_all_together_have_files():
    assert {path.parent.name for path in FILES} == {*DOORS, "together"}


@pytest.mark.parametrize(
    "line",
    ["hello", "c> x\nc", "c*0> x", "eof now", "closed x", "door", "s~", "clock", "s-", "s < x", " c> x"],
)
def test_a_line_that_is_no_step_is_refused(line: str):
    with pytest.raises(ValueError, match=r"file:\d: "):
        list(read_text(line, "file"))


ASKED = "door exim\nc> multigrey/2\neof\n"
ANSWER = "action=error reason=version message=\"multigrey speaks multigrey/1 here, not 'multigrey/2'\""


async def test_an_answer_that_is_as_told_is_accepted():
    async with harness() as parts:
        await play(
            list(read_text(f"{ASKED}s> {ANSWER}\nclosed\n", "file")), PureWorld(parts, PIECES["whole"])
        )


@pytest.mark.parametrize(
    "expected",
    ["s> action=pass", "s~ action=pass", "s- action=pass", "closed", f"s- {ANSWER}", "c> and"],
)
async def test_another_answer_than_told_is_found(expected: str):
    async with harness() as parts:
        with pytest.raises(AssertionError):
            await play(list(read_text(f"{ASKED}{expected}\n", "file")), PureWorld(parts, PIECES["whole"]))


@pytest.mark.parametrize("file", [ASKED, f"{ASKED}s~ .*\ns~ .*\n"])
async def test_too_much_and_too_little_is_found(file: str):
    async with harness() as parts:
        with pytest.raises(AssertionError):
            await play(list(read_text(file, "file")), PureWorld(parts, PIECES["whole"]))
