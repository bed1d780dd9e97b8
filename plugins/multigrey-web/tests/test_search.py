"""What a text in the search box asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multigrey_web.search import Search, search_of

ABOUT = "a@x.example"
PAIR = ({"sender": "a@x.example", "recipient": "b@y.example"}, {"sender": "b@y.example", "recipient": ABOUT})
LINE = (
    "Dec  1 12:00:00 mx postfix/smtpd[9]: NOQUEUE: reject: RCPT from mail.x.example[192.0.2.1]: 450 4.7.1 "
    "<b@y.example>: Recipient address rejected: Greylisted; from=<a@x.example> to=<b@y.example> proto=ESMTP"
)


# fmt: off
@pytest.mark.parametrize(
    ("text", "tries"),
    [
        ("", ()), ("  ", ()), ("...", ()),
        ("a@x.example", ({"about": ABOUT},)),
        ("  <a@x.example>, ", ({"about": ABOUT},)),
        ("Anna Example <a@x.example>", ({"about": ABOUT},)),
        ('"Example, Anna of the long Name" <a@x.example>', ({"about": ABOUT},)),
        ("to=<a@x.example>", ({"about": ABOUT},)),
        ("mailto:a@x.example", ({"about": "a@x.example"},)),
        ("sender=a@x.example", ({"about": ABOUT},)),
        ("b+r=y.example@x.example", ({"about": "b+r=y.example@x.example"},)),
        ("from=prvs=12=a@x.example", ({"about": "prvs=12=a@x.example"},)),
        ("(a@x.example)", ({"about": ABOUT},)),
        ("<>", ({"about": "<>"},)),
        ("x.example", ({"about": "x.example"},)),
        ("@x.example", ({"about": "x.example"},)),
        (".x.example.", ({"about": "x.example"},)),
        ("192.0.2.7", ({"about": "192.0.2.7"},)),
        ("[192.0.2.7]", ({"about": "192.0.2.7"},)),
        ("192.0.2.0/24", ({"about": "192.0.2.0/24"},)),
        ("2001:db8::7", ({"about": "2001:db8::7"},)),
        ("h:abcdefghabcdefgh", ({"about": "h:abcdefghabcdefgh"},)),
        ("h:abcdefghabcdefgh@x.example", ({"about": "h:abcdefghabcdefgh@x.example"},)),
        ("7f3k2q", ({"id": "7f3k2q"},)),
        ("id=7f3k2q", ({"id": "7f3k2q"},)),
        ("(id=7f3k2q)", ({"id": "7f3k2q"},)),
        ("a@x.example b@y.example", PAIR),
        ("a@x.example -> b@y.example", PAIR),
        ("from=<a@x.example> to=<b@y.example>", PAIR),
        ("from a@x.example to b@y.example", PAIR),
    ],
)
def test_words(text, tries):
    assert search_of(text) == Search(tries)


# fmt: on


def test_a_line_of_a_log_is_left_to_the_daemon():
    assert search_of(LINE) == Search(line=LINE)


@given(st.text(max_size=300))
def test_any_text_asks_for_something_or_nothing(text):
    found = search_of(text)
    assert all(all(words.values()) for words in found.tries)
    assert not (found.tries and found.line)
