r"""Dialogue files: conversations as text, played against anything that speaks.

    # prose for the reader
    door postfix      what follows is said to this door, on a connection opened when needed
    c> text           the client sends a line
    c- text           ... or bytes without a line end
    c*5000> text      ... or the same line many times
    eof               the client has said everything and still listens (half-close)
    s> text           the server answers exactly this line
    s~ pattern        ... or a line that matches as a whole
    s- text           the server answers exactly this, without a line end, and closes
    closed            the server closes without another byte
    clock +120        seconds pass

In texts `\xHH` is a byte and `\\` a backslash.  What the client says is sent when the file turns to
something else, so several questions in a row are pipelined.  At the end of the file nothing may be left
unread, and a connection that is still open ends without another word.  Message ids of one file are not
used by another: a daemon remembers messages for longer than a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["Peer", "Step", "World", "play", "read_file", "read_text"]

_STEP = re.compile(
    r"(?P<verb>door|clock|eof|closed|c(?:\*(?P<times>[1-9]\d*))?>|c-|s>|s~|s-)(?: (?P<rest>.*))?"
)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|(\\))")
_WITHOUT_TEXT = {"eof", "closed"}
_NEEDS_TEXT = {"door", "clock", "c-", "s~", "s-"}


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a file."""

    place: str
    """`file:line`, for messages."""
    verb: str
    text: str
    times: int

    @property
    def octets(self) -> bytes:
        """The text as bytes, escapes undone."""
        return _ESCAPE.sub(lambda found: found[2] or bytes.fromhex(found[1].decode()), self.text.encode())


class Peer(Protocol):
    """The client's end of one connection."""

    async def send(self, data: bytes) -> None: ...
    async def end(self) -> None:
        """Half-close."""

    async def line(self) -> bytes:
        """The next line with its end; less when the server closes before."""

    async def rest(self) -> bytes:
        """Everything until the server closes."""


class World(Protocol):
    """Who is talked to."""

    async def connect(self, door: str) -> Peer: ...
    def pass_time(self, seconds: int) -> None: ...


def read_file(path: Path) -> list[Step]:
    """The steps of a file.  Raises ValueError for a line that is none."""
    return list(read_text(path.read_text(), path.name))


def read_text(text: str, name: str) -> Iterator[Step]:
    """The steps of a text.  Raises ValueError for a line that is none."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        found = _STEP.fullmatch(line)
        place = f"{name}:{number}"
        if found is None:
            raise ValueError(f"{place}: no step: {line!r}")
        verb, rest = found["verb"], found["rest"] or ""
        if (verb in _WITHOUT_TEXT and rest) or (verb in _NEEDS_TEXT and not rest):
            raise ValueError(f"{place}: {verb} with {rest!r}")
        yield Step(place, "c>" if found["times"] else verb, rest, int(found["times"] or 1))


async def play(steps: list[Step], world: World) -> None:
    """Play a whole file; AssertionError at the first answer that is another."""
    peers: dict[str, Peer] = {}
    door, unsent = "", b""
    for step in steps:
        if step.verb in {"c>", "c-"}:
            unsent += (step.octets + b"\n" * (step.verb == "c>")) * step.times
            continue
        if unsent:
            if door not in peers:
                peers[door] = await world.connect(door)
            await peers[door].send(unsent)
            unsent = b""
        if step.verb == "door":
            door = step.text
        elif step.verb == "clock":
            world.pass_time(int(step.text))
        elif step.verb == "eof":
            if door not in peers:
                peers[door] = await world.connect(door)
            await peers[door].end()
        elif await _ANSWERS[step.verb](step, peers[door]):
            del peers[door]
    assert not unsent, "a file ends with an answer"
    for name, peer in peers.items():
        await peer.end()
        assert await peer.rest() == b"", f"{name} said more"


async def _line(step: Step, peer: Peer) -> bool:
    got = await peer.line()
    assert got == step.octets + b"\n", f"{step.place}: {got!r}"
    return False


async def _pattern(step: Step, peer: Peer) -> bool:
    got = await peer.line()
    assert re.fullmatch(step.text + "\n", got.decode()), f"{step.place}: {got!r}"
    return False


async def _whole(step: Step, peer: Peer) -> bool:
    got = await peer.rest()
    assert got == step.octets, f"{step.place}: {got!r}"
    return True


async def _closed(step: Step, peer: Peer) -> bool:
    got = await peer.rest()
    assert got == b"", f"{step.place}: {got!r}"
    return True


_ANSWERS: dict[str, Callable] = {"s>": _line, "s~": _pattern, "s-": _whole, "closed": _closed}
"""What to do for each answer; true when the connection is over."""
