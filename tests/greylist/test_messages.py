"""What is remembered of a message: by listener, id, origin and sender; bounded."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from multigrey.greylist.messages import MOST_CARRIED, MessageTable
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
    ("another recipient", replace(ATTEMPT, recipient="carol@Example.net"), ORIGIN),
    ("another address of the origin", replace(ATTEMPT, client_address=ip_address("192.0.2.9")), ORIGIN),
]
OTHER = [
    ("another message", replace(ATTEMPT, message="123.456.8"), ORIGIN),
    ("no message", replace(ATTEMPT, message=""), ORIGIN),
    ("another sender", replace(ATTEMPT, sender="mallory@example.org"), ORIGIN),
    ("the null sender", replace(ATTEMPT, sender=""), ORIGIN),
    ("another origin", ATTEMPT, Origin("198.51.100.0/24", named=False)),
    ("another listener", replace(ATTEMPT, listener="exim"), ORIGIN),
    ("a recipient elsewhere", replace(ATTEMPT, recipient="bob@example.com"), ORIGIN),
]


@pytest.mark.parametrize(("name", "attempt", "origin"), SAME, ids=[row[0] for row in SAME])
def test_passes_with_the_others(name, attempt, origin):
    table = MessageTable()
    assert not table.is_carried(attempt, origin)
    table.note_pass(ATTEMPT, ORIGIN)
    assert table.is_carried(attempt, origin)


@pytest.mark.parametrize(("name", "attempt", "origin"), OTHER, ids=[row[0] for row in OTHER])
def test_does_not_pass_with_them(name, attempt, origin):
    table = MessageTable()
    table.note_pass(ATTEMPT, ORIGIN)
    assert not table.is_carried(attempt, origin)


def test_messages_without_an_id_share_nothing():
    table = MessageTable()
    nameless = replace(ATTEMPT, message="")
    table.note_pass(nameless, ORIGIN)
    assert not table.is_carried(nameless, ORIGIN)


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
    assert [table.is_carried(message(number), ORIGIN) for number in range(5)] == [
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
    assert table.is_carried(message(1), ORIGIN)


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
    assert table.is_carried(message(1), ORIGIN)


def recipient(number, domain="example.net"):
    return replace(ATTEMPT, recipient=f"r{number}@{domain}")


def test_a_message_carries_ten():
    table = MessageTable()
    table.note_pass(ATTEMPT, ORIGIN)
    carried = 0
    for number in range(50):
        if table.is_carried(recipient(number), ORIGIN):
            table.note_carried(recipient(number), ORIGIN)
            carried += 1
        table.note_pass(ATTEMPT, ORIGIN)
    assert carried == MOST_CARRIED == 10


def test_a_proven_origin_carries_all_everywhere():
    table = MessageTable()
    table.note_pass(ATTEMPT, ORIGIN, proven=True)
    for number in range(50):
        assert table.is_carried(recipient(number, f"example{number}.net"), ORIGIN)
        table.note_carried(recipient(number), ORIGIN)


def test_each_domain_of_somebody_who_passed_counts():
    table = MessageTable()
    table.note_pass(recipient(1, "example.com"), ORIGIN)
    table.note_pass(recipient(1, "example.org"), ORIGIN)
    assert [table.is_carried(recipient(2, f"example.{end}"), ORIGIN) for end in ("com", "org", "net")] == [
        True,
        True,
        False,
    ]


def test_the_null_sender_carries_nobody():
    table = MessageTable()
    bounce = replace(ATTEMPT, sender="")
    table.note_pass(bounce, ORIGIN)
    assert not table.is_carried(bounce, ORIGIN)


def test_the_first_recipient_of_a_message_stays_the_first():
    table = MessageTable()
    assert table.first(ATTEMPT) is None
    assert [table.note_first(recipient(number)) for number in (1, 2, 1, 3)] == [True, False, True, False]
    assert table.first(ATTEMPT) == "r1@example.net"
    assert table.note_first(message(7))


def test_without_an_id_nobody_is_the_first():
    table = MessageTable()
    nameless = replace(ATTEMPT, message="")
    assert not table.note_first(nameless)
    assert table.first(nameless) is None


def test_what_was_carried_by_another_message_counts_for_none():
    table = MessageTable()
    table.note_pass(ATTEMPT, ORIGIN)
    for number in range(MOST_CARRIED):
        table.note_carried(replace(recipient(number), message="another"), ORIGIN)
        table.note_carried(recipient(number), Origin("example.org", named=True))
    assert table.is_carried(recipient(0), ORIGIN)


def test_a_recipient_that_has_only_just_come_back_carries_one():
    table = MessageTable()
    carried = 0
    for number in range(30):
        if number < 3:
            table.note_pass(recipient(number), ORIGIN, returned=True)
        elif table.is_carried(recipient(number), ORIGIN):
            table.note_carried(recipient(number), ORIGIN)
            carried += 1
    assert carried == 3


@pytest.mark.parametrize("field", ["message", "sender", "recipient"])
def test_a_message_with_a_text_longer_than_any_address_is_not_kept(field):
    table = MessageTable()
    for number in range(10):
        long = replace(ATTEMPT, **{field: f"{number}" * 321})
        table.note_pass(long, ORIGIN)
        assert not table.is_carried(long, ORIGIN)
        assert table.note_first(long)
        assert table.wants_header(long) or field != "message"
    held = [*table._carriers, *table._first, *table._first.values(), *table._headed]
    assert (
        max((len(text) for key in held for text in ([key] if isinstance(key, str) else key)), default=0)
        <= 320
    )
