from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.errors import ProtocolError
from multigrey.protocols.wire import Inbox, decode, encode, one_line, reply_text


def taken(pieces, terminator=b"\n\n", limit=1000, *, peeking=False):
    inbox, requests = Inbox(limit), []
    for piece in pieces:
        inbox.feed(piece)
        if peeking:
            first = inbox.peek(b"\n")
            assert inbox.peek(b"\n") == first
        while (request := inbox.take(terminator)) is not None:
            requests.append(request)
    return requests, inbox.take_rest()


@given(st.lists(st.text("a\n", max_size=8).map(str.encode)), st.sampled_from([b"\n", b"\n\n", b"a\na"]))
def test_requests_are_what_splitting_the_whole_gives(pieces, terminator):
    pieces = [piece for piece in pieces if piece]
    *requests, rest = b"".join(pieces).split(terminator)
    assert taken(pieces, terminator) == (requests, rest)


@given(st.lists(st.text("a\n", min_size=1, max_size=8).map(str.encode)))
def test_peeking_changes_nothing(pieces):
    assert taken(pieces, peeking=True) == taken(pieces)


def test_peeking_shows_the_first_line():
    inbox = Inbox(10)
    inbox.feed(b"a")
    assert inbox.peek(b"\n") is None
    inbox.feed(b"b\n\n")
    assert inbox.peek(b"\n") == b"ab"
    assert inbox.take(b"\n\n") == b"ab"


@pytest.mark.parametrize(
    ("pieces", "rest"),
    [
        ([b"a\r\n"], b"a\n"),
        ([b"a\r", b"\n"], b"a\n"),
        ([b"a\r", b"\nb\r", b"c"], b"a\nb\rc"),
        ([b"\r", b"\r", b"\n"], b"\r\n"),
        ([b"\ra\r\r", b"\nb"], b"\ra\r\nb"),
        ([b"\n\r", b"\n"], b"\n\n"),
        ([b"a\r"], b"a"),
        ([b"a\r", b""], b"a"),
        ([b"\r", b""], b""),
    ],
)
def test_a_carriage_return_before_a_line_feed_is_left_out(pieces, rest):
    inbox = Inbox(100)
    for piece in pieces:
        inbox.feed(piece)
    assert inbox.take_rest() == rest


@given(st.lists(st.text("a\r\n", min_size=1, max_size=8).map(str.encode)))
def test_line_ends_do_not_depend_on_the_pieces(pieces):
    data = b"".join(pieces)
    assert taken([data] if data else []) == taken(pieces)
    assert taken(pieces, b"\0")[1] == data.removesuffix(b"\r").replace(b"\r\n", b"\n")


@pytest.mark.parametrize(("length", "fits"), [(9, True), (10, True), (11, False)])
def test_the_limit_includes_the_terminator(length, fits):
    for pieces in ([b"x" * (length - 1) + b"\n"], [b"x"] * (length - 1) + [b"\n"]):
        if fits:
            assert taken(pieces, b"\n", 10) == ([b"x" * (length - 1)], b"")
        else:
            with pytest.raises(ProtocolError, match="longer than 10 bytes"):
                taken(pieces, b"\n", 10)


def test_after_the_end_of_file_nothing_is_taken_any_more():
    inbox = Inbox(10)
    inbox.feed(b"")
    inbox.feed(b"a\n")
    assert inbox.ended
    assert not inbox
    assert inbox.take(b"\n") is None


@given(st.binary())
def test_any_bytes_survive_as_text(data):
    assert encode(decode(data)) == data


@pytest.mark.parametrize(
    ("text", "octets", "line"),
    [
        ("", 10, ""),
        (" a  b ", 10, "a  b"),
        ("a\r\n\tb", 10, "a b"),
        ("\x00\x7f\x85\u2028\ud800", 10, ""),
        ("abcdef", 3, "abc"),
        ("äöü", 5, "äö"),
        ("😀" * 200, 401, "😀" * 100),
        ("\n" * 50 + "a", 10, ""),
    ],
)
def test_one_line(text, octets, line):
    assert one_line(text, octets) == line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Come back later", "Come back later"),
        ("450 4.7.1 Come back later", "Come back later"),
        ("4.7.1 Come back later", "Come back later"),
        ("550-5.7.1  451 Come back later", "Come back later"),
        ("451", "Greylisted, please try again later"),
        ("", "Greylisted, please try again later"),
        ("450seconds", "450seconds"),
        ("10 minutes", "10 minutes"),
    ],
)
def test_no_status_code_leads_a_reply_text(text, words):
    assert reply_text(text) == words
