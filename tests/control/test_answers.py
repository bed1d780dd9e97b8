"""Questions and answers as lines, and every kind of trouble in them."""

from __future__ import annotations

import json

import pytest

from multigrey.control.answers import ControlError, Told, question, read_told
from multigrey.control.dialogue import Code


def test_a_question_is_one_line():
    line = question("status", {"a": "\n\udcff"})
    assert line.count(b"\n") == 1
    assert json.loads(line) == {"multigrey": 1, "id": 1, "ask": "status", "with": {"a": "\n\udcff"}}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"id": 1, "answer": {"x": 2}}', Told({"x": 2}, is_last=True)),
        (b'{"id": 1, "item": {"x": 2}}', Told({"x": 2}, is_last=False)),
        (b'{"id": 1, "end": true}', Told(None, is_last=True)),
    ],
)
def test_what_a_line_tells(line, told):
    assert read_told(line) == told


NO_DAEMON = "no multigrey of this version"


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
        read_told(line)
    assert caught.value.code is code
