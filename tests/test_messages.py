"""What is remembered of a message: by listener, id, origin and sender; bounded."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from multigrey.messages import MessageTable
from multigrey.model import Attempt, Origin

ORIGIN = Origin("192.0.2.0/24", named=False)
ATTEMPT = Attempt(
    listener="postfix",
    client_address=ip_address("192.0.2.1"),
    client_name=None,
    helo="mail.example.org",
    sender="alice@example.org",
    recipient="bob@example.net",
    message="123.456.7",
)

SAME = [
    ("the same recipient", ATTEMPT, ORIGIN),
    ("another recipient", replace(ATTEMPT, recipient="carol@example.net"), ORIGIN),
    ("another address of the origin", replace(ATTEMPT, client_address=ip_address("192.0.2.9")), ORIGIN),
]
OTHER = [
    ("another message", replace(ATTEMPT, message="123.456.8"), ORIGIN),
    ("no message", replace(ATTEMPT, message=""), ORIGIN),
    ("another sender", replace(ATTEMPT, sender="mallory@example.org"), ORIGIN),
    ("the null sender", replace(ATTEMPT, sender=""), ORIGIN),
    ("another origin", ATTEMPT, Origin("198.51.100.0/24", named=False)),
    ("another listener", replace(ATTEMPT, listener="exim"), ORIGIN),
]


@pytest.mark.parametrize(("name", "attempt", "origin"), SAME, ids=[row[0] for row in SAME])
def test_passes_with_the_others(name, attempt, origin):
    table = MessageTable()
    assert not table.has_passed(attempt, origin)
    table.note_pass(ATTEMPT, ORIGIN)
    assert table.has_passed(attempt, origin)


@pytest.mark.parametrize(("name", "attempt", "origin"), OTHER, ids=[row[0] for row in OTHER])
def test_does_not_pass_with_them(name, attempt, origin):
    table = MessageTable()
    table.note_pass(ATTEMPT, ORIGIN)
    assert not table.has_passed(attempt, origin)


def test_messages_without_an_id_share_nothing():
    table = MessageTable()
    nameless = replace(ATTEMPT, message="")
    table.note_pass(nameless, ORIGIN)
    assert not table.has_passed(nameless, ORIGIN)


def test_the_header_comes_once_per_message():
    table = MessageTable()
    assert table.wants_header(ATTEMPT)
    assert not table.wants_header(replace(ATTEMPT, recipient="carol@example.net"))
    assert table.wants_header(replace(ATTEMPT, message="another"))
    assert table.wants_header(replace(ATTEMPT, listener="exim"))
    assert not table.wants_header(ATTEMPT)


def test_the_header_always_comes_without_an_id():
    table = MessageTable()
    assert [table.wants_header(replace(ATTEMPT, message="")) for _ in range(3)] == [True] * 3


def message(number):
    return replace(ATTEMPT, message=str(number))


def test_the_oldest_is_dropped_first():
    table = MessageTable(3)
    for number in range(5):
        table.note_pass(message(number), ORIGIN)
    assert [table.has_passed(message(number), ORIGIN) for number in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_a_message_noted_again_takes_no_room():
    table = MessageTable(2)
    table.note_pass(message(1), ORIGIN)
    for _ in range(5):
        table.note_pass(message(2), ORIGIN)
    assert table.has_passed(message(1), ORIGIN)


def test_headers_are_bounded_too():
    table = MessageTable(2)
    assert all(table.wants_header(message(number)) for number in range(3))
    assert [table.wants_header(message(number)) for number in (2, 1)] == [False, False]
    assert table.wants_header(message(0))


def test_one_table_does_not_crowd_out_the_other():
    table = MessageTable(2)
    table.note_pass(message(1), ORIGIN)
    for number in range(10, 20):
        table.wants_header(message(number))
    assert table.has_passed(message(1), ORIGIN)
