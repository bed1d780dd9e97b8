"""The control protocol: whatever bytes come, only questions and errors come of them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.control.protocol import (
    AnswerLine,
    Code,
    ControlDialogue,
    ControlError,
    Request,
    encoded,
    question,
    read_answer_line,
)


def _asked(dialogue: ControlDialogue) -> list[Request]:
    return list(iter(dialogue.next_question, None))


def _said(dialogue: ControlDialogue) -> list[dict]:
    return [json.loads(line) for line in dialogue.data_to_send().splitlines()]


def _line(**message: object) -> bytes:
    return json.dumps({"multigrey": 1, "id": 7, "ask": "status", **message}).encode() + b"\n"


def test_a_question_and_its_answer():
    dialogue = ControlDialogue()
    dialogue.receive(_line(**{"with": {"a": [1]}}))
    assert _asked(dialogue) == [Request(7, "status", {"a": [1]})]
    assert dialogue.under_way == 1
    dialogue.answer(7, encoded({"x": "\udcff"}))
    assert dialogue.data_to_send() == b'{"id":7,"answer":{"x":"\\udcff"}}\n'
    assert dialogue.under_way == 0


def test_items_and_their_end():
    dialogue = ControlDialogue()
    dialogue.receive(_line(id="a"))
    assert _asked(dialogue) == [Request("a", "status", {})]
    dialogue.item("a", encoded({"n": 1}))
    dialogue.item("a", encoded({"n": 2}))
    dialogue.end("a")
    assert _said(dialogue) == [
        {"id": "a", "item": {"n": 1}},
        {"id": "a", "item": {"n": 2}},
        {"id": "a", "end": True},
    ]


def test_an_id_may_be_used_again_after_the_answer():
    dialogue = ControlDialogue()
    for _ in range(2):
        dialogue.receive(_line())
        assert len(_asked(dialogue)) == 1
        dialogue.error(7, "no", Code.REFUSED)
    assert _said(dialogue) == [{"id": 7, "error": "no", "code": "refused"}] * 2


@pytest.mark.parametrize(
    ("line", "question_id", "code", "words"),
    [
        (b"status\n", None, "wrong", "not JSON"),
        (b"\xff\n", None, "wrong", "not UTF-8"),
        (b"[]\n", None, "wrong", "an object"),
        (b"[" * 9_000 + b"\n", None, "wrong", "not JSON"),
        (b'{"id": NaN}\n', None, "wrong", "NaN is not in JSON"),
        (b'{"id": ' + b"9" * 5_000 + b"}\n", None, "wrong", "not JSON"),
        (b'{"id": 7, "ask": "status"}\n', 7, "wrong", "version null is not known here; known is"),
        (_line(multigrey=2), 7, "wrong", "version 2 is not known"),
        (_line(multigrey=True), 7, "wrong", "version true"),
        (_line(multigrey=1.0), 7, "wrong", "version 1.0"),
        (_line(id=None), None, "wrong", 'expected "id"'),
        (_line(id=True), None, "wrong", 'expected "id"'),
        (_line(id=[]), None, "wrong", 'expected "id"'),
        (_line(id="x" * 65), None, "wrong", 'expected "id"'),
        (_line(id=2**53 + 1), None, "wrong", 'expected "id"'),
        (_line(ask=1), 7, "wrong", 'expected "ask"'),
        (_line(**{"with": []}), 7, "wrong", 'expected "ask"'),
        (_line(zzz=1), 7, "wrong", 'unknown key "zzz"'),
    ],
)
def test_what_is_no_question(line, question_id, code, words):
    dialogue = ControlDialogue()
    dialogue.receive(line + _line(id=8))
    assert _asked(dialogue) == [Request(8, "status", {})]
    (error,) = _said(dialogue)
    assert (error["id"], error["code"]) == (question_id, code)
    assert words in error["error"]


def test_a_question_whose_id_is_taken_does_not_disturb_the_other():
    dialogue = ControlDialogue()
    dialogue.receive(_line() * 2)
    assert len(_asked(dialogue)) == 1
    assert "still being answered" in _said(dialogue)[0]["error"]
    assert dialogue.under_way == 1


def test_too_many_at_a_time():
    dialogue = ControlDialogue(most_at_a_time=2)
    dialogue.receive(b"".join(_line(id=number) for number in range(3)))
    assert len(_asked(dialogue)) == 2
    assert [(error["id"], error["code"]) for error in _said(dialogue)] == [(2, "busy")]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_that_is_too_long_ends_it(end):
    dialogue = ControlDialogue(line_size=100)
    dialogue.receive(b" " * 101 + end + _line())
    assert _asked(dialogue) == []
    assert dialogue.over
    assert [error["code"] for error in _said(dialogue)] == ["wrong"]
    dialogue.receive(_line())
    assert _asked(dialogue) == []


def test_a_line_of_just_that_length_is_read():
    line = _line()
    dialogue = ControlDialogue(line_size=len(line) - 1)
    dialogue.receive(line)
    assert len(_asked(dialogue)) == 1


def test_the_end_of_file_ends_a_last_line():
    dialogue = ControlDialogue()
    dialogue.receive(_line().rstrip())
    assert _asked(dialogue) == []
    assert not dialogue.over
    dialogue.receive(b"")
    assert len(_asked(dialogue)) == 1
    assert _asked(dialogue) == []
    assert dialogue.over
    assert dialogue.under_way == 1


@pytest.mark.parametrize("value", [{"x": float("nan")}, {"x": b""}])
def test_what_json_cannot_hold_is_a_bug(value):
    with pytest.raises((TypeError, ValueError)):
        encoded(value)


_PIECES = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from([_line(), _line(id=8), b"\n", b'{"multigrey": 1', b"{}\n", b"\r\n"]),
    ),
    max_size=12,
)


@given(_PIECES, st.integers(1, 7))
def test_any_bytes_only_lead_to_questions_and_errors(pieces, step):
    data = b"".join(pieces)
    whole, slowly = ControlDialogue(line_size=80), ControlDialogue(line_size=80)
    whole.receive(data)
    questions = _asked(whole)
    found = []
    for start in range(0, len(data), step):
        slowly.receive(data[start : start + step])
        found += _asked(slowly)
    for dialogue in (whole, slowly):
        dialogue.receive(b"")
    questions += _asked(whole)
    found += _asked(slowly)
    assert whole.over
    assert slowly.over
    assert questions == found
    assert all("error" in said for said in _said(whole))


def test_a_question_is_one_line():
    line = question("status", {"a": "\n\udcff"})
    assert line.count(b"\n") == 1
    assert json.loads(line) == {"multigrey": 1, "id": 1, "ask": "status", "with": {"a": "\n\udcff"}}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"id": 1, "answer": {"x": 2}}', AnswerLine({"x": 2}, is_last=True)),
        (b'{"id": 1, "item": {"x": 2}}', AnswerLine({"x": 2}, is_last=False)),
        (b'{"id": 1, "end": true}', AnswerLine(None, is_last=True)),
    ],
)
def test_what_a_line_tells(line, told):
    assert read_answer_line(line) == told


NO_DAEMON = "not a multigrey of this version"


@pytest.mark.parametrize(
    ("line", "words", "code"),
    [
        (b'{"id": 1, "error": "no", "code": "refused"}', "no", Code.REFUSED),
        (b'{"id": 1, "error": "no", "code": "not-allowed"}', "no", Code.NOT_ALLOWED),
        (b'{"id": 1, "error": "no", "code": "of a later version"}', "no", Code.REFUSED),
        (b"SSH-2.0", NO_DAEMON, Code.NO_DAEMON),
        (b"{}", NO_DAEMON, Code.NO_DAEMON),
        (b"[]", NO_DAEMON, Code.NO_DAEMON),
        (b"7", NO_DAEMON, Code.NO_DAEMON),
        (b'{"answer": 7}', NO_DAEMON, Code.NO_DAEMON),
        (b"\xff", NO_DAEMON, Code.NO_DAEMON),
        (b"[" * 100_000, NO_DAEMON, Code.NO_DAEMON),
    ],
    ids=range(10),
)
def test_trouble_in_a_line(line, words, code):
    with pytest.raises(ControlError, match=words) as caught:
        read_answer_line(line)
    assert caught.value.code is code
