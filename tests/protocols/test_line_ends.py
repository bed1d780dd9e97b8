"""What ends a line makes no difference, at any door: people type questions in telnet, which sends CR LF."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.contracts import Dialogue
from multigrey.control.protocol import Code, ControlDialogue
from multigrey.model import Attempt, Signal
from multigrey.protocols.exim import EximDialogue
from multigrey.protocols.greylistd import GreylistdDialogue
from multigrey.protocols.postfix import PostfixDialogue
from multigrey.whitelists import role_addresses
from tests.support.dialogues import play, read_file, read_text
from tests.support.engines import harness
from tests.support.feeding import DEFER, converse, options
from tests.test_dialogues import PureWorld, every_file

Outcome = tuple[object, ...]


def dialogue(make: Callable[..., Dialogue]) -> Callable[[list[bytes]], Outcome]:
    """What a door hears and says when it is fed the pieces."""

    def outcome(pieces: list[bytes]) -> Outcome:
        return converse(
            make(options(administer=True)),
            pieces,
            lambda request: DEFER if isinstance(request, Attempt) else {"state": "grey"},
        ).outcome()

    return outcome


def control(pieces: list[bytes]) -> Outcome:
    """The same for the control socket."""
    desk, heard, said = ControlDialogue(), [], b""
    for piece in pieces:
        desk.receive(piece)
        while (question := desk.next_question()) is not None:
            heard.append(question)
            desk.error(question.id, "no", Code.REFUSED)
        said += desk.data_to_send()
    return heard, said, desk.over


DOORS: dict[str, Callable[[list[bytes]], Outcome]] = {
    "postfix": dialogue(PostfixDialogue),
    "exim": dialogue(EximDialogue),
    "greylistd": dialogue(GreylistdDialogue),
    "control": control,
}


@dataclass
class Asked:
    """A question to a door, with LF."""

    door: str
    text: str
    eof: bool = False
    judged: bool = field(default=True)


RCPT = (
    "protocol_state=RCPT\nclient_address=192.0.2.1\nclient_name=mx.example.org\nhelo_name=mx.example.org\n"
    "sender=alice@example.org\nrecipient=bob@example.net\ninstance=1.2\nccert_subject=\n"
)
FIELDS = "client_address=192.0.2.1\nsender=alice@example.org\nrecipient=bob@example.net\nmessage=m1\n"
QUESTIONS = [
    Asked("postfix", f"request=smtpd_access_policy\n{RCPT}\n"),
    Asked("postfix", f"\n\nrequest=smtpd_access_policy\n{RCPT}\n\n\nrequest=smtpd_access_policy\n{RCPT}\n"),
    Asked("postfix", f"request=smtpd_access_policy\n{RCPT}policy_context=a\rb\n\n", eof=True),
    Asked("postfix", f"request=smtpd_access_policy\n{RCPT}", eof=True, judged=False),
    Asked("postfix", "request=smtpd_access_policy\nprotocol_state=MAIL\n\n"),
    Asked("postfix", "GET / HTTP/1.0\n\n", judged=False),
    Asked("exim", f"multigrey/1\n{FIELDS}\n"),
    Asked("exim", f"multigrey/1\n{FIELDS}", eof=True),
    Asked("exim", f"multigrey/1\n{FIELDS}helo=a\rb", eof=True),
    Asked("exim", "multigrey/2\n\n", judged=False),
    Asked("greylistd", "update 192.0.2.1 alice@example.org bob@example.net\n"),
    Asked("greylistd", "--grey 192.0.2.1", eof=True),
    Asked("greylistd", "status any key\n"),
    Asked("greylistd", "\n"),
    Asked("control", '{"multigrey": 1, "id": 1, "ask": "status"}\n\n{"multigrey": 1, "id": 2, "ask": "x"}\n'),
    Asked("control", '{"multigrey": 1, "id": 1, "ask": "status"}', eof=True),
    Asked("control", "status\n"),
]


def line_ends(data: bytes) -> Iterator[bytes]:
    """The same text with CR LF, and mixed in both ways."""
    yield data.replace(b"\n", b"\r\n")
    for odd in (0, 1):
        parts = data.split(b"\n")
        ends = [b"\r\n" if number % 2 == odd else b"\n" for number in range(len(parts) - 1)] + [b""]
        yield b"".join(part + end for part, end in zip(parts, ends, strict=True))


def pieces_of(data: bytes, size: int) -> list[bytes]:
    return [data[begin : begin + size] for begin in range(0, len(data), size)]


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: f"{asked.door} {asked.text[-25:]!r}")
def test_the_same_question_with_every_line_end_in_pieces_of_every_size(asked: Asked):
    door, last = DOORS[asked.door], [b""] if asked.eof else []
    data = asked.text.encode()
    expected = door([data, *last])
    assert bool(expected[0]) == asked.judged or asked.door == "control"
    for typed in (data, *line_ends(data)):
        for size in range(1, len(typed) + 1):
            assert door(pieces_of(typed, size) + last) == expected, (typed, size)


NOISE = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"a=b", b"request=smtpd_access_policy", b"recipient=b", b"x"])
    | st.sampled_from([b"multigrey/1", b"stage=data", b"update 192.0.2.1", b'{"multigrey": 1, "id": 1}'])
)


@pytest.mark.parametrize("door", DOORS)
@given(pieces=NOISE, size=st.integers(1, 40))
def test_any_noise_with_cr_lf_is_the_noise_with_lf(door: str, pieces: list[bytes], size: int):
    data = b"".join(pieces)
    plain = data.replace(b"\r\n", b"\n")
    while b"\r\n" in plain:  # a CR that was left over is no part of another line end
        plain = plain.replace(b"\r\n", b"\n")
    expected = DOORS[door]([plain, b""] if plain else [b""])
    typed = plain.replace(b"\n", b"\r\n")
    assert DOORS[door]([*pieces_of(typed, size), b""]) == expected


def test_a_value_keeps_its_own_carriage_returns():
    question = f"request=smtpd_access_policy\n{RCPT}\n".replace("alice", "\ral\rice\r").replace("\n", "\r\n")
    talk = converse(PostfixDialogue(options()), [question.encode()])
    assert talk.heard[0].sender == "\ral\rice\r@example.org"
    assert talk.end is Signal.NEED_DATA


@every_file
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
async def test_every_dialogue_typed_in_telnet(path, size: int):
    def typed(data: bytes) -> list[bytes]:
        return pieces_of(re.sub(rb"\r?\n", b"\r\n", data), size)

    async with harness(sources=(role_addresses().match,)) as parts:
        await play(read_file(path), PureWorld(parts, typed))


async def test_a_question_typed_at_the_postfix_door_is_answered():
    """It was met with silence until the idle time was over."""
    lines = ["request=smtpd_access_policy", "client_address=192.0.2.1", "sender=a@b.example", "recipient=c@d"]
    text = "door postfix\n" + "".join(f"c> {line}\\x0d\n" for line in [*lines, ""])
    text += "s> action=DEFER_IF_PERMIT 4.7.1 Greylisted, please try again later\ns> \n"
    async with harness() as parts:
        await play(list(read_text(text, "typed")), PureWorld(parts, lambda data: [data]))
