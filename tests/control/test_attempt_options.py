"""An attempt as options tell it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.control.attempt_options import attempt_as_json, attempt_of, pasted
from multigrey.control.operations.operation import OperationError
from multigrey.identity.addresses import parse_client_address
from multigrey.model import Attempt, Stage

LEAST = {"sender": "a@example.net", "recipient": "b@example.org"}


def test_what_is_told_and_what_is_not():
    attempt = attempt_of({**LEAST, "client_address": "::ffff:192.0.2.1", "client_name": "mx.example.net"})
    assert attempt == Attempt(
        "", parse_client_address("192.0.2.1"), "mx.example.net", "mx.example.net", **LEAST
    )
    assert attempt_of({**LEAST, "client_name": "mx.example.net", "helo": ""}).helo == ""
    assert attempt_of({**LEAST, "client_name": "unknown"}).client_name is None
    assert attempt_of({**LEAST, "sender": "<>"}).sender == ""
    assert attempt_of({"raw": "a key"}).raw == "a key"
    assert attempt_of({**LEAST, "stage": "data"}).stage is Stage.DATA
    assert attempt_of({**LEAST, "attributes": {"size": "10"}}).attributes == {"size": "10"}


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({}, "sender is missing"),
        ({"sender": "a@b.example"}, "recipient is missing"),
        ({**LEAST, "client_address": "nonsense"}, "not an IP address"),
        ({**LEAST, "client_address": 7}, "client_address must be one line"),
        ({**LEAST, "helo": "x" * 5_000}, "helo must be one line"),
        ({**LEAST, "helo": "x\ny"}, "helo must be one line"),
        ({**LEAST, "stage": "mail"}, "neither rcpt nor data"),
        ({**LEAST, "clientaddress": "x"}, "unknown key 'clientaddress'"),
        ({**LEAST, "attributes": ["size"]}, "attributes must be"),
        ({**LEAST, "attributes": {"size": 1}}, "attributes must be"),
        ({**LEAST, "attributes": dict.fromkeys(map(str, range(101)), "")}, "attributes must be"),
    ],
)
def test_what_is_no_attempt(told, why):
    with pytest.raises(OperationError, match=why):
        attempt_of(told)


TEXT = st.text(st.characters(exclude_characters="\n"), min_size=1, max_size=20)


@given(
    attempt=st.builds(
        Attempt,
        listener=TEXT,
        client_address=st.none() | st.ip_addresses().map(str).map(parse_client_address),
        client_name=st.none() | TEXT.filter(lambda text: text != "unknown"),
        helo=TEXT,
        sender=st.just("") | TEXT.filter(lambda text: text != "<>"),
        recipient=TEXT,
        stage=st.sampled_from(Stage),
        message=TEXT,
        authenticated=TEXT,
    )
)
def test_what_is_shown_can_be_told(attempt):
    assert attempt_of(attempt_as_json(attempt)) == attempt


@pytest.mark.parametrize("text", [7, "x" * 20_000, "nothing in it"])
def test_a_line_without_an_attempt(text):
    with pytest.raises(OperationError):
        pasted(text)


def test_a_line():
    found = pasted("H=[192.0.2.1] F=<a@b.example> rejected RCPT <c@d.example>: no")
    assert attempt_of(found.fields).recipient == "c@d.example"
