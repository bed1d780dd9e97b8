"""Decisions packed and unpacked."""

from __future__ import annotations

from ipaddress import ip_address

import msgpack  # noqa: TID251  (to make what the codec must refuse)
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.codec import EVENT_VERSION, decode_event, encode_event
from multigrey.errors import CodecError, NewerFormatError
from multigrey.model import Action, Attempt, DecisionEvent, Match, Reason, Stage, Verdict
from tests.support.decisions import decision

text = st.text(max_size=50) | st.binary(max_size=20).map(lambda data: data.decode("utf-8", "surrogateescape"))
number = st.integers(0, 2**40)
attempts = st.builds(
    Attempt,
    listener=text,
    client_address=st.none() | st.ip_addresses(),
    client_name=st.none() | text,
    helo=text,
    sender=text,
    recipient=text,
    stage=st.sampled_from(Stage),
    message=text,
    authenticated=text,
    raw=text,
    attributes=st.dictionaries(text, text.filter(bool), max_size=5),
)
verdicts = st.builds(
    Verdict,
    action=st.sampled_from(Action),
    reason=st.sampled_from(Reason),
    retry_after=number,
    delay=number,
    age=number,
    attempts=number,
    match=st.none() | st.builds(Match, text, text, text),
    rule=text,
    text=text,
    code=text,
    detail=text,
    observed=st.booleans(),
)


@given(st.builds(DecisionEvent, number, text, attempts, verdicts, text, text))
def test_every_decision_comes_back(event):
    try:
        stored = encode_event(event)
    except CodecError:
        return  # a lone surrogate that no byte stands for
    again = decode_event(stored)
    assert again == event
    assert again.attempt.attributes == event.attempt.attributes


def test_the_stored_form_is_pinned():
    """Changing it takes another version, or the history is lost."""
    assert encode_event(decision()).hex() == (
        "dc001c01ce3b9aca00a6616263646566a4736d7470c404c000020aaf6d78312e6578616d706c652e6f7267"
        "af6d78312e6578616d706c652e6f7267ad61406578616d706c652e6f7267ad62406578616d706c652e6e6574"
        "a472637074a0a0a080a56465666572a36e657700000000c0a0a0a0a0c2ab6578616d706c652e6f7267a0"
    )


def test_what_is_much_too_long_is_cut():
    huge = decision(
        sender="x" * 50_000, client_name="y" * 50_000, attributes={f"n{n}": "z" * 1000 for n in range(99)}
    )
    stored = encode_event(huge)
    assert len(stored) < 12_000
    again = decode_event(stored)
    assert again.attempt.sender == "x" * 200
    assert len(again.attempt.attributes) == 32
    assert again.id == huge.id


def test_empty_attributes_take_no_room():
    assert encode_event(decision(attributes={"ccert_subject": ""})) == encode_event(decision())


def changed(index, value):
    row = msgpack.unpackb(encode_event(decision()), use_list=True)
    row[index] = value
    return msgpack.packb(row)


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"nonsense",
        encode_event(decision())[:-1],
        msgpack.packb([EVENT_VERSION]),
        changed(0, "1"),
        changed(1, "1"),
        changed(4, b"\x01\x02\x03"),
        changed(9, "mail"),
        changed(13, {"a": 1}),
        changed(13, {1: "a"}),
        changed(14, "perhaps"),
        changed(15, "whatever"),
        changed(20, ["a"]),
        changed(20, ["a", "b", 3]),
        changed(25, 1),
    ],
)
def test_what_is_no_decision_is_refused(stored):
    with pytest.raises(CodecError):
        decode_event(stored)


def test_a_later_version_is_refused():
    with pytest.raises(NewerFormatError):
        decode_event(changed(0, EVENT_VERSION + 1))


def test_addresses():
    for address in ("192.0.2.1", "2001:db8::1"):
        assert decode_event(encode_event(decision(client=address))).attempt.client_address == ip_address(
            address
        )
