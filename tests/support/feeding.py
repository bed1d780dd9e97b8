"""Feeding dialogues: the same bytes whole, byte by byte, in halves and with more bytes after them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from multigrey.contracts import Dialogue, DialogueOptions
from multigrey.errors import ProtocolError
from multigrey.model import Action, Attempt, Command, Ignored, Reason, Reply, Signal

Heard = Attempt | Command | Ignored
Respond = Callable[[Attempt | Command], Reply | Mapping[str, Any] | str]

DEFER = Reply(Action.DEFER, Reason.NEW, "7f3k2q", "Greylisted, please try again later", retry_after=120)
PASS = Reply(Action.PASS, Reason.KNOWN, "7f3k2q", "")
REJECT = Reply(Action.REJECT, Reason.RULE, "7f3k2q", "Not here")


def options(*, request_size: int = 65536, administer: bool = False) -> DialogueOptions:
    return DialogueOptions("test", request_size, administer)


@dataclass
class Conversation:
    """What came out of one connection."""

    heard: list[Heard] = field(default_factory=list)
    sent: bytes = b""
    end: Signal = Signal.NEED_DATA
    error: ProtocolError | None = None

    def outcome(self) -> tuple[object, ...]:
        """Everything that must not depend on the pieces the bytes came in (attributes included)."""
        attributes = [dict(one.attributes) for one in self.heard if isinstance(one, Attempt)]
        error = self.error and (str(self.error), self.error.reply)
        return self.heard, attributes, self.sent, self.end, error


def always(reply: Reply | Mapping[str, Any] | str) -> Respond:
    return lambda request: reply


def converse(dialogue: Dialogue, pieces: Iterable[bytes], respond: Respond = always(DEFER)) -> Conversation:  # noqa: B008  (a function without state)
    """Feed the pieces as a listener would: every request is answered before the next is taken."""
    talk = Conversation()
    try:
        for piece in pieces:
            dialogue.receive(piece)
            while not isinstance(request := dialogue.next_request(), Signal):
                talk.heard.append(request)
                if not isinstance(request, Ignored):
                    dialogue.answer(request, respond(request))
                talk.sent += dialogue.data_to_send()
            talk.end = request
    except ProtocolError as error:
        talk.error = error
        talk.end = dialogue.next_request()
        assert talk.end is Signal.CLOSED, "after a ProtocolError the dialogue is closed"
        assert dialogue.data_to_send() == b""
    return talk


def each_way(data: bytes, *, eof: bool) -> Iterator[list[bytes]]:
    """The bytes whole, one by one, in halves; `eof` ends each with the peer's end of file."""
    last = [b""] if eof else []
    yield [data, *last] if data else last
    yield [data[i : i + 1] for i in range(len(data))] + last
    half = len(data) // 2
    yield [piece for piece in (data[:half], data[half:]) if piece] + last


TRAILING = b"request=another"


def takes_more(talk: Conversation, data: bytes, *, eof: bool) -> bool:
    """Whether further bytes after `data` can only be thrown away or begin another request."""
    return not eof and (talk.end is Signal.CLOSED or data.endswith(b"\n\n"))


def feed(
    make: Callable[[], Dialogue],
    data: bytes,
    *,
    eof: bool = False,
    respond: Respond = always(DEFER),  # noqa: B008  (a function without state)
) -> Conversation:
    """Feed `data` each way, check that the way makes no difference, return what came out."""
    talks = [converse(make(), pieces, respond) for pieces in each_way(data, eof=eof)]
    if takes_more(talks[0], data, eof=eof):
        talks.append(converse(make(), [data + TRAILING], respond))
    for talk in talks[1:]:
        assert talk.outcome() == talks[0].outcome()
    return talks[0]
