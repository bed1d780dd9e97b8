"""What a form makes the daemon do."""

from __future__ import annotations

import pytest
from multigrey_web.acting import MODES, SPANS, Deed, deed_of
from multigrey_web.source import ACTING

from multigrey.overrides.mode import SLOTS

PAIR = {"sender": "a@x.example", "recipient": "b@y.example"}


@pytest.mark.parametrize(
    ("act", "fields", "deed"),
    [
        (
            "expect",
            {"recipient": "b@y.example", "from": "@x.example", "seconds": "3600"},
            Deed(
                "expect",
                {
                    "recipient": "b@y.example",
                    "from": "x.example",
                    "seconds": 3600,
                    "reason": "anna, on the web page",
                },
                "expect mail from x.example to b@y.example for 1h",
            ),
        ),
        ("pass", PAIR, Deed("records.pass", PAIR, "let a@x.example to b@y.example pass")),
        (
            "pass",
            {"recipient": "b@y.example"},
            Deed(
                "records.pass",
                {"sender": "<>", "recipient": "b@y.example"},
                "let <> to b@y.example pass",
            ),
        ),
        (
            "mode",
            {"word": "off", "seconds": "900"},
            Deed("override", {"slot": "mode", "word": "off", "seconds": 900}, "mode off for 15m"),
        ),
        ("mode", {"word": "end"}, Deed("override", {"slot": "mode"}, "end the override of the mode")),
    ],
)
def test_deeds(act, fields, deed):
    assert deed_of(act, fields, "anna") == deed
    assert deed.operation in ACTING


@pytest.mark.parametrize(
    ("act", "fields", "words"),
    [
        ("expect", {"recipient": ""}, "an address is expected"),
        ("expect", {"recipient": "x" * 321}, "an address is expected"),
        ("expect", {"recipient": "a\u202eb@y.example"}, "an address is expected"),
        ("expect", {"recipient": "b@y.example", "seconds": "99999999"}, "how long"),
        ("pass", {"sender": "a@x.example"}, "an address is expected"),
        ("mode", {"word": "on", "seconds": "900"}, "expected one of observe, off, enforce"),
        ("mode", {"word": "off", "seconds": "x"}, "how long"),
        ("forget", PAIR, "does not exist"),
        ("", {}, "does not exist"),
    ],
)
def test_what_is_no_form_of_ours(act, fields, words):
    with pytest.raises(ValueError, match=words):
        deed_of(act, fields, "anna")


def test_the_daemon_knows_these_modes():
    assert {*MODES} == {*SLOTS["mode"]}
    assert all(text.isdigit() for text in SPANS)
