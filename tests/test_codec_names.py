"""Evidence for names, as it is stored."""

from __future__ import annotations

import msgpack  # noqa: TID251  (to write what codec must refuse)
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.codec import decode_names, encode_names
from multigrey.errors import CodecError, NewerFormatError
from multigrey.identity.host_names.name_evidence import Client, Evidence, Return, State

T = 1_800_000_000
EVIDENCE = Evidence(
    (("*", (Client(b"abcd", T, 0, T + 1, b"wxyz"),)), ("", (Client(b"efgh", T, T + 9),))),
    (Return("mta-#", b"ijkl", T + 2),),
    (State("*", T + 3, demoted=True),),
)
ROW = msgpack.unpackb(encode_names("isp.example", EVIDENCE))


def test_evidence_is_pinned():
    stored = msgpack.packb(
        [
            1,
            "isp.example",
            [["*", [[b"abcd", T, 0, T + 1, b"wxyz"]]], ["", [[b"efgh", T, T + 9, 0, b""]]]],
            [["mta-#", b"ijkl", T + 2]],
            [["*", T + 3, True]],
        ]
    )
    assert encode_names("isp.example", EVIDENCE) == stored
    assert decode_names(stored) == ("isp.example", EVIDENCE)


@pytest.mark.parametrize("place", range(1, 5))
@pytest.mark.parametrize("wrong", [None, 7, "x", [7], [["x"]], [["x", 7]], [["x", [7]]], [["x", [[7]]]]])
def test_other_fields_are_refused(place, wrong):
    row = [*ROW[:place], wrong, *ROW[place + 1 :]]
    if place == 1 and wrong == "x":
        return  # a domain like any other
    with pytest.raises(CodecError):
        decode_names(msgpack.packb(row))


def test_a_newer_version_is_told_apart():
    with pytest.raises(NewerFormatError):
        decode_names(msgpack.packb([2, *ROW[1:]]))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(stored):
    try:
        domain, evidence = decode_names(stored)
    except CodecError:
        return
    assert decode_names(encode_names(domain, evidence)) == (domain, evidence)
