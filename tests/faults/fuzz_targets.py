"""What is fuzzed: functions of octets that raise for a defect, and seeds for each."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

from multigrey.cli.rehearse_file import read_rehearsal
from multigrey.codec import (
    decode_event,
    decode_hits,
    decode_names,
    decode_origin,
    decode_record,
    decode_reputation,
    decode_text,
    encode_event,
    encode_first_record,
    encode_record,
)
from multigrey.config.load import load
from multigrey.contracts import Dialogue, SourceOptions
from multigrey.control.protocol import ControlDialogue
from multigrey.errors import CodecError, ConfigError, MultigreyError, StoreError
from multigrey.events.line import (
    event_fields,
    format_event,
    format_fields,
    format_json,
    format_postgrey,
    parse_line,
)
from multigrey.events.pasted_line import find_attempt
from multigrey.events.query import marks_of
from multigrey.identity.redaction import Redactor
from multigrey.model import Action, Attempt, DecisionEvent, Entry, Reason, Reply, Verdict
from multigrey.protocols.exim import EximDialogue
from multigrey.protocols.greylistd import GreylistdDialogue
from multigrey.protocols.postfix import PostfixDialogue
from multigrey.stores.lmdb.frames import Head, frame, frames, pack, read_head
from multigrey.whitelists.postgrey import postgrey_clients, postgrey_recipients
from multigrey.whitelists.toml_file import understood
from tests.support.clocks import START
from tests.support.dialogues import read_file
from tests.support.engines import SITE_KEY, Harness, memory_store
from tests.support.feeding import DEFER, PASS, REJECT, converse, options
from tests.support.stores import FAR, key

__all__ = ["CORPUS", "TARGETS", "seeds"]

TESTS = Path(__file__).resolve().parents[1]
CORPUS = Path(__file__).with_name("corpus")
_CONTROLS = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]")
_VERDICT = Verdict(Action.DEFER, Reason.NEW)


def _pieces(data: bytes) -> Iterator[bytes]:
    """The first octet says in which pieces the rest arrives; then the peer ends."""
    size, rest = (data[0] or len(data), data[1:]) if data else (1, b"")
    yield from (rest[at : at + size] for at in range(0, len(rest), size))
    yield b""


@cache
def _house() -> tuple[Harness, Redactor]:
    return Harness(memory_store()), Redactor(SITE_KEY)


def _judged(attempt: Attempt) -> None:
    """What becomes of an attempt: keys, and a line in each form that cannot be mistaken for another."""
    house, redactor = _house()
    event = DecisionEvent(START, "abcdef", attempt, _VERDICT, house.engine.progress(attempt).origin.text)
    for hide in (None, redactor.fields):
        line = format_event(event, hide)
        assert line.isprintable(), line
        assert parse_line(line)["id"] == "abcdef", line
        assert json.loads(format_json(event, hide))["id"] == "abcdef"
        assert format_postgrey(event, hide).isprintable()
    assert parse_line(format_event(event)) == event_fields(event)
    marks_of(event)
    assert decode_event(encode_event(event)).id == "abcdef"


def _respond(request: object) -> Reply | str:
    if not isinstance(request, Attempt):
        return "refused"
    _judged(request)
    return (DEFER, PASS, REJECT)[len(request.recipient) % 3]


def _dialogue(make: Callable[[], Dialogue], data: bytes) -> None:
    talk = converse(make(), _pieces(data), _respond)
    assert not _CONTROLS.search(talk.sent), talk.sent


def _control(data: bytes) -> None:
    dialogue = ControlDialogue()
    for piece in _pieces(data):
        dialogue.receive(piece)
        while (question := dialogue.next_question()) is not None:
            dialogue.answer(question.id, b"{}")
        for line in dialogue.data_to_send().splitlines():
            assert json.loads(line).keys() & {"answer", "error"}, line
    assert dialogue.over


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _log_line(data: bytes) -> None:
    found = find_attempt(_text(data))
    assert found is None or found.program
    with suppress(ValueError):
        fields = parse_line(_text(data))
        assert parse_line(format_fields(fields)).keys() == fields.keys()


def _journal(data: bytes) -> None:
    with suppress(StoreError):
        head = read_head(Path("journal"), data)
        list(frames(Path("journal"), data, head or Head(7, 1)))


def _stored(data: bytes) -> None:
    for decode in (decode_record, decode_origin, decode_reputation, decode_text, decode_hits, decode_names):
        with suppress(CodecError):
            decode(data)
    with suppress(CodecError):
        encode_record(decode_record(data))
    with suppress(CodecError):
        _judged(decode_event(data).attempt)


@cache
def _file() -> Path:
    """A file of this process, in memory where there is a place for such files."""
    fast = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="mg-", dir=fast if fast.is_dir() else None))
    return folder / "file.toml"


def _written(read: Callable[[Path], object], data: bytes) -> None:
    _file().write_bytes(data)
    with suppress(ConfigError):
        read(_file())


def _rehearsal(data: bytes) -> None:
    with suppress(MultigreyError):
        read_rehearsal(_text(data), START, ["postfix"])


def _configuration(path: Path) -> None:
    path.chmod(0o600)
    load(path, {"STATE_DIRECTORY": "/var/lib/multigrey"})


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "postfix": partial(_dialogue, lambda: PostfixDialogue(options())),
    "exim": partial(_dialogue, lambda: EximDialogue(options())),
    "greylistd": partial(_dialogue, lambda: GreylistdDialogue(options(administer=True))),
    "control": _control,
    "log-line": _log_line,
    "journal": _journal,
    "stored": _stored,
    "whitelist": lambda data: _written(lambda path: understood(path, _text(data)), data),
    "postgrey-clients": partial(_written, lambda path: postgrey_clients(SourceOptions(path))),
    "postgrey-recipients": partial(_written, lambda path: postgrey_recipients(SourceOptions(path))),
    "rehearsal": _rehearsal,
    "config": partial(_written, _configuration),
}
"""By name; each takes any octets."""


def seeds(target: str) -> list[bytes]:
    """Inputs that mean something, the kept ones included."""
    kept = [path.read_bytes() for path in sorted((CORPUS / target).glob("*"))]
    return kept + list(_MADE.get(target, lambda: ())())


def _said(door: str) -> Iterator[bytes]:
    """What clients say in the dialogue files of a door."""
    for path in sorted((TESTS / "dialogues" / door).iterdir()):
        yield b"\0" + b"".join(
            (step.octets + b"\n" * (step.verb == "c>")) * min(step.times, 3)
            for step in read_file(path)
            if step.verb in {"c>", "c-"}
        )


def _files(*patterns: str) -> Iterator[bytes]:
    for pattern in patterns:
        yield from (path.read_bytes()[:4096] for path in sorted(TESTS.parent.glob(pattern)) if path.is_file())


def _rows() -> Iterator[bytes]:
    yield encode_first_record(START, 120, "192.0.2.1", "a@example.org", "b@example.net", "example.org")
    attempt = Attempt("postfix", None, None, None, "a@example.org", "b@example.net")
    yield encode_event(DecisionEvent(START, "abcdef", attempt, _VERDICT, "example.org"))


def _segment() -> Iterator[bytes]:
    body = pack({key(number): Entry(b"value", FAR) for number in range(3)} | {key(9): None})
    yield Head(7, 1).packed() + frame(7, 1, body) + frame(7, 2, body)


_MADE: Mapping[str, Callable[[], Iterator[bytes]]] = {
    **{door: partial(_said, door) for door in ("postfix", "exim", "greylistd")},
    "journal": _segment,
    "stored": _rows,
    "whitelist": partial(_files, "integrations/whitelists/*.toml", "tests/badconfig/list-*/*.toml"),
    "postgrey-clients": partial(_files, "tests/whitelists/*clients*", "tests/badconfig/*postgrey*/*"),
    "rehearsal": partial(_files, "tests/cli/*.toml"),
    "config": partial(_files, "tests/badconfig/*/*.toml"),
}
